// Sends the call, streams the answer back with backpressure, retries one 401; redirects are passed on, never followed.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Clock, Injected, Route } from '../model.ts'
import { bounded, decoded, decoderFor, held, type Sink } from '../net/sinks.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import { createSlots } from '../slots.ts'
import { targetText } from '../wire/canonical.ts'
import {
  challengeIn,
  createAnswerHeaders,
  createScrubbers,
  upstreamHeaders,
  type Sifted,
} from '../wire/headers.ts'
import {
  rewriteJson,
  rewriteLink,
  rewriteReference,
  rewriteUrl,
  type Readdress,
} from '../wire/rewrite.ts'
import type { TokenScrubber } from '../wire/scrub.ts'
import type { Body } from './inspect.ts'

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
}

export type Job = {
  readonly route: Route
  readonly body: Body
  readonly injected: Injected | null
  /** JSON pointers of this operation's answers that hold URLs. */
  readonly pointers: readonly string[]
  /** The agent's headers that may pass. */
  readonly sifted: Sifted
  /** A newer token after a 401; null: none. */
  readonly again: (used: Injected) => Promise<Injected | null>
  /** `host[:port]` → the name that the agent uses; false: not served. */
  readonly served: (host: string) => boolean | string
  /** Registers how the call is ended from outside (revocation, drain). */
  readonly onAbort: (abort: (reason: Problem) => void) => void
}

const JSON_TYPE = /^application\/(?:[\w.+-]*\+)?json/i

type Fault = { readonly code: ProblemCode; readonly detail: string; readonly sent: boolean }

const NOT_SENT = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
])

/** What went wrong on the way to the provider; the cause itself is for the log. */
const fault = (error: unknown): Fault => {
  const code =
    error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (code === 'DEPUTY_ADDRESS_PROHIBITED')
    return {
      code: 'upstream_prohibited',
      detail: 'the provider’s address is private or local and not allowed',
      sent: false,
    }
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return {
      code: 'upstream_timeout',
      detail: 'the provider could not be connected in time',
      sent: false,
    }
  if (/CERT|SELF_SIGNED|UNABLE_TO_|TLS|SSL/.test(code))
    return {
      code: 'upstream_unreachable',
      detail: 'the provider’s TLS certificate does not verify, or TLS failed',
      sent: false,
    }
  return {
    code: 'upstream_unreachable',
    detail: `the connection to the provider failed${code === '' ? '' : ` (${code})`}`,
    sent: !NOT_SENT.has(code),
  }
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

export type Forward = (job: Job, req: IncomingMessage, res: ServerResponse) => Promise<Outcome>

/** One call on its way: what its callbacks share. */
type Sending = {
  readonly job: Job
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly began: number
  /** Tick of the last byte from the provider. */
  seen: number
  slot: number
  controller: Dispatcher.DispatchController | null
  credential: Injected | null
  scrubber: TokenScrubber | null
  status: number | null
  sent: boolean
  done: boolean
  bytesOut: number
  unrewritten: boolean
  resolve: (outcome: Outcome) => void
  reject: (problem: Problem) => void
  leave: () => void
}

/**
 * @param deps.idleTimeout ms without a byte from the provider
 * @param deps.requestBody most bytes of a streamed body
 * @param deps.rewrittenBody bytes of an answer that may be held to rewrite URLs in it
 */
export const createForward = (deps: {
  readonly dispatcher: Dispatcher
  readonly idleTimeout: number
  readonly requestBody: number
  readonly rewrittenBody: number
  readonly clock: Pick<Clock, 'mono'>
  /** A finished request: status 0 where no answer came; duration in s. */
  readonly upstream: (
    method: string,
    status: number,
    host: string,
    port: number,
    error: string,
    seconds: number,
  ) => void
}): { readonly forward: Forward; readonly close: () => void } => {
  const { clock, dispatcher } = deps
  const scrubberFor = createScrubbers()
  const answerHeaders = createAnswerHeaders()
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
            `the provider sent nothing for ${deps.idleTimeout / 1_000} s`,
          ),
        )
  }, 1_000)
  timer.unref()

  const outcomeOf = (call: Sending, result: Outcome['result']): Outcome => ({
    result,
    sent: call.sent,
    status: call.status,
    bytesIn: call.job.body.bytes?.length ?? call.job.body.declared ?? 0,
    bytesOut: call.bytesOut,
    credential: call.credential,
    masked: call.scrubber?.hits ?? 0,
    unrewritten: call.unrewritten,
  })
  /** Ends the call once. false: it had ended before. */
  const settle = (call: Sending, error: string): boolean => {
    if (call.done) return false
    call.done = true
    live.remove(call.slot)
    call.res.off('close', call.leave)
    const { route } = call.job
    deps.upstream(
      route.target.method,
      call.status ?? 0,
      route.host,
      route.port,
      error,
      (clock.mono() - call.began) / 1_000,
    )
    return true
  }
  /** Ends the call from our side: a problem while nothing was answered, a cut stream afterwards. */
  const stop = (call: Sending, problem: Problem): void => {
    if (!settle(call, problem.code)) return
    call.controller?.abort(problem)
    if (call.res.headersSent) {
      call.res.destroy()
      call.resolve(outcomeOf(call, 'interrupted'))
    } else call.reject(Object.assign(problem, { outcome: outcomeOf(call, problem.code) }))
  }

  const write = (call: Sending, chunk: Buffer): boolean => {
    if (chunk.length === 0) return true
    call.bytesOut += chunk.length
    return call.res.write(chunk)
  }
  const scrubbed = (call: Sending, chunk: Buffer): boolean =>
    write(call, call.scrubber === null ? chunk : call.scrubber.push(chunk))
  const end = (call: Sending): void => {
    if (call.scrubber !== null) write(call, call.scrubber.end())
    call.res.end()
  }

  const readdressOf = ({ job, req }: Sending): Readdress => {
    const { addressing } = job.route
    const prefix = 'prefix' in addressing ? addressing.prefix : ''
    const scheme = 'encrypted' in req.socket ? 'https' : 'http'
    const base = `${scheme}://${req.headers.host ?? 'localhost'}${prefix}`
    // A dedicated listener serves one host: what names another stays as it is.
    const served: Job['served'] =
      addressing.kind === 'listener'
        ? (host) => {
            const name = job.served(host)
            return (name === true ? host : name) === job.route.host ? name : false
          }
        : job.served
    return (url) => rewriteUrl(url, served, base, addressing, null)
  }

  let opening: Sending[] = []
  const openAll = (): void => {
    const begun = opening
    opening = []
    for (const { bytesOut, done, res } of begun)
      if (bytesOut === 0 && !done && !res.writableEnded) res.flushHeaders()
  }

  /** Sends the head of the answer. @returns where its body goes, or null when the call ended here */
  const begin = (
    call: Sending,
    raw: readonly (string | Buffer)[],
    code: number,
    text: string | undefined,
  ): Sink | null => {
    const { job, req, res, scrubber } = call
    call.status = code
    res.sendDate = false
    const bodyless = code === 204 || code === 304 || req.method === 'HEAD'
    const coding = bodyless
      ? 'identity'
      : (valuesOf(raw, 'content-encoding')[0] ?? 'identity').trim().toLowerCase()
    const json =
      !bodyless &&
      job.pointers.length > 0 &&
      code < 300 &&
      JSON_TYPE.test(valuesOf(raw, 'content-type')[0] ?? '')
    const decoder =
      coding === 'identity' || (job.injected === null && !json) ? null : decoderFor(coding)
    if (coding !== 'identity' && decoder === null && job.injected !== null) {
      stop(
        call,
        new Problem(
          'answer_not_redactable',
          'the answer has a content coding that deputy cannot read, so it cannot be searched for the token',
        ),
      )
      return null
    }
    const kept = answerHeaders(raw, decoder !== null || json, (value, rule) => {
      const told =
        rule === 'links'
          ? rewriteLink(value, readdressOf(call))
          : rule === 'url'
            ? (rewriteReference(value, job.route.host, readdressOf(call)) ?? value)
            : value
      return scrubber === null ? told : scrubber.text(told)
    })
    if (text === undefined) res.writeHead(code, kept)
    else res.writeHead(code, scrubber === null ? text : scrubber.text(text), kept)
    // A stream may open long before its first byte; most answers bring both at once, in one write.
    if (opening.push(call) === 1) process.nextTick(openAll)
    const plain: Sink = { push: (chunk) => scrubbed(call, chunk), end: () => end(call) }
    const rewrite = (body: string): string => rewriteJson(body, job.pointers, readdressOf(call))
    const into = json
      ? held(deps.rewrittenBody, plain, rewrite, () => (call.unrewritten = true))
      : plain
    return decoder === null
      ? into
      : decoded(
          decoder,
          into,
          res,
          () => call.controller?.resume(),
          () =>
            stop(
              call,
              new Problem('upstream_unreachable', 'the answer’s content coding is broken'),
            ),
        )
  }

  const attempt = (call: Sending, injected: Injected | null, mayRetry: boolean): void => {
    const { job, req, res } = call
    const { route, body } = job
    call.credential = injected
    call.scrubber = injected === null ? null : scrubberFor(injected.token)
    // A newer attempt took over: what still comes for this one is ignored.
    let over = false
    let sink: Sink | null = null

    const retry = (
      started: Dispatcher.DispatchController,
      used: Injected,
      raw: readonly (string | Buffer)[],
      text: string | undefined,
    ): void => {
      started.pause()
      job.again(used).then(
        (next) => {
          if (call.done) return
          if (next === null) {
            sink = begin(call, raw, 401, text)
            started.resume()
            return
          }
          over = true
          started.abort(new Error('superseded by a call with a newer token'))
          attempt(call, next, false)
        },
        (error: unknown) =>
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

    call.sent = true
    dispatcher.dispatch(
      {
        origin: route.origin,
        path: targetText(route.target),
        method: route.target.method,
        headers: upstreamHeaders({
          sifted: job.sifted,
          host: route.authority,
          provider: route.connection.provider,
          token: injected?.token ?? null,
          contentLength: body.state === 'none' ? null : (body.bytes?.length ?? body.declared),
          chunked: body.state !== 'none' && body.bytes === null && body.declared === null,
          coding:
            job.pointers.length > 0 ? 'rewritable' : injected === null ? 'as_asked' : 'identity',
        }),
        body: body.state === 'none' ? null : (body.bytes ?? bounded(req, deps.requestBody)),
      },
      {
        onRequestStart(started) {
          call.controller = started
          if (call.done) started.abort(new Error('the call has ended'))
        },
        onResponseStart(started, code, _headers, text) {
          if (code < 200 || call.done || over) return
          call.seen = tick
          const raw = (started.rawHeaders ?? []) as readonly (string | Buffer)[]
          const asked =
            code === 401 && injected !== null
              ? challengeIn(valuesOf(raw, 'www-authenticate').join(', '))
              : null
          if (asked !== null) {
            // No refresh helps: the provider wants the person (RFC 9470).
            call.status = code
            stop(
              call,
              new Problem('step_up_required', 'the provider demands another sign-in', {
                extra: asked,
              }),
            )
            return
          }
          const replayable = body.state === 'none' || body.bytes !== null
          if (code === 401 && mayRetry && replayable && injected !== null)
            retry(started, injected, raw, text)
          else sink = begin(call, raw, code, text)
        },
        onResponseData(started, chunk) {
          if (call.done || over || sink === null) return
          call.seen = tick
          if (sink.push(chunk)) return
          started.pause()
          res.once('drain', () => started.resume())
        },
        onResponseEnd() {
          if (!call.done && !over) sink?.end()
        },
        onResponseError(_started, error) {
          if (call.done || over) return
          if (error instanceof Problem) return stop(call, error)
          const what = fault(error)
          call.sent = what.sent
          stop(call, new Problem(what.code, what.detail, { cause: error }))
        },
      },
    )
  }

  const forward: Forward = (job, req, res) =>
    new Promise<Outcome>((resolve, reject) => {
      const call: Sending = {
        job,
        req,
        res,
        began: clock.mono(),
        seen: tick,
        slot: -1,
        controller: null,
        credential: job.injected,
        scrubber: null,
        status: null,
        sent: false,
        done: false,
        bytesOut: 0,
        unrewritten: false,
        resolve,
        reject,
        leave: () => {
          const whole = res.writableFinished
          if (!settle(call, whole ? '' : 'aborted')) return
          if (!whole) call.controller?.abort(new Error('the caller left'))
          resolve(outcomeOf(call, whole ? 'ok' : 'interrupted'))
        },
      }
      call.slot = live.add(call)
      res.on('close', call.leave)
      job.onAbort((reason) => stop(call, reason))
      try {
        attempt(call, job.injected, true)
      } catch (error) {
        call.sent = false
        stop(
          call,
          error instanceof Problem
            ? error
            : new Problem('internal', 'the call could not be sent', { cause: error }),
        )
      }
    })

  return { forward, close: () => clearInterval(timer) }
}
