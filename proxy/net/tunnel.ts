// A way through the egress proxy: CONNECT to an address that was judged before (RFC 9110 9.3.6).
import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { Secret } from '../secret.ts'

// As a module it would be imported with its WebSocket, and that loads a whole client.
const { request: plainRequest } = process.getBuiltinModule('node:http')

export type EgressProxy = {
  /** Without credentials: scheme, host and port. */
  readonly origin: string
  /** The value of Proxy-Authorization; null: the proxy asks for none. */
  readonly authorization: Secret | null
}

/** Nothing of the request has left, and whoever dials again asks the proxy anew. */
type TunnelCode =
  | 'DEPUTY_PROXY_UNREACHABLE'
  | 'DEPUTY_PROXY_REFUSED'
  | 'DEPUTY_PROXY_FAILED'
  | 'DEPUTY_PROXY_GARBLED'
  | 'DEPUTY_PROXY_TIMEOUT'
/** @param sentence ours alone: no byte of the proxy's answer, no credential */
const failure = (code: TunnelCode, sentence: string, cause?: unknown): Error =>
  Object.assign(new Error(sentence, { cause }), { code })

/** Bytes of the head of the proxy's answer. */
const MOST_HEAD = 16_384
/** Addresses of one host that the proxy is asked for, one after the other, within one deadline. */
const MOST_ADDRESSES = 4
const NAMED = 'the egress proxy (upstream.proxy)'

const refusal = (status: number): Error => {
  if (status === 407)
    return failure(
      'DEPUTY_PROXY_REFUSED',
      `${NAMED} answered 407: the operator must correct the user and password in its URL`,
    )
  if (status >= 400 && status < 500)
    return failure(
      'DEPUTY_PROXY_REFUSED',
      `${NAMED} answered ${status}: the operator must let deputy reach this address and port through it, or list the host under upstream.no_proxy`,
    )
  return status >= 500 && status < 600
    ? failure('DEPUTY_PROXY_FAILED', `${NAMED} answered ${status}: it has no way there now`)
    : failure(
        'DEPUTY_PROXY_GARBLED',
        `${NAMED} answered ${status} to CONNECT: is it a proxy for https?`,
      )
}
const codeOf = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? error.code : error.name
/** What happened before an answer, as a sentence. */
const broken = (error: Error, connected: boolean): Error => {
  const code = codeOf(error)
  if (code.startsWith('HPE_'))
    return failure('DEPUTY_PROXY_GARBLED', `${NAMED} did not answer in HTTP/1.1`, error)
  return connected && !/CERT|SSL|TLS/.test(code)
    ? failure('DEPUTY_PROXY_GARBLED', `${NAMED} ended the connection without an answer`, error)
    : failure('DEPUTY_PROXY_UNREACHABLE', `${NAMED} cannot be reached (${code})`, error)
}

type Reach = {
  readonly proxy: EgressProxy
  /** Resolves and judges the name of the proxy itself. */
  readonly lookup: LookupFunction
  /** For a proxy that speaks TLS. */
  readonly trust: SecureContext | null
  /** The end of waiting. */
  readonly signal: AbortSignal
}

/** One CONNECT. @param authority address and port, as RFC 9110 7.2 writes them */
const connect = async (authority: string, reach: Reach): Promise<Socket> => {
  const { proxy, lookup, trust, signal } = reach
  const { protocol, hostname, port } = new URL(proxy.origin)
  const tls = protocol === 'https:'
  const request = tls ? (await import('node:https')).request : plainRequest
  const host = hostname.replace(/^\[|\]$/g, '')
  return new Promise((resolve, reject) => {
    let connected = false
    const req = request({
      method: 'CONNECT',
      host,
      port: port === '' ? (tls ? 443 : 80) : Number(port),
      path: authority,
      headers: {
        host: authority,
        ...(proxy.authorization === null
          ? {}
          : { 'proxy-authorization': proxy.authorization.reveal() }),
      },
      agent: false,
      lookup,
      signal,
      maxHeaderSize: MOST_HEAD,
      // Else the runtime takes it from the header Host, which is an address here.
      ...(tls ? { servername: isIP(host) === 0 ? host : '' } : {}),
      ...(tls && trust !== null ? { secureContext: trust } : {}),
    })
    req.once('socket', (socket) =>
      socket.once(tls ? 'secureConnect' : 'connect', () => {
        connected = true
      }),
    )
    req.once('connect', (res, socket: Socket, head: Buffer) => {
      const status = res.statusCode ?? 0
      // Before we said a word nobody behind the tunnel has anything to say.
      const extra = head.length > 0
      if (status >= 200 && status < 300 && !extra) return resolve(socket)
      socket.destroy()
      reject(
        status >= 200 && status < 300
          ? failure(
              'DEPUTY_PROXY_GARBLED',
              `${NAMED} answered ${status} to CONNECT and more than that: its tunnel is not used`,
            )
          : refusal(status),
      )
    })
    req.once('response', (res) => {
      res.destroy()
      reject(refusal(res.statusCode ?? 0))
    })
    req.on('error', (error) =>
      reject(
        signal.aborted
          ? failure('DEPUTY_PROXY_TIMEOUT', `${NAMED} did not open a way in time`, error)
          : codeOf(error) === 'DEPUTY_ADDRESS_PROHIBITED'
            ? failure(
                'DEPUTY_PROXY_UNREACHABLE',
                `${NAMED} is at an address that is never dialled`,
                error,
              )
            : broken(error, connected),
      ),
    )
    req.end()
  })
}

/**
 * Opens a tunnel to the first of these addresses that the proxy reaches; a proxy that says no is not asked again.
 * Rejects with an Error whose `code` is a TunnelCode and whose message is a sentence.
 */
export const openTunnel = async (
  to: { readonly addresses: readonly string[]; readonly port: number },
  reach: Reach,
): Promise<Socket> => {
  let last: unknown = failure('DEPUTY_PROXY_FAILED', `${NAMED} was given no address`)
  for (const address of to.addresses.slice(0, MOST_ADDRESSES))
    try {
      const socket = await connect(
        `${address.includes(':') ? `[${address}]` : address}:${to.port}`,
        reach,
      )
      if (!reach.signal.aborted) return socket
      socket.destroy()
      throw failure('DEPUTY_PROXY_TIMEOUT', `${NAMED} did not open a way in time`)
    } catch (error) {
      last = error
      if (!(error instanceof Error) || codeOf(error) !== 'DEPUTY_PROXY_FAILED') throw error
    }
  throw last
}
