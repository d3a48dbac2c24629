// The connect listener: links, sign-in, the provider's answer. GET changes nothing that a link preview could reach.
import { createHmac, createHash, timingSafeEqual } from 'node:crypto'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { getCookie } from 'hono/cookie'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Connection, Flow, Log } from '../model.ts'
import type { Finished } from '../oauth/callback.ts'
import { samePerson } from '../oauth/confirm.ts'
import type { Flows } from '../oauth/flow.ts'
import { createCookies } from '../oauth/session.ts'
import type { Session, Visits } from '../oauth/session.ts'
import type { LocalSignIn, OidcSignIn } from '../oauth/sign_in.ts'
import { CATALOGUE, Problem } from '../problem.ts'
import type { ProblemCode } from '../problem.ts'
import * as pages from './pages.ts'

/** Nobody signed in: the callback has only the browser's cookie. */
const UNNAMED = { person: null, verified: false }
const FORM_BYTES = 16_384
const LEG_MS = 600_000

export type ConnectDeps = {
  readonly flows: Flows
  /** Who is at the page; `visit`: the application will say. */
  readonly signIn: OidcSignIn | LocalSignIn | Visits
  readonly connections: () => ReadonlyMap<string, Connection>
  /** `connect.url`, without a trailing slash. */
  readonly publicUrl: string
  /** Origins that `next_uri` may name. */
  readonly returnTo: readonly string[]
  readonly onEvent: (event: string, fields: object) => void | Promise<void>
  readonly log: Log
}

/** Is this next_uri one that the configuration allows? */
export const mayReturnTo = (returnTo: readonly string[], nextUri: string): boolean =>
  URL.canParse(nextUri) &&
  /^https?:$/.test(new URL(nextUri).protocol) &&
  returnTo.includes(new URL(nextUri).origin)

export const createConnectApp = (deps: ConnectDeps): Hono => {
  const { flows, signIn, connections, publicUrl } = deps
  const origin = new URL(publicUrl).origin
  const cookies = createCookies(publicUrl)
  const app = new Hono()

  const show = (
    c: Context,
    markup: pages.Html,
    status: ContentfulStatusCode = 200,
    formAction: readonly string[] = [],
  ): Response | Promise<Response> => {
    const targets = ["'self'", ...formAction].join(' ')
    c.header(
      'Content-Security-Policy',
      `default-src 'none'; style-src 'self'; img-src data:; form-action ${targets}; frame-ancestors 'none'; base-uri 'none'`,
    )
    return c.html(markup, status)
  }
  const see = (c: Context, location: string): Response => c.redirect(location, 303)
  const reader =
    (c: Context) =>
    (name: string): string | undefined =>
      getCookie(c, name)

  /** Bound to this session and this flow; the key is known to the sealed cookie alone. */
  const csrfOf = (session: Session, flow: Flow): string =>
    createHmac('sha256', session.key).update(flow.hash).digest('base64url')

  /**
   * A page of another origin may not post here. Under `Referrer-Policy: no-referrer` browsers write `Origin: null`
   * on our own forms, so that value says nothing and Sec-Fetch-Site and the token decide.
   */
  const crossSite = (c: Context): boolean => {
    const from = c.req.header('origin')
    const site = c.req.header('sec-fetch-site')
    return (
      (from !== undefined && from !== 'null' && from !== origin) ||
      (site !== undefined && site !== 'same-origin' && site !== 'none')
    )
  }

  const done = (c: Context, flow: Flow, account: string | null): Response | Promise<Response> => {
    const connection = connections().get(flow.connection)
    if (connection === undefined) return show(c, pages.expiredPage(), 410)
    return show(
      c,
      pages.donePage({
        connection,
        agent: flow.agent,
        person: flow.person,
        account,
        missing: flow.missing,
      }),
    )
  }
  const leave = (c: Context, flow: Flow, account: string | null): Response | Promise<Response> =>
    flow.nextUri !== null && flow.missing.length === 0 && mayReturnTo(deps.returnTo, flow.nextUri)
      ? see(c, flow.nextUri)
      : done(c, flow, account)

  const ended = (c: Context, flow: Flow): Response | Promise<Response> => {
    if (flow.status === 'completed') return done(c, flow, null)
    const name = connections().get(flow.connection)?.provider.name ?? flow.connection
    if (flow.failure === 'user_inactive') return show(c, pages.inactivePage(), 403)
    if (flow.failure === 'denied') return show(c, pages.deniedPage())
    if (flow.failure === 'account_mismatch') return show(c, pages.mismatchPage(name), 409)
    if (flow.failure === 'provider_error') return show(c, pages.providerErrorPage(name), 502)
    return show(c, pages.expiredPage(), 410)
  }

  /** The browser is bound by its cookie; nobody says yet that it is the flow's person who sits there. */
  const visitOf = async (c: Context, visits: Visits, flow: Flow): Promise<Session> => {
    let visit = await visits.visit(reader(c))
    if (visit === null) {
      const { key, cookie } = await visits.begin()
      c.header('Set-Cookie', cookie, { append: true })
      visit = { key }
    }
    return { person: flow.person, verified: false, key: visit.key, expiresAt: 0 }
  }
  /** The application's page, which signs the person in and confirms. */
  const verifierAt = (url: string, flowId: string): string => {
    const at = new URL(url)
    at.searchParams.set('flow_id', flowId)
    return at.href
  }

  /** The flow of this link and the person it is for, or the answer that ends the matter. */
  const enter = async (
    c: Context,
    id: string,
  ): Promise<{ readonly flow: Flow; readonly session: Session } | Response> => {
    const flow = await flows.find(id)
    if (flow === null) return show(c, pages.expiredPage(), 404)
    if (signIn.kind === 'visit') {
      if (flow.awaiting === true) return show(c, pages.awaitingPage(), 409)
      return { flow, session: await visitOf(c, signIn, flow) }
    }
    const session = await signIn.session(reader(c))
    if (session === null || (signIn.kind === 'local' && !samePerson(session.person, flow.person))) {
      if (signIn.kind === 'local')
        return show(c, pages.codePage({ back: `/connect/${id}`, failed: false, wait: false }), 401)
      const { location, cookie } = await signIn.start(`/connect/${id}`)
      c.header('Set-Cookie', cookie, { append: true })
      return see(c, location.href)
    }
    if (!samePerson(session.person, flow.person)) {
      await mismatch(flow, session)
      // Ended here, so that the same link asks again who is there.
      c.header('Set-Cookie', signIn.end(), { append: true })
      return show(c, pages.wrongPersonPage(), 403)
    }
    return { flow, session }
  }
  const mismatch = (flow: Flow, session: Session): void | Promise<void> =>
    deps.onEvent('consent.user_mismatch', {
      flow: flow.hash,
      user: flow.person,
      agent: flow.agent,
      connection: flow.connection,
      by: session.person,
      verified: session.verified,
      at: 'link',
    })

  app.use(async (c, next) => {
    c.header('Referrer-Policy', 'no-referrer')
    c.header('X-Content-Type-Options', 'nosniff')
    c.header('Cache-Control', 'no-store')
    c.header('Cross-Origin-Opener-Policy', 'same-origin')
    c.header('Content-Security-Policy', "default-src 'none'; frame-ancestors 'none'")
    await next()
  })
  app.use(bodyLimit({ maxSize: FORM_BYTES, onError: (c) => show(c, pages.refusedFormPage(), 413) }))

  app.get('/', (c) => show(c, pages.indexPage()))
  app.get('/style.css', (c) => {
    c.header('Cache-Control', 'public, max-age=3600')
    return c.body(pages.STYLE, 200, { 'Content-Type': 'text/css; charset=utf-8' })
  })
  app.get('/problems/:code', (c) => {
    const code = c.req.param('code')
    return Object.hasOwn(CATALOGUE, code)
      ? show(c, pages.problemPage(code, CATALOGUE[code as ProblemCode]))
      : show(c, pages.notFoundPage(), 404)
  })

  app.get('/connect/:id', async (c) => {
    const id = c.req.param('id')
    const entered = await enter(c, id)
    if (entered instanceof Response) return entered
    const { flow, session } = entered
    if (flow.status !== 'pending') return ended(c, flow)
    const connection = connections().get(flow.connection)
    const plan = await flows.plan(flow)
    if (connection === undefined || plan.kind === 'gone') return show(c, pages.expiredPage(), 410)
    await deps.onEvent('consent.opened', {
      flow: flow.hash,
      user: flow.person,
      agent: flow.agent,
      connection: flow.connection,
      verified: session.verified,
    })
    const asked = plan.kind === 'provider' ? plan.asked : []
    // Browsers apply form-action to every redirect that follows the form: the provider and next_uri are two of them.
    const verifier = signIn.kind === 'visit' ? signIn.url : null
    const hops = [connection.provider.authorize, flow.nextUri, verifier].flatMap((uri) =>
      uri !== null && URL.canParse(uri) ? [new URL(uri).origin] : [],
    )
    return show(
      c,
      pages.connectPage({
        connection,
        agent: flow.agent,
        person: flow.person,
        verified: session.verified,
        scopes: flow.scopes,
        again: asked.filter((scope) => !flow.scopes.includes(scope)),
        step: plan.kind,
        reauthorization: flow.reauthorization,
        csrf: csrfOf(session, flow),
        action: `/connect/${id}`,
      }),
      200,
      hops,
    )
  })

  app.post('/connect/:id', async (c) => {
    if (crossSite(c)) return show(c, pages.refusedFormPage(), 403)
    const entered = await enter(c, c.req.param('id'))
    if (entered instanceof Response) return entered
    const { flow, session } = entered
    const form = await c.req.parseBody()
    if (!same(form['csrf'], csrfOf(session, flow))) return show(c, pages.refusedFormPage(), 403)
    if (flow.status !== 'pending') return ended(c, flow)
    if (form['answer'] === 'no') {
      await flows.decline(flow, session.verified)
      return show(c, pages.deniedPage())
    }
    if (form['answer'] !== 'yes') return show(c, pages.refusedFormPage(), 400)
    if (signIn.kind === 'visit') {
      const flowId = await flows.askGrant(flow)
      if (flowId !== null) return see(c, verifierAt(signIn.url, flowId))
    } else if (await flows.grantOnly(flow, session.verified))
      return leave(c, { ...flow, status: 'completed' }, null)
    const { location, cookie } = await flows.leg(flow, redirectUri(flow.connection))
    const base = legCookie(location.searchParams.get('state') ?? '')
    c.header('Set-Cookie', cookies.write(base, cookie, LEG_MS), { append: true })
    return see(c, location.href)
  })

  const redirectUri = (connection: string): string => `${publicUrl}/callback/${connection}`

  app.get('/callback/:connection', async (c) => {
    const session = signIn.kind === 'visit' ? UNNAMED : await signIn.session(reader(c))
    // Without a session nobody can be compared: nothing is spent, the link works again.
    if (session === null) return show(c, pages.brokenCallbackPage(), 401)
    const params = new URL(c.req.url).searchParams
    const base = legCookie(params.get('state') ?? '')
    const connection = c.req.param('connection')
    const finished = await flows.finish({
      connection,
      params,
      cookie: getCookie(c, cookies.name(base)) ?? null,
      person: session.person,
      verified: session.verified,
      redirectUri: redirectUri(connection),
    })
    return answer(c, finished, base)
  })
  const answer = (c: Context, finished: Finished, base: string): Response | Promise<Response> => {
    if ('flow' in finished) c.header('Set-Cookie', cookies.write(base, '', 0), { append: true })
    switch (finished.kind) {
      case 'completed':
      case 'partial':
        return leave(c, finished.flow, finished.account === '' ? null : finished.account)
      case 'denied':
      case 'provider_error':
      case 'account_mismatch':
      case 'user_inactive':
        return ended(c, finished.flow)
      case 'awaiting':
        return signIn.kind === 'visit'
          ? see(c, verifierAt(signIn.url, finished.flowId))
          : show(c, pages.failurePage(), 500)
      case 'expired':
        return show(c, pages.expiredPage(), 410)
      case 'wrong_person':
        if (signIn.kind !== 'visit') c.header('Set-Cookie', signIn.end(), { append: true })
        return show(c, pages.wrongPersonPage(), 403)
      case 'unknown_state':
      case 'wrong_cookie':
      case 'wrong_provider':
      case 'iss_mismatch':
      case 'used':
        return show(c, pages.brokenCallbackPage(), 400)
      default:
        return finished satisfies never
    }
  }

  app.get('/sign-in/callback', async (c) => {
    if (signIn.kind !== 'oidc') return show(c, pages.notFoundPage(), 404)
    const result = await signIn.finish(new URL(c.req.url).search.slice(1), reader(c))
    if (result.kind === 'refused') {
      deps.log.warn({ reason: result.reason }, 'sign-in refused')
      return show(c, pages.signInFailedPage(), 400)
    }
    for (const cookie of result.cookies) c.header('Set-Cookie', cookie, { append: true })
    return see(c, result.back)
  })

  app.post('/sign-in/local', async (c) => {
    if (signIn.kind !== 'local') return show(c, pages.notFoundPage(), 404)
    if (crossSite(c)) return show(c, pages.refusedFormPage(), 403)
    const form = await c.req.parseBody()
    const { back, code } = form
    const id =
      typeof back === 'string' ? /^\/connect\/([A-Za-z0-9_-]+)$/.exec(back)?.[1] : undefined
    const flow = id === undefined ? null : await flows.find(id)
    if (typeof back !== 'string' || typeof code !== 'string' || flow === null)
      return show(c, pages.expiredPage(), 404)
    const result = await signIn.enter(code, flow.person)
    if (result.kind !== 'signed_in') {
      const wait = result.kind === 'wait'
      return show(c, pages.codePage({ back, failed: !wait, wait }), wait ? 429 : 401)
    }
    c.header('Set-Cookie', result.cookie, { append: true })
    return see(c, back)
  })

  app.notFound((c) => show(c, pages.notFoundPage(), 404))
  app.onError((error, c) => {
    if (error instanceof Problem && error.code === 'policy_denied')
      return show(c, pages.inactivePage(), 403)
    deps.log.error({ err: { name: error.name, message: error.message } }, 'a page failed')
    return show(c, pages.failurePage(), 500)
  })
  return app
}

/** A cookie a leg, so that two links in two tabs do not disturb each other. */
const legCookie = (state: string): string =>
  `deputy-leg-${createHash('sha256').update(state).digest('hex').slice(0, 16)}`

const same = (given: unknown, expected: string): boolean => {
  const [a, b] = [Buffer.from(typeof given === 'string' ? given : ''), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}
