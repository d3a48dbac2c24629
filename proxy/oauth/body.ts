// Reads the bodies that a provider sends, and finds values in them. Pure: what an answer means is
// decided elsewhere.
import type { AccountRules, HostFromToken, Place } from '../model.ts'
import { atPointer, isObject, readStrict } from '../wire/json.ts'

/** What came over the wire. `body` is null when it was too large or broke off. */
export type RawAnswer = {
  readonly status: number
  readonly headers: { readonly get: (name: string) => string | null }
  readonly body: string | null
}
export type Account = { readonly id: string; readonly label: string }
export type Fields = Readonly<Record<string, unknown>>

const FORM = 'application/x-www-form-urlencoded'

/** A JSON body, or a form-encoded one; null when it is neither. Large numbers stay exact, as text. */
export const parseBody = ({ body, headers }: RawAnswer): Fields | null => {
  if (body === null) return null
  const value = parseJson(body)
  if (value !== undefined) return isObject(value) ? value : null
  const form = headers.get('content-type')?.startsWith(FORM) ?? false
  if (!form && !/^[\w.-]+=[^\s<>"&]*(?:&[\w.-]+=[^\s<>"&]*)*$/.test(body.trim())) return null
  return Object.fromEntries(new URLSearchParams(body.trim()))
}

/** undefined: no JSON, or JSON with more than one reading. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(readStrict(text).text, exact) as unknown
  } catch {
    return undefined
  }
}
const exact = (_key: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)
    ? (context?.source ?? value)
    : value
export const word = (value: unknown): string | null => {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  return typeof value === 'string' && value !== '' && value.length <= 256 ? value : null
}

/** The claims of a JWT as they stand there: the token came from its issuer over TLS, and no signature is checked. */
const claimsOf = (jwt: unknown): unknown =>
  typeof jwt === 'string'
    ? parseJson(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString('utf8'))
    : undefined
const placed = (value: unknown, place: Place): unknown =>
  typeof place === 'string'
    ? atPointer(value, place)
    : atPointer(claimsOf(atPointer(value, place.jwt)), place.claim)
export const first = (value: unknown, places: readonly Place[]): unknown =>
  places.map((place) => placed(value, place)).find((found) => found !== undefined && found !== null)

/** The account that an answer names; null when a part of it is missing. */
export const accountAt = (
  body: unknown,
  { id, label }: Pick<AccountRules, 'id' | 'label'>,
): Account | null => {
  const parts = (typeof id === 'string' ? [id] : id).map((part) => word(first(body, [part].flat())))
  if (parts.some((part) => part === null)) return null
  // Joined so that no two lists of parts make the same id.
  const whole =
    parts.length === 1
      ? (parts[0] ?? '')
      : parts.map((part) => encodeURIComponent(part ?? '')).join('/')
  return { id: whole, label: word(first(body, [label].flat())) ?? whole }
}

/** The host that a token answer names; `foreign`: one that the definition does not allow, or none where one is needed. */
export const hostAt = (
  body: unknown,
  { pointer, suffixes, required }: HostFromToken & { readonly required: boolean },
): { readonly name: string } | 'foreign' | null => {
  const value = atPointer(body, pointer)
  if ((value === undefined || value === null) && !required) return null
  const url = typeof value === 'string' ? URL.parse(value) : null
  const plain = url !== null && url.protocol === 'https:' && url.port === '' && url.username === ''
  const name = url?.hostname ?? ''
  const fits = suffixes.some((suffix) => name.endsWith(suffix) && name.length > suffix.length)
  return plain && fits ? { name } : 'foreign'
}
