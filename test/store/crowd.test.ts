import { DatabaseError } from 'pg'
import { expect, test } from 'vitest'
import { createCrowd, lacking } from '../../proxy/store/crowd.ts'

const pool = (totalCount: number, waitingCount = 0) => ({
  totalCount,
  idleCount: totalCount - 1,
  waitingCount,
  options: { max: 4 },
})
const coded = (text: string, code: string): DatabaseError =>
  Object.assign(new DatabaseError(text, 1, 'error'), { code })

test.each([
  [
    'the server',
    coded('sorry, too many clients already', '53300'),
    pool(1),
    /no connection left: sorry.* at most 15/,
  ],
  [
    'a pooler’s clients',
    coded('no more connections allowed (max_client_conn)', '08P01'),
    pool(1),
    /a pooler in front/,
  ],
  ['a pooler’s queue', coded('query_wait_timeout', '08P01'), pool(1), /a pooler in front/],
  ['whatever does not answer', new Error('Query read timeout'), pool(1), /does not answer/],
  [
    'this process',
    new Error('timeout exceeded when trying to connect'),
    pool(4, 7),
    /all 4 are in use and 7 calls wait/,
  ],
  [
    'nobody: the server is away',
    new Error('timeout exceeded when trying to connect'),
    pool(3),
    null,
  ],
  ['nobody: another error', coded('duplicate key', '23505'), pool(4), null],
] as const)('connections of %s are told', (_, error, of, says) => {
  if (says === null) expect(lacking(error, of, 15)).toBeNull()
  else expect(lacking(error, of, 15)).toMatch(says)
})

test('a call that got none is told for five seconds, and counted', () => {
  let now = 0
  const one = pool(4, 2)
  const crowd = createCrowd('PostgreSQL db/x', [one, pool(2)], 15, () => now)
  const other = new Error('something else')
  expect(crowd.told(other, one)).toBe(other)
  expect(crowd.lately()).toBeNull()
  const told = crowd.told(new Error('Query read timeout'), one) as Error
  expect(told.message).toMatch(/^vault\.store: PostgreSQL db\/x takes connections/)
  now = 4_999
  expect(crowd.lately()).toBe(told.message)
  now = 5_000
  expect(crowd.lately()).toBeNull()
  expect(crowd.figures()).toEqual({ busy: 2, idle: 4, waiting: 2, failed: 1 })
})
