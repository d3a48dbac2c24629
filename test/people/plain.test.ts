// Foreign text on a page: escaped, and nothing in it that a reader would not see.
import { expect, test } from 'vitest'
import { plain, readable } from '../../proxy/people/plain.ts'

const shown = async (text: string): Promise<string> => String(await plain(text))

test('markup stays text', async () => {
  expect(await shown('<script>alert("x")</script> & more')).toBe(
    '<bdi>&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; more</bdi>',
  )
})

test.each([
  ['right to left', '\u202e', '202E'],
  ['an isolate', '\u2066', '2066'],
  ['nothing wide', '\u200b', '200B'],
  ['a byte order mark', '\ufeff', 'FEFF'],
  ['an escape', '\u001b', '001B'],
  ['a bell', '\u0007', '0007'],
  ['a line that is drawn back', '\r', '000D'],
  ['another line end', '\u2028', '2028'],
  ['a tag character', '\u{e0041}', 'E0041'],
  ['a filler', '\u3164', '3164'],
  ['a variation selector, which can carry a byte', '\u{e0142}', 'E0142'],
  ['one of the old sixteen', '\ufe01', 'FE01'],
  ['the one for pictures, behind a letter', '\ufe0f', 'FE0F'],
  ['a joiner of graphemes', '\u034f', '034F'],
  ['a mark of Mongolian', '\u180b', '180B'],
  ['half a pair', '\ud800', 'D800'],
])('%s is named', async (_name, one, code) => {
  expect(await shown(`a${one}b`)).toBe(`<bdi>a<mark>U+${code}</mark>b</bdi>`)
})

test('lines and tabs stay, umlauts and other scripts too', async () => {
  expect(await shown('ä\tß\r\n東京\n')).toBe('<bdi>ä\tß\n東京\n</bdi>')
  expect(await shown('\u2764\ufe0f')).toBe('<bdi>\u2764\ufe0f</bdi>')
  expect(await shown('\u2764\ufe0f\ufe0f')).toBe('<bdi>\u2764\ufe0f<mark>U+FE0F</mark></bdi>')
})

test('what is mostly unseen is no text', () => {
  expect(readable('\u0007'.repeat(1_000))).toBe(true)
  expect(readable('\u0007'.repeat(1_001))).toBe(false)
  expect(readable('line\n'.repeat(5_000))).toBe(true)
})
