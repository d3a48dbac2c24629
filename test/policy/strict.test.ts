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
  test.each([
    ['a: 1\nb: 2\na: 3\n', 'x.yaml: line 3: '],
    ['a: !!set {x}\n', 'x.yaml: line 1: '],
    ['a: !!binary aGk=\n', 'x.yaml: line 1: '],
    ['a: !!timestamp 2001-01-01\n', 'x.yaml: line 1: '],
    ['a: !!omap [x: 1]\n', 'x.yaml: line 1: '],
    ['a: !own x\n', 'x.yaml: line 1: '],
    ['a: .inf\n', 'x.yaml: a number is not finite'],
    ['a: [.nan]\n', 'x.yaml: a number is not finite'],
    ['a: [b\n', 'x.yaml: line '],
    [deep(65), 'nested deeper than 64 levels'],
  ])('%s is refused', (text, why) => {
    expect(() => named('x.yaml', text)).toThrow(why)
  })
  test('whose aliases would fill the memory is refused', () => {
    const level = (n: number): string => `l${n}: &l${n} [${`*l${n - 1}, `.repeat(9)}x]`
    const bomb = ['l0: &l0 [x]', ...Array.from({ length: 8 }, (_, n) => level(n + 1))].join('\n')
    expect(() => named('x.yaml', bomb)).toThrow(/^x\.yaml: .*alias/)
    expect(named('x.yaml', 'a: &a [x]\nb: *a\n')).toEqual({ a: ['x'], b: ['x'] })
  })
  test('that is not UTF-8 is refused, whatever it holds', () => {
    expect(() => parseNamed('x.yaml', Buffer.from([0x61, 0x3a, 0x20, 0xff]))).toThrow(
      'x.yaml: not UTF-8',
    )
  })
})
