// The schema of a provider definition, and how a problem in such a file is written down.
import { z } from 'zod'
import type { EnvelopeFormat } from '../model.ts'
import { meant } from '../mistakes.ts'
import { isObject } from '../wire/json.ts'
import { mcpLists } from './mcp.ts'
import { pointer, pointers } from './pointers.ts'

export type Report = (path: string, what: string) => void
export type Fields = { readonly [key: string]: unknown }

/** Keys and values come from files: a problem must not be able to write to a terminal. */
const plain = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`)
export const reporter =
  (problems: string[], where: string): Report =>
  (path, what) =>
    void problems.push(plain(`${where}: ${path === '' ? '' : `${path}: `}${what}`))

/** What a type is called in a file, and how it is written there. */
const WRITTEN: Readonly<Record<string, string>> = {
  string: 'a text',
  boolean: 'true or false, without quotes',
  number: 'a number',
  int: 'a whole number',
  array: 'a list, such as [a, b]',
  object: 'keys and values, such as { key: value }',
  record: 'keys and values, such as { key: value }',
}
const told = (issue: z.core.$ZodIssue): string => {
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`
  if (issue.code !== 'invalid_type') return issue.message
  return issue.message.endsWith('received undefined')
    ? 'is missing'
    : `must be ${WRITTEN[issue.expected] ?? issue.expected}`
}

export const explain = (
  error: z.ZodError,
  report: Report,
  prefix: readonly PropertyKey[] = [],
): void => {
  for (const issue of error.issues) {
    const path = [...prefix, ...issue.path].map(String)
    if (issue.code === 'unrecognized_keys')
      for (const key of issue.keys) report([...path, key].join('.'), `unknown key${nearest(key)}`)
    else if (issue.code === 'invalid_key')
      report(path.join('.'), issue.issues[0]?.message ?? 'invalid key')
    else report(path.join('.'), told(issue))
  }
}

/** Every key that a definition can have, wherever it stands. */
const keysIn = (schema: unknown): readonly string[] => {
  if (typeof schema !== 'object' || schema === null) return []
  const own = 'properties' in schema && isObject(schema.properties) ? schema.properties : {}
  return [...Object.keys(own), ...Object.values(schema).flatMap(keysIn)]
}
const nearest = (key: string): string => {
  const known = new Set(keysIn(z.toJSONSchema(definition, { io: 'input', unrepresentable: 'any' })))
  // A known one that stands in the wrong place is no slip of the pen.
  return known.has(key) ? '' : meant(key, known)
}

/**
 * `Authorization: Bearer {token}` → header, scheme; `Authorization: Basic base64({token}:)` → also what stands before or
 * behind the token in the pair of RFC 7617.
 */
export const PRESENT =
  /^([\w!#$%&'*+.^`|~-]+): (?:([\w!#$%&'*+.^`|~-]+) )?(?:\{token\}|base64\((?:([\w.@-]*:)\{token\}|\{token\}(:[\w.@-]*))\))$/

export const line = z
  .string()
  .min(1)
  .max(1000)
  .regex(/^\P{Cc}*$/u, 'must hold no control characters')
/** Where an answer holds a value: a pointer, or a claim of the JWT at a pointer. */
const places = z
  .array(
    z.union([pointer, z.strictObject({ jwt: pointer, claim: pointer })], {
      error: 'must be a JSON pointer, or { jwt, claim } of two',
    }),
  )
  .max(100)
const link = z.string().max(2000).nullable().default(null)
const headerName = z
  .string()
  .max(200)
  .regex(/^[\w!#$%&'*+.^`|~-]+$/, 'must be a header name')
const names = z.array(line).max(200)
const params = z.record(line, line).default({})
const hostList = z.union([z.array(z.string()).max(1000), z.record(z.string(), z.string())], {
  error: 'must be a list of host names, or a map from host name to origin',
})
export type HostList = readonly string[] | Readonly<Record<string, string>>
/** What a token answer looks like; `refresh.answer` says it again where a refresh looks different. */
const answer = z.strictObject({
  access_token: pointers.default(['/access_token']),
  refresh_token: pointers.default(['/refresh_token']),
  scope: places.default(['/scope']),
  expires_in: places.default(['/expires_in', '/expires_at']),
  scope_separator: z.string().min(1).max(3).optional(),
  scope_prefix: line.optional(),
  only_if: z.record(pointer, line).default({}),
  zero_is_never: z.boolean().default(false),
  errors: params,
})
export type AnswerDefinition = z.output<typeof answer>

export const clientAuth = z.enum([
  'client_secret_post',
  'client_secret_basic',
  'raw_basic',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
  'none',
])
/** By the certificate of the connection (RFC 8705 2): only the client's id is in the request. */
export const byCertificate = (method: string): boolean => method.endsWith('tls_client_auth')
const REVOKE_STYLES = ['rfc7009', 'bearer', 'github', 'linear'] as const
const scope = z
  .strictObject({
    param: line.default('scope'),
    separator: z.string().min(1).max(3).default(' '),
    always: names.default([]),
    whole: z.boolean().default(false),
    known: names.optional(),
    implies: z.record(line, names).default({}),
    aliases: z.record(line, line).default({}),
    repeat: z.array(z.enum(['token', 'refresh'])).default([]),
  })
  .nullable()
const account = z
  .strictObject({
    from: z.enum(['userinfo', 'token', 'introspect']).default('userinfo'),
    id: z.union([pointer, z.array(z.union([pointer, pointers.min(1)])).min(1)], {
      error: 'must be a JSON pointer, or a list of the parts that make the id together',
    }),
    label: z.union([pointer, pointers.min(1)]).optional(),
  })
  .nullable()
const refresh = z
  .strictObject({
    url: link,
    client_auth: z.union([clientAuth, z.literal('bearer')]).optional(),
    params: z.record(line, line).optional(),
    answer: answer.optional(),
  })
  .nullable()
const userinfo = z
  .union([
    z.null(),
    z.string().max(2000),
    z.strictObject({ url: z.string().max(2000), post: z.record(z.string(), z.unknown()) }),
  ])
  .default(null)
/** What one kind of token changes of the definition. */
const slot = z.strictObject({
  scope: z.unknown(),
  account: z.unknown(),
  answer: z.unknown(),
  refresh: z.unknown(),
  userinfo: z.unknown(),
  example: z.unknown(),
})

const ERROR_WORDS = ['detail', 'code', 'CODE', 'status', 'grpc', 'type', 'title', 'instance']
/** Is there a text in it that shows `detail`? Without one a person would never read our sentence. */
const showsDetail = (template: unknown): boolean =>
  typeof template === 'string'
    ? template.includes('{detail}')
    : typeof template === 'object' && template !== null && Object.values(template).some(showsDetail)
/** The vendor's error shape: any JSON whose texts may hold {detail} and the other words. */
const errors = z
  .union([z.record(z.string(), z.json()), z.array(z.record(z.string(), z.json())).min(1).max(5)], {
    error:
      'must be the JSON that the vendor answers an error with, such as { message: "{detail}" }',
  })
  .refine(showsDetail, 'must have a text with {detail}, which clients show')
  .refine(
    (shape) =>
      [...JSON.stringify(shape).matchAll(/\{(\w+)\}/g)].every(([, word = '']) =>
        ERROR_WORDS.includes(word),
      ),
    `may hold ${ERROR_WORDS.map((word) => `{${word}}`).join(', ')} and no other {word}`,
  )
const pathPrefix = z
  .string()
  .max(200)
  .regex(/^(?:\/[\w.~-]+)+$/, 'must be a path such as /api/v3')

/** How the calls in a batch are written (proxy/envelope). */
const ENVELOPES = [
  'graph_batch',
  'multipart_batch',
  'salesforce_composite',
  'salesforce_batch',
  'salesforce_graph',
  'salesforce_records',
  'salesforce_tree',
] as const satisfies readonly EnvelopeFormat[]

const providerId = z.string().regex(/^[a-z0-9][a-z0-9_.-]{0,63}$/, 'may hold a-z, 0-9, _, . and -')
/** `providers/<id>.yaml`; what a schema cannot say is checked by `parseProvider`. */
export const definition = z.strictObject({
  id: providerId,
  name: line.optional(),
  extends: providerId.optional(),
  source: z.array(line).optional(),
  insecure: z.boolean().default(false),
  kind: z.enum(['api', 'mcp']).default('api'),
  url: link,
  ...mcpLists,
  credential: z.enum(['oauth2', 'api_key']).default('oauth2'),
  issuer: link,
  authorize: link,
  token: link,
  userinfo,
  introspect: z
    .strictObject({
      url: z.string().max(2000),
      auth: z.enum(['client', 'bearer']).default('client'),
      at: z
        .array(z.enum(['grant', 'refresh']))
        .min(1)
        .default(['grant']),
      scope: places.default(['/scope']),
      expires_in: places.default([]),
    })
    .nullable()
    .default(null),
  par: link,
  resource: z.array(z.string().max(2000)).max(20).default([]),
  revoke: z
    .union(
      [
        z.null(),
        z.string().max(2000),
        z.strictObject({
          url: z.string().max(2000),
          style: z.enum(REVOKE_STYLES).default('rfc7009'),
          access_outlives: z.boolean().default(false),
        }),
      ],
      { error: `must be a URL, or { url, style: ${REVOKE_STYLES.join(' | ')} }` },
    )
    .default(null),
  client_auth: clientAuth.default('client_secret_basic'),
  assertion_audience: line.default('issuer'),
  token_format: z.enum(['form', 'json']).default('form'),
  pkce: z.boolean().default(true),
  scope: scope.prefault({}),
  scopes: z.record(line, line).default({}),
  authorize_params: params,
  token_params: params,
  account: account.default(null),
  answer: answer.prefault({}),
  refresh: refresh.optional(),
  rotation: z.enum(['none', 'always', 'sometimes', 'n/a']).default('sometimes'),
  lost_response: z.enum(['yes', 'partly', 'no', 'unknown', 'n/a']).default('unknown'),
  access_token_ttl: z.int().positive().nullable().default(null),
  refresh_idle_days: z.int().positive().nullable().default(null),
  slot: line.optional(),
  slots: z.record(line, slot.partial()).optional(),
  host_from_token: z
    .strictObject({
      pointer: pointer.default('/instance_url'),
      suffixes: z
        .array(
          z
            .string()
            .max(200)
            .regex(/^(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?){2,}$/, 'must read .example.com'),
        )
        .min(1),
    })
    .nullable()
    .default(null),
  hosts: hostList.optional(),
  assets: hostList.default([]),
  http2: z.boolean().default(false),
  present: z
    .string()
    .regex(
      PRESENT,
      'must read `Header: Scheme {token}`, `Header: {token}` or `Authorization: Basic base64({token}:)`',
    )
    .default('Authorization: Bearer {token}'),
  required_headers: z.record(headerName, line).default({}),
  strip: z
    .strictObject({
      headers: z.array(headerName).max(200).default([]),
      query: names.default([]),
      body: names.default([]),
      provided: names.default([]),
      pass: names.default([]),
    })
    .prefault({}),
  names: z.enum(['exact', 'insensitive']).default('exact'),
  spellings: z.array(line).max(200).default([]),
  unauthorized: z
    .strictObject({ pointer, values: names.min(1) })
    .nullable()
    .default(null),
  rewrite: pointers.default([]),
  errors: errors.optional(),
  trailing_slash: z.enum(['ignored', 'significant']).default('significant'),
  prefixes: z.record(pathPrefix, z.union([z.literal(''), pathPrefix])).default({}),
  secret_segments: names.default([]),
  envelopes: z
    .array(
      z.strictObject({
        call: z
          .string()
          .max(500)
          .regex(
            /^(?:POST|PATCH) (?:\/(?:[\w.~$@-]+|\{\w+\}))+$/,
            'must be `POST /path` or `PATCH /path`, each segment a literal or one {name}',
          ),
        holds: z.enum(ENVELOPES),
        host: z.string().nullable().default(null),
        rewrite: pointers.default([]),
      }),
    )
    .max(50)
    .default([]),
  operations: z
    .union([
      z.string().regex(/^[\w.-]{1,100}\.(?:ya?ml|json)$/, 'must be a file name in the same folder'),
      z.array(z.unknown()),
    ])
    .default([]),
  catalogue: z
    .string()
    .regex(/^[\w-]{1,100}\.catalogue\.json$/, 'must be a NAME.catalogue.json in the same folder')
    .optional(),
  example: z.record(z.string(), z.unknown()).optional(),
})

export type Definition = z.output<typeof definition>

export const HOST =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+$/
const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/

/** null, or what is wrong with an address: https, or plain http to loopback (or where `insecure` says so). */
export const urlProblem = (text: string, insecure: boolean): string | null => {
  const url = URL.parse(text)
  if (url === null) return 'must be an absolute URL'
  if (url.username !== '' || url.password !== '' || url.hash !== '')
    return 'must have no user, password or fragment'
  if (url.protocol === 'https:') return null
  if (url.protocol !== 'http:') return 'must begin with https://'
  return insecure || LOOPBACK.test(url.hostname)
    ? null
    : 'plain http goes to loopback only; `insecure: true` in this definition allows it'
}

/** Host names and the origins where they are reached; `https://<name>` where the file gives only names. */
export const readHosts = (
  hosts: HostList,
  insecure: boolean,
  report: Report,
): Map<string, string> => {
  const found = new Map<string, string>()
  const pairs = Array.isArray(hosts)
    ? hosts.map((name, i) => [String(i), name, `https://${name}`] as const)
    : Object.entries(hosts).map(([name, origin]) => [name, name, origin] as const)
  for (const [key, name, origin] of pairs) {
    const url = URL.parse(origin)
    if (!HOST.test(name))
      report(key, `${name} is not a host name: lower case, at least one dot, no port`)
    else if (found.has(name)) report(key, `${name} is named twice`)
    else if (url === null || url.origin !== origin.replace(/\/$/, ''))
      report(key, `${origin} is not an origin: scheme, host and port, without a path`)
    else {
      const problem = urlProblem(origin, insecure)
      if (problem === null) found.set(name, url.origin)
      else report(key, `${origin}: ${problem}`)
    }
  }
  return found
}
