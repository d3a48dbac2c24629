// The tables in PostgreSQL: the same as in migrations.ts, and the changes that replicas tell each other.
// Forward only: a released migration is never edited, the next one is appended.
import type { Log } from '../model.ts'
import { pseudonym } from './pseudonym.ts'

/** Entry n brings `deputy_schema.version` from n to n + 1. Names are compared byte for byte, so all text is COLLATE "C". */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE credentials (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    connection TEXT COLLATE "C" NOT NULL, provider TEXT NOT NULL, slot TEXT COLLATE "C" NOT NULL,
    account_id TEXT NOT NULL, account TEXT NOT NULL, host TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'needs_reauth')),
    generation BIGINT NOT NULL CHECK (generation > 0),
    scopes TEXT NOT NULL, sealed TEXT NOT NULL,
    expires_at BIGINT, stored_at BIGINT NOT NULL,
    lease TEXT, lease_until BIGINT, unknown_since BIGINT,
    cool_until BIGINT, cool_error TEXT,
    UNIQUE (tenant, realm, user_id, connection, slot),
    CHECK ((lease IS NULL) = (lease_until IS NULL))
  );
  CREATE TABLE grants (
    tenant TEXT COLLATE "C", realm TEXT COLLATE "C", user_id TEXT COLLATE "C",
    connection TEXT COLLATE "C", agent TEXT COLLATE "C",
    scopes TEXT NOT NULL, at BIGINT NOT NULL,
    PRIMARY KEY (tenant, realm, user_id, connection, agent)
  );
  CREATE TABLE flows (
    hash TEXT COLLATE "C" PRIMARY KEY, nonce TEXT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL, connection TEXT COLLATE "C" NOT NULL, scopes TEXT NOT NULL,
    reauthorization INTEGER NOT NULL CHECK (reauthorization IN (0, 1)),
    status TEXT NOT NULL CHECK (status IN ('pending', 'completed', 'failed')),
    failure TEXT, next_uri TEXT,
    created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
    state_hash TEXT UNIQUE, cookie_hash TEXT, sealed_leg TEXT, leg_expires_at BIGINT
  );
  CREATE INDEX flows_person ON flows (tenant, realm, user_id, connection, agent) WHERE status = 'pending';
  CREATE INDEX flows_end ON flows (expires_at);
  CREATE TABLE refresh_journal (
    lease TEXT PRIMARY KEY,
    credential TEXT COLLATE "C" NOT NULL REFERENCES credentials (id) ON DELETE CASCADE,
    generation BIGINT NOT NULL, started_at BIGINT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('started', 'stored', 'released', 'unknown'))
  );
  CREATE INDEX refresh_journal_credential ON refresh_journal (credential, started_at);
  CREATE TABLE person_epochs (
    tenant TEXT COLLATE "C", realm TEXT COLLATE "C", user_id TEXT COLLATE "C",
    epoch BIGINT NOT NULL,
    PRIMARY KEY (tenant, realm, user_id)
  );
  CREATE TABLE runs (
    token_hash TEXT COLLATE "C" PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL, connections TEXT NOT NULL,
    created_by TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
    revoked_at BIGINT
  );
  CREATE INDEX runs_person ON runs (tenant, realm, user_id);
  CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xact XID8 NOT NULL DEFAULT pg_current_xact_id(),
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    topic TEXT NOT NULL, key TEXT NOT NULL
  );
  CREATE INDEX events_xact ON events (xact);
  CREATE INDEX events_at ON events (at);
  `,
  `ALTER TABLE grants ADD COLUMN last_used_at BIGINT;`,
  `
  ALTER TABLE runs ADD COLUMN operations TEXT;
  ALTER TABLE flows ADD COLUMN confirm_hash TEXT COLLATE "C";
  ALTER TABLE flows ADD COLUMN held TEXT;
  ALTER TABLE flows ADD COLUMN confirm_until BIGINT;
  CREATE UNIQUE INDEX flows_confirm ON flows (confirm_hash) WHERE confirm_hash IS NOT NULL;
  CREATE INDEX flows_held ON flows (confirm_until) WHERE confirm_until IS NOT NULL;
  `,
  `
  ALTER TABLE flows ADD COLUMN notify_at BIGINT;
  ALTER TABLE flows ADD COLUMN notices INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX flows_notify ON flows (notify_at) WHERE notify_at IS NOT NULL;
  CREATE INDEX flows_begun ON flows (tenant, realm, user_id, agent, created_at);
  `,
  `
  ALTER TABLE credentials ADD COLUMN idle_from BIGINT;
  CREATE INDEX credentials_idle ON credentials (connection, coalesce(idle_from, stored_at)) WHERE status = 'active';
  ALTER TABLE flows ADD COLUMN challenge TEXT;
  CREATE INDEX flows_ended ON flows (tenant, realm, user_id, connection, created_at) WHERE status <> 'pending';
  `,
  `CREATE TABLE ended_sessions (hash TEXT COLLATE "C" NOT NULL PRIMARY KEY, expires_at BIGINT NOT NULL);`,
  `
  ALTER TABLE credentials ADD COLUMN client_id TEXT COLLATE "C";
  ALTER TABLE credentials ADD COLUMN refused_since BIGINT;
  ALTER TABLE credentials ADD COLUMN refused_times INTEGER;
  ALTER TABLE credentials ADD COLUMN doubtful_since BIGINT;
  CREATE INDEX refresh_journal_stored ON refresh_journal (started_at) WHERE outcome = 'stored';
  `,
  // Who was erased is not named any more, and what was remembered of them stays void.
  `
  CREATE TABLE write_probe (at BIGINT NOT NULL);
  INSERT INTO write_probe VALUES (0);
  CREATE TABLE pseudonyms (key TEXT NOT NULL);
  INSERT INTO pseudonyms VALUES (replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''));
  ALTER TABLE person_epochs RENAME TO named_epochs;
  ALTER INDEX person_epochs_pkey RENAME TO named_epochs_pkey;
  CREATE TABLE person_epochs (person TEXT COLLATE "C" PRIMARY KEY, epoch BIGINT NOT NULL);
  `,
  `
  ALTER TABLE flows ADD COLUMN ended_at BIGINT;
  ALTER TABLE flows ADD COLUMN spent_hash TEXT COLLATE "C";
  CREATE UNIQUE INDEX flows_spent ON flows (spent_hash) WHERE spent_hash IS NOT NULL;
  `,
  // Which backend of the server the holder of a lease has to itself: it ends with that process.
  `ALTER TABLE credentials ADD COLUMN lease_holder INTEGER;`,
  `ALTER TABLE flows ADD COLUMN operation TEXT COLLATE "C";`,
  // Agents that are switched off; the tenant is empty where that is so for everybody.
  `
  CREATE TABLE disabled_agents (
    agent TEXT COLLATE "C" NOT NULL, tenant TEXT COLLATE "C" NOT NULL, at BIGINT NOT NULL,
    by_role TEXT COLLATE "C" NOT NULL, PRIMARY KEY (agent, tenant)
  );
  `,
  `
  CREATE TABLE scim_resources (
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('User', 'Group')),
    id TEXT COLLATE "C" NOT NULL, name TEXT COLLATE "C" NOT NULL, exact TEXT COLLATE "C" NOT NULL, external_id TEXT COLLATE "C", version BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL, created_at BIGINT NOT NULL, changed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, realm, kind, id), UNIQUE (tenant, realm, kind, name)
  );
  CREATE INDEX scim_exact ON scim_resources (tenant, realm, kind, exact);
  CREATE INDEX scim_external ON scim_resources (tenant, realm, kind, external_id);
  CREATE TABLE scim_members (
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, group_id TEXT COLLATE "C" NOT NULL, member_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, realm, group_id, member_id)
  );
  CREATE INDEX scim_member ON scim_members (tenant, realm, member_id);
  `,
  // What people let workloads do while they are away.
  `
  ALTER TABLE flows ADD COLUMN standing TEXT;
  CREATE TABLE standings (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    workload TEXT COLLATE "C" NOT NULL, agent TEXT COLLATE "C" NOT NULL, connection TEXT COLLATE "C" NOT NULL, operations TEXT NOT NULL,
    created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
    last_used_at BIGINT, notice_at BIGINT
  );
  CREATE UNIQUE INDEX standings_workload ON standings (workload, agent, user_id, tenant, realm, connection);
  CREATE INDEX standings_person ON standings (tenant, realm, user_id);
  CREATE INDEX standings_end ON standings (expires_at);
  CREATE INDEX standings_notice ON standings (notice_at) WHERE notice_at IS NOT NULL;
  `,
  `
  CREATE TABLE signals_taken (hash TEXT COLLATE "C" NOT NULL PRIMARY KEY, at BIGINT NOT NULL);
  CREATE INDEX signals_taken_at ON signals_taken (at);
  `,
  // Some issuers name of a logout the session alone.
  `
  CREATE TABLE issuer_sessions (
    hash TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL, at BIGINT NOT NULL,
    PRIMARY KEY (hash, tenant, realm, user_id)
  );
  CREATE INDEX issuer_sessions_at ON issuer_sessions (at);
  CREATE INDEX issuer_sessions_person ON issuer_sessions (tenant, realm, user_id);
  `,
  // Clients that deputy registered by itself at authorization servers.
  `CREATE TABLE oauth_clients (id TEXT COLLATE "C" NOT NULL PRIMARY KEY, sealed TEXT NOT NULL, at BIGINT NOT NULL);`,
  // What was used of limits, and which calls were allowed. People, and whose a counter is, stand there by pseudonym.
  `
  CREATE TABLE limit_counts (
    key TEXT COLLATE "C" NOT NULL, bucket BIGINT NOT NULL, person TEXT COLLATE "C",
    used BIGINT NOT NULL, last BIGINT NOT NULL, until BIGINT NOT NULL,
    PRIMARY KEY (key, bucket)
  );
  CREATE INDEX limit_counts_end ON limit_counts (until);
  CREATE INDEX limit_counts_person ON limit_counts (person) WHERE person IS NOT NULL;
  CREATE TABLE call_history (
    person TEXT COLLATE "C" NOT NULL, run TEXT COLLATE "C" NOT NULL, provider TEXT COLLATE "C" NOT NULL, operation TEXT COLLATE "C" NOT NULL,
    span BIGINT NOT NULL, bucket BIGINT NOT NULL,
    used BIGINT NOT NULL, last BIGINT NOT NULL, until BIGINT NOT NULL,
    PRIMARY KEY (person, run, provider, operation, span, bucket)
  );
  CREATE INDEX call_history_end ON call_history (until);
`,
  // What policy has told to people, until the application has taken it.
  `
  CREATE TABLE notices (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL, body TEXT NOT NULL,
    created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, due_at BIGINT
  );
  CREATE INDEX notices_person ON notices (tenant, realm, user_id);
  CREATE INDEX notices_due ON notices (due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX notices_waiting ON notices (tenant) WHERE due_at IS NOT NULL;
  CREATE INDEX notices_end ON notices (expires_at);
`,
  // What people are asked so that policy lets a call pass, and the sign-ins that it asked for.
  `
  CREATE TABLE asks (
    hash TEXT COLLATE "C" NOT NULL PRIMARY KEY, nonce TEXT COLLATE "C" NOT NULL, kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('approval', 'step_up')),
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL, connection TEXT COLLATE "C" NOT NULL,
    question TEXT COLLATE "C" NOT NULL, digest TEXT COLLATE "C" NOT NULL, operations TEXT NOT NULL, needs TEXT NOT NULL, sealed TEXT,
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('pending', 'given', 'used', 'declined', 'cancelled', 'expired')),
    given TEXT NOT NULL, exchange TEXT COLLATE "C", epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, ended_at BIGINT,
    notice_at BIGINT, notices BIGINT NOT NULL
  );
  CREATE UNIQUE INDEX asks_open ON asks (question) WHERE status IN ('pending', 'given');
  CREATE INDEX asks_question ON asks (question, ended_at);
  CREATE INDEX asks_person ON asks (tenant, realm, user_id, agent);
  CREATE INDEX asks_end ON asks (expires_at) WHERE status IN ('pending', 'given');
  CREATE INDEX asks_notice ON asks (notice_at) WHERE notice_at IS NOT NULL;
  CREATE TABLE sign_ins (
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    agent TEXT COLLATE "C" NOT NULL, acr TEXT COLLATE "C" NOT NULL, amr TEXT NOT NULL,
    at BIGINT NOT NULL, expires_at BIGINT NOT NULL, epoch BIGINT NOT NULL,
    PRIMARY KEY (tenant, realm, user_id, agent, acr)
  );
  CREATE INDEX sign_ins_end ON sign_ins (expires_at);
  `,
  // The key under which the evidence names a person: with it goes what linked them to the evidence.
  `
  CREATE TABLE person_keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL, realm TEXT COLLATE "C" NOT NULL, user_id TEXT COLLATE "C" NOT NULL,
    sealed TEXT NOT NULL, at BIGINT NOT NULL, used_at BIGINT NOT NULL,
    UNIQUE (tenant, realm, user_id)
  );
  CREATE INDEX person_keys_used ON person_keys (used_at);
  CREATE TABLE erased_names (hash TEXT COLLATE "C" NOT NULL PRIMARY KEY, at BIGINT NOT NULL);
  `,
  // Counted once a minute, by client: without it the rows of all people were read.
  `CREATE INDEX credentials_client ON credentials (connection, client_id) WHERE status = 'active' AND client_id IS NOT NULL;`,
  // Who reads lists of agents reads a page of them, however many people there are.
  `
  CREATE INDEX grants_agent ON grants (agent, tenant, realm, user_id, connection);
  CREATE INDEX grants_touched ON grants (agent, connection, tenant);
  `,
]
/** The step that SQL alone cannot take: the people of `named_epochs` get their pseudonyms. */
const hideEpochs = async (ask: Ask): Promise<void> => {
  const [row] = await ask('SELECT key FROM pseudonyms')
  for (const { tenant, realm, user_id: id, epoch } of await ask('SELECT * FROM named_epochs'))
    await ask('INSERT INTO person_epochs (person, epoch) VALUES ($1, $2)', [
      pseudonym(String(row?.['key']), {
        tenant: String(tenant),
        realm: String(realm),
        id: String(id),
      }),
      epoch,
    ])
  await ask('DROP TABLE named_epochs')
}
/** "dpty": the lock that lets one replica at a time migrate; it ends with the transaction. */
const LOCK = 0x64707479

/**
 * Schemas that a process of an earlier one cannot work on: what it reads or writes is there no more, or means something
 * else. All others only add, so that two versions work side by side while replicas are replaced.
 */
const BREAKS: readonly number[] = [8] // person_epochs is kept by pseudonym
/** The oldest process that works on a database of this schema. */
const oldestOn = (schema: number): number => Math.max(0, ...BREAKS.filter((each) => each <= schema))
/** How a process of this version calls itself to the server. */
export const APPLICATION = `deputy/${MIGRATIONS.length}`

type Ask = (
  sql: string,
  values?: readonly unknown[],
) => Promise<readonly Readonly<Record<string, unknown>>[]>

/** Throws an Error whose message goes behind the name of the database, when this server will not do. */
export const usable = async (ask: Ask): Promise<void> => {
  const [server] = await ask(
    `SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS standby`,
  )
  if (Number(server?.['version']) < 150_000)
    throw new Error('is older than PostgreSQL 15. Upgrade the server.')
  if (server?.['standby'] === true)
    throw new Error('is a read-only standby. Name the primary, or a host that follows it.')
}

/** Throws while processes are connected that could not go on after the change. */
const aloneFor = async (ask: Ask, oldest: number): Promise<void> => {
  const others = await ask(
    `SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name ~ '^deputy(/[0-9]+)?$'`,
  )
  const older = others
    .map(({ name }) => Number(String(name).split('/')[1] ?? 0))
    .filter((schema) => schema < oldest)
  if (older.length > 0)
    throw new Error(
      `is in use by an older deputy (schema ${Math.min(...older)}), which cannot go on once this one has changed it: stop all of the older version, then start this one.`,
    )
}

/** Runs inside one transaction. Throws an Error whose message goes behind the name of the database. */
export const migratePostgres = async (ask: Ask, log: Log): Promise<void> => {
  await usable(ask)
  await ask('SELECT pg_advisory_xact_lock($1)', [LOCK])
  const [there] = await ask(`SELECT to_regclass('deputy_schema') IS NOT NULL AS there`)
  if (there?.['there'] !== true) {
    await ask('CREATE TABLE deputy_schema (version INTEGER NOT NULL)')
    await ask('INSERT INTO deputy_schema VALUES (0)')
  }
  const [row = {}] = await ask('SELECT * FROM deputy_schema')
  const version = Number(row['version'])
  const known = MIGRATIONS.length
  if (version > known) {
    // Said of this very schema; else nobody knows.
    const oldest = Number(row['oldest_of']) === version ? Number(row['oldest']) : version
    if (oldest > known)
      throw new Error(
        `was written by a newer deputy (schema ${version}, this one knows ${known}). Run that version, or restore an older backup.`,
      )
    log.info(
      { schema: version, known },
      'a newer deputy brought the vault further: this one works beside it',
    )
    return
  }
  if (version === known && row['oldest_of'] === known) return
  if (!('oldest' in row))
    await ask('ALTER TABLE deputy_schema ADD COLUMN oldest INTEGER, ADD COLUMN oldest_of INTEGER')
  if (version > 0 && oldestOn(known) > version) await aloneFor(ask, oldestOn(known))
  for (const migration of MIGRATIONS.slice(version)) await ask(migration)
  const [left] = await ask(`SELECT to_regclass('named_epochs') IS NOT NULL AS named`)
  if (left?.['named'] === true) await hideEpochs(ask)
  await ask('UPDATE deputy_schema SET version = $1, oldest_of = $1, oldest = $2', [
    known,
    oldestOn(known),
  ])
  if (version < known) log.info({ from: version, to: known }, 'vault schema migrated')
}
