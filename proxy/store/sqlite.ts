// The embedded store: one SQLite file, held by one process. Opening it is in migrations.ts.
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import type { CredentialRow, FlowRow, GrantRow, Log, Person, Store } from '../model.ts'
import { openDatabase } from './migrations.ts'

type Params = Record<string, SQLInputValue>
type Raw = Record<string, unknown>

const CREDENTIAL =
  'id tenant realm user connection provider slot accountId account host status generation scopes sealed expiresAt storedAt lease leaseUntil unknownSince coolUntil coolError'.split(
    ' ',
  )
const GRANT = 'tenant realm user agent connection scopes at'.split(' ')
const FLOW =
  'hash nonce tenant realm user agent connection scopes reauthorization status failure nextUri createdAt expiresAt stateHash cookieHash sealedLeg legExpiresAt'.split(
    ' ',
  )
const PERSON = 'tenant = :tenant AND realm = :realm AND user_id = :user'
/** The journal of a credential's refreshes is kept this long, ms. */
const JOURNAL_LIFE = 30 * 86_400_000

const column = (name: string): string =>
  name === 'user' ? 'user_id' : name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const select = (names: readonly string[]): string =>
  names.map((name) => `${column(name)} AS "${name}"`).join(', ')
const insert = (table: string, names: readonly string[]): string =>
  `INSERT INTO ${table} (${names.map(column).join(', ')}) VALUES (${names.map((name) => `:${name}`).join(', ')})`
const overwrite = (names: readonly string[]): string =>
  names.map((name) => `${column(name)} = excluded.${column(name)}`).join(', ')

/** SQLite would write U+FFFD for a lone surrogate, and two names would become one. */
const checked = (values: Params): Params => {
  for (const value of Object.values(values))
    if (typeof value === 'string' && !value.isWellFormed())
      throw new Error('the store refuses text that is not well-formed Unicode')
  return values
}
const personOf = (person: Person): Params =>
  checked({ tenant: person.tenant, realm: person.realm, user: person.id })

const toRaw = (row: CredentialRow | GrantRow | FlowRow): Params =>
  checked({
    ...row,
    scopes: JSON.stringify(row.scopes),
    ...('sealed' in row ? { host: row.host ?? null } : {}),
    ...('reauthorization' in row ? { reauthorization: row.reauthorization ? 1 : 0 } : {}),
  } as Params)
const fromRaw = (raw: Raw): Raw => ({ ...raw, scopes: JSON.parse(String(raw['scopes'])) })
const credentialOf = (raw: Raw | undefined): CredentialRow | null =>
  raw === undefined ? null : (fromRaw(raw) as CredentialRow)
const grantOf = (raw: Raw): GrantRow => fromRaw(raw) as GrantRow
const flowOf = (raw: Raw | undefined): FlowRow | null =>
  raw === undefined
    ? null
    : ({ ...fromRaw(raw), reauthorization: raw['reauthorization'] === 1 } as FlowRow)

/** Opens the file and takes it for this process. Throws an Error that names the file and what to do. */
export const openSqlite = async (
  path: string,
  options: { readonly log?: Log } = {},
): Promise<Store> => createStore(openDatabase(path, options.log))

const createStore = (db: DatabaseSync): Store => {
  const atomically = <T>(work: () => T): T => {
    db.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      db.exec('COMMIT')
      return result
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }
  const all = `SELECT ${select(CREDENTIAL)} FROM credentials`
  const sql = {
    byId: db.prepare(`${all} WHERE id = ?`),
    find: db.prepare(`${all} WHERE ${PERSON} AND connection = :connection ORDER BY slot`),
    list: db.prepare(
      `${all} WHERE (:tenant IS NULL OR tenant = :tenant) AND (:realm IS NULL OR realm = :realm) AND (:user IS NULL OR user_id = :user) AND (:connection IS NULL OR connection = :connection) ORDER BY tenant, realm, user_id, connection, slot`,
    ),
    same: db.prepare(`${all} WHERE ${PERSON} AND connection = :connection AND slot = :slot`),
    put: db.prepare(
      `${insert('credentials', CREDENTIAL)} ON CONFLICT (id) DO UPDATE SET ${overwrite(CREDENTIAL)}`,
    ),
    lease: db.prepare(
      `UPDATE credentials SET unknown_since = CASE WHEN lease IS NULL THEN unknown_since ELSE coalesce(unknown_since, lease_until) END, lease = :lease, lease_until = :until WHERE id = :id AND generation = :generation AND status = 'active' AND (lease IS NULL OR lease_until <= :now) RETURNING ${select(CREDENTIAL)}`,
    ),
    rotate: db.prepare(
      `UPDATE credentials SET sealed = :sealed, generation = :generation, scopes = :scopes, expires_at = :expiresAt, stored_at = :storedAt, lease = NULL, lease_until = NULL, unknown_since = NULL, cool_until = NULL, cool_error = NULL WHERE id = :id AND lease = :lease AND generation = :generation - 1 AND status = 'active'`,
    ),
    release: db.prepare(
      'UPDATE credentials SET status = :status, unknown_since = :unknownSince, cool_until = :coolUntil, cool_error = :coolError, lease = NULL, lease_until = NULL WHERE id = :id AND lease = :lease',
    ),
    remove: db.prepare(`DELETE FROM credentials WHERE id = ? RETURNING ${select(CREDENTIAL)}`),
    journal: db.prepare(
      `INSERT INTO refresh_journal VALUES (:lease, :id, :generation, :now, 'started')`,
    ),
    trim: db.prepare('DELETE FROM refresh_journal WHERE credential = ? AND started_at < ?'),
    ended: db.prepare('UPDATE refresh_journal SET outcome = ? WHERE lease = ?'),
    grant: db.prepare(
      `SELECT ${select(GRANT)} FROM grants WHERE ${PERSON} AND connection = :connection AND agent = :agent`,
    ),
    grants: db.prepare(
      `SELECT ${select(GRANT)} FROM grants WHERE ${PERSON} ORDER BY connection, agent`,
    ),
    allow: db.prepare(
      `${insert('grants', GRANT)} ON CONFLICT DO UPDATE SET scopes = excluded.scopes, at = excluded.at`,
    ),
    disallow: db.prepare(
      `DELETE FROM grants WHERE ${PERSON} AND connection = :connection AND agent = :agent`,
    ),
    disallowAll: db.prepare(`DELETE FROM grants WHERE ${PERSON} AND connection = :connection`),
    flow: db.prepare(`SELECT ${select(FLOW)} FROM flows WHERE hash = ?`),
    flowByState: db.prepare(`SELECT ${select(FLOW)} FROM flows WHERE state_hash = ?`),
    pending: db.prepare(
      `SELECT ${select(FLOW)} FROM flows WHERE ${PERSON} AND connection = :connection AND agent = :agent AND status = 'pending' AND expires_at > :now ORDER BY created_at DESC`,
    ),
    begin: db.prepare(insert('flows', FLOW)),
    leg: db.prepare(
      `UPDATE flows SET state_hash = :stateHash, cookie_hash = :cookieHash, sealed_leg = :sealedLeg, leg_expires_at = :legExpiresAt WHERE hash = :hash AND status = 'pending'`,
    ),
    consume: db.prepare(
      `UPDATE flows SET state_hash = NULL WHERE hash = ? AND state_hash = ? AND status = 'pending'`,
    ),
    finish: db.prepare(
      `UPDATE flows SET status = ?, failure = ?, state_hash = NULL, cookie_hash = NULL, sealed_leg = NULL, leg_expires_at = NULL WHERE hash = ? AND status = 'pending'`,
    ),
    sweep: db.prepare('DELETE FROM flows WHERE expires_at < ?'),
    epoch: db.prepare(`SELECT epoch FROM person_epochs WHERE ${PERSON}`),
    moveEpoch: db.prepare(
      'INSERT INTO person_epochs VALUES (:tenant, :realm, :user, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch',
    ),
    check: db.prepare('SELECT count(*) FROM (SELECT 1 FROM credentials LIMIT 1)'),
  }
  const ownerOf = (row: CredentialRow): Params => ({
    tenant: row.tenant,
    realm: row.realm,
    user: row.user,
  })

  // Everything below is `async` so that a failing statement is a rejection, as with a store over the network.
  return {
    credentials: {
      byId: async (id) => credentialOf(sql.byId.get(id)),
      find: async (person, connection) =>
        sql.find
          .all({ ...personOf(person), connection })
          .map((raw) => fromRaw(raw) as CredentialRow),
      list: async ({ tenant = null, realm = null, user = null, connection = null }) =>
        sql.list
          .all({ tenant, realm, user, connection })
          .map((raw) => fromRaw(raw) as CredentialRow),
      put: async (row, grant) =>
        atomically(() => {
          const place = { ...ownerOf(row), connection: row.connection }
          const old = credentialOf(sql.same.get(checked({ ...place, slot: row.slot })))
          if (old?.id === row.id && old.generation >= row.generation) return false
          if (old !== null && old.accountId !== row.accountId) sql.disallowAll.run(place)
          if (old !== null && old.id !== row.id) sql.remove.run(old.id)
          sql.put.run(toRaw(row))
          sql.allow.run(toRaw(grant))
          return true
        }),
      lease: async (id, generation, lease, now, until) =>
        atomically(() => {
          const row = credentialOf(sql.lease.get({ id, generation, lease, now, until }))
          if (row === null) return null
          sql.trim.run(id, now - JOURNAL_LIFE)
          sql.journal.run({ lease, id, generation, now })
          return row
        }),
      rotate: async (id, lease, next) =>
        atomically(() => {
          const { changes } = sql.rotate.run({
            ...next,
            scopes: JSON.stringify(next.scopes),
            id,
            lease,
          })
          if (changes > 0) sql.ended.run('stored', lease)
          return changes > 0
        }),
      release: async (id, lease, set) =>
        atomically(() => {
          const { changes } = sql.release.run({ ...set, id, lease })
          if (changes > 0) sql.ended.run(set.unknownSince === null ? 'released' : 'unknown', lease)
          return changes > 0
        }),
      remove: async (id) =>
        atomically(() => {
          const row = credentialOf(sql.remove.get(id))
          if (row === null) return null
          sql.disallowAll.run({ ...ownerOf(row), connection: row.connection })
          sql.moveEpoch.get(ownerOf(row))
          return row
        }),
    },
    grants: {
      find: async (person, agent, connection) => {
        const raw = sql.grant.get(checked({ ...personOf(person), agent, connection }))
        return raw === undefined ? null : grantOf(raw)
      },
      list: async (person) => sql.grants.all(personOf(person)).map(grantOf),
      put: async (row) => void sql.allow.run(toRaw(row)),
      remove: async (person, agent, connection) =>
        sql.disallow.run(checked({ ...personOf(person), agent, connection })).changes > 0,
    },
    flows: {
      byHash: async (hash) => flowOf(sql.flow.get(hash)),
      byState: async (stateHash) => flowOf(sql.flowByState.get(stateHash)),
      pending: async (person, agent, connection, scopes, now) => {
        const wanted = JSON.stringify([...new Set(scopes)].sort())
        const flows = sql.pending
          .all(checked({ ...personOf(person), agent, connection, now }))
          .map(flowOf)
        return (
          flows.find(
            (flow) => flow !== null && JSON.stringify([...new Set(flow.scopes)].sort()) === wanted,
          ) ?? null
        )
      },
      insert: async (row) => void sql.begin.run(toRaw(row)),
      leg: async (hash, leg) => sql.leg.run({ ...leg, hash }).changes > 0,
      consume: async (hash, stateHash) => sql.consume.run(hash, stateHash).changes > 0,
      finish: async (hash, status, failure) => sql.finish.run(status, failure, hash).changes > 0,
      sweep: async (before) => Number(sql.sweep.run(before).changes),
    },
    epochs: {
      read: async (person) => Number(sql.epoch.get(personOf(person))?.['epoch'] ?? 0),
      move: async (person) => Number(sql.moveEpoch.get(personOf(person))?.['epoch']),
    },
    check: async () => void sql.check.get(),
    close: async () => db.close(),
  }
}
