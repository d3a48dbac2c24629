// Parks a call until the person has answered, the deadline passes or the caller leaves (design 2.3). Bounded.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Principal } from '../model.ts'
import type { Body } from './inspect.ts'

export type Hold = {
  /**
   * How long this call may wait for a person, ms: `Prefer: wait=` (RFC 7240 4.3), else `connect.hold`, or `runs.hold` where
   * nobody is there to read a link; never past its tag.
   * @param least ms, where the call says nothing
   */
  readonly budget: (
    req: IncomingMessage,
    who: Pick<Principal, 'expiresAt' | 'run' | 'standing'>,
    least?: number,
  ) => number
  /** true: the person answered with yes. false: anything else, and the call is answered as it would have been at once. */
  readonly wait: (
    res: ServerResponse,
    body: Body,
    by: { readonly agent: string; readonly ms: number },
    ended: (ms: number, signal: AbortSignal) => Promise<boolean>,
  ) => Promise<boolean>
  /** Every held call is decided anew, by what is in force now; those that still need their person wait on. */
  readonly again: () => void
  readonly count: () => number
  /** Shutdown: every held call is answered now, and none is held any more. */
  readonly release: () => void
}

const WAIT = /(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)/i

const askedWait = ({ prefer }: IncomingMessage['headers']): number | null => {
  const asked = WAIT.exec(String(prefer ?? ''))
  return asked === null ? null : Number(asked[1]) * 1_000
}
/** Did the caller say `Prefer: wait=` (RFC 7240 4.3)? */
export const asksToWait = (req: IncomingMessage): boolean => askedWait(req.headers) !== null

export const createHold = (options: {
  readonly calls: number
  readonly bytes: number
  /** What one agent may have of both, from 0 to 1. */
  readonly share: number
  /** ms */
  readonly max: number
  /** `connect.hold`, ms: for callers that say nothing. */
  readonly unasked: number
  /** `runs.hold`, ms: for runs and for standing. */
  readonly away: number
  readonly now: () => number
}): Hold => {
  const releases = new Set<{ readonly controller: AbortController; again: boolean }>()
  let bytes = 0
  const held = new Map<string, { calls: number; bytes: number }>()
  let closed = false
  return {
    budget(req, { expiresAt, run, standing = null }, least = 0) {
      const silent = run === null && standing === null ? options.unasked : options.away
      const wanted = askedWait(req.headers) ?? Math.max(silent, least)
      const left = expiresAt === null ? options.max : expiresAt - options.now()
      return Math.max(0, Math.min(wanted, options.max, left))
    },
    async wait(res, body, { agent, ms }, ended) {
      const size = body.bytes?.length ?? 0
      // Behind a body that was not read nobody sees the caller leave.
      const blind = body.state !== 'none' && body.bytes === null
      if (
        closed ||
        res.closed ||
        ms <= 0 ||
        blind ||
        releases.size >= options.calls ||
        bytes + size > options.bytes
      )
        return false
      const mine = held.get(agent) ?? { calls: 0, bytes: 0 }
      // The link comes at once, which is more than a refusal, and the others keep their room.
      const room = mine.calls < options.calls * options.share
      if (!room || mine.bytes + size > options.bytes * options.share) return false
      held.set(agent, mine)
      mine.calls++
      mine.bytes += size
      const controller = new AbortController()
      const leave = (): void => controller.abort()
      const waiting = { controller, again: false }
      releases.add(waiting)
      bytes += size
      res.once('close', leave)
      try {
        const yes = (await ended(ms, controller.signal)) && !controller.signal.aborted
        return yes || (waiting.again && !closed && !res.closed)
      } finally {
        res.off('close', leave)
        releases.delete(waiting)
        bytes -= size
        mine.calls--
        mine.bytes -= size
        if (mine.calls === 0) held.delete(agent)
      }
    },
    count: () => releases.size,
    again() {
      for (const waiting of releases) {
        waiting.again = true
        waiting.controller.abort()
      }
    },
    release() {
      closed = true
      for (const { controller } of releases) controller.abort()
    },
  }
}
