// A link that somebody sends on (RFC 10027), an answer that somebody made up: each attack by its name, over real HTTP.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Flow, Person } from '../../proxy/model.ts'
import { createBrowser } from '../support/browser.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { ALICE, BOB, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'
import { paced } from '../support/pace.ts'

const SCOPES = ['openid', 'repo']
const AGENT = 'agent:triage'
let house: Consent
let agents = 0
/** An agent of this test alone: the tests share one house, and flows are shared by agent. */
let agent = ''
beforeAll(async () => {
  house = await startConsent({ returnTo: ['https://app.example'] })
})
afterAll(() => house.close())
beforeEach(async () => {
  agent = `agent:${(agents += 1)}`
  house.suspended.clear()
  for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
  house.events.length = 0
  house.provider.requests.length = 0
})

const begin = async (person: Person = ALICE, scopes: readonly string[] = SCOPES): Promise<string> =>
  (await house.flows.begin({ person, agent, connection: 'acme' }, scopes)).url
const flowOf = (url: string): Promise<Flow | null> =>
  house.flows.find(url.slice(url.lastIndexOf('/') + 1))
const held = (person: Person = ALICE) => house.vault.look(person, 'acme', agent)
const tokenRequests = () => house.provider.requests.filter(({ path }) => path === '/token').length
const nothingHappened = async (url: string): Promise<void> => {
  expect(await flowOf(url)).toMatchObject({ status: 'pending' })
  expect(await held()).toEqual({ kind: 'none' })
  expect(await held(BOB)).toEqual({ kind: 'none' })
  expect(tokenRequests()).toBe(0)
}

/** Opens an address of deputy's; signs in at the organisation when asked. */
const openAs = async (browser: Browser, url: string, login: string): Promise<Visit> => {
  let page = await browser.open(url)
  while (new URL(page.url).origin === house.idp.issuer)
    page = await browser.submit(page, { login, password: 'x' })
  return page
}
const atProvider = ({ origin }: URL): boolean => origin === house.provider.issuer
/** Presses the button; the address at the provider, not opened. */
const press = async (browser: Browser, page: Visit, fields: Record<string, string> = {}) =>
  (await browser.submit(page, { ...fields, answer: 'yes' }, { until: atProvider })).url
/** What a person does at the provider, in whatever browser: the address that it sends them back to, not opened. */
const atTheProvider = (url: string, account = 'alice-acme'): Promise<string> =>
  house.provider.consent(url, account)
/** The whole way in one browser, up to the answer that it would open. */
const answerFor = async (browser: Browser, url: string, account = 'alice-acme') =>
  atTheProvider(await press(browser, await openAs(browser, url, 'alice')), account)
const changed = (address: string, name: string, value: string): string => {
  const url = new URL(address)
  url.searchParams.set(name, value)
  return url.href
}

describe('a link that was sent on', () => {
  test('a: bob’s own link, completed by alice, would give bob her account: she is stopped and told', async () => {
    const url = await begin(BOB)
    const page = await openAs(createBrowser(), url, 'alice')
    expect(page.status).toBe(403)
    expect(page.text).toContain('This link is not for you')
    expect(page.text).toContain('tell your security team')
    expect(page.text).not.toContain('<form')
    for (const hidden of ['bob', agent, 'repo', 'Acme']) expect(page.text).not.toContain(hidden)
    expect(house.events.at(-1)).toMatchObject({
      event: 'consent.user_mismatch',
      fields: { user: BOB, by: ALICE, at: 'link', from: { address: '127.0.0.1' } },
    })
    await nothingHappened(url)
  })

  test('a: nor may she press a button that bob prepared for her', async () => {
    const url = await begin(BOB)
    const bobs = await openAs(createBrowser(), url, 'bob')
    const alice = createBrowser()
    await openAs(alice, await begin(), 'alice')
    const page = await alice.submit(bobs, { answer: 'yes' }, { until: () => true })
    expect(page.status).toBe(403)
    await nothingHappened(url)
  })

  test('b: alice’s link, completed by bob with his own account, would feed his account with her data', async () => {
    const url = await begin()
    expect((await openAs(createBrowser(), url, 'bob')).status).toBe(403)
    await nothingHappened(url)
  })

  test('b: an account that replaces the connected one is refused, and its new tokens are given back', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    const before = await held()
    house.provider.requests.length = 0
    const url = await begin(ALICE, [...SCOPES, 'mail'])
    const page = await browser.open(await answerFor(browser, url, 'bob-acme'))
    expect(page.status).toBe(409)
    expect(page.text).toContain('That is another account')
    expect(await held()).toEqual(before)
    expect(house.provider.requests.some(({ path }) => path === '/token/revocation')).toBe(true)
  })

  test('b: whose account it became is shown before the person goes back to the agent', async () => {
    const browser = createBrowser()
    const page = await browser.open(await answerFor(browser, await begin(), 'bob-acme'))
    expect(page.text).toContain('bob-acme')
  })

  test('c: the same person in another browser is the same person', async () => {
    const url = await begin()
    await openAs(createBrowser(), url, 'alice')
    const other = createBrowser()
    expect((await other.open(await answerFor(other, url))).text).toContain('is connected')
  })

  test('d: the provider’s page, sent on by bob, brings alice back without the cookie of his browser', async () => {
    const url = await begin(BOB)
    const bob = createBrowser()
    const location = await press(bob, await openAs(bob, url, 'bob'))
    const answer = await atTheProvider(location)
    expect((await createBrowser().open(answer)).status).toBe(401)
    const alice = createBrowser()
    await openAs(alice, await begin(), 'alice')
    expect((await alice.open(answer)).status).toBe(400)
    await nothingHappened(url)
  })

  test('d: not even with the cookie of his browser: she is somebody else', async () => {
    const url = await begin(BOB)
    const bob = createBrowser()
    const answer = await atTheProvider(await press(bob, await openAs(bob, url, 'bob')))
    const alice = createBrowser()
    await openAs(alice, await begin(), 'alice')
    const { host } = new URL(url)
    for (const [name, value] of bob.cookies.get(host) ?? [])
      if (name.startsWith('deputy-leg-')) alice.cookies.get(host)?.set(name, value)
    expect((await alice.open(answer)).status).toBe(403)
    await nothingHappened(url)
  })

  test('e: an answer works once', async () => {
    const browser = createBrowser()
    const answer = await answerFor(browser, await begin())
    expect((await browser.open(answer)).status).toBe(200)
    expect((await browser.open(answer)).text).toContain('is already connected')
    expect((await createBrowser().open(answer)).status).toBe(401)
    expect(tokenRequests()).toBe(1)
    expect(await held()).toMatchObject({ generation: 1 })
  })

  test('e: also when it comes twice at the same moment', async () => {
    const browser = createBrowser()
    const answer = await answerFor(browser, await begin())
    const cookies = browser.cookies.get(new URL(answer).host) ?? []
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const open = () => fetch(answer, { headers: { cookie }, redirect: 'manual' })
    await Promise.all([open(), open(), open()])
    expect(tokenRequests()).toBe(1)
    expect(await held()).toMatchObject({ kind: 'held', generation: 1 })
  })

  test('e: a code that bob earned, put into alice’s answer, does not fit her verifier', async () => {
    const browser = createBrowser()
    const url = await begin()
    const answer = await answerFor(browser, url)
    const bob = createBrowser()
    const bobs = await atTheProvider(
      await press(bob, await openAs(bob, await begin(BOB), 'bob')),
      'bob-acme',
    )
    const code = new URL(bobs).searchParams.get('code') ?? ''
    const page = await browser.open(changed(answer, 'code', code))
    expect(page.text).toContain('did not complete the connection')
    expect(await held()).toEqual({ kind: 'none' })
  })

  test('e: nor where the provider forgets to check the verifier: the ID token was made for another request', async () => {
    const real = house.connections.get('acme')
    if (real === undefined) throw new Error('no connection')
    house.connections.set('acme', { ...real, provider: { ...real.provider, pkce: false } })
    house.provider.pkce(false)
    try {
      const browser = createBrowser()
      const url = await begin()
      const answer = await answerFor(browser, url)
      const bob = createBrowser()
      const bobs = await atTheProvider(
        await press(bob, await openAs(bob, await begin(BOB), 'bob')),
        'bob-acme',
      )
      const code = new URL(bobs).searchParams.get('code') ?? ''
      const page = await browser.open(changed(answer, 'code', code))
      expect(page.text).toContain('did not complete the connection')
      expect(await held()).toEqual({ kind: 'none' })
      // Its own code would have done.
      const next = createBrowser()
      expect((await next.open(await answerFor(next, await begin()))).text).toContain('is connected')
    } finally {
      house.provider.pkce(true)
      house.connections.set('acme', real)
    }
  })

  test('e: an answer that another issuer says it is, or at another provider’s address, is none', async () => {
    const browser = createBrowser()
    const url = await begin()
    const answer = await answerFor(browser, url)
    expect((await browser.open(changed(answer, 'iss', 'https://evil.example'))).status).toBe(400)
    const moved = answer.replace('/callback/acme', '/callback/second')
    expect((await browser.open(moved)).status).toBe(400)
    await nothingHappened(url)
    expect((await browser.open(answer)).status).toBe(200)
  })

  test('f: a robot that previews the link, again and again, sees nothing and uses up nothing', async () => {
    const url = await begin()
    const before = await flowOf(url)
    for (const method of ['GET', 'HEAD', 'OPTIONS'])
      for (const headers of [
        { 'user-agent': 'Slackbot-LinkExpanding 1.0' },
        { 'sec-purpose': 'prefetch' },
      ]) {
        const response = await fetch(url, { method, headers, redirect: 'manual' })
        expect(await response.text()).not.toContain(agent)
      }
    expect(await flowOf(url)).toEqual(before)
    await nothingHappened(url)
    const browser = createBrowser()
    expect((await browser.open(await answerFor(browser, url))).status).toBe(200)
  })

  test('f: nor does a preview in the person’s own browser begin anything', async () => {
    const url = await begin()
    const browser = createBrowser()
    await openAs(browser, url, 'alice')
    for (let i = 0; i < 5; i += 1) await browser.open(url)
    expect(house.events.some(({ event }) => event === 'consent.at_provider')).toBe(false)
    expect(house.provider.requests).toEqual([])
    await nothingHappened(url)
  })

  test('g: nothing in the address or in the form changes what is asked, for whom, or where it ends', async () => {
    const url = await begin()
    const browser = createBrowser()
    const page = await openAs(browser, url, 'alice')
    const query =
      '?scopes=mail&user=bob&agent=agent:evil&next_uri=https://evil.example&connection=second'
    const edited = await browser.open(`${url}${query}`)
    const plain = (text: string): string => text.replaceAll(/name="csrf" value="[^"]*"/g, '')
    expect(plain(edited.text)).toBe(plain(page.text))
    const location = new URL(
      await press(browser, page, {
        scopes: 'mail',
        user: 'bob',
        agent: 'agent:evil',
        connection: 'second',
        next_uri: 'https://evil.example',
      }),
    )
    expect(location.searchParams.get('scope')?.split(' ').toSorted()).toEqual(SCOPES)
    expect(location.searchParams.get('redirect_uri')).toBe(house.redirectUri('acme'))
    const done = await browser.open(await atTheProvider(location.href))
    expect(new URL(done.url).origin).toBe(house.publicUrl)
    expect(await held()).toMatchObject({ kind: 'held' })
    expect(await held(BOB)).toEqual({ kind: 'none' })
  })

  test('g: an id with one letter changed, cut or in the other case is no link', async () => {
    const url = await begin()
    const browser = createBrowser()
    const id = url.slice(url.lastIndexOf('/') + 1)
    const other = `${id.slice(0, -2)}${id.endsWith('AA') ? 'BB' : 'AA'}`
    for (const wrong of [other, id.slice(1), `${id}A`, swapCase(id), `${id}%00`, `..%2f${id}`])
      expect((await browser.open(`${house.publicUrl}/connect/${wrong}`)).status, wrong).toBe(404)
  })

  test('h: what the connection may not ask for is asked by no link', async () => {
    const url = await begin(ALICE, ['openid', 'admin'])
    const browser = createBrowser()
    const page = await openAs(browser, url, 'alice')
    expect(page.status).toBe(410)
    expect(page.text).not.toContain('<form')
    await nothingHappened(url)
  })

  test('h: every scope that is asked stands on the page, also those that were given before', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    const page = await openAs(browser, await begin(ALICE, ['mail']), 'alice')
    const asked = new URL(await press(browser, page)).searchParams.get('scope')?.split(' ') ?? []
    expect(asked.toSorted()).toEqual(['mail', 'openid', 'repo'])
    for (const scope of asked) expect(page.text).toContain(`<code>${scope}</code>`)
  })

  test('i: no address of ours sends a browser to a place that its query names', async () => {
    const browser = createBrowser()
    await openAs(browser, await begin(), 'alice')
    const evil = 'https://evil.example/'
    for (const path of [
      '/',
      '/result',
      '/connections',
      '/callback/acme',
      '/sign-in/callback',
      `/connect/${'A'.repeat(43)}`,
      '//evil.example/',
      '/connect/%2f%2fevil.example',
    ])
      for (const name of ['next', 'next_uri', 'back', 'url', 'redirect_uri', 'state']) {
        const asked = `${house.publicUrl}${path}?${name}=${encodeURIComponent(evil)}`
        const visit = await browser.open(asked)
        expect(new URL(visit.url).origin, asked).toBe(house.publicUrl)
        expect(visit.text, asked).not.toContain('evil.example')
      }
  })

  test('i: a page to return to that the configuration no longer lists is not returned to', async () => {
    const { url } = await house.flows.begin({ person: ALICE, agent, connection: 'acme' }, SCOPES, {
      nextUri: 'https://app.example.evil.example/',
    })
    const browser = createBrowser()
    const done = await browser.open(await answerFor(browser, url))
    expect(new URL(done.url).pathname).toBe('/result')
  })

  test('j: a provider that would not ask again does not make the link a one-click consent', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    const { url } = await house.flows.begin({ person: ALICE, agent, connection: 'acme' }, SCOPES, {
      reauthorization: true,
    })
    house.provider.requests.length = 0
    const page = await browser.open(url)
    expect(page.url).toBe(url)
    expect(page.text).toContain('Continue to Acme')
    expect(house.provider.requests).toEqual([])
    expect(new URL(await press(browser, page)).searchParams.get('prompt')).toBe('consent')
  })

  test('j: nor does an account that is connected already give a second agent anything by itself', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    agent = `agent:${(agents += 1)}`
    const page = await browser.open(await begin())
    expect(page.text).toContain(`Let ${agent} use your`)
    expect(await held()).toMatchObject({ granted: null })
  })

  test('k: a provider’s device flow, in which a code alone decides, is asked of nobody', async () => {
    const url = await begin()
    const browser = createBrowser()
    await browser.open(await answerFor(browser, url))
    const asked = house.provider.requests.map(({ path, form }) => `${path} ${form['grant_type']}`)
    expect(asked.filter((line) => line.startsWith('/token '))).toEqual([
      '/token authorization_code',
    ])
    expect(asked.join()).not.toContain('device')
  })

  test('l: somebody who was suspended after the link was made finishes it no more, and what was earned is nothing', async () => {
    const url = await begin()
    const browser = createBrowser()
    const answer = await answerFor(browser, url)
    house.suspended.add('alice')
    const page = await browser.open(answer)
    expect(page.status).toBe(403)
    expect(page.text).toContain('Your account is suspended')
    expect(tokenRequests()).toBe(0)
    expect(await held()).toEqual({ kind: 'none' })
    expect(await flowOf(url)).toMatchObject({ status: 'failed', failure: 'user_inactive' })
  })

  test('l: nor do they give a second agent what they gave the first', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    agent = `agent:${(agents += 1)}`
    const url = await begin()
    const page = await browser.open(url)
    house.suspended.add('alice')
    expect((await browser.submit(page, { answer: 'yes' })).status).toBe(403)
    expect(await held()).toMatchObject({ granted: null })
    expect(await flowOf(url)).toMatchObject({ status: 'failed', failure: 'user_inactive' })
  })

  test('m: of two tabs with two accounts the first one stays, and the second is told', async () => {
    const browser = createBrowser()
    const one = await answerFor(browser, await begin())
    const two = await answerFor(browser, await begin(ALICE, ['openid', 'mail']), 'alice-private')
    expect((await browser.open(one)).status).toBe(200)
    expect((await browser.open(two)).status).toBe(409)
    expect(await held()).toMatchObject({ account: 'alice-acme' })
  })

  test('m: also when both answers come at the same moment', async () => {
    const browser = createBrowser()
    const one = await answerFor(browser, await begin())
    const two = await answerFor(browser, await begin(ALICE, ['openid', 'mail']), 'alice-private')
    const { host } = new URL(one)
    const cookie = [...(browser.cookies.get(host) ?? [])].map(([k, v]) => `${k}=${v}`).join('; ')
    const open = (url: string) => fetch(url, { headers: { cookie }, redirect: 'manual' })
    await Promise.all([open(one), open(two)])
    const stored = await house.vault.list({ id: ALICE.id })
    expect(stored).toHaveLength(1)
    const ends = house.events.filter(({ event }) => /completed|failed/.test(event))
    expect(ends.map(({ event }) => event).toSorted()).toEqual([
      'consent.completed',
      'consent.failed',
    ])
    expect(ends.find(({ event }) => event === 'consent.failed')?.fields).toMatchObject({
      reason: 'account_mismatch',
    })
  })
})

describe('an answer that somebody made up', () => {
  test('is refused in a sentence, whatever it says, and leaves the link as it was', async () => {
    const browser = createBrowser()
    const url = await begin()
    const answer = new URL(await answerFor(browser, url))
    const state = answer.searchParams.get('state') ?? ''
    for (const query of [
      '',
      'code=x',
      'state=',
      `state=${'x'.repeat(6_000)}`,
      `state=${state.toUpperCase()}`,
      `state=${state}&state=${state}&code=x`,
      `code=a&code=b&state=${state}`,
      'state[]=x',
      'state=%00',
      'state=%ff%fe',
      'error=access_denied',
      'error=%3Cscript%3E&error_description=%3Cscript%3E&state=x',
    ]) {
      const page = await browser.open(`${house.redirectUri('acme')}?${query}`)
      expect(page.status, query).toBe(400)
      expect(page.text, query).toContain('This answer cannot be used')
      expect(page.text, query).not.toContain('<script')
      expect(new URL(page.url).search, query).toBe('')
    }
    expect((await browser.open(`${house.publicUrl}/callback/nowhere${answer.search}`)).status).toBe(
      400,
    )
    await nothingHappened(url)
    expect((await browser.open(answer)).status).toBe(200)
  })

  test('after its time, it says so, and the same link starts over', async () => {
    const browser = createBrowser()
    const url = await begin()
    const answer = await answerFor(browser, url)
    house.advance(600_001)
    expect((await browser.open(answer)).status).toBe(410)
    await nothingHappened(url)
    expect((await browser.open(await answerFor(browser, url))).status).toBe(200)
  })

  test('what one browser was told is shown to nobody else in it', async () => {
    const browser = createBrowser()
    await browser.open(await answerFor(browser, await begin()))
    const mine = browser.cookies.get(new URL(house.publicUrl).host)
    const result = mine?.get('deputy-result') ?? ''
    expect(result.split('.')).toHaveLength(5)
    const bob = createBrowser()
    await openAs(bob, await begin(BOB), 'bob')
    bob.cookies.get(new URL(house.publicUrl).host)?.set('deputy-result', result)
    expect((await bob.open(`${house.publicUrl}/result`)).status).toBe(404)
    expect((await createBrowser().open(`${house.publicUrl}/result`)).status).toBe(404)
    expect((await browser.open(`${house.publicUrl}/result`)).text).toContain('alice-acme')
  })
})

test('ten thousand links that nobody opened change nothing for the one that somebody does', async () => {
  const crowd = await startConsent()
  const before = performance.now()
  for (let i = 0; i < 10_000; i += 1)
    await crowd.flows.begin(
      { person: { ...ALICE, id: `visitor-${i}` }, agent: AGENT, connection: 'acme' },
      SCOPES,
    )
  const each = (performance.now() - before) / 10_000
  const timed = async <T>(work: () => Promise<T>): Promise<readonly [T, number]> => {
    const from = performance.now()
    return [await work(), performance.now() - from]
  }
  const [begun, took] = await timed(() =>
    crowd.flows.begin({ person: ALICE, agent: AGENT, connection: 'acme' }, SCOPES),
  )
  expect(took).toBeLessThan(paced(100 + 20 * each))
  const [flow, finding] = await timed(() =>
    crowd.flows.find(begun.url.slice(begun.url.lastIndexOf('/') + 1)),
  )
  expect(finding).toBeLessThan(paced(50))
  if (flow === null) throw new Error('not found')
  const redirectUri = crowd.redirectUri('acme')
  const { location, cookie } = await crowd.flows.leg(flow, redirectUri)
  const params = new URL(await crowd.provider.consent(location, 'alice-acme')).searchParams
  const finished = await crowd.flows.finish({
    connection: 'acme',
    params,
    cookie,
    person: ALICE,
    verified: true,
    redirectUri,
  })
  expect(finished.kind).toBe('completed')
  crowd.advance(2 * 86_400_001)
  const [swept, sweeping] = await timed(() => crowd.flows.sweep())
  expect(swept).toBe(10_001)
  expect(sweeping).toBeLessThan(paced(2_000))
  await crowd.close()
})

const swapCase = (text: string): string =>
  text.replaceAll(/[a-z]/gi, (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()))
