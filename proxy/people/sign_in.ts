// Sign-in and sign-out at the pages.
import { randomUUID } from 'node:crypto'
import { Hono } from 'hono'
import type { Context } from 'hono'
import type { Log, Person } from '../model.ts'
import type { Flows } from '../consent/flow.ts'
import type { Visits } from '../consent/session.ts'
import type { LocalSignIn, OidcSignIn, SteppedUp } from '../consent/sign_in.ts'
import type { Frame } from './page.ts'
import { surePage } from './connections_page.ts'
import * as pages from './consent_pages.ts'

export type DoorDeps = {
  readonly signIn: OidcSignIn | LocalSignIn | Visits
  readonly flows: Pick<Flows, 'find'>
  /** Under `sign_in: local`: the person of a plain name; null where the name is none. */
  readonly localPerson: (id: string) => Person | null
  readonly log: Log
}
export type Door = ReturnType<typeof createDoor>

const LINK = /^\/connect\/([A-Za-z0-9_-]+)$/
export const OWN = '/connections'
/** A page of one's own: no link says whose, so whoever comes says who they are. */
const isOwn = (back: string): boolean =>
  back === OWN || /^\/agents(?:\/[A-Za-z0-9._~!*'()%-]+)?$/.test(back)

/** The visit of this browser, begun where there is none. */
export const visitAt = async (
  c: Context,
  visits: Visits,
  { reader, setCookie }: Pick<Frame, 'reader' | 'setCookie'>,
): Promise<{ readonly key: string }> => {
  const known = await visits.visit(reader(c))
  if (known !== null) return known
  const { key, cookie } = await visits.begin()
  setCookie(c, cookie)
  return { key }
}

/** @param came learns who came back from a sign-in that an ask began */
export const createDoor = (
  deps: DoorDeps,
  frame: Frame,
  came: (c: Context, steppedUp: SteppedUp) => Promise<void>,
) => {
  const { signIn, flows } = deps
  const { show, see, setCookie } = frame
  const app = new Hono()

  /**
   * Whom a local code would sign in: the person of the link, or at their own page the one they
   * name.
   */
  const localPerson = async (back: string, name: unknown): Promise<Person | null> => {
    if (isOwn(back)) return typeof name === 'string' ? deps.localPerson(name) : null
    const id = LINK.exec(back)?.[1]
    const flow = id === undefined ? null : await flows.find(id)
    return flow?.person ?? null
  }

  app.get('/sign-in/callback', async (c) => {
    if (signIn.kind !== 'oidc') return show(c, pages.notFoundPage(), 404)
    const result = await signIn.finish(new URL(c.req.url).search.slice(1), frame.reader(c))
    if (result.kind === 'refused') {
      const reference = randomUUID()
      frame.about(c, reference)
      deps.log.warn({ reference, reason: result.reason }, 'sign-in refused')
      return show(c, pages.signInFailedPage(), 400)
    }
    for (const cookie of result.cookies) setCookie(c, cookie)
    if (result.steppedUp !== null) await came(c, result.steppedUp)
    return see(c, result.back)
  })

  app.post('/sign-in/local', async (c) => {
    if (signIn.kind !== 'local') return show(c, pages.notFoundPage(), 404)
    if (frame.crossSite(c)) return show(c, pages.refusedFormPage(null), 403)
    const { back, code, user } = await c.req.parseBody()
    if (typeof back !== 'string' || typeof code !== 'string')
      return show(c, pages.expiredPage(), 404)
    const person = await localPerson(back, user)
    if (person === null && !isOwn(back)) return show(c, pages.expiredPage(), 404)
    const ask = { back, own: isOwn(back) }
    if (person === null) return show(c, pages.codePage({ ...ask, problem: 'name' }), 400)
    const result = await signIn.enter(code, person)
    if (result.kind !== 'signed_in')
      return show(
        c,
        pages.codePage({ ...ask, problem: result.kind }),
        result.kind === 'wait' ? 429 : 401,
      )
    setCookie(c, result.cookie)
    return see(c, back)
  })

  app.post('/sign-out', async (c) => {
    const session = await signIn.session(frame.reader(c))
    const { csrf, sure } = await c.req.parseBody()
    const ours = session !== null && frame.same(csrf, frame.csrf(session, 'sign-out'))
    if (frame.crossSite(c) || !ours) return show(c, pages.refusedFormPage(OWN), 403)
    if (sure !== 'yes')
      return show(
        c,
        surePage({
          action: '/sign-out',
          ask: (sure) => sure.signOut,
          fields: { csrf: frame.csrf(session, 'sign-out') },
        }),
      )
    setCookie(c, await signIn.end(session))
    return show(c, pages.signedOutPage())
  })

  return {
    app,
    /** Asks who is there; the browser comes back to `back`, a path of ours. */
    ask: async (c: Context, back: string): Promise<Response> => {
      if (signIn.kind === 'visit')
        return see(c, signIn.at(await signIn.arrival(await visitAt(c, signIn, frame))))
      if (signIn.kind === 'local')
        return show(c, pages.codePage({ back, own: isOwn(back), problem: null }), 401)
      const { location, cookie } = await signIn.start(back)
      setCookie(c, cookie)
      return see(c, location.href)
    },
  }
}
