// The console's pages in a real Chromium: as an accessibility checker sees them, narrow, dark, by keyboard, with hostile
// texts, and without scripts.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { haveChromium, startChromium } from '../../support/chromium.ts'
import { CONSOLE, HOSTILE_CONSOLE, startConsoleGallery } from '../../support/console_gallery.ts'
import { axe, listen, overflow, PICTURES } from '../../support/look.ts'

describe.skipIf(!haveChromium())('in Chromium', () => {
  let chromium: Browser
  beforeAll(async () => {
    chromium = await startChromium()
    if (PICTURES !== undefined) mkdirSync(PICTURES, { recursive: true })
  })
  afterAll(() => chromium?.close())

  test.each(
    (
      [
        ['light', 360],
        ['dark', 1_280],
        ['light', 1_280],
        ['dark', 360],
      ] as const
    ).slice(0, PICTURES === undefined ? 2 : 4),
  )(
    'every page is clean for axe, fits and obeys its policy: %s, %i px',
    async (theme, width) => {
      const gallery = await startConsoleGallery()
      const context = await chromium.newContext({
        colorScheme: theme,
        viewport: { width, height: 800 },
        locale: 'en',
      })
      const page = await context.newPage()
      const said = listen(page)
      for (const name of Object.keys(CONSOLE)) {
        await page.goto(`${gallery.url}/${name}`)
        expect(await axe(page), name).toEqual([])
        expect(await overflow(page), `${name} scrolls sideways`).toBe(0)
        expect(said, name).toEqual([])
        if (PICTURES !== undefined)
          await page.screenshot({
            path: join(PICTURES, `console-${name}-${theme}-${width}.png`),
            fullPage: true,
          })
      }
      await context.close()
      gallery.close()
    },
    240_000,
  )

  test('markup, marks and length in every field stay text, and the page fits', async () => {
    const gallery = await startConsoleGallery(HOSTILE_CONSOLE)
    const context = await chromium.newContext({ viewport: { width: 360, height: 800 } })
    const page = await context.newPage()
    const said = listen(page)
    for (const name of Object.keys(HOSTILE_CONSOLE)) {
      const answer = await page.goto(`${gallery.url}/${name}`)
      const text = (await answer?.text()) ?? ''
      expect(text, name).not.toMatch(/<img src=x|<script>document/)
      // What a form sends back is what it was given.
      const shown = text.replaceAll(/value="[^"]*"/g, '')
      expect(shown, name).not.toMatch(/[\u202e\u2066]/)
      for (const control of ['\u0007', '\u001b']) expect(shown, name).not.toContain(control)
      expect(await page.evaluate('document.querySelectorAll("img[src=x]").length'), name).toBe(0)
      expect(await page.title(), name).toMatch(/ · deputy$/)
      expect(await overflow(page), `${name} scrolls sideways`).toBe(0)
      expect(said, name).toEqual([])
    }
    await context.close()
    gallery.close()
  })
})
