// The console over a vault of many thousand people: a page of them at a time, and each is found.
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Browser } from '../support/browser.ts'
import { startConsoleWorld, type ConsoleWorld } from '../support/console.ts'
import { crowd } from '../support/crowd.ts'

const PEOPLE = 10_100
let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld({
    held: [],
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
