import { describe, expect, test } from 'vitest'
import type { TokenFailure } from '../../proxy/oauth/token_answer.ts'
import {
  coolDown,
  createCircuit,
  inProgress,
  reauthorize,
  refusals,
  unavailable,
} from '../../proxy/tokens/backoff.ts'

const failure = (kind: TokenFailure['kind'], more: Partial<TokenFailure> = {}): TokenFailure => ({
  kind,
  error: 'word',
  description: null,
  retryAfterMs: null,
  ...more,
})
/** Marks what was jittered. */
const jittered = (ms: number): number => ms + 0.5
const cool = (
  one: TokenFailure,
  lost: 'yes' | 'partly' | 'no' | 'unknown' = 'yes',
  before = false,
) => coolDown(one, lost, before, jittered)

describe('how long nobody asks again', () => {
  test.each([
    [null, 5_000.5],
    [0, 1_000],
    [30_000, 30_000],
    [86_400_000, 3_600_000],
  ])('busy, with Retry-After %j ms', (retryAfterMs, ms) => {
    expect(cool(failure('busy', { retryAfterMs }))).toBe(ms)
  })
  test.each([
    ['our_fault', 15_000.5],
    ['not_sent', 3_000.5],
    ['refused', 10_000.5],
    ['unknown', 3_000.5],
    ['unread', 3_000.5],
  ] as const)('%s', (kind, ms) => {
    expect(cool(failure(kind))).toBe(ms)
  })
  test.each([
    ['no', 300_000],
    ['unknown', 300_000],
    ['yes', 30_000],
    ['partly', 30_000],
  ] as const)('a second lost answer where sending it again: %s', (lost, ms) => {
    expect(cool(failure('unknown'), lost, true)).toBe(ms)
    expect(cool(failure('unread'), lost, true)).toBe(ms)
    // What was refused or never sent was not lost.
    expect(cool(failure('refused'), lost, true)).toBe(10_000.5)
  })
})

describe('a caller is told', () => {
  test.each([
    [1, 1],
    [1_000, 1],
    [1_001, 2],
    [0, 1],
  ])('to come back after %i ms, in whole seconds', (ms, retry_after) => {
    const problem = unavailable('down', ms)
    expect(problem).toMatchObject({ code: 'credential_unavailable', extra: { retry_after } })
    expect(problem.message).toContain('down')
    expect(problem.cause).toBeUndefined()
  })
  test('that a refresh is under way, or that only the person can help', () => {
    expect(inProgress()).toMatchObject({ code: 'refresh_in_progress', extra: { retry_after: 1 } })
    expect(reauthorize('gone', { claims: 'c' })).toMatchObject({
      code: 'reauthorization_required',
      extra: { claims: 'c' },
    })
  })
})

describe('a refusal that lasts', () => {
  const at = (now: number, more: Partial<{ blamed: boolean; alone: boolean }> = {}) => ({
    now,
    blamed: false,
    alone: false,
    ...more,
  })
  const nobody = () => Promise.resolve(false)
  test.each(['busy', 'not_sent', 'unknown', 'unread', 'dead'] as const)(
    '%s is none',
    async (kind) => {
      const one = failure(kind)
      expect(await refusals(one, { since: 0, times: 9 }, at(900_000), nobody)).toBeNull()
    },
  )
  test('needs five minutes and three times, both', async () => {
    const refused = failure('refused')
    expect(await refusals(refused, null, at(7), nobody)).toEqual({
      since: 7,
      times: 1,
      lasting: false,
    })
    const lasting = async (times: number, now: number) =>
      (await refusals(refused, { since: 0, times }, at(now), nobody))?.lasting
    expect(await lasting(2, 300_000)).toBe(true)
    expect(await lasting(2, 299_999)).toBe(false)
    expect(await lasting(1, 900_000)).toBe(false)
  })
  test('of our client is none, but for a word that may mean one grant', async () => {
    const before = { since: 0, times: 9 }
    const ours = failure('our_fault', { error: 'invalid_client' })
    expect((await refusals(ours, before, at(900_000), nobody))?.lasting).toBe(false)
    const grant = failure('our_fault', { error: 'unauthorized_client' })
    expect((await refusals(grant, before, at(900_000), nobody))?.lasting).toBe(true)
    const blamed = at(900_000, { blamed: true })
    expect((await refusals(grant, before, blamed, nobody))?.lasting).toBe(false)
  })
  test('lasts at once where another grant fared better since, and this one is alone', async () => {
    const asked: number[] = []
    const another = (ms: number) => {
      asked.push(ms)
      return Promise.resolve(true)
    }
    const alone = at(400_000, { alone: true })
    const before = { since: 0, times: 1 }
    const said = [
      await refusals(failure('refused'), null, alone, another),
      await refusals(failure('our_fault', { error: 'invalid_client' }), before, alone, another),
      await refusals(failure('refused'), before, at(400_000), another),
    ]
    expect(said.map((one) => one?.lasting)).toEqual([true, true, false])
    // Of a refused grant at least the last five minutes count; of the client only what came since.
    expect(asked).toEqual([300_000, 400_000])
  })
})

describe('a provider that refuses our client', () => {
  const circuit = () => {
    let now = 0
    const one = createCircuit(() => now)
    return { ...one, wait: (ms: number) => void (now += ms) }
  }
  const ours = failure('our_fault', { error: 'invalid_client' })
  const blame = (one: ReturnType<typeof circuit>) =>
    ['a', 'b', 'c'].map((credential) => one.refuses(credential, ours))

  test('is blamed by three grants in one word, and left alone for a minute but for one probe a second', () => {
    const one = circuit()
    expect(blame(one)).toEqual([
      { blamed: false, alone: true },
      { blamed: false, alone: false },
      { blamed: true, alone: false },
    ])
    expect(one.enter()).toBe(0) // the probe
    expect(one.enter()).toBe(60_000)
    one.wait(1_000)
    expect(one.enter()).toBe(59_000) // it is still out
    one.left()
    expect(one.enter()).toBe(0)
    one.left()
    expect(one.enter()).toBe(59_000)
    one.wait(999)
    expect(one.enter()).toBe(58_001)
    one.wait(60_000)
    expect([one.enter(), one.enter()]).toEqual([0, 0])
  })
  test('the same grant three times is one grant', () => {
    const one = circuit()
    for (const _ of [1, 2, 3]) expect(one.refuses('a', ours).blamed).toBe(false)
    expect(one.enter()).toBe(0)
  })
  test('another word begins the count anew, and so does a grant that is renewed', () => {
    const one = circuit()
    one.refuses('a', ours)
    one.refuses('b', ours)
    const other = failure('our_fault', { error: 'unauthorized_client' })
    expect(one.refuses('c', other)).toEqual({ blamed: false, alone: true })
    one.works()
    expect(one.refuses('d', other)).toEqual({ blamed: false, alone: true })
  })
  test('grants that are refused for themselves blame nobody', () => {
    const one = circuit()
    const refused = failure('refused')
    for (const credential of ['a', 'b', 'c', 'd'])
      expect(one.refuses(credential, refused).blamed).toBe(false)
  })
  test('serves again at once where a grant is renewed', () => {
    const one = circuit()
    blame(one)
    one.works()
    expect([one.enter(), one.enter()]).toEqual([0, 0])
  })
})
