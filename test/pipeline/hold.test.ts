// The bounds of waiting for a person, one by one; test/e2e/hold.test.ts has the calls themselves.
import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { createHold } from '../../proxy/pipeline/hold.ts'
import type { Body } from '../../proxy/pipeline/inspect.ts'

const NOW = 1_000_000
const make = (more: Partial<Parameters<typeof createHold>[0]> = {}) =>
  createHold({
    calls: 2,
    bytes: 100,
    share: 1,
    max: 60_000,
    unasked: 0,
    away: 0,
    now: () => NOW,
    ...more,
  })
const until = (expiresAt: number | null) => ({ expiresAt, run: null })
const asking = (...prefer: readonly string[]): IncomingMessage =>
  ({
    headers: prefer.length === 0 ? {} : { prefer: prefer.length === 1 ? prefer[0] : prefer },
  }) as unknown as IncomingMessage
const response = (closed = false): ServerResponse =>
  Object.assign(new EventEmitter(), { closed }) as unknown as ServerResponse
const NONE = { state: 'none', bytes: null } as unknown as Body
const body = (state: string, bytes: number | null): Body =>
  ({ state, bytes: bytes === null ? null : Buffer.alloc(bytes) }) as unknown as Body
/** A person who answers when told to. */
const person = () => {
  let answer: (yes: boolean) => void = () => {}
  let signal: AbortSignal | null = null
  const ended = (_: number, given: AbortSignal): Promise<boolean> => {
    signal = given
    return new Promise((resolve) => {
      answer = resolve
      given.addEventListener('abort', () => resolve(true))
    })
  }
  return { ended, answer: (yes: boolean) => answer(yes), aborted: () => signal?.aborted }
}

describe('how long', () => {
  test.each([
    [[], 7_000],
    [['wait=3'], 3_000],
    [['wait=0'], 0],
    [['respond-async, WAIT = "4" ; x=1'], 4_000],
    [['respond-async', 'wait=5'], 5_000],
    [['wait=999999999'], 60_000],
    [['nowait=3'], 7_000],
    [['wait=3s'], 7_000],
    [['wait=-3'], 7_000],
  ])('Prefer %j waits %i ms', (prefer, ms) => {
    expect(make({ unasked: 7_000 }).budget(asking(...prefer), until(null))).toBe(ms)
  })
  test('never past the tag, nor past the most, nor below nothing', () => {
    const hold = make()
    expect(hold.budget(asking('wait=30'), until(NOW + 2_000))).toBe(2_000)
    expect(hold.budget(asking('wait=30'), until(NOW + 90_000))).toBe(30_000)
    expect(hold.budget(asking('wait=30'), until(NOW - 1))).toBe(0)
    expect(make({ unasked: 90_000 }).budget(asking(), until(NOW + 90_000))).toBe(60_000)
  })
  test('for a run and for standing as long as runs.hold says, unless the call says how long', () => {
    const hold = make({ unasked: 1_000, away: 9_000 })
    const run = { expiresAt: NOW + 60_000, run: 'r' }
    const standing = { expiresAt: NOW + 5_000, run: null, standing: 's' }
    expect(hold.budget(asking(), run)).toBe(9_000)
    expect(hold.budget(asking(), standing)).toBe(5_000)
    expect(hold.budget(asking('wait=0'), run)).toBe(0)
    expect(hold.budget(asking(), until(null))).toBe(1_000)
  })
  test('and at least as long as whoever shows the link says, where the call says nothing', () => {
    const hold = make({ unasked: 1_000 })
    expect(hold.budget(asking(), until(null), 45_000)).toBe(45_000)
    expect(hold.budget(asking(), until(null), 10)).toBe(1_000)
    expect(hold.budget(asking('wait=2'), until(null), 45_000)).toBe(2_000)
  })
})

describe('who waits', () => {
  const waits = (more: {
    readonly body?: Body
    readonly res?: ServerResponse
    readonly ms?: number
    readonly agent?: string
    readonly hold?: ReturnType<typeof createHold>
  }): Promise<boolean> =>
    (more.hold ?? make()).wait(
      more.res ?? response(),
      more.body ?? NONE,
      { agent: more.agent ?? 'a', ms: more.ms ?? 1 },
      () => Promise.resolve(true),
    )

  test('a call without a body, and one whose body was read', async () => {
    expect(await waits({})).toBe(true)
    expect(await waits({ body: body('parsed', 100) })).toBe(true)
    expect(await waits({ body: body('parsed', 0) })).toBe(true)
  })
  test('never one whose body was not read: its caller could leave unseen', async () => {
    expect(await waits({ body: body('not_inspected', null) })).toBe(false)
  })
  test('nor one that has no time, or whose caller is gone', async () => {
    expect(await waits({ ms: 0 })).toBe(false)
    expect(await waits({ ms: -1 })).toBe(false)
    expect(await waits({ res: response(true) })).toBe(false)
  })
  test('nor one more than the limits of calls and of bytes, which come free again', async () => {
    const hold = make()
    const [one, two] = [person(), person()]
    const first = hold.wait(response(), body('parsed', 60), { agent: 'a', ms: 1 }, one.ended)
    expect(await waits({ hold, body: body('parsed', 41) })).toBe(false)
    const second = hold.wait(response(), body('parsed', 40), { agent: 'a', ms: 1 }, two.ended)
    expect(hold.count()).toBe(2)
    expect(await waits({ hold })).toBe(false)
    one.answer(true)
    two.answer(false)
    expect(await Promise.all([first, second])).toEqual([true, false])
    expect(hold.count()).toBe(0)
    expect(await waits({ hold, body: body('parsed', 100) })).toBe(true)
    expect(await waits({ hold, body: body('parsed', 101) })).toBe(false)
  })
})

test('the limits hold for all agents together', async () => {
  const hold = make()
  const [one, two] = [person(), person()]
  const first = hold.wait(response(), body('parsed', 60), { agent: 'a', ms: 1 }, one.ended)
  const other = (agent: string, size: number): Promise<boolean> =>
    hold.wait(response(), body('parsed', size), { agent, ms: 1 }, () => Promise.resolve(true))
  expect(await other('b', 41)).toBe(false)
  expect(await other('b', 40)).toBe(true)
  const second = hold.wait(response(), NONE, { agent: 'b', ms: 1 }, two.ended)
  expect(await other('c', 0)).toBe(false)
  one.answer(true)
  two.answer(true)
  await Promise.all([first, second])
  expect(await other('c', 100)).toBe(true)
})

test('of both limits one agent has its share, and gives it back', async () => {
  const hold = make({ calls: 4, share: 0.5 })
  const [one, two] = [person(), person()]
  const by = { agent: 'a', ms: 1 }
  const first = hold.wait(response(), body('parsed', 30), by, one.ended)
  const wait = (agent: string, size: number): Promise<boolean> =>
    hold.wait(response(), body('parsed', size), { agent, ms: 1 }, () => Promise.resolve(true))
  expect(await Promise.all([wait('a', 21), wait('b', 50), wait('a', 20)])).toEqual([
    false,
    true,
    true,
  ])
  const second = hold.wait(response(), body('parsed', 0), by, two.ended)
  expect(await Promise.all([wait('a', 0), wait('b', 0)])).toEqual([false, true])
  one.answer(true)
  two.answer(true)
  await Promise.all([first, second])
  expect(await wait('a', 50)).toBe(true)
})

describe('what ends it', () => {
  test('the caller, who is listened to no longer than the call waits', async () => {
    const hold = make()
    const res = response()
    const waiting = person()
    const held = hold.wait(res, NONE, { agent: 'a', ms: 1 }, waiting.ended)
    expect(res.listenerCount('close')).toBe(1)
    res.emit('close')
    // Even a yes that comes at that moment is of no use to anybody.
    expect(await held).toBe(false)
    expect(waiting.aborted()).toBe(true)
    expect([res.listenerCount('close'), hold.count()]).toEqual([0, 0])
  })
  test('a change, after which all are asked anew, but not who left nor at a shutdown', async () => {
    for (const [ends, anew] of [
      [() => undefined, true],
      [(hold: ReturnType<typeof make>) => hold.release(), false],
      [(_: unknown, res: { closed: boolean }) => void (res.closed = true), false],
    ] as const) {
      const hold = make()
      const res = Object.assign(new EventEmitter(), { closed: false })
      const waiting = person()
      const given = res as unknown as ServerResponse
      const held = hold.wait(given, NONE, { agent: 'a', ms: 1 }, waiting.ended)
      hold.again()
      ends(hold, res)
      expect(await held).toBe(anew)
    }
  })
  test('a failure, which takes up no room afterwards', async () => {
    const hold = make({ calls: 1 })
    const held = hold.wait(response(), body('parsed', 100), { agent: 'a', ms: 1 }, () =>
      Promise.reject(new Error('x')),
    )
    await expect(held).rejects.toThrow('x')
    expect(hold.count()).toBe(0)
    expect(
      await hold.wait(response(), body('parsed', 100), { agent: 'a', ms: 1 }, () =>
        Promise.resolve(true),
      ),
    ).toBe(true)
  })
  test('shutdown, after which nothing is held any more', async () => {
    const hold = make()
    const waiting = person()
    const held = hold.wait(response(), NONE, { agent: 'a', ms: 1 }, waiting.ended)
    hold.release()
    expect(await held).toBe(false)
    expect(
      await hold.wait(response(), NONE, { agent: 'a', ms: 1 }, () => Promise.resolve(true)),
    ).toBe(false)
  })
})
