// Calls: deputy beside plain proxies in one run, in interleaved rounds. Loopback only, bounded in count and time.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Evaluated } from './evaluate.ts'
import { startForeign } from './foreign.ts'
import type { Job, Round } from './load.ts'
import { PEERS } from './peers.ts'
import { agentPort, memoryOf, pinning, root, start, type Child } from './processes.ts'
import { spent, type Profile } from './profile.ts'
import { median, type Report, type Row } from './report.ts'
import { plainCalls, seed, taggedCalls, type Plan } from './seed.ts'
import { LAST, type Seen, type UpstreamAsk, type UpstreamSays } from './upstream.ts'

export type Size = {
  /** Little of everything: to see that it works. */
  readonly quick: boolean
  /** Writes V8 profiles of deputy, and prints where its time went. */
  readonly profile: boolean
  readonly rounds: number
  readonly windowMs: number
  /** Calls under way at once. */
  readonly connections: number
  /** An empty folder, removed by the caller. */
  readonly folder: string
}
export const say = (text: string): void => void process.stderr.write(`${text}\n`)

type Contender = {
  readonly name: string
  /** Every process of it; none: the load itself. */
  readonly children: readonly Child[]
  readonly port: number
  readonly requests: readonly string[]
}
const script = (name: string): string => join(root, 'test/bench', name)

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

export const measureCalls = async (size: Size): Promise<Report> => {
  const children: Child[] = []
  try {
    return await measure(size, (child) => {
      children.push(child)
      return child
    })
  } finally {
    await Promise.all(children.map((child) => child.stop()))
  }
}

const measure = async (size: Size, kept: (child: Child) => Child): Promise<Report> => {
  const { folder, rounds: ROUNDS, windowMs: WINDOW_MS, connections: CONNECTIONS } = size
  const WARM_MS = size.quick ? WINDOW_MS : Math.max(8_000, WINDOW_MS)
  const MANY = size.quick ? 1_000 : 100_000
  const upstream = kept(start([script('upstream.ts')], 'load'))
  const listening = await upstream.next<UpstreamSays>()
  if (listening.kind !== 'listening') throw new Error('the upstream does not listen')
  const origin = `http://127.0.0.1:${listening.port}`
  const load = kept(start([script('load.ts')], 'load'))
  const direct: Contender = {
    name: 'no proxy',
    children: [],
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
      pids: [upstream.pid, ...contender.children.map(({ pid }) => pid)],
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
    warmMs = WARM_MS,
  ): Promise<readonly Row[]> => {
    const rounds = new Map(
      contenders.map(({ name }) => [name, [] as Awaited<ReturnType<typeof round>>[]]),
    )
    for (let i = 0; i < ROUNDS; i++)
      for (const contender of contenders) {
        say(`round ${i + 1} of ${ROUNDS}, ${connections} connections: ${contender.name}`)
        // Code that runs for the first time is compiled for a while: what is compared is the steady state.
        const warm = i === 0 ? warmMs : WINDOW_MS / 6
        rounds.get(contender.name)?.push(await round(contender, connections, warm, WINDOW_MS))
      }
    return [...rounds].map(([name, all]) => {
      const of = (pick: (one: (typeof all)[number]) => number): number => median(all.map(pick))
      /** CPU of all processes of the contender, µs; the first that was read is the upstream. */
      const ofProxy = ({ cpu }: Round): number =>
        cpu.slice(1).reduce((total, one) => total + one, 0)
      const sum = (pick: (one: (typeof all)[number]) => number): number =>
        all.reduce((total, one) => total + pick(one), 0)
      return {
        name,
        requests: sum((one) => one.requests),
        errors: sum((one) => one.errors),
        foreign: sum((one) => one.seen.foreign + one.seen.tagged),
        perSecond: of((one) => (one.requests * 1_000) / one.ms),
        cpu: of((one) => ofProxy(one) / one.requests),
        p50: of((one) => one.p50),
        p99: of((one) => one.p99),
        proxyBusy: of((one) => ofProxy(one) / one.ms / 1_000),
        loadBusy: of((one) => (one.own + (one.cpu[0] ?? NaN)) / one.ms / 1_000),
      }
    })
  }
  const deputy = async (name: string, plan: Plan, more: readonly string[] = []) => {
    const home = await seed(join(folder, name.replaceAll(/\W+/g, '-')), plan, origin)
    say(`starting ${name}`)
    const child = kept(start([...more, 'bin/deputy.js', 'serve', '--config', home.config], 'proxy'))
    const port = await agentPort(child)
    return { contender: { name, children: [child], port, requests: home.requests } }
  }

  const peers: Contender[] = []
  for (const name of PEERS) {
    const child = kept(start([script('peers.ts'), name, origin], 'proxy'))
    peers.push({
      name,
      children: [child],
      port: await child.next<number>(),
      requests: plainCalls(),
    })
  }
  const foreign = size.quick
    ? { proxies: [], skipped: ['nginx, HAProxy and Envoy: not beside a quick look'] }
    : await startForeign({ folder: join(folder, 'foreign'), origin: new URL(origin), kept })
  for (const { name, children, port, decides } of foreign.proxies)
    peers.push({ name, children, port, requests: decides ? taggedCalls() : plainCalls() })
  const small = { people: 10, held: 10, operations: null } as const
  const profiles = join(root, '.sandbox', `profile-${process.pid}`)
  const profiling = size.profile ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`] : []
  const plain = await deputy('deputy, plain', { ...small, trust: 'plain' }, profiling)
  const asserted = await deputy('deputy, asserted', { ...small, trust: 'asserted' })
  const contenders = [...peers, plain.contender, asserted.contender]
  const rows = await interleaved(contenders, CONNECTIONS)
  const loadedMb = plain.contender.children.reduce((sum, { pid }) => sum + memoryOf(pid), 0)
  const fewer: Report['fewer'][number][] = []
  for (const connections of [1, 4])
    fewer.push({
      connections,
      // All of it is compiled by now.
      rows: await interleaved([direct, ...contenders], connections, WARM_MS / 4),
    })
  for (const { children } of contenders) for (const child of children) await child.stop()
  if (size.profile) printProfiles(profiles)

  const evaluation = kept(start([script('evaluate.ts'), size.quick ? '40' : '400'], 'proxy'))
  const policy = await evaluation.next<Evaluated>()

  const few = { trust: 'asserted', people: 10, held: 10, operations: 10 } as const
  const many = size.quick ? 100 : 5_000
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
    how: `${ROUNDS} rounds of ${WINDOW_MS} ms, ${CONNECTIONS} connections`,
    pinned: pinning(),
    rows,
    fewer,
    policy,
    loadedMb,
    grown,
    skipped: [
      ...(size.profile ? ['PROFILED: `deputy, plain` is slower here than it is'] : []),
      ...foreign.skipped,
    ],
  }
}
