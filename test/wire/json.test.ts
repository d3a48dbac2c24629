import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  atPointer,
  EXACT,
  exactly,
  hasNumber,
  isMarked,
  markNumbers,
  meansUnauthorized,
  memberAt,
  isDeep,
  parseStrict,
  parseStrictBytes,
  quoted,
  quotedList,
  readStrict,
  isObject,
  utf8Text,
} from '../../proxy/wire/json.ts'
import { cpuMs } from '../support/pace.ts'

const keysOf = (value: unknown): readonly string[] =>
  typeof value === 'object' && value !== null
    ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(keysOf)]
    : []

describe('JSON with one reading', () => {
  test.each([
    ['{"a":1,"a":2}', /"a" stands twice/],
    ['{"a":1,"\\u0061":2}', /"a" stands twice/],
    ['{"x":{"b":1,"b":1}}', /"b" stands twice/],
    ['{"x":[1],"a":1,"a":2}', /"a" stands twice/],
    ['{"a" :1,"a":2}', /"a" stands twice/],
    ['{"a"\n:1,"a"\r:2}', /"a" stands twice/],
    ['{"a"\t:1,"a":2}', /"a" stands twice/],
    ['{"a\\\"b":1}', /a quote, a backslash or a control character/],
    ['{"a\\\\b":1}', /a quote, a backslash or a control character/],
    [`${'['.repeat(65)}${']'.repeat(65)}`, /deeper than 64/],
    ['{"a":1', /JSON/],
  ])('%s is refused', (text, why) => {
    expect(() => parseStrict(text)).toThrow(why)
  })

  test.each([
    ['a key again in another object', '{"a":{"a":1},"b":[{"a":2},{"a":3}]}'],
    ['a value that is its key', '{"a":"a","b":["a","a"]}'],
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`],
    ['many beside each other', `[${'[],{},'.repeat(100)}1]`],
    ['quotes and brackets in a value', '{"a":"}]\\"{[","b":"\\\\"}'],
  ])('%s is read', (_what, text) => {
    expect(parseStrict(text)).toEqual(JSON.parse(text))
  })

  test('half of a surrogate pair is refused where a provider reads the text, and there alone', () => {
    for (const text of ['{"a":"\\ud800"}', '["\\uDFFF x"]']) {
      expect(() => readStrict(text, EXACT)).toThrow(/half of a surrogate pair/)
      expect(parseStrict(text)).toEqual(JSON.parse(text))
    }
    expect(readStrict('["\\ud83d\\ude00"]', EXACT).value).toEqual(['😀'])
  })

  test('an escaped key is the key that it spells, whatever objects were parsed before', () => {
    // What V8 remembers of earlier objects: a key whose raw characters begin like the escaped one.
    for (let i = 0; i < 50; i++) JSON.parse('{"title":1,"access_tok\\\\u":2}')
    const { value, text } = readStrict('{"title":1, "access_tok\\u0065n": "ghp_\\u0078"}')
    expect(Object.keys(value as object)).toEqual(['title', 'access_token'])
    expect(text).toBe('{"title":1, "access_token": "ghp_\\u0078"}')
  })

  test('everything else reads as JSON.parse reads it', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        const text = JSON.stringify(value)
        if (keysOf(value).some((key) => JSON.stringify(key).includes('\\'))) return
        expect(parseStrict(text)).toEqual(JSON.parse(text))
      }),
      { numRuns: 500 },
    )
  })
})

describe('what is written as JSON', () => {
  test.each(['', 'a b', 'a"b', 'a\\b', 'a\nb', 'é', '\u2028', '\ud800'])('%j', (text) => {
    expect(quoted(text)).toBe(JSON.stringify(text))
  })
  test.each([[[]], [['']], [['a', 'b"', 'c']]])('%j', (texts) => {
    expect(quotedList(texts)).toBe(JSON.stringify(texts))
  })
})

describe('a pointer finds', () => {
  const value = { a: { 'b/c': { 'd~e': 1 } }, list: ['x', 'y'], text: 'abc', none: null }
  test.each([
    ['', value],
    ['/a/b~1c/d~0e', 1],
    ['/list/1', 'y'],
    ['/none', null],
    ['/none/x', undefined],
    ['/text/length', undefined],
    ['/text/0', undefined],
    ['/x', undefined],
    ['/toString', undefined],
  ])('%s', (pointer, expected) => {
    expect(atPointer(value, pointer)).toEqual(expected)
  })
})

describe('a provider finds', () => {
  const any = { insensitive: true, spellings: ['emailAddress'] }
  test.each([
    [{ a: { b: 1 } }, '/a/b', EXACT, { value: 1 }],
    [{ 'a/b': { 'c~': 1 } }, '/a~1b/c~0', EXACT, { value: 1 }],
    [{ a: [1, 2] }, '/a/1', EXACT, { value: 2 }],
    [{ a: [1, 2] }, '/a/2', EXACT, undefined],
    [{ a: [{ b: 1 }] }, '/a/b', EXACT, { clash: 'a list' }],
    [{ a: 'abc' }, '/a/0', EXACT, undefined],
    [{ a: null }, '/a/b', EXACT, undefined],
    [{ A: 1 }, '/a', EXACT, { clash: 'the member "A"' }],
    [{ a_b: 1 }, '/aB', any, { clash: 'the member "a_b"' }],
    [{ A: { B: 1 } }, '/a/b', any, { value: 1 }],
    // Of what stands beneath, a spelling that the definition knows, or camel case; and nothing is respelt elsewhere.
    [{ A: { EMAILADDRESS: 1, FooBar: 2 } }, '/a', any, { value: { emailAddress: 1, fooBar: 2 } }],
    [{ a: [{ X: null }, 'Text', null] }, '/a', any, { value: [{ x: null }, 'Text', null] }],
    [{ a: null }, '/a', any, { value: null }],
    [{ a: { FooBar: [{ X: 1 }] } }, '/a', EXACT, { value: { FooBar: [{ X: 1 }] } }],
  ])('in %j at %s, %j: %j', (value, pointer, names, expected) => {
    expect(memberAt(value, pointer, names)).toEqual(expected)
  })
})

test('an answer means that the token is not accepted by a word of the definition, at its place', () => {
  const rules = { pointer: '/error', values: ['invalid_auth', '1'] }
  expect(meansUnauthorized(rules, { error: 'invalid_auth' })).toBe(true)
  for (const body of [{ error: 'other' }, { error: 1 }, { error: ['invalid_auth'] }, {}, null])
    expect(meansUnauthorized(rules, body)).toBe(false)
  expect(meansUnauthorized(null, { error: 'invalid_auth' })).toBe(false)
})

test.each<[unknown, boolean]>([
  [{}, true],
  [Object.create(null), true],
  [[], false],
  [null, false],
  ['x', false],
  [undefined, false],
])('an object is no list and no null: %j', (value, is) => {
  expect(isObject(value)).toBe(is)
})

test('numbers come out as they were written, and nothing else does', () => {
  const text = '["\\u0041",1.0,12345678901234567891,true,null,{"a":-0}]'
  expect(JSON.stringify(JSON.parse(text, exactly))).toBe(
    '["A",1.0,12345678901234567891,true,null,{"a":-0}]',
  )
})

test('a number that this runtime reads as another is marked, wherever it stands', () => {
  for (const lossy of ['9007199254740993', '1e400', '0.10000000000000000001', '-1e-400'])
    for (const text of [lossy, `[1,${lossy}]`, `{"a":{"b":[null,"x",${lossy}]}}`])
      expect(isMarked(markNumbers(text)), text).toBe(true)
  for (const text of [
    '0.0',
    '0e5',
    '-0.00',
    '1.0',
    '1e3',
    '-0',
    '0.1',
    '[9007199254740992,"9007199254740993"]',
    '{}',
  ])
    expect(isMarked(markNumbers(text)), text).toBe(false)
  expect(markNumbers('{"a":[1.50,"1"]}')).toEqual({ a: [1.5, '1'] })
})

test('is there a number in it?', () => {
  for (const value of [0, [1], { a: [{ b: 2 }] }]) expect(hasNumber(value)).toBe(true)
  for (const value of [null, '1', true, [], ['1', null], { a: { b: false } }])
    expect(hasNumber(value)).toBe(false)
})

describe('bytes', () => {
  test('are read as UTF-8 and as nothing else; a mark of order is no part of the text', () => {
    expect(parseStrictBytes(Buffer.from('\ufeff{"a":"ä"}'))).toEqual({ a: 'ä' })
    for (const odd of ['{"a":"\xff"}', '{"a":"\xed\xa0\x80"}', '{"a":"\xc0\xaf"}'])
      expect(() => parseStrictBytes(Buffer.from(odd, 'latin1'))).toThrow(SyntaxError)
    expect(() => utf8Text(Buffer.from('\xff', 'latin1'))).toThrow('it is not UTF-8')
  })
  test('nesting is deep beyond 64, however deep it is', () => {
    const nested = (n: number): unknown => JSON.parse('['.repeat(n) + ']'.repeat(n))
    expect([64, 65, 200_000].map((n) => isDeep(nested(n)))).toEqual([false, true, true])
  })
})

test('a number of many zeros is read in a time that grows with its length', () => {
  const text = `[1${'0'.repeat(200_000)}1]`
  expect(cpuMs(() => expect(isMarked(markNumbers(text))).toBe(true))).toBeLessThan(1_000)
})
