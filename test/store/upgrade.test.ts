// A vault that an older deputy wrote, and a fleet in which two versions are at work on one database.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'
import { afterEach, describe, expect, test } from 'vitest'
import type { Log, Store } from '../../proxy/model.ts'
import { APPLICATION_ID, MIGRATIONS as OF_SQLITE } from '../../proxy/store/migrations.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { MIGRATIONS as OF_POSTGRES } from '../../proxy/store/postgres_schema.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { QUIET } from '../support/log.ts'
import { postgres } from '../support/postgres.ts'

const server = await postgres()
const absent = 'absent' in server ? server.absent : ''
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})
const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
/** What every version of the schema has a place for. */
const SEEDS = [
  `INSERT INTO credentials (id, tenant, realm, user_id, connection, provider, slot, account_id, account, status, generation, scopes, sealed, stored_at) VALUES ('c1', 'acme', 'corp', 'alice', 'github', 'github', 'default', '7', 'alice-gh', 'active', 3, '["repo"]', 'jwe-3', 1)`,
  `INSERT INTO grants (tenant, realm, user_id, connection, agent, scopes, at) VALUES ('acme', 'corp', 'alice', 'github', 'triage', '["repo"]', 1)`,
]
const EPOCH = `INSERT INTO person_epochs (tenant, realm, user_id, epoch) VALUES ('acme', 'corp', 'alice', 5)`
/** Before it people stood in the epochs by name. */
const named = (list: readonly string[], k: number): boolean =>
  k <= list.findIndex((text) => text.includes('named_epochs'))

const holds = async (store: Store, epoch: number): Promise<void> => {
  expect(await store.credentials.byId('c1')).toMatchObject({ generation: 3, sealed: 'jwe-3' })
  expect(await store.grants.list(alice)).toMatchObject([{ agent: 'triage', scopes: ['repo'] }])
  expect(await store.epochs.read(alice)).toBe(epoch)
}
const each = (list: readonly string[]): readonly number[] =>
  list.map((_text, i) => i + 1).filter((k) => k < list.length)

describe('SQLite', () => {
  test.each(each(OF_SQLITE))(
    'of schema %i is brought to this one, and nothing is lost',
    async (k) => {
      const dir = mkdtempSync(join(tmpdir(), 'deputy-upgrade-'))
      ends.push(() => rmSync(dir, { recursive: true }))
      const path = join(dir, 'deputy.db')
      const db = new DatabaseSync(path)
      for (const text of [...OF_SQLITE.slice(0, k), ...SEEDS]) db.exec(text)
      if (named(OF_SQLITE, k)) db.exec(EPOCH)
      db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${k}`)
      db.close()
      const store = await openSqlite(path)
      ends.push(() => store.close())
      await holds(store, named(OF_SQLITE, k) ? 5 : 0)
    },
  )
})

describe.skipIf(absent !== '')(`PostgreSQL${absent === '' ? '' : ` (SKIPPED: ${absent})`}`, () => {
  const NOW = OF_POSTGRES.length
  const connected = async (url: string, application: string): Promise<Client> => {
    const client = new Client({ connectionString: url, application_name: application })
    await client.connect()
    ends.push(() => client.end().catch(() => {}))
    return client
  }
  /** A database as the version with schema `k` left it. */
  const of = async (k: number): Promise<string> => {
    if ('absent' in server) throw new Error(server.absent)
    const url = await server.fresh()
    const client = await connected(url, 'test')
    for (const text of [...OF_POSTGRES.slice(0, k), ...SEEDS]) await client.query(text)
    if (named(OF_POSTGRES, k)) await client.query(EPOCH)
    await client.query('CREATE TABLE deputy_schema (version INTEGER NOT NULL)')
    await client.query('INSERT INTO deputy_schema VALUES ($1)', [k])
    await client.end()
    return url
  }
  const open = async (url: string, log: Log = QUIET): Promise<Store> => {
    const store = await openPostgres(url, { log })
    ends.push(() => store.close())
    return store
  }

  test.each(each(OF_POSTGRES))(
    'of schema %i is brought to this one, and nothing is lost',
    async (k) => {
      await holds(await open(await of(k)), named(OF_POSTGRES, k) ? 5 : 0)
    },
  )

  test('a replica of the version before works on while the next one begins, where the schema only grows', async () => {
    const url = await of(NOW - 1)
    const old = await connected(url, `deputy/${NOW - 1}`)
    await holds(await open(url), 0)
    const text = `UPDATE credentials SET generation = 4 WHERE id = 'c1'`
    expect((await old.query(text)).rowCount).toBe(1)
  })

  test.each(['deputy', 'deputy/7'])(
    'a change that %s could not go on with waits until it has ended',
    async (application) => {
      const url = await of(7)
      const old = await connected(url, application)
      await expect(open(url)).rejects.toThrow(
        /is in use by an older deputy \(schema [07]\), which cannot go on .+: stop all of the older version/,
      )
      expect((await old.query('SELECT version FROM deputy_schema')).rows).toEqual([{ version: 7 }])
      await old.end()
      await expect.poll(() => open(url).then(() => 'open', String)).toBe('open')
    },
  )

  test('an older process begins beside a newer one where that is said to work, and else says what to do', async () => {
    const url = await of(NOW)
    await open(url)
    const newer = await connected(url, `deputy/${NOW + 1}`)
    await newer.query('ALTER TABLE grants ADD COLUMN later INTEGER')
    await newer.query('UPDATE deputy_schema SET version = $1, oldest_of = $1, oldest = $2', [
      NOW + 1,
      NOW,
    ])
    const said: string[] = []
    const log = { ...QUIET, info: (_fields: object, text: string) => void said.push(text) }
    await holds(await open(url, log), 0)
    expect(said).toContain('a newer deputy brought the vault further: this one works beside it')
    expect((await newer.query('SELECT version, oldest FROM deputy_schema')).rows).toEqual([
      { version: NOW + 1, oldest: NOW },
    ])
    await newer.query('UPDATE deputy_schema SET oldest = $1', [NOW + 1])
    await expect(open(url)).rejects.toThrow(/was written by a newer deputy \(schema \d+, this one/)
  })
})
