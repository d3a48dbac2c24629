import { expect, test } from 'vitest'
import { de } from '../../../proxy/people/languages/de.ts'
import { en, type Texts } from '../../../proxy/people/languages/en.ts'
import { render } from '../../../proxy/people/markup.ts'
import { problemPage } from '../../../proxy/people/consent_pages.ts'
import { CATALOGUE, type ProblemCode } from '../../../proxy/problem.ts'
import { GALLERY } from '../../support/gallery.ts'

const BRAND = { name: 'Acme', logo: false, support: 'https://help.example' }
const gone = { provider: 'GitHub', account: 'alice-gh', agent: 'agent:triage' }
const plain = (text: unknown): string =>
  String(text)
    .replaceAll(/<[^>]*>/g, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()

const isHtml = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'isEscaped' in value

/** Every sentence, by its path, with the values that the gallery has. */
const sentences = (value: unknown, path: string): readonly (readonly [string, string])[] => {
  if (typeof value === 'string' || isHtml(value)) return [[path, plain(value)]]
  if (typeof value === 'function') {
    const given = path.startsWith('ending') ? [gone] : ['agent:triage', 'GitHub']
    return sentences((value as (...all: unknown[]) => unknown)(...given), path)
  }
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, one]) => sentences(one, `${path}.${key}`))
}
const all = (texts: Texts) =>
  new Map(Object.entries(texts).flatMap(([key, one]) => sentences(one, key)))
/** Words that both languages have. */
const SHARED = new Set(['label.agent', 'code.label'])

test('every text differs from the English one, and none is empty', () => {
  const [english, german] = [all(en), all(de)]
  for (const [path, text] of german) expect(text, path).not.toBe('')
  const same = [...english].filter(([path, text]) => german.get(path) === text)
  expect(same.map(([path]) => path).filter((path) => !SHARED.has(path))).toEqual([])
})

test('no English sentence is left on a German page', async () => {
  const english = [...all(en)].filter(([path]) => !SHARED.has(path)).map(([, text]) => text)
  const german = new Set(all(de).values())
  const pages = {
    ...GALLERY,
    ...Object.fromEntries(
      Object.keys(CATALOGUE).map((code) => [code, () => problemPage(code as ProblemCode)]),
    ),
  }
  for (const [name, page] of Object.entries(pages)) {
    const text = String(await render(page(), de, BRAND, 'reference'))
    expect(text, name).toContain('<html lang="de">')
    // What a definition says in English is marked as English.
    const told = text
      .replaceAll(/<script.*?<\/script>|<span lang="en">.*?<\/span>|<bdi>.*?<\/bdi>/gs, ' ')
      .split(/<[^>]*>/)
      .map((part) => part.replaceAll(/\s+/g, ' ').trim())
    const found = english.filter((one) =>
      told.some((part) => part === one || (one.includes(' ') && part.includes(one))),
    )
    expect(
      found.filter((one) => !german.has(one)),
      name,
    ).toEqual([])
    // Words that English cannot do without, and that German does not have.
    expect(told.join(' '), name).not.toMatch(
      /\b(?:the|your|you|and|this|with|which|cannot|account)\b/i,
    )
  }
})

test('German is written with German letters, marks and a formal Sie', () => {
  const text = [...all(de).values()].join('\n')
  expect(text).toMatch(/[äöüß]/)
  expect(text).not.toMatch(/\b(?:fuer|koennen|loeschen|muessen|ueber|du|dein\w*|dir|dich)\b/i)
  expect(text).not.toMatch(/["“][A-ZÄÖÜ]/)
})
