// Limits that policy sets, on real sockets: how many calls pass, for whom they are counted, and what happens when nobody can count.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { randomBytes, randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import {
  AGENT,
  startChild,
  startDeputy,
  TABLES,
  type Deputy,
  type Fields,
  type Setup,
} from '../support/deputy.ts'
import { startMcpHouse } from '../support/mcphost.ts'
import { QUIET } from '../support/log.ts'
import { paced } from '../support/pace.ts'
import { postgres } from '../support/postgres.ts'
import { lines, sendRaw, type RawAnswer } from '../support/raw.ts'
import { startRelay } from '../support/relay.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const server = await postgres()
const absent = 'absent' in server
let upstream: Upstream
const open: (() => Promise<unknown>)[] = []
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob']) upstream.people.set(tokenOf(person), person)
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
})
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close()
})

/** The usual row, with these obligations. */
const limited = (obligations: Fields): Readonly<Record<string, Fields>> => {
  const { grants } = TABLES
  const rows = Object.entries(grants as Record<string, { readonly use: Fields }>)
  return {
    ...TABLES,
    grants: Object.fromEntries(rows.map(([id, { use }]) => [id, { use: { ...use, obligations } }])),
  }
}
const rate = (properties: Fields): Fields => ({ calls: { type: 'rate_limit', properties } })
const hourly = (limit: number, ...key: readonly string[]): Fields =>
  rate({ key, limit, window_s: 3600 })
const held = ['alice', 'bob'].flatMap((person) =>
  ['acme', 'stream'].map((connection) => ({ person, connection, token: tokenOf(person) })),
)
const start = async (obligations: Fields, more: Partial<Setup> = {}): Promise<Deputy> => {
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held,
    tables: limited(obligations),
    ...more,
  })
  open.push(() => deputy.close())
  return deputy
}
type Called = {
  readonly person?: string
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly type?: string
  readonly more?: readonly string[]
}
const call = (
  { agent }: Pick<Deputy, 'agent'>,
  {
    person = 'alice',
    method = 'GET',
    path = 'api.acme.test/a',
    body,
    type,
    more = [],
  }: Called = {},
): Promise<RawAnswer> =>
  sendRaw(
    agent,
    lines(
      `${method} /${path} HTTP/1.1`,
      `Host: ${new URL(agent).host}`,
      `Deputy-User: ${person}`,
      ...more,
      ...(body === undefined
        ? []
        : [`Content-Type: ${type ?? 'application/json'}`, `Content-Length: ${body.length}`]),
    ) + (body ?? ''),
  )
const verdicts = async (asked: readonly Promise<RawAnswer>[]): Promise<readonly string[]> =>
  (await Promise.all(asked)).map(({ status, json }) =>
    typeof json['code'] === 'string' ? `${status} ${json['code']}` : `${status}`,
  )
const times = <T>(n: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: n }, (_, i) => make(i))
const passed = (all: readonly string[]): number => all.filter((one) => one === '200').length

describe('a limit of calls', () => {
  test('lets exactly as many through as it says, tells the rest when to come again, and leaves evidence', async () => {
    const deputy = await start(hourly(20, 'person'))
    const all = await verdicts(times(200, () => call(deputy)))
    expect(passed(all)).toBe(20)
    expect(all.filter((one) => one === '429 rate_limited')).toHaveLength(180)
    expect(upstream.seen).toHaveLength(20)
    const refused = await call(deputy)
    expect(refused.json).toMatchObject({ code: 'rate_limited', obligation: 'calls' })
    const { retry_after: after } = refused.json as { readonly retry_after: number }
    expect(refused.headers.get('retry-after')).toEqual([`${after}`])
    expect(after).toBeGreaterThan(3600 - paced(60))
    expect(after).toBeLessThanOrEqual(3600)
    await expect
      .poll(() => deputy.evidence().filter(({ event }) => event === 'outcome'))
      .toHaveLength(201)
    const ends = deputy.evidence().filter(({ event }) => event === 'outcome')
    expect(
      ends.filter(({ result, sent }) => result === 'rate_limited' && sent === false),
    ).toHaveLength(181)
    expect(await (await fetch(`http://${deputy.admin}/metrics`)).text()).toContain(
      'deputy_obligations_total{type="rate_limit",result="rate_limited"} 181',
    )
  })

  test.each([
    ['person', { person: 'bob' }, { path: 'api.stream.test/a' }],
    ['connection', { path: 'api.stream.test/a' }, { person: 'bob' }],
    ['operation', { method: 'DELETE' }, { person: 'bob' }],
  ] as const)('counts for each %s by itself', async (key, other, same) => {
    const deputy = await start(hourly(1, key))
    expect(await verdicts([call(deputy)])).toEqual(['200'])
    expect(await verdicts([call(deputy, same)])).toEqual(['429 rate_limited'])
    expect((await verdicts([call(deputy, other)]))[0]).not.toContain('rate_limited')
    expect(await verdicts([call(deputy, other)])).toEqual(['429 rate_limited'])
  })

  test('is over when its window is, and a call that asks to wait passes then', async () => {
    const deputy = await start(rate({ key: ['person'], limit: 1, window_s: 4 }))
    const began = performance.now()
    expect(await verdicts([call(deputy)])).toEqual(['200'])
    // It cannot wait so long: it is told at once.
    expect(await verdicts([call(deputy), call(deputy, { more: ['Prefer: wait=1'] })])).toEqual([
      '429 rate_limited',
      '429 rate_limited',
    ])
    expect(await verdicts([call(deputy, { more: ['Prefer: wait=30'] })])).toEqual(['200'])
    expect(performance.now() - began).toBeGreaterThan(3_900)
    expect(upstream.seen).toHaveLength(2)
    // It was decided anew after its wait, and counted once.
    const exchange = deputy.evidence().findLast(({ event }) => event === 'decision')?.['exchange']
    expect(
      deputy.evidence().filter((one) => one['exchange'] === exchange && one.event === 'decision'),
    ).toHaveLength(2)
  })

  test('of 0 lets nothing through', async () => {
    const deputy = await start(hourly(0, 'person'))
    expect(await verdicts([call(deputy)])).toEqual(['429 rate_limited'])
    expect(upstream.seen).toEqual([])
  })

  test('stays counted when the process dies before the call is answered', async () => {
    const setup = { upstream: upstream.origin, held, tables: limited(hourly(1, 'person')) }
    const arrived = Promise.withResolvers<void>()
    upstream.handle = () => arrived.resolve() // and never answers
    const first = await startChild(setup)
    open.push(() => first.close())
    const cut = call(first).catch(() => null)
    await arrived.promise
    await first.kill()
    await cut
    upstream.handle = null
    const second = await startChild(setup, first.dir)
    open.push(() => second.stop())
    expect(await verdicts([call(second)])).toEqual(['429 rate_limited'])
  })

  test('cannot be counted: 503, nothing leaves, and it heals by itself', async () => {
    const deputy = await start(hourly(50, 'person'))
    expect(await verdicts([call(deputy)])).toEqual(['200'])
    const lock = new DatabaseSync(join(deputy.dir, 'deputy.db'))
    lock.exec('BEGIN IMMEDIATE')
    expect(await verdicts([call(deputy)])).toEqual(['503 limits_unavailable'])
    expect(upstream.seen).toHaveLength(1)
    lock.exec('ROLLBACK')
    lock.close()
    expect(await verdicts([call(deputy)])).toEqual(['200'])
  })
})

test('a limit is one for all doors, and each tells it as its callers expect', async () => {
  const house = await startMcpHouse({}, { obligations: hourly(3, 'person') })
  open.push(() => house.close())
  const post = (path: string, body: object, headers: Readonly<Record<string, string>> = {}) =>
    fetch(`${house.deputy.agent}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'deputy-user': 'alice', ...headers },
      body: JSON.stringify(body),
    })
  const sdk = () =>
    fetch(`${house.deputy.agent}/api.acme.test/notes`, { headers: { 'deputy-user': 'alice' } })
  const tool = () => post('/v1/tools/execute', { tool_name: 'Acme.ListNotes', input: {} })
  const mcp = () => {
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    }
    const params = { name: 'Acme_ListNotes', arguments: {}, _meta }
    return post(
      '/mcp',
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params },
      {
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': 'tools/call',
        'mcp-name': 'Acme_ListNotes',
      },
    )
  }
  // Whoever has not connected yet uses up nothing.
  const { url } = (await (await sdk()).json()) as { readonly url: string }
  await house.visit(url, 'alice')
  for (const door of [sdk, tool, mcp]) expect(await (await door()).text()).toContain('first')
  expect((await sdk()).headers.get('deputy-answer')).toBe('rate_limited')
  for (const door of [tool, mcp]) {
    const answer = await door()
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(3_000)
    expect(await answer.text()).toContain('rate_limited')
  }
  expect(house.upstream.seen).toHaveLength(3)
})

describe('a budget', () => {
  const spend = (properties: Fields): Fields => ({ spent: { type: 'budget', properties } })
  const titles = spend({
    key: ['person'],
    limit: 10,
    window_s: 3600,
    pointer: '/title',
    of: 'value',
  })
  const note = (body: string, type?: string): Called => ({
    method: 'POST',
    path: 'api.acme.test/notes',
    body,
    ...(type === undefined ? {} : { type }),
  })
  test('adds up what the bodies say, and takes nothing that it cannot add', async () => {
    const deputy = await start(titles)
    const say = async (body: string, type?: string) =>
      (await verdicts([call(deputy, note(body, type))]))[0]
    expect(await say('{"title":4}')).toBe('200')
    expect(await say('{"title":7}')).toBe('429 rate_limited')
    for (const title of ['-1', '1.5', '"4"', 'null', 'true', '[1]', '{}'])
      expect(await say(`{"title":${title}}`)).toBe('403 obligation_refused')
    expect(await say('{}')).toBe('403 obligation_refused')
    expect(await say('{"title":9007199254740993}')).toMatch(
      /^40[03] (?:obligation_refused|request_invalid)$/,
    )
    expect(await say('title=07', 'application/x-www-form-urlencoded')).toBe(
      '403 obligation_refused',
    )
    expect(await say('title=6', 'application/x-www-form-urlencoded')).toBe('200')
    expect(await say('{"title":0}')).toBe('200')
    expect(await say('{"title":1}')).toBe('429 rate_limited')
    // An operation of which this is not read.
    expect(await verdicts([call(deputy)])).toEqual(['403 obligation_refused'])
    expect(upstream.seen).toHaveLength(3)
  })
  test('counts the items of a list', async () => {
    const deputy = await start(
      spend({ key: ['agent'], limit: 3, window_s: 60, pointer: '/title', of: 'items' }),
    )
    const say = async (body: string) => (await verdicts([call(deputy, note(body))]))[0]
    expect(await say('{"title":[1,2]}')).toBe('200')
    expect(await say('{"title":[1,2]}')).toBe('429 rate_limited')
    expect(await say('{"title":[]}')).toBe('200')
    expect(await say('{"title":2}')).toBe('403 obligation_refused')
  })
})

describe.skipIf(absent)(
  `limits over replicas on PostgreSQL${absent ? ` (SKIPPED: ${server.absent})` : ''}`,
  { timeout: 120_000 },
  () => {
    const fleet = async (obligations: Fields) => {
      if (absent) throw new Error(server.absent)
      const direct = await server.fresh()
      const url = new URL(direct)
      const relay = await startRelay({ host: url.hostname, port: Number(url.port) })
      open.push(() => relay.close())
      url.port = String(relay.port)
      const keys = join(mkdtempSync(join(tmpdir(), 'fleet-')), 'keys.json')
      writeFileSync(keys, newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
      const store = await openPostgres(direct, { log: QUIET })
      open.push(() => store.close())
      const vault = createVault({
        store,
        sealer: createSealer(await readRing(keys), () => readRing(keys)),
        clock: { now: () => Date.now(), mono: () => performance.now() },
        randomId: randomUUID,
      })
      for (const person of ['alice', 'bob'])
        await vault.connect({
          person: { tenant: 'default', realm: 'local', id: person },
          agent: AGENT,
          connection: 'acme',
          provider: 'acme',
          account: { id: person, label: person },
          tokens: {
            access: secret(tokenOf(person)),
            refresh: null,
            scopes: ['notes'],
            expiresIn: 3600,
          },
          scopes: ['notes'],
        })
      const config = { vault: { store: url.href, keys } }
      const deputies = [
        await start(obligations, { config, held: [] }),
        await start(obligations, { config, held: [] }),
      ]
      return { deputies, relay, direct }
    }
    test('two replicas with 200 calls each let exactly 20 through for each person', async () => {
      const { deputies } = await fleet(hourly(20, 'person'))
      const all = await Promise.all(
        ['alice', 'bob'].map((person) =>
          verdicts(deputies.flatMap((deputy) => times(100, () => call(deputy, { person })))),
        ),
      )
      for (const each of all) {
        expect(passed(each)).toBe(20)
        expect(each.filter((one) => one === '429 rate_limited')).toHaveLength(180)
      }
      expect(upstream.seen).toHaveLength(40)
    })
    test('let nothing through while the database is cut or frozen, and go on by themselves', async () => {
      const { deputies, relay } = await fleet(hourly(1_000, 'person'))
      const [deputy] = deputies
      if (deputy === undefined) throw new Error('there is no deputy')
      expect(await verdicts([call(deputy)])).toEqual(['200'])
      for (const state of ['cut', 'freeze'] as const) {
        const left = upstream.seen.length
        relay.set(state)
        for (const answer of await verdicts(times(3, () => call(deputy))))
          expect(answer).toMatch(/^503 (?:limits|vault)_unavailable$/)
        expect(upstream.seen).toHaveLength(left)
        relay.set('open')
        await expect.poll(async () => verdicts([call(deputy)])).toEqual(['200'])
      }
    })
  },
)
