// The console against hostile browsers, hostile names and operators who want more than their roles: nothing is left hanging,
// shown raw, or said to be done or recorded that is not.
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { providersAt } from '../support/deputy.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { heardUntil, startConsoleWorld, type ConsoleWorld } from '../support/console.ts'

let world: ConsoleWorld
beforeAll(async () => {
  world = await startConsoleWorld({ accounts: { only: { groups: ['glass'] } } })
})
afterAll(() => world?.close())

const events = (name: string) => world.deputy.evidence().filter(({ event }) => event === name)
const get = (path: string, cookie = '', more: RequestInit = {}) =>
  fetch(`${world.url}${path}`, { redirect: 'manual', headers: { cookie }, ...more })
const cookieOf = (browser: Browser): string =>
  [...(browser.cookies.get(new URL(world.url).host) ?? [])]
    .map(([name, value]) => `${name}=${value}`)
    .join('; ')
/** Posts an act with the token of this session, whether or not a page offers it. */
const poster = (browser: Browser, page: Visit) => {
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
  const form = { ...page, text: '<form method="post" action="/console/act"></form>' }
  return (fields: Readonly<Record<string, string>>) => browser.submit(form, { csrf, ...fields })
}
const mainOf = ({ text }: Visit): string =>
  (/<main>[\s\S]*?<\/main>/.exec(text)?.[0] ?? '')
    .replaceAll(/<[^>]*>|\s+/g, ' ')
    .replaceAll(/ +/g, ' ')

describe('a stream', () => {
  test('is not left open by who only asks for its head', async () => {
    const [browser] = await world.enter('ada')
    const cookie = cookieOf(browser)
    for (let i = 0; i < 6; i++)
      expect((await get('/console/live', cookie, { method: 'HEAD' })).status).toBe(200)
    const abort = new AbortController()
    const stream = await get('/console/live', cookie, { signal: abort.signal })
    expect(stream.status).toBe(200)
    abort.abort()
  })
  test('of one operator is one of four; a fifth is refused, and calls go on beside those who do not read', async () => {
    const [browser] = await world.enter('vera')
    const { hostname, port } = new URL(world.url)
    const stalled = Array.from({ length: 4 }, () => connect(Number(port), hostname).pause())
    const cookie = cookieOf(browser)
    const before = events('operator.listed').length
    for (const socket of stalled)
      socket.write(
        `GET /console/live HTTP/1.1\r\nHost: ${hostname}:${port}\r\nCookie: ${cookie}\r\n\r\n`,
      )
    await expect.poll(() => events('operator.listed').length).toBe(before + 4)
    expect((await get('/console/live', cookie)).status).toBe(429)
    for (let i = 0; i < 40; i++)
      expect(await world.call('south', 'bob', `/api.acme.test/${'n'.repeat(120)}/${i}`)).toBe(403)
    for (const socket of stalled) socket.destroy()
    // Who left has made room.
    await expect
      .poll(async () => {
        const abort = new AbortController()
        const { status } = await get('/console/live', cookie, { signal: abort.signal })
        abort.abort()
        return status
      })
      .toBe(200)
  })
})

describe('a form', () => {
  test('that cannot be read is refused as a form, without a word in the log for each stranger', async () => {
    const [browser] = await world.enter('ada')
    const logged = world.deputy.logged().length
    for (const cookie of ['', cookieOf(browser)])
      for (const type of ['multipart/form-data', 'multipart/form-data; boundary=a'])
        for (const path of ['/console/act', '/console/sign-out']) {
          const headers = { cookie, 'content-type': type }
          const answer = await get(path, '', { method: 'POST', headers, body: 'x' })
          expect([answer.status, type, path]).toEqual([403, type, path])
          expect(await answer.text()).toContain('Nothing was done')
        }
    expect(world.deputy.logged().slice(logged)).not.toContain('failed')
  })
})

describe('what was done is told as it is', () => {
  test('nothing that is not in the evidence is said to be', async () => {
    const [browser, page] = await world.enter('ada')
    const post = poster(browser, page)
    for (const fields of [
      { act: 'person', tenant: 'north', realm: 'corp', id: 'nobody-at-all' },
      { act: 'agent-on', id: 'never-off' },
    ]) {
      const before = world.deputy.evidence().length
      const done = await post({ ...fields, sure: 'yes' })
      expect(done.status).toBe(200)
      expect(world.deputy.evidence().length).toBe(before)
      expect(done.text).not.toContain('It is in the evidence')
    }
    expect(mainOf(await post({ act: 'agent-on', id: 'never-off', sure: 'yes' }))).toContain(
      'had not been switched off',
    )
    const off = await post({ act: 'agent-off', id: 'turned', sure: 'yes' })
    expect(off.text).toContain('It is in the evidence, with your name')
    expect(events('agent.disabled').at(-1)).toMatchObject({ operator: 'sso:ada' })
    const on = await post({ act: 'agent-on', id: 'turned', sure: 'yes' })
    expect(mainOf(on)).toContain('is switched on for everybody')
    expect(on.text).toContain('It is in the evidence, with your name')
  })
  test('a provider that does not answer holds up the page, not the revocation; one that hangs up is told as such', async () => {
    const { promise: asked, resolve: arrived } = Promise.withResolvers<void>()
    const { promise: cut, resolve: hangUp } = Promise.withResolvers<void>()
    const other = await startConsoleWorld({
      config: (upstream) => ({
        providers: providersAt(upstream).map((one) => ({ ...one, revoke: `${upstream}/revoke` })),
      }),
    })
    other.upstream.handle = async ({ url }, res) => {
      if (!url.startsWith('/revoke')) {
        res.end('{}')
        return
      }
      arrived()
      await cut
      res.destroy()
    }
    try {
      const [browser] = await other.enter('ada')
      const at = `${other.url}/console/person?tenant=north&realm=corp&id=alice`
      const sure = await other.press(browser, await browser.open(at), 'value="connection"')
      const done = other.press(browser, sure, 'name="sure"')
      await asked
      expect(await other.call('north', 'alice')).toBe(403)
      expect(await other.call('south', 'alice')).toBe(200)
      const revoked = () => other.deputy.evidence().filter((e) => e.event === 'connection.revoked')
      expect(revoked()).toEqual([])
      hangUp()
      const { text } = await done
      expect(text).toContain('the provider did not confirm it')
      expect(text).toContain('Done here, but something is left')
      expect(text).toContain('It is in the evidence, with your name')
      expect(revoked()).toMatchObject([{ operator: 'sso:ada', result: 'failed' }])
    } finally {
      await other.close()
    }
  })
  test('to ask what an act would do takes a role that may look, or breaks the glass', async () => {
    const [browser, page] = await world.enter('only')
    const used = () => events('operator.break_glass').length
    const before = used()
    await poster(browser, page)({ act: 'person', tenant: 'north', realm: 'corp', id: 'x' })
    expect(used()).toBe(before + 1)
  })
})

describe('names', () => {
  test('that nobody can have are refused, and fill no evidence', async () => {
    const [browser] = await world.enter('vera')
    for (const id of ['\0', 'x'.repeat(10_000), '\u202eevil', '\u001b[31m', '\u009b31m'])
      for (const member of ['id', 'realm', 'tenant']) {
        const query = { tenant: 'north', realm: 'corp', id: 'alice', [member]: id }
        const before = events('operator.listed').length
        const at = `${world.url}/console/person?${new URLSearchParams(query).toString()}`
        const page = await browser.open(at)
        expect([page.status, member]).toEqual([400, member])
        expect(events('operator.listed').length).toBe(before)
      }
  })
  test('in markup and other tongues are texts: in rows, stories and the stream', async () => {
    const hostile = '<img src=x onerror=alert(1)>"\'&\u200b'
    const [browser] = await world.enter('ada')
    const abort = new AbortController()
    const stream = await get('/console/live', cookieOf(browser), { signal: abort.signal })
    expect(await world.call('north', hostile, '/api.acme.test/<b>&"x\'')).toBe(403)
    const heard = await heardUntil(stream, 'onerror')
    abort.abort()
    const now = await browser.open(`${world.url}/console`)
    const exchange = /call\?exchange=([\w-]+)/.exec(now.text)?.[1] ?? ''
    const story = await browser.open(`${world.url}/console/call?exchange=${exchange}`)
    const person = new URLSearchParams({ tenant: 'north', realm: 'corp', id: hostile }).toString()
    const of = await browser.open(`${world.url}/console/person?${person}`)
    for (const text of [heard, now.text, story.text, of.text]) {
      expect(text).toContain(
        '&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;<mark>U+200B</mark>',
      )
      expect(text).not.toContain('<img')
      // What a form sends back is no text.
      expect(text.replaceAll(/ value="[^"]*"/g, '')).not.toContain('\u200b')
    }
    // What somebody makes up in an address stands beside no command to type.
    const made = await browser.open(`${world.url}/console/call?exchange=x;curl%20evil.example`)
    expect(made.text).not.toContain('curl')
  })
})

describe('a session', () => {
  test('that was begun far away comes back to the console, in a cookie that browsers keep', async () => {
    const answer = await get(`/console/people?user=${'a'.repeat(6_000)}`)
    expect(answer.status).toBe(303)
    for (const cookie of answer.headers.getSetCookie()) expect(cookie.length).toBeLessThan(4_096)
  })
  test('leads nowhere else: what comes back is a path of the console', async () => {
    for (const path of ['/console/people?next=//evil.example', '/console/%70eople?x=https://evil'])
      expect(new URL((await world.enter('vera', path))[1].url).origin).toBe(world.url)
  })
  test('is begun by no answer that another browser was sent for, and by none twice', async () => {
    const [browser, page] = await world.enter('vera')
    const back = page.hops.find((hop) => hop.includes('/console/callback')) ?? ''
    expect(back).toContain('code=')
    const { pathname, search } = new URL(back)
    for (const cookie of ['', cookieOf(browser)]) {
      const again = await get(`${pathname}${search}`, cookie)
      expect([again.status, again.headers.getSetCookie()]).toEqual([400, []])
    }
  })
  test('that was signed out is over everywhere, also for a form', async () => {
    const [browser, page] = await world.enter('ada')
    const cookie = cookieOf(browser)
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    await world.press(browser, page, 'sign-out')
    const form = new URLSearchParams({ csrf, act: 'agent-off', id: 'x', sure: 'yes' })
    const answer = await get('/console/act', cookie, {
      method: 'POST',
      headers: { cookie },
      body: form,
    })
    expect(answer.status).toBe(403)
    expect(events('agent.disabled').some(({ agent }) => (agent as { id: string }).id === 'x')).toBe(
      false,
    )
    expect((await get('/console/live', cookie)).status).toBe(401)
  })
})

test.each([
  ['PUT', '/console'],
  ['GET', '/console/act'],
  ['GET', '/console/sign-out'],
  ['GET', '/console//people'],
  ['GET', '/console/callback?state=a&state=b&code=c'],
  ['POST', '/console/act'],
])('%s %s: an answer of the pages, with their policy, kept by nobody', async (method, path) => {
  const answer = await get(path, '', { method })
  expect(answer.status).toBeGreaterThanOrEqual(400)
  expect(answer.status).toBeLessThan(500)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect(answer.headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
})

test('a host that is not ours is told nothing: without our cookie nobody is signed in', async () => {
  const { port } = new URL(world.url)
  const socket = connect(Number(port), '127.0.0.1')
  socket.end('GET /console HTTP/1.1\r\nHost: rebound.evil.example\r\nConnection: close\r\n\r\n')
  const text = (await socket.toArray()).map(String).join('')
  expect(text).not.toContain('alice')
  expect(/location: (\S+)/i.exec(text)?.[1] ?? world.idp.issuer).toContain(world.idp.issuer)
})

// Last: they change the configuration of all.
test('a role that was taken away is gone with the next click of a session that stands', async () => {
  const [browser, page] = await world.enter('ada')
  const file = join(world.deputy.dir, 'tables', 'operator_roles.json')
  const roles = JSON.parse(readFileSync(file, 'utf8')) as object
  const give = async (desk: readonly string[]): Promise<void> => {
    const loaded = events('policy.loaded').length
    writeFileSync(file, JSON.stringify({ ...roles, desk }))
    await world.deputy.reload()
    await expect.poll(() => events('policy.loaded').length).toBe(loaded + 1)
  }
  await give(['viewer'])
  const act = await poster(browser, page)({ act: 'agent-off', id: 'a', sure: 'yes' })
  expect(act.status).toBe(403)
  expect((await browser.open(`${world.url}/console/people`)).status).toBe(200)
  await give([])
  expect((await browser.open(`${world.url}/console/people`)).status).toBe(403)
  expect((await get('/console/live', cookieOf(browser))).status).toBe(403)
  await give(['operator'])
})
test('a session that was let in by other rules of operators_sign_in is none: it may serve more tenants than they let it', async () => {
  const [browser] = await world.enter('ada')
  const file = join(world.deputy.dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(file, 'utf8')) as { readonly operators_sign_in: object }
  const rules = { ...config.operators_sign_in, tenant: '/tenants' }
  writeFileSync(file, JSON.stringify({ ...config, operators_sign_in: rules }))
  await world.deputy.reload()
  const answer = await get('/console/people', cookieOf(browser))
  expect(answer.status).toBe(303)
  expect((await get('/console/live', cookieOf(browser))).status).toBe(401)
})
