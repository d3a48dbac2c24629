// The generator: the same requests for the same seed, and every kind of oddness among them.
import { expect, test } from 'vitest'
import { FORGED, generated, HIDDEN } from './requests.ts'

const texts = (seed: number, count: number): readonly string[] =>
  generated(seed, count, 0, '127.0.0.1:1').map(({ bytes }) => bytes.toString('latin1'))

test('a seed gives the same requests again, and another seed others', () => {
  expect(texts(1, 50)).toEqual(texts(1, 50))
  expect(texts(1, 50)).not.toEqual(texts(2, 50))
})

test('each request bears its own name', () => {
  const cases = generated(3, 100, 7, 'h')
  expect(cases.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, i) => `c${i + 7}`))
  for (const { id, bytes } of cases) expect(bytes.toString('latin1')).toContain(`${id}/`)
})

test.each([FORGED, HIDDEN, '%2e%2e', 'Transfer-Encoding', 'Deputy-User: bob', 'title', 'HTTP/1.0'])(
  '3,000 requests hold %s',
  (what) => {
    expect(texts(4, 3_000).filter((text) => text.includes(what)).length).toBeGreaterThan(0)
  },
)
