// The embedded store's file: taking it for this process, and its schema.
// Forward only: a released migration is never edited, the next one is appended.
import { accessSync, chmodSync, closeSync, constants, openSync, readSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import type { Log, Person } from '../model.ts'
import { pseudonym } from './pseudonym.ts'

/** `PRAGMA application_id` of our files ("dpty"): another program's database is refused. */
export const APPLICATION_ID = 0x64707479

/** Entry n brings `PRAGMA user_version` from n to n + 1. A person is (tenant, realm, user) in every key. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE credentials (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    connection TEXT NOT NULL, provider TEXT NOT NULL, slot TEXT NOT NULL,
    account_id TEXT NOT NULL, account TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'needs_reauth')),
    generation INTEGER NOT NULL CHECK (generation > 0),
    scopes TEXT NOT NULL, sealed TEXT NOT NULL,
    expires_at INTEGER, stored_at INTEGER NOT NULL,
    lease TEXT, lease_until INTEGER, unknown_since INTEGER,
    cool_until INTEGER, cool_error TEXT,
    UNIQUE (tenant, realm, user_id, connection, slot),
    CHECK ((lease IS NULL) = (lease_until IS NULL))
  ) STRICT;
  CREATE TABLE grants (
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    connection TEXT NOT NULL, agent TEXT NOT NULL,
    scopes TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (tenant, realm, user_id, connection, agent)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE flows (
    hash TEXT NOT NULL PRIMARY KEY, nonce TEXT NOT NULL,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    agent TEXT NOT NULL, connection TEXT NOT NULL, scopes TEXT NOT NULL,
    reauthorization INTEGER NOT NULL CHECK (reauthorization IN (0, 1)),
    status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'failed')),
    failure TEXT, next_uri TEXT,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    state_hash TEXT UNIQUE, cookie_hash TEXT, sealed_leg TEXT, leg_expires_at INTEGER
  ) STRICT;
  CREATE INDEX flows_person ON flows (tenant, realm, user_id, connection, agent) WHERE status = 'pending';
  CREATE INDEX flows_end ON flows (expires_at);
  CREATE TABLE refresh_journal (
    lease TEXT NOT NULL PRIMARY KEY,
    credential TEXT NOT NULL REFERENCES credentials (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL, started_at INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('started', 'stored', 'released', 'unknown'))
  ) STRICT;
  CREATE INDEX refresh_journal_credential ON refresh_journal (credential, started_at);
  CREATE TABLE person_epochs (
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (tenant, realm, user_id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE runs (
    token_hash TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    agent TEXT NOT NULL, connections TEXT NOT NULL,
    created_by TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    revoked_at INTEGER
  ) STRICT;
  CREATE INDEX runs_person ON runs (tenant, realm, user_id);
  `,
  `ALTER TABLE credentials ADD COLUMN host TEXT;`,
  `ALTER TABLE grants ADD COLUMN last_used_at INTEGER;`,
  `
  ALTER TABLE runs ADD COLUMN operations TEXT;
  ALTER TABLE flows ADD COLUMN confirm_hash TEXT;
  ALTER TABLE flows ADD COLUMN held TEXT;
  ALTER TABLE flows ADD COLUMN confirm_until INTEGER;
  CREATE UNIQUE INDEX flows_confirm ON flows (confirm_hash) WHERE confirm_hash IS NOT NULL;
  CREATE INDEX flows_held ON flows (confirm_until) WHERE confirm_until IS NOT NULL;
  `,
  `
  ALTER TABLE flows ADD COLUMN notify_at INTEGER;
  ALTER TABLE flows ADD COLUMN notices INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX flows_notify ON flows (notify_at) WHERE notify_at IS NOT NULL;
  CREATE INDEX flows_begun ON flows (tenant, realm, user_id, agent, created_at);
  `,
  `
  ALTER TABLE credentials ADD COLUMN idle_from INTEGER;
  CREATE INDEX credentials_idle ON credentials (connection, coalesce(idle_from, stored_at)) WHERE status = 'active';
  ALTER TABLE flows ADD COLUMN challenge TEXT;
  CREATE INDEX flows_ended ON flows (tenant, realm, user_id, connection, created_at) WHERE status <> 'pending';
  `,
  `CREATE TABLE ended_sessions (hash TEXT NOT NULL PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
  `
  ALTER TABLE credentials ADD COLUMN client_id TEXT;
  ALTER TABLE credentials ADD COLUMN refused_since INTEGER;
  ALTER TABLE credentials ADD COLUMN refused_times INTEGER;
  ALTER TABLE credentials ADD COLUMN doubtful_since INTEGER;
  CREATE INDEX refresh_journal_stored ON refresh_journal (started_at) WHERE outcome = 'stored';
  `,
  // Who was erased is not named any more, and what was remembered of them stays void.
  `
  CREATE TABLE write_probe (at INTEGER NOT NULL) STRICT;
  INSERT INTO write_probe VALUES (0);
  CREATE TABLE pseudonyms (key TEXT NOT NULL) STRICT;
  INSERT INTO pseudonyms VALUES (lower(hex(randomblob(32))));
  ALTER TABLE person_epochs RENAME TO named_epochs;
  CREATE TABLE person_epochs (person TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE flows ADD COLUMN ended_at INTEGER;
  ALTER TABLE flows ADD COLUMN spent_hash TEXT;
  CREATE UNIQUE INDEX flows_spent ON flows (spent_hash) WHERE spent_hash IS NOT NULL;
  `,
  // The same table in both databases; here one process has the file, and nobody else to look for.
  `ALTER TABLE credentials ADD COLUMN lease_holder INTEGER;`,
  `ALTER TABLE flows ADD COLUMN operation TEXT;`,
  // Agents that are switched off; the tenant is empty where that is so for everybody.
  `
  CREATE TABLE disabled_agents (
    agent TEXT NOT NULL, tenant TEXT NOT NULL, at INTEGER NOT NULL, by_role TEXT NOT NULL,
    PRIMARY KEY (agent, tenant)
  ) STRICT, WITHOUT ROWID;
  `,
  // People and groups that an identity provider writes over SCIM. `name` is lower case: a name differs by more than case.
  `
  CREATE TABLE scim_resources (
    tenant TEXT NOT NULL, realm TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('User', 'Group')),
    id TEXT NOT NULL, name TEXT NOT NULL, exact TEXT NOT NULL, external_id TEXT, version INTEGER NOT NULL,
    body TEXT NOT NULL, created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, realm, kind, id), UNIQUE (tenant, realm, kind, name)
  ) STRICT;
  CREATE INDEX scim_exact ON scim_resources (tenant, realm, kind, exact);
  CREATE INDEX scim_external ON scim_resources (tenant, realm, kind, external_id);
  CREATE TABLE scim_members (
    tenant TEXT NOT NULL, realm TEXT NOT NULL, group_id TEXT NOT NULL, member_id TEXT NOT NULL,
    PRIMARY KEY (tenant, realm, group_id, member_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX scim_member ON scim_members (tenant, realm, member_id);
  `,
  // What people let workloads do while they are away.
  `
  ALTER TABLE flows ADD COLUMN standing TEXT;
  CREATE TABLE standings (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    workload TEXT NOT NULL, agent TEXT NOT NULL, connection TEXT NOT NULL, operations TEXT NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
    last_used_at INTEGER, notice_at INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX standings_workload ON standings (workload, agent, user_id, tenant, realm, connection);
  CREATE INDEX standings_person ON standings (tenant, realm, user_id);
  CREATE INDEX standings_end ON standings (expires_at);
  CREATE INDEX standings_notice ON standings (notice_at) WHERE notice_at IS NOT NULL;
  `,
  `
  CREATE TABLE signals_taken (hash TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX signals_taken_at ON signals_taken (at);
  `,
  // Some issuers name of a logout the session alone.
  `
  CREATE TABLE issuer_sessions (
    hash TEXT NOT NULL,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (hash, tenant, realm, user_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX issuer_sessions_at ON issuer_sessions (at);
  CREATE INDEX issuer_sessions_person ON issuer_sessions (tenant, realm, user_id);
  `,
  // Clients that deputy registered by itself at authorization servers.
  `CREATE TABLE oauth_clients (id TEXT NOT NULL PRIMARY KEY, sealed TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;`,
  // What was used of limits, and which calls were allowed. People, and whose a counter is, stand there by pseudonym.
  `
  CREATE TABLE limit_counts (
    key TEXT NOT NULL, bucket INTEGER NOT NULL, person TEXT,
    used INTEGER NOT NULL, last INTEGER NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (key, bucket)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX limit_counts_end ON limit_counts (until);
  CREATE INDEX limit_counts_person ON limit_counts (person) WHERE person IS NOT NULL;
  CREATE TABLE call_history (
    person TEXT NOT NULL, run TEXT NOT NULL, provider TEXT NOT NULL, operation TEXT NOT NULL,
    span INTEGER NOT NULL, bucket INTEGER NOT NULL,
    used INTEGER NOT NULL, last INTEGER NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (person, run, provider, operation, span, bucket)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX call_history_end ON call_history (until);
`,
  // What policy has told to people, until the application has taken it.
  `
  CREATE TABLE notices (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL, body TEXT NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, due_at INTEGER
  ) STRICT;
  CREATE INDEX notices_person ON notices (tenant, realm, user_id);
  CREATE INDEX notices_due ON notices (due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX notices_waiting ON notices (tenant) WHERE due_at IS NOT NULL;
  CREATE INDEX notices_end ON notices (expires_at);
`,
  // What people are asked so that policy lets a call pass, and the sign-ins that it asked for.
  `
  CREATE TABLE asks (
    hash TEXT NOT NULL PRIMARY KEY, nonce TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('approval', 'step_up')),
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    agent TEXT NOT NULL, connection TEXT NOT NULL,
    question TEXT NOT NULL, digest TEXT NOT NULL, operations TEXT NOT NULL, needs TEXT NOT NULL, sealed TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'given', 'used', 'declined', 'cancelled', 'expired')),
    given TEXT NOT NULL, exchange TEXT, epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, ended_at INTEGER,
    notice_at INTEGER, notices INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX asks_open ON asks (question) WHERE status IN ('pending', 'given');
  CREATE INDEX asks_question ON asks (question, ended_at);
  CREATE INDEX asks_person ON asks (tenant, realm, user_id, agent);
  CREATE INDEX asks_end ON asks (expires_at) WHERE status IN ('pending', 'given');
  CREATE INDEX asks_notice ON asks (notice_at) WHERE notice_at IS NOT NULL;
  CREATE TABLE sign_ins (
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    agent TEXT NOT NULL, acr TEXT NOT NULL, amr TEXT NOT NULL,
    at INTEGER NOT NULL, expires_at INTEGER NOT NULL, epoch INTEGER NOT NULL,
    PRIMARY KEY (tenant, realm, user_id, agent, acr)
  ) STRICT;
  CREATE INDEX sign_ins_end ON sign_ins (expires_at);
  `,
  // The key under which the evidence names a person: with it goes what linked them to the evidence.
  `
  CREATE TABLE person_keys (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL, realm TEXT NOT NULL, user_id TEXT NOT NULL,
    sealed TEXT NOT NULL, at INTEGER NOT NULL, used_at INTEGER NOT NULL,
    UNIQUE (tenant, realm, user_id)
  ) STRICT;
  CREATE INDEX person_keys_used ON person_keys (used_at);
  CREATE TABLE erased_names (hash TEXT NOT NULL PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  `,
  // Counted once a minute, by client: without it the rows of all people were read.
  `CREATE INDEX credentials_client ON credentials (connection, client_id) WHERE status = 'active' AND client_id IS NOT NULL;`,
  // Who reads lists of agents reads a page of them, however many people there are.
  `
  CREATE INDEX grants_agent ON grants (agent, tenant, realm, user_id, connection);
  CREATE INDEX grants_touched ON grants (agent, connection, tenant);
  `,
]

export type OpenFile = {
  readonly db: DatabaseSync
  /** The first bytes of the file itself, past every cache. */
  readonly beginning: (size: number) => string
  readonly close: () => void
}

/**
 * Opens (or creates) the file, takes it for this process and brings its schema up to date. Others may read it
 * meanwhile: the sqlite3 shell, a program that makes backups.
 * Throws an Error that names the file and what to do.
 */
export const openDatabase = (path: string, log?: Log): OpenFile => {
  const closers: (() => void)[] = []
  const close = (): void => {
    for (const each of closers.splice(0).toReversed()) each()
  }
  try {
    closers.push(takeFile(path))
    closeSync(openSync(path, 'a', 0o600)) // SQLite would create it with the umask's mode
    chmodSync(path, 0o600)
    // Held for as long as the database: to close any descriptor of a file gives up all locks of its process (POSIX).
    const fd = openSync(path, 'r')
    closers.push(() => closeSync(fd))
    const db = new DatabaseSync(path, { timeout: 2_000, enableForeignKeyConstraints: true })
    closers.push(() => db.close())
    migrate(db, path, log)
    const beginning = (size: number): string => {
      const bytes = Buffer.alloc(size)
      return bytes.toString('latin1', 0, readSync(fd, bytes, 0, size, 0))
    }
    return { db, beginning, close }
  } catch (error) {
    close()
    throw explain(path, error)
  }
}

/**
 * The lock against a second process, in a file beside it, so that the database itself may be read; the system drops it
 * when this process dies. @returns what gives it back. Throws what SQLite throws.
 */
export const takeFile = (path: string): (() => void) => {
  const beside = `${path}-lock`
  try {
    closeSync(openSync(beside, 'wx', 0o600))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    accessSync(beside, constants.W_OK)
  }
  const lock = new DatabaseSync(beside, { timeout: 0 })
  try {
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    return () => lock.close()
  } catch (error) {
    lock.close()
    throw error
  }
}

export const explain = (path: string, error: unknown): Error => {
  const { code, errcode } = {
    code: null,
    errcode: 0,
    ...(error as { code?: unknown; errcode?: number }),
  }
  const say = (what: string) => new Error(`vault.store: ${path} ${what}`, { cause: error })
  if (code === 'ENOENT')
    return say('cannot be created: its folder does not exist. Create the folder.')
  if (code === 'EISDIR') return say('is a folder. Name a file.')
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || (errcode & 255) === 8)
    return say(
      'cannot be written. Make the file and its folder writable for the user that runs deputy.',
    )
  if ((errcode & 255) === 5 || (errcode & 255) === 6)
    return say(
      'is in use by another process. Stop it, or talk to it instead: one process has the file.',
    )
  if (errcode === 26)
    return say('is not a database. Name another file, or restore it from a backup.')
  if ((errcode & 255) === 11) return say('is damaged. Restore it from a backup.')
  if ((errcode & 255) === 14)
    return say('cannot be opened. Check the file, its folder and their owner.')
  return error instanceof Error ? error : say('cannot be opened.')
}

/** The step that SQL alone cannot take: the people of `named_epochs` get their pseudonyms. */
const hideEpochs = (db: DatabaseSync): void => {
  if (db.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'named_epochs'`).get() === undefined)
    return
  const key = String(db.prepare('SELECT key FROM pseudonyms').get()?.['key'])
  const put = db.prepare('INSERT INTO person_epochs (person, epoch) VALUES (?, ?)')
  for (const row of db.prepare('SELECT tenant, realm, user_id, epoch FROM named_epochs').all()) {
    const [tenant, realm, id] = [row['tenant'], row['realm'], row['user_id']].map(String)
    put.run(pseudonym(key, { tenant, realm, id } as Person), Number(row['epoch']))
  }
  db.exec('DROP TABLE named_epochs')
}

const number = (db: DatabaseSync, pragma: string): number =>
  Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0])

/** How far this version brings a file. */
export const SCHEMA = MIGRATIONS.length

const migrate = (db: DatabaseSync, path: string, log?: Log): void => {
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  db.exec('PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF')
  db.exec('BEGIN IMMEDIATE')
  const version = number(db, 'user_version')
  const tables = number(db, 'schema_version')
  if (tables !== 0 && number(db, 'application_id') !== APPLICATION_ID)
    throw new Error(`vault.store: ${path} is a database of another program. Name another file.`)
  if (version > MIGRATIONS.length)
    throw new Error(
      `vault.store: ${path} was written by a newer deputy (schema ${version}, this one knows ${MIGRATIONS.length}). Run that version, or restore an older backup.`,
    )
  for (const migration of MIGRATIONS.slice(version)) db.exec(migration)
  hideEpochs(db)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`)
  // We alone have the file, so whoever held these leases is dead, and what it sent was perhaps answered.
  db.exec(`UPDATE refresh_journal SET outcome = 'unknown' WHERE outcome = 'started'`)
  const { changes } = db
    .prepare(
      'UPDATE credentials SET unknown_since = coalesce(unknown_since, lease_until), lease = NULL, lease_until = NULL WHERE lease IS NOT NULL',
    )
    .run()
  db.exec('COMMIT')
  if (version < MIGRATIONS.length)
    log?.info({ path, from: version, to: MIGRATIONS.length }, 'vault schema migrated')
  if (changes > 0)
    log?.warn({ path, refreshes: changes }, 'refreshes were cut off when deputy last ended')
}
