// A source that is asked over the network: who shares a question, what is kept, when it is left alone.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createAsked, type Question } from '../../proxy/directory/asked.ts'
import { Unanswered, type Directory, type Known } from '../../proxy/directory/source.ts'
import type { Person } from '../../proxy/model.ts'

const person = (id: string): Person => ({ tenant: 'default', realm: 'corp', id })
const alice = person('alice')
const staff: Known = { active: true, groups: ['staff'], roles: [], entitlements: [] }
const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

let now: number
let failures: string[]
/** Questions that left and are not answered yet. */
let open: { who: string; answer: (known: Known | null) => void; fail: (why: unknown) => void }[]
let sent: number
const held: Question = ({ id }) =>
  new Promise((answer, fail) => {
    sent += 1
    open.push({ who: id, answer, fail })
  })
const asking = (question: Question = held, keepMs = 0, timeoutMs = 5_000): Directory =>
  createAsked({
    name: 'http',
    question,
    keepMs,
    timeoutMs,
    clock: { mono: () => now },
    log,
    seen: { answered: () => {}, failed: (_, reason) => void failures.push(reason) },
  })
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const next = async (): Promise<(typeof open)[number]> => {
  await expect.poll(() => open.length).toBeGreaterThan(0)
  const first = open.shift()
  if (first === undefined) throw new Error('no question is open')
  return first
}
const promised = async (asked: ReturnType<Directory['ask']>) => asked
const failure = (asked: ReturnType<Directory['ask']>): Promise<unknown> =>
  Promise.resolve(asked).then(
    () => 'answered',
    (error: unknown) => (error instanceof Unanswered ? error.reason : error),
  )

beforeEach(() => {
  now = 1_000
  sent = 0
  open = []
  failures = []
})
afterEach(() => vi.useRealTimers())

describe('questions', () => {
  test('of a thousand callers for one person are two at most: a call joins only one that has not left', async () => {
    const directory = asking()
    const first = directory.ask(alice, 0)
    const one = await next()
    const rest = Array.from({ length: 999 }, () => directory.ask(alice, 0))
    one.answer(staff)
    expect((await first)?.groups).toEqual(['staff'])
    const two = await next()
    two.answer({ ...staff, groups: [] })
    // Who came after the first question had left is told nothing of its answer.
    for (const facts of await Promise.all(rest.map(promised))) expect(facts?.groups).toEqual([])
    expect(sent).toBe(2)
  })

  test('of callers of one moment are one', async () => {
    const directory = asking()
    const all = Array.from({ length: 1_000 }, () => directory.ask(alice, 0))
    ;(await next()).answer(staff)
    await Promise.all(all.map(promised))
    expect(sent).toBe(1)
  })

  test('about several people run side by side, up to a number; others wait for their turn', async () => {
    const directory = asking()
    const all = Array.from({ length: 100 }, (_, i) => directory.ask(person(`p${i}`), 0))
    await expect.poll(() => open).toHaveLength(64)
    await turn()
    expect(sent).toBe(64)
    for (let i = 0; i < 100; i++) (await next()).answer(staff)
    expect(await Promise.all(all.map(promised))).toHaveLength(100)
  })

  test('whose turn comes too late are not asked, and give it back', async () => {
    const directory = asking()
    const ask = (i: number) => failure(directory.ask(person(`p${i}`), 0))
    const first = Array.from({ length: 64 }, (_, i) => ask(i))
    await expect.poll(() => open).toHaveLength(64)
    const late = ask(64)
    await turn()
    now += 5_000
    for (let i = 0; i < 64; i++) (await next()).answer(staff)
    expect(await late).toBe('busy')
    expect(new Set(await Promise.all(first))).toEqual(new Set(['answered']))
    expect(sent).toBe(64)
    const again = Array.from({ length: 64 }, (_, i) => ask(i))
    await expect.poll(() => open).toHaveLength(64)
    for (let i = 0; i < 64; i++) (await next()).answer(staff)
    await Promise.all(again)
  })

  test('date facts from the moment at which they leave', async () => {
    const directory = asking()
    const asked = directory.ask(alice, 0)
    const one = await next()
    now += 400
    one.answer(staff)
    expect(await asked).toMatchObject({ asOf: 1_000, source: 'http' })
  })

  test('that get no answer in time fail, also where the question hears no signal', async () => {
    const directory = asking(() => new Promise(() => {}), 0, 30)
    expect(await failure(directory.ask(alice, 0))).toBe('timeout')
    expect(failures).toEqual(['timeout'])
  })

  test('whose predecessor fails are sent all the same', async () => {
    const directory = asking()
    const first = failure(directory.ask(alice, 0))
    const one = await next()
    const second = directory.ask(alice, 0)
    one.fail(new Error('cut'))
    expect(await first).toBe('failed')
    ;(await next()).answer(staff)
    expect((await second)?.active).toBe(true)
  })
})

describe('what is kept', () => {
  test('serves calls that allow its age, is asked again for others, and a stranger is kept no longer', async () => {
    for (const answer of [staff, null]) {
      sent = 0
      const directory = asking(held, 30_000)
      const first = directory.ask(alice, 0)
      ;(await next()).answer(answer)
      const facts = await first
      now += 30_000
      expect(directory.ask(alice, 30_000)).toEqual(facts)
      now += 1
      const again = directory.ask(alice, 30_000)
      expect(again).toBeInstanceOf(Promise)
      ;(await next()).answer(staff)
      await again
      void directory.ask(alice, 0)
      ;(await next()).answer(staff)
      expect(sent).toBe(3)
    }
  })

  test('is nothing where no call allows an age', async () => {
    const directory = asking(held, 0)
    const first = directory.ask(alice, 0)
    ;(await next()).answer(staff)
    await first
    void directory.ask(alice, 30_000)
    ;(await next()).answer(staff)
    expect(sent).toBe(2)
  })

  test('is void once somebody says so, and what is on its way with it', async () => {
    for (const whom of [alice, null]) {
      const directory = asking(held, 30_000)
      const first = directory.ask(alice, 30_000)
      const one = await next()
      directory.forget(whom)
      one.answer(staff)
      const two = await next()
      two.answer({ ...staff, groups: [] })
      expect((await first)?.groups).toEqual([])
      directory.forget(whom)
      const later = directory.ask(alice, 30_000)
      ;(await next()).answer(null)
      expect(await later).toBeNull()
    }
  })
})

describe('a source that fails for everybody', () => {
  const broken = new Unanswered('unreachable', 'refused')
  const failing = async (directory: Directory, times: number): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const asked = failure(directory.ask(person(`p${i}`), 0))
      ;(await next()).fail(broken)
      await asked
    }
  }

  test('is left alone, then tried with one question, and heals by itself', async () => {
    const directory = asking()
    await failing(directory, 5)
    expect(await failure(directory.ask(alice, 0))).toBe('resting')
    expect(sent).toBe(5)
    now += 500
    const probe = failure(directory.ask(alice, 0))
    const one = await next()
    expect(await failure(directory.ask(person('bob'), 0))).toBe('resting')
    one.fail(broken)
    await probe
    now += 999
    expect(await failure(directory.ask(alice, 0))).toBe('resting')
    now += 1
    const healed = directory.ask(alice, 0)
    ;(await next()).answer(staff)
    expect((await healed)?.active).toBe(true)
    const bob = directory.ask(person('bob'), 0)
    ;(await next()).answer(staff)
    expect((await bob)?.active).toBe(true)
  })

  test('is not asked sooner than it says, within reason', async () => {
    const directory = asking()
    const asked = failure(directory.ask(alice, 0))
    ;(await next()).fail(new Unanswered('status', '429', { rest: 3_600_000 }))
    await asked
    now += 29_999
    expect(await failure(directory.ask(alice, 0))).toBe('resting')
    now += 1
    void directory.ask(alice, 0)
    ;(await next()).answer(staff)
  })

  test('is another than one that fails for some', async () => {
    const directory = asking()
    for (let i = 0; i < 20; i++) {
      const asked = failure(directory.ask(alice, 0))
      ;(await next()).fail(new Unanswered('stranger', 'another person', { alone: true }))
      expect(await asked).toBe('stranger')
    }
    const bob = directory.ask(person('bob'), 0)
    ;(await next()).answer(staff)
    expect((await bob)?.active).toBe(true)
  })

  test('is not left alone for one person whose answers never come, but is when nobody can reach it', async () => {
    const again = async (directory: Directory, reason: 'timeout' | 'unreachable') => {
      for (let i = 0; i < 5; i++) {
        const asked = failure(directory.ask(alice, 0))
        ;(await next()).fail(new Unanswered(reason, 'no answer'))
        expect(await asked).toBe(reason)
      }
      return directory
    }
    const slow = await again(asking(), 'timeout')
    const bob = slow.ask(person('bob'), 0)
    ;(await next()).answer(staff)
    expect((await bob)?.active).toBe(true)
    const gone = await again(asking(), 'unreachable')
    expect(await failure(gone.ask(person('bob'), 0))).toBe('resting')
  })
})
