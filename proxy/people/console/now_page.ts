// What happens now: the plots of the last hour, and the newest records, each with its sentence.
import { html } from 'hono/html'
import type { Minute } from '../../audit/recent.ts'
import { when, type Html, type Page } from '../markup.ts'
import { plain } from '../plain.ts'
import { effectsPlot, reasonsPlot } from './plot.ts'
import { consolePage, HOME, link, type Viewer } from './shell.ts'
import { EFFECTS, labelOf, type Effect, type Told } from './told.ts'

export const MOST_ROWS = 50
const HEAD = ['When', 'What', 'Who', 'What became of it'] as const

const person = (told: Told): Html | string =>
  told.user === ''
    ? ''
    : html`${plain(told.user)}
      ${told.tenant === 'default' ? '' : html`<span class="soft">${plain(told.tenant)}</span>`}`

/** To the second; the script tells it in the reader's zone. */
const moment = (at: number): Html => {
  const text = new Date(at).toISOString()
  return html`<span class="at" data-at="${text}"
    >${text.slice(11, 19)} UTC<span class="line soft">${text.slice(0, 10)}</span></span
  >`
}

/** One record as a row; the live stream sends the same. */
export const rowOf = (told: Told): Html =>
  html`<tr id="${told.id}">
    <td data-head="${HEAD[0]}">${moment(told.at)}</td>
    <td data-head="${HEAD[1]}">
      <span class="effect ${told.failed ? 'failed' : told.effect}">${labelOf(told)}</span>
      ${
        told.exchange === ''
          ? html`<strong>${plain(told.what)}</strong>`
          : html`<a href="${link('call', { exchange: told.exchange })}">${plain(told.what)}</a>`
      }
      ${told.connection === '' ? '' : html`<span class="soft">at ${plain(told.connection)}</span>`}
      ${told.request === '' ? '' : html`<code class="line">${plain(told.request)}</code>`}
    </td>
    <td data-head="${HEAD[2]}">
      ${person(told)}
      ${told.agent === '' ? '' : html`<span class="line soft">${plain(told.agent)}</span>`}
    </td>
    <td data-head="${HEAD[3]}">
      ${plain(told.sentence)}
      ${
        told.problem === null
          ? ''
          : html`<a class="why" href="/problems/${told.problem}"
              >What to do<span class="unseen"> about ${told.problem}</span></a
            >`
      }
    </td>
  </tr>`

const filters = (chosen: readonly Effect[]): Html =>
  html`<form class="filters" method="get" action="${HOME}">
    <fieldset>
      <legend>Show</legend>
      ${(Object.keys(EFFECTS) as Effect[]).map(
        (effect) =>
          html`<label
            ><input
              type="checkbox"
              name="effect"
              value="${effect}"
              ${chosen.includes(effect) ? html`checked` : ''}
            />
            ${EFFECTS[effect]}</label
          >`,
      )}
    </fieldset>
    <button class="quiet">Show these</button>
  </form>`

type NowView = {
  readonly minutes: readonly Minute[]
  /** The newest first. */
  readonly rows: readonly Told[]
  readonly effects: readonly Effect[]
  /** The newest record that is in the page: the stream goes on after it. */
  readonly newest: number
  /** This process began, ms since the epoch. */
  readonly since: number
}

export const nowPage = (viewer: Viewer, view: NowView): Page => {
  const stream = link('live', { effect: view.effects.join(','), since: String(view.newest) })
  return consolePage(
    viewer,
    { here: HOME, title: 'What happens now', live: true },
    html`<p class="soft">
        What this process saw since ${when(view.since)}: its last records. Other replicas have pages
        of their own; the whole evidence is read with <code>deputy audit query</code>.
      </p>
      <div class="plots">${effectsPlot(view.minutes)} ${reasonsPlot(view.minutes)}</div>
      <h2>The newest records</h2>
      ${filters(view.effects)}
      <p id="live" role="status" class="soft" data-stream="${stream}" data-most="${MOST_ROWS}">
        Reload the page to see what came since.
      </p>
      <p class="none" id="none" ${view.rows.length === 0 ? '' : html`hidden`}>
        Nothing of that kind happened yet.
      </p>
      <table>
        <caption class="unseen">
          The newest records, the last first
        </caption>
        <thead>
          <tr>
            ${HEAD.map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody id="rows">
          ${view.rows.map(rowOf)}
        </tbody>
      </table>`,
  )
}

/** One call's story, from the records that this process still has. */
export const callPage = (
  viewer: Viewer,
  view: {
    readonly exchange: string
    readonly lines: readonly string[]
    readonly told: Told | null
  },
): Page =>
  consolePage(
    viewer,
    { here: null, title: 'One call' },
    html`${
      view.told === null
        ? html`<p>
            This process has no record of this call any more, or it is not of a tenant of yours.
          </p>`
        : html`<p>
              <span class="effect ${view.told.failed ? 'failed' : view.told.effect}"
                >${labelOf(view.told)}</span
              >
              ${plain(view.told.sentence)}
              ${view.told.problem === null ? '' : html`<a href="/problems/${view.told.problem}">What to do</a>`}
            </p>
            <ol class="story">
              ${view.lines.map((line) => html`<li>${plain(line.trim())}</li>`)}
            </ol>
            <p class="soft">
              The files tell it in full:
              <code>deputy audit explain ${plain(view.exchange)}</code>
            </p>`
    }`,
  )
