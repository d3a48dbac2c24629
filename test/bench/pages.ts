// What a page costs the person who waits for it: bytes with all that it loads, and time to first paint in Chromium.
// Prints rows of Markdown. Each page is opened cold (a profile of its own) and warm (the style sheet is known).
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import { haveChromium, startChromium } from '../support/chromium.ts'
import { startGallery } from '../support/gallery.ts'

const PAGES = ['consent', 'done', 'connections', 'wrong-person', 'problem-consent_required']
const ROUNDS = 7

type Opened = { readonly bytes: number; readonly requests: number; readonly paint: number }
export type PageCost = {
  readonly page: string
  readonly bytes: number
  readonly requests: number
  /** Medians, ms from the start of the navigation to the first contentful paint. */
  readonly cold: number
  readonly warm: number
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN

const PAINT = `new Promise((resolve) => {
  const seen = performance.getEntriesByName('first-contentful-paint')[0]
  if (seen) return resolve(seen.startTime)
  new PerformanceObserver((list, observer) => {
    for (const entry of list.getEntries())
      if (entry.name === 'first-contentful-paint') { observer.disconnect(); resolve(entry.startTime) }
  }).observe({ type: 'paint', buffered: true })
})`

const open = async (
  context: Awaited<ReturnType<Browser['newContext']>>,
  url: string,
): Promise<Opened> => {
  const page = await context.newPage()
  const sizes: Promise<number>[] = []
  page.on('requestfinished', (request) =>
    sizes.push(request.sizes().then((size) => size.responseBodySize + size.responseHeadersSize)),
  )
  await page.goto(url, { waitUntil: 'networkidle' })
  const paint = await page.evaluate<number>(PAINT)
  const all = await Promise.all(sizes)
  await page.close()
  return { bytes: all.reduce((sum, size) => sum + size, 0), requests: all.length, paint }
}

/** Measures every page ROUNDS times, pages interleaved. */
export const measurePages = async (): Promise<readonly PageCost[]> => {
  const [chromium, gallery] = [await startChromium(), await startGallery()]
  const cold = new Map<string, Opened[]>(PAGES.map((page) => [page, []]))
  const warm = new Map<string, Opened[]>(PAGES.map((page) => [page, []]))
  try {
    for (let round = 0; round < ROUNDS; round += 1)
      for (const page of PAGES) {
        const context = await chromium.newContext()
        cold.get(page)?.push(await open(context, `${gallery.url}/${page}`))
        warm.get(page)?.push(await open(context, `${gallery.url}/${page}`))
        await context.close()
      }
  } finally {
    gallery.close()
    await chromium.close()
  }
  return PAGES.map((page) => {
    const first = cold.get(page) ?? []
    return {
      page,
      bytes: Math.max(...first.map(({ bytes }) => bytes)),
      requests: Math.max(...first.map(({ requests }) => requests)),
      cold: median(first.map(({ paint }) => paint)),
      warm: median((warm.get(page) ?? []).map(({ paint }) => paint)),
    }
  })
}

export const pageRows = (costs: readonly PageCost[]): string =>
  [
    '| page | bytes in all | requests | first paint, cold (ms) | warm (ms) |',
    '|---|---|---|---|---|',
    ...costs.map(
      ({ page, bytes, requests, cold, warm }) =>
        `| ${page} | ${bytes} | ${requests} | ${cold.toFixed(0)} | ${warm.toFixed(0)} |`,
    ),
  ].join('\n')

if (process.argv[1] === fileURLToPath(import.meta.url) && haveChromium())
  process.stdout.write(`${pageRows(await measurePages())}\n`)
