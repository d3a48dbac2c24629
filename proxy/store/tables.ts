// What every store does, statement by statement. SQL and rules are the same for both databases; the
// database is handed in.
import type { Person, SealedRow, Store } from '../model.ts'
import { messageOf } from '../problem.ts'
import { createAgents } from './agents.ts'
import { createAsking } from './asking.ts'
import { createAsks, createSignIns } from './asks.ts'
import { createCredentials, createGrants } from './credentials.ts'
import type { Database, Params, Raw, Work } from './database.ts'
import { createFlows } from './flows.ts'
import { pseudonym } from './pseudonym.ts'
import { personOf } from './rows.ts'
import { createHistory } from './history.ts'
import { createLimits } from './limits.ts'
import { createNoticeRows } from './notices.ts'
import { createPersonKeys } from './person_keys.ts'
import { createPersonal } from './personal.ts'
import { createRuns } from './runs.ts'
import { createScim } from './scim.ts'
import { createIssuerSessions, createSignals } from './signals.ts'
import { createStandings } from './standings.ts'
import { NEVER } from './statements.ts'
import { createTimeline } from './timeline.ts'

/** Whether they can be written is proved at most this often, ms. */
const PROVED_MS = 2_000
const TABLES = [
  'credentials',
  'grants',
  'flows',
  'runs',
  'standings',
  'notices',
  'asks',
  'sign_ins',
  'refresh_journal',
  'person_epochs',
  'ended_sessions',
  'disabled_agents',
  'scim_resources',
  'scim_members',
  'signals_taken',
  'issuer_sessions',
  'oauth_clients',
  'limit_counts',
  'call_history',
  'person_keys',
  'erased_names',
]
const CHANGED = [
  ['credentials', 'sealed'],
  ['grants', 'scopes'],
  ['flows', 'status'],
  ['runs', 'revoked_at'],
  ['standings', 'notice_at'],
  ['notices', 'due_at'],
  ['asks', 'status'],
  ['sign_ins', 'at'],
  ['refresh_journal', 'outcome'],
  ['person_epochs', 'epoch'],
  ['ended_sessions', 'expires_at'],
  ['disabled_agents', 'at'],
  ['scim_resources', 'body'],
  ['signals_taken', 'at'],
  ['issuer_sessions', 'at'],
  ['oauth_clients', 'sealed'],
  ['limit_counts', 'used'],
  ['call_history', 'used'],
  ['person_keys', 'used_at'],
  ['erased_names', 'at'],
]

/** Tables with sealed texts, in the order of their pages. */
const SEALED = ['credentials', 'flows', 'oauth_clients', 'asks', 'person_keys'] as const
const RESEAL = {
  flows: 'resealFlow',
  oauth_clients: 'resealClient',
  asks: 'resealAsk',
  person_keys: 'resealPersonKey',
} as const
const PAGES = {
  credentials: 'sealedCredentials',
  flows: 'sealedFlows',
  oauth_clients: 'sealedClients',
  asks: 'sealedAsks',
  person_keys: 'sealedPersonKeys',
} as const

export const createTables = (db: Database): Store => {
  const asking = createAsking(db)
  const { sql, at, rows, row, hit, pseudonymKey } = asking
  const hidden = async (person: Person): Promise<Params> => {
    personOf(person)
    return { person: pseudonym(await pseudonymKey(), person) }
  }
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
          `vault.store: cannot be written: ${messageOf(error)}. No grant can be stored or revoked: make the database writable for deputy again.`,
          { cause: error },
        )
      })
  const epochOf = (raw: Raw): number => Number(raw['epoch'])
  const timeline = createTimeline(db, asking)
  let proof: { readonly at: number; readonly work: Promise<void> } | null = null

  return {
    credentials: createCredentials(db, asking),
    grants: createGrants(db, asking),
    flows: createFlows(db, asking),
    runs: createRuns(db, asking),
    limits: createLimits(db, asking, timeline),
    history: createHistory(db, asking, timeline),
    agents: createAgents(db, asking),
    standings: createStandings(db, asking),
    notices: createNoticeRows(db, asking),
    asks: createAsks(db, asking),
    signIns: createSignIns(db, asking),
    sessions: {
      end: async (hash, expiresAt) => void (await db.query([sql.endSession, { hash, expiresAt }])),
      ended: async (hash, expiresAt = NEVER, person) => {
        const whose = person === undefined ? { person: '' } : await hidden(person)
        return hit(sql.endedSession, { hash, expiresAt, ...whose })
      },
      sweep: async (before) => (await db.query([sql.sweepSessions, { before }])).length,
    },
    epochs: {
      read: async (person) => (await row(sql.epoch, await hidden(person), epochOf)) ?? 0,
      move: async (person) => (await row(sql.moveEpoch, await hidden(person), epochOf)) ?? 0,
    },
    stored: async (person, connection) => {
      const raw = (await db.query([sql.stored, { ...personOf(person), connection }]))[0] ?? {}
      const of = (name: string): number => Number(raw[name])
      return {
        people: of('people'),
        connections: of('connections'),
        known: of('known') > 0,
        connected: of('connected') > 0,
      }
    },
    ...createPersonal(db, asking),
    personKeys: createPersonKeys(db, asking),
    scim: createScim(db),
    signals: createSignals(db, asking),
    issuerSessions: createIssuerSessions(db, asking),
    registered: {
      find: (id) => row(sql.client, { id }, (raw) => String(raw['sealed'])),
      put: async (id, sealed, at) => {
        await db.query([sql.keepClient, { id, sealed, at }])
      },
    },
    sealed: {
      page: async (after, most) => {
        const of = (raw: Raw): SealedRow => raw as SealedRow
        const from = after?.table ?? 'credentials'
        // Each table goes on behind the row that came last; those behind it begin.
        const begun = SEALED.slice(SEALED.indexOf(from))
        for (const table of begun) {
          const next = { after: table === from ? (after?.id ?? '') : '', most }
          const found = await rows(sql[PAGES[table]], next, of)
          if (found.length > 0) return found
        }
        return []
      },
      replace: ({ table, id, generation, sealed: before }, after) =>
        table === 'credentials'
          ? hit(sql.resealCredential, { id, generation, before, after })
          : hit(sql[RESEAL[table]], { id, before, after }),
    },
    publish: db.publish,
    subscribe: db.subscribe,
    ...(db.connections === undefined ? {} : { connections: db.connections }),
    copied: {
      at: async () => Number((await db.query([sql.newest, {}]))[0]?.['at'] ?? 0),
      void: (until) =>
        db.transact(function* (): Work<number> {
          yield [sql.endAllSessions, { until }]
          // A yes that was spent since would count again.
          yield [sql.voidAsks, {}]
          yield [sql.voidSignIns, {}]
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
