// What each provider calls revocation, and what its answer says about whether the access has ended.
import type { Provider } from '../model.ts'
import type { TokenFailure } from './token_answer.ts'
import { parseBody } from './body.ts'
import type { RawAnswer } from './body.ts'

/** `access_outlives`: the refresh token is gone, the access token works until it expires. */
export type Revoked = 'revoked' | 'already_dead' | 'not_supported' | 'access_outlives' | 'failed'

type Answered = Promise<RawAnswer | TokenFailure>
export type RevokeCalls = {
  readonly hasRefresh: boolean
  /** RFC 7009 2.1, as the client. */
  readonly form: (which: 'refresh_token' | 'access_token') => Answered
  /** A POST that carries the access token as any call of the API would. */
  readonly holder: () => Answered
  /** GitHub’s: DELETE as the client, the access token in a JSON body. */
  readonly github: () => Answered
}

const good = (raw: RawAnswer): boolean => raw.status >= 200 && raw.status < 300

/** RFC 7009 2.2: a token that was gone already is a success, mostly. */
const readForm = (raw: RawAnswer | TokenFailure): Revoked => {
  if ('kind' in raw) return 'failed'
  if (good(raw)) return 'revoked'
  const error = parseBody(raw)?.['error']
  if (error === 'invalid_token' || error === 'invalid_grant') return 'already_dead'
  return error === 'unsupported_token_type' ? 'not_supported' : 'failed'
}

const DEAD = /^(?:token_revoked|token_expired|invalid_auth|account_inactive|invalid_token)$/
const readHolder = (raw: RawAnswer | TokenFailure): Revoked => {
  if ('kind' in raw) return 'failed'
  const body = parseBody(raw)
  if (raw.status === 401 || DEAD.test(String(body?.['error']))) return 'already_dead'
  return good(raw) && body?.['ok'] !== false ? 'revoked' : 'failed'
}

/** 401: it is no token any more. 400 only says that it was not done. */
const readLinear = (raw: RawAnswer | TokenFailure): Revoked => {
  if ('kind' in raw) return 'failed'
  if (raw.status === 401) return 'already_dead'
  return good(raw) ? 'revoked' : 'failed'
}

const readGithub = (raw: RawAnswer | TokenFailure): Revoked => {
  if ('kind' in raw) return 'failed'
  if (raw.status === 404 || raw.status === 422) return 'already_dead'
  return good(raw) ? 'revoked' : 'failed'
}

/** The refresh token's answer counts most: with it, access tokens could be had for ever. */
const both = (refresh: Revoked | null, access: Revoked): Revoked => {
  if (refresh === null) return access
  if (refresh === 'failed' || refresh === 'not_supported') return refresh
  if (access === 'not_supported') return 'access_outlives'
  return access === 'already_dead' ? refresh : access
}

/** Never throws for what the provider or the network does. */
export const revokeAt = async (
  { revoke, revokeStyle, accessOutlivesRevoke }: Provider,
  calls: RevokeCalls,
): Promise<Revoked> => {
  if (revoke === null) return 'not_supported'
  switch (revokeStyle) {
    case 'none':
      return 'not_supported'
    case 'github':
      return readGithub(await calls.github())
    case 'bearer':
      return readHolder(await calls.holder())
    case 'linear': {
      const refresh = calls.hasRefresh ? readLinear(await calls.form('refresh_token')) : null
      return both(refresh, readLinear(await calls.holder()))
    }
    case 'rfc7009': {
      const refresh = calls.hasRefresh ? readForm(await calls.form('refresh_token')) : null
      if (accessOutlivesRevoke === true && refresh !== null)
        return refresh === 'revoked' ? 'access_outlives' : refresh
      return both(refresh, readForm(await calls.form('access_token')))
    }
    default:
      return revokeStyle satisfies never
  }
}
