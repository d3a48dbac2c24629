// Finds a text in which a server may have escaped any character (RFC 8259 7), without decoding what
// stands around it.
import { Problem } from '../problem.ts'

export type EscapedText = {
  /**
   * Does any escape stand here that could be part of the text? Cheap: what escapes nothing of it is
   * not searched.
   */
  readonly possible: (bytes: Buffer) => boolean
  /**
   * `[from, to)` of each place where the whole text stands, escaped or not.
   * @throws Problem `answer_not_redactable`, as `open`: the bytes were made to be searched for ever
   */
  readonly find: (bytes: Buffer) => readonly (readonly [number, number])[]
  /** Where the longest end that could begin the text starts; the length when none does. */
  readonly open: (bytes: Buffer) => number
}

const OPENERS = ['%', '\\u00', '\\u{', '\\x', '&#']
/** Most bytes of one escape: `&#0116;`. */
const LONGEST = 7
/**
 * Comparisons for each byte. A text begins seldom where it does not go on: more needs one that
 * repeats itself, and bytes that repeat it.
 */
const STEPS = 8
const SPARE_STEPS = 65_536

/**
 * The ways to write one byte: itself, and each escape (as JSON, JavaScript, URLs and HTML do), in
 * any case of its digits.
 */
const ways = (byte: number): readonly string[] => {
  const hex = byte.toString(16).padStart(2, '0')
  const char = String.fromCharCode(byte)
  return [
    `%${hex}`,
    `\\u00${hex}`,
    `\\u{${hex}}`,
    `\\x${hex}`,
    `&#x${hex};`,
    `&#${byte};`,
    `&#0${byte};`,
    `&#${byte}`,
    ...('/"\\'.includes(char) ? [`\\${char}`] : []),
  ]
}

export const unsearchable = (): Problem =>
  new Problem(
    'answer_not_redactable',
    'the answer repeats the beginning of the token too often to be searched for it',
  )

/** @param text bytes as latin1, not empty */
export const escapedText = (text: string): EscapedText => {
  const bytes = Buffer.from(text, 'latin1')
  const spelled = new Map([...new Set(bytes)].map((byte) => [byte, ways(byte)]))
  const escapes = [...spelled.values()].flat()
  const openers = [...OPENERS, ...escapes.filter((way) => way.length === 2)]
  const firsts = new Set([bytes[0], 0x25, 0x5c, 0x26])
  const longest = bytes.length * LONGEST
  let steps = 0
  const step = (): void => {
    if (steps-- <= 0) throw unsearchable()
  }

  /** End of the text that begins at `at`; -1: none does; null: the bytes end before it does. */
  const match = (from: Buffer, at: number, n = 0): number | null => {
    for (let i = n; ; i++) {
      step()
      const byte = bytes[i]
      if (byte === undefined) return at
      if (at >= from.length) return null
      const here = from[at]
      let open = false
      if (here === 0x25 || here === 0x5c || here === 0x26) {
        const there = from.toString('latin1', at, at + LONGEST).toLowerCase()
        for (const way of spelled.get(byte) ?? []) {
          if (there.startsWith(way)) {
            const end = match(from, at + way.length, i + 1)
            if (end !== -1) return end
          } else if (way.startsWith(there)) open = true
        }
      }
      if (here !== byte) return open ? null : -1
      if (open) return null
      at++
    }
  }

  return {
    possible(from) {
      // Nearly every text has none of the three, and one byte is found at memory speed.
      if (!from.includes(0x25) && !from.includes(0x5c) && !from.includes(0x26)) return false
      for (const opener of openers) {
        let at = from.indexOf(opener, 0, 'latin1')
        while (at !== -1) {
          const there = from.toString('latin1', at, at + LONGEST).toLowerCase()
          if (escapes.some((way) => there.startsWith(way) || way.startsWith(there))) return true
          at = from.indexOf(opener, at + 1, 'latin1')
        }
      }
      const last = from.toString('latin1', from.length - LONGEST).toLowerCase()
      const at = Math.max(last.lastIndexOf('\\'), last.lastIndexOf('&'))
      return at !== -1 && escapes.some((way) => way.startsWith(last.slice(at)))
    },
    find(from) {
      const found: [number, number][] = []
      steps = STEPS * from.length + SPARE_STEPS
      for (let at = 0; at < from.length; at++) {
        if (!firsts.has(from[at])) continue
        const end = match(from, at)
        if (end === null || end === -1) continue
        found.push([at, end])
        at = end - 1
      }
      return found
    },
    open(from) {
      steps = STEPS * from.length + SPARE_STEPS
      for (let at = Math.max(0, from.length - longest + 1); at < from.length; at++)
        if (firsts.has(from[at]) && match(from, at) === null) return at
      return from.length
    },
  }
}
