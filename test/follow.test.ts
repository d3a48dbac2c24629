import { expect, test } from 'vitest'
import { follow } from '../proxy/follow.ts'

const twice = (n: number): number => 2 * n

test('what is there already is followed at once, and what is awaited once it came', async () => {
  expect(follow(1, twice)).toBe(2)
  const later = follow(Promise.resolve(1), twice)
  expect(later).toBeInstanceOf(Promise)
  expect(await later).toBe(2)
  await expect(follow(Promise.reject(new Error('gone')), twice)).rejects.toThrow('gone')
})
