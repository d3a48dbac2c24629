// Who is signed in at the pages: one sealed cookie that lasts an hour. The store remembers which
// sessions were ended before that.
import { createHash } from 'node:crypto'
import type { Clock, Person, Store } from '../model.ts'
import type { Sealer } from '../vault/seal.ts'

export const SESSION_MS = 3_600_000

export type Session = {
  readonly person: Person
  /** false: nobody but the terminal vouches for the name. */
  readonly verified: boolean
  /** Random, known to the sealed cookie only: the key of this session's CSRF tokens. */
  readonly key: string
  readonly expiresAt: number
  /** Who vouched for the person; absent: not noted. */
  readonly by?: string
}

/** Reads one cookie of the request. */
export type CookieReader = (name: string) => string | undefined

export type SessionDeps = {
  readonly sealer: Pick<Sealer, 'sealText' | 'openText'>
  readonly clock: Clock
  readonly store: Pick<Store, 'sessions'>
  readonly randomBytes: (size: number) => Buffer
  /** `connect.url`, without a trailing slash. */
  readonly publicUrl: string
}

type Cookies = {
  /**
   * `__Host-` over https (RFC 6265bis 4.1.3.2), `__Secure-` where the pages share their host and are bound to a path;
   * over plain http browsers refuse these prefixes.
   */
  readonly name: (base: string) => string
  /** A Set-Cookie value; `maxAgeMs` 0 deletes. */
  readonly write: (base: string, value: string, maxAgeMs: number) => string
}

const createCookies = (publicUrl: string): Cookies => {
  const secure = publicUrl.startsWith('https:')
  const { pathname: path } = new URL(publicUrl)
  const prefix = secure ? (path === '/' ? '__Host-' : '__Secure-') : ''
  const name = (base: string): string => `${prefix}${base}`
  return {
    name,
    // Not hono's own: this file is loaded at each start, hono with the first visitor.
    write: (base, value, maxAgeMs) =>
      `${name(base)}=${value}; Path=${path}; HttpOnly; SameSite=Lax; Max-Age=${Math.floor(maxAgeMs / 1000)}${secure ? '; Secure' : ''}`,
  }
}

export type Sessions = {
  /** The signed-in person; null: nobody, or a cookie that does not open or has ended. */
  readonly session: (read: CookieReader) => Promise<Session | null>
  /**
   * Ends the session, also in a copy of its cookie.
   * @returns the Set-Cookie value for this browser
   */
  readonly end: (session: Session) => Promise<string>
}

/**
 * Nobody signs in: a cookie binds the browser to the page, and the application says later who was
 * there.
 */
export type Visits = {
  readonly kind: 'visit'
  /** Where the application confirms (`connect.verifier.url`). */
  readonly url: string
  readonly visit: (read: CookieReader) => Promise<{ readonly key: string } | null>
  readonly begin: () => Promise<{ readonly key: string; readonly cookie: string }>
  /** The application's page, which signs the person in and confirms this id. */
  readonly at: (flowId: string) => string
  /**
   * An id by which the application says who is at this visit's browser: for the person's own pages,
   * not for a consent.
   */
  readonly arrival: (visit: { readonly key: string }) => Promise<string>
  /**
   * Signs in whom the application named. null: the ticket is none, too old, or was made for another
   * browser.
   */
  readonly enter: (ticket: string, read: CookieReader) => Promise<string | null>
} & Sessions

const ARRIVAL = 'my_'
const ARRIVAL_MS = 600_000
const TICKET_MS = 60_000
type Arrival = { readonly visit: string }
type Ticket = Arrival & { readonly person: Person }
const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

/**
 * The application's answer to an arrival id: where it must send the browser that it has just asked.
 * The ticket in it opens only beside the cookie of the browser that began, so that nobody signs in
 * by an id that somebody else confirmed.
 * @returns null: it is no arrival id, or too old
 */
export const confirmArrival = async (
  deps: SessionDeps,
  flowId: string,
  person: Person,
): Promise<string | null> => {
  if (!flowId.startsWith(ARRIVAL)) return null
  const { open } = createSealedCookies(deps)
  const arrival = (await open('arrival', flowId.slice(ARRIVAL.length))) as Arrival | null
  if (arrival === null) return null
  const ticket = { visit: arrival.visit, person, expiresAt: deps.clock.now() + TICKET_MS }
  const sealed = await deps.sealer.sealText('arrival-ticket', {}, JSON.stringify(ticket))
  return `${deps.publicUrl}/connections?ticket=${sealed}`
}

export const createVisits = (url: string, deps: SessionDeps): Visits => {
  const { cookies, open, session, end, begin } = createSessions(deps, url)
  const visit = async (read: CookieReader): Promise<{ readonly key: string } | null> =>
    (await open('visit', read(cookies.name('deputy-visit')))) as { readonly key: string } | null
  return {
    kind: 'visit',
    url,
    session,
    end,
    at: (flowId) => {
      const at = new URL(url)
      at.searchParams.set('flow_id', flowId)
      return at.href
    },
    arrival: async ({ key }) => {
      const arrival = { visit: digest(key), expiresAt: deps.clock.now() + ARRIVAL_MS }
      return ARRIVAL + (await deps.sealer.sealText('arrival', {}, JSON.stringify(arrival)))
    },
    enter: async (sealed, read) => {
      const ticket = (await open('arrival-ticket', sealed)) as Ticket | null
      const here = await visit(read)
      return ticket === null || here === null || digest(here.key) !== ticket.visit
        ? null
        : begin(ticket.person, true)
    },
    visit,
    begin: async () => {
      const key = deps.randomBytes(32).toString('base64url')
      const visit = { key, expiresAt: deps.clock.now() + SESSION_MS }
      const sealed = await deps.sealer.sealText('visit', {}, JSON.stringify(visit))
      return { key, cookie: cookies.write('deputy-visit', sealed, SESSION_MS) }
    },
  }
}

/** Cookies that only deputy can read, each for its purpose and until it ends. */
export const createSealedCookies = (deps: Pick<SessionDeps, 'sealer' | 'clock' | 'publicUrl'>) => {
  const cookies = createCookies(deps.publicUrl)
  /** A cookie that was not sealed here is no cookie: it is foreign input, not a failure. */
  const open = async (purpose: string, sealed: string | undefined): Promise<unknown> => {
    if (sealed === undefined) return null
    const text = await deps.sealer.openText(purpose, {}, sealed).catch(() => null)
    const value = text === null ? null : (JSON.parse(text) as { readonly expiresAt: number })
    return value !== null && value.expiresAt > deps.clock.now() ? value : null
  }
  return { cookies, open }
}

/** @param by who vouches for people now: who came by another one's word signs in anew */
export const createSessions = (deps: SessionDeps, by: string) => {
  const { cookies, open } = createSealedCookies(deps)
  return {
    cookies,
    open,
    session: async (read: CookieReader): Promise<Session | null> => {
      const sealed = read(cookies.name('deputy-session'))
      const session = (await open('session', sealed)) as Session | null
      if (session === null || (session.by ?? by) !== by) return null
      const { key, expiresAt } = session
      const { person } = session
      return (await deps.store.sessions.ended(digest(key), expiresAt, person)) ? null : session
    },
    end: async ({ key, expiresAt }: Session): Promise<string> => {
      await deps.store.sessions.end(digest(key), expiresAt)
      return cookies.write('deputy-session', '', 0)
    },
    begin: async (person: Person, verified: boolean): Promise<string> => {
      const session: Session = {
        person,
        verified,
        key: deps.randomBytes(32).toString('base64url'),
        expiresAt: deps.clock.now() + SESSION_MS,
        by,
      }
      const sealed = await deps.sealer.sealText('session', {}, JSON.stringify(session))
      return cookies.write('deputy-session', sealed, SESSION_MS)
    },
  }
}
