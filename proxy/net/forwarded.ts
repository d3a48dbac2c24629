// What proxies in front of a listener say of its callers (RFC 7239, and the X-Forwarded headers before it): believed from
// those that are trusted, and only as far as each of them vouches for the next.
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { networksOf } from './address.ts'

export type Forwarded = {
  /** Address of the caller: the first one, from here outwards, that is no trusted proxy. null: the socket is gone. */
  readonly address: (req: IncomingMessage) => string | null
  /** The `Host` that the nearest trusted proxy was asked for; null: none said so. */
  readonly host: (req: IncomingMessage) => string | null
}

const unmapped = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '')
/** `192.0.2.1:80`, `"[2001:db8::1]:80"` → the address; null: `unknown`, or a name that hides one (RFC 7239 6.3). */
const nodeOf = (said: string): string | null => {
  const text = said.trim().replace(/^"(.*)"$/, '$1')
  const address = /^\[([0-9A-Fa-f:.]+)\](?::\d+)?$/.exec(text)?.[1] ?? text
  const bare = isIP(address) === 0 ? address.replace(/:\d+$/, '') : address
  return isIP(bare) === 0 ? null : unmapped(bare)
}

/** Elements of `Forwarded`, the nearest last; a quoted value may hold commas and semicolons. */
const elementsOf = (header: string): readonly ReadonlyMap<string, string>[] =>
  [...header.matchAll(/(?:[^,"]|"[^"]*")+/g)].map(
    ([element]) =>
      new Map(
        [...element.matchAll(/(?<![\w-])([\w-]+)=("[^"]*"|[^;,\s]*)/g)].map(
          ([, name = '', value = '']) => [name.toLowerCase(), value.replace(/^"(.*)"$/, '$1')],
        ),
      ),
  )

type Hop = { readonly from: string | null; readonly host: string | null }
/** What was said, the nearest proxy last. Whoever sends `Forwarded` is not asked for the older headers. */
const hopsOf = ({ headersDistinct: headers }: IncomingMessage): readonly Hop[] => {
  const all = (name: string): string => (headers[name] ?? []).join(',')
  const forwarded = all('forwarded')
  if (forwarded !== '')
    return elementsOf(forwarded).map((element) => ({
      from: nodeOf(element.get('for') ?? ''),
      host: element.get('host') ?? null,
    }))
  const hosts = all('x-forwarded-host').split(',')
  const host = hosts.at(-1)?.trim() ?? ''
  const from = all('x-forwarded-for')
  const nodes = from === '' ? [] : from.split(',').map(nodeOf)
  const hops = nodes.map((node) => ({ from: node, host: null as string | null }))
  return host === '' ? hops : [...hops.slice(0, -1), { from: hops.at(-1)?.from ?? null, host }]
}

/** @param trusted addresses and networks of proxies (`listeners.trusted_proxies`) */
export const createForwarded = (trusted: readonly string[]): Forwarded => {
  const inside = networksOf(
    trusted.map((each) => (each.includes('/') ? each : `${each}/${isIP(each) === 6 ? 128 : 32}`)),
  )
  const peer = ({ socket }: IncomingMessage): string | null =>
    socket.remoteAddress === undefined ? null : unmapped(socket.remoteAddress)
  const believed = (req: IncomingMessage): readonly Hop[] => {
    const from = trusted.length === 0 ? null : peer(req)
    return from !== null && inside(from) ? hopsOf(req) : []
  }
  return {
    address: (req) => {
      let address = peer(req)
      for (const { from } of believed(req).toReversed()) {
        if (address === null || !inside(address)) break
        // Who hides is not known any further than the proxy that says so.
        if (from === null) break
        address = from
      }
      return address
    },
    host: (req) => believed(req).at(-1)?.host ?? null,
  }
}
