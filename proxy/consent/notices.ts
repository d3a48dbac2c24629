// Delivers what policy has told to people: out of the store to the webhook of `connect.notify`, tried again until it is
// taken or a day has passed. No call waits for it.
import type { Clock, Log, NoticeRow, Store } from '../model.ts'
import { createRounds } from './rounds.ts'
import type { Send } from './standing.ts'

/** One process tries for so long, then any may try again, ms. */
const LEASE_MS = 60_000
const LOOK_MS = 1_000
const AT_ONCE = 50
/** Between two tries of one, by its age: a receiver that is down for a moment is asked soon, ms. */
const WAITS_MS = [2_000, 10_000, 60_000, 600_000]

export type Notices = ReturnType<typeof createNotices>
export const createNotices = (deps: {
  readonly store: Store['notices']
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  readonly onEvent: (event: string, fields: object) => Promise<void>
  /** Of each try. */
  readonly seen: (result: 'taken' | 'failed' | 'given_up') => void
}) => {
  const { store, clock, log, onEvent, seen } = deps
  const wait = ({ createdAt }: NoticeRow): number =>
    WAITS_MS.find((ms) => clock.now() - createdAt < ms) ?? 600_000
  const deliver = async (row: NoticeRow, send: Send): Promise<void> => {
    const reason = await send(`notice_${row.id}`, JSON.parse(row.body) as object)
    if (reason === null) {
      await store.taken(row.id)
      seen('taken')
      return onEvent('notification.delivered', { notice: row.id, user: row.person })
    }
    seen('failed')
    log.warn({ notice: row.id, reason }, 'the webhook of connect.notify did not take a notice')
    await store.later(row.id, clock.now() + wait(row))
  }
  const look = async (send: Send): Promise<void> => {
    const now = clock.now()
    const due = await store.due(now, now + LEASE_MS, AT_ONCE)
    await Promise.all(
      due.map((row) =>
        deliver(row, send).catch((error: unknown) =>
          log.error({ err: error, notice: row.id }, 'a notice could not be delivered'),
        ),
      ),
    )
  }
  return {
    /** @param before ms since the epoch: what had to be taken by then is given up */
    sweep: async (before: number): Promise<void> => {
      const lost = await store.sweep(before)
      for (let i = 0; i < lost; i++) seen('given_up')
      if (lost > 0)
        log.error({ notices: lost }, 'the webhook of connect.notify did not take notices: given up')
    },
    /** Delivers until closed. `ready`: false while the clock is wrong. */
    watch: (send: Send, ready: () => boolean): (() => Promise<void>) =>
      createRounds(
        LOOK_MS,
        ready,
        () => look(send),
        (error) => log.error({ err: error }, 'notices cannot be read'),
      ).close,
  }
}
