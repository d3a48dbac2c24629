// What a person sees of their own connections: HTML only, no effects, no script.
import { html } from 'hono/html'
import type { Connection, HeldConnection, Person } from '../model.ts'
import type { Revocation } from '../oauth/revoke.ts'
import { page, scopeList, when, who, type Html, type Page } from './markup.ts'

/** How a disconnection went. `agent`: one agent's permission, the account stays; `gone`: it had ended before. */
export type Ending = Revocation['result'] | 'agent' | 'gone'

export type Disconnected = {
  readonly ending: Ending
  /** Its name; null: not known any more. */
  readonly provider: string | null
  readonly account: string | null
  readonly agent: string | null
}

/** What is certain, and what is left to do: nothing is called withdrawn that nobody confirmed. */
const sentences = (told: Disconnected): readonly string[] => {
  const provider = told.provider ?? 'The provider'
  const account = told.account ? `${provider} (${told.account})` : provider
  const forgotten = `deputy has deleted its access to ${account}, and no agent can use it any more.`
  const byHand = `To be sure, remove the application in your account settings at ${provider}.`
  switch (told.ending) {
    case 'revoked':
      return [`${account} is disconnected. ${provider} has confirmed that the access is withdrawn.`]
    case 'access_outlives':
      return [
        `${account} is disconnected. ${provider} has confirmed that the access is not renewed; what was given out before ends by itself.`,
      ]
    case 'already_dead':
      return [`${account} is disconnected. ${provider} had ended the access before.`]
    case 'not_supported':
      return [forgotten, `${provider} offers no way to withdraw the access from here. ${byHand}`]
    case 'failed':
      return [forgotten, `${provider} has not confirmed that the access is withdrawn. ${byHand}`]
    case 'agent':
      return [
        `${told.agent ?? 'The agent'} may no longer use ${account}. What it was doing there was stopped.`,
      ]
    case 'gone':
      return ['That had been disconnected before. Nothing was changed.']
    default:
      return told.ending satisfies never
  }
}

/** What is certain looks certain, and what is left to do does not. */
const LOOK = {
  revoked: '',
  access_outlives: '',
  already_dead: '',
  agent: '',
  gone: '',
  not_supported: 'part',
  failed: 'bad',
} as const satisfies Record<Ending, string>

const agentItem = (
  view: ConnectionsView,
  held: HeldConnection,
  connection: Connection | undefined,
  { agent, scopes, at, lastUsedAt }: HeldConnection['agents'][number],
): Html =>
  html`<li>
    <h3>${agent}</h3>
    <dl>
      <div>
        <dt>Allowed</dt>
        <dd>${when(at)}</dd>
      </div>
      <div>
        <dt>Last used</dt>
        <dd>${lastUsedAt === null ? 'Not yet' : when(lastUsedAt)}</dd>
      </div>
    </dl>
    <details>
      <summary>What ${agent} may do</summary>
      ${
        connection === undefined
          ? html`<p>${scopes.map((scope) => html`<code>${scope}</code> `)}</p>`
          : scopeList(connection.provider, scopes)
      }
    </details>
    ${
      held.agents.length > 1
        ? html`<form method="post" action="/connections">
            <input type="hidden" name="csrf" value="${view.csrf}" />
            <input type="hidden" name="credential" value="${held.credential}" />
            <input type="hidden" name="agent" value="${agent}" />
            <button class="end">Stop ${agent}</button>
          </form>`
        : ''
    }
  </li>`

const connectionItem = (view: ConnectionsView, held: HeldConnection): Html => {
  const connection = view.connections.get(held.connection)
  const name = connection?.provider.name ?? held.provider
  return html`<section>
    <h2>${name}</h2>
    <p>
      ${held.account === '' ? '' : html`Connected as <strong>${held.account}</strong>. `}
      ${held.connection === held.provider ? '' : html`<span class="soft">Connection ${held.connection}</span>`}
    </p>
    ${held.status === 'needs_reauth' ? html`<p class="warn">${name} has withdrawn this permission. An agent that needs it will give you a link to connect again.</p>` : ''}
    ${held.agents.length === 0 ? html`<p>No agent may use it.</p>` : ''}
    <ul class="agents">
      ${held.agents.map((agent) => agentItem(view, held, connection, agent))}
    </ul>
    <form method="post" action="/connections">
      <input type="hidden" name="csrf" value="${view.csrf}" />
      <input type="hidden" name="credential" value="${held.credential}" />
      <button class="end">Disconnect ${name}</button>
    </form>
  </section>`
}

export type ConnectionsView = {
  readonly person: Person
  readonly verified: boolean
  readonly held: readonly HeldConnection[]
  readonly connections: ReadonlyMap<string, Connection>
  /** What was just disconnected. */
  readonly told: Disconnected | null
  readonly csrf: string
  readonly signOut: string
}

export const connectionsPage = (view: ConnectionsView): Page =>
  page(
    'My connections',
    html`${
        view.told === null
          ? ''
          : html`<div class="told ${LOOK[view.told.ending]}" role="status">
              ${sentences(view.told).map((line) => html`<p>${line}</p>`)}
            </div>`
      }
      ${
        view.held.length === 0
          ? html`<p>No account is connected.</p>`
          : html`<p>
              These accounts of yours may be used by the agents below. Disconnecting works at once,
              also for what an agent is doing right now.
            </p>`
      }
      ${view.held.map((held) => connectionItem(view, held))}
      <form class="foot" method="post" action="/sign-out">
        <input type="hidden" name="csrf" value="${view.signOut}" />
        <p class="soft">
          Signed in as
          <strong>${who(view.person)}</strong>${view.verified ? '' : ' (not verified)'}.
        </p>
        <button class="quiet">Sign out</button>
      </form>`,
  )

/** Asked before anything ends; what is sent is the form that asked, and `sure`. */
export const surePage = (view: {
  readonly action: string
  readonly title: string
  readonly told: string
  readonly button: string
  readonly fields: Readonly<Record<string, string>>
}): Page =>
  page(
    view.title,
    html`<p>${view.told}</p>
      <form method="post" action="${view.action}">
        ${Object.entries(view.fields).map(
          ([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`,
        )}
        <input type="hidden" name="sure" value="yes" />
        <button class="end">${view.button}</button>
        <a class="button" href="/connections">Cancel</a>
      </form>`,
    { tone: 'alert' },
  )
