import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { Problem } from '../../proxy/problem.ts'
import { escapedText } from '../../proxy/wire/escape.ts'
import { tokenScrubbers } from '../../proxy/wire/scrub.ts'

const hex = (char: string): string => char.charCodeAt(0).toString(16).padStart(2, '0')
const mixed = (text: string, n: number): string =>
  text
    .split('')
    .map((c, i) => ((n >> (i % 8)) & 1 ? c.toUpperCase() : c))
    .join('')
/** One character as some encoder writes it. */
const written = (char: string, way: number, n: number): string =>
  [
    char,
    `%${mixed(hex(char), n)}`,
    `\\u00${mixed(hex(char), n)}`,
    `\\x${mixed(hex(char), n)}`,
    `&#x${mixed(hex(char), n)};`,
    `&#${char.charCodeAt(0)};`,
    `&#0${char.charCodeAt(0)};`,
    `&#${char.charCodeAt(0)}`,
    `\\u{${mixed(hex(char), n)}}`,
  ][way] ?? char
const through = (token: string, bytes: Buffer, cuts: readonly number[]) => {
  const scrubber = tokenScrubbers(token)()
  const marks = [0, ...cuts.map((c) => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  const parts = marks.slice(1).map((end, i) => scrubber.push(bytes.subarray(marks[i], end)))
  const out = Buffer.concat([...parts, scrubber.end()]).toString('latin1')
  return { out, hits: scrubber.hits() }
}
const char = fc.constantFrom(...'abcXYZ019-._~+/=%\\&"'.split(''))
const token = fc.array(char, { minLength: 12, maxLength: 40 }).map((c) => c.join(''))

test('whatever characters are escaped, and wherever the chunks end, the token does not come out', () => {
  fc.assert(
    fc.property(
      token,
      fc.array(fc.tuple(fc.nat(8), fc.nat(255)), { minLength: 40, maxLength: 40 }),
      fc.array(fc.nat(), { maxLength: 6 }),
      (t, ways, cuts) => {
        const echo = t
          .split('')
          .map((c, i) => written(c, ...(ways[i] ?? [0, 0])))
          .join('')
        const whole = Buffer.from(`<<${echo}>>`, 'latin1')
        const { out, hits } = through(t, whole, cuts)
        expect(out).not.toContain(echo)
        expect(out).toHaveLength(whole.length)
        expect(hits).toBeGreaterThan(0)
      },
    ),
    { numRuns: 3_000 },
  )
})

test('text that holds escapes and no token passes byte for byte', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(char, fc.nat(8), fc.nat(255)), { maxLength: 120 }),
      fc.array(fc.nat(), { maxLength: 6 }),
      (chars, cuts) => {
        const text = chars.map((one) => written(...one)).join('')
        const { out, hits } = through('gho_16C7e42F292c6912E7710c83', Buffer.from(text), cuts)
        expect(out).toBe(text)
        expect(hits).toBe(0)
      },
    ),
  )
})

test('escapes of characters that the text has not are not searched', () => {
  const rule = escapedText('abcdef')
  expect(rule.possible(Buffer.from('a%2Fb and \\u003d and \\n too'))).toBe(false)
  for (const way of ['\\u0061', '\\u{61}', '\\x61', '%61', '&#97;'])
    expect(rule.possible(Buffer.from(`${way} it is`))).toBe(true)
  expect(rule.possible(Buffer.from('it ends with \\u0'))).toBe(true)
})

test('escapes that do not go on as the text hold nothing back', () => {
  const scrubber = tokenScrubbers('gho_16C7e42F292c6912E7710c83')()
  for (const text of ['gh%6f no', 'it is g\\u0068o_15', '%67ho_%31%35 and more'])
    expect(scrubber.push(Buffer.from(text)).toString()).toBe(text)
  expect(scrubber.push(Buffer.from('%67%68')).toString()).toBe('')
  expect(scrubber.end().toString()).toBe('%67%68')
})

test('a slash may be escaped by itself, a letter may not', () => {
  const t = 'abc/nop+qrs/tuv=='
  expect(through(t, Buffer.from('abc\\/nop%2bqrs\\/tuv=='), []).hits).toBe(1)
  expect(through(t, Buffer.from('abc\\/\\nop%2bqrs\\/tuv=='), []).hits).toBe(0)
})

test.each(['base64', 'base64url'] as const)(
  '%s of a text that holds the token, at every place',
  (code) => {
    const t = 'gho_16C7e42F292c6912E7710c>>?838347Ae178B4a'
    for (const before of ['', 'x', 'xy', 'alice:', 'x-access-token:', '{"token":"'])
      for (const after of ['', '"}', '\n']) {
        const echo = Buffer.from(`${before}${t}${after}`).toString(code)
        for (let cut = 0; cut < echo.length; cut += 7) {
          const { out, hits } = through(t, Buffer.from(`{"a":"${echo}"}`), [cut])
          expect(hits).toBe(1)
          expect(Buffer.from(out, code).toString()).not.toContain(t.slice(4, 20))
        }
      }
  },
)

test('a text that repeats itself, in bytes made for it, is given up before it costs others their turn', () => {
  const code = (text: string, bytes: string): string | null => {
    try {
      through(text, Buffer.from(bytes), [])
      return null
    } catch (error) {
      return error instanceof Problem ? error.code : String(error)
    }
  }
  const repeating = `${'a'.repeat(2_000)}b`
  expect(code(repeating, '%61'.repeat(20_000))).toBe('answer_not_redactable')
  expect(code(repeating, `${'a'.repeat(60_000)}%61`)).toBe('answer_not_redactable')
  // Keys that begin alike are no such thing.
  const jwt = `eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4In0.${'Zq3'.repeat(900)}`
  expect(code(jwt, `"${jwt.slice(0, 300)}\\u003d",`.repeat(4_000))).toBeNull()
})
