// The console: pages on which operators see what happens, who is connected, and end what must end. A GET changes nothing.
import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { by, type May, type Operator } from '../../api/operator.ts'
import { rowsIn, type Recent, type Recorded, type Serves } from '../../audit/recent.ts'
import { storyOf } from '../../audit/story.ts'
import type { AgentAbout } from '../../config/agents.ts'
import { authorizationIdOf, type Asks } from '../../consent/asks.ts'
import type { SessionDeps } from '../../consent/session.ts'
import type { AgentOff, HeldConnection, Log, Person, Store } from '../../model.ts'
import { CATALOGUE, Problem, sentence, toProblem } from '../../problem.ts'
import { validId } from '../../wire/canonical.ts'
import { en } from '../languages/en.ts'
import type { Brand, Page } from '../markup.ts'
import { createFrame, secured } from '../page.ts'
import { createConsoleActs, type ConsoleActsDeps } from './acts.ts'
import { CONSOLE_STYLE, LIVE_SCRIPT } from './assets.ts'
import {
  agentPage,
  agentsPage,
  MOST_LISTED,
  peoplePage,
  personPage,
  runsPage,
  waitingPage,
  type AgentRow,
} from './lists_page.ts'
import { createLive } from './live.ts'
import { callPage, MOST_ROWS, nowPage } from './now_page.ts'
import type { ConsoleSession, ConsoleSignIn } from './session.ts'
import { HOME, strayPage, type Viewer } from './shell.ts'
import { healthPage, policyPage, type Check, type PolicyView } from './state_page.ts'
import { isEffect, toldOf, USUAL, type Effect } from './told.ts'

const FORM_BYTES = 16_384
/** Of an address to come back to after the sign-in: it travels in a cookie. */
const MOST_BACK = 1_000
const MOST_WAITING = 500
/** People who are read at a stretch. */
const OWNERS = 2_000
const SIGN_OUT = 'sign-out'

export type ConsoleDeps = ConsoleActsDeps & {
  readonly session: SessionDeps
  readonly signIn: ConsoleSignIn
  readonly brand: Brand | null
  readonly recent: Pick<Recent, 'after' | 'decision' | 'newest' | 'subscribe' | 'hour'>
  /** When this process began, ms since the epoch. */
  readonly since: number
  readonly flows: Pick<Store['flows'], 'waiting'>
  readonly asks: ConsoleActsDeps['asks'] & Pick<Asks, 'list'>
  readonly agents: {
    readonly about: ReadonlyMap<string, AgentAbout>
    readonly list: () => Promise<readonly AgentOff[]>
  }
  readonly policy: () => Omit<PolicyView, 'loads' | 'differences'>
  readonly checks: () => Promise<readonly Check[]>
  readonly onEvent: (event: string, fields: object) => Promise<void>
  readonly log: Log
}
export type Console = { readonly app: Hono; readonly close: () => void }

/** Who looks; null: all tenants. */
const servesOf = ({ tenants }: Operator): Serves | null =>
  tenants === undefined ? null : (tenant) => tenants.includes(tenant)
const mayDo = ({ may, sso }: Operator, what: May): boolean =>
  may.includes(what) || sso?.glass?.shut === null
const effectsIn = (values: readonly string[]): readonly Effect[] => {
  const asked = values.flatMap((value) => value.split(',')).filter(isEffect)
  return asked.length === 0 ? USUAL : asked
}

const byPerson = (held: readonly HeldConnection[]) =>
  [...Map.groupBy(held, ({ person: { tenant, realm, id } }) => JSON.stringify([tenant, realm, id]))]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, of]) => (of[0] === undefined ? [] : [{ person: of[0].person, held: of }]))

export const createConsole = (deps: ConsoleDeps): Console => {
  const { signIn, gate, recent, vault, onEvent, log } = deps
  const frame = createFrame({ ...deps.session, brand: deps.brand, texts: en, scripts: true })
  const { show, see, reader, setCookie } = frame
  const live = createLive({ recent, placed: frame.placed })
  const actOn = createConsoleActs(deps)
  const app = new Hono()

  const viewerOf = (session: ConsoleSession): Viewer => ({
    operator: session.operator,
    csrf: frame.csrf(session, HOME),
    acts: { revoke: mayDo(session.operator, 'revoke'), runs: mayDo(session.operator, 'runs') },
  })
  const failed = (c: Context, error: unknown): Response | Promise<Response> => {
    const { code, message } = toProblem(error)
    const { status } = CATALOGUE[code]
    if (status >= 500 || !(error instanceof Problem)) {
      const reference = randomUUID()
      frame.about(c, reference)
      log.error({ reference, code, reason: message }, 'a page of the console failed')
    }
    const lines = error instanceof Problem ? [sentence(message)] : []
    const page = strayPage(CATALOGUE[code].title, lines, 'To the console', 'bad')
    return show(c, page, status as ContentfulStatusCode)
  }
  const askWho = async (c: Context, back: string): Promise<Response> => {
    try {
      const { location, cookie } = await signIn.start(back)
      setCookie(c, cookie)
      return see(c, location.href)
    } catch (error) {
      log.error({ err: error }, 'nobody can sign in to the console')
      return failed(c, new Problem('issuer_unavailable', 'the sign-in cannot be reached now'))
    }
  }
  const looked = (operator: Operator, what: string, more: object = {}): Promise<void> =>
    onEvent('operator.listed', { ...by(operator), what: `console/${what}`, ...more })

  /** A page for whoever signed in with a role. What it shows of others is recorded before. */
  const page = (
    path: string,
    what: string,
    make: (c: Context, viewer: Viewer, session: ConsoleSession) => Promise<Page | Response>,
    or: May = 'connections',
  ): void => {
    app.get(`${HOME}${path}`, async (c) => {
      const session = await signIn.session(reader(c))
      if (session === null) {
        const { pathname, search } = new URL(c.req.url)
        const back = `${pathname}${search}`
        if (what === 'live') return c.text('Sign in.', 401)
        return askWho(c, back.length > MOST_BACK ? HOME : back)
      }
      const { operator } = session
      await gate.permit(operator, { may: 'connections', or, method: c.req.method })
      await looked(operator, what, await personIn(c, operator))
      const made = await make(c, viewerOf(session), session)
      return made instanceof Response ? made : show(c, made)
    })
  }
  /** Whom a page is about, for the record. */
  const personIn = async (c: Context, operator: Operator): Promise<{ readonly user?: Person }> => {
    const { tenant, realm, id } = c.req.query()
    if (tenant === undefined || realm === undefined || id === undefined) return {}
    if (![tenant, realm, id].every(validId))
      throw new Problem('request_invalid', 'nobody can be named like this')
    await gate.mustServe(operator, tenant)
    return { user: { tenant, realm, id } }
  }
  const heldBy = async (operator: Operator): Promise<readonly HeldConnection[]> =>
    (await vault.list({})).filter(({ person }) => gate.serves(operator, person.tenant))

  /** The first whose id has the text, and whether there are more: so few are shown that nobody waits for all of them. */
  const peopleNamed = async (operator: Operator, text: string) => {
    const found: Person[] = []
    for (let after: Person | null = null; found.length <= MOST_LISTED;) {
      const page: readonly Person[] = await vault.owners(after, OWNERS)
      after = page.at(-1) ?? null
      if (after === null) break
      found.push(
        ...page.filter(({ tenant, id }) => id.includes(text) && gate.serves(operator, tenant)),
      )
      // An embedded store answers at once: calls get their turn here.
      await turn()
    }
    return { first: found.slice(0, MOST_LISTED), more: found.length > MOST_LISTED }
  }

  app.use(secured, async (c, next) => {
    c.header('Cache-Control', 'no-store')
    await next()
  })
  const refusedForm = strayPage(
    'This form was not accepted',
    ['It was too old, or did not come from these pages. Nothing was done.'],
    'To the console',
  )
  app.use(bodyLimit({ maxSize: FORM_BYTES, onError: (c) => show(c, refusedForm, 413) }))

  const asset = (path: string, type: string, text: string): void => {
    app.get(`${HOME}/${path}`, (c) => {
      c.header('Cache-Control', 'public, max-age=3600')
      return c.body(text, 200, { 'Content-Type': `${type}; charset=utf-8` })
    })
  }
  asset('style.css', 'text/css', CONSOLE_STYLE)
  asset('live.js', 'text/javascript', LIVE_SCRIPT)

  page('', 'now', async (c, viewer) => {
    const serves = servesOf(viewer.operator)
    const effects = effectsIn(c.req.queries('effect') ?? [])
    const newest = recent.newest()
    const rows = rowsIn(recent.after(0, serves))
      .map(toldOf)
      .filter(({ effect }) => effects.includes(effect))
      .slice(-MOST_ROWS)
      .toReversed()
    const minutes = recent.hour(deps.session.clock.now(), serves)
    return nowPage(viewer, { minutes, rows, effects, newest, since: deps.since })
  })

  page('/live', 'live', async (c, viewer, { key }) => {
    // Its answer has no body, so nobody would ever read the stream or leave it.
    if (c.req.method === 'HEAD') return c.body(null)
    const { operator } = viewer
    const since = Number(c.req.query('since') ?? 0)
    const stream = live.open({
      name: operator.name,
      serves: servesOf(operator),
      effects: effectsIn(c.req.queries('effect') ?? []),
      since: Number.isSafeInteger(since) && since >= 0 ? since : recent.newest(),
      key,
      stands: async () => {
        const still = await signIn.session(reader(c))
        return (
          still !== null &&
          mayDo(still.operator, 'connections') &&
          JSON.stringify(still.operator.tenants) === JSON.stringify(operator.tenants)
        )
      },
    })
    if (stream === null) return c.text('Too many live views are open.', 429)
    return c.body(stream, 200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'X-Accel-Buffering': 'no',
    })
  })

  page('/call', 'call', async (c, viewer) => {
    const exchange = c.req.query('exchange') ?? ''
    const all = recent
      .after(0, servesOf(viewer.operator))
      .filter((one) => exchange !== '' && one.exchange === exchange)
    const rows = rowsIn(all)
    const last = rows.findLast(({ fields }) => fields['event'] !== 'policy.shadow') ?? null
    const told = last === null ? null : toldOf(last)
    return callPage(viewer, { exchange, lines: storyOf(rows), told })
  })

  page('/people', 'people', async (c, viewer) => {
    const wanted = (c.req.query('user') ?? '').replaceAll(/\p{C}/gu, '').trim().slice(0, 256)
    const { first, more } = await peopleNamed(viewer.operator, wanted)
    const people = []
    for (const person of first) {
      const held = await vault.list(person)
      // Who gave their last one up meanwhile is none of them.
      if (held.length > 0) people.push({ person, held })
    }
    return peoplePage(viewer, { wanted, people, more })
  })

  page('/person', 'person', async (c, viewer) => {
    const { user } = await personIn(c, viewer.operator)
    if (user === undefined) throw new Problem('not_found', 'no person is named')
    const { tenant, realm, id } = user
    const of = { tenant, realm, user: id }
    return personPage(viewer, {
      person: user,
      held: await vault.list({ tenant, realm, id }),
      runs: await deps.runs.list(of),
      standings: await deps.standings.list(of),
      now: deps.session.clock.now(),
    })
  })

  const agentRow = (
    operator: Operator,
    id: string,
    of: { readonly held: readonly HeldConnection[]; readonly off: readonly AgentOff[] },
  ): AgentRow => {
    const mine = of.held.filter((one) => one.agents.some(({ agent }) => agent === id))
    const about = deps.agents.about.get(id) ?? null
    const owner = about?.owner ?? null
    return {
      id,
      // Who owns it is no business of another tenant's.
      about:
        about === null || owner === null || gate.serves(operator, owner.tenant)
          ? about
          : { ...about, owner: null },
      off: of.off.filter(({ agent }) => agent === id),
      people: byPerson(mine).length,
      connections: [...new Set(mine.map(({ connection }) => connection))].sort(),
    }
  }
  const agentsFor = async (operator: Operator) => {
    const held = await heldBy(operator)
    const off = (await deps.agents.list()).filter(
      ({ tenant }) => tenant === null || gate.serves(operator, tenant),
    )
    const known = [...deps.agents.about.values()].filter(
      ({ owner }) => owner === null || gate.serves(operator, owner.tenant),
    )
    const ids = new Set([
      ...known.map(({ id }) => id),
      ...off.map(({ agent }) => agent),
      ...held.flatMap((one) => one.agents.map(({ agent }) => agent)),
    ])
    return { held, off, ids }
  }

  page('/agents', 'agents', async (_, { ...viewer }) => {
    const { ids, ...of } = await agentsFor(viewer.operator)
    return agentsPage(
      viewer,
      [...ids].sort().map((id) => agentRow(viewer.operator, id, of)),
    )
  })

  page('/agent', 'agent', async (c, viewer) => {
    const { operator } = viewer
    const { ids, ...of } = await agentsFor(operator)
    const id = c.req.query('id') ?? ''
    if (!ids.has(id)) throw new Problem('not_found', 'no agent of yours has this id')
    const row = agentRow(operator, id, of)
    const places = operator.tenants ?? [null]
    const isOff = (place: string | null): boolean => row.off.some(({ tenant }) => tenant === place)
    return agentPage(viewer, {
      ...row,
      mayDisable: places.some((place) => !isOff(place)),
      mayEnable: places.some(isOff),
      grants: of.held.flatMap(({ person, connection, agents }) =>
        agents
          .filter(({ agent }) => agent === id)
          .map(({ scopes, lastUsedAt }) => ({ person, connection, scopes, lastUsedAt })),
      ),
    })
  })

  page(
    '/runs',
    'runs',
    async (_, viewer) => {
      const runs = (await deps.runs.list({})).filter(({ tenant }) =>
        gate.serves(viewer.operator, tenant),
      )
      const newest = [...runs].sort((a, b) => b.createdAt - a.createdAt)
      return runsPage(viewer, newest, deps.session.clock.now())
    },
    'list',
  )

  page('/waiting', 'waiting', async (_, viewer) => {
    const { operator } = viewer
    const now = deps.session.clock.now()
    const flows = await Promise.all(
      (operator.tenants ?? [null]).map((tenant) => deps.flows.waiting(tenant, now, MOST_WAITING)),
    )
    const asks = (await deps.asks.list({})).filter(({ tenant }) => gate.serves(operator, tenant))
    return waitingPage(viewer, {
      flows: flows.flat().sort((a, b) => b.createdAt - a.createdAt),
      asks: asks.map((row) => ({ row, id: authorizationIdOf(row) })),
    })
  })

  page('/policy', 'policy', async (_, viewer) => {
    const serves = servesOf(viewer.operator)
    const newest = (all: readonly Recorded[], of: (event: string) => boolean) =>
      all.filter(({ event }) => of(event)).toReversed()
    const state = deps.policy()
    return policyPage(viewer, {
      ...state,
      // Which policy decides is no secret of a tenant's.
      loads: newest(
        recent.after(0, null),
        (event) => event === 'policy.loaded' || event === 'policy.failed',
      ),
      differences: newest(recent.after(0, serves), (event) => event === 'policy.shadow'),
    })
  })

  page('/health', 'health', async (_, viewer) =>
    healthPage(viewer, await deps.checks(), viewer.operator.tenants === undefined),
  )

  app.get(`${HOME}/callback`, async (c) => {
    const result = await signIn.finish(new URL(c.req.url).search.slice(1), reader(c))
    if (result.kind === 'refused') {
      const reference = randomUUID()
      frame.about(c, reference)
      log.warn({ reference, reason: result.reason }, 'a sign-in to the console was refused')
      const lines = ['The organisation’s sign-in gave no answer that deputy takes.']
      return show(c, strayPage('The sign-in failed', lines, 'Sign in again', 'bad'), 400)
    }
    for (const cookie of result.cookies) setCookie(c, cookie)
    return see(c, result.back)
  })

  /** The form of whoever is signed in; null: it is none. */
  const formOf = async (c: Context) => {
    if (frame.crossSite(c)) return null
    const session = await signIn.session(reader(c))
    if (session === null) return null
    const { csrf, ...fields } = await c.req.parseBody().catch(() => ({ csrf: '' })) // it is no form
    if (!frame.same(csrf, frame.csrf(session, HOME))) return null
    const texts = Object.entries(fields).flatMap(([name, value]) =>
      typeof value === 'string' ? [[name, value] as const] : [],
    )
    return { session, fields: Object.fromEntries(texts) }
  }

  app.post(`${HOME}/act`, async (c) => {
    const form = await formOf(c)
    if (form === null) return show(c, refusedForm, 403)
    const viewer = viewerOf(form.session)
    return show(c, await actOn(c, viewer, form.fields))
  })

  app.post(`${HOME}/${SIGN_OUT}`, async (c) => {
    const form = await formOf(c)
    if (form === null) return show(c, refusedForm, 403)
    setCookie(c, await signIn.end(form.session))
    live.end(form.session.key)
    return show(c, strayPage('Signed out', ['Nobody is signed in here now.'], 'Sign in', 'good'))
  })

  app.notFound((c) => failed(c, new Problem('not_found', 'the console has no such page')))
  app.onError((error, c) => failed(c, error))
  return { app, close: live.close }
}
