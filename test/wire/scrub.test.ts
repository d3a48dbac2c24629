import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../proxy/problem.ts'
import { tokenScrubbers } from '../../proxy/wire/scrub.ts'

const feed = (
  token: string,
  chunks: readonly Buffer[],
): { out: string; hits: number; held: number } => {
  const scrubber = tokenScrubbers(token)()
  const pieces = chunks.map((chunk) => scrubber.push(chunk))
  const rest = scrubber.end()
  return {
    out: Buffer.concat([...pieces, rest]).toString('latin1'),
    hits: scrubber.hits(),
    held: rest.length,
  }
}
const cutAt = (bytes: Buffer, cuts: readonly number[]): Buffer[] => {
  const marks = [0, ...cuts.map((c) => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return marks.slice(1).map((end, i) => bytes.subarray(marks[i], end))
}

const PLAIN = 'gho_16C7e42F292c6912E7710c838347Ae178B4a'
const ODD = 'ab+cd/ef==&gh"ij<kl~mn.op'

describe('an echoed token is blotted out', () => {
  test.each([
    ['raw', PLAIN, PLAIN],
    ['URL-encoded by a nervous encoder', PLAIN, PLAIN.replace('_', '%5F')],
    ['the same in lower case', PLAIN, PLAIN.replace('_', '%5f')],
    ['form-encoded, where only the tilde is', 'a_aa~aaa', 'a_aa%7Eaaa'],
    ['raw, with signs', ODD, ODD],
    ['in JSON', ODD, JSON.stringify(ODD).slice(1, -1)],
    ['in JSON with escaped slashes', ODD, JSON.stringify(ODD).slice(1, -1).replaceAll('/', '\\/')],
    ['in JSON safe for HTML', ODD, 'ab\\u002bcd/ef==\\u0026gh\\"ij\\u003ckl~mn.op'],
    ['in JSON safe for HTML, upper case', ODD, 'ab\\u002Bcd/ef==\\u0026gh\\"ij\\u003Ckl~mn.op'],
    ['URL-encoded', ODD, encodeURIComponent(ODD)],
    ['URL-encoded in lower case', ODD, 'ab%2bcd%2fef%3d%3d%26gh%22ij%3ckl~mn.op'],
    ['form-encoded', ODD, new URLSearchParams({ a: ODD }).toString().slice(2)],
    ['every sign encoded', ODD, 'ab%2Bcd%2Fef%3D%3D%26gh%22ij%3Ckl%7Emn%2Eop'],
  ])('%s', (_what, token, echo) => {
    const { out, hits } = feed(token, [Buffer.from(`{"a":"${echo}","b":1}`)])
    expect(out).toBe(`{"a":"${'[redacted]'.padEnd(echo.length, '*')}","b":1}`)
    expect(hits).toBe(1)
  })

  test('one byte at a time', () => {
    const { out, hits, held } = feed(
      PLAIN,
      `x${PLAIN}y${PLAIN}`.split('').map((c) => Buffer.from(c)),
    )
    expect(out).not.toContain('16C7')
    expect(hits).toBe(2)
    expect(held).toBe(0)
  })

  test('only a tail that could begin it is held back', () => {
    const scrubber = tokenScrubbers(PLAIN)()
    expect(scrubber.push(Buffer.from('hello gho')).toString()).toBe('hello ')
    expect(scrubber.push(Buffer.from('st')).toString()).toBe('ghost')
    expect(scrubber.push(Buffer.from('gho_')).length).toBe(0)
    expect(scrubber.end().toString()).toBe('gho_')
    expect(scrubber.hits()).toBe(0)
  })

  test('what begins like it and goes on otherwise is not held back', () => {
    const scrubber = tokenScrubbers(PLAIN)()
    for (const text of [`${PLAIN.slice(0, 16)} no more`, `${PLAIN.slice(0, 20)}! `])
      expect(scrubber.push(Buffer.from(text)).toString()).toBe(text)
    // Two beginnings: from the first that may still be it.
    const cut = `${PLAIN.slice(0, 17)}${PLAIN.slice(0, 18)}`
    expect(scrubber.push(Buffer.from(cut)).toString()).toBe(PLAIN.slice(0, 17))
    expect(scrubber.push(Buffer.from(PLAIN.slice(18))).toString()).toMatch(/^\[redacted\]\*+$/)
  })

  test('a token that is not ASCII is found as UTF-8, in any chunking', () => {
    const odd = 'tök€n-äöü-0123'
    const bytes = Buffer.from(`{"a":"${odd}"}`)
    for (let cut = 0; cut < bytes.length; cut++) {
      const { out, hits } = feed(odd, cutAt(bytes, [cut]))
      expect(hits).toBe(1)
      expect(out).not.toContain('0123')
    }
    const said = tokenScrubbers(odd)().text(Buffer.from(`x ${odd}`).toString('latin1'))
    expect(said).toMatch(/^x \[redacted\]/)
  })

  test.each([0, 1, 2, 3, 4, 5])('in base64 of a text in which it begins at %i', (before) => {
    const bytes = Buffer.from(`${'x'.repeat(before)}${ODD}${PLAIN} and more`)
    for (const token of [ODD + PLAIN, ODD])
      for (const code of ['base64', 'base64url'] as const) {
        const text = bytes.toString(code)
        const { out, hits } = feed(token, [Buffer.from(text)])
        // Each character of which no bit is of anything else.
        const [from, to] = [
          Math.ceil((8 * before) / 6),
          Math.floor((8 * (before + token.length)) / 6),
        ]
        expect(hits).toBe(1)
        expect(out.slice(0, from) + out.slice(to)).toBe(text.slice(0, from) + text.slice(to))
        expect(out.slice(from, to)).toBe('[redacted]'.padEnd(to - from, '*').slice(0, to - from))
      }
  })
  test('base64 of a short token is searched as far as it says enough', () => {
    const eight = feed('12345678', [Buffer.from(Buffer.from('12345678').toString('base64'))])
    expect(eight.hits).toBe(1)
    const four = Buffer.from(`${Buffer.from('abcd').toString('base64')} and more`)
    expect(feed('abcd', [four]).out).toBe(four.toString())
  })

  test('one text: raw, escaped, of exactly its length, and none of it', () => {
    const { text, hits } = tokenScrubbers(PLAIN)()
    expect(text(PLAIN)).toMatch(/^\[redacted\]\*+$/)
    expect(text(PLAIN.slice(1))).toBe(PLAIN.slice(1))
    const escaped = `a%5f${PLAIN.replace('_', '%5f').replace('7', '\\u0037')}`
    expect(text(escaped)).toMatch(/^a%5f\[redacted\]\*+$/)
    for (const innocent of ['a%20b & c', '\\u0037 %41', 'Bearer realm="x"'])
      expect(text(innocent)).toBe(innocent)
    expect(hits()).toBe(2)
    const short = tokenScrubbers('abcdefgh')()
    expect(short.text('abcdefgh')).toBe('[redacted]'.slice(0, 8))
  })

  test('an innocent chunk is passed on uncopied, and no chunk is written to', () => {
    const innocent = Buffer.from('nothing here')
    expect(tokenScrubbers(PLAIN)().push(innocent)).toBe(innocent)
    const guilty = Buffer.from(PLAIN)
    tokenScrubbers(PLAIN)().push(guilty)
    expect(guilty.toString()).toBe(PLAIN)
  })

  test('what is held back survives when the socket uses its memory again', () => {
    const scrubber = tokenScrubbers(PLAIN)()
    const chunk = Buffer.from(PLAIN.slice(0, 20))
    scrubber.push(chunk)
    chunk.fill(0)
    expect(scrubber.push(Buffer.from(PLAIN.slice(20))).toString()).toMatch(/^\[redacted\]\*+$/)
  })

  test('an empty token is refused', () => {
    expect(() => tokenScrubbers('')).toThrow(/empty/)
  })

  const char = fc.constantFrom(...'abAB01-._~+/=%"\\&<> '.split(''))
  const token = fc.array(char, { minLength: 8, maxLength: 40 }).map((c) => c.join(''))
  const noise = fc.string({ unit: char, maxLength: 30 })

  test('no chunking lets it through, and the length never changes', () => {
    fc.assert(
      fc.property(
        token,
        fc.array(fc.tuple(noise, fc.nat(5)), { minLength: 1, maxLength: 5 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (t, parts, cuts) => {
          const json = JSON.stringify(t).slice(1, -1)
          const echoes = [t, json, json.replaceAll('/', '\\/'), encodeURIComponent(t)]
          echoes.push(new URLSearchParams([['', t]]).toString().slice(1), t.slice(0, -1))
          const bytes = Buffer.from(parts.map(([text, i]) => text + (echoes[i] ?? '')).join(''))
          const { out, hits } = feed(t, cutAt(bytes, cuts))
          for (const echo of echoes.slice(0, -1)) expect(out).not.toContain(echo)
          expect(out.length).toBe(bytes.length)
          if (hits === 0) expect(out).toBe(bytes.toString('latin1'))
        },
      ),
      { numRuns: 2000 },
    )
  })

  test('bytes that are no text pass unchanged in any chunking', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.nat(), { maxLength: 5 }),
        (raw, cuts) => {
          const bytes = Buffer.from(raw)
          expect(feed(PLAIN, cutAt(bytes, cuts)).out).toBe(bytes.toString('latin1'))
        },
      ),
    )
  })

  test('a token that repeats itself is found at every turn', () => {
    const { out } = feed('abababab', [Buffer.from('xababab'), Buffer.from('ababababy')])
    expect(out).not.toContain('abababab')
  })

  test('bytes that begin a token everywhere and never go on are given up before they cost others their turn', () => {
    const code = (token: string, bytes: string): unknown => {
      try {
        feed(token, [Buffer.from(bytes)])
        return null
      } catch (error) {
        return error instanceof Problem ? error.code : error
      }
    }
    const token = `${'a'.repeat(2_000)}b`
    expect(code(token, 'a'.repeat(64_000))).toBe('answer_not_redactable')
    expect(code(token, `${'a'.repeat(16)}x`.repeat(4_000))).toBe('answer_not_redactable')
    // A list of keys that begin alike is no such thing.
    const jwt = `eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMzQ1Njc4In0.${'Zq3'.repeat(100)}`
    expect(code(jwt, `"${jwt.slice(0, 200)}",`.repeat(4_000))).toBeNull()
  })
})
