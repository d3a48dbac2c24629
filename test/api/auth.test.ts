// The authorization API over real HTTP, with the unmodified client that people have.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import Arcade from '@arcadeai/arcadejs'
import { getRequestListener } from '@hono/node-server'
import type { Person, Principal } from '../../proxy/model.ts'
import { createAuthApi } from '../../proxy/api/auth.ts'
import type { ApiDeps } from '../../proxy/api/auth.ts'
import { Problem } from '../../proxy/problem.ts'
import { ALICE, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'
import { conforming } from '../support/openapi.ts'
import { paced } from '../support/pace.ts'

const principal = (person: Person, agent = 'agent:triage'): Principal => ({
  person,
  agent,
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
})
const TAGS = new Map([
  ['dpr_alice', principal(ALICE)],
  ['dpr_bob', principal({ ...ALICE, id: 'bob' })],
  ['dpr_alice_other', principal(ALICE, 'agent:other')],
])
const slot = (rawHeaders: readonly string[]): string | undefined =>
  rawHeaders[rawHeaders.findIndex((name) => name.toLowerCase() === 'authorization') + 1]

let house: Consent
let base = ''
let permitted: { readonly who: Principal; readonly connection: string; readonly wanted: object }[] =
  []
let permit: ApiDeps['permit']
let plainPerson: ApiDeps['plainPerson'] = null
const server = createServer()
beforeAll(async () => {
  house = await startConsent()
  const app = createAuthApi({
    polls: { enter: () => () => undefined },
    identify: async (rawHeaders) => {
      const who = TAGS.get(slot(rawHeaders) ?? '')
      if (who === undefined) throw new Problem('unauthenticated', 'the call has no tag')
      return who
    },
    get plainPerson() {
      return plainPerson
    },
    permit: async (who, connection, wanted) => {
      permitted = [...permitted, { who, connection, wanted }]
      return permit(who, connection, wanted)
    },
    flows: house.flows,
    asks: house.asking.asks,
    connections: () => house.connections,
    agentOf: () => null,
    tool: async (name) => {
      throw new Problem('tool_not_found', `there is no tool ${name}`)
    },
    returnTo: ['https://app.example'],
    publicUrl: house.publicUrl,
    newId: () => 'exchange-1',
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  })
  const listener = getRequestListener(app.fetch)
  server.on('request', (request, response) => void listener(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await house.close()
})
beforeEach(() => {
  permitted = []
  plainPerson = null
  permit = async (_who, _connection, wanted) => ({
    scopes: 'scopes' in wanted ? wanted.scopes : [],
    held: false,
  })
})

const client = (apiKey = 'dpr_alice') =>
  new Arcade({ apiKey, baseURL: base, maxRetries: 0, fetch: conforming })
const authorize = (body: unknown, headers: Record<string, string> = {}) =>
  conforming(`${base}/v1/auth/authorize`, {
    method: 'POST',
    headers: { authorization: 'dpr_alice', 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
const wanting = (requirement: object, more: object = {}) => ({
  user_id: 'alice',
  auth_requirement: requirement,
  ...more,
})

test('the unmodified Arcade client starts an authorization and waits until the person has completed it', async () => {
  const started = await client().auth.start('alice', 'second', { scopes: ['openid', 'repo'] })
  expect(started).toMatchObject({
    id: expect.stringMatching(/^ac_[0-9a-f]{64}$/),
    status: 'pending',
    url: expect.stringContaining(`${house.publicUrl}/connect/`),
    user_id: 'alice',
    provider_id: 'second',
    scopes: ['openid', 'repo'],
    context: {},
  })
  const waiting = client().auth.waitForCompletion(started)
  const flow = await house.flows.byAuthorizationId(started.id ?? '')
  if (flow === null) throw new Error('no flow')
  const redirectUri = house.redirectUri('second')
  const { location, cookie } = await house.flows.leg(flow, redirectUri)
  const callback = new URL(await house.provider.consent(location, 'alice-acme'))
  await house.flows.finish({
    connection: 'second',
    params: callback.searchParams,
    cookie,
    person: ALICE,
    verified: true,
    redirectUri,
  })
  const completed = await waiting
  expect(completed).toMatchObject({ status: 'completed', context: {} })
  expect(JSON.stringify(completed)).not.toContain('token')
})

test('policy is asked before any flow exists, and its no leaves none', async () => {
  permit = async () => {
    throw new Problem('policy_denied', 'policy refused: not a maintainer')
  }
  house.events.length = 0
  const denied = client().auth.start('alice', 'second', { scopes: ['mail'] })
  await expect(denied).rejects.toMatchObject({
    status: 403,
    message: expect.stringContaining('not a maintainer'),
  })
  expect(permitted).toMatchObject([{ connection: 'second', wanted: { scopes: ['mail'] } }])
  expect(house.events).toEqual([])
})

test('what is held already is completed at once, without a link, and its id can be asked for', async () => {
  permit = async () => ({ scopes: ['repo'], held: true })
  const done = await client().auth.start('alice', 'acme', { scopes: ['repo'] })
  expect(done).toMatchObject({ status: 'completed' })
  expect(done).not.toHaveProperty('url')
  expect(await client().auth.waitForCompletion(done)).toEqual(done)
  expect(await client().auth.status({ id: done.id ?? '' })).toMatchObject({ status: 'completed' })
})

test('status answers only who began: another person, another agent and a guess are told that there is none', async () => {
  const { id = '' } = await client().auth.start('alice', 'acme', { scopes: ['openid'] })
  expect(await client().auth.status({ id })).toMatchObject({ status: 'pending' })
  for (const key of ['dpr_bob', 'dpr_alice_other'])
    await expect(client(key).auth.status({ id })).rejects.toMatchObject({ status: 404 })
  await expect(client().auth.status({ id: 'ac_x' })).rejects.toMatchObject({ status: 404 })
  await expect(client('dpr_nobody').auth.status({ id })).rejects.toMatchObject({ status: 401 })
})

test('a failed authorization says failed and why', async () => {
  const { id = '' } = await client().auth.start('alice', 'acme', { scopes: ['mail'] })
  const flow = await house.flows.byAuthorizationId(id)
  if (flow !== null) await house.flows.decline(flow, true)
  const answer = await client().auth.status({ id, wait: 59 })
  expect(answer).toMatchObject({ status: 'failed', failure: 'denied' })
})

test('the unmodified client that waits for nothing but completed hears an error after failed, and stops', async () => {
  const started = await client().auth.start('alice', 'acme', { scopes: ['openid', 'mail'] })
  const waiting = client().auth.waitForCompletion(started)
  const flow = await house.flows.byAuthorizationId(started.id ?? '')
  if (flow !== null) await house.flows.decline(flow, true)
  const began = performance.now()
  await expect(waiting).rejects.toMatchObject({
    status: 410,
    message: expect.stringContaining('Nothing was connected: the request was declined.'),
    error: { code: 'authorization_failed' },
  })
  expect(performance.now() - began).toBeLessThan(paced(2_000))
  // Whoever asks how it stands is told so, as often as they like.
  for (let i = 0; i < 3; i += 1)
    expect(await client().auth.status({ id: started.id ?? '' })).toMatchObject({
      status: 'failed',
      failure: 'denied',
      detail: expect.stringMatching(/^Nothing was connected: .*\.$/),
    })
})

const REFUSED: readonly (readonly [string, unknown, number, string])[] = [
  [
    'a user_id that is not the tag’s',
    { ...wanting({ id: 'acme' }), user_id: 'bob' },
    400,
    'user_id',
  ],
  [
    'a scope outside the connection’s',
    wanting({ id: 'acme', oauth2: { scopes: ['openid', 'admin'] } }),
    400,
    'admin',
  ],
  [
    'a next_uri of an origin that is not listed',
    wanting({ id: 'acme' }, { next_uri: 'https://evil.example/' }),
    400,
    'next_uri',
  ],
  [
    'a next_uri that only begins like a listed one',
    wanting({ id: 'acme' }, { next_uri: 'https://app.example.evil.test/' }),
    400,
    'next_uri',
  ],
  [
    'a next_uri that is a script',
    wanting({ id: 'acme' }, { next_uri: 'javascript:alert(1)' }),
    400,
    'next_uri',
  ],
  ['a provider that nobody knows', wanting({ provider_id: 'toString' }), 400, 'toString'],
  ['no connection at all', wanting({}), 400, 'id or provider_id'],
  ['a member that nobody knows', wanting({ id: 'acme' }, { user: 'x' }), 400, 'user'],
  [
    'a provider type that is not OAuth',
    wanting({ id: 'acme', provider_type: 'saml' }),
    400,
    'oauth2',
  ],
  ['a body that is no JSON', '{', 400, 'JSON'],
  [
    'a body with a key twice',
    '{"user_id":"alice","user_id":"bob","auth_requirement":{"id":"acme"}}',
    400,
    'one reading',
  ],
]
test.each(REFUSED)('%s is refused', async (_name, body, status, said) => {
  const response = await authorize(body)
  const problem = (await response.json()) as Record<string, unknown>
  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(response.headers.get('deputy-answer')).toBe(problem['code'])
  expect(problem['detail']).toContain(said)
  expect(problem['message']).toBe(problem['detail'])
  expect(permitted).toEqual([])
})

test('a provider with several connections is ambiguous, and the answer names them', async () => {
  const both = new Map(house.connections)
  const [first] = both.values()
  const { provider } = first ?? {}
  expect(provider?.id).toBe('acme')
  // `acme` is a connection and a provider: the connection of that name wins; without one the provider is ambiguous.
  const connections = house.connections as Map<string, typeof first & object>
  const acme = connections.get('acme')
  connections.delete('acme')
  if (acme !== undefined) connections.set('third', { ...acme, name: 'third' })
  const response = await authorize(wanting({ provider_id: 'acme' }))
  connections.delete('third')
  expect(await response.json()).toMatchObject({ status: 409, connections: ['second', 'third'] })
  expect(await (await authorize(wanting({ provider_id: 'acme' }))).json()).toMatchObject({
    provider_id: 'second',
  })
  if (acme !== undefined) connections.set('acme', acme)
})

test('other media types, large bodies, other methods and other paths have their own answers', async () => {
  const body = JSON.stringify(wanting({ id: 'acme' }))
  expect((await authorize(body, { 'content-type': 'text/plain' })).status).toBe(415)
  expect((await authorize(' '.repeat(65_537))).status).toBe(413)
  expect((await fetch(`${base}/v1/auth/authorize`)).status).toBe(405)
  expect((await fetch(`${base}/v1/elsewhere`)).status).toBe(404)
  for (const wait of ['60', '-1', '1.5', 'x', '']) {
    const url = `${base}/v1/auth/status?id=ac_x&wait=${wait}`
    expect((await fetch(url, { headers: { authorization: 'dpr_alice' } })).status, wait).toBe(400)
  }
})

test('a next_uri of a listed origin is kept', async () => {
  const next_uri = 'https://app.example/done?x=1'
  const response = await authorize(
    wanting({ id: 'acme', oauth2: { scopes: ['repo'] } }, { next_uri }),
  )
  const { id } = (await response.json()) as { readonly id: string }
  expect(await house.flows.byAuthorizationId(id)).toMatchObject({ nextUri: next_uri })
})

test('without a tag nothing works, except under plain, where the body names the user', async () => {
  await expect(client('some-key').auth.start('alice', 'acme')).rejects.toMatchObject({
    status: 401,
  })
  plainPerson = (id) => ({ ...principal({ ...ALICE, id }), verified: false })
  const started = await client('some-key').auth.start('zoe', 'acme')
  expect(started).toMatchObject({ status: 'pending', user_id: 'zoe' })
  expect(await client('some-key').auth.status({ id: started.id ?? '' })).toMatchObject({
    status: 'pending',
    user_id: 'zoe',
  })
  plainPerson = () => null
  await expect(client('some-key').auth.start('zoe', 'acme')).rejects.toMatchObject({ status: 401 })
})
