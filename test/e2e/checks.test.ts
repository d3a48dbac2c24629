// An authorization service is asked about each very call: a real OpenFGA, and one that the test speaks for.
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { startDeputy, TABLES, type Deputy, type Fields } from '../support/deputy.ts'
import { startRelay, type Relay } from '../support/relay.ts'
import { KEY, missingOpenfga, startOpenfga, type Openfga } from '../support/servers/openfga.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const AGENT = 'agent:triage'
const PEOPLE = ['alice', 'bob']
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
const operation = (method: string, path: string, id: string, more: Fields = {}): Fields => ({
  id,
  method,
  path,
  access: method === 'GET' ? 'read' : 'write',
  scopes: [[]],
  ...more,
})
const row = (operations: readonly string[], more: Fields = {}): Fields => ({
  ...(TABLES['grants'] as Record<string, { use: Fields }>)['acme']?.use,
  operations,
  ...more,
})
const tables = (checks: readonly string[]): Readonly<Record<string, Fields>> => ({
  ...TABLES,
  role_grants: { acme: { user: ['docs', 'free'] } },
  grants: { acme: { docs: row(['docs.*'], { checks }), free: row(['free.*']) } },
})
const start = (upstream: Upstream, checks: unknown, demanded = ['can_edit']): Promise<Deputy> =>
  startDeputy({
    upstream: upstream.origin,
    tables: tables(demanded),
    people: [...PEOPLE.map((id) => ({ id, groups: ['staff'] })), { id: 'carol', groups: [] }],
    held: PEOPLE.map((person) => ({ person, agent: AGENT, token: tokenOf(person) })),
    config: {
      identity: { trust: 'plain', agent: AGENT },
      entitlements: { source: 'file', file: './people.yaml', checks },
      providers: [
        {
          id: 'acme',
          authorize: `${upstream.origin}/oauth/authorize`,
          token: `${upstream.origin}/oauth/token`,
          client_auth: 'client_secret_post',
          rotation: 'always',
          hosts: { 'api.acme.test': upstream.origin },
          operations: [
            operation('GET', '/docs/{doc}', 'docs.get'),
            operation('PUT', '/docs/{doc}', 'docs.update'),
            operation('POST', '/docs', 'docs.create', { inspect: ['/folder'] }),
            operation('GET', '/free/{thing}', 'free.get'),
          ],
        },
      ],
      connections: {
        acme: { provider: 'acme', client_id: 'deputy', client_secret: 'x'.repeat(32), scopes: [] },
      },
    },
  })
const call = async (
  deputy: Deputy,
  person: string,
  path: string,
  init: RequestInit = {},
): Promise<readonly [number, string]> => {
  const answer = await fetch(`${deputy.agent}/~${person}/api.acme.test${path}`, init)
  const text = await answer.text()
  return [answer.status, answer.ok ? 'ok' : String((JSON.parse(text) as Fields)['code'])]
}
const FINE = [200, 'ok']
const DENIED = [403, 'policy_denied']
const UNAVAILABLE = [503, 'entitlements_unavailable']
const lastDecision = (deputy: Deputy): Fields | undefined =>
  deputy.evidence().findLast(({ event }) => event === 'decision')

const skipped = missingOpenfga === null ? '' : ` (SKIPPED: ${missingOpenfga})`
describe.skipIf(missingOpenfga !== null)(`OpenFGA${skipped}`, () => {
  let fga: Openfga
  let relay: Relay
  let upstream: Upstream
  let deputy: Deputy
  const can = (user: string, doc: string) => ({ user, relation: 'can_edit', object: `doc:${doc}` })
  beforeAll(async () => {
    fga = await startOpenfga()
    relay = await startRelay({ host: '127.0.0.1', port: fga.port })
    upstream = await startUpstream()
    for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
    deputy = await start(upstream, {
      preset: 'openfga',
      url: `http://127.0.0.1:${relay.port}`,
      store: fga.store,
      model: fga.model,
      user: 'user:{id}',
      relation: 'can_edit',
      object: 'doc:{path.doc}',
      operations: ['docs.*'],
      bearer: KEY,
      timeout: '5s',
    })
  }, 120_000)
  afterAll(async () => {
    await deputy?.close()
    await relay?.close()
    await upstream?.close()
    await fga?.close()
  })

  test('a relation lets a call through, and the next one is refused once it is withdrawn', async () => {
    expect(await call(deputy, 'alice', '/docs/plan')).toEqual(DENIED)
    await fga.write(can('user:alice', 'plan'))
    for (const method of ['GET', 'PUT']) {
      expect(await call(deputy, 'alice', '/docs/plan', { method })).toEqual(FINE)
      expect(lastDecision(deputy)?.['checks']).toMatchObject({ answers: { can_edit: true } })
      expect(await call(deputy, 'bob', '/docs/plan', { method })).toEqual(DENIED)
      expect(await call(deputy, 'alice', '/docs/other', { method })).toEqual(DENIED)
      await fga.remove(can('user:alice', 'plan'))
      upstream.seen.length = 0
      expect(await call(deputy, 'alice', '/docs/plan', { method })).toEqual(DENIED)
      expect(upstream.seen).toEqual([])
      expect(lastDecision(deputy)).toMatchObject({
        checks: { answers: { can_edit: false } },
        decision: { reasons: ['check_refused'] },
      })
      await fga.write(can('user:alice', 'plan'))
    }
  })

  test('a member of a group has what the group has, until they leave it', async () => {
    const member = { user: 'user:bob', relation: 'member', object: 'group:editors' }
    await fga.write(can('group:editors#member', 'handbook'))
    await fga.write(member)
    expect(await call(deputy, 'bob', '/docs/handbook')).toEqual(FINE)
    await fga.remove(member)
    expect(await call(deputy, 'bob', '/docs/handbook')).toEqual(DENIED)
  })

  test('a service that stops in the middle lets nobody through, and is asked again once it is back', async () => {
    for (const state of ['cut', 'freeze'] as const) {
      await expect.poll(() => call(deputy, 'alice', '/docs/plan')).toEqual(FINE)
      const under = Array.from({ length: 20 }, () => call(deputy, 'alice', '/docs/plan'))
      await Promise.race(under)
      relay.set(state)
      upstream.seen.length = 0
      const late = Array.from({ length: 20 }, () => call(deputy, 'alice', '/docs/plan'))
      for (const answer of await Promise.all(late)) expect(answer).toEqual(UNAVAILABLE)
      for (const answer of await Promise.all(under))
        expect([FINE, UNAVAILABLE]).toContainEqual(answer)
      // Others are served meanwhile.
      expect(await call(deputy, 'alice', '/free/1')).toEqual(FINE)
      relay.set('open')
    }
    await expect.poll(() => call(deputy, 'alice', '/docs/plan')).toEqual(FINE)
    const metrics = await (await fetch(`http://${deputy.admin}/metrics`)).text()
    expect(metrics).toMatch(
      /deputy_checks_question_duration_seconds_count\{check="can_edit",answer="true"\} \d/,
    )
    expect(metrics).toMatch(
      /deputy_checks_failures_total\{check="can_edit",reason="unreachable"\} \d/,
    )
    expect(deputy.logged()).not.toContain(KEY)
  }, 120_000)
})

describe('a service that the test speaks for', () => {
  let server: Server
  let upstream: Upstream
  let deputy: Deputy
  let asked: Fields[]
  let answer: (res: ServerResponse) => void
  const says = (allowed: unknown) => (res: ServerResponse) =>
    void res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ allowed }))
  const fga = (more: Fields = {}): Fields => ({
    preset: 'openfga',
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    store: 'S',
    user: 'user:{id}',
    relation: 'can_edit',
    object: 'doc:{path.doc}',
    ...more,
  })
  beforeAll(async () => {
    server = createServer((req, res) => {
      let text = ''
      req.on('data', (chunk: Buffer) => void (text += chunk.toString()))
      req.on('end', () => {
        asked.push((JSON.parse(text) as { readonly tuple_key: Fields }).tuple_key)
        answer(res)
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    upstream = await startUpstream()
    for (const person of PEOPLE) upstream.people.set(tokenOf(person), person)
    deputy = await start(upstream, [
      fga(),
      fga({ name: 'agent_may', user: '{agent}', object: 'kind:{operation}' }),
      fga({ name: 'in_folder', object: 'folder:{body/folder}' }),
    ])
  })
  afterAll(async () => {
    await deputy?.close()
    await upstream?.close()
    server?.closeAllConnections()
    server?.close()
  })
  beforeEach(() => {
    asked = []
    answer = says(true)
    upstream.seen.length = 0
  })

  test('is asked about the person, the agent and the body, each in its own words', async () => {
    expect(await call(deputy, 'alice', '/docs/7')).toEqual(FINE)
    expect(
      asked.toSorted((a, b) => String(a['object']).localeCompare(String(b['object']))),
    ).toEqual([
      { user: 'user:alice', relation: 'can_edit', object: 'doc:7' },
      { user: 'agent:triage', relation: 'can_edit', object: 'kind:docs.get' },
    ])
    asked = []
    const body = JSON.stringify({ folder: 'plans' })
    const headers = { 'content-type': 'application/json' }
    // The row wants an answer about a document, and this call names none.
    expect(await call(deputy, 'alice', '/docs', { method: 'POST', headers, body })).toEqual(DENIED)
    expect(lastDecision(deputy)).toMatchObject({ decision: { reasons: ['check_refused'] } })
  })

  test('is not asked about whom policy refuses anyway', async () => {
    for (const path of ['/docs/7', '/nothing/7'])
      expect(await call(deputy, 'carol', path)).toEqual(DENIED)
    expect(await call(deputy, 'alice', '/nothing/7')).toEqual(DENIED)
    expect(asked).toEqual([])
    expect(lastDecision(deputy)).not.toHaveProperty('checks')
  })

  test('is not asked while nothing is called: who might be let through may connect', async () => {
    answer = says(false)
    const begin = (user: string): Promise<Response> =>
      fetch(`${deputy.agent}/v1/tools/authorize`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'deputy-user': user },
        body: JSON.stringify({ tool_name: 'docs.get' }),
      })
    expect((await begin('alice')).status).toBe(200)
    expect((await begin('carol')).status).toBe(403)
    expect(asked).toEqual([])
  })

  test('is never asked what the call would make of the question', async () => {
    for (const doc of ['7%23owner', 'user:bob', '*', 'a%20b', 'a%E2%80%A8b', '7%00'])
      expect((await call(deputy, 'alice', `/docs/${doc}`))[0], doc).toBe(400)
    // A colon where an operation may have a verb is none of its names.
    expect((await call(deputy, 'alice', '/docs/%3A'))[0]).toBe(403)
    expect(asked).toEqual([])
    expect(upstream.seen).toEqual([])
  })

  test.each<[string, (res: ServerResponse) => void]>([
    ['a text', says('true')],
    ['a redirect', (res) => void res.writeHead(302, { location: 'http://127.0.0.1/' }).end()],
    ['HTML', (res) => void res.writeHead(200, { 'content-type': 'text/html' }).end('<b>yes')],
    ['an error', (res) => void res.writeHead(500).end('{"allowed":true}')],
  ])('%s in place of an answer refuses the call', async (_, how) => {
    answer = how
    expect(await call(deputy, 'alice', '/docs/7')).toEqual(UNAVAILABLE)
    expect(upstream.seen).toEqual([])
    answer = says(true)
    await expect.poll(() => call(deputy, 'alice', '/docs/7')).toEqual(FINE)
  })

  test('a change of the checks counts from the next call on', async () => {
    const file = join(deputy.dir, 'deputy.yaml')
    const before = parse(readFileSync(file, 'utf8')) as { entitlements: Fields }
    const other = fga({ object: 'paper:{path.doc}', operations: ['docs.get'] })
    writeFileSync(
      file,
      JSON.stringify({ ...before, entitlements: { ...before.entitlements, checks: other } }),
    )
    await deputy.reload()
    expect(await call(deputy, 'alice', '/docs/7')).toEqual(FINE)
    expect(asked).toEqual([{ user: 'user:alice', relation: 'can_edit', object: 'paper:7' }])
    asked = []
    expect(await call(deputy, 'alice', '/docs/7', { method: 'PUT' })).toEqual(DENIED)
    expect(asked).toEqual([])
  })
})
