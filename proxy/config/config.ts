// The configuration: unknown → Config, or every problem at once with its path. Names are a contract: add, never rename.
import { createHash, createPrivateKey, createSecretKey } from 'node:crypto'
import { z } from 'zod'
import type { Access } from '../model.ts'
import { secret } from '../secret.ts'
import { backendRules } from './backend.ts'

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const

const unit = <T extends Record<string, number>>(units: T, what: string, example: string) =>
  z.string().transform((text, ctx) => {
    const match = /^(\d{1,12})([A-Za-z]{1,3})$/.exec(text)
    const factor =
      match?.[2] !== undefined && Object.hasOwn(units, match[2]) ? units[match[2]] : undefined
    if (match === null || factor === undefined) {
      ctx.addIssue(`is no ${what}: write a number and a unit, such as ${example}`)
      return z.NEVER
    }
    return Number(match[1]) * factor
  })
/** `30s`, `1h` → ms. */
const duration = unit(UNITS, 'duration', '30s')
/** `1MiB` → bytes. */
const size = unit(SIZES, 'size', '1MiB')

export type Listen = { readonly host: string; readonly port: number } | { readonly path: string }

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host)

const listen = z.string().transform((text, ctx): Listen => {
  if (text.startsWith('unix:') && text.length > 5) return { path: text.slice(5) }
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) {
    ctx.addIssue('is no address: write host:port such as 127.0.0.1:7410, or unix:PATH')
    return z.NEVER
  }
  return { host: match[1] ?? match[2] ?? '', port }
})
const tcp = listen.transform((address, ctx) => {
  if (!('path' in address)) return address
  ctx.addIssue('must be host:port here')
  return z.NEVER
})
const off = z.literal('off').transform(() => null)

const text = z.string().min(1, 'must not be empty')
const secretText = text.transform(secret)
/** Kept as a digest only, for comparison in constant time. */
const bearer = z
  .string()
  .min(32, 'must be 32 bytes or more')
  .transform((value) =>
    // As JSON it would still tell who holds the same bearer elsewhere.
    Object.defineProperty(createHash('sha256').update(value).digest(), 'toJSON', {
      value: () => '[redacted]',
    }),
  )

/** An http(s) URL; plain http only to loopback, or with `insecure: true` at that entry (checked by the entry). */
const url = z.string().transform((value, ctx) => {
  const parsed = URL.canParse(value) ? new URL(value) : null
  if (
    parsed === null ||
    (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') ||
    parsed.username !== ''
  ) {
    ctx.addIssue('is no http(s) URL')
    return z.NEVER
  }
  return value
})
const plainHttp = (value: string): boolean => {
  const parsed = new URL(value)
  return parsed.protocol === 'http:' && !isLoopback(parsed.hostname.replace(/^\[|\]$/g, ''))
}
const secure =
  <T extends { readonly insecure: boolean }>(pick: (entry: T) => readonly (string | undefined)[]) =>
  (entry: T, ctx: z.RefinementCtx): void => {
    for (const value of pick(entry))
      if (value !== undefined && !entry.insecure && plainHttp(value))
        ctx.addIssue(
          `${value} is plain http to another machine: use https, or say insecure: true here`,
        )
  }
const insecure = z.boolean().default(false)
const origin = url.refine(
  (value) => new URL(value).origin === value,
  'must be an origin: scheme, host and port only',
)
const pointer = z.string().regex(/^(?:\/[^/]*)*$/, 'is no JSON pointer: begin with /')
const name = z.string().regex(/^[a-z0-9][a-z0-9-]*$/, 'must match [a-z0-9][a-z0-9-]*')

const listeners = z.strictObject({
  agent: listen.default({ host: '127.0.0.1', port: 7410 }),
  agent_tls: z.strictObject({ listen: tcp, cert: text, key: text }).optional(),
  admin: tcp.default({ host: '127.0.0.1', port: 7411 }),
  connect: z.union([off, tcp]).default({ host: '127.0.0.1', port: 7412 }),
  operators: tcp.optional(),
  names: z.array(text).default([]),
  origins: z.array(origin).default([]),
  extra: z.array(z.strictObject({ listen, upstream: text, user: text.optional() })).default([]),
})

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

const identity = z.strictObject({
  trust: z.enum(['asserted', 'plain'], {
    error:
      'must be chosen: `asserted` (tags are signed) or `plain` (any caller of the agent listener may name any user; loopback only)',
  }),
  header: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]*$/, 'is no header name')
    .default('Deputy-User'),
  max_age: duration.default(UNITS.h),
  issuers: z.array(issuer).default([]),
  agent: text.default('agent'),
  realm: text.default('local'),
})

const ACCESS_AGE = { read: 30_000, write: 0, delete: 0, admin: 0 } as const satisfies Record<
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

const entitlements = z.strictObject({
  source: z.enum(['claims', 'file', 'http', 'scim']),
  file: text.optional(),
  claims: z
    .strictObject({
      groups: pointer.default('/groups'),
      roles: pointer.default('/roles'),
      entitlements: pointer.default('/entitlements'),
    })
    .prefault({}),
  scim: z.strictObject({ bearer, trust_push: z.boolean().default(false) }).optional(),
  http: z.looseObject({}).optional(),
  max_age: maxAge,
})

const policy = z.strictObject({
  bundle: text,
  data: text.optional(),
  bundle_auth: z.strictObject({ bearer: secretText }).optional(),
  verification: z.strictObject({ keys: z.record(z.string(), text) }).optional(),
  unsigned: z.boolean().default(false),
  data_unsigned: z.boolean().default(false),
  shadow: text.optional(),
})

/** A private key of our own, as JWK or PEM; what is wrong with it never quotes it. */
const privateKey = text
  .refine((value) => {
    try {
      return value.trim().startsWith('{')
        ? createPrivateKey({ key: JSON.parse(value) as Record<string, unknown>, format: 'jwk' })
            .type === 'private'
        : createPrivateKey(value).type === 'private'
    } catch {
      return false
    }
  }, 'is no private key: name a file with a private JWK or an unencrypted PEM, ${file:./client.pem}')
  .transform(secret)

const hostMap = z.union([z.array(text), z.record(text, origin)])
const connection = z.strictObject({
  provider: text,
  client_id: text.optional(),
  client_secret: secretText.optional(),
  client_key: privateKey.optional(),
  scopes: z.array(text).default([]),
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
  url: origin.optional(),
  hold: duration.default(0),
  link_ttl: duration.default(UNITS.d),
  return_to: z.array(origin).default([]),
  sign_in: z.union([z.literal('local'), oidcPages]).optional(),
  verifier: z.strictObject({ url, key: bearer }).optional(),
  /** The key signs; as a KeyObject it prints nothing of itself. */
  notify: z
    .strictObject({
      webhook: url,
      key: text.transform((value) => createSecretKey(Buffer.from(value))),
    })
    .optional(),
})

const operator = z.strictObject({
  name: text,
  bearer,
  may: z.array(z.enum(['runs', 'connections', 'revoke'])).min(1),
  tenants: z.array(text).optional(),
})

const audit = z.strictObject({
  sink: z
    .array(z.string().regex(/^(?:stdout|otlp|file:.+)$/, 'is no sink: stdout, file:PATH or otlp'))
    .min(1)
    .default(['file:audit.jsonl']),
  spool: text.optional(),
  fsync: z.union([z.enum(['never', 'each']), duration]).default(1_000),
  required: z.boolean().default(true),
  user_ids: z.enum(['plain', 'hashed']).default('plain'),
  inputs: z.enum(['off', 'sealed']).default('off'),
  retention: duration.default(400 * UNITS.d),
})

const limits = z.strictObject({
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

/** A definition of one's own; the client secret that a foreign one brings must not be printed with the rest. */
const ownProvider = z.looseObject({ id: text }).transform((entry) => {
  const { oauth2 } = entry
  if (typeof oauth2 !== 'object' || oauth2 === null || !('client_secret' in oauth2)) return entry
  const { client_secret: value } = oauth2
  return typeof value === 'string'
    ? { ...entry, oauth2: { ...oauth2, client_secret: secret(value) } }
    : entry
})

const store = text.refine(
  (value) =>
    /^sqlite:.+/.test(value) || (/^postgres(?:ql)?:\/\//.test(value) && URL.canParse(value)),
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
  listeners: listeners.prefault({}),
  identity: identity.prefault({} as z.input<typeof identity>),
  entitlements: entitlements.optional(),
  policy,
  signals: z.array(z.looseObject({})).default([]),
  providers: z.array(z.union([text, ownProvider])).default([]),
  connections: z
    .record(name, connection)
    .refine((map) => Object.keys(map).length > 0, 'needs one connection at least'),
  vault: z.strictObject({ store: store.default('sqlite:deputy.db'), keys: text }),
  connect: connect.prefault({}),
  operators: z.array(operator).default([]),
  runs: z.strictObject({ max: duration.default(UNITS.d) }).prefault({}),
  audit: audit.prefault({}),
  telemetry: z
    .strictObject({
      otlp: url.optional(),
      log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    })
    .prefault({}),
  upstream: z
    .strictObject({
      ca: text.optional(),
      proxy: url.optional(),
      no_proxy: z.array(text).default([]),
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
  limits: limits.prefault({}),
})

export type Config = z.output<typeof configSchema>
export type ConfigConnection = Config['connections'][string]
export type IssuerConfig = Config['identity']['issuers'][number]
export type SignInConfig = z.output<typeof oidcPages>

/** What no single value can tell: rules between values. Each returns `path: message`. */
const between = (config: Config): readonly string[] => {
  const problems: string[] = []
  const { identity, listeners, entitlements, connect, audit } = config
  const open = (address: Listen): boolean => !('path' in address) && !isLoopback(address.host)
  const agentSide = [
    ['listeners.agent', listeners.agent] as const,
    ...(listeners.agent_tls === undefined
      ? []
      : [['listeners.agent_tls.listen', listeners.agent_tls.listen] as const]),
    ...listeners.extra.map((extra, i) => [`listeners.extra.${i}.listen`, extra.listen] as const),
  ]
  if (identity.trust === 'plain')
    for (const [path, address] of agentSide)
      if (open(address))
        problems.push(
          `${path}: identity.trust is plain, so anybody who reaches this address may name any user: listen on loopback, or use identity.trust: asserted`,
        )
  if (identity.trust === 'asserted') {
    if (identity.issuers.length === 0)
      problems.push('identity.issuers: identity.trust is asserted, which needs one issuer at least')
    listeners.extra.forEach((extra, i) => {
      if (extra.user !== undefined)
        problems.push(
          `listeners.extra.${i}.user: a name on a listener is unsigned: allowed only under identity.trust: plain`,
        )
    })
  }
  identity.issuers.forEach((issuer, i) => {
    if (issuer.jwks !== undefined && issuer.jwks_uri !== undefined)
      problems.push(`identity.issuers.${i}: has both jwks and jwks_uri: keep one`)
    if (issuer.tenants !== undefined && issuer.tenant === undefined)
      problems.push(
        `identity.issuers.${i}.tenant: tenants are listed, but no pointer says where the assertion names its tenant`,
      )
    if (issuer.tenant !== undefined && issuer.tenants === undefined)
      problems.push(
        `identity.issuers.${i}.tenants: an issuer may speak only for the tenants that are listed: list them`,
      )
  })
  if (entitlements?.source === 'file' && entitlements.file === undefined)
    problems.push('entitlements.file: entitlements.source is file, but no file is named')
  if (entitlements?.source === 'claims') {
    if (identity.trust === 'plain')
      problems.push('entitlements.source: claims need identity.trust: asserted')
    for (const access of ['read', 'write', 'delete', 'admin'] as const)
      if (entitlements.max_age[access] === 0)
        problems.push(
          `entitlements.max_age.${access}: is 0s, but claims are as old as their assertion: name an age, such as 5m`,
        )
  }
  if (connect.sign_in === 'local') {
    if (identity.trust !== 'plain')
      problems.push('connect.sign_in: local is for a laptop: it needs identity.trust: plain')
    const addresses = [...agentSide, ['listeners.connect', listeners.connect] as const]
    for (const [path, address] of addresses)
      if (address !== null && open(address))
        problems.push(`${path}: connect.sign_in is local, so everything must listen on loopback`)
  }
  if (connect.url !== undefined && plainHttp(connect.url))
    problems.push(`connect.url: ${connect.url} is plain http to another machine: use https`)
  if (listeners.connect === null && connect.url === undefined)
    problems.push(
      'connect.url: listeners.connect is off, so say where the pages are that people are sent to',
    )
  if (listeners.connect !== null && connect.sign_in === undefined && connect.verifier === undefined)
    problems.push(
      'connect.sign_in: the pages must know who is there: name your OpenID provider, or say local on a laptop',
    )
  if (audit.required && audit.spool === undefined && !audit.sink.some((sink) => sink !== 'otlp'))
    problems.push(
      'audit.spool: audit.required is true and no sink is a file or stdout: name a spool folder',
    )
  if (
    config.operators.length > 0 &&
    listeners.connect !== null &&
    open(listeners.connect) &&
    listeners.operators === undefined
  )
    problems.push(
      'listeners.operators: the connect listener is not on loopback, so the operators’ API needs an address of its own',
    )
  problems.push(...backendRules(config, plainHttp))
  for (const unsigned of config.policy.bundle.startsWith('https:') ? [config.policy] : [])
    if (unsigned.verification === undefined && !unsigned.unsigned)
      problems.push(
        'policy.verification: a bundle from a URL must be verified: name the keys, or say unsigned: true',
      )
  return problems
}

/** Parts of the contract that this version does not carry out: refused, never ignored. */
const notBuilt = (config: Config): readonly string[] => {
  const no = (path: string, what: string) =>
    `${path}: ${what} is not built in this version of deputy: remove it`
  return [
    ...(config.entitlements?.source === 'http' || config.entitlements?.source === 'scim'
      ? [no('entitlements.source', config.entitlements.source)]
      : []),
    ...(config.policy.bundle.startsWith('https:') || config.policy.bundle.startsWith('http:')
      ? [no('policy.bundle', 'a bundle service')]
      : []),
    ...(config.policy.verification === undefined
      ? []
      : [no('policy.verification', 'bundle signing')]),
    ...(config.policy.shadow === undefined ? [] : [no('policy.shadow', 'a shadow bundle')]),
    ...(config.signals.length === 0 ? [] : [no('signals', 'Shared Signals')]),
    ...(config.audit.sink.includes('otlp') ? [no('audit.sink', 'otlp')] : []),
    ...(config.audit.spool === undefined ? [] : [no('audit.spool', 'the spool')]),
    ...(config.audit.inputs === 'off' ? [] : [no('audit.inputs', 'sealed inputs')]),
    ...(config.telemetry.otlp === undefined ? [] : [no('telemetry.otlp', 'OTLP export')]),
    ...(config.upstream.proxy === undefined ? [] : [no('upstream.proxy', 'an egress proxy')]),
  ]
}

type Issue = z.core.$ZodIssue

/** zod's own words say little to somebody who writes YAML. */
const said = (issue: Issue): readonly string[] => {
  const at = (path: readonly PropertyKey[]): string => path.map(String).join('.') || 'configuration'
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => `${at([...issue.path, key])}: is no key that deputy knows`)
  if (issue.code === 'invalid_key')
    return [`${at(issue.path)}: ${issue.issues[0]?.message ?? 'is no valid name'}`]
  if (issue.code !== 'invalid_type') return [`${at(issue.path)}: ${issue.message}`]
  const wanted = issue.expected === 'object' ? 'keys and values' : issue.expected
  return [
    issue.message.endsWith('received undefined')
      ? `${at(issue.path)}: is missing`
      : `${at(issue.path)}: must be ${wanted === 'string' ? 'a text (durations and sizes carry a unit, such as 10s)' : wanted === 'array' ? 'a list' : wanted}`,
  ]
}

type Tree = Record<PropertyKey, unknown>
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null

/** What stands in for a value that is required and missing, so that everything else can still be judged. */
const STAND_IN: readonly (readonly [path: readonly string[], value: unknown])[] = [
  [['version'], 1],
  [['identity', 'trust'], 'plain'],
  [['policy', 'bundle'], 'missing'],
  [['vault', 'keys'], 'missing'],
  [['connections'], { missing: { provider: 'missing' } }],
]

/** The configuration without what is wrong in it: only to find further problems, never to serve. null: nothing is left. */
const salvage = (raw: unknown, issues: readonly Issue[]): Config | null => {
  if (!isTree(raw)) return null
  const copy = structuredClone(raw)
  const parentOf = (path: readonly PropertyKey[], make: boolean): Tree | null => {
    let at: Tree = copy
    for (const key of path.slice(0, -1)) {
      if (!isTree(at[key]) && make) at[key] = {}
      const next = at[key]
      if (!isTree(next)) return null
      at = next
    }
    return at
  }
  const drop = (path: readonly PropertyKey[]): void => {
    const last = path.at(-1)
    const parent = parentOf(path, false)
    if (last === undefined || parent === null) return
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else delete parent[last]
  }
  let wrong = issues
  // A list or entry that lost a required part goes as a whole, in the next turn.
  for (let turn = 0; turn < 5; turn++) {
    for (const issue of wrong.toReversed()) {
      const { path } = issue
      if (issue.code === 'unrecognized_keys') for (const key of issue.keys) drop([...path, key])
      else if (turn > 0 && issue.message.includes('undefined')) drop(path.slice(0, -1))
      else drop(path)
    }
    for (const [path, value] of STAND_IN) {
      const parent = parentOf(path, true)
      const last = path.at(-1) ?? ''
      if (parent !== null && parent[last] === undefined) parent[last] = value
    }
    const parsed = configSchema.safeParse(copy)
    if (parsed.success) return parsed.data
    wrong = parsed.error.issues
  }
  return null
}

/**
 * @returns the configuration, or every problem as `path: message`; `rest` is what could be read all the same, to look for
 * further problems in what it names. Pure.
 */
export const parseConfig = (
  raw: unknown,
):
  | { readonly config: Config }
  | { readonly problems: readonly string[]; readonly rest: Config | null } => {
  const parsed = configSchema.safeParse(raw)
  if (parsed.success) {
    const problems = [...between(parsed.data), ...notBuilt(parsed.data)]
    return problems.length > 0 ? { problems, rest: parsed.data } : { config: parsed.data }
  }
  const { issues } = parsed.error
  const rest = salvage(raw, issues)
  const first = issues.flatMap(said)
  const more = rest === null ? [] : [...between(rest), ...notBuilt(rest)]
  // What follows only from a missing or removed value is no problem of its own.
  const wrong = first.map((problem) => problem.slice(0, problem.indexOf(':')))
  const own = more.filter((problem) => !wrong.some((path) => problem.startsWith(path)))
  return { problems: [...first, ...own], rest }
}

/** JSON Schema (draft 2020-12) of what people write. */
export const configJsonSchema = (): object =>
  z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
