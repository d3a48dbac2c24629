import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseStrict } from '../../proxy/wire/json.ts'

const keysOf = (value: unknown): readonly string[] =>
  typeof value === 'object' && value !== null
    ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(keysOf)]
    : []

describe('JSON with one reading', () => {
  test.each([
    ['{"a":1,"a":2}', /"a" stands twice/],
    ['{"a":1,"\\u0061":2}', /"a" stands twice/],
    ['{"x":{"b":1,"b":1}}', /"b" stands twice/],
    ['{"a\\\"b":1}', /a quote, a backslash or a control character/],
    ['{"a\\\\b":1}', /a quote, a backslash or a control character/],
    [`${'['.repeat(65)}${']'.repeat(65)}`, /deeper than 64/],
    ['{"a":1', /JSON/],
  ])('%s is refused', (text, why) => {
    expect(() => parseStrict(text)).toThrow(why)
  })

  test('an escaped key is the key that it spells, whatever objects were parsed before', () => {
    // What V8 remembers of earlier objects: a key whose raw characters begin like the escaped one.
    for (let i = 0; i < 50; i++) JSON.parse('{"title":1,"access_tok\\\\u":2}')
    const value = parseStrict('{"title":1,"access_tok\\u0065n":"ghp_x"}')
    expect(Object.keys(value as object)).toEqual(['title', 'access_token'])
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
