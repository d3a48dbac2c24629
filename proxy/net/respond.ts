// The way back: the head made from nothing, the bytes searched for the token, all answers of one turn sent together.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Injected, Route } from '../model.ts'
import { shownMessage } from '../envelope/listed.ts'
import { Problem, toProblem, type ProblemCode } from '../problem.ts'
import {
  answerHeaders,
  answerTrailers,
  createAnswerReader,
  type AnswerHead,
  type AnswerScrubber,
} from '../wire/headers.ts'
import {
  mayChange,
  rewriteJson,
  rewriteLink,
  rewriteReference,
  rewriteUrl,
  withParameter,
  type Readdress,
} from '../wire/rewrite.ts'
import { evidenceName } from '../wire/strip.ts'
import { guarded, type Guard } from './guarded.ts'
import { originOf } from './host.ts'
import { events, sealedSession, type Rpc } from './rpc.ts'
import { decoded, decoderFor, rewritten, type Sink } from './sinks.ts'
import { gather } from './turn.ts'

/** Path and query at a host → the seal that goes with them; null: none does. */
type Seal = (host: string, target: string) => string | null

/** What an answer belongs to. */
export type About = {
  readonly route: Pick<Route, 'addressing' | 'host'>
  readonly injected: Injected | null
  /** JSON pointers of this operation's answers that hold URLs. */
  readonly pointers: readonly string[]
  /** URLs that clients follow without a key, and what seals a tag into their address; null: none. */
  readonly signed: {
    readonly pointers: readonly string[]
    /** null: no tag for this address. */
    readonly seal: Seal
  } | null
  /** What a URL's query needs to come back whole (wire/query_seal); null: no URL of this answer gets any. */
  readonly seal: Seal | null
  /** How the messages of an MCP server are read; null or absent: it is none. */
  readonly rpc?: Rpc | null
  /** Nothing of the answer leaves before this let it; null or absent: it leaves as it comes. */
  readonly guard?: Guard | null
  /** `host[:port]` → the name that the agent uses; false: not served. */
  readonly served: (host: string) => boolean | string
}

export type Answer = {
  readonly job: About
  readonly req: IncomingMessage
  readonly res: ServerResponse
  controller: Dispatcher.DispatchController | null
  /** Of the token that was sent; null: none was. */
  scrubber: AnswerScrubber | null
  status: number | null
  /** The call has ended: what still comes is nobody's. */
  done: boolean
  bytesOut: number
  /** A URL was left as it came, because the answer passes `limits.rewritten_body`. */
  unrewritten: boolean
  /** Values that were replaced in it. */
  redacted: number
  sink: Sink | null
  /** Of the provider, names and values in turn. */
  trailers: readonly (string | Buffer)[]
  /** Names of those that the agent did not get. */
  dropped: readonly string[]
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
  redacted: 0,
  sink: null,
  trailers: [],
  dropped: [],
  due: false,
  first: null,
  whole: false,
})

const UNSEARCHABLE =
  'the answer has several parts of a document, or a charset that deputy cannot read, so it cannot be searched for the token'
const UNDECODABLE =
  'the answer has a content coding that deputy cannot read, so it cannot be searched or redacted'
const PARTIAL = 'the provider sent a part of the document only, so it cannot be redacted'
const STREAMED =
  'a hook or what policy has sealed wants the whole answer before it leaves, and this one is a stream'
const codingFault = (code: ProblemCode) => ({
  'proxy-status': `deputy; error=http_response_content_coding; details="${code}"`,
})

const NONE: readonly string[] = []
const named = new WeakMap<readonly string[], readonly string[]>()
/** Pointers to one field each: `**` and `*_url` also find what users wrote, and that is not the provider's word. */
const exactly = (pointers: readonly string[]): readonly string[] => {
  let exact = named.get(pointers)
  if (exact === undefined) {
    exact = pointers.filter((pointer) => !/\/\*[^/]/.test(pointer))
    named.set(pointers, exact)
  }
  return exact
}

const EVENTS = /^text\/event-stream(?:[\s;]|$)/i
const UNLISTABLE = 'the MCP server’s list is neither JSON nor a stream of events'
const TOO_LONG =
  'the MCP server’s list passes limits.rewritten_body, or is not UTF-8, so nothing can be left out of it'
const JSON_TYPE = /^application\/(?:[\w.+-]*\+)?json/i

const readdressOf = ({ job, req }: Answer): Readdress => {
  const { addressing, host: own } = job.route
  const prefix = originOf(req) + ('prefix' in addressing ? addressing.prefix : '')
  // A dedicated listener serves one host: what names another stays as it is.
  const served: About['served'] =
    addressing.kind === 'listener'
      ? (host) => {
          const name = job.served(host)
          return (name === true ? host : name) === own ? name : false
        }
      : job.served
  const way = { served, prefix, addressing, connection: null }
  return (url) => rewriteUrl(url, way)
}

/** Where a URL leads: host, then path and query; null: not to a served host. */
const placeOf = (url: string, served: About['served']): readonly [string, string] | null => {
  const there = rewriteUrl(url, {
    served,
    prefix: '',
    addressing: { kind: 'path', prefix: '' },
    connection: null,
  })
  const slash = there?.indexOf('/') ?? -1
  return there === null || slash === -1
    ? null
    : [there.slice(0, slash), there.slice(slash).replace(/#.*/s, '')]
}

/** The same for URLs that the provider itself composed: what it signed into their query comes back whole. */
const readdressWhole = (answer: Answer): Readdress => {
  const { seal, served } = answer.job
  const plain = readdressOf(answer)
  if (seal === null) return plain
  return (url) => {
    const place = url.includes('?') ? placeOf(url, served) : null
    const sealed = place === null ? null : seal(...place)
    return plain(sealed === null ? url : withParameter(url, sealed))
  }
}

/** The same with a sealed tag in the path, where the way of addressing has room for one. */
const readdressSigned = (answer: Answer, seal: Seal): Readdress => {
  const { addressing } = answer.job.route
  const plain = readdressOf(answer)
  if (addressing.kind !== 'path' && addressing.kind !== 'host') return plain
  const { req, job } = answer
  const chosen = /[^/]*@$/.exec(addressing.prefix)?.[0] ?? ''
  return (url) => {
    const place = placeOf(url, job.served)
    const sealed = place === null ? null : seal(...place)
    if (sealed === null) return plain(url)
    const prefix = `${originOf(req)}/~${sealed}`
    return rewriteUrl(url, {
      served: job.served,
      prefix: addressing.kind === 'path' ? `${prefix}/${chosen}` : prefix,
      addressing,
      connection: null,
    })
  }
}

/** One message of an MCP server: without what this person may not call. */
const shown = ({ job: { rpc } }: Answer, body: string): string =>
  rpc == null ? body : shownMessage(body, rpc.id, rpc.listed)
/** The same without what is redacted. */
const passed = (answer: Answer, body: string, status: number): string => {
  const { guard, rpc } = answer.job
  const said = rpc != null && status < 300 ? shown(answer, body) : body
  if (guard == null) return said
  const { text, count } = guard.pass(said, status)
  answer.redacted += count
  return text
}

/** The body with every URL readdressed that its operation names. */
const readdressed = (answer: Answer, body: string): string => {
  const { signed, pointers, seal } = answer.job
  const plain = readdressOf(answer)
  // A URL that leads nowhere here is written by none of the ways below.
  if (!mayChange(body, plain)) return body
  // First, since what leads to deputy already is not readdressed again.
  let text =
    signed === null
      ? body
      : rewriteJson(body, signed.pointers, readdressSigned(answer, signed.seal))
  const named = seal === null ? NONE : exactly(pointers)
  if (named.length > 0) text = rewriteJson(text, named, readdressWhole(answer))
  return named.length === pointers.length ? text : rewriteJson(text, pointers, plain)
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

/** Trailers stand behind a chunked body only, which HTTP/1.0 does not have (RFC 9112 7.1.2). */
const trail = (answer: Answer, changed: boolean): void => {
  const { req, res, scrubber } = answer
  const { kept, dropped } = answerTrailers(answer.trailers, changed, (text) =>
    scrubber === null ? text : scrubber.text(text),
  )
  const chunked = req.httpVersionMinor === 1 && req.method !== 'HEAD'
  if (chunked) res.addTrailers(kept)
  answer.dropped = chunked
    ? dropped
    : [...dropped, ...kept.map(([name]) => evidenceName(name.toLowerCase(), 'trailer'))]
}

/** `guarded`: all of it, before any leaves. */
type Reading = 'plain' | 'json' | 'events' | 'guarded'
/** What is known of an answer by its head. */
type Said = {
  readonly code: number
  readonly type: string
  readonly came: () => number
  readonly begin: (bytes: number | null) => void
}

/**
 * @param deps.rewrittenBody bytes of an answer that may be collected to rewrite URLs in it, or to redact it
 * @param deps.stop ends a call that cannot be answered
 */
export const createAnswers = <A extends Answer>(deps: {
  readonly rewrittenBody: number
  readonly stop: (answer: A, problem: Problem) => void
}) => {
  const readAnswer = createAnswerReader()

  /** How the body is read: as it comes, whole, event by event, or all of it before any leaves. null: the call ended here. */
  const readingOf = (
    answer: A,
    head: AnswerHead,
    code: number,
    bodyless: boolean,
  ): Reading | null => {
    const { job, scrubber } = answer
    const { guard } = job
    const no = (what: string): null => {
      deps.stop(answer, new Problem('answer_not_redactable', what))
      return null
    }
    if (scrubber !== null && !bodyless) {
      const searched = scrubber.body(code, head.type)
      if (searched === null) return no(UNSEARCHABLE)
      answer.scrubber = searched
    }
    if (guard != null) {
      if (code === 206) return no(PARTIAL)
      if (bodyless) return guard.judge === undefined ? 'plain' : 'guarded'
      if (!EVENTS.test(head.type) || code >= 300) return 'guarded'
      return guard.judge === undefined ? 'events' : no(STREAMED)
    }
    if (bodyless || code >= 300) return 'plain'
    if (
      (job.pointers.length > 0 || job.signed !== null || job.rpc != null) &&
      JSON_TYPE.test(head.type)
    )
      return 'json'
    if (job.rpc != null && EVENTS.test(head.type)) return 'events'
    return job.rpc?.listed && code !== 202 ? no(UNLISTABLE) : 'plain'
  }
  /** Where the body goes once its coding is undone. */
  const sinkOf = (answer: A, reading: Reading, plain: Sink, of: Said): Sink => {
    const { job, scrubber } = answer
    const { code, type, begin } = of
    const refused = (problem: Problem): void => deps.stop(answer, problem)
    const judged = async (text: string | null): Promise<string | null> => {
      const clean = text === null || scrubber === null ? text : scrubber.text(text)
      const said = await job.guard?.judge?.({ status: code, text: clean })
      if (said === undefined) return text
      answer.redacted += said.count
      return text === null ? null : readdressed(answer, said.text)
    }
    if (reading === 'guarded')
      return guarded(type, deps.rewrittenBody, plain, {
        came: of.came,
        work: (body) => {
          const text = body === null ? null : passed(answer, body, code)
          if (job.guard?.judge !== undefined) return judged(text)
          return text === null ? null : readdressed(answer, text)
        },
        begin,
        refused,
      })
    if (reading === 'json')
      return rewritten(deps.rewrittenBody, plain, {
        rewrite: (body) => {
          try {
            return readdressed(answer, shown(answer, body))
          } catch (error) {
            refused(toProblem(error))
            return ''
          }
        },
        unrewritten: () => {
          answer.unrewritten = true
          if (job.rpc?.listed) refused(new Problem('answer_not_redactable', TOO_LONG))
        },
        begin,
      })
    if (reading === 'plain') return plain
    const strict = job.guard != null || job.rpc?.listed != null
    const show = (text: string): string => passed(answer, text, code)
    return events(deps.rewrittenBody, plain, { show, strict }, refused)
  }

  /** Makes the head. @returns where the body goes, or null when the call ended here */
  const begin = (answer: A, raw: readonly (string | Buffer)[], code: number): Sink | null => {
    const { job, req, res } = answer
    const head = readAnswer(raw)
    const bodyless = code === 204 || code === 304 || req.method === 'HEAD'
    const reading = readingOf(answer, head, code, bodyless)
    if (reading === null) return null
    const { scrubber } = answer
    const coding = bodyless ? 'identity' : head.coding
    const searched = job.injected !== null || job.guard != null
    const decoder =
      coding === 'identity' || (!searched && reading === 'plain') ? null : decoderFor(coding)
    if (coding !== 'identity' && decoder === null && searched) {
      const headers = codingFault('answer_not_redactable')
      deps.stop(answer, new Problem('answer_not_redactable', UNDECODABLE, { headers }))
      return null
    }
    // RFC 9110 8.6: a 204 has no length, and a 304 speaks of another answer's.
    const changed = decoder !== null || reading !== 'plain' || job.guard != null
    const told = answerHeaders(head, changed, code === 204 || code === 304, (value, rule) => {
      const said =
        rule === 'links'
          ? rewriteLink(value, job.route.host, readdressWhole(answer))
          : rule === 'url'
            ? (rewriteReference(value, job.route.host, readdressWhole(answer)) ?? value)
            : value
      return scrubber === null ? said : scrubber.text(said)
    })
    const kept = job.rpc == null ? told : sealedSession(told, job.rpc)
    res.sendDate = false
    const sayHead = (bytes: number | null): void => {
      // Ended from outside while its end was still being read.
      if (answer.done) return
      // Whoever hears a no in the middle of its request may send no more of it, and what came next would be taken for its rest.
      if (code >= 400 && !res.req.complete) res.shouldKeepAlive = false
      // Trailers stand behind a chunked body only.
      const sized = bytes !== null && !bodyless && answer.trailers.length === 0
      // The provider's reason phrase stays behind: it is any bytes, and means nothing (RFC 9112 4).
      res.writeHead(code, sized ? [...kept, 'Content-Length', String(bytes)] : kept)
    }
    if (reading === 'plain' || reading === 'events') sayHead(null)
    const plain: Sink = {
      push: (chunk) =>
        answer.done || write(answer, scrubber === null ? chunk : scrubber.push(chunk)),
      end: () => {
        if (answer.done) return
        if (scrubber !== null) write(answer, scrubber.end())
        if (answer.trailers.length > 0) trail(answer, changed)
        answer.whole = true
        queue(answer)
      },
    }
    let came = 0
    const said = { code, type: head.type, begin: sayHead, came: () => came }
    const into = sinkOf(answer, reading, plain, said)
    if (decoder === null && reading !== 'guarded') return into
    const first =
      decoder === null
        ? into
        : decoded(decoder, into, {
            out: res,
            resume: () => answer.controller?.resume(),
            broken: () =>
              deps.stop(
                answer,
                new Problem('upstream_unreachable', 'the answer’s content coding is broken', {
                  headers: codingFault('upstream_unreachable'),
                }),
              ),
          })
    return {
      ...first,
      push: (chunk) => {
        came += chunk.length
        return first.push(chunk)
      },
    }
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
      // The head of an answer that is collected comes with its body.
      else if (res.headersSent) res.flushHeaders()
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
    end: (answer: A, trailers: readonly (string | Buffer)[]): void => {
      answer.trailers = trailers
      answer.sink?.end()
    },
  }
}
