// After a person's no, nobody sends them to the same question again for a while, however often a
// program asks.
import type { Asker, Clock, Store } from '../model.ts'

/** What an agent is told instead of a link while the person's No counts. */
export type Declined = {
  /** Of the flow that was declined. */
  readonly authorizationId: string
  readonly scopes: readonly string[]
  /** ms since the epoch: when they said no, and from when on they may be asked again. */
  readonly declined: { readonly at: number; readonly until: number }
}

export const createDeclined = (
  store: Pick<Store, 'flows'>,
  clock: Pick<Clock, 'now'>,
  nagAfterMs: number,
) => {
  /**
   * The person's No to the same or to less, unless they said yes since; null: they may be asked.
   */
  return async (who: Asker, scopes: readonly string[]): Promise<Declined | null> => {
    const { person, agent, connection } = who
    const since = clock.now() - nagAfterMs
    const ended = await store.flows.endedSince(person, agent, connection, since)
    for (const row of ended) {
      if (row.status === 'completed') break
      const at = row.endedAt ?? 0
      if (row.failure !== 'denied' || !row.scopes.every((scope) => scopes.includes(scope))) continue
      // A newer link that asks for what was refused was made on purpose: its person is being asked
      // again.
      const anew = (await store.flows.open(person)).some(
        (open) =>
          open.agent === agent &&
          open.connection === connection &&
          open.createdAt >= at &&
          open.expiresAt > clock.now() &&
          row.scopes.every((scope) => open.scopes.includes(scope)),
      )
      if (anew) return null
      return {
        authorizationId: `ac_${row.hash}`,
        scopes: row.scopes,
        declined: { at, until: at + nagAfterMs },
      }
    }
    return null
  }
}
