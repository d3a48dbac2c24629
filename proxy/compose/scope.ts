// What every part of one serving process is built with: its configuration, log and clock, and how all of it ends.
import type { GuardedClock } from '../clock.ts'
import type { Loaded } from '../config/load.ts'
import type { Log } from '../model.ts'
import type { Keep } from './kept.ts'

export type Scope = Loaded & {
  readonly log: Log
  readonly clock: GuardedClock
  readonly version: string
  /** Lines for the person at the terminal. */
  readonly print: (line: string) => void
  /** Closed newest first, whether the start fails or the process ends. */
  readonly opened: (close: () => unknown) => void
  /** What is left of the drain, ms; a second at least, for what is cut at its end. */
  readonly left: () => number
}

/** Of one configuration: its values, and an end of its own for what is made by them. */
export type Configured = Scope & {
  readonly keep: Keep
  /** Is called once this configuration is in force: until then nothing works by itself. */
  readonly begins: (begin: () => void) => void
}

export type Ending = {
  readonly scope: Scope
  /** From now on the drain's time runs. */
  readonly drain: (ms: number) => void
  /** Never rejects: what cannot be closed is told to the log. */
  readonly closeAll: () => Promise<void>
}

export const createScope = (
  loaded: Loaded,
  clock: GuardedClock,
  rest: Pick<Scope, 'log' | 'version' | 'print'>,
): Ending => {
  const closes: (() => unknown)[] = []
  let drained = 0 // a start that fails serves nobody yet: the shortest
  return {
    scope: {
      ...loaded,
      ...rest,
      clock,
      opened: (close) => void closes.push(close),
      left: () => Math.max(1_000, drained - clock.mono()),
    },
    drain: (ms) => {
      drained = clock.mono() + ms
    },
    closeAll: async () => {
      for (const close of closes.toReversed())
        try {
          await close()
        } catch (error) {
          rest.log.error({ err: error }, 'closing failed')
        }
    },
  }
}
