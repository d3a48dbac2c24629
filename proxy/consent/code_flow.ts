// The authorization code flow of a sign-in (OIDC Core 3.1): PKCE, state, nonce, `iss`, a signed ID token; what goes with
// the browser is sealed in a cookie of its own.
import { createHash } from 'node:crypto'
import * as oidc from 'openid-client'
import type { Json } from '../model.ts'
import { signInAuthentication } from '../oauth/client.ts'
import { assertOneReading } from '../wire/jwt.ts'
import { createSealedCookies, type CookieReader, type SessionDeps } from './session.ts'

const SIGN_IN_MS = 600_000

type CodeClient = {
  readonly issuer: string
  readonly client_id: string
  /** Absent: a public client. */
  readonly client_secret?: Parameters<typeof signInAuthentication>[1] | undefined
  readonly scope: string
}
/** What the issuer answered; `kept` is what the browser was sent off with. */
type CodeAnswer =
  | {
      readonly kind: 'tokens'
      readonly claims: Json
      readonly idToken: string
      readonly accessToken: string
      readonly kept: Readonly<Record<string, string | null>>
      /** Ends the cookie of the leg. */
      readonly cookie: string
    }
  | { readonly kind: 'refused'; readonly reason: string }

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

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/**
 * @param at.redirectUri where the issuer sends the browser back to
 * @param at.cookie what the names of its cookies begin with; also the purpose they are sealed for
 */
export const createCodeFlow = (
  config: CodeClient,
  deps: Pick<SessionDeps, 'sealer' | 'clock' | 'publicUrl' | 'randomBytes'> & {
    readonly fetch: typeof fetch
  },
  at: { readonly redirectUri: string; readonly cookie: string; readonly purpose: string },
) => {
  const { redirectUri } = at
  const { cookies, open } = createSealedCookies(deps)
  const random = (): string => deps.randomBytes(32).toString('base64url')
  const stateCookie = (state: string): string => `${at.cookie}-${sha256(state).slice(0, 12)}`

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
    /**
     * @param kept comes back with the answer
     * @param more further parameters of the request
     * Throws when the issuer cannot be discovered.
     */
    start: async (
      kept: Readonly<Record<string, string | null>>,
      more: Readonly<Record<string, string>> = {},
    ): Promise<{ readonly location: URL; readonly cookie: string }> => {
      const leg = { state: random(), nonce: random(), verifier: random(), kept }
      const expiresAt = deps.clock.now() + SIGN_IN_MS
      const location = oidc.buildAuthorizationUrl(await provider(), {
        redirect_uri: redirectUri,
        scope: config.scope,
        state: leg.state,
        nonce: leg.nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(leg.verifier),
        code_challenge_method: 'S256',
        ...more,
      })
      const text = JSON.stringify({ ...leg, expiresAt })
      const sealed = await deps.sealer.sealText(at.purpose, {}, text)
      return { location, cookie: cookies.write(stateCookie(leg.state), sealed, SIGN_IN_MS) }
    },
    /** @param query raw query of the callback. Never throws for what the browser brought. */
    finish: async (query: string, read: CookieReader): Promise<CodeAnswer> => {
      const state = new URLSearchParams(query).get('state') ?? ''
      const base = stateCookie(state)
      const leg = (await open(at.purpose, read(cookies.name(base)))) as {
        readonly state: string
        readonly nonce: string
        readonly verifier: string
        readonly kept: Readonly<Record<string, string | null>>
      } | null
      if (leg === null) return { kind: 'refused', reason: 'another browser, or too late' }
      try {
        const tokens = await exchange(new URL(`${redirectUri}?${query}`), {
          expectedState: leg.state,
          expectedNonce: leg.nonce,
          pkceCodeVerifier: leg.verifier,
          idTokenExpected: true,
        })
        assertOneReading(tokens.id_token ?? '')
        return {
          kind: 'tokens',
          claims: (tokens.claims() ?? null) as Json,
          idToken: tokens.id_token ?? '',
          accessToken: tokens.access_token,
          kept: leg.kept,
          cookie: cookies.write(base, '', 0),
        }
      } catch (error) {
        return { kind: 'refused', reason: named(error) }
      }
    },
  }
}
