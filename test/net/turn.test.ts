import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { gather } from '../../proxy/net/turn.ts'

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await turn()
}

test('what comes together is handed over together, once nothing more comes', async () => {
  const batches: (readonly string[])[] = []
  const take = gather<string>((batch) => batches.push(batch))
  take('a')
  take('b')
  expect(batches).toEqual([])
  await turn()
  expect(batches).toEqual([])
  take('c')
  await turn()
  expect(batches).toEqual([])
  await turn()
  expect(batches).toEqual([['a', 'b', 'c']])
})

test('what comes alone does not wait', async () => {
  const batches: (readonly string[])[] = []
  const take = gather<string>((batch) => batches.push(batch))
  take('a')
  await turn()
  expect(batches).toEqual([['a']])
})

test('what never stops to come is handed over all the same', async () => {
  const batches: (readonly number[])[] = []
  const take = gather<number>((batch) => batches.push(batch))
  for (let i = 0; i < 20; i++) {
    take(2 * i)
    take(2 * i + 1)
    await turn()
  }
  await turns(2)
  expect(batches.flat()).toEqual(Array.from({ length: 40 }, (_, i) => i))
  for (const batch of batches) expect(batch.length).toBeLessThanOrEqual(12)
})

test('each kind of work has a turn of its own, in the order in which it came; the later one gathers meanwhile', async () => {
  const done: string[] = []
  const one = gather<string>((batch) => done.push(`one ${batch.join('')}`))
  const other = gather<string>((batch) => done.push(`other ${batch.join('')}`))
  one('a')
  other('b')
  await turn()
  expect(done).toEqual(['one a'])
  one('d')
  other('c')
  await turn()
  expect(done).toEqual(['one a'])
  await turn()
  expect(done).toEqual(['one a', 'other bc'])
  await turn()
  expect(done).toEqual(['one a', 'other bc', 'one d'])
})

test('work that asks for more gets it in a later turn', async () => {
  const done: number[] = []
  const take = gather<number>((batch) => {
    done.push(...batch)
    if (batch[0] === 1) take(2)
  })
  take(1)
  await turn()
  expect(done).toEqual([1])
  await turn()
  expect(done).toEqual([1, 2])
})
