// Revokes: first here, then at the provider, and says of each grant what really happened.
import type { Connection, HeldConnection, Log, Vault } from '../model.ts'
import type { OAuthClient } from '../oauth/client.ts'
import type { Revoked } from '../oauth/revocation.ts'
import { messageOf } from '../problem.ts'

export type RevokeDeps = {
  readonly vault: Pick<Vault, 'open' | 'list' | 'revoke'>
  readonly client: Pick<OAuthClient, 'revoke'>
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly log: Log
}

/** `failed`: deputy forgot the token, the provider may still accept it. */
export type Revocation = Pick<
  HeldConnection,
  'credential' | 'person' | 'connection' | 'provider' | 'account'
> & {
  readonly result: Revoked
}

/**
 * `revoke` ends everything that matches. Locally all of it is gone before the first provider is asked;
 * rejects with Problem vault_unavailable when that fails, after what was removed has been told to the providers.
 */
export const createRevoker = ({ vault, client, connections, log }: RevokeDeps) => {
  /** Removes it here; returns what is left to do at the provider. */
  const locally = async (credential: string) => {
    try {
      return await vault.revoke(credential)
    } catch (error) {
      // The row is gone all the same if only its tokens cannot be opened any more.
      if ((await vault.open(credential, { fresh: true })) !== null) throw error
      return 'unreadable' as const
    }
  }

  const atProvider = async (
    held: HeldConnection,
    tokens: Awaited<ReturnType<typeof locally>>,
  ): Promise<Revocation> => {
    const { credential, person, provider, account } = held
    const connection = connections().get(held.connection)
    let result: Revoked = 'failed'
    if (tokens === null) result = 'already_dead'
    // Tokens are no business of a provider that took the name of the one they are of.
    else if (tokens !== 'unreadable' && connection?.provider.id === provider)
      result = await client.revoke(connection, tokens).catch((error: unknown) => {
        log.error(
          {
            credential,
            connection: held.connection,
            reason: messageOf(error),
          },
          'revocation failed',
        )
        return 'failed' as const
      })
    log.info({ credential, connection: held.connection, result }, 'revoked')
    return { credential, person, connection: held.connection, provider, account, result }
  }

  /** @param done told of each as soon as its provider has answered, also when another one fails */
  const these = async (
    list: readonly HeldConnection[],
    done: (each: Revocation) => Promise<void> = async () => {},
  ): Promise<readonly Revocation[]> => {
    const todo: (() => Promise<Revocation>)[] = []
    let failure: unknown = null
    for (const held of list) {
      try {
        const tokens = await locally(held.credential)
        todo.push(async () => {
          const each = await atProvider(held, tokens)
          // Evidence that fails must not keep the other providers from being told.
          await done(each).catch((error: unknown) => void (failure ??= error))
          return each
        })
      } catch (error) {
        failure ??= error
      }
    }
    const all: Revocation[] = []
    for (let from = 0; from < todo.length; from += 4)
      all.push(...(await Promise.all(todo.slice(from, from + 4).map((each) => each()))))
    if (failure !== null) throw failure
    return all
  }

  return {
    revoke: async (filter: Parameters<Vault['list']>[0]): Promise<readonly Revocation[]> =>
      these(await vault.list(filter)),
    these,
  }
}

export type Revoker = ReturnType<typeof createRevoker>
