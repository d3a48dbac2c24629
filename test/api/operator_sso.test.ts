// Which tokens make an operator of a person, and what each role may do.
import { generateKeyPairSync } from 'node:crypto'
import { Hono } from 'hono'
import { SignJWT } from 'jose'
import { afterEach, describe, expect, test } from 'vitest'
import { createGate } from '../../proxy/api/operator.ts'
import { createOperatorSignIn, type SignInRules } from '../../proxy/api/operator_sso.ts'
import type { JsonObject } from '../../proxy/model.ts'
import { createIssuerKeys } from '../../proxy/oauth/issuer_keys.ts'
import { Problem, toProblem } from '../../proxy/problem.ts'

const NOW = 1_800_000_000
const KEY = generateKeyPairSync('ed25519')
const ISSUER = 'https://idp.example'
const TABLE: JsonObject = {
  desk: ['operator'],
  watch: ['viewer'],
  books: ['auditor'],
  glass: ['break-glass'],
}
const open: { close: () => void }[] = []
afterEach(() => open.splice(0).forEach((one) => one.close()))

const world = (more: Partial<SignInRules> = {}) => {
  const quiet = () => undefined
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet }
  const at = { now: NOW, table: TABLE as JsonObject | null, strangers: 0 }
  const clock = { now: () => at.now * 1_000, mono: () => at.now * 1_000 }
  const fetch = (url: string | URL | Request) =>
    Promise.resolve(
      Response.json(
        (url instanceof Request ? url.url : url.toString()).endsWith('/keys')
          ? { keys: [{ ...KEY.publicKey.export({ format: 'jwk' }), kid: 'k1' }] }
          : { issuer: ISSUER, jwks_uri: `${ISSUER}/keys` },
      ),
    )
  const rules = {
    issuer: ISSUER,
    client_id: 'deputy-ops',
    scope: 'openid',
    roles: '/groups',
    user: '/sub',
    max_age: 3_600_000,
    break_glass: 3_600_000,
    ...more,
  }
  const signIn = createOperatorSignIn(rules, {
    keysOf: (source) => {
      const keys = createIssuerKeys(source, { grace: 60_000, fetch, clock, log })
      open.push(keys)
      return keys
    },
    table: () => at.table,
    clock,
  })
  const told: [string, object][] = []
  const warned: unknown[] = []
  const gate = createGate({
    operators: [],
    signIn,
    onEvent: (event, fields) => {
      told.push([event, fields])
      return Promise.resolve()
    },
    stranger: () => void (at.strangers += 1),
    mono: () => 0,
    log: { warn: (fields) => void warned.push(fields) },
  })
  const app = new Hono()
  app.get('/:may/:tenant', async (c) => {
    const operator = await gate.enter(c, c.req.param('may') as 'runs')
    await gate.mustServe(operator, c.req.param('tenant'))
    return c.text(operator.name)
  })
  app.onError((error, c) => c.text(`${toProblem(error).code}: ${error.message}`, 403))
  const enter = async (token: string, may: string, tenant = 'acme'): Promise<string> =>
    (
      await app.request(`/${may}/${tenant}`, { headers: { authorization: `Bearer ${token}` } })
    ).text()
  return { at, told, warned, enter, signIn }
}
const sign = (claims: object = {}): Promise<string> =>
  new SignJWT({
    iss: ISSUER,
    aud: 'deputy-ops',
    sub: 'ada',
    groups: ['desk'],
    iat: NOW,
    exp: NOW + 300,
    ...claims,
  })
    .setProtectedHeader({ alg: 'EdDSA', kid: 'k1' })
    .sign(KEY.privateKey)
const unsigned = (alg: string): string =>
  [
    { alg },
    { iss: ISSUER, aud: 'deputy-ops', sub: 'ada', groups: ['desk'], iat: NOW, exp: NOW + 9 },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .concat(alg === 'none' ? '' : 'c2ln')
    .join('.')

describe('roles', () => {
  test.each([
    ['watch', 'connections', 'sso:ada'],
    ['watch', 'list', 'sso:ada'],
    ['watch', 'revoke', 'operator_refused: operator sso:ada may not use this: it takes revoke'],
    ['watch', 'runs', 'operator_refused: operator sso:ada may not use this: it takes runs'],
    ['books', 'connections', 'sso:ada'],
    ['books', 'revoke', 'operator_refused: operator sso:ada may not use this: it takes revoke'],
    ['desk', 'revoke', 'sso:ada'],
    ['desk', 'runs', 'sso:ada'],
    ['others', 'list', expect.stringMatching(/^operator_refused: .* has no role/)],
    ['constructor', 'list', expect.stringMatching(/^operator_refused: .* has no role/)],
  ])('a member of %s and %s: %s', async (group, may, answer) => {
    expect(await world().enter(await sign({ groups: [group] }), may)).toEqual(answer)
  })
  test('end while a token lives, as soon as the table says so', async () => {
    const { at, enter, told } = world()
    const token = await sign()
    expect(await enter(token, 'revoke')).toBe('sso:ada')
    at.table = { desk: ['viewer'] }
    expect(await enter(token, 'revoke')).toContain('operator_refused')
    at.table = null
    expect(await enter(token, 'list')).toContain('has no role')
    expect(told.map(([event]) => event)).toEqual(['operator.refused', 'operator.refused'])
    expect(at.strangers).toBe(0)
  })
  test('of two groups add up', async () => {
    const token = await sign({ groups: ['watch', 'desk'] })
    expect(await world().enter(token, 'runs')).toBe('sso:ada')
  })
})

describe('a token that is no operator’s', () => {
  test.each([
    ['of another audience', () => sign({ aud: 'shop' }), 'does not verify'],
    ['of another issuer', () => sign({ iss: 'https://other.example' }), 'no token of the issuer'],
    ['that has expired', () => sign({ iat: NOW - 300, exp: NOW }), 'has expired'],
    ['that lives too long', () => sign({ exp: NOW + 3_601 }), 'operators_sign_in.max_age'],
    ['of another client', () => sign({ azp: 'shop' }), 'given to another client'],
    ['without a name', () => sign({ sub: 'a\u0000b' }), 'no usable name'],
    ['that nobody signed', () => Promise.resolve(unsigned('none')), 'does not verify'],
    ['signed by a shared secret', () => Promise.resolve(unsigned('HS256')), 'does not verify'],
  ])('%s', async (_, token, why) => {
    const { at, enter, told } = world()
    const answer = await enter(await token(), 'list')
    expect(answer).toMatch(/^unauthenticated: /)
    expect(answer).toContain(why)
    expect([at.strangers, told]).toEqual([1, []])
  })
  test.each([[undefined], [7], [{ desk: true }], [['desk', 7]]])(
    'whose groups are %j says what is missing',
    async (groups) => {
      expect(await world().enter(await sign({ groups }), 'list')).toContain(
        'operator_refused: the token has no list of groups at /groups',
      )
    },
  )
  test.each([{ typ: 'ID' }, { at_hash: 'x' }])(
    'an ID token for an access token: %j',
    async (mark) => {
      const { enter } = world({ audience: 'deputy' })
      expect(await enter(await sign({ aud: 'deputy' }), 'list')).toBe('sso:ada')
      expect(await enter(await sign({ aud: 'deputy', ...mark }), 'list')).toContain(
        'is an ID token',
      )
      expect(await enter(await sign(mark), 'list')).toContain('does not verify')
    },
  )
})

test('the tenants of the claim bound what is seen, with break-glass too', async () => {
  const { enter, told } = world({ tenant: '/tenants' })
  const glass = { groups: ['glass'], auth_time: NOW, tenants: ['acme'] }
  for (const claims of [{ tenants: 'acme' }, { tenants: ['acme', 'b'] }, glass]) {
    expect(await enter(await sign(claims), 'revoke')).toBe('sso:ada')
    expect(await enter(await sign(claims), 'revoke', 'other')).toContain('does not serve')
  }
  expect(await enter(await sign(), 'list')).toContain('names no tenant at /tenants')
  expect(told.filter(([event]) => event === 'operator.refused')).toHaveLength(3)
})

describe('break-glass', () => {
  test('is recorded before it is used, told to the log, and used only where no other role would do', async () => {
    const { enter, told, warned } = world()
    const token = await sign({ groups: ['watch', 'glass'], auth_time: NOW - 60 })
    expect(await enter(token, 'list')).toBe('sso:ada')
    expect(told).toEqual([])
    expect(await enter(token, 'revoke')).toBe('sso:ada')
    const use = { operator: 'sso:ada', lacks: 'revoke', method: 'GET' }
    expect(told).toMatchObject([['operator.break_glass', use]])
    expect(warned).toMatchObject([use])
  })
  test('ends by itself, whatever is refreshed, and begins with a new sign-in', async () => {
    const { at, enter } = world()
    at.now = NOW + 3_600
    const times = { iat: at.now, exp: at.now + 300 }
    const old = await sign({ groups: ['glass'], auth_time: NOW, ...times })
    expect(await enter(old, 'revoke')).toContain('ended 3600 s after the sign-in: sign in again')
    const again = await sign({ groups: ['glass'], auth_time: at.now, ...times })
    expect(await enter(again, 'revoke')).toBe('sso:ada')
  })
  test.each([
    [{}, 'does not say when its person signed in'],
    [{ auth_time: 'now' }, 'does not say when its person signed in'],
    [{ auth_time: NOW + 999 }, 'signed in in the future'],
  ])('of a token with %j does not open', async (claims, why) => {
    const { enter, told } = world()
    expect(await enter(await sign({ groups: ['glass'], ...claims }), 'revoke')).toContain(why)
    expect(told).toMatchObject([['operator.refused', { lacks: 'break-glass' }]])
  })
})

test('nothing is done when the use of break-glass cannot be recorded', async () => {
  const gate = createGate({
    operators: [],
    signIn: {
      looksLike: () => true,
      operator: () =>
        Promise.resolve({
          name: 'sso:ada',
          may: [],
          sso: { id: 'ada', realm: 'r', roles: ['break-glass'], glass: { shut: null } },
        }),
    },
    onEvent: () => Promise.reject(new Problem('audit_unavailable', 'full')),
    stranger: () => undefined,
    mono: () => 0,
    log: { warn: () => undefined },
  })
  const app = new Hono()
  app.get('/', async (c) => c.text((await gate.enter(c, 'revoke')).name))
  app.onError((error, c) => c.text(toProblem(error).code))
  expect(await (await app.request('/')).text()).toBe('audit_unavailable')
})
