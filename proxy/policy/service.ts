// Asks a bundle service again and again: what it gives is tried, and the last good bundle serves on meanwhile.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock, Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import type { Download } from './download.ts'

export type ServiceState = {
  /** Why the last question brought nothing that serves; null: it did, or nothing has changed. */
  readonly problem: string | null
  /** ms since the epoch; null: never. */
  readonly succeededAt: number | null
  /** Questions by what came of them. */
  readonly counts: Readonly<Record<'activated' | 'unchanged' | 'refused' | 'failed', number>>
}
export type Service = {
  readonly state: () => ServiceState
  /** The first question has its answer, and that was tried. Does not reject. */
  readonly first: Promise<void>
  readonly close: () => Promise<void>
}
type ServiceOptions = {
  readonly download: Download
  /** Tries a bundle; true: it is another than the one in use. Rejects where it may not serve; that is told already. */
  readonly take: (bytes: Uint8Array) => Promise<boolean>
  /** The least ms between questions; the most is twice that. */
  readonly poll: number
  /** One question only. */
  readonly once: boolean
  readonly clock: Clock
  readonly log: Log
}

/** Seconds for which a service may hold a question. net/dial waits 20 s for an answer to begin. */
const WAIT = 15
/** ms until the next question to a service that holds questions and did not. */
const BREATH = 1_000
const FIRST_RETRY = 1_000

export const createService = (options: ServiceOptions): Service => {
  const { download, take, poll, once, clock, log } = options
  const ended = new AbortController()
  const { signal } = ended
  const counts = { activated: 0, unchanged: 0, refused: 0, failed: 0 }
  let etag: string | null = null
  let long = false
  let inARow = 0
  let problem: string | null = null
  let succeededAt: number | null = null

  /** The next answer must be whole: what failed may have been taken for what is in use. @returns ms */
  const failed = (why: string, retryAfter: number | null): number => {
    etag = null
    long = false
    problem = why
    const most = Math.min(2 * poll, FIRST_RETRY * 2 ** Math.min(inARow, 20))
    inARow += 1
    // Jittered: a service that comes back is not asked by all at once.
    return Math.max(most * (0.5 + Math.random() / 2), retryAfter ?? 0)
  }
  /** @returns ms until the next question */
  const turn = async (): Promise<number> => {
    const began = clock.mono()
    const answer = await download({ etag, wait: long ? WAIT : 0, signal })
    if (signal.aborted) return 0
    if (answer.kind === 'failed') {
      counts.failed += 1
      if (answer.why !== problem) log.error({ problem: answer.why }, answer.why)
      return failed(answer.why, answer.retryAfter)
    }
    if (answer.kind === 'bundle')
      try {
        counts[(await take(answer.bytes)) ? 'activated' : 'unchanged'] += 1
      } catch (error) {
        counts.refused += 1
        return failed(messageOf(error), null)
      }
    else counts.unchanged += 1
    etag = answer.kind === 'bundle' ? answer.etag : (answer.etag ?? etag)
    ;({ long } = answer)
    if (problem !== null) log.info({}, 'the bundle service answers well again')
    problem = null
    inARow = 0
    succeededAt = clock.now()
    return long && etag !== null
      ? Math.max(0, Math.min(BREATH, poll) - (clock.mono() - began))
      : poll * (1 + Math.random())
  }
  const begin = turn()
  const run = async (): Promise<void> => {
    let pause = await begin
    if (once) return
    while (!signal.aborted) {
      await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined) // it is ended
      if (signal.aborted) return
      pause = await turn()
    }
  }
  const running = run()
  return {
    state: () => ({ problem, succeededAt, counts }),
    first: begin.then(() => undefined),
    close: async () => {
      ended.abort()
      await running
    },
  }
}
