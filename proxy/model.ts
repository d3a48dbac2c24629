// The vocabulary: types only. Names are those of the RFCs, of OPA and of OpenTelemetry.
import type { Secret } from './secret.ts'

export type Json =
  null | boolean | number | string | readonly Json[] | { readonly [k: string]: Json }
export type JsonObject = { readonly [k: string]: Json }

/** The door that a call came by: as HTTP through the proxy, as a tool, or as a tool by MCP. */
export type Via = 'proxy' | 'tool' | 'mcp'

export type Clock = {
  /** ms since the epoch; a running deputy's never goes back with the wall clock (clock.ts). */
  readonly now: () => number
  /** Monotonic clock, ms; only differences mean something. */
  readonly mono: () => number
}

export type Access = 'read' | 'write' | 'delete' | 'admin'

// --- who --------------------------------------------------------------------------------------

/** (tenant, realm, id), compared byte for byte, everywhere (design 1). */
export type Person = { readonly tenant: string; readonly realm: string; readonly id: string }

/** The authenticated caller: an agent acting for a person (RFC 8693 actor and subject). */
export type Principal = {
  readonly person: Person
  readonly agent: string
  /** false under `identity.trust: plain`: the name was asserted by nobody. */
  readonly verified: boolean
  /** Verified claims of the assertion; null under `plain`. */
  readonly claims: JsonObject | null
  /** `iat` of the assertion, ms; null without one. */
  readonly issuedAt: number | null
  /** `exp` of the tag, ms; null without one. A hold ends here. */
  readonly expiresAt: number | null
  /** Id of the run, when the tag is a run token. */
  readonly run: string | null
  /** What the run may touch; whatever else policy would allow is refused. Absent: no run. */
  readonly reach?: RunReach
  /** The application that named the person by its key; absent: none did. `verified` is false then. */
  readonly assertedBy?: string
  /** Id of the standing by which a workload acts for somebody who is away; null or absent: a tag names the person. */
  readonly standing?: string | null
  /** All that this person lets this workload do while they are away; one of it bounds each call (pipeline/standing). */
  readonly standings?: readonly StandingRow[]
  /** What the standing is, as policy sees it (`user.standing`). */
  readonly lets?: Lets
  /** Whose own token names the agent; absent: only the tag does, or the configuration. */
  readonly workload?: Pick<Workload, 'name' | 'subject'>
}

/** Who an agent is, by a verified token of its own. */
export type Workload = {
  /** Of the row of `workloads` that it matches. */
  readonly name: string
  /** `sub` of its token. */
  readonly subject: string
  /** The agent that it is. */
  readonly agent: string
  /** `exp` of its token, ms. */
  readonly expiresAt: number
}

/** What a client showed of itself when its connection began, as far as it can name a workload. */
export type ClientCertificate = {
  readonly uris: readonly string[]
  /** Lower case. */
  readonly dns: readonly string[]
  readonly cns: readonly string[]
  /** Within these the whole chain is valid, ms since the epoch. */
  readonly validFrom: number
  readonly validTo: number
  /** Why it proves nothing, such as a chain that does not hold; null: it may be believed while it is valid. */
  readonly problem: string | null
}

/** What a person is asked to let a workload do while they are away, or lets it do. */
export type StandingAsk = {
  /** Name of the row of `workloads`. */
  readonly workload: string
  readonly days: number
  /** Ids. */
  readonly operations: readonly string[]
}
/** A standing for policy: `id` null: only asked for; `expires_at` in seconds since the epoch. */
export type Lets = Pick<StandingAsk, 'days' | 'operations'> & {
  readonly id: string | null
  readonly expires_at: number
}

/** `operations`: ids, or families such as `issues.*`; null: every operation that policy allows. */
export type RunReach = {
  readonly connections: readonly string[]
  readonly operations: readonly string[] | null
}

// --- where ------------------------------------------------------------------------------------

export type QueryPair = {
  /** Bytes as they came, `name=value` or `name`. */
  readonly raw: string
  readonly name: string
  readonly value: string
}

/** The one reading of a request target (wire/canonical). */
export type Target = {
  readonly method: string
  /** Path as it will be sent: begins with `/`, percent-encoding as it came. */
  readonly path: string
  /** Segments as they came, after splitting at `/`; no leading empty one; a trailing slash gives a last `''`. */
  readonly raw: readonly string[]
  /** The same, each percent-decoded after splitting. */
  readonly segments: readonly string[]
  readonly query: readonly QueryPair[]
}

/** How the call named its upstream; URLs in answers are rewritten the same way (design 2.1). */
export type Addressing =
  | { readonly kind: 'path'; readonly prefix: string }
  /** `prefix` names the person, `/~alice`, or is empty. */
  | { readonly kind: 'host'; readonly prefix: string }
  | { readonly kind: 'absolute' }
  | { readonly kind: 'listener' }
  /** A client that believes to talk to the provider: its URLs stay as they are. */
  | { readonly kind: 'forward' }

export type Route = {
  readonly connection: Connection
  /** Host name as the provider file lists it, lower case, without port. */
  readonly host: string
  /** Where that name is reached: `https://api.github.com`, or what the configuration maps it to. */
  readonly origin: string
  /** `host[:port]` of `origin`, for the Host header. */
  readonly authority: string
  readonly port: number
  /** true: a download host under `assets`, reached without a credential. */
  readonly asset: boolean
  readonly addressing: Addressing
  /** The person named in the path or by the listener; trusted under `plain` only. */
  readonly named: string | null
  readonly target: Target
}

// --- providers ----------------------------------------------------------------------------------

export type ClientAuth =
  | 'client_secret_post'
  | 'client_secret_basic'
  | 'raw_basic'
  | 'private_key_jwt'
  | 'tls_client_auth'
  | 'self_signed_tls_client_auth'
  | 'none'
/** Can a lost token answer be recovered by sending the old refresh token again? (oauth.md 3.4) */
export type LostResponse = 'yes' | 'partly' | 'no' | 'unknown' | 'n/a'

export type Operation = {
  readonly id: string
  readonly access: Access
  /** Lists of scopes that suffice, the least first; `[[]]` = none needed. */
  readonly scopes: readonly (readonly string[])[]
  /** JSON pointers of the body that policy needs. */
  readonly inspect: readonly string[]
  /** A body that is a bare list stands for this member, one of `inspect`. Absent or null: such a body is refused there. */
  readonly list?: string | null
  /** Bodies past `limits.inspected_body` may pass unread. */
  readonly upload: boolean
  /** The one media type of its bodies, which pass unread: no server reads it as a form. Another is 415. */
  readonly opaque?: string | null
  /** It is a WebSocket (RFC 6455), decided at its handshake: the subprotocols that may be asked for. Absent or null: it is none. */
  readonly websocket?: readonly string[] | null
  /** It writes or sends a mail: where its recipients stand. */
  readonly mail?: MailPlaces
  /** JSON pointers of this operation's answers that hold URLs to rewrite, besides the provider's. */
  readonly rewrite: readonly string[]
  /** The same of URLs that clients follow without a key: the address carries a sealed tag. */
  readonly signed?: readonly string[]
}

/** Where a call says to whom its mail goes (envelope/mail). */
export type MailPlaces = {
  /** JSON pointers of lists of recipients. */
  readonly to: readonly string[]
  readonly cc: readonly string[]
  readonly bcc: readonly string[]
  /** Where in a recipient its address stands; '': the recipient is the address. */
  readonly address: string
  /** JSON pointers of lists of attachments. */
  readonly attachments: readonly string[]
  /** JSON pointers of a message (RFC 5322) in base64 or base64url. */
  readonly raw: readonly string[]
  /** Media types of bodies that are a message, its base64, or JSON and a message (RFC 2387). */
  readonly bodies: Readonly<Record<string, 'message' | 'base64' | 'related'>>
  /** Recipients stand, or may stand, in what the provider stores: always, or where one of these members is there. */
  readonly stored: boolean | readonly string[]
  /** false: it is only kept. */
  readonly sends: boolean
}

/** What policy sees of it (`request.mail`). */
export type Mail =
  | { readonly unread: true; readonly sends: boolean }
  | {
      readonly unread: false
      readonly sends: boolean
      /** `local@domain`, the domain in lower case and A-labels. */
      readonly to: readonly string[]
      readonly cc: readonly string[]
      readonly bcc: readonly string[]
      /** Of all of them, each once, sorted. */
      readonly domains: readonly string[]
      /** How many. */
      readonly attachments: number
    }

export type OperationRow = Operation & {
  /** A message of an MCP server that stands at `path`: `tools/call create_issue`, `tools/list`; absent: none. */
  readonly mcp?: string
  /** A root field of the GraphQL endpoint that stands at `path`: `mutation issueCreate`; absent: a call of its own. */
  readonly graphql?: string
  readonly method: string
  /** `/repos/{owner}/{repo}/contents/{path+}`: `{x}` one segment; `{x+}` may hold encoded slashes, and a last one takes one or more, as does `{x+}:` up to its colon; `search(q='{q}')`. */
  readonly path: string
  /** Limits the row to one host of the provider. */
  readonly host: string | null
}

/** An endpoint whose body holds several calls, each with a method and a target of its own. */
export type EnvelopeRow = {
  readonly format: EnvelopeFormat
  readonly method: string
  /** Of its path; `{x}` is any one. */
  readonly segments: readonly string[]
  /** Limits the row to one host of the provider. */
  readonly host: string | null
  /** JSON pointers of its answers that hold URLs to rewrite, besides the provider's. */
  readonly rewrite: readonly string[]
}
export type EnvelopeFormat =
  | 'graph_batch'
  | 'multipart_batch'
  | 'salesforce_composite'
  | 'salesforce_batch'
  | 'salesforce_graph'
  | 'salesforce_records'
  | 'salesforce_tree'

/** One of the calls in a batch, as the provider will run it. */
export type InnerCall = {
  readonly method: string
  /** Origin form: path and query. */
  readonly target: string
  readonly contentType: string | null
  readonly body: InnerBody
  /** Credentials that were cut out of it. */
  readonly stripped: readonly string[]
  /** Parts of its body are known to the provider alone, such as the id of what an earlier call makes. */
  readonly refers?: boolean
}
export type InnerBody =
  | { readonly kind: 'none' }
  /** A member of the batch's own JSON, and the pointer that leads there. */
  | { readonly kind: 'json'; readonly value: unknown; readonly pointer: string }
  | { readonly kind: 'bytes'; readonly bytes: Buffer }

/** One root field of a GraphQL call, as policy sees it: a call inside the call (design 3). */
export type RootField = {
  readonly type: 'query' | 'mutation'
  /** Name of the operation; '' for one without. */
  readonly name: string
  /** The one field, alias resolved. */
  readonly fields: readonly [string]
  /** Levels of fields, itself among them, fragments expanded. */
  readonly depth: number
  /** JSON pointer → value, for the pointers of its arguments that the operation names; variables filled in. */
  readonly arguments?: Readonly<Record<string, Json>>
  /** Types that the selection beneath it names (`... on User`), fragments expanded. */
  readonly types: readonly string[]
  /** Names of all fields beneath it, aliases resolved. */
  readonly selects: readonly string[]
}

/** The same as it was read: which arguments policy needs is known once its operation is. */
export type ReadField = {
  readonly field: RootField
  /** Throws Problem request_invalid where one has more than one reading. */
  readonly given: (pointers: readonly string[]) => Readonly<Record<string, Json>>
}

/** One message to an MCP server, as it was read (envelope/jsonrpc). */
export type McpCall = {
  readonly kind: 'request' | 'notification' | 'response'
  /** Of a request; null: nobody waits for an answer. */
  readonly id: string | number | null
  readonly method: string
  /** Its row: the method, and behind a blank what it calls. */
  readonly key: string
  /** The tool, prompt or URI that it calls. */
  readonly name: string | null
  /** Further rows that it needs: what it answers inside, and what it subscribes to. */
  readonly also?: readonly string[]
  /** Of revision 2026-07-28 or later. */
  readonly modern: boolean
  /** The client can show a person a link (URL elicitation). */
  readonly url: boolean
  /** What became of the link that deputy asked the client to show. */
  readonly answered: 'accept' | 'declined' | null
}

/** A third party, described by data: `providers/<id>.yaml` after parsing (providers/parse). */
export type Provider = {
  readonly id: string
  /** Its id, then those of the definitions that it extends, nearest first: their policy packages hold for it too. */
  readonly lineage: readonly string[]
  readonly name: string
  readonly credential: 'oauth2' | 'api_key'
  readonly issuer: string | null
  /** What the definition leaves out is asked of the issuer (oauth/discovery); null or absent: nothing is. */
  readonly discover?: Discover | null
  /** RFC 9207 3: the issuer names itself in every answer, so one without `iss` is not its. */
  readonly issRequired?: boolean
  readonly authorize: string | null
  readonly token: string | null
  readonly userinfo: string | null
  /** JSON text that userinfo is asked with, by POST (GraphQL); absent or null: a GET. */
  readonly userinfoBody?: string | null
  /** RFC 7662, or what stands for it: whose token it is, with which scopes, for how long. */
  readonly introspect?: Introspection | null
  /** RFC 9126: the authorization request is pushed there first. */
  readonly par?: string | null
  /** RFC 8707: sent with the authorization, token and refresh requests. */
  readonly resource?: readonly string[]
  readonly revoke: string | null
  readonly revokeStyle: 'rfc7009' | 'bearer' | 'github' | 'linear' | 'none'
  /** The access token cannot be revoked: it lives on until it expires. */
  readonly accessOutlivesRevoke?: boolean
  readonly clientAuth: ClientAuth
  /** `aud` of a client assertion (RFC 7523 3): the issuer, the token endpoint, or what this says; absent: the issuer. */
  readonly assertionAudience?: string
  /** How token requests are written; absent: form. */
  readonly tokenFormat?: 'form' | 'json'
  /** How a refresh differs from a token request; null: refresh tokens are never used; absent: it does not. */
  readonly refresh?: RefreshRules | null
  readonly pkce: boolean
  readonly scopeParam: string | null
  readonly scopeSeparator: string
  /** Asked for with every consent, beside what the call needs (`offline_access`); no operation or connection lists them. */
  readonly scopeAlways?: readonly string[]
  /** A first consent stays what it is: each asks for all that the connection may ever ask for. */
  readonly scopeWhole?: boolean
  /** All that there are; a connection that names another is refused at start. Absent or null: not told. */
  readonly scopeKnown?: readonly string[] | null
  /** Scopes that contain others, or have two names (wire/scopes); null or absent: none. */
  readonly scopeReach?: ReadonlyMap<string, readonly string[]> | null
  /** Scope → what it lets an agent do, in words for the person who is asked. Absent: none has words. */
  readonly scopeWords?: ReadonlyMap<string, string>
  /** Answers that mean 401 whatever their status; null or absent: none. */
  readonly unauthorized?: Unauthorized | null
  /** Requests that name the scopes once more. */
  readonly scopeRepeat?: readonly ('token' | 'refresh')[]
  readonly authorizeParams: Readonly<Record<string, string>>
  readonly tokenParams: Readonly<Record<string, string>>
  readonly account: AccountRules | null
  readonly answer: AnswerRules
  readonly rotation: 'none' | 'always' | 'sometimes' | 'n/a'
  readonly lostResponse: LostResponse
  /** A refresh token that nobody used for this long is gone; null or absent: not told. */
  readonly refreshIdleDays?: number | null
  /** name → origin where it is reached. */
  readonly hosts: ReadonlyMap<string, string>
  /** Every person has a host of their own: calls go to the one that their own token answer named, and to no other. */
  readonly hostFromToken?: HostFromToken | null
  /** One provider for each kind of token that it gives; a connection chooses with `slot`. */
  readonly slots?: ReadonlyMap<string, Provider>
  /** What the provider's documentation shows, for `deputy providers test`. */
  readonly example?: JsonObject | null
  /** Download hosts reachable without a credential. */
  readonly assets: ReadonlyMap<string, string>
  /** Its hosts are called in HTTP/2: over TLS where they agree to it, over plain http by prior knowledge. Absent: HTTP/1.1. */
  readonly http2?: boolean
  readonly present: {
    readonly header: string
    readonly scheme: string
    /** What stands around it in the user-pass of Basic (RFC 7617 2), which goes in base64; absent: it goes as it is. */
    readonly pair?: { readonly before: string; readonly after: string }
  }
  readonly requiredHeaders: Readonly<Record<string, string>>
  /** Lower-case names, on top of the list for every provider. */
  readonly strip: {
    readonly headers: readonly string[]
    readonly query: readonly string[]
    readonly body: readonly string[]
    /** Names in the query of what the provider writes into URLs of its own: they pass under deputy's seal alone. */
    readonly provided?: readonly string[]
    /** Names in the query that are no credential here, whatever their words say. */
    readonly pass?: readonly string[]
  }
  /** Absent: names of members are told apart by case. */
  readonly names?: Names
  /** JSON pointers in answers that hold URLs to rewrite; `*` is any key or index, `**` any depth, `*_url` an ending. */
  readonly rewrite: readonly string[]
  /** The vendor's error shape, in which deputy's refusals are told; null or absent: RFC 9457. */
  readonly errors?: Json | null
  /** A slash behind the last segment names the same resource. */
  readonly trailingSlash?: boolean
  /** Beginnings of paths by which some clients reach the same API → what stands there instead. */
  readonly prefixes?: Readonly<Record<string, string>>
  readonly operations: readonly OperationRow[]
  /** Endpoints that take several calls in one. Absent: there are none. */
  readonly envelopes?: readonly EnvelopeRow[]
  /** It is one MCP server, at this path of its one host; null or absent: an API. */
  readonly mcp?: { readonly url: string; readonly path: string } | null
  /** Decoded path segments after which one is secret and is written as `hmac:…` (evidence). */
  readonly secretSegments: readonly string[]
}

/** How a provider compares the names of a body's members. */
export type Names = {
  readonly insensitive: boolean
  /** Beneath what policy needs of such a provider: the one spelling that policy sees. */
  readonly spellings: readonly string[]
}

export type Discover = {
  /** Keys of the definition that are left out. */
  readonly left: readonly string[]
  /** Endpoints may be plain http on other machines. */
  readonly insecure: boolean
  /** Why they are not known; null: they are. */
  readonly problem: string | null
}

/** Where a value stands in an answer: a JSON pointer, or a claim of the JWT at a pointer (read, not verified). */
export type Place = string | { readonly jwt: string; readonly claim: string }

/** A small JSON answer with one of these values there says that the token is not accepted. */
export type Unauthorized = { readonly pointer: string; readonly values: readonly string[] }

/** Whose account it is. JSON pointers into the answer that `from` names. */
export type AccountRules = {
  readonly from: 'userinfo' | 'token' | 'introspect'
  /** One pointer, or several parts that make the id together, each with its alternatives. */
  readonly id: string | readonly (string | readonly string[])[]
  /** Tried in order; none leads anywhere: the id. */
  readonly label: string | readonly string[]
}

export type HostFromToken = {
  /** Where the token answer names it. */
  readonly pointer: string
  /** `.my.salesforce.com`: a host that fits none of them is refused. */
  readonly suffixes: readonly string[]
}

export type Introspection = {
  readonly url: string
  /** Asked as the client, or with the access token itself. */
  readonly auth: 'client' | 'bearer'
  readonly at: readonly ('grant' | 'refresh')[]
  readonly scope: readonly Place[]
  readonly expiresIn: readonly Place[]
}

export type RefreshRules = {
  /** null: the token endpoint. */
  readonly url: string | null
  /** `bearer`: with the old access token. */
  readonly clientAuth: ClientAuth | 'bearer'
  readonly params: Readonly<Record<string, string>>
  readonly answer: AnswerRules
}

/** How a token answer of this provider reads (oauth.md 4.3). */
export type AnswerRules = {
  /** JSON pointers, tried in order. */
  readonly accessToken: readonly string[]
  readonly refreshToken: readonly string[]
  readonly scope: readonly Place[]
  readonly expiresIn: readonly Place[]
  readonly scopeSeparator: string
  /** Cut off scopes that begin with it: the same scope in full and in short. */
  readonly scopePrefix?: string | null
  /** Pointer → value: an answer in which one is another is of another slot, and no token of ours. */
  readonly onlyIf?: Readonly<Record<string, string>>
  readonly host?: (HostFromToken & { readonly required: boolean }) | null
  /** Assumed lifetime in s when the answer has none; null: until a 401 says otherwise. */
  readonly assumeTtl: number | null
  /** `expires_in: 0` means never. */
  readonly zeroIsNever: boolean
  /** provider word, or whole description → RFC 6749 error code. */
  readonly errors: Readonly<Record<string, string>>
}

/** One configured client at a provider. */
export type Connection = {
  readonly name: string
  readonly provider: Provider
  readonly clientId: string
  readonly clientSecret: Secret | null
  /** Private key of `private_key_jwt`: a JWK, or PEM. */
  readonly clientKey?: Secret | null
  /** The most that may ever be asked for. */
  readonly scopes: readonly string[]
  /** How it is dialled otherwise than all others; null or absent: as they are. */
  readonly tls?: ConnectionTls | null
}

/** Files that one connection is dialled with, by absolute paths; they are read again when they change. */
export type ConnectionTls = {
  /** Name of the connection, for what is said of its files. */
  readonly connection: string
  /** Where its `ca` is named, for the same; absent: at the connection. */
  readonly where?: string
  /** PEM of further authorities. */
  readonly ca: string | null
  /** What deputy shows of itself, PEM. */
  readonly client: { readonly cert: string; readonly key: string } | null
}
/** A request that names the files it is dialled with, and whether in HTTP/2 where that can be agreed on. */
export type Dialled = { readonly tls?: ConnectionTls | null; readonly http2?: boolean }

// --- what is known ------------------------------------------------------------------------------

/** Sources that can be asked about anybody, and joined. */
export type SourceName = 'file' | 'http' | 'ldap' | 'scim'

/** What the identity provider says about a person. */
export type Entitlements = {
  readonly active: boolean
  readonly groups: readonly string[]
  readonly roles: readonly string[]
  readonly entitlements: readonly string[]
  /** How and when (ms since the epoch; null: not told) the person signed in. */
  readonly auth: {
    readonly acr: string | null
    readonly amr: readonly string[]
    readonly at: number | null
  } | null
  /** Several that are joined stand with a plus between them: `scim+http`. */
  readonly source: 'none' | 'claims' | SourceName | `${SourceName}+${string}`
  /** What each of several sources said by itself; absent: it was one. */
  readonly parts?: readonly Entitlements[]
  /** The person's manager, as the source names people; null or absent: not told. */
  readonly manager?: string | null
  /** sha256 of the canonical text of the facts above. */
  readonly digest: string
  /** Monotonic ms at which they were true: their age at the decision is `mono() - asOf`. null: always now. */
  readonly asOf: number | null
}

/** What the vault knows about one person, agent and connection, without opening a secret. */
export type Holding =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'held'
      /** Row id of the credential. */
      readonly credential: string
      readonly status: 'active' | 'needs_reauth'
      readonly account: string
      readonly generation: number
      /** Scopes that the stored token has. */
      readonly scopes: readonly string[]
      /** Scopes that this agent was allowed; null: this agent has no grant. */
      readonly granted: readonly string[] | null
      /** Of `needs_reauth`: more than a new consent is needed; null or absent: that is all. */
      readonly needs?: 'admin' | 'sign_in' | null
      /** Of `needs_reauth` where nobody said that the grant ended: ms since the epoch from which it may be tried again. */
      readonly retryAt?: number
    }

// --- policy -----------------------------------------------------------------------------------

export type Reason = { readonly code: string; readonly msg: string }
export type Obligation = { readonly type: string; readonly properties: JsonObject }

/** Decision document, version 1 (opa-wasm.md 7.2). Immutable: answers are shared between calls. */
export type PolicyDecision = {
  readonly version: 1
  readonly allow: boolean
  readonly reasons: readonly Reason[]
  readonly required_scopes: readonly string[]
  readonly obligations: Readonly<Record<string, Obligation>>
  readonly max_entitlement_age_s: number
  readonly grants: readonly string[]
}

/** A yes that was verified, is bound to this very call and has not ended; as policy sees it. */
export type Approval = {
  readonly id: string
  readonly name: string
  /** Id of the person who gave it. */
  readonly by: string
  readonly expires_in_s: number
}

export type PolicyFailure = {
  readonly failed:
    | 'policy_missing'
    | 'policy_undefined'
    | 'policy_malformed'
    | 'policy_error'
    | 'policy_timeout'
    | 'policy_input_too_large'
  readonly detail: string
}

/** A member of policy's input: its name and its JSON text. */
export type InputMember = readonly [name: string, text: string]

/** What the tables of a policy ask for, that is gathered only where somebody asks. */
export type Asks = {
  /** Time zones (IANA names) that rows name. */
  readonly zones: readonly string[]
  /** null: no row has `history`. */
  readonly history: HistoryAsk | null
}
/** `windows`: the times that rows name, s, the shortest first. `counts`: is this operation counted by any of them? */
export type HistoryAsk = {
  readonly windows: readonly number[]
  readonly counts: (operation: string) => boolean
}

/** A compiled policy that passed its self-test. */
/** Where a bundle came from, and who signed it. */
export type BundleOrigin = {
  /** `kept`: what a bundle service gave to an earlier process. */
  readonly from: 'files' | 'service' | 'kept'
  /** The id of the key, and when (`iat`, ms since the epoch; null: it does not say). null: nobody wants a signature. */
  readonly signed: { readonly key: string; readonly issuedAt: number | null } | null
}

export type PolicyEngine = {
  readonly revision: string
  /** Absent: it was made of no bundle that was loaded. */
  readonly origin?: BundleOrigin
  /** sha256 (hex, `sha256:` prefix) over module, data and overlay. */
  readonly digest: string
  /** What its tables want to know beside what each input says. */
  readonly asks: Asks
  /**
   * Evaluates `deputy/decision` for a JSON object. `repeated` are further members of it, which many calls share: what
   * was parsed of them is kept. Never throws; a promise only where the bundle runs in a worker, which agents take turns at.
   */
  readonly evaluate: (
    input: string,
    repeated?: readonly InputMember[],
    agent?: string,
  ) => PolicyDecision | PolicyFailure | Promise<PolicyDecision | PolicyFailure>
  readonly close: () => Promise<void>
}

export type Decision = {
  readonly id: string
  readonly effect:
    'allow' | 'deny' | 'consent_required' | 'approval_required' | 'step_up_required' | 'error'
  readonly reasons: readonly Reason[]
  readonly requiredScopes: readonly string[]
  readonly obligations: Readonly<Record<string, Obligation>>
  readonly grants: readonly string[]
  readonly revision: string
  readonly digest: string
  /** Monotonic ms. */
  readonly decidedAt: number
  /** What authorization services said of this very call; absent: none was asked. */
  readonly checks?: Checked
  /** What policy was asked, where that is kept; absent: it is not, or policy was not asked. */
  readonly asked?: AskedInput
}
/** An input of policy: what is new in it, and the members that it shares with others. */
export type AskedInput = readonly [text: string, shared: readonly InputMember[]]
/** By the names of the checks, and how long all of them took together. */
type Checked = { readonly answers: Readonly<Record<string, boolean>>; readonly ms: number }

// --- tokens -------------------------------------------------------------------------------------

/** What a token endpoint gave, after normalising (oauth/token_answer). */
export type TokenSet = {
  readonly access: Secret
  readonly refresh: Secret | null
  /** Canonical set; null: the answer did not say (RFC 6749 5.1: as asked). */
  readonly scopes: readonly string[] | null
  /** Lifetime in s; null: not told. */
  readonly expiresIn: number | null
  /** The host that this token is for, where the answer names one (`HostFromToken`). */
  readonly host?: string | null
  /** Whose tokens they are; absent: not told. */
  readonly clientId?: string
}

/** An opened credential. */
export type StoredCredential = {
  readonly id: string
  readonly person: Person
  readonly connection: string
  readonly account: string
  readonly status: 'active' | 'needs_reauth'
  readonly generation: number
  readonly scopes: readonly string[]
  readonly access: Secret
  readonly refresh: Secret | null
  /** ms since the epoch; null: no end known. */
  readonly expiresAt: number | null
  /** ms since the epoch of the last store. */
  readonly storedAt: number
  /** The only host that it may be sent to; null or absent: the provider's hosts. */
  readonly host?: string | null
  /** The client that its tokens belong to; null or absent: not known. */
  readonly clientId?: string | null
  /** Id of the provider that its tokens are of; absent: not known. */
  readonly provider?: string
  /** The person is asked to renew it, though nobody said that it ended. */
  readonly doubtful?: boolean
}

/** What goes on one upstream request. */
export type Injected = {
  readonly token: Secret
  readonly credential: string
  readonly generation: number
  readonly account: string
  readonly scopes: readonly string[]
  readonly refreshed: boolean
  /** As in `StoredCredential`. */
  readonly host?: string | null
}

// --- the vault and the store, as the rest of the house sees them --------------------------------

export type Vault = {
  /** At once where it is remembered, as `open`. */
  readonly look: (person: Person, connection: string, agent: string) => Holding | Promise<Holding>
  /** Opens the newest generation; null: gone. `fresh` reads past the cache. */
  readonly open: (
    credential: string,
    options?: { readonly fresh?: boolean },
  ) => Promise<StoredCredential | null>
  /** What is open already; null: ask `open`. */
  readonly opened: (credential: string) => StoredCredential | null
  /**
   * Stores what a consent earned, in one transaction with the agent's grant. Returns the credential's id.
   * Rejects with AccountMismatch when another account is connected there, unless `replace`.
   */
  readonly connect: (earned: {
    readonly person: Person
    readonly agent: string
    readonly connection: string
    readonly provider: string
    readonly account: { readonly id: string; readonly label: string }
    readonly tokens: TokenSet
    /** Scopes asked for; what the agent is granted. */
    readonly scopes: readonly string[]
    /** Take the place of another account, and of every grant on it. */
    readonly replace?: boolean
  }) => Promise<string>
  /** One agent's grant on a credential that is already there (no round at the provider). */
  readonly grant: (
    person: Person,
    agent: string,
    connection: string,
    scopes: readonly string[],
  ) => Promise<void>
  /** Ends one agent's grant; what other agents were allowed stays. false: there was none. */
  readonly disallow: (person: Person, agent: string, connection: string) => Promise<boolean>
  /**
   * The lease on one refresh, journalled before the request leaves (oauth.md 3.2). `moved`: somebody else stored
   * a newer generation; `busy`: somebody else holds the lease until `until` (ms). It is renewed every few seconds for at
   * most `ms`. Nobody takes it from a process that may be alive before so many ms without a sign of it, but where
   * `harmless`: what it sent may be sent again.
   */
  readonly lease: (
    credential: string,
    generation: number,
    ms: number,
    harmless?: boolean,
  ) => Promise<
    | {
        readonly kind: 'leased'
        readonly lease: string
        /** Nobody can have taken it; asked before each request that must not leave twice. */
        readonly held: () => boolean
        readonly credential: StoredCredential
        readonly unknownBefore: boolean
        /** Refusals so far in words that no one knows. */
        readonly refused: { readonly since: number; readonly times: number } | null
      }
    | { readonly kind: 'busy'; readonly until: number }
    | { readonly kind: 'moved' }
    | { readonly kind: 'gone' }
    | {
        readonly kind: 'cooling'
        readonly until: number
        readonly error: string
        readonly doubtful: boolean
      }
  >
  /** Stores the rotated set under the lease; `lost`: the lease or the row is no longer ours. */
  readonly rotate: (
    credential: string,
    lease: string,
    tokens: TokenSet,
  ) => Promise<'stored' | 'lost'>
  /**
   * Stores the set that follows `generation` in a grant that was given up meanwhile: whoever was refused had the older
   * token. `lost`: it was not given up, or is at another generation.
   */
  readonly revive: (
    credential: string,
    generation: number,
    tokens: TokenSet,
  ) => Promise<'stored' | 'lost'>
  /** Ends a lease without a new token. `unknown` keeps the mark that an answer may have been lost. */
  readonly release: (
    credential: string,
    lease: string,
    outcome: {
      readonly kind: 'dead' | 'not_sent' | 'refused' | 'unknown'
      readonly error: string
      readonly coolDownMs: number
      /** The provider refused in words that no one knows; `doubtful`: so often that the person is asked. */
      readonly refused?: {
        readonly since: number
        readonly times: number
        readonly doubtful: boolean
      }
    },
  ) => Promise<void>
  /** Without a lease: the grant ended (`needs_reauth`), or only the person can renew it as things are (`active`). */
  readonly doubt: (
    credential: string,
    generation: number,
    status: CredentialRow['status'],
    error: string,
  ) => Promise<void>
  /** Did another grant of this connection get a new token within the last `ms`? */
  readonly renewed: (connection: string, besides: string, ms: number) => Promise<boolean>
  readonly clients: Store['credentials']['clients']
  readonly list: (filter: {
    readonly tenant?: string
    readonly realm?: string
    readonly id?: string
    readonly connection?: string
  }) => Promise<readonly HeldConnection[]>
  /** Some of them in their order, and how many there are: counted up to 10,000 behind the page. */
  readonly page: (
    of: ConnectionsPage,
  ) => Promise<{ readonly held: readonly HeldConnection[]; readonly total: number }>
  /** Whose it is and where it is used; null: there is none. */
  readonly locate: (
    credential: string,
  ) => Promise<{ readonly person: Person; readonly connection: string } | null>
  /** false: nothing is stored of this person and nothing of theirs was ever revoked, as in a database that is new. */
  readonly known: (person: Person) => Promise<boolean>
  /** Local revocation: the row's secrets are wiped, caches dropped. Returns what was held, to revoke at the provider. */
  readonly revoke: (credential: string) => Promise<StoredCredential | null>
  /** Cheap readiness check; throws when the store cannot be read or written. */
  readonly check: () => Promise<void>
}

export type HeldConnection = {
  readonly credential: string
  readonly person: Person
  readonly connection: string
  readonly provider: string
  readonly account: string
  readonly status: 'active' | 'needs_reauth'
  readonly scopes: readonly string[]
  readonly agents: readonly {
    readonly agent: string
    readonly scopes: readonly string[]
    readonly at: number
    /** ms since the epoch, to the minute; null: no use recorded. */
    readonly lastUsedAt: number | null
  }[]
  readonly storedAt: number
}

/** What a provider demands of the next sign-in, as parameters of the authorization request (RFC 9470 4). */
export type Challenge = Readonly<Partial<Record<'acr_values' | 'max_age' | 'claims', string>>>

/** A consent under way. Its id is 128+ random bits, known to the link only; the row holds its SHA-256. */
export type Flow = {
  /** SHA-256 of the id, hex: safe to write into evidence. */
  readonly hash: string
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly scopes: readonly string[]
  readonly reauthorization: boolean
  readonly status: 'pending' | 'completed' | 'failed'
  /** Why it failed: denied, expired, account_mismatch, admin_required, sign_in_required, provider_error… null otherwise. */
  readonly failure: string | null
  /** Scopes that were asked for and not granted; empty unless completed. */
  readonly missing: readonly string[]
  /** Pending, and done but for the application, which must say who was there. */
  readonly awaiting?: boolean
  readonly nextUri: string | null
  /** How the provider wants the person to sign in. */
  readonly challenge?: Challenge | null
  /** Id of the operation for which the link was made; null or absent: for none. */
  readonly operation?: string | null
  /** What a workload may do once its person said yes, while they are away; null or absent: nothing. */
  readonly standing?: StandingAsk | null
  /** Of a link for several consents: these, and what each link ends with (null: nobody can make it again). */
  readonly parts?: readonly { readonly flow: Flow; readonly id: string | null }[]
  readonly createdAt: number
  readonly expiresAt: number
  /** The leg at the provider, once begun. */
  readonly leg: {
    readonly stateHash: string
    readonly cookieHash: string
    readonly verifier: Secret
    readonly nonce: string
    readonly expiresAt: number
  } | null
}

/** Rows as the store keeps them; secrets are already sealed text here. SQL lives in store/ and nowhere else. */
export type CredentialRow = {
  readonly id: string
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly connection: string
  readonly provider: string
  readonly slot: string
  readonly accountId: string
  readonly account: string
  /** Host that the credential is pinned to, authenticated with what is sealed; absent counts as null. */
  readonly host?: string | null
  readonly status: 'active' | 'needs_reauth'
  readonly generation: number
  readonly scopes: readonly string[]
  /** JWE of {access, refresh}. */
  readonly sealed: string
  readonly expiresAt: number | null
  readonly storedAt: number
  readonly lease: string | null
  readonly leaseUntil: number | null
  /** An earlier refresh was sent and its answer never stored. */
  readonly unknownSince: number | null
  readonly coolUntil: number | null
  readonly coolError: string | null
  /** The client that its tokens were given to; absent or null: stored before that was kept. */
  readonly clientId?: string | null
  /** The provider refuses to renew it in words that no one knows: since when (ms), and how often. */
  readonly refusedSince?: number | null
  readonly refusedTimes?: number | null
  /** From then on (ms) the person is asked to renew it; what is stored is kept until they did. */
  readonly doubtfulSince?: number | null
}
type NextRow = Pick<
  CredentialRow,
  'sealed' | 'generation' | 'scopes' | 'expiresAt' | 'storedAt' | 'clientId'
>
export type GrantRow = {
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly agent: string
  readonly connection: string
  readonly scopes: readonly string[]
  readonly at: number
  /** Absent counts as null; a new yes keeps what is stored. */
  readonly lastUsedAt?: number | null
}
/** A credential that was last stored long ago, as far as its background refresh needs it. */
export type IdleRow = Pick<
  CredentialRow,
  'id' | 'tenant' | 'realm' | 'user' | 'connection' | 'generation' | 'storedAt'
> & {
  /** ms since the epoch from which its idle time counts: `storedAt`, or later where it was put off. */
  readonly from: number
}
export type GrantUse = {
  readonly person: Person
  readonly agent: string
  readonly connection: string
  /** ms since the epoch. */
  readonly at: number
}
export type FlowRow = {
  readonly hash: string
  /** The id is HMAC(ring key, nonce): a concurrent request can be given the same link though only its hash is stored. */
  readonly nonce: string
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly agent: string
  readonly connection: string
  readonly scopes: readonly string[]
  readonly reauthorization: boolean
  readonly status: 'pending' | 'completed' | 'failed'
  readonly failure: string | null
  readonly nextUri: string | null
  readonly createdAt: number
  readonly expiresAt: number
  readonly stateHash: string | null
  readonly cookieHash: string | null
  /** JWE of {verifier, nonce}, bound to the flow's hash; of {access, refresh} while the application is to confirm. */
  readonly sealedLeg: string | null
  readonly legExpiresAt: number | null
  /** SHA-256 of the id that the application confirms; null or absent: nothing waits for it. */
  readonly confirmHash?: string | null
  /** JSON of what is held for the confirmation, no secret in it (consent/confirm). */
  readonly held?: string | null
  /** ms since the epoch; later than that, what is held is revoked. */
  readonly confirmUntil?: number | null
  /** ms since the epoch from which on the link is to be sent to `connect.notify`; null or absent: nothing is to be sent. */
  readonly notifyAt?: number | null
  /** Attempts to send it, counted when one begins; absent counts as 0. */
  readonly notices?: number
  /** JSON of a `Challenge`; null or absent: none. */
  readonly challenge?: string | null
  /** ms since the epoch at which it was completed or failed; null or absent: it was not, or ran out of time. */
  readonly endedAt?: number | null
  /** SHA-256 of the state whose answer was taken; whoever brings it again is told how it ended. */
  readonly spentHash?: string | null
  /** Id of the operation for which the link was made; null or absent: for none. */
  readonly operation?: string | null
  /** JSON of a `StandingAsk`: what a workload may do while its person is away; null or absent: nothing. */
  readonly standing?: string | null
}
/** A run token's row: the token itself is shown once and never stored. */
export type RunRow = {
  readonly tokenHash: string
  readonly id: string
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly agent: string
  readonly connections: readonly string[]
  readonly operations: readonly string[] | null
  /** Name of the operator. */
  readonly createdBy: string
  readonly createdAt: number
  readonly expiresAt: number
  readonly revokedAt: number | null
}

/** What a person lets a workload do at one connection while they are away. One that ended has no row. */
export type StandingRow = {
  readonly id: string
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly workload: string
  readonly agent: string
  readonly connection: string
  readonly operations: readonly string[]
  readonly createdAt: number
  readonly expiresAt: number
  readonly lastUsedAt: number | null
  /** ms since the epoch from which on its end is to be told to `connect.notify`; null: it was. */
  readonly noticeAt: number | null
}

/** What a person is asked so that policy lets a call pass: a yes to this very call, or a stronger sign-in. */
export type AskRow = {
  readonly hash: string
  /** The link's id is HMAC(ring key, nonce), as of a flow. */
  readonly nonce: string
  readonly kind: 'approval' | 'step_up'
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly agent: string
  readonly connection: string
  /** What makes two asks one: a digest of the call and of what policy demands. */
  readonly question: string
  /** `sha256:…` of the call as it would leave; '' where it is asked about no single call. */
  readonly digest: string
  /** Ids. */
  readonly operations: readonly string[]
  /** JSON of what policy demands. */
  readonly needs: string
  /** JWE of what is shown to whoever approves; null: there is nothing, or not any more. */
  readonly sealed: string | null
  readonly status: 'pending' | 'given' | 'used' | 'declined' | 'cancelled' | 'expired'
  /** JSON of the answers so far. */
  readonly given: string
  /** Exchange id of the call that it let pass; null: none. */
  readonly exchange: string | null
  /** Revocation epoch of the person when it was made. */
  readonly epoch: number
  readonly createdAt: number
  /** ms since the epoch: of the link, and once it is given of the yes. */
  readonly expiresAt: number
  readonly endedAt: number | null
  /** ms since the epoch from which on it is to be told to `connect.notify`; null: it was, or nobody listens. */
  readonly noticeAt: number | null
  readonly notices: number
}
/** A sign-in at deputy's own page that policy asked for: it counts for the agent whose call needed it. */
export type SignInRow = {
  readonly tenant: string
  readonly realm: string
  readonly user: string
  readonly agent: string
  readonly acr: string
  readonly amr: readonly string[]
  /** `auth_time`, ms since the epoch. */
  readonly at: number
  readonly expiresAt: number
  /** Revocation epoch of the person at that time. */
  readonly epoch: number
}

/** ms since the epoch, but for `patience`. */
type LeaseTimes = {
  readonly now: number
  readonly until: number
  /** ms that a lease without a heartbeat is left alone, unless its holder is dead for certain. */
  readonly patience?: number
}

/** On whose behalf a consent is asked for, and where. */
export type Asker = {
  readonly person: Person
  readonly agent: string
  readonly connection: string
}

/** What makes two flows one. */
export type Question = Asker & {
  readonly scopes: readonly string[]
  readonly challenge?: string | null
  readonly nextUri?: string | null
  /** JSON of a `StandingAsk`; a link is shared only by those who ask for the same. */
  readonly standing?: string | null
}

/** Whose people and groups: a client of SCIM writes those of one tenant and realm. */
export type ScimRealm = { readonly tenant: string; readonly realm: string }
export type ScimKind = 'User' | 'Group'
export type ScimRow = {
  readonly kind: ScimKind
  readonly id: string
  /** `userName` or `displayName`. */
  readonly name: string
  readonly externalId: string | null
  readonly version: number
  /** JSON of everything but what the other columns and the members say. */
  readonly body: string
  readonly createdAt: number
  readonly changedAt: number
}
export type ScimMember = { readonly id: string; readonly kind: ScimKind; readonly name: string }
/** Members that come and go beside all others, which nobody reads. */
export type ScimMoves = { readonly come: readonly string[]; readonly gone: readonly string[] }
/** What a change makes of a row; `members: null`: they stay. */
export type ScimNext = Pick<ScimRow, 'name' | 'externalId' | 'body'> & {
  readonly members: readonly string[] | ScimMoves | null
}
/** Before and after; null: it was not there, or is not any more. */
export type ScimChanged = {
  readonly before: ScimRow | null
  readonly after: ScimRow | null
  /** Users whose groups are others now, through nested groups too; null: more than are worth naming. */
  readonly moved: readonly ScimRow[] | null
}
type ScimChange = {
  readonly kind: ScimKind
  readonly id: string | null
  readonly fresh: string
  readonly now: number
  readonly alone?: boolean
  readonly unread?: boolean
}
export type ScimStore = {
  readonly get: (of: ScimRealm, kind: ScimKind, id: string) => Promise<ScimRow | null>
  /** At most two: whoever asks wants one. */
  readonly find: (
    of: ScimRealm,
    kind: ScimKind,
    by: 'id' | 'name' | 'exact' | 'external_id',
    value: string,
  ) => Promise<readonly ScimRow[]>
  readonly page: (
    of: ScimRealm,
    kind: ScimKind,
    skip: number,
    limit: number,
  ) => Promise<readonly ScimRow[]>
  /** The same by the last id of the page before, which costs the same at every depth. */
  readonly after: (
    of: ScimRealm,
    kind: ScimKind,
    id: string,
    limit: number,
  ) => Promise<readonly ScimRow[]>
  readonly count: (of: ScimRealm, kind: ScimKind) => Promise<number>
  readonly members: (of: ScimRealm, group: string) => Promise<readonly ScimMember[]>
  /** Has the group more members than so many? Looks at no more of them than that. */
  readonly exceeds: (of: ScimRealm, group: string, most: number) => Promise<boolean>
  /** The groups of a user or a group. `direct`: it is a member itself, not through another group. */
  readonly groups: (
    of: ScimRealm,
    member: string,
  ) => Promise<readonly (ScimMember & { readonly direct: boolean })[]>
  /**
   * One change at a time in each realm, told to every process on this store with it (topic `scim`).
   * `what.id` of the row; null: a new one, whose id is `fresh`. `alone`: nobody else may have its external id.
   * `unread`: `make` needs no members, and is given none.
   * @param make the next state; null: it goes; what it throws is thrown, and nothing is changed
   * @param tell keys of the topic for what was changed
   */
  readonly change: (
    of: ScimRealm,
    what: ScimChange,
    make: (before: ScimRow | null, members: readonly ScimMember[]) => ScimNext | null,
    tell: (changed: ScimChanged) => readonly string[],
  ) => Promise<ScimChanged>
}
/** The name or the external id is somebody else's. */
export class ScimConflict extends Error {}

/** The clock of whoever asks: the store tells by it whether its own was set. */
export type Clocks = Pick<Clock, 'now' | 'mono'>
/** What a call would add to one counter. */
export type Take = {
  /** Whose counter it is, part by part. */
  readonly key: readonly string[]
  /** Whose data it is, to be erased with them; null: nobody's. */
  readonly person: Person | null
  readonly windowMs: number
  /** The most in any span of the window. */
  readonly limit: number
  readonly amount: number
}
/** Which take did not fit, and in how many ms it would; a take that never fits: after a whole window. */
export type Full = { readonly at: number; readonly retryMs: number }
export type LimitStore = {
  /**
   * Counts the takes of each call: all of them, or none. Calls are counted in their order, whoever else counts meanwhile.
   * @returns null for each call that was counted
   */
  readonly take: (
    calls: readonly (readonly Take[])[],
    clock: Clocks,
  ) => Promise<readonly (Full | null)[]>
  /** Forgets what no window holds any more, of limits and of history. @returns how many rows */
  readonly sweep: (clock: Clocks) => Promise<number>
}

/** So many calls of one operation; the last of them so long ago. Of several entries each says what the ones before do not. */
export type HistoryEntry = {
  readonly provider: string
  readonly operation: string
  readonly count: number
  /** Seconds, rounded down; half a second past a shorter span that it is not within. */
  readonly last_s: number
}
export type CallHistory = {
  /** To be given back to `add`. */
  readonly version: number
  readonly person: readonly HistoryEntry[]
  readonly run: readonly HistoryEntry[]
}
/** Of which calls: all of a person's, and those of a run of theirs. */
type HistoryOf = { readonly person: Person; readonly run: string | null }
export type HistoryStore = {
  readonly read: (of: HistoryOf, windowsS: readonly number[], clock: Clocks) => Promise<CallHistory>
  /**
   * Adds calls that were allowed by a history of this version, in one transaction.
   * false: others were added since, so that they are to be decided anew
   */
  readonly add: (
    of: HistoryOf & { readonly version: number },
    calls: readonly Pick<HistoryEntry, 'provider' | 'operation' | 'count'>[],
    windowsS: readonly number[],
    clock: Clocks,
  ) => Promise<boolean>
}

/** One notification that policy demanded. */
export type NoticeRow = {
  readonly id: string
  /** For whom the call was. */
  readonly person: Person
  /** JSON that is posted. */
  readonly body: string
  /** ms since the epoch. */
  readonly createdAt: number
  readonly expiresAt: number
}

/** Which of a SCIM user's attributes is the person's id. */
export type ScimUser = 'userName' | 'externalId' | 'id'
/** Rows of one table as their person is given them: times in ISO 8601. */
export type PersonalRows = readonly Readonly<Record<string, unknown>>[]
export type PersonKeyRow = {
  readonly id: string
  readonly person: Person
  readonly sealed: string
  /** ms since the epoch, to the day. */
  readonly usedAt: number
}

/** One connection of a person, and an agent that may use it; null: none may. */
export type HeldRow = Pick<
  CredentialRow,
  'tenant' | 'realm' | 'user' | 'connection' | 'status' | 'doubtfulSince'
> & { readonly agent: string | null }
/** null: whatever. */
export type ConnectionsPage = {
  readonly tenants: readonly string[] | null
  readonly realm: string | null
  readonly user: string | null
  /** Name of a connection or of a provider. */
  readonly at: string | null
  readonly skip: number
  readonly most: number
}
type PeoplePage = {
  readonly tenant: string | null
  readonly after: Person | null
  readonly most: number
}

export type Store = {
  readonly limits: LimitStore
  readonly history: HistoryStore
  readonly credentials: {
    readonly byId: (id: string) => Promise<CredentialRow | null>
    readonly find: (person: Person, connection: string) => Promise<readonly CredentialRow[]>
    readonly list: (filter: {
      readonly tenant?: string
      readonly realm?: string
      readonly user?: string
      readonly connection?: string
    }) => Promise<readonly CredentialRow[]>
    /** The same a page at a time, and how many there are: counted up to `count` behind the page. */
    readonly page: (
      of: ConnectionsPage & { readonly count: number },
    ) => Promise<{ readonly rows: readonly CredentialRow[]; readonly total: number }>
    /** Who has any, in order, so many at a time; `after` null: from the first on. */
    readonly owners: (after: Person | null, most: number) => Promise<readonly Person[]>
    /**
     * What the first `most` people have of whom something is stored: by tenant, realm and id, those behind `after`, of one
     * tenant (null: of all). A row for each connection and agent.
     */
    readonly people: (page: PeoplePage) => Promise<readonly HeldRow[]>
    /** The same of those up to `until` (null: the last) who have `part` in their id. Reads every id in between. */
    readonly peopleNamed: (
      page: PeoplePage & { readonly part: string; readonly until: Person | null },
    ) => Promise<readonly HeldRow[]>
    /** Who comes after so many others behind `after`; null: there are not so many. */
    readonly personAhead: (
      tenant: string | null,
      after: Person | null,
      skip: number,
    ) => Promise<Person | null>
    /**
     * Insert or replace by (tenant, realm, user, connection, slot), together with the grant, in one transaction.
     * A row of another provider account takes every earlier grant with it. false: the same row has reached this generation,
     * or `keepOther` and another account has the place.
     */
    readonly put: (row: CredentialRow, grant: GrantRow, keepOther?: boolean) => Promise<boolean>
    /** Takes the lease when nobody has a live one and the generation is still `generation`. */
    readonly lease: (
      id: string,
      generation: number,
      lease: string,
      times: LeaseTimes,
    ) => Promise<CredentialRow | null>
    /** Holds leases for `ms` from now on. @returns those that are still ours */
    readonly beat: (
      leases: readonly { readonly id: string; readonly lease: string }[],
      now: number,
      ms: number,
    ) => Promise<readonly string[]>
    /** Fenced by lease: stores the next generation and ends the lease. false: not ours any more. */
    readonly rotate: (id: string, lease: string, next: NextRow) => Promise<boolean>
    /** The same for a row that needs a new consent and has no lease: it is active again. */
    readonly revive: (id: string, next: NextRow) => Promise<boolean>
    readonly release: (
      id: string,
      lease: string,
      set: Pick<
        CredentialRow,
        | 'status'
        | 'unknownSince'
        | 'coolUntil'
        | 'coolError'
        | 'refusedSince'
        | 'refusedTimes'
        | 'doubtfulSince'
      >,
    ) => Promise<boolean>
    /** Without a lease: the grant ended (`needs_reauth`), or is doubtful from now on (`active`). false: nothing changed. */
    readonly doubt: (
      id: string,
      generation: number,
      set: Pick<CredentialRow, 'status'> & { readonly error: string; readonly now: number },
    ) => Promise<boolean>
    /** Another grant of this connection was refreshed within the last `ms`. */
    readonly renewed: (
      connection: string,
      besides: string,
      ms: number,
      now: number,
    ) => Promise<boolean>
    /** How many active credentials belong to which client. */
    readonly clients: () => Promise<
      readonly { readonly connection: string; readonly clientId: string; readonly grants: number }[]
    >
    /** Active credentials of a connection whose idle time counts from `before` or earlier, the oldest first. By an index. */
    readonly idle: (connection: string, before: number, most: number) => Promise<readonly IdleRow[]>
    /**
     * Lets their idle time count from `to`, until they are stored anew; null: they are not idle rows any more. In one
     * transaction, each fenced by what was read. @returns the ids that nobody else was quicker with
     */
    readonly putOff: (
      rows: readonly { readonly row: IdleRow; readonly to: number | null }[],
    ) => Promise<readonly string[]>
    /** Takes the grants of its person and connection along and moves the person's epoch. */
    readonly remove: (id: string) => Promise<CredentialRow | null>
  }
  readonly grants: {
    readonly find: (person: Person, agent: string, connection: string) => Promise<GrantRow | null>
    readonly list: (person: Person) => Promise<readonly GrantRow[]>
    /** What people of one tenant granted to an agent. */
    readonly to: (agent: string, tenant: string) => Promise<readonly GrantRow[]>
    /** The first `most` agents behind `after`, in their order, that people of one tenant (null: of any) allow something. */
    readonly agents: (page: {
      readonly tenant: string | null
      readonly after: string
      readonly most: number
    }) => Promise<readonly string[]>
    /** How many people allow an agent something, counted up to `most`, and at which connections. */
    readonly reach: (
      agent: string,
      tenant: string | null,
      most: number,
    ) => Promise<{ readonly people: number; readonly connections: readonly string[] }>
    /** What people allow an agent: the first `most` behind `after`, by person and connection. */
    readonly page: (page: {
      readonly agent: string
      readonly tenant: string | null
      readonly after: Pick<GrantRow, 'tenant' | 'realm' | 'user' | 'connection'> | null
      readonly most: number
    }) => Promise<readonly GrantRow[]>
    readonly put: (row: GrantRow) => Promise<void>
    readonly remove: (person: Person, agent: string, connection: string) => Promise<boolean>
    /** When grants were last used, in one transaction; never goes back. Nothing happens where there is no grant. */
    readonly touch: (uses: readonly GrantUse[]) => Promise<void>
  }
  readonly flows: {
    readonly byHash: (hash: string) => Promise<FlowRow | null>
    readonly byState: (stateHash: string) => Promise<FlowRow | null>
    /**
     * A pending, unexpired flow of the same person, agent and connection with exactly these scopes, and this challenge
     * and way back if they are given.
     */
    readonly pending: (question: Question, now: number) => Promise<FlowRow | null>
    /** How the newest flow of this person at this connection ended; null: none has. */
    readonly ended: (
      person: Person,
      connection: string,
    ) => Promise<{ readonly failure: string | null } | null>
    readonly insert: (row: FlowRow) => Promise<void>
    /** Starts the leg at the provider; replaces an earlier leg of the same flow. */
    readonly leg: (
      hash: string,
      leg: {
        readonly stateHash: string
        readonly cookieHash: string
        readonly sealedLeg: string
        readonly legExpiresAt: number
      },
    ) => Promise<boolean>
    /** Single use: clears the state, in one atomic UPDATE. false: it was used before. */
    readonly consume: (hash: string, stateHash: string) => Promise<boolean>
    /** @param at ms since the epoch */
    readonly finish: (
      hash: string,
      status: 'completed' | 'failed',
      failure: string | null,
      at: number,
    ) => Promise<boolean>
    /** The flow whose provider's answer came with this state before. */
    readonly bySpent: (stateHash: string) => Promise<FlowRow | null>
    /** Flows of a person, agent and connection that ended after `since` (ms), the last first. */
    readonly endedSince: (
      person: Person,
      agent: string,
      connection: string,
      since: number,
    ) => Promise<readonly FlowRow[]>
    readonly sweep: (before: number) => Promise<number>
    /** Keeps what a consent earned until the application confirms; ends the leg. false: the flow is not pending, or holds already. */
    readonly hold: (
      hash: string,
      held: {
        readonly confirmHash: string
        readonly held: string
        readonly sealedLeg: string | null
        readonly confirmUntil: number
      },
    ) => Promise<boolean>
    readonly byConfirm: (confirmHash: string) => Promise<FlowRow | null>
    /** Single use: clears the id to confirm, in one atomic UPDATE. What is held stays until `finish`. */
    readonly claim: (hash: string, confirmHash: string) => Promise<boolean>
    /** Pending flows whose confirmation is late. */
    readonly overdue: (now: number) => Promise<readonly FlowRow[]>
    /** Pending flows of a person. */
    readonly open: (person: Person) => Promise<readonly FlowRow[]>
    /** The newest `most` pending flows that are not over, of a tenant; null: of all. */
    readonly waiting: (
      tenant: string | null,
      now: number,
      most: number,
    ) => Promise<readonly FlowRow[]>
    /** When the newest `most` flows of a person and agent were begun, since then; ms, the newest first. */
    readonly begun: (
      person: Person,
      agent: string,
      since: number,
      most: number,
    ) => Promise<readonly number[]>
    /** Takes links that are to be sent now, each for one caller until `until`. */
    readonly notices: (now: number, until: number, most: number) => Promise<readonly FlowRow[]>
    /** What its person lets a workload do, of what they were asked. false: the flow is not pending. */
    readonly standing: (hash: string, standing: string) => Promise<boolean>
    /** When the link is to be sent (again); null: never. */
    readonly notifyAt: (hash: string, at: number | null) => Promise<void>
    readonly erase: (person: Person) => Promise<number>
  }
  readonly runs: {
    readonly insert: (row: RunRow) => Promise<void>
    readonly byHash: (tokenHash: string) => Promise<RunRow | null>
    /** The newest first. */
    readonly list: (filter: {
      readonly id?: string
      readonly tenant?: string
      readonly realm?: string
      readonly user?: string
      readonly agent?: string
      readonly most?: number
    }) => Promise<readonly RunRow[]>
    /** false: there is none, or it was revoked before. */
    readonly revoke: (id: string, at: number) => Promise<boolean>
    /** Drops runs that ended before. @returns how many */
    readonly sweep: (before: number) => Promise<number>
    readonly erase: (person: Person) => Promise<number>
  }
  /** Agents that are switched off. A change tells `agent`, with JSON of `AgentSwitched`. */
  readonly agents: {
    readonly off: () => Promise<readonly AgentOff[]>
    /** false: it was off there before. What an operator says takes the place of an owner's word. */
    readonly disable: (off: AgentOff) => Promise<boolean>
    /** false: it was not off there, or an owner cannot lift what an operator did. */
    readonly enable: (agent: string, tenant: string | null, by: AgentOff['by']) => Promise<boolean>
  }
  /** What policy has told to people (obligation `notification`). */
  readonly notices: {
    /** Once for each id. false: `most` wait for this tenant, and it is not kept. */
    readonly put: (row: NoticeRow, most: number) => Promise<boolean>
    /** Up to `most` that are due, each taken for this process until `until` (ms since the epoch). */
    readonly due: (now: number, until: number, most: number) => Promise<readonly NoticeRow[]>
    readonly later: (id: string, at: number) => Promise<void>
    /** The application has it: what it says is forgotten, and nobody sends it again. */
    readonly taken: (id: string) => Promise<void>
    /** Drops what ended before. @returns how many nobody has taken */
    readonly sweep: (before: number) => Promise<number>
  }
  readonly standings: {
    /** Takes the place of what the same person let the same workload do at the same connection. */
    readonly put: (row: StandingRow) => Promise<void>
    /**
     * Up to two people who let this workload act now, of whom all but one are too many; `user`: only those of that id.
     * By an index, however many there are.
     */
    readonly people: (
      by: Pick<StandingRow, 'workload' | 'agent'> & { readonly user: string | null },
      now: number,
    ) => Promise<readonly Person[]>
    /** What one of them lets it do now. */
    readonly of: (
      person: Person,
      by: Pick<StandingRow, 'workload' | 'agent'>,
      now: number,
    ) => Promise<readonly StandingRow[]>
    /** The newest first, with those that are over and not yet swept. */
    readonly list: (filter: {
      readonly id?: string
      readonly tenant?: string
      readonly realm?: string
      readonly user?: string
      readonly agent?: string
      readonly connection?: string
    }) => Promise<readonly StandingRow[]>
    /** Ends it earlier, never later. false: there is none, or it would not end earlier. */
    readonly shorten: (id: string, expiresAt: number, noticeAt: number) => Promise<boolean>
    /** It was used. @returns true: for the first time, said to one caller only */
    readonly touch: (id: string, at: number) => Promise<boolean>
    /** null: there was none. */
    readonly remove: (id: string) => Promise<StandingRow | null>
    /** Takes those whose end is to be told now, each for one caller until `until`. */
    readonly notices: (now: number, until: number, most: number) => Promise<readonly StandingRow[]>
    /** When its end is to be told (again); null: never. */
    readonly noticeAt: (id: string, at: number | null) => Promise<void>
    /** Drops those that ended before. @returns them */
    readonly sweep: (before: number) => Promise<readonly StandingRow[]>
  }
  /** What people are asked so that a call may pass. Open: `pending` or `given`, and not over. */
  readonly asks: {
    /** One open ask for each question. false: there is one already. */
    readonly insert: (row: AskRow) => Promise<boolean>
    readonly byHash: (hash: string) => Promise<AskRow | null>
    /** The open one of this question; else the one that let this exchange pass. */
    readonly open: (question: string, exchange: string, now: number) => Promise<AskRow | null>
    /** When it was last declined, if after `since`; null: it was not. */
    readonly declined: (question: string, since: number) => Promise<AskRow | null>
    /** Open ones, the newest first. */
    readonly list: (
      filter: {
        readonly tenant?: string
        readonly realm?: string
        readonly user?: string
        readonly agent?: string
        readonly connection?: string
        readonly most?: number
      },
      now: number,
    ) => Promise<readonly AskRow[]>
    /** When the last ones of this person and agent were made, the newest first. */
    readonly begun: (
      person: Person,
      agent: string,
      since: number,
      most: number,
    ) => Promise<readonly number[]>
    /** Writes an answer down. false: it is not open any more, or another answer came first. */
    readonly answer: (
      before: Pick<AskRow, 'hash' | 'given'>,
      after: Pick<AskRow, 'given' | 'status' | 'expiresAt'>,
      now: number,
    ) => Promise<boolean>
    /** Ends an open one. false: it had ended. */
    readonly end: (
      hash: string,
      status: 'declined' | 'cancelled' | 'used',
      at: number,
    ) => Promise<boolean>
    /** Marks the call as leaving: once for one exchange, whoever asks at the same time. false: not given, over, or spent. */
    readonly spend: (hash: string, exchange: string, now: number) => Promise<boolean>
    /** Takes those that are to be told now, each for one caller until `until`. */
    readonly notices: (now: number, until: number, most: number) => Promise<readonly AskRow[]>
    readonly noticeAt: (hash: string, at: number | null) => Promise<void>
    /** Ends those whose time is over, and drops what was made before. @returns those that ended */
    readonly sweep: (now: number, before: number) => Promise<readonly AskRow[]>
  }
  /** Sign-ins that policy asked for. */
  readonly signIns: {
    /** The newest of each `acr` stays. */
    readonly put: (row: SignInRow) => Promise<void>
    readonly of: (person: Person, agent: string, now: number) => Promise<readonly SignInRow[]>
    /** Ends those of a person, or of one agent of theirs. */
    readonly end: (person: Person, agent: string | null) => Promise<void>
    readonly sweep: (before: number) => Promise<number>
  }
  /** Sessions at the pages that were ended before their hour, by the hash of their key. */
  readonly sessions: {
    /** @param expiresAt ms since the epoch; the cookie opens no longer than that anyway */
    readonly end: (hash: string, expiresAt: number) => Promise<void>
    /** @param expiresAt of the session: all that end by a certain time may have been ended at once, or all of a person */
    readonly ended: (hash: string, expiresAt?: number, person?: Person) => Promise<boolean>
    readonly sweep: (before: number) => Promise<number>
  }
  /** Revocation epoch of a person: whatever was remembered under a lower one is void. 0 until first moved. */
  readonly epochs: {
    readonly read: (person: Person) => Promise<number>
    readonly move: (person: Person) => Promise<number>
  }
  /** What a tenant has stored, with what one person of it has (at one connection). */
  readonly stored: (
    person: Person,
    connection: string,
  ) => Promise<{
    readonly people: number
    readonly connections: number
    /** The person is one of them. */
    readonly known: boolean
    /** One of them is this person's at this connection. */
    readonly connected: boolean
  }>
  /** All that is kept of a person, by table; no token and no secret is in it. Empty: nothing is. */
  readonly kept: (
    person: Person,
    scim?: ScimUser,
  ) => Promise<Readonly<Record<string, PersonalRows>>>
  /**
   * Removes, in one transaction, what is left of a person whose accounts were disconnected: no row names them
   * afterwards, and the key by which the evidence names them is gone. Tells `person_key`, with JSON of the person's
   * three parts.
   */
  readonly erase: (
    person: Person,
    options?: {
      readonly scim?: ScimUser
      /** As the evidence had them, to be remembered as somebody who was erased; null: it did not. */
      readonly name?: string | null
      /** ms since the epoch. */
      readonly at?: number
      /** Their sessions at the pages that would end by then are over, ms since the epoch; null: they go on. */
      readonly sessionsUntil?: number | null
    },
  ) => Promise<void>
  readonly tenants: {
    /** Everybody of whom a row is kept by name, in the order of realm and id; null: from the beginning. */
    readonly people: (
      tenant: string,
      after: Pick<Person, 'realm' | 'id'> | null,
      most: number,
    ) => Promise<readonly Person[]>
    /** What is the tenant's and nobody's of its people. @returns what was there */
    readonly erase: (tenant: string) => Promise<{ readonly scim: number; readonly agents: number }>
  }
  /** Keys under which the evidence names people (`audit.user_ids: hashed`). */
  readonly personKeys: {
    readonly find: (person: Person) => Promise<PersonKeyRow | null>
    /** The first one stays: all replicas go by it. @returns it; null: they were erased at that moment */
    readonly put: (row: {
      readonly id: string
      readonly person: Person
      readonly sealed: string
      /** ms since the epoch. */
      readonly at: number
    }) => Promise<PersonKeyRow | null>
    readonly used: (id: string, at: number) => Promise<void>
    /** One that opens nothing any more. */
    readonly drop: (id: string) => Promise<void>
    /** In the order of their ids; '' is before all. */
    readonly page: (after: string, most: number) => Promise<readonly PersonKeyRow[]>
    /** When whoever had this name was erased, ms; null: nobody who is remembered. */
    readonly erasedAt: (name: string) => Promise<number | null>
    /** Drops keys that were last used before, and names that were erased before. @returns how many */
    readonly sweep: (before: number) => Promise<number>
  }
  /** People and groups that an identity provider pushed. */
  readonly scim: ScimStore
  /** Clients that deputy registered by itself (RFC 7591). */
  readonly registered: {
    /** null: none is. */
    readonly find: (id: string) => Promise<string | null>
    /** The first one stays: all replicas go by it. @param at ms since the epoch */
    readonly put: (id: string, sealed: string, at: number) => Promise<void>
  }
  /** Events that identity providers told. A new one tells `signal`, with the keys given. */
  readonly signals: {
    readonly taken: (hash: string) => Promise<boolean>
    /** false: it was taken before, and nothing is told. */
    readonly take: (signal: {
      readonly hash: string
      readonly at: number
      readonly tell: readonly string[]
    }) => Promise<boolean>
    readonly sweep: (before: number) => Promise<number>
  }
  /** Whose a session at an issuer is, by a hash of both. */
  readonly issuerSessions: {
    readonly remember: (session: {
      readonly hash: string
      readonly person: Person
      readonly at: number
    }) => Promise<void>
    /** Several where two rows of the configuration name one issuer, each with a realm of its own. */
    readonly who: (hash: string) => Promise<readonly Person[]>
    readonly sweep: (before: number) => Promise<number>
  }
  /** Every sealed text at rest, for the rotation of keys. */
  readonly sealed: {
    /** The next ones after `after`, in a fixed order; null: from the beginning. */
    readonly page: (after: SealedRow | null, limit: number) => Promise<readonly SealedRow[]>
    /** Fenced by generation and by the text that was read. false: the row changed meanwhile. */
    readonly replace: (row: SealedRow, sealed: string) => Promise<boolean>
  }
  /**
   * Tells every process on this store; heard here too. At least once, in no order, within a second. The store itself
   * publishes, with the change: `credential` (a credential or grant changed; key `ChangedKey`) and `revoked` (the same).
   */
  readonly publish: (topic: string, key: string) => Promise<void>
  /** `hear` gets the key; `*`: something may have been missed, so forget everything. Returns the end of it. */
  readonly subscribe: (topic: string, hear: (key: string) => void) => () => void
  /** Connections to a server; absent: there is none. */
  readonly connections?: () => {
    readonly busy: number
    readonly idle: number
    /** Statements that wait for one. */
    readonly waiting: number
    /** Statements that got none, or no answer in time, since the start. */
    readonly failed: number
  }
  /** For a database that came out of a copy. */
  readonly copied: {
    /** The newest time that it knows of, ms: the copy was made then or later. */
    readonly at: () => Promise<number>
    /** Links that were under way, and all sessions that end by `sessionsUntil`, are void. @returns how many links */
    readonly void: (sessionsUntil: number) => Promise<number>
  }
  readonly check: () => Promise<void>
  readonly close: () => Promise<void>
}
/** An agent that is switched off. */
export type AgentOff = {
  readonly agent: string
  /** null: for everybody. */
  readonly tenant: string | null
  /** ms since the epoch. */
  readonly at: number
  /** Who it was stands in the evidence; here nobody is named. */
  readonly by: 'owner' | 'operator'
}
export type AgentSwitched = Pick<AgentOff, 'agent' | 'tenant'> & { readonly off: boolean }
/** JSON of this; the last is the credential's id, null when only a grant changed. */
export type ChangedKey = readonly [
  tenant: string,
  realm: string,
  user: string,
  connection: string,
  credential: string | null,
  /** Of `revoked`: only this agent's grant ended. */
  agent?: string,
]
export type SealedRow = {
  readonly table: 'credentials' | 'flows' | 'oauth_clients' | 'asks' | 'person_keys'
  readonly id: string
  readonly generation: number
  readonly sealed: string
}

// --- evidence -----------------------------------------------------------------------------------

/** Appends one record; one that is not `urgent` may wait 1 ms for others. Resolves once `write` has returned without error for its line; rejects otherwise. */
export type Journal = {
  /** `fields` is the JSON text of the members after `event`, beginning with `,` or empty. */
  readonly append: (event: string, fields: string, urgent?: boolean) => Promise<void>
  readonly healthy: () => boolean
  readonly lines: () => number
  readonly close: () => Promise<void>
}

export type Log = {
  readonly debug: (fields: object, msg: string) => void
  readonly info: (fields: object, msg: string) => void
  readonly warn: (fields: object, msg: string) => void
  readonly error: (fields: object, msg: string) => void
}
