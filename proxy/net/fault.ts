// What went wrong on the way to a provider, in our words, from what the transport says of it.
import { Problem, type ProblemCode } from '../problem.ts'

/** `error` of Proxy-Status (RFC 9209 2.3) and our sentence, by what the transport's code begins with. */
const FAULTS: readonly (readonly [RegExp, string, string])[] = [
  [/^(?:ENOTFOUND|EAI_)/, 'dns_error', 'the provider’s name could not be resolved'],
  [/^ECONNREFUSED/, 'connection_refused', 'the provider refused the connection'],
  [/^(?:EHOST|ENET)UNREACH/, 'destination_ip_unroutable', 'there is no way to the provider'],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/,
    'tls_certificate_error',
    'the provider’s TLS certificate does not verify',
  ],
  [/TLS|SSL|^EPROTO/, 'tls_protocol_error', 'TLS with the provider failed'],
  [
    /^UND_ERR_RES_CONTENT_LENGTH/,
    'http_response_incomplete',
    'the provider’s answer ended before its length',
  ],
  [
    /^UND_ERR_HEADERS_OVERFLOW/,
    'http_response_header_section_size',
    'the provider’s headers are larger than 64 kB',
  ],
  [/^HPE_/, 'http_protocol_error', 'the provider’s answer is not HTTP/1.1'],
]

/** A Problem that names its own error type. */
export const proxyStatus = (code: ProblemCode, error: string) => ({
  'proxy-status': `deputy; error=${error}; details="${code}"`,
})

/** What an egress proxy did (net/tunnel), by the transport's code; its message is ours. */
const EGRESS: Readonly<Record<string, readonly [ProblemCode, string]>> = {
  DEPUTY_PROXY_REFUSED: ['egress_refused', 'http_request_denied'],
  DEPUTY_PROXY_TIMEOUT: ['upstream_timeout', 'connection_timeout'],
  DEPUTY_PROXY_UNREACHABLE: ['upstream_unreachable', 'destination_unavailable'],
  DEPUTY_PROXY_FAILED: ['upstream_unreachable', 'destination_unavailable'],
  DEPUTY_PROXY_GARBLED: ['upstream_unreachable', 'http_protocol_error'],
}

const codeOf = (error: unknown): string => {
  if (!(error instanceof Error)) return ''
  if ('code' in error && typeof error.code === 'string') return error.code
  // undici's parser knows a code for some of its errors only.
  return error.name === 'HTTPParserError' ? 'HPE_UNKNOWN' : ''
}
/** What went wrong on the way to the provider; the cause itself is for the log. */
export const fault = (error: unknown, sent: boolean): Problem => {
  const code = codeOf(error)
  const named = (which: ProblemCode, type: string, detail: string): Problem =>
    new Problem(which, detail, { cause: error, headers: proxyStatus(which, type) })
  if (code === 'DEPUTY_ADDRESS_PROHIBITED')
    return named(
      'upstream_prohibited',
      'destination_ip_prohibited',
      'the provider’s address is private or local and not allowed',
    )
  if (!sent && (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT'))
    return named(
      'upstream_timeout',
      'connection_timeout',
      'the provider could not be connected in time',
    )
  const egress = EGRESS[code]
  if (egress !== undefined && error instanceof Error)
    return named(egress[0], egress[1], error.message)
  if (code === 'DEPUTY_TRUST_UNREADABLE')
    return named(
      'upstream_unreachable',
      'tls_certificate_error',
      'the certificate files that this connection is dialled with cannot be used',
    )
  const known = FAULTS.find(([pattern]) => pattern.test(code))
  if (known !== undefined) return named('upstream_unreachable', known[1], known[2])
  if (error instanceof Error && /^bad (?:response|upgrade)$/.test(error.message))
    return named(
      'upstream_unreachable',
      'http_protocol_error',
      'the provider sent an answer that nobody asked for',
    )
  return named(
    'upstream_unreachable',
    sent ? 'connection_terminated' : 'destination_unavailable',
    `the connection to the provider failed${code === '' ? '' : ` (${code})`}`,
  )
}
