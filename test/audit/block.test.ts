import { hash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createBlocks, type Chain, type Line } from '../../proxy/audit/block.ts'
import { anchorText, GENESIS, linkOf, unsignedLine } from '../../proxy/audit/chain.ts'

/** Blocks of one process; the anchor's signature is what it signs. */
const blocks = (more: { everyLines?: number; everyMs?: number; sign?: () => never } = {}) => {
  const at = { wall: 1_800_000_000_000, mono: 0 }
  const logged: string[] = []
  const say = (_fields: object, text: string): void => void logged.push(text)
  const made = createBlocks({
    clock: { now: () => at.wall, mono: () => at.mono },
    proc: 'P1',
    anchor: {
      sign: more.sign ?? ((text) => ({ kid: 'k', signature: text.slice(-64) })),
      everyLines: more.everyLines ?? 100,
      everyMs: more.everyMs ?? 60_000,
    },
    log: { debug: say, info: say, warn: say, error: say },
  })
  let chain: Chain = made.start
  const build = (
    lines: readonly Line[],
    { opening = null, closing = false }: { opening?: string | null; closing?: boolean } = {},
  ) => {
    const { bytes, next } = made.build(lines, { chain, opening, closing })
    chain = next
    return bytes.toString()
  }
  const add = (...events: readonly string[]) =>
    build(events.map((event) => ({ at: at.wall, event, fields: '' })))
  return { at, logged, build, add, due: () => made.due(chain), chain: () => chain }
}
const eventsIn = (text: string): readonly string[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => (JSON.parse(line) as { event: string }).event)

test('lines are chained by their hashes, also over blocks', () => {
  const { build, chain } = blocks()
  const line = (event: string, fields = ''): Line => ({ at: 1_000, event, fields })
  const text = build([line('a'), line('b', ',"x":"ü"')]) + build([line('c')])
  let last = { proc: 'P1', seq: 0, hash: GENESIS }
  for (const each of text.split('\n').slice(0, -1)) {
    const { prev, seq } = JSON.parse(each)
    expect([prev, seq]).toEqual([last.hash, last.seq + 1])
    last = { proc: 'P1', seq, hash: hash('sha256', each) }
    expect(linkOf(Buffer.from(each))).toEqual(last)
  }
  expect(chain().last).toEqual(last)
  expect(text).toContain('"time":"1970-01-01T00:00:01.000Z"')
})

describe('a record that would forge another', () => {
  test.each([
    [',"x":"a\nb"', 'a record of call holds a line end'],
    ['"x":1', 'the fields of a record begin with a comma'],
    ['}', 'the fields of a record begin with a comma'],
  ])('%j is refused', (fields, why) => {
    const { build } = blocks()
    expect(() => build([{ at: 1, event: 'call', fields }])).toThrow(why)
  })
  test('leaves the chain as it was', () => {
    const { build, add, chain } = blocks()
    add('good')
    const before = chain()
    expect(() => build([{ at: 1, event: 'x', fields: '\n' }])).toThrow()
    expect(chain()).toBe(before)
  })
})

describe('an anchor', () => {
  test('signs the line before it, and can be proved from its own line', () => {
    const text = blocks().add('process.started')
    const [first = '', anchor = ''] = text.split('\n')
    expect(JSON.parse(anchor)).toMatchObject({ anchor: { seq: 1, hash: hash('sha256', first) } })
    const bare = unsignedLine(anchor)
    expect(bare?.sig).toBe(anchorText(bare?.line ?? '').slice(-64))
  })
  test.each(['process.started', 'process.stopped', 'segment.started', 'segment.removed'])(
    'stands right behind %s',
    (event) => {
      expect(eventsIn(blocks().add('call', event, 'call'))).toEqual([
        'call',
        event,
        'chain.anchor',
        'call',
      ])
    },
  )
  test('comes after so many lines', () => {
    const { add } = blocks({ everyLines: 3 })
    expect(eventsIn(add('a', 'b'))).toEqual(['a', 'b'])
    expect(eventsIn(add('c', 'd', 'e'))).toEqual(['c', 'chain.anchor', 'd', 'e'])
    expect(eventsIn(add('f', 'g'))).toEqual(['f', 'chain.anchor', 'g'])
  })
  test('comes after so long, by either clock, and of nothing there is none', () => {
    const { at, build, add, due } = blocks()
    at.mono = 60_000
    expect(due()).toBe(true)
    expect(eventsIn(build([]))).toEqual([])
    expect(eventsIn(add('a'))).toEqual(['a', 'chain.anchor'])
    expect(due()).toBe(false)
    expect(eventsIn(add('b'))).toEqual(['b'])
    // The machine slept: its monotonic clock stood still.
    at.wall += 60_000
    expect(eventsIn(add('c'))).toEqual(['chain.anchor', 'c'])
    // Or was set back.
    at.wall -= 60_000
    expect(eventsIn(add('d'))).toEqual(['chain.anchor', 'd'])
  })
  test('ends a segment, and a new one begins with what it continues', () => {
    const { build } = blocks()
    const line = { at: 1, event: 'a', fields: '' }
    expect(eventsIn(build([line], { closing: true }))).toEqual(['a', 'chain.anchor'])
    const text = build([line], { opening: ',"why":"size"' })
    expect(eventsIn(text)).toEqual(['segment.started', 'chain.anchor', 'a'])
    expect(JSON.parse(text.split('\n')[0] ?? '')).toMatchObject({ why: 'size' })
  })
  test('that cannot be signed is told, keeps no line back, and is tried again later', () => {
    const sign = (): never => {
      throw new Error('no key')
    }
    const { add, logged } = blocks({ sign, everyLines: 2 })
    expect(eventsIn(add('a', 'b', 'c'))).toEqual(['a', 'b', 'c'])
    expect(logged).toEqual(['the chain of evidence could not be anchored; tried again later'])
    add('d')
    expect(logged).toHaveLength(2)
  })
})

test('a block of any size is whole, and the next one too', () => {
  const { build } = blocks({ everyLines: 1_000_000 })
  for (const size of [10, 70_000, 3_000_000, 10]) {
    const value = '€'.repeat(size / 10)
    const lines = Array.from({ length: 3 }, (_, n) => ({
      at: 1,
      event: `e${n}`,
      fields: `,"x":"${value}"`,
    }))
    const text = build(lines)
    expect(eventsIn(text)).toEqual(['e0', 'e1', 'e2'])
    expect(
      text
        .split('\n')
        .slice(0, -1)
        .every((line) => JSON.parse(line).x === value),
    ).toBe(true)
  }
})
