// The console of a whole deputy in a real Chromium: a task a page done by keyboard alone, live rows, and without scripts.
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveChromium, startChromium } from '../support/chromium.ts'
import { listen } from '../support/look.ts'
import { startConsoleWorld, type ConsoleWorld } from '../support/console.ts'
import { paced } from '../support/pace.ts'

const MOST_BYTES = 60_000

const at = (page: Page): Promise<{ readonly text: string; readonly outline: string }> =>
  page.evaluate(`(() => {
    const at = document.activeElement
    return { text: at.textContent.trim() || at.name || '', outline: getComputedStyle(at).outlineStyle }
  })()`)
/** Presses Tab until what says `text` has the focus, visibly. */
const tabTo = async (page: Page, text: string): Promise<void> => {
  for (let presses = 0; presses < 60; presses += 1) {
    await page.keyboard.press('Tab')
    const focus = await at(page)
    if (focus.text !== text) continue
    expect(focus.outline, text).not.toBe('none')
    return
  }
  throw new Error(`${text} cannot be reached by the Tab key at ${page.url()}`)
}
const entered = async (page: Page): Promise<void> => {
  const loaded = page.waitForEvent('load')
  await page.keyboard.press('Enter')
  await loaded
}
const enterAt = async (page: Page, text: string): Promise<void> => {
  await tabTo(page, text)
  await entered(page)
}
/** Through the issuer's pages, by keyboard too. */
const signIn = async (page: Page, world: ConsoleWorld, who: string): Promise<void> => {
  await page.goto(`${world.url}/console`)
  // Its autofocus comes with the first picture, which may be after the load.
  await page.locator('input[name=login]').focus()
  await page.keyboard.type(who)
  await page.keyboard.press('Tab')
  await page.keyboard.type('x')
  await entered(page)
  // Each step waits for the page after it: pressed twice, a form is answered with an error.
  for (let i = 0; i < 5 && !page.url().startsWith(`${world.url}/console`); i += 1) {
    await page.locator('button[type=submit]').first().focus()
    await entered(page)
  }
  await page.waitForURL(`${world.url}/console`)
}

describe.skipIf(!haveChromium())('in Chromium', () => {
  let chromium: Browser
  let world: ConsoleWorld
  beforeAll(async () => {
    chromium = await startChromium()
    world = await startConsoleWorld()
  })
  afterAll(async () => {
    await chromium?.close()
    await world?.close()
  })
  const heading = (page: Page): Promise<string> => page.locator('h1').innerText()

  test('a task a page, by keyboard alone: look, narrow, find, switch off and on, revoke, sign out', async () => {
    const page = await chromium.newPage()
    const said = listen(page)
    await world.call('north', 'alice')
    await world.call('south', 'bob')
    await signIn(page, world, 'ada')
    said.splice(0) // the issuer's pages have complaints of their own

    // Now: a new record comes by itself; then only refusals are shown.
    await page.getByText('Live: new records').waitFor()
    await world.call('south', 'bob', '/api.acme.test/came-live')
    await page.getByText('came-live').waitFor()
    await tabTo(page, 'effect')
    await page.keyboard.press('Space')
    await enterAt(page, 'Show these')
    expect(await page.locator('#rows .effect.allow').count()).toBe(0)
    expect(await page.locator('#rows .effect.deny').count()).toBeGreaterThan(0)
    // One call's story.
    await enterAt(page, 'acme.get')
    expect(await heading(page)).toBe('One call')
    expect(await page.locator('.story').innerText()).toContain('refused it')

    await enterAt(page, 'People')
    await tabTo(page, 'user')
    await page.keyboard.type('alice')
    await entered(page)
    expect(page.url()).toContain('user=alice')
    await enterAt(page, 'alice')
    expect(await heading(page)).toBe('A person')
    await enterAt(page, 'Revoke')
    expect(await heading(page)).toBe('Revoke this connection?')
    await enterAt(page, 'Revoke')
    expect(await heading(page)).toMatch(/^Done/)
    await enterAt(page, 'Go back')

    await enterAt(page, 'Agents')
    await enterAt(page, 'agent-1')
    await enterAt(page, 'Switch off for everybody')
    await enterAt(page, 'Switch off')
    await enterAt(page, 'Go back')
    await enterAt(page, 'Switch on for everybody')
    await enterAt(page, 'Switch on')
    expect(await heading(page)).toBe('Done')

    for (const name of ['Runs', 'Waiting', 'Policy', 'Health']) {
      await enterAt(page, name)
      expect(await page.locator('[aria-current=page]').innerText()).toBe(name)
    }
    await enterAt(page, 'Sign out')
    expect(await heading(page)).toContain('Signed out')
    expect(said).toEqual([])
    await page.close()
    const names = world.deputy.evidence().map(({ event }) => event)
    for (const event of ['connection.revoked', 'agent.disabled', 'agent.enabled'])
      expect(names).toContain(event)
  })

  test(`works without scripts, and weighs less than ${MOST_BYTES} bytes with all that it loads`, async () => {
    for (let i = 0; i < 120; i += 1) await world.call('south', i % 3 === 0 ? 'bob' : 'alice')
    const context = await chromium.newContext({ javaScriptEnabled: false })
    const page = await context.newPage()
    await signIn(page, world, 'vera')
    expect(await page.locator('#live').innerText()).toContain('Reload the page')
    expect(await page.locator('#rows tr').count()).toBe(50)
    const sizes: Promise<number>[] = []
    page.on('requestfinished', (request) =>
      sizes.push(request.sizes().then((size) => size.responseBodySize + size.responseHeadersSize)),
    )
    const start = performance.now()
    await page.reload({ waitUntil: 'load' })
    const ms = performance.now() - start
    const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
    process.stdout.write(`console: ${bytes} bytes, loaded in ${ms.toFixed(0)} ms\n`)
    expect(bytes).toBeGreaterThan(1_000)
    expect(bytes).toBeLessThan(MOST_BYTES)
    await context.close()
  })

  test('what it weighs, and when it is first painted', async () => {
    const context = await chromium.newContext()
    const page = await context.newPage()
    await signIn(page, world, 'vera')
    const paints: number[] = []
    for (let i = 0; i < 5; i += 1) {
      await page.reload({ waitUntil: 'load' })
      paints.push(
        await page.evaluate(
          `new Promise((resolve) => new PerformanceObserver((list) => {
            for (const { name, startTime } of list.getEntries()) if (name === 'first-contentful-paint') resolve(startTime)
          }).observe({ type: 'paint', buffered: true }))`,
        ),
      )
    }
    process.stdout.write(`console: first paint ${paints.map((ms) => ms.toFixed(0)).join(' ')} ms\n`)
    expect(Math.min(...paints)).toBeGreaterThan(0)
    expect(Math.min(...paints)).toBeLessThan(paced(2_000))
    await context.close()
  })
})
