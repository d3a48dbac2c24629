// How the pages learn who is there: from the organisation's OpenID provider, or on a laptop by a
// one-time code from the terminal.
import { atPointer } from '../wire/json.ts'
import { createHash, timingSafeEqual } from 'node:crypto'
import { chmod, rename, writeFile } from 'node:fs/promises'
import type { SignInConfig } from '../config/schema.ts'
import type { Json, JsonObject, Person } from '../model.ts'
import { validId } from '../wire/canonical.ts'
import { signInOf } from '../wire/sign_in.ts'
import { createCodeFlow } from './code_flow.ts'
import { createSessions } from './session.ts'
import type { CookieReader, SessionDeps, Sessions } from './session.ts'
import type { SignedIn } from './step_ups.ts'

const UNTOLD: SignedIn = { acr: null, amr: [], at: null }
const WRONG_CODES = 5
const WRONG_CODES_MS = 60_000
/** Crockford's alphabet: without letters that people take for others or for digits. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** What an ask wants of a sign-in. */
type StepUpAsked = {
  readonly ask: string
  readonly acrValues: readonly string[]
  readonly maxAgeS: number
}
/** How its person signed in, as the verified ID token says it. */
export type SteppedUp = SignedIn & { readonly ask: string; readonly person: Person }

export type OidcSignIn = Sessions & {
  readonly kind: 'oidc'
  /**
   * @param back path of ours to return to
   * @param stepUp how the person is to sign in this time (OIDC Core 3.1.2.1: `acr_values`, `max_age`), and for which ask
   * Throws when the issuer cannot be discovered.
   */
  readonly start: (
    back: string,
    stepUp?: StepUpAsked,
  ) => Promise<{ readonly location: URL; readonly cookie: string }>
  /** @param query raw query of `/sign-in/callback`. Never throws for what the browser brought. */
  readonly finish: (
    query: string,
    read: CookieReader,
  ) => Promise<
    | {
        readonly kind: 'signed_in'
        readonly cookies: readonly string[]
        readonly back: string
        /** null: an ordinary sign-in. */
        readonly steppedUp: SteppedUp | null
      }
    | { readonly kind: 'refused'; readonly reason: string }
  >
}

const personOf = (claims: Json, config: SignInConfig): Person | string => {
  const id = atPointer(claims, config.user)
  if (typeof id !== 'string' || !validId(id)) return `no usable claim at ${config.user}`
  if (config.user === '/email' && atPointer(claims, '/email_verified') !== true)
    return 'the e-mail address is not verified'
  const tenant = config.tenant === undefined ? 'default' : atPointer(claims, config.tenant)
  if (typeof tenant !== 'string' || !validId(tenant)) return `no usable claim at ${config.tenant}`
  return { tenant, realm: config.realm ?? config.issuer, id }
}

/**
 * Sign-in at the organisation's OpenID provider: code flow, PKCE, state, nonce, `iss`, signed ID
 * token.
 */
export const createSignIn = (
  config: SignInConfig,
  deps: SessionDeps & {
    readonly fetch: typeof fetch
    /** Learns whose a session at the issuer is. */
    readonly seen?: (issuer: string, sid: unknown, person: Person) => void
  },
): OidcSignIn => {
  const sessions = createSessions(deps, config.issuer)
  const flow = createCodeFlow(config, deps, {
    redirectUri: `${deps.publicUrl}/sign-in/callback`,
    cookie: 'deputy-sign-in',
    purpose: 'sign-in',
  })
  return {
    kind: 'oidc',
    session: sessions.session,
    end: sessions.end,
    start: (back, stepUp) =>
      flow.start(
        { back, ask: stepUp?.ask ?? null },
        stepUp === undefined
          ? {}
          : { acr_values: stepUp.acrValues.join(' '), max_age: String(stepUp.maxAgeS) },
      ),
    finish: async (query, read) => {
      const answer = await flow.finish(query, read)
      if (answer.kind === 'refused') return answer
      const { claims, kept } = answer
      const person = personOf(claims, config)
      if (typeof person === 'string') return { kind: 'refused', reason: person }
      deps.seen?.(config.issuer, atPointer(claims, '/sid'), person)
      const cookie = await sessions.begin(person, true)
      const ask = kept['ask'] ?? null
      return {
        kind: 'signed_in',
        cookies: [cookie, answer.cookie],
        back: kept['back'] ?? '/',
        steppedUp:
          ask === null ? null : { ask, person, ...(signInOf(claims as JsonObject) ?? UNTOLD) },
      }
    },
  }
}

export type LocalSignIn = Sessions & {
  readonly kind: 'local'
  /** Spends the code. The session is the given person's, never verified. */
  readonly enter: (
    code: string,
    person: Person,
  ) => Promise<
    { readonly kind: 'signed_in'; readonly cookie: string } | { readonly kind: 'wrong' | 'wait' }
  >
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/**
 * Sign-in for a laptop: whoever can read the terminal or the 0600 file is at the page.
 * Throws when the file cannot be written.
 */
export const createLocalSignIn = async (
  deps: SessionDeps & { readonly codeFile: string; readonly print: (line: string) => void },
): Promise<LocalSignIn> => {
  const sessions = createSessions(deps, 'local')
  let code = ''
  let wrong: readonly number[] = []
  const next = async (): Promise<void> => {
    const letters = [...deps.randomBytes(8)].map((byte) => ALPHABET[byte % 32]).join('')
    code = letters // the old one ends before the new one is written
    const shown = `${letters.slice(0, 4)}-${letters.slice(4)}`
    const partial = `${deps.codeFile}.new`
    await writeFile(partial, `${shown}\n`, { mode: 0o600 })
    await chmod(partial, 0o600)
    await rename(partial, deps.codeFile)
    deps.print(`sign-in code for ${deps.publicUrl}: ${shown}`)
  }
  await next()
  return {
    kind: 'local',
    session: sessions.session,
    end: sessions.end,
    enter: async (entered, person) => {
      const now = deps.clock.mono()
      wrong = wrong.filter((at) => now - at < WRONG_CODES_MS)
      if (wrong.length >= WRONG_CODES) return { kind: 'wait' }
      const given = entered.toUpperCase().replace(/[\s-]/g, '')
      if (!timingSafeEqual(Buffer.from(sha256(given)), Buffer.from(sha256(code)))) {
        wrong = [...wrong, now]
        return { kind: 'wrong' }
      }
      await next()
      return { kind: 'signed_in', cookie: await sessions.begin(person, false) }
    },
  }
}
