// Operators of one tenant at the console: of another one they see, count, hear and end nothing.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createConsole } from '../../proxy/people/console/app.ts'
import type { Browser } from '../support/browser.ts'
import { heardUntil, startConsoleWorld, type ConsoleWorld } from '../support/console.ts'

let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld({
    byTenant: true,
    accounts: {
      all: { groups: ['desk'], tenants: ['north', 'south'] },
      none: { groups: ['desk'], tenants: [] },
    },
    held: ['north', 'south'].map((tenant) => ({
      person: { tenant, realm: 'corp', id: `alice-of-${tenant}` },
      agent: `agent-of-${tenant}`,
      token: `token-of-${tenant}-0123456789`,
    })),
    config: {
      agents: [
        { id: 'agent-of-south', owner: { id: 'owner-of-south', tenant: 'south', realm: 'corp' } },
        { id: 'agent-1', owner: { id: 'owner-of-south', tenant: 'south', realm: 'corp' } },
      ],
    },
  })
})
afterAll(() => world?.close())

const PATHS = ['', '/people', '/agents', '/runs', '/waiting', '/policy', '/health'].flatMap(
  (path) => [path, `${path}?effect=allow,deny,refused,event,looked`],
)
const cookieOf = (browser: Browser): string =>
  [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
const eventsOf = (name: string) =>
  world.deputy.evidence().filter(({ event, operator }) => event === name && operator === 'sso:nina')

test('every page of the console is looked at here: one that is new needs a line in PATHS or a test', () => {
  const bare = { session: { publicUrl: 'http://127.0.0.1:1' } } as unknown
  const { routes } = createConsole(bare as Parameters<typeof createConsole>[0]).app
  const own = routes.filter(({ method, path }) => method !== 'ALL' && !path.includes('*'))
  const named = ['/call', '/person', '/agent', '/live', '/act'] // by the tests below
  const nobody = ['/style.css', '/live.js', '/callback', '/sign-out'] // of no tenant
  expect(new Set(own.map(({ path }) => path))).toEqual(
    new Set([
      ...[...PATHS.map((path) => path.split('?')[0]), ...named, ...nobody].map(
        (path) => `/console${path}`,
      ),
      '/style.css',
      '/logo',
    ]),
  )
})

test('no page of an operator of north has a word of south', async () => {
  for (const tenant of ['north', 'south'])
    for (const path of ['mine', `only-${tenant}`])
      await world.call(tenant, 'bob', `/api.acme.test/${path}`)
  await world.enter('sam') // south's own operator leaves records too
  const [browser, first] = await world.enter('nina')
  expect(first.status).toBe(200)
  for (const path of PATHS) {
    const page = await browser.open(`${world.url}/console${path}`)
    expect([page.status, path]).toEqual([200, path])
    expect(page.text, path).not.toMatch(/south|sso:sam/)
  }
  expect(first.text).toContain('only-north')
  // Counted as shown: two calls of north's, not four.
  expect(first.text).toMatch(/Refused by policy <strong>2</)
  const people = await browser.open(`${world.url}/console/people`)
  expect(people.text).toContain('alice-of-north')
})

test('what is named of south is as what is not there', async () => {
  const [browser] = await world.enter('nina')
  const exchange = world.deputy
    .evidence()
    .find(({ user }) => (user as { tenant?: string } | undefined)?.tenant === 'south')?.['exchange']
  const [real, absent] = await Promise.all(
    [String(exchange), 'NONE'].map(async (id) =>
      (await browser.open(`${world.url}/console/call?exchange=${id}`)).text.replaceAll(id, 'ID'),
    ),
  )
  const plain = (text = ''): string => text.replaceAll(/name="csrf" value="[^"]*"/g, '')
  expect(plain(real)).toBe(plain(absent))
  expect(await world.call('north', 'bob')).toBe(403)

  const person = async (tenant: string): Promise<readonly [number, string]> => {
    const query = new URLSearchParams({ tenant, realm: 'corp', id: `alice-of-south` }).toString()
    const page = await browser.open(`${world.url}/console/person?${query}`)
    return [page.status, page.text]
  }
  const [south, nowhere] = [await person('south'), await person('nowhere')]
  expect(south).toEqual(nowhere)
  expect(south[0]).toBe(403)
  for (const id of ['agent-of-south', 'no-agent'])
    expect((await browser.open(`${world.url}/console/agent?id=${id}`)).status).toBe(404)
})

test('the stream of north hears nothing of south', async () => {
  const [browser] = await world.enter('nina')
  const abort = new AbortController()
  const stream = await fetch(`${world.url}/console/live`, {
    headers: { cookie: cookieOf(browser) },
    signal: abort.signal,
  })
  await world.call('south', 'bob', '/api.acme.test/loud-of-south')
  await world.call('north', 'bob', '/api.acme.test/loud-of-north')
  const text = await heardUntil(stream, 'loud-of-north')
  expect(text).not.toContain('south')
  abort.abort()
})

test('acts on things of south do nothing and are recorded', async () => {
  const [sam] = await world.enter('sam')
  const page = await sam.open(
    `${world.url}/console/person?tenant=south&realm=corp&id=alice-of-south`,
  )
  const credential = /name="act" value="connection" \/>\s*<input[^>]*value="([^"]+)"/.exec(
    page.text,
  )?.[1]
  expect(credential).toBeDefined()
  const [browser] = await world.enter('nina')
  const people = await browser.open(`${world.url}/console/people`)
  const csrf = /name="csrf" value="([^"]+)"/.exec(people.text)?.[1] ?? ''
  const post = (fields: Readonly<Record<string, string>>) =>
    browser.submit(
      { ...people, text: '<form method="post" action="/console/act"></form>' },
      { csrf, sure: 'yes', ...fields },
    )
  const before = eventsOf('operator.refused').length
  const connection = await post({ act: 'connection', id: credential ?? '' })
  const missing = await post({ act: 'connection', id: 'none' })
  expect([connection.status, missing.status]).toEqual([404, 404])
  expect(connection.text).toBe(missing.text)
  const whole = await post({ act: 'person', tenant: 'south', realm: 'corp', id: 'alice-of-south' })
  expect(whole.status).toBe(403)
  expect(eventsOf('operator.refused').length).toBe(before + 2)
  const still = await sam.open(`${world.url}/console/people`)
  expect(still.text).toContain('alice-of-south')
  // An agent is switched for the tenants that they serve.
  await post({ act: 'agent-off', id: 'agent-1' })
  expect(eventsOf('agent.disabled')).toMatchObject([{ tenant: 'north' }])
})

test('an agent that is off is not said to be on, and one is switched off nowhere by who serves no tenant', async () => {
  const post = async (who: string, fields: Readonly<Record<string, string>>) => {
    const [browser, page] = await world.enter(who)
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    const form = { ...page, text: '<form method="post" action="/console/act"></form>' }
    return browser.submit(form, { csrf, sure: 'yes', ...fields })
  }
  const nowhere = await post('none', { act: 'agent-off', id: 'agent-7' })
  expect(nowhere.status).toBe(404)
  await post('all', { act: 'agent-off', id: 'agent-7' })
  const on = await post('nina', { act: 'agent-on', id: 'agent-7' })
  expect(on.text).toContain('is switched on')
  // Of south she is told nothing.
  expect(on.text).not.toContain('south')
  const again = await post('nina', { act: 'agent-on', id: 'agent-7' })
  expect(again.text).toContain('had not been switched off')
  const off = await post('sam', { act: 'agent-on', id: 'agent-7' })
  expect(off.text).toContain('is switched on')
})

test('a token without the claim of tenants signs nobody in', async () => {
  const [, page] = await world.enter('ada')
  expect(page.status).toBe(400)
  expect(page.text).toContain('The sign-in failed')
})

test('that a policy is wrong is told to north, and what is wrong only to operators of all tenants', async () => {
  const file = join(world.deputy.dir, 'tables', 'limits.json')
  writeFileSync(file, '{"row of south": ')
  await world.deputy.reload()
  const failed = () => world.deputy.evidence().filter(({ event }) => event === 'policy.failed')
  await expect.poll(() => failed().length).toBeGreaterThan(0)
  const problem = String(failed()[0]?.['problem'])
  expect(problem).toContain('limits.json')
  const [browser] = await world.enter('nina')
  const page = await browser.open(`${world.url}/console/policy`)
  expect(page.text).toContain('a problem, told to operators of all tenants')
  expect(page.text).not.toContain('limits.json')
  rmSync(file)
  await world.deputy.reload()
})
