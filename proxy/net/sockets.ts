// What every HTTP server of this process does with its connections: no fault of one ends the process, none is closed
// before its last answer has arrived, nothing is said into the middle of an answer, and all of them end with the server.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

// Not `import`: see net/listener.
const { ServerResponse: OwnResponse, STATUS_CODES } = process.getBuiltinModule('node:http')

/** One connection, and the latest request on it: the only one that can be unfinished. */
export type Connection = {
  req: IncomingMessage | null
  res: ServerResponse | null
  /** Id of the latest request's call; empty: it has not begun. */
  id: string
  /** What still comes is read and thrown away. */
  over: boolean
}
export type Broken = Error & { readonly code?: string; readonly rawPacket?: Buffer }

export type Manners = {
  /** A request has come; `before` is the answer to the one before it on this connection. */
  readonly call: (
    req: IncomingMessage,
    res: ServerResponse,
    connection: Connection,
    before: ServerResponse | null,
  ) => void
  /** The answer to what is no request, as it is written. */
  readonly refusal?: (error: Broken) => string
  /** The request that is under way cannot be read to its end. Without it, it gets `refusal`. */
  readonly broken?: (connection: Connection, error: Broken) => void
  /** Takes a CONNECT over, with what came behind it; a text is its answer; false: it is none of its own, and gets `tunnel`. */
  readonly tunnelled?:
    ((req: IncomingMessage, socket: Duplex, head: Buffer) => boolean | string) | undefined
  /** Requests may ask to become a WebSocket; without it they are requests as any other. */
  readonly websockets?: boolean
  /** Instead of UNREAD_MS. */
  readonly unreadMs?: number
  /** The answer to a CONNECT to `host:port`, as it is written; without one the connection is cut. */
  readonly tunnel?: (target: string) => string
}

/** How long, and how much, is read of a caller who may still be sending while the last answer is on its way. */
const LINGER = { ms: 30_000, idleMs: 5_000, bytes: 512 * 1024 * 1024 } as const
const TICK_MS = 1_000
const IDLE_MS = 100
/** After its error a socket is closed, and by that its call hears of it: there is nothing left to do. */
const closed = (): void => undefined

/**
 * Calls `end` once nothing more came for a while, or too much, or for too long; not where `from` has closed before.
 * @param read bytes that have come of it
 */
export const lingering = (from: Duplex, read: () => number, end: () => void): void => {
  let [ticks, idle, before] = [0, 0, read()]
  const first = before
  const timer = setInterval(() => {
    const now = read()
    idle = now === before ? idle + 1 : 0
    before = now
    const late = ++ticks * TICK_MS >= LINGER.ms || idle * TICK_MS >= LINGER.idleMs
    if (late || now - first > LINGER.bytes) end()
  }, TICK_MS)
  timer.unref()
  from.once('close', () => clearInterval(timer))
}

/**
 * Ends a connection so that what was said last arrives: whoever closes a socket with unread bytes in it sends a reset, and
 * a reset takes away what the other side has not read yet (RFC 9112 9.6).
 */
const linger = (socket: Socket | Duplex, read: () => number): void => {
  socket.end()
  lingering(socket, read, () => socket.destroy())
}

const connections = new WeakMap<Duplex, Connection>()
const sockets = new WeakMap<Server, Set<Socket>>()
const leaving = new WeakSet<Server>()

/** From now on what comes is read and thrown away. */
const discard = (socket: Socket, connection: Connection): void => {
  if (socket.writableEnded || socket.destroyed) return
  connection.over = true
  const { req } = connection
  if (req !== null && !req.complete) {
    // Whoever read it has stopped; a listener left over would pause it again.
    req.unpipe().removeAllListeners('data').resume()
    req.once('end', () => socket.destroy())
  }
  linger(socket, () => socket.bytesRead)
}

const opened = (socket: Socket, all: Set<Socket>): void => {
  const connection: Connection = { req: null, res: null, id: '', over: false }
  connections.set(socket, connection)
  all.add(socket)
  socket.on('close', () => all.delete(socket))
  // Node ends a connection by this after its last answer.
  const atOnce = socket.destroySoon.bind(socket)
  socket.destroySoon = () => {
    if (connection.over || connection.req?.complete === false) discard(socket, connection)
    else atOnce()
  }
}

/** What Node's parser refuses, and what ends a connection too early. */
/** Node's code for headers that did not come in time. */
export const TIMED_OUT = 'ERR_HTTP_REQUEST_TIMEOUT'

const onClientError = (error: Broken, socket: Duplex, manners: Manners): void => {
  const connection = connections.get(socket)
  // A failed handshake; a connection that is gone.
  if (connection === undefined || !('bytesRead' in socket)) return void socket.destroy()
  if (connection.over && !socket.destroyed) return
  if (!socket.writable || error.code === 'ECONNRESET' || error.code === 'EPIPE')
    return void socket.destroy()
  const { req, res } = connection
  const tcp = socket as Socket
  if (req !== null && res !== null && !res.writableFinished) {
    if (req.complete) {
      // It belongs to what follows: the request before it was good and gets its answer, then this connection ends.
      connection.over = true
      res.once('close', () => discard(tcp, connection))
      return
    }
    // The caller left.
    if (error.code === 'HPE_INVALID_EOF_STATE') return void socket.destroy()
    if (manners.broken !== undefined) return manners.broken(connection, error)
    // Nothing may be written into an answer, this one or an earlier one.
    if (res.headersSent || res.socket === null) return void socket.destroy()
  }
  // Its request was answered before it was whole, and nobody waits for the rest.
  if (req?.complete === false && res !== null) return discard(tcp, connection)
  // Who never said anything is told nothing.
  if (tcp.bytesRead === 0) return void socket.destroy()
  socket.write((manners.refusal ?? plainly)(error))
  discard(tcp, connection)
}
const plainly = ({ code }: Broken): string =>
  written(code === 'HPE_HEADER_OVERFLOW' ? 431 : code === TIMED_OUT ? 408 : 400, {}, '')

/** What follows the last request of a connection is not carried out (RFC 9112 9.6), nor what follows that. */
export const unheard = (req: IncomingMessage, res: ServerResponse): void => {
  res.shouldKeepAlive = false
  req.resume()
}

/** How long what was said to a caller may stand still before nobody waits any more that it is taken, ms. */
export const UNREAD_MS = 120_000

/** Bytes that wait for the other side: Node counts what the system has taken of the piece that is under way. */
const queued = (socket: Socket): number => {
  if (socket.writableLength === 0) return 0
  const { _handle: handle } = socket as { readonly _handle?: { readonly writeQueueSize?: number } }
  return socket.writableLength + (handle?.writeQueueSize ?? 0)
}

/** Cuts connections whose other side takes nothing: one timer for all, and nothing to do for those that read. */
const createUnread = (all: ReadonlySet<Socket>, ms: number): NodeJS.Timeout => {
  let before = new Map<Socket, { readonly bytes: number; readonly since: number }>()
  const look = (): void => {
    const now = performance.now()
    const stuck: typeof before = new Map()
    for (const socket of all) {
      const bytes = queued(socket)
      if (bytes === 0) continue
      const was = before.get(socket)
      const since = was?.bytes === bytes ? was.since : now
      if (now - since >= ms) socket.destroy()
      else stuck.set(socket, { bytes, since })
    }
    before = stuck
  }
  return setInterval(look, ms / 12).unref()
}

/** For every HTTP server of this process, before it listens. */
export const mannerly = <S extends Server>(server: S, manners: Manners): S => {
  const all = new Set<Socket>()
  sockets.set(server, all)
  const unread = createUnread(all, manners.unreadMs ?? UNREAD_MS)
  server.once('close', () => clearInterval(unread))
  const { call, tunnel } = manners
  const opening = (socket: Socket): void => {
    // Before Node's own listeners: what it hands over later has none, and an error that nobody hears ends the process.
    socket.on('error', closed)
    opened(socket, all)
  }
  server.prependListener('connection', opening)
  // What runs inside the connection under TLS.
  server.prependListener('secureConnection', opening)
  const arrived = (req: IncomingMessage, res: ServerResponse): void => {
    const connection = connections.get(req.socket)
    if (connection === undefined) return void res.destroy()
    const before = connection.res
    connection.req = req
    connection.res = res
    connection.id = ''
    // A proxy keeps no connection of HTTP/1.0 (RFC 9112 9.3).
    if (req.httpVersion !== '1.1' || leaving.has(server)) res.shouldKeepAlive = false
    if (connection.over || before?.shouldKeepAlive === false) unheard(req, res)
    else call(req, res, connection, before)
  }
  server.on('request', arrived)
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    // Whoever asks first is told when the body is wanted: it then begins to flow.
    req.once('resume', () => {
      if (!res.headersSent && !res.destroyed) res.writeContinue()
    })
    arrived(req, res)
  })
  server.on('checkExpectation', arrived)
  if (manners.websockets === true)
    server.on('upgrade', (req, stream, head: Buffer) => {
      const before = connections.get(stream)?.res ?? null
      // An answer is still on its way, and Node has let go of the socket that it is written to.
      if (before !== null && !before.writableFinished) {
        stream.destroy()
        return
      }
      if (head.length > 0) stream.unshift(head)
      const res = new OwnResponse(req)
      res.shouldKeepAlive = false
      res.assignSocket(stream as Socket)
      res.once('finish', () => linger(stream.resume(), () => 0))
      // Whoever leaves before the answer has no use for it, and Node does not look any more.
      stream.once('end', () => {
        if (!res.headersSent) stream.destroy()
      })
      arrived(req, res)
    })
  server.on('clientError', (error: Broken, socket) => onClientError(error, socket, manners))
  server.on('connect', (req, stream, head: Buffer) => {
    const before = connections.get(stream)?.res ?? null
    // A tunnel that follows another request on its connection is none: its answer may be under way.
    const taken = before === null ? (manners.tunnelled?.(req, stream, head) ?? false) : false
    if (taken === true) return
    if (tunnel === undefined) return void stream.destroy()
    const say = (): void => {
      if (stream.destroyed) return
      stream.write(taken === false ? tunnel(req.url ?? '') : taken)
      stream.resume()
      linger(stream, () => 0)
    }
    if (before === null || before.writableFinished) return say()
    // An answer is still on its way, and Node has let go of the socket that it is written to.
    stream.on('drain', () => before.emit('drain'))
    stream.once('close', () => before.destroy())
    stream.once('end', () => stream.destroy()).resume()
    before.once('close', say)
  })
  return server
}

/** Goes on accepting; each answer that begins from now on is the last one of its connection (RFC 9112 9.6). */
export const parting = (server: Server): void => {
  leaving.add(server)
  for (const socket of sockets.get(server) ?? []) {
    const res = connections.get(socket)?.res
    if (res != null && !res.headersSent) res.shouldKeepAlive = false
  }
}

/** Stops accepting, waits for what runs, ends idle connections; the rest is cut after `ms`. */
export const closing = (server: Server, ms: number): Promise<void> =>
  new Promise((resolve) => {
    parting(server)
    const timer = setTimeout(() => {
      // Also those that Node has handed over and forgotten.
      for (const socket of sockets.get(server) ?? []) socket.destroy()
      server.closeAllConnections()
    }, ms)
    // What answers its last request now is idle only then.
    const idle = setInterval(() => server.closeIdleConnections(), IDLE_MS)
    server.close(() => {
      clearTimeout(timer)
      clearInterval(idle)
      resolve()
    })
    server.closeIdleConnections()
  })

/** An answer as it is written where Node offers no response to write it by. */
export const written = (
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
  reason = STATUS_CODES[status] ?? '',
): string =>
  `HTTP/1.1 ${status} ${reason}\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}connection: close\r\n\r\n${body}`

const carriers = new WeakMap<object, Duplex>()

/**
 * A connection inside a connection: a stream of HTTP/2 is handed on as a connection of its own, and who asks what stands
 * around it (its encryption, its client's certificate) asks the outer one.
 */
export const carry = (inner: Duplex, by: Duplex): void => void carriers.set(inner, by)

/** What a connection is carried by; itself where nothing carries it. */
export const outerOf = <S extends object>(socket: S): S | Duplex => carriers.get(socket) ?? socket

/** How long a caller may let a body stand still while somebody waits for it, ms. */
export const STILL_MS = 60_000
const SWEEP_MS = 5_000

/** The deadline of request bodies: one timer for those that were not whole when their call began. */
export const createBodies = (late: (connection: Connection) => void) => {
  type Waiting = {
    readonly connection: Connection
    readonly req: IncomingMessage
    bytes: number
    still: number
  }
  const waiting = new Set<Waiting>()
  const timer = setInterval(() => {
    for (const each of waiting) {
      const { connection, req } = each
      const { bytesRead } = req.socket
      if (req.complete || req.destroyed || connection.req !== req) waiting.delete(each)
      // It is answered while it is sent (a stream of gRPC): from here on the deadlines of the call are those of both.
      else if (connection.res?.headersSent === true) waiting.delete(each)
      // A body that nobody asks for just now, or that the provider does not take, waits for us.
      else if (req.readableFlowing !== true || bytesRead !== each.bytes) {
        each.bytes = bytesRead
        each.still = 0
      } else if ((each.still += SWEEP_MS) >= STILL_MS) {
        waiting.delete(each)
        late(connection)
      }
    }
  }, SWEEP_MS)
  timer.unref()
  return {
    watch: (connection: Connection): void => {
      if (connection.req !== null)
        waiting.add({ connection, req: connection.req, bytes: 0, still: 0 })
    },
    close: (): void => clearInterval(timer),
  }
}
