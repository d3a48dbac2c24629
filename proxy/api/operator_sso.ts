// People who are operators by the organisation's own tokens: who they are, and which roles they have at this moment.
import type { JWTPayload } from 'jose'
import type { Clock, JsonObject } from '../model.ts'
import type { IssuerKeys, KeySource } from '../oauth/issuer_keys.ts'
import { claimsOf, createSignedTokens } from '../oauth/signed_token.ts'
import { operatorRoles, type OperatorRole } from '../policy/tables.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { atPointer } from '../wire/json.ts'
import type { May, Operator, SignedIn } from './operator.ts'

/** `break-glass` is not among them: each use of it is judged and recorded by itself. */
const MAY: Readonly<Record<Exclude<OperatorRole, 'break-glass'>, readonly May[]>> = {
  viewer: ['connections', 'list'],
  auditor: ['connections', 'list'],
  operator: ['connections', 'list', 'revoke', 'runs'],
}
const SKEW_S = 60

/** `operators_sign_in`. */
export type SignInRules = {
  readonly issuer: string
  readonly client_id: string
  readonly scope: string
  readonly audience?: string | undefined
  readonly roles: string
  readonly user: string
  readonly tenant?: string | undefined
  readonly realm?: string | undefined
  /** ms, as the next one. */
  readonly max_age: number
  readonly break_glass: number
}
/** What a token says of its person. */
export type Said = {
  readonly id: string
  readonly groups: readonly string[]
  /** null: all. */
  readonly tenants: readonly string[] | null
  /** When the person signed in, s; null: the issuer does not say. */
  readonly since: number | null
}
export type OperatorSignIn = SignedIn & {
  /**
   * What a token says, for a session: of the groups those that `operator_roles` names now. Throws as `operator`.
   * @returns expiresAt ms since the epoch
   */
  readonly said: (token: string) => Promise<{ readonly said: Said; readonly expiresAt: number }>
  /** Who that is at this moment, by the table as it is now. */
  readonly as: (said: Said) => Operator
  /** What `deputy login` has to know. */
  readonly about: object
}

const denied = (detail: string, cause?: unknown): Problem =>
  new Problem('unauthenticated', detail, { cause })

/** A text or a list of texts; null: neither. */
const textsAt = (payload: JWTPayload, pointer: string): readonly string[] | null => {
  const value = atPointer(payload, pointer)
  if (typeof value === 'string') return [value]
  return Array.isArray(value) && value.every((one) => typeof one === 'string') ? value : null
}
/** Marks that only ID tokens have: the claim of Keycloak, and the hash of what came beside it (OIDC Core 3.1.3.6). */
const isIdToken = (payload: JWTPayload): boolean =>
  payload['typ'] === 'ID' || payload['at_hash'] !== undefined

const read = (payload: JWTPayload, rules: SignInRules): Said => {
  if (rules.audience !== undefined && isIdToken(payload))
    throw denied('this is an ID token; operators_sign_in.audience asks for an access token')
  const { azp } = payload
  if (rules.audience === undefined && azp !== undefined && azp !== rules.client_id)
    throw denied('the token was given to another client')
  const id = atPointer(payload, rules.user)
  if (typeof id !== 'string' || !validId(id))
    throw denied(`the token has no usable name at ${rules.user}`)
  if (rules.user === '/email' && payload['email_verified'] !== true)
    throw denied('the token’s email is not verified (email_verified)')
  const groups = textsAt(payload, rules.roles)
  if (groups === null)
    throw new Problem(
      'operator_refused',
      `the token has no list of groups at ${rules.roles}: the issuer must put it there`,
    )
  const tenants = rules.tenant === undefined ? null : textsAt(payload, rules.tenant)
  if (rules.tenant !== undefined && tenants === null)
    throw new Problem('operator_refused', `the token names no tenant at ${rules.tenant}`)
  const since = payload['auth_time']
  return { id, groups, tenants, since: typeof since === 'number' ? since : null }
}

/** Why break-glass does not open now; null: it does. */
const shut = ({ since }: Said, { break_glass: ms }: SignInRules, now: number): string | null => {
  if (since === null)
    return 'has break-glass, but the token does not say when its person signed in (auth_time)'
  if (since > now + SKEW_S) return 'has break-glass, but signed in in the future: a clock is wrong'
  return now >= since + ms / 1_000
    ? `has break-glass, which ended ${ms / 1_000} s after the sign-in: sign in again`
    : null
}

/** @param deps.table the policy's table `operator_roles`, as it serves now */
export const createOperatorSignIn = (
  rules: SignInRules,
  deps: {
    readonly keysOf: (source: KeySource) => IssuerKeys
    readonly table: () => JsonObject | null
    readonly clock: Clock
  },
): OperatorSignIn => {
  const { issuer, client_id, scope, audience } = rules
  const { clock } = deps
  const tokens = createSignedTokens({
    issuers: [{ issuer, jwksUri: null, jwksFile: null, audience: audience ?? client_id }],
    what: 'operator’s token',
    where: 'Authorization',
    foreign: 'holds no bearer of an operator, and no token of the issuer of operators_sign_in',
    denied,
    maxAge: rules.max_age,
    limit: 'operators_sign_in.max_age',
    keysOf: deps.keysOf,
    clock,
    read: (payload) => read(payload, rules),
  })
  const as = (said: Said): Operator => {
    const roles = operatorRoles(deps.table(), said.groups)
    const may = new Set([...roles].flatMap((role) => (role === 'break-glass' ? [] : MAY[role])))
    return {
      name: `sso:${said.id}`,
      may: [...may],
      ...(said.tenants === null ? {} : { tenants: said.tenants }),
      sso: {
        id: said.id,
        realm: rules.realm ?? issuer,
        roles: [...roles],
        ...(roles.has('break-glass')
          ? { glass: { shut: shut(said, rules, clock.now() / 1_000) } }
          : {}),
      },
    }
  }
  return {
    about: {
      issuer,
      client_id,
      scope,
      audience: audience ?? null,
      token: audience === undefined ? 'id_token' : 'access_token',
    },
    looksLike: (sent) => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(sent),
    said: async (token) => {
      const said = await tokens.of(token)
      const named = said.groups.filter((group) => operatorRoles(deps.table(), [group]).size > 0)
      const { exp = 0 } = claimsOf(token) ?? {}
      return { said: { ...said, groups: named }, expiresAt: exp * 1_000 }
    },
    as,
    operator: async (token) => as(await tokens.of(token)),
  }
}
