// The console over a vault of many thousand people: a page of them at a time, and each is found.
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Browser } from '../support/browser.ts'
import { startConsoleWorld, type ConsoleWorld } from '../support/console.ts'
import { crowd } from '../support/crowd.ts'

const PEOPLE = 10_100
const BACKEND = 'backend-0123456789012345678901234567'
let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld({
    held: [],
    config: { operators: [{ name: 'backend', bearer: BACKEND, may: ['connections'] }] },
    before: (dir) => crowd(join(dir, 'deputy.db'), PEOPLE),
  })
})
afterAll(() => world?.close())

const idsIn = (html: string): readonly string[] =>
  [...html.matchAll(/person-\d{7}(?=@north\.example<)/g)].map(([id]) => id)
/** Where the link with these words leads. */
const hrefOf = (html: string, words: string): string =>
  (new RegExp(`href="([^"]+)"[^>]*>${words}<`).exec(html)?.[1] ?? '').replaceAll('&amp;', '&')
const at = async (browser: Browser, path: string) =>
  (await browser.open(`${world.url}${path}`)).text

test('people come a page at a time, and one is found among all', async () => {
  const [browser] = await world.enter('ada')
  const first = await at(browser, '/console/people')
  expect(idsIn(first)).toEqual(
    Array.from({ length: 50 }, (_, n) => `person-${String(n).padStart(7, '0')}`),
  )
  expect(hrefOf(first, 'From the beginning')).toBe('')
  const second = await at(browser, hrefOf(first, 'More'))
  expect(idsIn(second)[0]).toBe('person-0000050')
  expect(idsIn(await at(browser, hrefOf(second, 'From the beginning')))).toEqual(idsIn(first))
  expect(idsIn(await at(browser, '/console/people?user=0009876@'))).toEqual(['person-0009876'])
  const many = await at(browser, '/console/people?user=person-00098')
  expect(idsIn(await at(browser, hrefOf(many, 'More')))[0]).toBe('person-0009850')
  expect(await at(browser, '/console/people?user=nobody')).toContain('Nobody has connected')
})

test('the operators’ API reads a page of connections and no more, and every one is on one of them', async () => {
  const ask = async (query: string) => {
    const at = `${world.deputy.connect}/v1/admin/user_connections?${query}`
    const answer = await fetch(at, { headers: { authorization: `Bearer ${BACKEND}` } })
    return (await answer.json()) as {
      readonly items: readonly { readonly user_id: string }[]
      readonly total_count: number
    }
  }
  const first = await ask('')
  expect(first.items[0]?.user_id).toBe('person-0000000@north.example')
  // There are 13,467: what lies far behind the page is not counted.
  expect([first.items.length, first.total_count]).toEqual([25, 10_025])
  const last = await ask('limit=100&offset=13400')
  expect([last.items.length, last.total_count]).toEqual([67, 13_467])
  expect(last.items.at(-1)?.user_id).toBe('person-0010099@north.example')
  expect((await ask('provider_id=stream&limit=1&offset=3366')).total_count).toBe(3_367)
})

test('an agent of more people than are counted says so, and its people come a page at a time', async () => {
  const [browser] = await world.enter('ada')
  const agents = await at(browser, '/console/agents')
  expect(agents).toMatch(/agent-3<\/bdi>[\s\S]*?On[\s\S]*?more than 1,000[\s\S]*?acme, stream/)
  const first = await at(browser, '/console/agent?id=agent-3')
  expect(idsIn(first)[0]).toBe('person-0000003')
  const second = await at(browser, hrefOf(first, 'More'))
  expect(idsIn(second)[0]).not.toBe('person-0000003')
  expect(idsIn(second).every((id) => id.endsWith('3'))).toBe(true)
})

test.each([
  '{',
  '[]',
  '["a"]',
  '[1,2,3,4]',
  '["\\ud800","b","c","d"]',
  '["a\\u0000","b","c","d"]',
  'x'.repeat(5_000),
])('an address that no page of ours has shows a page all the same: %s', async (after) => {
  const [browser] = await world.enter('ada')
  for (const path of ['people', 'agents', 'agent?id=agent-3']) {
    const sign = path.includes('?') ? '&' : '?'
    const url = `${world.url}/console/${path}${sign}after=${encodeURIComponent(after)}`
    expect([path, (await browser.open(url)).status]).toEqual([path, 200])
  }
})
