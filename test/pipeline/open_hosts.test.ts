import { expect, test } from 'vitest'
import { parseProvider } from '../../proxy/providers/parse.ts'
import type { Connection, Injected } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { createClassify } from '../../proxy/pipeline/classify.ts'
import { createCredentials } from '../../proxy/pipeline/credential.ts'
import { buildRoutes, matchRoute, serves } from '../../proxy/pipeline/route.ts'

const parsed = parseProvider(
  {
    id: 'crm',
    authorize: 'https://login.crm.example/authorize',
    token: 'https://login.crm.example/token',
    host_from_token: { suffixes: ['.my.crm.example'] },
    operations: [{ id: 'query', method: 'GET', path: '/query', access: 'read', scopes: [[]] }],
  },
  'crm.yaml',
)
if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
const connection = (name: string): Connection => ({
  name,
  provider: parsed.provider,
  clientId: 'c',
  clientSecret: null,
  scopes: [],
})
const get = (url: string, host = '127.0.0.1:7410') => ({ url, method: 'GET', headers: { host } })
const one = buildRoutes([connection('crm')])

test('a host that fits the suffix is routed by its own name, in path, Host header and absolute form', () => {
  for (const request of [
    get('/acme.my.crm.example/query'),
    get('/query', 'acme.my.crm.example.localhost:7410'),
    get('http://acme.my.crm.example/query'),
    get('/crm@ACME.my.crm.example/query'),
  ]) {
    const route = matchRoute(one, request, null)
    expect(route).toMatchObject({
      host: 'acme.my.crm.example',
      origin: 'https://acme.my.crm.example',
      asset: false,
    })
    expect(createClassify([parsed.provider])(route).operation.id).toBe('query')
  }
})

test('a host that does not fit is none', () => {
  for (const host of [
    'my.crm.example',
    'acme.my.crm.example.evil.example',
    'xmy.crm.example',
    'login.crm.example',
    '.my.crm.example',
    'a..my.crm.example',
  ])
    expect(() => matchRoute(one, get(`/${host}/query`), null)).toThrow(/host|serves/)
  expect(serves(one, 'acme.my.crm.example')).toBe(true)
  expect(serves(one, 'evil.example')).toBe(false)
})

test('two connections that fit are ambiguous, and the caller chooses', () => {
  const two = buildRoutes([connection('crm'), connection('other')])
  expect(() => matchRoute(two, get('/acme.my.crm.example/query'), null)).toThrow(
    expect.objectContaining({ code: 'connection_ambiguous' }),
  )
  expect(matchRoute(two, get('/other@acme.my.crm.example/query'), null).connection.name).toBe(
    'other',
  )
})

test('the token goes to the person’s own host only, before and after a 401', async () => {
  const stored = {
    id: 'k',
    person: { tenant: 't', realm: 'r', id: 'alice' },
    connection: 'crm',
    account: 'a',
    status: 'active' as const,
    generation: 1,
    scopes: [],
    access: secret('at'),
    refresh: secret('rt'),
    expiresAt: null,
    storedAt: 0,
    host: 'acme.my.crm.example',
  }
  let now: typeof stored = stored
  const vault = { open: () => Promise.resolve(now) }
  const credentials = createCredentials({
    alive: () => Promise.resolve('unknown'),
    vault: vault as unknown as Parameters<typeof createCredentials>[0]['vault'],
    fresh: () => Promise.resolve({ credential: now, refreshed: false }),
    atHand: () => null,
    now: () => 1_000_000,
    outcome: () => {},
  })
  const held = {
    kind: 'held',
    credential: 'k',
    status: 'active',
    account: 'a',
    generation: 1,
    scopes: [],
    granted: [],
  } as const
  const taken: Injected = await credentials.take(
    held,
    connection('crm'),
    'acme.my.crm.example',
    'a',
  )
  expect(taken.host).toBe('acme.my.crm.example')
  for (const host of ['globex.my.crm.example', 'ACME.my.crm.example', ''])
    await expect(credentials.take(held, connection('crm'), host, 'a')).rejects.toMatchObject({
      code: 'route_not_found',
    })
  // Connected anew meanwhile, at another host: what was routed to the old one gets no new token.
  now = { ...stored, generation: 2, host: 'globex.my.crm.example' }
  expect(await credentials.again(taken, connection('crm'), 'status', 'a')).toBeNull()
  now = { ...stored, generation: 2 }
  expect(await credentials.again(taken, connection('crm'), 'status', 'a')).toMatchObject({
    generation: 2,
  })
})
