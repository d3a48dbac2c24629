import { LRUCache } from 'lru-cache'
import { expect, test } from 'vitest'
import { remembered, room } from '../proxy/memo.ts'

test('each text is judged once, until there are too many; long ones every time', () => {
  const judged: string[] = []
  const size = remembered((text) => (judged.push(text), text.length), 3, 5)
  expect(['a', 'bb', 'a', '', ''].map(size)).toEqual([1, 2, 1, 0, 0])
  expect(judged).toEqual(['a', 'bb', ''])
  expect(['sixsix', 'sixsix'].map(size)).toEqual([6, 6])
  expect(judged.slice(3)).toEqual(['sixsix', 'sixsix'])
  // The fourth empties the memory, so the first is judged again.
  expect(['ccc', 'ccc', 'a'].map(size)).toEqual([3, 3, 1])
  expect(judged.slice(5)).toEqual(['ccc', 'a'])
})

test('a judgement that throws is not remembered', () => {
  let calls = 0
  const judge = remembered((text) => {
    calls++
    if (text === 'bad') throw new Error('no')
    return true
  })
  expect(() => judge('bad')).toThrow('no')
  expect(() => judge('bad')).toThrow('no')
  expect(calls).toBe(2)
})

test('a cache has room for so many, and takes none of it before they come', () => {
  const few = new LRUCache<string, number>(room(3))
  for (const [i, key] of ['a', 'b', 'c', 'a', 'd'].entries())
    if (few.get(key) === undefined) few.set(key, i)
  expect([...few.keys()].toSorted()).toEqual(['a', 'c', 'd'])
  const held = (): number => process.memoryUsage().heapUsed + process.memoryUsage().external
  const before = held()
  const many = new LRUCache<string, number>(room(2_000_000))
  expect(held() - before).toBeLessThan(10_000_000)
  expect(many.size).toBe(0)
})
