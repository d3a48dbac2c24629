// A token that an issuer signed: whom it is of, whether it verifies, and for how long that is remembered.
import { hash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Clock } from '../model.ts'
import { Problem } from '../problem.ts'
import { assertOneReading } from '../wire/jwt.ts'
import type { IssuerKeys, KeySet, KeySource } from './issuer_keys.ts'
import { domainOfId, SVID_ALGORITHMS, svidType } from './spiffe.ts'

/** Asymmetric only: with a shared secret anybody who verifies could also sign (RFC 8725 3.2). */
export const ALGORITHMS = [...SVID_ALGORITHMS, 'EdDSA', 'Ed25519']
export const SKEW_S = 60
export const LONGEST = 16_384

/** `iat` and `exp`, ms. */
export type Times = { readonly issuedAt: number; readonly expiresAt: number }
type Denied = (detail: string, cause?: unknown) => Problem
type Verified<T> = {
  readonly said: T
  readonly expiresAt: number
  readonly by: KeySet
  readonly from: IssuerKeys
}
export type SignedTokens<T> = {
  /** What it says. Synchronous when it was verified before. Throws Problem. */
  readonly of: (token: string) => T | Promise<T>
  /** Is this a JWT of one of the issuers, and for us? Nothing is verified. */
  readonly meant: (token: string) => boolean
  /** Forgets what was verified (a reload). */
  readonly forget: () => void
}

const looksLikeJwt = (value: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(value)
/** What a JWT says, unverified; null: it is none. */
export const claimsOf = (token: string): JWTPayload | null => {
  if (!looksLikeJwt(token)) return null
  try {
    return decodeJwt(token)
  } catch {
    return null
  }
}
export const isFor = ({ aud }: JWTPayload, audience: string): boolean =>
  Array.isArray(aud) ? aud.includes(audience) : aud === audience

/**
 * When it was issued and when it ends. Throws Problem.
 * @param now s
 * @param longest ms
 */
export const timesOf = (
  { exp = 0, iat = 0 }: JWTPayload,
  now: number,
  {
    what,
    longest,
    limit,
    denied,
  }: {
    readonly what: string
    readonly longest: number
    readonly limit: string
    readonly denied: Denied
  },
): Times => {
  // No tolerance at the end of its life, a minute at its beginning.
  if (exp <= now) throw denied(`the ${what} has expired`)
  if (iat > now + SKEW_S) throw denied(`the ${what} was issued in the future`)
  if ((exp - iat) * 1_000 > longest)
    throw denied(`the ${what} lives longer than ${limit} (${longest / 1_000} s)`)
  return { issuedAt: iat * 1_000, expiresAt: exp * 1_000 }
}

/** Each key that fits is tried: an issuer may publish several without `kid` (RFC 7517 4.5). */
export const signedBy = async (
  token: string,
  keys: KeySet,
  rules: NonNullable<Parameters<typeof jwtVerify>[2]>,
): Promise<JWTPayload> => {
  try {
    return (await jwtVerify(token, keys, rules)).payload
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
    for await (const key of error)
      try {
        return (await jwtVerify(token, key, rules)).payload
      } catch (wrong) {
        if (!(wrong instanceof errors.JWSSignatureVerificationFailed)) throw wrong
      }
    throw new errors.JWSSignatureVerificationFailed()
  }
}
/** It may be signed by a key that the issuer has published since. */
export const byUnknownKey = (error: unknown, token: string): boolean =>
  error instanceof errors.JWKSNoMatchingKey ||
  (error instanceof errors.JWSSignatureVerificationFailed &&
    decodeProtectedHeader(token).kid === undefined)

/**
 * @param options.what what such a token is called in sentences
 * @param options.where where it stands, in sentences about what is none
 * @param options.foreign what is wrong with what is of no issuer here
 * @param options.denied the Problem for a token that does not hold
 * @param options.maxAge longest life, from `iat` to `exp`, ms
 * @param options.limit the key that sets it; `identity.max_age` unless told
 * @param options.keysOf the keys of an issuer, closed by whoever made them
 * @param options.read what verified claims say; throws Problem
 */
export const createSignedTokens = <
  I extends KeySource & {
    readonly audience: string
    /** Longest life of its tokens in place of `maxAge`, ms. */
    readonly maxAge?: number
  },
  T,
>(options: {
  readonly issuers: readonly I[]
  readonly what: string
  readonly where: string
  readonly foreign: string
  readonly denied: Denied
  readonly maxAge: number
  readonly limit?: string
  readonly keysOf: (source: KeySource) => IssuerKeys
  readonly clock: Clock
  readonly read: (payload: JWTPayload, issuer: I, times: Times) => T
}): SignedTokens<T> => {
  const { clock, denied, what, limit = 'identity.max_age' } = options
  const issuers = options.issuers.map((issuer) => ({
    ...issuer,
    keys: options.keysOf(issuer),
  }))
  const remembered = new LRUCache<string, Verified<T>>(room(50_000))
  /** What began to verify before everything was forgotten is not remembered after. */
  let changes = 0

  const issuerOf = (token: string): (typeof issuers)[number] | null => {
    const claims = claimsOf(token)
    if (claims === null) return null
    // The token of a trust domain names no issuer (JWT-SVID 3): its subject tells.
    const domain = domainOfId(claims.sub)
    return (
      issuers.find(({ issuer, spiffe }) =>
        spiffe === undefined ? issuer === claims.iss : spiffe === domain,
      ) ?? null
    )
  }

  /** Claims whose signature, issuer, audience and times verify. */
  const checked = async (
    token: string,
    { issuer, audience, spiffe }: I,
    from: IssuerKeys,
  ): Promise<{ readonly payload: JWTPayload; readonly by: KeySet }> => {
    const rules = {
      ...(spiffe === undefined
        ? { issuer, algorithms: ALGORITHMS, requiredClaims: ['exp', 'iat'] }
        : { algorithms: [...SVID_ALGORITHMS], requiredClaims: ['exp', 'sub'] }),
      audience,
      clockTolerance: SKEW_S,
      currentDate: new Date(clock.now()),
    }
    try {
      assertOneReading(token)
      if (spiffe !== undefined && !svidType(decodeProtectedHeader(token).typ))
        throw denied(`the ${what} is another kind of token than a JWT-SVID (typ)`)
      const by = await from.serving()
      try {
        return { payload: await signedBy(token, by, rules), by }
      } catch (error) {
        const newer = byUnknownKey(error, token) ? await from.newer(by) : null
        if (newer === null) throw error
        return { payload: await signedBy(token, newer, rules), by: newer }
      }
    } catch (error) {
      if (error instanceof SyntaxError)
        throw denied(`the ${what} cannot be read in one way: ${error.message}`, error)
      if (error instanceof errors.JWKSInvalid)
        throw new Problem('issuer_unavailable', 'the issuer publishes keys that cannot be used', {
          cause: error,
        })
      if (error instanceof errors.JOSEError)
        throw denied(`the ${what} does not verify: ${error.code}`, error)
      throw error
    }
  }

  const verify = async (token: string, digest: string): Promise<T> => {
    const issuer = issuerOf(token)
    if (issuer === null) throw denied(`${options.where} ${options.foreign}`)
    const from = issuer.keys
    const seen = changes
    const { payload, by } = await checked(token, issuer, from)
    const now = clock.now() / 1_000
    const { maxAge: longest = options.maxAge } = issuer
    const key = issuer.maxAge === undefined ? limit : 'its max_age'
    // A token of a trust domain need not say since when: what it has left is its life then.
    const times = timesOf({ iat: now, ...payload }, now, { what, longest, limit: key, denied })
    const said = options.read(payload, issuer, times)
    if (seen === changes) remembered.set(digest, { said, expiresAt: times.expiresAt, by, from })
    return said
  }

  return {
    of: (token) => {
      if (token.length > LONGEST) throw denied(`${options.where} is too long`)
      const digest = hash('sha256', token, 'base64url')
      const known = remembered.get(digest)
      // What its key no longer verifies, or may not any more, is asked of the issuer like what is new.
      return known !== undefined &&
        known.expiresAt > clock.now() &&
        known.from.current() === known.by
        ? known.said
        : verify(token, digest)
    },
    meant: (token) => {
      const issuer = issuerOf(token)
      return issuer !== null && isFor(decodeJwt(token), issuer.audience)
    },
    forget: () => {
      changes++
      remembered.clear()
    },
  }
}
