// When PostgreSQL has too few connections: says in a sentence which are lacking, and how many there
// are.
import { DatabaseError } from 'pg'
import { messageOf } from '../problem.ts'

/** What `pg` tells of a pool. */
type Pooled = {
  readonly totalCount: number
  readonly idleCount: number
  readonly waitingCount: number
  readonly options: { readonly max: number }
}
export type Crowd = {
  /** The error as it is, or a sentence about what is lacking; counted. */
  readonly told: (error: unknown, pool: Pooled) => unknown
  /** What was lacking moments ago; null: nothing. */
  readonly lately: () => string | null
  readonly figures: () => {
    readonly busy: number
    readonly idle: number
    readonly waiting: number
    /** Calls that got no connection or no answer in time, since the start. */
    readonly failed: number
  }
}

/** So long after a call that got none, ms, this process is not ready. */
const LATELY_MS = 5_000

/** @param most connections that one deputy takes; null: what failed is something else */
export const lacking = (error: unknown, pool: Pooled, most: number): string | null => {
  const text = messageOf(error)
  if (error instanceof DatabaseError && error.code === '53300')
    return `has no connection left: ${text}. A deputy takes at most ${most}: raise max_connections or the role's limit, or put a pooler in between.`
  if (/query_wait_timeout|no more connections allowed|max_client_conn/.test(text))
    return `has a pooler in front that has no connection left: ${text}. A deputy takes at most ${most}: raise its pool_size or max_client_conn.`
  if (text === 'Query read timeout')
    return 'takes connections and does not answer: it is overloaded, something holds locks, or a pooler in front has too few connections to it. Look at pg_stat_activity, or raise the pooler’s pool_size.'
  if (text === 'timeout exceeded when trying to connect' && pool.totalCount >= pool.options.max)
    return `is asked by more calls than connections: all ${pool.options.max} are in use and ${pool.waitingCount} calls wait. It is slow, or there are too few deputies for so many calls.`
  return null
}

/** @param where names the database, without its password */
export const createCrowd = (
  where: string,
  pools: readonly Pooled[],
  most: number,
  mono: () => number = () => performance.now(),
): Crowd => {
  let last: { readonly at: number; readonly sentence: string } | null = null
  let failed = 0
  const sum = (of: (pool: Pooled) => number): number =>
    pools.reduce((total, pool) => total + of(pool), 0)
  return {
    told: (error, pool) => {
      const what = lacking(error, pool, most)
      if (what === null) return error
      failed += 1
      last = { at: mono(), sentence: `vault.store: ${where} ${what}` }
      return new Error(last.sentence, { cause: error })
    },
    lately: () => (last !== null && mono() - last.at < LATELY_MS ? last.sentence : null),
    figures: () => {
      const idle = sum(({ idleCount }) => idleCount)
      const waiting = sum(({ waitingCount }) => waitingCount)
      return { busy: sum(({ totalCount }) => totalCount) - idle, idle, waiting, failed }
    },
  }
}
