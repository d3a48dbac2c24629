// Credentials, and the agents' grants on them.
import type { CredentialRow, HeldRow, IdleRow, Person, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Params, Raw, Work } from './database.ts'
import { pseudonym } from './pseudonym.ts'
import {
  changed,
  checked,
  credentialOf,
  ended,
  filter,
  first,
  grantOf,
  ownerOf,
  personOf,
  toRaw,
} from './rows.ts'
import { NEVER } from './statements.ts'

/** Behind every name that a person, a realm or a tenant may have. */
const LAST = '\u{10ffff}'.repeat(65)
const heldOf = (raw: Raw): HeldRow => raw as HeldRow
const from = (tenant: string | null, after: Person | null): Params =>
  personOf(after ?? { tenant: tenant ?? '', realm: '', id: '' })

export const createCredentials = (
  db: Database,
  { sql, at, rows, row, hit, pseudonymKey }: Asking,
): Store['credentials'] => ({
  byId: (id) => row(sql.byId, { id }, credentialOf),
  find: async (person, connection) =>
    rows(sql.find, { ...personOf(person), connection }, credentialOf),
  list: ({ tenant = null, realm = null, user = null, connection = null }) => {
    const of = filter({ tenant, realm, user, connection })
    return rows(sql.list(of), of, credentialOf)
  },
  page: async ({ tenants, realm, user, at: wanted, skip, most, count }) => {
    if (tenants?.length === 0) return { rows: [], total: 0 }
    const of = filter({ realm, user })
    const places = (tenants ?? []).map((tenant, i) => [`tenant${i}`, tenant] as const)
    const also = [
      ...(tenants === null ? [] : [`tenant IN (${places.map(([name]) => `:${name}`).join(', ')})`]),
      ...(wanted === null ? [] : ['(connection = :wanted OR provider = :wanted)']),
    ]
    const params = { ...of, ...Object.fromEntries(places), ...filter({ wanted }) }
    const clause = also.map((one) => ` AND ${one}`).join('')
    const found = await rows(sql.page(of, clause), { ...params, skip, most }, credentialOf)
    const counted = await db.query([
      sql.counted(of, clause),
      checked({ ...params, most: skip + most + count }),
    ])
    return { rows: found, total: Number(counted[0]?.['n']) }
  },
  owners: (after, most) => {
    const { tenant, realm, id } = after ?? { tenant: '', realm: '', id: '' }
    return rows(sql.owners, { tenant, realm, id, most }, (raw) => ({ ...raw }) as Person)
  },
  people: ({ tenant, after, most }) =>
    rows(tenant === null ? sql.people : sql.peopleOf, { ...from(tenant, after), most }, heldOf),
  peopleNamed: ({ tenant, after, most, part, until }) => {
    const last = personOf(until ?? { tenant: LAST, realm: LAST, id: LAST })
    const to = { lastTenant: last['tenant'], lastRealm: last['realm'], lastUser: last['user'] }
    const params = { ...from(tenant, after), ...to, part, most } as Params
    return rows(tenant === null ? sql.peopleNamed : sql.peopleNamedOf, params, heldOf)
  },
  personAhead: (tenant, after, skip) =>
    row(
      tenant === null ? sql.personAhead : sql.personAheadOf,
      { ...from(tenant, after), skip },
      (raw) => raw as Person,
    ),
  put: (next, grant, keepOther = false) =>
    db.transact(function* (tell): Work<boolean> {
      const place = { ...ownerOf(next), connection: next.connection }
      yield* db.serialise(changed({ ...next, id: next.slot }))
      const old = first(yield [sql.same, { ...place, slot: next.slot }], credentialOf)
      if (old?.id === next.id && old.generation >= next.generation) return false
      const moved = old !== null && old.provider !== next.provider
      const other = moved || (old !== null && old.accountId !== next.accountId)
      if (other && !moved && keepOther) return false
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
        if ((yield [sql.beat, { id, lease, holder, ms, ...at(now) }]).length > 0) ours.push(lease)
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
      // All statements take rows in one order, so that two replicas never wait for each other.
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
})

const nameOf = (raw: Raw): string => String(raw['name'])

export const createGrants = (db: Database, { sql, rows, row }: Asking): Store['grants'] => ({
  find: async (person, agent, connection) =>
    row(sql.grant, { ...personOf(person), agent, connection }, grantOf),
  list: async (person) => rows(sql.grants, personOf(person), grantOf),
  to: async (agent, tenant) => rows(sql.grantsTo, checked({ agent, tenant }), grantOf),
  agents: ({ tenant, after, most }) =>
    tenant === null
      ? rows(sql.agentNames, { after, most }, nameOf)
      : rows(sql.agentNamesOf, { tenant, after, most }, nameOf),
  reach: async (agent, tenant, most) => {
    const whose = tenant === null ? { agent } : { agent, tenant }
    const all = tenant === null
    const counted = await db.query([all ? sql.allowing : sql.allowingOf, { ...whose, most }])
    const connections = await rows(all ? sql.touched : sql.touchedOf, whose, nameOf)
    return { people: Number(counted[0]?.['n']), connections }
  },
  page: ({ agent, tenant, after, most }) => {
    const from = after ?? { tenant: tenant ?? '', realm: '', user: '', connection: '' }
    const { realm, user, connection } = from
    const beyond = { agent, tenant: from.tenant, realm, user, connection, most }
    return rows(tenant === null ? sql.grantsPage : sql.grantsPageOf, beyond, grantOf)
  },
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
})
