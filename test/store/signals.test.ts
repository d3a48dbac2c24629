import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Store } from '../../proxy/model.ts'
import { kinds } from '../support/postgres.ts'

const every = await kinds()

describe.each(every)('the $name store', ({ place, skip }) => {
  if (skip) return test.skip('is not here')
  let store: Store
  const told: string[] = []
  beforeEach(async () => {
    store = await (await place()).open()
    told.length = 0
    store.subscribe('signal', (key) => void told.push(key))
  })
  afterEach(() => store.close())

  test('takes a signal once, however many come with it, and tells of it once', async () => {
    const take = () => store.signals.take({ hash: 'one', at: 1, tell: ['a', 'b'] })
    expect(await store.signals.taken('one')).toBe(false)
    const all = await Promise.all(Array.from({ length: 8 }, take))
    expect(all.filter(Boolean)).toHaveLength(1)
    expect(await store.signals.taken('one')).toBe(true)
    await expect.poll(() => told.toSorted()).toEqual(['a', 'b'])
  })
  test('forgets what is too old to come again', async () => {
    await store.signals.take({ hash: 'old', at: 1, tell: [] })
    await store.signals.take({ hash: 'new', at: 10, tell: [] })
    expect(await store.signals.sweep(10)).toBe(1)
    expect(await store.signals.taken('old')).toBe(false)
    expect(await store.signals.taken('new')).toBe(true)
  })
  test('keeps whose a session at an issuer is, until it is unused for long or the person is erased', async () => {
    const { remember, who, sweep } = store.issuerSessions
    const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
    const bob = { ...alice, id: 'bob' }
    expect(await who('one')).toEqual([])
    await remember({ hash: 'one', person: alice, at: 1 })
    await remember({ hash: 'two', person: bob, at: 1 })
    await remember({ hash: 'two', person: bob, at: 10 })
    expect([await who('one'), await who('two')]).toEqual([[alice], [bob]])
    // Two rows of the configuration may name one issuer, each with a realm of its own.
    const other = { ...bob, realm: 'other' }
    await remember({ hash: 'two', person: other, at: 10 })
    expect(await who('two')).toEqual([bob, other])
    await store.erase(other)
    expect(await sweep(10)).toBe(1)
    expect([await who('one'), await who('two')]).toEqual([[], [bob]])
    await store.erase(bob)
    expect(await who('two')).toEqual([])
  })
})
