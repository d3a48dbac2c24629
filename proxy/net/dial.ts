// Every connection that deputy opens is checked when it dials, on the resolved address.
import { lookup as dnsLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { createRequire } from 'node:module'
import type undici from 'undici'
import type { Dispatcher } from 'undici'
import { createAddressRule, type AllowPrivate } from './address.ts'

// Two parts of undici by their files (its version is pinned): the whole costs 40 ms and 8 MB more, and most of that is
// its `fetch`, loaded when an identity provider is first asked.
const part = createRequire(import.meta.url)
const Agent = part('undici/lib/dispatcher/agent.js') as typeof undici.Agent
const symbols = part('undici/lib/core/symbols.js') as {
  readonly kSocket: symbol
  readonly kParser: symbol
}
const buildConnector = part('undici/lib/core/connect.js') as typeof undici.buildConnector

export type Dial = {
  /** For calls to providers: undici's dispatch API. */
  readonly upstream: Dispatcher
  /** For identity providers and token endpoints; redirects are never followed. */
  readonly fetch: typeof fetch
  /** Cuts what runs. */
  readonly close: () => Promise<void>
  /** Begins nothing more; what runs goes on to its end, and nobody waits for that. */
  readonly retire: () => void
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
  // No bound on connections: calls have theirs (`limits.calls`, and a share of each agent), and who waited for a socket
  // would wait silently behind whoever hangs there.
  // Deadlines of a call are our own (pipeline/forward): undici's timers cost and would end long streams.
  const upstream = new Agent({
    connect,
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 30_000,
    maxHeaderSize: 65_536,
  })
  upstream.once('connect', (_origin, targets) => tolerateContinue(targets.at(-1)))
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
    retire: () => {
      void upstream.close()
      void identity.close()
    },
  }
}
