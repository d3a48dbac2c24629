// How the generator chooses: mostly what a client sends, now and then what it should not.
import { array, constantFrom, oneof, record, type Arbitrary } from 'fast-check'

export const of = (...values: readonly string[]): Arbitrary<string> => constantFrom(...values)
export const often = <T>(usual: Arbitrary<T>, odd: Arbitrary<T>, weight = 9): Arbitrary<T> =>
  oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: odd })
/** Few of many, in any order. */
export const some = <T>(value: Arbitrary<T>, most: number, least = 0): Arbitrary<readonly T[]> =>
  array(value, { minLength: least, maxLength: most })
/** UTF-8 once, as latin1 text of its bytes: what is not ASCII goes out as a client writes it. */
export const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

/** A credential of the model's own invention, and a request that hides in a body: neither may ever arrive. */
export const FORGED = 'forged-credential-4b1d'
export const HIDDEN = 'hidden-request-77aa'
export const SMUGGLED = `GET /${HIDDEN}/a HTTP/1.1\r\nHost: api.fuzz.test\r\n\r\n`

/** One change at a place that no list names: `at` from 0 to 1. */
export type Change = { readonly at: number; readonly what: string; readonly how: string }
export const change: Arbitrary<Change> = record({
  at: constantFrom(...Array.from({ length: 97 }, (_, i) => i / 97)),
  how: of('put', 'put', 'instead', 'out', 'twice'),
  what: of(
    '\0',
    '\r',
    '\n',
    '\t',
    ' ',
    '\r\n',
    '\n\n',
    '\r\n\r\n',
    '\u000b',
    '\u007f',
    '\u00a0',
    '\u0085',
    '\u00ff',
    '%',
    '%2f',
    '%5c',
    '%00',
    '%0a',
    '%2e',
    '/',
    '//',
    '/../',
    '\\',
    ';',
    '?',
    '#',
    '&',
    '=',
    '+',
    ':',
    ',',
    '"',
    "'",
    '{',
    '}',
    '[',
    ']',
    '\u00c0\u00af',
    '\u00ef\u00bb\u00bf',
    '0',
    '-',
    '_',
    'x',
  ),
})
/** @param from no change before this index */
export const changed = (text: string, from: number, { at, what, how }: Change): string => {
  const here = from + Math.floor(at * (text.length - from))
  const to = Math.min(text.length, here + 7)
  switch (how) {
    case 'put':
      return text.slice(0, here) + what + text.slice(here)
    case 'instead':
      return text.slice(0, here) + what + text.slice(here + 1)
    case 'out':
      return text.slice(0, here) + text.slice(here + 1)
    default:
      return text.slice(0, to) + text.slice(here)
  }
}
