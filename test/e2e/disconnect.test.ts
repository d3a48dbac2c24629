// A whole deputy: an agent at work, its person at the page of their connections, and the end of it while a call runs.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { startDeputy, until } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { paced } from '../support/pace.ts'

const TOKEN = 'token-of-alice-0123456789'
let upstream: Upstream
let deputy: Deputy
afterEach(async () => {
  await deputy.close()
  await upstream.close()
})

test('a person sees that the agent used their account, disconnects it, and the call that runs is cut', async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: [
      { person: 'alice', token: TOKEN },
      { person: 'bob', token: 'token-of-bob-0123456789' },
    ],
  })
  const call = (path: string) =>
    fetch(`${deputy.agent}/api.acme.test${path}`, { headers: { 'deputy-user': 'alice' } })
  const browser = createBrowser()
  const asked = await browser.open(`${deputy.connect}/connections`)
  const code = readFileSync(join(deputy.dir, '.deputy-code'), 'utf8').trim()
  const before = await browser.submit(asked, { code, user: 'alice' })
  expect(before.text).toContain('Not yet')
  expect(before.text).not.toContain('bob')

  expect((await call('/notes')).status).toBe(200)
  let shown = ''
  const look = setInterval(() => {
    void browser.open(`${deputy.connect}/connections`).then(({ text }) => (shown = text))
  }, 200)
  await until(() => shown !== '' && !shown.includes('Not yet'), 'the last use is shown')
  clearInterval(look)
  expect(shown).toContain(`Last used</dt>`)
  expect(shown).not.toContain(TOKEN)

  upstream.handle = (_seen, res) => {
    res.writeHead(200, { 'content-type': 'text/plain' })
    res.write('the first part')
  }
  const running = await call('/stream')
  const rest = running.text().then(
    () => 'ended well',
    () => 'cut',
  )
  // It asks whether she is sure.
  const page = await browser.submit(await browser.open(`${deputy.connect}/connections`))
  const from = performance.now()
  const after = await browser.submit(page)
  expect(await rest).toBe('cut')
  expect(performance.now() - from).toBeLessThan(paced(1_000))
  expect(after.text).toContain('deputy has deleted its access')
  expect(after.text).toContain('No account is connected')
  upstream.handle = null
  expect((await call('/notes')).headers.get('deputy-answer')).toBe('consent_required')
  const records = deputy.evidence().filter(({ event }) => event === 'connection.disconnected')
  expect(records).toMatchObject([
    {
      user: { id: 'alice', realm: 'local', tenant: 'default', verified: false },
      agent: null,
      connection: 'acme',
      result: 'not_supported',
    },
  ])
})
