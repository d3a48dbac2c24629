// Tells listeners of changes: in this process, and in every process on one PostgreSQL.
import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { Client } from 'pg'
import type { Log } from '../model.ts'
import { messageOf } from '../problem.ts'

type Subscribers = {
  readonly subscribe: (topic: string, hear: (key: string) => void) => () => void
  readonly tell: (topic: string, key: string) => void
  /** Something may have been missed. */
  readonly tellAll: () => void
}

export const createSubscribers = (log?: Log): Subscribers => {
  const topics = new Map<string, Set<(key: string) => void>>()
  const tell = (topic: string, key: string): void => {
    for (const hear of topics.get(topic) ?? [])
      try {
        hear(key)
      } catch (error) {
        log?.error({ topic, err: error }, 'a change could not be taken in')
      }
  }
  return {
    subscribe: (topic, hear) => {
      const hearers = topics.get(topic) ?? new Set()
      topics.set(topic, hearers)
      hearers.add(hear)
      return () => void hearers.delete(hear)
    },
    tell,
    tellAll: () => {
      for (const topic of topics.keys()) tell(topic, '*')
    },
  }
}

export type Event = { readonly id: string; readonly topic: string; readonly key: string }

/** Asked this often even where LISTEN works: a connection that died in silence is found out. */
const POLL_MS = 700
/** How long a look may take that is under way when the next one is due; with POLL_MS, a second. */
const PATIENCE_MS = 300
const SWEEP_EVERY = 100
/**
 * Numbers are given before their transaction commits, so "greater than the last one seen" would miss some:
 * asked for is what was not visible at the last look. A row may come twice; the ids tell.
 */
const BEGIN =
  'SELECT pg_backend_pid() AS pid, pg_snapshot_xmin(pg_current_snapshot())::text AS horizon'
const READ = `
  SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, e.id::text AS id, e.topic, e.key
  FROM (SELECT 1) AS one LEFT JOIN events AS e ON e.xact >= $1::xid8 ORDER BY e.id`
/** In whichever isolation an administrator made the default, two replicas may sweep at once. */
const SWEEP = `BEGIN ISOLATION LEVEL READ COMMITTED; DELETE FROM events WHERE at < clock_timestamp() - interval '10 minutes'; COMMIT`
export const TELL = `
  WITH told AS (INSERT INTO events (topic, key) SELECT * FROM unnest($1::text[], $2::text[]) RETURNING id)
  SELECT id::text AS id, pg_notify('deputy_events', '') FROM told`

type EventRow = { readonly horizon: string } & {
  readonly [name in keyof Event]: Event[name] | null
}

/**
 * Follows the table of events on one connection of its own. While it cannot be read, everybody is told at every
 * look that something may have been missed, so that nothing remembered outlives a revocation. Rejects when the
 * first look fails.
 */
export const followEvents = async (deps: {
  readonly connect: () => Promise<Client>
  readonly subscribers: Subscribers
  readonly log: Log
}): Promise<{
  /** Takes an event of our own; false: the look came first and told it. */
  readonly take: (id: string) => boolean
  /** The backend that this process has to itself; null: a pooler's, or none now. */
  readonly backend: () => number | null
  readonly close: () => Promise<void>
}> => {
  const { connect, subscribers, log } = deps
  const seen = new LRUCache<string, true>({ max: 10_000 })
  let client: Client | null = null
  let backend: number | null = null
  let horizon: string | null = null
  let looks = 0
  let looking: Promise<void> | null = null
  let again = false
  let lost = false
  let closed = false

  const take = (id: string): boolean => {
    const first = !seen.has(id)
    seen.set(id, true)
    return first
  }
  const open = async (): Promise<Client> => {
    const next = await connect()
    next.on('error', () => void look()) // fails now, and says so
    next.on('notification', () => void look())
    try {
      const { rows } = await next.query<{ pid: number; horizon: string }>(BEGIN)
      horizon ??= rows[0]?.horizon ?? null
      // A pooler in transaction mode lends a server's connection for one statement: others would hear what we LISTEN for.
      const direct = rows[0]?.pid === (next as unknown as { processID?: number }).processID
      backend = direct ? (rows[0]?.pid ?? null) : null
      if (direct) await next.query('LISTEN deputy_events')
      else log.info({ every_ms: POLL_MS }, 'the database is behind a pooler: changes are polled')
      return next
    } catch (error) {
      await next.end()
      throw error
    }
  }

  const read = async (): Promise<void> => {
    client ??= await open()
    const { rows } = await client.query<EventRow>(READ, [horizon])
    horizon = rows[0]?.horizon ?? horizon
    for (const { id, topic, key } of rows) {
      if (id !== null && topic !== null && key !== null && take(id)) subscribers.tell(topic, key)
    }
    looks += 1
    if (looks % SWEEP_EVERY === 1) await client.query(SWEEP)
  }
  const look = (): Promise<void> => {
    again = looking !== null
    if (looking !== null || closed) return looking ?? Promise.resolve()
    looking = read()
      .then(
        () => {
          if (lost) log.info({}, 'changes of other processes are heard again')
          lost = false
        },
        (error: unknown) => {
          const reason = messageOf(error)
          if (!lost && !closed)
            log.error({ reason }, 'changes of other processes cannot be heard now')
          lost = true
          client?.end().catch(() => {}) // it is broken already
          client = null
          backend = null
          subscribers.tellAll()
          if (horizon === null) throw error
        },
      )
      .finally(() => {
        looking = null
        if (again && !lost && !closed) void look()
      })
    return looking
  }

  await look()
  const timer = setInterval(() => {
    const before = looking
    // Still at the same one: whoever hangs knows nothing. Busy is not hanging: what was remembered stays.
    if (before !== null)
      setTimeout(() => {
        if (looking === before) subscribers.tellAll()
      }, PATIENCE_MS).unref()
    if (lost) subscribers.tellAll()
    void look()
  }, POLL_MS)
  timer.unref()
  return {
    take,
    backend: () => backend,
    close: async () => {
      closed = true
      clearInterval(timer)
      await looking?.catch(() => {}) // told already
      // One that no longer answers would keep us here for ever.
      await Promise.race([client?.end(), pause(1_000, undefined, { ref: false })])
    },
  }
}
