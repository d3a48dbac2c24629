import { expect, test } from 'vitest'
import type { Full, Take } from '../../proxy/model.ts'
import { createCounting } from '../../proxy/vault/counting.ts'

const take = (key: string): readonly Take[] => [
  { key: [key], person: null, windowMs: 1_000, limit: 1, amount: 1 },
]
const keyOf = (takes: readonly Take[]): string | undefined => takes[0]?.key[0]

const counting = (
  answer: (keys: readonly (string | undefined)[]) => Promise<readonly (Full | null)[]>,
) => {
  const batches: (readonly (string | undefined)[])[] = []
  const clock = { ms: 0, now: () => 0, mono: () => clock.ms }
  const count = createCounting({
    clock,
    limits: {
      take: (calls) => {
        batches.push(calls.map(keyOf))
        return answer(calls.map(keyOf))
      },
    },
  })
  return { count, batches, clock }
}
const codes = async (asked: readonly Promise<unknown>[]): Promise<readonly unknown[]> =>
  (await Promise.allSettled(asked)).map((one) =>
    one.status === 'fulfilled' ? one.value : (one.reason as { code: unknown }).code,
  )

test('calls that come together share a transaction, each with its own answer; one transaction at a time', async () => {
  let running = 0
  const { count, batches } = counting(async (keys) => {
    expect(++running).toBe(1)
    await new Promise(setImmediate)
    running--
    return keys.map((key) => (key === 'full' ? { at: 0, retryMs: 5 } : null))
  })
  const first = ['a', 'full', 'b'].map((key) => count(take(key)))
  expect(await Promise.all(first)).toEqual([null, { at: 0, retryMs: 5 }, null])
  expect(batches).toEqual([['a', 'full', 'b']])
  const many = Array.from({ length: 200 }, (_, i) => count(take(`${i}`)))
  expect((await Promise.all(many)).every((full) => full === null)).toBe(true)
  expect(batches.slice(1).map((batch) => batch.length)).toEqual([64, 64, 64, 8])
})

test('a store that fails, or answers too little, lets nobody through, and the next are counted again', async () => {
  const answers = [
    () => Promise.reject(new Error('cut')),
    () => Promise.resolve([null]),
    () => Promise.resolve([null, null]),
  ]
  const { count } = counting(() => answers.shift()?.() ?? Promise.resolve([]))
  const two = (): Promise<readonly unknown[]> => codes([count(take('a')), count(take('b'))])
  expect(await two()).toEqual(['limits_unavailable', 'limits_unavailable'])
  expect(await two()).toEqual([null, 'limits_unavailable'])
  expect(await two()).toEqual([null, null])
})

test('whoever waited too long behind a slow store is refused and not counted', async () => {
  const { count, batches, clock } = counting(async (keys) => {
    clock.ms += 6_000
    return keys.map(() => null)
  })
  const asked = Array.from({ length: 65 }, (_, i) => count(take(`${i}`)))
  const found = await codes(asked)
  expect(found.slice(0, 64).every((one) => one === null)).toBe(true)
  expect(found[64]).toBe('limits_unavailable')
  expect(batches).toHaveLength(1)
})
