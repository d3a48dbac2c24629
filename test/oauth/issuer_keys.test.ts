// The keys of an issuer that is away, slow, moved, huge or without names: one rule for new and for remembered tags.
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { moveClocks } from '../support/clocks.ts'
import type { Clocks } from '../support/clocks.ts'
import { CLIENT_SECRET, prepareFolder, startDeputy } from '../support/deputy.ts'
import type { Deputy, Fields, Setup } from '../support/deputy.ts'
import { AUDIENCE, startIssuer } from '../support/issuer.ts'
import type { Issuer } from '../support/issuer.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const PEOPLE = ['alice', 'bob']
let upstream: Upstream
let issuer: Issuer
let other: Issuer
let clocks: Clocks
let deputy: Deputy

beforeAll(async () => {
  upstream = await startUpstream()
  for (const id of PEOPLE) upstream.people.set(`at-${id}-0123456789`, id)
})
afterAll(() => upstream.close())
beforeEach(async () => {
  issuer = await startIssuer()
  other = await startIssuer()
  clocks = moveClocks()
})
afterEach(async () => {
  clocks.restore()
  await deputy.close()
  issuer.close()
  other.close()
})

/** One issuer each for two realms. */
const setup = (identity: Fields, first: Fields = {}): Setup => ({
  upstream: upstream.origin,
  people: PEOPLE.flatMap((id) =>
    ['corp', 'other'].map((realm) => ({ id, realm, groups: ['staff'] })),
  ),
  held: PEOPLE.flatMap((id) =>
    ['corp', 'other'].map((realm) => ({
      person: { tenant: 'default', realm, id },
      agent: 'agent-1',
      token: `at-${id}-0123456789`,
      expiresIn: null,
    })),
  ),
  config: {
    connections: {
      acme: {
        provider: 'acme',
        client_id: 'deputy',
        client_secret: CLIENT_SECRET,
        scopes: ['notes'],
      },
    },
    identity: {
      trust: 'asserted',
      issuers: [
        { issuer: issuer.url, realm: 'corp', audience: AUDIENCE, ...first },
        { issuer: other.url, realm: 'other', audience: AUDIENCE },
      ],
      ...identity,
    },
    connect: { sign_in: { issuer: issuer.url, client_id: 'pages' } },
  },
})
const start = async (identity: Fields = {}, first: Fields = {}): Promise<void> => {
  deputy = await startDeputy(setup(identity, first))
}
const ask = async (tag: string): Promise<string> => {
  const response = await fetch(`${deputy.agent}/api.acme.test/a`, {
    headers: { 'deputy-user': tag },
  })
  const body = (await response.json()) as { readonly login?: string }
  return `${response.status} ${response.headers.get('deputy-answer') ?? body.login ?? ''}`
}
/** Time passes, and the file of people, which nobody looked at meanwhile, is looked at again. */
const pass = async (ms: number): Promise<void> => {
  clocks.pass(ms)
  const tag = await other.sign({ sub: 'bob' })
  await expect.poll(() => ask(tag)).toBe('200 bob')
}
const keysAsked = (): number => issuer.asked.filter((path) => path === issuer.keysAt).length

describe('an issuer that cannot be asked', () => {
  test('known keys serve new and remembered tags for identity.jwks_grace; then both are 503, and others’ tags go on', async () => {
    await start({ jwks_grace: '2m' })
    const [remembered, fresh, another] = await Promise.all([
      issuer.sign({ sub: 'alice' }),
      issuer.sign({ sub: 'bob' }),
      other.sign({ sub: 'bob' }),
    ])
    expect(await ask(remembered)).toBe('200 alice')
    issuer.down = true
    await pass(100_000)
    expect([await ask(remembered), await ask(fresh)]).toEqual(['200 alice', '200 bob'])
    await pass(30_000)
    expect([
      await ask(remembered),
      await ask(fresh),
      await ask(await issuer.sign({ sub: 'bob' })),
      await ask(another),
    ]).toEqual([
      '503 issuer_unavailable',
      '503 issuer_unavailable',
      '503 issuer_unavailable',
      '200 bob',
    ])
    issuer.down = false
    expect([await ask(remembered), await ask(fresh)]).toEqual(['200 alice', '200 bob'])
  })
  test('a key that nobody knows is 503 then, not 401', async () => {
    await start()
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    await issuer.rotate('k2')
    issuer.down = true
    // Also when deputy asks no more, because it asked just now.
    for (let n = 0; n < 6; n++)
      expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('503 issuer_unavailable')
    issuer.down = false
    await pass(6_000)
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
  })
  test('one that never answers costs a call its deadline, and no other person anything', async () => {
    await start()
    issuer.hangs = true
    const [slow, quick] = [ask(await issuer.sign({ sub: 'alice' })), other.sign({ sub: 'bob' })]
    expect(await ask(await quick)).toBe('200 bob')
    expect(await slow).toBe('503 issuer_unavailable')
  })
  test('a set that is too long, none, there twice or no JSON is none', async () => {
    await start()
    const tag = await issuer.sign({ sub: 'alice' })
    const sets = [
      `{"keys":[],"x":"${'x'.repeat(256 * 1024)}"}`,
      '{"keys":{}}',
      `{"keys":[],${issuer.published().slice(1)}`,
      '<html>',
    ]
    for (const set of sets) {
      issuer.instead = set
      const before = keysAsked()
      expect(await ask(tag)).toBe('503 issuer_unavailable')
      expect(keysAsked()).toBeGreaterThan(before)
      await pass(6_000) // so that it may be asked again
    }
    issuer.instead = null
    expect(await ask(tag)).toBe('200 alice')
  })
})

describe('keys that change', () => {
  test('each of several keys without a name is tried, and a new one is found', async () => {
    issuer.named = false
    await issuer.rotate('k2')
    await start()
    for (const kid of ['k1', 'k2'])
      expect(await ask(await issuer.sign({ sub: 'alice' }, kid, false))).toBe('200 alice')
    await issuer.rotate('k3')
    expect(await ask(await issuer.sign({ sub: 'bob' }, 'k3', false))).toBe('200 bob')
    const forged = (await issuer.sign({ sub: 'bob' }, 'k1', false)).split('.')
    const signature = (await issuer.sign({ sub: 'alice' }, 'k1', false)).split('.')[2] ?? ''
    expect(await ask([forged[0], forged[1], signature].join('.'))).toBe('401 unauthenticated')
  })
  test('an unknown key asks discovery again: the set may have moved', async () => {
    await start()
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    issuer.keysAt = '/moved'
    await issuer.rotate('k2')
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
  })
  test('discovery is asked again every hour', async () => {
    await start()
    const discoveries = (): number =>
      issuer.asked.filter((path) => path.endsWith('openid-configuration')).length
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    await pass(1_800_000)
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    expect(discoveries()).toBe(1)
    issuer.keysAt = '/moved'
    await pass(1_801_000)
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    expect(discoveries()).toBe(2)
  })
  test('a key that left ends the tags that are remembered by it', async () => {
    await start({ jwks_grace: '2m' })
    const old = await issuer.sign({ sub: 'alice' })
    expect(await ask(old)).toBe('200 alice')
    await issuer.rotate('k2')
    issuer.keep('k2')
    // Seen by whatever asks next: here by the tag of somebody else.
    expect(await ask(await issuer.sign({ sub: 'bob' }))).toBe('200 bob')
    expect(await ask(old)).toBe('401 unauthenticated')
  })
  test('invented key names do not make deputy hammer the issuer', async () => {
    await start()
    expect(await ask(await issuer.sign({ sub: 'alice' }))).toBe('200 alice')
    const before = keysAsked()
    const [, claims, signature] = (await issuer.sign({ sub: 'bob' })).split('.')
    const invented = Array.from({ length: 60 }, (_, i) =>
      [Buffer.from(`{"alg":"RS256","kid":"k-${i}"}`).toString('base64url'), claims, signature].join(
        '.',
      ),
    )
    expect(new Set(await Promise.all(invented.map(ask)))).toEqual(new Set(['401 unauthenticated']))
    expect(keysAsked() - before).toBeLessThanOrEqual(8)
    await issuer.rotate('k2')
    await pass(6_000)
    expect(await ask(await issuer.sign({ sub: 'bob' }))).toBe('200 bob')
  })
})

describe('a key set in a file', () => {
  test('is followed; one that cannot be read serves for the grace and is 503 after it', async () => {
    const dir = await prepareFolder(setup({ jwks_grace: '3s' }, { jwks: './jwks.json' }))
    const path = join(dir, 'jwks.json')
    const write = (text: string): void => {
      writeFileSync(`${path}.new`, text)
      renameSync(`${path}.new`, path)
    }
    write(issuer.published())
    deputy = await startDeputy(setup({}), dir)
    const old = await issuer.sign({ sub: 'alice' })
    expect(await ask(old)).toBe('200 alice')
    await issuer.rotate('k2')
    issuer.keep('k2')
    write(issuer.published())
    await expect.poll(() => ask(old)).toBe('401 unauthenticated')
    const next = await issuer.sign({ sub: 'alice' })
    expect(await ask(next)).toBe('200 alice')
    write('{"keys":')
    await expect.poll(() => ask(next)).toBe('503 issuer_unavailable')
    rmSync(path)
    expect(await ask(next)).toBe('503 issuer_unavailable')
    write(issuer.published())
    await expect.poll(() => ask(next)).toBe('200 alice')
    expect(issuer.asked).toEqual([])
  })
  test('that is none refuses the start and says where', async () => {
    const dir = await prepareFolder(setup({}, { jwks: './jwks.json' }))
    writeFileSync(join(dir, 'jwks.json'), `{"keys":[],"keys":[]}`)
    await expect(startDeputy(setup({}), dir)).rejects.toThrow(
      'identity.issuers.0.jwks: ./jwks.json is no JWKS: the key "keys" stands twice in one object',
    )
    await start()
  })
})

test('a tag with a member twice is refused, whoever signed it', async () => {
  await start()
  const now = Math.floor(Date.now() / 1_000)
  const claims = (more: string): string =>
    `{"iss":"${issuer.url}","aud":"${AUDIENCE}","act":{"sub":"agent-1"},"iat":${now},"exp":${now + 600},${more}}`
  expect(await ask(await issuer.signText(claims('"sub":"alice"')))).toBe('200 alice')
  for (const more of [
    '"sub":"alice","sub":"bob"',
    '"sub":"alice","s\\u0075b":"bob"',
    '"sub":"alice","exp":9999999999',
    '"sub":"alice","x":{"y":1,"y":2}',
  ])
    expect([more, await ask(await issuer.signText(claims(more)))]).toEqual([
      more,
      '401 unauthenticated',
    ])
  const header = '{"alg":"RS256","kid":"k1","kid":"k1"}'
  expect(await ask(await issuer.signText(claims('"sub":"alice"'), header))).toBe(
    '401 unauthenticated',
  )
})
