// Leases on refreshes: at most one holder at a time, written before the request leaves, and checked
// again when the answer is stored. A holder renews its lease every few seconds, so that a dead one
// keeps nobody waiting.
import type {
  Clock,
  CredentialRow,
  Person,
  Store,
  StoredCredential,
  TokenSet,
  Vault,
} from '../model.ts'
import type { Bound, Sealer } from './seal.ts'

type LeaseDeps = {
  readonly store: Pick<Store, 'credentials'>
  readonly sealer: Pick<Sealer, 'seal'>
  readonly clock: Clock
  readonly randomId: () => string
  readonly openRow: (row: CredentialRow) => Promise<StoredCredential>
}

export const ownerOf = (row: CredentialRow): Person => ({
  tenant: row.tenant,
  realm: row.realm,
  id: row.user,
})

/**
 * What a sealed credential belongs to: copied to any other place or generation it does not open.
 */
export const boundOf = (row: Omit<CredentialRow, 'sealed'>): Bound => ({
  purpose: 'credential',
  tenant: row.tenant,
  realm: row.realm,
  id: row.user,
  connection: row.connection,
  slot: row.slot,
  generation: row.generation,
  credential: row.id,
  account: row.accountId,
  ...(row.host ? { host: row.host } : {}),
})

/**
 * The columns that a token answer decides; the scopes that it leaves out stay as they were (RFC
 * 6749 6).
 */
export const answered = (tokens: TokenSet, scopes: readonly string[], now: number) => ({
  scopes: tokens.scopes ?? scopes,
  expiresAt: tokens.expiresIn === null ? null : now + tokens.expiresIn * 1000,
  storedAt: now,
  ...(tokens.clientId === undefined ? {} : { clientId: tokens.clientId }),
})

/** How often a lease is renewed, and how long it lasts without: three beats and a little. */
const BEAT_MS = 3_000
const SILENT_MS = 10_000

/**
 * Renews what is held until it is given back or its time is over. Ends with the process, and keeps
 * none alive.
 */
const createHeart = (store: LeaseDeps['store'], clock: Clock) => {
  const held = new Map<string, { readonly id: string; readonly end: number; at: number }>()
  let timer: NodeJS.Timeout | null = null
  const beat = async (): Promise<void> => {
    const at = clock.mono()
    for (const [lease, { end }] of held) if (end <= at) held.delete(lease)
    if (held.size === 0) return stop()
    // In one order everywhere: two replicas never wait for each other's rows.
    const leases = [...held].map(([lease, { id }]) => ({ id, lease }))
    leases.sort((a, b) => (a.id < b.id ? -1 : 1))
    const ours = new Set(await store.credentials.beat(leases, clock.now(), SILENT_MS))
    for (const { lease } of leases) {
      const one = held.get(lease)
      if (one !== undefined && ours.has(lease)) one.at = at
      else held.delete(lease)
    }
  }
  const stop = (): void => {
    if (timer !== null) clearInterval(timer)
    timer = null
  }
  return {
    /** @param at `clock.mono()` before the lease was asked for */
    begin: (id: string, lease: string, at: number, ms: number): void => {
      held.set(lease, { id, end: at + ms, at })
      // A store that fails is asked again at the next beat; whoever holds a lease sees its age.
      timer ??= setInterval(() => void beat().catch(() => {}), BEAT_MS).unref()
    },
    fresh: (lease: string): boolean =>
      clock.mono() - (held.get(lease)?.at ?? -Infinity) < SILENT_MS,
    end: (lease: string): void => void held.delete(lease),
  }
}

/**
 * The part of the vault that `tokens/refresh` works with; errors of the store pass through as they
 * are.
 */
export const createLeases = ({
  store,
  sealer,
  clock,
  randomId,
  openRow,
}: LeaseDeps): Pick<Vault, 'lease' | 'rotate' | 'revive' | 'release' | 'doubt' | 'renewed'> => {
  /** The row as it will be, sealed for it. */
  const nextOf = async (row: CredentialRow, tokens: TokenSet) => {
    const after = {
      ...row,
      ...answered(tokens, row.scopes, clock.now()),
      generation: row.generation + 1,
    }
    const refresh = tokens.refresh ?? (await openRow(row)).refresh
    const sealed = await sealer.seal({ access: tokens.access, refresh }, boundOf(after))
    const { generation, scopes, expiresAt, storedAt, clientId = null } = after
    return { sealed, generation, scopes, expiresAt, storedAt, clientId }
  }

  const heart = createHeart(store, clock)

  return {
    lease: async (id, generation, ms, harmless = false) => {
      const now = clock.now()
      const began = clock.mono()
      const silent = Math.min(ms, SILENT_MS)
      const row = await store.credentials.byId(id)
      if (row === null || row.status !== 'active') return { kind: 'gone' }
      if (row.generation !== generation) return { kind: 'moved' }
      if (row.coolUntil !== null && row.coolUntil > now)
        return {
          kind: 'cooling',
          until: row.coolUntil,
          error: row.coolError ?? 'unknown',
          doubtful: row.doubtfulSince != null,
        }
      // Opened before the lease: a row that does not open must not look like a refresh that was cut
      // off.
      const credential = await openRow(row)
      const lease = randomId()
      const leased = await store.credentials.lease(id, generation, lease, {
        now,
        until: now + silent,
        patience: harmless ? 0 : ms - silent,
      })
      if (leased !== null) {
        heart.begin(id, lease, began, ms)
        return {
          kind: 'leased',
          lease,
          held: () => heart.fresh(lease),
          credential,
          unknownBefore: leased.unknownSince !== null,
          refused:
            leased.refusedSince == null
              ? null
              : { since: leased.refusedSince, times: leased.refusedTimes ?? 1 },
        }
      }
      const after = await store.credentials.byId(id)
      if (after === null || after.status !== 'active') return { kind: 'gone' }
      return after.generation === generation
        ? { kind: 'busy', until: after.leaseUntil ?? now }
        : { kind: 'moved' }
    },

    rotate: async (id, lease, tokens) => {
      const row = await store.credentials.byId(id)
      const stored =
        row?.lease === lease &&
        (await store.credentials.rotate(id, lease, await nextOf(row, tokens)))
      heart.end(lease)
      return stored ? 'stored' : 'lost'
    },

    revive: async (id, generation, tokens) => {
      const row = await store.credentials.byId(id)
      if (row === null || row.status === 'active' || row.generation !== generation) return 'lost'
      return (await store.credentials.revive(id, await nextOf(row, tokens))) ? 'stored' : 'lost'
    },

    release: async (id, lease, { kind, error, coolDownMs, refused }) => {
      const row = await store.credentials.byId(id)
      if (row === null) return heart.end(lease)
      const dead = kind === 'dead'
      await store.credentials.release(id, lease, {
        status: dead ? 'needs_reauth' : row.status,
        unknownSince: dead
          ? null
          : kind === 'unknown'
            ? (row.unknownSince ?? clock.now())
            : row.unknownSince,
        coolUntil: dead || coolDownMs === 0 ? null : clock.now() + coolDownMs,
        coolError: error,
        refusedSince: dead ? null : (refused?.since ?? row.refusedSince ?? null),
        refusedTimes: dead ? null : (refused?.times ?? row.refusedTimes ?? null),
        doubtfulSince: dead
          ? null
          : (row.doubtfulSince ?? (refused?.doubtful === true ? clock.now() : null)),
      })
      heart.end(lease)
    },

    doubt: async (id, generation, status, error) =>
      void (await store.credentials.doubt(id, generation, { status, error, now: clock.now() })),
    renewed: (connection, besides, ms) =>
      store.credentials.renewed(connection, besides, ms, clock.now()),
  }
}
