import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { textsFor } from '../../../proxy/people/languages/choice.ts'

const app = new Hono()
app.get('/', (c) => c.text(textsFor(c).tag))
const chosen = async (wanted: string | null): Promise<string> =>
  (await app.request('/', { headers: wanted === null ? {} : { 'accept-language': wanted } })).text()

test.each([
  ['de', 'de'],
  ['DE', 'de'],
  ['de-AT', 'de'],
  ['de-Latn-CH, en;q=0.8', 'de'],
  ['en-GB, de;q=0.9', 'en'],
  ['en;q=0.1, de;q=0.2', 'de'],
  ['fr, de;q=0.3', 'de'],
  ['fr-CA, it', 'en'],
  ['de;q=0', 'en'],
  ['de;q=0, fr', 'en'],
  ['*', 'en'],
  ['den', 'en'],
  ['', 'en'],
  [null, 'en'],
  [`${'x,'.repeat(5_000)}de`, 'de'],
  [';;;q=,,=', 'en'],
  ['__proto__', 'en'],
  ['constructor', 'en'],
])('%s is %s', async (wanted, expected) => {
  expect(await chosen(wanted)).toBe(expected)
})
