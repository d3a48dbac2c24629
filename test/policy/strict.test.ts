import { describe, expect, test } from 'vitest'
import { parseJson, parseNamed } from '../../proxy/policy/strict.ts'

const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)

describe('JSON', () => {
  test('is read as it is', () => {
    const text = '{"a":[1,{"b":null}],"c":"\\"}{","d":{"a":2}}'
    expect(parseJson(text, 'x.json')).toEqual({ a: [1, { b: null }], c: '"}{', d: { a: 2 } })
  })
  test.each([
    ['{"a":1,\n"a":2}', 'x.json: line 2: key "a" is there twice'],
    ['{"a":1,"\\u0061":2}', 'x.json: line 1: key "a" is there twice'],
    ['{"b":[{"a":{},\n\n"a":2}]}', 'x.json: line 3: key "a" is there twice'],
    ['{"__proto__":1,"__proto__":2}', 'key "__proto__" is there twice'],
    [deep(65), 'x.json: line 1: nested deeper than 64 levels'],
    ['{', 'x.json: '],
    ['', 'x.json: '],
    ['{"a":1} x', 'x.json: '],
  ])('%s is refused with its place', (text, why) => {
    expect(() => parseJson(text, 'x.json')).toThrow(why)
  })
  test('the same key in two objects is no second one, and 64 levels are enough', () => {
    expect(parseJson('[{"a":1},{"a":2},{"b":{"a":3},"a":4}]', 'x')).toHaveLength(3)
    expect(() => parseJson(deep(64), 'x')).not.toThrow()
    expect(parseJson('{"a":["x","x"],"b":"a"}', 'x')).toEqual({ a: ['x', 'x'], b: 'a' })
  })
})

const named = (name: string, text: string) => parseNamed(name, Buffer.from(text))
describe('a file', () => {
  test('is read by its name', () => {
    expect(named('x.yaml', 'a: [1, b]\n')).toEqual({ a: [1, 'b'] })
    expect(named('x.yml', 'no\n')).toBe('no')
    expect(() => named('x.json', 'a: 1')).toThrow('x.json: ')
  })
