// Sends the call, streams the answer back with backpressure, retries one 401; redirects are passed on, never followed.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Transform, type TransformCallback } from 'node:stream'
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib'
import type { Dispatcher } from 'undici'
import type { Clock, Injected, Route } from '../model.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import { targetText } from '../wire/canonical.ts'
import { answerHeaders, REWRITTEN, scrubberFor, upstreamHeaders } from '../wire/headers.ts'
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
  /** Lower-case name of the tag header. */
  readonly tagHeader: string
  /** A newer token after a 401; null: none. */
  readonly again: (used: Injected) => Promise<Injected | null>
  /** `host[:port]` → the name that the agent uses; false: not served. */
  readonly served: (host: string) => boolean | string
  /** Registers how the call is ended from outside (revocation, drain). */
  readonly onAbort: (abort: (reason: Problem) => void) => void
}

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

const decoderFor = (coding: string): Transform | null =>
  coding === 'gzip' || coding === 'x-gzip'
    ? createGunzip()
    : coding === 'br'
      ? createBrotliDecompress()
      : coding === 'deflate'
        ? createInflate()
        : coding === 'zstd'
          ? createZstdDecompress()
          : null

const valueOf = (raw: readonly (string | Buffer)[], name: string): string | null => {
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i]
    if (
      key !== undefined &&
      key.length === name.length &&
      key.toString('latin1').toLowerCase() === name
    )
      return raw[i + 1]?.toString('latin1') ?? ''
  }
  return null
}

/** Limits a streamed body, and keeps the caller's socket alive when the upstream breaks. */
const bounded = (req: IncomingMessage, limit: number): Transform => {
  let size = 0
  const pipe = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      size += chunk.length
      if (size > limit)
        done(
          new Problem('request_too_large', `the body passes limits.request_body (${limit} bytes)`),
        )
      else done(null, chunk)
    },
  })
  req.on('error', (error) => pipe.destroy(error))
  return req.pipe(pipe)
}

export type Forward = (job: Job, req: IncomingMessage, res: ServerResponse) => Promise<Outcome>

/**
 * @param deps.idleTimeout ms without a byte from the provider
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
  // One timer for all calls instead of one each: a second's precision is enough for an idle deadline.
  const live = new Set<{ seen: number; expire: () => void }>()
  let tick = 0
  const timer = setInterval(() => {
    tick++
    for (const call of live) if ((tick - call.seen) * 1_000 > deps.idleTimeout) call.expire()
  }, 1_000)
  timer.unref()

  const forward: Forward = (job, req, res) =>
    // The executor ends in exactly one resolve or reject, whichever side ends first.
    new Promise<Outcome>((resolve, reject) => {
      const { route, body } = job
      const { provider } = route.connection
      const reached = new URL(route.origin)
      const replayable = body.state === 'none' || body.bytes !== null
      const began = deps.clock.mono()
      let controller: Dispatcher.DispatchController | null = null
      let credential = job.injected
      let status: number | null = null
      let sent = false
      let done = false
      let bytesOut = 0
      let unrewritten = false
      let scrubber: TokenScrubber | null = null
      const watch = {
        seen: tick,
        expire: () =>
          stop(
            new Problem(
              'upstream_timeout',
              `the provider sent nothing for ${deps.idleTimeout / 1_000} s`,
            ),
          ),
      }
      live.add(watch)

      const outcome = (result: Outcome['result']): Outcome => ({
        result,
        sent,
        status,
        bytesIn: body.bytes?.length ?? body.declared ?? req.socket.bytesRead,
        bytesOut,
        credential,
        masked: scrubber?.hits ?? 0,
        unrewritten,
      })
      const settle = (): boolean => {
        if (done) return false
        done = true
        live.delete(watch)
        deps.upstream(
          route.target.method,
          status ?? 0,
          route.host,
          Number(reached.port) || (reached.protocol === 'https:' ? 443 : 80),
          '',
          (deps.clock.mono() - began) / 1_000,
        )
        res.off('close', onClose)
        return true
      }
      /** Ends the call from our side: a problem while nothing was answered, a cut stream afterwards. */
      const stop = (problem: Problem): void => {
        if (!settle()) return
        controller?.abort(problem)
        if (res.headersSent) {
          res.destroy()
          resolve(outcome('interrupted'))
        } else reject(Object.assign(problem, { outcome: outcome(problem.code) }))
      }
      const onClose = (): void => {
        if (res.writableFinished || !settle()) return
        controller?.abort(new Error('the caller left'))
        resolve(outcome('interrupted'))
      }
      res.on('close', onClose)
      job.onAbort(stop)

      const { addressing } = route
      const prefix = 'prefix' in addressing ? addressing.prefix : ''
      const scheme = 'encrypted' in req.socket ? 'https' : 'http'
      const base = `${scheme}://${req.headers.host ?? 'localhost'}${prefix}`
      const readdress: Readdress = (url) =>
        rewriteUrl(url, job.served, base, route.addressing, null)

      const attempt = (injected: Injected | null, mayRetry: boolean): void => {
        credential = injected
        scrubber = injected === null ? null : scrubberFor(injected.token)
        let over = false
        let sink: ((chunk: Buffer) => boolean) | null = null
        let finish: (() => void) | null = null
        const { headers } = upstreamHeaders({
          rawHeaders: req.rawHeaders,
          host: reached.host,
          tagHeader: job.tagHeader,
          provider,
          token: injected?.token ?? null,
          contentLength: body.state === 'none' ? null : (body.bytes?.length ?? body.declared),
          chunked: body.state !== 'none' && body.bytes === null && body.declared === null,
          coding:
            job.pointers.length > 0 ? 'rewritable' : injected === null ? 'as_asked' : 'identity',
        })

        const write = (chunk: Buffer): boolean => {
          if (chunk.length === 0) return true
          bytesOut += chunk.length
          return res.write(chunk)
        }
        const scrubbed = (chunk: Buffer): boolean =>
          write(scrubber === null ? chunk : scrubber.push(chunk))
        const end = (): void => {
          if (scrubber !== null) write(scrubber.end())
          res.end(() => {
            if (settle()) resolve(outcome('ok'))
          })
        }

        const begin = (
          raw: readonly (string | Buffer)[],
          code: number,
          text: string | undefined,
        ): void => {
          status = code
          res.sendDate = false
          const coding = (valueOf(raw, 'content-encoding') ?? 'identity').trim().toLowerCase()
          const json =
            job.pointers.length > 0 &&
            code < 300 &&
            /^application\/(?:[\w.+-]*\+)?json/i.test(valueOf(raw, 'content-type') ?? '')
          const bodyless = code === 204 || code === 304 || req.method === 'HEAD'
          const decoder =
            bodyless || coding === 'identity' || (injected === null && !json)
              ? null
              : decoderFor(coding)
          if (!bodyless && coding !== 'identity' && decoder === null && injected !== null)
            return stop(
              new Problem(
                'answer_not_redactable',
                'the answer has a content coding that deputy cannot read, so it cannot be searched for the token',
              ),
            )
          const changes = decoder !== null || (json && !bodyless)
          const kept = answerHeaders(raw, changes ? REWRITTEN : null)
          for (let i = 0; i < kept.length; i += 2) {
            const name = (kept[i] ?? '').toLowerCase()
            const value = kept[i + 1] ?? ''
            if (name === 'link') kept[i + 1] = rewriteLink(value, readdress)
            else if (name === 'location' || name === 'content-location')
              kept[i + 1] = rewriteReference(value, route.host, readdress) ?? value
            if (scrubber !== null && name !== 'content-length')
              kept[i + 1] = scrubber.text(kept[i + 1] ?? '')
          }
          if (text === undefined) res.writeHead(code, kept)
          else res.writeHead(code, text, kept)

          const deliver = json && !bodyless ? held() : { push: scrubbed, end }
          if (decoder === null) {
            sink = deliver.push
            finish = deliver.end
            return
          }
          decoder.on('data', (chunk: Buffer) => {
            if (!deliver.push(chunk)) {
              decoder.pause()
              res.once('drain', () => decoder.resume())
            }
          })
          decoder.on('end', deliver.end)
          decoder.on('error', () =>
            stop(new Problem('upstream_unreachable', 'the answer’s content coding is broken')),
          )
          sink = (chunk) => {
            const more = decoder.write(chunk)
            if (!more) decoder.once('drain', () => controller?.resume())
            return more
          }
          finish = () => decoder.end()
        }

        /** Holds a JSON answer up to the cap, to rewrite the URLs that the provider file names; a larger one passes as it is. */
        const held = (): { push: (chunk: Buffer) => boolean; end: () => void } => {
          let chunks: Buffer[] | null = []
          let size = 0
          return {
            push(chunk) {
              if (chunks === null) return scrubbed(chunk)
              chunks.push(chunk)
              size += chunk.length
              if (size <= deps.rewrittenBody) return true
              const all = Buffer.concat(chunks)
              chunks = null
              unrewritten = true
              return scrubbed(all)
            },
            end() {
              if (chunks !== null)
                scrubbed(
                  Buffer.from(
                    rewriteJson(Buffer.concat(chunks).toString('utf8'), job.pointers, readdress),
                  ),
                )
              end()
            },
          }
        }

        const retry = (raw: readonly (string | Buffer)[], text: string | undefined): void => {
          const used = injected
          if (used === null) return
          controller?.pause()
          const paused = controller
          job.again(used).then(
            (next) => {
              if (done) return
              if (next === null) {
                begin(raw, 401, text)
                paused?.resume()
                return
              }
              over = true
              paused?.abort(new Error('superseded by a call with a newer token'))
              attempt(next, false)
            },
            (error: unknown) =>
              stop(
                error instanceof Problem
                  ? error
                  : new Problem('credential_unavailable', 'the token could not be refreshed', {
                      cause: error,
                    }),
              ),
          )
        }

        const handler: Dispatcher.DispatchHandler = {
          onRequestStart(started) {
            controller = started
            if (done) started.abort(new Error('the call has ended'))
          },
          onResponseStart(started, code, _headers, text) {
            if (code < 200 || done || over) return
            watch.seen = tick
            const raw = (started.rawHeaders ?? []) as readonly (string | Buffer)[]
            if (code === 401 && mayRetry && replayable && injected !== null) retry(raw, text)
            else begin(raw, code, text)
          },
          onResponseData(started, chunk) {
            if (done || over || sink === null) return
            watch.seen = tick
            if (!sink(chunk)) {
              started.pause()
              res.once('drain', () => started.resume())
            }
          },
          onResponseEnd() {
            if (!done && !over) finish?.()
          },
          onResponseError(_started, error) {
            if (done || over) return
            if (error instanceof Problem) return stop(error)
            const what = fault(error)
            sent = what.sent
            stop(new Problem(what.code, what.detail, { cause: error }))
          },
        }
        sent = true
        deps.dispatcher.dispatch(
          {
            origin: route.origin,
            path: targetText(route.target),
            method: route.target.method,
            headers,
            body: body.state === 'none' ? null : (body.bytes ?? bounded(req, deps.requestBody)),
          },
          handler,
        )
      }

      try {
        attempt(job.injected, true)
      } catch (error) {
        sent = false
        stop(
          error instanceof Problem
            ? error
            : new Problem('internal', 'the call could not be sent', { cause: error }),
        )
      }
    })

  return { forward, close: () => clearInterval(timer) }
}
