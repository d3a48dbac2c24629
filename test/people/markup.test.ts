import { describe, expect, test } from 'vitest'
import { html } from 'hono/html'
import type { OperationRow, Provider } from '../../proxy/model.ts'
import { de } from '../../proxy/people/languages/de.ts'
import { en } from '../../proxy/people/languages/en.ts'
import {
  deed,
  hasWords,
  note,
  openedBy,
  render,
  scopeList,
  scopeWords,
  sheet,
  when,
  who,
  type Html,
} from '../../proxy/people/markup.ts'
import { provider as acme } from '../wire/fixture.ts'

const row = (
  id: string,
  access: OperationRow['access'],
  ...scopes: readonly (readonly string[])[]
): OperationRow => ({
  id,
  method: 'GET',
  path: '/',
  host: null,
  access,
  scopes,
  inspect: [],
  upload: false,
  rewrite: [],
})
const provider: Provider = {
  ...acme,
  scopeWords: new Map([['notes', 'Read and change your notes']]),
  operations: [
    row('notes.list', 'read', ['notes'], ['all']),
    row('notes.make', 'write', ['notes'], ['all']),
    row('team.drop', 'admin', ['all']),
    row('both.do', 'write', ['a', 'b']),
    row('whoami', 'read', ['self']),
  ],
}
/** What is made of it at once: no part of these pages has to be waited for. */
const textOf = (part: Html | '' | undefined): string => {
  if (part instanceof Promise) throw new Error('a part came late')
  return (part ?? '').toString()
}
const EVIL = '<script>alert(1)</script>"\'&'
const words = (scope: string, allowed: ReadonlySet<string> | null = null, texts = en) =>
  scopeWords(texts, provider, scope, allowed).map((line) =>
    textOf(line)
      .replaceAll(/<[^>]*>/g, '')
      .trim(),
  )

describe('a scope in words', () => {
  test('is what the definition says, else what its operations do', () => {
    expect(words('notes')).toEqual(['Read and change your notes'])
    expect(words('all')).toEqual([
      `${en.scope.verb.read}: notes`,
      `${en.scope.verb.write}: notes`,
      `${en.scope.verb.admin}: team`,
    ])
    expect(words('self')).toEqual([`${en.scope.verb.read}: whoami`])
  })
  test('that opens nothing by itself is called by its own name', () => {
    for (const scope of ['a', 'nobody.knows'])
      expect(words(scope)).toEqual([en.scope.ownName('Acme')])
  })
  test('says what policy allows of it, and that it would be wider', () => {
    const [does, wider] = words('notes', new Set(['notes.list']))
    expect(does).toBe(`${en.scope.verb.read}: notes`)
    expect(wider).toContain('Read and change your notes')
    expect(words('all', new Set(['team.drop']))).toEqual([`${en.scope.verb.admin}: team`])
    expect(words('all', new Set())).toEqual([en.scope.allowedNone])
    expect(words('notes', new Set(['notes.list', 'notes.make']))).toEqual([
      'Read and change your notes',
    ])
  })
  test('in another language marks what only English says', () => {
    const [line] = scopeWords(de, provider, 'notes')
    expect(textOf(line)).toContain('<span lang="en">Read and change your notes</span>')
    expect(textOf(scopeWords(en, provider, 'notes')[0])).not.toContain('lang=')
  })
  test('has words of its own or not', () => {
    expect([hasWords(en, provider, 'notes'), hasWords(en, provider, 'all')]).toEqual([true, false])
    const [known] = Object.keys(en.scope.known)
    expect(hasWords(en, provider, known ?? '')).toBe(true)
    expect(hasWords(en, provider, 'toString')).toBe(false)
  })
  test('opens what it alone suffices for', () => {
    expect(openedBy(provider, 'notes').map(({ id }) => id)).toEqual(['notes.list', 'notes.make'])
    expect(openedBy(provider, 'a')).toEqual([])
  })
})

test('one operation in words; of what no catalogue knows nothing is said', () => {
  expect(deed(en, provider, 'notes.make')).toBe(`${en.scope.verb.write}: notes`)
  expect(deed(de, provider, 'team.drop')).toBe(`${de.scope.verb.admin}: team`)
  expect(deed(en, provider, 'nobody.knows')).toBe('')
})

test('many things are counted, not listed', () => {
  const many: Provider = {
    ...acme,
    operations: Array.from({ length: 9 }, (_, n) => row(`thing${n}.list`, 'read', ['x'])),
  }
  const [line] = scopeWords(en, many, 'x')
  const first = 'thing0, thing1, thing2, thing3, thing4, thing5'
  expect(textOf(line)).toContain(en.scope.more(first, 3))
})

describe('a list of scopes', () => {
  test('is grouped by the most that each opens, the least first, each with its own name', () => {
    const text = textOf(scopeList(en, provider, ['all', 'notes', 'self', 'a']))
    const at = (part: string): number => text.indexOf(part)
    const order = [
      `<p class="group">${en.scope.verb.read}`,
      '<code>self</code>',
      `<p class="group">${en.scope.verb.write}`,
      '<code>notes</code>',
      `<p class="group">${en.scope.verb.admin}`,
      '<code>all</code>',
      `<p class="group">${en.scope.also}`,
      '<code>a</code>',
    ].map(at)
    expect(order).not.toContain(-1)
    expect(order.toSorted((a, b) => a - b)).toEqual(order)
  })
  test('of nothing says so; of one kind without words needs no heading', () => {
    expect(textOf(scopeList(en, provider, []))).toContain(en.scope.nothing('Acme'))
    expect(textOf(scopeList(en, provider, ['a', 'b']))).not.toContain('class="group"')
  })
  test('never says what a provider named as if it were ours', () => {
    const evil = { ...provider, name: EVIL, scopeWords: new Map([['notes', EVIL]]) }
    const text = textOf(scopeList(en, evil, ['notes', EVIL]))
    expect(text).not.toContain('<script>')
    expect(text).toContain('&lt;script&gt;')
  })
})

describe('a page', () => {
  const page = (tone: 'plain' | 'good' | 'bad' | 'alert') => () =>
    sheet('Title <b>', html`<p>body</p>`, { tone, head: html`<meta name="x" />` })
  test('has its language, its title escaped, and no index', () => {
    const text = textOf(render(page('plain'), de))
    expect(text).toMatch(/^<!doctype html>/)
    expect(text).toContain('<html lang="de">')
    expect(text).toContain('<title>Title &lt;b&gt; · deputy</title>')
    expect(text).toContain('<meta name="robots" content="noindex" />')
    expect(text).toContain('<meta name="x" />')
    expect(text).not.toMatch(/<script|style="|class="house"/)
  })
  test('wears the house’s name and mark, escaped', () => {
    const brand = { name: EVIL, logo: true, support: 'mailto:help@acme.example' }
    const text = textOf(render(page('good'), en, brand))
    expect(text).toContain('<img src="/logo" alt="" />')
    expect(text).toContain('href="mailto:help@acme.example"')
    expect(text).not.toContain('<script>')
    expect(textOf(render(page('good'), en, { ...brand, logo: false, support: null }))).not.toMatch(
      /<img|mailto/,
    )
  })
  test.each([
    ['bad', true],
    ['alert', true],
    ['good', false],
    ['plain', false],
  ] as const)('that ended %s shows what the log calls it: %s', (tone, shown) => {
    const text = textOf(render(page(tone), en, null, 'ref-1'))
    expect(text.includes('<code>ref-1</code>')).toBe(shown)
    expect(text).toContain(`<body class="${tone}">`)
    expect(textOf(render(page(tone), en))).not.toContain('class="soft ref"')
  })
})

test('sentences are paragraphs, escaped, and more follows them', () => {
  const { body, tone, title } = note('bad', { title: 'No', lines: ['a', EVIL] }, html`<b>more</b>`)
  expect([tone, title]).toEqual(['bad', 'No'])
  expect(textOf(body)).toMatch(/^<p>a<\/p><p>&lt;script.*<\/p><b>more<\/b>$/)
})

test('a moment is there for machines and for people', () => {
  expect(textOf(when(Date.UTC(2026, 10, 28, 8, 5, 59)))).toBe(
    '<time datetime="2026-11-28T08:05:59.000Z">2026-11-28 08:05 UTC</time>',
  )
})

test('a person is called with their tenant, unless there is one alone', () => {
  expect(who({ tenant: 'default', realm: 'corp', id: 'alice' })).toBe('alice')
  expect(who({ tenant: 'acme', realm: 'corp', id: 'alice' })).toBe('alice (acme)')
})
