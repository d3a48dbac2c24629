// Every connection that deputy opens is checked when it dials, on the resolved address.
import { lookup as dnsLookup } from 'node:dns'
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net'
import { createRequire } from 'node:module'
import type undici from 'undici'
import type { Dispatcher } from 'undici'

// Two parts of undici by their files (its version is pinned): the whole costs 40 ms and 8 MB more, and most of that is
// its `fetch`, loaded when an identity provider is first asked.
const part = createRequire(import.meta.url)
const Agent = part('undici/lib/dispatcher/agent.js') as typeof undici.Agent
const buildConnector = part('undici/lib/core/connect.js') as typeof undici.buildConnector

type Dial = {
  /** For calls to providers: undici's dispatch API. */
  readonly upstream: Dispatcher
  /** For identity providers and token endpoints; redirects are never followed. */
  readonly fetch: typeof fetch
  readonly close: () => Promise<void>
}
export type AllowPrivate = readonly { readonly host?: string | undefined; readonly net: string }[]

/** The address class that no configuration opens: metadata services, link-local, multicast, unspecified. */
const NEVER = [
  '0.0.0.0/8',
  '169.254.0.0/16',
  '192.0.0.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
  'fd00:ec2::254/128',
  '100.100.100.200/32',
  '168.63.129.16/32',
]
/** Reached only where `network.allow_private` says so. */
const PRIVATE = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '192.0.2.0/24',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '::1/128',
  'fc00::/7',
  '2001:db8::/32',
  '64:ff9b:1::/48',
]

const blockList = (networks: readonly string[]): BlockList => {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    list.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4')
  }
  return list
}

/** IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4) is judged as the IPv4 address it reaches. */
const embedded = (address: string): string => {
  if (!isIPv6(address)) return address
  const hex = new URL(`http://[${address.split('%')[0] ?? ''}]/`).hostname.slice(1, -1)
  const [head = '', tail = ''] = hex.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === '' ? [] : tail.split(':')
  const groups = hex.includes('::')
    ? [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
    : left
  const words = groups.map((group) => Number.parseInt(group, 16))
  const v4 = (a = 0, b = 0) => `${a >> 8}.${a & 255}.${b >> 8}.${b & 255}`
  const zero = (from: number, to: number) => words.slice(from, to).every((word) => word === 0)
  if (zero(0, 5) && words[5] === 0xffff) return v4(words[6], words[7])
  if (zero(0, 6) && (words[6] !== 0 || (words[7] ?? 0) > 1)) return v4(words[6], words[7])
  if (words[0] === 0x64 && words[1] === 0xff9b && zero(2, 6)) return v4(words[6], words[7])
  if (words[0] === 0x2002) return v4(words[1], words[2])
  return address
}

/** Before the connection stands, its TLS with it, no byte of a request has left: a reset then is not one of an answer. */
const notSent = (error: Error): Error => Object.assign(error, { notSent: true })

/** Thrown (as an error with this code) when no resolved address may be dialled. */
export const PROHIBITED = 'DEPUTY_ADDRESS_PROHIBITED'
const prohibited = (host: string, addresses: readonly string[]): Error =>
  Object.assign(
    new Error(
      `${host} resolves to ${addresses.join(', ')}, which is private, local or never allowed: list it under network.allow_private if it is meant`,
    ),
    { code: PROHIBITED },
  )

/** @returns whether `address` may be dialled for `host`. Pure. */
export const createAddressRule = (
  allow: AllowPrivate,
): ((host: string, address: string) => boolean) => {
  const never = blockList(NEVER)
  const priv = blockList(PRIVATE)
  const allowed = allow.map((entry) => ({
    host: entry.host?.toLowerCase(),
    list: blockList([entry.net]),
  }))
  return (host, raw) => {
    const address = embedded(raw)
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (isIP(address) === 0 || never.check(address, family)) return false
    if (!priv.check(address, family)) return true
    return allowed.some(
      (entry) =>
        (entry.host === undefined || entry.host === host.toLowerCase()) &&
        entry.list.check(address, family),
    )
  }
}

/**
 * @param options.connectTimeout ms until a connection must stand
 * @param options.ca PEM of further certificate authorities
 */
export const createDial = (options: {
  readonly allowPrivate: AllowPrivate
  readonly connectTimeout: number
  readonly idleTimeout: number
  readonly ca: string | null
}): Dial => {
  const permitted = createAddressRule(options.allowPrivate)
  const lookup: LookupFunction = (hostname, wanted, callback) => {
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
  const connector = buildConnector({
    timeout: options.connectTimeout,
    lookup,
    allowH2: false,
    ...(options.ca === null ? {} : { ca: options.ca }),
  })
  const connect: typeof connector = (target, callback) => {
    const host = target.hostname.replace(/^\[|\]$/g, '')
    // A literal address is never looked up, so it is judged here.
    if (isIP(host) !== 0 && !permitted(host, host)) return callback(prohibited(host, [host]), null)
    return connector(target, (...end) =>
      end[0] === null ? callback(...end) : callback(notSent(end[0]), null),
    )
  }
  // Deadlines of a call are our own (way/forward): undici's timers cost and would end long streams.
  const upstream = new Agent({
    connect,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 30_000,
    maxHeaderSize: 65_536,
    connections: 256,
  })
  const identity = new Agent({
    connect,
    headersTimeout: 20_000,
    bodyTimeout: 20_000,
    keepAliveTimeout: 5_000,
    maxHeaderSize: 65_536,
  })
  const checked = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const { fetch } = await import('undici')
    // undici's fetch and the global one have the same wire types but distinct declarations.
    return fetch(input, { redirect: 'manual', ...init, dispatcher: identity })
  }
  return {
    upstream,
    fetch: checked,
    close: async () => {
      await Promise.all([upstream.destroy(), identity.destroy()])
    },
  }
}
