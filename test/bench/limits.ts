// What a limit of policy costs a call: without one, counted in SQLite, and counted by two replicas in PostgreSQL.
import { Agent, request } from 'undici'
import { startChild, TABLES, type Child, type Fields } from '../support/deputy.ts'
import { startServer } from '../support/postgres.ts'
import { startUpstream } from '../support/upstream.ts'
import { say, type Size } from './calls.ts'
import { metricOf } from './held.ts'
import { median, n, part, type Section } from './report.ts'

/** Calls under way at once, where it is not one. */
const TOGETHER = 16
type Measured = {
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
  readonly cpu: number
}
type Contender = {
  readonly name: string
  readonly deputies: readonly Child[]
  readonly rounds: Measured[]
}

const tables = (obligations: Fields): Readonly<Record<string, Fields>> => {
  const { acme } = TABLES['grants'] as { readonly acme: { readonly use: Fields } }
  return { ...TABLES, grants: { ...TABLES['grants'], acme: { use: { ...acme.use, obligations } } } }
}
/** Never reached. */
const LIMIT: Fields = {
  calls: { type: 'rate_limit', properties: { key: ['person'], limit: 1e9, window_s: 3600 } },
}

const measure = async (
  { deputies }: Contender,
  dispatcher: Agent,
  calls: number,
  wrong: string[],
): Promise<Measured> => {
  const call = async (i: number): Promise<number> => {
    const began = performance.now()
    // A download needs no credential.
    const { statusCode, body } = await request(
      `${deputies[i % deputies.length]?.agent ?? ''}/dl.acme.test/file`,
      { dispatcher, headers: { 'deputy-user': 'alice' } },
    )
    await body.dump()
    if (statusCode !== 200) wrong.push(`a call got ${statusCode}`)
    return performance.now() - began
  }
  const alone: number[] = []
  for (let i = 0; i < calls; i++) alone.push(await call(i))
  const cpu = async (): Promise<number> => {
    const each = deputies.map((one) => metricOf(one, 'process_cpu_seconds_total'))
    return (await Promise.all(each)).reduce((sum, s) => sum + s, 0)
  }
  const [before, began] = [await cpu(), performance.now()]
  await Promise.all(
    Array.from({ length: TOGETHER }, async (_, lane) => {
      for (let i = 0; i < calls / 4; i++) await call(lane + i)
    }),
  )
  const seconds = (performance.now() - began) / 1_000
  const all = TOGETHER * Math.ceil(calls / 4)
  return {
    p50: part(alone, 0.5),
    p99: part(alone, 0.99),
    perSecond: all / seconds,
    cpu: (1e6 * ((await cpu()) - before)) / all,
  }
}

export const measureLimits = async ({ quick, rounds }: Size): Promise<Section> => {
  const calls = quick ? 20 : 400
  const upstream = await startUpstream()
  upstream.handle = (_seen, res) => void res.end('a file')
  const stops: (() => Promise<void>)[] = []
  const wrong: string[] = []
  const contenders: Contender[] = []
  const dispatcher = new Agent({ connections: TOGETHER })
  try {
    const start = async (name: string, obligations: Fields, stores: readonly string[]) => {
      const deputies: Child[] = []
      contenders.push({ name, deputies, rounds: [] })
      for (const store of stores)
        deputies.push(
          await startChild({
            upstream: upstream.origin,
            tables: tables(obligations),
            config: { vault: { store, keys: './keys.json' } },
          }),
        )
    }
    const sqlite = ['sqlite:deputy.db']
    await start('no limit, SQLite', {}, sqlite)
    await start('one limit, SQLite', LIMIT, sqlite)
    const { url } = await startServer((stop) => void stops.push(stop))
    await start('no limit, two on PostgreSQL', {}, [url, url])
    await start('one limit, two on PostgreSQL', LIMIT, [url, url])
    // The first round warms up.
    for (let round = 0; round <= (quick ? 1 : rounds); round++)
      for (const contender of contenders) {
        say(`limits: ${contender.name}, round ${round}`)
        const measured = await measure(contender, dispatcher, calls, wrong)
        if (round > 0) contender.rounds.push(measured)
      }
    const of = (of: Contender, what: keyof Measured): number =>
      median(of.rounds.map((round) => round[what]))
    return {
      title: 'Limits',
      columns: [
        '',
        'alone: p50 (ms)',
        'p99 (ms)',
        `${TOGETHER} at once: calls/s`,
        'CPU of all deputies (µs a call)',
      ],
      rows: contenders.map((one) => [
        one.name,
        n(of(one, 'p50'), 2),
        n(of(one, 'p99'), 2),
        n(of(one, 'perSecond')),
        n(of(one, 'cpu')),
      ]),
      notes: [
        'one person, one counter: every call waits for the same row; interleaved rounds, medians',
        'on SQLite each transaction is on the disk before its calls leave; calls that come together share one',
        'this PostgreSQL does not wait for its disk (fsync = off)',
      ],
      wrong: [...new Set(wrong)].slice(0, 5),
      skipped: [],
    }
  } finally {
    await dispatcher.destroy()
    await Promise.all(contenders.flatMap(({ deputies }) => deputies.map((one) => one.close())))
    for (const stop of stops) await stop()
    await upstream.close()
  }
}
