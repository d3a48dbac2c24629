// Every connection that deputy opens is checked when it dials, on the resolved address.
import { lookup as dnsLookup } from 'node:dns'
import type { ClientHttp2Session } from 'node:http2'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import { createRequire } from 'node:module'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import type undici from 'undici'
import type { Dispatcher } from 'undici'
import type { ConnectionTls, Dialled, Log } from '../model.ts'
import { createAddressRule, type AllowPrivate } from './address.ts'
import { createDirect } from './no_proxy.ts'
import { commonTrust, followTrust, trustOf, type Trust } from './trust.ts'
import { openTunnel, type EgressProxy } from './tunnel.ts'

// Two parts of undici by their files (its version is pinned): the whole costs 40 ms and 8 MB more, and most of that is
// its `fetch`, loaded when an identity provider is first asked.
const part = createRequire(import.meta.url)
const Agent = part('undici/lib/dispatcher/agent.js') as typeof undici.Agent
const symbols = part('undici/lib/core/symbols.js') as {
  readonly kSocket: symbol
  readonly kParser: symbol
  readonly kHTTP2Session: symbol
}
const buildConnector = part('undici/lib/core/connect.js') as typeof undici.buildConnector

/** A request says with `tls` which connection's files it is dialled with. */
export type Fetch = (
  input: string | URL | Request,
  init?: RequestInit & Dialled,
) => Promise<Response>
export type Upstream = {
  readonly dispatch: (
    options: Dispatcher.DispatchOptions & Dialled,
    handler: Dispatcher.DispatchHandler,
  ) => boolean
}
/** A connection for what is not http. */
export type Opened = {
  readonly socket: Socket
  /** TLS over it, which is verified when it says `secureConnect`: nothing may be sent before. */
  readonly secure: () => TLSSocket
  /** The same, waited for. */
  readonly secured: () => Promise<TLSSocket>
}
export type Open = (to: {
  readonly host: string
  readonly port: number
  readonly tls: ConnectionTls | null
}) => Promise<Opened>
export type Dial = {
  readonly open: Open
  /** For calls to providers: undici's dispatch API. */
  readonly upstream: Upstream
  /** For identity providers and token endpoints; redirects are never followed. */
  readonly fetch: Fetch
  /** Cuts what runs. */
  readonly close: () => Promise<void>
  /** Begins nothing more; what runs goes on to its end, and nobody waits for that. */
  readonly retire: () => void
}
export type DialOptions = {
  readonly allowPrivate: AllowPrivate
  /** ms until a connection must stand. */
  readonly connectTimeout: number
  readonly idleTimeout: number
  /** A PEM file of further certificate authorities. */
  readonly ca: string | null
  /** Everything goes through it but what `direct` names. */
  readonly proxy?: EgressProxy | null
  /** `upstream.no_proxy`. */
  readonly direct?: readonly string[]
  readonly log?: Log
}
/** Before the connection stands, its TLS with it, no byte of a request has left: a reset then is not one of an answer. */
const notSent = (error: Error): Error => Object.assign(error, { notSent: true })

/** Thrown (as an error with this code) when no resolved address may be dialled. */
const PROHIBITED = 'DEPUTY_ADDRESS_PROHIBITED'
const prohibited = (host: string, addresses: readonly string[]): Error =>
  Object.assign(
    new Error(
      `${host} resolves to ${addresses.join(', ')}, which is private, local or never allowed: list it under network.allow_private if it is meant`,
    ),
    { code: PROHIBITED },
  )

type Parser = {
  onHeadersComplete: (status: number, upgrade: boolean, keepAlive: boolean) => number
}
let tolerant = false
/**
 * RFC 9110 15.2: a client takes interim answers it did not ask for. undici ends the connection at a 100, and treats every
 * other one as it should; its parser is reached by the first connection that stands.
 */
const tolerateContinue = (client: unknown): void => {
  const socket = (client as Record<symbol, Record<symbol, Parser> | null>)[symbols.kSocket]
  const parser = socket?.[symbols.kParser]
  if (tolerant || parser === undefined) return
  tolerant = true
  const prototype = Object.getPrototypeOf(parser) as Parser
  const { onHeadersComplete } = prototype
  prototype.onHeadersComplete = function (this: Parser, status, upgrade, keepAlive) {
    return onHeadersComplete.call(this, status === 100 ? 102 : status, upgrade, keepAlive)
  }
}

const NO_ERROR = 0
const CANCEL = 8
/**
 * RFC 9113 8.1, 8.7: a request that is cut is no whole one, and an answer that is cut neither. undici ends a stream that it
 * gives up with NO_ERROR, before which Node says that the body has ended; and it takes an answer for whole that ended by a
 * reset. Both are set right where its session opens streams.
 */
const tellCuts = (client: unknown): void => {
  const session = (client as Record<symbol, ClientHttp2Session | null>)[symbols.kHTTP2Session]
  if (session == null) return
  const request = session.request.bind(session)
  session.request = (...asked) => {
    const stream = request(...asked)
    const close = stream.close.bind(stream)
    stream.close = (code = CANCEL, ...rest) => {
      stream.end = () => stream
      close(code, ...rest)
    }
    // Before undici's own listener: it hears of the end first.
    stream.on('end', () => {
      if (stream.rstCode !== NO_ERROR)
        stream.emit(
          'error',
          Object.assign(new Error('the stream was reset'), { code: 'ECONNRESET' }),
        )
    })
    return stream
  }
}

/**
 * RFC 9112 9.6: a provider that answers before it has read the whole body, and closes, resets the connection. What it said is
 * there to be read, but Node drops a socket as soon as a write fails. So of a failed write is told only when nothing more comes.
 */
const hearOut = (client: unknown): void => {
  const socket = (client as Record<symbol, Socket | null>)[symbols.kSocket]
  if (socket == null || 'alpnProtocol' in socket && socket.alpnProtocol === 'h2') return
  const late = (done: Written): Written => (error) => {
    if (error == null || socket.readableEnded || socket.destroyed) return done(error)
    const tell = (): void => {
      socket.off('end', tell).off('close', tell)
      done(error)
    }
    socket.on('end', tell).on('close', tell)
  }
  const write = socket._write.bind(socket)
  socket._write = (chunk, encoding, done) => write(chunk, encoding, late(done))
  const writev = socket._writev?.bind(socket)
  if (writev !== undefined) socket._writev = (chunks, done) => writev(chunks, late(done))
}
type Written = (error?: Error | null) => void

const QUIET: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const hostOf = (hostname: string): string => hostname.replace(/^\[|\]$/g, '')

/** Resolves and judges in one step, so that what was judged is what is dialled. */
const createLookup =
  (permitted: (host: string, address: string) => boolean): LookupFunction =>
  (hostname, wanted, callback) => {
    dnsLookup(hostname, { ...wanted, all: true }, (error, found) => {
      if (error !== null) return callback(error, '')
      const fine = found.filter(({ address }) => permitted(hostname, address))
      const first = fine[0]
      if (first === undefined)
        return callback(
          prohibited(
            hostname,
            found.map(({ address }) => address),
          ),
          '',
        )
      return wanted.all === true
        ? callback(null, fine)
        : callback(null, first.address, first.family)
    })
  }
/** The addresses that may be dialled for a host. @param signal the end of waiting: a name server may never answer */
const addressesOf = (
  lookup: LookupFunction,
  host: string,
  signal: AbortSignal,
): Promise<readonly string[]> =>
  new Promise((resolve, reject) => {
    const late = (): void =>
      reject(
        Object.assign(new Error(`${host} was not resolved in time`), {
          code: 'UND_ERR_CONNECT_TIMEOUT',
        }),
      )
    signal.addEventListener('abort', late, { once: true })
    lookup(host, { all: true }, (error, found) => {
      signal.removeEventListener('abort', late)
      if (error !== null) reject(error)
      else resolve(typeof found === 'string' ? [found] : found.map(({ address }) => address))
    })
  })

type Connector = ReturnType<typeof buildConnector>
type Target = Parameters<Connector>[0]
type Ended = Parameters<Connector>[1]
/** Without a proxy: to every address that is judged well, or only to those that `upstream.no_proxy` names. */
type Ways = { readonly all: Connector; readonly near: Connector }

/** Every connection of this process out begins here. @param common the files of all connections */
const createConnect = (options: DialOptions, common: Trust) => {
  const { connectTimeout, proxy = null, log = QUIET } = options
  const permitted = createAddressRule(options.allowPrivate)
  const lookup = createLookup(permitted)
  const direct = createDirect(options.direct ?? [])
  // Whoever names the proxy means its address, a private one too; the classes that nothing opens stay closed.
  const named = createAddressRule([{ net: '0.0.0.0/0' }, { net: '::/0' }])
  const proxyLookup = createLookup(named)
  const trusted = followTrust(common, log)

  // What goes round the proxy because of its addresses goes to those alone, whatever its name means a moment later.
  const near = createLookup((host, address) => permitted(host, address) && direct.address(address))

  /** A way through the proxy; else by which connector this host is reached without it. */
  const through = async (target: Target, signal: AbortSignal): Promise<Socket | keyof Ways> => {
    const host = hostOf(target.hostname)
    const port = Number(target.port || (target.protocol === 'https:' ? 443 : 80))
    if (proxy === null || direct.host(host, port)) return 'all'
    const addresses = isIP(host) === 0 ? await addressesOf(lookup, host, signal) : [host]
    if (addresses.every(direct.address)) return 'near'
    const at = hostOf(new URL(proxy.origin).hostname)
    if (isIP(at) !== 0 && !named(at, at)) throw prohibited(at, [at])
    const trust = proxy.origin.startsWith('https:') ? await trusted() : null
    return openTunnel({ addresses, port }, { proxy, lookup: proxyLookup, trust, signal })
  }

  /**
   * @param trust the files of one connection, or of all
   * @param http2 over TLS offered before HTTP/1.1 (RFC 7301), over plain http known before (RFC 9113 3.3)
   */
  return (trust: Trust, http2 = false): Connector => {
    const context = trust === common ? trusted : followTrust(trust, log)
    const waysOf = (secureContext: SecureContext | null): Ways => {
      const by = (judged: LookupFunction): Connector =>
        buildConnector({
          timeout: connectTimeout,
          lookup: judged,
          allowH2: http2,
          preferH2: http2,
          ...(secureContext === null ? {} : { secureContext }),
        })
      return { all: by(lookup), near: by(near) }
    }
    let last: SecureContext | null = null
    let ways = waysOf(null)
    const current = async (): Promise<Ways> => {
      const now = await context()
      if (now !== last) ways = waysOf((last = now))
      return ways
    }
    const prepared = async (target: Target, signal: AbortSignal) => {
      const by = target.protocol === 'https:' ? await current() : ways
      const way = await through(target, signal)
      return typeof way === 'string' ? { use: by[way], socket: null } : { use: by.all, socket: way }
    }
    const over = (target: Target, end: Ended): void => {
      const waited = new AbortController()
      const timer = setTimeout(() => waited.abort(), connectTimeout)
      const done: Ended = (...ended) => {
        clearTimeout(timer)
        end(...ended)
      }
      prepared(target, waited.signal).then(
        ({ use, socket }) => {
          if (socket === null) return use(target, done)
          if (target.protocol !== 'https:') {
            socket.setNoDelay(true).setKeepAlive(true, 60_000)
            return done(null, socket)
          }
          use({ ...target, httpSocket: socket }, handshake(target, socket, waited.signal, done))
        },
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error)), null),
      )
    }
    const simple = proxy === null && trust.ca.length === 0 && trust.client === null
    return (target, callback) => {
      const host = hostOf(target.hostname)
      // A literal address is never looked up, so it is judged here.
      if (isIP(host) !== 0 && !permitted(host, host))
        return callback(prohibited(host, [host]), null)
      const end: Ended = (...ended) => {
        if (ended[0] !== null) return callback(notSent(ended[0]), null)
        // As undici marks prior knowledge itself.
        if (http2 && target.protocol === 'http:') Object.assign(ended[1], { alpnProtocol: 'h2' })
        callback(...ended)
      }
      if (simple) ways.all(target, end)
      else over(target, end)
    }
  }
}
/**
 * The end of TLS inside a tunnel, exactly one: the runtime tells of no end where the tunnel is taken away from below.
 * @param signal the end of waiting
 */
const handshake = (
  { hostname }: Target,
  tunnel: Socket,
  signal: AbortSignal,
  done: Ended,
): Ended => {
  let over = false
  const end: Ended = (...ended) => {
    if (over) return
    over = true
    if (ended[0] !== null) tunnel.destroy()
    done(...ended)
  }
  const coded = (what: string, code: string): Error =>
    Object.assign(new Error(`TLS with ${hostname} through the egress proxy ${what}`), { code })
  signal.addEventListener('abort', () =>
    end(coded('took too long', 'UND_ERR_CONNECT_TIMEOUT'), null),
  )
  // Whoever knows more of why it closed speaks first.
  tunnel.once('close', () => setImmediate(() => end(coded('was cut off', 'ECONNRESET'), null)))
  return end
}

/** A plain connection, judged as all are, and whom TLS over it believes. */
const createOpen =
  (connect: Connector, common: Trust, log: Log): Open =>
  async ({ host, port, tls }) => {
    const context = await followTrust(trustOf(common, tls), log)()
    const hostname = isIP(host) === 6 ? `[${host}]` : host
    const socket = await new Promise<Socket>((resolve, reject) => {
      connect({ hostname, protocol: 'http:', port: String(port) }, (...ended) =>
        ended[0] === null ? resolve(ended[1]) : reject(ended[0]),
      )
    })
    const secure = (): TLSSocket =>
      connectTls({
        socket,
        host,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(context === null ? {} : { secureContext: context }),
      })
    return {
      socket,
      secure,
      secured: () =>
        new Promise((resolve, reject) => {
          const secured = secure()
          secured.once('secureConnect', () => resolve(secured)).once('error', reject)
          secured.once('close', () =>
            reject(Object.assign(new Error('TLS was cut off'), { code: 'ECONNRESET' })),
          )
        }),
    }
  }

/** Connections of one trust: those of calls, also those in HTTP/2, and those to whoever answers in JSON. */
const createAgents = (connect: Connector, connectH2: () => Connector) => {
  // No bound on connections: calls have theirs (`limits.calls`, and a share of each agent), and who waited for a socket
  // would wait silently behind whoever hangs there.
  // Deadlines of a call are our own (pipeline/forward): undici's timers cost and would end long streams.
  const ofCalls = (by: Connector, allowH2: boolean) => {
    const agent = new Agent({
      connect: by,
      allowH2,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: 30_000,
      maxHeaderSize: 65_536,
    })
    agent.on('connect', (_origin, targets) => {
      tolerateContinue(targets.at(-1))
      if (allowH2) tellCuts(targets.at(-1))
      hearOut(targets.at(-1))
    })
    return agent
  }
  const upstream = ofCalls(connect, false)
  let h2: ReturnType<typeof ofCalls> | null = null
  const identity = new Agent({
    connect,
    headersTimeout: 20_000,
    bodyTimeout: 20_000,
    keepAliveTimeout: 5_000,
    maxHeaderSize: 65_536,
  })
  return {
    upstream: (http2 = false) => (http2 ? (h2 ??= ofCalls(connectH2(), true)) : upstream),
    identity,
    all: () => [upstream, identity, ...(h2 === null ? [] : [h2])],
  }
}

export const createDial = (options: DialOptions): Dial => {
  const common = commonTrust(options.ca)
  const connect = createConnect(options, common)
  const plain = connect(common)
  const usual = createAgents(plain, () => connect(common, true))
  // A socket that showed one connection's certificate serves no other, though the host be the same.
  const own = new Map<string, ReturnType<typeof createAgents>>()
  const agentsOf = (tls: ConnectionTls | null | undefined): typeof usual => {
    if (tls === null || tls === undefined) return usual
    const key = JSON.stringify([tls.connection, tls.ca, tls.client])
    let agents = own.get(key)
    if (agents === undefined) {
      const trust = trustOf(common, tls)
      agents = createAgents(connect(trust), () => connect(trust, true))
      own.set(key, agents)
    }
    return agents
  }
  return {
    open: createOpen(plain, common, options.log ?? QUIET),
    upstream: {
      dispatch: (request, handler) =>
        agentsOf(request.tls).upstream(request.http2).dispatch(request, handler),
    },
    fetch: async (input, { tls, ...init } = {}) => {
      const { fetch } = await import('undici')
      const dispatcher = agentsOf(tls).identity
      // undici's fetch and the global one have the same wire types but distinct declarations.
      return fetch(input, { redirect: 'manual', ...init, dispatcher })
    },
    close: async () => {
      const agents = [usual, ...own.values()].flatMap((each) => each.all())
      await Promise.all(agents.map((agent) => agent.destroy()))
    },
    retire: () => {
      for (const each of [usual, ...own.values()])
        for (const agent of each.all()) void agent.close()
    },
  }
}
