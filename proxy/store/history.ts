// Which calls a person was allowed, counted by operation, for the spans of time that policy asks about.
import type { CallHistory, HistoryEntry, HistoryStore } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw, Work } from './database.ts'
import { bucketOf } from './limits.ts'
import { pseudonym } from './pseudonym.ts'
import { checked, personOf } from './rows.ts'
import type { Timeline } from './timeline.ts'

/** The version of a history outlives all that it counts, ms. */
const KEPT_MS = 2 * 86_400_000
/** The version itself: no span of time has this length. */
const VERSION = 0

type Row = {
  readonly run: string
  readonly provider: string
  readonly operation: string
  readonly span: number
  readonly used: number
  readonly last: number
}
const rowOf = (raw: Raw): Row => ({
  run: String(raw['run']),
  provider: String(raw['provider']),
  operation: String(raw['operation']),
  span: Number(raw['span']),
  used: Number(raw['used']),
  last: Number(raw['last']),
})

/**
 * Of one operation, for each span what the shorter ones do not hold: those of `last_s` below a span add up to what was
 * counted within it.
 */
const entriesOf = (
  rows: readonly Row[],
  windowsS: readonly number[],
  now: number,
): readonly HistoryEntry[] => {
  const [first] = rows
  if (first === undefined) return []
  const { provider, operation } = first
  const entries: HistoryEntry[] = []
  let [counted, floor] = [0, 0]
  for (const windowS of windowsS) {
    const own = rows.filter(({ span }) => span === windowS * 1_000)
    const count = own.reduce((sum, { used }) => sum + used, 0) - counted
    if (count > 0) {
      const ages = own.map(({ last }) => Math.floor(Math.max(0, now - last) / 1_000))
      // Where a sixtieth of the longer span reaches into the shorter one, what is older in it counts from its end.
      const older = ages.filter((one) => one >= floor)
      // Beyond the shorter span, whether a rule takes its end for inside or outside.
      const youngest = older.length === 0 ? floor : Math.min(...older)
      const last_s = Math.max(youngest, floor === 0 ? 0 : floor + 0.5)
      entries.push({ provider, operation, count, last_s })
      counted += count
    }
    floor = windowS
  }
  return entries
}

const entries = (
  rows: readonly Row[],
  windowsS: readonly number[],
  now: number,
): readonly HistoryEntry[] =>
  [...Map.groupBy(rows, ({ provider, operation }) => JSON.stringify([provider, operation]))]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, own]) => entriesOf(own, windowsS, now))

export const createHistory = (
  db: Database,
  { sql, at, pseudonymKey }: Asking,
  timeline: Timeline,
): HistoryStore => ({
  async read({ person, run }, windowsS, clock) {
    personOf(person)
    const whose = { person: pseudonym(await pseudonymKey(), person), run: run ?? '' }
    return timeline.steady(clock, async () => {
      const raw = await db.query([sql.history, checked({ ...whose, ...at(clock.now()) })])
      const now = Number(raw[0]?.['now'])
      const rows = raw.filter((one) => one['used'] !== null).map(rowOf)
      const of = (name: string): readonly HistoryEntry[] =>
        entries(
          rows.filter((one) => one.run === name && one.span !== VERSION),
          windowsS,
          now,
        )
      const found: CallHistory = {
        version: rows.find(({ span }) => span === VERSION)?.used ?? 0,
        person: of(''),
        run: run === null ? [] : of(run),
      }
      return { now, ahead: rows.some(({ last }) => last > timeline.newest(now)), found }
    })
  },
  async add({ person, run, version }, calls, windowsS, clock) {
    personOf(person)
    const whose = { person: pseudonym(await pseudonymKey(), person) }
    return db.transact(function* (): Work<boolean> {
      const [head] = yield [
        sql.historyHead,
        { ...whose, version, keep: KEPT_MS, ...at(clock.now()) },
      ]
      if (head === undefined) return false
      const now = Number(head['now'])
      for (const { provider, operation, count } of calls)
        for (const windowS of windowsS)
          for (const of of run === null ? [''] : ['', run]) {
            const span = windowS * 1_000
            const bucket = bucketOf(now, span)
            const times = { span, bucket, used: count, last: now, until: now + span }
            yield [sql.historyAdd, checked({ ...whose, run: of, provider, operation, ...times })]
          }
      return true
    })
  },
})
