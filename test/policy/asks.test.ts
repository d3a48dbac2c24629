import { expect, test } from 'vitest'
import { asksOf } from '../../proxy/policy/asks.ts'

const zones = (...names: readonly unknown[]) => ({
  github: { a: { when: names.map((zone) => ({ zone })) }, b: { when: [] }, odd: 7 },
  odd: null,
})

test('the zones that rows name, each once', () => {
  expect(asksOf(zones('UTC', 'Europe/Berlin', 'UTC')).zones).toEqual(['Europe/Berlin', 'UTC'])
  expect(asksOf(undefined).zones).toEqual([])
  expect(asksOf(zones()).zones).toEqual([])
})

test('a zone that there is not, and more than the input should hold, are errors', () => {
  expect(() => asksOf(zones('Europe/Berlim'))).toThrow(/Europe\/Berlim: there is none/)
  const many = Intl.supportedValuesOf('timeZone').slice(0, 33)
  expect(() => asksOf(zones(...many))).toThrow('name 33 time zones, and may name 32 at most')
  expect(asksOf(zones(...many.slice(1))).zones).toHaveLength(32)
})
