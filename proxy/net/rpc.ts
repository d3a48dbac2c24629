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
/** What ends a line (HTML 9.2.6). */
const END = /\r\n|\r|\n/g

/** What may be seen of the data of an event. */
export type Shown = {
  /** Throws the Problem of what may not pass. */
  readonly show: (text: string) => string
  /** Nothing passes unread; else what is too long to be read does. */
  readonly strict: boolean
}

/** One event by its lines, without what may not be seen; lines that mean nothing are left out. */
const shownEvent = (all: readonly string[], show: Shown['show']): string => {
  const lines = all.filter((line) => FIELD.test(line))
  const data = lines.flatMap((line) =>
    /^data(?::|$)/.test(line) ? [line.slice('data:'.length).replace(/^ /, '')] : [],
  )
  const text = data.join('\n')
  if (text.trim() === '') return lines.join('\n')
  const shown = show(text)
  if (shown === text) return lines.join('\n')
  return [
    ...lines.filter((line) => !/^data(?::|$)/.test(line)),
    ...shown.split(END).map((line) => `data: ${line}`),
  ].join('\n')
}

/** Cuts a text that comes in pieces into lines. Each character is looked at once, and a line ends as soon as it has ended. */
const createLines = () => {
  /** Of the line that has not ended. */
  let parts: string[] = []
  let size = 0
  let carriageReturn = false
  /** What follows a CR and is the other half of the same end. */
  const withoutHalf = (text: string): string => {
    const rest = carriageReturn && text.startsWith('\n') ? text.slice(1) : text
    if (text !== '') carriageReturn = text.endsWith('\r')
    return rest
  }
  return {
    withoutHalf,
    take: (text: string, line: (text: string) => void): void => {
      const all = withoutHalf(text)
      let at = 0
      END.lastIndex = 0
      const ends: RegExpExecArray[] = []
      for (let end = END.exec(all); end !== null; end = END.exec(all)) ends.push(end)
      for (const end of ends) {
        parts.push(all.slice(at, end.index))
        at = end.index + end[0].length
        const whole = parts.join('')
        parts = []
        size = 0
        line(whole)
      }
      if (at === all.length) return
      parts.push(all.slice(at))
      size += all.length - at
    },
    size: () => size,
    rest: () => parts.join(''),
  }
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
  const lines = createLines()
  /** Of the event that has not ended, and their length. */
  let event: string[] = []
  let size = 0
  let over = false
  /** An answer that lists nothing passes unread where it is too long to be read. */
  let raw = false
  const fail = (problem: Problem): boolean => {
    over = true
    event = []
    refused(problem)
    return true
  }
  const take = (text: string): boolean => {
    let out = ''
    lines.take(text, (line) => {
      if (line !== '') {
        event.push(line)
        size += line.length + 1
        return
      }
      if (event.length > 0) out += `${shownEvent(event, show)}\n\n`
      event = []
      size = 0
    })
    if (size + lines.size() > limit) {
      if (strict)
        return fail(
          new Problem(
            'answer_not_redactable',
            'an event of the stream passes limits.rewritten_body',
          ),
        )
      raw = true
      out += [...event, lines.rest()].join('\n')
      event = []
    }
    return out === '' || into.push(Buffer.from(out))
  }
  return {
    push(chunk) {
      if (over) return true
      try {
        const text = utf8.decode(chunk, { stream: true })
        return raw ? into.push(Buffer.from(lines.withoutHalf(text))) : take(text)
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
