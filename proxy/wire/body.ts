// Reads a body in one way only: policy sees the fields that the provider will find, or the call is
// refused.
import type { Json, Names, Operation, Provider } from '../model.ts'
import { Problem } from '../problem.ts'
import { EXACT, hasNumber, isMarked, markNumbers, memberAt, readStrict } from './json.ts'
import type { Document } from './json.ts'
import { readMedia, type Media } from './media.ts'
import { multipartFields } from './multipart.ts'
import {
  fieldsOf,
  formFields,
  jsonCredential,
  multipartCredential,
  sameField,
  stripForm,
} from './strip.ts'
import type { Field } from './strip.ts'

export type BodyRules = {
  /** Further credentials (`strip.body`). */
  readonly credentials: readonly string[]
  /** JSON pointers that policy needs. */
  readonly inspect: readonly string[]
  /** The pointer for which a body that is a bare list stands (model, `Operation.list`). */
  readonly list?: string | null | undefined
  /** A body that is not JSON may pass, unless policy needs a member of it. */
  readonly upload: boolean
  readonly names: Names
}

/** How a body of this operation is read. */
export const bodyRules = (
  { strip, names = EXACT }: Provider,
  { inspect, list, upload }: Operation,
): BodyRules => ({ credentials: strip.body, inspect, list, upload, names })

export type Read = {
  /** `unparsed`: looked into, and neither JSON nor a form. */
  readonly state: 'parsed' | 'unparsed'
  /** What will be sent: the same, or a form without what was cut out. */
  readonly bytes: Buffer
  /** JSON pointer → value, for the pointers of `inspect`. */
  readonly json: Readonly<Record<string, Json>>
  readonly stripped: readonly string[]
  /** The whole document, where it is JSON. */
  readonly value?: unknown
  /** The same with a mark for each number that others read as another (`markNumbers`). */
  readonly marked?: () => unknown
}

const invalid = (detail: string): Problem => new Problem('request_invalid', detail)
const unsupported = (detail: string): Problem => new Problem('unsupported_media_type', detail)
const refuseCredential = (name: string | null): void => {
  if (name === null) return
  throw new Problem(
    'credential_in_body',
    `the body has the field ${JSON.stringify(name)}, which is a credential: deputy supplies it`,
  )
}

const UTF_8: ReadonlySet<string> = new Set(['utf-8', 'utf8'])
/** These mean the same as UTF-8 as long as every character is ASCII. */
const ASCII_ALIKE: ReadonlySet<string> = new Set([
  'us-ascii',
  'ascii',
  'iso-8859-1',
  'latin1',
  'windows-1252',
])
// oxlint-disable-next-line no-control-regex
const NOT_ASCII = /[^\0-\x7f]|%[89a-f]/i

const checkCharset = (bytes: Buffer, { charset }: Media): void => {
  if (charset === null || UTF_8.has(charset)) return
  if (ASCII_ALIKE.has(charset) && !NOT_ASCII.test(bytes.toString('latin1'))) return
  throw unsupported(
    `the body must be inspected, and in its charset ${JSON.stringify(charset)} it has readings that deputy does not know: send UTF-8`,
  )
}

/** Bytes of marks and blanks that a reader of JSON may skip, UTF-16 and UTF-32 among them. */
const SKIPPED: ReadonlySet<number | undefined> = new Set([
  0x00, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0x85, 0xa0, 0xc2, 0xef, 0xbb, 0xbf, 0xfe, 0xff,
])
/**
 * Ruby's reader and others skip comments as well. Where the one at `at` ends; -1: there is none.
 */
const commentEnd = (bytes: Buffer, at: number): number => {
  const mark = bytes.toString('latin1', at, at + 2)
  const close = mark === '/*' ? '*/' : '\n'
  const end = mark === '/*' || mark === '//' ? bytes.indexOf(close, at + 2) : -1
  return end === -1 ? -1 : end + close.length
}
/** Would some reader take these bytes for JSON? */
export const beginsJson = (bytes: Buffer): boolean => {
  for (let at = 0; at !== -1; at = commentEnd(bytes, at)) {
    while (SKIPPED.has(bytes[at])) at++
    if (bytes[at] === 0x7b || bytes[at] === 0x5b) return true
  }
  return false
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

const isBroken = (error: unknown): boolean =>
  error instanceof Problem && error.cause instanceof SyntaxError
/** The content of a file may differ from its type, as long as policy needs no member of it. */
const passesBroken = (error: unknown, { upload, inspect }: BodyRules): boolean =>
  upload && inspect.length === 0 && isBroken(error)

const parseDocument = (bytes: Buffer, { names }: BodyRules): Document => {
  try {
    return readStrict(utf8.decode(bytes), names)
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : 'it is not UTF-8'
    throw new Problem('request_invalid', `the body is not JSON with one reading: ${why}`, {
      cause: error,
    })
  }
}

/** @throws Problem 400: a member that policy needs has more than one reading, or none */
const membersOf = (
  value: unknown,
  marked: () => unknown,
  rules: BodyRules,
): Record<string, Json> => {
  const found: Record<string, Json> = {}
  if (rules.inspect.length === 0) return found
  if (typeof value !== 'object' || value === null)
    throw invalid('policy needs members of the body, and it is no JSON object')
  const { list = null } = rules
  const bare = list !== null && Array.isArray(value)
  /** The document as the provider takes it. */
  const taken = (document: unknown): unknown => (bare ? { [list.slice(1)]: document } : document)
  for (const pointer of rules.inspect) {
    const at = memberAt(taken(value), pointer, rules.names)
    if (at === undefined) continue
    if ('clash' in at)
      throw invalid(`the body has ${at.clash}, which some servers take for a part of ${pointer}`)
    // Numbers are rare here, so the second look at the text is as well.
    if (hasNumber(at.value) && isMarked(memberAt(taken(marked()), pointer, rules.names)))
      throw invalid(`${pointer} holds a number that other readers round otherwise (RFC 7493 2.2)`)
    found[pointer] = at.value as Json
  }
  return found
}

/** Fields have no depth: a pointer that goes deeper needs JSON. */
const fieldNames = (inspect: readonly string[]): readonly string[] =>
  inspect.map((pointer) => {
    if (!/^\/[^/~]+$/.test(pointer))
      throw unsupported(`policy needs ${pointer} of the body: send it as application/json`)
    return pointer.slice(1)
  })

const pointed = (fields: Readonly<Record<string, string>>): Record<string, Json> =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [`/${name}`, value]))

const readJson = (bytes: Buffer, rules: BodyRules): Read => {
  const { value, text } = parseDocument(bytes, rules)
  let known: unknown
  const marked = (): unknown => (known ??= markNumbers(text))
  const { json } = readMember(value, marked, rules)
  return { state: 'parsed', bytes, json, stripped: [], value, marked }
}

/**
 * The same of a document that stands in another one.
 * @param marked the same value with a mark for each number that others read as another
 * @throws Problem 400 request_invalid, credential_in_body
 */
export const readMember = (
  value: unknown,
  marked: () => unknown,
  rules: BodyRules,
): { readonly json: Readonly<Record<string, Json>> } => {
  refuseCredential(jsonCredential(value, rules.credentials))
  return { json: membersOf(value, marked, rules) }
}

/** JSON under another type: a server that reads it as a form must find nothing there. */
const readDisguised = (bytes: Buffer, rules: BodyRules): Read => {
  const read = readJson(bytes, rules)
  const [first] = stripForm(bytes, rules.credentials).stripped
  refuseCredential(first?.slice('body:'.length) ?? null)
  const names = rules.inspect.map((pointer) => pointer.split('/')[1] ?? '')
  if (formFields(bytes).some(({ pieces }) => pieces.some((name) => sameField(name, names))))
    throw invalid('the body is JSON to some servers and a form with other fields to others')
  return read
}

const readForm = (bytes: Buffer, rules: BodyRules): Read => {
  if (beginsJson(bytes)) return readDisguised(bytes, rules)
  const form = stripForm(bytes, rules.credentials)
  // Some clients post files as if they were forms: nothing is cut out of a file.
  if (rules.upload) refuseCredential(form.stripped[0]?.slice('body:'.length) ?? null)
  if (rules.inspect.length === 0) return { state: 'unparsed', json: {}, ...form }
  const fields = fieldsOf(formFields(form.bytes), fieldNames(rules.inspect))
  return { state: 'parsed', json: pointed(fields), ...form }
}

const utf8Text = (latin1: string): string => {
  const bytes = Buffer.from(latin1, 'latin1')
  const text = bytes.toString('utf8')
  if (!Buffer.from(text).equals(bytes)) throw invalid('a field of the body is not UTF-8')
  return text
}

const readMultipart = (bytes: Buffer, contentType: string, rules: BodyRules): Read => {
  const parts = multipartFields(bytes, contentType)
  refuseCredential(multipartCredential(parts, rules.credentials))
  const read: Read = { state: 'unparsed', bytes, json: {}, stripped: [] }
  if (rules.inspect.length === 0) return read
  const names = fieldNames(rules.inspect)
  if (parts.some(({ type }) => /json/i.test(type)))
    throw unsupported('policy needs members of the body, and a part of it is JSON: send only JSON')
  const fields = parts.map(({ name, value, file, type }): Field => ({
    pieces: [name],
    name,
    value: () => {
      if (file) throw invalid(`a file stands where policy needs the field ${name}`)
      if (type !== '') checkCharset(Buffer.from(value, 'latin1'), readMedia(type))
      return utf8Text(value)
    },
  }))
  return { ...read, state: 'parsed', json: pointed(fieldsOf(fields, names)) }
}

/**
 * No type that promises fields, but read by somebody: as JSON, or as a form, which then must hold
 * nothing.
 */
const readAny = (bytes: Buffer, rules: BodyRules): Read => {
  if (beginsJson(bytes)) {
    try {
      return readDisguised(bytes, rules)
    } catch (error) {
      // Without a brace no reader finds members: text may begin with a link in brackets.
      if (!passesBroken(error, rules) && (!isBroken(error) || bytes.includes('{'))) throw error
    }
  }
  if (rules.inspect.length > 0)
    throw unsupported('policy needs members of the body: send it as application/json')
  const [first] = stripForm(bytes, rules.credentials).stripped
  refuseCredential(first?.slice('body:'.length) ?? null)
  return { state: 'unparsed', bytes, json: {}, stripped: [] }
}

/**
 * @param bytes the whole body, without Content-Encoding, not empty
 * @param media of `contentType`; its reading is neither `stream` nor `refused`
 * @throws Problem 400 request_invalid, credential_in_body; 415 unsupported_media_type
 */
export const readBody = (
  bytes: Buffer,
  media: Media,
  contentType: string,
  rules: BodyRules,
): Read => {
  checkCharset(bytes, media)
  if (media.reading === 'form') return readForm(bytes, rules)
  if (media.reading === 'multipart') return readMultipart(bytes, contentType, rules)
  if (media.reading === 'any') return readAny(bytes, rules)
  try {
    return readJson(bytes, rules)
  } catch (error) {
    if (!passesBroken(error, rules)) throw error
    return { state: 'unparsed', bytes, json: {}, stripped: [] }
  }
}

/**
 * What the query says about members that policy needs: many servers take them from there too.
 * @param has the body's fields were read, and these are they; null: there is no body
 * @throws Problem 400 request_invalid: said twice, otherwise, or in a place where only some
 *   servers look
 */
export const queryMembers = (
  query: readonly { readonly name: string; readonly value: string }[],
  inspect: readonly string[],
  has: Readonly<Record<string, Json>> | null,
): Readonly<Record<string, Json>> => {
  const found: Record<string, Json> = {}
  for (const { name, value } of query) {
    const pointer = inspect.find((one) => sameField(name, [one.split('/')[1] ?? '']))
    if (pointer === undefined) continue
    const twice = Object.hasOwn(found, pointer)
    const member = has?.[pointer]
    const same =
      has === null ||
      (member !== undefined && typeof member !== 'object' && String(member) === value)
    if (pointer !== `/${name}` || twice || !same)
      throw invalid(
        `the query names ${JSON.stringify(name.slice(0, 64))}, which policy needs of the body, and they are not one: send it in the body alone`,
      )
    found[pointer] = value
  }
  return has ?? found
}
