// Is a request meant for this listener? A page that rebinds its own name to our address says another Host (DNS rebinding).
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { remembered } from '../memo.ts'

/** Host name of a Host header or authority, lower case, without port; null: malformed. */
export const hostname = (host: string): string | null => {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(host)
  return match?.[1]?.toLowerCase() ?? null
}

/** As it stands in a Host header: `[::1]`. */
const bracketed = (address: string): string => (address.includes(':') ? `[${address}]` : address)

/** Names by which a listener is called, whatever else it is called. */
export const ownNames = (
  listen: { readonly host: string } | object,
  names: readonly string[],
): ReadonlySet<string> =>
  new Set(
    [
      'localhost',
      '127.0.0.1',
      '[::1]',
      ...('host' in listen ? [bracketed(listen.host)] : []),
      ...names,
    ].map((name) => name.toLowerCase()),
  )

/** The address at which the caller reached us, as a Host header names it; probes of a cluster use the pod's. */
const reachedAt = ({ socket }: IncomingMessage): string =>
  bracketed((socket.localAddress ?? '').replace(/^::ffff:(?=\d+\.)/, ''))

/** The origin at which the caller reached us, as it says itself: what the tokens of an MCP host are for (RFC 8707). */
export const originOf = ({ socket, headers }: IncomingMessage): string =>
  `${'encrypted' in socket ? 'https' : 'http'}://${headers.host ?? 'localhost'}`

/** @returns whether a request names this listener, or the very address at which it came in, once in Host and in an absolute target */
export const createHostRule = (own: ReadonlySet<string>): ((req: IncomingMessage) => boolean) => {
  const named = remembered(hostname)
  const ours = (authority: string, req: IncomingMessage): boolean => {
    const name = named(authority)
    if (name === null) return false
    if (own.has(name)) return true
    return isIP(name.replace(/^\[|\]$/g, '')) !== 0 && name === reachedAt(req)
  }
  return (req) => {
    const [host, ...more] = req.headersDistinct['host'] ?? []
    const target = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(req.url ?? '')?.[1]
    return (
      host !== undefined &&
      more.length === 0 &&
      ours(host, req) &&
      (target === undefined || ours(target, req))
    )
  }
}
