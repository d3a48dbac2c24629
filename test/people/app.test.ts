// People's pages over real HTTP: a real IdP says who is there, a real provider grants, real browsers' cookies and forms.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Person } from '../../proxy/model.ts'
import { CATALOGUE } from '../../proxy/problem.ts'
import { createBrowser } from '../support/browser.ts'
import type { Browser, Visit } from '../support/browser.ts'
import { ALICE, PAGES_SECRET, PROVIDER_SECRET, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'
import { prepareFolder, startDeputy } from '../support/deputy.ts'
import { startIssuer } from '../support/issuer.ts'

const AGENT = 'agent:triage'
const SCOPES = ['openid', 'repo']

const begin = (house: Consent, agent = AGENT, nextUri: string | null = null, person = ALICE) =>
  house.flows.begin({ person, agent, connection: 'acme' }, SCOPES, { nextUri })
const found = (house: Consent, url: string) => house.flows.find(url.slice(url.lastIndexOf('/') + 1))
const held = (house: Consent, person: Person = ALICE, agent = AGENT) =>
  house.vault.look(person, 'acme', agent)
/** Clears what a test stored, so that each one starts with nothing connected. */
const clear = async (house: Consent): Promise<void> => {
  for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
  house.events.length = 0
  house.provider.requests.length = 0
}

describe('with an organisation’s sign-in', () => {
  let house: Consent
  beforeAll(async () => {
    house = await startConsent({ returnTo: ['http://127.0.0.1:9'] })
  })
  afterAll(() => house.close())
  beforeEach(() => clear(house))
  const names = () => house.events.map(({ event }) => event)

  /** Opens the link, signs in at the IdP, and comes back to the page of the link. */
  const openAs = async (browser: Browser, url: string, login: string): Promise<Visit> => {
    let page = await browser.open(url)
    while (new URL(page.url).origin === house.idp.issuer)
      page = await browser.submit(page, { login, password: 'x' })
    return page
  }
  const atProvider = (url: URL): boolean => url.href.startsWith(house.redirectUri('acme'))
  /** Presses the button, then signs in and says yes at the provider; stops before the callback. */
  const go = async (browser: Browser, page: Visit, login = 'alice-acme'): Promise<Visit> => {
    let there = await browser.submit(page, { answer: 'yes' }, { until: atProvider })
    while (new URL(there.url).origin === house.provider.issuer)
      there = await browser.submit(there, { login, password: 'x' }, { until: atProvider })
    return there
  }

  test('a person signs in, sees what is asked, consents at the provider and is told as whom they are connected', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    const page = await openAs(browser, url, 'alice')
    expect(page.url).toBe(url)
    for (const said of ['agent:triage', 'Acme &lt;Code&gt;', 'alice (acme)', '<code>repo</code>'])
      expect(page.text).toContain(said)
    expect(page.text).toContain('somebody else sent it to you, choose “No, thanks”')
    const done = await browser.open((await go(browser, page)).url)
    expect(done.status).toBe(200)
    expect(done.text).toContain('alice-acme')
    expect(await held(house)).toMatchObject({ account: 'alice-acme' })
    expect(names()).toEqual([
      'consent.started',
      'consent.opened',
      'consent.at_provider',
      'consent.completed',
    ])
  })

  test('bob, who opens alice’s link, learns nothing and burns nothing: alice completes afterwards', async () => {
    const { url } = await begin(house)
    const bob = await openAs(createBrowser(), url, 'bob')
    expect(bob.status).toBe(403)
    for (const hidden of ['alice', 'Acme', AGENT, 'repo', 'acme'])
      expect(bob.text).not.toContain(hidden)
    expect(bob.text).not.toContain('<form')
    expect(names()).toContain('consent.user_mismatch')
    expect(house.events.at(-1)?.fields).toMatchObject({ by: { id: 'bob', realm: 'corp' } })

    const alice = createBrowser()
    const page = await openAs(alice, url, 'alice')
    expect((await alice.open((await go(alice, page)).url)).text).toContain('alice-acme')
    expect(await held(house)).toMatchObject({ kind: 'held' })
    expect(await held(house, { ...ALICE, id: 'bob' })).toEqual({ kind: 'none' })
  })

  test('the same id in another tenant is another person', async () => {
    const { url } = await begin(house, AGENT, null, { ...ALICE, id: 'carol' })
    expect((await openAs(createBrowser(), url, 'carol')).status).toBe(403)
  })

  test('somebody whose token lacks the tenant claim is not signed in', async () => {
    const { url } = await begin(house)
    const page = await openAs(createBrowser(), url, 'dave')
    expect(page.status).toBe(400)
    expect(page.text).toContain('sign-in did not work')
  })

  test('bob cannot finish with alice’s answer, not even with her leg’s cookie; she still can', async () => {
    const { url } = await begin(house)
    const [alice, bob] = [createBrowser(), createBrowser()]
    const callback = (await go(alice, await openAs(alice, url, 'alice'))).url
    await openAs(bob, url, 'bob')
    const own = await house.flows.begin(
      { person: { ...ALICE, id: 'bob' }, agent: AGENT, connection: 'acme' },
      SCOPES,
    )
    await openAs(bob, own.url, 'bob')
    expect((await bob.open(callback)).status).toBe(400)
    const host = new URL(url).host
    for (const [name, value] of alice.cookies.get(host) ?? [])
      if (name.startsWith('deputy-leg-')) bob.cookies.get(host)?.set(name, value)
    expect((await bob.open(callback)).status).toBe(403)
    expect(await held(house)).toEqual({ kind: 'none' })
    expect((await alice.open(callback)).text).toContain('alice-acme')
  })

  test('an answer opened in a browser that is not signed in burns nothing', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    const callback = (await go(browser, await openAs(browser, url, 'alice'))).url
    expect((await createBrowser().open(callback)).status).toBe(401)
    expect((await browser.open(callback)).text).toContain('<h1>Acme &lt;Code&gt; is connected')
    // The same address once more, as reloading and going back do.
    const again = await browser.open(callback)
    expect(again.status).toBe(200)
    expect(again.text).toContain('Acme &lt;Code&gt; is already connected')
    expect(await held(house)).toMatchObject({ kind: 'held', generation: 1 })
  })

  test('opening the link any number of times, in any browser, changes nothing', async () => {
    const { url } = await begin(house)
    const before = await found(house, url)
    const browser = createBrowser()
    await openAs(browser, url, 'alice')
    await browser.open(url)
    await fetch(url, { method: 'HEAD', redirect: 'manual' })
    await createBrowser().open(url)
    expect(await found(house, url)).toEqual(before)
    expect(names()).not.toContain('consent.at_provider')
    expect(house.provider.requests.filter(({ path }) => path === '/token')).toEqual([])
  })

  test('a page that is loaded again and again is evidence once, and so is somebody else at it', async () => {
    const { url } = await begin(house, 'agent:reload')
    const [browser, bob] = [createBrowser(), createBrowser()]
    await openAs(browser, url, 'alice')
    await openAs(bob, url, 'bob')
    for (let i = 0; i < 5; i += 1) {
      await browser.open(url)
      await openAs(bob, url, 'bob')
    }
    const count = (name: string) => house.events.filter(({ event }) => event === name).length
    expect([count('consent.opened'), count('consent.user_mismatch')]).toEqual([1, 1])
  })

  test('a link that was completed shows that, and starts nothing anew', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    await browser.open((await go(browser, await openAs(browser, url, 'alice'))).url)
    const again = await browser.open(url)
    expect(again.text).toContain('is connected')
    expect(again.text).not.toContain('<form')
  })

  test('a form without the token, with another flow’s token, or from another site is refused', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    const other = await begin(house, 'agent:other')
    const page = await openAs(browser, url, 'alice')
    const otherPage = await browser.open(other.url)
    const token = /name="csrf" value="([^"]+)"/.exec(otherPage.text)?.[1] ?? ''
    const send = (fields: Record<string, string>, headers: Record<string, string> = {}) =>
      browser.submit(page, { answer: 'yes', ...fields }, { headers, until: () => true })
    expect(token).not.toBe('')
    expect((await send({ csrf: '' })).status).toBe(403)
    expect((await send({ csrf: token })).status).toBe(403)
    expect((await send({}, { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
    expect((await send({}, { 'sec-fetch-site': 'same-site' })).status).toBe(403)
    expect((await send({}, { origin: 'https://evil.example' })).status).toBe(403)
    expect(await found(house, url)).toMatchObject({ status: 'pending' })
    expect(names()).not.toContain('consent.at_provider')
    expect((await send({}, { origin: house.publicUrl })).url).toContain(house.provider.issuer)
  })

  test('saying no on the page ends the flow, and saying no at the provider does too', async () => {
    const browser = createBrowser()
    const first = await begin(house)
    const page = await openAs(browser, first.url, 'alice')
    expect((await browser.submit(page, { answer: 'no' })).text).toContain('Nothing was connected')
    expect(await found(house, first.url)).toMatchObject({ status: 'failed', failure: 'denied' })

    const second = await begin(house)
    expect(second.url).not.toBe(first.url)
    const location = await browser.submit(
      await browser.open(second.url),
      { answer: 'yes' },
      { until: () => true },
    )
    const callback = await house.provider.deny(location.url, 'alice-acme')
    expect((await browser.open(callback)).text).toContain('Nothing was connected')
    expect(await found(house, second.url)).toMatchObject({ failure: 'denied' })
  })

  test.for<[string, string, number, string]>([
    ['admin_policy_enforced', '', 403, 'Ask an administrator of your organisation at Acme'],
    ['access_denied', 'AADSTS90094: canary', 403, 'Ask an administrator of your organisation'],
    ['interaction_required', '', 403, 'Acme &lt;Code&gt; wants another sign-in'],
    ['unauthorized_client', '', 502, 'Tell your administrator'],
    ['server_error', '', 502, 'usually temporary'],
  ])(
    'what the provider wants (%s %s) is said in words that say what to do',
    async ([error, text, status, said]) => {
      const browser = createBrowser()
      const { url } = await begin(house)
      const page = await openAs(browser, url, 'alice')
      const { url: location } = await browser.submit(page, { answer: 'yes' }, { until: () => true })
      const callback = new URL(house.redirectUri('acme'))
      const state = new URL(location).searchParams.get('state') ?? ''
      callback.search = new URLSearchParams({ error, error_description: text, state }).toString()
      const result = await browser.open(callback.href)
      expect([result.status, result.text]).toEqual([status, expect.stringContaining(said)])
      expect(result.text).not.toContain('canary')
      expect(await held(house)).toEqual({ kind: 'none' })
    },
  )

  test('a link for a stronger sign-in says so, and takes the demand to the provider', async () => {
    const browser = createBrowser()
    const { url } = await house.flows.begin(
      { person: ALICE, agent: AGENT, connection: 'acme' },
      SCOPES,
      {
        reauthorization: true,
        challenge: { acr_values: 'urn:mfa' },
      },
    )
    const page = await openAs(browser, url, 'alice')
    expect(page.text).toContain('asks you to sign in there again')
    const { url: location } = await browser.submit(page, { answer: 'yes' }, { until: () => true })
    expect(new URL(location).searchParams.get('acr_values')).toBe('urn:mfa')
  })

  test('a second agent gets its own page and its own grant without the provider', async () => {
    const browser = createBrowser()
    const first = await begin(house)
    await browser.open((await go(browser, await openAs(browser, first.url, 'alice'))).url)
    const { url } = await begin(house, 'agent:second')
    expect(await held(house, ALICE, 'agent:second')).toMatchObject({ granted: null })
    const page = await browser.open(url)
    expect(page.text).toContain('Let agent:second use your')
    house.provider.requests.length = 0
    const done = await browser.submit(page, { answer: 'yes' })
    expect(done.text).toContain('is connected')
    expect(house.provider.requests).toEqual([])
    expect(await held(house, ALICE, 'agent:second')).toMatchObject({ granted: SCOPES })
  })

  test('two links in two tabs of one browser both complete', async () => {
    const browser = createBrowser()
    const [one, two] = [await begin(house), await begin(house, 'agent:second')]
    const first = await go(browser, await openAs(browser, one.url, 'alice'))
    const second = await go(browser, await browser.open(two.url))
    expect((await browser.open(first.url)).status).toBe(200)
    expect((await browser.open(second.url)).status).toBe(200)
  })

  test('next_uri is followed after completion when its origin is listed, and never otherwise', async () => {
    const browser = createBrowser()
    const listed = await begin(house, 'agent:a', 'http://127.0.0.1:9/back?x=1')
    const page = await openAs(browser, listed.url, 'alice')
    expect(page.headers.get('content-security-policy')).toContain("form-action 'self';")
    const away = await browser.open((await go(browser, page)).url, () => true)
    expect(away.url).toBe('http://127.0.0.1:9/back?x=1')
    const again = await begin(house, 'agent:c', 'http://127.0.0.1:9/back?y="2"')
    const at9 = ({ host }: URL): boolean => host === '127.0.0.1:9'
    const granted = await browser.submit(
      await browser.open(again.url),
      { answer: 'yes' },
      { until: at9 },
    )
    expect(granted.url).toBe('http://127.0.0.1:9/back?y=%222%22')
    const foreign = await begin(house, 'agent:b', 'https://evil.example/')
    const done = await browser.submit(await browser.open(foreign.url), { answer: 'yes' })
    expect(done.status).toBe(200)
    expect(new URL(done.url).origin).toBe(house.publicUrl)
  })

  test('a sign-in answer without its cookie, replayed, or with a foreign state signs nobody in', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    let page = await browser.open(url)
    const until = ({ pathname }: URL): boolean => pathname === '/sign-in/callback'
    while (new URL(page.url).origin === house.idp.issuer)
      page = await browser.submit(page, { login: 'alice', password: 'x' }, { until })
    const stranger = createBrowser()
    expect((await stranger.open(page.url)).status).toBe(400)
    expect((await browser.open(page.url.replace(/state=[^&]+/, 'state=other'))).status).toBe(400)
    expect(
      (await browser.open(page.url.replace(/iss=[^&]+/, 'iss=https%3A%2F%2Fx.test'))).status,
    ).toBe(400)
    expect((await browser.open(page.url)).url).toBe(url)
    expect((await browser.open(page.url)).status).toBe(400)
  })

  test('a session ends after an hour, and a cookie that was not sealed here is none', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    expect((await openAs(browser, url, 'alice')).text).toContain('<form')
    const mine = browser.cookies.get(new URL(url).host)
    const session = mine?.get('deputy-session') ?? ''
    expect(session.split('.')).toHaveLength(5)
    mine?.set('deputy-session', `${session.slice(0, -4)}AAAA`)
    expect(new URL((await browser.open(url, () => true)).url).origin).toBe(house.idp.issuer)
    mine?.set('deputy-session', session)
    house.advance(3_600_001)
    expect(new URL((await browser.open(url, () => true)).url).origin).toBe(house.idp.issuer)
  })

  test('an unknown or ended link says so without a sign-in', async () => {
    const browser = createBrowser()
    expect((await browser.open(`${house.publicUrl}/connect/${'A'.repeat(43)}`)).status).toBe(404)
    expect((await browser.open(`${house.publicUrl}/connect/x`)).status).toBe(404)
  })

  test('every page carries the strict headers, and none may be framed, sniffed, kept or scripted', async () => {
    const { url } = await begin(house)
    const browser = createBrowser()
    await openAs(browser, url, 'alice')
    await browser.open(`${house.publicUrl}/`)
    await browser.open(`${house.publicUrl}/nowhere`)
    await browser.open(`${house.publicUrl}/problems/consent_required`)
    await browser.open(`${house.publicUrl}/problems/__proto__`)
    const ours = browser.seen.filter((visit) => new URL(visit.url).origin === house.publicUrl)
    expect(ours.length).toBeGreaterThan(5)
    for (const { headers, url: at } of ours) {
      const policy = headers.get('content-security-policy') ?? ''
      expect(policy, at).toContain("default-src 'none'")
      expect(policy, at).toContain("frame-ancestors 'none'")
      expect(policy, at).not.toContain('unsafe')
      expect(headers.get('referrer-policy'), at).toBe('no-referrer')
      expect(headers.get('x-content-type-options'), at).toBe('nosniff')
      expect(headers.get('cache-control'), at).toBe('no-store')
      expect(headers.get('cross-origin-opener-policy'), at).toBe('same-origin')
    }
    for (const cookie of ours.flatMap(({ headers }) => headers.getSetCookie()))
      expect(cookie).toMatch(/; Path=\/; HttpOnly; SameSite=Lax/)
  })

  test('an error page carries the reference by which the evidence or the log knows the matter', async () => {
    const referenceOf = ({ text }: Visit): string | undefined =>
      /Reference for your administrator:\s*<code>([^<]+)<\/code>/.exec(text)?.[1]
    const lastFlow = (event: string) =>
      house.events.findLast((one) => one.event === event)?.fields['flow']
    const to = async (url: string): Promise<[Browser, Visit]> => {
      const browser = createBrowser()
      return [browser, await openAs(browser, url, 'alice')]
    }
    let n = 0
    const link = async () => (await begin(house, `agent:ref-${(n += 1)}`)).url

    const wrongPerson = await openAs(createBrowser(), await link(), 'bob')
    expect(wrongPerson.status).toBe(403)
    expect(referenceOf(wrongPerson)).toBe(lastFlow('consent.user_mismatch'))

    // Nothing is wrong yet, or it went as the person wanted.
    const [browser, page] = await to(await link())
    expect(referenceOf(page)).toBeUndefined()
    const forged = await browser.submit({
      ...page,
      text: page.text.replace(/value="[^"]{43}"/, 'value="x"'),
    })
    expect(forged.status).toBe(403)
    expect(referenceOf(forged)).toBe(lastFlow('consent.opened'))
    const declined = await browser.submit(page, { answer: 'no' })
    expect(declined.text).toContain('Nothing was connected')
    expect(referenceOf(declined)).toBeUndefined()

    const ends = async (
      change: (callback: URL) => string,
      event: string,
      status: number,
      before: () => void = () => {},
    ): Promise<void> => {
      const [tab, asks] = await to(await link())
      const callback = new URL((await go(tab, asks)).url)
      before()
      const shown = await tab.open(change(callback))
      expect(shown.status, shown.text).toBe(status)
      expect(referenceOf(shown), shown.text).toBe(lastFlow(event))
      expect(referenceOf(shown)).toMatch(/^[0-9a-f]{64}$/)
    }
    const set = (name: string, value: string) => (url: URL) => {
      url.searchParams.set(name, value)
      return url.href
    }
    const error = (word: string) => (url: URL) => {
      url.searchParams.delete('code')
      return set('error', word)(url)
    }
    await ends(set('iss', 'https://other.test'), 'consent.failed', 400)
    await ends(error('server_error'), 'consent.failed', 502)
    await ends(error('interaction_required'), 'consent.failed', 403)
    await ends(error('unauthorized_client'), 'consent.failed', 502)
    await ends(set('code', 'wrong'), 'consent.failed', 502)
    house.suspended.clear()
    await ends(
      ({ href }) => href,
      'consent.failed',
      403,
      () => void house.suspended.add('alice'),
    )
    house.suspended.clear()
    // An account is stored, and another one comes.
    const [tab, asks] = await to(await link())
    await tab.open((await go(tab, asks)).url)
    const other = createBrowser()
    const { url } = await house.flows.begin({ person: ALICE, agent: AGENT, connection: 'acme' }, [
      ...SCOPES,
      'mail',
    ])
    const mismatch = await other.open(
      (await go(other, await openAs(other, url, 'alice'), 'alice-private')).url,
    )
    expect(mismatch.status).toBe(409)
    expect(referenceOf(mismatch)).toBe(lastFlow('consent.failed'))

    // Of a sign-in that failed no flow is known: the log has a name for it.
    const dave = await openAs(createBrowser(), await link(), 'dave')
    expect(dave.status).toBe(400)
    expect(referenceOf(dave)).toMatch(/^[0-9a-f-]{36}$/)
    expect(house.logged.join()).toContain(referenceOf(dave))
    // Nothing is known of these, so nothing can be looked up.
    for (const path of ['/connect/unknown', '/nowhere'])
      expect(referenceOf(await createBrowser().open(`${house.publicUrl}${path}`))).toBeUndefined()
  })

  test('a page speaks the language that the browser asks for, and says so to caches', async () => {
    const at = async (path: string, wanted: string) =>
      fetch(`${house.publicUrl}${path}`, { headers: { 'accept-language': wanted } })
    for (const path of ['/', '/nowhere', '/connect/unknown', '/problems/internal', '/result'])
      for (const [wanted, language] of [
        ['de-AT,de;q=0.9,en;q=0.8', 'de'],
        ['en;q=0.9,de;q=0.5', 'en'],
        ['fr', 'en'],
      ] as const) {
        const page = await at(path, wanted)
        expect(page.headers.get('content-language'), path).toBe(language)
        expect(page.headers.get('vary'), path).toBe('Accept-Language')
        expect(await page.text()).toContain(`<html lang="${language}">`)
      }
    expect(await (await at('/nowhere', 'de')).text()).toContain('Prüfen Sie die Adresse.')
    // What a provider, a person or a link says is escaped in every language.
    const { url } = await begin(house, '"><script>alert(1)</script>')
    const browser = createBrowser()
    await openAs(browser, url, 'alice')
    const cookie = [...(browser.cookies.get(new URL(url).host) ?? [])]
      .map(([name, value]) => `${name}=${value}`)
      .join('; ')
    const page = await fetch(url, { headers: { cookie, 'accept-language': 'de' } })
    const text = await page.text()
    expect(text).toContain('in Ihrem')
    expect(text).toContain('Acme &lt;Code&gt;')
    expect(text).not.toContain('<script')
  })

  test('every problem code is explained at the address that its answers name', async () => {
    for (const code of Object.keys(CATALOGUE)) {
      const answer = await fetch(`${house.publicUrl}/problems/${code}`)
      expect([code, answer.status]).toEqual([code, 200])
      expect(await answer.text()).toContain('What to do')
    }
  })

  test('a provider that does not take what is pushed to it is said to have failed, and the link works again', async () => {
    const real = house.connections.get('acme')
    if (real === undefined) throw new Error('no connection')
    const par = 'http://127.0.0.1:9/par'
    house.connections.set('acme', { ...real, provider: { ...real.provider, par } })
    const { url } = await begin(house)
    const browser = createBrowser()
    const page = await openAs(browser, url, 'alice')
    const failed = await browser.submit(page, { answer: 'yes' })
    house.connections.set('acme', real)
    expect(failed.status).toBe(502)
    expect(failed.text).toContain('did not complete the connection')
    const again = await browser.open((await go(browser, await browser.open(url))).url)
    expect(again.text).toContain('is connected')
  })

  test('a provider that does not say whose account it is gets its tokens back', async () => {
    const real = house.connections.get('acme')
    if (real === undefined) throw new Error('no connection')
    const userinfo = 'http://127.0.0.1:9/me'
    house.connections.set('acme', { ...real, provider: { ...real.provider, userinfo } })
    const { url } = await begin(house)
    const browser = createBrowser()
    house.provider.requests.length = 0
    const at = await go(browser, await openAs(browser, url, 'alice'))
    const page = await browser.open(at.url)
    house.connections.set('acme', real)
    expect(page.text).toContain('did not complete the connection')
    const revoked = house.provider.requests.filter(({ path }) => path === '/token/revocation')
    expect(revoked.length).toBeGreaterThan(0)
    expect(await held(house)).toEqual({ kind: 'none' })
    expect(house.events.at(-1)).toMatchObject({
      event: 'consent.failed',
      fields: { reason: 'provider_error', revoked: 'revoked' },
    })
  })

  test('no page, event or log line shows a token, secret, code, state or cookie', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    const page = await openAs(browser, url, 'alice')
    const callback = new URL((await go(browser, page)).url)
    await browser.open(callback)
    const holding = await held(house)
    const opened = holding.kind === 'held' ? await house.vault.open(holding.credential) : null
    const secrets: Record<string, string> = {
      access: opened?.access.reveal() ?? '',
      refresh: opened?.refresh?.reveal() ?? '',
      code: callback.searchParams.get('code') ?? '',
      provider: PROVIDER_SECRET,
      pages: PAGES_SECRET,
    }
    const ours = browser.seen.filter((visit) => new URL(visit.url).origin === house.publicUrl)
    const texts = ours.map(({ text }) => text)
    // The page that goes on to the provider names the address it goes to, state and all; no other does.
    const state = callback.searchParams.get('state') ?? ''
    expect(state.length).toBeGreaterThan(20)
    expect(ours.filter(({ text }) => text.includes(state))).toHaveLength(1)
    expect(JSON.stringify(house.events) + house.logged.join()).not.toContain(state)
    const all = [...texts, JSON.stringify(house.events), ...house.logged].join('\n')
    for (const [name, value] of Object.entries(secrets)) {
      expect(value.length, name).toBeGreaterThan(20)
      expect(all.includes(value), name).toBe(false)
    }
    expect(JSON.stringify(house.events)).not.toContain(url.slice(url.lastIndexOf('/') + 1))
  })
})

test('an ID token whose signature is not the issuer’s signs nobody in', async () => {
  let forged = 0
  const house = await startConsent({
    idpFetch: async (input, init) => {
      const response = await fetch(input, init)
      const body = await response.text()
      const text = body.replace(
        /("id_token":"[^"]*\.)([^".]+)"/,
        (_, start: string, signature: string) => {
          forged += 1
          return `${start}${signature.split('').reverse().join('')}"`
        },
      )
      return new Response(text, { status: response.status, headers: response.headers })
    },
  })
  const { url } = await begin(house)
  const browser = createBrowser()
  let page = await browser.open(url)
  while (new URL(page.url).origin === house.idp.issuer)
    page = await browser.submit(page, { login: 'alice', password: 'x' })
  expect(forged).toBe(1)
  expect(page.status).toBe(400)
  expect(browser.cookies.get(new URL(url).host)?.has('deputy-session') ?? false).toBe(false)
  await house.close()
})

test.for([
  ['once', '', 200],
  ['twice', '"sub":"bob",', 400],
  ['twice, once with an escape', '"s\\u0075b":"bob",', 400],
] as const)('an ID token that names its person %s', async ([, more, status]) => {
  const signer = await startIssuer()
  let resigned = 0
  const house = await startConsent({
    idpFetch: async (input, init) => {
      const response = await fetch(input, init)
      let body = await response.text()
      if (body.startsWith('{"keys":')) body = signer.published()
      const token = /"id_token":"[^".]*\.([^".]*)/.exec(body)
      if (token !== null) {
        resigned += 1
        const claims = Buffer.from(token[1] ?? '', 'base64url').toString()
        const made = await signer.signText(claims.replace('{', `{${more}`))
        body = body.replace(/"id_token":"[^"]*"/, `"id_token":"${made}"`)
      }
      return new Response(body, { status: response.status, headers: response.headers })
    },
  })
  const { url } = await begin(house)
  const browser = createBrowser()
  let page = await browser.open(url)
  while (new URL(page.url).origin === house.idp.issuer)
    page = await browser.submit(page, { login: 'alice', password: 'x' })
  expect([resigned, page.status]).toEqual([1, status])
  expect(browser.cookies.get(new URL(url).host)?.has('deputy-session') ?? false).toBe(
    status === 200,
  )
  await house.close()
  signer.close()
})

describe('with the local sign-in', () => {
  let house: Consent
  beforeAll(async () => {
    house = await startConsent({ signIn: 'local' })
  })
  afterAll(() => house.close())
  beforeEach(() => clear(house))
  const code = async () => (await readFile(house.codeFile, 'utf8')).trim()

  test('the code of the terminal opens the page once, and is replaced by a new one', async () => {
    const { url } = await begin(house)
    const browser = createBrowser()
    const page = await browser.open(url)
    expect(page.status).toBe(401)
    expect(page.text).not.toContain('alice')
    const first = await code()
    expect(house.printed.join()).toContain(first)
    expect((await stat(house.codeFile)).mode & 0o777).toBe(0o600)
    const opened = await browser.submit(page, { code: ` ${first.toLowerCase()} ` })
    expect(opened.url).toBe(url)
    expect(opened.text).toContain('not verified')
    expect(house.events.at(-1)).toMatchObject({
      event: 'consent.opened',
      fields: { verified: false },
    })
    expect(await code()).not.toBe(first)
    const stranger = createBrowser()
    expect((await stranger.submit(await stranger.open(url), { code: first })).status).toBe(401)
  })

  test('a code for alice opens no link of bob', async () => {
    const browser = createBrowser()
    const { url } = await begin(house)
    await browser.submit(await browser.open(url), { code: await code() })
    const bobs = await house.flows.begin(
      { person: { ...ALICE, id: 'bob' }, agent: AGENT, connection: 'acme' },
      SCOPES,
    )
    const page = await browser.open(bobs.url)
    expect(page.status).toBe(401)
    expect(page.text).toContain('name="code"')
  })

  test('five wrong codes in a minute are the last ones, even for the right code', async () => {
    house.advance(120_000)
    const { url } = await begin(house)
    const browser = createBrowser()
    const page = await browser.open(url)
    for (let i = 0; i < 5; i += 1)
      expect((await browser.submit(page, { code: 'WRONG' })).status).toBe(401)
    expect((await browser.submit(page, { code: await code() })).status).toBe(429)
    house.advance(60_001)
    expect((await browser.submit(page, { code: await code() })).status).toBe(200)
  })

  test('a code sent from another site is not even looked at', async () => {
    const { url } = await begin(house)
    const browser = createBrowser()
    const headers = { 'sec-fetch-site': 'cross-site' }
    const right = await code()
    expect(
      (await browser.submit(await browser.open(url), { code: right }, { headers })).status,
    ).toBe(403)
    expect(await code()).toBe(right)
  })
})

describe('the organisation’s mark', () => {
  const SVG = '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h9v9z"/></svg>'
  const PNG = Buffer.from('89504e470d0a1a0a00', 'hex')
  const withLogo = async (logo: string, file: string | Buffer | null) => {
    const setup = {
      upstream: 'http://127.0.0.1:9',
      config: {
        connect: {
          sign_in: 'local',
          brand: {
            name: 'Acme <AG>',
            ...(file === null ? {} : { logo }),
            support: 'mailto:a@b.example',
          },
        },
      },
    }
    const dir = await prepareFolder(setup)
    if (file !== null) await writeFile(join(dir, logo), file)
    return { dir, start: () => startDeputy(setup, dir) }
  }

  test.each([
    ['an SVG', 'mark.svg', SVG, 'image/svg+xml'],
    ['a PNG, whatever its name', 'mark.svg', PNG, 'image/png'],
  ] as const)(
    '%s is sent as what it is, sniffed as nothing else and able to do nothing',
    async (_what, name, file, type) => {
      const deputy = await (await withLogo(name, file)).start()
      const answer = await fetch(`${deputy.connect}/logo`)
      expect(answer.status).toBe(200)
      expect(answer.headers.get('content-type')).toBe(type)
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
      const policy = answer.headers.get('content-security-policy') ?? ''
      for (const rule of ["default-src 'none'", 'sandbox']) expect(policy).toContain(rule)
      expect(policy).not.toMatch(/script-src|allow-scripts/)
      expect(Buffer.from(await answer.arrayBuffer())).toEqual(Buffer.from(file))
      const page = await (await fetch(deputy.connect)).text()
      expect(page).toContain('<img src="/logo" alt="" /><span>Acme &lt;AG&gt;</span>')
      expect(page).toContain('href="mailto:a@b.example"')
      await deputy.close()
    },
  )

  test('without one there is nothing at its address, and the page shows no picture', async () => {
    const deputy = await (await withLogo('', null)).start()
    const answer = await fetch(`${deputy.connect}/logo`)
    expect(answer.status).toBe(404)
    expect(answer.headers.get('content-type')).toContain('text/html')
    expect(await (await fetch(deputy.connect)).text()).not.toContain('<img')
    await deputy.close()
  })

  test.each([
    ['larger than 64 KiB', Buffer.concat([PNG, Buffer.alloc(65_536)]), 'larger than 65536 bytes'],
    ['with a script in it', '<svg><script>alert(1)</script></svg>', 'script'],
    ['a page', '<html></html>', 'neither'],
  ] as const)(
    'one that is %s keeps deputy from starting, with a sentence',
    async (_what, file, why) => {
      const { dir, start } = await withLogo('mark.svg', file)
      await expect(start()).rejects.toThrow(why)
      await rm(dir, { recursive: true, force: true })
    },
  )
})
