// What is told when the machine's clock goes wrong.
import type { GuardedClock } from '../clock.ts'
import type { Log } from '../model.ts'

export const clockSentence = (clock: GuardedClock): string => {
  const s = Math.round(clock.lead() / 1_000)
  return s > 0
    ? `the wall clock is ${s} s ahead of the time that has passed: it is believed once it has stayed so for a minute`
    : `the wall clock is ${-s} s behind the time that has passed: set it right; if it was ahead when deputy started, restart deputy`
}

/**
 * Tells the log when the clock goes wrong and when it is right again; looks often enough to know since when.
 * @returns ends that
 */
export const watchClock = (clock: GuardedClock, log: Log): (() => void) => {
  let before: ReturnType<GuardedClock['wrong']> = null
  const timer = setInterval(() => {
    const wrong = clock.wrong()
    if (wrong !== null && wrong !== before)
      log.error({}, `no call is let through: ${clockSentence(clock)}`)
    if (wrong === null && before !== null) log.info({}, 'the clocks agree again')
    before = wrong
  }, 1_000).unref()
  return () => clearInterval(timer)
}
