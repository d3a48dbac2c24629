// What is kept of the evidence for the console: so much and no more, by tenant, with counts by minute.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { createRecent, MINUTES, MOST_RECORDS, rowsIn } from '../../proxy/audit/recent.ts'
import { decision, outcome } from './evidence_lines.ts'

const NOW = Date.UTC(2026, 10, 29, 11, 42)
const line = (event: string, fields: object, at = NOW) => {
  const text = JSON.stringify(fields).slice(1, -1)
  return { at, event, fields: text === '' ? '' : `,${text}` }
}
const recentOf = (...lines: readonly ReturnType<typeof line>[]) => {
  const recent = createRecent()
  recent.keep()
  recent.written(lines)
  return recent
}
const acme = (tenant: string): boolean => tenant === 'acme'
const sum = (all: readonly { readonly effects: ReadonlyMap<string, number> }[], name: string) =>
  all.reduce((total, { effects }) => total + (effects.get(name) ?? 0), 0)
const at = (tenant: string, exchange: string, effect = 'allow') => ({
  ...decision({ exchange, effect, reasons: effect === 'allow' ? [] : ['no_grant'] }),
  user: { id: 'alice', realm: 'corp', tenant, verified: true },
})

test('nothing is kept before somebody could look', () => {
  const recent = createRecent()
  recent.written([line('decision', at('acme', 'A'))])
  expect([recent.after(0, null), recent.newest()]).toEqual([[], 0])
})

test(`the last ${MOST_RECORDS} records are kept, and of long ones four million characters`, () => {
  const recent = recentOf()
  for (let i = 1; i <= MOST_RECORDS * 3; i++)
    recent.written([line('decision', at('acme', `E${i}`))])
  const kept = recent.after(0, null)
  expect([kept.length, kept[0]?.n, kept.at(-1)?.n]).toEqual([
    MOST_RECORDS,
    MOST_RECORDS * 2 + 1,
    MOST_RECORDS * 3,
  ])
  expect(recent.after(MOST_RECORDS * 3 - 2, null).map(({ exchange }) => exchange)).toEqual([
    `E${MOST_RECORDS * 3 - 1}`,
    `E${MOST_RECORDS * 3}`,
  ])
  for (let i = 0; i < 10; i++)
    recent.written([line('config.loaded', { problem: 'x'.repeat(1_000_000) })])
  const long = recent.after(0, null)
  expect(long.length).toBeLessThanOrEqual(4)
  expect(long.length).toBeGreaterThan(0)
})

test('what is not kept any more takes no memory either', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const recent = recentOf()
  gc()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < MOST_RECORDS - 10; i++) {
    recent.written([line('config.loaded', { problem: `${i}`.padEnd(50_000, 'x') })])
    recent.after(recent.newest() - 1, null) // as a page that is open reads it
  }
  gc()
  const grown = process.memoryUsage().heapUsed - before
  expect(recent.after(0, null).length).toBeGreaterThan(50)
  expect(grown).toBeLessThan(20 * 1024 ** 2)
})

test('who serves one tenant is told of that one: also ends of calls, and nothing that names nobody', () => {
  const recent = recentOf(
    line('decision', at('acme', 'A')),
    line('decision', at('other', 'B')),
    line('outcome', outcome('A')),
    line('outcome', outcome('B')),
    line('policy.shadow', { exchange: 'B', result: 'allow_to_deny' }),
    line('refused', { exchange: 'C', code: 'unauthenticated' }),
    line('agent.disabled', { agent: { id: 'x' }, tenant: null, operator: 'sso:ada' }),
    line('agent.disabled', { agent: { id: 'x' }, tenant: 'other' }),
    line('consent.user_mismatch', {
      user: { tenant: 'acme', id: 'a' },
      by: { tenant: 'other', id: 'b' },
    }),
  )
  expect(recent.after(0, acme).map(({ event, exchange }) => [event, exchange])).toEqual([
    ['decision', 'A'],
    ['outcome', 'A'],
  ])
  expect(recent.after(0, null)).toHaveLength(9)
})

test('an end that comes before anybody looked at its decision is still of its tenant', () => {
  const recent = recentOf(line('outcome', outcome('A')))
  expect(recent.after(0, acme)).toEqual([])
  recent.written([line('decision', at('acme', 'A'))])
  expect(recent.after(0, acme).map(({ event }) => event)).toEqual(['outcome', 'decision'])
})

test('the hour is counted by effect, reason and tenant; a minute that is over an hour old is gone', () => {
  const recent = recentOf(
    line('decision', at('acme', 'OLD'), NOW - MINUTES * 60_000),
    line('decision', at('acme', 'A')),
    line('decision', at('acme', 'B', 'deny')),
    line('decision', at('other', 'C', 'deny')),
    line('outcome', outcome('A', { result: 'rate_limited', sent: false })),
    line('refused', { exchange: 'D', code: 'unauthenticated' }),
    line('refused', { summed: { unauthenticated: 40, host_refused: 2 } }),
  )
  const [all, mine] = [recent.hour(NOW, null), recent.hour(NOW, acme)]
  expect(all).toHaveLength(MINUTES)
  expect([sum(all, 'allow'), sum(all, 'deny'), sum(all, 'refused')]).toEqual([1, 2, 43])
  expect([sum(mine, 'allow'), sum(mine, 'deny'), sum(mine, 'refused')]).toEqual([1, 1, 0])
  expect(Object.fromEntries(all.at(-1)?.reasons ?? [])).toEqual({
    no_grant: 2,
    rate_limited: 1,
    unauthenticated: 41,
    host_refused: 2,
  })
  expect(Object.fromEntries(mine.at(-1)?.reasons ?? [])).toEqual({ no_grant: 1, rate_limited: 1 })
})

test('no number of tenants or reasons grows without a bound', () => {
  const recent = recentOf()
  for (let i = 0; i < 1_000; i++)
    recent.written([
      line('decision', {
        ...at(`t${i}`, `E${i}`, 'deny'),
        decision: { effect: 'deny', reasons: [`r${i}`] },
      }),
    ])
  const [last] = recent.hour(NOW, null).slice(-1)
  expect(last?.reasons.size).toBeLessThanOrEqual(65)
  expect(last?.effects.get('deny')).toBe(1_000)
  // Tenants beyond the bound are counted for who serves all.
  expect(recent.hour(NOW, (tenant) => tenant === 't999').at(-1)?.effects.size).toBe(0)
  expect(
    recent
      .hour(NOW, (tenant) => tenant === 't1')
      .at(-1)
      ?.effects.get('deny'),
  ).toBe(1)
})

test('a name with quotes and backslashes is counted as that name', () => {
  const odd = 'a"\\,"tenant":"acme'
  const recent = recentOf(line('decision', at(odd, 'A', 'deny')))
  expect(sum(recent.hour(NOW, acme), 'deny')).toBe(0)
  expect(
    sum(
      recent.hour(NOW, (tenant) => tenant === odd),
      'deny',
    ),
  ).toBe(1)
})

test('a person who is called like a member of the record is counted where they are', () => {
  const fields = { ...at('acme', 'A', 'deny'), user: { id: '","tenant":"other', tenant: 'acme' } }
  const recent = recentOf(line('decision', fields))
  expect(sum(recent.hour(NOW, acme), 'deny')).toBe(1)
})

test('whoever listens hears of each write, until they do not', () => {
  const recent = recentOf()
  let heard = 0
  const end = recent.subscribe(() => void heard++)
  recent.written([line('decision', at('acme', 'A')), line('outcome', outcome('A'))])
  end()
  recent.written([line('decision', at('acme', 'B'))])
  expect([heard, recent.newest()]).toEqual([1, 3])
})

test('a row is a decision together with its end, and tells which record was the last', () => {
  const recent = recentOf(
    line('decision', at('acme', 'A')),
    line('refused', { exchange: 'X', code: 'unauthenticated' }),
    line('outcome', outcome('A')),
  )
  const rows = rowsIn(recent.after(0, null))
  expect(rows.map(({ line: n, newest, outcome: end }) => [n, newest, end !== null])).toEqual([
    [1, 3, true],
    [2, 2, false],
  ])
})
