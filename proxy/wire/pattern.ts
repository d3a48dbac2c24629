// Names with a `*`, as people write them into the configuration: no regular expressions, so nothing in them surprises.

/** `*` stands for any characters, also for none; every other byte for itself. */
export const fits = (pattern: string, text: string): boolean => {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return text === first
  const end = text.length - last.length
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  let at = first.length
  for (const piece of rest) {
    const found = text.indexOf(piece, at)
    if (found === -1) return false
    at = found + piece.length
  }
  return at <= end
}

/** `a.b.c` is itself; `a.b.*` is each name that begins with `a.b.`. */
export const inFamily = (named: string, id: string): boolean =>
  named.endsWith('.*') ? id.startsWith(named.slice(0, -1)) : named === id

/** Is it all (`*`), this one, or of this family? */
export const concerns = (named: string, id: string): boolean => named === '*' || inFamily(named, id)
