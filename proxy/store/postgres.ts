// The store for several replicas. It keeps no state in a session, so that a pooler in transaction
// mode may stand in between: unnamed statements, SET LOCAL, and locks that end with their
// transaction.
import { setTimeout as pause } from 'node:timers/promises'
import { Client, DatabaseError, Pool, types } from 'pg'
import type { CustomTypesConfig, PoolClient } from 'pg'
import type { Log, Store } from '../model.ts'
import { messageOf } from '../problem.ts'
import { createCrowd, lacking } from './crowd.ts'
import type { Crowd } from './crowd.ts'
import { createSubscribers, followEvents, TELL } from './events.ts'
import { APPLICATION, migratePostgres, usable } from './postgres_schema.ts'
import { createTables } from './tables.ts'
import type { Database, Lane, Raw, Statement, Tell, Work } from './database.ts'

type PostgresOptions = {
  readonly log: Log
  /** Most connections for calls. */
  readonly poolSize?: number
  /** Most connections for the leases of refreshes and for storing what they bring. */
  readonly refreshPoolSize?: number
}

const TIMEOUT_MS = 10_000
const [POOL, REFRESH_POOL] = [10, 4]
const MOST = POOL + REFRESH_POOL + 1
/** A server without a connection to spare is asked again this often, and for how long at most, ms. */
const CROWDED_MS = 100
const CROWDED_FOR_MS = 5_000
/** Events are heard within a second; whoever was stopped for longer hears `*` instead. */
const HEARD_MS = 2_000
/** Whom a key concerns stands first in it, and perhaps alone. */
const FORGET = `UPDATE events SET key = '*' WHERE starts_with(key, $1 || ',') OR key = $1 || ']'`
/** Said each time: the default is an administrator's, and a pooler keeps nothing of a session. */
const OPEN = `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '10s'`
const TYPES: CustomTypesConfig = {
  // Milliseconds and counts: all of them exact as numbers.
  getTypeParser: (id, format) =>
    id === types.builtins.INT8 ? Number : types.getTypeParser(id, format),
}
/** `:name` → `$n`; a cast (`::text`) stays. */
const numbered = (sql: string): { readonly text: string; readonly names: readonly string[] } => {
  const names: string[] = []
  const text = sql.replaceAll(/(?<!:):([a-z]\w*)/gi, (_, name: string) => {
    if (!names.includes(name)) names.push(name)
    return `$${names.indexOf(name) + 1}`
  })
  return { text, names }
}

const NO_POOL = { totalCount: 0, idleCount: 0, waitingCount: 0, options: { max: 1 } }
const UNREACHABLE: ReadonlySet<string> = new Set(
  'ECONNREFUSED ECONNRESET ENOTFOUND EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOENT'.split(
    ' ',
  ),
)
/** What to do about a database that cannot be opened; `where` has no password in it. */
const explain = (where: string, error: unknown): Error => {
  const { code, syscall, path } = {
    ...(error as { code?: string; syscall?: string; path?: string }),
  }
  const say = (what: string) => new Error(`vault.store: ${where} ${what}`, { cause: error })
  if (code === 'ENOENT' && syscall === 'open')
    return say(`cannot be opened: its URL names ${path}, which does not exist.`)
  if (code !== undefined && UNREACHABLE.has(code))
    return say(`cannot be reached (${code}). Check host and port, and that the server runs.`)
  if (code !== undefined && /CERT|VERIFY|ISSUER/.test(code))
    return say(`is not trusted: ${messageOf(error)}. Name its CA: &sslrootcert=FILE.`)
  if (code === '28P01' || code === '28000')
    return say('refuses this user or password. Check both in the URL.')
  if (code === '3D000') return say('does not exist. Create the database.')
  const few = lacking(error, NO_POOL, MOST)
  if (few !== null) return say(few)
  if (code === '42501')
    return say(
      `refuses its tables to this user: ${messageOf(error)}. Grant it CREATE on its schema.`,
    )
  if (code === '42P07')
    return say('holds tables of another program with our names. Give deputy a database of its own.')
  return error instanceof Error && code === undefined && /^(?:is|was) /.test(error.message)
    ? say(error.message)
    : say(`cannot be opened: ${messageOf(error)}`)
}

/**
 * Connects, brings the schema up to date (once, however many replicas start) and follows the changes of the others.
 * Opens at most poolSize + refreshPoolSize + 1 connections. TLS is what the URL says: `?sslmode=verify-full`.
 * Throws an Error that names the database without its password, and what to do.
 */
export const openPostgres = async (url: string, options: PostgresOptions): Promise<Store> => {
  const { log, poolSize = POOL, refreshPoolSize = REFRESH_POOL } = options
  if (!URL.canParse(url))
    throw new Error('vault.store: is no URL: write postgres://user:password@host:5432/database')
  const { host, pathname, hostname } = new URL(url)
  const where = `PostgreSQL ${host}${pathname}`
  const config = {
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    application_name: APPLICATION,
    types: TYPES,
  }
  const pool = (max: number): Pool => {
    const made = new Pool({ ...config, max, query_timeout: TIMEOUT_MS })
    const lost = (error: Error): void =>
      log.warn({ reason: error.message }, 'a connection to the vault was lost')
    // Listened to for its whole life: one that is lost between two statements of ours has nobody else to tell.
    made.on('connect', (client) => void client.on('error', lost))
    made.on('error', () => {}) // the same, once more
    return made
  }
  const pools: Readonly<Record<Lane, Pool>> = {
    calls: pool(poolSize),
    refresh: pool(refreshPoolSize),
  }
  const end = (): Promise<unknown> => Promise.all(Object.values(pools).map((made) => made.end()))
  const subscribers = createSubscribers(log)
  try {
    await transaction(pools.calls, (client) =>
      migratePostgres(
        async (sql, values = []) =>
          (await client.query<Raw>(sql, values.length === 0 ? undefined : [...values])).rows,
        log,
      ),
    )
    const probe = new Client(config)
    if (!probe.ssl && !hostname.startsWith('/') && !LOOPBACK.has(hostname))
      log.warn({ where }, 'the vault is reached without TLS: add ?sslmode=verify-full to its URL')
    const events = await followEvents({
      connect: async () => {
        const client = new Client({
          ...config,
          connectionTimeoutMillis: 2_000,
          query_timeout: 2_000,
        })
        await client.connect()
        return client
      },
      subscribers,
      log,
    })
    const crowd = createCrowd(where, Object.values(pools), MOST)
    return createTables(createDatabase({ pools, subscribers, events, crowd, end }))
  } catch (error) {
    await end()
    throw explain(where, error)
  }
}

/** Connects and looks whether this server will do; writes nothing. Throws as `openPostgres`. */
export const tryPostgres = async (url: string): Promise<void> => {
  const { host, pathname } = new URL(url)
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000, types: TYPES })
  client.on('error', () => {}) // the query that it ends says so
  try {
    await client.connect()
    await usable(async (sql) => (await client.query<Raw>(sql)).rows)
  } catch (error) {
    throw explain(`PostgreSQL ${host}${pathname}`, error)
  } finally {
    await client.end()
  }
}

const LOOPBACK: ReadonlySet<string> = new Set(['', 'localhost', '127.0.0.1', '[::1]'])

/** Others hold every connection that the server has: one of ours may be free in a moment. */
const take = async (pool: Pool): Promise<PoolClient> => {
  for (const began = performance.now(); ;)
    try {
      return await pool.connect()
    } catch (error) {
      const crowded = error instanceof DatabaseError && error.code === '53300'
      if (!crowded || performance.now() - began > CROWDED_FOR_MS) throw error
      await pause(CROWDED_MS)
    }
}

/** A connection that failed in any other way than by the server's word is not used again. */
const withClient = async <T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  undo: (client: PoolClient) => Promise<unknown> = () => Promise.resolve(),
): Promise<T> => {
  const client = await take(pool)
  let broken = false
  try {
    return await work(client)
  } catch (error) {
    broken = !(error instanceof DatabaseError)
    if (!broken) await undo(client).catch(() => (broken = true))
    throw error
  } finally {
    client.release(broken)
  }
}
type Working<T> = (client: PoolClient) => Promise<T>
const transaction = <T>(pool: Pool, work: Working<T>): Promise<T> =>
  withClient(
    pool,
    async (client) => {
      await client.query(OPEN)
      const result = await work(client)
      await client.query('COMMIT')
      return result
    },
    (client) => client.query('ROLLBACK'),
  )

const createDatabase = (deps: {
  readonly pools: Readonly<Record<Lane, Pool>>
  readonly subscribers: ReturnType<typeof createSubscribers>
  readonly events: Awaited<ReturnType<typeof followEvents>>
  readonly crowd: Crowd
  readonly end: () => Promise<unknown>
}): Database => {
  const { pools, subscribers, events, crowd, end } = deps
  /** As `transaction` or `withClient`, and whoever got no connection says so. */
  const using = async <T>(lane: Lane, how: typeof transaction, work: Working<T>): Promise<T> => {
    try {
      return await how(pools[lane], work)
    } catch (error) {
      throw crowd.told(error, pools[lane])
    }
  }
  const known = new Map<string, ReturnType<typeof numbered>>()
  const ask = async (on: PoolClient, [sql, params]: Statement): Promise<readonly Raw[]> => {
    const { text, names } = known.get(sql) ?? numbered(sql)
    known.set(sql, { text, names })
    return (
      await on.query<Raw>(
        text,
        names.map((name) => params[name] ?? null),
      )
    ).rows
  }
  type Told = readonly (readonly [topic: string, key: string])[]
  const announce = async (on: PoolClient, told: Told): Promise<readonly string[]> =>
    told.length === 0
      ? []
      : (
          await on.query<{ id: string }>(TELL, [
            told.map(([topic]) => topic),
            told.map(([, key]) => key),
          ])
        ).rows.map(({ id }) => id)
  /** Where the answer of the commit is lost we never come here, and hear of it as the others do. */
  const hear = (told: Told, ids: readonly string[]): void => {
    told.forEach(([topic, key], at) => {
      if (events.take(ids[at] ?? '')) subscribers.tell(topic, key)
    })
  }

  return {
    now: '(extract(epoch FROM clock_timestamp()) * 1000)::bigint',
    holder: events.backend,
    // Everybody sees every pid; one that is somebody else's by now only makes us wait.
    dead: `lease_holder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = lease_holder)`,
    serialise: (key) => [['SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))', { key }]],
    // What only reads is one snapshot in whichever isolation.
    query: (statement) =>
      using('calls', statement[0].startsWith('SELECT') ? withClient : transaction, (client) =>
        ask(client, statement),
      ),
    transact: async <T>(work: (tell: Tell) => Work<T>, lane: Lane = 'calls'): Promise<T> => {
      const told: [topic: string, key: string][] = []
      const [result, ids] = await using(lane, transaction, async (client) => {
        const steps = work((topic, key) => void told.push([topic, key]))
        let step = steps.next()
        while (step.done !== true) step = steps.next(await ask(client, step.value))
        return [step.value, await announce(client, told)] as const
      })
      hear(told, ids)
      return result
    },
    publish: async (topic, key) =>
      hear(
        [[topic, key]],
        await using('calls', transaction, (client) => announce(client, [[topic, key]])),
      ),
    subscribe: subscribers.subscribe,
    intact: () => {
      const few = crowd.lately()
      if (few !== null) throw new Error(few)
    },
    connections: crowd.figures,
    // Everybody has heard of the change by then, or hears `*`, and forgets everything.
    forget: async (key) => {
      await pause(HEARD_MS)
      await using('calls', transaction, (client) => client.query(FORGET, [key]))
    },
    close: async () => {
      await events.close()
      await end()
    },
  }
}
