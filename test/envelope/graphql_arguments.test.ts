// The arguments that policy sees are those that the server will run with: variables filled in, and nothing with two readings.
import { describe, expect, test } from 'vitest'
import { readGraphql } from '../../proxy/envelope/graphql.ts'
import { markNumbers } from '../../proxy/wire/json.ts'
import { refusalOf } from './fixture.ts'

const given = (query: string, variables: object | string, ...pointers: readonly string[]) => {
  const said = typeof variables === 'string' ? variables : JSON.stringify(variables)
  const text = `{"query":${JSON.stringify(query)},"variables":${said}}`
  const [field] = readGraphql(JSON.parse(text), () => markNumbers(text))
  return field?.given(pointers)
}

describe('a value', () => {
  test.each<[string, string, object, unknown]>([
    ['stands in the document', '{ a(x: { y: "z" }) }', {}, 'z'],
    ['is a variable', 'query($v: T) { a(x: $v) }', { v: { y: 'z' } }, 'z'],
    ['is a variable in an object', 'query($v: T) { a(x: { y: $v }) }', { v: 'z' }, 'z'],
    ['is the default of one', 'query($v: T = { y: "z" }) { a(x: $v) }', {}, 'z'],
    ['is null where null was given', 'query($v: T = "d") { a(x: { y: $v }) }', { v: null }, null],
    ['is not there where nothing was given', 'query($v: T) { a(x: { y: $v }) }', {}, undefined],
    ['is an enum by its name', '{ a(x: { y: RED }) }', {}, 'RED'],
    ['is a list with a hole', 'query($v: T) { a(x: { y: [1, $v, true] }) }', {}, [1, null, true]],
    [
      'hides in a fragment',
      'query($v: T) { ...F } fragment F on Q { a(x: { y: $v }) }',
      { v: 1 },
      1,
    ],
    ['is a block of text', '{ a(x: { y: """\n  z\n  """ }) }', {}, 'z'],
  ])('%s', (_, query, variables, value) => {
    expect(given(query, variables, '/x/y')).toEqual(value === undefined ? {} : { '/x/y': value })
  })

  test('enters only where the operation names it', () => {
    expect(given('{ a(x: 1, secret: "s") }', {}, '/x')).toEqual({ '/x': 1 })
    expect(given('{ a(x: 1) }', {})).toEqual({})
  })
})

test.each<[string, string, object | string]>([
  ['an argument twice', '{ a(x: 1, x: 2) }', {}],
  ['a member twice', '{ a(x: { y: 1, y: 2 }) }', {}],
  ['a variable that is not defined', '{ a(x: $v) }', { v: 1 }],
  ['a variable that is defined twice', 'query($v: T, $v: U) { a(x: $v) }', { v: 1 }],
  ['two fields of one name with other arguments', '{ a(x: 1) a(x: 2) }', {}],
  ['the same by variables', 'query($v: T) { a(x: 1) a(x: $v) }', { v: 2 }],
  ['another spelling of the argument', '{ a(X: 1) }', {}],
  ['a number that others round', '{ a(x: 9007199254740993) }', {}],
  ['the same in a variable', 'query($v: T) { a(x: $v) }', '{"v":9007199254740993}'],
  ['the same in the default of one', 'query($v: T = 1e400) { a(x: $v) }', {}],
])('%s is refused', (_, query, variables) => {
  expect(refusalOf(() => given(query, variables, '/x'))).toMatch(/^request_invalid: /)
})

test('a value may be nested as deep as JSON', () => {
  const nested = (n: number) => `{ a(x: ${'['.repeat(n)}1${']'.repeat(n)}) }`
  expect(given(nested(63), {}, '/x')).toHaveProperty('/x')
  expect(refusalOf(() => given(nested(64), {}, '/x'))).toContain('nested deeper than 64')
  const inner = `query($v: T = ${nested(64).slice(7, -3)}) { a(x: $v) }`
  expect(refusalOf(() => given(inner, {}, '/x'))).toContain('nested deeper than 64')
})

test('fields that merge with the same arguments are one', () => {
  expect(given('query($v: T) { a(x: 1) { b } a(x: $v) { c } }', { v: 1 }, '/x')).toEqual({
    '/x': 1,
  })
})

test('what a selection names beneath a field: its fields, and its types by conditions', () => {
  const [field] = readGraphql({
    query:
      '{ viewer { me: email ...U ... on Bot { apiKeys { id } } } } fragment U on User { teams { ...T } } fragment T on Team { name }',
  })
  expect(field?.field).toMatchObject({
    types: ['Bot', 'Team', 'User'],
    selects: ['apiKeys', 'email', 'id', 'name', 'teams'],
  })
})
