import { describe, expect, test } from 'vitest'
import { proveGolden, proveHostile, readGolden, SLOW } from '../../proxy/policy/self_test.ts'
import type { Asked, Isolate } from '../../proxy/policy/threads.ts'

const decision = (allow: boolean, ...codes: readonly string[]): string =>
  JSON.stringify([
    {
      result: {
        version: 1,
        allow,
        reasons: codes.map((code) => ({ code, msg: code })),
        required_scopes: [],
        obligations: {},
        max_entitlement_age_s: 0,
        grants: [],
      },
    },
  ])
const DENY = decision(false, 'no')
/** A policy that answers by what it is asked; keeps the questions. */
const policy = (answer: (input: string, n: number) => Asked['answer'], ms: number[] = [1]) => {
  const asked: string[] = []
  let alive = true
  const isolate: Pick<Isolate, 'ask' | 'alive'> = {
    ask: (input) => {
      asked.push(input)
      const n = asked.length - 1
      return Promise.resolve({ answer: answer(input, n), ms: ms[Math.min(n, ms.length - 1)] ?? 1 })
    },
    alive: () => alive,
  }
  return { isolate, asked, end: () => void (alive = false) }
}

describe('what no policy may allow', () => {
  test('a policy that refuses all of it may serve, and the slowest answer is told', async () => {
    const { isolate, asked } = policy(() => DENY, [1, 2, 4, 3, 1, 2])
    expect(await proveHostile(isolate, 20_000)).toBe(4)
    expect(asked).toHaveLength(6)
    expect(asked[0]).toBe('{}')
  })
  test('the last question is as large as an input may be', async () => {
    const { isolate, asked } = policy(() => DENY)
    await proveHostile(isolate, 50_000)
    const last = asked.at(-1) ?? ''
    expect(last.length).toBeLessThanOrEqual(50_000)
    expect(last.length).toBeGreaterThan(40_000)
    expect(JSON.parse(last)).toMatchObject({ version: 1, request_id: 'largest' })
  })
  test.each([0, 1, 2, 3, 4, 5])('one that allows question %i may not serve', async (wrong) => {
    const { isolate } = policy((_input, n) => (n === wrong ? decision(true) : DENY))
    await expect(proveHostile(isolate, 20_000)).rejects.toThrow(/fails its self-test/)
  })
  test('one that decides nothing about the empty input is the wrong one', async () => {
    const { isolate } = policy(() => '[]')
    await expect(proveHostile(isolate, 20_000)).rejects.toThrow(
      'the empty input gave policy_undefined',
    )
  })
  test('about odd inputs it may give up, but not without end', async () => {
    const error = { failed: 'policy_error', detail: 'a conflict' } as const
    const fine = policy((_input, n) => (n > 0 ? error : DENY))
    expect(await proveHostile(fine.isolate, 20_000)).toBe(1)
    const timeout = { failed: 'policy_timeout', detail: 'too long' } as const
    const slow = policy((_input, n) => (n === 2 ? timeout : DENY))
    await expect(proveHostile(slow.isolate, 20_000)).rejects.toThrow('policy_timeout (too long)')
  })
})

describe('how long an answer takes', () => {
  test('is the best of five, and asked once where it is quick', async () => {
    const warm = policy(() => DENY, [SLOW + 5, SLOW + 1, SLOW])
    expect(
      await proveGolden(warm.isolate, [{ name: 'a', input: {}, allow: false, codes: ['no'] }]),
    ).toBe(SLOW)
    expect(warm.asked).toHaveLength(3)
    const slow = policy(() => DENY, [9, 8, 7, 9, 9, 1])
    expect(
      await proveGolden(slow.isolate, [{ name: 'a', input: {}, allow: false, codes: ['no'] }]),
    ).toBe(7)
    expect(slow.asked).toHaveLength(5)
  })
  test('is not asked of a thread that has ended', async () => {
    const dead = policy(() => DENY, [900])
    dead.end()
    await proveGolden(dead.isolate, [{ name: 'a', input: {}, allow: false, codes: ['no'] }])
    expect(dead.asked).toHaveLength(1)
  })
})

describe('a bundle’s own probes', () => {
  const table = {
    'alice may': { input: { user: 'alice' }, allow: true },
    'bob may not': { input: { user: 'bob' }, allow: false, codes: ['no'] },
  }
  const honest = (input: string): string => (input.includes('alice') ? decision(true) : DENY)
  test('are asked as they stand', async () => {
    const { isolate, asked } = policy(honest)
    await proveGolden(isolate, readGolden(table))
    expect(asked).toEqual(['{"user":"alice"}', '{"user":"bob"}'])
  })
  test.each<[string, (input: string) => Asked['answer'], string]>([
    [
      'the wrong way',
      () => decision(true),
      '"bob may not" gave allow [], and the table probes says deny',
    ],
    [
      'for another reason',
      (input) => (input.includes('alice') ? decision(true) : decision(false, 'x')),
      '"bob may not" gave deny ["x"]',
    ],
    ['not at all', () => '[]', '"alice may" gave policy_undefined'],
    ['in another shape', () => '[{"result":7}]', '"alice may" gave policy_malformed'],
  ])('answered %s, the policy may not serve', async (_name, answer, why) => {
    await expect(proveGolden(policy(answer).isolate, readGolden(table))).rejects.toThrow(why)
  })
  test('that are none are named', () => {
    expect(readGolden(undefined)).toEqual([])
    for (const bad of [[], 'x', null])
      expect(() => readGolden(bad)).toThrow('deputy_data.probes is not an object')
    for (const probe of [{}, { input: 7, allow: true }, { input: {}, allow: 'yes' }, null])
      expect(() => readGolden({ odd: probe })).toThrow('"odd" is not {input, allow, codes}')
  })
})
