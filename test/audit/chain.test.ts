import { hash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  anchorText,
  GENESIS,
  isLink,
  isoTime,
  lineAfter,
  linesOf,
  linkOf,
  member,
  record,
  sameLink,
  signedLine,
  unsignedLine,
} from '../../proxy/audit/chain.ts'

const NONE = { proc: 'p', seq: 0, hash: GENESIS }
const first = lineAfter(NONE, '2026-01-01T00:00:00.000Z', 'decision', member('x', 'a"\n\u2028'))

describe('a line', () => {
  test('names the one before it, and is JSON on one line whatever its values say', () => {
    expect(JSON.parse(first)).toEqual({
      v: 1,
      proc: 'p',
      seq: 1,
      prev: GENESIS,
      time: '2026-01-01T00:00:00.000Z',
      event: 'decision',
      x: 'a"\n\u2028',
    })
    expect(first).not.toContain('\n')
  })
  test('is named by its number and the hash of its bytes', () => {
    expect(linkOf(Buffer.from(first))).toEqual({ proc: 'p', seq: 1, hash: hash('sha256', first) })
    expect(linkOf(Buffer.from(`${first} `))?.hash).not.toBe(hash('sha256', first))
  })
  test.each([
    '',
    '{',
    '[]',
    'null',
    '7',
    '{}',
    first.replace('"v":1', '"v":2'),
    first.replace('"seq":1', '"seq":"1"'),
    first.replace('"seq":1', '"seq":1.5'),
  ])('%j is none of ours', (text) => {
    expect(linkOf(Buffer.from(text))).toBeNull()
  })
  test('that is no object is no record', () => {
    expect(record(Buffer.from('{"a":1}'))).toEqual({ a: 1 })
    for (const text of ['', '7', '"x"', 'null', '{"a":1} x'])
      expect(record(Buffer.from(text))).toBeNull()
  })
})

describe('a link', () => {
  const link = { proc: 'p', seq: 1, hash: 'h' }
  test.each([
    [link, true],
    [{ ...link, more: 1 }, true],
    [{ ...link, proc: 1 }, false],
    [{ ...link, seq: 2 ** 53 }, false],
    [{ ...link, hash: null }, false],
    [null, false],
    [undefined, false],
  ])('%j: %s', (value, is) => {
    expect(isLink(value)).toBe(is)
  })
  test('is another where any part of it is', () => {
    expect(sameLink(link, { ...link })).toBe(true)
    for (const other of [{ proc: 'q' }, { seq: 2 }, { hash: 'g' }])
      expect(sameLink(link, { ...link, ...other })).toBe(false)
  })
})

describe('an anchor', () => {
  const bare = lineAfter(NONE, 't', 'chain.anchor', member('anchor', { seq: 1, hash: 'h' }))
  test('is its line with a signature, and gives both back', () => {
    const signed = signedLine(bare, { kid: 'k1', signature: 'c2ln-_' })
    expect(JSON.parse(signed)).toMatchObject({
      anchor: { seq: 1, hash: 'h', kid: 'k1', sig: 'c2ln-_' },
    })
    expect(unsignedLine(signed)).toEqual({ line: bare, kid: 'k1', sig: 'c2ln-_' })
  })
  test('without a signature has none, nor has one that stands elsewhere', () => {
    expect(unsignedLine(bare)).toBeNull()
    const forged = lineAfter(NONE, 't', 'decision', member('x', ',"kid":"k","sig":"s"}}'))
    expect(unsignedLine(forged)).toBeNull()
  })
  test('signs the bytes of its line, and says what it signs', () => {
    expect(anchorText(bare)).toBe(`deputy chain.anchor 2\n${hash('sha256', bare)}`)
    expect(anchorText(Buffer.from(bare))).toBe(anchorText(bare))
    expect(anchorText(`${bare} `)).not.toBe(anchorText(bare))
  })
})

test.each([0, 1, 999, 1_000, 1_799_999_999_999, 1_800_000_000_000.7, -1])(
  'a time of %s ms is its ISO text, also after another',
  (ms) => {
    const iso = isoTime()
    for (const at of [1_800_000_000_000, ms, ms, ms + 1])
      expect(iso(at)).toBe(new Date(Math.floor(at)).toISOString())
  },
)

describe('lines', () => {
  const split = async (...chunks: readonly string[]) => {
    const found: [number, string, boolean][] = []
    const source = async function* () {
      for (const chunk of chunks) yield await Promise.resolve(chunk)
    }
    for await (const { number, bytes, whole } of linesOf(source()))
      found.push([number, bytes.toString(), whole])
    return found
  }
  test.each([
    ['nothing', [], []],
    ['one', ['a\n'], [[1, 'a', true]]],
    [
      'one that broke off',
      ['a\nb'],
      [
        [1, 'a', true],
        [2, 'b', false],
      ],
    ],
    [
      'one that comes in pieces',
      ['a', 'b\nc', '\n'],
      [
        [1, 'ab', true],
        [2, 'c', true],
      ],
    ],
    [
      'empty ones',
      ['\n\n', '\n'],
      [
        [1, '', true],
        [2, '', true],
        [3, '', true],
      ],
    ],
  ])('%s', async (_name, chunks, lines) => {
    expect(await split(...chunks)).toEqual(lines)
  })
})
