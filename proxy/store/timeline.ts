// Time as counters see it: where the database's clock is set forward or back, what was counted keeps its age.
import type { Clocks } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Work } from './database.ts'

/** A clock may run a little fast or slow, ms. */
const SET_MS = 1_000

export type Timeline = {
  /** The newest time that a row may have, ms; what lies behind it was counted before the clock was set back. */
  readonly newest: (now: number) => number
  /**
   * Runs what looks at counters and says which time the database had, and again where that time was not to be believed:
   * everything that was counted is then as old as it was (set forward), or counts for one window from now (set back).
   */
  readonly steady: <T>(
    clock: Clocks,
    work: () => Promise<{ readonly now: number; readonly ahead: boolean; readonly found: T }>,
  ) => Promise<T>
  /** Is this time further ahead than time has passed? Asked inside a transaction, before it writes anything. */
  readonly leapt: (now: number, clock: Clocks) => boolean
}

/**
 * A process compares the database's clock with the time that has passed for itself since it last looked. A clock that is
 * set while no deputy runs is believed.
 */
export const createTimeline = (db: Database, { sql }: Asking): Timeline => {
  let seen: { readonly now: number; readonly mono: number } | null = null
  const leap = (now: number, clock: Clocks): number =>
    seen === null ? 0 : now - seen.now - (clock.mono() - seen.mono)
  const leapt: Timeline['leapt'] = (now, clock) => leap(now, clock) > SET_MS
  /** Whoever else repairs it as well only makes what was counted younger, and never younger than now. */
  const repair = (now: number, clock: Clocks): Promise<void> =>
    db.transact(function* (): Work<void> {
      const by = Math.floor(leap(now, clock))
      if (by > SET_MS) for (const text of [sql.limitsLater, sql.historyLater]) yield [text, { by }]
      for (const text of [sql.limitsCapped, sql.historyCapped]) yield [text, { now }]
      seen = { now, mono: clock.mono() }
    })
  return {
    newest: (now) => now + SET_MS,
    leapt,
    async steady(clock, work) {
      for (let times = 0; ; times++) {
        const { now, ahead, found } = await work()
        if (!ahead && !leapt(now, clock)) {
          seen = { now, mono: clock.mono() }
          return found
        }
        // Twice in a row only where the clock is set again meanwhile.
        if (times === 2)
          throw new Error('vault.store: the clock of the database does not stand still')
        await repair(now, clock)
      }
    },
  }
}
