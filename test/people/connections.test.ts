// My connections over real HTTP: what a person sees of their own, and what disconnecting really does.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readFile } from 'node:fs/promises'
import type { Person } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { createBrowser } from '../support/browser.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { ALICE, BOB, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'

const FIRST = 'agent:triage'
const SECOND = 'agent:second'
let house: Consent
const page = (): string => `${house.publicUrl}/connections`
/** A consent without a browser: at the provider, or for a further agent here alone. */
const connect = async (person: Person = ALICE, agent = FIRST): Promise<void> => {
  const { url } = await house.flows.begin({ person, agent, connection: 'acme' }, ['openid', 'repo'])
  const flow = await house.flows.find(url.slice(url.lastIndexOf('/') + 1))
  if (flow === null || (await house.flows.grantOnly(flow, true))) return
  const redirectUri = house.redirectUri('acme')
  const { location, cookie } = await house.flows.leg(flow, redirectUri)
  const { searchParams: params } = new URL(
    await house.provider.consent(location, `${person.id}-acme`),
  )
  await house.flows.finish({
    connection: 'acme',
    params,
    cookie,
    person,
    verified: true,
    redirectUri,
  })
}
const signIn = async (browser: Browser, login: string): Promise<Visit> => {
  let visit = await browser.open(page())
  while (new URL(visit.url).origin === house.idp.issuer)
    visit = await browser.submit(visit, { login, password: 'x' })
  return visit
}
/** The form whose button says this. */
const form = (visit: Visit, button: string): Visit => {
  const found = [...visit.text.matchAll(/<form[\s\S]*?<\/form>/g)]
    .map(([text]) => text)
    .find((text) => text.includes(`>${button}</button>`))
  if (found === undefined) throw new Error(`no button ${button} in ${visit.text}`)
  return { ...visit, text: found }
}
/** Presses the button, and says on the page that asks that it is meant. */
const press = async (browser: Browser, visit: Visit): Promise<Visit> => {
  const asked = await browser.submit(visit)
  expect(asked.text).toContain('name="sure"')
  return browser.submit(asked)
}
const held = (person: Person = ALICE, agent = FIRST) => house.vault.look(person, 'acme', agent)
const revocations = () =>
  house.provider.requests.filter(({ path }) => path === '/token/revocation').length
const disconnected = () =>
  house.events.filter(({ event }) => event === 'connection.disconnected').map((e) => e.fields)

describe('my connections', () => {
  beforeAll(async () => {
    house = await startConsent()
  })
  afterAll(() => house.close())
  beforeEach(async () => {
    for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
    house.events.length = 0
    house.provider.requests.length = 0
  })
  afterEach(() => {
    house.provider.before = () => {}
  })

  test('asks who is there, then shows which agents may do what, since when, and when they last did', async () => {
    await connect()
    await connect(ALICE, SECOND)
    const at = Date.UTC(2026, 9, 2, 15, 4, 59)
    await house.store.grants.touch([{ person: ALICE, agent: FIRST, connection: 'acme', at }])
    const visit = await signIn(createBrowser(), 'alice')
    expect(visit.url).toBe(page())
    for (const said of ['Acme &lt;Code&gt;', 'alice-acme', FIRST, SECOND, '<code>repo</code>'])
      expect(visit.text).toContain(said)
    expect(visit.text).toContain('2026-10-02 15:04 UTC')
    expect(visit.text).toContain('Not yet')
    expect(visit.text).toContain('alice (acme)')
  })

  test('shows a person nothing of anybody else, and ends nothing of anybody else', async () => {
    await connect()
    const bob = createBrowser()
    const visit = await signIn(bob, 'bob')
    expect(visit.text).toContain('No account is connected')
    for (const hidden of ['alice', FIRST]) expect(visit.text).not.toContain(hidden)
    const holding = await held()
    await connect(BOB)
    const own = form(await bob.open(page()), 'Disconnect Acme &lt;Code&gt;')
    const credential = holding.kind === 'held' ? holding.credential : ''
    expect((await bob.submit(own, { credential, sure: 'yes' })).text).toContain(
      'Nothing was changed',
    )
    expect(await held()).toMatchObject({ kind: 'held' })
    expect(await held(BOB)).toMatchObject({ kind: 'held' })
    expect(disconnected()).toEqual([])
  })

  test('disconnects here before the provider is asked, and says that it confirmed', async () => {
    const browser = createBrowser()
    await connect()
    await signIn(browser, 'alice')
    let before: unknown = null
    house.provider.before = async ({ path }) => {
      if (path === '/token/revocation') before ??= await held()
    }
    const visit = await press(
      browser,
      form(await browser.open(page()), 'Disconnect Acme &lt;Code&gt;'),
    )
    expect(before).toEqual({ kind: 'none' })
    expect(revocations()).toBeGreaterThan(0)
    expect(visit.url).toBe(page())
    expect(visit.text).toContain('has confirmed that the access is withdrawn')
    expect(visit.text).toContain('No account is connected')
    expect(disconnected()).toMatchObject([
      { user: { ...ALICE, verified: true }, agent: null, connection: 'acme', result: 'revoked' },
    ])
    expect((await browser.open(page())).text).not.toContain('has confirmed')
  })

  test('stops one agent at once and leaves the others and the account alone', async () => {
    const browser = createBrowser()
    await connect()
    await connect(ALICE, SECOND)
    const visit = await press(browser, form(await signIn(browser, 'alice'), `Stop ${SECOND}`))
    expect(visit.text).toContain(`${SECOND} may no longer use`)
    expect(await held(ALICE, SECOND)).toMatchObject({ kind: 'held', granted: null })
    expect(await held()).toMatchObject({ granted: expect.arrayContaining(['repo']) })
    expect(revocations()).toBe(0)
    expect(disconnected()).toMatchObject([{ agent: { id: SECOND }, result: 'agent' }])
  })

  test('asks before it ends anything, and Cancel ends nothing', async () => {
    const browser = createBrowser()
    await connect()
    await connect(ALICE, SECOND)
    const own = await signIn(browser, 'alice')
    for (const button of ['Disconnect Acme &lt;Code&gt;', `Stop ${SECOND}`, 'Sign out']) {
      const asked = await browser.submit(form(own, button))
      expect(asked.status).toBe(200)
      expect(asked.text).toContain('<a class="button" href="/connections">Cancel</a>')
      expect((await browser.submit(asked, { csrf: 'x' })).status).toBe(403)
    }
    expect(await held()).toMatchObject({ kind: 'held' })
    expect(await held(ALICE, SECOND)).toMatchObject({ granted: expect.arrayContaining(['repo']) })
    expect((await browser.open(page())).url).toBe(page())
    expect(disconnected()).toEqual([])
  })

  test('tells of a provider that does not answer that nothing was confirmed', async () => {
    const browser = createBrowser()
    await connect()
    await signIn(browser, 'alice')
    const real = house.connections.get('acme')
    if (real === undefined) throw new Error('no connection')
    const change = (more: Partial<typeof real.provider>) =>
      house.connections.set('acme', { ...real, provider: { ...real.provider, ...more } })
    change({ revoke: 'http://127.0.0.1:9/revoke' })
    const again = async () =>
      press(browser, form(await browser.open(page()), 'Disconnect Acme &lt;Code&gt;'))
    const failed = await again()
    expect(failed.text).toContain('has not confirmed')
    expect(failed.text).toContain('deputy has deleted its access')
    expect(failed.text).not.toContain('is withdrawn</')
    change({ revoke: null })
    await connect()
    expect((await again()).text).toContain('offers no way to withdraw')
    house.connections.set('acme', real)
    expect(await held()).toEqual({ kind: 'none' })
    expect(disconnected().map(({ result }) => result)).toEqual(['failed', 'not_supported'])
  })

  test('refuses a form from another site, without its token, or of an ended session', async () => {
    const browser = createBrowser()
    await connect()
    await signIn(browser, 'alice')
    const own = form(await browser.open(page()), 'Disconnect Acme &lt;Code&gt;')
    const send = (fields: Record<string, string>, headers: Record<string, string> = {}) =>
      browser.submit(own, { sure: 'yes', ...fields }, { headers }).then(({ status }) => status)
    expect(await send({ csrf: '' })).toBe(403)
    expect(await send({}, { 'sec-fetch-site': 'cross-site' })).toBe(403)
    expect(await send({}, { origin: 'https://evil.example' })).toBe(403)
    const out = form(await browser.open(page()), 'Sign out')
    const token = /name="csrf" value="([^"]*)"/.exec(out.text)?.[1] ?? ''
    expect(await send({ csrf: token })).toBe(403)
    expect((await browser.submit(out, { csrf: 'x', sure: 'yes' })).status).toBe(403)
    expect((await press(browser, out)).text).toContain('You are signed out here')
    expect(await send({})).toBe(403)
    expect(await held()).toMatchObject({ kind: 'held' })
  })

  test('a cookie that was copied before the sign-out opens nothing after it, nor does that of a wrong person', async () => {
    const name = 'deputy-session'
    const at = (browser: Browser): Map<string, string> => {
      const mine = browser.cookies.get(new URL(page()).host)
      if (mine === undefined) throw new Error('no cookies')
      return mine
    }
    const opened = async (copy: string): Promise<number> => {
      const response = await fetch(page(), {
        headers: { cookie: `${name}=${copy}` },
        redirect: 'manual',
      })
      await response.body?.cancel()
      return response.status
    }
    const [leaving, staying] = [createBrowser(), createBrowser()]
    await signIn(leaving, 'alice')
    await signIn(staying, 'alice')
    const copies = [leaving, staying].map((browser) => at(browser).get(name) ?? '')
    expect(await Promise.all(copies.map(opened))).toEqual([200, 200])
    const out = form(await leaving.open(page()), 'Sign out')
    await press(leaving, out)
    expect(await Promise.all(copies.map(opened))).toEqual([303, 200])
    at(leaving).set(name, copies[0] ?? '')
    expect((await leaving.submit(out)).status).toBe(403)

    const { url } = await house.flows.begin({ person: BOB, agent: FIRST, connection: 'acme' }, [
      'openid',
      'repo',
    ])
    expect((await staying.open(url)).status).toBe(403)
    expect(await opened(copies[1] ?? '')).toBe(303)
  })

  test('names agents and accounts that look like markup as text', async () => {
    const hostile = '<img src=x onerror=alert(1)>'
    await house.vault.connect({
      person: ALICE,
      agent: hostile,
      connection: 'second',
      provider: 'acme',
      account: { id: '1', label: hostile },
      tokens: { access: secret('a'), refresh: null, scopes: [hostile], expiresIn: null },
      scopes: [hostile],
    })
    const visit = await signIn(createBrowser(), 'alice')
    expect(visit.text).toContain('&lt;img')
    expect(visit.text).not.toContain('<img')
  })
})

test('on a laptop the code of the terminal opens the page of the person that is named', async () => {
  house = await startConsent({ signIn: 'local' })
  const browser = createBrowser()
  const asked = await browser.open(page())
  expect(asked.status).toBe(401)
  expect(asked.text).toContain('name="user"')
  const code = (await readFile(house.codeFile, 'utf8')).trim()
  expect((await browser.submit(asked, { code: 'WRONG', user: 'alice' })).status).toBe(401)
  const visit = await browser.submit(asked, { code, user: 'alice' })
  expect(visit.url).toBe(page())
  expect(visit.text).toContain('alice (acme)</strong> (not verified)')
  for (const back of ['https://evil.example/', '//evil.example', '/connections/../x', '/'])
    expect((await browser.submit(asked, { code, user: 'alice', back })).status).toBe(404)
  await house.close()
})
