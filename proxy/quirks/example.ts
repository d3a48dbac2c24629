// What a provider's own documentation shows (`example:` of a definition): the shape of its answers and how it behaves.
// The scripted provider plays it, so a definition is held against the vendor's words and not against itself.
import { z } from 'zod'
import { clientAuth, explain, reporter } from '../providers/definition.ts'
import type { Json, Provider } from '../model.ts'

const template = z.record(z.string(), z.json())
const words = z.array(z.string().min(1))
const reply = z.strictObject({
  status: z.int().default(200),
  body: template.optional(),
})

const exampleSchema = z.strictObject({
  /** Templates: `{access_token}`, `{refresh_token}`, `{expires_in}`, `{scope}`, `{scopes}`, `{account}`, `{tenant}`, `{label}`, `{host}`… */
  token: template,
  /** Where tokens of two kinds come in one answer. */
  both: template.optional(),
  refresh: template.optional(),
  userinfo: template.optional(),
  userinfo_method: z.enum(['GET', 'POST']).default('GET'),
  introspect: template.optional(),
  error: template.default({ error: '{error}' }),
  error_status: z.int().default(400),
  /** Words for a grant that is gone, for a client that is refused, and for a person who must do something. */
  dead: words.default(['invalid_grant']),
  client: words.default(['invalid_client']),
  step: z.string().optional(),
  client_auth: z.array(clientAuth).default([...clientAuth.options]),
  pkce: z.enum(['required', 'optional', 'ignored']).default('optional'),
  scope_param: z.string().default('scope'),
  scope_separator: z.string().default(' '),
  answer_separator: z.string().default(' '),
  scope_prefix: z.string().default(''),
  expires_in: z.int().positive().default(3600),
  rotates: z.boolean().default(false),
  /** What a refresh token does that was used before, where refreshing gives a new one. */
  reuse: z.enum(['works', 'dead', 'kills']).default('works'),
  access_dies: z.boolean().default(false),
  revoke: reply
    .extend({
      style: z.enum(['rfc7009', 'bearer', 'github', 'linear']).default('rfc7009'),
      dead: reply.default({ status: 400, body: { error: 'invalid_token' } }),
    })
    .optional(),
  /** `Authorization: Bearer {token}`: how its documentation shows a call; absent: in any header. */
  present: z.string().optional(),
  host: z.string().optional(),
  other_host: z.string().optional(),
})
export type Example = z.output<typeof exampleSchema>

/** Puts a value where a pointer leads; lists become objects with numbers, which no pointer of a definition minds. */
const put = (root: Record<string, Json>, pointer: string, value: Json): void => {
  const parts = pointer.split('/').slice(1)
  let here = root
  for (const part of parts.slice(0, -1)) {
    const next = Object.hasOwn(here, part) ? here[part] : undefined
    const inner = typeof next === 'object' && next !== null ? (next as Record<string, Json>) : {}
    here[part] = inner
    here = inner
  }
  here[parts.at(-1) ?? ''] = value
}

/** RFC 6749 5.1, and an account where the definition looks for one: what a provider without an example is taken to do. */
const plain = (provider: Provider): Record<string, unknown> => {
  const answer: Record<string, Json> = {
    access_token: '{access_token}',
    token_type: 'Bearer',
    expires_in: '{expires_in}',
    scope: '{scope}',
  }
  if (provider.refresh !== null && provider.rotation !== 'n/a')
    answer['refresh_token'] = '{refresh_token}'
  const about: Record<string, Json> = provider.account?.from === 'token' ? answer : {}
  const { account, hostFromToken } = provider
  if (account !== null) {
    const parts = typeof account.id === 'string' ? [account.id] : account.id
    parts.forEach((part, i) =>
      put(about, [part].flat()[0] ?? '', i === parts.length - 1 ? '{account}' : '{tenant}'),
    )
    const label = [account.label].flat()[0]
    if (label !== undefined && !parts.flat().includes(label)) put(about, label, '{label}')
  }
  if (hostFromToken) put(answer, hostFromToken.pointer, 'https://{host}')
  const suffix = hostFromToken?.suffixes[0] ?? ''
  return {
    token: answer,
    ...(account?.from === 'userinfo' ? { userinfo: about } : {}),
    ...(provider.introspect
      ? {
          introspect: {
            active: true,
            scope: '{scope}',
            ...(account?.from === 'introspect' ? about : {}),
          },
        }
      : {}),
    userinfo_method: provider.userinfoBody ? 'POST' : 'GET',
    scope_param: provider.scopeParam ?? 'scope',
    scope_separator: provider.scopeSeparator,
    answer_separator: provider.answer.scopeSeparator,
    client_auth: [provider.clientAuth],
    rotates: provider.rotation === 'always',
    reuse: provider.lostResponse === 'yes' ? 'works' : 'dead',
    ...(provider.revoke === null || provider.revokeStyle === 'none'
      ? {}
      : { revoke: { style: provider.revokeStyle } }),
    ...(suffix === '' ? {} : { host: `acme${suffix}`, other_host: `globex${suffix}` }),
  }
}

/** The example of a definition over what is plain, or what is wrong in it. */
export const exampleOf = (
  provider: Provider,
): { readonly example: Example } | { readonly problems: readonly string[] } => {
  const parsed = exampleSchema.safeParse({ ...plain(provider), ...provider.example })
  if (parsed.success) return { example: parsed.data }
  const problems: string[] = []
  explain(parsed.error, reporter(problems, provider.id), ['example'])
  return { problems }
}

/** undefined: the member is left out. */
export type Values = Readonly<Record<string, Json | undefined>>

const asText = (value: Json | undefined): string =>
  typeof value === 'string' ? value : JSON.stringify(value ?? '')

/** A template with its `{names}` filled in: a text that is nothing but a name becomes the value itself. */
export const render = (value: Json, values: Values): Json | undefined => {
  if (typeof value === 'string') {
    const whole = /^\{(\w+)\}$/.exec(value)?.[1]
    if (whole !== undefined && Object.hasOwn(values, whole)) return values[whole]
    return value.replaceAll(/\{(\w+)\}/g, (found, name: string) =>
      Object.hasOwn(values, name) ? asText(values[name]) : found,
    )
  }
  if (Array.isArray(value)) return value.map((item: Json) => render(item, values) ?? null)
  if (typeof value !== 'object' || value === null) return value
  const filled = Object.entries(value).map(([key, item]) => [key, render(item, values)] as const)
  return Object.fromEntries(
    filled.filter((entry): entry is [string, Json] => entry[1] !== undefined),
  )
}

/** Where in a body a value stands, as a pointer; null: nowhere. */
export const pointerTo = (body: Json, wanted: Json, at = ''): string | null => {
  if (JSON.stringify(body) === JSON.stringify(wanted)) return at
  if (typeof body !== 'object' || body === null) return null
  for (const [key, item] of Object.entries(body)) {
    const found = pointerTo(item, wanted, `${at}/${key}`)
    if (found !== null) return found
  }
  return null
}
