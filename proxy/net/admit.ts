// Whether a request may enter by the agent listener (design 2.5), by its head alone: version, Host, browsers, target.
import type { IncomingMessage } from 'node:http'
import { Problem } from '../problem.ts'
import { remembered } from '../memo.ts'
import { hostname } from './host.ts'

/** What a dedicated listener fixes for every call that it takes. */
export type Dedicated = {
  readonly upstream: string
  readonly user: string | null
  /** The caller came through a tunnel, and believes to talk to that host. */
  readonly forward?: true
}

type AdmissionRules = {
  /** Names of the listener itself, lower case. */
  readonly own: ReadonlySet<string>
  /** Pages of these origins may call. */
  readonly origins: ReadonlySet<string>
  /** All calls go to one host, and there is no API. */
  readonly dedicated: boolean
  /** Throws the Problem of a header section with more than one reading. */
  readonly check: (rawHeaders: readonly string[]) => void
  /** Is this the name of a host that some connection serves? */
  readonly serves: (host: string) => boolean
}
export type Head = Pick<
  IncomingMessage,
  'httpVersion' | 'httpVersionMinor' | 'headers' | 'rawHeaders' | 'url'
>

/** deputy's own at its own name: no host is called so. */
const OWN_API = /^\/(?:v1(?:\/|$)|(?:mcp|\.well-known\/oauth-protected-resource)(?:[/?]|$))/

/** @throws Problem 505 http_version_unsupported, 400 request_invalid */
const checkVersion = ({ httpVersion, headers }: Head): void => {
  if (httpVersion === '1.1') return
  if (httpVersion !== '1.0')
    throw new Problem('http_version_unsupported', 'this listener speaks HTTP/1.1 and HTTP/1.0')
  if (headers['transfer-encoding'] !== undefined)
    // RFC 9112 6.1
    throw new Problem('request_invalid', 'HTTP/1.0 has no transfer-encoding: its framing is faulty')
}

/**
 * @returns whether a request is for the API or is a call
 * @throws Problem 505 http_version_unsupported, 417 expectation_failed, 403 browser_refused, 421 host_refused,
 *   400 request_invalid, and what `check` throws
 */
export const createAdmission = (rules: AdmissionRules): ((req: Head) => 'call' | 'api') => {
  const named = remembered(hostname)
  const judge = (host: string): 'own' | 'served' | null => {
    const name = named(host)
    if (name === null) return null
    if (rules.own.has(name)) return 'own'
    return name.endsWith('.localhost') && rules.serves(name.slice(0, -10)) ? 'served' : null
  }
  return (req) => {
    const { origin, 'sec-fetch-site': site, host, expect } = req.headers
    checkVersion(req)
    rules.check(req.rawHeaders)
    // HTTP/1.0 has no expectations (RFC 9110 10.1.1).
    if (expect !== undefined && req.httpVersionMinor === 1 && !/^100-continue$/i.test(expect))
      throw new Problem('expectation_failed', 'of expectations only 100-continue is met here')
    if (
      (origin !== undefined || site !== undefined) &&
      !(origin !== undefined && rules.origins.has(origin))
    )
      throw new Problem(
        'browser_refused',
        'the request comes from a page in a browser (Origin or Sec-Fetch-Site)',
      )
    const target = req.url ?? ''
    if (target.startsWith('/')) {
      if (rules.dedicated) {
        if (host === undefined || judge(host) === null)
          throw new Problem('host_refused', 'the Host header does not name this listener')
        return 'call'
      }
      const verdict = host === undefined ? null : judge(host)
      if (verdict === null)
        throw new Problem(
          'host_refused',
          'the Host header names neither this listener nor {served host}.localhost',
        )
      return verdict === 'own' && OWN_API.test(target) ? 'api' : 'call'
    }
    if (!/^http:\/\//i.test(target))
      throw new Problem(
        'request_invalid',
        'the request target must begin with / or be an absolute http:// URL',
      )
    const authority = /^http:\/\/([^/?#]*)/i.exec(target)?.[1] ?? ''
    const name = hostname(authority)
    if (name === null || !rules.serves(name))
      throw new Problem('host_refused', 'the absolute request target names no served host')
    if (host === undefined || hostname(host) !== name)
      throw new Problem(
        'request_invalid',
        'the Host header and the absolute request target disagree',
      )
    return 'call'
  }
}
