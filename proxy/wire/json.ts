// JSON from outside, with one reading: no duplicate keys, bounded nesting (RFC 8259 4 leaves duplicates open).

/** @throws SyntaxError that names the place: not JSON, a key twice in one object, or deeper than `depth`. */
export const parseStrict = (text: string, depth = 64): unknown => {
  const value: unknown = JSON.parse(text)
  const stack: (Set<string> | null)[] = []
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
        const key = JSON.parse(text.slice(i, end + 1)) as string
        if (keys.has(key))
          throw new SyntaxError(`the key ${JSON.stringify(key)} stands twice in one object`)
        keys.add(key)
      }
      i = end
    }
    if (stack.length > depth) throw new SyntaxError(`nesting is deeper than ${depth}`)
  }
  return value
}

const isKey = (text: string, from: number): boolean => {
  let at = from
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return text[at] === ':'
}
