// Finds a tag in a place where it does not belong: it would leave with the call, and whoever reads
// it there could speak for its user.
import type { QueryPair, Target } from '../model.ts'
import { Problem } from '../problem.ts'
import { evidenceName } from './strip.ts'

export type TagSearch = {
  /**
   * Does a run token stand in this text, an application's key, or an assertion that is meant for us?
   * Escaped and as Basic too.
   */
  readonly holds: (text: string) => boolean
  /**
   * The target without query parameters that hold a tag.
   * @throws Problem `request_invalid`: one stands in the path or in a parameter's name, where
   *   nothing can be cut out
   */
  readonly target: (target: Target) => {
    readonly target: Target
    readonly stripped: readonly string[]
  }
  /** @throws Problem `credential_in_body` */
  readonly body: (bytes: Buffer) => void
}

/**
 * A run token, or the seal of an address (wire/address_tag). Whole ones have 43 characters and more
 * after the prefix; a file may well be called `dpr_notes`.
 */
const RUN = /dp[rs]_[\w-]{20}/
/** JSON in base64url begins so, and with it every JWT that is made by a library. */
const HEAD = 'eyJ'
const PIECE = /[\w-]*/y
/** What looks like a JWT is decoded; nobody's text holds so many, and more would keep everybody waiting. */
const MOST_JWTS = 1_000
const SHORTEST = 24
/**
 * A quick test that nearly every text fails: the beginning of a tag, one of its characters as URLs
 * and JSON escape it, or Basic.
 */
const SUSPECT = /dp[rs]_|eyJ|(?:%|\\u00)(?:2e|4a|5f|6[45]|7[0239])|basic /i
const ESCAPE = /(?:%|\\u00)([0-9a-f]{2})/gi
const BASIC = /basic +([\w+/=-]{32,})/gi
const NONE: readonly string[] = []

/** What a key has no letter of that JSON or URLs would have to escape, but that they may. */
const MAY_HIDE = /%[0-9a-f]{2}|\\[u/]|basic /i

const unescaped = (text: string): string =>
  text
    .replaceAll(ESCAPE, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .replaceAll('\\/', '/')
const pairs = (text: string): string =>
  Array.from(text.matchAll(BASIC), ([, pair = '']) =>
    Buffer.from(pair, 'base64').toString('latin1'),
  ).join('\n')

const pieceEnd = (text: string, from: number): number => {
  PIECE.lastIndex = from
  return PIECE.test(text) ? PIECE.lastIndex : from
}
/** Each that may be a JWT. One expression would read on to the end of a long text from each of its heads. */
function* jwtsIn(text: string): Generator<string> {
  for (let at = text.indexOf(HEAD); at !== -1;) {
    const head = pieceEnd(text, at)
    const claims = text[head] === '.' ? pieceEnd(text, head + 1) : head
    if (text[claims] === '.') yield text.slice(at, pieceEnd(text, claims + 1))
    at = text.indexOf(HEAD, head)
  }
}

/**
 * @param isAssertion is this JWT of a configured issuer, and meant for us?
 * @param hasKey does an application's key stand in this text as it is?
 */
export const createTagSearch = (
  isAssertion: (jwt: string) => boolean,
  hasKey: (text: string) => boolean = () => false,
): TagSearch => {
  const holdsKey = (text: string): boolean =>
    hasKey(text) || (MAY_HIDE.test(text) && [unescaped(text), pairs(text)].some(hasKey))
  const bare = (text: string): boolean => {
    if (RUN.test(text)) return true
    let left = MOST_JWTS
    for (const jwt of jwtsIn(text)) if (left-- === 0 || isAssertion(jwt)) return true
    return false
  }
  const holds = (text: string): boolean =>
    text.length >= SHORTEST &&
    ((SUSPECT.test(text) && [...new Set([text, unescaped(text), pairs(text)])].some(bare)) ||
      holdsKey(text))
  return {
    holds,
    target(target) {
      // A key may have a slash in it, and a plus, which queries read as a space.
      if (target.segments.some(holds) || holdsKey(target.path))
        throw new Problem(
          'request_invalid',
          'a tag of deputy (a run token, an assertion or an application’s key) stands in the path: it belongs into a header, and the provider must not see it',
        )
      let stripped: Set<string> | null = null
      const tagged = ({ raw, value }: QueryPair): boolean => holds(value) || holdsKey(raw)
      for (const pair of target.query) {
        const { name } = pair
        if (holds(name))
          throw new Problem(
            'request_invalid',
            'a tag of deputy (a run token, an assertion or an application’s key) is the name of a query parameter: it belongs into a header, and the provider must not see it',
          )
        if (tagged(pair)) (stripped ??= new Set()).add(evidenceName(name, 'query'))
      }
      if (stripped === null) return { target, stripped: NONE }
      const query = target.query.filter((pair) => !tagged(pair))
      return { target: { ...target, query }, stripped: [...stripped] }
    },
    body(bytes) {
      if (holds(bytes.toString('latin1')))
        throw new Problem(
          'credential_in_body',
          'a tag of deputy (a run token, an assertion or an application’s key) stands in the body: it belongs into a header, and the provider must not see it',
        )
    },
  }
}
