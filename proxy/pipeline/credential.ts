// Whose token? The person's own, fresh; never anybody else's.
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import { follow } from '../follow.ts'
import type { Connection, Holding, Injected, StoredCredential, Vault } from '../model.ts'
import type { OAuthClient } from '../oauth/client.ts'
import { Problem } from '../problem.ts'

type Fresh = (
  credential: string,
  connection: Connection,
  want?: { readonly minGeneration?: number; readonly agent?: string },
) => Promise<{ readonly credential: StoredCredential; readonly refreshed: boolean }>

export type Credentials = {
  /** @throws Problem reauthorization_required, credential_unavailable, refresh_in_progress, vault_unavailable */
  readonly take: (
    holding: Holding,
    connection: Connection,
    host: string,
    agent: string,
  ) => Injected | Promise<Injected>
  /** After a 401: a newer generation, or null where none can be had. */
  readonly again: (
    used: Injected,
    connection: Connection,
    said: 'status' | 'body',
    agent: string,
  ) => Promise<Injected | null>
}

/** A 401 for a token that its provider knows is no reason to ask again for this long, ms. */
const CHECKED_MS = 300_000

const injected = (credential: StoredCredential, refreshed: boolean): Injected => ({
  token: credential.access,
  credential: credential.id,
  generation: credential.generation,
  account: credential.account,
  scopes: credential.scopes,
  refreshed,
  host: credential.host ?? null,
})

/** Where each person has a host of their own, the token goes to that one and to no other: the host decided whose data it is. */
const pinned = (taken: Injected, { provider }: Connection, host: string): Injected => {
  if (!provider.hostFromToken || taken.host === host) return taken
  throw new Problem(
    'route_not_found',
    `the connected ${provider.name} account is not served at ${host}${taken.host ? ` but at ${taken.host}` : ''}`,
  )
}

export const createCredentials = (deps: {
  readonly vault: Vault
  readonly fresh: Fresh
  /** Does the provider still know the token? */
  readonly alive: OAuthClient['alive']
  /** A token that is remembered and good for a while. */
  readonly atHand: (credential: string) => StoredCredential | null
  readonly now: () => number
  readonly outcome: (
    provider: string,
    outcome: 'cached' | 'refreshed' | 'reconnect' | 'error',
  ) => void
}): Credentials => {
  const remembered = new WeakMap<StoredCredential, Injected>()
  const cached = (credential: StoredCredential, { provider }: Connection): Injected => {
    deps.outcome(provider.id, 'cached')
    let known = remembered.get(credential)
    if (known === undefined) remembered.set(credential, (known = injected(credential, false)))
    return known
  }
  const ask = async (
    id: string,
    connection: Connection,
    want: { readonly minGeneration?: number; readonly agent: string },
  ): Promise<Injected> => {
    try {
      const { credential, refreshed } = await deps.fresh(id, connection, want)
      if (!refreshed) return cached(credential, connection)
      deps.outcome(connection.provider.id, 'refreshed')
      return injected(credential, true)
    } catch (error) {
      deps.outcome(
        connection.provider.id,
        error instanceof Problem && error.code === 'reauthorization_required'
          ? 'reconnect'
          : 'error',
      )
      throw error
    }
  }
  /** What the provider said of tokens that no refresh can replace: asked once for many calls. */
  const checked = new LRUCache<string, Promise<'alive' | 'dead' | 'unknown'>>({
    ...room(10_000),
    ttl: CHECKED_MS,
    perf: { now: deps.now },
  })
  const withdrawn = async (
    { id, generation, access }: StoredCredential,
    connection: Connection,
    said: 'status' | 'body',
  ): Promise<boolean> => {
    const key = JSON.stringify([id, generation])
    const asked = checked.get(key) ?? deps.alive(connection, access)
    checked.set(key, asked, { noUpdateTTL: true })
    const answer = await asked
    // Where nobody can be asked, a word of the definition is as good as an answer; a status is not.
    return answer === 'dead' || (answer === 'unknown' && said === 'body')
  }
  return {
    take(holding, connection, host, agent) {
      // Policy allowed a call that nothing is stored for: the policy is wrong, and nothing leaves.
      if (holding.kind === 'none' || holding.granted === null)
        throw new Problem(
          'consent_required',
          'the user has not connected this account for this agent',
        )
      const known = deps.atHand(holding.credential)
      if (known !== null) return pinned(cached(known, connection), connection, host)
      return ask(holding.credential, connection, { agent }).then((taken) =>
        pinned(taken, connection, host),
      )
    },
    async again(used, connection, said, agent) {
      const current = await deps.vault.open(used.credential, { fresh: true })
      if (current === null || current.status !== 'active') return null
      if ((current.host ?? null) !== (used.host ?? null)) return null
      if (current.generation > used.generation) return injected(current, true)
      // A token stored moments ago that fails is no refresh problem: wrong audience, an app that was withdrawn.
      const life = (current.expiresAt ?? Infinity) - current.storedAt
      const young = deps.now() - current.storedAt < Math.min(30_000, life / 2)
      if (current.refresh === null) {
        if (!(await withdrawn(current, connection, said))) return null
        await deps.vault.doubt(current.id, current.generation, 'needs_reauth', 'token_withdrawn')
        deps.outcome(connection.provider.id, 'reconnect')
        throw new Problem('reauthorization_required', 'the provider withdrew the token')
      }
      if (young) return null
      try {
        return await ask(used.credential, connection, {
          minGeneration: used.generation + 1,
          agent,
        })
      } catch (error) {
        if (!(error instanceof Problem) || error.code === 'reauthorization_required') throw error
        const seconds = error.extra['retry_after']
        // Its 401 would tell an agent to give up, though the token is only not renewed yet.
        if (seconds !== undefined)
          throw new Problem('refresh_in_progress', 'the token cannot be refreshed just now', {
            extra: { retry_after: seconds },
            cause: error,
          })
        // The provider's own 401 says more to the agent than our failure to refresh.
        return null
      }
    },
  }
}

/** The provider withdrew it, or it died: only the person can renew it. */
export const lapsed = (holding: Holding): boolean =>
  holding.kind === 'held' && holding.status === 'needs_reauth'

type Held = Extract<Holding, { kind: 'held' }>
/**
 * A look that gives a doubtful grant another try first: its provider never said that it ended, and what works again
 * needs nobody's consent.
 */
export const lookAgain =
  (deps: {
    readonly look: Vault['look']
    readonly fresh: Fresh
    readonly connections: () => ReadonlyMap<string, Connection>
    readonly now: () => number
  }): Vault['look'] =>
  (person, name, agent) => {
    const retried = async (holding: Held): Promise<Holding> => {
      const connection = deps.connections().get(name)
      if (connection === undefined) return holding
      try {
        await deps.fresh(holding.credential, connection, {
          minGeneration: holding.generation + 1,
          agent,
        })
      } catch (error) {
        if (!(error instanceof Problem)) throw error // what a problem says was logged where it failed
      }
      return deps.look(person, name, agent)
    }
    const due = (holding: Holding): holding is Held =>
      holding.kind === 'held' && (holding.retryAt ?? Infinity) <= deps.now()
    return follow(deps.look(person, name, agent), (holding) =>
      due(holding) ? retried(holding) : holding,
    )
  }
