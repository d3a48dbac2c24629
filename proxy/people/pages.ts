// What a person sees on the way of a consent: HTML only, no effects, no script.
import { html } from 'hono/html'
import type { Connection, Person } from '../model.ts'
import { note, page, scopeList, who, type Page } from './markup.ts'

export type ConnectView = {
  readonly connection: Connection
  readonly agent: string
  readonly person: Person
  readonly verified: boolean
  readonly scopes: readonly string[]
  /** Scopes that the person gave before and that are asked for again, so that nothing is lost. */
  readonly again: readonly string[]
  /** `grant`: the account is connected already, only this agent's permission is missing. */
  readonly step: 'provider' | 'grant'
  readonly reauthorization: boolean
  /** The provider demands a stronger or fresher sign-in. */
  readonly stronger?: boolean
  readonly csrf: string
  /** Where the form goes: the page's own path. */
  readonly action: string
}

export const connectPage = (view: ConnectView): Page => {
  const { provider } = view.connection
  const title =
    view.step === 'grant'
      ? `Let ${view.agent} use your ${provider.name} account?`
      : `Connect ${provider.name} for ${view.agent}?`
  return page(
    title,
    html`<p>
        The agent <strong>${view.agent}</strong> wants to act for you at
        <strong>${provider.name}</strong>. It never sees your password or your access token, and
        your organisation's policy decides on every single call.
      </p>
      ${
        view.stronger === true
          ? html`<p>
              ${provider.name} asks you to sign in there again, more strongly or more recently than
              before, until it lets the agent go on.
            </p>`
          : view.reauthorization
            ? html`<p>
                You connected this account before, and ${provider.name} has withdrawn the permission
                since.
              </p>`
            : ''
      }
      <dl>
        <div>
          <dt>Agent</dt>
          <dd>${view.agent}</dd>
        </div>
        <div>
          <dt>Provider</dt>
          <dd>${provider.name}</dd>
        </div>
        ${
          view.connection.name === provider.id
            ? ''
            : html`<div>
                <dt>Connection</dt>
                <dd>${view.connection.name}</dd>
              </div>`
        }
        <div>
          <dt>Stored for</dt>
          <dd>${who(view.person)}${view.verified ? '' : ' (not verified)'}</dd>
        </div>
      </dl>
      <h2>What the agent may do</h2>
      ${scopeList(provider, view.scopes)}
      ${
        view.again.length > 0
          ? html`<p class="soft">
              What you allowed earlier is asked for again, so that it stays:
              ${view.again.map((scope) => html`<code>${scope}</code> `)}
            </p>`
          : ''
      }
      <p class="warn">
        Go on only if you are using ${view.agent} yourself and it has just given you this link. If
        somebody else sent it to you, choose “No, thanks” and tell your security team.
      </p>
      <h2>What happens next</h2>
      <p>
        ${
          view.step === 'grant'
            ? `You connected ${provider.name} before, so nothing is asked there. Only this agent's permission is stored.`
            : `You go to ${provider.name}, sign in with your own account and confirm there. Then you come back here.`
        }
      </p>
      <form method="post" action="${view.action}">
        <input type="hidden" name="csrf" value="${view.csrf}" />
        <button name="answer" value="yes">
          ${view.step === 'grant' ? `Allow ${view.agent}` : `Continue to ${provider.name}`}
        </button>
        <button class="quiet" name="answer" value="no">No, thanks</button>
      </form>`,
  )
}

/** @param missing scopes that were asked for and not granted */
export const donePage = (view: {
  readonly connection: Connection
  readonly agent: string
  readonly person: Person
  readonly account: string | null
  readonly missing: readonly string[]
  /** The same answer came before. */
  readonly already?: boolean
}): Page => {
  const { provider } = view.connection
  return page(
    `${provider.name} is ${view.already === true ? 'already ' : ''}connected`,
    html`<dl>
        ${
          view.account === null
            ? ''
            : html`<div>
                <dt>Connected as</dt>
                <dd>${view.account}</dd>
              </div>`
        }
        <div>
          <dt>Stored for</dt>
          <dd>${who(view.person)}</dd>
        </div>
        <div>
          <dt>Agent</dt>
          <dd>${view.agent}</dd>
        </div>
      </dl>
      ${
        view.missing.length > 0
          ? html`<div class="warn">
              <p>
                ${provider.name} did not grant everything. Calls that need these will ask you again:
              </p>
              ${scopeList(provider, view.missing)}
            </div>`
          : ''
      }
      <p>You can close this page and go back to the agent.</p>
      <p><a href="/connections">See what is connected, and disconnect</a></p>`,
    { tone: view.missing.length > 0 ? 'alert' : 'good' },
  )
}

/** Goes on by itself, without a script; whoever has that switched off has the link. */
export const goOnPage = (name: string, location: string): Page =>
  page(
    `On to ${name}`,
    html`<p>If nothing happens, <a href="${location}">go on to ${name}</a>.</p>`,
    { head: html`<meta http-equiv="refresh" content="0;url=${location}" />` },
  )

/** Says nothing about the flow: whoever sees this is not the person it is for. */
export const wrongPersonPage = (): Page =>
  note(
    'bad',
    'This link is not for you',
    'You are signed in as somebody else than the person this link was made for. Nothing was connected and nothing was changed.',
    'If somebody sent you this link, tell your security team: an account must only be connected by its owner.',
    'If it is your own link, sign out at your organisation, open the link again and sign in with the right account.',
  )

export const expiredPage = (): Page =>
  note(
    'alert',
    'This link is no longer valid',
    'It has ended, was used already or never existed. Nothing was changed.',
    'Go back to the agent and repeat what you asked for: it will give you a new link.',
  )

export const inactivePage = (): Page =>
  note(
    'bad',
    'Your account is suspended',
    'Your organisation does not list you as active, so nothing was connected.',
    'Ask your administrator, then repeat what you asked the agent for.',
  )

/** Says nothing of the flow: without a sign-in nobody knows who looks. */
export const awaitingPage = (): Page =>
  note(
    'plain',
    'Waiting for your application',
    'This step is done. The application that you use the agent in has to confirm that it was you.',
    'Go back to that application. Without its confirmation nothing is stored, and what was granted is given back.',
  )

export const deniedPage = (): Page =>
  note(
    'plain',
    'Nothing was connected',
    'You said no, and the agent has been told. You can close this page.',
    'If you change your mind, ask the agent again: it will give you a new link.',
  )

export const mismatchPage = (providerName: string): Page =>
  page(
    'That is another account',
    html`<p>
        You connected a different ${providerName} account before, so the new one was not stored.
      </p>
      <p>Ask the agent again and choose the same account, or disconnect the old one first.</p>
      <p><a href="/connections">See what is connected, and disconnect</a></p>`,
    { tone: 'bad' },
  )

export const providerErrorPage = (providerName: string): Page =>
  note(
    'bad',
    `${providerName} did not complete the connection`,
    'Nothing was stored. This is usually temporary.',
    'Go back to the agent and repeat what you asked for. If it happens again, tell your administrator.',
  )

/** Nothing that the person can do themself. */
export const adminPage = (providerName: string): Page =>
  note(
    'alert',
    'An administrator has to approve this first',
    `Your organisation at ${providerName} lets only approved applications in, and this one is not among them for you. Nothing was stored.`,
    `Ask an administrator of your organisation at ${providerName} to approve it, then go back to the agent and repeat what you asked for.`,
  )

export const strongerPage = (providerName: string): Page =>
  note(
    'alert',
    `${providerName} wants another sign-in`,
    `${providerName} did not accept the way you signed in: it may want a second factor, or a device that your organisation manages. Nothing was stored.`,
    'Open the link that the agent gives you again, and sign in the way it is asked for there.',
  )

export const clientRefusedPage = (providerName: string): Page =>
  note(
    'bad',
    `${providerName} does not accept this application`,
    'It is not registered there as it is set up here, so nothing was stored. You cannot mend this, and trying again does not help.',
    'Tell your administrator, who finds the cause in the record of this authorization.',
  )

/** The callback did not come from the browser, provider or moment that it should. */
export const brokenCallbackPage = (): Page =>
  note(
    'bad',
    'This answer cannot be used',
    'It does not belong to a connection that this browser has begun, or it was used already. Nothing was changed.',
    'Open the link that the agent gave you again, in this browser.',
  )

export const signInFailedPage = (): Page =>
  note(
    'bad',
    'The sign-in did not work',
    'Nothing was changed. Open the link that the agent gave you again to start over.',
  )

/** @param again path of ours on which the form can be had anew; null: the link of the agent */
export const refusedFormPage = (again: string | null): Page =>
  page(
    'This form cannot be used any more',
    html`<p>
        It was sent from another page, or your sign-in has ended or changed since. Nothing was
        changed.
      </p>
      ${again === null ? html`<p>Open the link that the agent gave you again.</p>` : html`<p><a href="${again}">Open the page again</a></p>`}`,
    { tone: 'alert' },
  )

/** The application named somebody to a browser that had not asked: said, and nothing is shown. */
export const strayPage = (): Page =>
  page(
    'This browser did not ask for this page',
    html`<p>Your sign-in was made for another browser, or took too long. Nothing was shown.</p>
      <p>If somebody sent you here, tell your security team.</p>
      <p><a href="/connections">See your own connections</a></p>`,
    { tone: 'bad' },
  )

export const signedOutPage = (): Page =>
  note(
    'good',
    'You are signed out here',
    'Your organisation may still know this browser: on a computer that you share, sign out there too.',
  )

const CODE_PROBLEM = {
  wrong: 'That is not the code. Each code works once.',
  wait: 'Too many wrong codes. Wait a minute, then try again.',
  name: 'That is not a name that an agent could use for you.',
} as const

/** @param own the person names themself: no link does */
export const codePage = (view: {
  readonly back: string
  readonly own: boolean
  readonly problem: keyof typeof CODE_PROBLEM | null
}): Page =>
  page(
    'Is that you at the terminal?',
    html`<p>
        The terminal in which deputy runs shows a code. You can also read it with
        <code>deputy connect code</code>.
      </p>
      ${view.problem === null ? '' : html`<p class="warn" role="alert">${CODE_PROBLEM[view.problem]}</p>`}
      <form method="post" action="/sign-in/local">
        <input type="hidden" name="back" value="${view.back}" />
        ${
          view.own
            ? html`<label for="user">Your name, as agents use it</label>
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
        <label for="code">Code</label>
        <input
          id="code"
          name="code"
          autocomplete="one-time-code"
          autocapitalize="characters"
          spellcheck="false"
          maxlength="32"
          inputmode="text"
          aria-describedby="hint"
          ${view.own ? '' : 'autofocus'}
          required
        />
        <p class="soft" id="hint">Eight letters and digits, such as ABCD-EFGH.</p>
        <button>Continue</button>
      </form>`,
  )

export const problemPage = (
  code: string,
  row: { readonly status: number; readonly title: string; readonly todo: string },
): Page =>
  page(
    row.title,
    html`<dl>
        <div>
          <dt>Code</dt>
          <dd>${code}</dd>
        </div>
        <div>
          <dt>HTTP status</dt>
          <dd>${row.status}</dd>
        </div>
      </dl>
      <h2>What to do</h2>
      <p>${row.todo}</p>
      <p class="soft">
        The answer that brought you here has a <code>detail</code> that names the exact cause.
      </p>`,
  )

export const indexPage = (): Page =>
  page(
    'deputy',
    html`<p>
        Here people connect their own accounts, so that an agent may act for them without ever
        holding their credentials.
      </p>
      <p>To connect one, open the link that your agent gave you.</p>
      <p><a href="/connections">See what is connected, and disconnect</a></p>`,
  )

export const notFoundPage = (): Page => note('plain', 'There is nothing here', 'Check the address.')

export const failurePage = (): Page =>
  note(
    'bad',
    'deputy failed',
    'Nothing was completed. Try again; if it happens again, tell your administrator.',
  )
