// ULIDs: ids that sort by time and need no round trip. 48 bits of ms, 80 random bits, Crockford's base 32.
import { randomBytes } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** Ten random bits → two characters. */
const PAIRS = Array.from(ALPHABET, (a) => Array.from(ALPHABET, (b) => a + b)).flat()

const encode = (value: number, digits: number): string => {
  let text = ''
  for (let rest = value; text.length < digits; rest = Math.floor(rest / 32))
    text = (ALPHABET[rest % 32] ?? '') + text
  return text
}

/** @param now ms since the epoch */
export const createUlid = (now: () => number): (() => string) => {
  let pool = randomBytes(0)
  let used = 0
  let at = 0
  let prefix = ''
  const pair = (): string => PAIRS[(((pool[used++] ?? 0) << 8) | (pool[used++] ?? 0)) & 1023] ?? ''
  return () => {
    const time = now()
    if (time !== at) {
      at = time
      prefix = encode(time, 10)
    }
    if (used + 16 > pool.length) {
      pool = randomBytes(4_096)
      used = 0
    }
    // Ten bits of two bytes each: nothing is biased.
    return `${prefix}${pair()}${pair()}${pair()}${pair()}${pair()}${pair()}${pair()}${pair()}`
  }
}
