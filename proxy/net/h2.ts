// HTTP/2 from agents (RFC 9113): each stream becomes one request of HTTP/1.1 on a connection in memory, so that all of them go
// the very way of every other call, and what that way refuses is refused here too. No CONNECT, no push, no WebSocket inside.
import type { ClientRequest, IncomingMessage, Server } from 'node:http'
import type { Http2Server, Http2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { Problem } from '../problem.ts'
import { proxyStatus } from './fault.ts'
import { carry, lingering, outerOf } from './sockets.ts'

type H2Options = {
  /** Takes what streams become. */
  readonly server: Server
  readonly maxHeaderBytes: number
  /** ms that a client may take nothing of an answer that is whole. */
  readonly patience: number
  /** As one answers who cannot be heard: status, headers, body. */
  readonly refusal: (problem: Problem) => {
    readonly status: number
    readonly headers: Readonly<Record<string, string>>
    readonly body: string
  }
}
export type H2 = {
  /** Takes a connection that begins with the preface of HTTP/2. */
  readonly enter: (socket: Socket) => void
  /** Says GOAWAY: what runs goes on, and nothing new begins. */
  readonly part: () => void
}

/** Streams of one connection at once. */
export const MOST_STREAMS = 100
/** Fields of one header section. */
const MOST_FIELDS = 128
/** A connection may reset so many streams at once, and so many a second besides (CVE-2023-44487). */
const RESETS = { streamResetBurst: 200, streamResetRate: 20 } as const
/** ms until an idle connection is closed. */
const IDLE_MS = 65_000
const END_STREAM = 0x1
/** Of one connection (RFC 9113 8.2.2): HTTP/2 has no room for them. */
const OF_ONE_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])
/** Node writes none of these in an answer either, and says so by an exception. */
const UNSENT: ReadonlySet<string> = new Set([...OF_ONE_HOP, 'http2-settings', 'te'])
/** Bytes of an answer's headers, as net/dial takes them from a provider, and what deputy adds. */
const MOST_ANSWERED = 131_072

/** A connection in memory: our end, and the one that the server takes for a socket. */
const connected = (by: Socket) => {
  const [ours, theirs] = duplexPair()
  let bytesRead = 0
  const push = theirs.push.bind(theirs)
  theirs.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (Buffer.isBuffer(chunk)) bytesRead += chunk.length
    return push(chunk, encoding)
  }
  Object.defineProperties(theirs, {
    bytesRead: { get: () => bytesRead },
    remoteAddress: { value: by.remoteAddress },
    remotePort: { value: by.remotePort },
    localAddress: { value: by.localAddress },
    localPort: { value: by.localPort },
    destroySoon: {
      writable: true,
      value: () => {
        theirs.end(() => theirs.destroy())
      },
    },
    ...('encrypted' in by ? { encrypted: { value: true } } : {}),
  })
  carry(theirs, by)
  // Whichever end is gone, the other has nobody to talk to.
  ours.on('error', () => undefined).on('close', () => theirs.destroy())
  theirs.on('close', () => ours.destroy())
  return { ours, theirs }
}

type Asked = {
  readonly method: string
  readonly path: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
}
/**
 * The request of HTTP/1.1 that a header section asks for (RFC 9113 8.3.1).
 * @param ended no body follows
 * @throws Problem method_not_allowed, request_invalid
 */
export const asked = (raw: readonly string[], ended: boolean): Asked => {
  const pseudo = new Map<string, string>()
  const headers: string[] = []
  const cookies: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const [name = '', value = ''] = [raw[i], raw[i + 1]]
    if (name.startsWith(':')) {
      if (pseudo.has(name)) throw new Problem('request_invalid', `${name} is said twice`)
      pseudo.set(name, value)
    } else if (name === 'cookie') cookies.push(value)
    else if (OF_ONE_HOP.has(name) || /[^!#$%&'*+.^_`|~0-9a-z-]/.test(name))
      throw new Problem(
        'request_invalid',
        `HTTP/2 has no header ${JSON.stringify(name).slice(0, 60)}`,
      )
    else if (/[\r\n\0]/.test(value))
      throw new Problem('request_invalid', `${name} holds a line break`)
    else if (name !== 'te') headers.push(name, value)
  }
  const method = pseudo.get(':method') ?? ''
  const path = pseudo.get(':path') ?? ''
  if (method === 'CONNECT' || pseudo.has(':protocol'))
    throw new Problem(
      'method_not_allowed',
      'CONNECT is not taken over HTTP/2 (RFC 9113 8.5, RFC 8441)',
    )
  if (!/^[A-Z]{1,20}$/.test(method) || !/^\/[\x21-\x7e]*$|^\*$/.test(path))
    throw new Problem('request_invalid', ':method and :path must name a method and a path')
  if (!/^https?$/i.test(pseudo.get(':scheme') ?? 'http'))
    throw new Problem('request_invalid', ':scheme must be http or https')
  const hosts = headers.flatMap((name, i) =>
    i % 2 === 0 && name === 'host' ? [headers[i + 1]] : [],
  )
  const authority = pseudo.get(':authority')
  if (
    authority !== undefined &&
    hosts.some((host) => host?.toLowerCase() !== authority.toLowerCase())
  )
    throw new Problem('request_invalid', 'Host and :authority differ (RFC 9113 8.3.1)')
  if (authority !== undefined && hosts.length === 0) headers.unshift('host', authority)
  // RFC 9113 8.2.3
  if (cookies.length > 0) headers.push('cookie', cookies.join('; '))
  const counted = headers.some((name, i) => i % 2 === 0 && name === 'content-length')
  if (!ended && !counted) headers.push('transfer-encoding', 'chunked')
  return { method, path, headers }
}

/** An answer's fields as HTTP/2 has them; several of one name stay several. */
const fieldsOf = (raw: readonly string[]) => {
  const fields: Record<string, string | string[]> = Object.create(null) as Record<string, string>
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    const value = raw[i + 1] ?? ''
    const before = fields[name]
    if (UNSENT.has(name)) continue
    fields[name] = before === undefined ? value : [before, value].flat()
  }
  return fields
}

/** Reset by its client before it was looked at, or with its connection: nobody would hear an answer. */
const gone = (stream: ServerHttp2Stream): boolean => stream.destroyed || stream.closed

/**
 * The answer is whole, and of a body that still comes nothing is wanted. It is read and thrown away all the same: there are
 * clients that look at no answer before all of their body is gone, and hear no reset after it (Java 17's). Who says nothing more
 * is reset (RFC 9113 8.1): the stream would keep the connection.
 */
const answeredWhole = (stream: ServerHttp2Stream): void => {
  setImmediate(() => {
    if (stream.readableEnded || stream.destroyed) return
    let came = 0
    stream.unpipe().on('data', (chunk: Buffer) => void (came += chunk.length))
    stream.resume()
    lingering(
      stream,
      () => came,
      () => stream.close(),
    )
  })
}

/**
 * Carries one answer back.
 * @throws Problem upstream_unreachable for a status that Node cannot say in HTTP/2
 */
const back = (stream: ServerHttp2Stream, res: IncomingMessage): void => {
  if (gone(stream) || stream.headersSent) return void res.destroy()
  const { statusCode = 502 } = res
  if (statusCode > 599) {
    res.destroy()
    throw new Problem('upstream_unreachable', `HTTP/2 cannot say the provider’s ${statusCode}`, {
      headers: proxyStatus('upstream_unreachable', 'http_protocol_error'),
    })
  }
  // gRPC's trailers-only: its clients know the status in a header section only where that ends the stream.
  const only = res.headers['grpc-status'] !== undefined
  // Closed, it would first say that its body has ended.
  const fail = (): void => void stream.destroy(new Error('the answer was cut'))
  res.on('error', fail).on('aborted', fail)
  const answered = { ...fieldsOf(res.rawHeaders), ':status': statusCode }
  if (statusCode === 204 || statusCode === 304 || only) {
    stream.respond(answered, { endStream: true })
    res.resume()
    answeredWhole(stream)
    return
  }
  stream.respond(answered, { waitForTrailers: true })
  stream.on('wantTrailers', () => {
    if (gone(stream)) return
    stream.sendTrailers(fieldsOf(res.rawTrailers))
    answeredWhole(stream)
  })
  res.pipe(stream)
}

export const createH2 = ({ server, maxHeaderBytes, patience, refusal }: H2Options): H2 => {
  /** With the connection of each: Node itself shows a proxy of it only. */
  const sessions = new Map<Http2Session, Socket>()
  let entering: Socket | null = null
  // Only who is asked in HTTP/2 loads it.
  const { createServer, constants } = process.getBuiltinModule('node:http2')
  const { request } = process.getBuiltinModule('node:http')
  const codes = { internal: constants.NGHTTP2_INTERNAL_ERROR, cancel: constants.NGHTTP2_CANCEL }
  /** Of an answer that still comes the deadlines are those of its call; a window that stays shut would hold the rest for ever. */
  const whole = (stream: ServerHttp2Stream): void => {
    if (!gone(stream)) stream.setTimeout(patience, () => stream.close(codes.cancel))
  }
  const refuse = (stream: ServerHttp2Stream, problem: Problem): void => {
    const { status, headers, body } = refusal(problem)
    // Read at once, or Node would reset it with the answer.
    stream.resume().respond({ ':status': status, ...headers })
    stream.end(body)
    answeredWhole(stream)
    whole(stream)
  }
  /** Nothing that either side said is thrown past here: it would end the process. */
  const heard = (stream: ServerHttp2Stream, hear: () => void): void => {
    try {
      hear()
    } catch (error) {
      if (gone(stream)) return
      if (error instanceof Problem && !stream.headersSent) refuse(stream, error)
      else stream.close(codes.internal)
    }
  }
  const carried = (stream: ServerHttp2Stream, raw: readonly string[], ended: boolean): void => {
    if (gone(stream)) return
    const { method, path, headers } = asked(raw, ended)
    const socket = stream.session == null ? undefined : sessions.get(stream.session)
    if (socket === undefined) return stream.close(codes.internal)
    const { ours, theirs } = connected(socket)
    const sent: ClientRequest = request({
      method,
      path,
      headers: [...headers],
      setHost: false,
      maxHeaderSize: MOST_ANSWERED,
      createConnection: () => ours,
    })
    let left = false
    sent.on('response', (res) => {
      res.on('end', () => whole(stream))
      heard(stream, () => back(stream, res))
    })
    // Who asks first (`Expect`) would wait for this word before the body.
    sent.on('continue', () => {
      if (!gone(stream) && !stream.headersSent)
        stream.additionalHeaders({ ':status': constants.HTTP_STATUS_CONTINUE })
    })
    sent.on('error', () => {
      if (!left && !stream.destroyed) stream.close(codes.internal)
    })
    stream.on('close', () => {
      left = true
      // The whole of it was sent: who reads it may still be writing the last of it.
      ours.destroy()
    })
    stream.on('trailers', (_said, _flags, fields: readonly string[] = []) =>
      heard(stream, () => {
        const pairs = fields.flatMap((name, i): [string, string][] =>
          i % 2 === 0 && !name.startsWith(':') ? [[name, fields[i + 1] ?? '']] : [],
        )
        if (sent.getHeader('transfer-encoding') !== undefined || sent.chunkedEncoding)
          sent.addTrailers(pairs)
      }),
    )
    server.emit('setSecureContext' in server ? 'secureConnection' : 'connection', theirs)
    if (ended) return void sent.end()
    // Its body may begin after the answer does, and Node would wait for it.
    sent.flushHeaders()
    stream.pipe(sent)
  }
  const front: Http2Server = createServer({
    maxHeaderListPairs: MOST_FIELDS,
    ...RESETS,
    strictSingleValueFields: false,
    maxSendHeaderBlockLength: MOST_ANSWERED,
    settings: {
      maxConcurrentStreams: MOST_STREAMS,
      maxHeaderListSize: maxHeaderBytes,
      enableConnectProtocol: false,
      enablePush: false,
    },
  })
  front.on('session', (session) => {
    if (entering !== null) sessions.set(session, entering)
    session.on('close', () => sessions.delete(session))
    session.on('error', () => undefined)
    session.setTimeout(IDLE_MS, () => {
      // What waits has deadlines of its own.
      if (session.state.outboundQueueSize === 0) session.close()
    })
  })
  front.on('stream', (stream: ServerHttp2Stream, _headers, flags, raw: readonly string[]) => {
    stream.on('error', () => undefined)
    heard(stream, () => carried(stream, raw, (flags & END_STREAM) !== 0))
  })
  return {
    enter: (socket) => {
      // Its session is told of before this returns.
      entering = socket
      front.emit('connection', socket)
      entering = null
      // A server of HTTP/1.1 leaves the other half open: whoever died in the middle would never be missed.
      socket.on('end', () => socket.destroy())
      // Its end is told to who reads it; what it said before is the session's, which has it by then.
      setImmediate(() => socket.resume())
    },
    part: () => {
      for (const session of sessions.keys()) session.close()
    },
  }
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

/**
 * Whose first bytes are those of HTTP/2 is handed to `other`, all else to the server as it would have come.
 * @param patience ms that a connection may say nothing
 * @returns ends those that have said nothing yet
 */
export const listening = (server: Server, other: (socket: Socket) => void, patience: number) => {
  const silent = new Set<Socket>()
  /** What the server does with a connection itself stands last. */
  const own = (event: 'connection' | 'secureConnection') => {
    const ours = server.listeners(event).at(-1) as
      ((this: Server, socket: Socket) => void) | undefined
    if (ours === undefined) throw new Error(`a server of HTTP takes no ${event}`)
    server.off(event, ours)
    return ours
  }
  if ('setSecureContext' in server) {
    const take = own('secureConnection')
    server.on('secureConnection', (socket: Socket & { readonly alpnProtocol?: unknown }) => {
      if (socket.alpnProtocol === 'h2') other(socket)
      else take.call(server, socket)
    })
    return { end: () => undefined }
  }
  const take = own('connection')
  server.on('connection', (socket: Socket) => {
    // What came through a tunnel agreed on it there; a stream of HTTP/2 is no connection of this listener's own.
    if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2') return other(socket)
    if ('encrypted' in socket || outerOf(socket) !== socket) return take.call(server, socket)
    let came = Buffer.alloc(0)
    const late = setTimeout(() => socket.destroy(), patience)
    silent.add(socket)
    const gone = (): void => {
      clearTimeout(late)
      silent.delete(socket)
    }
    // Nothing flows yet: whoever takes it over finds all of it.
    const look = (): void => {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      came = Buffer.concat([came, chunk])
      const known = Math.min(came.length, PREFACE.length)
      const same = came.subarray(0, known).equals(PREFACE.subarray(0, known))
      if (same && came.length < PREFACE.length) return
      gone()
      socket.off('close', gone).off('readable', look).off('end', ended)
      socket.unshift(came)
      if (same) other(socket)
      // Node's parser of HTTP/1.1 waits for ever behind this word, which no method is.
      else if (came.subarray(0, 4).equals(PREFACE.subarray(0, 4))) socket.destroy()
      else take.call(server, socket)
    }
    const ended = (): void => {
      gone()
      socket.end()
    }
    socket.on('close', gone).on('readable', look).on('end', ended)
  })
  return { end: () => silent.forEach((socket) => socket.destroy()) }
}
