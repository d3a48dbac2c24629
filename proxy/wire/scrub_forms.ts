// Finds the token in answers that do not hold it as it is: in a part of a document, and in
// characters of two or four bytes.
import { remembered } from '../memo.ts'
import { tokenScrubbers, type TokenScrubber } from './scrub.ts'

const NONE = Buffer.alloc(0)
/** Bytes of a token that are taken for a part of it. */
const PART = 8

/** Watches an answer of status 206 also for a part of the token where the answer begins and where it ends. */
export const atEdges = (inner: TokenScrubber, token: string): TokenScrubber => {
  const whole = Buffer.from(token)
  const most = whole.length - 1
  let tail: Buffer = NONE
  let began = false
  let hits = 0
  const blot = (from: number, to: number): void => {
    tail.fill('*', from, to)
    hits++
  }
  const longest = (fits: (bytes: number) => boolean): number => {
    for (let bytes = most; bytes >= PART; bytes--) if (fits(bytes)) return bytes
    return 0
  }
  const begin = (): void => {
    if (began) return
    began = true
    const bytes = longest((n) => tail.subarray(0, n).equals(whole.subarray(-n)))
    if (bytes > 0) blot(0, bytes)
  }
  return {
    ...inner,
    push: (chunk) => {
      tail = Buffer.concat([tail, inner.push(chunk)])
      if (tail.length <= most) return NONE
      begin()
      const out = tail.subarray(0, tail.length - most)
      tail = tail.subarray(tail.length - most)
      return out
    },
    end: () => {
      tail = Buffer.concat([tail, inner.end()])
      if (!began && tail.length >= PART && whole.includes(tail)) blot(0, tail.length)
      begin()
      const bytes = longest((n) => tail.subarray(-n).equals(whole.subarray(0, n)))
      if (bytes > 0) blot(tail.length - bytes, tail.length)
      const out = tail
      tail = NONE
      return out
    },
    hits: () => inner.hits() + hits,
  }
}

/** One watcher behind the other. */
const both = (first: TokenScrubber, second: TokenScrubber): TokenScrubber => ({
  push: (chunk) => second.push(first.push(chunk)),
  end: () => Buffer.concat([second.push(first.end()), second.end()]),
  text: (value) => second.text(first.text(value)),
  hits: () => first.hits() + second.hits(),
})

/** In some of these a character has two or four bytes; in the others ASCII is not ASCII. */
const WIDE = /^(?:x-|cs)?(?:utf|ucs|iso-?10646-?ucs)[-_]?(16|2|32|4)(?:[-_]?[bl]e)?(?:-bom)?$/
/** Labels of UTF-16 that do not say so (WHATWG Encoding 4.2, Windows). */
const WIDE_TOO = /^(?:cs)?unicode(?:fffe|feff|1-1)?$|^(?:x-)?(?:cp|windows-?)-?120[01]$/
const FOREIGN =
  /utf[-_]?7|ebcdic|^(?:x-|cs)?(?:ibm|cp)[-_]?(?:0?37|65000|0?273|277|278|28[045]|297|50[02]|87[01]|10(?:26|47)|11[4-9]\d)$/

/** `charset` of a Content-Type, lower case; empty: none is named. */
const charsetOf = (type: string): string =>
  (/;\s*charset\s*=\s*["']?([^\s;"']+)/i.exec(type)?.[1] ?? '').toLowerCase()

/** How many zero bytes go with a character of ASCII in such an answer; null: it cannot be searched. Types repeat. */
const zerosIn = remembered((type: string): number | null => {
  const charset = charsetOf(type)
  if (FOREIGN.test(charset)) return null
  const unit = WIDE_TOO.test(charset) ? '16' : WIDE.exec(charset)?.[1]
  if (unit === undefined) return 0
  return unit === '16' || unit === '2' ? 1 : 3
})

/**
 * The watcher for an answer of this type; null: its characters cannot be searched.
 * @param token visible ASCII, as a header holds it
 */
export const inCharset = (
  inner: TokenScrubber,
  token: string,
  type: string,
): TokenScrubber | null => {
  const count = zerosIn(type)
  if (count === null) return null
  if (count === 0) return inner
  const zeros = '\0'.repeat(count)
  const chars = token.split('')
  // The name of the charset may leave open which byte comes first.
  return [chars.map((char) => char + zeros), chars.map((char) => zeros + char)]
    .map((wide) => tokenScrubbers(wide.join(''))())
    .reduce(both, inner)
}
