// What a workload may do while one is away, in words. test/people/browser.test.ts has the pages in a browser.
import { expect, test } from 'vitest'
import { daysOf } from '../../proxy/people/standing_page.ts'
import { de } from '../../proxy/people/languages/de.ts'
import { en } from '../../proxy/people/languages/en.ts'
import { GALLERY } from '../support/gallery.ts'

test('days are whole, at least one and at most what was asked', () => {
  expect(
    ['1', '30', '31', '0', '-1', '1.5', '1e1', '', undefined].map((one) => daysOf(one, 30)),
  ).toEqual([1, 30, null, null, null, null, null, null, null])
})

test('the page of a consent says which workload, how long and what, and that nobody is there', async () => {
  for (const texts of [en, de]) {
    const page = String(await GALLERY['consent-standing']?.()(texts).body)
    for (const part of [
      'nightly',
      'issues.create',
      'issues.listForRepo',
      'max="30"',
      texts.standing.title,
    ])
      expect(page).toContain(part)
  }
})

test('my connections shows until when, and has a form to shorten and one to stop', async () => {
  const page = String(await GALLERY['connections-standing']?.()(en).body)
  expect(page).toContain('2026-10-01 09:30 UTC')
  const forms = page.match(/action="\/connections\/standing"/g) ?? []
  expect(forms).toHaveLength(2)
  expect(page).toContain('max="29"')
})
