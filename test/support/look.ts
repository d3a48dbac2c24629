// What a test asks of a page in a real browser: is it clean for an accessibility checker, does it fit, does it complain.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
/** A folder for pictures of every page; none are taken without it. */
export const PICTURES = process.env['DEPUTY_PICTURES']

type Finding = { readonly id: string; readonly nodes: readonly { readonly html: string }[] }
/** What axe finds: rule and element. */
export const axe = async (page: Page): Promise<readonly string[]> => {
  await page.evaluate(AXE)
  const { violations } = await page.evaluate<{ violations: readonly Finding[] }>(
    `axe.run({ runOnly: ${JSON.stringify(RULES)}, resultTypes: ['violations'] })`,
  )
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ''}`)
}
/** CSS pixels that the page is wider than its window. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')

/** What a page complains of from now on: scripts, styles and forms that its policy forbids, files that are not there, dialogs. */
export const listen = (page: Page): string[] => {
  const said: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') said.push(message.text())
  })
  page.on('pageerror', (error) => said.push(error.message))
  page.on('dialog', (dialog) => {
    said.push(`dialog ${dialog.message()}`)
    dialog.dismiss().catch((error: unknown) => said.push(String(error)))
  })
  return said
}
