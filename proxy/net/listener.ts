// The agent listener: limits, Host and browser rules (design 2.5), then the way or the API. Knows no provider and no policy.
import { constants } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { chmodSync } from 'node:fs'
import type { Log } from '../model.ts'
import { Problem, problemAnswer, type ProblemCode, toProblem } from '../problem.ts'
import { createAdmission, type Dedicated } from './admit.ts'
import { createTunnels, type TunnelOptions, type Tunnels } from './tunnels.ts'
import { clearStaleSocket } from './control.ts'
import { createH2, listening, type H2 } from './h2.ts'
import { askFor } from './ask_certificate.ts'
import type { Shown } from './certificate.ts'
import {
  closing,
  createBodies,
  mannerly,
  outerOf,
  parting,
  STILL_MS,
  TIMED_OUT,
  unheard,
  written,
  type Broken,
  type Connection,
} from './sockets.ts'
import { hostname, ownNames } from './host.ts'
import { gather } from './turn.ts'
import { asksForWebSocket } from './websocket.ts'
import { refusedIn } from '../wire/grpc.ts'

// Not `import`: naming its members would load all that node:http offers, undici a second time among them (10 MB, 50 ms).
const { createServer } = process.getBuiltinModule('node:http')

export type Listening = {
  /** `http://127.0.0.1:7410` or `unix:PATH`. */
  readonly address: string
  /** Shows another certificate to connections that begin from now on; nothing where it listens without TLS. */
  readonly renew: (tls: Shown) => void
  /** Still accepts; each answer is the last of its connection. */
  readonly part: () => void
  /** Stops accepting, waits for what runs, ends idle connections; the rest is cut after `ms`. */
  readonly close: (ms: number) => Promise<void>
}

type Where = { readonly host: string; readonly port: number } | { readonly path: string }

/** Until the headers are whole, ms. */
const HEADERS_MS = 30_000

/** Until TLS stands, ms. */
const HANDSHAKE_MS = 10_000

const TLS = { minVersion: 'TLSv1.2' } as const

const contextOf = ({ cert, key, clientCa }: Shown) => ({
  ...TLS,
  cert,
  key,
  // A connection that resumes another has only the end of the client's chain: when the rest of it ends, nobody could tell.
  ...(clientCa === null ? {} : { ca: clientCa, secureOptions: constants.SSL_OP_NO_TICKET }),
})

const secured = (tls: Shown) => ({
  ...contextOf(tls),
  // Who speaks HTTP/1.0 may say so: curl -0 does, and TLS fails where nothing that it says is known (RFC 7301 3.2).
  ALPNProtocols: ['h2', 'http/1.1', 'http/1.0'],
  requestCert: tls.clientCa !== null,
  // Who shows none may send a token; what does not hold is refused with a sentence, call by call.
  rejectUnauthorized: false,
})

/** What Node is told of every listener. */
const LIMITS = {
  headersTimeout: HEADERS_MS,
  // Uploads and held calls may be long; pipeline/forward has the deadlines of a call.
  requestTimeout: 0,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 10_000,
  optimizeEmptyRequests: true,
  insecureHTTPParser: false,
  joinDuplicateHeaders: false,
  requireHostHeader: false,
  noDelay: true,
}

/** Where it listens, as the configuration's reader would call it. */
const addressOf = (server: Server, tls: object | null): string => {
  const bound = server.address()
  if (bound === null || typeof bound === 'string') return `unix:${bound ?? ''}`
  const host = bound.family === 'IPv6' ? `[${bound.address}]` : bound.address
  return `${tls === null ? 'http' : 'https'}://${host}:${bound.port}`
}

/** ASCII: what to set instead of an HTTPS_PROXY, whose tunnels nobody can look into. */
const insteadOfTunnel = (
  target: string,
  serves: (host: string) => boolean,
  address: string,
): string => {
  const host = hostname(target)
  const hidden = 'a CONNECT tunnel would hide the call from policy'
  if (host === null || !serves(host))
    return `${hidden}, and no connection of this deputy serves that host: connect to it without this proxy (NO_PROXY)`
  return address.startsWith('unix:')
    ? `${hidden}: ask for http://${host}/ in the absolute form instead`
    : `${hidden}: set the client's base URL to ${address}/${host} instead of HTTPS_PROXY, or let it ask for http://${host}/ with HTTP_PROXY=${address}`
}

/** @throws Error that names the configuration's key and the place */
const bind = async (server: Server, listen: Where, key: string): Promise<void> => {
  if ('path' in listen) await clearStaleSocket(listen.path, key)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Error(
          `${key}: cannot listen on ${'path' in listen ? listen.path : `${listen.host}:${listen.port}`}: ${error.code === 'EADDRINUSE' ? 'the address is in use; choose another or stop what uses it' : error.message}`,
        ),
      ),
    )
    server.listen('path' in listen ? listen.path : listen, resolve)
  })
  if ('path' in listen) chmodSync(listen.path, 0o600)
}

type ListenerOptions = {
  /** The configuration key, for messages: `listeners.agent`. */
  readonly key: string
  readonly listen: Where
  readonly tls: Shown | null
  readonly dedicated: Dedicated | null
  readonly maxHeaderBytes: number
  readonly names: readonly string[]
  readonly origins: readonly string[]
  /** Throws the Problem of a header section with more than one reading. */
  readonly check: (rawHeaders: readonly string[]) => void
  /** Is this the name of a host that some connection serves? */
  readonly serves: (host: string) => boolean
  /** Base of problem types: `connect.url`. */
  readonly typeBase: string
  readonly newId: () => string
  readonly call: (
    req: IncomingMessage,
    res: ServerResponse,
    id: string,
    dedicated: Dedicated | null,
  ) => void
  readonly api: (req: IncomingMessage, res: ServerResponse, id: string) => void
  readonly refused: (code: ProblemCode, id: string) => void
  /** CONNECT is taken for the hosts that are served; null: it is refused. */
  readonly forward: Pick<TunnelOptions, 'tagHeader' | 'leaf'> | null
  readonly log: Log
}

const tunnelsOf = (
  { forward, serves, check, log }: ListenerOptions,
  enter: TunnelOptions['enter'],
): Tunnels | null =>
  forward === null
    ? null
    : createTunnels({
        ...forward,
        serves,
        check,
        admission: (host) =>
          createAdmission({
            own: new Set([host]),
            origins: new Set(),
            dedicated: true,
            check,
            serves: () => false,
          }),
        enter,
        log,
      })

/** HTTP/2, by ALPN under TLS and by its first bytes without; made when somebody first speaks it. */
const secondVersion = (
  { maxHeaderBytes, typeBase, newId, refused }: ListenerOptions,
  server: Server,
) => {
  let h2: H2 | null = null
  const refusal = (problem: Problem) => {
    const id = newId()
    refused(problem.code, id)
    return problemAnswer(problem, id, typeBase)
  }
  const { end } = listening(
    server,
    (socket) =>
      (h2 ??= createH2({ server, maxHeaderBytes, patience: STILL_MS, refusal })).enter(socket),
    HEADERS_MS,
  )
  return {
    part: () => {
      end()
      h2?.part()
    },
  }
}

export const startListener = async (options: ListenerOptions): Promise<Listening> => {
  /** Refuses, and reads no further request on this connection. */
  const refuse = (res: ServerResponse, id: string, problem: Problem): void => {
    const usual = problemAnswer(problem, id, options.typeBase)
    const { status, headers, body } = refusedIn(res.req.headers['content-type'], usual, problem)
    res.shouldKeepAlive = false
    res.writeHead(status, headers).end(body)
  }
  /** The same where Node offers no response. */
  const refusal = (problem: Problem, reason?: string): string => {
    const id = options.newId()
    options.refused(problem.code, id)
    const { status, headers, body } = problemAnswer(problem, id, options.typeBase)
    return written(status, headers, body, reason)
  }
  const problemOf = (error: Broken): Problem =>
    error.code === 'HPE_HEADER_OVERFLOW'
      ? new Problem(
          'headers_too_large',
          `the headers pass ${options.maxHeaderBytes} bytes (limits.headers)`,
        )
      : error.code === TIMED_OUT
        ? new Problem('request_timeout', `the headers were not whole after ${HEADERS_MS / 1_000} s`)
        : new Problem('request_invalid', 'the request is not valid HTTP/1.1')
  const admit = createAdmission({
    own: ownNames(options.listen, options.names),
    origins: new Set(options.origins),
    dedicated: options.dedicated !== null,
    check: options.check,
    serves: options.serves,
  })

  const tunnels = tunnelsOf(options, (socket) => server.emit('connection', socket))
  type Arrival = {
    readonly req: IncomingMessage
    readonly res: ServerResponse
    readonly connection: Connection
    /** The answer to the request before it on its connection. */
    readonly before: ServerResponse | null
  }
  const begin = ({ req, res, connection, before }: Arrival): void => {
    // Whoever left while the call waited for its turn gets no answer; who sent nonsense has one.
    if (res.closed || res.writableEnded) return
    if (before?.shouldKeepAlive === false) return unheard(req, res)
    const id = options.newId()
    if (connection.res === res) connection.id = id
    try {
      try {
        asking?.check(outerOf(req.socket))
        const inside = tunnels?.of(req) ?? null
        const kind = inside === null ? admit(req) : inside.admit(req)
        tunnels?.tag(req, inside)
        if (!req.complete) bodies.watch(connection)
        if (kind === 'api') options.api(req, res, id)
        else options.call(req, res, id, inside?.dedicated ?? options.dedicated)
      } catch (error) {
        const problem = toProblem(error)
        options.refused(problem.code, id)
        refuse(res, id, problem)
      }
    } catch (error) {
      // The others of this turn go on.
      options.log.error({ err: error }, 'a request could not be refused')
      res.destroy()
    }
  }
  /** The body of the latest request will not come: whoever reads it answers, else it is answered here. */
  const fail = ({ req, res, id }: Connection, problem: Problem): void => {
    if (req === null || res === null) return
    if (res.headersSent) req.socket.destroy()
    else if (id === '') {
      const own = options.newId()
      options.refused(problem.code, own)
      refuse(res, own, problem)
    } else if (req.listenerCount('error') > 0) req.emit('error', problem)
    else refuse(res, id, problem)
  }
  const bodies = createBodies((connection) =>
    fail(
      connection,
      new Problem('request_timeout', `nothing came of the body for ${STILL_MS / 1_000} s`),
    ),
  )
  // Calls that arrive together go their way together: each station stays in the processor's caches.
  const arrived = gather<Arrival>((batch) => batch.forEach(begin))
  const limits = {
    ...LIMITS,
    maxHeaderSize: options.maxHeaderBytes,
    shouldUpgradeCallback: asksForWebSocket,
  }
  const server: Server = mannerly(
    options.tls === null
      ? createServer(limits)
      : createTlsServer({ ...limits, ...secured(options.tls), handshakeTimeout: HANDSHAKE_MS }),
    {
      call: (req, res, connection, before) => arrived({ req, res, connection, before }),
      websockets: true,
      refusal: (error) => {
        // A handshake's first byte (RFC 8446 5.1): its client reads no answer of ours.
        if (options.tls === null && error.rawPacket?.[0] === 22)
          options.log.warn(
            { listener: options.key },
            'a client speaks TLS to this listener, which is plain http: begin its base URL with http://, or give it listeners.agent_tls',
          )
        return refusal(problemOf(error))
      },
      broken: (connection, error) => fail(connection, problemOf(error)),
      tunnelled: (...given) => {
        try {
          return tunnels?.open(...given) ?? false
        } catch (error) {
          return refusal(toProblem(error))
        }
      },
      tunnel: (target) => {
        const detail = insteadOfTunnel(target, options.serves, addressOf(server, options.tls))
        // Clients show no more of it than the reason phrase.
        return refusal(new Problem('method_not_allowed', detail), detail)
      },
    },
  )
  const clientCa = options.tls?.clientCa ?? null
  const asking = clientCa === null ? null : askFor(server, clientCa)
  const others = secondVersion(options, server)
  // Node's default cap drops headers silently; the byte limit above is the one that counts.
  server.maxHeadersCount = 0
  await bind(server, options.listen, options.key)
  return {
    address: addressOf(server, options.tls),
    renew: (tls) => {
      if (!('setSecureContext' in server)) return
      ;(server as TlsServer).setSecureContext(contextOf(tls))
      if (tls.clientCa !== null) asking?.renew(tls.clientCa)
    },
    part: () => {
      parting(server)
      others.part()
    },
    close: (ms) => {
      others.part()
      bodies.close()
      tunnels?.end()
      return closing(server, ms)
    },
  }
}
