import { expect, test } from 'vitest'
import { createRounds } from '../../proxy/consent/rounds.ts'

test('one look at a time, none while it is not ready, and a failed one is told and is not the last', async () => {
  let ready = true
  let looks = 0
  let end = Promise.withResolvers<void>()
  const told: unknown[] = []
  const look = (): Promise<void> => {
    looks++
    return end.promise
  }
  const rounds = createRounds(
    60_000,
    () => ready,
    look,
    (error) => void told.push(error),
  )
  rounds.wake()
  rounds.wake()
  expect(looks).toBe(1)
  end.reject('gone')
  await expect.poll(() => told).toEqual(['gone'])
  ready = false
  rounds.wake()
  expect(looks).toBe(1)
  ready = true
  end = Promise.withResolvers()
  await expect.poll(() => (rounds.wake(), looks)).toBe(2)
  let closed = false
  const closing = rounds.close().then(() => (closed = true))
  expect(closed).toBe(false)
  end.resolve()
  await closing
})

test('it looks by itself', async () => {
  let looks = 0
  const look = (): Promise<void> => Promise.resolve(void looks++)
  const rounds = createRounds(
    1,
    () => true,
    look,
    () => {},
  )
  await expect.poll(() => looks).toBeGreaterThan(1)
  await rounds.close()
})
