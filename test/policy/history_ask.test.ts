import { expect, test } from 'vitest'
import { asksOf } from '../../proxy/policy/asks.ts'
import { HISTORY_S, historyAskOf } from '../../proxy/policy/history_ask.ts'

const grants = (...history: readonly unknown[]) => ({ github: { one: { history }, two: {} } })

test('tables without history ask for nothing, whatever they are', () => {
  for (const table of [
    undefined,
    null,
    7,
    [],
    {},
    { github: 3 },
    { github: { a: null } },
    grants(),
  ])
    expect(historyAskOf(table)).toBeNull()
})

test('the windows and the operations of every row are asked for', () => {
  const row = (within_s: number, operations: readonly string[]) => ({
    by: 'person',
    within_s,
    operations,
    at_most: 1,
  })
  const { history } = asksOf({
    ...grants(row(3600, ['issues.*']), row(60, ['mail.send'])),
    slack: { x: { history: [row(60, ['chat.post'])] } },
  })
  expect(history?.windows).toEqual([60, 3600])
  const counted = (id: string): boolean | undefined => history?.counts(id)
  expect(['issues.create', 'issues.labels.add', 'mail.send', 'chat.post'].every(counted)).toBe(true)
  expect(['issues', 'issue.create', 'mail.sendAll', 'mail', 'unknown'].some(counted)).toBe(false)
  expect(asksOf(grants(row(1, ['*']))).history?.counts('anything')).toBe(true)
})

test.each([0, -1, 1.5, HISTORY_S + 1, '60', null, Number.NaN, undefined])(
  'a row that asks for %s seconds is no row: what is not remembered cannot be counted',
  (within_s) => {
    expect(() => asksOf(grants({ within_s, operations: ['*'] }))).toThrow('within_s')
  },
)
test('nor is one that names no operations, or says nothing at all', () => {
  expect(() => asksOf(grants({ within_s: 60, operations: '*' }))).toThrow('operations')
  expect(() => asksOf(grants('often'))).toThrow('within_s')
})
