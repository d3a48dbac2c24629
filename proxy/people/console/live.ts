// The stream of what happens, for browsers (server-sent events, HTML 9.2). It is bounded in streams and in bytes: who reads
// too slowly is dropped, and whoever signed out, lost the role or is at a deputy that drains sees it end.
import type { Html } from '../markup.ts'
import { LRUCache } from 'lru-cache'
import { rowsIn, type Recent, type RecentRow, type Serves } from '../../audit/recent.ts'
import { rowOf } from './now_page.ts'
import { toldOf, type Effect } from './told.ts'

export const MOST_STREAMS = 32
export const MOST_OF_ONE = 4
/** Between two messages of a stream, ms: what comes meanwhile goes together. */
const GATHER_MS = 500
/** Rows of one message; of more the newest. */
const MOST_AT_ONCE = 50
const LOOK_MS = 15_000
/** Bytes that may wait for their reader. */
const MOST_WAITING = 262_144

export type Watcher = {
  /** Name of the operator. */
  readonly name: string
  readonly serves: Serves | null
  readonly effects: readonly Effect[]
  /** The newest record that the page has. */
  readonly since: number
  /** Does the session stand, with a role that may look? Asked again and again. */
  readonly stands: () => Promise<boolean>
  /** Which session it is. */
  readonly key: string
}
type Stream = {
  readonly watcher: Watcher
  /** Says so, and ends. */
  readonly end: () => void
  /** Its reader has left. */
  readonly gone: () => boolean
}

/** Throws where a part of it is still to come: no row has such a part. */
const textOf = (html: Html): string => {
  if (html instanceof Promise) throw new Error('a row waits for something')
  return html.toString()
}
const oneLine = (html: string): string => html.replaceAll(/\s*[\r\n]+\s*/g, ' ').trim()

/** What came after `since`, as messages. It looks at nothing else: calls wait while it is made. */
const messagesOf = (
  recent: Pick<Recent, 'after' | 'decision'>,
  { serves, effects }: Watcher,
  since: number,
  written: (row: RecentRow) => string,
): string => {
  const fresh = recent.after(since, serves)
  const decided = new Set(fresh.flatMap((one) => (one.event === 'decision' ? [one.exchange] : [])))
  // A call that ended is shown in place of its beginning.
  const begun = fresh.flatMap(({ event, exchange }) => {
    if (event !== 'outcome' || decided.has(exchange)) return []
    return recent.decision(exchange, serves) ?? []
  })
  const rows = rowsIn([...begun.sort((a, b) => a.n - b.n), ...fresh])
  const told = rows.filter((row) => effects.includes(toldOf(row).effect))
  const shown = told.slice(-MOST_AT_ONCE)
  if (shown.length === 0) return ''
  const html = shown.map(written).join('')
  const skipped = told.length - shown.length
  return `${skipped > 0 ? `event: skipped\ndata: ${skipped}\n\n` : ''}event: rows\ndata: ${html}\n\n`
}

export const createLive = (deps: {
  readonly recent: Pick<Recent, 'after' | 'decision' | 'newest' | 'subscribe'>
  readonly placed: (html: string) => string
}) => {
  const { recent } = deps
  const streams = new Set<Stream>()
  // All streams show the same rows at the same time.
  const made = new LRUCache<string, string>({ max: 2 * MOST_AT_ONCE })
  const written = (row: RecentRow): string => {
    const key = `${row.line} ${row.newest}`
    const html = made.get(key) ?? oneLine(deps.placed(textOf(rowOf(toldOf(row)))))
    made.set(key, html)
    return html
  }
  let closed = false

  const follow = (
    watcher: Watcher,
    controller: ReadableStreamDefaultController<Uint8Array>,
  ): Stream => {
    const encoder = new TextEncoder()
    let at = watcher.since
    let gathering: NodeJS.Timeout | undefined
    const send = (text: string): void => {
      if ((controller.desiredSize ?? 0) <= 0) drop()
      else controller.enqueue(encoder.encode(text))
    }
    const flush = (): void => {
      gathering = undefined
      const since = at
      at = recent.newest()
      const text = messagesOf(recent, watcher, since, written)
      if (text !== '') send(text)
    }
    const hear = (): void => {
      gathering ??= setTimeout(flush, GATHER_MS).unref()
    }
    const silence = recent.subscribe(hear)
    const look = (): void => {
      watcher.stands().then(
        (stands) => (stands ? send(': it goes on\n\n') : stream.end()),
        () => stream.end(), // nobody knows whether it stands
      )
    }
    const timer = setInterval(look, LOOK_MS).unref()
    /** false: it has ended before. */
    const over = (): boolean => {
      if (!streams.delete(stream)) return false
      clearTimeout(gathering)
      clearInterval(timer)
      silence()
      return true
    }
    /** What waits for a reader who is too slow is kept no longer. */
    const drop = (): void => {
      if (over()) controller.error(new Error('the reader is too slow'))
    }
    const stream: Stream = {
      watcher,
      end: () => {
        if (!over()) return
        controller.enqueue(encoder.encode('event: end\ndata: \n\n'))
        controller.close()
      },
      gone: over,
    }
    streams.add(stream)
    send('retry: 3000\n\n')
    if (recent.newest() !== at) hear()
    return stream
  }

  return {
    /** null: there are too many already, or deputy ends. */
    open: (watcher: Watcher): ReadableStream<Uint8Array> | null => {
      const mine = [...streams].filter((one) => one.watcher.name === watcher.name).length
      if (closed || streams.size >= MOST_STREAMS || mine >= MOST_OF_ONE) return null
      let stream: Stream | null = null
      return new ReadableStream<Uint8Array>(
        {
          start: (controller) => {
            stream = follow(watcher, controller)
          },
          cancel: () => void stream?.gone(),
        },
        new ByteLengthQueuingStrategy({ highWaterMark: MOST_WAITING }),
      )
    },
    /** Ends the streams of one session. */
    end: (key: string): void => {
      for (const one of streams) if (one.watcher.key === key) one.end()
    },
    /** Ends all; none begins any more. */
    close: (): void => {
      closed = true
      for (const one of streams) one.end()
    },
    count: (): number => streams.size,
  }
}
export type Live = ReturnType<typeof createLive>
