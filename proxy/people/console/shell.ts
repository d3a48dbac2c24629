// What all pages of the console share: who is there, the way to the others, tables that can be read on a phone.
import { html } from 'hono/html'
import type { Operator } from '../../api/operator.ts'
import { sheet, when, type Html, type Page, type Tone } from '../markup.ts'
import { LOCAL_TIMES } from '../local_times.ts'
import { plain } from '../plain.ts'

export const HOME = '/console'
const PAGES = [
  [HOME, 'Now'],
  [`${HOME}/people`, 'People'],
  [`${HOME}/agents`, 'Agents'],
  [`${HOME}/runs`, 'Runs'],
  [`${HOME}/waiting`, 'Waiting'],
  [`${HOME}/policy`, 'Policy'],
  [`${HOME}/health`, 'Health'],
] as const
export type Place = (typeof PAGES)[number][0]

/** Who looks, and what the forms of this session carry. */
export type Viewer = {
  readonly operator: Operator
  readonly csrf: string
  /** May the acts of `revoke`, and those of `runs`, be offered? Whoever posts is judged again. */
  readonly acts: { readonly revoke: boolean; readonly runs: boolean }
}

export const link = (path: string, query: Readonly<Record<string, string>>): string =>
  `${HOME}/${path}?${new URLSearchParams(query).toString()}`

const nav = ({ operator, csrf }: Viewer, here: Place | null): Html => {
  const { name, tenants, sso } = operator
  const roles = sso?.roles.join(', ') ?? ''
  return html`<header class="bar">
    <nav aria-label="Console">
      <ul>
        ${PAGES.map(
          ([path, text]) =>
            html`<li>
              <a href="${path}" ${path === here ? html`aria-current="page"` : ''}>${text}</a>
            </li>`,
        )}
      </ul>
    </nav>
    <form method="post" action="${HOME}/sign-out">
      <input type="hidden" name="csrf" value="${csrf}" />
      <span class="soft"
        >${plain(name.replace(/^sso:/, ''))}${roles === '' ? '' : ` (${roles})`}${
          tenants === undefined ? '' : html`, tenant ${plain(tenants.join(', ') || 'none')}`
        }</span
      >
      <button class="quiet">Sign out</button>
    </form>
  </header>`
}
const STYLED = html`<link rel="stylesheet" href="/console/style.css" />`

/** @param of.live the script that follows what happens is wanted */
export const consolePage =
  (
    viewer: Viewer,
    of: {
      readonly here: Place | null
      readonly title: string
      readonly tone?: Tone
      readonly live?: boolean
    },
    body: Html,
  ): Page =>
  () =>
    sheet(of.title, html`${body} ${LOCAL_TIMES}`, {
      tone: of.tone ?? 'plain',
      nav: nav(viewer, of.here),
      head: html`${STYLED}${of.live === true ? html`<script type="module" src="/console/live.js"></script>` : ''}`,
    })

/** A page for nobody in particular: before a sign-in and after it. */
export const strayPage =
  (title: string, lines: readonly string[], again: string, tone: Tone = 'alert'): Page =>
  () =>
    sheet(
      title,
      html`${lines.map((line) => html`<p>${line}</p>`)}
        <p><a href="${HOME}">${again}</a></p>`,
      { tone, head: STYLED },
    )

type Cell = Html | string
/** A table whose rows become blocks where it is narrow: each cell knows what it is called. */
export const table = (
  of: { readonly caption: string; readonly head: readonly string[]; readonly none: string },
  rows: readonly (readonly Cell[])[],
): Html =>
  rows.length === 0
    ? html`<p class="none">${of.none}</p>`
    : html`<table>
        <caption>
          ${of.caption}
        </caption>
        <thead>
          <tr>
            ${of.head.map((name) => html`<th scope="col">${name === '' ? html`<span class="unseen">Acts</span>` : name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            (cells) =>
              html`<tr>
                ${cells.map((cell, i) => html`<td data-head="${of.head[i] ?? ''}">${cell}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>`

/** Why there is no button. */
export const readOnly = (viewer: Viewer): Html | '' =>
  viewer.acts.revoke || viewer.acts.runs
    ? ''
    : html`<p class="soft">Your roles let you look; they end nothing.</p>`

/** A button that first asks whether one is sure. */
export const actButton = (
  { csrf }: Viewer,
  text: string,
  fields: Readonly<Record<string, string>>,
  quiet = false,
): Html =>
  html`<form class="act" method="post" action="${HOME}/act">
    <input type="hidden" name="csrf" value="${csrf}" />
    ${Object.entries(fields).map(
      ([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`,
    )}
    <button class="${quiet ? 'quiet' : 'end'}">${text}</button>
  </form>`

export const seldom = (at: number | null): Html | string => (at === null ? 'never' : when(at))

/** Other pages of a list: on, and back to its beginning. */
export const onward = (
  path: string,
  of: Readonly<Record<string, string>>,
  list: { readonly next: string | null; readonly begun: boolean },
): Html | '' =>
  list.next === null && !list.begun
    ? ''
    : html`<p class="onward">
        ${list.begun ? html`<a href="${link(path, of)}">From the beginning</a>` : ''}
        ${list.next === null ? '' : html`<a href="${link(path, { ...of, after: list.next })}" rel="next">More</a>`}
      </p>`

/** The first of many. @param told of which they are the first */
export const firstOf = <T>(
  all: readonly T[],
  most: number,
  told = `These are the newest ${most}. The operators’ API has all of them.`,
): { readonly shown: readonly T[]; readonly more: Html | '' } => ({
  shown: all.slice(0, most),
  more: all.length > most ? html`<p class="soft">${told}</p>` : '',
})
