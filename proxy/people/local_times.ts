// The only script of the pages: shows times in the reader's zone, and as their country writes them
// if it speaks the page's language.
import { createHash } from 'node:crypto'
import { raw } from 'hono/html'

/** Without it the time in UTC stands there, which stays as the title. */
const SCRIPT = `
const page = document.documentElement.lang
const tag = navigator.languages.find((one) => one.split('-')[0] === page) ?? page
const format = new Intl.DateTimeFormat(tag, { dateStyle: 'medium', timeStyle: 'short' })
for (const time of document.querySelectorAll('time')) {
  time.title = time.textContent
  time.textContent = format.format(new Date(time.dateTime))
}
`

/** Stands behind the last moment of a page; raw, because a changed space would be another hash. */
export const LOCAL_TIMES = raw(`<script type="module">${SCRIPT}</script>`)
/** For `script-src`: this script runs, and no other. */
export const LOCAL_TIMES_HASH = `'sha256-${createHash('sha256').update(SCRIPT).digest('base64')}'`
