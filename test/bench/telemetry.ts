// What it costs to tell a collector: evidence by OTLP and spans, at a steady rate; and a collector that is away for a minute.
import { createReadStream, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { missingOtelcol, startOtelcol, type Otelcol } from '../support/servers/otelcol.ts'
import { say, type Size } from './calls.ts'
import type { Job, Round } from './load.ts'
import { agentPort, memoryOf, root, start, watching, type Child } from './processes.ts'
import { median, n, type Section } from './report.ts'
import { seed } from './seed.ts'
import { LAST, type UpstreamAsk, type UpstreamSays } from './upstream.ts'

const PER_SECOND = 1_000
const CONNECTIONS = 32
/** What is written and not sent at every moment while all is well. */
const CAUGHT_UP = 4 * 1024 * 1024

type Deputy = {
  readonly name: string
  readonly child: Child
  readonly port: number
  readonly admin: string
  readonly requests: readonly string[]
}
type World = {
  readonly size: Size
  readonly collector: Otelcol
  readonly deputy: (name: string, more: Fields) => Promise<Deputy>
  /** Calls at the steady rate; how many were wrong counts. */
  readonly calls: (deputy: Deputy, warmMs: number, ms: number) => Promise<Round>
  readonly wrong: string[]
}
type Fields = Readonly<Record<string, object>>

const open = async (
  size: Size,
  collector: Otelcol,
  kept: (child: Child) => Child,
): Promise<World> => {
  const upstream = kept(start([join(root, 'test/bench/upstream.ts')], 'load'))
  const listening = await upstream.next<UpstreamSays>()
  if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
  const load = kept(start([join(root, 'test/bench/load.ts')], 'load'))
  const wrong: string[] = []
  return {
    size,
    collector,
    wrong,
    deputy: async (name, more) => {
      const plan = { trust: 'plain', people: 10, held: 10, operations: null } as const
      const folder = join(size.folder, name.replaceAll(/\W+/g, '-'))
      const home = await seed(folder, plan, `http://127.0.0.1:${listening.port}`)
      const config = JSON.parse(readFileSync(home.config, 'utf8')) as Record<string, object>
      for (const [key, value] of Object.entries(more)) config[key] = { ...config[key], ...value }
      writeFileSync(home.config, JSON.stringify(config))
      const child = kept(start(['bin/deputy.js', 'serve', '--config', home.config], 'proxy'))
      const port = await agentPort(child)
      const admin = /^admin: (?:http:\/\/)?(\S+)$/m.exec(child.stderr())?.[1] ?? ''
      return { name, child, port, admin, requests: home.requests }
    },
    calls: async ({ name, child, port, requests }, warmMs, ms) => {
      const job: Job = {
        port,
        requests,
        pids: [child.pid],
        last: LAST,
        connections: CONNECTIONS,
        paceMs: (CONNECTIONS * 1_000) / PER_SECOND,
        warmMs,
        ms,
      }
      const round = await load.next<Round>(job)
      const ask: UpstreamAsk = { kind: 'seen' }
      const said = await upstream.next<UpstreamSays>(ask)
      if (said.kind !== 'seen') throw new Error('the upstream does not answer')
      if (round.errors > 0) wrong.push(`${name}: ${round.errors} calls failed: ${round.example}`)
      if (said.seen.foreign > 0) wrong.push(`${name}: ${said.seen.foreign} went out as another`)
      return round
    },
  }
}

const metricsOf = async ({ admin }: Deputy): Promise<(name: string) => number> => {
  const text = await (await fetch(`http://${admin}/metrics`)).text()
  return (name) =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}
const behind = async (deputy: Deputy): Promise<number> =>
  (await metricsOf(deputy))('deputy_audit_export_waiting_bytes')
const until = async (done: () => Promise<boolean>, withinMs: number): Promise<number> => {
  const began = performance.now()
  while (!(await done())) {
    if (performance.now() - began > withinMs) return Infinity
    await pause(100)
  }
  return performance.now() - began
}

/** Each in turn, again and again: what disturbs the machine disturbs all of them. */
const costs = async (world: World): Promise<readonly (readonly string[])[]> => {
  const { quick, rounds } = world.size
  const otlp = world.collector.origin
  const deputies = [
    await world.deputy('a file', {}),
    await world.deputy('a file and OTLP', {
      audit: { sink: ['file:audit.jsonl', 'otlp'] },
      telemetry: { otlp },
    }),
    await world.deputy('a file, traces at 1 %', { telemetry: { otlp, traces: 0.01 } }),
    await world.deputy('a file, traces at 100 %', { telemetry: { otlp, traces: 1 } }),
  ]
  const cpu = new Map(deputies.map(({ name }) => [name, [] as number[]]))
  for (let i = 0; i < (quick ? 1 : rounds); i++)
    for (const deputy of deputies) {
      const warm = quick ? 500 : i === 0 ? 8_000 : 1_500
      const round = await world.calls(deputy, warm, quick ? 1_000 : 4_000)
      cpu.get(deputy.name)?.push((round.cpu[0] ?? NaN) / round.requests)
      say(`${deputy.name}: ${n(cpu.get(deputy.name)?.at(-1) ?? NaN)} µs, ${round.requests} calls`)
      if (deputy.name.endsWith('OTLP'))
        await until(async () => (await behind(deputy)) === 0, 60_000)
    }
  const base = median(cpu.get('a file') ?? [])
  const rows = []
  for (const deputy of deputies) {
    const value = median(cpu.get(deputy.name) ?? [])
    const spans = await metricsOf(deputy)
    rows.push([
      deputy.name,
      n(value, 1),
      n(value - base, 1),
      n(memoryOf(deputy.child.pid)),
      n(spans('deputy_spans_total')),
    ])
    await deputy.child.stop()
  }
  return rows
}

type Got = { readonly outcomes: number; readonly lines: number; readonly twice: number }
/** What the collector wrote down: lines of evidence, each once? */
const received = async (path: string): Promise<Got> => {
  const seen = new Set<string>()
  let outcomes = 0
  let twice = 0
  for await (const line of createInterface({ input: createReadStream(path) }))
    for (const [, event, uid] of line.matchAll(
      /"eventName":"([a-z._]+)"|"log\.record\.uid","value":\{"stringValue":"([^"]+)"/g,
    )) {
      if (event === 'outcome') outcomes++
      if (uid === undefined) continue
      if (seen.has(uid)) twice++
      seen.add(uid)
    }
  return { outcomes, lines: seen.size, twice }
}

const outage = async (world: World, path: string): Promise<readonly (readonly string[])[]> => {
  const { quick } = world.size
  const earlier = await received(path)
  const downMs = quick ? 3_000 : 60_000
  const deputy = await world.deputy('a spool', {
    audit: { sink: ['otlp'], spool: './spool' },
    telemetry: { otlp: world.collector.origin },
  })
  const before = await world.calls(deputy, 0, quick ? 1_000 : 10_000)
  const calm = memoryOf(deputy.child.pid)
  await world.collector.stop()
  let most = 0
  const watched = watching(250, async () => {
    most = Math.max(most, memoryOf(deputy.child.pid))
    await Promise.resolve()
  })
  const during = await world.calls(deputy, 0, downMs)
  const waiting = await behind(deputy)
  say(`after ${downMs / 1_000} s ${n(waiting / 1e6)} MB wait, ${n(most)} MB resident`)
  await world.collector.start()
  // Calls go on meanwhile.
  const after = world.calls(deputy, 0, quick ? 4_000 : 60_000)
  const caughtUp = await until(async () => (await behind(deputy)) < CAUGHT_UP, 300_000)
  const rest = await after
  await until(async () => (await behind(deputy)) === 0, 300_000)
  await watched()
  const said = await metricsOf(deputy)
  const written = said('deputy_audit_events_total{outcome="written"}')
  await deputy.child.stop()
  const calls = said('http_server_request_duration_seconds_count')
  const all = await received(path)
  const got = {
    outcomes: all.outcomes - earlier.outcomes,
    lines: all.lines - earlier.lines,
    twice: all.twice - earlier.twice,
  }
  say(`${calls} calls, ${written} lines; the collector has ${JSON.stringify(got)}`)
  if (got.outcomes < calls || got.lines < written)
    world.wrong.push(`the collector lacks ${calls - got.outcomes} outcomes of ${calls}`)
  const rate = (round: Round): string => n((round.requests * 1_000) / round.ms)
  return [
    ['calls a second before, while it is down, after', [before, during, rest].map(rate).join(', ')],
    ['p99 of a call, ms', [before, during, rest].map(({ p99 }) => n(p99 / 1_000, 1)).join(', ')],
    [`waits after ${downMs / 1_000} s, MB`, n(waiting / 1e6, 1)],
    ['resident before, at most, MB', `${n(calm)}, ${n(most)}`],
    ['caught up after, s, while calls go on', n(caughtUp / 1_000, 1)],
    [
      'calls; outcomes lost; lines sent twice',
      `${calls}; ${Math.max(0, calls - got.outcomes)}; ${got.twice}`,
    ],
  ]
}

/** Part `telemetry` of `npm run bench`. */
export const measureTelemetry = async (size: Size): Promise<Section> => {
  const section = {
    title: 'Telemetry',
    columns: ['evidence to', 'CPU µs a call', 'more', 'resident MB', 'spans'],
    notes: [
      `${PER_SECOND} calls a second over ${CONNECTIONS} connections, by processes in turns, medians; the rest is one run.`,
    ],
  }
  if (missingOtelcol !== null)
    return { ...section, rows: [], wrong: [], skipped: [`no collector: ${missingOtelcol}`] }
  const children: Child[] = []
  const kept = (child: Child): Child => {
    children.push(child)
    return child
  }
  const collector = await startOtelcol()
  try {
    const world = await open(size, collector, kept)
    const rows = await costs(world)
    const apart = await outage(world, collector.received)
    return {
      ...section,
      rows,
      notes: [...section.notes, ...apart.map(([what, value]) => `${what}: ${value}`)],
      wrong: world.wrong,
      skipped: [],
    }
  } finally {
    await Promise.all(children.map((child) => child.stop()))
    await collector.close()
  }
}
