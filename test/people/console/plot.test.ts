// The plots: what is drawn is what was counted.
import { expect, test } from 'vitest'
import type { Minute } from '../../../proxy/audit/recent.ts'
import { effectsPlot, reasonsPlot } from '../../../proxy/people/console/plot.ts'

const hour = (
  of: (i: number) => Readonly<Record<string, number>>,
  reasons: Readonly<Record<string, number>> = {},
): readonly Minute[] =>
  Array.from({ length: 60 }, (_, i) => ({
    at: Date.UTC(2026, 10, 29, 10, i),
    effects: new Map(Object.entries(of(i))),
    reasons: new Map(i === 0 ? Object.entries(reasons) : []),
  }))
const textOf = (html: unknown): string => String(html)
const heights = (text: string, name: string): readonly number[] =>
  [...text.matchAll(new RegExp(`<rect\\s+class="${name}"[^>]*height="([\\d.]+)"`, 'g'))].map(
    ([, height]) => Number(height),
  )

test('a bar for each minute and effect that there is, in proportion, and its numbers in words', () => {
  const text = textOf(effectsPlot(hour((i) => (i < 2 ? { allow: 10 * (i + 1), deny: 5 } : {}))))
  const [one = 0, two = 0] = heights(text, 'allow')
  expect(two / one).toBeCloseTo(2, 1)
  expect(heights(text, 'deny')).toHaveLength(2)
  expect(heights(text, 'waits')).toHaveLength(0)
  expect(text).toContain('Allowed 30, Waits for a person 0, Refused by policy 10')
  expect(text).toContain('<title>10:01 UTC, Allowed: 20, Refused by policy: 5</title>')
})

test('nothing, one, and a million fit into the picture', () => {
  for (const n of [0, 1, 1_000_000]) {
    const text = textOf(effectsPlot(hour(() => ({ allow: n, error: n, refused: n }))))
    expect(text).not.toMatch(/NaN|Infinity/)
    for (const [, y] of text.matchAll(/<rect[^>]*\sy="(-?[\d.]+)"/g))
      expect(Number(y)).toBeGreaterThanOrEqual(0)
  }
})

test('reasons: the most frequent first, eight of them, the rest summed, each a link where there is a page', () => {
  const reasons = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`r${i}`, i + 1]))
  const text = textOf(reasonsPlot(hour(() => ({}), { ...reasons, unauthenticated: 50, '<b>': 40 })))
  expect(text.indexOf('/problems/unauthenticated')).toBeLessThan(text.indexOf('r11'))
  expect(text).toContain('&lt;b&gt;')
  expect(text).toContain('Other reasons: 21')
  expect(textOf(reasonsPlot(hour(() => ({}))))).toContain('Nothing was refused')
})
