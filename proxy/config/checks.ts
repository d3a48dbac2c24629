// Questions to an authorization service about one very call: their keys, what goes together, and what that means.
import { z } from 'zod'
import type { CheckKind } from '../directory/checks.ts'
import type { OwnCredentials } from '../oauth/own_token.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { namesIn, readTemplate } from '../wire/template.ts'
import {
  duration,
  insecure,
  pointer,
  privateKey,
  secretText,
  secure,
  some,
  text,
} from './values.ts'

const template = text.superRefine((value, ctx) => {
  try {
    readTemplate(value)
  } catch (error) {
    ctx.addIssue(messageOf(error))
  }
})
const named = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, 'must be letters, digits, _ and -, a letter first')
/** `{` is no character of a URL: what stands in its place does not matter to its host. */
const bare = (value: string): string => value.replaceAll(/\{[^{}]*\}/g, 'x')
const address = text.refine((value) => {
  const parsed = URL.parse(bare(value))
  return parsed !== null && ['http:', 'https:'].includes(parsed.protocol) && parsed.username === ''
}, 'is no http(s) URL')

const check = z
  .strictObject({
    name: named.optional(),
    preset: z.enum(['openfga', 'none']),
    url: address,
    store: text.optional(),
    model: text.optional(),
    user: template.optional(),
    relation: template.optional(),
    object: template.optional(),
    method: z.enum(['GET', 'POST']).optional(),
    body: z.looseObject({}).optional(),
    answer: pointer.optional(),
    operations: z.array(text).min(1).default(['*']),
    bearer: secretText.optional(),
    client_id: text.optional(),
    client_secret: secretText.optional(),
    client_key: privateKey.optional(),
    token: address.optional(),
    scope: text.optional(),
    timeout: some(duration).default(2_000),
    insecure,
  })
  .superRefine(secure((entry) => [bare(entry.url), entry.token]))
export type CheckConfig = z.infer<typeof check>

/** One alone may stand without a list. */
export const checks = z
  .preprocess((value) => (isObject(value) ? [value] : value), z.array(check))
  .optional()

type Key = keyof CheckConfig
const NEEDS: Readonly<Record<CheckConfig['preset'], readonly Key[]>> = {
  openfga: ['store', 'user', 'relation', 'object'],
  none: ['name', 'answer'],
}
const TAKES: Readonly<Record<CheckConfig['preset'], readonly Key[]>> = {
  openfga: ['name', 'model'],
  none: ['method', 'body'],
}
const ALWAYS: readonly Key[] = [
  ...(['preset', 'url', 'operations', 'timeout', 'insecure'] as const),
  ...(['bearer', 'client_id', 'client_secret', 'client_key', 'token', 'scope'] as const),
]
/** `*`, `a.b.c`, `a.b.*`. */
export const OPERATION = /^(?:\*|[^.*\s]+(?:\.[^.*\s]+)*(?:\.\*)?)$/

/** What policy calls it: where nothing is said, the relation that is asked for. */
export const nameOf = ({ name, relation }: CheckConfig): string => name ?? relation ?? ''

const templates = ({ preset, url, body }: CheckConfig): readonly string[] => {
  if (preset === 'openfga')
    return /[{}]/.test(url) ? ['url: holds a {name}: with openfga it is the address alone'] : []
  const host = url.split(/[/?#]/).slice(0, 3).join('/')
  try {
    namesIn(url)
    namesIn(body)
  } catch (error) {
    return [`url: or the body: ${messageOf(error)}`]
  }
  return [
    ...(/[{}]/.test(host)
      ? ['url: a value may stand in the path or the query, and nowhere before']
      : []),
    ...(namesIn([url, body]).length === 0
      ? ['url: nothing says which call is asked about: put {id} and others into url or body']
      : []),
  ]
}
const problemsOf = (entry: CheckConfig): readonly (string | false)[] => {
  const { preset, client_id: id, client_secret: secret, client_key: key, bearer, token } = entry
  const said = (Object.keys(entry) as Key[]).filter((name) => entry[name] !== undefined)
  const known = new Set([...ALWAYS, ...NEEDS[preset], ...TAKES[preset]])
  return [
    ...NEEDS[preset].map(
      (name) => entry[name] === undefined && `${name}: the preset ${preset} needs it`,
    ),
    ...said.map(
      (name) => !known.has(name) && `${name}: is not read with the preset ${preset}: remove it`,
    ),
    nameOf(entry) !== '' &&
      !named.safeParse(nameOf(entry)).success &&
      'name: the relation is no name for policy: name the check',
    ...templates(entry),
    entry.body !== undefined && entry.method !== 'POST' && 'body: needs method: POST',
    ...entry.operations.map(
      (one) => !OPERATION.test(one) && `operations: ${one} names nothing: write a.b.c, a.b.* or *`,
    ),
    secret !== undefined &&
      key !== undefined &&
      'client_key: there is a client_secret too: keep one',
    (id === undefined) !== ((secret ?? key) === undefined) &&
      'client_id: goes with a client_secret or a client_key',
    (id === undefined) !== (token === undefined) &&
      'token: goes with a client_id: where that client gets its token',
    id !== undefined && bearer !== undefined && 'bearer: there is a client_id too: keep one',
  ]
}

/** `entitlements.checks.…: message` for everything that does not go together. */
export const checkProblems = (entries: readonly CheckConfig[]): readonly string[] =>
  entries.flatMap((entry, i) => {
    const twice = entries.findIndex((other) => nameOf(other) === nameOf(entry)) !== i
    return [
      ...problemsOf(entry),
      twice && nameOf(entry) !== '' && `name: two checks are called ${nameOf(entry)}`,
    ].flatMap((problem) => (problem === false ? [] : [`entitlements.checks.${i}.${problem}`]))
  })

/** What is asked. The configuration has kept its rules. */
export const checkKindOf = (entry: CheckConfig): CheckKind => {
  const { preset, url, store = '', model = null, user = '', relation = '', object = '' } = entry
  return preset === 'openfga'
    ? { preset, url: url.replace(/\/+$/, ''), store, model, user, relation, object }
    : {
        preset,
        url,
        method: entry.method ?? 'GET',
        body: entry.body,
        answer: entry.answer ?? '',
      }
}

export const checkCredentialsOf = (entry: CheckConfig): OwnCredentials => {
  const { bearer, client_id: id, client_secret: secret, client_key: key, token, scope } = entry
  if (bearer !== undefined) return { kind: 'bearer', scheme: 'Bearer', token: bearer }
  if (id === undefined || token === undefined) return { kind: 'none' }
  return {
    kind: 'client',
    url: token,
    auth: key === undefined ? 'client_secret_post' : 'private_key_jwt',
    id,
    secret: secret ?? null,
    key: key ?? null,
    scope: scope ?? null,
  }
}

/** Whom deputy calls for it. */
export const checkAddressesOf = ({ url, token }: CheckConfig): readonly string[] => [
  bare(url),
  ...(token === undefined ? [] : [token]),
]
