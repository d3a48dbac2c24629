// The page behind one link for several consents: which providers are asked for what, and what is left.
import { html } from 'hono/html'
import type { Connection, Flow } from '../model.ts'
import { agentRows, unknownAgent, type AgentView } from './agents_page.ts'
import { scopeList, sheet, who, type Html, type Page } from './markup.ts'
import type { Texts } from './languages/en.ts'

type PlanView = {
  readonly agent: AgentView
  readonly flow: Flow
  /** What is asked at each; null: the configuration has it no more. */
  readonly connectionOf: (name: string) => Connection | null
}

type Part = NonNullable<Flow['parts']>[number]

const part = (t: Texts, { flow, id }: Part, connection: Connection | null): Html => {
  const name = connection?.provider.name ?? flow.connection
  const open = flow.status === 'pending' && connection !== null && id !== null
  return html`<section>
    <h2>
      ${name}${connection === null || connection.name === connection.provider.id ? '' : ` (${connection.name})`}
    </h2>
    ${connection === null ? '' : scopeList(t, connection.provider, flow.scopes)}
    ${
      open
        ? html`<p><a class="button" href="/connect/${id}">${t.plan.open(name)}</a></p>`
        : html`<p>
            <strong
              >${
                flow.status === 'completed'
                  ? t.plan.completed
                  : flow.status === 'failed'
                    ? t.plan.failed
                    : t.plan.gone
              }</strong
            >
          </p>`
    }
  </section>`
}

export const planPage =
  ({ agent, flow, connectionOf }: PlanView): Page =>
  (t) => {
    const parts = flow.parts ?? []
    const left = parts.filter((one) => one.flow.status === 'pending').length
    return sheet(
      t.plan.title(agent.name),
      html`<p>${t.plan.intro(agent.name)}</p>
        ${unknownAgent(t, agent)}
        <dl>
          ${agentRows(t, agent)}
          <div>
            <dt>${t.label.storedFor}</dt>
            <dd>${who(flow.person)}</dd>
          </div>
        </dl>
        <p role="status">${left === 0 ? t.plan.over : t.plan.left(left)}</p>
        ${parts.map((one) => part(t, one, connectionOf(one.flow.connection)))}`,
      { tone: left === 0 ? (flow.status === 'completed' ? 'good' : 'alert') : 'plain' },
    )
  }
