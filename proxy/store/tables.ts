// What every store does, statement by statement: one SQL and one set of rules; a database is handed in.
import { createHmac } from 'node:crypto'
import type {
  ChangedKey,
  CredentialRow,
  FlowRow,
  GrantRow,
  IdleRow,
  Person,
  RunRow,
  SealedRow,
  Store,
} from '../model.ts'

export type Value = string | number | null
export type Params = Readonly<Record<string, Value>>
export type Raw = Readonly<Record<string, unknown>>
/** SQL with `:names`. */
export type Statement = readonly [sql: string, params: Params]
/** Yields statements and gets their rows: driven without a pause where the database answers at once. */
export type Work<T> = Generator<Statement, T, readonly Raw[]>
export type Tell = (topic: string, key: string) => void
/** `refresh` has connections of its own: a rotated token must find its way in. */
export type Lane = 'calls' | 'refresh'

export type Database = {
  /** The time in ms by which leases run, as SQL; `:now` is the caller's. */
  readonly now: string
  /** What ends with this process as others see it; null: nothing that they could see. */
  readonly holder: () => number | null
  /** SQL over `lease_holder`: whoever took the lease is dead, for certain. */
  readonly dead: string
  /** Lets one transaction at a time past this key; nothing where there is one writer anyway. */
  readonly serialise: (key: string) => readonly Statement[]
  readonly query: (statement: Statement) => Promise<readonly Raw[]>
  /** All or nothing; what was told is heard everywhere once it is committed. */
  readonly transact: <T>(work: (tell: Tell) => Work<T>, lane?: Lane) => Promise<T>
  readonly publish: Store['publish']
  readonly subscribe: Store['subscribe']
  /** Throws when what lies under the store is not what was opened (pages in a cache would not tell), or has no room for us. */
  readonly intact?: () => void
  readonly connections?: NonNullable<Store['connections']>
  /** What was deleted is nowhere any more: `key` begins the events about whom it concerned. */
  readonly forget: (key: string) => Promise<void>
  readonly close: () => Promise<void>
}

const CREDENTIAL =
  'id tenant realm user connection provider slot accountId account host status generation scopes sealed expiresAt storedAt lease leaseUntil unknownSince coolUntil coolError clientId refusedSince refusedTimes doubtfulSince'.split(
    ' ',
  )
const GRANT = 'tenant realm user agent connection scopes at lastUsedAt'.split(' ')
const FLOW =
  'hash nonce tenant realm user agent connection scopes reauthorization status failure nextUri createdAt expiresAt stateHash cookieHash sealedLeg legExpiresAt confirmHash held confirmUntil notifyAt notices challenge endedAt spentHash operation'.split(
    ' ',
  )
const RUN =
  'tokenHash id tenant realm user agent connections operations createdBy createdAt expiresAt revokedAt'.split(
    ' ',
  )
/** Background refreshes: `idle_from` where it was put off since the last store. */
const IDLE_FROM = 'coalesce(idle_from, stored_at)'
/** Later than any time: the idle time of what has no refresh token never counts; exact as a number in both databases. */
const NEVER = Number.MAX_SAFE_INTEGER
const PERSON = 'tenant = :tenant AND realm = :realm AND user_id = :user'
/** Whether they can be written is proved at most this often, ms. */
const PROVED_MS = 2_000
const TABLES = [
  'credentials',
  'grants',
  'flows',
  'runs',
  'refresh_journal',
  'person_epochs',
  'ended_sessions',
]
const CHANGED = [
  ['credentials', 'sealed'],
  ['grants', 'scopes'],
  ['flows', 'status'],
  ['runs', 'revoked_at'],
  ['refresh_journal', 'outcome'],
  ['person_epochs', 'epoch'],
  ['ended_sessions', 'expires_at'],
]
/** Where times of the past are kept. */
const TIMES = [
  ['credentials', 'stored_at'],
  ['grants', 'at'],
  ['grants', 'last_used_at'],
  ['flows', 'created_at'],
  ['runs', 'created_at'],
  ['refresh_journal', 'started_at'],
  ['write_probe', 'at'],
]
/** In the place of a session's hash: every session that ends by then. */
const ALL = '*'
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
const matching = (name: string): string =>
  `(CAST(:${name} AS TEXT) IS NULL OR ${column(name)} = :${name})`

/** A lone surrogate would be written as U+FFFD, and two names would become one. */
const checked = (values: Params): Params => {
  for (const value of Object.values(values))
    if (typeof value === 'string' && !value.isWellFormed())
      throw new Error('the store refuses text that is not well-formed Unicode')
  return values
}
const personOf = (person: Person): Params =>
  checked({ tenant: person.tenant, realm: person.realm, user: person.id })
const ownerOf = ({ tenant, realm, user }: GrantRow | CredentialRow): Params =>
  checked({ tenant, realm, user })

const toRaw = (row: CredentialRow | GrantRow | FlowRow): Params =>
  checked({
    ...row,
    scopes: JSON.stringify(row.scopes),
    ...('sealed' in row
      ? {
          host: row.host ?? null,
          clientId: row.clientId ?? null,
          refusedSince: row.refusedSince ?? null,
          refusedTimes: row.refusedTimes ?? null,
          doubtfulSince: row.doubtfulSince ?? null,
        }
      : {}),
    ...('at' in row ? { lastUsedAt: row.lastUsedAt ?? null } : {}),
    ...('reauthorization' in row
      ? {
          reauthorization: row.reauthorization ? 1 : 0,
          confirmHash: row.confirmHash ?? null,
          held: row.held ?? null,
          confirmUntil: row.confirmUntil ?? null,
          notifyAt: row.notifyAt ?? null,
          notices: row.notices ?? 0,
          challenge: row.challenge ?? null,
          endedAt: row.endedAt ?? null,
          spentHash: row.spentHash ?? null,
          operation: row.operation ?? null,
        }
      : {}),
  } as Params)
const runOf = (raw: Raw): RunRow =>
  ({
    ...raw,
    connections: JSON.parse(raw['connections'] as string),
    operations: JSON.parse((raw['operations'] ?? 'null') as string),
  }) as RunRow
const fromRaw = (raw: Raw): Raw => ({ ...raw, scopes: JSON.parse(String(raw['scopes'])) })
const credentialOf = (raw: Raw): CredentialRow => fromRaw(raw) as CredentialRow
const grantOf = (raw: Raw): GrantRow => fromRaw(raw) as GrantRow
const flowOf = (raw: Raw): FlowRow =>
  ({ ...fromRaw(raw), reauthorization: raw['reauthorization'] === 1 }) as FlowRow
const first = <T>(rows: readonly Raw[], of: (raw: Raw) => T): T | null =>
  rows[0] === undefined ? null : of(rows[0])
const changed = (row: GrantRow | CredentialRow): string => {
  const { tenant, realm, user, connection } = row
  const id = 'id' in row ? row.id : null
  return JSON.stringify([tenant, realm, user, connection, id] satisfies ChangedKey)
}
const ended = ({ tenant, realm, user, connection, agent }: GrantRow): string =>
  JSON.stringify([tenant, realm, user, connection, null, agent] satisfies ChangedKey)

const statements = (now: string, dead: string) => {
  const renew =
    'UPDATE credentials SET sealed = :sealed, generation = :generation, scopes = :scopes, expires_at = :expiresAt, stored_at = :storedAt, client_id = coalesce(CAST(:clientId AS TEXT), client_id), unknown_since = NULL, cool_until = NULL, cool_error = NULL, refused_since = NULL, refused_times = NULL, doubtful_since = NULL, idle_from = NULL'
  const credentials = `SELECT ${select(CREDENTIAL)} FROM credentials`
  const flows = `SELECT ${select(FLOW)} FROM flows`
  const grants = `SELECT ${select(GRANT)} FROM grants WHERE ${PERSON}`
  return {
    byId: `${credentials} WHERE id = :id`,
    find: `${credentials} WHERE ${PERSON} AND connection = :connection ORDER BY slot`,
    list: `${credentials} WHERE ${['tenant', 'realm', 'user', 'connection'].map(matching).join(' AND ')} ORDER BY tenant, realm, user_id, connection, slot`,
    same: `${credentials} WHERE ${PERSON} AND connection = :connection AND slot = :slot`,
    put: `${insert('credentials', CREDENTIAL)} ON CONFLICT (id) DO UPDATE SET ${overwrite(CREDENTIAL)}, idle_from = NULL WHERE credentials.generation < excluded.generation RETURNING id`,
    lease: `UPDATE credentials SET unknown_since = CASE WHEN lease IS NULL THEN unknown_since ELSE coalesce(unknown_since, lease_until) END, lease = :lease, lease_holder = :holder, lease_until = ${now} + :ms WHERE id = :id AND generation = :generation AND status = 'active' AND (lease IS NULL OR lease_until + :patience <= ${now} OR (lease_until <= ${now} AND ${dead})) RETURNING ${select(CREDENTIAL)}`,
    beat: `UPDATE credentials SET lease_until = ${now} + :ms, lease_holder = :holder WHERE id = :id AND lease = :lease RETURNING id`,
    rotate: `${renew}, lease = NULL, lease_until = NULL WHERE id = :id AND lease = :lease AND generation + 1 = :generation AND status = 'active' RETURNING ${select(CREDENTIAL)}`,
    revive: `${renew}, status = 'active' WHERE id = :id AND lease IS NULL AND generation + 1 = :generation AND status = 'needs_reauth' RETURNING ${select(CREDENTIAL)}`,
    release: `UPDATE credentials SET status = :status, unknown_since = :unknownSince, cool_until = :coolUntil, cool_error = :coolError, refused_since = :refusedSince, refused_times = :refusedTimes, doubtful_since = :doubtfulSince, lease = NULL, lease_until = NULL WHERE id = :id AND lease = :lease RETURNING ${select(CREDENTIAL)}`,
    doubt: `UPDATE credentials SET status = :status, cool_error = :error, doubtful_since = ${now} WHERE id = :id AND generation = :generation AND status = 'active' AND (:status <> 'active' OR doubtful_since IS NULL) RETURNING ${select(CREDENTIAL)}`,
    renewed: `SELECT 1 AS one FROM refresh_journal JOIN credentials ON credentials.id = refresh_journal.credential WHERE outcome = 'stored' AND started_at >= ${now} - :ms AND connection = :connection AND credentials.id <> :id LIMIT 1`,
    clients: `SELECT connection, client_id AS "clientId", count(*) AS n FROM credentials WHERE status = 'active' AND client_id IS NOT NULL GROUP BY connection, client_id ORDER BY connection, client_id`,
    idle: `SELECT ${select('id tenant realm user connection generation storedAt'.split(' '))}, ${IDLE_FROM} AS "from" FROM credentials WHERE status = 'active' AND connection = :connection AND ${IDLE_FROM} <= :before ORDER BY ${IDLE_FROM} LIMIT :most`,
    putOff: `UPDATE credentials SET idle_from = :to WHERE id = :id AND status = 'active' AND ${IDLE_FROM} = :from RETURNING id`,
    remove: `DELETE FROM credentials WHERE id = :id RETURNING ${select(CREDENTIAL)}`,
    journal: `INSERT INTO refresh_journal (lease, credential, generation, started_at, outcome) VALUES (:lease, :id, :generation, ${now}, 'started')`,
    trim: `DELETE FROM refresh_journal WHERE credential = :id AND started_at < ${now} - ${JOURNAL_LIFE}`,
    ended: 'UPDATE refresh_journal SET outcome = :outcome WHERE lease = :lease',
    grant: `${grants} AND connection = :connection AND agent = :agent`,
    grants: `${grants} ORDER BY connection, agent`,
    allow: `${insert('grants', GRANT)} ON CONFLICT (tenant, realm, user_id, connection, agent) DO UPDATE SET scopes = excluded.scopes, at = excluded.at`,
    touch: `UPDATE grants SET last_used_at = :at WHERE ${PERSON} AND connection = :connection AND agent = :agent AND (last_used_at IS NULL OR last_used_at < :at)`,
    disallow: `DELETE FROM grants WHERE ${PERSON} AND connection = :connection AND agent = :agent RETURNING ${select(GRANT)}`,
    disallowAll: `DELETE FROM grants WHERE ${PERSON} AND connection = :connection`,
    flow: `${flows} WHERE hash = :hash`,
    flowByState: `${flows} WHERE state_hash = :stateHash`,
    flowBySpent: `${flows} WHERE spent_hash = :stateHash`,
    endedSince: `${flows} WHERE ${PERSON} AND connection = :connection AND agent = :agent AND status <> 'pending' AND ended_at > :since ORDER BY ended_at DESC`,
    pending: `${flows} WHERE ${PERSON} AND connection = :connection AND agent = :agent AND status = 'pending' AND expires_at > :now ORDER BY created_at DESC`,
    endedFlow: `SELECT failure FROM flows WHERE ${PERSON} AND connection = :connection AND status <> 'pending' ORDER BY created_at DESC LIMIT 1`,
    begin: insert('flows', FLOW),
    leg: `UPDATE flows SET state_hash = :stateHash, cookie_hash = :cookieHash, sealed_leg = :sealedLeg, leg_expires_at = :legExpiresAt WHERE hash = :hash AND status = 'pending' AND held IS NULL RETURNING hash`,
    consume: `UPDATE flows SET spent_hash = state_hash, state_hash = NULL WHERE hash = :hash AND state_hash = :stateHash AND status = 'pending' RETURNING hash`,
    finish: `UPDATE flows SET status = :status, failure = :failure, ended_at = :at, state_hash = NULL, cookie_hash = NULL, sealed_leg = NULL, leg_expires_at = NULL, confirm_hash = NULL, held = NULL, confirm_until = NULL WHERE hash = :hash AND status = 'pending' RETURNING hash`,
    sweep: 'DELETE FROM flows WHERE expires_at < :before RETURNING hash',
    hold: `UPDATE flows SET confirm_hash = :confirmHash, held = :held, sealed_leg = :sealedLeg, confirm_until = :confirmUntil, state_hash = NULL, cookie_hash = NULL, leg_expires_at = NULL WHERE hash = :hash AND status = 'pending' AND held IS NULL RETURNING hash`,
    byConfirm: `${flows} WHERE confirm_hash = :confirmHash`,
    claim: `UPDATE flows SET confirm_hash = NULL WHERE hash = :hash AND confirm_hash = :confirmHash AND status = 'pending' RETURNING hash`,
    overdue: `${flows} WHERE confirm_until <= :now AND status = 'pending'`,
    open: `${flows} WHERE ${PERSON} AND status = 'pending'`,
    begun: `SELECT created_at AS "createdAt" FROM flows WHERE ${PERSON} AND agent = :agent AND created_at > :since AND nonce NOT LIKE 'held:%' ORDER BY created_at DESC LIMIT :most`,
    notices: `UPDATE flows SET notify_at = :until, notices = notices + 1 WHERE hash IN (SELECT hash FROM flows WHERE notify_at <= :now AND status = 'pending' AND expires_at > :now ORDER BY notify_at LIMIT :most) AND notify_at <= :now RETURNING ${select(FLOW)}`,
    notifyAt: 'UPDATE flows SET notify_at = :at WHERE hash = :hash',
    eraseFlows: `DELETE FROM flows WHERE ${PERSON} RETURNING hash`,
    run: `SELECT ${select(RUN)} FROM runs WHERE token_hash = :tokenHash`,
    runs: `SELECT ${select(RUN)} FROM runs WHERE ${['id', 'tenant', 'realm', 'user', 'agent'].map(matching).join(' AND ')} ORDER BY created_at DESC, id DESC`,
    mint: insert('runs', RUN),
    revokeRun:
      'UPDATE runs SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL RETURNING id',
    sweepRuns: 'DELETE FROM runs WHERE expires_at < :before RETURNING id',
    eraseRuns: `DELETE FROM runs WHERE ${PERSON} RETURNING id`,
    endSession:
      'INSERT INTO ended_sessions (hash, expires_at) VALUES (:hash, :expiresAt) ON CONFLICT (hash) DO NOTHING',
    endedSession: `SELECT hash FROM ended_sessions WHERE hash = :hash OR (hash = '${ALL}' AND expires_at >= :expiresAt)`,
    sweepSessions: 'DELETE FROM ended_sessions WHERE expires_at < :before RETURNING hash',
    eraseGrants: `DELETE FROM grants WHERE ${PERSON}`,
    newest: `SELECT max(at) AS at FROM (${TIMES.map(([table, at]) => `SELECT max(${at}) AS at FROM ${table}`).join(' UNION ALL ')}) AS times`,
    voidLinks: `DELETE FROM flows WHERE status = 'pending' RETURNING hash`,
    endAllSessions: `INSERT INTO ended_sessions (hash, expires_at) VALUES ('${ALL}', :until) ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at`,
    pseudonyms: 'SELECT key FROM pseudonyms',
    epoch: 'SELECT epoch FROM person_epochs WHERE person = :person',
    moveEpoch:
      'INSERT INTO person_epochs (person, epoch) VALUES (:person, 1) ON CONFLICT (person) DO UPDATE SET epoch = person_epochs.epoch + 1 RETURNING epoch',
    sealedCredentials: `SELECT 'credentials' AS "table", id, generation, sealed FROM credentials WHERE id > :after ORDER BY id LIMIT :most`,
    sealedFlows: `SELECT 'flows' AS "table", hash AS id, 0 AS generation, sealed_leg AS sealed FROM flows WHERE hash > :after AND sealed_leg IS NOT NULL ORDER BY hash LIMIT :most`,
    resealCredential:
      'UPDATE credentials SET sealed = :after WHERE id = :id AND generation = :generation AND sealed = :before RETURNING id',
    resealFlow:
      'UPDATE flows SET sealed_leg = :after WHERE hash = :id AND sealed_leg = :before RETURNING hash',
    check: 'SELECT count(*) AS n FROM (SELECT 1 FROM credentials LIMIT 1) AS one',
    probe: `UPDATE write_probe SET at = ${now}`,
  } as const
}

/**
 * What stands for a person where only "has something of theirs been revoked?" is asked, also after they were erased.
 * The key is the database's own: it tells nothing to whoever does not hold the database.
 */
export const pseudonym = (key: string, { tenant, realm, id }: Person): string =>
  createHmac('sha256', key)
    .update(JSON.stringify([tenant, realm, id]))
    .digest('base64url')

export const createTables = (db: Database): Store => {
  const sql = statements(db.now, db.dead)
  let known: string | null = null
  const pseudonymKey = async (): Promise<string> =>
    (known ??= String((await db.query([sql.pseudonyms, {}]))[0]?.['key']))
  const hidden = async (person: Person): Promise<Params> => {
    personOf(person)
    return { person: pseudonym(await pseudonymKey(), person) }
  }
  let proof: { readonly at: number; readonly work: Promise<void> } | null = null
  /** That every table may be changed, and that a change reaches the disk: a database that only reads is no vault. */
  const prove = (): Promise<void> =>
    db
      .transact(function* (): Work<void> {
        for (const table of TABLES) {
          yield [`INSERT INTO ${table} SELECT * FROM ${table} WHERE 1 = 0`, {}]
          yield [`DELETE FROM ${table} WHERE 1 = 0`, {}]
        }
        for (const [table, column] of CHANGED)
          yield [`UPDATE ${table} SET ${column} = ${column} WHERE 1 = 0`, {}]
        yield [sql.probe, at(Date.now())]
      })
      .catch((error: unknown) => {
        if (error instanceof Error && error.message.startsWith('vault.store: ')) throw error
        throw new Error(
          `vault.store: cannot be written: ${error instanceof Error ? error.message : String(error)}. No grant can be stored or revoked: make the database writable for deputy again.`,
          { cause: error },
        )
      })
  const epochOf = (raw: Raw): number => Number(raw['epoch'])
  /** The caller's clock, where leases run by it. */
  const at = (now: number): Params => (db.now === ':now' ? { now } : {})
  const rows = async <T>(
    text: string,
    params: Params,
    of: (raw: Raw) => T,
  ): Promise<readonly T[]> => (await db.query([text, checked(params)])).map(of)
  const row = async <T>(text: string, params: Params, of: (raw: Raw) => T): Promise<T | null> =>
    first(await db.query([text, checked(params)]), of)
  const hit = async (text: string, params: Params): Promise<boolean> =>
    (await db.query([text, checked(params)])).length > 0

  return {
    credentials: {
      byId: (id) => row(sql.byId, { id }, credentialOf),
      find: async (person, connection) =>
        rows(sql.find, { ...personOf(person), connection }, credentialOf),
      list: ({ tenant = null, realm = null, user = null, connection = null }) =>
        rows(sql.list, { tenant, realm, user, connection }, credentialOf),
      put: (next, grant, keepOther = false) =>
        db.transact(function* (tell): Work<boolean> {
          const place = { ...ownerOf(next), connection: next.connection }
          yield* db.serialise(changed({ ...next, id: next.slot }))
          const old = first(yield [sql.same, { ...place, slot: next.slot }], credentialOf)
          if (old?.id === next.id && old.generation >= next.generation) return false
          const other = old !== null && old.accountId !== next.accountId
          if (other && keepOther) return false
          if (other) yield [sql.disallowAll, place]
          if (old !== null && old.id !== next.id) yield [sql.remove, { id: old.id }]
          if ((yield [sql.put, toRaw(next)]).length === 0) return false
          yield [sql.allow, toRaw(grant)]
          if (old !== null && old.id !== next.id) tell('credential', changed(old))
          tell('credential', changed(next))
          return true
        }),
      lease: (id, generation, lease, { now, until, patience = 0 }) =>
        db.transact(function* (): Work<CredentialRow | null> {
          const held = { lease, holder: db.holder(), ms: until - now }
          const taken = { id, generation, patience, ...held, ...at(now) }
          const leased = first(yield [sql.lease, taken], credentialOf)
          if (leased === null) return null
          yield [sql.trim, { id, ...at(now) }]
          yield [sql.journal, { lease, id, generation, ...at(now) }]
          return leased
        }, 'refresh'),
      beat: (leases, now, ms) =>
        db.transact(function* (): Work<readonly string[]> {
          const ours: string[] = []
          const holder = db.holder()
          for (const { id, lease } of leases)
            if ((yield [sql.beat, { id, lease, holder, ms, ...at(now) }]).length > 0)
              ours.push(lease)
          return ours
        }, 'refresh'),
      rotate: (id, lease, next) =>
        db.transact(function* (tell): Work<boolean> {
          const { clientId = null } = next
          const after = { ...next, clientId, scopes: JSON.stringify(next.scopes), id, lease }
          const stored = first(yield [sql.rotate, after], credentialOf)
          if (stored === null) return false
          yield [sql.ended, { outcome: 'stored', lease }]
          tell('credential', changed(stored))
          return true
        }, 'refresh'),
      revive: (id, next) =>
        db.transact(function* (tell): Work<boolean> {
          const { clientId = null } = next
          const after = { ...next, clientId, scopes: JSON.stringify(next.scopes), id }
          const stored = first(yield [sql.revive, after], credentialOf)
          if (stored === null) return false
          tell('credential', changed(stored))
          return true
        }, 'refresh'),
      release: (id, lease, set) =>
        db.transact(function* (tell): Work<boolean> {
          const { status, unknownSince, coolUntil, coolError } = set
          const { refusedSince = null, refusedTimes = null, doubtfulSince = null } = set
          const refused = { refusedSince, refusedTimes, doubtfulSince }
          const after = { status, unknownSince, coolUntil, coolError, ...refused, id, lease }
          const released = first(yield [sql.release, after], credentialOf)
          if (released === null) return false
          yield [sql.ended, { outcome: unknownSince === null ? 'released' : 'unknown', lease }]
          tell('credential', changed(released))
          return true
        }, 'refresh'),
      doubt: (id, generation, { status, error, now }) =>
        db.transact(function* (tell): Work<boolean> {
          const set = { id, generation, status, error, ...at(now) }
          const doubted = first(yield [sql.doubt, set], credentialOf)
          if (doubted !== null) tell('credential', changed(doubted))
          return doubted !== null
        }, 'refresh'),
      renewed: async (connection, besides, ms, now) =>
        hit(sql.renewed, { connection, id: besides, ms, ...at(now) }),
      clients: () =>
        rows(sql.clients, {}, (raw) => ({
          connection: String(raw['connection']),
          clientId: String(raw['clientId']),
          grants: Number(raw['n']),
        })),
      idle: (connection, before, most) =>
        rows(sql.idle, { connection, before, most }, (raw) => raw as IdleRow),
      putOff: (list) =>
        db.transact(function* (): Work<readonly string[]> {
          const ours: string[] = []
          // In one order everywhere: two replicas never wait for each other's rows.
          for (const { row, to } of list.toSorted((a, b) => (a.row.id < b.row.id ? -1 : 1))) {
            const { id, from } = row
            if ((yield [sql.putOff, { id, from, to: to ?? NEVER }]).length > 0) ours.push(id)
          }
          return ours
        }),
      remove: async (id) => {
        const key = await pseudonymKey()
        return db.transact(function* (tell): Work<CredentialRow | null> {
          const old = first(yield [sql.remove, { id }], credentialOf)
          if (old === null) return null
          yield [sql.disallowAll, { ...ownerOf(old), connection: old.connection }]
          const { tenant, realm, user } = old
          yield [sql.moveEpoch, { person: pseudonym(key, { tenant, realm, id: user }) }]
          tell('credential', changed(old))
          tell('revoked', changed(old))
          return old
        })
      },
    },
    grants: {
      find: async (person, agent, connection) =>
        row(sql.grant, { ...personOf(person), agent, connection }, grantOf),
      list: async (person) => rows(sql.grants, personOf(person), grantOf),
      put: (grant) =>
        db.transact(function* (tell): Work<void> {
          yield [sql.allow, toRaw(grant)]
          tell('credential', changed(grant))
        }),
      remove: (person, agent, connection) =>
        db.transact(function* (tell): Work<boolean> {
          const whose = checked({ ...personOf(person), agent, connection })
          const old = first(yield [sql.disallow, whose], grantOf)
          if (old === null) return false
          tell('credential', changed(old))
          tell('revoked', ended(old))
          return true
        }),
      touch: (uses) =>
        db.transact(function* (): Work<void> {
          for (const { person, agent, connection, at } of uses)
            yield [sql.touch, checked({ ...personOf(person), agent, connection, at })]
        }),
    },
    flows: {
      byHash: (hash) => row(sql.flow, { hash }, flowOf),
      byState: (stateHash) => row(sql.flowByState, { stateHash }, flowOf),
      pending: async (question, now) => {
        const { person, agent, connection, scopes, challenge = null, nextUri = null } = question
        const set = (of: readonly string[]): string => JSON.stringify([...new Set(of)].sort())
        const whose = { ...personOf(person), agent, connection, now }
        const found = await rows(sql.pending, whose, flowOf)
        const fits = (flow: FlowRow): boolean =>
          set(flow.scopes) === set(scopes) && (challenge === null || flow.challenge === challenge)
        const exact = found.find((flow) => fits(flow) && flow.nextUri === nextUri)
        // Whoever names no way back is served by any link; whoever names one gets a link that keeps it.
        return exact ?? (nextUri === null ? found.find(fits) : null) ?? null
      },
      ended: async (person, connection) =>
        row(sql.endedFlow, { ...personOf(person), connection }, (raw) => ({
          failure: raw['failure'] as string | null,
        })),
      insert: async (flow) => void (await db.query([sql.begin, toRaw(flow)])),
      leg: (hash, { stateHash, cookieHash, sealedLeg, legExpiresAt }) =>
        hit(sql.leg, { hash, stateHash, cookieHash, sealedLeg, legExpiresAt }),
      consume: (hash, stateHash) => hit(sql.consume, { hash, stateHash }),
      finish: (hash, status, failure, at) => hit(sql.finish, { hash, status, failure, at }),
      bySpent: (stateHash) => row(sql.flowBySpent, { stateHash }, flowOf),
      endedSince: async (person, agent, connection, since) =>
        rows(sql.endedSince, { ...personOf(person), agent, connection, since }, flowOf),
      sweep: async (before) => (await db.query([sql.sweep, { before }])).length,
      hold: (hash, { confirmHash, held, sealedLeg, confirmUntil }) =>
        hit(sql.hold, { hash, confirmHash, held, sealedLeg, confirmUntil }),
      byConfirm: (confirmHash) => row(sql.byConfirm, { confirmHash }, flowOf),
      claim: (hash, confirmHash) => hit(sql.claim, { hash, confirmHash }),
      overdue: (now) => rows(sql.overdue, { now }, flowOf),
      open: async (person) => rows(sql.open, personOf(person), flowOf),
      begun: async (person, agent, since, most) =>
        rows(sql.begun, { ...personOf(person), agent, since, most }, (raw) =>
          Number(raw['createdAt']),
        ),
      notices: (now, until, most) => rows(sql.notices, { now, until, most }, flowOf),
      notifyAt: async (hash, at) => void (await db.query([sql.notifyAt, { hash, at }])),
      erase: async (person) => (await db.query([sql.eraseFlows, personOf(person)])).length,
    },
    runs: {
      insert: async (run) => {
        const connections = JSON.stringify(run.connections)
        const operations = run.operations === null ? null : JSON.stringify(run.operations)
        await db.query([sql.mint, checked({ ...run, connections, operations })])
      },
      byHash: (tokenHash) => row(sql.run, { tokenHash }, runOf),
      list: ({ id = null, tenant = null, realm = null, user = null, agent = null }) =>
        rows(sql.runs, { id, tenant, realm, user, agent }, runOf),
      revoke: (id, at) => hit(sql.revokeRun, { id, at }),
      sweep: async (before) => (await db.query([sql.sweepRuns, { before }])).length,
      erase: async (person) => (await db.query([sql.eraseRuns, personOf(person)])).length,
    },
    sessions: {
      end: async (hash, expiresAt) => void (await db.query([sql.endSession, { hash, expiresAt }])),
      ended: (hash, expiresAt = NEVER) => hit(sql.endedSession, { hash, expiresAt }),
      sweep: async (before) => (await db.query([sql.sweepSessions, { before }])).length,
    },
    epochs: {
      read: async (person) => (await row(sql.epoch, await hidden(person), epochOf)) ?? 0,
      move: async (person) => (await row(sql.moveEpoch, await hidden(person), epochOf)) ?? 0,
    },
    erase: async (person) => {
      await db.query([sql.eraseGrants, personOf(person)])
      await db.query([sql.eraseFlows, personOf(person)])
      await db.query([sql.eraseRuns, personOf(person)])
      const { tenant, realm, id } = person
      await db.forget(`${JSON.stringify([tenant, realm, id]).slice(0, -1)},`)
    },
    sealed: {
      page: async (after, most) => {
        const of = (raw: Raw): SealedRow => raw as SealedRow
        const next = { after: after?.id ?? '', most }
        const found = after?.table === 'flows' ? [] : await rows(sql.sealedCredentials, next, of)
        if (found.length > 0) return found
        return rows(sql.sealedFlows, after?.table === 'flows' ? next : { ...next, after: '' }, of)
      },
      replace: ({ table, id, generation, sealed: before }, after) =>
        table === 'flows'
          ? hit(sql.resealFlow, { id, before, after })
          : hit(sql.resealCredential, { id, generation, before, after }),
    },
    publish: db.publish,
    subscribe: db.subscribe,
    ...(db.connections === undefined ? {} : { connections: db.connections }),
    copied: {
      at: async () => Number((await db.query([sql.newest, {}]))[0]?.['at'] ?? 0),
      void: (until) =>
        db.transact(function* (): Work<number> {
          yield [sql.endAllSessions, { until }]
          return (yield [sql.voidLinks, {}]).length
        }),
    },
    check: async () => {
      db.intact?.()
      await db.query([sql.check, {}])
      if (proof === null || performance.now() - proof.at > PROVED_MS)
        proof = { at: performance.now(), work: prove() }
      await proof.work
    },
    close: db.close,
  }
}
