import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { inTurn } from '../../proxy/net/turn.ts'

test('each kind of work has a turn of its own, in the order in which it came', async () => {
  const done: string[] = []
  inTurn(() => done.push('a'))
  inTurn(() => done.push('b'))
  expect(done).toEqual([])
  await turn()
  expect(done).toEqual(['a'])
  inTurn(() => done.push('c'))
  await turn()
  expect(done).toEqual(['a', 'b'])
  await turn()
  expect(done).toEqual(['a', 'b', 'c'])
})

test('work that asks for more gets it in a later turn', async () => {
  const done: number[] = []
  inTurn(() => {
    done.push(1)
    inTurn(() => done.push(2))
  })
  await turn()
  expect(done).toEqual([1])
  await turn()
  expect(done).toEqual([1, 2])
})
