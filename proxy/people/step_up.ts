// Where a person signs in anew because policy asks for it: more strongly, or more recently. What that was is verified in
// the ID token of the sign-in (OIDC Core 2), and is recorded before anything waits for it no more.
import { html } from 'hono/html'
import { Hono } from 'hono'
import type { Context } from 'hono'
import type { AskRow, Connection } from '../model.ts'
import { personOfAsk, type Asks } from '../consent/asks.ts'
import type { Session } from '../consent/session.ts'
import type { OidcSignIn, SteppedUp } from '../consent/sign_in.ts'
import type { Demand, StepUps } from '../consent/step_ups.ts'
import { samePerson } from '../wire/canonical.ts'
import { agentRows, agentView, unknownAgent, type AgentView } from './agents_page.ts'
import type { AgentsDeps } from './agents.ts'
import * as pages from './consent_pages.ts'
import { deed, note, sheet, type Page } from './markup.ts'
import type { Frame } from './page.ts'
import type { Door } from './sign_in.ts'

export type StepUpDeps = {
  readonly asks: Pick<Asks, 'find' | 'byHash' | 'idOf'>
  readonly stepUps: Pick<StepUps, 'demand' | 'signedIn' | 'decline'>
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly agents: AgentsDeps['agents']
  readonly agentOn: (agent: string, tenant: string) => void | Promise<void>
  readonly active: AgentsDeps['agents']['active']
}

export const stepUpPage =
  (view: {
    readonly agent: AgentView
    readonly connection: Connection | null
    readonly operations: readonly string[]
    readonly demand: Demand
    /** Why the last sign-in did not do; null: there was none. */
    readonly lacked: 'acr' | 'auth_time' | null
    readonly csrf: string
    readonly action: string
  }): Page =>
  (t) => {
    const { agent, connection, demand } = view
    const words = t.stepUp
    return sheet(
      words.title,
      html`${view.lacked === null ? '' : html`<p class="told bad" role="alert">${words.lacked[view.lacked]}</p>`}
        <p>${words.intro(agent.name)}</p>
        <ul>
          ${view.operations.map(
            (id) =>
              html`<li>
                ${connection === null ? '' : deed(t, connection.provider, id)} <code>${id}</code>
              </li>`,
          )}
        </ul>
        ${unknownAgent(t, agent)}
        <dl>${agentRows(t, agent)}</dl>
        <p>
          ${words.how(Math.ceil(demand.maxAgeS / 60))} <code>${demand.acrValues.join(' ')}</code>
        </p>
        <p class="warn">${t.consent.warning(agent.name)}</p>
        <form method="post" action="${view.action}">
          <input type="hidden" name="csrf" value="${view.csrf}" />
          <button name="answer" value="yes">${words.yes}</button>
          <button class="quiet" name="answer" value="no">${t.consent.no}</button>
        </form>`,
    )
  }
export const steppedUpPage: Page = (t) => note('good', t.stepUp.done)
export const notSteppedUpPage: Page = (t) => note('plain', t.stepUp.declined)

type Told = { readonly hash: string; readonly why: 'acr' | 'auth_time' }

export const createStepUpPages = (
  deps: StepUpDeps,
  frame: Frame,
  door: Door,
  signIn: Pick<OidcSignIn, 'session' | 'end' | 'start'>,
) => {
  const { asks, stepUps } = deps
  const { show } = frame
  const app = new Hono()

  const enter = async (
    c: Context,
    id: string,
  ): Promise<{ readonly row: AskRow; readonly session: Session } | Response> => {
    const row = await asks.find(id, 'step_up')
    if (row === null) return show(c, pages.expiredPage(), 404)
    const session = await signIn.session(frame.reader(c))
    if (session === null)
      return c.req.method === 'POST'
        ? show(c, pages.refusedFormPage(`/step-up/${id}`), 401)
        : door.ask(c, `/step-up/${id}`)
    frame.about(c, row.hash)
    if (!samePerson(session.person, personOfAsk(row))) {
      frame.setCookie(c, await signIn.end(session))
      return show(c, pages.wrongPersonPage(), 403)
    }
    await deps.agentOn(row.agent, row.tenant)
    return { row, session }
  }
  const over = (c: Context, row: AskRow): Response | Promise<Response> =>
    row.status === 'used'
      ? show(c, steppedUpPage)
      : row.status === 'declined'
        ? show(c, notSteppedUpPage)
        : show(c, pages.expiredPage(), 410)

  app.get('/step-up/:id', async (c) => {
    const entered = await enter(c, c.req.param('id'))
    if (entered instanceof Response) return entered
    const { row, session } = entered
    if (row.status !== 'pending') return over(c, row)
    const told = (await frame.told(c, 'step-up', session.person)) as Told | null
    if (told !== null) frame.forget(c, 'step-up')
    return show(
      c,
      stepUpPage({
        agent: agentView(deps.agents, row.agent, session.person),
        connection: deps.connections().get(row.connection) ?? null,
        operations: row.operations,
        demand: stepUps.demand(row),
        lacked: told?.hash === row.hash ? told.why : null,
        csrf: frame.csrf(session, row.hash),
        action: `/step-up/${c.req.param('id')}`,
      }),
    )
  })

  app.post('/step-up/:id', async (c) => {
    if (frame.crossSite(c)) return show(c, pages.refusedFormPage(null), 403)
    const id = c.req.param('id')
    const entered = await enter(c, id)
    if (entered instanceof Response) return entered
    const { row, session } = entered
    const form = await c.req.parseBody()
    if (!frame.same(form['csrf'], frame.csrf(session, row.hash)))
      return show(c, pages.refusedFormPage(null), 403)
    if (row.status !== 'pending') return over(c, row)
    if (form['answer'] === 'no') {
      await stepUps.decline(row)
      return show(c, notSteppedUpPage)
    }
    if (form['answer'] !== 'yes') return show(c, pages.refusedFormPage(null), 400)
    const { location, cookie } = await signIn.start(`/step-up/${id}`, {
      ask: row.hash,
      ...stepUps.demand(row),
    })
    frame.setCookie(c, cookie)
    return frame.goOn(c, location.host, location.href)
  })

  return {
    app,
    /** Somebody came back from the sign-in that an ask began. */
    came: async (c: Context, { ask, person, ...signedIn }: SteppedUp): Promise<void> => {
      const row = await asks.byHash(ask)
      // Somebody else, too late, or of a person who is not active: the page that follows says it.
      if (row === null || row.status !== 'pending' || !samePerson(person, personOfAsk(row))) return
      if (!(await deps.active(person))) return
      const why = await stepUps.signedIn(row, signedIn)
      if (why !== null)
        await frame.keep(c, 'step-up', { hash: row.hash, why } satisfies Told, person)
    },
  }
}
