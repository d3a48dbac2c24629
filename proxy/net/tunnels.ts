// CONNECT to a host that is served (RFC 9110 9.3.6): the client is answered by a certificate of this pod's own, and what it
// then says goes the very way of every other call. A tunnel to any other host would hide a call from policy.
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket, type SecureContext } from 'node:tls'
import type { Log } from '../model.ts'
import type { Dedicated, Head } from './admit.ts'
import { outerOf } from './sockets.ts'
import { Problem } from '../problem.ts'
import { hostname } from './host.ts'

export type TunnelOptions = {
  /** `identity.header`: what `Proxy-Authorization` says stands there for the way. */
  readonly tagHeader: string
  /** What is shown for this host. */
  readonly leaf: (host: string) => Promise<SecureContext>
  readonly serves: (host: string) => boolean
  /** Throws the Problem of a header section with more than one reading. */
  readonly check: (rawHeaders: readonly string[]) => void
  readonly admission: (host: string) => (req: Head) => 'call' | 'api'
  /** Hands a connection over whose TLS stands, and what it agreed on (RFC 7301). */
  readonly enter: (socket: TLSSocket) => void
  readonly log: Log
}
type Tunnelled = {
  readonly dedicated: Dedicated
  readonly admit: (req: Head) => 'call' | 'api'
  readonly authorization: string | undefined
}
export type Tunnels = {
  /** false: it is no tunnel of ours. @throws Problem of a CONNECT that has more than one reading */
  readonly open: (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean
  /** Ends those whose TLS does not stand yet: nothing was asked in them. */
  readonly end: () => void
  /** The tunnel that a request came through; null: none. */
  readonly of: (req: IncomingMessage) => Tunnelled | null
  /** Puts what `Proxy-Authorization` says of the person where tags stand, and takes it away. */
  readonly tag: (req: IncomingMessage, inside: Tunnelled | null) => void
}

/** ms until the client's TLS must stand. */
const HANDSHAKE_MS = 10_000
const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n'
const PROXY_AUTHORIZATION = 'proxy-authorization'

/** `Bearer TAG`; or Basic, where the password is the tag, or without one (or with `x`) the name. null: it says nothing. */
const tagIn = (authorization: string | undefined): string | null => {
  const [, scheme = '', value = ''] = /^([A-Za-z]+) +(\S+) *$/.exec(authorization ?? '') ?? []
  if (/^bearer$/i.test(scheme)) return value
  if (!/^basic$/i.test(scheme)) return null
  const pair = Buffer.from(value, 'base64').toString('latin1')
  const colon = pair.indexOf(':')
  const [name, password] = colon === -1 ? [pair, ''] : [pair.slice(0, colon), pair.slice(colon + 1)]
  return password === '' || password === 'x' ? name : password
}

/** What `Proxy-Authorization` says; undefined: nothing. @throws Problem unauthenticated where it says two things */
const authorizationOf = ({ headersDistinct }: IncomingMessage): string | undefined => {
  const [first, ...more] = new Set(headersDistinct[PROXY_AUTHORIZATION])
  if (more.length > 0)
    throw new Problem('unauthenticated', 'two Proxy-Authorization headers differ: send one')
  return first
}
/** @throws Problem request_invalid: who is before us may read it otherwise (RFC 9110 9.3.6, RFC 9112 3.2) */
const checkConnect = ({ headersDistinct, url }: IncomingMessage, host: string): void => {
  // Some clients say none, in HTTP/1.0: Python's.
  const [named = host, ...more] = headersDistinct['host'] ?? []
  if (more.length > 0 || hostname(named) !== host)
    throw new Problem('request_invalid', `the Host header of CONNECT ${url} names another host`)
  // Perl's Mojolicious says that it has none.
  const [length = '0', ...lengths] = headersDistinct['content-length'] ?? []
  if (length !== '0' || lengths.length > 0 || 'transfer-encoding' in headersDistinct)
    throw new Problem('request_invalid', 'CONNECT has no content: send no length and no coding')
}

export const createTunnels = (options: TunnelOptions): Tunnels => {
  const { leaf, serves, log } = options
  const inside = new WeakMap<object, Tunnelled>()
  const beginning = new Set<Duplex>()
  const secured = (socket: Duplex, host: string, tunnelled: Tunnelled): void => {
    beginning.add(socket)
    socket.once('close', () => beginning.delete(socket))
    leaf(host).then(
      (secureContext) => {
        if (socket.destroyed) return
        socket.write(ESTABLISHED)
        const tls = new TLSSocket(socket, {
          isServer: true,
          secureContext,
          // Who speaks HTTP/1.0 may say so: curl -0 does, and TLS fails where nothing that it says is known (RFC 7301 3.2).
          ALPNProtocols: ['h2', 'http/1.1', 'http/1.0'],
          // Another name than the one that was asked for has two readings.
          SNICallback: (name, done) =>
            name.toLowerCase() === host
              ? done(null, secureContext)
              : done(new Error('the name in TLS is not that of the tunnel')),
        })
        const late = setTimeout(() => tls.destroy(), HANDSHAKE_MS)
        tls.on('error', () => tls.destroy())
        tls.once('close', () => {
          clearTimeout(late)
          socket.destroy()
        })
        tls.once('secure', () => {
          clearTimeout(late)
          beginning.delete(socket)
          // As a server of TLS marks those that it took itself: a session of HTTP/2 would wait for it.
          Object.assign(tls, { secureConnecting: false })
          inside.set(tls, tunnelled)
          options.enter(tls)
        })
      },
      (error: unknown) => {
        log.error({ err: error, host }, 'no certificate could be made for a tunnel')
        socket.destroy()
      },
    )
  }
  return {
    open(req, socket, head) {
      const [, name = '', port = ''] = /^([^:/?#@\s]+):(\d{1,5})$/.exec(req.url ?? '') ?? []
      const host = hostname(name)
      if (host === null || port !== '443' || !serves(host) || inside.has(socket)) return false
      options.check(req.rawHeaders)
      checkConnect(req, host)
      const authorization = authorizationOf(req)
      if (head.length > 0) socket.unshift(head)
      secured(socket, host, {
        dedicated: { upstream: host, user: null, forward: true },
        admit: options.admission(host),
        authorization,
      })
      return true
    },
    end: () => beginning.forEach((socket) => socket.destroy()),
    of: (req) => inside.get(outerOf(req.socket)) ?? null,
    tag(req, tunnelled) {
      // Within a tunnel that header would be the provider's own affair: only the tunnel's counts.
      const said = tunnelled === null ? authorizationOf(req) : tunnelled.authorization
      const tag = tagIn(said)
      if (tag === null) return
      req.rawHeaders.push(options.tagHeader, tag)
      if (req.headers[options.tagHeader.toLowerCase()] === undefined)
        req.headers[options.tagHeader.toLowerCase()] = tag
    },
  }
}
