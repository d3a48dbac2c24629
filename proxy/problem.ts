// The error catalogue: code, status, title, RFC 9209 error type, and what an agent should do. docs/answers.md is made from it.
import type { Reason } from './model.ts'

type Row = {
  readonly status: number
  readonly title: string
  /** `error` parameter of Proxy-Status (RFC 9209 2.3). */
  readonly proxy: string
  /** What the agent, or its developer, should do: shown on `/problems/<code>`. */
  readonly todo: string
  /** `Retry-After` in s where waiting makes sense and the answer knows no better; null: it does not. */
  readonly retry: number | null
}

const row = (status: number, title: string, proxy: string, todo: string): Row => ({
  status,
  title,
  proxy,
  todo,
  retry: null,
})
/** The same where the call may be repeated after `s` seconds. */
const again = (s: number, of: Row): Row => ({ ...of, retry: s })

/** A person takes about as long; the call is repeated, or waits with `Prefer: wait=`. */
const PERSON_S = 15

export const CATALOGUE = {
  request_invalid: row(
    400,
    'The request has more than one reading',
    'http_request_error',
    'Send one plain path, one length, no encoded separators. The detail names the part.',
  ),
  invalid_arguments: row(
    400,
    'The tool cannot be called with these arguments',
    'http_request_error',
    'Read the detail, mend what it names, call again. Nothing was sent.',
  ),
  user_mismatch: row(
    400,
    'The authorization is for somebody else',
    'http_request_denied',
    'Do not retry: the person at your page is not the one whom the link was made for. What was granted has been revoked.',
  ),
  user_id_mismatch: row(
    400,
    'The body names another user than the tag',
    'http_request_error',
    'Leave user_id out, or name in it the user that the tag names.',
  ),
  credential_in_body: row(
    400,
    'The body carries a credential',
    'http_request_denied',
    'Remove the named field, or the tag: deputy supplies the credential.',
  ),
  unauthenticated: row(
    401,
    'Who is this call for?',
    'http_request_denied',
    'Send a tag that names the user; the detail says what was wrong with the one that came.',
  ),
  workload_unauthenticated: row(
    401,
    'Which agent is this call from?',
    'http_request_denied',
    'Send the own token of the workload that calls, such as the projected token of its service account, read anew for each call; the detail says what was wrong with the one that came.',
  ),
  application_unknown: row(
    401,
    'No application has this key',
    'http_request_denied',
    'Send a name only with the key of an application of the configuration: as Authorization: Bearer KEY beside the tag header, or as KEY:USER where the SDK puts its key.',
  ),
  application_keys_differ: row(
    401,
    'Two keys came with one call',
    'http_request_denied',
    'Send one key, once or alike in each place; a key is never a name.',
  ),
  application_beside_tag: row(
    401,
    'A key came beside a signed tag',
    'http_request_denied',
    'Send the key with a name, or the signed assertion or run token by itself.',
  ),
  application_user_missing: row(
    401,
    'The key names no user',
    'http_request_denied',
    'Name the user: as the tag header, as KEY:USER where the SDK puts its key, or as user_id in the body.',
  ),
  application_tenant_missing: row(
    401,
    'The application has several tenants',
    'http_request_denied',
    'Say of which tenant the user is, as Deputy-Tenant.',
  ),
  application_user_refused: row(
    403,
    'The application may not name this user',
    'http_request_denied',
    'Name only people of the application’s own people and tenants; whoever runs deputy can add a pattern to its row.',
  ),
  standing_refused: row(
    403,
    'The person did not let the workload do this',
    'http_request_denied',
    'Do not retry: the person is away, and what they let this workload do does not include it, or has ended. Ask them for standing that does, or send their tag.',
  ),
  policy_denied: row(
    403,
    'Policy refused the call',
    'http_request_denied',
    'Do not retry unchanged. Show the reasons; an administrator can look up decision_id.',
  ),
  consent_required: again(
    PERSON_S,
    row(
      403,
      'The user must connect the account first',
      'http_request_denied',
      'Show url to the user, then repeat the call (Prefer: wait=60 waits for them).',
    ),
  ),
  reauthorization_required: again(
    PERSON_S,
    row(
      403,
      'The provider withdrew the grant',
      'http_request_denied',
      'Show url to the user, then repeat the call.',
    ),
  ),
  approval_required: again(
    PERSON_S,
    row(
      403,
      'A named person must approve this call',
      'http_request_denied',
      'Show url to an approver, then repeat the very same call.',
    ),
  ),
  step_up_required: again(
    PERSON_S,
    row(
      403,
      'A stronger sign-in is needed',
      'http_request_denied',
      'Show url to the user, then repeat the call.',
    ),
  ),
  agent_disabled: row(
    403,
    'This agent is switched off',
    'http_request_denied',
    'Stop: its owner or an operator has switched this agent off. Nothing of it is let through until they switch it on again.',
  ),
  tenant_quota: row(
    403,
    'The tenant has used up what it may store',
    'http_request_denied',
    'Do not retry: the operator raises tenants.NAME, or somebody disconnects what they do not use.',
  ),
  operator_refused: row(
    403,
    'This operator may not do that',
    'http_request_denied',
    'Use an operator whose may and tenants cover it; the detail says what is missing.',
  ),
  obligation_refused: row(
    403,
    'Policy demands what deputy cannot do',
    'http_request_denied',
    'Tell the administrator: the policy names an obligation that this deputy cannot carry out.',
  ),
  browser_refused: row(
    403,
    'This listener serves programs, not pages',
    'http_request_denied',
    'Call from a program, or list the origin under listeners.origins.',
  ),
  route_not_found: row(
    404,
    'No provider serves this address',
    'destination_not_found',
    'Use /{host}/… with a host of a configured connection.',
  ),
  not_found: row(
    404,
    'Nothing has this id',
    'http_request_denied',
    'List what there is and use an id from there.',
  ),
  tool_not_found: row(
    404,
    'There is no such tool',
    'http_request_denied',
    'Use one of the names in nearest, or list the tools.',
  ),
  authorization_not_found: row(
    404,
    'No such authorization',
    'http_request_denied',
    'Use the id from the answer that began the authorization, with the same tag.',
  ),
  mcp_session_unknown: row(
    404,
    'No such session with this MCP server',
    'http_request_error',
    'Begin a session of your own: send initialize without Mcp-Session-Id. A session belongs to the person and agent that opened it.',
  ),
  method_not_allowed: row(
    405,
    'The method is not allowed here',
    'http_request_error',
    'Use the method that the documentation names.',
  ),
  request_timeout: row(
    408,
    'The request did not come in time',
    'http_request_error',
    'Send it again without long pauses: a request that stands still is given up.',
  ),
  connection_ambiguous: row(
    409,
    'Several connections serve this host',
    'http_request_error',
    'Choose one: /{connection}@{host}/… or the Deputy-Connection header.',
  ),
  authorization_failed: row(
    410,
    'Nobody will complete this authorization',
    'http_request_denied',
    'Stop waiting: it has ended without consent. To get a new link, begin a new one or repeat the call.',
  ),
  request_too_large: row(
    413,
    'The body is larger than allowed',
    'http_request_error',
    'Send less; limits.request_body and limits.inspected_body say how much.',
  ),
  unsupported_media_type: row(
    415,
    'The body cannot be inspected',
    'http_request_error',
    'Send the body as JSON or a form, without Content-Encoding or as gzip.',
  ),
  expectation_failed: row(
    417,
    'The expectation cannot be met',
    'http_request_error',
    'Send no Expect, or Expect: 100-continue.',
  ),
  host_refused: row(
    421,
    'This is not the address of this listener',
    'http_request_denied',
    'Use the listener’s own address, or list the name under listeners.names.',
  ),
  rate_limited: again(
    60,
    row(
      429,
      'A limit that policy sets is reached',
      'http_request_denied',
      'Wait retry_after seconds.',
    ),
  ),
  tenant_busy: again(
    1,
    row(
      429,
      'The tenant calls too often',
      'http_request_denied',
      'Wait retry_after seconds; tenants.NAME.calls_per_minute bounds the calls of the tenant.',
    ),
  ),
  too_many_calls: again(
    1,
    row(
      429,
      'Too many calls at once',
      'http_request_denied',
      'Lower the concurrency; limits.calls and limits.calls_per_agent say how many.',
    ),
  ),
  headers_too_large: row(
    431,
    'The headers are larger than allowed',
    'http_request_error',
    'Send fewer headers; limits.headers says how many bytes.',
  ),
  internal: row(
    500,
    'deputy failed',
    'proxy_internal_error',
    'Nothing was sent unless the detail says so. Give the instance to the operator.',
  ),
  credential_unavailable: again(
    5,
    row(
      502,
      'The provider’s token endpoint failed',
      'proxy_internal_error',
      'Retry later; the operator’s log has the cause.',
    ),
  ),
  upstream_prohibited: row(
    502,
    'The provider’s address is not allowed',
    'destination_ip_prohibited',
    'The operator must list private addresses under network.allow_private.',
  ),
  upstream_unreachable: row(
    502,
    'The provider cannot be reached',
    'connection_refused',
    'Retry later.',
  ),
  egress_refused: row(
    502,
    'The egress proxy refused the connection',
    'http_request_denied',
    'The operator must let deputy through the egress proxy.',
  ),
  answer_not_redactable: row(
    502,
    'The answer could not be redacted',
    'http_response_incomplete',
    'Ask for less in one call.',
  ),
  partly_done: row(
    409,
    'The tool stopped after it had done something',
    'http_request_denied',
    'Do not call the tool again: it would do again what done lists. Read what stopped it, and go on from there.',
  ),
  configuration_changed: again(
    1,
    row(
      503,
      'The configuration changed while the call waited',
      'proxy_internal_error',
      'Repeat the call: what is in force now decides it.',
    ),
  ),
  hook_unavailable: again(
    5,
    row(
      503,
      'A hook could not be asked',
      'proxy_internal_error',
      'Try again later; tell the operator if it stays: every call that the hook must judge is refused meanwhile.',
    ),
  ),
  entitlements_unavailable: again(
    5,
    row(
      503,
      'The identity provider could not be asked',
      'proxy_internal_error',
      'Retry later; nothing is allowed on old facts.',
    ),
  ),
  issuer_unavailable: again(
    5,
    row(
      503,
      'The keys of an issuer cannot be read',
      'proxy_internal_error',
      'Retry later with the same tag and token; nothing is wrong with them. The operator’s log has the cause.',
    ),
  ),
  workload_unavailable: again(
    2,
    row(
      503,
      'The cluster cannot be asked about a workload',
      'proxy_internal_error',
      'Retry later with the same token; nothing is wrong with it. The operator’s log has the cause.',
    ),
  ),
  clock_wrong: again(
    30,
    row(
      503,
      'The clock of deputy’s machine is wrong',
      'proxy_internal_error',
      'Tell the operator: the clock must be set right, and deputy restarted if it was ahead before.',
    ),
  ),
  policy_unavailable: again(
    10,
    row(
      503,
      'No policy could decide',
      'proxy_configuration_error',
      'Tell the operator: the policy is missing, broken, slow or malformed.',
    ),
  ),
  vault_unavailable: again(
    5,
    row(503, 'The vault cannot be read', 'proxy_internal_error', 'Retry later.'),
  ),
  limits_unavailable: again(
    2,
    row(
      503,
      'What was used of a limit is not known',
      'proxy_internal_error',
      'Retry later: policy limits this call, and the database that counts cannot be asked.',
    ),
  ),
  audit_unavailable: again(
    5,
    row(
      503,
      'The evidence cannot be written',
      'proxy_internal_error',
      'Tell the operator: no call leaves while its evidence cannot be written.',
    ),
  ),
  share_used_up: again(
    1,
    row(
      503,
      'This agent has used up its share',
      'proxy_internal_response',
      'Repeat the call after retry_after seconds, with fewer calls at once: those that have not ended use up the share.',
    ),
  ),
  refresh_in_progress: again(
    1,
    row(
      503,
      'The token is being refreshed',
      'proxy_internal_response',
      'Repeat the call after retry_after seconds.',
    ),
  ),
  too_many_held: again(
    5,
    row(
      503,
      'Too many calls are waiting',
      'proxy_internal_response',
      'Repeat the call after retry_after seconds.',
    ),
  ),
  draining: again(
    1,
    row(
      503,
      'deputy is shutting down',
      'proxy_internal_response',
      'Repeat the call after retry_after seconds.',
    ),
  ),
  upstream_timeout: row(
    504,
    'The provider took too long',
    'connection_read_timeout',
    'Retry if the call is safe to repeat.',
  ),
  http_version_unsupported: row(
    505,
    'This version of HTTP is not spoken here',
    'http_request_error',
    'Speak HTTP/1.1.',
  ),
} as const satisfies Record<string, Row>

export type ProblemCode = keyof typeof CATALOGUE

/** Members beyond RFC 9457's own, as design 2.3 lists them by code. */
export type ProblemExtra = Readonly<
  Record<string, string | number | boolean | null | readonly unknown[]>
>

/**
 * The one error that becomes an answer. `detail` is written by us and safe for an agent;
 * what a provider said goes into `cause`, which only the log sees.
 */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly extra: ProblemExtra
  readonly headers: Readonly<Record<string, string>>
  constructor(
    code: ProblemCode,
    detail: string,
    options: {
      extra?: ProblemExtra
      headers?: Readonly<Record<string, string>>
      cause?: unknown
    } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.extra = options.extra ?? {}
    this.headers = options.headers ?? {}
  }
}

/** The same for another call: each one's own is changed on its way out. */
export const copyOf = (of: Problem): Problem =>
  new Problem(of.code, of.message, {
    extra: of.extra,
    headers: of.headers,
    ...(of.cause === undefined ? {} : { cause: of.cause }),
  })

/** Cause of a problem: the caller went away before the request was whole, so nobody is there to be refused. */
export class CallerLeft extends Error {
  constructor(cause: unknown) {
    super('the caller left before the body was whole', { cause })
    this.name = 'CallerLeft'
  }
}

/** Anything thrown → a Problem; what is not ours is `internal` and says nothing of its cause. */
export const toProblem = (error: unknown): Problem =>
  error instanceof Problem
    ? error
    : new Problem('internal', 'deputy failed while handling this call', { cause: error })

/** What was thrown says so: libraries throw texts and plain objects, too. */
export const messageOf = (thrown: unknown): string => {
  if (typeof thrown === 'string') return thrown
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown)
    return String(thrown.message)
  return 'it failed without saying why'
}

/** Another account of the provider is connected there already. Never reaches an agent: the flow ends by it. */
export class AccountMismatch extends Error {
  constructor() {
    super('another account is connected there')
    this.name = 'AccountMismatch'
  }
}

export type ProblemAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const BEGINS =
  /^(?:the|there|nothing|several|an?|no|another|too|you|this|somebody|nobody|only|what|policy|send)(?= )/
/** As it may be shown to a person: a capital letter, unless it begins with a name, and a full stop, unless it ends with an address. */
export const sentence = (text: string): string => {
  const begun = BEGINS.test(text) ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : text
  return /(?:[.!?…]|:\/\/\S+)$/.test(begun) ? begun : `${begun}.`
}

/** RFC 9457 3, with `code` and what belongs to it. */
export type ProblemDocument = {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly instance: string
  readonly code: string
  readonly [member: string]: unknown
}

/** Who reads the answer, and how. */
type Reader = {
  /** `User-Agent`: of a refusal, git shows its user nothing but a text/plain body. */
  readonly agent?: string | undefined
  /** The caller asked to wait (`Prefer: wait`), so it may be told how long. */
  readonly waits?: boolean
  /** Puts the document into the vendor's error shape; absent: RFC 9457 as it is. */
  readonly shape?: ((document: ProblemDocument) => unknown) | undefined
  /** The whole answer in a protocol that has statuses of its own (JSON-RPC). */
  readonly told?:
    ((document: ProblemDocument) => { readonly status: number; readonly body: unknown }) | undefined
}

/**
 * The wire form: RFC 9457 body, or the vendor's shape with the same members; RFC 9209 Proxy-Status and Deputy-Answer.
 * @param typeBase `connect.url`, where `/problems/<code>` explains each code
 * @param instance the exchange id
 */
export const problemAnswer = (
  problem: Problem,
  instance: string,
  typeBase: string,
  { agent, waits = false, shape, told: whole }: Reader = {},
): ProblemAnswer => {
  const { status: usualStatus, title, proxy, retry: usual } = CATALOGUE[problem.code]
  const { retry_after: known } = problem.extra
  // Of a 403 with Retry-After, clients of GitHub wait and repeat, and never show the link.
  const retry = usualStatus === 403 && !waits ? null : typeof known === 'number' ? known : usual
  const plain = agent?.startsWith('git/') === true
  const document: ProblemDocument = {
    type: `${typeBase}/problems/${problem.code}`,
    title,
    status: usualStatus,
    detail: sentence(problem.message),
    instance,
    code: problem.code,
    ...problem.extra,
    ...(retry !== null && usualStatus !== 403 ? { retry_after: retry } : {}),
  }
  const { status, body: told } = whole?.(document) ?? {
    status: usualStatus,
    body: shape === undefined ? document : shape(document),
  }
  const body = plain ? `deputy: ${problem.message}\n` : JSON.stringify(told)
  const type =
    shape === undefined && whole === undefined ? 'application/problem+json' : 'application/json'
  return {
    status,
    headers: {
      'content-type': plain ? 'text/plain; charset=utf-8' : type,
      'content-length': String(Buffer.byteLength(body)),
      'cache-control': 'no-store',
      'proxy-status': `deputy; error=${proxy}; details="${problem.code}"`,
      'deputy-answer': problem.code,
      // Basic too: a client such as git sends the password slot only to a server that asks for it (RFC 9110 11.6.1).
      ...(status === 401
        ? { 'www-authenticate': 'Bearer realm="deputy", Basic realm="deputy", charset="UTF-8"' }
        : {}),
      ...(retry !== null ? { 'retry-after': String(Math.ceil(retry)) } : {}),
      ...problem.headers,
    },
    body,
  }
}

/** Why policy refuses, as its authors worded it, for whoever reads the answer: `what it says (its_code)`. */
export const toldReasons = (reasons: readonly Reason[]): string =>
  reasons.map(({ code, msg }) => (msg === '' ? code : `${msg} (${code})`)).join('; ')
