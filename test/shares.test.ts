import { describe, expect, test } from 'vitest'
import { createPlaces, createShares, createTurns } from '../proxy/shares.ts'
import { codeOf } from './wire/fixture.ts'

test('agents take turns, and each agent’s items keep their order', () => {
  const turns = createTurns<number>()
  for (const [agent, item] of [
    ['a', 1],
    ['a', 2],
    ['a', 3],
    ['b', 4],
    ['c', 5],
    ['b', 6],
  ] as const)
    turns.add(agent, item)
  expect([turns.size(), turns.sizeOf('a'), turns.sizeOf('x')]).toEqual([6, 3, 0])
  expect([turns.remove('a', 2), turns.remove('a', 2), turns.remove('x', 1)]).toEqual([
    true,
    false,
    false,
  ])
  expect(turns.next((agent) => agent === 'c')?.item).toBe(5)
  expect([1, 2, 3, 4].map(() => turns.next()?.item)).toEqual([1, 4, 3, 6])
  expect([turns.next(), turns.size()]).toEqual([null, 0])
})

describe('shares', () => {
  const make = (most = 3, each = 2) => {
    let now = 0
    const begun: string[] = []
    const ends: (() => void)[] = []
    const shares = createShares({ what: 'it', most, each, patience: 1_000, mono: () => now })
    const run = (agent: string, name = agent): Promise<string> =>
      shares.run(agent, async () => {
        begun.push(name)
        await new Promise<void>((resolve) => ends.push(resolve))
        return name
      })
    return { run, begun, ends, pass: (ms: number) => (now += ms) }
  }
  const soon = () => new Promise((resolve) => setImmediate(resolve))

  test('one agent cannot take all, and others are served as places come free, in turn', async () => {
    const { run, begun, ends } = make()
    const all = [run('a', 'a1'), run('a', 'a2'), run('a', 'a3'), run('a', 'a4'), run('b', 'b1')]
    await soon()
    expect(begun).toEqual(['a1', 'a2', 'b1'])
    all.push(run('c', 'c1'))
    ends[0]?.()
    await soon()
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3'])
    ends[1]?.()
    await soon()
    expect(begun.slice(4)).toEqual(['c1'])
    for (let i = 2; i < 6; i++) {
      ends[i]?.()
      await soon()
    }
    expect(await Promise.all(all)).toEqual(['a1', 'a2', 'a3', 'a4', 'b1', 'c1'])
  })
  test('behind what does not end nobody is let to wait, until something ends', async () => {
    const { run, ends, begun, pass } = make()
    const first = [run('a'), run('a'), run('a', 'waits')]
    pass(1_001)
    await expect(run('a')).rejects.toMatchObject({ code: 'share_used_up' })
    ends[0]?.()
    await soon()
    const last = run('a', 'last')
    for (let i = 1; i < 4; i++) {
      ends[i]?.()
      await soon()
    }
    expect((await Promise.all([...first, last])).length).toBe(4)
    expect(begun).toEqual(['a', 'a', 'waits', 'last'])
  })
  test('what fails gives its place back', async () => {
    const shares = createShares({ what: 'it', most: 1, each: 1, patience: 9, mono: () => 0 })
    for (let i = 0; i < 3; i++)
      await expect(shares.run('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  })
})

test('places are taken or refused, one agent’s and all', () => {
  const places = createPlaces({ what: 'it', most: 3, each: 2 })
  const [one] = [places.enter('a'), places.enter('a')]
  expect(codeOf(() => places.enter('a'))).toBe('share_used_up')
  places.enter('b')
  expect(codeOf(() => places.enter('b'))).toBe('share_used_up')
  one?.()
  places.enter('b')
  expect(codeOf(() => places.enter('a'))).toBe('share_used_up')
})
