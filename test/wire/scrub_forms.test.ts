import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tokenScrubbers } from '../../proxy/wire/scrub.ts'
import { atEdges, inCharset } from '../../proxy/wire/scrub_forms.ts'
import type { TokenScrubber } from '../../proxy/wire/scrub.ts'

const TOKEN = 'gho_16C7e42F292c6912E7710c838347Ae178B4a'
const through = (scrubber: TokenScrubber, chunks: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat([...chunks.map((chunk) => scrubber.push(Buffer.from(chunk))), scrubber.end()])
const part = (...chunks: readonly string[]): readonly [string, number] => {
  const scrubber = atEdges(tokenScrubbers(TOKEN)(), TOKEN)
  return [through(scrubber, chunks).toString(), scrubber.hits()]
}
const end = (bytes: number): string => TOKEN.slice(-bytes)
const start = (bytes: number): string => TOKEN.slice(0, bytes)
const stars = '*'.repeat.bind('*')
const more = 'x'.repeat(100)

describe('a part of a document', () => {
  test.each([
    ['the end of a token at its start', `${end(8)}${more}`, `${stars(8)}${more}`, 1],
    ['all but a byte', `${end(39)}${more}`, `${stars(39)}${more}`, 1],
    ['fewer bytes than say something', `${end(7)}${more}`, `${end(7)}${more}`, 0],
    ['the start of a token at its end', `${more}${start(8)}`, `${more}${stars(8)}`, 1],
    ['all but the last', `${more}${start(39)}`, `${more}${stars(39)}`, 1],
    ['too few at the end', `${more}${start(7)}`, `${more}${start(7)}`, 0],
    ['both', `${end(20)}a${start(20)}`, `${stars(20)}a${stars(20)}`, 2],
    ['the middle alone', TOKEN.slice(5, 30), stars(25), 1],
    ['eight bytes of the middle', TOKEN.slice(5, 13), stars(8), 1],
    ['seven', TOKEN.slice(5, 12), TOKEN.slice(5, 12), 0],
    ['the end of a token in the middle', `a${end(20)}${more}`, `a${end(20)}${more}`, 0],
    ['the whole token', `${more}${TOKEN}${more}`, `${more}[redacted]${stars(30)}${more}`, 1],
    ['nothing', '', '', 0],
    ['less than a token', 'abc', 'abc', 0],
  ])('%s', (_what, given, left, hits) => {
    expect(part(given)).toEqual([left, hits])
  })

  test('whatever the chunks, it is the same, and as long as it was', () => {
    const piece = fc.constantFrom(end(20), start(20), TOKEN, 'x', more, end(8), start(8))
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 5 }),
        fc.array(fc.nat(300), { maxLength: 6 }),
        (pieces, cuts) => {
          const text = pieces.join('')
          const at = [...cuts, text.length].toSorted((a, b) => a - b)
          const chunks = at.map((to, i) => text.slice(at[i - 1] ?? 0, to))
          expect(part(...chunks)).toEqual(part(text))
          expect(part(text)[0].length).toBe(text.length)
        },
      ),
    )
  })

  test('what cannot be a part any more goes on at once', () => {
    const scrubber = atEdges(tokenScrubbers(TOKEN)(), TOKEN)
    expect(scrubber.push(Buffer.from(more)).length).toBe(more.length - TOKEN.length + 1)
    expect(scrubber.push(Buffer.from(more)).length).toBe(more.length)
  })

  test('what stands in the middle is no edge, wherever the chunks begin', () => {
    expect(part(`${more}${end(39)}`, `y${more}`)).toEqual([`${more}${end(39)}y${more}`, 0])
    expect(part(`${more}x`, end(39))).toEqual([`${more}x${end(39)}`, 0])
  })

  test('a short token has no parts', () => {
    const scrubber = atEdges(tokenScrubbers('abcdefgh')(), 'abcdefgh')
    expect(through(scrubber, ['cdefghxabcdef']).toString()).toBe('cdefghxabcdef')
  })

  test('the bytes of the socket are never written to', () => {
    const chunk = Buffer.from(`${end(20)}${more}${start(20)}`)
    const before = chunk.toString()
    through(atEdges(tokenScrubbers(TOKEN)(), TOKEN), [chunk])
    const scrubber = atEdges(tokenScrubbers(TOKEN)(), TOKEN)
    scrubber.push(chunk)
    scrubber.end()
    expect(chunk.toString()).toBe(before)
  })
})

const wide = (text: string, bytes: 2 | 4, first: boolean): Buffer =>
  Buffer.concat(
    text.split('').map((char) => {
      const one = Buffer.alloc(bytes)
      one.write(char, first ? 0 : bytes - 1, 'latin1')
      return one
    }),
  )

describe('a charset', () => {
  test.each([
    ['utf-16', 2],
    ['UTF-16LE', 2],
    ['utf-16be', 2],
    ['"utf16"', 2],
    ['ucs-2', 2],
    ['iso-10646-ucs-2', 2],
    ['unicode', 2],
    ['csUnicode', 2],
    ['unicodeFFFE', 2],
    ['cp1200', 2],
    ['UTF_16_LE', 2],
    ['utf-16le-bom', 2],
    ['utf-32', 4],
    ['utf-32le', 4],
    ['utf32be', 4],
    ['ucs-4', 4],
  ] as const)('in %s the token is found, whichever byte comes first', (charset, bytes) => {
    for (const first of [true, false]) {
      const inner = tokenScrubbers(TOKEN)()
      const scrubber = inCharset(inner, TOKEN, `text/plain; charset=${charset}`)
      if (scrubber === null) throw new Error('it is not searched')
      const text = wide(`a${TOKEN}b`, bytes, first)
      const cut = 3 * bytes + 1
      const left = through(scrubber, [text.subarray(0, cut), text.subarray(cut)])
      expect(left.toString('latin1').replaceAll('\0', '')).toMatch(/^a\[redacted\]\**b$/)
      expect([left.length, scrubber.hits()]).toEqual([text.length, 1])
      expect(scrubber.text(TOKEN)).toMatch(/^\[redacted\]/)
      const plain = inCharset(tokenScrubbers(TOKEN)(), TOKEN, `a/b;charset=${charset}`)
      expect(plain === null ? '' : through(plain, [TOKEN]).toString()).toMatch(/^\[redacted\]/)
    }
  })

  test.each([
    'text/plain',
    'text/plain; charset=utf-8',
    'text/plain; charset="UTF-8"',
    'text/plain; charset=iso-8859-1',
    'text/plain; charset=windows-1252',
    'text/plain; charset=cp1252',
    'text/plain; charset=shift_jis',
    'text/plain; x=utf-16',
    '',
  ])('%s is searched as it is', (type) => {
    const inner = tokenScrubbers(TOKEN)()
    expect(inCharset(inner, TOKEN, type)).toBe(inner)
  })

  test.each([
    'utf-7',
    'UTF7',
    'unicode-1-1-utf-7',
    'cp037',
    'IBM037',
    'ibm-1047',
    'cp500',
    'ebcdic-us',
    'cp1140',
  ])('%s cannot be searched', (charset) =>
    expect(inCharset(tokenScrubbers(TOKEN)(), TOKEN, `text/html;charset=${charset}`)).toBeNull(),
  )
})
