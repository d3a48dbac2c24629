// The pieces of all pages: HTML only, no effects. Everything that comes from outside goes through
// `html`, which escapes it.
import { html } from 'hono/html'
import type { Access, Operation, Person, Provider } from '../model.ts'
import type { Texts } from './languages/en.ts'

export type Html = ReturnType<typeof html>

/** Served at /style.css, so that the policy of the pages needs no inline styles. */
export const STYLE = `:root{color-scheme:light dark;--ink:#1b1f24;--soft:#4d5661;--back:#fff;--line:#b5bdc7;--field:#737d89;--act:#0b57d0;--on:#fff;--warn:#fff4d6;--alert:#8a5a00;--good:#1a6b34;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#b4bbc4;--back:#16191d;--line:#4d5661;--field:#8a94a0;--act:#a8c7fa;--on:#0b1a33;--warn:#3a2f10;--alert:#f2c14e;--good:#81c995;--bad:#f6aea9}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:36rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}
h2{font-size:1.15rem;margin:1.75rem 0 .5rem}
h3{font-size:1rem;margin:0}
h2+p{margin-top:0}
a{color:var(--act)}
ul,ol{padding-left:1.25rem;margin:.5rem 0}
li{margin:.35rem 0}
dl{margin:1rem 0;border-top:1px solid var(--line)}
dl div{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}
dt{flex:0 0 9rem;color:var(--soft)}
dd{flex:1 1 12rem;margin:0;font-weight:600}
.mark{height:1.5rem;width:1.5rem;object-fit:contain;vertical-align:middle}
code{font:.9em ui-monospace,monospace;color:var(--soft)}
.good h1,.bad h1,.alert h1{border-left:.35rem solid;padding-left:.75rem}
.good h1{border-color:var(--good)}
.bad h1{border-color:var(--bad)}
.alert h1{border-color:var(--alert)}
.good h1::before{content:'✓' / '';color:var(--good);margin-right:.5rem}
.bad h1::before{content:'✕' / '';color:var(--bad);margin-right:.5rem}
.alert h1::before{content:'!' / '';color:var(--alert);margin-right:.5rem}
.house{display:flex;flex-wrap:wrap;align-items:center;gap:.75rem;margin:0 auto;padding:1rem 1rem 0;max-width:36rem;font-weight:600}
.house img{height:2.5rem;width:auto;max-width:10rem;object-fit:contain}
.ref{border-top:1px solid var(--line);margin-top:2rem;padding-top:.75rem;font-size:.9rem}
.told{border-left:4px solid var(--good);padding:.25rem 1rem;margin:1.25rem 0}
.told.part{border-color:var(--alert)}
.told.bad{border-color:var(--bad)}
.warn{background:var(--warn);border-left:4px solid var(--alert);padding:.75rem 1rem;margin:1.25rem 0}
.warn :first-child{margin-top:0}
.warn :last-child{margin-bottom:0}
.group{margin:1rem 0 0;font-weight:600}
.soft{color:var(--soft)}
.line{display:block}
section{border:1px solid var(--line);border-radius:.5rem;padding:0 1rem 1.25rem;margin:1.5rem 0}
section h2{margin-top:1rem}
.agents{list-style:none;padding:0;margin:0}
.agents>li{border-top:1px solid var(--line);padding:1rem 0;margin:0}
.agents dl{margin:.5rem 0 0;border:0}
.agents dl div{border:0;padding:.15rem 0}
.agents form{margin:0}
pre{margin:.5rem 0;padding:.75rem;border:1px solid var(--line);border-radius:.35rem;max-height:32rem;overflow:auto;font:.9rem/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
mark{background:var(--warn);color:var(--ink);border:1px solid var(--alert);border-radius:.2rem;padding:0 .2rem;font-size:.85em}
summary{cursor:pointer;color:var(--act);padding:.5rem 0;min-height:1.5rem}
.foot{border-top:1px solid var(--line);margin-top:2.5rem}
form{margin:1.5rem 0 0}
section>form{margin:0}
label{display:block;font-weight:600;margin-bottom:.25rem}
label+input{margin-bottom:1rem}
input{display:block;font:1.1rem ui-monospace,monospace;width:100%;max-width:16rem;padding:.6rem;border:2px solid var(--field);border-radius:.35rem;background:var(--back);color:var(--ink)}
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 1.25rem;margin:.75rem .5rem 0 0;border:2px solid var(--act);border-radius:.35rem;background:var(--act);color:var(--on);cursor:pointer}
button.quiet{background:transparent;color:var(--act)}
button.end{border-color:var(--bad);background:transparent;color:var(--bad)}
a.button{display:inline-block;font-weight:600;padding:.5rem 1.25rem;margin:.75rem .5rem 0 0}
:focus-visible{outline:3px solid var(--act);outline-offset:3px}
`

/**
 * How a page looks: `good` and `bad` say how something ended, `alert` that something is left to do.
 */
export type Tone = 'plain' | 'good' | 'bad' | 'alert'
/** A page in the reader's language. */
export type Page = (texts: Texts) => Sheet
type Sheet = {
  readonly title: string
  readonly body: Html
  readonly tone: Tone
  /** Further elements of the head. */
  readonly head: Html | ''
  /** What stands above the page, where it is one of many. */
  readonly nav: Html | ''
}
/** `connect.brand`: whose pages these are. */
export type Brand = {
  readonly name: string
  /** Is there a mark at /logo? */
  readonly logo: boolean
  /** https: or mailto:, checked where the configuration is read. */
  readonly support: string | null
}

export const sheet = (
  title: string,
  body: Html,
  {
    tone = 'plain',
    head = '',
    nav = '',
  }: { readonly tone?: Tone; readonly head?: Html | ''; readonly nav?: Html | '' } = {},
): Sheet => ({ title, body, tone, head, nav })

/**
 * @param reference what the evidence or the log calls this matter; null: it has no name there.
 * Shown where something went wrong.
 */
export const render = (
  page: Page,
  texts: Texts,
  brand: Brand | null = null,
  reference: string | null = null,
): Html => {
  const { title, body, tone, head, nav } = page(texts)
  return html`<!doctype html>
    <html lang="${texts.tag}">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title} · ${brand?.name ?? 'deputy'}</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/style.css" />
        ${head}
      </head>
      <body class="${tone}">
        ${
          brand === null
            ? ''
            : html`<header class="house">
                ${brand.logo ? html`<img src="/logo" alt="" />` : ''}<span>${brand.name}</span>
              </header>`
        }
        ${nav}
        <main>
          <h1>${title}</h1>
          ${body}
          ${
            reference === null || tone === 'plain' || tone === 'good'
              ? ''
              : html`<p class="soft ref">${texts.reference} <code>${reference}</code></p>`
          }
          ${brand?.support ? html`<p class="soft"><a href="${brand.support}">${texts.help}</a></p>` : ''}
        </main>
      </body>
    </html>`
}

type Note = { readonly title: string; readonly lines: readonly string[] }
/** Sentences, and what follows them. */
export const note = (tone: Tone, { title, lines }: Note, more: Html | '' = ''): Sheet =>
  sheet(title, html`${lines.map((line) => html`<p>${line}</p>`)}${more}`, { tone })

/** What somebody defined in English, which no file of ours can say in another language. */
export const english = ({ tag }: Texts, line: string): Html | string =>
  tag === 'en' ? line : html`<span lang="en">${line}</span>`

const knownTo = ({ scope }: Texts, name: string): string | undefined =>
  new Map(Object.entries(scope.known)).get(name)
/** Does anybody say in a sentence what this scope is for? */
export const hasWords = (texts: Texts, provider: Provider, scope: string): boolean =>
  provider.scopeWords?.has(scope) === true || knownTo(texts, scope) !== undefined

/** What operation ids have before their last dot: `issues.create` is about issues. */
const thingOf = (id: string): string => id.split('.').slice(0, -1).join(' ') || id

/** Access → the things: `Read: issues, pulls`. */
const deeds = (
  { scope: words }: Texts,
  operations: readonly Pick<Operation, 'id' | 'access'>[],
): readonly string[] =>
  (['read', 'write', 'delete', 'admin'] as const).flatMap((access) => {
    const names = [
      ...new Set(operations.filter((one) => one.access === access).map(({ id }) => thingOf(id))),
    ]
    if (names.length === 0) return []
    const [first, more] = [names.slice(0, 6).join(', '), names.length - 6]
    return [`${words.verb[access]}: ${more > 0 ? words.more(first, more) : first}`]
  })

/**
 * One operation in words, as far as its provider's definition knows it: `Create and change:
 * issues`.
 */
export const deed = (texts: Texts, provider: Provider, id: string): string => {
  const known = provider.operations.find((one) => one.id === id)
  return known === undefined ? '' : (deeds(texts, [known])[0] ?? '')
}

/** The operations for which this scope alone suffices. */
export const openedBy = ({ operations }: Provider, scope: string): Provider['operations'] =>
  operations.filter((one) => one.scopes.some((list) => list.length === 1 && list[0] === scope))

/**
 * Ids of the operations that policy lets this person's agent do; null: nobody knows here and now.
 */
export type Allowed = ReadonlySet<string> | null

/**
 * One scope in plain words: the definition's own, or what its operations say that this scope alone
 * suffices for.
 * @returns lines; the raw scope is shown beside them
 */
export const scopeWords = (
  texts: Texts,
  provider: Provider,
  scope: string,
  allowed: Allowed = null,
): readonly Html[] => {
  const line = (text: Html | string): Html => html`<span class="line">${text}</span>`
  const opened = openedBy(provider, scope)
  const may = allowed === null ? opened : opened.filter(({ id }) => allowed.has(id))
  const own = provider.scopeWords?.get(scope)
  const known = knownTo(texts, scope)
  const told =
    own !== undefined && (texts.tag === 'en' || known === undefined) ? english(texts, own) : known
  if (opened.length === 0) return [line(told ?? texts.scope.ownName(provider.name))]
  const does = may.length === 0 ? [texts.scope.allowedNone] : deeds(texts, may)
  if (told === undefined) return does.map(line)
  if (may.length === opened.length) return [line(told)]
  // Policy allows less than the scope would: that is what will happen, and the scope is how it is
  // called.
  return [
    ...does.map(line),
    html`<span class="line soft">${texts.scope.wider(provider.name)} ${told}</span>`,
  ]
}

const WIDEST = ['admin', 'delete', 'write', 'read'] as const satisfies readonly Access[]
/**
 * The most that this scope alone lets an agent do; null: no operation says, so it is about the
 * account.
 */
const reach = (provider: Provider, scope: string, allowed: Allowed): Access | null => {
  const may = openedBy(provider, scope).filter(({ id }) => allowed === null || allowed.has(id))
  return WIDEST.find((access) => may.some((one) => one.access === access)) ?? null
}

/** Grouped by the most that each scope opens, the least first. */
export const scopeList = (
  texts: Texts,
  provider: Provider,
  scopes: readonly string[],
  allowed: Allowed = null,
): Html => {
  if (scopes.length === 0) return html`<p>${texts.scope.nothing(provider.name)}</p>`
  const groups = ([...WIDEST].toReversed() as readonly (Access | null)[]).concat(null)
  const filled = groups
    .map(
      (access) =>
        [access, scopes.filter((one) => reach(provider, one, allowed) === access)] as const,
    )
    .filter(([, list]) => list.length > 0)
  const item = (scope: string): Html =>
    html`<li>
      ${scopeWords(texts, provider, scope, allowed)}
      <code>${scope}</code>
    </li>`
  return html`${filled.map(
    ([access, list]) =>
      html`${filled.length === 1 && access === null ? '' : html`<p class="group">${access === null ? texts.scope.also : texts.scope.verb[access]}</p>`}
        <ul>
          ${list.map(item)}
        </ul>`,
  )}`
}

/**
 * A moment, to the minute, in UTC; where scripts run, LOCAL_TIMES tells it in the reader's zone.
 */
export const when = (at: number): Html => {
  const text = new Date(at).toISOString()
  return html`<time datetime="${text}">${text.slice(0, 10)} ${text.slice(11, 16)} UTC</time>`
}

export const who = (person: Person): string =>
  person.tenant === 'default' ? person.id : `${person.id} (${person.tenant})`
