// Whatever a page says comes from the language files: rendered with marks for words, nothing but values is left.
import { html } from 'hono/html'
import { expect, test } from 'vitest'
import { en, type Texts } from '../../../proxy/people/languages/en.ts'
import { render } from '../../../proxy/people/markup.ts'
import { GALLERY } from '../../support/gallery.ts'

const BRAND = { name: 'GitHub', logo: true, support: 'https://help.example' }
const isHtml = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'isEscaped' in value
const seen = new Set<string>()
/** The same texts with `⟦path⟧` for each; `seen` learns which were asked for. */
const marked = (value: unknown, path: string): unknown => {
  if (typeof value === 'string' || isHtml(value)) {
    seen.add(path)
    return `⟦${path}⟧`
  }
  if (typeof value === 'function')
    return (...given: unknown[]) =>
      marked((value as (...all: unknown[]) => unknown)(...given), path)
  if (Array.isArray(value)) return value.map((one) => marked(one, path))
  return new Proxy(value as object, {
    get: (target, key) =>
      typeof key === 'string' && Object.hasOwn(target, key)
        ? marked(Reflect.get(target, key), path === '' ? key : `${path}.${key}`)
        : Reflect.get(target, key),
  })
}
const paths = (value: unknown, path: string): readonly string[] =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, one]) =>
        paths(one, path === '' ? key : `${path}.${key}`),
      )
    : [path]

/** Names, people and things that the pages show, never words of ours. */
const VALUE =
  /^(?:[Gg]it[Hh]ub,?|OpenAI|[Gg]oogle|Triage|cluster|deputy|·|\(?acme\)?|\(?alice-gh\)|agent:\S*|\S+@example\.com|github-\S+|403|502|\(?\d\)?|consent_required|upstream_prohibited|\d\d\d\d-\d\d-\d\d|\d\d:\d\d|UTC|alice-gh|:|\.)$/

test('a page has no word that is not in the language files, and they have no word that no page has', async () => {
  const texts = marked({ ...en, tag: 'xx' }, '') as Texts
  for (const [name, page] of Object.entries(GALLERY)) {
    const text = String(await render(page(), texts, BRAND, 'reference'))
    const words = text
      .replaceAll(/<script.*?<\/script>|<span lang="en">.*?<\/span>|<bdi>.*?<\/bdi>/gs, ' ')
      .replaceAll(/<code>.*?<\/code>|<[^>]*>/gs, ' ')
      // What operations are about stands behind their verb, as their ids have it.
      .replaceAll(/⟦scope\.verb\.\w+⟧: [\w, ]+/g, ' ')
      .replaceAll(/⟦[^⟧]*⟧/g, ' ')
      .split(/\s+/)
      .filter((word) => word !== '' && !VALUE.test(word))
    expect(words, name).toEqual([])
  }
  const missed = (path: string): boolean =>
    ![...seen].some((one) => `${one}.`.startsWith(`${path}.`))
  const unused = paths(en, '').filter((path) => !path.startsWith('problems.') && missed(path))
  expect(unused).toEqual([])
})

test('a value in a sentence stays text', async () => {
  const said = String(
    await html`${en.consent.intro('<b>', '"><i>')}${en.goOn.body('<b>', '"><i>')}`,
  )
  expect(said).not.toMatch(/<b>|<i>/)
  expect(said).toContain('&lt;b&gt;')
})
