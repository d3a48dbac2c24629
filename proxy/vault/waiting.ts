// Counts the grants that wait for a client which is not configured, and tells the log whenever the
// count changes.
import type { Connection, Log, Vault } from '../model.ts'

type Group = {
  readonly connection: string
  readonly clientId: string
  readonly configured: string
  readonly grants: number
}
const nameOf = ({ connection, clientId }: Group): string => JSON.stringify([connection, clientId])

export const createWaiting = (deps: {
  readonly clients: Vault['clients']
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly log: Log
}) => {
  const { connections, log } = deps
  let known: ReadonlyMap<string, Group> = new Map()
  let looking: Promise<void> | null = null

  const told = (now: ReadonlyMap<string, Group>): void => {
    for (const [name, { connection, clientId, configured, grants }] of now)
      if (known.get(name)?.grants !== grants)
        log.warn(
          { connection, client_id: clientId, configured, grants },
          'grants belong to a client that is not configured: they wait until it is again, or until their people consent anew',
        )
    for (const [name, { connection, clientId }] of known)
      if (!now.has(name))
        log.info({ connection, client_id: clientId }, 'no grant waits for this client any more')
  }
  const read = async (): Promise<void> => {
    const now = (await deps.clients()).flatMap(({ connection, clientId, grants }) => {
      const configured = connections().get(connection)?.clientId
      return configured === undefined || configured === clientId
        ? []
        : [{ connection, clientId, configured, grants }]
    })
    const groups = new Map(now.map((group) => [nameOf(group), group]))
    told(groups)
    known = groups
  }
  /** Asks the vault again. Does not reject: what was known stays so. */
  const look = (): Promise<void> =>
    (looking ??= read()
      .catch((error: unknown) =>
        log.error({ err: error }, 'which client the grants belong to cannot be read'),
      )
      .finally(() => (looking = null)))
  return {
    look,
    /** One sample for each connection, also where none wait. */
    samples: () =>
      [...connections().keys()].map((connection) => {
        const here = [...known.values()].filter((group) => group.connection === connection)
        return [{ connection }, here.reduce((sum, { grants }) => sum + grants, 0)] as const
      }),
    /**
     * Sentences; empty: none wait. While some do, the vault is asked each time, so that the last
     * one's end is seen.
     */
    detail: async (): Promise<string> => {
      if (known.size > 0) await look()
      return [...known.values()]
        .map(
          ({ connection, clientId, configured, grants }) =>
            `${grants} ${grants === 1 ? 'grant waits' : 'grants wait'} at ${connection} for client ${clientId}, and ${configured} is configured`,
        )
        .join('; ')
    },
  }
}
