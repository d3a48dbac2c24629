// The HTML of what a person sees of their own connections, without effects. Its words are in
// `languages/`.
import { html } from 'hono/html'
import type { Connection, HeldConnection, Person, StandingRow } from '../model.ts'
import type { Revocation } from '../tokens/revoke.ts'
import type { Texts } from './languages/en.ts'
import { agentPath } from './agents_page.ts'
import { LOCAL_TIMES } from './local_times.ts'
import { standingItem } from './standing_page.ts'
import { scopeList, sheet, when, who, type Html, type Page } from './markup.ts'

/**
 * How a disconnection went. `agent`: one agent's permission, the account stays; `gone`: it had
 * ended before; `standing`, `shorter`: what a workload may do while one is away.
 */
export type Ending = Revocation['result'] | 'agent' | 'gone' | 'standing' | 'shorter'

export type Disconnected = {
  readonly ending: Ending
  /** Its name; null: not known any more. */
  readonly provider: string | null
  readonly account: string | null
  readonly agent: string | null
}

/** What is certain looks certain, and what is left to do does not. */
const LOOK = {
  revoked: '',
  access_outlives: '',
  already_dead: '',
  agent: '',
  standing: '',
  shorter: '',
  gone: '',
  not_supported: 'part',
  failed: 'bad',
} as const satisfies Record<Ending, string>

type Agent = HeldConnection['agents'][number]
const agentItem = (
  t: Texts,
  view: ConnectionsView,
  held: HeldConnection,
  { agent, scopes, at, lastUsedAt }: Agent,
): Html => {
  const connection = view.connections.get(held.connection)
  return html`<li>
    <h3><a href="${agentPath(agent)}">${view.agentName(agent)}</a></h3>
    <dl>
      <div>
        <dt>${t.label.allowed}</dt>
        <dd>${when(at)}</dd>
      </div>
      <div>
        <dt>${t.label.lastUsed}</dt>
        <dd>${lastUsedAt === null ? t.mine.never : when(lastUsedAt)}</dd>
      </div>
    </dl>
    <details>
      <summary>${t.mine.may(agent)}</summary>
      ${
        connection === undefined
          ? html`<p>${scopes.map((scope) => html`<code>${scope}</code> `)}</p>`
          : scopeList(t, connection.provider, scopes)
      }
    </details>
    ${
      held.agents.length > 1
        ? html`<form method="post" action="/connections">
            <input type="hidden" name="csrf" value="${view.csrf}" />
            <input type="hidden" name="credential" value="${held.credential}" />
            <input type="hidden" name="agent" value="${agent}" />
            <button class="end">${t.sure.stop(agent, '').button}</button>
          </form>`
        : ''
    }
  </li>`
}

const connectionItem = (t: Texts, view: ConnectionsView, held: HeldConnection): Html => {
  const name = view.connections.get(held.connection)?.provider.name ?? held.provider
  return html`<section>
    <h2>${name}</h2>
    <p>
      ${held.account === '' ? '' : t.mine.connectedAs(held.account)}
      ${held.connection === held.provider ? '' : html`<span class="soft">${t.mine.connection(held.connection)}</span>`}
    </p>
    ${held.status === 'needs_reauth' ? html`<p class="warn">${t.mine.withdrawn(name)}</p>` : ''}
    ${held.agents.length === 0 ? html`<p>${t.mine.noAgent}</p>` : ''}
    <ul class="agents">
      ${held.agents.map((agent) => agentItem(t, view, held, agent))}
    </ul>
    <form method="post" action="/connections">
      <input type="hidden" name="csrf" value="${view.csrf}" />
      <input type="hidden" name="credential" value="${held.credential}" />
      <button class="end">${t.sure.disconnect(name, '').button}</button>
    </form>
  </section>`
}

export type ConnectionsView = {
  readonly person: Person
  readonly verified: boolean
  readonly held: readonly HeldConnection[]
  /** What workloads may do while this person is away. */
  readonly standings?: readonly StandingRow[]
  readonly connections: ReadonlyMap<string, Connection>
  /** As the organisation calls it, or its id. */
  readonly agentName: (agent: string) => string
  /** What was just disconnected. */
  readonly told: Disconnected | null
  readonly csrf: string
  readonly signOut: string
}

const standingList = (
  t: Texts,
  { standings = [], connections, csrf }: ConnectionsView,
): Html | '' =>
  standings.length === 0
    ? ''
    : html`<h2>${t.standing.title}</h2>
        <p>${t.standing.intro}</p>
        ${standings.map((row) => standingItem(t, connections.get(row.connection) ?? null, row, csrf))}`

export const connectionsPage =
  (view: ConnectionsView): Page =>
  (t) =>
    sheet(
      t.mine.title,
      html`${
          view.told === null
            ? ''
            : html`<div class="told ${LOOK[view.told.ending]}" role="status">
                ${t.ending[view.told.ending](view.told).map((line) => html`<p>${line}</p>`)}
              </div>`
        }
        <p>${view.held.length === 0 ? t.mine.none : t.mine.intro}</p>
        ${view.held.map((held) => connectionItem(t, view, held))} ${standingList(t, view)}
        <p><a href="/agents">${t.agent.title}</a></p>
        <form class="foot" method="post" action="/sign-out">
          <input type="hidden" name="csrf" value="${view.signOut}" />
          <p class="soft">
            ${t.mine.signedInAs(who(view.person), view.verified ? '' : ` ${t.unverified}`)}
          </p>
          <button class="quiet">${t.sure.signOut.button}</button>
        </form>
        ${LOCAL_TIMES}`,
    )

/** Asked before anything ends; what is sent is the form that asked, and `sure`. */
export const surePage =
  (view: {
    readonly action: string
    /** Where whoever is not sure goes; absent: their connections. */
    readonly back?: string
    readonly ask: (sure: Texts['sure'], texts: Texts) => Texts['sure']['signOut']
    readonly fields: Readonly<Record<string, string>>
  }): Page =>
  (t) => {
    const { sure } = t
    const { title, told, button } = view.ask(sure, t)
    return sheet(
      title,
      html`<p>${told}</p>
        <form method="post" action="${view.action}">
          ${Object.entries(view.fields).map(
            ([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`,
          )}
          <input type="hidden" name="sure" value="yes" />
          <button class="end">${button}</button>
          <a class="button" href="${view.back ?? '/connections'}">${sure.cancel}</a>
        </form>`,
      { tone: 'alert' },
    )
  }
