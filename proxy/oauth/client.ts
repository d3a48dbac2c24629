// The calls to a provider's authorization server: what is asked, and what may be learnt from the answer.
// No error that leaves carries a body, a token or a secret: only kinds, words and statuses do.
import * as oidc from 'openid-client'
import type { Clock, Connection, Provider, TokenSet } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Secret } from '../secret.ts'
import { authorizationUrl } from './authorize.ts'
import { accountAt, parseBody, readTokenAnswer } from './answer.ts'
import type { Account, TokenAnswer, TokenFailure } from './answer.ts'
import { createSend } from './transport.ts'

export type ClientDeps = {
  /** Checks addresses when it dials (net/dial). */
  readonly fetch: typeof fetch
  readonly clock: Pick<Clock, 'now'>
  /** For one call, body included. */
  readonly timeoutMs?: number
}
export type Revoked = 'revoked' | 'already_dead' | 'not_supported' | 'failed'
export type OAuthClient = ReturnType<typeof createOAuthClient>

const TIMEOUT_MS = 20_000
const FORM = 'application/x-www-form-urlencoded'

const need = (connection: Connection, key: 'token' | 'userinfo'): string => {
  const url = connection.provider[key]
  if (url === null)
    throw new Error(
      `connections.${connection.name}: provider ${connection.provider.id} has no ${key} endpoint`,
    )
  return url
}
const secretOf = (connection: Connection): string => {
  if (connection.clientSecret === null)
    throw new Error(
      `connections.${connection.name}: ${connection.provider.clientAuth} needs a client_secret`,
    )
  return connection.clientSecret.reveal()
}
const basic = (id: string, password: string): string =>
  `Basic ${Buffer.from(`${id}:${password}`).toString('base64')}`
/** RFC 6749 2.3.1 and appendix B: form-encoded before they are joined. */
const formEncoded = (text: string): string => new URLSearchParams([['', text]]).toString().slice(1)

/** Adds who we are, in the one place that the provider reads. */
const authenticate = (
  connection: Connection,
  body: URLSearchParams,
  headers: Record<string, string>,
): void => {
  const { clientId, provider } = connection
  const method = provider.clientAuth
  switch (method) {
    case 'client_secret_basic':
      headers['authorization'] = basic(formEncoded(clientId), formEncoded(secretOf(connection)))
      return
    case 'raw_basic':
      headers['authorization'] = basic(clientId, secretOf(connection))
      return
    case 'client_secret_post':
      body.set('client_id', clientId)
      body.set('client_secret', secretOf(connection))
      return
    case 'none':
      body.set('client_id', clientId)
      return
    case 'private_key_jwt':
      throw new Error(
        `connections.${connection.name}: client_auth private_key_jwt is not built yet`,
      )
    default:
      method satisfies never
  }
}

/** How deputy names itself to the organisation's OpenID provider (oauth/sign_in). */
export const signInAuthentication = (
  method: 'client_secret_basic' | 'client_secret_post' | 'none',
  clientSecret: Secret | null,
): oidc.ClientAuth => {
  if (method === 'none' || clientSecret === null) return oidc.None()
  return method === 'client_secret_post'
    ? oidc.ClientSecretPost(clientSecret.reveal())
    : oidc.ClientSecretBasic(clientSecret.reveal())
}

const presented = (
  { present, requiredHeaders }: Provider,
  access: Secret,
): Record<string, string> => ({
  'user-agent': 'deputy',
  ...Object.fromEntries(
    Object.entries(requiredHeaders).map(([name, value]) => [name.toLowerCase(), value]),
  ),
  accept: 'application/json',
  [present.header.toLowerCase()]:
    present.scheme === '' ? access.reveal() : `${present.scheme} ${access.reveal()}`,
})

export const createOAuthClient = ({ fetch, clock, timeoutMs = TIMEOUT_MS }: ClientDeps) => {
  const send = createSend(fetch, timeoutMs)

  const post = (connection: Connection, url: string, fields: Readonly<Record<string, string>>) => {
    const body = new URLSearchParams(fields)
    const headers: Record<string, string> = {
      'content-type': FORM,
      accept: 'application/json',
      'user-agent': 'deputy',
    }
    authenticate(connection, body, headers)
    return send(url, { method: 'POST', headers, body: body.toString() })
  }

  /** A word or sentence of the provider that quotes what we sent is not passed on. */
  const withoutEcho = (failure: TokenFailure, sent: readonly string[]): TokenFailure => {
    const echoes = (text: string) => sent.some((value) => value.length > 3 && text.includes(value))
    return {
      ...failure,
      error: echoes(failure.error) ? 'unnamed_error' : failure.error,
      description:
        failure.description !== null && echoes(failure.description) ? null : failure.description,
    }
  }

  const askToken = async (
    connection: Connection,
    fields: Readonly<Record<string, string>>,
    secrets: readonly string[],
  ): Promise<TokenAnswer> => {
    const { provider } = connection
    const raw = await post(connection, need(connection, 'token'), {
      ...provider.tokenParams,
      ...fields,
    })
    const account = provider.account?.from === 'token' ? provider.account : null
    const answer = 'kind' in raw ? raw : readTokenAnswer(provider.answer, raw, clock.now(), account)
    const known =
      connection.clientSecret === null ? secrets : [...secrets, connection.clientSecret.reveal()]
    return answer.kind === 'tokens' ? answer : withoutEcho(answer, known)
  }

  const revokeToken = async (
    connection: Connection,
    url: string,
    token: Secret,
    hint: string,
  ): Promise<Revoked> => {
    const raw = await post(connection, url, { token: token.reveal(), token_type_hint: hint })
    if ('kind' in raw) return 'failed'
    if (raw.status >= 200 && raw.status < 300) return 'revoked'
    const error = parseBody(raw)?.['error']
    if (error === 'invalid_token' || error === 'invalid_grant') return 'already_dead'
    return error === 'unsupported_token_type' ? 'not_supported' : 'failed'
  }

  return {
    authorizationUrl,

    /** Trades a code. Throws Problem credential_unavailable with a TokenFailure as its cause. */
    exchangeCode: async (
      connection: Connection,
      grant: {
        readonly code: Secret
        readonly redirectUri: string
        readonly verifier: Secret | null
      },
    ): Promise<{ readonly tokens: TokenSet; readonly account: Account | null }> => {
      const code = grant.code.reveal()
      const verifier = grant.verifier?.reveal()
      const fields = {
        grant_type: 'authorization_code',
        code,
        redirect_uri: grant.redirectUri,
        ...(verifier === undefined ? {} : { code_verifier: verifier }),
      }
      const answer = await askToken(
        connection,
        fields,
        verifier === undefined ? [code] : [code, verifier],
      )
      if (answer.kind === 'tokens') return answer
      throw new Problem(
        'credential_unavailable',
        'the provider did not trade the code for a token',
        { cause: answer },
      )
    },

    /** RFC 6749 6. Never throws for what the provider or the network does. */
    refresh: (connection: Connection, refreshToken: Secret): Promise<TokenAnswer> => {
      const token = refreshToken.reveal()
      return askToken(connection, { grant_type: 'refresh_token', refresh_token: token }, [token])
    },

    /** Whose account it is. Throws Problem credential_unavailable. */
    userinfo: async (connection: Connection, access: Secret): Promise<Account> => {
      const { provider } = connection
      const url = need(connection, 'userinfo')
      const raw = await send(url, { method: 'GET', headers: presented(provider, access) })
      const good = !('kind' in raw) && raw.status === 200 && provider.account !== null
      const account =
        good && provider.account !== null ? accountAt(parseBody(raw), provider.account) : null
      if (account !== null) return account
      const cause = 'kind' in raw ? raw : { kind: 'refused', error: `http_${raw.status}` }
      throw new Problem(
        'credential_unavailable',
        'the provider did not say whose account this is',
        { cause },
      )
    },

    /** Revokes at the provider, the refresh token first. Never throws for what the provider or the network does. */
    revoke: async (
      connection: Connection,
      tokens: Pick<TokenSet, 'access' | 'refresh'>,
    ): Promise<Revoked> => {
      const { provider, clientId } = connection
      if (provider.revoke === null || provider.revokeStyle === 'none') return 'not_supported'
      if (provider.revokeStyle === 'rfc7009') {
        const first =
          tokens.refresh === null
            ? null
            : await revokeToken(connection, provider.revoke, tokens.refresh, 'refresh_token')
        const second = await revokeToken(connection, provider.revoke, tokens.access, 'access_token')
        // Where access tokens cannot be revoked, or died with the other one, the refresh token's answer counts.
        if (first !== null && (second === 'already_dead' || second === 'not_supported'))
          return first
        return first === 'failed' || first === 'not_supported' ? first : second
      }
      const github = provider.revokeStyle === 'github'
      const url = provider.revoke.replaceAll('{client_id}', encodeURIComponent(clientId))
      const raw = await send(url, {
        method: github ? 'DELETE' : 'POST',
        headers: {
          ...presented(provider, tokens.access),
          ...(github
            ? {
                authorization: basic(clientId, secretOf(connection)),
                'content-type': 'application/json',
              }
            : {}),
        },
        ...(github ? { body: JSON.stringify({ access_token: tokens.access.reveal() }) } : {}),
      })
      if ('kind' in raw) return 'failed'
      const body = parseBody(raw)
      const dead = github
        ? raw.status === 404 || raw.status === 422
        : raw.status === 401 ||
          /^(?:token_revoked|invalid_auth|account_inactive|invalid_token)$/.test(
            String(body?.['error']),
          )
      if (dead) return 'already_dead'
      return raw.status >= 200 && raw.status < 300 && body?.['ok'] !== false ? 'revoked' : 'failed'
    },
  }
}
