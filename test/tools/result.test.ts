// What is kept of an answer, cut to a limit, and how to go on.
import { assert, integer, jsonValue, property } from 'fast-check'
import { expect, test } from 'vitest'
import type { Json } from '../../proxy/model.ts'
import { fitted, nextOf } from '../../proxy/tools/result.ts'
import { toolNamed } from './sample.ts'

const size = (value: Json): number => Buffer.byteLength(JSON.stringify(value))

test('what fits stays the same thing', () => {
  const value = { a: [1, 2, 3] }
  expect(fitted(value, 100)).toBe(value)
})

test('short members stay whole, long ones end', () => {
  const cut = fitted(
    { id: 'n1', text: 'x'.repeat(1_000), list: Array.from({ length: 500 }, (_, i) => i) },
    300,
  ) as { id: string; text: string; list: number[] }
  expect(cut.id).toBe('n1')
  expect(cut.text.endsWith('…')).toBe(true)
  expect(cut.list.slice(0, 3)).toEqual([0, 1, 2])
  expect(size(cut)).toBeLessThanOrEqual(300)
})

test('a character is never cut in two', () => {
  expect(fitted('ü'.repeat(100), 51)).toMatch(/^ü+…$/)
})

test('whatever comes fits, or is as small as it gets', () => {
  assert(
    property(jsonValue({ maxDepth: 4 }), integer({ min: 64, max: 400 }), (value, bytes) => {
      const cut = fitted(value as Json, bytes)
      expect(size(cut)).toBeLessThanOrEqual(Math.max(bytes, 64))
    }),
  )
})

test('the next arguments have the type that they are taken in', () => {
  const tool = {
    ...toolNamed('Acme.ListNotes'),
    next: [['n', { kind: 'literal', value: '7' }]],
  } as never
  expect(
    nextOf(tool, { args: new Map(), steps: new Map(), links: new Map(), item: undefined }),
  ).toEqual({ n: 7 })
})
