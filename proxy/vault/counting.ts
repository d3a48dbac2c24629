// Counts calls against the limits of policy: those that come together in one transaction, one transaction at a time.
import type { Clock, Full, LimitStore, Take } from '../model.ts'
import { Problem } from '../problem.ts'

/** Calls of one transaction. */
const AT_ONCE = 64
/** Whoever has waited longer for the transactions before, ms, is not counted any more. */
const PATIENCE_MS = 5_000

/**
 * Counts one call, all of its takes or none; null: counted. What was counted stays so, whatever becomes of the call.
 * Rejects with Problem limits_unavailable where nobody knows; the call may have been counted then.
 */
export type Count = (takes: readonly Take[]) => Promise<Full | null>

type Waiting = {
  readonly takes: readonly Take[]
  readonly since: number
  readonly resolve: (full: Full | null) => void
  readonly reject: (problem: Problem) => void
}

const limitsUnavailable = (cause: unknown): Problem =>
  new Problem('limits_unavailable', 'the limits of policy cannot be counted now', { cause })

export const createCounting = (deps: {
  readonly limits: Pick<LimitStore, 'take'>
  readonly clock: Clock
}): Count => {
  const { limits, clock } = deps
  const queue: Waiting[] = []
  let running = false

  const countAll = async (batch: readonly Waiting[]): Promise<void> => {
    try {
      const found = await limits.take(
        batch.map(({ takes }) => takes),
        clock,
      )
      for (const [i, { resolve, reject }] of batch.entries()) {
        const full = found[i]
        if (full === undefined) reject(limitsUnavailable(new Error('a call was not counted')))
        else resolve(full)
      }
    } catch (cause) {
      for (const { reject } of batch) reject(limitsUnavailable(cause))
    }
  }
  const run = async (): Promise<void> => {
    while (queue.length > 0) {
      const batch: Waiting[] = []
      for (const one of queue.splice(0, AT_ONCE))
        if (clock.mono() - one.since <= PATIENCE_MS) batch.push(one)
        else one.reject(limitsUnavailable(new Error('the store is slow')))
      if (batch.length > 0) await countAll(batch)
    }
    running = false
  }
  return (takes) =>
    new Promise((resolve, reject) => {
      queue.push({ takes, since: clock.mono(), resolve, reject })
      if (running) return
      running = true
      // What else this turn brings is counted with it.
      setImmediate(() => void run())
    })
}
