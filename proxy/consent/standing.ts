// Standing from the person's yes to its end: given, told of, shortened, ended. The evidence says each.
import type { Clock, Flow, Log, Person, StandingRow, Store } from '../model.ts'
import { standingFields, type Standings } from '../vault/standings.ts'
import { createRounds } from './rounds.ts'

/** One process tries to tell an end for so long, then any may try again. */
const LEASE_MS = 60_000
const LOOK_MS = 5_000
const AT_ONCE = 100

/** Posts to `connect.notify`. @returns null: taken */
export type Send = (id: string, body: object) => Promise<string | null>
/** Who ended it, and how. */
export type EndedBy = {
  readonly by: 'person' | 'operator' | 'disconnected' | 'expired'
  readonly operator?: string
}
export type StandingCare = ReturnType<typeof createStandingCare>

export const createStandingCare = (deps: {
  readonly standings: Standings
  readonly store: Pick<Store['standings'], 'notices' | 'noticeAt'>
  readonly clock: Clock
  readonly log: Log
  readonly onEvent: (event: string, fields: object) => Promise<void>
}) => {
  const { standings, clock, log, onEvent } = deps
  const bodyOf = (event: string, row: StandingRow): object => ({
    event,
    standing_id: row.id,
    user_id: row.user,
    tenant: row.tenant,
    realm: row.realm,
    agent: row.agent,
    workload: row.workload,
    connection: row.connection,
    operations: row.operations,
    expires_at: new Date(row.expiresAt).toISOString(),
  })
  /** It has ended by now: a record that cannot be written must not look as if it had not. */
  const ended = (row: StandingRow, how: EndedBy): Promise<void> =>
    onEvent('standing.ended', { ...standingFields(row), ...how }).catch((error: unknown) =>
      log.error({ err: error }, 'standing.ended could not be recorded'),
    )

  const look = async (send: Send): Promise<void> => {
    // By a wrong clock each would be about to end.
    const now = clock.now()
    for (const row of await deps.store.notices(now, now + LEASE_MS, AT_ONCE)) {
      const reason = await send(
        `standing_ending_${row.id}_${row.expiresAt}`,
        bodyOf('standing.ending', row),
      )
      if (reason !== null) {
        log.warn(
          { standing: row.id, reason },
          'the webhook of connect.notify did not take a notice',
        )
        continue // the lease ends, and it is tried again until the standing is over
      }
      await deps.store.noticeAt(row.id, null)
      await onEvent('standing.notified', standingFields(row))
    }
  }

  const end = async (id: string, how: EndedBy): Promise<StandingRow | null> => {
    const row = await standings.end(id)
    if (row !== null) await ended(row, how)
    return row
  }

  return {
    /** The person said yes. What nobody can account for is not given. */
    lets: async (flow: Flow): Promise<void> => {
      if (flow.standing == null) return
      // One that it takes the place of ends by itself, so that what is written down says what holds.
      const { tenant, realm, id: user } = flow.person
      const { agent, connection } = flow
      for (const old of await standings.list({ tenant, realm, user, agent, connection }))
        if (old.workload === flow.standing.workload) await end(old.id, { by: 'person' })
      const row = await standings.give(flow, flow.standing)
      try {
        await onEvent('standing.granted', { flow: flow.hash, ...standingFields(row) })
      } catch (error) {
        await standings.end(row.id)
        throw error
      }
    },

    /** @returns what it is now; null: it had ended, or ends no later anyway */
    shorten: async (row: StandingRow, days: number): Promise<StandingRow | null> => {
      const shorter = await standings.shorten(row, days)
      if (shorter !== null) await onEvent('standing.changed', standingFields(shorter))
      return shorter
    },

    end,

    /** All of a person, or of one agent or connection of theirs. @returns how many */
    endAll: async (
      { tenant, realm, id: user }: Person,
      of: { readonly agent?: string; readonly connection?: string },
      how: EndedBy,
    ): Promise<number> => {
      const rows = await standings.list({ tenant, realm, user, ...of })
      for (const { id } of rows) await end(id, how)
      return rows.length
    },

    sweep: async (): Promise<void> => {
      for (const row of await standings.sweep()) await ended(row, { by: 'expired' })
    },

    firstUse: (row: StandingRow, send: Send | null): void => {
      onEvent('standing.used', standingFields(row)).catch((error: unknown) =>
        log.error({ err: error }, 'standing.used could not be recorded'),
      )
      void send?.(`standing_used_${row.id}`, bodyOf('standing.used', row))
    },

    /** Tells ends before they come, until closed. `ready`: false while the clock is wrong. */
    watch: (send: Send, ready: () => boolean): (() => Promise<void>) =>
      createRounds(
        LOOK_MS,
        ready,
        () => look(send),
        (error) => log.error({ err: error }, 'which standing is about to end cannot be read'),
      ).close,
  }
}
