// Text that somebody else wrote, shown as it is: what a browser would hide, turn round or run is named instead.
import { html } from 'hono/html'
import type { Html } from './markup.ts'

/**
 * Controls but for line ends and tabs, format characters (bidi, joiners, tags), halves of pairs, and all that no font
 * shows: separators, fillers, and variation selectors, which can carry a whole text behind one letter. The one that makes
 * a picture of a sign stays.
 */
const UNSEEN =
  /[[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}\u2028\u2029]--\ufe0f]|(?<!\p{Extended_Pictographic})\ufe0f/gv
const SEEN: ReadonlySet<string> = new Set(['\n', '\t'])
/** More of them than this, and the text is none that a person could read. */
const MOST_MARKS = 1_000

const isUnseen = (one: string): boolean => !SEEN.has(one)
/** Can a person read it? */
export const readable = (text: string): boolean =>
  (text.match(UNSEEN) ?? []).filter(isUnseen).length <= MOST_MARKS

/** Escaped, with each character that nobody would see named by its number. */
export const plain = (text: string): Html => {
  const pieces: (string | Html)[] = []
  let at = 0
  const lines = text.replaceAll('\r\n', '\n')
  for (const { 0: one, index } of lines.matchAll(UNSEEN)) {
    if (!isUnseen(one)) continue
    const code = (one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
    pieces.push(lines.slice(at, index), html`<mark>U+${code}</mark>`)
    at = index + one.length
  }
  pieces.push(lines.slice(at))
  return html`<bdi>${pieces}</bdi>`
}
