import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SCOPES } from '../../proxy/commands/init.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { CATALOGUE, Problem, problemAnswer, sentence } from '../../proxy/problem.ts'
import type { ProblemCode } from '../../proxy/problem.ts'
import type { Connection, HeldConnection, OperationRow, Provider } from '../../proxy/model.ts'
import { isObject } from '../../proxy/wire/json.ts'
import { compileProviders, parseProvider } from '../../proxy/providers/parse.ts'
import { de } from '../../proxy/people/languages/de.ts'
import { en, type Texts } from '../../proxy/people/languages/en.ts'
import { LOCAL_TIMES } from '../../proxy/people/local_times.ts'
import { hasWords, render, scopeWords, STYLE } from '../../proxy/people/markup.ts'
import { agentPage, agentsPage } from '../../proxy/people/agents_page.ts'
import type { AgentPageView } from '../../proxy/people/agents_page.ts'
import { connectionsPage, surePage } from '../../proxy/people/connections_page.ts'
import type { ConnectionsView } from '../../proxy/people/connections_page.ts'
import * as pages from '../../proxy/people/consent_pages.ts'

const parsed = parseProvider(
  {
    id: 'acme',
    name: '<script>alert(1)</script>',
    authorize: 'https://acme.test/authorize',
    token: 'https://acme.test/token',
    hosts: ['api.acme.test'],
  },
  'acme.yaml',
)
if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
const operation = (id: string, access: OperationRow['access'], scope: string): OperationRow => ({
  id,
  access,
  scopes: [[scope]],
  inspect: [],
  rewrite: [],
  upload: false,
  method: 'GET',
  path: '/',
  host: null,
})
const provider: Provider = {
  ...parsed.provider,
  operations: [
    operation('issues.list', 'read', 'repo'),
    operation('issues.create', 'write', 'repo'),
    operation('pulls.get', 'read', 'repo'),
    operation('repos.delete', 'delete', 'delete_repo'),
  ],
}
const connection: Connection = {
  name: 'acme',
  provider,
  clientId: 'client',
  clientSecret: null,
  scopes: ['repo'],
}
const plain = (html: unknown): string => String(html).replaceAll(/<[^>]*>/g, '')
const HOSTILE = '"><img src=x onerror=alert(1)>'
const BRAND = { name: HOSTILE, logo: true, support: 'https://help.example/?a="><img' }
const view: pages.ConnectView = {
  connection,
  agent: {
    id: HOSTILE,
    name: HOSTILE,
    mark: HOSTILE,
    owner: HOSTILE,
    contact: `https://help.example/?a=${HOSTILE}`,
    workload: HOSTILE,
    known: false,
  },
  person: { tenant: HOSTILE, realm: 'r', id: HOSTILE },
  verified: true,
  scopes: ['repo', HOSTILE],
  again: [HOSTILE],
  operation: HOSTILE,
  step: 'provider',
  reauthorization: true,
  csrf: 'token',
  action: '/connect/x',
}
const agent = { agent: HOSTILE, scopes: ['repo', HOSTILE], at: 0, lastUsedAt: 1_000 }
const held: HeldConnection = {
  credential: HOSTILE,
  person: view.person,
  connection: HOSTILE,
  provider: HOSTILE,
  account: HOSTILE,
  status: 'needs_reauth',
  scopes: [],
  agents: [agent, { ...agent, lastUsedAt: null }],
  storedAt: 0,
}
const mine: ConnectionsView = {
  person: view.person,
  verified: false,
  held: [held, { ...held, connection: 'acme', agents: [] }],
  connections: new Map([['acme', connection]]),
  agentName: () => HOSTILE,
  told: null,
  csrf: 'token',
  signOut: 'token',
}
const off = { agent: HOSTILE, tenant: null, at: 0, by: 'owner' as const }
const agentView: AgentPageView = {
  agent: view.agent,
  off,
  held: [held, { ...held, connection: 'acme' }],
  connections: mine.connections,
  owned: {
    people: 2,
    connections: 1,
    whom: [{ id: HOSTILE, connections: [HOSTILE] }],
    mayEnable: true,
  },
  csrf: 'token',
}
const ENDINGS = [
  'revoked',
  'access_outlives',
  'already_dead',
  'not_supported',
  'failed',
  'agent',
  'gone',
] as const
const MINE: readonly ConnectionsView[] = ENDINGS.map((ending) => ({
  ...mine,
  told: { ending, provider: HOSTILE, account: HOSTILE, agent: HOSTILE },
}))
const everyPage = (texts: Texts): Promise<readonly string[]> =>
  Promise.all(
    [
      pages.indexPage(),
      pages.connectPage(view),
      pages.connectPage({ ...view, step: 'grant', verified: false }),
      pages.donePage({ ...view, account: HOSTILE, missing: [HOSTILE] }),
      agentPage(agentView),
      agentPage({ ...agentView, off: { ...off, by: 'operator' }, held: [] }),
      agentPage({ ...agentView, off: null }),
      ...(['stopped', 'off', 'on', 'unchanged'] as const).map((what) =>
        agentsPage({ mine: [view.agent], owned: [view.agent], told: { what, name: HOSTILE } }),
      ),
      agentsPage({ mine: [], owned: [], told: null }),
      pages.agentOffPage(),
      pages.wrongPersonPage(),
      pages.expiredPage(),
      pages.deniedPage(),
      pages.mismatchPage(HOSTILE),
      pages.providerErrorPage(HOSTILE),
      pages.adminPage(HOSTILE),
      pages.strongerPage(HOSTILE),
      pages.clientRefusedPage(HOSTILE),
      pages.connectPage({ ...view, reauthorization: true, stronger: true }),
      pages.brokenCallbackPage(),
      pages.signInFailedPage(),
      pages.refusedFormPage(null),
      pages.refusedFormPage('/connections'),
      pages.signedOutPage(),
      pages.goOnPage(HOSTILE, `https://acme.test/?x=${HOSTILE}`),
      ...MINE.map(connectionsPage),
      pages.codePage({ back: HOSTILE, own: false, problem: null }),
      ...(['name', 'wait', 'wrong'] as const).map((problem) =>
        pages.codePage({ back: HOSTILE, own: true, problem }),
      ),
      ...[
        (sure: Texts['sure']) => sure.disconnect(HOSTILE, HOSTILE),
        (sure: Texts['sure']) => sure.stop(HOSTILE, HOSTILE),
        (_: Texts['sure'], { agent }: Texts) => agent.sureStop(HOSTILE),
        (_: Texts['sure'], { agent }: Texts) => agent.sureOff(HOSTILE),
        (_: Texts['sure'], { agent }: Texts) => agent.sureOn(HOSTILE),
        (sure: Texts['sure']) => sure.signOut,
      ].map((ask) => surePage({ action: '/connections', ask, fields: { agent: HOSTILE } })),
      pages.notFoundPage(),
      pages.failurePage(),
      pages.inactivePage(),
      pages.awaitingPage(),
      pages.strayPage(),
      pages.providerErrorPage(null),
      ...(Object.keys(CATALOGUE) as ProblemCode[]).map(pages.problemPage),
    ].map(async (page) => String(await render(page, texts, BRAND, HOSTILE))),
  )
/** In every language. */
const everywhere = async () => [...(await everyPage(en)), ...(await everyPage(de))]

test('what a stranger named never becomes markup', async () => {
  for (const page of await everywhere()) {
    // The one script is ours, to the letter.
    const text = page.replace(String(LOCAL_TIMES), '')
    // The one image is the organisation's mark.
    // The mark of an agent, whatever it held, is one image of one attribute.
    const mark = /<img class="mark" src="[^"]*" alt="" \/>/g
    expect(text.replaceAll(mark, '').match(/<img[^>]*>/g)).toEqual(['<img src="/logo" alt="" />'])
    expect(text).not.toContain('<script')
    expect(text).not.toContain('javascript:')
    expect(text).not.toMatch(/\son[a-z]+="/)
  }
})

test('every page has a language, a title, one main, one h1, a viewport and no inline style', async () => {
  for (const text of await everywhere()) {
    expect(text).toMatch(/^<!doctype html>\s*<html lang="(?:en|de)">/)
    for (const once of ['<main>', '<h1>', '<title>', 'name="viewport"'])
      expect(text.split(once)).toHaveLength(2)
    expect(text).not.toMatch(/<style|\sstyle="/)
    expect(Buffer.byteLength(text) + Buffer.byteLength(STYLE)).toBeLessThan(30_000)
  }
})

test('every visible field has a label', async () => {
  for (const text of await everywhere())
    for (const [field] of text.matchAll(/<input(?![^>]*hidden)[^>]*>/g)) {
      const id = /\bid="([^"]+)"/.exec(field)?.[1]
      expect(text).toContain(`<label for="${id}">`)
    }
})

test('the code page puts the person into its first field, and says what is typed there', async () => {
  for (const texts of [en, de])
    for (const own of [false, true]) {
      const text = String(await render(pages.codePage({ back: '/', own, problem: null }), texts))
      const fields = [...text.matchAll(/<input(?![^>]*hidden)[^>]*>/g)].map(([field]) => field)
      expect(fields.map((field) => / autofocus\s/.test(field))).toEqual(
        own ? [true, false] : [true],
      )
      const code = fields.at(-1) ?? ''
      for (const hint of [
        'inputmode="text"',
        'autocomplete="one-time-code"',
        'aria-describedby="hint"',
      ])
        expect(code).toContain(hint)
      expect(text).toContain(`<p class="soft" id="hint">${texts.code.hint}</p>`)
      const pattern = new RegExp(`^(?:${/pattern="([^"]*)"/.exec(code)?.[1]})$`, 'v')
      for (const good of ['ABCD-EFGH', 'abcd efgh', ' ABCDEFGH ']) expect(good).toMatch(pattern)
      for (const bad of ['ABCD', 'ÄBCD-EFGH', 'ABCD_EFGH']) expect(bad).not.toMatch(pattern)
    }
})

test('a scope is told by what the provider’s operations need it for', () => {
  const told = (scope: string, texts = en) => scopeWords(texts, provider, scope).map(plain)
  expect(told('repo')).toEqual(['Read: issues, pulls', 'Create and change: issues'])
  expect(told('repo', de)).toEqual(['Lesen: issues, pulls', 'Anlegen und ändern: issues'])
  expect(told('delete_repo')).toEqual(['Delete: repos'])
  expect(told('openid')).toEqual(['Know which account is yours'])
  expect(told('openid', de)).toEqual(['Erkennen, welches Konto Ihnen gehört'])
  expect(told('x').join()).toContain('names itself')
})

test('of a scope only what policy allows is told first, and how wide it is called after that', () => {
  const named = { ...provider, name: 'Acme', scopeWords: new Map([['repo', 'All your code']]) }
  const told = (allowed: readonly string[] | null, texts = en) =>
    scopeWords(texts, named, 'repo', allowed && new Set(allowed)).map(plain)
  expect(told(null)).toEqual(['All your code'])
  expect(told(['issues.list', 'issues.create', 'pulls.get'])).toEqual(['All your code'])
  expect(told(['issues.list'])).toEqual([
    'Read: issues',
    'Acme words it more widely: All your code',
  ])
  expect(told(['repos.delete'])[0]).toContain('Nothing, as')
  const german = scopeWords(de, named, 'repo', new Set(['issues.list']))
    .map(String)
    .join('')
  expect(german).toContain('Lesen: issues')
  expect(german).toContain('<span lang="en">All your code</span>')
})

test('every problem code has a page that says what to do', async () => {
  for (const code of Object.keys(CATALOGUE) as ProblemCode[]) {
    const text = String(await render(pages.problemPage(code), en))
    expect(text).toContain(code)
    expect(text).toContain(String(CATALOGUE[code].status))
  }
})

test('an answer that a wait can change says how long, in the header and where it is read', () => {
  for (const [code, { status }] of Object.entries(CATALOGUE)) {
    const problem = new Problem(code as ProblemCode, 'no')
    const { headers, body } = problemAnswer(problem, 'x', 'http://y', { waits: true })
    const waits =
      status === 429 ||
      status === 503 ||
      /(?:consent|authorization|approval|step_up)_required/.test(code)
    if (waits) expect(Number(headers['retry-after']), code).toBeGreaterThan(0)
    // Clients of GitHub obey it at a 403 without showing the link: only who asked to wait hears it.
    const unasked = problemAnswer(problem, 'x', 'http://y').headers['retry-after']
    expect(unasked, code).toBe(status === 403 ? undefined : headers['retry-after'])
    const told = (JSON.parse(body) as { retry_after?: number }).retry_after
    if (status === 429 || status === 503) expect(told, code).toBe(Number(headers['retry-after']))
    // What would be refused again is not worth a wait.
    if (status < 429 && !waits) expect(headers['retry-after'], code).toBeUndefined()
  }
  const own = new Problem('rate_limited', 'no', { extra: { retry_after: 7.2 } })
  expect(problemAnswer(own, 'x', 'http://y').headers['retry-after']).toBe('8')
})

test('what an answer says is a sentence, and names and addresses in it stay as they are', () => {
  expect(sentence('the run is over')).toBe('The run is over.')
  expect(sentence('user_id: is missing')).toBe('user_id: is missing.')
  expect(sentence('acme has several connections')).toBe('acme has several connections.')
  expect(sentence('nobody-at-all is unknown')).toBe('nobody-at-all is unknown.')
  expect(sentence('To go on, connect it: http://localhost/connect/x')).toMatch(/connect\/x$/)
})

/** WCAG 2.2 1.4.3 over the palette itself. */
const luminance = (hex: string): number => {
  const full = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, '$&$&') : hex
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const c = Number.parseInt(full.slice(at, at + 2), 16) / 255
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
const contrast = (a: string, b: string): number => {
  const [light = 0, dark = 0] = [luminance(a), luminance(b)].toSorted((x, y) => y - x)
  return (light + 0.05) / (dark + 0.05)
}
test('text has a contrast of 4.5 or more, dark and light', () => {
  const palettes = [...STYLE.matchAll(/:root\{([^}]*)\}/g)].map(
    ([, rules = '']) =>
      new Map([...rules.matchAll(/(--\w+):(#[0-9a-f]+)/g)].map(([, k, v]) => [k, v ?? ''])),
  )
  expect(palettes).toHaveLength(2)
  for (const palette of palettes)
    for (const [text, back] of [
      ['--ink', '--back'],
      ['--soft', '--back'],
      ['--act', '--back'],
      ['--on', '--act'],
      ['--ink', '--warn'],
      ['--bad', '--back'],
    ] as const)
      expect(contrast(palette.get(text) ?? '', palette.get(back) ?? ''), text).toBeGreaterThan(4.5)
  // WCAG 2.2 1.4.11: what tells that there is a field, and how something ended.
  const rule = (of: string): string => new RegExp(`\\n${of}\\{([^}]*)\\}`).exec(STYLE)?.[1] ?? ''
  expect(rule('input')).toMatch(/border:2px solid var\(--field\).*background:var\(--back\)/)
  expect(rule('button')).toContain('border:2px solid var(--act)')
  expect(rule('button\\.end')).toContain('border-color:var(--bad)')
  for (const palette of palettes)
    for (const mark of ['--field', '--good', '--bad', '--alert'])
      expect(contrast(palette.get(mark) ?? '', palette.get('--back') ?? ''), mark).toBeGreaterThan(
        3,
      )
})

const { providers: shipped } = compileProviders(
  new Map(
    [...readProviderFiles(join(import.meta.dirname, '../../providers'))].map(([name, raw]) => [
      name,
      isObject(raw) && 'catalogue' in raw ? { ...raw, catalogue: undefined } : raw,
    ]),
  ),
)
// A scope that only a generated row names is told by what its operations do.
test('every scope that a shipped definition names has words, and they are its own', () => {
  expect(shipped.size).toBeGreaterThan(8)
  for (const provider of shipped.values())
    for (const one of [provider, ...(provider.slots?.values() ?? [])]) {
      const named = [
        ...one.operations.flatMap(({ scopes }) => scopes.flat()),
        ...(one.scopeAlways ?? []),
        ...(one.scopeKnown ?? []),
        ...[...(one.scopeReach ?? [])].flat(2),
        ...(SCOPES.get(one.id) ?? '').split(',').filter((scope) => scope !== ''),
      ].map((scope) => scope.replaceAll(/['"]/g, '').trim())
      for (const scope of new Set(named))
        expect(hasWords(en, one, scope), `${one.id}: ${scope}`).toBe(true)
    }
})

test('scopes stand under what is the most that they open, and an unknown one under its own name', async () => {
  const text = String(
    await render(
      pages.connectPage({ ...view, scopes: ['delete_repo', 'repo', 'openid', HOSTILE] }),
      en,
    ),
  )
  const at = (what: string): number => text.indexOf(what)
  expect(at('>Create and change<')).toBeGreaterThan(0)
  expect(at('>Delete<')).toBeGreaterThan(at('<code>repo</code>'))
  expect(at('<code>delete_repo</code>')).toBeGreaterThan(at('>Delete<'))
  expect(at('>Also<')).toBeGreaterThan(at('<code>delete_repo</code>'))
  expect(at('Know which account is yours')).toBeGreaterThan(at('>Also<'))
  expect(text).toContain('names itself')
  expect(text).toContain('<code>&quot;&gt;&lt;img src=x onerror=alert(1)&gt;</code>')
})

test('success, what is left to do and failure are told apart by more than a colour', async () => {
  const done = { ...view, account: null }
  expect(pages.donePage({ ...done, missing: [] })(en).tone).toBe('good')
  expect(pages.donePage({ ...done, missing: ['repo'] })(en).tone).toBe('alert')
  expect(pages.providerErrorPage('x')(en).tone).toBe('bad')
  expect(pages.deniedPage()(en).tone).toBe('plain')
  const marks = ['good', 'bad', 'alert'].map(
    (tone) => new RegExp(`\\.${tone} h1::before\\{content:'(.)'`).exec(STYLE)?.[1],
  )
  expect(new Set(marks).size).toBe(3)
  expect(marks).not.toContain(undefined)
})
