// Sends the call, streams the answer back with backpressure, retries one 401; redirects are passed on, never followed.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Clock, Dialled, Injected, Route } from '../model.ts'
import type { Upstream } from '../net/dial.ts'
import { createAnswers, unanswered, type About, type Answer } from '../net/respond.ts'
import { peekAt, type Peek } from '../net/peek.ts'
import { fault, proxyStatus } from '../net/fault.ts'
import { bounded, iterated } from '../net/sinks.ts'
import { joined, switched } from '../net/websocket.ts'
import { Problem, toProblem, type ProblemCode } from '../problem.ts'
import { createSlots } from './slots.ts'
import { targetText } from '../wire/canonical.ts'
import { endedBy, grpcHeaders, isGrpc } from '../wire/grpc.ts'
import { limitedFor } from '../wire/retry_after.ts'
import { lacking } from '../wire/scopes.ts'
import {
  challengeIn,
  flatSection,
  createScrubbers,
  namedTrailers,
  scopesLacking,
  upstreamHeaders,
  type Sifted,
} from '../wire/headers.ts'
import type { Body } from './inspect.ts'
import { createSweep } from '../observe/memory.ts'
import type { UpstreamSeen } from '../observe/metrics.ts'
import type { Timeline } from '../observe/timeline.ts'

export type Outcome = {
  readonly result: 'ok' | 'interrupted' | ProblemCode
  /** Bytes of the request may have reached the provider. */
  readonly sent: boolean
  readonly status: number | null
  readonly bytesIn: number
  readonly bytesOut: number
  readonly credential: Injected | null
  /** The answer echoed the injected token, and it was masked. */
  readonly masked: number
  /** A URL in the answer was left as it came, because the answer passes `limits.rewritten_body`. */
  readonly unrewritten: boolean
  /** Values that were replaced in the answer; absent: none. */
  readonly redacted?: number
  /** Trailers of a streamed body, which could not be named before it came: none is sent on. */
  readonly stripped: readonly string[]
  /** Trailers of the provider that the agent did not get. */
  readonly dropped: readonly string[]
}

export type Job = About & {
  readonly route: Route
  readonly body: Body
  /** The agent's headers that may pass. */
  readonly sifted: Sifted
  /** It asks the provider for a WebSocket. */
  readonly websocket: boolean
  /** A newer token after a 401; null: none. */
  readonly again: (used: Injected, said: 'status' | 'body') => Promise<Injected | null>
  /**
   * The provider did nothing, because of too many calls: waits, where the call asks for that and may be repeated. true: it is
   * to be decided anew; false: the answer is passed on. null: it never waits.
   */
  readonly later: ((said: number | 'unsaid') => Promise<boolean>) | null
  /** Ends the call from outside (revocation, drain), with the Problem that it becomes. */
  readonly signal: AbortSignal
  readonly timeline?: Timeline | null
}

const valuesOf = (raw: readonly (string | Buffer)[], name: string): readonly string[] => {
  const values: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i]
    if (key?.length === name.length && key.toString('latin1').toLowerCase() === name)
      values.push(raw[i + 1]?.toString('latin1') ?? '')
  }
  return values
}

/** Of a header that is said once (RFC 9110 5.3): several lines say nothing that can be read. null: it is not there. */
const single = (raw: readonly (string | Buffer)[], name: string): string | null =>
  valuesOf(raw, name).join(', ') || null

const OF_THE_PROVIDER: ReadonlySet<ProblemCode> = new Set([
  'upstream_prohibited',
  'upstream_unreachable',
  'upstream_timeout',
  'egress_refused',
  'answer_not_redactable',
])

const NONE: readonly string[] = []
const DAY_MS = 86_400_000
/** Scopes that a 403 names, that the token lacks and that the connection may ask for; empty: no consent would help. */
const scopesToAsk = (
  injected: Injected | null,
  { connection }: Route,
  raw: readonly (string | Buffer)[],
): readonly string[] => {
  if (injected === null) return []
  const named = scopesLacking(valuesOf(raw, 'www-authenticate').join(', '))
  const missing = lacking(connection.provider, injected.scopes, named)
  return missing.every((scope) => connection.scopes.includes(scope)) ? missing : []
}

/**
 * How a call ended at its provider. `problem`: nothing was answered yet, and this is to be. `again`: its provider did nothing,
 * the time that it asked for has passed, and nothing was answered.
 */
export type Forwarded = {
  readonly outcome: Outcome
  readonly problem: Problem | null
  readonly again?: true
}
/** Does not reject. */
export type Forward = (job: Job, req: IncomingMessage, res: ServerResponse) => Promise<Forwarded>

/** One call on its way: what its tries share. */
type Sending = Answer & {
  readonly job: Job
  readonly began: number
  /** Tick of the last byte to or from the provider; Infinity: it waits until the provider takes calls again. */
  seen: number
  slot: number
  credential: Injected | null
  sent: boolean
  /** Bytes from the agent since a WebSocket stands. */
  up: number
  /** Ends what the provider still gets of a body, in HTTP/2; null: none is on its way. */
  endBody: (() => void) | null
  /** Ends a WebSocket; null: none stands. */
  cut: (() => void) | null
  resolve: (ended: Forwarded) => void
  leave: () => void
}

type Try = {
  readonly call: Sending
  readonly options: Dispatcher.DispatchOptions & Dialled
  readonly handler: Dispatcher.DispatchHandler
}

/**
 * The limits are read each time they are needed: a reload may change them.
 * @param deps.idleTimeout ms without a byte to or from the provider
 * @param deps.requestBody most bytes of a streamed body
 * @param deps.rewrittenBody bytes of an answer that may be collected to rewrite URLs in it
 */
export const createForward = (deps: {
  readonly dispatcher: Upstream
  readonly idleTimeout: number
  readonly requestBody: number
  readonly rewrittenBody: number
  readonly clock: Pick<Clock, 'mono' | 'now'>
  readonly upstream: (finished: UpstreamSeen) => void
}): { readonly forward: Forward; readonly close: () => void } => {
  const { clock, dispatcher } = deps
  const scrubberFor = createScrubbers()
  const sweep = createSweep()
  // One timer for all calls instead of one each: a second's precision is enough for an idle deadline.
  const live = createSlots<Sending>()
  let tick = 0
  const timer = setInterval(() => {
    tick++
    for (const call of live.values())
      if ((tick - call.seen) * 1_000 > deps.idleTimeout)
        stop(
          call,
          new Problem(
            'upstream_timeout',
            `nothing moved to or from the provider for ${deps.idleTimeout / 1_000} s`,
            {
              headers: proxyStatus(
                'upstream_timeout',
                call.sent ? 'http_response_timeout' : 'connection_timeout',
              ),
            },
          ),
        )
  }, 1_000)
  timer.unref()

  const outcomeOf = (call: Sending, result: Outcome['result']): Outcome => ({
    result,
    sent: call.sent,
    status: call.status,
    bytesIn: call.up + (call.job.body.bytes?.length ?? call.job.body.declared ?? 0),
    bytesOut: call.bytesOut,
    credential: call.credential,
    masked: call.scrubber?.hits() ?? 0,
    unrewritten: call.unrewritten,
    redacted: call.redacted,
    stripped: call.job.body.bytes === null ? namedTrailers(call.req.rawTrailers) : NONE,
    dropped: call.dropped,
  })
  /** Ends the call once. false: it had ended before. */
  const settle = (call: Sending, error: string): boolean => {
    if (call.done) return false
    call.done = true
    live.remove(call.slot)
    call.endBody?.()
    const { route, timeline } = call.job
    timeline?.at('deputy.ended')
    deps.upstream({
      method: route.target.method,
      status: call.status ?? 0,
      host: route.host,
      port: route.port,
      error,
      seconds: (clock.mono() - call.began) / 1_000,
    })
    return true
  }
  /** Whoever may repeat the call has to know whether the provider may have carried it out. */
  const told = ({ sent }: Sending, problem: Problem): Problem => {
    const { code, message, headers, cause } = problem
    const known = sent
      ? '; the request was sent, and the provider may have carried it out'
      : '; the request was not sent'
    return new Problem(code, OF_THE_PROVIDER.has(code) ? message + known : message, {
      extra: { ...problem.extra, sent },
      headers,
      cause,
    })
  }
  /** Ends the call from our side: a problem while nothing was answered, a cut stream afterwards. */
  const stop = (call: Sending, problem: Problem): void => {
    if (!settle(call, problem.code)) return
    call.controller?.abort(problem)
    if (call.res.headersSent) {
      if (call.cut !== null) call.cut()
      else if (isGrpc(call.job.body.contentType) && call.res.chunkedEncoding) {
        call.res.addTrailers(endedBy(problem))
        call.res.end()
      } else call.res.destroy()
      call.resolve({ outcome: outcomeOf(call, 'interrupted'), problem: null })
    } else call.resolve({ outcome: outcomeOf(call, problem.code), problem: told(call, problem) })
  }

  const answers = createAnswers<Sending>({
    get rewrittenBody() {
      return deps.rewrittenBody
    },
    stop,
  })

  /** The provider said yes to a handshake. */
  const upgraded = (
    call: Sending,
    code: number,
    answered: Parameters<typeof switched>[1],
    socket: Duplex,
  ): void => {
    const { req, res, scrubber } = call
    const head =
      code === 101 && call.job.websocket ? switched(call.job.sifted.kept, answered) : null
    if (head === null) {
      socket.destroy()
      return stop(call, fault(new Error('bad upgrade'), call.sent))
    }
    call.status = code
    call.seen = tick
    res.off('close', call.leave)
    res.sendDate = false
    res.writeHead(code, head).flushHeaders()
    const moved = (): void => void (call.seen = tick)
    const seen = {
      scrubber: scrubber?.body(200, '') ?? null,
      up: (bytes: number) => void (moved(), (call.up += bytes)),
      down: (bytes: number) => void (moved(), (call.bytesOut += bytes)),
    }
    call.cut = joined(req.socket, socket, seen, (whole) => {
      if (!settle(call, whole ? '' : 'aborted')) return
      call.resolve({ outcome: outcomeOf(call, whole ? 'ok' : 'interrupted'), problem: null })
    })
  }

  /** A body that goes on while it comes. */
  const streamed = (call: Sending, http2: boolean) => {
    const pipe = bounded(call.req, deps.requestBody, (bytes) => {
      call.seen = tick
      sweep(bytes)
    })
    if (!http2) return pipe
    // Whoever has the whole answer sends no more, and the stream must not stay open for it.
    call.endBody = () => {
      call.req.unpipe(pipe)
      pipe.end()
    }
    return iterated(pipe)
  }

  /** One try: what undici tells of it goes into its call, until that has ended or a newer try took over. */
  const tryOf = (call: Sending, injected: Injected | null, mayRetry: boolean): Try => {
    const { body, route, pointers, signed, guard, sifted, again, later } = call.job
    const replayable = body.state === 'none' || body.bytes !== null
    // A handshake is one of HTTP/1.1 (RFC 6455 4.1).
    const http2 = route.connection.provider.http2 === true && !call.job.websocket && !route.asset
    const headers = upstreamHeaders({
      sifted,
      host: route.authority,
      provider: route.connection.provider,
      token: injected?.token ?? null,
      contentLength: body.state === 'none' ? null : (body.bytes?.length ?? body.declared),
      chunked: body.state !== 'none' && body.bytes === null && body.declared === null,
      coding:
        pointers.length > 0 || signed !== null || guard != null
          ? 'rewritable'
          : injected === null
            ? 'as_asked'
            : 'identity',
    })
    /** A newer try took over, and what undici still tells of this one is nobody's. */
    let over = false
    /** While its answer waits: `lost` is how its connection ended meanwhile, which matters only to an answer that is passed on. */
    let held: { lost: Error | null } | null = null
    let peek: (Peek & { readonly pass: () => void }) | null = null
    const retry = (
      started: Dispatcher.DispatchController,
      used: Injected,
      said: 'status' | 'body',
      giveUp: () => void,
    ): void => {
      started.pause()
      again(used, said)
        .then((next) => {
          if (call.done) return
          if (next === null) {
            giveUp()
            started.resume()
            return
          }
          over = true
          started.abort(new Error('superseded by a call with a newer token'))
          attempt(call, next, false)
        })
        .catch((error: unknown) =>
          stop(
            call,
            error instanceof Problem
              ? error
              : new Problem('credential_unavailable', 'the token could not be refreshed', {
                  cause: error,
                }),
          ),
        )
    }
    /** The answer stays in its socket until it is known whether anybody gets it. */
    const wait = (
      started: Dispatcher.DispatchController,
      later: Promise<boolean>,
      pass: () => void,
    ): void => {
      started.pause()
      call.seen = Infinity
      const mine: { lost: Error | null } = (held = { lost: null })
      const passed = (): void => {
        held = null
        call.seen = tick
        if (mine.lost !== null) return failed(mine.lost)
        pass()
        started.resume()
      }
      later
        .then((again) => {
          if (call.done) return
          if (!again) return passed()
          over = true
          started.abort(new Error('repeated after the time that the provider asked for'))
          if (!settle(call, '')) return
          call.res.off('close', call.leave)
          call.resolve({ outcome: outcomeOf(call, 'ok'), problem: null, again: true })
        })
        .catch((error: unknown) => stop(call, toProblem(error)))
    }
    const failed = (error: Error): void =>
      stop(call, error instanceof Problem ? error : fault(error, call.sent))
    const flow = (started: Dispatcher.DispatchController | null, chunk: Buffer): void => {
      sweep(chunk.length)
      if (answers.data(call, chunk) || started === null) return
      started.pause()
      call.res.once('drain', () => started.resume())
    }
    /** What was kept back passes. */
    const release = (started: Dispatcher.DispatchController | null): void => {
      const looked = peek
      peek = null
      looked?.pass()
      for (const chunk of looked?.kept ?? []) flow(started, chunk)
    }
    return {
      call,
      options: {
        origin: route.origin,
        tls: route.connection.tls ?? null,
        path: targetText(route.target),
        method: route.target.method,
        ...(call.job.websocket ? { upgrade: 'websocket' } : {}),
        http2,
        headers: isGrpc(body.contentType) ? grpcHeaders(headers, injected !== null) : headers,
        body: body.state === 'none' ? null : (body.bytes ?? streamed(call, http2)),
      },
      handler: {
        onRequestStart(started) {
          call.controller = started
          // Its connection stands, and the first bytes follow at once.
          call.sent = true
          call.job.timeline?.at('deputy.sent')
          if (call.done) started.abort(new Error('the call has ended'))
        },
        onRequestUpgrade(_started, code, answered, socket) {
          if (over) socket.destroy()
          else upgraded(call, code, answered, socket)
        },
        onResponseStart(started, code) {
          if (over) return
          if (code === 101) return stop(call, fault(new Error('bad upgrade'), call.sent))
          // Interim answers are of one hop (RFC 9110 15.2).
          if (code < 200) return
          call.seen = tick
          call.job.timeline?.at('deputy.first_byte')
          const raw = flatSection(started.rawHeaders)
          const asked =
            code === 401 && injected !== null
              ? challengeIn(valuesOf(raw, 'www-authenticate').join(', '), (said) =>
                  call.scrubber === null ? said : call.scrubber.text(said),
                )
              : null
          if (asked !== null) {
            // No refresh helps: the provider wants the person (RFC 9470).
            call.status = code
            const what = 'the provider demands another sign-in'
            return stop(call, new Problem('step_up_required', what, { extra: asked }))
          }
          const pass = (): void => answers.head(call, raw, code)
          const more = code === 403 ? scopesToAsk(injected, route, raw) : []
          if (more.length > 0) {
            call.status = code
            const what = `the provider demands more: ${more.join(', ')}`
            return stop(call, new Problem('consent_required', what, { extra: { scopes: more } }))
          }
          const limited =
            later === null || !replayable
              ? null
              : limitedFor(code, (name) => single(raw, name), clock.now(), DAY_MS)
          if (limited !== null && later !== null) {
            call.status = code
            return wait(started, later(limited), pass)
          }
          if (!mayRetry || !replayable || injected === null) return pass()
          if (code === 401) return retry(started, injected, 'status', pass)
          const looking = peekAt(route.connection.provider.unauthorized, (name) =>
            valuesOf(raw, name),
          )
          if (looking === null) pass()
          else peek = { ...looking, pass }
        },
        onResponseData(started, chunk) {
          if (over) return
          call.seen = tick
          if (peek === null) return flow(started, chunk)
          const looked = peek.chunk(chunk)
          if (looked === 'pass') release(started)
          else if (looked === 'unauthorized' && injected !== null)
            retry(started, injected, 'body', () => release(started))
        },
        onResponseEnd(ended) {
          if (over) return
          if (peek !== null) release(null)
          const trailers = flatSection(ended.rawTrailers)
          answers.end(call, trailers)
        },
        onResponseError(_started, error) {
          if (over) return
          if (held === null) failed(error)
          else held.lost = error
        },
      },
    }
  }

  const attempt = (call: Sending, injected: Injected | null, mayRetry: boolean): void => {
    call.credential = injected
    call.scrubber = injected === null ? null : scrubberFor(injected.token)
    try {
      if (leaving.push(tryOf(call, injected, mayRetry)) === 1) process.nextTick(leaveAll)
    } catch (error) {
      unsent(call, error)
    }
  }
  const unsent = (call: Sending, error: unknown): void => {
    stop(
      call,
      error instanceof Problem
        ? error
        : new Problem('internal', 'the call could not be sent', { cause: error }),
    )
  }
  // Calls that were allowed together leave together, for the same reason as in net/respond.
  let leaving: Try[] = []
  const leaveAll = (): void => {
    const batch = leaving
    leaving = []
    for (const { call, options, handler } of batch) {
      if (call.done) continue
      try {
        dispatcher.dispatch(options, handler)
      } catch (error) {
        unsent(call, error)
      }
    }
  }

  const forward: Forward = (job, req, res) =>
    new Promise<Forwarded>((resolve) => {
      const call: Sending = {
        ...unanswered(job, req, res),
        job,
        began: clock.mono(),
        seen: tick,
        slot: -1,
        credential: job.injected,
        sent: false,
        up: 0,
        endBody: null,
        cut: null,
        resolve,
        leave: () => {
          const whole = res.writableFinished
          if (!settle(call, whole ? '' : 'aborted')) return
          if (!whole) call.controller?.abort(new Error('the caller left'))
          resolve({ outcome: outcomeOf(call, whole ? 'ok' : 'interrupted'), problem: null })
        },
      }
      call.slot = live.add(call)
      const { signal } = job
      const ended = (): void => stop(call, toProblem(signal.reason))
      if (signal.aborted) return ended()
      signal.addEventListener('abort', ended)
      // Who left before now does not leave again.
      if (res.closed) return call.leave()
      res.on('close', call.leave)
      attempt(call, job.injected, true)
    })

  return { forward, close: () => clearInterval(timer) }
}
