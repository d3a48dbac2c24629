// An answer of which no byte leaves before all of it was looked at: what cannot be, does not leave.
import { isUtf8 } from 'node:buffer'
import type { Redacted } from '../envelope/redacted.ts'
import { Problem, toProblem } from '../problem.ts'
import { readMedia } from '../wire/media.ts'
import type { Sink } from './sinks.ts'

/** What decides which bytes of an answer may leave. */
export type Guard = {
  /**
   * What may leave of a document, or of one event of a stream.
   * @throws Problem: nothing of it may
   */
  readonly pass: (text: string, status: number) => Redacted
  /**
   * Judges the whole answer; `text` null: it has no body. Rejects with the Problem of an answer that may not leave.
   * Absent: nobody does, and streams of events pass event by event.
   */
  readonly judge?: (answer: {
    readonly status: number
    readonly text: string | null
  }) => Promise<Redacted>
}

/** Times that a body may be larger than it came, beyond what any body may be. */
const MOST_RATIO = 100
const ALWAYS_BYTES = 64 * 1024

const unredactable = (detail: string): Problem => new Problem('answer_not_redactable', detail)

const JSON_TYPE = /^application\/(?:[\w.+-]*\+)?json$/
/** JSON that every client reads as UTF-8 (RFC 8259 8.1). */
const isJson = (type: string): boolean => {
  try {
    const { essence, charset } = readMedia(type)
    return (
      JSON_TYPE.test(essence ?? '') && (charset === null || /^(?:utf-?8|us-ascii)$/.test(charset))
    )
  } catch {
    return false // no media type at all
  }
}

/** Where a guarded answer goes. */
export type Whole = {
  /** Bytes that came, before a content coding was undone. */
  readonly came: () => number
  /** What may leave of it; null in: there is no body. */
  readonly work: (text: string | null) => string | null | Promise<string | null>
  /** It is about to leave, with so many bytes. */
  readonly begin: (bytes: number) => void
  readonly refused: (problem: Problem) => void
}

/**
 * Collects an answer's JSON, and hands on what may leave of it.
 * @param type its Content-Type
 * @param limit bytes of it, undone of its coding
 */
export const guarded = (
  type: string,
  limit: number,
  into: Sink,
  { came, work, begin, refused }: Whole,
): Sink => {
  let chunks: Buffer[] | null = []
  let size = 0
  const json = isJson(type)
  const fail = (problem: Problem): boolean => {
    chunks = null
    refused(problem)
    return true
  }
  const pass = (text: string | null): void => {
    const whole = text === null ? null : Buffer.from(text)
    begin(whole?.length ?? 0)
    if (whole !== null) into.push(whole)
    into.end()
  }
  return {
    push(chunk) {
      if (chunks === null || chunk.length === 0) return true
      if (!json)
        return fail(unredactable('the answer is not JSON in UTF-8, so it cannot be redacted'))
      chunks.push(chunk)
      size += chunk.length
      if (size > limit)
        return fail(
          unredactable('the answer passes limits.rewritten_body, so it cannot be redacted'),
        )
      if (size > ALWAYS_BYTES && size > MOST_RATIO * came())
        return fail(
          unredactable('the answer grows more than a hundredfold when its coding is undone'),
        )
      return true
    },
    end() {
      if (chunks === null) return
      const all = Buffer.concat(chunks)
      chunks = null
      try {
        if (!isUtf8(all)) throw unredactable('the answer is not JSON in UTF-8')
        const done = work(size === 0 ? null : all.toString('utf8'))
        if (done instanceof Promise)
          done.then(pass).catch((error: unknown) => refused(toProblem(error)))
        else pass(done)
      } catch (error) {
        refused(toProblem(error))
      }
    },
  }
}
