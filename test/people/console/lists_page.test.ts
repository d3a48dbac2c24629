// What the lists of the console say of what they do not show. How they look is in browser.test.ts.
import { expect, test } from 'vitest'
import { MOST_LISTED, personPage, waitingPage } from '../../../proxy/people/console/lists_page.ts'
import { TOGETHER } from '../../../proxy/consent/together.ts'
import type { Viewer } from '../../../proxy/people/console/shell.ts'
import { en } from '../../../proxy/people/languages/en.ts'
import type { Page } from '../../../proxy/people/markup.ts'

const viewer: Viewer = {
  operator: { name: 'ada', may: [], tenants: undefined },
  csrf: '',
  acts: { revoke: false, runs: false },
}
const textOf = (page: Page): string => {
  const { body } = page(en)
  if (body instanceof Promise) throw new Error('the page is not there at once')
  return body.toString()
}
const owner = { tenant: 'acme', realm: 'corp', user: 'alice' }
const common = { ...owner, agent: 'agent:triage', connection: 'github', createdAt: 1, expiresAt: 2 }
const many = <T>(n: number, one: T): readonly T[] => Array.from({ length: n }, () => one)

test.each([MOST_LISTED, MOST_LISTED + 1])('of %i of each kind what is not shown is told', (n) => {
  const row = { ...common, kind: 'approval', status: 'pending', operations: [] } as never
  const asks = many(n, { row, id: 'ap_1' })
  const flows = many(n, { ...common, scopes: [] } as never)
  const runs = many(n, {
    ...common,
    id: 'r',
    createdBy: 'x',
    connections: [],
    revokedAt: null,
  } as never)
  const whole = n === MOST_LISTED
  const waiting = textOf(waitingPage(viewer, { asks, flows }))
  expect(waiting.match(/These are the newest 200/g) ?? []).toHaveLength(whole ? 0 : 2)
  expect(waiting.match(/<tr>/g)).toHaveLength(2 * (MOST_LISTED + 1))
  const person = { tenant: 'acme', realm: 'corp', id: 'alice' }
  const own = textOf(personPage(viewer, { person, held: [], runs, standings: [], now: 1 }))
  expect(own.includes('These are the newest 200. The operators')).toBe(!whole)
})

test('one link for several consents is no row beside theirs', () => {
  const flows = ['github', TOGETHER].map((connection) => ({ ...common, connection, scopes: [] }))
  const waiting = textOf(waitingPage(viewer, { asks: [], flows: flows as never }))
  expect(waiting).toContain('github')
  expect(waiting).not.toContain(TOGETHER)
})
