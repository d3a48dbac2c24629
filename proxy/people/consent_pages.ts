// The HTML of what a person sees during a consent, without effects or script. Its words are in
// `languages/`.
import { html } from 'hono/html'
import type { Connection, Person, StandingAsk } from '../model.ts'
import type { KeyProblem } from '../consent/pasted.ts'
import { CATALOGUE, type ProblemCode } from '../problem.ts'
import type { Texts } from './languages/en.ts'
import { agentRows, unknownAgent, type AgentView } from './agents_page.ts'
import { standingAsked } from './standing_page.ts'
import {
  deed,
  english,
  note,
  scopeList,
  sheet,
  who,
  type Allowed,
  type Html,
  type Page,
} from './markup.ts'

export type ConnectView = {
  readonly connection: Connection
  readonly agent: AgentView
  readonly person: Person
  readonly verified: boolean
  readonly scopes: readonly string[]
  /** Of what the scopes open, only this is told. */
  readonly allowed?: Allowed
  /** Id of what the agent wanted to do; null: it named nothing. */
  readonly operation?: string | null
  /** The same as its vendor says it, in a line; '' or absent: nobody wrote one. */
  readonly summary?: string
  /** What a workload wants to do while the person is away; null or absent: nothing. */
  readonly standing?: StandingAsk | null
  /** Scopes that the person gave before and that are asked for again, so that nothing is lost. */
  readonly again: readonly string[]
  /**
   * `grant`: the account is connected already, only this agent's permission is missing. `key`: the person pastes a key
   * of their own.
   */
  readonly step: 'provider' | 'grant' | 'key'
  /** Why the key that was pasted is not stored; null or absent: none was. */
  readonly problem?: KeyProblem | null
  readonly reauthorization: boolean
  /** The provider demands a stronger or fresher sign-in. */
  readonly stronger?: boolean
  readonly csrf: string
  /** Where the form goes: the page's own path. */
  readonly action: string
}

/** The form's field: never filled in again, and nothing that a browser should remember. */
const keyField = (t: Texts, provider: string, problem: KeyProblem | null): Html => html`
  ${problem === null ? '' : html`<p class="warn" role="alert">${t.key[problem](provider)}</p>`}
  <label for="key">${t.key.label(provider)}</label>
  <input
    id="key"
    name="key"
    type="password"
    autocomplete="off"
    autocapitalize="none"
    spellcheck="false"
    maxlength="4096"
    aria-describedby="hint"
    required
  />
  <p class="soft" id="hint">${t.key.hint}</p>
`

const nextStep = (t: Texts, step: ConnectView['step'], provider: string): string =>
  step === 'grant'
    ? t.consent.nextGrant(provider)
    : step === 'key'
      ? t.key.next(provider)
      : t.consent.nextProvider(provider)
const yesTo = (t: Texts, step: ConnectView['step'], agent: string, provider: string): string =>
  step === 'grant'
    ? t.consent.yesGrant(agent)
    : step === 'key'
      ? t.key.yes
      : t.consent.yes(provider)

const row = (label: string, value: string | number): Html =>
  html`<div>
    <dt>${label}</dt>
    <dd>${value}</dd>
  </div>`
const toConnections = (t: Texts): Html =>
  html`<p><a href="/connections">${t.seeConnections}</a></p>`

const toRest = (t: Texts, path: string | null): Html | '' =>
  path === null ? '' : html`<p><a class="button" href="${path}">${t.plan.back}</a></p>`

const occasion = (
  t: Texts,
  { agent: { name: agent }, operation, summary = '', connection }: ConnectView,
): Html | '' => {
  if (operation == null) return ''
  const words = deed(t, connection.provider, operation)
  return html`<p>
    ${t.consent.occasion(agent)} ${words === '' ? '' : html`<strong>${words}</strong>`}
    ${summary === '' ? '' : english(t, summary)} <code>${operation}</code>
  </p>`
}

export const connectPage =
  (view: ConnectView): Page =>
  (t) => {
    const { connection, person } = view
    const { name: agent } = view.agent
    const { provider } = connection
    const words = t.consent
    const grant = view.step === 'grant'
    return sheet(
      grant ? words.titleGrant(agent, provider.name) : words.title(agent, provider.name),
      html`<p>${words.intro(agent, provider.name)}</p>
        ${occasion(t, view)}
        ${
          view.stronger === true
            ? html`<p>${words.stronger(provider.name)}</p>`
            : view.reauthorization
              ? html`<p>${words.withdrawn(provider.name)}</p>`
              : ''
        }
        ${unknownAgent(t, view.agent)}
        <dl>
          ${agentRows(t, view.agent)} ${row(t.label.provider, provider.name)}
          ${connection.name === provider.id ? '' : row(t.label.connection, connection.name)}
          ${row(t.label.storedFor, `${who(person)}${view.verified ? '' : ` ${t.unverified}`}`)}
        </dl>
        <h2>${words.may}</h2>
        ${
          provider.credential === 'api_key'
            ? html`<p>${t.key.opens(provider.name)}</p>`
            : scopeList(t, provider, view.scopes, view.allowed)
        }
        ${
          view.again.length > 0
            ? html`<p class="soft">
                ${words.again} ${view.again.map((scope) => html`<code>${scope}</code> `)}
              </p>`
            : ''
        }
        <p class="warn">${words.warning(agent)}</p>
        <h2>${words.next}</h2>
        <p>${nextStep(t, view.step, provider.name)}</p>
        <form method="post" action="${view.action}">
          <input type="hidden" name="csrf" value="${view.csrf}" />
          ${view.standing == null ? '' : standingAsked(t, connection, agent, view.standing)}
          ${view.step === 'key' ? keyField(t, provider.name, view.problem ?? null) : ''}
          <button name="answer" value="yes">${yesTo(t, view.step, agent, provider.name)}</button>
          <button class="quiet" name="answer" value="no" formnovalidate>${words.no}</button>
        </form>`,
    )
  }

/** @param view.missing scopes that were asked for and not granted */
export const donePage =
  (view: {
    readonly connection: Connection
    readonly agent: AgentView
    readonly person: Person
    readonly account: string | null
    readonly missing: readonly string[]
    /** The same answer came before. */
    readonly already?: boolean
    /** Path of the page with further consents; null or absent: there are none. */
    readonly rest?: string | null
  }): Page =>
  (t) => {
    const { provider } = view.connection
    return sheet(
      view.already === true ? t.done.already(provider.name) : t.done.title(provider.name),
      html`<dl>
          ${view.account === null ? '' : row(t.label.connectedAs, view.account)}
          ${row(t.label.storedFor, who(view.person))} ${row(t.label.agent, view.agent.name)}
        </dl>
        ${
          view.missing.length > 0
            ? html`<div class="warn">
                <p>${t.done.missing(provider.name)}</p>
                ${scopeList(t, provider, view.missing)}
              </div>`
            : ''
        }
        ${toRest(t, view.rest ?? null)} ${view.rest == null ? html`<p>${t.done.back}</p>` : ''}
        ${toConnections(t)}`,
      { tone: view.missing.length > 0 ? 'alert' : 'good' },
    )
  }

/** Goes on by itself, without a script; whoever has that switched off has the link. */
export const goOnPage =
  (name: string, location: string): Page =>
  (t) =>
    sheet(t.goOn.title(name), html`<p>${t.goOn.body(name, location)}</p>`, {
      head: html`<meta http-equiv="refresh" content="0;url=${location}" />`,
    })

/** Says nothing about the flow: whoever sees this is not the person it is for. */
export const wrongPersonPage = (): Page => (t) => note('bad', t.wrongPerson)

export const expiredPage = (): Page => (t) => note('alert', t.expired)

export const inactivePage = (): Page => (t) => note('bad', t.inactive)

export const agentOffPage = (): Page => (t) => note('bad', t.agentOff)
export const tenantFullPage = (): Page => (t) => note('bad', t.tenantFull)

/** Says nothing of the flow: without a sign-in nobody knows who looks. */
export const awaitingPage = (): Page => (t) => note('plain', t.awaiting)

/** @param rest path of the page with further consents; null: there are none */
export const deniedPage =
  (rest: string | null = null): Page =>
  (t) =>
    note('plain', t.denied, toRest(t, rest))

export const mismatchPage =
  (provider: string): Page =>
  (t) =>
    note('bad', t.mismatch(provider), toConnections(t))

/** @param provider null: nobody knows any more which */
export const providerErrorPage =
  (provider: string | null): Page =>
  (t) =>
    note('bad', t.providerError(provider))

/** Nothing that the person can do themself. */
export const adminPage =
  (provider: string): Page =>
  (t) =>
    note('alert', t.admin(provider))

export const strongerPage =
  (provider: string): Page =>
  (t) =>
    note('alert', t.stronger(provider))

export const clientRefusedPage =
  (provider: string): Page =>
  (t) =>
    note('bad', t.clientRefused(provider))

/** The callback did not come from the browser, provider or moment that it should. */
export const brokenCallbackPage = (): Page => (t) => note('bad', t.brokenCallback)

export const signInFailedPage = (): Page => (t) => note('bad', t.signInFailed)

/** @param again path of ours on which the form can be had anew; null: the link of the agent */
export const refusedFormPage =
  (again: string | null): Page =>
  ({ refusedForm: { title, why, link, again: anew } }) =>
    again === null
      ? note('alert', { title, lines: [why, link] })
      : note('alert', { title, lines: [why] }, html`<p><a href="${again}">${anew}</a></p>`)

/** The application named somebody to a browser that had not asked: said, and nothing is shown. */
export const strayPage = (): Page => (t) =>
  note('bad', t.stray, html`<p><a href="/connections">${t.stray.own}</a></p>`)

export const signedOutPage = (): Page => (t) => note('good', t.signedOut)

/** @param view.own the person names themself: no link does */
export const codePage =
  (view: {
    readonly back: string
    readonly own: boolean
    readonly problem: 'wrong' | 'wait' | 'name' | null
  }): Page =>
  ({ code: words }) =>
    sheet(
      words.title,
      html`<p>${words.intro('deputy connect code')}</p>
        ${view.problem === null ? '' : html`<p class="warn" role="alert">${words[view.problem]}</p>`}
        <form method="post" action="/sign-in/local">
          <input type="hidden" name="back" value="${view.back}" />
          ${
            view.own
              ? html`<label for="user">${words.user}</label>
                  <input
                    id="user"
                    name="user"
                    autocomplete="username"
                    autocapitalize="none"
                    spellcheck="false"
                    maxlength="256"
                    autofocus
                    required
                  />`
              : ''
          }
          <label for="code">${words.label}</label>
          <input
            id="code"
            name="code"
            autocomplete="one-time-code"
            autocapitalize="characters"
            spellcheck="false"
            maxlength="32"
            inputmode="text"
            pattern="[A-Za-z0-9\\s\\-]{8,32}"
            title="${words.hint}"
            aria-describedby="hint"
            ${view.own ? '' : 'autofocus'}
            required
          />
          <p class="soft" id="hint">${words.hint}</p>
          <button>${words.submit}</button>
        </form>`,
    )

export const problemPage =
  (code: ProblemCode): Page =>
  (t) =>
    sheet(
      t.problems[code].title,
      html`<dl>${row(t.label.code, code)} ${row(t.label.status, CATALOGUE[code].status)}</dl>
        <h2>${t.problem.todo}</h2>
        <p>${t.problems[code].todo}</p>
        <p class="soft">${t.problem.detail('detail')}</p>`,
    )

export const indexPage = (): Page => (t) =>
  note('plain', { title: 'deputy', lines: [t.index.what, t.index.how] }, toConnections(t))

export const notFoundPage = (): Page => (t) => note('plain', t.notFound)

export const failurePage = (): Page => (t) => note('bad', t.failure)
