// With an address of its own the operators' console stands at their listener, and not where the organisation reaches its pages.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBrowser } from '../support/browser.ts'
import { startConsoleWorld, type ConsoleWorld } from '../support/console.ts'

const LOGO = '<svg xmlns="http://www.w3.org/2000/svg"/>'
const PATHS = ['', '/people', '/callback?state=x&code=y', '/live', '/style.css', '/live.js', '/act']

let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld({ apart: {} })
})
afterAll(() => world?.close())

test('the sign-in leads to the operators’ listener and back to it, and acts work there', async () => {
  const [browser, page] = await world.enter('ada')
  expect([page.status, page.url]).toEqual([200, `${world.url}/console`])
  const asked = await createBrowser().open(
    `${world.url}/console`,
    (next) => next.origin === world.idp.issuer,
  )
  expect(new URL(asked.url).searchParams.get('redirect_uri')).toBe(`${world.url}/console/callback`)
  const at = `${world.url}/console/agent?id=agent-1`
  const sure = await world.press(browser, await browser.open(at), 'agent-off')
  await world.press(browser, sure, 'name="sure"')
  expect(await world.call('south', 'alice')).toBe(403)
  const on = await world.press(browser, await browser.open(at), 'agent-on')
  await world.press(browser, on, 'name="sure"')
  expect(await world.call('south', 'alice')).toBe(200)
})

test('nothing of it is at the pages’ listener, for nobody and for whoever is signed in', async () => {
  const [browser] = await world.enter('ada')
  const cookie = [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
  for (const path of PATHS)
    for (const method of ['GET', 'POST'])
      for (const headers of [{}, { cookie }]) {
        const url = `${world.pages}/console${path}`
        const answer = await fetch(url, { method, headers, redirect: 'manual' })
        expect([path, method, answer.status]).toEqual([path, method, 404])
        expect(await answer.text()).not.toMatch(/console\/|sign-out/)
      }
})

test('all that its pages load and link to is there', async () => {
  const [browser] = await world.enter('vera')
  await world.call('south', 'bob')
  const { text } = await browser.open(`${world.url}/console`)
  const loaded = [...text.matchAll(/(?:src|rel="stylesheet" href)="([^"]+)"/g)].map(
    ([, at = '']) => at,
  )
  expect(loaded).toEqual(expect.arrayContaining(['/style.css', '/console/style.css']))
  for (const at of loaded) expect([at, (await fetch(world.url + at)).status]).toEqual([at, 200])
  const why = await fetch(`${world.url}/problems/policy_denied`, { redirect: 'manual' })
  expect([why.status, why.headers.get('location')]).toEqual([
    303,
    `${world.pages}/problems/policy_denied`,
  ])
  expect((await fetch(`${world.url}/problems/policy_denied`)).status).toBe(200)
})

test('the operators’ API is beside it, still refuses browsers, and no cookie of the console opens it', async () => {
  const [browser] = await world.enter('ada')
  const cookie = [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
  const at = `${world.url}/v1/admin/agents`
  expect((await fetch(at, { headers: { cookie } })).status).toBe(401)
  const page = { cookie, origin: world.url, 'sec-fetch-site': 'same-origin' }
  expect((await fetch(at, { method: 'POST', headers: page })).status).toBeGreaterThanOrEqual(400)
  expect((await fetch(`${world.pages}/v1/admin/agents`)).status).toBe(401)
})

test('a path in front of it, and the organisation’s mark', async () => {
  const other = await startConsoleWorld({
    apart: { below: '/ops' },
    brand: { name: 'Acme', logo: './logo.svg' },
    before: (dir) => writeFileSync(join(dir, 'logo.svg'), LOGO),
  })
  try {
    const [browser, page] = await other.enter('ada')
    expect([page.status, page.url]).toEqual([200, `${other.url}/console`])
    expect(page.text).toContain('href="/ops/console/people"')
    expect(page.text).toContain('src="/ops/logo"')
    expect((await browser.open(`${other.url}/console/people`)).status).toBe(200)
    const logo = await fetch(`${other.url}/logo`)
    expect([await logo.text(), logo.headers.get('content-security-policy')]).toEqual([
      LOGO,
      expect.stringContaining('sandbox'),
    ])
  } finally {
    await other.close()
  }
})

test('without an address of its own it is with the pages, whatever listener the operators have', async () => {
  const other = await startConsoleWorld({ apart: { unsaid: true } })
  try {
    const [, page] = await other.enter('ada')
    expect([page.status, page.url]).toEqual([200, `${other.pages}/console`])
    const { port } = new URL(other.operators)
    expect((await fetch(`http://127.0.0.1:${port}/console`)).status).toBe(404)
  } finally {
    await other.close()
  }
})
