// What ten thousand, a hundred thousand and a million people cost: the store on disk, memory, the start, and calls for people
// drawn from all of them against ten. Entitlements by a file and by what an identity provider pushed (SCIM).
import { createWriteStream, readFileSync, statSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { QUIET } from '../support/log.ts'
import { startServer } from '../support/postgres.ts'
import { say, type Size } from './calls.ts'
import { crowdInPostgres, crowdInSqlite, personOf, sealed, type Crowd } from './crowd.ts'
import type { Job, Round } from './load.ts'
import { agentPort, memoryOf, root, start, type Child } from './processes.ts'
import { n, type Section } from './report.ts'
import { CALLERS, namedCalls, seed } from './seed.ts'
import { LAST, type UpstreamAsk, type UpstreamSays } from './upstream.ts'

const CONNECTIONS = 8
const BEARER = 'bench-scim-bearer-0123456789abcdef0123'
const SETTLE_MS = 1_000

type Row = {
  readonly people: number
  readonly where: string
  /** Bytes on disk: the store, and the file of people where there is one. */
  readonly disk: number
  readonly startMs: number
  readonly idleMb: number
  readonly usedMb: number
  /** CPU a call, µs. */
  readonly ten: number
  readonly first: number
  readonly again: number
}
type World = {
  readonly upstream: Child
  readonly load: Child
  readonly wrong: string[]
  /** How many people call. */
  readonly callers: number
  /** How often ten of them do. */
  readonly calls: number
}

type Opened = Awaited<ReturnType<typeof sealed>>

const script = (name: string): string => join(root, 'test/bench', name)

const round = async (world: World, deputy: Child, job: Partial<Job>, what: string) => {
  const result = await world.load.next<Round>({
    port: 0,
    connections: CONNECTIONS,
    requests: [],
    warmMs: 0,
    ms: 120_000,
    pids: [deputy.pid],
    last: LAST,
    ...job,
  } satisfies Job)
  const said = await world.upstream.next<UpstreamSays>({ kind: 'seen' } satisfies UpstreamAsk)
  const foreign = said.kind === 'seen' ? said.seen.foreign + said.seen.tagged : NaN
  if (result.errors > 0 || foreign !== 0)
    world.wrong.push(
      `${what}: ${result.errors} errors, ${foreign} foreign tokens: ${result.example?.slice(0, 300) ?? ''}`,
    )
  return { requests: result.requests, cpu: (result.cpu[0] ?? NaN) / result.requests }
}

/** One deputy over what is there: its start, its memory and its calls. */
const measured = async (
  world: World,
  config: string,
  people: number,
  where: string,
  disk: number,
): Promise<Row> => {
  say(`scale: ${people} people, ${where}`)
  const began = performance.now()
  const deputy = start(['bin/deputy.js', 'serve', '--config', config], 'proxy')
  try {
    const port = await agentPort(deputy)
    const startMs = performance.now() - began
    await pause(SETTLE_MS)
    const idleMb = memoryOf(deputy.pid)
    // So many calls, not so much time: a busy machine makes them slower, and no fewer.
    const run = async (requests: readonly string[]): Promise<number> => {
      const what = `${people} people, ${where}`
      const done = await round(world, deputy, { port, requests, once: true }, what)
      if (done.requests !== requests.length)
        world.wrong.push(`${what}: ${done.requests} of ${requests.length} calls were answered`)
      return done.cpu
    }
    const few = namedCalls(Array.from({ length: world.calls }, (_, i) => personOf(i % 10)))
    await run(few)
    const ten = await run(few)
    // In the order of an index they lie among all the others.
    const all = namedCalls(Array.from({ length: world.callers }, (_, i) => personOf(i)))
    const first = await run(all.slice(10))
    const again = await run(all.slice(10))
    const usedMb = memoryOf(deputy.pid)
    return {
      people,
      where,
      disk,
      startMs,
      idleMb,
      usedMb,
      ten,
      first,
      again,
    }
  } finally {
    await deputy.stop()
  }
}

/** One person a line. */
const writePeople = async (file: string, people: number): Promise<void> => {
  const out = createWriteStream(file)
  out.write('people:\n')
  for (let i = 0; i < people; i += 1)
    if (!out.write(`- ${JSON.stringify({ id: personOf(i), groups: ['engineering'] })}\n`))
      await once(out, 'drain')
  out.end()
  await once(out, 'close')
}

const startPostgres = async (
  closing: (() => Promise<void>)[],
  skipped: string[],
): Promise<string | null> => {
  try {
    const server = (await startServer((stop) => closing.push(stop))).url
    const url = new URL(server)
    url.pathname = '/crowd'
    const client = new Client(server)
    await client.connect()
    await client.query('CREATE DATABASE crowd')
    await client.end()
    await (await openPostgres(url.href, { log: QUIET })).close()
    return url.href
  } catch (error) {
    if (process.env['DEPUTY_NO_SKIP'] === '1') throw error
    skipped.push(`PostgreSQL does not start: ${String(error)}`)
    return null
  }
}

/** The same home with another source of entitlements, or another store. */
const variant = (config: string, name: string, more: object): string => {
  const file = join(config, '..', `${name}.yaml`)
  const whole = JSON.parse(readFileSync(config, 'utf8')) as object
  writeFileSync(file, JSON.stringify({ ...whole, ...more }), { mode: 0o600 })
  return file
}

export const measureScale = async (size: Size): Promise<Section> => {
  const sizes = size.quick ? [100, 1_000] : [10_000, 100_000, 1_000_000]
  const callers = Math.min(2_000, sizes[0] ?? 0)
  const wrong: string[] = []
  const skipped: string[] = []
  const closing: (() => Promise<void>)[] = []
  const rows: Row[] = []
  try {
    const kept = (child: Child): Child => {
      closing.push(() => child.stop())
      return child
    }
    const upstream = kept(start([script('upstream.ts')], 'load'))
    const listening = await upstream.next<UpstreamSays>()
    if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
    const load = kept(start([script('load.ts')], 'load'))
    const calls = size.quick ? 200 : 2_000
    const world: World = { upstream, load, wrong, callers, calls }
    const folder = join(size.folder, 'scale')
    const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
    const { config } = await seed(folder, plan, `http://127.0.0.1:${listening.port}`)
    const scim = { entitlements: { source: 'scim', scim: { bearer: BEARER, trust_push: true } } }
    const pushed = variant(config, 'pushed', scim)
    const url = await startPostgres(closing, skipped)
    const fleet = variant(config, 'fleet', {
      ...scim,
      vault: { store: url ?? 'sqlite:deputy.db', keys: './keys.json' },
    })
    const sealer = createSealer(parseKeyRing(readFileSync(join(folder, 'keys.json'), 'utf8')))
    const file = join(folder, 'deputy.db')

    const made = async (crowd: Crowd, from: number, to: number, opened: Opened) => {
      if (from === 0) for (const [table, all] of Object.entries(opened)) await crowd.put(table, all)
      await crowd.grow(from, to, callers)
      const bytes = await crowd.size()
      await crowd.close()
      return bytes
    }
    const one = crowdInSqlite(file)
    const own = await sealed(one, sealer, 0, callers)
    await one.close()
    const beyond = (all: Opened['credentials']) => all.slice(CALLERS.length)
    for (const [i, people] of sizes.entries()) {
      say(`scale: making ${people} people`)
      const from = sizes[i - 1] ?? 0
      await writePeople(join(folder, 'people.yaml'), people)
      const listed = statSync(join(folder, 'people.yaml')).size
      // The first ten are there: the seed's.
      const others = { credentials: beyond(own.credentials), grants: beyond(own.grants) }
      const bytes = await made(crowdInSqlite(file), from, people, others)
      rows.push(await measured(world, config, people, 'SQLite, a file', bytes + listed))
      rows.push(await measured(world, pushed, people, 'SQLite, SCIM', bytes))
      if (url === null) continue
      say(`scale: making ${people} people in PostgreSQL`)
      const there = await made(await crowdInPostgres(url), from, people, own)
      rows.push(await measured(world, fleet, people, 'PostgreSQL, SCIM', there))
    }
    return section(rows, callers, wrong, skipped)
  } finally {
    for (const close of closing.toReversed()) await close()
  }
}

const section = (
  rows: readonly Row[],
  callers: number,
  wrong: readonly string[],
  skipped: readonly string[],
): Section => ({
  title: 'Scale',
  columns: [
    'people',
    'store, entitlements',
    'on disk (MB)',
    'a person (bytes)',
    'start to ready (s)',
    'idle (MB)',
    `after calls by ${callers} people (MB)`,
    'CPU a call of ten people (µs)',
    `first call of each of ${callers} (µs)`,
    'their later calls (µs)',
  ],
  rows: rows.map((row) => [
    String(row.people),
    row.where,
    n(row.disk / 1e6),
    n(row.disk / row.people),
    n(row.startMs / 1_000, 1),
    n(row.idleMb),
    n(row.usedMb),
    n(row.ten),
    n(row.first),
    n(row.again),
  ]),
  notes: [
    `${CONNECTIONS} connections; each person has a credential, a grant, and what SCIM pushes: a user, a team of 100, which is in one group of all; load average ${n(loadavg()[0] ?? NaN, 1)}`,
  ],
  wrong: wrong.slice(0, 5),
  skipped,
})
