// Slots are given back and used again; what stands in them is told without the empty ones.
import { expect, test } from 'vitest'
import { createSlots } from '../../proxy/pipeline/slots.ts'

test('a slot that was given back is used again, and holds nothing meanwhile', () => {
  const slots = createSlots<string>()
  const first = slots.add('a')
  slots.add('b')
  slots.remove(first)
  expect([slots.size(), slots.values()]).toEqual([1, ['b']])
  expect(slots.add('c')).toBe(first)
  expect([slots.size(), slots.values()]).toEqual([2, ['c', 'b']])
})

test('the values are a copy', () => {
  const slots = createSlots<string>()
  slots.add('a')
  slots.values().pop()
  expect(slots.values()).toEqual(['a'])
})
