// The console: pages on which operators see what happens, who is connected, and end what must end. A GET changes nothing.
import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { by, type May, type Operator } from '../../api/operator.ts'
import { rowsIn, type Recent, type Recorded, type Serves } from '../../audit/recent.ts'
import { storyOf } from '../../audit/story.ts'
import type { AgentAbout } from '../../config/agents.ts'
import type { Logo } from '../../config/logo.ts'
import { authorizationIdOf, type Asks } from '../../consent/asks.ts'
import type { SessionDeps } from '../../consent/session.ts'
import type { AgentOff, Log, Person, Store } from '../../model.ts'
import { CATALOGUE, Problem, sentence, toProblem } from '../../problem.ts'
import type { Lists } from '../../vault/lists.ts'
import { validId } from '../../wire/canonical.ts'
import { en } from '../languages/en.ts'
import { STYLE, type Brand, type Page } from '../markup.ts'
import { createFrame, logoAnswer, secured } from '../page.ts'
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
const MOST_RUNS = MOST_LISTED + 1
const SIGN_OUT = 'sign-out'

type ConsoleDeps = ConsoleActsDeps & {
  readonly session: SessionDeps
  readonly signIn: ConsoleSignIn
  readonly brand: Brand | null
  readonly logo: Logo | null
  readonly recent: Pick<Recent, 'after' | 'decision' | 'newest' | 'subscribe' | 'hour'>
  /** When this process began, ms since the epoch. */
  readonly since: number
  readonly flows: Pick<Store['flows'], 'waiting'>
  readonly lists: Lists
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

/** Where a list goes on, as an address of ours said it; null: at its beginning. */
const afterIn = (c: Context): readonly string[] | null => {
  try {
    const said: unknown = JSON.parse(c.req.query('after') ?? '')
    const named = (one: unknown): boolean => typeof one === 'string' && (one === '' || validId(one))
    return Array.isArray(said) && said.every(named) ? (said as readonly string[]) : null
  } catch {
    return null // it is no address of ours
  }
}

export const createConsole = (deps: ConsoleDeps): Console => {
  const { signIn, gate, recent, vault, lists, onEvent, log } = deps
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

  /** The newest of each tenant that the operator serves, or of all. */
  const each = async <T>(
    { tenants }: Operator,
    read: (of: { readonly tenant?: string }) => Promise<readonly T[]>,
  ): Promise<T[]> => {
    const places = tenants?.map((tenant) => ({ tenant })) ?? [{}]
    return (await Promise.all(places.map(read))).flat()
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
    app.get(path, (c) => {
      c.header('Cache-Control', 'public, max-age=3600')
      return c.body(text, 200, { 'Content-Type': `${type}; charset=utf-8` })
    })
  }
  asset(`${HOME}/style.css`, 'text/css', CONSOLE_STYLE)
  asset(`${HOME}/live.js`, 'text/javascript', LIVE_SCRIPT)
  // Beside the pages for people these are theirs; on a listener of the operators' own nobody else has them.
  asset('/style.css', 'text/css', STYLE)
  app.get('/logo', (c) => logoAnswer(c, deps.logo) ?? c.notFound())

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
    const [tenant, realm, id] = afterIn(c) ?? []
    const after = tenant && realm && id ? { tenant, realm, id } : null
    const listed = await lists.people(viewer.operator.tenants, { part: wanted, after })
    return peoplePage(viewer, { wanted, ...listed, begun: after !== null })
  })

  page('/person', 'person', async (c, viewer) => {
    const { user } = await personIn(c, viewer.operator)
    if (user === undefined) throw new Problem('not_found', 'no person is named')
    const { tenant, realm, id } = user
    const of = { tenant, realm, user: id }
    return personPage(viewer, {
      person: user,
      held: await vault.list({ tenant, realm, id }),
      runs: await deps.runs.list({ ...of, most: MOST_RUNS }),
      standings: await deps.standings.list(of),
      now: deps.session.clock.now(),
    })
  })

  /** What this operator may know of agents beside what people allow them. */
  const agentsFor = async (operator: Operator) => {
    const off = (await deps.agents.list()).filter(
      ({ tenant }) => tenant === null || gate.serves(operator, tenant),
    )
    const known = [...deps.agents.about.values()].filter(
      ({ owner }) => owner === null || gate.serves(operator, owner.tenant),
    )
    const ids = new Set([...known.map(({ id }) => id), ...off.map(({ agent }) => agent)])
    const rowOf = async (id: string): Promise<AgentRow> => {
      const about = deps.agents.about.get(id) ?? null
      const owner = about?.owner ?? null
      return {
        id,
        // Who owns it is no business of another tenant's.
        about:
          about === null || owner === null || gate.serves(operator, owner.tenant)
            ? about
            : { ...about, owner: null },
        off: off.filter(({ agent }) => agent === id),
        ...(await lists.reach(operator.tenants, id)),
      }
    }
    return { ids, rowOf }
  }

  page('/agents', 'agents', async (c, { ...viewer }) => {
    const { ids, rowOf } = await agentsFor(viewer.operator)
    const asked = c.req.query('after') ?? ''
    const after = validId(asked) ? asked : ''
    const listed = await lists.agents(viewer.operator.tenants, { known: [...ids], after })
    const rows: AgentRow[] = []
    for (const id of listed.rows) rows.push(await rowOf(id))
    return agentsPage(viewer, { rows, next: listed.next, begun: after !== '' })
  })

  page('/agent', 'agent', async (c, viewer) => {
    const { operator } = viewer
    const { ids, rowOf } = await agentsFor(operator)
    const id = c.req.query('id') ?? ''
    const row = validId(id) ? await rowOf(id) : null
    if (row === null || (!ids.has(id) && row.people === 0))
      throw new Problem('not_found', 'no agent of yours has this id')
    const places = operator.tenants ?? [null]
    const isOff = (place: string | null): boolean => row.off.some(({ tenant }) => tenant === place)
    const [tenant = '', realm = '', user = '', connection = ''] = afterIn(c) ?? []
    const after = tenant && realm && user && connection ? { tenant, realm, user, connection } : null
    return agentPage(viewer, {
      ...row,
      mayDisable: places.some((place) => !isOff(place)),
      mayEnable: places.some(isOff),
      grants: await lists.grants(operator.tenants, id, after),
      begun: after !== null,
    })
  })

  page(
    '/runs',
    'runs',
    async (_, viewer) => {
      const runs = await each(viewer.operator, (of) => deps.runs.list({ ...of, most: MOST_RUNS }))
      const newest = runs.sort((a, b) => b.createdAt - a.createdAt)
      return runsPage(viewer, newest, deps.session.clock.now())
    },
    'list',
  )

  page('/waiting', 'waiting', async (_, viewer) => {
    const { operator } = viewer
    const now = deps.session.clock.now()
    const flows = await each(operator, ({ tenant = null }) =>
      deps.flows.waiting(tenant, now, MOST_WAITING),
    )
    const asks = await each(operator, (of) => deps.asks.list({ ...of, most: MOST_WAITING }))
    return waitingPage(viewer, {
      flows: flows.sort((a, b) => b.createdAt - a.createdAt),
      asks: asks
        .sort((a, b) => b.createdAt - a.createdAt)
        .map((row) => ({ row, id: authorizationIdOf(row) })),
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
      // PostgreSQL would fail at a zero byte; nothing is called so.
      typeof value === 'string' && !value.includes('\0') ? [[name, value] as const] : [],
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
