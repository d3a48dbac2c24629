// Very many people in a store: some whose credential can be opened, and copies of their rows, which nobody opens; beside
// them what an identity provider pushed of everybody. By statements of the database itself: a million takes seconds.
import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'
import type { CredentialRow } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { boundOf } from '../../proxy/vault/leases.ts'
import type { Sealer } from '../../proxy/vault/seal.ts'
import { tokenOf } from './upstream.ts'

export const personOf = (i: number): string => `person-${i}`
/** People of one team; every team is a member of the group that policy knows. */
const TEAM = 100
const ALL = 'engineering'
const AT_ONCE = 100

/** Rows of a table of the store, as the database has them. */
type Rows = readonly Readonly<Record<string, string | number | null>>[]
export type Crowd = {
  /** What is pushed of people `from` (inclusive) to `to`; those from `copied` on get a copy of the rows of person 0. */
  readonly grow: (from: number, to: number, copied: number) => Promise<void>
  readonly put: (table: string, rows: Rows) => Promise<void>
  readonly rows: (table: string, most: number) => Promise<Rows>
  /** Bytes on disk. */
  readonly size: () => Promise<number>
  readonly close: () => Promise<void>
}

const at = Date.now()
const REALM = `'default', 'corp'`
/** SQL that both databases speak, over a table `n` of numbers `i`. */
const pushed = (table: string, kind: 'User' | 'Group'): string => {
  const [id, name] = kind === 'User' ? ['user-', 'person-'] : ['team-', 'team-']
  const more =
    kind === 'User'
      ? `"displayName":"Person ' || i || '","externalId":"e-' || i || '","active":true}`
      : `"displayName":"team-' || i || '"}`
  return `INSERT INTO ${table} (tenant, realm, kind, id, name, exact, external_id, version, body, created_at, changed_at)
    SELECT ${REALM}, '${kind}', '${id}' || i, '${name}' || i, '${name}' || i, 'e-' || i, 1,
    '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:${kind}"],"userName":"${name}' || i || '",${more}', ${at}, ${at} FROM n`
}
const members = (group: string, member: string): string =>
  `INSERT INTO scim_members (tenant, realm, group_id, member_id) SELECT ${REALM}, ${group}, ${member} FROM n`
const copyOf = (table: string, columns: readonly string[]): string =>
  `INSERT INTO ${table} (${columns.join()}) SELECT ${columns
    .map((name) => (name === 'user_id' ? `'person-' || i` : name === 'id' ? `'copy-' || i` : name))
    .join()} FROM ${table}, n WHERE user_id = '${personOf(0)}'`

const steps = (
  from: number,
  to: number,
  copied: number,
  columns: (table: string) => readonly string[],
): readonly { readonly text: string; readonly from: number; readonly to: number }[] => {
  const teams = { from: Math.ceil(from / TEAM), to: Math.ceil(to / TEAM) }
  return [
    ...['credentials', 'grants'].map((table) => ({
      text: copyOf(table, columns(table)),
      from: Math.max(from, copied),
      to,
    })),
    { text: pushed('scim_resources', 'User'), from, to },
    { text: pushed('scim_resources', 'Group'), ...teams },
    { text: members(`'all'`, `'team-' || i`), ...teams },
    { text: members(`'team-' || (i / ${TEAM})`, `'user-' || i`), from, to },
  ]
}
const FIRST = `INSERT INTO scim_resources (tenant, realm, kind, id, name, exact, external_id, version, body, created_at, changed_at)
  VALUES (${REALM}, 'Group', 'all', '${ALL}', '${ALL}', NULL, 1, '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"${ALL}"}', ${at}, ${at})`

/** A file of SQLite that nobody has open. */
export const crowdInSqlite = (path: string): Crowd => {
  const db = new DatabaseSync(path)
  // No journal and much memory while it grows: a million rows would be written again and again.
  db.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000')
  const columns = (table: string): readonly string[] =>
    db
      .prepare(`SELECT name FROM pragma_table_info('${table}')`)
      .all()
      .map(({ name }) => String(name))
  if (db.prepare(`SELECT 1 FROM scim_resources WHERE id = 'all'`).get() === undefined)
    db.exec(FIRST)
  return {
    grow: async (first, end, copied) => {
      db.exec('BEGIN')
      for (const { text, from, to } of steps(first, end, copied, columns))
        if (from < to)
          db.prepare(
            `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ${to}) ${text}`,
          ).run()
      db.exec('COMMIT')
    },
    put: async (table, rows) => {
      const names = Object.keys(rows[0] ?? {})
      const one = db.prepare(
        `INSERT INTO ${table} (${names.join()}) VALUES (${names.map((name) => `:${name}`).join()})`,
      )
      db.exec('BEGIN')
      for (const row of rows) one.run(row)
      db.exec('COMMIT')
    },
    rows: async (table, most) =>
      db.prepare(`SELECT * FROM ${table} LIMIT ${most}`).all() as unknown as Rows,
    size: async () => {
      return statSync(path).size
    },
    close: async () => {
      db.exec('PRAGMA journal_mode = WAL')
      db.close()
    },
  }
}

/** A database of PostgreSQL with the store's tables in it. */
export const crowdInPostgres = async (url: string): Promise<Crowd> => {
  const client = new Client(url)
  await client.connect()
  const columns = new Map<string, readonly string[]>()
  for (const table of ['credentials', 'grants']) {
    const { rows } = await client.query<{ name: string }>(
      'SELECT column_name AS name FROM information_schema.columns WHERE table_name = $1',
      [table],
    )
    columns.set(
      table,
      rows.map(({ name }) => name),
    )
  }
  const there = await client.query(`SELECT 1 FROM scim_resources WHERE id = 'all'`)
  if (there.rows.length === 0) await client.query(FIRST)
  return {
    grow: async (first, end, copied) => {
      const all = steps(first, end, copied, (table) => columns.get(table) ?? [])
      for (const { text, from, to } of all)
        if (from < to)
          await client.query(`WITH n(i) AS (SELECT generate_series(${from}, ${to - 1})) ${text}`)
      await client.query('VACUUM ANALYZE credentials, grants, scim_resources, scim_members')
    },
    put: async (table, rows) => {
      await client.query(
        `INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`,
        [JSON.stringify(rows)],
      )
    },
    rows: async (table, most) =>
      (await client.query<Rows[number]>(`SELECT * FROM ${table} LIMIT ${most}`)).rows,
    size: async () => {
      const { rows } = await client.query<{ bytes: string }>(
        'SELECT pg_database_size(current_database()) AS bytes',
      )
      return Number(rows[0]?.bytes)
    },
    close: () => client.end(),
  }
}

/** Rows like that of person 0 for people `from` to `to`, each with a token of its own that opens. */
export const sealed = async (
  crowd: Crowd,
  sealer: Pick<Sealer, 'seal'>,
  from: number,
  to: number,
): Promise<{ readonly credentials: Rows; readonly grants: Rows }> => {
  const [credential] = await crowd.rows('credentials', 1)
  const [grant] = await crowd.rows('grants', 1)
  if (credential === undefined || grant === undefined) throw new Error('there is no row to copy')
  const credentials: Rows[number][] = []
  const one = async (i: number): Promise<Rows[number]> => {
    const row = { ...credential, id: randomUUID(), user_id: personOf(i) }
    const bound = boundOf({
      ...row,
      user: row.user_id,
      accountId: credential['account_id'],
    } as unknown as CredentialRow)
    const tokens = { access: secret(tokenOf(personOf(i))), refresh: null }
    return { ...row, sealed: await sealer.seal(tokens, bound) }
  }
  const all = Array.from({ length: to - from }, (_, i) => from + i)
  // Sealing is done by other threads: many at once, or this one waits for each.
  for (let at = 0; at < all.length; at += AT_ONCE)
    credentials.push(...(await Promise.all(all.slice(at, at + AT_ONCE).map(one))))
  const grants = all.map((i) => ({ ...grant, user_id: personOf(i) }))
  return { credentials, grants }
}
