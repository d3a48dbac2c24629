// The connect listener: links, sign-in, the provider's answer. A GET changes nothing that a program
// which previews links could reach.
import { mayReturnTo } from '../consent/next_uri.ts'
import { createHash, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { LRUCache } from 'lru-cache'
import type { Connection, Flow, Log, Person } from '../model.ts'
import type { Finished } from '../consent/callback.ts'
import { samePerson } from '../wire/canonical.ts'
import type { Flows } from '../consent/flow.ts'
import { LEG_MS } from '../consent/leg.ts'
import type { KeyProblem } from '../consent/pasted.ts'
import type { Session, SessionDeps, Visits } from '../consent/session.ts'
import { CATALOGUE, Problem } from '../problem.ts'
import type { ProblemCode } from '../problem.ts'
import { createAgentPages, type AgentsDeps } from './agents.ts'
import { agentView } from './agents_page.ts'
import { createApprovalPages, type ApprovalsDeps } from './approvals.ts'
import { createStepUpPages, type StepUpDeps } from './step_up.ts'
import { planPage } from './plan_page.ts'
import { createConnections, type ConnectionsDeps } from './connections.ts'
import { createDoor, visitAt, type Door, type DoorDeps } from './sign_in.ts'
import { createFrame, logoAnswer, secured, type Frame } from './page.ts'
import type { Logo } from '../config/logo.ts'
import { summaryOf } from '../config/descriptions.ts'
import { daysOf } from './standing_page.ts'
import { STYLE, type Allowed, type Brand } from './markup.ts'
import * as pages from './consent_pages.ts'
import type { Env } from '../api/rest.ts'

const FORM_BYTES = 16_384
const SAID_MS = 60_000
/** A second load of the same address waits so long for what the first one began. */
const REPEATED_MS = 20_000

/** `signIn`: who is at the page; `visit`: the application will say. */
type ConnectDeps = DoorDeps &
  ConnectionsDeps &
  AgentsDeps & {
    readonly flows: Flows
    /** Approvals and stronger sign-ins: at an OpenID provider's sign-in alone. */
    readonly asking: Pick<ApprovalsDeps, 'asks' | 'approvals' | 'agentOn'> &
      Pick<StepUpDeps, 'asks' | 'stepUps'>
    /** What seals the pages' cookies; `publicUrl` is `connect.url`, without a trailing slash. */
    readonly session: SessionDeps
    /** Origins that `next_uri` may name. */
    readonly returnTo: readonly string[]
    /** `connect.brand`, and the mark itself; null or absent: the pages bear nobody's. */
    readonly brand?: { readonly words: Brand; readonly logo: Logo | null } | null
    /**
     * Ids of the operations that policy lets this person do there now, of those that the scopes are
     * for; null: nobody knows without a call. Throws a Problem where policy or its sources do not
     * answer.
     */
    readonly allowed?: (
      flow: Flow,
      connection: Connection,
      scopes: readonly string[],
    ) => Promise<Allowed>
    /** From where a browser comes; null: not known. */
    readonly from: (req: IncomingMessage) => string | null
    readonly log: Log
  }

/** How a consent went, for the page that says so. */
type After =
  | {
      readonly kind: 'ended'
      readonly flow: string
      readonly account: string | null
      readonly already?: boolean
    }
  | {
      readonly kind: Exclude<Finished, { readonly flow: Flow }>['kind'] | 'nobody'
      /** What the evidence calls it, where something stands there. */
      readonly reference?: string | null
    }

/** Where a person goes on to after a consent that left nothing open; null: nowhere. */
const wayOn = (returnTo: ConnectDeps['returnTo'], { nextUri, missing }: Flow): string | null =>
  nextUri !== null && missing.length === 0 && mayReturnTo(returnTo, nextUri)
    ? new URL(nextUri).href
    : null

export const createConnectApp = (deps: ConnectDeps): Hono => {
  const { flows, signIn, connections } = deps
  const { publicUrl } = deps.session
  const frame = createFrame({ ...deps.session, brand: deps.brand?.words ?? null })
  const { show, see, about, setCookie, reader, cookies, crossSite } = frame
  const door = createDoor(deps, frame, async (c, signedIn) => asked?.came(c, signedIn))
  const asked = askedPages(deps, frame, door)
  const app = new Hono()

  /** The browser, as far as the socket, trusted proxies and its own word go. */
  const fromOf = (c: Context): object => {
    const { incoming } = (c.env as Env['Bindings'] | undefined) ?? {}
    return {
      address: incoming === undefined ? null : deps.from(incoming),
      user_agent: c.req.header('user-agent')?.slice(0, 256) ?? null,
    }
  }

  const done = (
    c: Context,
    flow: Flow,
    account: string | null,
    { already, rest }: { readonly already: boolean; readonly rest: string | null },
  ): Response | Promise<Response> => {
    const connection = connections().get(flow.connection)
    if (connection === undefined) return show(c, pages.expiredPage(), 410)
    return show(
      c,
      pages.donePage({
        connection,
        agent: agentView(deps.agents, flow.agent, flow.person),
        person: flow.person,
        account,
        missing: flow.missing,
        already,
        rest,
      }),
    )
  }
  const ended = (
    c: Context,
    flow: Flow,
    account: string | null,
    { already, rest }: { readonly already: boolean; readonly rest: string | null } = {
      already: false,
      rest: null,
    },
  ): Response | Promise<Response> => {
    if (flow.status === 'completed') return done(c, flow, account, { already, rest })
    const name = connections().get(flow.connection)?.provider.name ?? flow.connection
    if (flow.failure === 'user_inactive') return show(c, pages.inactivePage(), 403)
    if (flow.failure === 'tenant_quota') return show(c, pages.tenantFullPage(), 403)
    if (flow.failure === 'denied') return show(c, pages.deniedPage(rest))
    if (flow.failure === 'account_mismatch') return show(c, pages.mismatchPage(name), 409)
    if (flow.failure === 'admin_required') return show(c, pages.adminPage(name), 403)
    if (flow.failure === 'sign_in_required') return show(c, pages.strongerPage(name), 403)
    if (flow.failure === 'client_refused') return show(c, pages.clientRefusedPage(name), 502)
    if (flow.failure === 'provider_error') return show(c, pages.providerErrorPage(name), 502)
    return show(c, pages.expiredPage(), 410)
  }

  /**
   * The browser is bound by its cookie; nobody says yet that it is the flow's person who sits
   * there.
   */
  const visitOf = async (c: Context, visits: Visits, flow: Flow): Promise<Session> => {
    const { key } = await visitAt(c, visits, frame)
    return { person: flow.person, verified: false, key, expiresAt: 0 }
  }
  const said = new LRUCache<string, true>({ max: 10_000, ttl: SAID_MS })
  /**
   * false: that was recorded a moment ago. Whoever reloads a page must not fill the disk with
   * evidence of it.
   */
  const seldom = (what: string, flow: Flow, { person }: Session): boolean => {
    const key = JSON.stringify([what, flow.hash, person.tenant, person.realm, person.id])
    const first = !said.has(key)
    if (first) said.set(key, true)
    return first
  }
  /** Who signed in; without a sign-in nobody, and the browser's own cookies are all there is. */
  const personAt = async (c: Context): Promise<Session | null> =>
    signIn.kind === 'visit' ? null : signIn.session(reader(c))

  /** The flow of this link and the person it is for, or the answer that ends the matter. */
  const enter = async (
    c: Context,
    id: string,
  ): Promise<{ readonly flow: Flow; readonly session: Session } | Response> => {
    const flow = await flows.find(id)
    if (flow === null) return show(c, pages.expiredPage(), 404)
    about(c, flow.hash)
    if (signIn.kind === 'visit')
      return flow.awaiting !== true
        ? { flow, session: await visitOf(c, signIn, flow) }
        : show(c, pages.awaitingPage(), 409)
    const session = await signIn.session(reader(c))
    if (session === null || (signIn.kind === 'local' && !samePerson(session.person, flow.person)))
      // A form may not be redirected to another origin, so there the page is opened anew.
      return c.req.method === 'POST' && signIn.kind === 'oidc'
        ? show(c, pages.refusedFormPage(`/connect/${id}`), 401)
        : door.ask(c, `/connect/${id}`)
    if (!samePerson(session.person, flow.person)) {
      await mismatch(c, flow, session)
      // Ended here, so that the same link asks again who is there.
      setCookie(c, await signIn.end(session))
      return show(c, pages.wrongPersonPage(), 403)
    }
    return { flow, session }
  }
  /** One page for several consents, which this browser finds again after each. */
  const together = async (
    c: Context,
    id: string,
    { flow, session }: { readonly flow: Flow; readonly session: Session },
  ): Promise<Response> => {
    await frame.keep(c, 'plan', { id }, signIn.kind === 'visit' ? null : session.person)
    return show(
      c,
      planPage({
        agent: agentView(deps.agents, flow.agent, flow.person),
        flow,
        connectionOf: (name) => connections().get(name) ?? null,
      }),
    )
  }
  /** The page with what is left besides, where this browser came from one; null: from none. */
  const restOf = async (
    c: Context,
    { hash }: Flow,
    session: Session | null,
  ): Promise<string | null> => {
    const told = (await frame.told(c, 'plan', session?.person ?? null)) as {
      readonly id: string
    } | null
    const whole = told === null ? null : await flows.find(told.id)
    return told !== null && whole?.parts?.some((part) => part.flow.hash === hash) === true
      ? `/connect/${told.id}`
      : null
  }
  /** Where policy does not answer it allows nothing, and the page says so. */
  const allowedTo = async (flow: Flow, connection: Connection): Promise<Allowed> => {
    try {
      return (await deps.allowed?.(flow, connection, flow.scopes)) ?? null
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      deps.log.warn({ reason: error.message }, 'what a person may do could not be told')
      return new Set()
    }
  }
  /** The page that asks for the yes, or once more for a key. */
  const asking = async (
    c: Context,
    id: string,
    { flow, session }: { readonly flow: Flow; readonly session: Session },
    problem: KeyProblem | null = null,
  ): Promise<Response> => {
    const connection = connections().get(flow.connection)
    const plan = await flows.plan(flow)
    if (connection === undefined || plan.kind === 'gone') return show(c, pages.expiredPage(), 410)
    // A grant beside others of the same person takes no room of the tenant's.
    if (plan.kind === 'provider') await flows.room(flow)
    if (seldom('opened', flow, session))
      await deps.onEvent('consent.opened', {
        flow: flow.hash,
        user: flow.person,
        agent: flow.agent,
        connection: flow.connection,
        verified: session.verified,
        from: fromOf(c),
      })
    const keyed = connection.provider.credential === 'api_key'
    const asked = plan.kind === 'provider' ? plan.asked : []
    return show(
      c,
      pages.connectPage({
        connection,
        agent: agentView(deps.agents, flow.agent, flow.person),
        person: flow.person,
        verified: session.verified,
        scopes: flow.scopes,
        allowed: await allowedTo(flow, connection),
        again: asked.filter((scope) => !flow.scopes.includes(scope)),
        step: plan.kind === 'provider' && keyed ? 'key' : plan.kind,
        problem,
        reauthorization: flow.reauthorization,
        stronger: flow.challenge != null,
        operation: flow.operation ?? null,
        summary: flow.operation == null ? '' : await summaryOf(connection.provider, flow.operation),
        standing: flow.standing ?? null,
        csrf: frame.csrf(session, flow.hash),
        action: `/connect/${id}`,
      }),
      problem === null ? 200 : 422,
    )
  }
  /** A key that was pasted; null: there is nothing to paste, since the account is connected already. */
  const pasted = async (
    c: Context,
    entered: { readonly flow: Flow; readonly session: Session },
    key: unknown,
  ): Promise<Response | null> => {
    const { flow, session } = entered
    const connection = connections().get(flow.connection)
    if (connection?.provider.credential !== 'api_key') return null
    if ((await flows.plan(flow)).kind !== 'provider') return null
    const visit = signIn.kind === 'visit'
    const by = visit ? null : session.person
    const { verified } = session
    const done = await flows.paste(flow, connection, { key, by, verified, from: fromOf(c) })
    if (done.kind === 'again') return asking(c, c.req.param('id') ?? '', entered, done.problem)
    if (done.kind === 'awaiting' && visit) {
      const to = signIn.at(done.flowId)
      return frame.goOn(c, new URL(to).host, to)
    }
    const next = done.kind === 'completed' ? wayOn(deps.returnTo, done.flow) : null
    if (next !== null) return frame.goOn(c, new URL(next).host, next)
    const account = done.kind === 'completed' ? done.account.slice(0, 256) : null
    return frame.tell(c, 'result', { kind: 'ended', flow: flow.hash, account } satisfies After, by)
  }
  const mismatch = async (c: Context, flow: Flow, session: Session): Promise<void> => {
    if (!seldom('mismatch', flow, session)) return
    await deps.onEvent('consent.user_mismatch', {
      flow: flow.hash,
      user: flow.person,
      agent: flow.agent,
      connection: flow.connection,
      by: session.person,
      verified: session.verified,
      from: fromOf(c),
      at: 'link',
    })
  }

  app.use(secured, async (c, next) => {
    c.header('Cache-Control', 'no-store')
    await next()
  })
  app.use(
    bodyLimit({ maxSize: FORM_BYTES, onError: (c) => show(c, pages.refusedFormPage(null), 413) }),
  )
  app.use(async (c, next) => {
    // No form of ours is one of parts, and whatever is wrong within would be thrown.
    if (/^\s*multipart\//i.test(c.req.header('content-type') ?? ''))
      return show(c, pages.refusedFormPage(null), 415)
    return next()
  })

  app.get('/', (c) => show(c, pages.indexPage()))
  app.get('/style.css', (c) => {
    c.header('Cache-Control', 'public, max-age=3600')
    return c.body(STYLE, 200, { 'Content-Type': 'text/css; charset=utf-8' })
  })
  app.get('/logo', (c): Response | Promise<Response> => {
    return logoAnswer(c, deps.brand?.logo ?? null) ?? show(c, pages.notFoundPage(), 404)
  })
  app.get('/problems/:code', (c) => {
    const code = c.req.param('code')
    return Object.hasOwn(CATALOGUE, code)
      ? show(c, pages.problemPage(code as ProblemCode))
      : show(c, pages.notFoundPage(), 404)
  })

  app.get('/connect/:id', async (c) => {
    const id = c.req.param('id')
    const entered = await enter(c, id)
    if (entered instanceof Response) return entered
    const { flow } = entered
    if (flow.parts !== undefined) return together(c, id, entered)
    if (flow.status !== 'pending') return ended(c, flow, null)
    return asking(c, id, entered)
  })

  app.post('/connect/:id', async (c) => {
    if (crossSite(c)) return show(c, pages.refusedFormPage(null), 403)
    const entered = await enter(c, c.req.param('id'))
    if (entered instanceof Response) return entered
    const { session } = entered
    let { flow } = entered
    const form = await c.req.parseBody()
    if (!frame.same(form['csrf'], frame.csrf(session, flow.hash)))
      return show(c, pages.refusedFormPage(null), 403)
    const after: After = { kind: 'ended', flow: flow.hash, account: null }
    const reads = signIn.kind === 'visit' ? null : session.person
    const over = (): Promise<Response> => frame.tell(c, 'result', after, reads)
    if (flow.status !== 'pending') return over()
    if (form['answer'] === 'no') {
      await flows.decline(flow, session.verified)
      return over()
    }
    if (form['answer'] !== 'yes') return show(c, pages.refusedFormPage(null), 400)
    if (flow.standing != null) {
      const days = daysOf(form['days'], flow.standing.days)
      const chosen = days === null ? null : await flows.choose(flow, days)
      if (chosen === null) return show(c, pages.refusedFormPage(null), 400)
      flow = chosen
    }
    const stored = await pasted(c, { flow, session }, form['key'])
    if (stored !== null) return stored
    if (signIn.kind === 'visit') {
      const flowId = await flows.askGrant(flow)
      const to = flowId === null ? null : signIn.at(flowId)
      if (to !== null) return frame.goOn(c, new URL(to).host, to)
    } else if (await flows.grantOnly(flow, session.verified)) {
      const next = wayOn(deps.returnTo, { ...flow, missing: [] })
      return next === null ? over() : frame.goOn(c, new URL(next).host, next)
    }
    const name = connections().get(flow.connection)?.provider.name ?? flow.connection
    try {
      const { location, state, cookie } = await flows.leg(flow, redirectUri(flow.connection))
      setCookie(c, cookies.write(legCookie(state), cookie, LEG_MS))
      return frame.goOn(c, name, location.href)
    } catch (error) {
      // It did not take the request, or nobody knows where it is: the link stays good.
      if (!(error instanceof Problem) || error.code !== 'credential_unavailable') throw error
      deps.log.error({ connection: flow.connection, reason: error.message }, 'nobody can connect')
      return show(c, pages.providerErrorPage(name), 502)
    }
  })

  /**
   * The flow when it has ended: the answer that came first may still be on its way to the provider.
   */
  const over = ({ hash, person, agent }: Flow, signal: AbortSignal): Promise<Flow> =>
    flows.status(`ac_${hash}`, { person, agent }, REPEATED_MS, signal)
  const redirectUri = (connection: string): string => `${publicUrl}/callback/${connection}`

  app.get('/callback/:connection', async (c) => {
    const session = await personAt(c)
    // Without a session nobody can be compared: nothing is spent, the link works again.
    if (session === null && signIn.kind !== 'visit')
      return frame.tell(c, 'result', { kind: 'nobody' } satisfies After, null)
    const params = new URL(c.req.url).searchParams
    const base = legCookie(params.get('state') ?? '')
    const connection = c.req.param('connection')
    const finished = await flows.finish({
      connection,
      params,
      cookie: reader(c)(cookies.name(base)) ?? null,
      person: session?.person ?? null,
      verified: session?.verified ?? false,
      redirectUri: redirectUri(connection),
      from: fromOf(c),
    })
    if ('flow' in finished) {
      about(c, finished.flow.hash)
      setCookie(c, cookies.write(base, '', 0))
    }
    if (finished.kind === 'awaiting' && signIn.kind === 'visit')
      return see(c, signIn.at(finished.flowId))
    const completed = finished.kind === 'completed' || finished.kind === 'partial'
    const again = finished.kind === 'repeated' ? await over(finished.flow, c.req.raw.signal) : null
    // Without a sign-in nobody knows who looks.
    if (again !== null && signIn.kind === 'visit') return show(c, pages.awaitingPage(), 409)
    if (again?.status === 'pending') return show(c, pages.brokenCallbackPage(), 400)
    const next = completed
      ? wayOn(deps.returnTo, finished.flow)
      : again?.status === 'completed'
        ? wayOn(deps.returnTo, again)
        : null
    if (next !== null) return see(c, next)
    if (finished.kind === 'wrong_person' && session !== null)
      setCookie(c, await signIn.end(session))
    // Code and state stay neither in the address nor in the history.
    const after: After =
      'flow' in finished
        ? {
            kind: 'ended',
            flow: finished.flow.hash,
            account: completed ? finished.account.slice(0, 256) : null,
            already: again !== null,
          }
        : { kind: finished.kind, reference: finished.reference ?? null }
    return frame.tell(c, 'result', after, after.kind === 'ended' ? (session?.person ?? null) : null)
  })

  app.get('/result', async (c) => {
    const session = await personAt(c)
    const after = (await frame.told(c, 'result', session?.person ?? null)) as After | null
    if (after !== null && after.kind !== 'ended' && after.reference) about(c, after.reference)
    switch (after?.kind) {
      case undefined:
        return show(c, pages.notFoundPage(), 404)
      case 'ended': {
        about(c, after.flow)
        const flow = await flows.byAuthorizationId(`ac_${after.flow}`)
        return flow === null
          ? show(c, pages.expiredPage(), 410)
          : ended(c, flow, after.account === '' ? null : after.account, {
              already: after.already === true,
              rest: await restOf(c, flow, session),
            })
      }
      case 'expired':
        return show(c, pages.expiredPage(), 410)
      case 'wrong_person':
        return show(c, pages.wrongPersonPage(), 403)
      case 'nobody':
        return show(c, pages.brokenCallbackPage(), 401)
      case 'unknown_state':
      case 'wrong_cookie':
      case 'wrong_provider':
      case 'iss_mismatch':
      case 'used':
        return show(c, pages.brokenCallbackPage(), 400)
      default:
        return after satisfies never
    }
  })

  app.route('/', door.app)
  app.route('/', createConnections(deps, frame, door))
  app.route('/', createAgentPages(deps, frame, door))
  if (asked !== null) app.route('/', asked.app)

  app.notFound((c) => show(c, pages.notFoundPage(), 404))
  app.onError((error, c) => {
    const code = error instanceof Problem ? error.code : null
    if (code === 'policy_denied') return show(c, pages.inactivePage(), 403)
    if (code === 'agent_disabled') return show(c, pages.agentOffPage(), 403)
    if (code === 'tenant_quota') return show(c, pages.tenantFullPage(), 403)
    if (code === 'authorization_not_found') return show(c, pages.expiredPage(), 410)
    // The provider did not take the request that was pushed to it (RFC 9126).
    if (code === 'credential_unavailable') return show(c, pages.providerErrorPage(null), 502)
    const reference = randomUUID()
    deps.log.error(
      { reference, err: { name: error.name, message: error.message } },
      'a page failed',
    )
    about(c, reference)
    return show(c, pages.failurePage(), 500)
  })
  return app
}

/** Approvals and stronger sign-ins; null: nobody could answer as an OpenID provider names them. */
const askedPages = (deps: ConnectDeps, frame: Frame, door: Door) => {
  const { signIn, asking } = deps
  if (signIn.kind !== 'oidc') return null
  const active = (person: Person): Promise<boolean> => deps.agents.active(person)
  const stepUp = createStepUpPages({ ...deps, ...asking, active }, frame, door, signIn)
  const app = createApprovalPages({ ...deps, ...asking }, frame, door, signIn)
  return { app: app.route('/', stepUp.app), came: stepUp.came }
}

/** A cookie a leg, so that two links in two tabs do not disturb each other. */
const legCookie = (state: string): string =>
  `deputy-leg-${createHash('sha256').update(state).digest('hex').slice(0, 16)}`
