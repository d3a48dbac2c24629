// The judge of a soak: it is silent when all is flat and whole, and says what is not.
import { expect, test } from 'vitest'
import { few, growth, missing, type Sample } from './judge.ts'

const flat: Sample = { heap: 60, resident: 140, descriptors: 80 }
const times = (n: number, make: (i: number) => Sample): readonly Sample[] =>
  Array.from({ length: n }, (_, i) => make(i))

test('flat is silent, also with a beginning that is smaller', () => {
  const samples = times(16, (i) => (i < 3 ? { ...flat, heap: 30 } : flat))
  expect(growth(samples, flat, flat)).toEqual([])
})
test.each<[string, Partial<Sample>]>([
  ['heap grew from 60 to 120 MB', { heap: 120 }],
  ['resident grew from 140 to 260 MB', { resident: 260 }],
])('%s', (what, late) => {
  expect(
    growth(
      times(16, (i) => (i < 12 ? flat : { ...flat, ...late })),
      flat,
      flat,
    ),
  ).toEqual([what])
})
test('what nobody could measure is no proof', () => {
  expect(
    growth(
      times(16, () => ({ ...flat, heap: Number.NaN })),
      flat,
      flat,
    ),
  ).toHaveLength(1)
  expect(
    growth(
      times(4, () => flat),
      flat,
      flat,
    ),
  ).toEqual(['4 samples are too few: let it run longer'])
})
test('descriptors that stay open are told', () => {
  expect(
    growth(
      times(8, () => flat),
      flat,
      { ...flat, descriptors: 900 },
    ),
  ).toEqual(['descriptors: 80 before, 900 after'])
})

test('idle connections that deputy did not hold are told', () => {
  const held = (...counts: readonly number[]): readonly Sample[] =>
    counts.map((descriptors) => ({ ...flat, descriptors }))
  // For a moment many are ended together.
  expect(few(held(9_900, 3_000, 9_800), 10_000)).toEqual([])
  expect(few(held(9_900, 80, 90), 10_000)).toEqual([
    'deputy held only 90 of 10000 idle connections',
  ])
})

const allow = (exchange: string) => ({ event: 'decision', exchange, decision: { effect: 'allow' } })
const outcome = (exchange: string) => ({ event: 'outcome', exchange, sent: true })
test('each allowed call has one outcome, and what arrived was recorded', () => {
  const deny = { event: 'decision', exchange: 'c', decision: { effect: 'deny' } }
  expect(missing([allow('a'), outcome('a'), deny], 1)).toEqual([])
  expect(missing([allow('a')], 0)).toHaveLength(1)
  expect(missing([allow('a'), outcome('a'), outcome('a')], 1)).toHaveLength(1)
  expect(missing([deny, outcome('c')], 1)).toHaveLength(1)
  expect(missing([allow('a'), outcome('a')], 2)).toEqual([
    'the provider saw 2 calls, and the evidence has 1',
  ])
})
