// ULIDs: ids that sort by time and need no round trip. 48 bits of ms, 80 random bits, Crockford's base 32.
import { randomBytes } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const LETTERS = Buffer.from(ALPHABET)
/** Letters made in advance, those of 256 ids. */
const POOL = 16 * 256

const encode = (value: number, digits: number): string => {
  let text = ''
  for (let rest = value; text.length < digits; rest = Math.floor(rest / 32))
    text = (ALPHABET[rest % 32] ?? '') + text
  return text
}

/** When it was made, ms since the epoch; NaN: it is none. */
export const madeAt = (ulid: string): number => {
  if (ulid.length !== 26) return Number.NaN
  let time = 0
  for (const letter of ulid.slice(0, 10)) {
    const digit = ALPHABET.indexOf(letter)
    if (digit < 0) return Number.NaN
    time = time * 32 + digit
  }
  return time
}

/** @param now ms since the epoch */
export const createUlid = (now: () => number): (() => string) => {
  let pool = ''
  let used = 0
  let at = 0
  let prefix = ''
  return () => {
    const time = now()
    if (time !== at) {
      at = time
      prefix = encode(time, 10)
    }
    if (used === pool.length) {
      // Five bits of each byte: nothing is biased.
      pool = Buffer.from(randomBytes(POOL).map((byte) => LETTERS[byte & 31] ?? 0)).toString(
        'latin1',
      )
      used = 0
    }
    used += 16
    return prefix + pool.slice(used - 16, used)
  }
}
