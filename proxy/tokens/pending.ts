// Keeps the tokens of a refresh until the store has them: a rotated token that is not stored yet
// may be the only one that works.
import type { Clock, Connection, Log, StoredCredential, TokenSet, Vault } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Secret } from '../secret.ts'
import type { OAuthClient } from '../oauth/client.ts'
import type { Spool } from './spool.ts'

type UnstoredDeps = {
  readonly vault: Pick<Vault, 'open' | 'lease' | 'rotate' | 'revive' | 'known'>
  /** Where an answer waits that outlives this process; null: in memory only. */
  readonly spool: Spool | null
  readonly client: Pick<OAuthClient, 'revoke'>
  readonly clock: Clock
  readonly log: Log
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}
type Leased = { readonly lease: string; readonly credential: StoredCredential }
type Entry = {
  /** null: configured no more. */
  readonly connection: Connection | null
  readonly tokens: TokenSet
  /** Served from memory meanwhile. */
  readonly credential: StoredCredential
  readonly lease: string
}

const LEASE_MS = 60_000
/** Well within a lease, because whoever takes the next lease would send the old refresh token. */
const LONGEST_MS = 5_000
/** What the database said, not what an agent would hear of it. */
const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return 'unknown'
  return error.cause instanceof Error ? error.cause.message : error.message
}
/** The connection, while it is at the provider that these tokens are of: no other one is shown them. */
const atProvider = (
  connection: Connection | null | undefined,
  provider: string | undefined,
): Connection | null =>
  connection == null || (provider !== undefined && connection.provider.id !== provider)
    ? null
    : connection
/** Nothing is left to store: the account is gone, or the grant ended. */
const over = (error: unknown): boolean =>
  error instanceof Problem && error.code === 'reauthorization_required'

export const createUnstored = ({ vault, spool, client, clock, log, sleep }: UnstoredDeps) => {
  const entries = new Map<string, Entry>()
  const commits = new Map<string, Promise<void>>()
  const hurry = new AbortController()

  /** The lease is not ours any more. The credential that counts, or the generation to take a new lease on. */
  const lost = async (entry: Entry, aged: TokenSet): Promise<StoredCredential | number> => {
    const { credential, connection, tokens } = entry
    const fields = { credential: credential.id, connection: credential.connection }
    const now = await vault.open(credential.id, { fresh: true })
    if (now === null) {
      if (!(await vault.known(credential.person)))
        throw new Error('the vault knows nothing of this person: was the database replaced?')
      // A revocation wins: the tokens that the provider just gave are given back.
      const revoked = connection === null ? 'failed' : await client.revoke(connection, tokens)
      log.warn({ ...fields, revoked }, 'revoked while it was being refreshed')
      throw new Problem('reauthorization_required', 'the account was disconnected meanwhile')
    }
    const before = credential.generation - 1
    // A lower one than that which we refreshed: the database was restored, and only we know the newer token.
    if (now.generation <= before && now.status === 'active') return now.generation
    // Given up by somebody who was refused with the older refresh token: ours may be the one that lives.
    if (
      now.generation === before &&
      (await vault.revive(credential.id, before, aged)) === 'stored'
    ) {
      log.warn(fields, 'a grant that was given up lives on: a newer token of it was stored')
      return credential
    }
    // Somebody refreshed with the older token, and who of us holds the one that lives is not known.
    await spool?.keep(entry, 'conflict')
    log.error(
      { ...fields, generation: now.generation },
      'two processes refreshed one grant: what came second is kept sealed in vault.spool, and tried if the first one dies',
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
    const other = await lost(entry, aged)
    if (typeof other !== 'number') return other
    const again = await vault.lease(credential.id, other, LEASE_MS)
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
        if (over(error)) break
        log.error(
          { credential: id, reason: reasonOf(error) },
          'a refreshed token is still not stored',
        )
      }
    }
    await spool
      ?.drop(id)
      .catch((error: unknown) =>
        log.error({ credential: id, reason: reasonOf(error) }, 'the spool keeps what is stored'),
      )
    entries.delete(id)
    commits.delete(id)
  }

  /** Serves it from memory, and from now on tries to store it. */
  const keep = (entry: Entry): void => {
    const { id } = entry.credential
    entries.set(id, entry)
    commits.set(id, keepTrying(id, entry))
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
        if (over(error)) throw error
        log.error(
          { credential: old.id, reason: reasonOf(error) },
          'a refreshed token could not be stored',
        )
      }
      await spool
        ?.keep(entry)
        .catch((error: unknown) =>
          log.error(
            { credential: old.id, reason: reasonOf(error) },
            'a refreshed token is in memory only: neither the vault nor vault.spool can be written',
          ),
        )
      keep(entry)
      return credential
    },

    /** A refresh token that lost a race, kept for the day when the other one is refused; null: none. */
    rival: async (id: string): Promise<Secret | null> => {
      try {
        return (await spool?.conflict(id))?.tokens.refresh ?? null
      } catch (error) {
        // Its key may come back, so the file stays. The grant ends as it would without the file.
        log.error(
          { credential: id, reason: reasonOf(error) },
          'a token kept from a conflict does not open',
        )
        return null
      }
    },
    forgetRival: async (id: string): Promise<void> => spool?.drop(id, 'conflict'),
    /** The grant was revoked: what was kept of it is given back too. */
    discard: async (id: string, connection: Connection | null): Promise<void> => {
      const kept = (await spool?.conflict(id)) ?? null
      if (kept === null) return
      const owner = atProvider(connection, kept.credential.provider)
      const revoked = owner === null ? 'failed' : await client.revoke(owner, kept.tokens)
      await spool?.drop(id, 'conflict')
      log.warn({ credential: id, revoked }, 'a token kept from a conflict was given back')
    },

    /** Takes over what an earlier process could not store, before anything of it is refreshed. */
    resume: async (connections: ReadonlyMap<string, Connection>): Promise<void> => {
      for (const { lease, tokens, credential } of (await spool?.left()) ?? []) {
        const { id, storedAt } = credential
        // Whatever the answer did not change comes from the row. If the row is gone, the tokens are
        // given back.
        const row = await vault.open(id, { fresh: true }).catch((error: unknown) => {
          log.error(
            { credential: id, reason: reasonOf(error) },
            'the vault does not open a credential',
          )
          return null
        })
        const { expiresIn } = tokens
        keep({
          connection: atProvider(
            connections.get(credential.connection),
            credential.provider ?? row?.provider,
          ),
          lease,
          tokens,
          credential: {
            account: row?.account ?? '',
            host: row?.host ?? null,
            ...credential,
            status: 'active',
            scopes: tokens.scopes ?? row?.scopes ?? [],
            access: tokens.access,
            refresh: tokens.refresh ?? row?.refresh ?? null,
            expiresAt: expiresIn === null ? null : storedAt + expiresIn * 1000,
          },
        })
        log.warn({ credential: id }, 'a refreshed token of an earlier process is being stored')
      }
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
          spool === null
            ? `${entries.size} refreshed tokens could not be stored and are lost when this process ends`
            : `${entries.size} refreshed tokens could not be stored: keep vault.spool, the next start stores what is in it`,
        )
    },
  }
}
