// What surrounds a call's way: its last answer, its record, and an end for whatever it throws.
import type { Dedicated } from '../net/admit.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock, Decision, Injected, Log, Principal, Route, Via } from '../model.ts'
import { CallerLeft, problemAnswer, toProblem, type Problem, type ProblemCode } from '../problem.ts'
import type { Act, Classify } from './classify.ts'
import type { Evidence } from '../audit/records.ts'
import type { Outcome } from './forward.ts'
import { asksToWait } from './hold.ts'
import { refusalFor } from './mcp.ts'
import type { HookSaid } from './obligation/hooks.ts'
import type { TakenOut } from './obligation/redaction.ts'
import type { BeginTimeline, Ended, Timeline } from '../observe/timeline.ts'
import type { RouteTable } from './route.ts'
import { inShape } from '../wire/error_shape.ts'
import { refusedIn } from '../wire/grpc.ts'

/** Everything that one call decides by, swapped whole at a reload; a call keeps the one it began with. */
export type Snapshot = {
  readonly routes: RouteTable
  readonly classify: Classify
  readonly served: (host: string) => boolean | string
}

/** What metrics and the log learn of a call. */
export type Seen = {
  readonly id: string
  readonly method: string
  readonly provider: string | null
  readonly operation: string | null
  readonly effect: Decision['effect'] | null
  readonly reason: string | null
  readonly code: ProblemCode | null
  readonly status: number
  readonly durationMs: number
}

/** The one mutable record of a call: each station's value, once it has one. */
export type Call = {
  readonly id: string
  readonly snapshot: Snapshot
  readonly began: number
  route: Route | null
  who: Principal | null
  act: Act | null
  stripped: readonly string[]
  decision: Decision | null
  /** An allow stands in the evidence and has no outcome yet. */
  open: boolean
  credential: Injected | null
  outcome: Outcome | null
  /** What hooks said of it. */
  readonly hooked: HookSaid[]
  /** What was taken out of it before it left. */
  taken: TakenOut | null
  /** Answers of the provider that said "too many", and were waited for; each was decided anew. */
  limited: number
  /** Evidence was asked to keep how it ended. */
  recorded: boolean
  /** When what happened to it; null or absent: no span is made of it. */
  readonly timeline?: Timeline | null
}

export type Way = (
  call: Call,
  req: IncomingMessage,
  res: ServerResponse,
  dedicated: Dedicated | null,
) => Promise<void>

/** How a call ended for its caller. */
export type Over = {
  readonly req: IncomingMessage
  /** That the caller got. */
  readonly status: number
  readonly problem: Problem | null
  readonly via: Via
}
/** Spans of calls, for those that are chosen. */
export type Traces = {
  readonly begin: BeginTimeline
  readonly spanOf: (call: Call, over: Over) => Ended
}

const NOTHING_SENT: Outcome = {
  result: 'internal',
  sent: false,
  status: null,
  bytesIn: 0,
  bytesOut: 0,
  credential: null,
  masked: 0,
  unrewritten: false,
  stripped: [],
  dropped: [],
}

/**
 * @param way throws the Problem that becomes the answer
 * @param told what the agent should hear of it; does not reject
 */
export const createExchange = (
  deps: {
    readonly via: Via
    readonly snapshot: () => Snapshot
    readonly evidence: Evidence
    readonly typeBase: string
    readonly clock: Clock
    readonly log: Log
    readonly observe: (call: Seen) => void
    readonly traces?: Traces
  },
  way: Way,
  told: (call: Call, problem: Problem) => Problem | Promise<Problem>,
) => {
  const { clock, evidence, log } = deps

  /** The last answer of a call. It cannot throw. */
  const answer = (call: Call, res: ServerResponse, problem: Problem): void => {
    if (problem.code === 'internal' || problem.cause !== undefined)
      log.warn({ err: problem.cause, exchange: call.id, code: problem.code }, problem.message)
    if (res.headersSent || res.destroyed) return
    // What was not read of the body must not be taken for the next request.
    if (!res.req.complete) res.shouldKeepAlive = false
    try {
      // A tool's caller reads deputy's own document; only a vendor's client reads the vendor's.
      const vendors = deps.via === 'proxy'
      const errors = vendors ? (call.route?.connection.provider.errors ?? null) : null
      const { act } = call
      const usual = problemAnswer(problem, call.id, deps.typeBase, {
        agent: res.req.headers['user-agent'],
        waits: asksToWait(res.req),
        shape: errors === null ? undefined : (document) => inShape(errors, document),
        told: act?.kind === 'mcp' ? (document) => refusalFor(act.mcp, document) : undefined,
      })
      const { status, headers, body } = refusedIn(res.req.headers['content-type'], usual, problem)
      res.writeHead(status, headers).end(body)
    } catch (error) {
      // It may be half written: nothing can be said on this connection any more.
      log.error({ err: error, exchange: call.id }, 'the last answer could not be given')
      res.destroy()
    }
  }

  /** What evidence, metrics and the log keep of a call. */
  const record = (
    call: Call,
    req: IncomingMessage,
    res: ServerResponse,
    problem: Problem | null,
  ): void => {
    const { id, route, outcome } = call
    const durationMs = clock.mono() - call.began
    call.recorded = true
    if (call.open)
      evidence.finished({
        id,
        person: call.who?.person ?? null,
        connection: route?.connection.name ?? '',
        durationMs,
        hooked: call.hooked,
        taken: call.taken,
        limited: call.limited,
        outcome: outcome ?? { ...NOTHING_SENT, result: problem?.code ?? 'internal' },
      })
    else if (call.decision === null && problem !== null && !(problem.cause instanceof CallerLeft))
      evidence.refused(id, problem.code, call.who?.person ?? null)
    deps.observe({
      id,
      method: req.method ?? '',
      provider: route?.connection.provider.id ?? null,
      operation: call.act?.operation.id ?? null,
      effect: call.decision?.effect ?? null,
      reason: call.decision?.reasons[0]?.code ?? null,
      code: problem?.code ?? null,
      status: res.statusCode,
      durationMs,
    })
    const { via, traces } = deps
    if (traces === undefined || call.timeline == null) return
    call.timeline.end(traces.spanOf(call, { req, status: res.statusCode, problem, via }))
  }

  return async (
    req: IncomingMessage,
    res: ServerResponse,
    id: string,
    dedicated: Dedicated | null,
  ): Promise<void> => {
    let call: Call | null = null
    try {
      call = {
        id,
        snapshot: deps.snapshot(),
        began: clock.mono(),
        route: null,
        who: null,
        act: null,
        stripped: [],
        decision: null,
        open: false,
        credential: null,
        outcome: null,
        hooked: [],
        taken: null,
        limited: 0,
        recorded: false,
        timeline: deps.traces?.begin(req.headers['traceparent']) ?? null,
      }
      let problem: Problem | null = null
      try {
        await way(call, req, res, dedicated)
      } catch (thrown) {
        problem = await told(call, toProblem(thrown))
        answer(call, res, problem)
      }
      record(call, req, res, problem)
    } catch (error) {
      // Nothing is thrown past here: what failed is this call, and no other.
      log.error({ err: error, exchange: id }, 'a call failed beyond its answer')
      res.destroy()
      if (call?.recorded !== true) evidence.refused(id, 'internal', call?.who?.person ?? null)
    }
  }
}
