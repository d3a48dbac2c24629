// The way back: the head made from nothing, the bytes searched for the token, all answers of one turn sent together.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Injected, Route } from '../model.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import { answerHeaders, createAnswerReader } from '../wire/headers.ts'
import {
  rewriteJson,
  rewriteLink,
  rewriteReference,
  rewriteUrl,
  type Readdress,
} from '../wire/rewrite.ts'
import type { TokenScrubber } from '../wire/scrub.ts'
import { decoded, decoderFor, held, type Sink } from './sinks.ts'
import { gather } from './turn.ts'

/** What an answer belongs to. */
export type About = {
  readonly route: Pick<Route, 'addressing' | 'host'>
  readonly injected: Injected | null
  /** JSON pointers of this operation's answers that hold URLs. */
  readonly pointers: readonly string[]
  /** URLs that clients follow without a key, and what seals a tag into their address; null: none. */
  readonly signed: {
    readonly pointers: readonly string[]
    readonly seal: (host: string, target: string) => string
  } | null
  /** `host[:port]` → the name that the agent uses; false: not served. */
  readonly served: (host: string) => boolean | string
}

export type Answer = {
  readonly job: About
  readonly req: IncomingMessage
  readonly res: ServerResponse
  controller: Dispatcher.DispatchController | null
  /** Of the token that was sent; null: none was. */
  scrubber: TokenScrubber | null
  status: number | null
  /** The call has ended: what still comes is nobody's. */
  done: boolean
  bytesOut: number
  /** A URL was left as it came, because the answer passes `limits.rewritten_body`. */
  unrewritten: boolean
  sink: Sink | null
  /** Stands among those that are sent at the end of this turn, with `first` and, if `whole`, the end. */
  due: boolean
  first: Buffer | null
  whole: boolean
}

/** A call's answer before any of it came. */
export const unanswered = (job: About, req: IncomingMessage, res: ServerResponse): Answer => ({
  job,
  req,
  res,
  controller: null,
  scrubber: null,
  status: null,
  done: false,
  bytesOut: 0,
  unrewritten: false,
  sink: null,
  due: false,
  first: null,
  whole: false,
})

const codingFault = (code: ProblemCode) => ({
  'proxy-status': `deputy; error=http_response_content_coding; details="${code}"`,
})

const JSON_TYPE = /^application\/(?:[\w.+-]*\+)?json/i

const readdressOf = ({ job, req }: Answer): Readdress => {
  const { addressing, host: own } = job.route
  const prefix = 'prefix' in addressing ? addressing.prefix : ''
  const scheme = 'encrypted' in req.socket ? 'https' : 'http'
  const base = `${scheme}://${req.headers.host ?? 'localhost'}${prefix}`
  // A dedicated listener serves one host: what names another stays as it is.
  const served: About['served'] =
    addressing.kind === 'listener'
      ? (host) => {
          const name = job.served(host)
          return (name === true ? host : name) === own ? name : false
        }
      : job.served
  return (url) => rewriteUrl(url, served, base, addressing, null)
}

/** The same with a sealed tag in the path, where the way of addressing has room for one. */
const readdressSigned = (
  answer: Answer,
  seal: (host: string, target: string) => string,
): Readdress => {
  const { addressing } = answer.job.route
  const plain = readdressOf(answer)
  if (addressing.kind !== 'path' && addressing.kind !== 'host') return plain
  const { req, job } = answer
  const origin = `${'encrypted' in req.socket ? 'https' : 'http'}://${req.headers.host ?? 'localhost'}`
  const chosen = /[^/]*@$/.exec(addressing.prefix)?.[0] ?? ''
  return (url) => {
    const there = rewriteUrl(url, job.served, '', { kind: 'path', prefix: '' }, null)
    const slash = there?.indexOf('/') ?? -1
    if (there === null || slash === -1) return plain(url)
    const [host, target] = [there.slice(0, slash), there.slice(slash)]
    const prefix = `${origin}/~${seal(host, target)}`
    return rewriteUrl(
      url,
      job.served,
      addressing.kind === 'path' ? `${prefix}/${chosen}` : prefix,
      addressing,
      null,
    )
  }
}

const write = (answer: Answer, chunk: Buffer): boolean => {
  if (chunk.length === 0) return true
  answer.bytesOut += chunk.length
  if (answer.due && answer.first === null) {
    answer.first = chunk
    return true
  }
  const { first, res } = answer
  answer.first = null
  if (first !== null) res.write(first)
  return res.write(chunk)
}

/**
 * @param deps.rewrittenBody bytes of an answer that may be held to rewrite URLs in it
 * @param deps.stop ends a call that cannot be answered
 */
export const createAnswers = <A extends Answer>(deps: {
  readonly rewrittenBody: number
  readonly stop: (answer: A, problem: Problem) => void
}) => {
  const readAnswer = createAnswerReader()

  /** Makes the head. @returns where the body goes, or null when the call ended here */
  const begin = (answer: A, raw: readonly (string | Buffer)[], code: number): Sink | null => {
    const { job, req, res, scrubber } = answer
    const head = readAnswer(raw)
    const bodyless = code === 204 || code === 304 || req.method === 'HEAD'
    const coding = bodyless ? 'identity' : head.coding
    const json =
      !bodyless &&
      (job.pointers.length > 0 || job.signed !== null) &&
      code < 300 &&
      JSON_TYPE.test(head.type)
    const decoder =
      coding === 'identity' || (job.injected === null && !json) ? null : decoderFor(coding)
    if (coding !== 'identity' && decoder === null && job.injected !== null) {
      deps.stop(
        answer,
        new Problem(
          'answer_not_redactable',
          'the answer has a content coding that deputy cannot read, so it cannot be searched for the token',
          { headers: codingFault('answer_not_redactable') },
        ),
      )
      return null
    }
    // RFC 9110 8.6: a 204 has no length, and a 304 speaks of another answer's.
    const changed = decoder !== null || json
    const kept = answerHeaders(head, changed, code === 204 || code === 304, (value, rule) => {
      const told =
        rule === 'links'
          ? rewriteLink(value, readdressOf(answer))
          : rule === 'url'
            ? (rewriteReference(value, job.route.host, readdressOf(answer)) ?? value)
            : value
      return scrubber === null ? told : scrubber.text(told)
    })
    res.sendDate = false
    // The provider's reason phrase stays behind: it is any bytes, and means nothing (RFC 9112 4).
    res.writeHead(code, kept)
    const plain: Sink = {
      push: (chunk) => write(answer, scrubber === null ? chunk : scrubber.push(chunk)),
      end: () => {
        if (scrubber !== null) write(answer, scrubber.end())
        answer.whole = true
        queue(answer)
      },
    }
    const rewrite = (body: string): string => {
      const { signed } = job
      const text = rewriteJson(body, job.pointers, readdressOf(answer))
      return signed === null
        ? text
        : rewriteJson(text, signed.pointers, readdressSigned(answer, signed.seal))
    }
    const into = json
      ? held(deps.rewrittenBody, plain, rewrite, () => (answer.unrewritten = true))
      : plain
    return decoder === null
      ? into
      : decoded(
          decoder,
          into,
          res,
          () => answer.controller?.resume(),
          () =>
            deps.stop(
              answer,
              new Problem('upstream_unreachable', 'the answer’s content coding is broken', {
                headers: codingFault('upstream_unreachable'),
              }),
            ),
        )
  }
  const send = (answer: A): void => {
    const { req, res, first } = answer
    answer.due = false
    answer.first = null
    if (answer.done) return
    try {
      if (answer.whole) {
        res.end(first ?? undefined)
        // The provider answered before it had read everything: a caller that still writes would never look.
        if (!req.complete) req.unpipe().resume()
      } else if (first !== null) res.write(first)
      else res.flushHeaders()
    } catch (cause) {
      deps.stop(answer, new Problem('internal', 'the answer could not be sent', { cause }))
    }
  }
  // One after the other each step stays in the processor's caches, and whoever waits for several is woken once.
  const due = gather<A>((batch) => batch.forEach(send))
  const queue = (answer: A): void => {
    if (answer.due) return
    answer.due = true
    due(answer)
  }

  return {
    /** The head has come. */
    head: (answer: A, raw: readonly (string | Buffer)[], code: number): void => {
      answer.status = code
      answer.sink = begin(answer, raw, code)
      queue(answer)
    },
    /** @returns whether there is room for more */
    data: (answer: A, chunk: Buffer): boolean => answer.sink?.push(chunk) ?? true,
    end: (answer: A): void => answer.sink?.end(),
  }
}
