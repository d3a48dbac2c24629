// `npm run bench`: deputy beside plain proxies in one run, in interleaved rounds. Loopback only, bounded in count and time.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { delimiter, join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Evaluated } from './evaluate.ts'
import type { Job, Round } from './load.ts'
import { PEERS } from './peers.ts'
import { measurable, memoryOf, pinning, root, start, type Child } from './processes.ts'
import { spent, type Profile } from './profile.ts'
import { markdown, median, sound, type Report, type Row } from './report.ts'
import { plainCalls, seed, type Plan } from './seed.ts'
import { LAST, type Seen, type UpstreamAsk, type UpstreamSays } from './upstream.ts'

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    window: { type: 'string' },
    json: { type: 'string' },
  },
})
const ROUNDS = Math.min(20, Number(flags.rounds ?? (flags.quick ? 1 : 5)))
const WINDOW_MS = Math.min(60_000, Number(flags.window ?? (flags.quick ? 2_000 : 3_000)))
const CONNECTIONS = 32
const WARM_MS = flags.quick ? WINDOW_MS : Math.max(8_000, WINDOW_MS)
const MANY = flags.quick ? 1_000 : 100_000
const say = (text: string): void => void process.stderr.write(`${text}\n`)

type Contender = {
  readonly name: string
  readonly child: Child | null
  readonly port: number
  readonly requests: readonly string[]
}
const children: Child[] = []
const kept = (child: Child): Child => {
  children.push(child)
  return child
}
const script = (name: string): string => join(root, 'test/bench', name)

const startDeputy = async (
  config: string,
  more: readonly string[] = [],
): Promise<{ child: Child; port: number; ms: number }> => {
  const began = performance.now()
  const pinned = more[0] === 'anywhere' ? null : 'proxy'
  const node = more.filter((arg) => arg !== 'anywhere')
  const child = kept(start([...node, 'bin/deputy.js', 'serve', '--config', config], pinned))
  await child.says('deputy is ready')
  const ms = performance.now() - began
  const port = /^agent: http:\/\/127\.0\.0\.1:(\d+)$/m.exec(child.stderr())?.[1]
  if (port === undefined) throw new Error(`deputy names no port:\n${child.stderr()}`)
  return { child, port: Number(port), ms }
}

/** The functions that deputy spent most in; the files are for a viewer. */
const printProfiles = (folder: string): void => {
  for (const name of readdirSync(folder)) {
    const file = join(folder, name)
    say(`\n${file}\n  self  total`)
    for (const { where, self, total } of spent(
      JSON.parse(readFileSync(file, 'utf8')) as Profile,
      root,
    ).slice(0, 25))
      say(
        `${(100 * self).toFixed(1).padStart(5)}% ${(100 * total).toFixed(1).padStart(5)}% ${where}`,
      )
  }
}

const measureAll = async (folder: string): Promise<Report> => {
  const before = loadavg()[0] ?? 0
  const upstream = kept(start([script('upstream.ts')], 'load'))
  const listening = await upstream.next<UpstreamSays>()
  if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
  const origin = `http://127.0.0.1:${listening.port}`
  const load = kept(start([script('load.ts')], 'load'))
  const direct: Contender = {
    name: 'no proxy',
    child: null,
    port: listening.port,
    requests: plainCalls(),
  }

  const round = async (
    contender: Contender,
    connections: number,
    warmMs: number,
    ms: number,
  ): Promise<Round & { seen: Seen }> => {
    const job: Job = {
      port: contender.port,
      requests: contender.requests,
      pids: [contender.child?.pid ?? load.pid, upstream.pid],
      last: LAST,
      connections,
      warmMs,
      ms,
    }
    const result = await load.next<Round>(job)
    const ask: UpstreamAsk = { kind: 'seen' }
    const said = await upstream.next<UpstreamSays>(ask)
    if (said.kind !== 'seen') throw new Error('the upstream does not answer')
    if (result.example !== null) say(`${contender.name}: ${result.example}`)
    if (said.seen.example !== null) say(`${contender.name}: ${said.seen.example}`)
    return { ...result, seen: said.seen }
  }
  /** Every contender in turn, again and again: what disturbs the machine disturbs all of them. */
  const interleaved = async (
    contenders: readonly Contender[],
    connections: number,
  ): Promise<readonly Row[]> => {
    const rounds = new Map(
      contenders.map(({ name }) => [name, [] as Awaited<ReturnType<typeof round>>[]]),
    )
    for (let i = 0; i < ROUNDS; i++)
      for (const contender of contenders) {
        say(`round ${i + 1} of ${ROUNDS}, ${connections} connections: ${contender.name}`)
        // Code that runs for the first time is compiled for a while: what is compared is the steady state.
        const warm = i === 0 ? WARM_MS : WINDOW_MS / 6
        rounds.get(contender.name)?.push(await round(contender, connections, warm, WINDOW_MS))
      }
    return [...rounds].map(([name, all]) => {
      const of = (pick: (one: (typeof all)[number]) => number): number => median(all.map(pick))
      const sum = (pick: (one: (typeof all)[number]) => number): number =>
        all.reduce((total, one) => total + pick(one), 0)
      return {
        name,
        requests: sum((one) => one.requests),
        errors: sum((one) => one.errors),
        foreign: sum((one) => one.seen.foreign + one.seen.tagged),
        perSecond: of((one) => (one.requests * 1_000) / one.ms),
        cpu: of((one) => (one.cpu[0] ?? NaN) / one.requests),
        p50: of((one) => one.p50),
        p99: of((one) => one.p99),
        proxyBusy: of((one) => (one.cpu[0] ?? NaN) / one.ms / 1_000),
        loadBusy: of((one) => (one.own + (one.cpu[1] ?? NaN)) / one.ms / 1_000),
      }
    })
  }
  const deputy = async (name: string, plan: Plan, more: readonly string[] = []) => {
    const home = await seed(join(folder, name.replaceAll(/\W+/g, '-')), plan, origin)
    say(`starting ${name}`)
    const { child, port, ms } = await startDeputy(home.config, more)
    return { contender: { name, child, port, requests: home.requests }, ms, config: home.config }
  }

  const peers: Contender[] = []
  for (const name of PEERS) {
    const child = kept(start([script('peers.ts'), name, origin], 'proxy'))
    peers.push({ name, child, port: await child.next<number>(), requests: plainCalls() })
  }
  const small = { people: 10, held: 10, operations: null } as const
  const starts: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const tried = await deputy(`start ${i}`, { ...small, trust: 'plain' }, ['anywhere'])
    starts.push(tried.ms)
    await tried.contender.child.stop()
  }
  const profiles = join(root, '.sandbox', `profile-${process.pid}`)
  const profiling = flags.profile ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`] : []
  const plain = await deputy('deputy, plain', { ...small, trust: 'plain' }, profiling)
  const asserted = await deputy('deputy, asserted', { ...small, trust: 'asserted' })
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const idleMb = memoryOf(plain.contender.child.pid)
  const rows = await interleaved([...peers, plain.contender, asserted.contender], CONNECTIONS)
  const loadedMb = memoryOf(plain.contender.child.pid)
  const single = await interleaved(
    [direct, ...peers.filter(({ name }) => name === 'undici'), plain.contender],
    1,
  )
  for (const { child } of [...peers, plain.contender, asserted.contender]) await child?.stop()
  if (flags.profile) printProfiles(profiles)

  const evaluation = kept(start([script('evaluate.ts'), flags.quick ? '40' : '400'], 'proxy'))
  const policy = await evaluation.next<Evaluated>()

  const few = { trust: 'asserted', people: 10, held: 10, operations: 10 } as const
  const many = flags.quick ? 100 : 5_000
  const sizes = [
    await deputy('10 of everything', few),
    await deputy(`${MANY} people`, { ...few, people: MANY }),
    await deputy(`${MANY} credentials and grants`, { ...few, held: MANY }),
    await deputy(`${many} operations`, { ...few, operations: many }),
  ]
  const grown = await interleaved(
    sizes.map(({ contender }) => contender),
    CONNECTIONS,
  )
  return {
    machine: `${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${availableParallelism()} cores, Node ${process.version}, ${ROUNDS} rounds of ${WINDOW_MS} ms, ${CONNECTIONS} connections, load average before ${before.toFixed(1)}`,
    pinned: pinning(),
    rows,
    single,
    policy,
    startMs: median(starts),
    idleMb,
    loadedMb,
    grown,
    skipped: [
      ...(flags.profile ? ['PROFILED: `deputy, plain` is slower here than it is'] : []),
      ...['nginx', 'envoy'].map((name) =>
        (process.env['PATH'] ?? '').split(delimiter).some((path) => existsSync(join(path, name)))
          ? `${name} is here, but this bench does not drive it`
          : `${name} is not on this machine: not compared`,
      ),
    ],
  }
}

if (!measurable()) {
  say('the bench reads the CPU of processes from /proc, which this system does not have')
  process.exitCode = 69
} else {
  mkdirSync(join(root, '.sandbox'), { recursive: true })
  const folder = mkdtempSync(join(root, '.sandbox/bench-'))
  try {
    const report = await measureAll(folder)
    process.stdout.write(markdown(report))
    if (flags.json !== undefined) writeFileSync(flags.json, JSON.stringify(report))
    if (!sound(report)) process.exitCode = 1
  } finally {
    await Promise.all(children.map((child) => child.stop()))
    rmSync(folder, { recursive: true, force: true })
  }
}
