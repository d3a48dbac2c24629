// Every statement of the store, in SQL that both databases speak; times come from the database
// where it has them.

const CREDENTIAL =
  'id tenant realm user connection provider slot accountId account host status generation scopes sealed expiresAt storedAt lease leaseUntil unknownSince coolUntil coolError clientId refusedSince refusedTimes doubtfulSince'.split(
    ' ',
  )
const GRANT = 'tenant realm user agent connection scopes at lastUsedAt'.split(' ')
const FLOW =
  'hash nonce tenant realm user agent connection scopes reauthorization status failure nextUri createdAt expiresAt stateHash cookieHash sealedLeg legExpiresAt confirmHash held confirmUntil notifyAt notices challenge endedAt spentHash operation standing'.split(
    ' ',
  )
const AGENT_OFF = 'agent tenant at byRole'.split(' ')
const RUN =
  'tokenHash id tenant realm user agent connections operations createdBy createdAt expiresAt revokedAt'.split(
    ' ',
  )
const STANDING =
  'id tenant realm user workload agent connection operations createdAt expiresAt lastUsedAt noticeAt'.split(
    ' ',
  )
const NOTICE = 'id tenant realm user body createdAt expiresAt dueAt'.split(' ')
const ASK =
  'hash nonce kind tenant realm user agent connection question digest operations needs sealed status given exchange epoch createdAt expiresAt endedAt noticeAt notices'.split(
    ' ',
  )
const SIGN_IN = 'tenant realm user agent acr amr at expiresAt epoch'.split(' ')
const PERSON_KEY = 'id tenant realm user sealed at usedAt'.split(' ')
/** Background refreshes: `idle_from` where it was put off since the last store. */
const IDLE_FROM = 'coalesce(idle_from, stored_at)'
/**
 * Later than any time: the idle time of what has no refresh token never counts; exact as a number
 * in both databases.
 */
export const NEVER = Number.MAX_SAFE_INTEGER
const PERSON = 'tenant = :tenant AND realm = :realm AND user_id = :user'
/** Where times of the past are kept. */
const TIMES = [
  ['credentials', 'stored_at'],
  ['grants', 'at'],
  ['grants', 'last_used_at'],
  ['flows', 'created_at'],
  ['runs', 'created_at'],
  ['standings', 'created_at'],
  ['notices', 'created_at'],
  ['asks', 'created_at'],
  ['refresh_journal', 'started_at'],
  ['disabled_agents', 'at'],
  ['oauth_clients', 'at'],
  ['person_keys', 'at'],
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
/** Only what is asked for stands in the statement: `IS NULL OR` beside it would have SQLite read the whole table. */
const where = (of: object): string =>
  ['TRUE', ...Object.keys(of).map((name) => `${column(name)} = :${name}`)].join(' AND ')

const credentials = (now: string, dead: string) => {
  const renew =
    'UPDATE credentials SET sealed = :sealed, generation = :generation, scopes = :scopes, expires_at = :expiresAt, stored_at = :storedAt, client_id = coalesce(CAST(:clientId AS TEXT), client_id), unknown_since = NULL, cool_until = NULL, cool_error = NULL, refused_since = NULL, refused_times = NULL, doubtful_since = NULL, idle_from = NULL'
  const credentials = `SELECT ${select(CREDENTIAL)} FROM credentials`
  const grants = `SELECT ${select(GRANT)} FROM grants WHERE ${PERSON}`
  return {
    byId: `${credentials} WHERE id = :id`,
    find: `${credentials} WHERE ${PERSON} AND connection = :connection ORDER BY slot`,
    list: (of: object) =>
      `${credentials} WHERE ${where(of)} ORDER BY tenant, realm, user_id, connection, slot`,
    page: (of: object, also = '') =>
      `${credentials} WHERE ${where(of)}${also} ORDER BY tenant, realm, user_id, connection, slot LIMIT :most OFFSET :skip`,
    counted: (of: object, also = '') =>
      `SELECT count(*) AS n FROM (SELECT 1 AS one FROM credentials WHERE ${where(of)}${also} LIMIT :most) AS held`,
    owners: `SELECT DISTINCT tenant, realm, user_id AS "id" FROM credentials WHERE (tenant, realm, user_id) > (:tenant, :realm, :id) ORDER BY tenant, realm, user_id LIMIT :most`,
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
    grantsTo: `SELECT ${select(GRANT)} FROM grants WHERE tenant = :tenant AND agent = :agent ORDER BY realm, user_id, connection`,
    allow: `${insert('grants', GRANT)} ON CONFLICT (tenant, realm, user_id, connection, agent) DO UPDATE SET scopes = excluded.scopes, at = excluded.at`,
    touch: `UPDATE grants SET last_used_at = :at WHERE ${PERSON} AND connection = :connection AND agent = :agent AND (last_used_at IS NULL OR last_used_at < :at)`,
    disallow: `DELETE FROM grants WHERE ${PERSON} AND connection = :connection AND agent = :agent RETURNING ${select(GRANT)}`,
    disallowAll: `DELETE FROM grants WHERE ${PERSON} AND connection = :connection`,
    sealedCredentials: `SELECT 'credentials' AS "table", id, generation, sealed FROM credentials WHERE id > :after ORDER BY id LIMIT :most`,
    resealCredential:
      'UPDATE credentials SET sealed = :after WHERE id = :id AND generation = :generation AND sealed = :before RETURNING id',
  } as const
}

/** Lists of all people and agents, a page at a time, of everybody or of one tenant: what is skipped is not read. */
const lists = () => {
  const key = 'tenant, realm, user_id'
  const beyond = {
    all: `(${key}) > (:tenant, :realm, :user)`,
    tenant: 'tenant = :tenant AND (realm, user_id) > (:realm, :user)',
  }
  const until = {
    all: `(${key}) <= (:lastTenant, :lastRealm, :lastUser)`,
    tenant: 'tenant <= :lastTenant AND (realm, user_id) <= (:lastRealm, :lastUser)',
  }
  const named = `replace(user_id, CAST(:part AS TEXT), '') <> user_id`
  const people = (where: string): string =>
    `SELECT p.tenant AS "tenant", p.realm AS "realm", p.user_id AS "user", c.connection AS "connection", c.status AS "status", c.doubtful_since AS "doubtfulSince", g.agent AS "agent" FROM (SELECT DISTINCT ${key} FROM credentials WHERE ${where} ORDER BY ${key} LIMIT :most) AS p JOIN credentials AS c ON c.tenant = p.tenant AND c.realm = p.realm AND c.user_id = p.user_id LEFT JOIN grants AS g ON g.tenant = p.tenant AND g.realm = p.realm AND g.user_id = p.user_id AND g.connection = c.connection ORDER BY p.tenant, p.realm, p.user_id, c.connection, g.agent`
  const skip = (where: string): string =>
    `SELECT DISTINCT tenant AS "tenant", realm AS "realm", user_id AS "id" FROM credentials WHERE ${where} ORDER BY 1, 2, 3 LIMIT 1 OFFSET :skip`
  const grants = (where: string): string =>
    `SELECT ${select(GRANT)} FROM grants WHERE agent = :agent AND ${where} ORDER BY ${key}, connection LIMIT :most`
  /** The next one by the index, and so on: each name costs one look, however many rows have it. */
  const steps = (column: string, where: string, first: string): string =>
    `WITH RECURSIVE steps(name, n) AS (SELECT (SELECT min(${column}) FROM grants WHERE ${where} AND ${column} > ${first}), 1 UNION ALL SELECT (SELECT min(${column}) FROM grants WHERE ${where} AND ${column} > steps.name), n + 1 FROM steps WHERE steps.name IS NOT NULL`
  const agents = steps('agent', '1 = 1', ':after')
  const connections = `${steps('connection', 'agent = :agent', `''`)}) SELECT name AS "name" FROM steps WHERE name IS NOT NULL`
  const allowing = (where: string): string =>
    `SELECT count(*) AS n FROM (SELECT DISTINCT ${key} FROM grants WHERE ${where} LIMIT :most) AS people`
  return {
    people: people(beyond.all),
    peopleOf: people(beyond.tenant),
    peopleNamed: people(`${beyond.all} AND ${until.all} AND ${named}`),
    peopleNamedOf: people(`${beyond.tenant} AND ${until.tenant} AND ${named}`),
    personAhead: skip(beyond.all),
    personAheadOf: skip(beyond.tenant),
    grantsPage: grants(`(${key}, connection) > (:tenant, :realm, :user, :connection)`),
    grantsPageOf: grants(
      'tenant = :tenant AND (realm, user_id, connection) > (:realm, :user, :connection)',
    ),
    agentNames: `${agents} AND n < :most) SELECT name AS "name" FROM steps WHERE name IS NOT NULL`,
    agentNamesOf: `${agents}) SELECT name AS "name" FROM steps WHERE name IS NOT NULL AND EXISTS (SELECT 1 FROM grants AS g WHERE g.agent = steps.name AND g.tenant = :tenant) ORDER BY name LIMIT :most`,
    touched: connections,
    touchedOf: `${connections} AND EXISTS (SELECT 1 FROM grants AS g WHERE g.agent = :agent AND g.connection = steps.name AND g.tenant = :tenant)`,
    allowing: allowing('agent = :agent'),
    allowingOf: allowing('agent = :agent AND tenant = :tenant'),
  } as const
}

const flows = () => {
  const flows = `SELECT ${select(FLOW)} FROM flows`
  return {
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
    waitingFlows: `${flows} WHERE status = 'pending' AND expires_at > :now AND tenant = COALESCE(:tenant, tenant) ORDER BY created_at DESC LIMIT :most`,
    begun: `SELECT created_at AS "createdAt" FROM flows WHERE ${PERSON} AND agent = :agent AND created_at > :since AND nonce NOT LIKE 'held:%' ORDER BY created_at DESC LIMIT :most`,
    notices: `UPDATE flows SET notify_at = :until, notices = notices + 1 WHERE hash IN (SELECT hash FROM flows WHERE notify_at <= :now AND status = 'pending' AND expires_at > :now ORDER BY notify_at LIMIT :most) AND notify_at <= :now RETURNING ${select(FLOW)}`,
    shortenAsk: `UPDATE flows SET standing = :standing WHERE hash = :hash AND status = 'pending' RETURNING hash`,
    notifyAt: 'UPDATE flows SET notify_at = :at WHERE hash = :hash',
    eraseFlows: `DELETE FROM flows WHERE ${PERSON} RETURNING hash`,
    voidLinks: `DELETE FROM flows WHERE status = 'pending' RETURNING hash`,
    sealedFlows: `SELECT 'flows' AS "table", hash AS id, 0 AS generation, sealed_leg AS sealed FROM flows WHERE hash > :after AND sealed_leg IS NOT NULL ORDER BY hash LIMIT :most`,
    resealFlow:
      'UPDATE flows SET sealed_leg = :after WHERE hash = :id AND sealed_leg = :before RETURNING hash',
  } as const
}

const others = (now: string) =>
  ({
    run: `SELECT ${select(RUN)} FROM runs WHERE token_hash = :tokenHash`,
    runs: (of: object) =>
      `SELECT ${select(RUN)} FROM runs WHERE ${where(of)} ORDER BY created_at DESC, id DESC LIMIT :most`,
    mint: insert('runs', RUN),
    revokeRun:
      'UPDATE runs SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL RETURNING id',
    sweepRuns: 'DELETE FROM runs WHERE expires_at < :before RETURNING id',
    eraseRuns: `DELETE FROM runs WHERE ${PERSON} RETURNING id`,
    agentsOff: `SELECT ${select(AGENT_OFF)} FROM disabled_agents ORDER BY agent, tenant`,
    agentOff: `${insert('disabled_agents', AGENT_OFF)} ON CONFLICT (agent, tenant) DO UPDATE SET by_role = excluded.by_role WHERE disabled_agents.by_role = 'owner' AND excluded.by_role = 'operator' RETURNING agent`,
    agentOn: `DELETE FROM disabled_agents WHERE agent = :agent AND tenant = :tenant AND (by_role = 'owner' OR CAST(:byRole AS TEXT) = 'operator') RETURNING agent`,
    endSession:
      'INSERT INTO ended_sessions (hash, expires_at) VALUES (:hash, :expiresAt) ON CONFLICT (hash) DO NOTHING',
    endedSession: `SELECT hash FROM ended_sessions WHERE hash = :hash OR (hash IN ('${ALL}', :person) AND expires_at >= :expiresAt)`,
    endSessionsOf:
      'INSERT INTO ended_sessions (hash, expires_at) VALUES (:person, :until) ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at',
    sweepSessions: 'DELETE FROM ended_sessions WHERE expires_at < :before RETURNING hash',
    client: 'SELECT sealed FROM oauth_clients WHERE id = :id',
    keepClient:
      'INSERT INTO oauth_clients (id, sealed, at) VALUES (:id, :sealed, :at) ON CONFLICT (id) DO NOTHING',
    sealedClients: `SELECT 'oauth_clients' AS "table", id, 0 AS generation, sealed FROM oauth_clients WHERE id > :after ORDER BY id LIMIT :most`,
    resealClient:
      'UPDATE oauth_clients SET sealed = :after WHERE id = :id AND sealed = :before RETURNING id',
    signalTaken: 'SELECT hash FROM signals_taken WHERE hash = :hash',
    takeSignal:
      'INSERT INTO signals_taken (hash, at) VALUES (:hash, :at) ON CONFLICT (hash) DO NOTHING RETURNING hash',
    sweepSignals: 'DELETE FROM signals_taken WHERE at < :before RETURNING hash',
    rememberSession:
      'INSERT INTO issuer_sessions (hash, tenant, realm, user_id, at) VALUES (:hash, :tenant, :realm, :user, :at) ON CONFLICT (hash, tenant, realm, user_id) DO UPDATE SET at = excluded.at',
    sessionOf:
      'SELECT tenant, realm, user_id AS id FROM issuer_sessions WHERE hash = :hash ORDER BY tenant, realm, user_id',
    sweepIssuerSessions: 'DELETE FROM issuer_sessions WHERE at < :before RETURNING hash',
    newest: `SELECT max(at) AS at FROM (${TIMES.map(([table, at]) => `SELECT max(${at}) AS at FROM ${table}`).join(' UNION ALL ')}) AS times`,
    endAllSessions: `INSERT INTO ended_sessions (hash, expires_at) VALUES ('${ALL}', :until) ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at`,
    pseudonyms: 'SELECT key FROM pseudonyms',
    epoch: 'SELECT epoch FROM person_epochs WHERE person = :person',
    moveEpoch:
      'INSERT INTO person_epochs (person, epoch) VALUES (:person, 1) ON CONFLICT (person) DO UPDATE SET epoch = person_epochs.epoch + 1 RETURNING epoch',
    stored: `SELECT (SELECT count(*) FROM credentials WHERE tenant = :tenant) AS connections, (SELECT count(*) FROM (SELECT realm, user_id FROM credentials WHERE tenant = :tenant UNION SELECT realm, user_id FROM grants WHERE tenant = :tenant) AS everybody) AS people, (SELECT count(*) FROM credentials WHERE ${PERSON} AND connection = :connection) AS connected, (SELECT count(*) FROM (SELECT 1 AS one FROM credentials WHERE ${PERSON} UNION ALL SELECT 1 AS one FROM grants WHERE ${PERSON}) AS own) AS known`,
    check: 'SELECT count(*) AS n FROM (SELECT 1 FROM credentials LIMIT 1) AS one',
    probe: `UPDATE write_probe SET at = ${now}`,
  }) as const

const standings = () => {
  const standings = `SELECT ${select(STANDING)} FROM standings`
  const by = 'workload = :workload AND agent = :agent'
  const people = `SELECT DISTINCT user_id AS "id", tenant, realm FROM standings WHERE ${by}`
  return {
    letActs: `${insert('standings', STANDING)} ON CONFLICT (workload, agent, user_id, tenant, realm, connection) DO UPDATE SET ${overwrite(STANDING)}`,
    letBy: `${people} AND expires_at > :now LIMIT 2`,
    letByNamed: `${people} AND user_id = :user AND expires_at > :now LIMIT 2`,
    letOf: `${standings} WHERE ${by} AND ${PERSON} AND expires_at > :now ORDER BY connection`,
    standing: `${standings} WHERE id = :id`,
    standings: (of: object) => `${standings} WHERE ${where(of)} ORDER BY created_at DESC, id DESC`,
    shortenStanding:
      'UPDATE standings SET expires_at = :expiresAt, notice_at = :noticeAt WHERE id = :id AND expires_at > :expiresAt RETURNING id',
    firstUse:
      'UPDATE standings SET last_used_at = :at WHERE id = :id AND last_used_at IS NULL RETURNING id',
    laterUse: 'UPDATE standings SET last_used_at = :at WHERE id = :id AND last_used_at < :at',
    endStanding: `DELETE FROM standings WHERE id = :id RETURNING ${select(STANDING)}`,
    standingNotices: `UPDATE standings SET notice_at = :until WHERE id IN (SELECT id FROM standings WHERE notice_at <= :now AND expires_at > :now ORDER BY notice_at LIMIT :most) AND notice_at <= :now RETURNING ${select(STANDING)}`,
    standingNotice: 'UPDATE standings SET notice_at = :at WHERE id = :id',
    sweepStandings: `DELETE FROM standings WHERE expires_at <= :before RETURNING ${select(STANDING)}`,
  } as const
}

const LIMIT = 'key bucket person used last until'.split(' ')
const HISTORY = 'person run provider operation span bucket used last until'.split(' ')
/** What was used is added up; what a bucket holds counts for as long as the last of it. */
const addUp = (table: string): string =>
  `used = ${table}.used + excluded.used, last = CASE WHEN ${table}.last > excluded.last THEN ${table}.last ELSE excluded.last END, until = CASE WHEN ${table}.until > excluded.until THEN ${table}.until ELSE excluded.until END`
const counted = (now: string) => {
  const clock = `(SELECT ${now} AS clock) AS t LEFT JOIN`
  const later = (table: string) => `UPDATE ${table} SET last = last + :by, until = until + :by`
  const capped = (table: string) =>
    `UPDATE ${table} SET until = :now + until - last, last = :now WHERE last > :now`
  return {
    limitUsed: `SELECT t.clock AS now, c.used, c.last FROM ${clock} limit_counts AS c ON c.key = :key AND c.last > t.clock - :window`,
    limitTake: `${insert('limit_counts', LIMIT)} ON CONFLICT (key, bucket) DO UPDATE SET ${addUp('limit_counts')}`,
    limitsLater: later('limit_counts'),
    limitsCapped: capped('limit_counts'),
    sweepLimits: `DELETE FROM limit_counts WHERE until < :before RETURNING key`,
    history: `SELECT t.clock AS now, h.run, h.provider, h.operation, h.span, h.used, h.last FROM ${clock} call_history AS h ON h.person = :person AND h.run IN ('', :run) AND (h.span = 0 OR h.last > t.clock - h.span)`,
    historyHead: `INSERT INTO call_history (${HISTORY.join(', ')}) VALUES (:person, '', '', '', 0, 0, 1, ${now}, ${now} + :keep) ON CONFLICT (${HISTORY.slice(0, 6).join(', ')}) DO UPDATE SET used = call_history.used + 1, last = excluded.last, until = excluded.until WHERE call_history.used = :version RETURNING last AS now`,
    historyAdd: `${insert('call_history', HISTORY)} ON CONFLICT (${HISTORY.slice(0, 6).join(', ')}) DO UPDATE SET ${addUp('call_history')}`,
    historyLater: later('call_history'),
    historyCapped: capped('call_history'),
    sweepHistory: `DELETE FROM call_history WHERE until < :before RETURNING person`,
    clock: `SELECT ${now} AS now`,
  } as const
}
const notices = () =>
  ({
    // Twice the same is one; `most` wait for a tenant.
    putNotice: `INSERT INTO notices (${NOTICE.map(column).join(', ')}) SELECT :id, :tenant, :realm, :user, :body, CAST(:createdAt AS BIGINT), CAST(:expiresAt AS BIGINT), CAST(:dueAt AS BIGINT) WHERE (SELECT count(*) FROM (SELECT 1 AS one FROM notices WHERE tenant = :tenant AND due_at IS NOT NULL LIMIT :most) AS waiting) < :most ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING id`,
    dueNotices: `UPDATE notices SET due_at = :until WHERE id IN (SELECT id FROM notices WHERE due_at <= :now AND expires_at > :now ORDER BY due_at LIMIT :most) AND due_at <= :now RETURNING ${select(NOTICE)}`,
    noticeDue: 'UPDATE notices SET due_at = CAST(:at AS BIGINT) WHERE id = :id',
    noticeTaken: `UPDATE notices SET due_at = NULL, body = '' WHERE id = :id`,
    sweepNotices: 'DELETE FROM notices WHERE expires_at <= :before RETURNING due_at AS "dueAt"',
  }) as const
const asks = () => {
  const asks = `SELECT ${select(ASK)} FROM asks`
  const open = `status IN ('pending', 'given')`
  return {
    ask: `${insert('asks', ASK)} ON CONFLICT DO NOTHING RETURNING hash`,
    askByHash: `${asks} WHERE hash = :hash`,
    openAsk: `${asks} WHERE question = :question AND ((${open} AND expires_at > :now) OR (status = 'used' AND exchange = :exchange)) ORDER BY status LIMIT 1`,
    declinedAsk: `${asks} WHERE question = :question AND status = 'declined' AND ended_at > :since ORDER BY ended_at DESC LIMIT 1`,
    openAsks: (of: object) =>
      `${asks} WHERE ${where(of)} AND ${open} AND expires_at > :now ORDER BY created_at DESC, hash LIMIT :most`,
    begunAsks: `SELECT created_at AS "createdAt" FROM asks WHERE ${PERSON} AND agent = :agent AND created_at > :since ORDER BY created_at DESC LIMIT :most`,
    answerAsk: `UPDATE asks SET given = :given, status = :status, expires_at = :expiresAt WHERE hash = :hash AND given = :before AND ${open} AND expires_at > :now RETURNING hash`,
    endAsk: `UPDATE asks SET status = :status, ended_at = :at, sealed = NULL, notice_at = NULL WHERE hash = :hash AND ${open} RETURNING hash`,
    spendAsk: `UPDATE asks SET status = 'used', exchange = :exchange, ended_at = :now, sealed = NULL, notice_at = NULL WHERE hash = :hash AND ((status = 'given' AND expires_at > :now) OR (status = 'used' AND exchange = :exchange)) RETURNING hash`,
    askNotices: `UPDATE asks SET notice_at = :until, notices = notices + 1 WHERE hash IN (SELECT hash FROM asks WHERE notice_at <= :now AND status = 'pending' AND expires_at > :now ORDER BY notice_at LIMIT :most) AND notice_at <= :now RETURNING ${select(ASK)}`,
    askNoticeAt: 'UPDATE asks SET notice_at = :at WHERE hash = :hash',
    expireAsks: `UPDATE asks SET status = 'expired', ended_at = :now, sealed = NULL, notice_at = NULL WHERE ${open} AND expires_at <= :now RETURNING ${select(ASK)}`,
    sweepAsks: `DELETE FROM asks WHERE created_at < :before AND NOT (${open})`,
    voidAsks: 'DELETE FROM asks',
    answeredAsks: `${asks} WHERE tenant = :tenant AND realm = :realm AND given <> '[]'`,
    dropAsk: 'DELETE FROM asks WHERE hash = :hash',
    // Each holds a whole call: few at a time.
    sealedAsks: `SELECT 'asks' AS "table", hash AS id, 0 AS generation, sealed FROM asks WHERE hash > :after AND sealed IS NOT NULL ORDER BY hash LIMIT (CASE WHEN CAST(:most AS INTEGER) > 8 THEN 8 ELSE CAST(:most AS INTEGER) END)`,
    resealAsk:
      'UPDATE asks SET sealed = :after WHERE hash = :id AND sealed = :before RETURNING hash',
    signedIn: `${insert('sign_ins', SIGN_IN)} ON CONFLICT (tenant, realm, user_id, agent, acr) DO UPDATE SET ${overwrite(SIGN_IN)} WHERE excluded.at >= sign_ins.at`,
    signIns: `SELECT ${select(SIGN_IN)} FROM sign_ins WHERE ${PERSON} AND agent = :agent AND expires_at > :now ORDER BY at DESC`,
    endSignIns: (of: object) => `DELETE FROM sign_ins WHERE ${where(of)}`,
    sweepSignIns: 'DELETE FROM sign_ins WHERE expires_at < :before RETURNING acr',
    voidSignIns: 'DELETE FROM sign_ins',
  } as const
}

const personKeys = () => {
  const keys = `SELECT ${select(PERSON_KEY)} FROM person_keys`
  return {
    personKey: `${keys} WHERE ${PERSON}`,
    keepPersonKey: `${insert('person_keys', PERSON_KEY)} ON CONFLICT DO NOTHING`,
    personKeyUsed: 'UPDATE person_keys SET used_at = :at WHERE id = :id AND used_at < :at',
    dropPersonKey: 'DELETE FROM person_keys WHERE id = :id',
    personKeys: `${keys} WHERE id > :after ORDER BY id LIMIT :most`,
    sweepPersonKeys: 'DELETE FROM person_keys WHERE used_at < :before RETURNING id',
    sealedPersonKeys: `SELECT 'person_keys' AS "table", id, 0 AS generation, sealed FROM person_keys WHERE id > :after ORDER BY id LIMIT :most`,
    resealPersonKey:
      'UPDATE person_keys SET sealed = :after WHERE id = :id AND sealed = :before RETURNING id',
    keepErasedName:
      'INSERT INTO erased_names (hash, at) VALUES (:hash, :at) ON CONFLICT (hash) DO NOTHING',
    erasedName: 'SELECT at FROM erased_names WHERE hash = :hash',
    sweepErasedNames: 'DELETE FROM erased_names WHERE at < :before RETURNING hash',
  } as const
}

/** @param now and dead as a `Database` has them */
export const statements = (now: string, dead: string) => ({
  ...counted(now),
  ...credentials(now, dead),
  ...lists(),
  ...flows(),
  ...standings(),
  ...notices(),
  ...asks(),
  ...personKeys(),
  ...others(now),
})
