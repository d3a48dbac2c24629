import { expect, test } from 'vitest'
import { concerns, fits, inFamily } from '../../proxy/wire/pattern.ts'

test.each([
  ['alice', 'alice', true],
  ['alice', 'alice2', false],
  ['alice*', 'mallory', false],
  ['*', '', true],
  ['*', 'anybody', true],
  ['*@acme.example', 'alice@acme.example', true],
  ['*@acme.example', '@acme.example', true],
  ['*@acme.example', 'alice@acme.example.evil', false],
  ['*@acme.example', 'alice@ACME.example', false],
  ['*@acme.example', 'alice@acmexexample', false],
  ['a*b*c', 'a-b-c', true],
  ['a*b*c', 'abc', true],
  ['a*b*c', 'acb', false],
  ['a*x*c', 'abc', false],
  ['ab*ba', 'aba', false],
  ['[a-z]+', 'abc', false],
  ['[a-z]+', '[a-z]+', true],
])('%s and %s: %s', (pattern, text, fit) => {
  expect(fits(pattern, text)).toBe(fit)
})

test.each([
  ['issues.get', 'issues.get', true],
  ['issues.get', 'issues.getAll', false],
  ['issues.*', 'issues.get', true],
  ['issues.*', 'issues.comments.list', true],
  ['issues.*', 'issues', false],
  ['issues.*', 'issuesx.get', false],
  ['issues*', 'issues.get', false],
  ['', 'issues.get', false],
])('%s is of %s: %s, and concerns it as well', (named, id, same) => {
  expect(inFamily(named, id)).toBe(same)
  expect(concerns(named, id)).toBe(same)
})

test('everything is concerned by *, and is no family', () => {
  expect(concerns('*', 'issues.get')).toBe(true)
  expect(inFamily('*', 'issues.get')).toBe(false)
})
