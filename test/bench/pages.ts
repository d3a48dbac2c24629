// What a page costs the person who waits for it: bytes with all that it loads, and time to first paint in Chromium.
// Each page is opened cold (a profile of its own) and warm (the style sheet is known).
import type { Browser } from 'playwright-core'
import { haveChromium, startChromium } from '../support/chromium.ts'
import { startGallery } from '../support/gallery.ts'
import type { Size } from './calls.ts'
import { median, type Section } from './report.ts'

const PAGES = ['consent', 'done', 'connections', 'wrong-person', 'problem-consent_required']

type Opened = {
  readonly bytes: number
  readonly requests: number
  readonly paint: number
  /** Answers that were no success, and a page without a heading. */
  readonly wrong: readonly string[]
}
type PageCost = {
  readonly page: string
  readonly bytes: number
  readonly requests: number
  /** Medians, ms from the start of the navigation to the first contentful paint. */
  readonly cold: number
  readonly warm: number
  readonly wrong: readonly string[]
}

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
  const wrong: string[] = []
  page.on('response', (answer) => {
    if (!answer.ok() && answer.status() !== 304) wrong.push(`${answer.status()} ${answer.url()}`)
  })
  page.on('requestfailed', (request) => wrong.push(`no answer from ${request.url()}`))
  const sizes: Promise<number>[] = []
  page.on('requestfinished', (request) =>
    sizes.push(request.sizes().then((size) => size.responseBodySize + size.responseHeadersSize)),
  )
  await page.goto(url, { waitUntil: 'networkidle' })
  const paint = await page.evaluate<number>(PAINT)
  const all = await Promise.all(sizes)
  if ((await page.locator('h1').count()) !== 1) wrong.push(`no heading at ${url}`)
  await page.close()
  return { bytes: all.reduce((sum, size) => sum + size, 0), requests: all.length, paint, wrong }
}

/** Measures every page `rounds` times, pages interleaved. */
const measure = async (rounds: number): Promise<readonly PageCost[]> => {
  const [chromium, gallery] = [await startChromium(), await startGallery()]
  const cold = new Map<string, Opened[]>(PAGES.map((page) => [page, []]))
  const warm = new Map<string, Opened[]>(PAGES.map((page) => [page, []]))
  try {
    for (let round = 0; round < rounds; round += 1)
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
      wrong: [...first, ...(warm.get(page) ?? [])].flatMap((opened) => opened.wrong),
    }
  })
}

export const measurePages = async ({ quick }: Size): Promise<Section> => {
  const there = haveChromium()
  const rounds = quick ? 1 : 7
  const costs = there ? await measure(rounds) : []
  return {
    title: 'Pages',
    columns: ['page', 'bytes in all', 'requests', 'first paint, cold (ms)', 'warm (ms)'],
    rows: costs.map(({ page, bytes, requests, cold, warm }) => [
      page,
      ...[bytes, requests, cold, warm].map((value) => value.toFixed(0)),
    ]),
    notes: there ? [`all resources, headers too; medians of ${rounds} in Chromium`] : [],
    wrong: [...new Set(costs.flatMap(({ wrong }) => wrong))],
    skipped: there ? [] : ['pages: there is no Chromium (apt-get install chromium)'],
  }
}
