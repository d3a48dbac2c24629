// Answers of MCP servers: their session under a seal, and streams of events (HTML 9.2), each looked at as it comes.
import { Problem } from '../problem.ts'
import type { Listed } from '../envelope/listed.ts'
import type { Sink } from './sinks.ts'

export type Rpc = {
  /** Of the request; null: a stream that belongs to none. */
  readonly id: string | number | null
  /** What may be seen of lists; null: no list is answered. */
  readonly listed: Listed | null
  /** A server's session → what the agent calls it. */
  readonly session: (id: string) => string
}

/** The header section with the session as the agent may know it. */
export const sealedSession = (headers: string[], { session }: Rpc): string[] =>
  headers.map((value, i) =>
    i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'mcp-session-id' ? session(value) : value,
  )

const FIELD = /^(?:data|event|id|retry)?:|^(?:data|event|id|retry)$/
const LINE = /\r\n|\r|\n/
/** Where an event ends: behind an empty line. */
const END = /\r\n(?:\r\n|\r|\n)|\n(?:\r\n|\r|\n)|\r(?=[^\n])(?:\r\n|\r|\n)/g

/** What may be seen of the data of an event. */
export type Shown = {
  /** Throws the Problem of what may not pass. */
  readonly show: (text: string) => string
  /** Nothing passes unread; else what is too long to be read does. */
  readonly strict: boolean
}

/** One event, without what may not be seen; lines that mean nothing are left out. */
const shownEvent = (event: string, show: Shown['show']): string => {
  const lines = event.split(LINE).filter((line) => FIELD.test(line))
  const data = lines.flatMap((line) =>
    /^data(?::|$)/.test(line) ? [line.slice('data:'.length).replace(/^ /, '')] : [],
  )
  const text = data.join('\n')
  if (text.trim() === '') return lines.join('\n')
  const shown = show(text)
  if (shown === text) return lines.join('\n')
  return [
    ...lines.filter((line) => !/^data(?::|$)/.test(line)),
    ...shown.split(LINE).map((line) => `data: ${line}`),
  ].join('\n')
}

/**
 * Passes events on one by one.
 * @param limit bytes of one event
 */
export const events = (
  limit: number,
  into: Sink,
  { show, strict }: Shown,
  refused: (problem: Problem) => void,
): Sink => {
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  let over = false
  /** An answer that lists nothing passes unread where it is too long to be read. */
  let raw = false
  const fail = (problem: Problem): boolean => {
    over = true
    rest = ''
    refused(problem)
    return true
  }
  const take = (text: string): boolean => {
    // Three characters may begin an end that this text completes.
    END.lastIndex = Math.max(0, rest.length - 3)
    rest += text
    let out = ''
    for (let end = END.exec(rest); end !== null; end = END.exec(rest)) {
      const after = end.index + end[0].length
      // The next byte may still belong to this line's end.
      if (after === rest.length && rest.endsWith('\r')) break
      out += `${shownEvent(rest.slice(0, end.index), show)}\n\n`
      rest = rest.slice(after)
      END.lastIndex = 0
    }
    if (rest.length > limit && !strict) {
      raw = true
      out += rest
      rest = ''
    }
    if (rest.length > limit)
      return fail(
        new Problem('answer_not_redactable', 'an event of the stream passes limits.rewritten_body'),
      )
    return out === '' || into.push(Buffer.from(out))
  }
  return {
    push(chunk) {
      if (over) return true
      try {
        const text = utf8.decode(chunk, { stream: true })
        return raw ? into.push(Buffer.from(text)) : take(text)
      } catch (error) {
        return fail(
          error instanceof Problem
            ? error
            : new Problem('answer_not_redactable', 'the stream of events is not UTF-8', {
                cause: error,
              }),
        )
      }
    },
    // What has no end is no event: readers drop it, too.
    end: () => {
      if (!over) into.end()
    },
  }
}
