// What was used of limits. A window slides: what was counted frees its place when it is one window old. A sixtieth of a
// window is counted together and frees its places with the last of it, so that a counter has some sixty rows at most.
import { createHmac } from 'node:crypto'
import type { Full, LimitStore, Take } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw, Work } from './database.ts'
import { pseudonym } from './pseudonym.ts'
import { personOf } from './rows.ts'
import type { Timeline } from './timeline.ts'

const PARTS = 60
/** The sixtieth in which a time lies. */
export const bucketOf = (now: number, windowMs: number): number =>
  Math.floor(now / Math.max(1, Math.ceil(windowMs / PARTS)))

type Used = { readonly used: number; readonly last: number }

/** In how many ms there is room; null: there is. */
export const roomIn = (
  counted: readonly Used[],
  now: number,
  { limit, amount, windowMs }: Pick<Take, 'limit' | 'amount' | 'windowMs'>,
): number | null => {
  const alive = counted.filter(({ last }) => last > now - windowMs)
  let total = alive.reduce((sum, { used }) => sum + used, amount)
  if (total <= limit) return null
  if (amount > limit) return windowMs
  for (const { used, last } of alive.toSorted((a, b) => a.last - b.last)) {
    total -= used
    if (total <= limit) return Math.min(windowMs, Math.max(1, last + windowMs - now))
  }
  return windowMs
}

/** One counter as this transaction sees it. */
type Counter = { readonly now: number; readonly counted: Used[]; added: number }
type Named = Take & { readonly id: string; readonly owner: string | null }

/** Counts one call in memory: all of its takes, or none. */
const countOne = (takes: readonly Named[], counters: ReadonlyMap<string, Counter>): Full | null => {
  for (const [at, take] of takes.entries()) {
    const counter = counters.get(take.id)
    if (counter === undefined) throw new Error('a counter was not read')
    const retryMs = roomIn(counter.counted, counter.now, take)
    if (retryMs !== null) {
      for (const { id, amount } of takes.slice(0, at)) {
        const undone = counters.get(id)
        undone?.counted.pop()
        if (undone !== undefined) undone.added -= amount
      }
      return { at, retryMs }
    }
    counter.added += take.amount
    counter.counted.push({ used: take.amount, last: counter.now })
  }
  return null
}

export const createLimits = (
  db: Database,
  { sql, at, pseudonymKey }: Asking,
  timeline: Timeline,
): LimitStore => {
  const named = (key: string, take: Take): Named => {
    for (const part of take.key)
      if (!part.isWellFormed())
        throw new Error('the store refuses text that is not well-formed Unicode')
    if (take.person !== null) personOf(take.person)
    return {
      ...take,
      id: createHmac('sha256', key)
        .update(JSON.stringify(['limit', ...take.key]))
        .digest('base64url'),
      owner: take.person === null ? null : pseudonym(key, take.person),
    }
  }
  return {
    async take(calls, clock) {
      const key = await pseudonymKey()
      const all = calls.map((takes) => takes.map((take) => named(key, take)))
      const byId = new Map(all.flat().map((take) => [take.id, take]))
      // Always in the same order, so that two replicas never wait for each other.
      const order = [...byId.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1))
      return timeline.steady(clock, () =>
        db.transact(function* (): Work<{
          now: number
          ahead: boolean
          found: readonly (Full | null)[]
        }> {
          const counters = new Map<string, Counter>()
          let ahead = false
          let now = 0
          for (const { id } of order) for (const each of db.serialise(`limit ${id}`)) yield each
          for (const { id, windowMs } of order) {
            const rows: readonly Raw[] = yield [
              sql.limitUsed,
              { key: id, window: windowMs, ...at(clock.now()) },
            ]
            now = Number(rows[0]?.['now'])
            const counted = rows
              .filter((raw) => raw['used'] !== null)
              .map((raw) => ({ used: Number(raw['used']), last: Number(raw['last']) }))
            ahead ||= counted.some(({ last }) => last > timeline.newest(now))
            counters.set(id, { now, counted, added: 0 })
          }
          if (ahead || timeline.leapt(now, clock)) return { now, ahead: true, found: [] }
          const found = all.map((takes) => countOne(takes, counters))
          for (const { id, owner, windowMs } of order) {
            const { now: last, added } = counters.get(id) ?? { now, added: 0 }
            if (added === 0) continue
            const until = last + windowMs
            const bucket = bucketOf(last, windowMs)
            yield [sql.limitTake, { key: id, bucket, person: owner, used: added, last, until }]
          }
          return { now, ahead: false, found }
        }),
      )
    },
    async sweep(clock) {
      const before = await timeline.steady(clock, async () => {
        const [row] = await db.query([sql.clock, at(clock.now())])
        const now = Number(row?.['now'])
        return { now, ahead: false, found: now }
      })
      const swept = await Promise.all([
        db.query([sql.sweepLimits, { before }]),
        db.query([sql.sweepHistory, { before }]),
      ])
      return swept.flat().length
    },
  }
}
