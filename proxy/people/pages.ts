// What a person sees: HTML only, no effects, no script. Everything foreign goes through `html`, which escapes.
import { html } from 'hono/html'
import type { Access, Connection, Person, Provider } from '../model.ts'

export type Html = ReturnType<typeof html>

/** Served at /style.css, so that the policy of the pages needs no inline styles. */
export const STYLE = `:root{color-scheme:light dark;--ink:#1b1f24;--soft:#4d5661;--back:#fff;--line:#b5bdc7;--act:#0b57d0;--on:#fff;--warn:#fff4d6}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#b4bbc4;--back:#16191d;--line:#4d5661;--act:#a8c7fa;--on:#0b1a33;--warn:#3a2f10}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
main{max-width:36rem;margin:0 auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}
h2{font-size:1.05rem;margin:1.5rem 0 .5rem}
a{color:var(--act)}
ul,ol{padding-left:1.25rem;margin:.5rem 0}
li{margin:.35rem 0}
dl{margin:1rem 0;border-top:1px solid var(--line)}
dl div{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}
dt{flex:0 0 9rem;color:var(--soft)}
dd{flex:1 1 12rem;margin:0;font-weight:600}
code{font:.9em ui-monospace,monospace;color:var(--soft)}
.warn{background:var(--warn);border-left:4px solid var(--act);padding:.75rem 1rem;margin:1.25rem 0}
.soft{color:var(--soft)}
form{margin:1.5rem 0 0}
label{display:block;font-weight:600;margin-bottom:.25rem}
input{font:1.1rem ui-monospace,monospace;width:100%;max-width:16rem;padding:.6rem;border:2px solid var(--line);border-radius:.35rem;background:var(--back);color:var(--ink)}
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 1.25rem;margin:.75rem .5rem 0 0;border:2px solid var(--act);border-radius:.35rem;background:var(--act);color:var(--on);cursor:pointer}
button.quiet{background:transparent;color:var(--act)}
:focus-visible{outline:3px solid var(--act);outline-offset:3px}
`

const page = (title: string, body: Html): Html =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${title} · deputy</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href="/style.css" />
      </head>
      <body>
        <main>
          <h1>${title}</h1>
          ${body}
        </main>
      </body>
    </html>`

const note = (title: string, ...lines: readonly string[]): Html =>
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
 * @returns a sentence without a full stop; the raw scope is shown beside it
 */
export const scopeWords = (provider: Provider, scope: string): string => {
  const known = KNOWN.get(scope)
  if (known !== undefined) return known
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
  return parts.length > 0 ? parts.join('. ') : `A permission that ${provider.name} names itself`
}

const scopeList = (provider: Provider, scopes: readonly string[]): Html =>
  scopes.length === 0
    ? html`<p>What ${provider.name} grants every application.</p>`
    : html`<ul>
        ${scopes.map((scope) => html`<li>${scopeWords(provider, scope)} <code>${scope}</code></li>`)}
      </ul>`

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
  readonly csrf: string
  /** Where the form goes: the page's own path. */
  readonly action: string
}

const who = (person: Person): string =>
  person.tenant === 'default' ? person.id : `${person.id} (${person.tenant})`

export const connectPage = (view: ConnectView): Html => {
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
      ${view.reauthorization ? html`<p>You connected this account before, and ${provider.name} has withdrawn the permission since.</p>` : ''}
      <dl>
        <div>
          <dt>Agent</dt>
          <dd>${view.agent}</dd>
        </div>
        <div>
          <dt>Provider</dt>
          <dd>${provider.name}</dd>
        </div>
        <div>
          <dt>Connection</dt>
          <dd>${view.connection.name}</dd>
        </div>
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
        Nobody should have sent you this link. Go on only if you are using ${view.agent} yourself
        and expected this page. If somebody else sent it, choose “No”.
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
        <button class="quiet" name="answer" value="no">No</button>
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
}): Html => {
  const { provider } = view.connection
  return page(
    `${provider.name} is connected`,
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
      <p>You can close this page and go back to the agent.</p>`,
  )
}

/** Says nothing about the flow: whoever sees this is not the person it is for. */
export const wrongPersonPage = (): Html =>
  note(
    'This link is not for you',
    'You are signed in as somebody else than the person this link was made for. Nothing was connected and nothing was changed.',
    'If somebody sent you this link, tell your security team: an account must only be connected by its owner.',
    'If it is your own link, sign out at your organisation, open the link again and sign in with the right account.',
  )

export const expiredPage = (): Html =>
  note(
    'This link is no longer valid',
    'It has ended, was used already or never existed. Nothing was changed.',
    'Go back to the agent and repeat what you asked for: it will give you a new link.',
  )

export const inactivePage = (): Html =>
  note(
    'Your account is suspended',
    'Your organisation does not list you as active, so nothing was connected.',
    'Ask your administrator, then repeat what you asked the agent for.',
  )

/** Says nothing of the flow: without a sign-in nobody knows who looks. */
export const awaitingPage = (): Html =>
  note(
    'Waiting for your application',
    'This step is done. The application that you use the agent in has to confirm that it was you.',
    'Go back to that application. Without its confirmation nothing is stored, and what was granted is given back.',
  )

export const deniedPage = (): Html =>
  note(
    'Nothing was connected',
    'You said no, and the agent has been told. You can close this page.',
    'If you change your mind, ask the agent again: it will give you a new link.',
  )

export const mismatchPage = (providerName: string): Html =>
  note(
    'That is another account',
    `You connected a different ${providerName} account before, so the new one was not stored.`,
    'Ask the agent again and choose the same account, or have the old connection removed first.',
  )

export const providerErrorPage = (providerName: string): Html =>
  note(
    `${providerName} did not complete the connection`,
    'Nothing was stored. This is usually temporary.',
    'Go back to the agent and repeat what you asked for. If it happens again, tell your administrator.',
  )

/** The callback did not come from the browser, provider or moment that it should. */
export const brokenCallbackPage = (): Html =>
  note(
    'This answer cannot be used',
    'It does not belong to a connection that this browser has begun, or it was used already. Nothing was changed.',
    'Open the link that the agent gave you again, in this browser.',
  )

export const signInFailedPage = (): Html =>
  note(
    'The sign-in did not work',
    'Nothing was changed. Open the link that the agent gave you again to start over.',
  )

export const refusedFormPage = (): Html =>
  note(
    'This form cannot be used any more',
    'It was sent from another page, or your sign-in has changed since. Nothing was changed.',
    'Open the link that the agent gave you again.',
  )

/** @param failed the last code was wrong; @param wait too many wrong codes */
export const codePage = (view: {
  readonly back: string
  readonly failed: boolean
  readonly wait: boolean
}): Html =>
  page(
    'Is that you at the terminal?',
    html`<p>
        The terminal in which deputy runs shows a code. You can also read it with
        <code>deputy connect code</code>.
      </p>
      ${view.wait ? html`<p class="warn" role="alert">Too many wrong codes. Wait a minute, then try again.</p>` : ''}
      ${view.failed ? html`<p class="warn" role="alert">That is not the code. Each code works once.</p>` : ''}
      <form method="post" action="/sign-in/local">
        <input type="hidden" name="back" value="${view.back}" />
        <label for="code">Code</label>
        <input
          id="code"
          name="code"
          autocomplete="one-time-code"
          autocapitalize="characters"
          spellcheck="false"
          maxlength="32"
          required
        />
        <button>Continue</button>
      </form>`,
  )

export const problemPage = (
  code: string,
  row: { readonly status: number; readonly title: string; readonly todo: string },
): Html =>
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

export const indexPage = (): Html =>
  note(
    'deputy',
    'Here people connect their own accounts, so that an agent may act for them without ever holding their credentials.',
    'Open the link that your agent gave you. There is nothing else to do here.',
  )

export const notFoundPage = (): Html => note('There is nothing here', 'Check the address.')

export const failurePage = (): Html =>
  note(
    'deputy failed',
    'Nothing was completed. Try again; if it happens again, tell your administrator.',
  )
