// The calls to a provider's authorization server: what is asked, and what the answers tell. No
// error that leaves this file carries a body, a token or a secret, only kinds, words and statuses.
import { randomUUID } from 'node:crypto'
import { decodeJwt } from 'jose'
import * as oidc from 'openid-client'
import type { Clock, Connection, Provider, RefreshRules, TokenSet } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import type { Secret } from '../secret.ts'
import { authenticate, basic } from './client_auth.ts'
import { authorizationUrl, type Ask } from './authorization_request.ts'
import { readIntrospection, readTokenAnswer } from './token_answer.ts'
import type { TokenAnswer } from './token_answer.ts'
import { accountAt, parseBody } from './body.ts'
import { presentedAs } from '../wire/headers.ts'
import { meansUnauthorized } from '../wire/json.ts'
import type { Account, RawAnswer } from './body.ts'
import { revokeAt, type Revoked } from './revocation.ts'
import {
  FORM,
  JSON_TYPE,
  need,
  quoting,
  refused,
  rulesOf,
  scopeField,
  withoutEcho,
  written,
  type Fields,
} from './request.ts'
import { createSend } from './transport.ts'

type ClientDeps = {
  /** Checks addresses when it dials (net/dial). */
  readonly fetch: Fetch
  readonly clock: Pick<Clock, 'now'>
  /** For one call, body included. */
  readonly timeoutMs?: number
  /** `jti` of client assertions. */
  readonly randomId?: () => string
}
/** What the old tokens of a refresh say, where a provider wants to hear it again. */
type HeldTokens = { readonly access: Secret; readonly scopes: readonly string[] }
export type OAuthClient = ReturnType<typeof createOAuthClient>

const TIMEOUT_MS = 20_000

type Options = {
  readonly auth?: RefreshRules['clientAuth']
  readonly format?: 'form' | 'json'
  readonly resource?: readonly string[]
  readonly access?: Secret
}

const textOf = (
  connection: Connection,
  key: 'client_secret' | 'client_key',
  value: Secret | null | undefined,
): string => {
  const { name, provider } = connection
  if (!value) throw new Error(`connections.${name}: ${provider.clientAuth} needs a ${key}`)
  return value.reveal()
}
const clientOf = (connection: Connection) => {
  const { provider, clientId } = connection
  const wanted = provider.assertionAudience ?? 'issuer'
  const named = { issuer: provider.issuer ?? '', token: provider.token ?? '' }
  return {
    id: clientId,
    secret: () => textOf(connection, 'client_secret', connection.clientSecret),
    key: () => textOf(connection, 'client_key', connection.clientKey),
    audience: wanted === 'issuer' || wanted === 'token' ? named[wanted] : wanted,
  }
}

/** How deputy names itself to the organisation's OpenID provider (consent/sign_in). */
export const signInAuthentication = (
  method: 'client_secret_basic' | 'client_secret_post' | 'none',
  clientSecret: Secret | null,
): oidc.ClientAuth => {
  if (method === 'none' || clientSecret === null) return oidc.None()
  return method === 'client_secret_post'
    ? oidc.ClientSecretPost(clientSecret.reveal())
    : oidc.ClientSecretBasic(clientSecret.reveal())
}

const presented = (provider: Provider, access: Secret): Record<string, string> => ({
  'user-agent': 'deputy',
  ...Object.fromEntries(
    Object.entries(provider.requiredHeaders).map(([name, value]) => [name.toLowerCase(), value]),
  ),
  accept: JSON_TYPE,
  [provider.present.header.toLowerCase()]: presentedAs(provider, access.reveal()),
})
/**
 * The code belongs to this request, also where a provider forgets PKCE (RFC 9700 4.5.3.2). No ID token: nothing to compare.
 * It came from the token endpoint itself, so its signature adds nothing (OpenID Connect Core 3.1.3.7, 6).
 */
const sameNonce = (
  body: Readonly<Record<string, unknown>> | null,
  nonce: string | null,
): boolean => {
  const token = body?.['id_token']
  if (nonce === null || typeof token !== 'string') return true
  try {
    return decodeJwt(token)['nonce'] === nonce
  } catch {
    return false
  }
}

/** What a provider knows of us, as it stands and as Basic encodes it (RFC 6749 2.3.1). */
const ownSecrets = (
  { clientSecret }: Connection,
  ...held: readonly (Secret | null | undefined)[]
) =>
  [clientSecret, ...held].flatMap((each) => {
    const text = each?.reveal()
    return text === undefined ? [] : [text, encodeURIComponent(text)]
  })

/** What is kept and shown of a good answer holds nothing secret: a scope or a name that quotes it is none. */
const unquoted = <A extends { readonly tokens: TokenSet; readonly account: Account | null }>(
  connection: Connection,
  { tokens, account }: A,
  sent: readonly string[],
): { readonly tokens: TokenSet; readonly account: Account | null } => {
  const quotes = quoting([...sent, ...ownSecrets(connection, tokens.access, tokens.refresh)])
  const named = account !== null && (quotes(account.id) || quotes(account.label))
  return {
    tokens: { ...tokens, scopes: tokens.scopes?.filter((scope) => !quotes(scope)) ?? null },
    account: named ? null : account,
  }
}

/** Where the definition says no way to learn whose account it is. */
export const UNNAMED: Account = { id: '', label: '' }

/** What userinfo says of whose account it is; null: nothing that may be kept and shown. */
const accountIn = (connection: Connection, raw: RawAnswer, access: Secret): Account | null => {
  const { account: rules } = connection.provider
  if (raw.status !== 200 || rules === null) return null
  const account = accountAt(parseBody(raw), rules)
  const quotes = quoting(ownSecrets(connection, access))
  return account === null || quotes(account.id) || quotes(account.label) ? null : account
}

export const createOAuthClient = ({
  fetch,
  clock,
  timeoutMs = TIMEOUT_MS,
  randomId = randomUUID,
}: ClientDeps) => {
  const send = createSend(fetch, timeoutMs)

  const post = async (
    connection: Connection,
    url: string,
    asked: Fields,
    options: Options = {},
  ) => {
    const { auth = connection.provider.clientAuth, format = 'form', access } = options
    const headers: Record<string, string> = {
      'content-type': format === 'json' ? JSON_TYPE : FORM,
      accept: JSON_TYPE,
      'user-agent': 'deputy',
    }
    const fields = Object.entries(asked)
    for (const resource of options.resource ?? []) fields.push(['resource', resource])
    if (auth !== 'bearer')
      await authenticate(
        auth,
        clientOf(connection),
        { fields, headers },
        { now: clock.now, randomId },
      )
    else if (access !== undefined) headers['authorization'] = `Bearer ${access.reveal()}`
    const body = written(fields, format)
    return send(url, { method: 'POST', headers, body, tls: connection.tls ?? null })
  }

  /** A token or refresh request. Never throws for what the provider or the network does. */
  const askToken = async (
    connection: Connection,
    rules: RefreshRules,
    fields: Fields,
    held: {
      /** What goes with it and must not be repeated. */
      readonly secrets: readonly string[]
      readonly access?: Secret | undefined
      readonly nonce?: string | null | undefined
    },
  ): Promise<TokenAnswer> => {
    const { provider } = connection
    const { secrets, access, nonce = null } = held
    const raw = await post(
      connection,
      rules.url ?? need(connection, 'token'),
      { ...rules.params, ...fields },
      {
        auth: rules.clientAuth,
        format: provider.tokenFormat ?? 'form',
        resource: provider.resource ?? [],
        ...(access === undefined ? {} : { access }),
      },
    )
    const account = provider.account?.from === 'token' ? provider.account : null
    const answer = 'kind' in raw ? raw : readTokenAnswer(rules.answer, raw, clock.now(), account)
    if (!('kind' in raw) && answer.kind === 'tokens' && !sameNonce(parseBody(raw), nonce))
      throw refused('the ID token was made for another request', raw)
    if (answer.kind === 'tokens')
      // Where refresh tokens are never used, none is kept.
      return {
        ...answer,
        tokens: {
          ...answer.tokens,
          clientId: connection.clientId,
          ...(provider.refresh === null ? { refresh: null } : {}),
        },
      }
    return withoutEcho(answer, [...secrets, ...ownSecrets(connection, access)])
  }

  /** What introspection adds, where the definition asks for it at this moment; a failure of it changes nothing. */
  const introspected = async (
    connection: Connection,
    tokens: TokenSet,
    when: 'grant' | 'refresh',
  ): Promise<{ readonly tokens: TokenSet; readonly account: Account | null }> => {
    const { introspect: rules } = connection.provider
    if (!rules?.at.includes(when)) return { tokens, account: null }
    const asked = { token: tokens.access.reveal(), token_type_hint: 'access_token' }
    const options = rules.auth === 'bearer' ? { auth: rules.auth, access: tokens.access } : {}
    const raw = await post(connection, rules.url, asked, options)
    return 'kind' in raw
      ? { tokens, account: null }
      : readIntrospection(connection.provider, rules, raw, { tokens, now: clock.now() })
  }

  const askUserinfo = ({ provider, tls = null }: Connection, url: string, access: Secret) => {
    const headers = presented(provider, access)
    const { userinfoBody: body } = provider
    return send(
      url,
      body
        ? { method: 'POST', headers: { ...headers, 'content-type': JSON_TYPE }, body, tls }
        : { method: 'GET', headers, tls },
    )
  }

  return {
    /** Where the person's browser goes; pushed to the provider first where it takes that (RFC 9126). Throws credential_unavailable. */
    authorize: async (connection: Connection, ask: Ask): Promise<URL> => {
      const url = authorizationUrl(connection, ask)
      const { provider } = connection
      if (!provider.par) return url
      const { resource: _many, ...pushed } = Object.fromEntries(url.searchParams)
      const raw = await post(connection, provider.par, pushed, {
        resource: provider.resource ?? [],
      })
      const body = 'kind' in raw || raw.status < 200 || raw.status > 299 ? null : parseBody(raw)
      const uri = body?.['request_uri']
      if (typeof uri !== 'string')
        throw refused('the provider did not take the authorization request', raw)
      const short = new URL(provider.authorize ?? '')
      short.searchParams.set('client_id', connection.clientId)
      short.searchParams.set('request_uri', uri)
      return short
    },

    /** Trades a code. Throws Problem credential_unavailable with a TokenFailure as its cause. */
    exchangeCode: async (
      connection: Connection,
      grant: {
        readonly code: Secret
        readonly redirectUri: string
        readonly verifier: Secret | null
        /** What was asked for. */
        readonly scopes?: readonly string[]
        /** What the authorization request carried, where the provider speaks OpenID Connect. */
        readonly nonce?: string | null
      },
    ): Promise<{ readonly tokens: TokenSet; readonly account: Account | null }> => {
      const { provider } = connection
      const code = grant.code.reveal()
      const verifier = grant.verifier?.reveal()
      const answer = await askToken(
        connection,
        rulesOf(provider, 'grant'),
        {
          grant_type: 'authorization_code',
          code,
          redirect_uri: grant.redirectUri,
          ...(verifier === undefined ? {} : { code_verifier: verifier }),
          ...scopeField(provider, 'token', grant.scopes ?? []),
        },
        { secrets: verifier === undefined ? [code] : [code, verifier], nonce: grant.nonce },
      )
      if (answer.kind !== 'tokens')
        throw refused('the provider did not trade the code for a token', answer)
      const more = await introspected(connection, answer.tokens, 'grant')
      const earned = { tokens: more.tokens, account: more.account ?? answer.account }
      return unquoted(connection, earned, verifier === undefined ? [code] : [code, verifier])
    },

    /** RFC 6749 6. Never throws for what the provider or the network does. */
    refresh: async (
      connection: Connection,
      refreshToken: Secret,
      held?: HeldTokens,
    ): Promise<TokenAnswer> => {
      const { provider } = connection
      const token = refreshToken.reveal()
      const scope = scopeField(provider, 'refresh', held?.scopes ?? [])
      const fields = { grant_type: 'refresh_token', refresh_token: token, ...scope }
      const rules = rulesOf(provider, 'refresh')
      const answer = await askToken(connection, rules, fields, {
        secrets: [token],
        access: held?.access,
      })
      if (answer.kind !== 'tokens') return answer
      const more = await introspected(connection, answer.tokens, 'refresh')
      return { ...answer, tokens: unquoted(connection, more, [token]).tokens }
    },

    /** Whose account it is. Throws Problem credential_unavailable. */
    userinfo: async (connection: Connection, access: Secret): Promise<Account> => {
      const raw = await askUserinfo(connection, need(connection, 'userinfo'), access)
      const account = 'kind' in raw ? null : accountIn(connection, raw, access)
      if (account !== null) return account
      throw refused('the provider did not say whose account this is', raw)
    },

    /**
     * Whose key is this? `refused`: the provider does not take it; `unknown`: it did not say. Where the definition names
     * no way to ask, every key passes, of an account that nobody knows. Never throws for what the provider or the network
     * does.
     */
    holder: async (
      connection: Connection,
      key: Secret,
    ): Promise<Account | 'refused' | 'unknown'> => {
      const { provider } = connection
      if (provider.userinfo === null) return UNNAMED
      const raw = await askUserinfo(connection, provider.userinfo, key)
      if ('kind' in raw) return 'unknown'
      const { status } = raw
      if (status === 401 || status === 403) return 'refused'
      if (meansUnauthorized(provider.unauthorized, parseBody(raw))) return 'refused'
      if (provider.account === null) return status === 200 ? UNNAMED : 'unknown'
      return accountIn(connection, raw, key) ?? 'unknown'
    },

    /**
     * Does the provider still know this access token? Asked of introspection, or of userinfo; `unknown` where neither
     * says. Never throws for what the provider or the network does.
     */
    alive: async (
      connection: Connection,
      access: Secret,
    ): Promise<'alive' | 'dead' | 'unknown'> => {
      const { introspect, userinfo, unauthorized } = connection.provider
      const asked =
        introspect && introspect.auth === 'client'
          ? post(connection, introspect.url, {
              token: access.reveal(),
              token_type_hint: 'access_token',
            })
          : userinfo === null
            ? null
            : askUserinfo(connection, userinfo, access)
      const raw = await asked
      if (raw === null || 'kind' in raw) return 'unknown'
      const body = parseBody(raw)
      if (introspect && introspect.auth === 'client') {
        const active = raw.status === 200 ? body?.['active'] : undefined
        return active === false ? 'dead' : active === true ? 'alive' : 'unknown'
      }
      if (raw.status === 401 || meansUnauthorized(unauthorized, body)) return 'dead'
      return raw.status === 200 ? 'alive' : 'unknown'
    },

    /** Revokes at the provider, the refresh token first. Never throws for what the provider or the network does. */
    revoke: (
      connection: Connection,
      { access, refresh }: Pick<TokenSet, 'access' | 'refresh'>,
    ): Promise<Revoked> => {
      const { provider, clientId, tls = null } = connection
      // Nobody knows whether it could have been done.
      if (provider.revoke === null && provider.discover?.problem) return Promise.resolve('failed')
      const url = (provider.revoke ?? '').replaceAll('{client_id}', encodeURIComponent(clientId))
      const headers = presented(provider, access)
      return revokeAt(provider, {
        hasRefresh: refresh !== null,
        form: (which) =>
          post(connection, url, {
            token: ((which === 'refresh_token' ? refresh : access) ?? access).reveal(),
            token_type_hint: which,
          }),
        holder: () => send(url, { method: 'POST', headers, tls }),
        github: () => {
          const { id, secret } = clientOf(connection)
          return send(url, {
            method: 'DELETE',
            tls,
            headers: {
              ...headers,
              authorization: basic(id, secret()),
              'content-type': JSON_TYPE,
            },
            body: JSON.stringify({ access_token: access.reveal() }),
          })
        },
      })
    },
  }
}
