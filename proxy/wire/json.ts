// Reads JSON from outside in one way: no duplicate keys, bounded nesting (RFC 8259 4 leaves
// duplicates open).
import type { Names } from '../model.ts'

export const EXACT: Names = { insensitive: false, spellings: [] }

/** Upper case first: `\u017f` is an s, and the Kelvin sign a k, to readers that fold as Unicode does. */
export const folded = (name: string): string => name.toUpperCase().toLowerCase()

/** A document, and its text with every key as it is spelt, so that a second look at it finds the same. */
export type Document = { readonly value: unknown; readonly text: string }

const [OPEN, CLOSE, LIST, LIST_END, QUOTE, ESCAPE] = [123, 125, 91, 93, 34, 92]
/** Of a text that begins at `from`: its last quote. `indexOf` passes over the letters many times as fast as a look at each. */
const endOf = (text: string, from: number): number => {
  let end = text.indexOf('"', from + 1)
  for (;;) {
    let before = end - 1
    while (text.charCodeAt(before) === ESCAPE) before--
    if ((end - before) % 2 === 1) return end
    end = text.indexOf('"', end + 1)
  }
}

/**
 * Keys written with escapes are written out before the text is parsed: V8 compares an escaped key with the one that
 * earlier objects had there by its raw characters, and may take `"tok\u0065n"` for a key of another text.
 * @throws SyntaxError that names the place: not JSON, a key twice in one object, a key that holds a quote, backslash or
 * control character, or nesting deeper than `depth`
 * @param names of a body that a provider will read: its spellings of one key are one key, and lone surrogates are refused
 */
export const readStrict = (text: string, names: Names | null = null, depth = 64): Document => {
  const surrogates = names !== null && SURROGATE.test(text)
  const value: unknown = JSON.parse(text)
  const stack: (Set<string> | null)[] = []
  let plain = ''
  let done = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === OPEN) stack.push(new Set())
    else if (c === LIST) stack.push(null)
    else if (c === CLOSE || c === LIST_END) stack.pop()
    else if (c === QUOTE) {
      const end = endOf(text, i)
      if (surrogates && !(JSON.parse(text.slice(i, end + 1)) as string).isWellFormed())
        throw new SyntaxError('a text holds half of a surrogate pair (RFC 7493 2.1)')
      const keys = isKey(text, end + 1) ? stack.at(-1) : null
      if (keys != null) {
        const raw = text.slice(i, end + 1)
        const key = raw.includes('\\') ? (JSON.parse(raw) as string) : raw.slice(1, -1)
        const one = names?.insensitive === true ? folded(key) : key
        if (keys.has(one))
          throw new SyntaxError(`the key ${JSON.stringify(key)} stands twice in one object`)
        keys.add(one)
        if (raw.includes('\\')) {
          const written = JSON.stringify(key)
          if (written.includes('\\'))
            throw new SyntaxError('a key holds a quote, a backslash or a control character')
          plain += text.slice(done, i) + written
          done = end + 1
        }
      }
      i = end
    }
    if (stack.length > depth) throw new SyntaxError(`nesting is deeper than ${depth}`)
  }
  if (done === 0) return { value, text }
  const spelt = plain + text.slice(done)
  return { value: JSON.parse(spelt), text: spelt }
}

/** For `JSON.parse`: numbers come out of `JSON.stringify` as they were written. */
export const exactly = (_key: string, value: unknown, context?: Source): unknown =>
  typeof value === 'number' && context?.source !== undefined
    ? (JSON as unknown as { rawJSON: (text: string) => unknown }).rawJSON(context.source)
    : value

/** The document alone. */
export const parseStrict = (text: string): unknown => readStrict(text).value

const utf8 = new TextDecoder('utf-8', { fatal: true })
/**
 * The same of what came on the wire, where other bytes than UTF-8 would all become the same letter (RFC 8259 8.1).
 * @throws SyntaxError also for bytes that are not UTF-8
 */
export const parseStrictBytes = (bytes: Uint8Array): unknown => parseStrict(utf8Text(bytes))
/** @throws SyntaxError for bytes that are not UTF-8 */
export const utf8Text = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    throw new SyntaxError('it is not UTF-8', { cause: error })
  }
}

const SURROGATE = /\\u[dD][89a-fA-F]/

/** Needs no escape, and no second look. */
const PLAIN = /^[\w ./:;,@+*~=-]*$/
/** A string as JSON. Most are plain, and a look costs less than the general way. */
export const quoted = (text: string): string =>
  PLAIN.test(text) ? `"${text}"` : JSON.stringify(text)
/** Strings as a JSON list. */
export const quotedList = (texts: readonly string[]): string => {
  let list = ''
  for (const text of texts) list += list === '' ? quoted(text) : `,${quoted(text)}`
  return `[${list}]`
}

/** Members by name: an object of JSON, and no list. */
export const isObject = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The members of an object as JSON, without its braces: what repeats is written once, and joined with what is new in each
 * call. That costs a tenth of a microsecond, where writing the whole of a policy's input anew costs more than one.
 */
export const members = (of: object): string => JSON.stringify(of).slice(1, -1)

/** What is nested so deep is no answer but somebody's trap; nobody could read it either. */
const MOST_NESTED = 64
export const isDeep = (value: unknown, left = MOST_NESTED): boolean =>
  typeof value === 'object' &&
  value !== null &&
  (left === 0 || Object.values(value).some((each) => isDeep(each, left - 1)))

/** RFC 6901 over own members only. undefined: nothing there. */
export const atPointer = (value: unknown, pointer: string): unknown => {
  let at = value
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return at
}

/** Separators that some readers ignore: proto3 JSON takes `email_address` for `emailAddress`. */
export const alike = (name: string): string => folded(name).replaceAll(/[-_.\s]/g, '')

/** The names beneath a value as policy knows them: as listed, else in camel case. */
const spelt = (value: unknown, names: Names): unknown => {
  if (!names.insensitive || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item: unknown) => spelt(item, names))
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const listed = names.spellings.find((name) => folded(name) === folded(key))
      return [listed ?? `${key.slice(0, 1).toLowerCase()}${key.slice(1)}`, spelt(item, names)]
    }),
  )
}

/**
 * What the provider will find at a pointer (RFC 6901), as it compares names. undefined: nothing; `clash`: a member, or a list,
 * that another reader takes for the one that the pointer means.
 */
export const memberAt = (
  value: unknown,
  pointer: string,
  names: Names,
): { readonly value: unknown } | { readonly clash: string } | undefined => {
  let at = value
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null) return undefined
    if (Array.isArray(at) && !/^\d+$/.test(key)) return { clash: 'a list' }
    let own: string | undefined
    for (const name of Object.keys(at)) {
      if (name === key || (names.insensitive && folded(name) === folded(key))) own = name
      else if (alike(name) === alike(key))
        return { clash: `the member ${JSON.stringify(name.slice(0, 64))}` }
    }
    if (own === undefined) return undefined
    at = (at as Record<string, unknown>)[own]
  }
  return { value: spelt(at, names) }
}

/** Digits and exponent of a JSON number, without what does not change its value. */
const decimal = (text: string): string => {
  const [, whole = '', fraction = '', exponent = '0'] =
    /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const digits = `${whole}${fraction}`.replace(/^0+/, '')
  const short = digits.replace(/(?<!0)0+$/, '')
  if (short === '') return '0'
  return `${short}e${Number(exponent) - fraction.length + digits.length - short.length}`
}

const LOST = Symbol('a number that does not survive')
/** A number as its text has it, or a mark where a reader of doubles finds another. */
export const markNumber = (source: string): unknown =>
  decimal(source) === decimal(String(Number(source))) ? Number(source) : LOST
type Source = { readonly source?: string }
/** The same document with a mark for each number that comes out of a reader of doubles as another (RFC 7493 2.2). */
export const markNumbers = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown, context?: Source) =>
    typeof value === 'number' ? markNumber(context?.source ?? '') : value,
  )
/** Is there such a mark? */
export const isMarked = (value: unknown): boolean =>
  value === LOST ||
  (typeof value === 'object' && value !== null && Object.values(value).some(isMarked))
export const hasNumber = (value: unknown): boolean =>
  typeof value === 'number' ||
  (typeof value === 'object' && value !== null && Object.values(value).some(hasNumber))

const isKey = (text: string, from: number): boolean => {
  let at = from
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return text[at] === ':'
}

/** An answer that says, whatever its status, that the token is not accepted (`unauthorized:` of a definition). */
export const meansUnauthorized = (
  rules: { readonly pointer: string; readonly values: readonly string[] } | null | undefined,
  body: unknown,
): boolean => {
  const said = rules == null ? undefined : atPointer(body, rules.pointer)
  return rules?.values.some((value) => value === said) === true
}
