import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { CallHistory, Person, Store } from '../../proxy/model.ts'
import { kinds, type Place } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const every = await kinds()

describe.each(every)('history in the $name store', ({ place, skip, ownClock }) => {
  if (skip) return test.skip('is not here')
  let at: Place
  let store: Store
  const hand = { now: 1_800_000_000_000, mono: 0 }
  const clock = ownClock
    ? { now: () => Date.now(), mono: () => performance.now() }
    : { now: () => hand.now, mono: () => hand.mono }
  beforeEach(async () => {
    at = await place()
    store = await at.open()
  })
  afterEach(() => store.close())
  const pass = async (ms: number): Promise<void> => {
    hand.now += ms
    hand.mono += ms
    if (ownClock) await pause(ms)
  }
  const read = (person = alice, run: string | null = null, windows: readonly number[] = [2, 60]) =>
    store.history.read({ person, run }, windows, clock)
  const add = async (
    operation: string,
    {
      person = alice,
      run = null,
      version,
      count = 1,
    }: {
      readonly person?: Person
      readonly run?: string | null
      readonly version?: number
      readonly count?: number
    } = {},
  ): Promise<boolean> =>
    store.history.add(
      { person, run, version: version ?? (await read(person, run)).version },
      [{ provider: 'github', operation, count }],
      [2, 60],
      clock,
    )
  const within = ({ person }: CallHistory, s: number): number =>
    person.reduce((sum, { count, last_s: last }) => (last < s ? sum + count : sum), 0)

  test('tells by operation what was allowed, and of a run its own', async () => {
    expect(await read()).toEqual({ version: 0, person: [], run: [] })
    await add('mail.send', { run: 'run-1', count: 2 })
    await add('mail.send')
    await add('issues.create', { run: 'run-2' })
    const entry = (operation: string, count: number) => ({
      provider: 'github',
      operation,
      count,
      last_s: expect.any(Number) as number,
    })
    expect(await read(alice, 'run-1')).toEqual({
      version: 3,
      person: [entry('issues.create', 1), entry('mail.send', 3)],
      run: [entry('mail.send', 2)],
    })
    for (const other of [
      { ...alice, tenant: 'x' },
      { ...alice, realm: 'x' },
      { ...alice, id: 'x' },
    ])
      expect(await read(other, 'run-1')).toEqual({ version: 0, person: [], run: [] })
  })

  test('entries younger than a window add up to what was allowed within it', async () => {
    await add('a', { count: 3 })
    await pass(2_100)
    await add('a')
    const now = await read()
    expect([within(now, 2), within(now, 60)]).toEqual([1, 4])
    expect(now.person).toEqual([
      { provider: 'github', operation: 'a', count: 1, last_s: 0 },
      { provider: 'github', operation: 'a', count: 3, last_s: 2.5 },
    ])
  })

  test('of two that were decided by the same history one is added, on whichever replica', async () => {
    const other = ownClock ? await at.open() : store
    try {
      const [mine, theirs] = [await read(), await read()]
      expect(mine.version).toBe(theirs.version)
      const both = await Promise.all(
        [store, other].map((by) =>
          by.history.add(
            { person: alice, run: null, version: mine.version },
            [{ provider: 'github', operation: 'a', count: 1 }],
            [60],
            clock,
          ),
        ),
      )
      expect(both.filter((added) => added)).toHaveLength(1)
      expect(within(await read(), 60)).toBe(1)
    } finally {
      if (other !== store) await other.close()
    }
  })

  test('a clock that is set back makes nothing older, and keeps it for one window', async () => {
    await add('a')
    hand.now -= 3_600_000
    if (ownClock)
      await at.sql('UPDATE call_history SET last = last + 3600000, until = until + 3600000')
    expect(within(await read(), 2)).toBe(1)
    await pass(2_001)
    expect(within(await read(), 2)).toBe(0)
  })

  test('a clock that is set forward makes nothing older', async () => {
    const still = { now: clock.now, mono: () => 5 }
    const of = { person: alice, run: null }
    const { version } = await store.history.read(of, [2], still)
    const calls = [{ provider: 'g', operation: 'b', count: 1 }]
    expect(await store.history.add({ ...of, version }, calls, [2], still)).toBe(true)
    if (ownClock) await pause(2_500)
    else hand.now += 3_600_000
    expect((await store.history.read(of, [2], still)).person).toMatchObject([{ operation: 'b' }])
  })

  test('is swept when no window holds it, and erased with its person; it names nobody', async () => {
    const bob = { ...alice, id: 'bob-the-other' }
    await add('a')
    await add('a', { person: bob })
    expect(await at.dump()).not.toContain('bob-the-other')
    await store.erase(alice)
    expect(await read()).toEqual({ version: 0, person: [], run: [] })
    expect((await read(bob)).version).toBe(1)
    if (ownClock) await at.sql('UPDATE call_history SET until = 0')
    else await pass(3 * 86_400_000)
    // Two windows and the version.
    expect(await store.limits.sweep(clock)).toBe(3)
    expect((await read(bob)).version).toBe(0)
  })
})
