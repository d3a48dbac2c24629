import { expect, test } from 'vitest'
import { z } from 'zod'
import { isUnbuilt, refusals, unbuilt } from '../../proxy/config/unbuilt.ts'

const text = z.string()
const schema = z.strictObject({
  marked: unbuilt(text, 'a thing').optional(),
  same: text.optional(),
  some: unbuilt(z.array(text).default([]), (value) =>
    Array.isArray(value) && value.includes('x') ? 'x' : null,
  ),
  deep: z.record(text, z.array(z.union([text, z.strictObject({ in: unbuilt(text, 'depth') })]))),
})

test('a mark is of one key, not of every key with the same schema', () => {
  expect(isUnbuilt(text)).toBe(false)
  expect(refusals(schema, { same: 'a' })).toEqual([])
})

test('what is written is refused with its path, also in lists, maps and alternatives', () => {
  expect(refusals(schema, { some: ['y'], deep: { a: ['b'] } })).toEqual([])
  const refused = { some: ['y', 'x'], deep: { a: ['b', { in: 'c' }] } }
  expect(refusals(schema, refused)).toEqual([
    'some: x is not built in this version of deputy: remove it',
    'deep.a.1.in: depth is not built in this version of deputy: remove it',
  ])
  for (const odd of [null, 1, 'text', [1], { deep: 'x' }]) expect(refusals(schema, odd)).toEqual([])
})

test('a mark inside what is optional counts', () => {
  expect(refusals(schema, { marked: 'a' })).toEqual([
    'marked: a thing is not built in this version of deputy: remove it',
  ])
})
