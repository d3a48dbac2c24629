import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { secret } from '../proxy/secret.ts'

const VALUE = 'at-0123456789abcdef'

test('a secret gives its value to whoever asks for it by name', () => {
  expect(secret(VALUE).reveal()).toBe(VALUE)
  expect(secret('').reveal()).toBe('')
})

test.each<[string, (one: unknown) => string]>([
  ['JSON', (one) => JSON.stringify({ deep: [one] })],
  ['a text', (one) => String(one)],
  ['a sum of texts', (one) => ''.concat(one as string)],
  ['util.inspect', (one) => inspect({ deep: { one } }, { depth: 9, showHidden: true })],
  ['an Error’s message', (one) => String(new Error(one as string))],
  [
    'its members',
    (one) => JSON.stringify(Object.entries(one as object).map(([, value]) => String(value))),
  ],
])('%s never has it', (_name, print) => {
  expect(print(secret(VALUE))).not.toContain(VALUE)
})

test.each<[string, (one: unknown) => string]>([
  ['JSON', (one) => JSON.stringify(one)],
  ['a text', (one) => `"${String(one)}"`],
  ['util.inspect', (one) => `"${inspect(one)}"`],
])('in its place %s says that something is hidden', (_name, print) => {
  expect(print(secret(VALUE))).toBe('"[redacted]"')
})

test('it cannot be sent to a thread, nor changed', () => {
  expect(() => structuredClone(secret(VALUE))).toThrow(/could not be cloned/)
  const one = secret(VALUE)
  expect(() => Object.assign(one, { reveal: () => 'other' })).toThrow(TypeError)
  expect(one.reveal()).toBe(VALUE)
})
