import { expect, test } from 'vitest'
import { createUlid, madeAt } from '../proxy/ulid.ts'

const ULID = /^[0-9A-HJKMNP-TV-Z]{26}$/

test('ids are ULIDs, and no two are the same, also past the letters made in advance', () => {
  const next = createUlid(() => 1_800_000_000_000)
  const ids = Array.from({ length: 1_000 }, next)
  expect(ids.filter((id) => !ULID.test(id))).toEqual([])
  expect(new Set(ids).size).toBe(1_000)
})

test('their first ten digits are the time, so that they sort by it', () => {
  let now = 1
  const next = createUlid(() => now)
  expect(next().slice(0, 10)).toBe('0000000001')
  now = 32
  expect(next().slice(0, 10)).toBe('0000000010')
  // The example of the specification.
  now = 1_469_918_176_385
  expect(next().slice(0, 10)).toBe('01ARYZ6S41')
  now = 2 ** 48 - 1
  expect(next().slice(0, 10)).toBe('7ZZZZZZZZZ')
  const times = [1, 31, 32, 1_023, 1_024, 1_800_000_000_000]
  const ids = times.map((time) => {
    now = time
    return next()
  })
  expect(ids.toSorted()).toEqual(ids)
})

test('their other digits are random: every letter comes, at every place', () => {
  const next = createUlid(() => 5)
  const ids = Array.from({ length: 2_000 }, next)
  for (let place = 10; place < 26; place += 1)
    expect(new Set(ids.map((id) => id[place])).size).toBe(32)
})

test('their time can be read back; what is none has no time', () => {
  for (const time of [1, 1_469_918_176_385, 2 ** 48 - 1])
    expect(madeAt(createUlid(() => time)())).toBe(time)
  for (const none of ['', 'call', '01ARYZ6S41', 'U'.repeat(26), '0'.repeat(27)])
    expect(madeAt(none)).toBeNaN()
})
