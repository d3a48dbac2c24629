// Which table holds what of whom. Export and erasure go by this one list, and a test walks both schemas: a table or a
// column that is not in it fails.
import type { Person, PersonalRows, ScimUser, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import { eraseAsks } from './asks.ts'
import type { Database, Params, Raw, Work } from './database.ts'
import { pseudonym } from './pseudonym.ts'
import { checked, personOf } from './rows.ts'

/** Of whom a row is. */
const NAMED = 'tenant = :tenant AND realm = :realm AND user_id = :user'
const NAMES = ['tenant', 'realm', 'user_id']
const HIDDEN_NAME = 'person = :person'
/** `SCIM_NAME` is the column by which people are known: no index serves a choice of it in the statement. */
const SCIM_USER = `tenant = :tenant AND realm = :realm AND kind = 'User' AND SCIM_NAME = :user`
const SCIM_NAME = { userName: 'exact', externalId: 'external_id', id: 'id' } as const

export type Held =
  | { readonly holds: 'nobody'; readonly why: string }
  | {
      readonly holds: 'person'
      readonly whose: string
      /** What the person is given of it. */
      readonly told: readonly string[]
      /** What is not given: whose it is, what opens something, and what only deputy reads. */
      readonly untold: readonly string[]
      /** `row`: by `erase`; else how it goes, or why it stays. */
      readonly erased: 'row' | { readonly instead: string }
    }
const words = (text: string): readonly string[] => text.split(' ')
const named = (
  told: string,
  untold: string = '',
  erased: Extract<Held, { holds: 'person' }>['erased'] = 'row',
): Held => ({
  holds: 'person',
  whose: NAMED,
  told: words(told),
  untold: [...NAMES, ...words(untold)].filter((name) => name !== ''),
  erased,
})
const nobody = (why: string): Held => ({ holds: 'nobody', why })

export const HELD: Readonly<Record<string, Held>> = {
  credentials: named(
    'id connection provider account_id account host status generation scopes expires_at stored_at unknown_since cool_until cool_error idle_from client_id refused_since refused_times doubtful_since',
    'slot sealed lease lease_until lease_holder',
    { instead: 'each is revoked, here and at its provider, before' },
  ),
  refresh_journal: {
    holds: 'person',
    whose: `credential IN (SELECT id FROM credentials WHERE ${NAMED})`,
    told: words('credential generation started_at outcome'),
    untold: ['lease'],
    erased: { instead: 'goes with its credential' },
  },
  grants: named('connection agent scopes at last_used_at'),
  standings: named(
    'id workload agent connection operations created_at expires_at last_used_at notice_at',
  ),
  runs: named(
    'id agent connections operations created_by created_at expires_at revoked_at',
    'token_hash',
  ),
  flows: named(
    'hash agent connection scopes reauthorization status failure next_uri created_at expires_at leg_expires_at confirm_until notify_at notices challenge ended_at operation standing',
    'nonce state_hash cookie_hash sealed_leg confirm_hash held spent_hash',
  ),
  notices: named('id body created_at expires_at due_at'),
  asks: named(
    'hash kind agent connection digest operations needs status given exchange epoch created_at expires_at ended_at notice_at notices',
    'nonce question sealed',
  ),
  sign_ins: named('agent acr amr at expires_at epoch'),
  issuer_sessions: named('at', 'hash'),
  scim_members: {
    holds: 'person',
    whose: `tenant = :tenant AND realm = :realm AND member_id IN (SELECT id FROM scim_resources WHERE ${SCIM_USER})`,
    told: ['group_id'],
    untold: words('tenant realm member_id'),
    erased: 'row',
  },
  scim_resources: {
    holds: 'person',
    whose: SCIM_USER,
    told: words('kind id exact external_id version body created_at changed_at'),
    untold: words('tenant realm name'),
    erased: 'row',
  },
  limit_counts: {
    holds: 'person',
    whose: HIDDEN_NAME,
    told: words('bucket used last until'),
    untold: words('key person'),
    erased: 'row',
  },
  call_history: {
    holds: 'person',
    whose: HIDDEN_NAME,
    told: words('run provider operation span bucket used last until'),
    untold: ['person'],
    erased: 'row',
  },
  person_keys: named('at used_at', 'id sealed'),
  person_epochs: {
    holds: 'person',
    whose: HIDDEN_NAME,
    told: ['epoch'],
    untold: ['person'],
    erased: {
      instead:
        'stays under a pseudonym of the database, so that what was remembered of them anywhere stays void',
    },
  },
  erased_names: nobody(
    'the names in the evidence of people who were erased, of whom no key is left',
  ),
  ended_sessions: nobody(
    'hashes of sessions at the pages, and pseudonyms of those whose sessions all ended, until they would have',
  ),
  disabled_agents: nobody('agents'),
  signals_taken: nobody('hashes of signals'),
  oauth_clients: nobody('clients of deputy itself'),
  pseudonyms: nobody('a key of the database'),
  write_probe: nobody('when it was last written'),
  events: nobody(
    'what replicas tell each other; whom it concerned is struck out when they are erased',
  ),
  deputy_schema: nobody('the version of the schema'),
}
const PERSONAL = Object.entries(HELD).flatMap(([table, held]) =>
  held.holds === 'person' ? [{ ...held, table }] : [],
)
/** Where something of a person is. @param scim by which of their names SCIM has them */
export const personal = (scim: ScimUser) =>
  PERSONAL.map((held) => ({
    ...held,
    whose: held.whose.replaceAll('SCIM_NAME', SCIM_NAME[scim]),
  }))
/** Tables in which people stand by name. */
const NAMING = PERSONAL.filter(({ whose }) => whose === NAMED).map(({ table }) => table)
/** A page of a tenant's people. Each table gives no more than the page: all of them would be read for each page. */
export const PAGE_OF_PEOPLE = `SELECT realm, id FROM (${NAMING.map(
  (table) =>
    `SELECT realm, id FROM (SELECT DISTINCT realm, user_id AS id FROM ${table} WHERE tenant = :tenant AND (realm, user_id) > (:realm, :id) ORDER BY realm, user_id LIMIT :most) AS of_${table}`,
).join(' UNION ')}) AS everybody ORDER BY realm, id LIMIT :most`

const JSON_COLUMNS: ReadonlySet<string> = new Set(
  words('scopes connections operations needs given amr challenge'),
)
const TIME = /^(?:at|last|until)$|_(?:at|until|since|from)$/
const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}
/** Times as ISO 8601, and what is kept as JSON as what it says. */
const toldOf = (table: string, raw: Raw): Raw =>
  Object.fromEntries(
    Object.entries(raw).map(([name, value]) => {
      if (typeof value === 'number' && TIME.test(name)) return [name, isoOf(value)]
      const json = JSON_COLUMNS.has(name) || (table === 'scim_resources' && name === 'body')
      return [name, json && typeof value === 'string' ? parsed(value) : value]
    }),
  )
/** Some times are as late as can be: no date. */
const isoOf = (ms: number): string | number =>
  Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : ms

/** What they said to questions of others, without whose these were. */
const answersOf = (id: string, rows: readonly Raw[]): readonly Raw[] =>
  rows.flatMap((raw) => {
    const given = JSON.parse(String(raw['given'])) as readonly { readonly by: string }[]
    const own = given.filter(({ by }) => by === id)
    if (own.length === 0) return []
    const { kind, agent, connection, operations, status, createdAt } = raw
    const about = { kind, agent, connection, operations, status, created_at: createdAt }
    return [toldOf('asks', { ...about, given: JSON.stringify(own) })]
  })

export const createPersonal = (
  db: Database,
  asking: Asking,
): Pick<Store, 'kept' | 'erase' | 'tenants'> => {
  const { sql, pseudonymKey } = asking
  const whoseOf = async (person: Person): Promise<Params> => ({
    ...personOf(person),
    person: pseudonym(await pseudonymKey(), person),
  })
  /** Only what a statement names: SQLite refuses any other. */
  const bound = (text: string, params: Params): Params =>
    Object.fromEntries(
      Object.entries(params).filter(([name]) => new RegExp(`:${name}\\b`).test(text)),
    )
  return {
    kept: async (person, scim = 'userName') => {
      const whose = await whoseOf(person)
      const found: Record<string, PersonalRows> = {}
      for (const { table, told, whose: where } of personal(scim)) {
        const text = `SELECT ${told.join(', ')} FROM ${table} WHERE ${where}`
        const rows = await db.query([text, bound(where, whose)])
        if (rows.length > 0) found[table] = rows.map((raw) => toldOf(table, raw))
      }
      const { tenant, realm, id } = person
      const answers = answersOf(id, await db.query([sql.answeredAsks, { tenant, realm }]))
      return answers.length === 0 ? found : { ...found, answers }
    },
    erase: async (
      person,
      { scim = 'userName', name = null, at = 0, sessionsUntil = null } = {},
    ) => {
      const whose = await whoseOf(person)
      const { tenant, realm, id } = person
      await db.transact(function* (tell): Work<void> {
        yield* eraseAsks(asking, person)
        let pushed = false
        for (const { table, whose: where, erased } of personal(scim)) {
          if (erased !== 'row') continue
          const gone = yield [
            `DELETE FROM ${table} WHERE ${where} RETURNING 1 AS one`,
            bound(where, whose),
          ]
          pushed ||= table === 'scim_resources' && gone.length > 0
        }
        if (sessionsUntil !== null)
          yield [sql.endSessionsOf, { person: whose['person'] ?? '', until: sessionsUntil }]
        if (name !== null) yield [sql.keepErasedName, checked({ hash: name, at })]
        tell('person_key', JSON.stringify([tenant, realm, id]))
        if (pushed) tell('scim', JSON.stringify([tenant, realm, id]))
      })
      await db.forget(JSON.stringify([tenant, realm, id]).slice(0, -1))
    },
    tenants: {
      people: async (tenant, after, most) => {
        const from = after ?? { realm: '', id: '' }
        const rows = await db.query([PAGE_OF_PEOPLE, checked({ tenant, ...from, most })])
        return rows.map((raw) => ({ tenant, realm: String(raw['realm']), id: String(raw['id']) }))
      },
      erase: (tenant) =>
        db.transact(function* (tell): Work<{ scim: number; agents: number }> {
          const whose = checked({ tenant })
          yield ['DELETE FROM scim_members WHERE tenant = :tenant', whose]
          const scim = yield [
            'DELETE FROM scim_resources WHERE tenant = :tenant RETURNING realm',
            whose,
          ]
          const agents = yield [
            'DELETE FROM disabled_agents WHERE tenant = :tenant RETURNING agent',
            whose,
          ]
          for (const realm of new Set(scim.map((raw) => String(raw['realm']))))
            tell('scim', JSON.stringify([tenant, realm, null]))
          for (const raw of agents)
            tell('agent', JSON.stringify({ agent: String(raw['agent']), tenant, off: false }))
          return { scim: scim.length, agents: agents.length }
        }),
    },
  }
}
