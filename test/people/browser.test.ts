// The pages in a real Chromium: by keyboard, without JavaScript, narrow, dark, and as an accessibility checker sees them.
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { haveChromium, startChromium } from '../support/chromium.ts'
import { ALICE, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'
import { GALLERY, startGallery } from '../support/gallery.ts'
import { axe, listen, overflow, PICTURES } from '../support/look.ts'

const MOST_BYTES = 30_000

type Shape = { readonly theme: 'light' | 'dark'; readonly width: number }

const focused = (page: Page): Promise<{ readonly text: string; readonly outline: string }> =>
  page.evaluate(`(() => {
    const at = document.activeElement
    return { text: at.textContent.trim(), outline: getComputedStyle(at).outlineStyle }
  })()`)
/** Presses Tab until what says `text` has the focus, visibly. */
const tabTo = async (page: Page, text: string): Promise<void> => {
  for (let presses = 0; presses < 25; presses += 1) {
    await page.keyboard.press('Tab')
    const at = await focused(page)
    if (!at.text.includes(text)) continue
    expect(at.outline, text).not.toBe('none')
    return
  }
  throw new Error(`${text} cannot be reached by the Tab key at ${page.url()}`)
}

describe.skipIf(!haveChromium())('in Chromium', () => {
  let chromium: Browser
  beforeAll(async () => {
    chromium = await startChromium()
  })
  afterAll(() => chromium?.close())

  describe('every page', () => {
    let gallery: Awaited<ReturnType<typeof startGallery>>
    beforeAll(async () => {
      gallery = await startGallery()
      if (PICTURES !== undefined) mkdirSync(PICTURES, { recursive: true })
    })
    afterAll(() => gallery?.close())

    // Pictures are taken in every shape; two of them show every page in either theme and every width.
    test.each(
      [
        { theme: 'light', width: 320 },
        { theme: 'dark', width: 1_024 },
        { theme: 'light', width: 1_024 },
        { theme: 'dark', width: 320 },
      ].slice(0, PICTURES === undefined ? 2 : 4) as readonly Shape[],
    )(
      'is clean for axe, fits and obeys its policy: $theme, $width px',
      async ({ theme, width }) => {
        const context = await chromium.newContext({
          colorScheme: theme,
          viewport: { width, height: 720 },
        })
        const page = await context.newPage()
        const said = listen(page)
        for (const name of Object.keys(GALLERY)) {
          await page.goto(`${gallery.url}/${name}`)
          expect(await axe(page), name).toEqual([])
          expect(await overflow(page), `${name} scrolls sideways`).toBe(0)
          expect(said, name).toEqual([])
          if (PICTURES !== undefined)
            await page.screenshot({
              path: join(PICTURES, `${name}-${theme}-${width}.png`),
              fullPage: true,
            })
        }
        await context.close()
      },
      240_000,
    )

    test(`weighs less than ${MOST_BYTES} bytes with all that it loads`, async () => {
      for (const name of ['consent-long', 'connections', 'done-partly']) {
        const context = await chromium.newContext()
        const page = await context.newPage()
        const sizes: Promise<number>[] = []
        page.on('requestfinished', (request) =>
          sizes.push(
            request.sizes().then((size) => size.responseBodySize + size.responseHeadersSize),
          ),
        )
        await page.goto(`${gallery.url}/${name}`, { waitUntil: 'networkidle' })
        const all = await Promise.all(sizes)
        expect(all.length, name).toBeGreaterThanOrEqual(2)
        expect(
          all.reduce((sum, size) => sum + size, 0),
          name,
        ).toBeLessThan(MOST_BYTES)
        await context.close()
      }
    })

    test('speaks German where the browser does, also narrow and dark', async () => {
      const context = await chromium.newContext({
        locale: 'de-DE',
        colorScheme: 'dark',
        viewport: { width: 320, height: 720 },
      })
      const page = await context.newPage()
      const said = listen(page)
      for (const name of Object.keys(GALLERY)) {
        await page.goto(`${gallery.url}/${name}`)
        expect(await page.evaluate('document.documentElement.lang')).toBe('de')
        expect(await axe(page), name).toEqual([])
        expect(await overflow(page), `${name} scrolls sideways`).toBe(0)
        expect(said, name).toEqual([])
        if (PICTURES !== undefined)
          await page.screenshot({ path: join(PICTURES, `${name}-de-dark-320.png`), fullPage: true })
      }
      await context.close()
    })

    test.each([
      // 22 November 2026, 15:04 UTC.
      ['en-US', 'America/New_York', 'Nov 22, 2026, 10:04 AM'],
      ['en-GB', 'Europe/London', '22 Nov 2026, 15:04'],
      ['de-AT', 'Europe/Vienna', '22.11.2026, 16:04'],
      ['de-DE', 'Asia/Kolkata', '22.11.2026, 20:34'],
      // No page speaks French: English it is, in the reader's zone.
      ['fr-FR', 'Asia/Tokyo', 'Nov 23, 2026, 12:04 AM'],
    ])('tells times as %s in %s has them', async (locale, timezoneId, told) => {
      const context = await chromium.newContext({ locale, timezoneId })
      const page = await context.newPage()
      const said = listen(page)
      await page.goto(`${gallery.url}/connections`)
      const time = page.locator('time[datetime="2026-11-22T15:04:00.000Z"]')
      expect((await time.textContent())?.replaceAll(/\s/g, ' ')).toBe(told)
      expect(await time.getAttribute('title')).toBe('2026-11-22 15:04 UTC')
      expect(said).toEqual([])
      await context.close()
    })

    test('tells times in UTC where no script runs, and runs no script but its own', async () => {
      const plain = await chromium.newContext({
        javaScriptEnabled: false,
        timezoneId: 'Asia/Tokyo',
      })
      const still = await plain.newPage()
      await still.goto(`${gallery.url}/connections`)
      expect(await still.locator('time').last().textContent()).toMatch(
        /^\d{4}-\d\d-\d\d \d\d:\d\d UTC$/,
      )
      await plain.close()
      const context = await chromium.newContext()
      const page = await context.newPage()
      const said = listen(page)
      await page.goto(`${gallery.url}/connections`)
      await page.evaluate(`(() => {
        const other = document.createElement('script')
        other.textContent = 'document.title = "taken"'
        document.body.append(other)
      })()`)
      expect(await page.title()).not.toBe('taken')
      await expect.poll(() => said.join()).toContain('Content Security Policy')
      await context.close()
    })

    test('grows with a person’s larger letters instead of losing them', async () => {
      const context = await chromium.newContext({ viewport: { width: 640, height: 720 } })
      const page = await context.newPage()
      for (const name of ['consent', 'connections', 'code-own']) {
        await page.goto(`${gallery.url}/${name}`)
        // WCAG 2.2 1.4.4 and 1.4.10: twice the size, still no scrolling in two directions.
        await page.evaluate("document.documentElement.style.fontSize = '200%'")
        expect(await overflow(page), name).toBe(0)
      }
      await context.close()
    })
  })

  describe('a consent', () => {
    let house: Consent
    let context: BrowserContext
    beforeAll(async () => {
      house = await startConsent({ returnTo: ['http://127.0.0.1:9'] })
    })
    afterAll(() => house?.close())
    beforeEach(async () => {
      for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
    })
    afterEach(() => context?.close())
    const begin = async (agent = 'agent:triage'): Promise<string> =>
      (await house.flows.begin({ person: ALICE, agent, connection: 'acme' }, ['openid', 'repo']))
        .url
    const held = () => house.vault.look(ALICE, 'acme', 'agent:triage')

    /** The pages of the OpenID provider and of the provider: sign in, and say yes. */
    const signIn = async (page: Page, login: string): Promise<void> => {
      await page.locator('input[name="login"]').fill(login)
      await page.locator('input[name="password"]').fill('x')
      // By their names: a button of the page before must not be pressed again.
      await page.getByRole('button', { name: 'Sign-in' }).click()
      await page.getByRole('button', { name: 'Continue' }).click()
    }

    test('is done by keyboard alone, and everything that has the focus shows it', async () => {
      context = await chromium.newContext()
      const page = await context.newPage()
      const said = listen(page)
      const byKeys = async (login: string): Promise<void> => {
        await page.locator('input[name="login"]').focus()
        await page.keyboard.type(login)
        await page.keyboard.press('Tab')
        await page.keyboard.type('x')
        await page.keyboard.press('Enter')
        await page.getByText('Continue').waitFor()
        for (let i = 0; i < 10; i += 1) {
          await page.keyboard.press('Tab')
          if ((await focused(page)).text === 'Continue') break
        }
        await page.keyboard.press('Enter')
      }
      const url = await begin()
      await page.goto(url)
      await byKeys('alice')
      await page.waitForURL(url)
      expect(await axe(page)).toEqual([])
      await tabTo(page, 'Continue to Acme')
      await page.keyboard.press('Enter')
      await page.waitForURL(`${house.provider.issuer}/interaction/**`)
      await byKeys('alice-acme')
      await page.waitForURL(`${house.publicUrl}/result`)
      expect(await page.locator('h1').textContent()).toContain('is connected')
      expect(await page.locator('main').textContent()).toContain('alice-acme')
      expect(await axe(page)).toEqual([])
      expect(await held()).toMatchObject({ account: 'alice-acme' })

      await tabTo(page, 'See what is connected')
      await page.keyboard.press('Enter')
      await page.waitForURL(`${house.publicUrl}/connections`)
      await tabTo(page, 'Disconnect Acme')
      await page.keyboard.press('Enter')
      await page.getByText('No agent can use').waitFor()
      expect(await axe(page)).toEqual([])
      await tabTo(page, 'Disconnect Acme')
      await page.keyboard.press('Enter')
      await page.getByText('has confirmed that the access is withdrawn').waitFor()
      expect(await held()).toEqual({ kind: 'none' })
      expect(said.filter((line) => /Content.Security.Policy|Refused to/i.test(line))).toEqual([])
    })

    test('needs no JavaScript, from the link to the disconnection', async () => {
      context = await chromium.newContext({ javaScriptEnabled: false })
      const page = await context.newPage()
      const url = await begin()
      await page.goto(url)
      await signIn(page, 'alice')
      await page.waitForURL(url)
      await page.getByRole('button', { name: 'Continue to Acme' }).click()
      await page.waitForURL(`${house.provider.issuer}/interaction/**`)
      await signIn(page, 'alice-acme')
      await page.waitForURL(`${house.publicUrl}/result`)
      expect(await page.locator('main').textContent()).toContain('alice-acme')
      await page.getByRole('link', { name: 'See what is connected' }).click()
      await page.getByRole('button', { name: 'Disconnect Acme' }).click()
      await page.getByText('No agent can use').waitFor()
      await page.getByRole('button', { name: 'Disconnect Acme' }).click()
      await page.getByText('No account is connected').waitFor()
      expect(await held()).toEqual({ kind: 'none' })
    })

    test('leaves neither code nor state in the addresses that the browser remembers of deputy', async () => {
      context = await chromium.newContext()
      const page = await context.newPage()
      const seen: string[] = []
      page.on('request', (request) => seen.push(request.url()))
      const url = await begin()
      await page.goto(url)
      await signIn(page, 'alice')
      await page.waitForURL(url)
      await page.getByRole('button', { name: 'Continue to Acme' }).click()
      await page.waitForURL(`${house.provider.issuer}/interaction/**`)
      await signIn(page, 'alice-acme')
      await page.waitForURL(`${house.publicUrl}/result`)
      expect(seen.some((address) => address.includes('/callback/acme?code='))).toBe(true)
      const devtools = await context.newCDPSession(page)
      const { entries } = await devtools.send('Page.getNavigationHistory')
      const ours = entries.filter((entry) => entry.url.startsWith(house.publicUrl))
      expect(ours.map((entry) => new URL(entry.url).pathname)).toContain('/result')
      for (const entry of ours) expect(entry.url).not.toMatch(/[?&](?:code|state)=/)
      expect(await page.evaluate('document.referrer')).toBe('')
      await page.reload()
      expect(await page.locator('main').textContent()).toContain('alice-acme')

      // Back to the page with the button, pressed once more: it has ended, and nothing begins anew.
      await page.goto(url)
      expect(await page.locator('form').count()).toBe(0)
      expect(await page.locator('h1').textContent()).toContain('is connected')
    })

    test('reaches a provider that hands people on to hosts which nobody could list', async () => {
      const real = house.connections.get('acme')
      if (real === undefined) throw new Error('no connection')
      const front = createServer((request, response) => {
        const { search } = new URL(request.url ?? '', 'http://front')
        response.writeHead(302, { location: `${house.provider.endpoints.authorize}${search}` })
        response.end()
      })
      await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
      const at = `http://127.0.0.1:${(front.address() as AddressInfo).port}/authorize`
      house.connections.set('acme', { ...real, provider: { ...real.provider, authorize: at } })
      context = await chromium.newContext()
      const page = await context.newPage()
      const url = await begin('agent:front')
      await page.goto(url)
      await signIn(page, 'alice')
      await page.waitForURL(url)
      await page.getByRole('button', { name: 'Continue to Acme' }).click()
      await page.waitForURL(`${house.provider.issuer}/interaction/**`)
      house.connections.set('acme', real)
      front.close()
    })

    test('is refused in a frame of another page', async () => {
      context = await chromium.newContext()
      const page = await context.newPage()
      const url = await begin('agent:framed')
      await page.goto(url)
      await signIn(page, 'alice')
      await page.waitForURL(url)
      const said = listen(page)
      const outer = createServer((_request, response) => {
        response.writeHead(200, { 'content-type': 'text/html' })
        response.end(`<iframe src="${house.publicUrl}/"></iframe><iframe src="${url}"></iframe>`)
      })
      await new Promise<void>((resolve) => outer.listen(0, '127.0.0.1', resolve))
      await page.goto(`http://127.0.0.1:${(outer.address() as AddressInfo).port}/`, {
        waitUntil: 'networkidle',
      })
      await expect
        .poll(() => said.filter((line) => line.includes('frame-ancestors')))
        .toHaveLength(2)
      for (const frame of page.frames().slice(1))
        expect(await frame.locator('main').count()).toBe(0)
      outer.close()
    })
  })
})
