// Which hosts are reached without the egress proxy: names, addresses and networks, as Go and curl read them.
import { isIP } from 'node:net'
import { networksOf } from './address.ts'

/** What one entry means; null: nothing. */
type Entry =
  | { readonly kind: 'all' }
  | { readonly kind: 'network'; readonly network: string; readonly bits: number }
  | { readonly kind: 'name'; readonly name: string; readonly port: number | null }

const NAME = /^(?:\*?\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_-]+)*$/
const readEntry = (text: string): Entry | null => {
  if (text === '*') return { kind: 'all' }
  const bare = text.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  const [network = '', bits, more] = bare.split('/')
  const family = isIP(network)
  const most = family === 6 ? 128 : 32
  if (family !== 0 && more === undefined) {
    const length = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : most + 1
    return length > most ? null : { kind: 'network', network, bits: length }
  }
  const [, name = '', port] = /^(.*?)(?::(\d{1,5}))?$/.exec(bare) ?? []
  // Behind a last label of digits is an address (WHATWG URL 4.1): a part of one would name nothing.
  const host = NAME.test(name) && (!/(?:^|\.)(?:\d+|0x[0-9a-f]*)$/.test(name) || isIP(name) !== 0)
  return host && Number(port ?? 1) >= 1 && Number(port ?? 1) <= 65_535
    ? { kind: 'name', name, port: port === undefined ? null : Number(port) }
    : null
}

/** What is wrong with an entry; null: nothing. Pure. */
export const noProxyProblem = (text: string): string | null =>
  readEntry(text) === null
    ? 'is no host, address or network: write git.corp, .corp (what ends so), git.corp:8443, 10.1.0.0/16 or *'
    : null

type Direct = {
  readonly host: (host: string, port: number) => boolean
  readonly address: (address: string) => boolean
}

/**
 * `corp` is that host and everything below it, `.corp` and `*.corp` only what is below. A network counts for the address
 * that a name resolves to as well, since deputy resolves. Pure.
 */
export const createDirect = (entries: readonly string[]): Direct => {
  const listed: string[] = []
  const names: { readonly name: string; readonly port: number | null }[] = []
  let all = false
  for (const text of entries) {
    const entry = readEntry(text)
    if (entry === null) throw new Error(`upstream.no_proxy: ${text} is no host or network`)
    if (entry.kind === 'all') all = true
    else if (entry.kind === 'name') names.push(entry)
    else listed.push(`${entry.network}/${entry.bits}`)
  }
  const networks = networksOf(listed)
  const matches = (name: string, host: string): boolean => {
    const below = name.replace(/^\*/, '')
    return below.startsWith('.') ? host.endsWith(below) : host === name || host.endsWith(`.${name}`)
  }
  return {
    host: (raw, port) => {
      const host = raw.toLowerCase().replace(/\.$/, '')
      return (
        all || names.some((entry) => matches(entry.name, host) && (entry.port ?? port) === port)
      )
    },
    address: (address) => isIP(address) !== 0 && networks(address),
  }
}
