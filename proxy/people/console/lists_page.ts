// People and what they connected, agents and what they touch, runs, and what waits for somebody.
import { html } from 'hono/html'
import type { AgentAbout } from '../../config/agents.ts'
import { isTogether } from '../../consent/together.ts'
import type {
  AgentOff,
  AskRow,
  FlowRow,
  GrantRow,
  HeldConnection,
  Person,
  RunRow,
  StandingRow,
} from '../../model.ts'
import {
  MOST_COUNTED,
  type GrantKey,
  type Listed,
  type ListedPerson,
  type Reach,
} from '../../vault/lists.ts'
import { when, type Html, type Page } from '../markup.ts'
import { plain } from '../plain.ts'
import {
  actButton,
  consolePage,
  firstOf,
  HOME,
  link,
  onward,
  readOnly,
  seldom,
  table,
  type Viewer,
} from './shell.ts'

export const MOST_LISTED = 200
/** Of what no other list has more. */
const NEWEST = `These are the newest ${MOST_LISTED}.`

const personLink = ({ tenant, realm, id }: Person): Html =>
  html`<a href="${link('person', { tenant, realm, id })}">${plain(id)}</a>
    <span class="line soft"
      >${plain(realm)}${tenant === 'default' ? '' : html`, ${plain(tenant)}`}</span
    >`
const agentLink = (id: string): Html => html`<a href="${link('agent', { id })}">${plain(id)}</a>`
const lines = (all: readonly (Html | string)[]): Html =>
  html`${all.map((one) => html`<span class="line">${one}</span>`)}`
const ownerOf = (row: {
  readonly tenant: string
  readonly realm: string
  readonly user: string
}) => ({
  tenant: row.tenant,
  realm: row.realm,
  id: row.user,
})

type PeopleView = {
  /** What was looked for; '': all. */
  readonly wanted: string
  /** Is it not the first page? */
  readonly begun: boolean
} & Listed<ListedPerson, Person>
export const peoplePage = (viewer: Viewer, { wanted, rows, next, begun }: PeopleView): Page =>
  consolePage(
    viewer,
    { here: `${HOME}/people`, title: 'People and their connections' },
    html`<form class="search" method="get" action="${HOME}/people">
        <label for="user">Whose id has</label>
        <input id="user" name="user" value="${wanted}" maxlength="256" />
        <button class="quiet">Find</button>
      </form>
      ${table(
        {
          caption: 'People who connected an account',
          head: ['Person', 'Connections', 'Agents'],
          none: begun ? 'Nobody else.' : 'Nobody has connected an account.',
        },
        rows.map(({ person, connections, agents }) => [
          personLink(person),
          lines(
            connections.map(
              ({ connection, status }) =>
                html`${plain(connection)}${status === 'needs_reauth' ? html` <span class="effect consent_required">Withdrawn at the provider</span>` : ''}`,
            ),
          ),
          lines(agents.map(agentLink)),
        ]),
      )}
      ${onward('people', wanted === '' ? {} : { user: wanted }, {
        next: next === null ? null : JSON.stringify([next.tenant, next.realm, next.id, '']),
        begun,
      })}`,
  )

type PersonView = {
  readonly person: Person
  readonly held: readonly HeldConnection[]
  readonly runs: readonly RunRow[]
  readonly standings: readonly StandingRow[]
  /** ms since the epoch. */
  readonly now: number
}
const standingTable = (viewer: Viewer, rows: readonly StandingRow[]): Html =>
  table(
    {
      caption: 'What workloads may do while they are away',
      head: ['Workload', 'At', 'Until', ''],
      none: 'No workload acts while they are away.',
    },
    rows.map((row) => [
      html`${plain(row.workload)} <span class="line soft">${plain(row.agent)}</span>`,
      plain(row.connection),
      when(row.expiresAt),
      viewer.acts.revoke ? actButton(viewer, 'End it', { act: 'standing', id: row.id }) : '',
    ]),
  )
export const personPage = (viewer: Viewer, view: PersonView): Page => {
  const { person, held } = view
  const runs = firstOf(view.runs, MOST_LISTED)
  const { tenant, realm, id } = person
  return consolePage(
    viewer,
    { here: `${HOME}/people`, title: 'A person' },
    html`<dl>
        <div>
          <dt>Id</dt>
          <dd>${plain(id)}</dd>
        </div>
        <div>
          <dt>Realm</dt>
          <dd>${plain(realm)}</dd>
        </div>
        <div>
          <dt>Tenant</dt>
          <dd>${plain(tenant)}</dd>
        </div>
      </dl>
      ${readOnly(viewer)}
      ${viewer.acts.revoke ? actButton(viewer, 'Revoke everything', { act: 'person', tenant, realm, id }) : ''}
      ${table(
        {
          caption: 'Connections',
          head: ['Connection', 'Account', 'Agents', ''],
          none: 'No account is connected.',
        },
        held.map((one) => [
          html`${plain(one.connection)}${one.status === 'needs_reauth' ? html` <span class="effect consent_required">Withdrawn at the provider</span>` : ''}
            <span class="line soft">${plain(one.scopes.join(' '))}</span>`,
          plain(one.account),
          lines(
            one.agents.map(
              ({ agent, lastUsedAt }) =>
                html`${agentLink(agent)} <span class="soft">last used ${seldom(lastUsedAt)}</span>`,
            ),
          ),
          viewer.acts.revoke
            ? actButton(viewer, 'Revoke', { act: 'connection', id: one.credential })
            : '',
        ]),
      )}
      ${runTable(viewer, runs.shown, view.now)} ${runs.more}
      ${standingTable(viewer, view.standings)}`,
  )
}

const runState = (run: RunRow, now: number): string =>
  run.revokedAt !== null ? 'Revoked' : run.expiresAt <= now ? 'Over' : 'Runs'
const runTable = (viewer: Viewer, runs: readonly RunRow[], now: number): Html =>
  table(
    {
      caption: 'Runs',
      head: ['Run', 'For', 'Agent', 'Until', ''],
      none: 'There are no runs.',
    },
    runs.map((run) => [
      html`<strong>${runState(run, now)}</strong> <code class="line">${plain(run.id)}</code>
        <span class="line soft">begun by ${plain(run.createdBy)}</span>`,
      personLink(ownerOf(run)),
      html`${agentLink(run.agent)}
        <span class="line soft">${plain(run.connections.join(', '))}</span>`,
      when(run.expiresAt),
      viewer.acts.runs && runState(run, now) === 'Runs'
        ? actButton(viewer, 'Revoke', { act: 'run', id: run.id })
        : '',
    ]),
  )
export const runsPage = (viewer: Viewer, runs: readonly RunRow[], now: number): Page => {
  const { shown, more } = firstOf(runs, MOST_LISTED)
  return consolePage(
    viewer,
    { here: `${HOME}/runs`, title: 'Runs' },
    html`<p class="soft">Jobs that act for a person while nobody is there.</p>
      ${readOnly(viewer)} ${runTable(viewer, shown, now)} ${more}`,
  )
}

const peopleText = (people: number): string =>
  people > MOST_COUNTED ? `more than ${MOST_COUNTED.toLocaleString('en')}` : String(people)

export type AgentRow = {
  readonly id: string
  readonly about: AgentAbout | null
  /** Where it is switched off, as far as this operator sees. */
  readonly off: readonly AgentOff[]
} & Reach
const offText = (off: readonly AgentOff[]): Html | string =>
  off.length === 0
    ? 'On'
    : lines(
        off.map(
          ({ tenant, by, at }) =>
            html`<span class="effect deny">Off</span>
              ${tenant === null ? 'for everybody' : html`for ${plain(tenant)}`}, by its
              ${by === 'owner' ? 'owner' : 'operators'} since ${when(at)}`,
        ),
      )
const agentName = ({ id, about }: AgentRow): Html =>
  html`${agentLink(id)}
  ${about === null ? html`<span class="line soft">not in the list of agents</span>` : about.name === id ? '' : html`<span class="line soft">${plain(about.name)}</span>`}`
export const agentsPage = (
  viewer: Viewer,
  list: Listed<AgentRow, string> & { readonly begun: boolean },
): Page =>
  consolePage(
    viewer,
    { here: `${HOME}/agents`, title: 'Agents and what they touch' },
    html`${table(
      {
        caption: 'Agents that are known, that somebody allowed something, or that are switched off',
        head: ['Agent', 'State', 'People', 'Connections'],
        none: list.begun ? 'No other agent.' : 'No agent is known.',
      },
      list.rows.map((agent) => [
        agentName(agent),
        offText(agent.off),
        peopleText(agent.people),
        plain(agent.connections.join(', ')),
      ]),
    )}
    ${onward('agents', {}, list)}`,
  )

export type AgentView = AgentRow & {
  readonly grants: Listed<GrantRow, GrantKey>
  /** Is it not the first page of them? */
  readonly begun: boolean
  /** Is it on at one of the places that this operator switches? */
  readonly mayDisable: boolean
  readonly mayEnable: boolean
}
export const agentPage = (viewer: Viewer, view: AgentView): Page => {
  const { about, id, begun } = view
  const { rows, next } = view.grants
  const where = viewer.operator.tenants === undefined ? 'everybody' : 'your tenants'
  return consolePage(
    viewer,
    { here: `${HOME}/agents`, title: 'An agent' },
    html`<dl>
        <div>
          <dt>Id</dt>
          <dd>${plain(id)}</dd>
        </div>
        ${
          about === null
            ? ''
            : html`<div>
                  <dt>Name</dt>
                  <dd>${plain(about.name)}</dd>
                </div>
                ${
                  about.owner === null
                    ? ''
                    : html`<div>
                        <dt>Owner</dt>
                        <dd>${plain(about.owner.id)}</dd>
                      </div>`
                }`
        }
        <div>
          <dt>State</dt>
          <dd>${offText(view.off)}</dd>
        </div>
      </dl>
      ${readOnly(viewer)}
      ${viewer.acts.revoke && view.mayDisable ? actButton(viewer, `Switch off for ${where}`, { act: 'agent-off', id }) : ''}
      ${viewer.acts.revoke && view.mayEnable ? actButton(viewer, `Switch on for ${where}`, { act: 'agent-on', id }, true) : ''}
      ${table(
        {
          caption: 'What people allowed it',
          head: ['Person', 'Connection', 'Last used'],
          none: begun ? 'Nobody else.' : 'Nobody allows it anything.',
        },
        rows.map((one) => [
          personLink(ownerOf(one)),
          html`${plain(one.connection)}
            <span class="line soft">${plain(one.scopes.join(' '))}</span>`,
          seldom(one.lastUsedAt ?? null),
        ]),
      )}
      ${onward(
        'agent',
        { id },
        {
          next:
            next === null
              ? null
              : JSON.stringify([next.tenant, next.realm, next.user, next.connection]),
          begun,
        },
      )}`,
  )
}

type WaitingView = {
  readonly flows: readonly FlowRow[]
  /** `id`: its authorization's. */
  readonly asks: readonly { readonly row: AskRow; readonly id: string }[]
}
export const waitingPage = (viewer: Viewer, view: WaitingView): Page => {
  const asks = firstOf(view.asks, MOST_LISTED)
  // One link for several consents is no consent: each of these has its row.
  const single = view.flows.filter((flow) => !isTogether(flow))
  const flows = firstOf(single, MOST_LISTED, NEWEST)
  return consolePage(
    viewer,
    { here: `${HOME}/waiting`, title: 'What waits for a person' },
    html`${readOnly(viewer)}
    ${table(
      {
        caption: 'Approvals and stronger sign-ins',
        head: ['What', 'For', 'Agent', 'Until', ''],
        none: 'No call waits for an approval.',
      },
      asks.shown.map(({ row, id }) => [
        html`${row.kind === 'approval' ? 'Approval' : 'Stronger sign-in'}${row.status === 'given' ? ', given and not used yet' : ''}
          <span class="line soft"
            >${plain(row.operations.join(', '))} at ${plain(row.connection)}</span
          >`,
        personLink(ownerOf(row)),
        agentLink(row.agent),
        when(row.expiresAt),
        viewer.acts.revoke ? actButton(viewer, 'End the waiting', { act: 'ask', id }) : '',
      ]),
    )}
    ${asks.more}
    ${table(
      {
        caption: 'Consents',
        head: ['Connection', 'From', 'Agent', 'Since', 'Until'],
        none: 'No consent is under way.',
      },
      flows.shown.map((flow) => [
        html`${plain(flow.connection)}
          <span class="line soft">${plain(flow.scopes.join(' '))}</span>`,
        personLink(ownerOf(flow)),
        agentLink(flow.agent),
        when(flow.createdAt),
        when(flow.expiresAt),
      ]),
    )}
    ${flows.more}`,
  )
}
