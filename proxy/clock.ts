// The time by which things end. Two clocks are asked: one that people and NTP set, and one that nobody sets.
import type { Clock } from './model.ts'

export type GuardedClock = Clock & {
  /** How the wall clock stands to the other one; null: they agree within a minute. */
  readonly wrong: () => 'ahead' | 'behind' | null
  /** ms by which the wall clock is ahead of the other one; negative: behind it. */
  readonly lead: () => number
}

/** A wall clock that is further off than this is wrong (design 4). */
const APART_MS = 60_000
/** A wall clock that has been ahead for this long without moving again is believed: a paused machine that was set right. */
const SETTLED_MS = 60_000
/** Smaller differences are the slewing of NTP and the grain of the clocks. */
const GRAIN_MS = 2_000
const LOOK_MS = 1_000
/** Where the wall clock was believed to be before; the oldest is given up. */
const MOST_LINES = 8

/**
 * `now` is the later of the wall clock and of what has passed since the start: what has ended stays ended when the wall
 * clock is set back, and what the wall clock says is over is over. A wall clock that is ahead is believed once it has
 * stayed so for a minute; one that is behind never is, but it may come back to where it was believed before.
 * @param wall ms since the epoch
 * @param mono ms; need not count the time in which the machine slept
 * @param boot ms since the machine started, sleep included; may be coarse, and may throw
 */
export const createClock = ({
  wall,
  mono,
  boot,
}: {
  readonly wall: () => number
  readonly mono: () => number
  readonly boot: () => number
}): GuardedClock => {
  const booted = (): number | null => {
    try {
      return boot()
    } catch {
      return null // nothing to learn of a sleep: `settle` finds it out in a minute
    }
  }
  const began = { mono: mono(), boot: booted() }
  let slept = 0
  let looked = began.mono
  /** Wall clock at the start of this process, as it is believed now and as it was before. */
  let line = wall()
  let lines: readonly number[] = [line]
  let ahead: { readonly lead: number; readonly since: number } | null = null

  const passed = (at = mono()): number => at - began.mono + slept
  const leadNow = (at = mono()): number => wall() - (line + passed(at))

  const settle = (): void => {
    const lead = leadNow()
    if (Math.abs(lead) <= GRAIN_MS) {
      ahead = null
      return
    }
    const before = lines.find((old) => Math.abs(line + lead - old) <= GRAIN_MS)
    if (before !== undefined) {
      line = before
      ahead = null
    } else if (lead < 0) ahead = null
    else if (ahead === null || Math.abs(lead - ahead.lead) > GRAIN_MS)
      ahead = { lead, since: passed() }
    else if (passed() - ahead.since >= SETTLED_MS) {
      line += lead
      lines = [line, ...lines].slice(0, MOST_LINES)
      ahead = null
    }
  }
  const look = (): void => {
    looked = mono()
    const up = booted()
    const more = up === null || began.boot === null ? 0 : up - began.boot - passed()
    if (more > GRAIN_MS) slept += more
    settle()
  }
  /** The monotonic time. A clock that runs backwards is looked after at once. */
  const lookNowAndThen = (): number => {
    const at = mono()
    if (at - looked < LOOK_MS && at >= looked) return at
    look()
    return mono()
  }
  const lead = (): number => {
    const ms = leadNow(lookNowAndThen())
    if (Math.abs(ms) <= APART_MS) return ms
    look() // woken just now, perhaps
    return leadNow()
  }

  return {
    now: () => {
      const at = lookNowAndThen()
      return Math.max(wall(), Math.floor(line + passed(at)))
    },
    mono,
    lead,
    wrong: () => {
      const ms = lead()
      if (Math.abs(ms) <= APART_MS) return null
      return ms > 0 ? 'ahead' : 'behind'
    },
  }
}
