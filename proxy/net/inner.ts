// A request that deputy itself makes of its own agent door, in memory: the same objects that a listener hands on, without
// sockets and parsers between. What it asks goes the very way of a call from outside.
import { EventEmitter } from 'node:events'
import type { IncomingMessage as Incoming, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

// Not `import`: naming its members would load all that node:http offers (net/listener).
const { IncomingMessage } = process.getBuiltinModule('node:http')

export type InnerRequest = {
  readonly method: string
  /** As it would stand in the request line. */
  readonly url: string
  /** Names and values in turn, without length and coding of the body. */
  readonly headers: readonly string[]
  readonly body: Buffer | null
}
export type InnerAnswer = {
  /** 0: it was cut off before its head. */
  readonly status: number
  /** By their name in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
  /** `broken`: cut off; `too_large`: more than was wanted, and the call was given up. */
  readonly end: 'whole' | 'broken' | 'too_large'
}

const lowered = (raw: readonly string[]): Record<string, string> => {
  const headers: Record<string, string> = {}
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    const before = headers[name]
    headers[name] = before === undefined ? (raw[i + 1] ?? '') : `${before}, ${raw[i + 1] ?? ''}`
  }
  return headers
}

/** @param socket that of the request from outside: whose certificate was shown, and whether it is encrypted */
const requestOf = (asked: InnerRequest, socket: Socket): Incoming => {
  const req = new IncomingMessage(socket)
  const length = asked.body === null ? [] : ['content-length', String(asked.body.length)]
  req.method = asked.method
  req.url = asked.url
  req.httpVersion = '1.1'
  req.httpVersionMajor = 1
  req.httpVersionMinor = 1
  req.rawHeaders = [...asked.headers, ...length]
  req.headers = lowered(req.rawHeaders)
  req.complete = true
  if (asked.body !== null) req.push(asked.body)
  req.push(null)
  return req
}

type Sent = readonly (string | number)[] | Readonly<Record<string, unknown>>
const headersIn = (sent: Sent | undefined): ReadonlyMap<string, string> => {
  const all = Array.isArray(sent) ? (sent as readonly unknown[]) : Object.entries(sent ?? {}).flat()
  const headers = new Map<string, string>()
  for (let i = 0; i < all.length; i += 2) {
    const name = String(all[i]).toLowerCase()
    const before = headers.get(name)
    const value = String(all[i + 1])
    headers.set(name, before === undefined ? value : `${before}, ${value}`)
  }
  return headers
}

/** Most answers come in one piece, which needs no copy. */
const whole = (chunks: readonly Buffer[], size: number): Buffer => {
  const [first] = chunks
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, size)
}

/** What the pipeline uses of a ServerResponse, and what became of it. */
const responseOf = (req: Incoming, most: number) => {
  const { promise, resolve } = Promise.withResolvers<InnerAnswer>()
  const chunks: Buffer[] = []
  let size = 0
  let headers: ReadonlyMap<string, string> = new Map()
  const close = (end: InnerAnswer['end']): void => {
    if (res.closed) return
    res.closed = true
    res.destroyed = true
    res.writableFinished = end === 'whole'
    const status = res.headersSent ? res.statusCode : 0
    resolve({ status, headers, body: whole(chunks, size), end })
    // Later, as a socket would: whoever writes is not told in the middle of it.
    queueMicrotask(() => res.emit('close'))
  }
  const take = (chunk: Buffer | string | undefined): void => {
    if (chunk === undefined || chunk.length === 0 || res.closed) return
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    size += bytes.length
    chunks.push(bytes)
    if (size <= most) return
    size = 0
    chunks.length = 0
    close('too_large')
  }
  const res = Object.assign(new EventEmitter(), {
    req,
    statusCode: 200,
    headersSent: false,
    sendDate: true,
    shouldKeepAlive: true,
    closed: false,
    destroyed: false,
    writableEnded: false,
    writableFinished: false,
    writeHead: (status: number, sent?: Sent) => {
      res.statusCode = status
      res.headersSent = true
      headers = headersIn(sent)
      return res
    },
    flushHeaders: () => undefined,
    addTrailers: () => undefined,
    write: (chunk: Buffer | string) => {
      take(chunk)
      return true
    },
    end: (chunk?: Buffer | string) => {
      take(chunk)
      res.writableEnded = true
      close('whole')
      return res
    },
    destroy: () => {
      close('broken')
      return res
    },
  })
  return { res: res as unknown as ServerResponse, answer: promise, leave: () => close('broken') }
}

/**
 * @param most bytes of an answer that are wanted
 * @returns what the pipeline takes; `answer` does not reject; `leave`: nobody waits for it any more
 */
export const innerExchange = (
  asked: InnerRequest,
  socket: Socket,
  most: number,
): {
  readonly req: Incoming
  readonly res: ServerResponse
  readonly answer: Promise<InnerAnswer>
  readonly leave: () => void
} => {
  const req = requestOf(asked, socket)
  return { req, ...responseOf(req, most) }
}
