// What rows say of earlier calls, on real sockets: no more calls of a person than a row says, however many come at once.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { startDeputy, TABLES, until, type Deputy, type Fields } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

let upstream: Upstream
const open: (() => Promise<unknown>)[] = []
const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob']) upstream.people.set(tokenOf(person), person)
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.seen.length = 0
})
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close()
})

const start = async (history: Fields): Promise<Deputy> => {
  const { grants } = TABLES
  const { acme } = grants as { readonly acme: { readonly use: Fields } }
  const deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['alice', 'bob'].map((person) => ({
      person,
      connection: 'acme',
      token: tokenOf(person),
    })),
    tables: {
      ...TABLES,
      grants: { ...grants, acme: { use: { ...acme.use, history: [history] } } },
    },
  })
  open.push(() => deputy.close())
  return deputy
}
const call = async ({ agent }: Deputy, person = 'alice', method = 'GET'): Promise<string> => {
  const { status, json } = await sendRaw(
    agent,
    lines(
      `${method} /api.acme.test/a HTTP/1.1`,
      `Host: ${new URL(agent).host}`,
      `Deputy-User: ${person}`,
      ...(method === 'GET' ? [] : ['Content-Length: 0']),
    ),
  )
  return `${status} ${JSON.stringify(json['reasons'] ?? [])}`
}
const REFUSED = '403 ["history_limit"]'

test('of a hundred calls at once so many pass as a row lets pass, of each person', async () => {
  const deputy = await start({ by: 'person', operations: ['acme.get'], within_s: 3600, at_most: 4 })
  const all = await Promise.all(
    ['alice', 'bob'].flatMap((person) => Array.from({ length: 50 }, () => call(deputy, person))),
  )
  // After so many earlier calls none is let through any more.
  expect(all.filter((one) => one === '200 []')).toHaveLength(2 * (4 + 1))
  expect(all.filter((one) => one === REFUSED)).toHaveLength(100 - 2 * (4 + 1))
  expect(upstream.seen).toHaveLength(10)
})

test('what it does not name is neither counted nor kept, and its time passes', async () => {
  const deputy = await start({ by: 'person', operations: ['acme.get'], within_s: 2, at_most: 0 })
  expect(await call(deputy, 'alice', 'POST')).toBe('200 []')
  expect(await call(deputy)).toBe('200 []')
  expect(await call(deputy)).toBe(REFUSED)
  // The row asks about reads, and stands in the way of everything that it would allow.
  expect(await call(deputy, 'alice', 'POST')).toBe(REFUSED)
  expect(await call(deputy, 'bob')).toBe('200 []')
  await expect.poll(() => call(deputy)).toBe('200 []')
  await until(
    () => deputy.evidence().filter(({ event }) => event === 'outcome').length === 4,
    'outcomes',
  )
})
