import { createHash } from 'node:crypto'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { LOCAL_TIMES, LOCAL_TIMES_HASH } from '../../proxy/people/local_times.ts'

const script = /^<script type="module">([^]*)<\/script>$/.exec(String(LOCAL_TIMES))?.[1] ?? ''

test('the policy of the pages lets exactly this script run', () => {
  const digest = createHash('sha256').update(script).digest('base64')
  expect(LOCAL_TIMES_HASH).toBe(`'sha256-${digest}'`)
})

/** Runs the script on a page of this language, for a reader who prefers these. */
const shown = (lang: string, languages: readonly string[]) => {
  const time = {
    dateTime: '2026-11-28T18:00:00.000Z',
    textContent: '28 Nov 2026, 18:00 UTC',
    title: '',
  }
  const document = { documentElement: { lang }, querySelectorAll: () => [time] }
  runInNewContext(script, { document, navigator: { languages }, Intl, Date })
  return time
}
const format = (tag: string): string =>
  new Intl.DateTimeFormat(tag, { dateStyle: 'medium', timeStyle: 'short' }).format(
    Date.UTC(2026, 10, 28, 18),
  )

test.each([
  ['de', ['en-US', 'de-AT', 'de'], 'de-AT'],
  ['en', ['en-GB'], 'en-GB'],
  ['en', ['fr-FR'], 'en'],
  ['de', [], 'de'],
])('a page in %s for a reader of %j has its moments as %s', (lang, languages, tag) => {
  expect(shown(lang, languages).textContent).toBe(format(tag))
})

test('the moment in UTC stays as the title', () => {
  expect(shown('en', ['en']).title).toBe('28 Nov 2026, 18:00 UTC')
})
