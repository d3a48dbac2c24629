// The application's own page says who was there: with the unmodified client, and against everybody else's links.
import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser, type Browser } from '../support/browser.ts'
import { until } from '../support/deputy.ts'
import { BACKEND, startHouse, VERIFIER_KEY } from '../support/house.ts'
import type { House } from '../support/house.ts'

let house: House
beforeAll(async () => {
  house = await startHouse()
})
afterAll(() => house.close())
beforeEach(async () => {
  for (const user of ['alice', 'bob'])
    await house.api('DELETE', `/v1/admin/users/${user}/connections`)
  house.provider.requests.length = 0
})

const flowOf = async (link: string, account: string, browser = createBrowser()) =>
  (await house.walk(browser, link, account)).searchParams.get('flow_id') ?? ''
const revocations = () =>
  house.provider.requests.filter(({ path }) => path === '/token/revocation').length
const names = () =>
  house.deputy.evidence().map(({ event, reason, failure }) => reason ?? failure ?? event)
const stored = (): string =>
  readdirSync(house.deputy.dir)
    .filter((name) => name.startsWith('deputy.db'))
    .map((name) => readFileSync(join(house.deputy.dir, name), 'latin1'))
    .join('')

test('after the provider the browser goes to the application, whose unmodified client confirms; only then the account may be used', async () => {
  const started = await house.authorize('alice')
  const browser = createBrowser()
  const page = await browser.open(started.url ?? '')
  expect(page.status).toBe(200)
  for (const said of ['agent:triage', 'Acme', 'openid']) expect(page.text).toContain(said)
  const at = await house.walk(browser, started.url ?? '', 'alice-acme')
  expect([at.pathname, at.searchParams.get('app')]).toEqual(['/verify', '1'])
  const flow_id = at.searchParams.get('flow_id') ?? ''
  expect(started.url).not.toContain(flow_id)

  const agent = await house.agentClient('alice')
  expect(await agent.auth.status({ id: started.id ?? '' })).toMatchObject({ status: 'pending' })
  const before = await house.call(await house.tag('alice'))
  expect([before.status, before.headers.get('deputy-answer')]).toEqual([403, 'consent_required'])
  expect((await browser.open(started.url ?? '')).text).toContain('Waiting for your application')

  const waiting = agent.auth.waitForCompletion(started)
  const confirmed = await house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })
  expect(confirmed).toEqual({ auth_id: started.id })
  expect(await waiting).toMatchObject({ status: 'completed', context: {} })
  const after = await house.call(await house.tag('alice'))
  expect([after.status, await after.json()]).toMatchObject([200, { sub: 'alice-acme' }])
  expect(revocations()).toBe(0)
})

test('phishing: bob’s link, finished by alice, is confirmed as alice and ends: tokens revoked and deleted, nothing stored for either', async () => {
  const started = await house.authorize('bob')
  const flow_id = await flowOf(started.url ?? '', 'alice-acme')
  const call = house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })
  await expect(call).rejects.toMatchObject({
    status: 400,
    error: { code: 400, error: 'user_mismatch', msg: expect.any(String) },
  })
  expect(revocations()).toBe(2)
  for (const user of ['alice', 'bob']) {
    const answer = await house.call(await house.tag(user))
    expect(answer.headers.get('deputy-answer')).toBe('consent_required')
  }
  const status = await (await house.agentClient('bob')).auth.status({ id: started.id ?? '' })
  expect(status).toMatchObject({ status: 'failed', failure: 'user_mismatch' })
  expect(names()).toEqual(expect.arrayContaining(['consent.user_mismatch', 'user_mismatch']))
  // The id is spent: also the right person is too late now.
  await expect(
    house.verifier().auth.confirmUser({ flow_id, user_id: 'bob' }),
  ).rejects.toMatchObject({ status: 404 })
})

test('a flow id confirms once; the link’s own id and a guess confirm nothing', async () => {
  const started = await house.authorize('alice')
  const flow_id = await flowOf(started.url ?? '', 'alice-acme')
  const link = (started.url ?? '').split('/').at(-1) ?? ''
  for (const wrong of [link, started.id ?? '', 'x'.repeat(43)])
    await expect(
      house.verifier().auth.confirmUser({ flow_id: wrong, user_id: 'alice' }),
    ).rejects.toMatchObject({ status: 404 })
  const both = await Promise.allSettled(
    [1, 2].map(() => house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })),
  )
  expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
})

test.each([
  ['no bearer', ''],
  ['a wrong one', 'x'.repeat(40)],
  ['an operator’s', BACKEND],
])('confirm_user takes its own key only: %s is 401', async (_name, key) => {
  const body = { flow_id: 'x'.repeat(43), user_id: 'alice' }
  const answer = await house.api('POST', '/v1/auth/confirm_user', body, key)
  expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([401, 'unauthenticated'])
})

test('the key of the verifier opens nothing else, and its scheme may be left out', async () => {
  const answer = await house.api('GET', '/v1/admin/user_connections', undefined, VERIFIER_KEY)
  expect(answer.status).toBe(401)
  const bare = house.client(house.deputy.connect, VERIFIER_KEY)
  await expect(
    bare.auth.confirmUser({ flow_id: 'x'.repeat(43), user_id: 'alice' }),
  ).rejects.toMatchObject({ status: 404 })
})

test('a second agent’s yes waits for the application too, though the provider is not asked again', async () => {
  await house.connect('alice', 'alice-acme')
  house.provider.requests.length = 0
  const started = await house.authorize('alice', 'acme', 'agent:other')
  const flow_id = await flowOf(started.url ?? '', 'alice-acme')
  expect(house.provider.requests).toEqual([])
  const other = await house.tag('alice', 'acme', 'agent:other')
  expect((await house.call(other)).headers.get('deputy-answer')).toBe('consent_required')
  // Whoever has the link, the agent itself too, can press the button: it is the application that says who did.
  await expect(
    house.verifier().auth.confirmUser({ flow_id, user_id: 'bob' }),
  ).rejects.toMatchObject({ status: 400 })
  expect((await house.call(other)).headers.get('deputy-answer')).toBe('consent_required')
  const again = await house.authorize('alice', 'acme', 'agent:other')
  const second = await flowOf(again.url ?? '', 'alice-acme')
  await house.verifier().auth.confirmUser({ flow_id: second, user_id: 'alice' })
  expect((await house.call(other)).status).toBe(200)
  expect(revocations()).toBe(0)
})

test('a robot that previews the link uses nothing up, and nothing begins', async () => {
  const { url = '', id = '' } = await house.authorize('alice')
  for (const method of ['GET', 'HEAD'])
    for (const headers of [
      { 'user-agent': 'Slackbot-LinkExpanding 1.0' },
      { 'sec-purpose': 'prefetch;prerender' },
    ])
      expect((await fetch(url, { method, headers, redirect: 'manual' })).status).toBe(200)
  expect((await fetch(`${house.url}/connections`, { redirect: 'manual' })).status).toBe(303)
  expect(house.provider.requests).toEqual([])
  const flow_id = await flowOf(url, 'alice-acme')
  expect(await house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })).toEqual({
    auth_id: id,
  })
})

test('a form from another page, or without the browser’s cookie, is refused', async () => {
  const { url = '' } = await house.authorize('alice')
  const browser = createBrowser()
  const page = await browser.open(url)
  const stranger = createBrowser()
  expect((await stranger.submit(page, { answer: 'yes' })).status).toBe(403)
  const cross = { headers: { 'sec-fetch-site': 'cross-site' } }
  expect((await browser.submit(page, { answer: 'yes' }, cross)).status).toBe(403)
})

test('somebody who was suspended cannot finish an old link: nothing is stored and the agent is told', async () => {
  const started = await house.authorize('bob')
  const flow_id = await flowOf(started.url ?? '', 'bob-acme')
  const late = await house.authorize('bob', 'acme', 'agent:late')
  house.people((rows) => rows.map((row) => (row['id'] === 'bob' ? { ...row, active: false } : row)))
  try {
    await until(
      () => house.deputy.logged().includes('entitlements file read'),
      'the file is read again',
    )
    await expect(
      house.verifier().auth.confirmUser({ flow_id, user_id: 'bob' }),
    ).rejects.toMatchObject({ status: 403 })
    expect(revocations()).toBe(2)
    await expect(house.walk(createBrowser(), late.url ?? '', 'bob-acme')).rejects.toThrow(
      /403.*suspended/s,
    )
    expect(names()).toContain('user_inactive')
    const listed = await house.operator().admin.userConnections.list({ user_id: 'bob' })
    expect(listed.items).toEqual([])
  } finally {
    house.people((rows) => rows)
    // The next test must find him again.
    await expect
      .poll(() =>
        house.authorize('bob').then(
          ({ status }) => status,
          () => 'refused',
        ),
      )
      .toBe('pending')
  }
})

test('nothing that waits for a confirmation shows a token: not the database, evidence, log, pages or addresses', async () => {
  const seen: string[] = []
  house.provider.after = () => {}
  const started = await house.authorize('alice')
  const browser = createBrowser()
  const flow_id = await flowOf(started.url ?? '', 'alice-acme', browser)
  await house.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })
  const held = house.provider.requests
    .filter(({ path }) => path === '/me')
    .map(({ headers }) => String(headers['authorization']).replace(/^bearer /i, ''))
  expect(held.length).toBeGreaterThan(0)
  seen.push(stored(), house.deputy.logged(), JSON.stringify(house.deputy.evidence()))
  seen.push(JSON.stringify(browser.seen))
  for (const text of seen) for (const token of held) expect(text).not.toContain(token)
  for (const text of seen.slice(0, 3)) expect(text).not.toContain(flow_id)
})

describe('a person’s own connections', () => {
  const own = () => `${house.url}/connections`
  const atVerifier = (to: URL): boolean => to.href.startsWith('http://127.0.0.1:9/')
  /** Opens the page; the id that the application is asked to confirm. */
  const ask = async (browser: Browser): Promise<string> => {
    const { searchParams } = new URL((await browser.open(own(), atVerifier)).url)
    return searchParams.get('flow_id') ?? ''
  }
  const confirm = async (flow_id: string, user_id: string): Promise<string> =>
    (await house.verifier().auth.confirmUser({ flow_id, user_id })).next_uri ?? ''

  test('are shown to whom the application names, in the browser that asked, and can be disconnected there', async () => {
    await house.connect('alice', 'alice-acme')
    const browser = createBrowser()
    const page = await browser.open(await confirm(await ask(browser), 'alice'))
    expect(page.url).toBe(own())
    for (const said of ['agent:triage', 'alice-acme', 'alice (acme)'])
      expect(page.text).toContain(said)
    expect((await browser.open(own())).text).toContain('alice-acme')
    // Each is asked for once more.
    const gone = await browser.submit(await browser.submit(page))
    expect(gone.text).toContain('has confirmed that the access is withdrawn')
    expect((await house.call(await house.tag('alice'))).status).toBe(403)
    expect((await browser.submit(await browser.submit(gone))).text).toContain(
      'You are signed out here',
    )
    expect(await ask(browser)).toMatch(/^my_/)
  })

  test('phishing: an address that mallory asked for and alice’s application confirmed opens for neither', async () => {
    await house.connect('alice', 'alice-acme')
    const mallory = createBrowser()
    const next = await confirm(await ask(mallory), 'alice')
    const alice = createBrowser()
    await ask(alice)
    for (const stranger of [alice, createBrowser()]) {
      const page = await stranger.open(next)
      expect(page.status).toBe(401)
      expect(page.text).not.toContain('alice')
    }
    // The ticket went to alice's browser alone: mallory's has the cookie and nothing to show with it.
    expect(await ask(mallory)).toMatch(/^my_/)
  })

  test('a session there is no yes: a link still waits for the application', async () => {
    const browser = createBrowser()
    await browser.open(await confirm(await ask(browser), 'alice'))
    const started = await house.authorize('bob')
    const at = await house.walk(browser, started.url ?? '', 'alice-acme')
    expect(at.searchParams.get('flow_id')).toMatch(/^[\w-]{43}$/)
    expect((await house.call(await house.tag('bob'))).status).toBe(403)
  })

  test('made-up ids and tickets are none', async () => {
    const browser = createBrowser()
    const flow_id = await ask(browser)
    for (const wrong of ['my_', 'my_x', `${flow_id.slice(0, -4)}AAAA`, flow_id.slice(3)])
      await expect(
        house.verifier().auth.confirmUser({ flow_id: wrong, user_id: 'alice' }),
      ).rejects.toMatchObject({ status: 404 })
    for (const ticket of ['', 'x', flow_id, flow_id.slice(3)])
      expect((await browser.open(`${own()}?ticket=${ticket}`)).status, ticket).toBe(401)
  })
})

test('where people are hashed in the evidence, none stands there in clear: who it is for, who came, whose account', async () => {
  const hashed = await startHouse({
    config: { audit: { sink: ['file:audit.jsonl'], user_ids: 'hashed' } },
  })
  try {
    const { url = '' } = await hashed.authorize('bob')
    const at = await hashed.walk(createBrowser(), url, 'alice-acme')
    const flow_id = at.searchParams.get('flow_id') ?? ''
    const mismatch = hashed.verifier().auth.confirmUser({ flow_id, user_id: 'alice' })
    await expect(mismatch).rejects.toMatchObject({ status: 400 })
    await hashed.connect('alice', 'alice-acme')
    expect((await hashed.call(await hashed.tag('alice'))).status).toBe(200)
    const has = (name: string) => hashed.deputy.evidence().some(({ event }) => event === name)
    await until(() => has('outcome'), 'the outcome')
    for (const name of ['consent.user_mismatch', 'consent.completed']) expect(has(name)).toBe(true)
    const lines = hashed.deputy.evidence()
    expect(lines.find(({ event }) => event === 'consent.opened')).toMatchObject({
      from: { address: expect.stringMatching(/^hmac2:[\w-]{43}$/) as string },
    })
    for (const hidden of ['alice', 'bob', '127.0.0.1:', '"127.0.0.1"'])
      expect(JSON.stringify(lines)).not.toContain(hidden)
  } finally {
    await hashed.close()
  }
})

test('a verifier beside a sign-in is not used, and the log and validate say so', async () => {
  const both = await startHouse({
    connect: {
      sign_in: {
        issuer: 'http://127.0.0.1:9',
        client_id: 'pages',
        client_secret: 'x'.repeat(32),
        tenant: '/org',
        realm: 'corp',
        insecure: true,
      },
    },
  })
  try {
    expect(both.deputy.logged()).toContain('connect.verifier: is not used')
    const bin = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
    const args = [bin, 'validate', '--config', join(both.deputy.dir, 'deputy.yaml')]
    const said = await new Promise<string>((resolve) =>
      execFile(process.execPath, args, (_error, out, err) => resolve(out + err)),
    )
    expect(said).toContain('note: connect.verifier: is not used, because connect.sign_in')
  } finally {
    await both.close()
  }
})
