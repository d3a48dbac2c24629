// For whom a request was meant: a page whose name was turned to this address (DNS rebinding) names itself in Host.
import type { IncomingMessage } from 'node:http'

/** Host name of a Host header or authority, lower case, without port; null: malformed. */
export const hostname = (host: string): string | null => {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(host)
  return match?.[1]?.toLowerCase() ?? null
}

/** An address as it stands in a Host header. */
const literal = (address: string): string => {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').toLowerCase()
  return plain.includes(':') ? `[${plain}]` : plain
}

/** What names this machine to itself, the address that is listened on, and `names`. */
export const ownNames = (listen: string | null, names: readonly string[]): ReadonlySet<string> =>
  new Set([
    'localhost',
    '127.0.0.1',
    '[::1]',
    ...(listen === null ? [] : [literal(listen)]),
    ...names.map((name) => name.toLowerCase()),
  ])

/**
 * Does the request name this listener, once, in Host and in an absolute target? Also by the address that it came in at:
 * a probe of Kubernetes goes to the pod's, which nobody knew before.
 */
export const meantHere = (own: ReadonlySet<string>) => (req: IncomingMessage) => {
  const { host } = req.headersDistinct
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(req.url ?? '')?.[1]
  if (host?.length !== 1) return false
  return [host[0], authority].every((name) => {
    if (name === undefined) return true
    const found = hostname(name)
    return found !== null && (own.has(found) || found === literal(req.socket.localAddress ?? ''))
  })
}
