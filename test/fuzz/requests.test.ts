// The generator: the same requests for the same seed, and every kind of oddness among them.
import { expect, test } from 'vitest'
import { FORGED, HIDDEN } from './pick.ts'
import { generated, WAYS } from './requests.ts'

const texts = (seed: number, count: number): readonly string[] =>
  generated(seed, count, 0, '127.0.0.1:1').map(({ bytes }) => bytes.toString('latin1'))

test('a seed gives the same requests again, and another seed others', () => {
  expect(texts(1, 50)).toEqual(texts(1, 50))
  expect(texts(1, 50)).not.toEqual(texts(2, 50))
})

test('each request bears its own name', () => {
  const cases = generated(3, 100, 7, 'h')
  expect(cases.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, i) => `c${i + 7}`))
  // Over HTTP/2 it may stand in two frames.
  for (const { id, way, bytes } of cases)
    if (way !== 'http/2') expect(bytes.toString('latin1')).toContain(`${id}/`)
})

test('every way is gone', () => {
  const ways = generated(5, 200, 0, 'h').map(({ way }) => way)
  expect(new Set(ways)).toEqual(new Set(WAYS))
})

test.each([
  FORGED,
  HIDDEN,
  '%2e%2e',
  '%C0%AF',
  '%EF%BC%8F',
  '..;a=b',
  'Deputy-User: bob',
  'title',
  'HTTP/1.0',
  'http://other.test/',
  'Transfer-Encoding',
  'Content-Length: 5, 5',
  '\r\n Bearer',
  'X-HTTP-Method-Override',
  '_method=DELETE',
  'charset=utf-16',
  'Content-Encoding: gzip',
  '\u00ef\u00bb\u00bf{',
  '"Title"',
  'form-data; name="title"',
  '0\r\nAuthorization',
  ';a="b"',
])('3,000 requests hold %s', (what) => {
  expect(texts(4, 3_000).filter((text) => text.includes(what)).length).toBeGreaterThan(0)
})
