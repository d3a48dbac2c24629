// Tokens that no refresh can replace, and scopes by other names: what the provider says of them reaches the person.
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  AGENT,
  providersAt,
  startDeputy,
  TABLES,
  type Deputy,
  type Fields,
} from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const BEARER = 'canary-operator-bearer-00000000000000'
let upstream: Upstream
let deputy: Deputy
/** Answers of the API; userinfo says whom `good` tokens belong to, and is counted. */
let api: { status: number; headers?: Record<string, string>; body: string }
let alive = true
let asked = 0

const start = async (
  refresh: string | null,
  scopes: readonly string[],
  listed: readonly string[] = ['notes', 'public_repo', 'read', 'admin'],
): Promise<void> => {
  const [acme = {}, ...others] = providersAt(upstream.origin)
  const definition: Fields = {
    ...acme,
    userinfo: `${upstream.origin}/userinfo`,
    account: { from: 'userinfo', id: '/sub' },
    scope: { implies: { repo: ['public_repo'] }, aliases: { 'https://acme.test/read': 'read' } },
    unauthorized: { pointer: '/error', values: ['token_revoked'] },
    operations: [
      {
        id: 'acme.public',
        method: 'GET',
        path: '/public',
        access: 'read',
        scopes: [['public_repo']],
      },
      { id: 'acme.read', method: 'GET', path: '/read', access: 'read', scopes: [['read']] },
      ...((acme['operations'] ?? []) as readonly Fields[]),
    ],
  }
  deputy = await startDeputy({
    upstream: upstream.origin,
    tables: TABLES,
    people: [
      { id: 'alice', groups: ['staff'], roles: ['operator-run'] },
      { id: 'bob', groups: ['staff'] },
    ],
    config: {
      providers: [definition, ...others],
      operators: [{ name: 'ops', bearer: BEARER, may: ['runs'] }],
      connections: {
        acme: {
          provider: 'acme',
          client_id: 'deputy',
          client_secret: 'client-secret-of-acme-0123456789',
          scopes: listed,
        },
      },
    },
    held: [
      { person: 'alice', token: 'at-alice', refresh, scopes, expiresIn: null, agedMs: 60_000 },
      ...(refresh === null
        ? [{ person: 'bob', token: 'at-bob', scopes, expiresIn: null, agedMs: 60_000 }]
        : []),
    ],
  })
}
beforeEach(async () => {
  api = { status: 200, body: '{"ok":true}' }
  alive = true
  asked = 0
  upstream = await startUpstream()
  upstream.handle = (_seen, res, req) => {
    if (req.url === '/userinfo') {
      asked += 1
      res.writeHead(alive ? 200 : 401, { 'content-type': 'application/json' })
      res.end(alive ? '{"sub":"alice"}' : '{}')
      return
    }
    res.writeHead(api.status, { 'content-type': 'application/json', ...api.headers })
    res.end(api.body)
  }
})
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})

const call = async (path = '/notes/1', who = 'alice') => {
  const answer = await fetch(`${deputy.agent}/api.acme.test${path}`, {
    headers: { 'deputy-user': who },
  })
  const body = await answer.text()
  const told = JSON.parse(body === '' ? '{}' : body) as Fields
  return { status: answer.status, code: answer.headers.get('deputy-answer'), told }
}
const authorize = async (): Promise<Fields> => {
  const answer = await fetch(`${deputy.agent}/v1/auth/authorize`, {
    method: 'POST',
    headers: { 'deputy-user': 'alice', 'content-type': 'application/json' },
    body: JSON.stringify({
      user_id: 'alice',
      auth_requirement: { id: 'acme', oauth2: { scopes: ['notes'] } },
    }),
  })
  return (await answer.json()) as Fields
}

test('a token that its provider knows no more is the person’s to renew, also for authorize; another’s is not touched', async () => {
  await start(null, ['notes'])
  expect(await authorize()).toMatchObject({ status: 'completed' })
  api = { status: 401, body: '{}' }
  alive = false
  const first = await call()
  expect([first.status, first.code]).toEqual([403, 'reauthorization_required'])
  expect(first.told['url']).toMatch(new RegExp(`^${deputy.connect}/connect/`))
  expect(await authorize()).toMatchObject({ status: 'pending' })
  await call()
  expect(asked).toBe(1)
  alive = true
  expect((await call('/notes/1', 'bob')).status).toBe(401)
})

test('a 401 for a token that its provider still knows passes, and is not asked about at each call', async () => {
  await start(null, ['notes'])
  api = { status: 401, body: '{"of":"the provider"}' }
  for (let n = 0; n < 3; n += 1)
    expect(await call()).toMatchObject({ status: 401, code: null, told: { of: 'the provider' } })
  expect(asked).toBe(1)
  api = { status: 200, body: '{"ok":true}' }
  expect((await call()).status).toBe(200)
})

test('a 200 that means 401 does the same, and with a refresh token is refreshed', async () => {
  await start(null, ['notes'])
  api = { status: 200, body: '{"ok":false,"error":"token_revoked"}' }
  alive = false
  expect((await call()).code).toBe('reauthorization_required')
  await deputy.close()
  await start('rt-alice-1', ['notes'])
  const before = upstream.refreshes.length
  // One refresh; what is said then is the provider's own answer.
  expect(await call()).toMatchObject({ status: 200, told: { error: 'token_revoked' } })
  expect(upstream.refreshes.length).toBe(before + 1)
})

test('a 200 with another word passes byte for byte', async () => {
  await start(null, ['notes'])
  api = { status: 200, body: '{"ok":false,"error":"channel_not_found"}' }
  expect(await call()).toMatchObject({
    status: 200,
    told: { ok: false, error: 'channel_not_found' },
  })
  expect(asked).toBe(0)
})

test('a 403 that names a scope which the connection may ask for becomes its consent; any other passes', async () => {
  await start(null, ['notes'])
  const challenge = (scope: string) => ({
    status: 403,
    headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
    body: '{}',
  })
  api = challenge('notes admin')
  const { status, code, told } = await call()
  expect([status, code, told['scopes']]).toEqual([403, 'consent_required', ['admin']])
  for (const scope of ['notes', 'not.listed', 'admin not.listed', '']) {
    api = challenge(scope)
    expect(await call()).toMatchObject({ status: 403, code: null })
  }
})

test('a scope that the granted one contains, or that has another name, is not asked for', async () => {
  await start(null, ['repo', 'https://acme.test/read'])
  for (const path of ['/public', '/read']) expect((await call(path)).status).toBe(200)
})

test('where only the wider scope may be asked for, the consent asks for that one', async () => {
  await start(null, ['notes'], ['notes', 'repo'])
  const { status, code, told } = await call('/public')
  expect([status, code, told['scopes']]).toEqual([403, 'consent_required', ['repo']])
})

test('a 403 that wants more than the operations of a run need begins no consent for it', async () => {
  await start(null, ['notes'])
  const minted = await fetch(`${deputy.connect}/v1/admin/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${BEARER}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      user_id: 'alice',
      agent: AGENT,
      connections: ['acme'],
      operations: ['acme.get', 'acme.public'],
      expires_in: 60,
    }),
  })
  const { token, detail } = (await minted.json()) as Fields
  expect([minted.status, detail]).toEqual([201, undefined])
  api = {
    status: 403,
    headers: { 'www-authenticate': 'Bearer error="insufficient_scope", scope="admin"' },
    body: '{}',
  }
  const { status, code, told } = await call('/notes/1', String(token))
  expect([status, code, told['reasons'], told['url']]).toEqual([
    403,
    'policy_denied',
    ['run_scope'],
    undefined,
  ])
  // What one of its operations needs may be asked for.
  expect(await call('/public', String(token))).toMatchObject({ code: 'consent_required' })
})
