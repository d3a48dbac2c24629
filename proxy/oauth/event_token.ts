// Tokens that say that something happened: security events (RFC 8417) and logout tokens (OIDC Back-Channel Logout 2.4).
import { decodeProtectedHeader, errors, type JWTPayload } from 'jose'
import { EventRefused, type SaidEvent } from '../directory/signals.ts'
import type { Clock } from '../model.ts'
import { assertOneReading } from '../wire/jwt.ts'
import type { IssuerKeys, KeySource } from './issuer_keys.ts'
import { ALGORITHMS, byUnknownKey, claimsOf, signedBy, SKEW_S } from './signed_token.ts'

export type EventSource = {
  readonly keys: KeySource
  /** One of these must be among the token's. */
  readonly audience: readonly string[]
  readonly kind: 'event' | 'logout'
}
const LOGOUT = 'http://schemas.openid.net/event/backchannel-logout'
const LONGEST_EVENT = 65_536
/** Older than this it is not taken, so that what was taken must be remembered for no longer. */
export const OLDEST_EVENT_MS = 7 * 86_400_000

const refuse = (message: string): EventRefused => new EventRefused('invalid_request', message)
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What makes it a token of its kind, and no ID token or tag of the same issuer. */
const checkKind = (
  { kind }: EventSource,
  typ: string | undefined,
  { nonce, exp, sub, sid }: JWTPayload,
): void => {
  const type = typ?.toLowerCase().replace(/^application\//, '')
  if (kind === 'event') {
    if (type !== 'secevent+jwt') throw refuse('typ must be secevent+jwt')
    if (exp !== undefined || sub !== undefined)
      throw refuse('a security event has neither exp nor sub')
    return
  }
  if (type !== undefined && type !== 'logout+jwt' && type !== 'jwt')
    throw refuse('typ must be logout+jwt')
  if (nonce !== undefined) throw refuse('a logout token has no nonce')
  if (exp === undefined) throw refuse('a logout token has an exp')
  if (typeof sub !== 'string' && typeof sid !== 'string')
    throw refuse('a logout token has a sub or a sid')
}

const faultOf = (error: unknown): unknown => {
  if (error instanceof SyntaxError)
    return new EventRefused('invalid_request', 'it cannot be read in one way', error)
  if (error instanceof errors.JWTClaimValidationFailed)
    return new EventRefused(
      error.claim === 'aud'
        ? 'invalid_audience'
        : error.claim === 'iss'
          ? 'invalid_issuer'
          : 'invalid_request',
      `its ${error.claim} does not hold`,
      error,
    )
  if (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWSSignatureVerificationFailed
  )
    return new EventRefused('invalid_key', 'no key of its issuer verifies it', error)
  if (error instanceof errors.JOSEError)
    return new EventRefused('invalid_request', `it does not verify: ${error.code}`, error)
  return error
}

/** Its one event, and when it was. */
const eventOf = ({ kind }: EventSource, payload: JWTPayload, now: number): SaidEvent => {
  const { iss = '', jti, iat = 0, events } = payload
  if (typeof jti !== 'string' || jti === '' || jti.length > 1_024) throw refuse('it needs a jti')
  if (!isRecord(events)) throw refuse('it needs a member events, an object')
  const types = Object.keys(events)
  const [type] = kind === 'logout' ? types.filter((each) => each === LOGOUT) : types
  if (type === undefined || (kind === 'event' && types.length > 1))
    throw refuse(kind === 'logout' ? `its events lack ${LOGOUT}` : 'it must have one event')
  if (kind === 'event' && type === LOGOUT)
    throw refuse('a logout token goes to /logout/backchannel')
  if (!isRecord(events[type])) throw refuse('what it says of its event must be an object')
  const said = iat * 1_000
  if (said > now + SKEW_S * 1_000) throw refuse('it was issued in the future')
  if (said < now - OLDEST_EVENT_MS) throw refuse('it is older than seven days')
  const { event_timestamp: happened } = events[type]
  // Google and CAEP 1.0 count seconds; a time after the token was issued is none.
  const seconds = typeof happened === 'number' ? happened * 1_000 : said
  // What lies before anything that counts is another unit, or no time.
  const at = seconds >= said - OLDEST_EVENT_MS ? Math.min(said, seconds) : said
  return { issuer: iss, jti, at, type, event: events[type], payload }
}

/**
 * @param keysOf the keys of an issuer, closed by whoever made them
 * @returns verifies by the first source whose issuer and kind it is. Throws EventRefused; Problem issuer_unavailable: later
 */
export const createEventTokens = <S extends EventSource>(
  sources: readonly S[],
  {
    keysOf,
    clock,
  }: { readonly keysOf: (source: KeySource) => IssuerKeys; readonly clock: Pick<Clock, 'now'> },
): ((
  token: string,
  kind: EventSource['kind'],
) => Promise<{ readonly said: SaidEvent; readonly source: S }>) => {
  const all = sources.map((source) => ({ source, keys: keysOf(source.keys) }))
  return async (token, kind) => {
    if (token.length > LONGEST_EVENT) throw refuse('it is longer than 64 KiB')
    const claims = claimsOf(token)
    if (claims === null) throw refuse('it is no signed token')
    const own = all.filter(({ source }) => source.kind === kind)
    const ours = own.filter(({ source }) => source.keys.issuer === claims.iss)
    const auds = new Set([claims.aud ?? []].flat())
    const row = ours.find(({ source }) => source.audience.some((each) => auds.has(each)))
    const found = row ?? ours[0]
    if (found === undefined)
      throw new EventRefused('invalid_issuer', 'nobody here listens to its issuer')
    const { source, keys } = found
    try {
      assertOneReading(token)
      const { typ } = decodeProtectedHeader(token)
      const rules = {
        issuer: source.keys.issuer,
        audience: [...source.audience],
        algorithms: ALGORITHMS,
        requiredClaims: ['iat', 'jti'],
        currentDate: new Date(clock.now()),
        clockTolerance: SKEW_S,
      }
      const by = await keys.serving()
      const payload = await signedBy(token, by, rules).catch(async (error: unknown) => {
        const newer = byUnknownKey(error, token) ? await keys.newer(by) : null
        if (newer === null) throw error
        return signedBy(token, newer, rules)
      })
      checkKind(source, typ, payload)
      return { said: eventOf(source, payload, clock.now()), source }
    } catch (error) {
      throw faultOf(error)
    }
  }
}
