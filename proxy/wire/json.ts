// JSON from outside, with one reading: no duplicate keys, bounded nesting (RFC 8259 4 leaves duplicates open).

/**
 * Keys written with escapes are written out before the text is parsed: V8 compares an escaped key with the one that
 * earlier objects had there by its raw characters, and may take `"tok\u0065n"` for a key of another text.
 * @throws SyntaxError that names the place: not JSON, a key twice in one object, a key that holds a quote, backslash or
 * control character, or nesting deeper than `depth`
 */
export const parseStrict = (text: string, depth = 64): unknown => {
  const value: unknown = JSON.parse(text)
  const stack: (Set<string> | null)[] = []
  let plain = ''
  let done = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '{') stack.push(new Set())
    else if (c === '[') stack.push(null)
    else if (c === '}' || c === ']') stack.pop()
    else if (c === '"') {
      let end = i + 1
      while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1
      const keys = stack.at(-1)
      if (keys !== null && keys !== undefined && isKey(text, end + 1)) {
        const raw = text.slice(i, end + 1)
        const key = JSON.parse(raw) as string
        if (keys.has(key))
          throw new SyntaxError(`the key ${JSON.stringify(key)} stands twice in one object`)
        keys.add(key)
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
  return done === 0 ? value : (JSON.parse(plain + text.slice(done)) as unknown)
}

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
  return typeof said === 'string' && rules?.values.includes(said) === true
}
