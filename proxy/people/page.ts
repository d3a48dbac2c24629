// What the pages share: how one is sent, who may post to it, and what one step tells the page that
// follows it.
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Context } from 'hono'
import { getCookie } from 'hono/cookie'
import { secureHeaders } from 'hono/secure-headers'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Logo } from '../config/logo.ts'
import type { Person } from '../model.ts'
import { samePerson } from '../wire/canonical.ts'
import { createSealedCookies } from '../consent/session.ts'
import type { CookieReader, Session, SessionDeps } from '../consent/session.ts'
import { textsFor } from './languages/choice.ts'
import type { Texts } from './languages/en.ts'
import { LOCAL_TIMES_HASH } from './local_times.ts'
import { goOnPage } from './consent_pages.ts'
import { render, type Brand, type Page } from './markup.ts'

const REFERENCE = 'reference'
const TOLD_MS = 600_000

/** Of every answer of the pages; what a page sets itself stays. Whoever ends TLS says the rest. */
export const secured = secureHeaders({
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  overwrite: false,
  crossOriginResourcePolicy: false,
  originAgentCluster: false,
  strictTransportSecurity: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
})

/** null: there is no mark. */
export const logoAnswer = (c: Context, logo: Logo | null): Response | null => {
  if (logo === null) return null
  c.header('Cache-Control', 'public, max-age=3600')
  // Opened on its own an SVG is a document: sandboxed, it runs nothing and loads nothing.
  c.header('Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'; sandbox")
  return c.body(logo.bytes, 200, { 'Content-Type': logo.type })
}

/** Without indentation, which would be a third of a long table; scripts stay as their hash knows them. */
const dense = (html: string): string =>
  html
    .split(/(<script[\s\S]*?<\/script>)/)
    .map((part, i) => (i % 2 === 1 ? part : part.replaceAll(/\n\s+/g, '\n')))
    .join('')

/** A page that is told something by the step before it. */
type Follower = 'result' | 'connections' | 'agents' | 'plan' | 'step-up'
type Told = { readonly what: object; readonly person: Person | null; readonly expiresAt: number }

export type Frame = ReturnType<typeof createFrame>

export const createFrame = (
  deps: Pick<SessionDeps, 'sealer' | 'clock' | 'publicUrl'> & {
    readonly brand?: Brand | null
    /** The one language; absent: the reader's. */
    readonly texts?: Texts
    /** Scripts of ours, and what they ask of us; absent: none. */
    readonly scripts?: boolean
  },
) => {
  const { cookies, open } = createSealedCookies(deps)
  const { origin, pathname } = new URL(deps.publicUrl)
  /** Where the pages share their host: the path below which browsers find them. */
  const below = pathname.replace(/\/$/, '')
  /** Every address of ours in a page begins with `/`, and what is foreign in it has its quotes escaped. */
  const placed = (html: string): string =>
    below === '' ? html : html.replaceAll(/ (href|src|action)="(?=\/(?!\/))/g, `$&${below}`)

  const reader =
    (c: Context): CookieReader =>
    (name) =>
      getCookie(c, name)
  const setCookie = (c: Context, cookie: string): void =>
    c.header('Set-Cookie', cookie, { append: true })

  const about = (c: Context, reference: string): void => c.set(REFERENCE, reference)
  const spoken = (c: Context): string | null => (c.get(REFERENCE) as string | undefined) ?? null

  const show = async (
    c: Context,
    page: Page,
    status: ContentfulStatusCode = 200,
  ): Promise<Response> => {
    const own =
      deps.scripts === true
        ? `script-src 'self' ${LOCAL_TIMES_HASH}; connect-src 'self'`
        : `script-src ${LOCAL_TIMES_HASH}`
    c.header(
      'Content-Security-Policy',
      `default-src 'none'; ${own}; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
    )
    const texts = deps.texts ?? textsFor(c)
    c.header('Content-Language', texts.tag)
    if (deps.texts === undefined) c.header('Vary', 'Accept-Language', { append: true })
    const html = await render(page, texts, deps.brand ?? null, status < 400 ? null : spoken(c))
    const text = html.toString()
    return c.html(placed(deps.scripts === true ? dense(text) : text), status)
  }
  const see = (c: Context, location: string): Response =>
    c.redirect(location.startsWith('/') ? `${below}${location}` : location, 303)

  /** For a later page of this browser and person. */
  const keep = async (
    c: Context,
    at: Follower,
    what: object,
    person: Person | null,
  ): Promise<void> => {
    const told: Told = { what, person, expiresAt: deps.clock.now() + TOLD_MS }
    const sealed = await deps.sealer.sealText(`told-${at}`, {}, JSON.stringify(told))
    setCookie(c, cookies.write(`deputy-${at}`, sealed, TOLD_MS))
  }

  return {
    cookies,
    reader,
    setCookie,
    /** What the evidence or the log calls the matter: an error page of this request shows it. */
    about,
    show,
    see,

    /**
     * On to another origin after a form. Browsers hold every redirect of a form against
     * `form-action`, and a provider may send people on to hosts that nobody can list: a page that
     * goes on by itself is no redirect.
     */
    goOn: (c: Context, name: string, location: string): Response | Promise<Response> =>
      show(c, goOnPage(name, location)),

    /** Bound to this session and this subject; the key is known to the sealed cookie alone. */
    csrf: (session: Pick<Session, 'key'>, subject: string): string =>
      createHmac('sha256', session.key).update(subject).digest('base64url'),
    same: (given: unknown, expected: string): boolean => {
      const [a, b] = [Buffer.from(typeof given === 'string' ? given : ''), Buffer.from(expected)]
      return a.length === b.length && timingSafeEqual(a, b)
    },

    /**
     * A page of another origin may not post here. Under `Referrer-Policy: no-referrer` browsers
     * write `Origin: null` on our own forms, so that value says nothing and Sec-Fetch-Site and the
     * token decide.
     */
    crossSite: (c: Context): boolean => {
      const from = c.req.header('origin')
      const site = c.req.header('sec-fetch-site')
      return (
        (from !== undefined && from !== 'null' && from !== origin) ||
        (site !== undefined && site !== 'same-origin' && site !== 'none')
      )
    },

    /** A piece of a page, with each address of ours as browsers find it. */
    placed,

    /**
     * On to one of our own pages, whose address says nothing: what it shows is in a sealed cookie,
     * for `person` only.
     */
    tell: async (
      c: Context,
      to: Exclude<Follower, 'plan' | 'step-up'>,
      what: object,
      person: Person | null,
    ): Promise<Response> => {
      await keep(c, to, what, person)
      return see(c, `/${to}`)
    },
    keep,
    /** What this browser was told; null: nothing, too long ago, or somebody else. */
    told: async (c: Context, at: Follower, person: Person | null): Promise<object | null> => {
      const sealed = reader(c)(cookies.name(`deputy-${at}`))
      const told = (await open(`told-${at}`, sealed)) as Told | null
      if (told === null || told.person === null) return told?.what ?? null
      return person !== null && samePerson(told.person, person) ? told.what : null
    },
    forget: (c: Context, at: Follower): void => setCookie(c, cookies.write(`deputy-${at}`, '', 0)),
  }
}
