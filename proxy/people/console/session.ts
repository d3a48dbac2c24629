// Who is at the console: an operator who signed in at the issuer of `operators_sign_in`, in a sealed cookie that ends with
// the token. What they may do is looked up anew with each request.
import { createHash } from 'node:crypto'
import type { OperatorSignIn, Said, SignInRules } from '../../api/operator_sso.ts'
import type { Operator } from '../../api/operator.ts'
import { createCodeFlow } from '../../consent/code_flow.ts'
import {
  createSealedCookies,
  SESSION_MS,
  type CookieReader,
  type SessionDeps,
} from '../../consent/session.ts'
import { messageOf, Problem } from '../../problem.ts'
import { HOME } from './shell.ts'

const COOKIE = 'deputy-console'
/** Browsers drop a cookie of more than 4,096 bytes with its name (RFC 6265bis 5.6). */
const MOST_COOKIE = 3_800

type Sealed = {
  readonly said: Said
  readonly key: string
  readonly expiresAt: number
  /** By which rules the token was read: who was let in by others signs in anew. */
  readonly by: string
}
export type ConsoleSession = {
  readonly operator: Operator
  /** Key of this session's CSRF tokens. */
  readonly key: string
  /** ms since the epoch. */
  readonly expiresAt: number
}
export type ConsoleSignIn = ReturnType<typeof createConsoleSignIn>

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

export const createConsoleSignIn = (
  rules: SignInRules,
  deps: SessionDeps & {
    readonly fetch: typeof fetch
    readonly signIn: Pick<OperatorSignIn, 'said' | 'as'>
  },
) => {
  const { clock, signIn } = deps
  const { cookies, open } = createSealedCookies(deps)
  const flow = createCodeFlow(rules, deps, {
    redirectUri: `${deps.publicUrl}${HOME}/callback`,
    cookie: 'deputy-console-sign-in',
    purpose: 'console-sign-in',
  })

  const { issuer, client_id, audience, roles, user, tenant, realm } = rules
  const by = digest(JSON.stringify({ issuer, client_id, audience, roles, user, tenant, realm }))

  const begin = async (token: string): Promise<string | null> => {
    const { said, expiresAt: ends } = await signIn.said(token)
    const expiresAt = Math.min(ends, clock.now() + SESSION_MS)
    const key = deps.randomBytes(32).toString('base64url')
    const session: Sealed = { said, key, expiresAt, by }
    const sealed = await deps.sealer.sealText('console-session', {}, JSON.stringify(session))
    return sealed.length > MOST_COOKIE
      ? null
      : cookies.write(COOKIE, sealed, expiresAt - clock.now())
  }

  return {
    /** null: nobody, or a cookie that does not open, has ended, was signed out or is of other rules. */
    session: async (read: CookieReader): Promise<ConsoleSession | null> => {
      const sealed = (await open('console-session', read(cookies.name(COOKIE)))) as Sealed | null
      if (sealed === null || sealed.by !== by) return null
      const { said, key, expiresAt } = sealed
      if (await deps.store.sessions.ended(digest(key), expiresAt)) return null
      return { operator: signIn.as(said), key, expiresAt }
    },
    /** Ends it, also in a copy of its cookie. @returns the Set-Cookie value */
    end: async ({ key, expiresAt }: Pick<ConsoleSession, 'key' | 'expiresAt'>): Promise<string> => {
      await deps.store.sessions.end(digest(key), expiresAt)
      return cookies.write(COOKIE, '', 0)
    },
    /** @param back a path of the console. Throws when the issuer cannot be discovered. */
    start: (back: string) => flow.start({ back }),
    /** @param query raw query of the callback. Never throws for what the browser or the issuer brought. */
    finish: async (
      query: string,
      read: CookieReader,
    ): Promise<
      | { readonly kind: 'signed_in'; readonly cookies: readonly string[]; readonly back: string }
      | { readonly kind: 'refused'; readonly reason: string }
    > => {
      const answer = await flow.finish(query, read)
      if (answer.kind === 'refused') return answer
      const token = rules.audience === undefined ? answer.idToken : answer.accessToken
      try {
        const cookie = await begin(token)
        if (cookie === null)
          return { kind: 'refused', reason: 'more groups and tenants than a cookie holds' }
        return {
          kind: 'signed_in',
          cookies: [cookie, answer.cookie],
          back: answer.kept['back'] ?? HOME,
        }
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        return { kind: 'refused', reason: messageOf(error) }
      }
    },
  }
}
