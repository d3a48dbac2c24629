// What all batches share: their bounds, their words for a part, and which headers of a part have one reading.
import { expect, test } from 'vitest'
import { eachPart, headerRule, inPart, MOST_PARTS, refused } from '../../proxy/envelope/inner.ts'
import { providerOf, refusalOf } from './fixture.ts'

const provider = providerOf({})
const rule = (name: string, value = 'x'): string => {
  const said = refusalOf(() => headerRule(name, value, provider))
  return said.startsWith('passed: ') ? String(JSON.parse(said.slice('passed: '.length))) : 'refused'
}

test('a refusal says which part it is of, and stays what it is', () => {
  const bad = (): never => {
    throw refused('no')
  }
  expect(refusalOf(() => inPart(3, bad))).toBe('request_invalid: part 3: no')
  expect(refusalOf(() => eachPart([1, 2], (n) => (n === 2 ? bad() : n), 4))).toBe(
    'request_invalid: part 6: no',
  )
  expect(() =>
    inPart(1, () => {
      throw new TypeError('mine')
    }),
  ).toThrow(TypeError)
})

test('a batch holds one call at least, and as many as deputy decides', () => {
  const many = (n: number): string => refusalOf(() => eachPart(Array(n).fill(0), () => 0).length)
  expect(many(0)).toContain('holds no call')
  expect(many(MOST_PARTS)).toBe(`passed: ${MOST_PARTS}`)
  expect(many(MOST_PARTS + 1)).toContain(`send at most ${MOST_PARTS}`)
})

test.each<[string, readonly string[]]>([
  ['keep', ['Accept', 'If-Match', 'ConsistencyLevel', 'Prefer', 'User-Agent']],
  ['type', ['content-type', 'Content-Type']],
  ['host', ['Host']],
  ['length', ['Content-Length']],
  ['credential', ['Authorization', 'Cookie', 'x-acme-user', 'X-Api-Key', 'authorization_']],
  [
    'refused',
    [
      'X-HTTP-Method-Override',
      'X_HTTP_Method',
      'Transfer-Encoding',
      'Content-Encoding',
      'Connection',
      'X-Forwarded-Host',
      'Content_Type',
      'Content_Length',
      'a b',
      '',
    ],
  ],
])('%s', (expected, names) => {
  for (const name of names) expect(rule(name), name).toBe(expected)
})

test('a value with a line end is refused', () => {
  expect(rule('Accept', 'a\r\nAuthorization: b')).toBe('refused')
})
