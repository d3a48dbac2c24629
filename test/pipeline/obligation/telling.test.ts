// A decision that is taken anew tells nobody twice, and what cannot be kept keeps the call back.
import { expect, test } from 'vitest'
import type { JsonObject, NoticeRow } from '../../../proxy/model.ts'
import {
  createLogCarrier,
  createNotificationCarrier,
} from '../../../proxy/pipeline/obligation/telling.ts'
import type { Obliged } from '../../../proxy/pipeline/obligations.ts'

const person = { tenant: 'default', realm: 'local', id: 'alice' }
const about = (exchange: string, part: number | null = null): Obliged =>
  ({
    exchange,
    part,
    who: { person, agent: 'laptop' },
    route: { connection: { name: 'acme' } },
    act: { operation: { id: 'acme.get' } },
  }) as unknown as Obliged

const writing = (fails: boolean, auditRequired: boolean) => {
  const lines: unknown[] = []
  const records: unknown[] = []
  const write = (fields: object): void => void lines.push(fields)
  const carry = createLogCarrier({
    log: { debug: write, info: write, warn: write, error: write },
    evidence: {
      event: (event, fields) => {
        if (fails) return Promise.reject(new Error('full'))
        records.push([event, fields])
        return Promise.resolve()
      },
    },
    auditRequired,
  })
  return { carry, lines, records }
}
const LOG: JsonObject = { level: 'info', tags: ['x'] }

test('a call is logged once by each name, and each of its parts', async () => {
  const { carry, lines, records } = writing(false, true)
  for (const each of [about('a'), about('a'), about('a', 1), about('a', 2), about('b')])
    await carry(each, 'keep', LOG)
  await carry(about('a'), 'other', LOG)
  expect([lines.length, records.length]).toEqual([5, 5])
  expect(lines[0]).toEqual({
    exchange: 'a',
    agent: 'laptop',
    connection: 'acme',
    operation: 'acme.get',
    obligation: 'keep',
    tags: ['x'],
  })
  expect(lines[1]).toMatchObject({ part: 1 })
})
test('each level, and as much as a log takes', async () => {
  const { carry, records } = writing(false, true)
  const tags = Array.from({ length: 16 }, () => 'x'.repeat(128))
  for (const level of ['debug', 'info', 'warn', 'error'])
    await carry(about('a'), level, { level, tags })
  await carry(about('a'), 'none', { level: 'info' })
  expect(records).toMatchObject(
    ['debug', 'info', 'warn', 'error', 'info'].map((level) => ['obligation.log', { level }]),
  )
})
test('where the record cannot be written, the call does not leave unless it may', async () => {
  await expect(writing(true, true).carry(about('a'), 'keep', LOG)).rejects.toMatchObject({
    code: 'audit_unavailable',
  })
  const { carry, lines } = writing(true, false)
  await carry(about('a'), 'keep', LOG)
  expect(lines).toHaveLength(2)
})
test.each([
  ['a level that is none', { level: 'fatal', tags: [] }],
  ['tags that are no list', { level: 'info', tags: 'x' }],
  ['a tag too long', { level: 'info', tags: ['x'.repeat(129)] }],
  ['too many tags', { level: 'info', tags: Array.from({ length: 17 }, () => 'x') }],
  ['a tag that is no text', { level: 'info', tags: [1] }],
  ['a tag that says nothing', { level: 'info', tags: [''] }],
  ['a member that nobody knows', { level: 'info', tags: [], to: 'x' }],
])('is refused: %s', async (_what, properties) => {
  const { carry, lines } = writing(false, true)
  await expect(carry(about('a'), 'keep', properties)).rejects.toMatchObject({
    code: 'obligation_refused',
    extra: { obligation: 'keep' },
  })
  expect(lines).toEqual([])
})

const NOTE: JsonObject = { to: ['boss'], topic: 'money', body: 'It left.' }
const noting = (put: (row: NoticeRow, most: number) => Promise<boolean>, deliver = true) =>
  createNotificationCarrier({ notices: { put }, clock: { now: () => 1_000 }, deliver })

test('a notice has one id however often its decision is taken, and ends after a day', async () => {
  const rows: NoticeRow[] = []
  const carry = noting(async (row) => rows.push(row) > 0)
  for (const each of [about('a'), about('a'), about('a', 1)]) await carry(each, 'tell', NOTE)
  expect(new Set(rows.map(({ id }) => id)).size).toBe(2)
  expect(rows[0]).toMatchObject({ id: rows[1]?.id, person, expiresAt: 86_401_000 })
  expect(JSON.parse(rows[2]?.body ?? '')).toMatchObject({ to: ['boss'], part: 1, user_id: 'alice' })
})
test('a notice may be for one, and as long as it may be', async () => {
  const rows: NoticeRow[] = []
  const body = 'x'.repeat(2_000)
  const carry = noting(async (row) => rows.push(row) > 0)
  await carry(about('a'), 'tell', { to: 'boss', topic: 'y'.repeat(128), body })
  await carry(about('a'), 'all', { ...NOTE, to: Array.from({ length: 16 }, (_, i) => `b${i}`) })
  expect(JSON.parse(rows[0]?.body ?? '')).toMatchObject({ to: ['boss'], body })
  expect(JSON.parse(rows[1]?.body ?? '')).toHaveProperty('to.length', 16)
})
test('a store that is away is 503, a full one and nobody who delivers are refusals', async () => {
  await expect(
    noting(() => Promise.reject(new Error('gone')))(about('a'), 'tell', NOTE),
  ).rejects.toMatchObject({ code: 'vault_unavailable' })
  for (const carry of [noting(async () => false), noting(async () => true, false)])
    await expect(carry(about('a'), 'tell', NOTE)).rejects.toMatchObject({
      code: 'obligation_refused',
    })
})
test.each([
  ['nobody', { ...NOTE, to: [] }],
  ['nobody by name', { ...NOTE, to: '' }],
  ['somebody who is no text', { ...NOTE, to: [1] }],
  ['too many', { ...NOTE, to: Array.from({ length: 17 }, () => 'x') }],
  ['no topic', { to: 'a', body: 'b' }],
  ['a body too long', { ...NOTE, body: 'x'.repeat(2_001) }],
  ['half a character', { ...NOTE, body: '\ud800' }],
  ['a member that nobody knows', { ...NOTE, cc: 'x' }],
])('a notice is refused: %s', async (_what, properties) => {
  await expect(noting(async () => true)(about('a'), 'tell', properties)).rejects.toMatchObject({
    code: 'obligation_refused',
  })
})
