// Which addresses may be dialled: the IANA special-purpose registries (RFC 6890), and what clouds answer secrets at.
import { BlockList, isIP, isIPv6 } from 'node:net'

export type AllowPrivate = readonly { readonly host?: string | undefined; readonly net: string }[]

/** The address class that no configuration opens. */
export const NEVER: readonly string[] = [
  '0.0.0.0/8', // this network
  '169.254.0.0/16', // link-local: most metadata services
  '192.0.0.0/24', // IETF protocol assignments; 192.0.0.192 is Oracle's metadata service
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and the broadcast address
  '100.100.100.200/32', // Alibaba's metadata service
  '168.63.129.16/32', // Azure's wire server
  '::/128', // unspecified
  'fe80::/10', // link-local
  'fec0::/10', // site-local (RFC 3879)
  'ff00::/8', // multicast
  'fd00:ec2::/32', // Amazon's metadata service, pod identity, name server
  'fd20:ce::254/128', // Google's metadata service
  'fd00:c1::a9fe:a9fe/128', // Oracle's metadata service
]
/** Reached only where `network.allow_private` says so. */
export const PRIVATE: readonly string[] = [
  '10.0.0.0/8', // private use
  '100.64.0.0/10', // shared address space
  '127.0.0.0/8', // loopback
  '172.16.0.0/12', // private use
  '192.0.2.0/24', // documentation
  '192.31.196.0/24', // AS112
  '192.52.193.0/24', // multicast tunnels
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private use
  '192.175.48.0/24', // AS112
  '198.18.0.0/15', // benchmarking
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '::/96', // IPv4-compatible (RFC 4291 2.5.5.1), and loopback
  '::ffff:0:0/96', // IPv4-mapped
  '::ffff:0:0:0/96', // IPv4-translated (RFC 2765)
  '64:ff9b:1::/48', // translation of one's own (RFC 8215)
  '100::/64', // discard-only
  '100:0:0:1::/64', // dummy prefix
  '2001::/23', // IETF protocol assignments: Teredo, benchmarking, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '2620:4f:8000::/48', // AS112
  '3fff::/20', // documentation
  '5f00::/16', // segment routing
  'fc00::/7', // unique local
]

type Networks = (address: string) => boolean
/** Is an address in one of these? A list of its own for each family: to a common one every IPv4 address is in ::ffff:0:0/96. */
export const networksOf = (networks: readonly string[]): Networks => {
  const [v4, v6] = [new BlockList(), new BlockList()]
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    if (isIPv6(address)) v6.addSubnet(address, Number(bits), 'ipv6')
    else v4.addSubnet(address, Number(bits), 'ipv4')
  }
  // The list of IPv4 knows mapped addresses too: what opens 10.1.2.3 opens ::ffff:10.1.2.3.
  return (address) =>
    isIPv6(address)
      ? v6.check(address, 'ipv6') || v4.check(address, 'ipv6')
      : v4.check(address, 'ipv4')
}

/** The eight words of an IPv6 address. */
const wordsOf = (address: string): readonly number[] => {
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::')
  const words = (text: string): readonly number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16))
  if (tail === undefined) return words(head)
  const [left, right] = [words(head), words(tail)]
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right]
}

/** The IPv4 addresses that an IPv6 address reaches, or pretends to come from. */
const embedded = (address: string): readonly string[] => {
  const words = wordsOf(address)
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = words
  const v4 = (high: number, low: number) => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  const last = v4(g, h)
  const prefix = words.slice(0, 6).join()
  // Compatible, mapped, translated; `::` and `::1` are addresses of their own.
  if (prefix === '0,0,0,0,0,0') return g === 0 && h <= 1 ? [] : [last]
  if (prefix === '0,0,0,0,0,65535' || prefix === '0,0,0,0,65535,0') return [last]
  if (a === 0x64 && b === 0xff9b) {
    if (c === 0 && d === 0 && e === 0 && f === 0) return [last]
    // RFC 6052 2.2: after a prefix of 48 bits the address goes around byte 8, and zeros follow.
    if (c === 1) return [g === 0 && h === 0 ? v4(d, ((e & 255) << 8) | (f >> 8)) : last]
  }
  if (a === 0x2002) return [v4(b, c)]
  // Teredo (RFC 4380 4): the server, and the client with every bit turned.
  if (a === 0x2001 && b === 0) return [v4(c, d), v4(~g & 0xffff, ~h & 0xffff)]
  return []
}

/**
 * @returns whether `address` may be dialled for `host`: it, and every IPv4 address inside it, is public or allowed. Pure.
 * The well-known translation prefix 64:ff9b::/96 is public, so that only the address inside it counts.
 */
export const createAddressRule = (
  allow: AllowPrivate,
): ((host: string, address: string) => boolean) => {
  const never = networksOf(NEVER)
  const listedOnly = networksOf(PRIVATE)
  const allowed = allow.map((entry) => ({
    host: entry.host?.toLowerCase(),
    opens: networksOf([entry.net]),
  }))
  const fine = (host: string, address: string): boolean => {
    if (never(address)) return false
    return (
      !listedOnly(address) ||
      allowed.some(
        (entry) =>
          (entry.host === undefined || entry.host === host.toLowerCase()) && entry.opens(address),
      )
    )
  }
  return (host, raw) => {
    const address = raw.split('%')[0] ?? ''
    if (isIP(address) === 0) return false
    const all = isIPv6(address) ? [address, ...embedded(address)] : [address]
    return all.every((each) => fine(host, each))
  }
}
