// What all pages are made of: HTML only, no effects, no script. Everything foreign goes through `html`, which escapes.
import { html } from 'hono/html'
import type { Access, Person, Provider } from '../model.ts'

export type Html = ReturnType<typeof html>

/** Served at /style.css, so that the policy of the pages needs no inline styles. */
export const STYLE = `:root{color-scheme:light dark;--ink:#1b1f24;--soft:#4d5661;--back:#fff;--line:#b5bdc7;--act:#0b57d0;--on:#fff;--warn:#fff4d6}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#b4bbc4;--back:#16191d;--line:#4d5661;--act:#a8c7fa;--on:#0b1a33;--warn:#3a2f10}}
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
code{font:.9em ui-monospace,monospace;color:var(--soft)}
.warn{background:var(--warn);border-left:4px solid var(--act);padding:.75rem 1rem;margin:1.25rem 0}
.warn :first-child{margin-top:0}
.warn :last-child{margin-bottom:0}
.soft{color:var(--soft)}
.line{display:block}
section{border:1px solid var(--line);border-radius:.5rem;padding:0 1rem 1.25rem;margin:1.5rem 0}
section h2{margin-top:1rem}
.agents{list-style:none;padding:0;margin:0}
.agents>li{border-top:1px solid var(--line);padding:1rem 0;margin:0}
.agents dl{margin:.5rem 0 0;border:0}
.agents dl div{border:0;padding:.15rem 0}
.agents form{margin:0}
summary{cursor:pointer;color:var(--act);padding:.5rem 0;min-height:1.5rem}
.foot{border-top:1px solid var(--line);margin-top:2.5rem}
form{margin:1.5rem 0 0}
section>form{margin:0}
label{display:block;font-weight:600;margin-bottom:.25rem}
label+input{margin-bottom:1rem}
input{display:block;font:1.1rem ui-monospace,monospace;width:100%;max-width:16rem;padding:.6rem;border:2px solid var(--line);border-radius:.35rem;background:var(--back);color:var(--ink)}
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 1.25rem;margin:.75rem .5rem 0 0;border:2px solid var(--act);border-radius:.35rem;background:var(--act);color:var(--on);cursor:pointer}
button.quiet{background:transparent;color:var(--act)}
:focus-visible{outline:3px solid var(--act);outline-offset:3px}
`

/** @param head further elements of the head */
export const page = (title: string, body: Html, head: Html | '' = ''): Html =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title} · deputy</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/style.css" />
        ${head}
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${body}
        </main>
      </body>
    </html>`

export const note = (title: string, ...lines: readonly string[]): Html =>
  page(title, html`${lines.map((line) => html`<p>${line}</p>`)}`)

const VERB = {
  read: 'Read',
  write: 'Create and change',
  delete: 'Delete',
  admin: 'Administer',
} as const satisfies Record<Access, string>

/** Scopes whose meaning OpenID Connect Core 5.4 and 11 fix for every provider. */
const KNOWN: ReadonlyMap<string, string> = new Map([
  ['openid', 'Know which account is yours'],
  ['profile', 'See your name and picture'],
  ['email', 'See your e-mail address'],
  ['offline_access', 'Keep the connection while you are away'],
])

const listed = (names: readonly string[]): string =>
  names.length > 6
    ? `${names.slice(0, 6).join(', ')} and ${names.length - 6} more`
    : names.join(', ')

/**
 * One scope in plain words: what the provider's operations say that this scope alone suffices for.
 * @returns lines, one for each kind of access; the raw scope is shown beside them
 */
export const scopeWords = (provider: Provider, scope: string): readonly string[] => {
  const known = KNOWN.get(scope)
  if (known !== undefined) return [known]
  const things = new Map<Access, Set<string>>()
  for (const operation of provider.operations)
    if (operation.scopes.some((list) => list.length === 1 && list[0] === scope)) {
      const thing = operation.id.split('.').slice(0, -1).join(' ') || operation.id
      things.set(operation.access, (things.get(operation.access) ?? new Set()).add(thing))
    }
  const parts = (['read', 'write', 'delete', 'admin'] as const).flatMap((access) => {
    const names = things.get(access)
    return names === undefined ? [] : [`${VERB[access]}: ${listed([...names])}`]
  })
  return parts.length > 0 ? parts : [`A permission that ${provider.name} names itself`]
}

export const scopeList = (provider: Provider, scopes: readonly string[]): Html =>
  scopes.length === 0
    ? html`<p>What ${provider.name} grants every application.</p>`
    : html`<ul>
        ${scopes.map(
          (scope) =>
            html`<li>
              ${scopeWords(provider, scope).map((line) => html`<span class="line">${line}</span>`)}
              <code>${scope}</code>
            </li>`,
        )}
      </ul>`

/** A moment, to the minute. Without a script nobody knows the reader's time zone, so it is named. */
export const when = (at: number): Html => {
  const text = new Date(at).toISOString()
  return html`<time datetime="${text}">${text.slice(0, 10)} ${text.slice(11, 16)} UTC</time>`
}

export const who = (person: Person): string =>
  person.tenant === 'default' ? person.id : `${person.id} (${person.tenant})`
