// Operators: who is connected, revocation here and at the provider, each with its honest word; with the unmodified client.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { createBrowser } from '../support/browser.ts'
import { BACKEND, READER, startHouse } from '../support/house.ts'
import type { House } from '../support/house.ts'
import { conforming, docAt, faults, schemaIn, type Doc } from '../support/openapi.ts'
import { freePort } from '../support/ports.ts'

let house: House
beforeAll(async () => {
  house = await startHouse({ tenants: ['acme', 'other'] })
})
afterAll(() => house.close())
beforeEach(async () => {
  for (const name of ['acme', 'second'])
    await house.api('DELETE', `/v1/admin/connections/${name}/grants`)
  house.provider.requests.length = 0
})
const revocations = () =>
  house.provider.requests.filter(({ path }) => path === '/token/revocation').length
const json = async (answer: Promise<Response>) => {
  const response = await answer
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
const events = (name: string) => house.deputy.evidence().filter(({ event }) => event === name)
const mayCall = async (user: string, tenant = 'acme', agent?: string): Promise<boolean> =>
  (await house.call(await house.tag(user, tenant, agent))).ok

describe('connections', () => {
  test('the unmodified client lists page by page, filters, and deletes: here and at the provider', async () => {
    await house.connect('alice', 'alice-acme')
    await house.connect('alice', 'alice-acme', { connection: 'second' })
    await house.connect('bob', 'bob-acme')
    const { userConnections } = house.operator().admin
    const seen: string[] = []
    for await (const one of userConnections.list({ limit: 2 })) seen.push(one.id ?? '')
    expect(new Set(seen).size).toBe(3)
    const page = await userConnections.list({ user_id: 'alice', provider_id: 'second' })
    expect(page.total_count).toBe(1)
    const [only] = page.items
    expect(only).toMatchObject({
      connection_id: 'second',
      connection_status: 'active',
      provider_id: 'second',
      provider_type: 'oauth2',
      provider_description: 'Acme',
      provider_user_info: { account: 'alice-acme' },
      scopes: ['openid'],
      user_id: 'alice',
      tenant: 'acme',
    })
    expect((await userConnections.list({ provider_id: 'acme' })).total_count).toBe(3)
    await userConnections.delete(only?.id ?? '')
    expect(revocations()).toBe(2)
    expect((await userConnections.list({ user_id: 'alice' })).total_count).toBe(1)
    expect(events('connection.revoked').at(-1)).toMatchObject({
      operator: 'backend',
      user: { id: 'alice', tenant: 'acme', realm: 'corp' },
      connection: 'second',
      credential: only?.id,
      result: 'revoked',
    })
    await expect(userConnections.delete(only?.id ?? '')).rejects.toMatchObject({ status: 404 })
  })

  test('a call in flight ends when its grant is revoked', async () => {
    await house.connect('alice', 'alice-acme')
    let arrived = (): void => {}
    const there = new Promise<void>((resolve) => (arrived = resolve))
    let go = (): void => {}
    house.provider.before = ({ path }) =>
      path !== '/me' ? undefined : (arrived(), new Promise<void>((resolve) => (go = resolve)))
    const running = mayCall('alice').catch(() => 'cut')
    await there
    house.provider.before = () => {}
    const [one] = (await house.operator().admin.userConnections.list()).items
    await house.operator().admin.userConnections.delete(one?.id ?? '')
    expect(await running).not.toBe(true)
    go()
    expect(await mayCall('alice')).toBe(false)
  })
})

describe('revoking a person', () => {
  test('everything of one person goes, with a word for each; people of the same id in another tenant keep theirs', async () => {
    await house.connect('alice', 'alice-acme')
    await house.connect('alice', 'alice-acme', { connection: 'second' })
    await house.connect('alice', 'alice-acme', { tenant: 'other' })
    const run = {
      user_id: 'alice',
      tenant: 'acme',
      agent: 'job',
      connections: ['acme'],
      expires_in: 60,
    }
    expect((await house.api('POST', '/v1/admin/runs', run)).status).toBe(201)
    const link = await house.authorize('alice', 'acme', 'agent:late')
    const { status, body } = await json(
      house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme'),
    )
    expect([status, body['runs_revoked'], body['authorizations_ended']]).toEqual([200, 1, 1])
    expect(body['results']).toMatchObject([
      { connection_id: 'acme', user_id: 'alice', tenant: 'acme', result: 'revoked' },
      { connection_id: 'second', tenant: 'acme', result: 'revoked' },
    ])
    expect(await mayCall('alice', 'acme')).toBe(false)
    expect(await mayCall('alice', 'other')).toBe(true)
    const agent = house.client(house.deputy.agent, await house.tag('alice', 'acme', 'agent:late'))
    expect(await agent.auth.status({ id: link.id ?? '' })).toMatchObject({ failure: 'revoked' })
  })

  test('an account that comes back from its provider meanwhile goes as well', async () => {
    await house.connect('alice', 'alice-acme')
    const { url: link = '' } = await house.authorize('alice', 'acme', undefined, 'second')
    const { promise: told, resolve: arrived } = Promise.withResolvers<void>()
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>()
    house.provider.before = ({ path }) =>
      path === '/token/revocation' ? (arrived(), answered) : undefined
    const ended = json(house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme'))
    await told
    const at = await house.walk(createBrowser(), link, 'alice-acme')
    const body = { flow_id: at.searchParams.get('flow_id') ?? '', user_id: 'alice', tenant: 'acme' }
    await house.verifier().post('/v1/auth/confirm_user', { body })
    answer()
    house.provider.before = () => {}
    const { results } = (await ended).body as { readonly results: readonly object[] }
    expect(results).toMatchObject([{ connection_id: 'acme' }, { connection_id: 'second' }])
    expect((await house.operator().admin.userConnections.list()).total_count).toBe(0)
  })

  test('a provider that gives no answer is called failed; here the grant is gone all the same', async () => {
    await house.connect('alice', 'alice-acme')
    house.provider.after = ({ path }) => (path === '/token/revocation' ? 'lose' : undefined)
    const failed = await json(house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme'))
    house.provider.after = () => {}
    expect(failed.body['results']).toMatchObject([{ result: 'failed' }])
    expect(await mayCall('alice')).toBe(false)
    const nothing = await json(house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme'))
    expect(nothing).toMatchObject({ status: 200, body: { results: [] } })
  })

  test('one agent’s grants go, and the account stays for the others; with the last agent it goes at the provider', async () => {
    await house.connect('alice', 'alice-acme')
    await house.connect('alice', 'alice-acme', { agent: 'agent:other' })
    const path = (agent: string) =>
      `/v1/admin/users/alice/connections?tenant=acme&agent=${encodeURIComponent(agent)}`
    const first = await json(house.api('DELETE', path('agent:other')))
    expect(first.body['results']).toMatchObject([{ result: 'grant_removed' }])
    expect(revocations()).toBe(0)
    expect(await mayCall('alice', 'acme', 'agent:other')).toBe(false)
    expect(await mayCall('alice')).toBe(true)
    expect((await json(house.api('DELETE', path('nobody')))).body['results']).toEqual([])
    const last = await json(house.api('DELETE', path('agent:triage')))
    expect(last.body['results']).toMatchObject([{ result: 'revoked' }])
    expect(revocations()).toBe(2)
  })

  test('a whole connection goes, for everybody or for one tenant', async () => {
    await house.connect('alice', 'alice-acme')
    await house.connect('bob', 'bob-acme', { tenant: 'other' })
    const one = await json(house.api('DELETE', '/v1/admin/connections/acme/grants?tenant=other'))
    expect(one.body['results']).toMatchObject([{ user_id: 'bob', tenant: 'other' }])
    const rest = await json(house.api('DELETE', '/v1/admin/connections/acme/grants'))
    expect(rest.body['results']).toMatchObject([{ user_id: 'alice', tenant: 'acme' }])
    expect((await house.api('DELETE', '/v1/admin/connections/toString/grants')).status).toBe(404)
  })

  test('an erased person is forgotten: no connection, run or authorization is left', async () => {
    await house.connect('bob', 'bob-acme')
    const { body } = await json(house.api('DELETE', '/v1/admin/users/bob?tenant=acme'))
    expect(body['results']).toMatchObject([{ result: 'revoked' }])
    expect(body['erased']).toMatchObject({ authorizations: expect.any(Number), runs: 0 })
    expect((body['erased'] as { authorizations: number }).authorizations).toBeGreaterThan(0)
    expect(body).toMatchObject({ known: true, left: 0, evidence: 'names_stay' })
    expect(events('person.erased').at(-1)).toMatchObject({
      user: { id: 'bob' },
      rows: { credentials: 1, grants: 1 },
      evidence: 'names_stay',
    })
    const again = await json(house.api('DELETE', '/v1/admin/users/bob?tenant=acme'))
    expect(again.body).toMatchObject({ known: false, results: [] })
  })

  test('an erased person’s id is in no byte of the store', async () => {
    const { dir } = house.deputy
    const stored = (): string =>
      ['deputy.db', 'deputy.db-wal'].map((name) => readFileSync(join(dir, name), 'latin1')).join()
    // Columns lie side by side: tenant, realm, id.
    await house.connect('bob', 'bob-acme')
    for (const named of ['acmecorpbob', 'bob-acme'])
      expect(stored().includes(named), named).toBe(true)
    expect((await house.api('DELETE', '/v1/admin/users/bob?tenant=acme')).status).toBe(200)
    // The bob of another tenant is somebody else.
    for (const named of ['acmecorpbob', 'bob-acme'])
      expect(stored().includes(named), named).toBe(false)
  })
})

describe('who may', () => {
  test.each([
    ['none', ''],
    ['a wrong one', 'x'.repeat(39)],
    ['one cut short', BACKEND.slice(0, -1)],
    ['one of another length', `${BACKEND}x`],
  ])('a bearer that is no operator’s is 401: %s', async (_name, bearer) => {
    const answer = await house.api('GET', '/v1/admin/user_connections', undefined, bearer)
    expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([401, 'unauthenticated'])
    expect(answer.headers.get('www-authenticate')).toContain('Bearer')
  })
  test('what an operator may not do is 403 and recorded', async () => {
    for (const [method, path] of [
      ['GET', '/v1/admin/runs'],
      ['DELETE', '/v1/admin/users/alice/connections?tenant=other'],
      ['DELETE', '/v1/admin/users/alice?tenant=other'],
      ['DELETE', '/v1/admin/connections/acme/grants'],
      ['DELETE', '/v1/admin/user_connections/x'],
      ['DELETE', '/v1/admin/runs/x'],
    ] as const) {
      const answer = await house.api(method, path, undefined, READER)
      expect([path, answer.status]).toEqual([path, 403])
    }
    expect(events('operator.refused').at(-1)).toMatchObject({ operator: 'reader', lacks: 'runs' })
  })
  test('an operator sees its own tenants only', async () => {
    await house.connect('alice', 'alice-acme')
    await house.connect('bob', 'bob-acme', { tenant: 'other' })
    const listed = await house.operator(READER).admin.userConnections.list()
    expect(listed.items.map(({ user_id }) => user_id)).toEqual(['bob'])
    const foreign = '/v1/admin/user_connections?tenant=acme'
    expect((await house.api('GET', foreign, undefined, READER)).status).toBe(403)
  })
  test('a person is named by all three parts: a missing tenant is no guess', async () => {
    const answer = await json(house.api('DELETE', '/v1/admin/users/alice/connections'))
    expect(answer).toMatchObject({ status: 400, body: { code: 'request_invalid' } })
    expect(answer.body['detail']).toContain('acme, other')
    const verifier = house.verifier().auth.confirmUser({ flow_id: 'x', user_id: 'alice' })
    await expect(verifier).rejects.toMatchObject({ status: 400 })
  })
  test('pages never speak here, and odd queries have no reading', async () => {
    const at = `${house.deputy.connect}/v1/admin/user_connections`
    for (const headers of [{ origin: house.url }, { 'sec-fetch-site': 'same-origin' }])
      expect((await fetch(at, { headers: { authorization: BACKEND, ...headers } })).status).toBe(
        403,
      )
    for (const query of ['?limit=0x', '?limit=101', '?user_id=a&user_id=b', '?who=alice'])
      expect((await house.api('GET', `/v1/admin/user_connections${query}`)).status).toBe(400)
    expect((await house.api('PUT', '/v1/admin/user_connections')).status).toBe(405)
    expect((await house.api('GET', '/v1/admin/elsewhere')).status).toBe(404)
  })
  test('no bearer, key or token is in the evidence, the log or an answer', async () => {
    await house.connect('alice', 'alice-acme')
    await house.api('GET', '/v1/admin/user_connections')
    const said = `${JSON.stringify(house.deputy.evidence())}${house.deputy.logged()}`
    for (const secret of ['canary-', ...house.tokens()]) expect(said).not.toContain(secret)
  })
})

test('with a listener of their own the operators are there and nowhere else; the application confirms at the pages too', async () => {
  const port = await freePort()
  const apart = await startHouse({ listeners: { operators: `127.0.0.1:${port}` } })
  try {
    expect(apart.deputy.addresses['operators']).toBe(`http://127.0.0.1:${port}`)
    await apart.connect('alice', 'alice-acme')
    expect((await apart.operator().admin.userConnections.list()).total_count).toBe(1)
    const there = await fetch(`${apart.deputy.connect}/v1/admin/user_connections`, {
      headers: { authorization: BACKEND },
    })
    expect(there.status).toBe(401)
    expect((await fetch(`${apart.deputy.addresses['operators']}/style.css`)).status).toBe(404)
  } finally {
    await apart.close()
  }
})

describe('OpenAPI', () => {
  test('both documents are valid 3.1: every reference leads somewhere, every path names its parameters', async () => {
    for (const origin of [house.deputy.agent, house.deputy.connect])
      expect(faults(await docAt(origin))).toEqual([])
    const doc = await docAt(house.deputy.connect)
    const { '/v1/admin/runs/{id}': run, ...paths } = doc.paths
    expect(faults({ ...doc, paths: { ...paths, '/v1/admin/runs/{run}': run ?? {} } })).toHaveLength(
      1,
    )
    expect(faults({ ...doc, components: { ...doc.components, schemas: {} } })).not.toEqual([])
    expect(faults({ ...doc, path: {} } as Doc)).toHaveLength(1)
  })

  test('both documents are 3.1, name every route, and what they name answers something else than 404 and 405', async () => {
    const agent = await docAt(house.deputy.agent)
    const connect = await docAt(house.deputy.connect)
    expect([agent.openapi, connect.openapi]).toEqual(['3.1.0', '3.1.0'])
    expect(Object.keys(agent.paths)).toEqual([
      '/v1/auth/authorize',
      '/v1/tools/authorize',
      '/v1/auth/status',
      '/v1/tools',
      '/v1/tools/{name}',
      '/v1/formatted_tools',
      '/v1/formatted_tools/{name}',
      '/v1/tools/execute',
      '/v1/tools/requirements',
      '/v1/scheduled_tools',
      '/v1/plan',
    ])
    expect(Object.keys(connect.paths)).toEqual([
      '/v1/admin/user_connections',
      '/v1/admin/user_connections/{id}',
      '/v1/admin/users/{id}/connections',
      '/v1/admin/people',
      '/v1/admin/users/{id}',
      '/v1/admin/tenants/{name}',
      '/v1/admin/connections/{name}/grants',
      '/v1/admin/runs',
      '/v1/admin/runs/{id}',
      '/v1/admin/agents',
      '/v1/admin/agents/{id}/disable',
      '/v1/admin/agents/{id}/enable',
      '/v1/admin/standings',
      '/v1/admin/standings/{id}',
      '/v1/admin/approvals',
      '/v1/admin/approvals/{id}',
      '/v1/auth/confirm_user',
    ])
    for (const [origin, doc] of [
      [house.deputy.agent, agent],
      [house.deputy.connect, connect],
    ] as const)
      for (const [path, methods] of Object.entries(doc.paths))
        for (const method of Object.keys(methods)) {
          const url = `${origin}${path.replace(/\{\w+\}/, 'x')}`
          const answer = await fetch(url, { method: method.toUpperCase() })
          expect([method, path, [404, 405].includes(answer.status)]).toEqual([method, path, false])
        }
  })

  test('every answer of the tests is held against them, and one that they do not describe fails', async () => {
    const doc = await docAt(house.deputy.connect)
    const body = doc.paths['/v1/admin/runs']?.['post']?.requestBody?.content['application/json']
    const fits = (value: object): unknown =>
      new Ajv2020({ strict: false, validateFormats: false }).validate(
        schemaIn(doc, body?.schema ?? {}),
        value,
      )
    const run = { user_id: 'alice', agent: 'job', connections: ['acme'], expires_in: 60 }
    expect([fits(run), fits({ ...run, agent: 1 }), fits({ ...run, more: 1 })]).toEqual([
      true,
      false,
      false,
    ])
    const server = createServer((req, res) => {
      const wrong = req.url === '/v1/openapi.json' ? doc : { items: [], limit: '25' }
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(wrong))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await expect(conforming(`http://127.0.0.1:${port}/v1/admin/runs`)).rejects.toThrow(/limit/)
    server.close()
  })
})
