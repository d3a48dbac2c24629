// How the pages learn who is there: from the organisation's OpenID provider, or on a laptop by a
// one-time code from the terminal.
import { atPointer } from '../wire/json.ts'
import { assertOneReading } from '../wire/jwt.ts'
import { createHash, timingSafeEqual } from 'node:crypto'
import { chmod, rename, writeFile } from 'node:fs/promises'
import * as oidc from 'openid-client'
import type { SignInConfig } from '../config/schema.ts'
import type { Json, JsonObject, Person } from '../model.ts'
import { validId } from '../wire/canonical.ts'
import { signInAuthentication } from '../oauth/client.ts'
import { signInOf } from '../wire/sign_in.ts'
import { createSessions } from './session.ts'
import type { CookieReader, SessionDeps, Sessions } from './session.ts'
import type { SignedIn } from './step_ups.ts'

const SIGN_IN_MS = 600_000
const UNTOLD: SignedIn = { acr: null, amr: [], at: null }
const WRONG_CODES = 5
const WRONG_CODES_MS = 60_000
/** Crockford's alphabet: without letters that people take for others or for digits. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** What an ask wants of a sign-in. */
export type StepUpAsked = {
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

type Method = 'client_secret_basic' | 'client_secret_post' | 'none'
const refusedClient = (error: unknown): boolean =>
  error instanceof oidc.WWWAuthenticateChallengeError ||
  (error instanceof oidc.ResponseBodyError && error.error === 'invalid_client')
/**
 * Library errors carry token answers in `cause`: only names leave, and no word that could be what
 * we sent.
 */
const named = (error: unknown): string =>
  error instanceof oidc.ResponseBodyError || error instanceof oidc.AuthorizationResponseError
    ? /^[a-z_]{1,64}$/i.test(error.error)
      ? error.error
      : 'unspecified'
    : error instanceof Error
      ? ((error as { readonly code?: string }).code ?? error.name)
      : 'unknown'

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
  const random = (): string => deps.randomBytes(32).toString('base64url')
  const stateCookie = (state: string): string => `deputy-sign-in-${sha256(state).slice(0, 12)}`
  const redirectUri = `${deps.publicUrl}/sign-in/callback`

  const configure = (server: oidc.ServerMetadata, method: Method): oidc.Configuration => {
    const made = new oidc.Configuration(
      server,
      config.client_id,
      undefined,
      signInAuthentication(method, config.client_secret ?? null),
    )
    adapt(made)
    // The signature is checked although the token came over TLS (OIDC Core 3.1.3.7).
    oidc.enableNonRepudiationChecks(made)
    return made
  }
  const adapt = (made: oidc.Configuration): void => {
    made[oidc.customFetch] = (url, options) => deps.fetch(url, options as RequestInit)
    // Plain http is for loopback or `insecure: true`: the configuration has checked that.
    if (config.issuer.startsWith('http:')) oidc.allowInsecureRequests(made)
  }

  let found: Promise<oidc.Configuration> | null = null
  let methods: readonly Method[] = []
  const provider = (): Promise<oidc.Configuration> => {
    found ??= oidc
      .discovery(new URL(config.issuer), config.client_id, undefined, oidc.None(), {
        [oidc.customFetch]: (url, options) => deps.fetch(url, options as RequestInit),
        execute: config.issuer.startsWith('http:') ? [oidc.allowInsecureRequests] : [],
      })
      .then((discovered) => {
        const server = discovered.serverMetadata()
        const offered = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
        const usable = (['client_secret_basic', 'client_secret_post'] as const).filter((method) =>
          offered.includes(method),
        )
        methods =
          config.client_secret === undefined
            ? ['none']
            : usable.length > 0
              ? usable
              : ['client_secret_basic']
        return configure(server, methods[0] ?? 'none')
      })
      .catch((error: unknown) => {
        found = null
        throw new Error(`sign-in: ${config.issuer} cannot be discovered (${named(error)})`)
      })
    return found
  }

  /**
   * An issuer that offers two methods may have registered the client for either: the second is
   * tried once.
   */
  const exchange = async (url: URL, checks: oidc.AuthorizationCodeGrantChecks) => {
    const first = await provider()
    try {
      return await oidc.authorizationCodeGrant(first, url, checks)
    } catch (error) {
      const other = methods[1]
      if (other === undefined || !refusedClient(error)) throw error
      const second = configure(first.serverMetadata(), other)
      const tokens = await oidc.authorizationCodeGrant(second, url, checks)
      methods = [other]
      found = Promise.resolve(second)
      return tokens
    }
  }

  return {
    kind: 'oidc',
    session: sessions.session,
    end: sessions.end,
    start: async (back, stepUp) => {
      const ask = stepUp?.ask ?? null
      const leg = { state: random(), nonce: random(), verifier: random(), back, ask }
      const expiresAt = deps.clock.now() + SIGN_IN_MS
      const location = oidc.buildAuthorizationUrl(await provider(), {
        redirect_uri: redirectUri,
        scope: config.scope,
        state: leg.state,
        nonce: leg.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(leg.verifier),
        code_challenge_method: 'S256',
        ...(stepUp === undefined
          ? {}
          : { acr_values: stepUp.acrValues.join(' '), max_age: String(stepUp.maxAgeS) }),
      })
      const text = JSON.stringify({ ...leg, expiresAt })
      const sealed = await deps.sealer.sealText('sign-in', {}, text)
      return {
        location,
        cookie: sessions.cookies.write(stateCookie(leg.state), sealed, SIGN_IN_MS),
      }
    },
    finish: async (query, read) => {
      const state = new URLSearchParams(query).get('state') ?? ''
      const base = stateCookie(state)
      const leg = (await sessions.open('sign-in', read(sessions.cookies.name(base)))) as {
        readonly state: string
        readonly nonce: string
        readonly verifier: string
        readonly back: string
        readonly ask?: string | null
      } | null
      if (leg === null) return { kind: 'refused', reason: 'another browser, or too late' }
      let claims: Json
      try {
        const tokens = await exchange(new URL(`${redirectUri}?${query}`), {
          expectedState: leg.state,
          expectedNonce: leg.nonce,
          pkceCodeVerifier: leg.verifier,
          idTokenExpected: true,
        })
        assertOneReading(tokens.id_token ?? '')
        claims = (tokens.claims() ?? null) as Json
      } catch (error) {
        return { kind: 'refused', reason: named(error) }
      }
      const person = personOf(claims, config)
      if (typeof person === 'string') return { kind: 'refused', reason: person }
      deps.seen?.(config.issuer, atPointer(claims, '/sid'), person)
      const cookie = await sessions.begin(person, true)
      return {
        kind: 'signed_in',
        cookies: [cookie, sessions.cookies.write(base, '', 0)],
        back: leg.back,
        steppedUp:
          leg.ask == null
            ? null
            : { ask: leg.ask, person, ...(signInOf(claims as JsonObject) ?? UNTOLD) },
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
