// The configuration: unknown → Config, or every problem at once with its path. Names are a contract: add, never rename.
import { z } from 'zod'
import type { Access, SourceName } from '../model.ts'
import { noProxyProblem } from '../net/no_proxy.ts'
import { secret } from '../secret.ts'
import { agentRows } from './agents.ts'
import { checks } from './checks.ts'
import { hooks } from './hooks.ts'
import { ldap } from './ldap.ts'
import { OWN_OPERATION } from './own_operations.ts'
import { policy } from './policy.ts'
import { signal } from './signals.ts'
import { tools } from './tools.ts'
import { trustDomainOf } from './workload.ts'
import {
  SIZES,
  UNITS,
  bearer,
  bearers,
  duration,
  insecure,
  listen,
  name,
  network,
  off,
  origin,
  pagesUrl,
  pointer,
  privateKey,
  secretText,
  secure,
  signingKey,
  size,
  some,
  tcp,
  text,
  url,
} from './values.ts'

const listeners = z.strictObject({
  agent: listen.default({ host: '127.0.0.1', port: 7410 }),
  agent_tls: z
    .strictObject({ listen: tcp, cert: text, key: text, client_ca: text.optional() })
    .optional(),
  admin: tcp.default({ host: '127.0.0.1', port: 7411 }),
  connect: z.union([off, tcp]).default({ host: '127.0.0.1', port: 7412 }),
  operators: tcp.optional(),
  names: z.array(text).default([]),
  origins: z.array(origin).default([]),
  trusted_proxies: z.array(network).default([]),
  extra: z.array(z.strictObject({ listen, upstream: text, user: text.optional() })).default([]),
})

const forward = z.strictObject({ listen: tcp, ca: text })

const issuer = z
  .strictObject({
    issuer: url,
    jwks_uri: url.optional(),
    jwks: text.optional(),
    realm: text.optional(),
    audience: text,
    user: pointer.default('/sub'),
    agent: pointer.default('/act/sub'),
    tenant: pointer.optional(),
    tenants: z.array(text).min(1).optional(),
    insecure,
  })
  .superRefine(secure((entry) => [entry.issuer, entry.jwks_uri]))

/** What an API server said of a token is forgotten by then: whoever was deleted does not call for longer. */
const LONGEST_CACHE = 10 * UNITS.s
const tokenReview = z
  .strictObject({
    server: url,
    ca: text.optional(),
    token: text.default('/var/run/secrets/kubernetes.io/serviceaccount/token'),
    cache: duration
      .default(0)
      .refine(
        (value) => value <= LONGEST_CACHE,
        'must be 10s or less: for so long a deleted account goes on',
      ),
    insecure,
  })
  .superRefine(secure((entry) => [entry.server]))
/** Which agent a workload is, by its own token, or by the certificate that its connection began with. */
const workload = z
  .strictObject({
    name,
    issuer: url.optional(),
    spiffe: z
      .string()
      .refine(
        (value) => trustDomainOf(value) !== null,
        'is no SPIFFE trust domain: write spiffe://corp.example',
      )
      .optional(),
    certificate: z
      .strictObject({ uri: text.optional(), dns: text.optional(), cn: text.optional() })
      .refine(
        (names) => Object.keys(names).length > 0,
        'needs one name at least: uri, dns or cn; without, every certificate of the authority would be this agent',
      )
      .optional(),
    token_review: tokenReview.optional(),
    jwks_uri: url.optional(),
    jwks: text.optional(),
    audience: text.default('deputy'),
    max_age: some(duration).optional(),
    match: z.record(pointer, text).default({}),
    agent: text,
    insecure,
  })
  .superRefine(secure((entry) => [entry.issuer, entry.jwks_uri]))

const identity = z.strictObject({
  trust: z.enum(['asserted', 'plain'], {
    error:
      'must be chosen: `asserted` (tags are signed) or `plain` (any caller of the agent listener may name any user; loopback only)',
  }),
  header: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]*$/, 'is no header name')
    .default('Deputy-User'),
  agent_header: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]*$/, 'is no header name')
    .default('Deputy-Agent'),
  agent_required: z.boolean().default(true),
  max_age: duration.default(UNITS.h),
  jwks_grace: duration.default(5 * UNITS.m),
  issuers: z.array(issuer).default([]),
  agent: text.default('agent'),
  realm: text.default('local'),
})

const ACCESS_AGE = { read: 0, write: 0, delete: 0, admin: 0 } as const satisfies Record<
  Access,
  number
>
const maxAge = z
  .strictObject({
    read: duration.default(ACCESS_AGE.read),
    write: duration.default(ACCESS_AGE.write),
    delete: duration.default(ACCESS_AGE.delete),
    admin: duration.default(ACCESS_AGE.admin),
  })
  .prefault({})

const claims = z.strictObject({
  groups: pointer.default('/groups'),
  roles: pointer.default('/roles'),
  entitlements: pointer.default('/entitlements'),
})
/** Where `entitlements.source: claims` finds them unless told. */
export const USUAL_CLAIMS = claims.parse({})

/** A directory that is asked. Which keys each preset needs is a rule (config/directory). */
const http = z
  .strictObject({
    preset: z.enum(['keycloak', 'okta', 'entra', 'google', 'none']),
    url: url.optional(),
    realm: text.optional(),
    tenant: text.optional(),
    by: z.enum(['id', 'name', 'email']).default('id'),
    people_realm: text.optional(),
    client_id: text.optional(),
    client_secret: secretText.optional(),
    client_key: privateKey.optional(),
    bearer: secretText.optional(),
    subject: text.optional(),
    token: url.optional(),
    scope: text.optional(),
    timeout: some(duration).default(5_000),
    follow: z.enum(['admin_events']).optional(),
    method: z.enum(['GET', 'POST']).optional(),
    body: z.looseObject({}).optional(),
    id: pointer.optional(),
    active: pointer.optional(),
    groups: pointer.optional(),
    roles: pointer.optional(),
    entitlements: pointer.optional(),
    manager: pointer.optional(),
    next: pointer.optional(),
    insecure,
  })
  .superRefine(secure((entry) => [entry.url, entry.token]))
export type HttpConfig = z.infer<typeof http>

/** An identity provider that pushes. Two bearers: while one is replaced by the other both are good. */
const scim = z.strictObject({
  bearer: z.union([bearer.transform((one) => [one]), z.array(bearer).min(1).max(2)]),
  trust_push: z.boolean().default(false),
  user: z.enum(['userName', 'externalId', 'id']).default('userName'),
  tenant: text.optional(),
  realm: text.optional(),
})
const entitlements = z.strictObject({
  source: z.enum(['claims', 'file', 'http', 'ldap', 'scim']).optional(),
  sources: z
    .array(z.enum(['file', 'http', 'ldap', 'scim']))
    .min(1)
    .optional(),
  file: text.optional(),
  claims: claims.optional(),
  scim: scim.optional(),
  http: http.optional(),
  ldap: ldap.optional(),
  checks,
  max_age: maxAge,
})

/** What is asked about people, in this order; `claims` and none ask nobody. */
export const sourcesOf = (
  entitlements: z.infer<typeof configSchema>['entitlements'],
): readonly SourceName[] => {
  if (entitlements === undefined) return []
  const { source, sources } = entitlements
  return sources ?? (source === undefined || source === 'claims' ? [] : [source])
}

/** The proxy for everything that goes out: what may be shown of it, and its credentials as it wants them (RFC 7617). */
const egressProxy = text.transform((value, ctx) => {
  const parsed = URL.parse(value)
  const bad =
    parsed === null || !['http:', 'https:'].includes(parsed.protocol)
      ? 'is no proxy: write http://host:port or https://host:port'
      : parsed.pathname !== '/' || parsed.search !== '' || parsed.hash !== ''
        ? 'has more than a host and a port: write http://host:port'
        : null
  if (parsed === null || bad !== null) {
    ctx.addIssue(bad ?? 'is no proxy')
    return z.NEVER
  }
  const { protocol, host, username, password } = parsed
  const origin = `${protocol}//${host}`
  try {
    const [user, word] = [decodeURIComponent(username), decodeURIComponent(password)]
    if (user === '' && word === '') return { origin, authorization: null }
    if (/[:\p{Cc}]/u.test(user) || /\p{Cc}/u.test(word)) throw new Error('no Basic credentials')
    const basic = `Basic ${Buffer.from(`${user}:${word}`).toString('base64')}`
    return { origin, authorization: secret(basic) }
  } catch {
    ctx.addIssue(
      'has a user or password that cannot be read: percent-encode what is special in them, and use no colon in the user',
    )
    return z.NEVER
  }
})
const exception = text.superRefine((value, ctx) => {
  const problem = noProxyProblem(value)
  if (problem !== null) ctx.addIssue(problem)
})

const hostMap = z.union([z.array(text), z.record(text, origin)])
const OWN =
  'must be ACCESS METHOD /path, such as `read GET /v1/reports/{id}`, or ACCESS and a root field of GraphQL'
const ownCall = text.regex(OWN_OPERATION, OWN)
const connection = z.strictObject({
  provider: text,
  client_id: text.optional(),
  client_secret: secretText.optional(),
  client_key: privateKey.optional(),
  client_cert: z.strictObject({ cert: text, key: text }).optional(),
  ca: text.optional(),
  scopes: z.array(text).default([]),
  operations: z
    .record(text, z.union([ownCall, z.array(ownCall).min(1)], { error: OWN }))
    .default({}),
  hosts: hostMap.optional(),
  issuer: url.optional(),
  authorize: url.optional(),
  token: url.optional(),
  userinfo: url.optional(),
  revoke: url.optional(),
  slot: text.optional(),
  insecure,
})

const oidcPages = z
  .strictObject({
    issuer: url,
    client_id: text,
    client_secret: secretText.optional(),
    scope: text.default('openid'),
    user: pointer.default('/sub'),
    tenant: pointer.optional(),
    realm: text.optional(),
    insecure,
  })
  .superRefine(secure((entry) => [entry.issuer]))

const connect = z.strictObject({
  url: pagesUrl.optional(),
  hold: duration.default(0),
  link_ttl: duration.default(UNITS.d),
  nag_after: duration.default(UNITS.h),
  /** Whose pages these are. */
  brand: z
    .strictObject({
      name: text,
      logo: text.optional(),
      support: text
        .refine(
          (value) => /^(?:https:|mailto:)$/.test(URL.parse(value)?.protocol ?? ''),
          'must be an address that begins with https:// or mailto:',
        )
        .optional(),
    })
    .optional(),
  return_to: z.array(origin).default([]),
  sign_in: z.union([z.literal('local'), oidcPages]).optional(),
  verifier: z.strictObject({ url, key: bearer }).optional(),
  /** The key signs; as a KeyObject it prints nothing of itself. */
  notify: z
    .strictObject({
      webhook: url,
      key: signingKey,
    })
    .optional(),
})

const operator = z.strictObject({
  name: text.refine(
    (value) => !value.startsWith('sso:'),
    'must not begin with sso: so begin the names of people who sign in',
  ),
  bearer: bearers,
  may: z.array(z.enum(['runs', 'connections', 'revoke'])).min(1),
  tenants: z.array(text).optional(),
})

/** One key of an application: a digest to compare with, and what finds it where it does not belong. */
const applicationKey = z
  .string()
  // Not as a signed tag begins.
  .regex(/^(?!eyJ|dpr_)[\w.~+/=-]{32,512}$/)
  .transform((value) => ({ digest: bearer.parse(value), key: secret(value) }))
/** A backend that names people of its own. */
const application = z.strictObject({
  name: text,
  bearer: z
    .union([applicationKey.transform((key) => [key]), z.array(applicationKey).min(1).max(2)], {
      error:
        'must be a key of 32 to 512 letters, digits and . _ ~ + / = - (make one with: openssl rand -hex 32), or a list of two at most',
    })
    .optional(),
  workload: name.optional(),
  agent: text,
  realm: text.optional(),
  tenants: z.array(text).min(1).optional(),
  people: z
    .array(text)
    .min(1, 'needs one pattern at least, such as "*@acme.example"; "*" is everybody'),
})

const operatorsSignIn = z
  .strictObject({
    issuer: url,
    client_id: text,
    scope: text.default('openid'),
    audience: text.optional(),
    roles: pointer.default('/groups'),
    user: pointer.default('/sub'),
    tenant: pointer.optional(),
    realm: text.optional(),
    max_age: some(duration).default(UNITS.h),
    break_glass: some(duration).default(UNITS.h),
    console: z.boolean().default(true),
    url: url.optional(),
    insecure,
  })
  .superRefine(secure((entry) => [entry.issuer]))

const audit = z.strictObject({
  sink: z
    .array(z.string().regex(/^(?:stdout|otlp|file:.+)$/, 'is no sink: stdout, file:PATH or otlp'))
    .min(1)
    .default(['file:audit.jsonl']),
  spool: text.optional(),
  spool_size: some(size).default(SIZES.GiB),
  fsync: z.union([z.enum(['never', 'each']), duration]).default(1_000),
  required: z.boolean().default(true),
  user_ids: z.enum(['plain', 'hashed']).default('plain'),
  inputs: z.enum(['off', 'sealed']).default('off'),
  inputs_key: text.optional(),
  rotate: z
    .union([
      z.literal('off'),
      z.strictObject({ size: some(size).optional(), every: some(duration).optional() }),
    ])
    .optional(),
  retention: some(duration).optional(),
})

const limits = z.strictObject({
  tool_result: size.default(64 * SIZES.KiB),
  drain: duration.default(30 * UNITS.s),
  drain_delay: duration.default(0),
  request_body: size.default(100 * SIZES.MiB),
  inspected_body: size.default(SIZES.MiB),
  rewritten_body: size.default(4 * SIZES.MiB),
  policy_input: size.default(32 * SIZES.KiB),
  headers: size.default(32 * SIZES.KiB),
  held_calls: z.int().min(0).default(1_000),
  held_bytes: size.default(64 * SIZES.MiB),
  hold_max: duration.default(10 * UNITS.m),
  calls: z.int().min(1).default(10_000),
  calls_per_agent: z.int().min(1).default(1_000),
})

const store = text.refine(
  (value) =>
    /^sqlite:(?!\/\/)./.test(value) || (/^postgres(?:ql)?:\/\//.test(value) && URL.canParse(value)),
  'is no store: write sqlite:PATH, or postgres://user:password@host:5432/database (percent-encode what is special in the password)',
)
/** `vault.store` as it may be shown. */
export const withoutPassword = (value: string): string => {
  if (value.startsWith('sqlite:')) return value
  const shown = new URL(value)
  if (shown.password !== '') shown.password = 'hidden'
  shown.searchParams.delete('password')
  return shown.href
}

export const configSchema = z.strictObject({
  version: z.literal(1, { error: 'must be 1' }),
  state: text.default('.'),
  listeners: listeners.prefault({}),
  identity: identity.prefault({} as z.input<typeof identity>),
  entitlements: entitlements.optional(),
  policy,
  signals: z.array(signal).default([]),
  providers: z.array(z.union([text, z.looseObject({ id: text })])).default([]),
  connections: z
    .record(name, connection)
    .refine((map) => Object.keys(map).length > 0, 'needs one connection at least'),
  vault: z.strictObject({
    store: store.default('sqlite:deputy.db'),
    keys: text,
    kms: z
      .string()
      .regex(/^exec:.+/, 'is no program: write exec:/path/of/the/program')
      .optional(),
    spool: text.default('./vault-spool'),
  }),
  connect: connect.prefault({}),
  operators: z.array(operator).default([]),
  agents: z.union([text, agentRows]).default([]),
  applications: z.array(application).default([]),
  operators_sign_in: operatorsSignIn.optional(),
  workloads: z.array(workload).default([]),
  tenants: z
    .record(
      text,
      z.strictObject({
        people: z.int().min(0).optional(),
        connections: z.int().min(0).optional(),
        calls_per_minute: z.int().min(1).optional(),
      }),
    )
    .optional(),
  runs: z
    .strictObject({ max: duration.default(UNITS.d), hold: duration.default(10 * UNITS.m) })
    .prefault({}),
  audit: audit.prefault({}),
  telemetry: z
    .strictObject({
      otlp: url.optional(),
      traces: z.number().min(0).max(1).optional(),
      headers: z.record(text, secretText).default({}),
      insecure: z.boolean().default(false),
      log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    })
    .prefault({}),
  upstream: z
    .strictObject({
      ca: text.optional(),
      proxy: egressProxy.optional(),
      no_proxy: z.array(exception).default([]),
      connect_timeout: duration.default(5_000),
      idle_timeout: duration.default(120_000),
    })
    .prefault({}),
  network: z
    .strictObject({
      allow_private: z
        .array(
          z.strictObject({
            host: text.optional(),
            net: z.string().regex(/^[0-9A-Fa-f:.]+\/\d{1,3}$/, 'is no network: write 10.1.0.0/16'),
          }),
        )
        .default([]),
    })
    .prefault({}),
  hooks,
  tools: tools.prefault({}),
  forward: forward.optional(),
  limits: limits.prefault({}),
})

export type Config = z.output<typeof configSchema>
export type ConfigConnection = Config['connections'][string]
export type IssuerConfig = Config['identity']['issuers'][number]
export type SignInConfig = z.output<typeof oidcPages>
