// What a workload may do while its person is away, in HTML: where it is asked for, and where it is seen and ended.
import { html } from 'hono/html'
import type { Connection, Provider, StandingAsk, StandingRow } from '../model.ts'
import type { Texts } from './languages/en.ts'
import { deed, when, type Html } from './markup.ts'

const DAY_MS = 86_400_000

/** A whole number of days from 1 on; null: it is none, or more than `most`. */
export const daysOf = (value: unknown, most: number): number | null => {
  const days = typeof value === 'string' && /^\d{1,4}$/.test(value) ? Number(value) : 0
  return days >= 1 && days <= most ? days : null
}

const operationList = (t: Texts, provider: Provider | null, ids: readonly string[]): Html =>
  html`<ul>
    ${ids.map((id) => html`<li>${provider === null ? '' : deed(t, provider, id)} <code>${id}</code></li>`)}
  </ul>`

/** Asks for it, on the page of a consent. */
export const standingAsked = (
  t: Texts,
  { provider, name }: Connection,
  agent: string,
  { workload, days, operations }: StandingAsk,
): Html =>
  html`<h2>${t.standing.title}</h2>
    <p>${t.standing.asked(agent, workload, `${provider.name} (${name})`)}</p>
    ${operationList(t, provider, operations)}
    <label for="days">${t.standing.days(days)}</label>
    <input id="days" name="days" type="number" min="1" max="${days}" value="${days}" required />
    <p class="warn">${t.standing.warning}</p>`

/** One of them at "my connections". */
export const standingItem = (
  t: Texts,
  connection: Connection | null,
  row: StandingRow,
  csrf: string,
): Html => {
  const days = Math.ceil((row.expiresAt - row.createdAt) / DAY_MS)
  const hidden = html`<input type="hidden" name="csrf" value="${csrf}" />
    <input type="hidden" name="standing" value="${row.id}" />`
  return html`<section>
    <h3>${t.standing.item(row.agent, row.workload)}</h3>
    <dl>
      <div>
        <dt>${t.label.connection}</dt>
        <dd>${row.connection}</dd>
      </div>
      <div>
        <dt>${t.label.allowed}</dt>
        <dd>${when(row.createdAt)}</dd>
      </div>
      <div>
        <dt>${t.standing.until}</dt>
        <dd>${when(row.expiresAt)}</dd>
      </div>
      <div>
        <dt>${t.label.lastUsed}</dt>
        <dd>${row.lastUsedAt === null ? t.mine.never : when(row.lastUsedAt)}</dd>
      </div>
    </dl>
    <details>
      <summary>${t.mine.may(row.agent)}</summary>
      ${operationList(t, connection?.provider ?? null, row.operations)}
    </details>
    ${
      days > 1
        ? html`<form method="post" action="/connections/standing">
            ${hidden}
            <label for="days-${row.id}">${t.standing.shorter}</label>
            <input
              id="days-${row.id}"
              name="days"
              type="number"
              min="1"
              max="${days - 1}"
              value="${days - 1}"
              required
            />
            <button class="quiet">${t.standing.shorten}</button>
          </form>`
        : ''
    }
    <form method="post" action="/connections/standing">
      ${hidden}
      <button class="end">${t.sure.standing(row.agent, '').button}</button>
    </form>
  </section>`
}
