// Where somebody approves a call, or declines it. A GET changes nothing, and whoever is no approver sees nothing of the call.
import { Hono } from 'hono'
import type { Context } from 'hono'
import { LRUCache } from 'lru-cache'
import type { AskRow, Connection, Person } from '../model.ts'
import type { Approvals } from '../consent/approvals.ts'
import type { Need } from '../consent/approvers.ts'
import { personOfAsk, type Asks } from '../consent/asks.ts'
import type { Session } from '../consent/session.ts'
import type { OidcSignIn } from '../consent/sign_in.ts'
import type { Shown } from '../pipeline/approval.ts'
import { agentView } from './agents_page.ts'
import type { AgentsDeps } from './agents.ts'
import * as approval from './approval_page.ts'
import * as pages from './consent_pages.ts'
import type { Frame } from './page.ts'
import type { Door } from './sign_in.ts'

export type ApprovalsDeps = {
  readonly asks: Pick<Asks, 'find' | 'shown'>
  readonly approvals: Pick<Approvals, 'asked' | 'say' | 'decline' | 'needs' | 'yeses'>
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly agents: AgentsDeps['agents']
  readonly agentOn: (agent: string, tenant: string) => void | Promise<void>
  readonly onEvent: (event: string, fields: object) => void | Promise<void>
}

const SAID_MS = 60_000

/** What somebody who may approve it sees of it. */
type Entered = {
  readonly row: AskRow
  readonly session: Session
  readonly mine: readonly Need[]
}

export const createApprovalPages = (
  deps: ApprovalsDeps,
  frame: Frame,
  door: Door,
  signIn: Pick<OidcSignIn, 'session'>,
): Hono => {
  const { asks, approvals } = deps
  const { show, about } = frame
  const app = new Hono()
  const said = new LRUCache<string, true>({ max: 10_000, ttl: SAID_MS })

  /** Recorded once a minute: whoever reloads a page must not fill the disk with evidence of it. */
  const stranger = async (row: AskRow, { person }: Session): Promise<void> => {
    const key = JSON.stringify([row.hash, person.tenant, person.realm, person.id])
    if (said.has(key)) return
    said.set(key, true)
    await deps.onEvent('approval.stranger', {
      approval: row.hash,
      user: personOfAsk(row),
      agent: row.agent,
      connection: row.connection,
      by: person,
    })
  }

  const over = (c: Context, row: AskRow): Response | Promise<Response> =>
    row.status === 'used'
      ? show(c, approval.usedPage)
      : row.status === 'declined'
        ? show(c, approval.declinedCallPage)
        : show(c, pages.expiredPage(), 410)

  const enter = async (c: Context, id: string): Promise<Entered | Response> => {
    const row = await asks.find(id, 'approval')
    if (row === null) return show(c, pages.expiredPage(), 404)
    const session = await signIn.session(frame.reader(c))
    if (session === null || !session.verified)
      // A form may not be redirected to another origin, so there the page is opened anew.
      return c.req.method === 'POST'
        ? show(c, pages.refusedFormPage(`/approve/${id}`), 401)
        : door.ask(c, `/approve/${id}`)
    about(c, row.hash)
    const mine = await approvals.asked(row, session.person)
    if (mine.length === 0) {
      await stranger(row, session)
      return show(c, approval.noApproverPage, 403)
    }
    await deps.agentOn(row.agent, row.tenant)
    return { row, session, mine }
  }

  const page = async (c: Context, { row, session, mine }: Entered): Promise<Response> => {
    if (row.status !== 'pending' && row.status !== 'given') return over(c, row)
    const shown = (await asks.shown(row)) as Shown | null
    if (shown === null) return show(c, pages.expiredPage(), 410)
    const person: Person = personOfAsk(row)
    return show(
      c,
      approval.approvalPage({
        shown,
        connection: deps.connections().get(row.connection) ?? null,
        connectionName: row.connection,
        agent: agentView(deps.agents, row.agent, person),
        person,
        operations: row.operations,
        digest: row.digest,
        expiresAt: row.expiresAt,
        mine,
        needs: approvals.needs(row),
        given: approvals.yeses(row),
        complete: row.status === 'given',
        csrf: frame.csrf(session, row.hash),
        action: `/approve/${c.req.param('id')}`,
      }),
    )
  }

  app.get('/approve/:id', async (c) => {
    const entered = await enter(c, c.req.param('id'))
    return entered instanceof Response ? entered : page(c, entered)
  })

  app.post('/approve/:id', async (c) => {
    if (frame.crossSite(c)) return show(c, pages.refusedFormPage(null), 403)
    const id = c.req.param('id')
    const entered = await enter(c, id)
    if (entered instanceof Response) return entered
    const { row, session, mine } = entered
    const form = await c.req.parseBody()
    if (!frame.same(form['csrf'], frame.csrf(session, row.hash)))
      return show(c, pages.refusedFormPage(null), 403)
    if (row.status !== 'pending' && row.status !== 'given') return over(c, row)
    if (form['answer'] === 'no')
      return (await approvals.decline(row, session.person))
        ? show(c, approval.declinedCallPage)
        : show(c, approval.missedPage, 409)
    if (form['answer'] !== 'yes') return show(c, pages.refusedFormPage(null), 400)
    return (await approvals.say(row, session.person, mine)) === null
      ? show(c, approval.missedPage, 409)
      : frame.see(c, `/approve/${id}`)
  })
  return app
}
