// A whole deputy with the starter policy: the page tells, and the provider is asked for, only what policy lets a person do.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type {
  Connection,
  Entitlements,
  OperationRow,
  PolicyEngine,
  Principal,
} from '../../proxy/model.ts'
import { createAllowed, useful, type AllowedDeps } from '../../proxy/consent/allowed.ts'
import { Problem } from '../../proxy/problem.ts'
import { createDecide } from '../../proxy/pipeline/decide.ts'
import { createBrowser } from '../support/browser.ts'
import { startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { provider as bare } from '../wire/fixture.ts'

const row = (id: string, method: string, access: string, scopes: readonly string[]) => ({
  id,
  method,
  path: `/${id}`,
  access,
  scopes: [scopes],
})
const TRACKER = {
  id: 'acme',
  name: 'Acme',
  authorize: 'http://127.0.0.1:9/authorize',
  token: 'http://127.0.0.1:9/token',
  hosts: { 'api.acme.test': 'http://127.0.0.1:9' },
  scopes: { repo: 'Read and change your repositories' },
  operations: [
    row('issues.list', 'GET', 'read', ['repo']),
    row('issues.create', 'POST', 'write', ['repo']),
    row('hooks.set', 'PUT', 'admin', ['repo']),
    row('members.remove', 'DELETE', 'admin', ['org']),
    row('wiki.list', 'GET', 'read', ['wiki']),
    row('me.get', 'GET', 'admin', ['openid']),
  ],
}
const SCOPES = ['repo', 'org', 'wiki', 'openid', 'nobody-knows']

describe('a whole deputy', () => {
  let deputy: Deputy
  beforeAll(async () => {
    deputy = await startDeputy({
      upstream: 'http://127.0.0.1:9',
      tables: TABLES,
      config: {
        providers: [TRACKER],
        connections: {
          acme: { provider: 'acme', client_id: 'x', client_secret: 'y', scopes: SCOPES },
        },
      },
    })
  })
  afterAll(() => deputy?.close())

  const post = async (path: string, body: object) => {
    const response = await fetch(`${deputy.agent}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'deputy-user': 'alice' },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  const authorize = (scopes: readonly string[]) =>
    post('/v1/auth/authorize', {
      user_id: 'alice',
      auth_requirement: { id: 'acme', oauth2: { scopes } },
    })
  const pageAt = async (url: unknown, language = 'en') => {
    const browser = createBrowser()
    const asks = await browser.open(String(url))
    const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
    const headers = { 'accept-language': language }
    await browser.submit(asks, { code }, { headers })
    const cookie = [...(browser.cookies.get(new URL(String(url)).host) ?? [])]
      .map(([name, value]) => `${name}=${value}`)
      .join('; ')
    const page = await fetch(String(url), { headers: { cookie, ...headers } })
    return (await page.text()).replaceAll(/\s+/g, ' ')
  }

  test('a scope of which policy allows no operation is not asked for, and the page does not name it', async () => {
    const begun = await authorize(SCOPES)
    expect(begun).toMatchObject({ status: 200, body: { status: 'pending' } })
    expect(begun.body['scopes']).toEqual(['nobody-knows', 'openid', 'repo', 'wiki'])
    const page = await pageAt(begun.body['url'])
    expect(page).not.toContain('<code>org</code>')
    expect(page).not.toContain('members')
    // Of what the scope opens, the part that policy allows; wiki is allowed whole.
    expect(page).toContain(
      '<span class="line">Read: issues</span><span class="line">Create and change: issues</span>' +
        '<span class="line soft">Acme words it more widely: Read and change your repositories</span>',
    )
    expect(page).not.toContain('hooks')
    expect(page).not.toContain('>Administer<')
    expect(page).toMatch(/<span class="line">Read: wiki<\/span>\s*<code>wiki<\/code>/)
    // A plain authorize wants no operation.
    expect(page).not.toContain('because it wants to')
  })

  test('a scope alone of which policy allows nothing is refused, and says why', async () => {
    expect(await authorize(['org'])).toMatchObject({
      status: 403,
      body: {
        code: 'policy_denied',
        reasons: ['scope_unused'],
        detail: 'The security policy allows no operation at acme for which org would be used.',
      },
    })
  })

  test('the operation that a call wanted stands on the page, in words and with its id', async () => {
    const call = await fetch(`${deputy.agent}/acme@api.acme.test/issues.create`, {
      method: 'POST',
      headers: { 'deputy-user': 'alice' },
    })
    expect(call.status).toBe(403)
    const { code, url } = (await call.json()) as { code: string; url: string }
    expect(code).toBe('consent_required')
    expect(await pageAt(url)).toContain(
      'laptop asks because it wants to do this: <strong>Create and change: issues</strong> <code>issues.create</code>',
    )
    expect(await pageAt(url, 'de')).toContain(
      'laptop fragt an, um Folgendes zu tun: <strong>Anlegen und ändern: issues</strong> <code>issues.create</code>',
    )
  })

  test('so does the one of tools/authorize', async () => {
    const begun = await post('/v1/tools/authorize', { tool_name: 'wiki.list', user_id: 'alice' })
    expect(await pageAt(begun.body['url'])).toContain('<code>wiki.list</code>')
  })
})

const operation = (id: string, access: OperationRow['access'], scope: string): OperationRow => ({
  id,
  access,
  scopes: [[scope]],
  inspect: [],
  rewrite: [],
  upload: false,
  method: 'GET',
  path: '/',
  host: null,
})
const MANY = Array.from({ length: 500 }, (_, i) => operation(`thing.n${i}`, 'read', 'many'))
const connection: Connection = {
  name: 'acme',
  provider: {
    ...bare,
    operations: [
      operation('a.read', 'read', 'wide'),
      operation('a.write', 'write', 'narrow'),
      operation('b.write', 'write', 'only'),
      ...MANY,
    ],
    scopeReach: new Map([['wide', ['wide', 'narrow']]]),
    scopeAlways: ['always'],
  },
  clientId: 'x',
  clientSecret: null,
  scopes: ['wide', 'narrow', 'only', 'many'],
}
const principal: Principal = {
  person: { tenant: 'default', realm: 'local', id: 'alice' },
  agent: 'triage',
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
}
const entitlements: Entitlements = {
  active: true,
  groups: [],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: 'sha256:x',
  asOf: null,
}
/** @param tick ms that the clock goes on by with each look */
const allowedBy = (
  decides: (id: string) => boolean,
  change: Partial<AllowedDeps> = {},
  tick = 0,
) => {
  const asked: string[] = []
  let now = 0
  const clock = { now: () => 0, mono: () => (now += tick) }
  const policy: PolicyEngine = {
    revision: 'r',
    asks: { zones: [], history: null },
    digest: 'sha256:d',
    evaluate: (input, repeated = []) => {
      const text = `${input.slice(0, -1)}${repeated.map(([name, value]) => `,"${name}":${value}`).join('')}}`
      const { id } = (JSON.parse(text) as { operation: { id: string } }).operation
      asked.push(id)
      const allow = decides(id)
      return {
        version: 1,
        allow,
        reasons: allow ? [] : [{ code: 'not_granted', msg: '' }],
        required_scopes: [],
        obligations: {},
        max_entitlement_age_s: 60,
        grants: [],
      }
    },
    close: async () => {},
  }
  const of = createAllowed({
    policy: () => policy,
    entitlements: () => ({ entitlements, ageMs: () => 0 }),
    vault: { look: async () => ({ kind: 'none' }) },
    decide: createDecide(
      clock,
      () => 'd',
      () => {},
    ),
    newId: () => 'q',
    clock,
    grants: () => null,
    ...change,
  })
  return {
    asked,
    of: (scopes: readonly string[], one?: 'one') => of(principal, connection, scopes, one),
  }
}

test('only operations that the scopes are for are asked about, also through what a scope contains', async () => {
  const { of, asked } = allowedBy((id) => id === 'a.write')
  const allowed = await of(['wide'])
  expect(asked).toEqual(['a.read', 'a.write'])
  expect([...allowed]).toEqual(['a.write'])
  expect(useful(connection, ['wide'], allowed)).toEqual(['wide'])
  expect(useful(connection, ['only', 'openid', 'always', 'unheard-of'], allowed)).toEqual([
    'openid',
    'always',
    'unheard-of',
  ])
})

test('where one of a scope is enough, no more are asked about', async () => {
  const { of, asked } = allowedBy((id) => id !== 'a.read')
  const scopes = ['wide', 'narrow', 'many', 'openid']
  expect(useful(connection, scopes, await of(scopes, 'one'))).toEqual(scopes)
  expect(asked).toEqual(['a.read', 'a.write', 'thing.n0'])
})

test('without a policy, or with one that fails, nothing is allowed', async () => {
  expect((await allowedBy(() => true, { policy: () => null }).of(['wide'])).size).toBe(0)
  const broken: PolicyEngine = {
    revision: '',
    asks: { zones: [], history: null },
    digest: '',
    evaluate: () => ({ failed: 'policy_error', detail: 'x' }),
    close: async () => {},
  }
  expect((await allowedBy(() => true, { policy: () => broken }).of(['wide'])).size).toBe(0)
})

test('facts that are too old to write by leave what may be read; none at all is said', async () => {
  const stale = new Problem('entitlements_unavailable', 'too old')
  const aged: AllowedDeps['entitlements'] = (_, access) => {
    if (access !== 'read') throw stale
    return { entitlements, ageMs: () => 0 }
  }
  const { of } = allowedBy(() => true, { entitlements: aged })
  expect([...(await of(['wide']))]).toEqual(['a.read'])
  await expect(of(['only'])).rejects.toBe(stale)
})

test('what a person lifts later is allowed, and it is asked as a list is', async () => {
  const reasons = new Map<string, readonly string[]>([
    ['a.read', ['approval_required', 'connection_missing']],
    ['a.write', ['step_up_required', 'no_grant']],
  ])
  const asked: string[] = []
  const policy: PolicyEngine = {
    revision: 'r',
    digest: 'd',
    asks: { zones: [], history: null },
    evaluate: (input, repeated = []) => {
      const text = `${input.slice(0, -1)}${repeated.map(([name, value]) => `,"${name}":${value}`).join('')}}`
      const {
        operation,
        request,
        asked: list,
      } = JSON.parse(text) as {
        operation: { id: string }
        request: { segments: string[] }
        asked?: string
      }
      asked.push(`${list} ${request.segments.join('/')}`)
      return {
        version: 1,
        allow: false,
        reasons: (reasons.get(operation.id) ?? []).map((code) => ({ code, msg: '' })),
        required_scopes: [],
        obligations: {},
        max_entitlement_age_s: 60,
        grants: [],
      }
    },
    close: async () => {},
  }
  // The template of these operations is the root.
  const row = { path: ['*'], operations: ['a.*'], access: ['write'] }
  const { of } = allowedBy(() => true, {
    policy: () => policy,
    grants: () => ({ [connection.provider.id]: { a: row, b: { ...row, path: ['pub*'] } } }),
  })
  expect([...(await of(['wide']))]).toEqual(['a.read'])
  expect(asked).toEqual(['list ', 'list '])
})

test('five hundred operations are one short pause, and a slow policy is not waited for', async () => {
  const { of, asked } = allowedBy(() => true)
  let others = 0
  const beat = setInterval(() => (others += 1), 0)
  expect((await of(['many'])).size).toBe(500)
  clearInterval(beat)
  expect(asked).toHaveLength(500)
  expect(others).toBeGreaterThan(0)
  await expect(allowedBy(() => true, {}, 10).of(['many'])).rejects.toMatchObject({
    code: 'policy_unavailable',
  })
})
