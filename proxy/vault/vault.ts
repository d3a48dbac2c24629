// Connections and grants, as the rest of deputy sees them. A token is opened once per generation
// and stays a Secret.
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type {
  ChangedKey,
  Clock,
  CredentialRow,
  HeldConnection,
  Holding,
  Person,
  Store,
  StoredCredential,
  Vault,
} from '../model.ts'
import { AccountMismatch, Problem } from '../problem.ts'
import { answered, boundOf, createLeases, ownerOf } from './leases.ts'
import type { Sealer } from './seal.ts'
import { createGuarded } from './guarded.ts'

type VaultDeps = {
  readonly store: Pick<Store, 'credentials' | 'grants' | 'epochs' | 'check' | 'subscribe'>
  readonly sealer: Pick<Sealer, 'seal' | 'open'>
  readonly clock: Clock
  readonly randomId: () => string
  /** The provider that a connection is at now; null: it is not configured. What is of another one is nobody's holding. */
  readonly providerOf?: (connection: string) => string | null
  /** After a revocation, in whichever process: calls in flight are aborted here. May come twice. */
  readonly onRevoked?: (revoked: {
    /** null: only this agent's grant ended. */
    readonly credential: string | null
    readonly person: Person
    readonly agent?: string
    readonly connection: string
  }) => void
}

/** What is stored for one person at one connection; a holding is that, seen by one agent. */
type Place = {
  readonly row: CredentialRow | null
  readonly granted: ReadonlyMap<string, readonly string[]>
  /**
   * What each agent was told: one object as long as nothing changes, so that others may remember by
   * it.
   */
  readonly holdings: Map<string, Holding>
}
type Secrets = Pick<StoredCredential, 'access' | 'refresh'>

const SLOT = 'default'
/** Connections are counted so far behind the page that is asked for. */
const MOST_COUNTED = 10_000
/** What a refresh ended with, where the provider wants more than a new consent (tokens/refresh). */
const NEEDS: ReadonlyMap<string, 'admin' | 'sign_in'> = new Map([
  ['admin_required', 'admin'],
  ['sign_in_required', 'sign_in'],
])
const NOTHING: Holding = { kind: 'none' }
/**
 * One read for all who want the same at once: after a consent or a refresh a thousand calls do.
 * Whoever comes after a change reads anew.
 */
const createReads = <T>(changes: () => number) => {
  const running = new Map<string, { readonly at: number; readonly work: Promise<T> }>()
  return (key: string, read: () => Promise<T>): Promise<T> => {
    const known = running.get(key)
    if (known?.at === changes()) return known.work
    const work = read().finally(() => {
      if (running.get(key)?.work === work) running.delete(key)
    })
    running.set(key, { at: changes(), work })
    return work
  }
}

const placeKey = ({ tenant, realm, id }: Person, connection: string): string =>
  JSON.stringify([tenant, realm, id, connection])

/**
 * A grant that the provider refuses to renew is the person's to renew, though nothing of it is
 * given up.
 */
const statusOf = ({ status, doubtfulSince }: CredentialRow): CredentialRow['status'] =>
  doubtfulSince == null ? status : 'needs_reauth'
const holdingOf = ({ row, granted, holdings }: Place, agent: string): Holding => {
  if (row === null) return NOTHING
  const known = holdings.get(agent)
  if (known !== undefined) return known
  const { id, account, generation, scopes, coolError, coolUntil } = row
  const status = statusOf(row)
  const needs = status === 'needs_reauth' ? NEEDS.get(coolError ?? '') : undefined
  const holding: Holding = {
    kind: 'held',
    credential: id,
    status,
    account,
    generation,
    scopes,
    granted: granted.get(agent) ?? null,
    ...(needs === undefined ? {} : { needs }),
    ...(status === row.status ? {} : { retryAt: coolUntil ?? 0 }),
  }
  // Agents choose their own names, so what is remembered for one place must be bounded.
  if (holdings.size < 100) holdings.set(agent, holding)
  return holding
}

/**
 * Everything here rejects with Problem vault_unavailable when the store fails or a row does not
 * open.
 */
export const createVault = (deps: VaultDeps): Vault => {
  const { store, sealer, clock, randomId, onRevoked, providerOf = () => null } = deps
  const places = new LRUCache<string, Place>(room(50_000))
  const credentials = new LRUCache<string, StoredCredential>(room(20_000))
  const opening = new Map<string, Promise<Secrets>>()
  // What was read before a change must not be remembered after it.
  let changes = 0
  const placeReads = createReads<Place>(() => changes)
  const openReads = createReads<StoredCredential | null>(() => changes)

  // The store tells of every change with the change, ours too: what is remembered of it goes.
  store.subscribe('credential', (key) => {
    changes += 1
    if (key === '*') {
      places.clear()
      credentials.clear()
      return
    }
    const [tenant, realm, id, connection, credential] = JSON.parse(key) as ChangedKey
    places.delete(placeKey({ tenant, realm, id }, connection))
    if (credential !== null) credentials.delete(credential)
  })
  store.subscribe('revoked', (key) => {
    if (key === '*') return
    const [tenant, realm, id, connection, credential, agent] = JSON.parse(key) as ChangedKey
    if (credential === null && agent === undefined) return
    onRevoked?.({
      credential,
      person: { tenant, realm, id },
      connection,
      ...(agent === undefined ? {} : { agent }),
    })
  })
  /** Made once for each person that callers hold. */
  const keys = new WeakMap<Person, Map<string, string>>()
  const keyOf = (person: Person, connection: string): string => {
    let own = keys.get(person)
    if (own === undefined) keys.set(person, (own = new Map()))
    let key = own.get(connection)
    if (key === undefined) own.set(connection, (key = placeKey(person, connection)))
    return key
  }
  const guarded = createGuarded(
    'the vault cannot be read or written now',
    (error) => error instanceof AccountMismatch,
  )

  const place = async (person: Person, connection: string): Promise<Place> => {
    const key = placeKey(person, connection)
    const known = places.get(key)
    return known ?? placeReads(key, () => readPlace(person, connection, key))
  }
  const readPlace = async (person: Person, connection: string, key: string): Promise<Place> => {
    const seen = changes
    const [rows, grants] = await Promise.all([
      store.credentials.find(person, connection),
      store.grants.list(person),
    ])
    const ours = grants.filter((grant) => grant.connection === connection)
    const found = {
      row: rows[0] ?? null,
      granted: new Map(ours.map(({ agent, scopes }) => [agent, scopes])),
      holdings: new Map<string, Holding>(),
    }
    if (seen === changes) places.set(key, found)
    return found
  }

  const unseal = (row: CredentialRow): Promise<Secrets> => {
    const key = JSON.stringify([row.id, row.generation])
    const running = opening.get(key)
    if (running !== undefined) return running
    const started = sealer
      .open(row.sealed, boundOf(row))
      .then((secrets) => {
        const access = secrets.get('access')
        if (access === undefined) throw new Error('a sealed credential holds no access token')
        return { access, refresh: secrets.get('refresh') ?? null }
      })
      .finally(() => opening.delete(key))
    opening.set(key, started)
    return started
  }
  const openRow = async (row: CredentialRow): Promise<StoredCredential> => {
    const known = credentials.get(row.id)
    const { access, refresh } = known?.generation === row.generation ? known : await unseal(row)
    const { id, connection, account, status, generation, scopes, expiresAt, storedAt } = row
    return {
      id,
      person: ownerOf(row),
      connection,
      account,
      status,
      generation,
      scopes,
      access,
      refresh,
      expiresAt,
      storedAt,
      host: row.host ?? null,
      clientId: row.clientId ?? null,
      provider: row.provider,
      doubtful: row.doubtfulSince != null,
    }
  }

  const open = async (id: string): Promise<StoredCredential | null> => {
    const seen = changes
    const row = await store.credentials.byId(id)
    if (row === null) {
      credentials.delete(id)
      return null
    }
    const remembered = places.peek(placeKey(ownerOf(row), row.connection))?.row
    const credential = await openRow(row)
    if (seen !== changes) return credential
    credentials.set(id, credential)
    // Another process moved it: what is remembered of this place is old.
    if (
      remembered &&
      (remembered.generation !== row.generation || statusOf(remembered) !== statusOf(row))
    )
      places.delete(placeKey(credential.person, row.connection))
    return credential
  }

  /** People consented to a provider: under its name in the configuration another one has nothing of theirs. */
  const holdingAt = (at: Place, agent: string): Holding => {
    const provider = at.row === null ? null : providerOf(at.row.connection)
    return provider === null || provider === at.row?.provider ? holdingOf(at, agent) : NOTHING
  }

  /** With what their people allow agents. */
  const heldOf = async (rows: readonly CredentialRow[]): Promise<readonly HeldConnection[]> => {
    const held: HeldConnection[] = []
    for (const row of rows) {
      const person = ownerOf(row)
      const agents = (await store.grants.list(person))
        .filter((grant) => grant.connection === row.connection)
        .map(({ agent, scopes, at, lastUsedAt = null }) => ({ agent, scopes, at, lastUsedAt }))
      const { id: credential, connection, provider, account, scopes, storedAt } = row
      const status = statusOf(row)
      held.push({
        credential,
        person,
        connection,
        provider,
        account,
        status,
        scopes,
        agents,
        storedAt,
      })
    }
    return held
  }

  const leases = createLeases({ store, sealer, clock, randomId, openRow })

  const connect: Vault['connect'] = async ({
    person,
    agent,
    connection,
    provider,
    account,
    tokens,
    scopes,
    replace = false,
  }) => {
    const owner = { tenant: person.tenant, realm: person.realm, user: person.id, connection }
    for (let tries = 0; tries < 5; tries += 1) {
      const old = (await store.credentials.find(person, connection)).find(
        ({ slot }) => slot === SLOT,
      )
      // An account of another provider is another account, and nobody can use it here any more.
      const here = old?.provider === provider
      const same = here && old.accountId === account.id ? old : undefined
      if (here && same === undefined && !replace) throw new AccountMismatch()
      const row = {
        ...owner,
        ...answered(tokens, scopes, clock.now()),
        id: same?.id ?? randomId(),
        provider,
        slot: SLOT,
        accountId: account.id,
        account: account.label,
        host: tokens.host ?? null,
        clientId: tokens.clientId ?? null,
        refusedSince: null,
        refusedTimes: null,
        doubtfulSince: null,
        status: 'active' as const,
        generation: (same?.generation ?? 0) + 1,
        lease: null,
        leaseUntil: null,
        unknownSince: null,
        coolUntil: null,
        coolError: null,
      }
      const sealed = await sealer.seal(
        { access: tokens.access, refresh: tokens.refresh },
        boundOf(row),
      )
      const grant = { ...owner, agent, scopes, at: clock.now() }
      const stored = await store.credentials.put({ ...row, sealed }, grant, !replace)
      if (stored) return row.id
    }
    throw new Error('a credential changed five times while it was being replaced')
  }

  return {
    look: (person, connection, agent) => {
      const known = places.get(keyOf(person, connection))
      return known === undefined
        ? guarded(async () => holdingAt(await place(person, connection), agent))
        : holdingAt(known, agent)
    },

    opened: (id) => credentials.get(id) ?? null,

    open: async (id, options) => {
      if (options?.fresh === true) return guarded(() => open(id))
      return credentials.get(id) ?? guarded(() => openReads(id, () => open(id)))
    },

    connect: (earned) => guarded(() => connect(earned)),

    grant: (person, agent, connection, scopes) =>
      guarded(async () => {
        if ((await store.credentials.find(person, connection)).length === 0)
          throw new Problem('consent_required', 'the account is no longer connected')
        const { tenant, realm, id } = person
        await store.grants.put({
          tenant,
          realm,
          user: id,
          agent,
          connection,
          scopes,
          at: clock.now(),
        })
      }),

    disallow: (person, agent, connection) =>
      guarded(() => store.grants.remove(person, agent, connection)),

    lease: (id, generation, ms, harmless) =>
      guarded(() => leases.lease(id, generation, ms, harmless)),
    rotate: (id, lease, tokens) => guarded(() => leases.rotate(id, lease, tokens)),
    revive: (id, generation, tokens) => guarded(() => leases.revive(id, generation, tokens)),
    release: (id, lease, outcome) => guarded(() => leases.release(id, lease, outcome)),
    doubt: (id, generation, status, error) =>
      guarded(() => leases.doubt(id, generation, status, error)),
    renewed: (connection, besides, ms) => guarded(() => leases.renewed(connection, besides, ms)),
    clients: () => guarded(() => store.credentials.clients()),

    list: ({ tenant, realm, id, connection }) =>
      guarded(async () => {
        const rows = await store.credentials.list({
          ...(tenant === undefined ? {} : { tenant }),
          ...(realm === undefined ? {} : { realm }),
          ...(id === undefined ? {} : { user: id }),
          ...(connection === undefined ? {} : { connection }),
        })
        return heldOf(rows)
      }),

    page: (of) =>
      guarded(async () => {
        const { rows, total } = await store.credentials.page({ ...of, count: MOST_COUNTED })
        return { held: await heldOf(rows), total }
      }),

    locate: (id) =>
      guarded(async () => {
        const row = await store.credentials.byId(id)
        return row === null ? null : { person: ownerOf(row), connection: row.connection }
      }),

    known: (person) =>
      guarded(async () => {
        const { tenant, realm, id: user } = person
        const rows = store.credentials.list({ tenant, realm, user })
        return (await store.epochs.read(person)) > 0 || (await rows).length > 0
      }),

    revoke: (id) =>
      guarded(async () => {
        const row = await store.credentials.remove(id)
        return row === null ? null : openRow(row) // gone here even if it does not open
      }),

    check: () => guarded(() => store.check()),
  }
}
