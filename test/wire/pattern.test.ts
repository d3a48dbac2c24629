import { expect, test } from 'vitest'
import { fits } from '../../proxy/wire/pattern.ts'

test.each([
  ['alice', 'alice', true],
  ['alice', 'alice2', false],
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
  ['ab*ba', 'aba', false],
  ['[a-z]+', 'abc', false],
  ['[a-z]+', '[a-z]+', true],
])('%s and %s: %s', (pattern, text, fit) => {
  expect(fits(pattern, text)).toBe(fit)
})
