// Overwrites an echoed token in an answer, however the answer is cut into chunks. The length never
// changes, so the framing stays right.

import { escapedText, unsearchable, type EscapedText } from './escape.ts'

export type TokenScrubber = {
  /** Bytes that may go on now; what could still begin the token is kept back. The chunk itself is never written to. */
  readonly push: (chunk: Buffer) => Buffer
  /** What was kept back, once the answer is whole. */
  readonly end: () => Buffer
  /** One text on its own, such as a header's value; bytes as latin1. */
  readonly text: (value: string) => string
  /** How often the token was found. */
  readonly hits: () => number
}

const BLOT = '[redacted]'
const NONE = Buffer.alloc(0)
/** Bytes of a spelling that one native search looks for. */
const HEAD = 16
/**
 * How often a head may be found where no whole spelling follows. More needs a token that repeats
 * itself, and an answer that repeats it.
 */
const SPARE_MISSES = 256
const BYTES_A_MISS = 64
const PERCENT = 0x25
const ASCII = /^[\x20-\x7e]*$/

const hex = (code: number): string => code.toString(16).padStart(4, '0')
const lowerEscapes = (text: string): string =>
  text.replaceAll(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase())
const escapeEach = (text: string, unsafe: RegExp, escape: (code: number) => string): string =>
  text.replaceAll(unsafe, (char) => escape(char.charCodeAt(0)))

// Some encoders escape even what no URL needs escaped.
const escapeUnreserved = (url: string): string =>
  url.replaceAll('-', '%2D').replaceAll('.', '%2E').replaceAll('_', '%5F').replaceAll('~', '%7E')

/** The token as a server may write it: raw, and as the usual encoders of JSON and URLs would; a byte a character, longest first. */
const spellings = (token: string): readonly string[] => {
  const texts = new Set([token])
  let urls = [token]
  if (!/^[0-9A-Za-z._-]*$/.test(token)) {
    const json = JSON.stringify(token).slice(1, -1)
    // Encoders that make JSON safe inside HTML write these as \u0026; PHP's escapes the slash too.
    const html = escapeEach(json, /[<>&'+]/g, (code) => `\\u${hex(code)}`)
    const upper = html.replaceAll(
      /\\u[0-9a-f]{4}/g,
      (found) => `\\u${found.slice(2).toUpperCase()}`,
    )
    for (const text of [json, html, upper]) texts.add(text).add(text.replaceAll('/', '\\/'))
    const uri = encodeURIComponent(token.toWellFormed())
    const strict = escapeEach(uri, /[!'()*]/g, (code) => `%${hex(code).slice(2).toUpperCase()}`)
    urls = [uri, strict, new URLSearchParams([['', token]]).toString().slice(1)]
  }
  for (const url of urls) {
    const escaped = escapeUnreserved(url)
    if (escaped !== token)
      texts.add(url).add(lowerEscapes(url)).add(escaped).add(lowerEscapes(escaped))
  }
  return [...texts]
    .map((text) => (ASCII.test(text) ? text : Buffer.from(text).toString('latin1')))
    .sort((a, b) => b.length - a.length)
}

/** Characters of base64 that say enough to be taken for the token. */
const ENOUGH = 10
/**
 * What base64 of any text that holds the token holds (`user:token` of Basic, a JSON, the token alone): at each of the
 * three places where a group of bytes may begin, the characters that depend on the token only.
 */
const base64Needles = (token: string): readonly string[] => {
  const bytes = Buffer.from(token)
  const found = [0, 1, 2].flatMap((shift) =>
    (['base64', 'base64url'] as const).map((code) =>
      Buffer.concat([Buffer.alloc(shift), bytes])
        .toString(code)
        .slice(Math.ceil((8 * shift) / 6), Math.floor((8 * (shift + bytes.length)) / 6)),
    ),
  )
  return [...new Set(found)].filter((text) => text.length >= ENOUGH)
}

/** Does `text` stand at `at`, as far as the bytes go? */
const begins = (bytes: Buffer, at: number, text: string): boolean =>
  text.charCodeAt(0) === bytes[at] &&
  text.startsWith(bytes.toString('latin1', at, at + text.length))

/**
 * Makes watchers of streams for one token. A find is overwritten in its own length: `[redacted]***`.
 * @throws Error for an empty token, which would match everywhere
 */
export const tokenScrubbers = (token: string): (() => TokenScrubber) => {
  if (token === '') throw new Error('a scrubber needs a token that is not empty')
  // A native search or three for their beginnings finds nothing, at memory speed, in nearly every chunk. The rest, ten
  // times the token, is built again on a find.
  const spelled = (): readonly string[] => [...spellings(token), ...base64Needles(token)]
  const heads = [...new Set(spelled().map((text) => text.slice(0, HEAD)))]
  const shortest = Math.min(...heads.map((head) => head.length))
  let all: readonly string[] | null = null
  const needles = () => (all ??= spelled())
  const escaped = escapedText(Buffer.from(token).toString('latin1'))
  return () => createScrubber({ heads, shortest, needles, escaped })
}

/** What is searched for one token, made once. */
type Search = {
  /** The first bytes of each spelling. */
  readonly heads: readonly string[]
  /** Of them the length of the shortest. */
  readonly shortest: number
  readonly needles: () => readonly string[]
  readonly escaped: EscapedText
}
const createScrubber = ({ heads, shortest, needles, escaped }: Search): TokenScrubber => {
  let tail: Buffer = NONE
  let hits = 0

  /**
   * @param open gets where a head stands and no whole spelling does
   * @throws Problem `answer_not_redactable`: the bytes were made to be searched for ever
   */
  const blot = (bytes: Buffer, open: number[] | null): Buffer => {
    let out: Buffer | null = null
    let misses = SPARE_MISSES + bytes.length / BYTES_A_MISS
    const escapes = bytes.includes(PERCENT)
    for (const head of heads) {
      if (!escapes && head.includes('%')) continue
      let at = bytes.indexOf(head, 0, 'latin1')
      while (at !== -1) {
        const from = at
        const found = needles().find(
          (needle) => from + needle.length <= bytes.length && begins(bytes, from, needle),
        )
        if (found !== undefined) {
          out ??= Buffer.from(bytes)
          out.write(BLOT.slice(0, found.length).padEnd(found.length, '*'), at, 'latin1')
          hits++
        } else {
          if (misses-- < 0) throw unsearchable()
          open?.push(at)
        }
        at = bytes.indexOf(head, at + (found?.length ?? 1), 'latin1')
      }
    }
    return out ?? bytes
  }

  /** As `blot`, where characters are escaped that need not be. */
  const blotEscaped = (bytes: Buffer): Buffer => {
    const found = escaped.find(bytes)
    if (found.length === 0) return bytes
    const out = Buffer.from(bytes)
    for (const [from, to] of found)
      out.write(BLOT.slice(0, to - from).padEnd(to - from, '*'), from, 'latin1')
    hits += found.length
    return out
  }

  const mayBegin = (bytes: Buffer, at: number): boolean => {
    for (const head of heads) if (begins(bytes, at, head)) return true
    return false
  }
  /** Where the longest end of `bytes` that could begin a spelling starts; their length when none does. */
  const pending = (bytes: Buffer, open: readonly number[]): number => {
    let at = Math.max(0, bytes.length - HEAD + 1)
    while (at < bytes.length && !mayBegin(bytes, at)) at++
    const goesOn = (at: number): boolean => needles().some((needle) => begins(bytes, at, needle))
    return Math.min(at, ...open.filter(goesOn))
  }

  return {
    push: (chunk) => {
      const open: number[] = []
      let bytes = blot(tail.length === 0 ? chunk : Buffer.concat([tail, chunk]), open)
      let keep = pending(bytes, open)
      if (escaped.possible(bytes)) {
        bytes = blotEscaped(bytes)
        keep = Math.min(keep, escaped.open(bytes))
      }
      // Copied: the chunk's memory belongs to the socket and may be used again.
      tail = keep === bytes.length ? NONE : Buffer.from(bytes.subarray(keep))
      return keep === bytes.length ? bytes : bytes.subarray(0, keep)
    },
    end: () => {
      const rest = tail
      tail = NONE
      return rest
    },
    text: (value) => {
      if (value.length < shortest) return value
      const plain = heads.some((head) => value.includes(head))
        ? blot(Buffer.from(value, 'latin1'), null).toString('latin1')
        : value
      if (!/[%\\&]/.test(plain)) return plain
      const bytes = Buffer.from(plain, 'latin1')
      const clean = escaped.possible(bytes) ? blotEscaped(bytes) : bytes
      return clean === bytes ? plain : clean.toString('latin1')
    },
    // Not a getter: V8 gives each literal with one a hidden class of its own, and keeps it for
    // ever.
    hits: () => hits,
  }
}
