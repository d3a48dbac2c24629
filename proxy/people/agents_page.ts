// The HTML of what people see of agents: who they are, what they may do, and for whom. Its words
// are in `languages/`.
import { html } from 'hono/html'
import type { AgentAbout } from '../config/agents.ts'
import type { Logo } from '../config/logo.ts'
import type { AgentOff, Connection, HeldConnection, Person } from '../model.ts'
import type { Texts } from './languages/en.ts'
import { LOCAL_TIMES } from './local_times.ts'
import { scopeList, sheet, when, type Html, type Page } from './markup.ts'

/** An agent as one person is shown it. */
export type AgentView = {
  readonly id: string
  readonly name: string
  /** An image of ours, written into the page: nobody learns from an address which agents there are. */
  readonly mark: string | null
  /** null: nobody, or somebody of another tenant. */
  readonly owner: string | null
  readonly contact: string | null
  readonly workload: string | null
  /** false: `agents` has no row for it; null: it has none at all. */
  readonly known: boolean | null
}
export type KnownAgents = {
  readonly about: ReadonlyMap<string, AgentAbout>
  readonly marks: ReadonlyMap<string, Logo>
}

/** Marks that would turn the reading of a line, as what they are. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu
const seen = (text: string): string =>
  text.replaceAll(UNSEEN, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`)

export const agentView = (
  { about, marks }: KnownAgents,
  id: string,
  reader: Pick<Person, 'tenant'>,
): AgentView => {
  const row = about.get(id)
  const mark = marks.get(id)
  return {
    id,
    name: row?.name ?? seen(id),
    mark:
      mark === undefined
        ? null
        : `data:${mark.type};base64,${Buffer.from(mark.bytes).toString('base64')}`,
    owner: row?.owner?.tenant === reader.tenant ? row.owner.id : null,
    contact: row?.contact ?? null,
    workload: row?.workload ?? null,
    known: row !== undefined ? true : about.size === 0 ? null : false,
  }
}

export const agentPath = (id: string): string => `/agents/${encodeURIComponent(id)}`

const row = (label: string, value: Html | string): Html =>
  html`<div>
    <dt>${label}</dt>
    <dd>${value}</dd>
  </div>`

/** Who it is, in the rows of a list: on the consent page as on its own. */
export const agentRows = (
  t: Texts,
  { id, name, mark, owner, contact, workload }: AgentView,
): Html =>
  html`${row(t.label.agent, html`${mark === null ? '' : html`<img class="mark" src="${mark}" alt="" /> `}${name}`)}
  ${name === seen(id) ? '' : row(t.agent.id, html`<code>${seen(id)}</code>`)}
  ${owner === null ? '' : row(t.agent.owner, owner)}
  ${
    contact === null
      ? ''
      : row(t.agent.contact, html`<a href="${contact}">${contact.replace(/^mailto:/, '')}</a>`)
  }
  ${workload === null ? '' : row(t.agent.workload, workload)}`

export const unknownAgent = (t: Texts, { known }: AgentView): Html | '' =>
  known === false ? html`<p class="warn">${t.agent.unknown}</p>` : ''

const offNote = (t: Texts, off: AgentOff | null): Html | '' =>
  off === null ? '' : html`<p class="warn">${t.agent.offSince(off.by)} ${when(off.at)}</p>`

/** What became of a form. */
export type Switched = {
  readonly what: 'stopped' | 'off' | 'on' | 'unchanged'
  readonly name: string
}
const told = (t: Texts, said: Switched | null): Html | '' =>
  said === null
    ? ''
    : html`<div class="told" role="status"><p>${t.agent.told[said.what](said.name)}</p></div>`

type AgentsView = {
  readonly mine: readonly AgentView[]
  readonly owned: readonly AgentView[]
  readonly told: Switched | null
}
const list = (agents: readonly AgentView[]): Html =>
  html`<ul>
    ${agents.map(({ id, name }) => html`<li><a href="${agentPath(id)}">${name}</a></li>`)}
  </ul>`

export const agentsPage =
  (view: AgentsView): Page =>
  (t) =>
    sheet(
      t.agent.title,
      html`${told(t, view.told)}
        <p>${view.mine.length === 0 ? t.agent.none : t.agent.intro}</p>
        ${list(view.mine)}
        ${
          view.owned.length === 0
            ? ''
            : html`<h2>${t.agent.owned}</h2>
                ${list(view.owned)}`
        }
        <p><a href="/connections">${t.seeConnections}</a></p>`,
    )

export type OwnedView = {
  /** Of the owner's tenant. */
  readonly people: number
  readonly connections: number
  /** The first of them, and what each lets it use. */
  readonly whom: readonly { readonly id: string; readonly connections: readonly string[] }[]
  /** May this owner switch it on? */
  readonly mayEnable: boolean
}
export type AgentPageView = {
  readonly agent: AgentView
  readonly off: AgentOff | null
  /** What this person lets it use. */
  readonly held: readonly HeldConnection[]
  readonly connections: ReadonlyMap<string, Connection>
  /** null: they do not own it. */
  readonly owned: OwnedView | null
  readonly csrf: string
}

const button = (view: AgentPageView, act: 'stop' | 'off' | 'on', text: string): Html =>
  html`<form method="post" action="${agentPath(view.agent.id)}">
    <input type="hidden" name="csrf" value="${view.csrf}" />
    <button class="${act === 'on' ? 'quiet' : 'end'}" name="act" value="${act}">${text}</button>
  </form>`

const heldItem = (t: Texts, view: AgentPageView, held: HeldConnection): Html => {
  const provider = view.connections.get(held.connection)?.provider
  const scopes = held.agents.find(({ agent }) => agent === view.agent.id)?.scopes ?? []
  return html`<li>
    <h3>${provider?.name ?? held.provider}</h3>
    <p>${held.account === '' ? '' : t.mine.connectedAs(held.account)}</p>
    ${
      provider === undefined
        ? html`<p>${scopes.map((scope) => html`<code>${scope}</code> `)}</p>`
        : scopeList(t, provider, scopes)
    }
  </li>`
}

const ownedPart = (t: Texts, view: AgentPageView, owned: OwnedView): Html => {
  const { people, connections, whom, mayEnable } = owned
  return html`<h2>${t.agent.everybody}</h2>
    <p>${t.agent.count(people, connections)}</p>
    <ul>
      ${whom.map((each) => html`<li>${seen(each.id)} <span class="soft">${each.connections.join(', ')}</span></li>`)}
    </ul>
    ${people > whom.length ? html`<p class="soft">${t.agent.more(people - whom.length)}</p>` : ''}
    ${
      view.off === null
        ? button(view, 'off', t.agent.sureOff(view.agent.name).button)
        : mayEnable
          ? button(view, 'on', t.agent.sureOn(view.agent.name).button)
          : html`<p class="soft">${t.agent.notYours}</p>`
    }`
}

export const agentPage =
  (view: AgentPageView): Page =>
  (t) => {
    const { agent, off, held, owned } = view
    return sheet(
      agent.name,
      html`${unknownAgent(t, agent)} ${offNote(t, off)}
        <dl>${agentRows(t, agent)}</dl>
        <h2>${t.agent.forYou}</h2>
        ${
          held.length === 0
            ? html`<p>${t.agent.nothing}</p>`
            : html`<ul class="agents">
                  ${held.map((each) => heldItem(t, view, each))}
                </ul>
                ${button(view, 'stop', t.agent.sureStop(agent.name).button)}`
        }
        ${owned === null ? '' : ownedPart(t, view, owned)}
        <p><a href="/agents">${t.agent.title}</a></p>
        ${LOCAL_TIMES}`,
    )
  }
