import { setTimeout as pause } from 'node:timers/promises'
import { array, assert, nat, property, record } from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Full, Person, Store, Take } from '../../proxy/model.ts'
import { roomIn } from '../../proxy/store/limits.ts'
import { paced } from '../support/pace.ts'
import { kinds, type Place } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const HOUR = 3_600_000
const take = (more: Partial<Take> = {}): Take => ({
  key: ['rate_limit', 'mails', 'acme', 'person', 'corp', 'alice'],
  person: alice,
  windowMs: HOUR,
  limit: 2,
  amount: 1,
  ...more,
})
const every = await kinds()

describe.each(every)('counts in the $name store', ({ place, skip, ownClock }) => {
  if (skip) return test.skip('is not here')
  let at: Place
  let store: Store
  const stores: Store[] = []
  /** Moved by hand; a database with a clock of its own has its own now. */
  const hand = { now: 1_800_000_000_000, mono: 0 }
  const clock = ownClock
    ? { now: () => Date.now(), mono: () => performance.now() }
    : { now: () => hand.now, mono: () => hand.mono }
  const open = async (): Promise<Store> => {
    const opened = await at.open()
    stores.push(opened)
    return opened
  }
  beforeEach(async () => {
    at = await place()
    store = await open()
  })
  afterEach(async () => {
    for (const each of stores.splice(0)) await each.close()
  })
  const one = async (of: Take, by = store): Promise<Full | null> =>
    (await by.limits.take([[of]], clock))[0] ?? null
  const pass = async (ms: number): Promise<void> => {
    hand.now += ms
    hand.mono += ms
    if (ownClock) await pause(ms)
  }

  /** Eight do this at each replica, call after call: no more than it has connections, so none waits too long for one. */
  const atBoth = async <T>(
    calls: number,
    ask: (by: Store, i: number, n: number) => Promise<T>,
  ): Promise<readonly T[]> => {
    const both = [store, ownClock ? await open() : store]
    const hands = both.flatMap((by, i) =>
      Array.from({ length: 8 }, async (_, hand) => {
        const found: T[] = []
        for (let n = hand; n < calls; n += 8) found.push(await ask(by, i, n))
        return found
      }),
    )
    return (await Promise.all(hands)).flat()
  }

  test('two replicas and 200 calls of each at once: exactly as many as the limit are counted', async () => {
    const of = take({ limit: 20 })
    const found = await atBoth(200, (by) => one(of, by))
    expect(found.filter((full) => full === null)).toHaveLength(20)
    for (const full of found)
      if (full !== null) expect(full.retryMs).toBeGreaterThan(HOUR - paced(30_000))
  })

  test('replicas that count several keys in any order never wait for each other for ever', async () => {
    const keys = ['a', 'b', 'c'].map((key) => take({ key: [key], limit: 50 }))
    const found = await atBoth(40, (by, i, n) =>
      by.limits.take([(i + n) % 2 === 0 ? keys : keys.toReversed()], clock),
    )
    expect(found.flat().filter((full) => full === null)).toHaveLength(50)
  })

  test('counters are apart by every part of the key, however it is written', async () => {
    const keys = [['a', 'b'], ['a,b'], ['ab'], ['a', 'b', ''], ['a","b']]
    for (const key of keys) expect(await one(take({ key, limit: 1 }))).toBeNull()
    for (const key of keys) expect(await one(take({ key, limit: 1 }))).not.toBeNull()
  })

  test('a call is counted for all or for nothing, and those of one batch in their order', async () => {
    const [wide, narrow] = [take({ key: ['wide'], limit: 3 }), take({ key: ['narrow'], limit: 1 })]
    const found = await store.limits.take(
      [[wide, narrow], [wide, wide, narrow], [wide, wide], [wide]],
      clock,
    )
    expect(found.map((full) => full?.at ?? null)).toEqual([null, 2, null, 0])
    // A batch that never fits waits a whole window; nothing was counted of it.
    expect(await one(take({ key: ['x'], limit: 3, amount: 4 }))).toMatchObject({ retryMs: HOUR })
    expect(await one(take({ key: ['x'], limit: 3, amount: 3 }))).toBeNull()
    expect(await one(take({ key: ['none'], limit: 0 }))).toMatchObject({ at: 0, retryMs: HOUR })
  })

  test('a place is free again when what took it is one window old', async () => {
    const of = take({ windowMs: 3_000 })
    expect(await one(of)).toBeNull()
    await pass(1_000)
    expect(await one(of)).toBeNull()
    const full = await one(of)
    expect(full?.retryMs).toBeLessThanOrEqual(2_000)
    await pass(full?.retryMs ?? 0)
    expect(await one(of)).toBeNull()
    if (!ownClock) expect((await one(of))?.retryMs).toBe(1_000)
  })

  test('a clock that is set back opens nothing, and closes for no longer than a window', async () => {
    const of = take({ windowMs: 1_500, limit: 1 })
    expect(await one(of)).toBeNull()
    hand.now -= HOUR
    if (ownClock)
      await at.sql(`UPDATE limit_counts SET last = last + ${HOUR}, until = until + ${HOUR}`)
    const full = await one(of)
    expect(full?.retryMs).toBeLessThanOrEqual(1_500)
    await pass(full?.retryMs ?? 0)
    expect(await one(of)).toBeNull()
  })

  test('a clock that is set forward opens nothing, and closes for no longer than a window', async () => {
    const of = take({ windowMs: 2_000, limit: 1 })
    // To a process whose own time stands still the database's clock leaps.
    const still = { now: () => hand.now, mono: () => 5 }
    expect((await store.limits.take([[of]], still))[0]).toBeNull()
    hand.now += HOUR
    if (ownClock) await pause(2_500)
    const [full] = await store.limits.take([[of]], still)
    expect(full?.retryMs).toBeLessThanOrEqual(2_000)
    await pass(full?.retryMs ?? 0)
    expect(await one(of)).toBeNull()
  })

  test('a thousand keys are forgotten when their windows are over, and those that count stay', async () => {
    const brief = Array.from({ length: 1_000 }, (_, i) => [take({ key: [`${i}`], windowMs: 50 })])
    for (let i = 0; i < 1_000; i += 50) await store.limits.take(brief.slice(i, i + 50), clock)
    await one(take({ limit: 1 }))
    await pass(60)
    expect(await store.limits.sweep(clock)).toBe(1_000)
    expect(await store.limits.sweep(clock)).toBe(0)
    expect(await one(take({ limit: 1 }))).not.toBeNull()
  })

  test('a counter has no more rows than a window has parts, however much is counted', async () => {
    const windowMs = ownClock ? 600 : HOUR
    for (let i = 0; i < 60; i++) {
      for (let n = 0; n < 8; n++) {
        await one(take({ windowMs, limit: 10_000 }))
        hand.now += HOUR / 500
        hand.mono += HOUR / 500
      }
    }
    await store.limits.sweep(clock)
    await pass(windowMs + 1)
    expect(await store.limits.sweep(clock)).toBeLessThan(62)
  })

  test('who is erased has no counts any more, others keep theirs; nothing at rest names anybody', async () => {
    const bob = { ...alice, id: 'bob-the-other' }
    const of = (person: Person): Take => take({ key: ['k', person.id], person, limit: 1 })
    for (const person of [alice, bob]) await one(of(person))
    expect(await at.dump()).not.toContain('bob-the-other')
    await store.erase(alice)
    expect(await one(of(alice))).toBeNull()
    expect(await one(of(bob))).not.toBeNull()
  })

  test('a name that a database would write as another is refused', async () => {
    await expect(one(take({ key: ['\ud800'] }))).rejects.toThrow('well-formed')
  })
})

test('roomIn: whatever comes when, no span of a window ever holds more than the limit', () => {
  const calls = array(record({ after: nat(700), amount: nat(4) }), { maxLength: 60 })
  assert(
    property(calls, nat(6), (all, limit) => {
      const windowMs = 1_000
      const counted: { used: number; last: number }[] = []
      let now = 0
      for (const { after, amount } of all) {
        now += after
        const retryMs = roomIn(counted, now, { limit, amount, windowMs })
        const held = counted
          .filter(({ last }) => last > now - windowMs)
          .reduce((sum, { used }) => sum + used, 0)
        expect(retryMs === null).toBe(held + amount <= limit)
        if (retryMs === null) counted.push({ used: amount, last: now })
        else if (amount <= limit) {
          expect(roomIn(counted, now + retryMs, { limit, amount, windowMs })).toBeNull()
          if (retryMs > 1)
            expect(roomIn(counted, now + retryMs - 1, { limit, amount, windowMs })).not.toBeNull()
        } else expect(retryMs).toBe(windowMs)
      }
    }),
  )
})
