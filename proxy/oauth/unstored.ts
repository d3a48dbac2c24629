// Between the provider's answer and the store: a rotated token that is not stored yet may be the only one that lives.
import type { Clock, Connection, Log, StoredCredential, TokenSet, Vault } from '../model.ts'
import { Problem } from '../problem.ts'
import type { OAuthClient } from './client.ts'

type UnstoredDeps = {
  readonly vault: Pick<Vault, 'open' | 'lease' | 'rotate'>
  readonly client: Pick<OAuthClient, 'revoke'>
  readonly clock: Clock
  readonly log: Log
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}
type Leased = { readonly lease: string; readonly credential: StoredCredential }
type Entry = {
  readonly connection: Connection
  readonly tokens: TokenSet
  /** Served from memory meanwhile. */
  readonly credential: StoredCredential
  readonly lease: string
}

const LEASE_MS = 60_000
const LONGEST_MS = 30_000

export const createUnstored = ({ vault, client, clock, log, sleep }: UnstoredDeps) => {
  const entries = new Map<string, Entry>()
  const commits = new Map<string, Promise<void>>()
  const hurry = new AbortController()

  /** The lease is not ours any more. The newer credential, or null: try again under a new lease. */
  const lost = async ({
    credential,
    connection,
    tokens,
  }: Entry): Promise<StoredCredential | null> => {
    const fields = { credential: credential.id, connection: connection.name }
    const now = await vault.open(credential.id, { fresh: true })
    if (now === null) {
      // The kill switch wins: what the provider just gave is given back.
      const revoked = await client.revoke(connection, tokens)
      log.warn({ ...fields, revoked }, 'revoked while it was being refreshed')
      throw new Problem('reauthorization_required', 'the account was disconnected meanwhile')
    }
    if (now.generation < credential.generation && now.status === 'active') return null
    log.warn(
      { ...fields, generation: now.generation },
      'a refreshed token was superseded and dropped',
    )
    if (now.status === 'active') return now
    throw new Problem('reauthorization_required', 'the provider withdrew the grant')
  }

  /** Stores an entry, or says what is there instead. Throws what the store throws. */
  const commit = async (entry: Entry): Promise<StoredCredential | null> => {
    const { credential, tokens } = entry
    const passed = Math.ceil((clock.now() - credential.storedAt) / 1000)
    const expiresIn = tokens.expiresIn === null ? null : Math.max(1, tokens.expiresIn - passed)
    const aged = { ...tokens, expiresIn }
    if ((await vault.rotate(credential.id, entry.lease, aged)) === 'stored') return credential
    const other = await lost(entry)
    if (other !== null) return other
    const again = await vault.lease(credential.id, credential.generation - 1, LEASE_MS)
    if (again.kind !== 'leased') return null
    return (await vault.rotate(credential.id, again.lease, aged)) === 'stored' ? credential : null
  }

  const keepTrying = async (id: string, entry: Entry): Promise<void> => {
    for (let ms = 200; ; ms = Math.min(ms * 2, LONGEST_MS)) {
      await sleep(
        hurry.signal.aborted ? 200 : ms,
        hurry.signal.aborted ? undefined : hurry.signal,
      ).catch(() => {}) // woken by drain
      try {
        if ((await commit(entry)) !== null) break
      } catch (error) {
        if (error instanceof Problem && error.code === 'reauthorization_required') break
        log.error(
          { credential: id, reason: error instanceof Error ? error.message : 'unknown' },
          'a refreshed token is still not stored',
        )
      }
    }
    entries.delete(id)
    commits.delete(id)
  }

  return {
    /** What is served while it is not stored; null: nothing. */
    get: (id: string): StoredCredential | null => entries.get(id)?.credential ?? null,

    /** Stores the answer of a refresh. A store that fails costs nothing but durability: it is tried until it works. */
    store: async (
      connection: Connection,
      { lease, credential: old }: Leased,
      tokens: TokenSet,
    ): Promise<StoredCredential> => {
      const now = clock.now()
      const credential = {
        ...old,
        generation: old.generation + 1,
        scopes: tokens.scopes ?? old.scopes,
        access: tokens.access,
        refresh: tokens.refresh ?? old.refresh,
        expiresAt: tokens.expiresIn === null ? null : now + tokens.expiresIn * 1000,
        storedAt: now,
      }
      const entry = { connection, tokens, credential, lease }
      try {
        const stored = await commit(entry)
        if (stored !== null) return stored
      } catch (error) {
        if (error instanceof Problem && error.code === 'reauthorization_required') throw error
        log.error(
          { credential: old.id, reason: error instanceof Error ? error.message : 'unknown' },
          'a refreshed token could not be stored',
        )
      }
      entries.set(old.id, entry)
      commits.set(old.id, keepTrying(old.id, entry))
      return credential
    },

    drain: async (ms: number): Promise<void> => {
      if (commits.size === 0) return
      hurry.abort()
      const done = new AbortController()
      const late = sleep(ms, done.signal).catch(() => {}) // ended below
      await Promise.race([Promise.all(commits.values()), late])
      done.abort()
      if (entries.size > 0)
        throw new Error(
          `${entries.size} refreshed tokens could not be stored and are lost when this process ends`,
        )
    },
  }
}
