// What an approver sees, in HTML: whose call it is, and exactly what will be sent. No effects.
import { createHash } from 'node:crypto'
import { html } from 'hono/html'
import type { Connection, Person } from '../model.ts'
import type { Need } from '../consent/approvers.ts'
import type { Shown } from '../pipeline/approval.ts'
import { agentRows, unknownAgent, type AgentView } from './agents_page.ts'
import type { Texts } from './languages/en.ts'
import { deed, note, sheet, when, who, type Html, type Page } from './markup.ts'
import { exactly, parseStrict } from '../wire/json.ts'
import { plain, readable } from './plain.ts'

export type ApprovalView = {
  readonly shown: Shown
  readonly connection: Connection | null
  readonly connectionName: string
  readonly agent: AgentView
  readonly person: Person
  readonly operations: readonly string[]
  /** `sha256:…` of the call. */
  readonly digest: string
  readonly expiresAt: number
  /** What whoever looks may say yes to, and what others have said yes to. */
  readonly mine: readonly Need[]
  readonly given: readonly (Pick<Need, 'name' | 'part'> & { readonly by: string })[]
  readonly needs: readonly Need[]
  /** Everything is said: what is left is to take it back. */
  readonly complete: boolean
  readonly csrf: string
  /** Where the form goes: the page's own path. */
  readonly action: string
}

/** Digits of a digest that a person compares. */
const SHORT = 12
/** Longer ones are shown as they are, without a second and prettier time. */
const PRETTY_BYTES = 262_144

const row = (label: string, value: string | Html): Html =>
  html`<div>
    <dt>${label}</dt>
    <dd>${value}</dd>
  </div>`
/** By keyboard too: whoever cannot scroll it cannot read it. */
const block = (label: string, text: Html): Html =>
  html`<pre role="region" aria-label="${label}" tabindex="0">${text}</pre>`

const utf8 = (bytes: Buffer): string | null => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return null
  }
}
/** The same on several lines, each number as it stands; null: it is no JSON with one reading, or long. */
const pretty = (text: string): string | null => {
  if (text.length > PRETTY_BYTES) return null
  try {
    parseStrict(text)
    return JSON.stringify(JSON.parse(text, exactly), null, 2)
  } catch {
    return null
  }
}

/** The message itself (RFC 5322); null: there is none, or it is no text that a person could read. */
const messageText = (message: string | null): string | null => {
  const text = message === null ? null : utf8(Buffer.from(message, 'base64'))
  return text !== null && readable(text) ? text : null
}
const mailsOf = (t: Texts, { mails }: Shown): Html[] =>
  mails.map(({ part, mail, message }) => {
    const words = t.approval
    const text = messageText(message)
    const label = part === null ? words.mail : `${words.mail} (${part})`
    const rows = mail.unread
      ? html`<p class="warn">${words.mailUnread}</p>`
      : html`<dl>
          ${(['to', 'cc', 'bcc'] as const).map((kind) => (mail[kind].length === 0 ? '' : row(words.mailTo[kind], html`${mail[kind].map((one) => html`<span class="line">${plain(one)}</span>`)}`)))}
          ${mail.attachments === 0 ? '' : row(words.mailAttachments, String(mail.attachments))}
        </dl>`
    return html`<h3>${label}</h3>
      ${rows} ${text === null ? '' : block(label, plain(text))}`
  })

const bodyOf = (t: Texts, { body, contentType }: Shown): Html => {
  const words = t.approval
  if (body === null) return html`<p>${words.noBody}</p>`
  const bytes = Buffer.from(body, 'base64')
  const digest = createHash('sha256').update(bytes).digest('hex')
  const size = html`<p class="soft">
    ${words.size(bytes.length)} ${contentType === null ? '' : plain(contentType)}
    <code>sha256:${digest}</code>
  </p>`
  const text = utf8(bytes)
  if (text === null || !readable(text))
    return html`${size}
      <p class="warn">${words.unreadable}</p>
      ${block(words.raw, plain(body))}`
  const parsed = pretty(text)
  return html`${size}
    ${
      parsed === null
        ? ''
        : html`<h3>${words.pretty}</h3>
            ${block(words.pretty, plain(parsed))}`
    }
    <h3>${words.raw}</h3>
    ${block(words.raw, plain(text))}`
}

const partsOf = (t: Texts, { parts }: Shown): Html | '' =>
  parts.length === 0
    ? ''
    : html`<h2>${t.approval.parts(parts.length)}</h2>
        <ol>
          ${parts.map(
            (part) =>
              html`<li>
                <code>${part.operation}</code>
                ${part.method === null ? '' : plain(`${part.method} ${part.target ?? ''}`)}
                ${part.needs ? html`<strong>${t.approval.asked}</strong>` : ''}
              </li>`,
          )}
        </ol>`

const same = (a: Pick<Need, 'name' | 'part'>, b: Pick<Need, 'name' | 'part'>): boolean =>
  a.name === b.name && a.part === b.part

const answersOf = (t: Texts, { needs, given }: ApprovalView): Html =>
  html`<ul>
    ${needs.map((need) => {
      const by = given.filter((yes) => same(yes, need)).map((one) => one.by)
      return html`<li>
        ${plain(need.part === null ? need.name : `${need.name} (${need.part})`)}:
        ${by.length === 0 ? t.approval.open : t.approval.by(plain(by.join(', ')))}
      </li>`
    })}
  </ul>`

const formOf = (t: Texts, { action, csrf, complete, mine, given }: ApprovalView): Html => {
  const words = t.approval
  const left = mine.some((need) => !given.some((yes) => same(yes, need)))
  return html`<form method="post" action="${action}">
    <input type="hidden" name="csrf" value="${csrf}" />
    ${complete || !left ? '' : html`<button name="answer" value="yes">${words.yes}</button>`}
    <button class="${complete || !left ? 'end' : 'quiet'}" name="answer" value="no">
      ${complete || !left ? words.withdraw : words.no}
    </button>
  </form>`
}

export const approvalPage =
  (view: ApprovalView): Page =>
  (t) => {
    const { shown, agent, person, connection } = view
    const words = t.approval
    const provider = connection?.provider.name ?? view.connectionName
    const deeds = view.operations.map((id) => {
      const said = connection === null ? '' : deed(t, connection.provider, id)
      return html`<span class="line">${said} <code>${id}</code></span>`
    })
    return sheet(
      view.complete ? words.givenTitle : words.title(agent.name, provider),
      html`${view.complete ? html`<p class="told">${words.given}</p>` : html`<p>${words.intro(agent.name)}</p>`}
        ${unknownAgent(t, agent)}
        <dl>
          ${agentRows(t, agent)} ${row(words.for, who(person))} ${row(t.label.provider, provider)}
          ${shown.account === null ? '' : row(t.label.connectedAs, plain(shown.account))}
          ${row(words.does, html`${deeds}`)} ${row(words.until, when(view.expiresAt))}
          ${row(words.digest, html`<code>${view.digest.slice(7, 7 + SHORT)}</code>`)}
        </dl>
        ${shown.why.length === 0 ? '' : html`<p>${words.why} ${shown.why.map((line) => html`<span class="line">${plain(line)}</span>`)}</p>`}
        <h2>${words.answers}</h2>
        ${answersOf(t, view)}
        <p class="warn">${words.warning}</p>
        ${partsOf(t, shown)}
        <h2>${words.sent}</h2>
        ${block(words.request, plain(`${shown.method} ${shown.url}`))}
        ${
          shown.headers.length === 0
            ? ''
            : block(
                words.headers,
                html`${shown.headers.map(([name, value]) => html`${plain(`${name}: ${value}`)}${'\n'}`)}`,
              )
        }
        <p class="soft">${words.adds(provider)}</p>
        <h2>${words.body}</h2>
        ${mailsOf(t, shown)} ${bodyOf(t, shown)} ${formOf(t, view)}`,
    )
  }

export const noApproverPage: Page = (t) => note('bad', t.approval.stranger)
export const declinedCallPage: Page = (t) => note('plain', t.approval.declined)
export const usedPage: Page = (t) => note('good', t.approval.used)
export const missedPage: Page = (t) => note('alert', t.approval.missed)
