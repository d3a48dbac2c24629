// Who is calling, and for whom? No anonymous, no default user (design 2.2).
import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import { LRUCache } from 'lru-cache'
import type { GuardedClock } from '../clock.ts'
import type { Json, JsonObject, Log, Principal } from '../model.ts'
import {
  createIssuerKeys,
  type IssuerKeys,
  type KeySet,
  type KeySource,
} from '../oauth/issuer_keys.ts'
import { Problem } from '../problem.ts'
import { validId } from '../wire/canonical.ts'
import { atPointer } from '../wire/json.ts'
import { assertOneReading } from '../wire/jwt.ts'
import { createTagSearch, type TagSearch } from '../wire/stray_tag.ts'

/** Asymmetric only: with a shared secret anybody who verifies could also sign (RFC 8725 3.2). */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]
const SKEW_S = 60
/** `max` would take the room of all at once: what is bounded by its size grows as it fills. */
const one = (): number => 1

export type Issuer = KeySource & {
  readonly realm: string
  readonly audience: string
  readonly user: string
  readonly agent: string
  readonly tenant: string | null
  readonly tenants: readonly string[] | null
}

const denied = (detail: string, cause?: unknown): Problem =>
  new Problem('unauthenticated', detail, { cause })

/** Who calls. `slot`: said by the one Authorization header, which therefore holds no credential. */
export type Identified = { readonly who: Principal; readonly place: 'slot' | 'elsewhere' }

export type Identify = {
  /** Never a default user. Synchronous when the assertion was verified before. */
  readonly identify: (
    rawHeaders: readonly string[],
    named: string | null,
  ) => Identified | Promise<Identified>
  /**
   * What names the person of this call, as it may stand in the key slot; bytes as latin1. Of a call that `identify` took.
   * Throws as it does.
   */
  readonly tag: (rawHeaders: readonly string[], named: string | null) => string
  /** Do these headers name somebody, rightly or not? */
  readonly tagged: (rawHeaders: readonly string[]) => boolean
  /** Under `plain`: the name a body gives, for a request whose headers name nobody; null: they do. */
  readonly named: (id: string, rawHeaders: readonly string[]) => Principal | null
  /** Finds tags where none belong. */
  readonly tags: TagSearch
  /** Forgets verified assertions of everybody (a reload). */
  readonly forget: () => void
  readonly close: () => void
}

type Tags = { readonly header: readonly string[]; readonly slot: readonly string[] }
/** Of a call that had a tag: one that names its person nowhere else named them there. */
const placeOf = ({ header, slot }: Tags, named: string | null): Identified['place'] =>
  named === null && header.length === 0 && slot.length === 1 ? 'slot' : 'elsewhere'

/** All values of the tag header and of Authorization, as they came. */
const tagsOf = (rawHeaders: readonly string[], header: string): Tags => {
  const tags: { header: string[]; slot: string[] } = { header: [], slot: [] }
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (name.length === header.length && name.toLowerCase() === header)
      tags.header.push((rawHeaders[i + 1] ?? '').trim())
    else if (name.length === 13 && name.toLowerCase() === 'authorization')
      tags.slot.push((rawHeaders[i + 1] ?? '').trim())
  }
  return tags
}

/** What an SDK puts where its key goes: any scheme or none; in Basic, the password. */
const slotValue = (value: string): string => {
  const space = value.indexOf(' ')
  const after = value.slice(space + 1).trimStart()
  const end = after.indexOf(' ')
  const rest = end === -1 ? after : after.slice(0, end)
  if (value.slice(0, space).toLowerCase() !== 'basic') return rest
  const pair = Buffer.from(rest, 'base64').toString('latin1')
  return pair.slice(pair.indexOf(':') + 1)
}

/** A run token is a tag wherever a tag may stand. */
const isRun = (value: string): boolean => value.startsWith('dpr_')
const looksLikeJwt = (value: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(value)

/** `user:alice@example.com` in the key slot names a person under `plain`; anything else there is a credential. */
const slotName = (value: string): string | null =>
  value.startsWith('user:') ? value.slice('user:'.length) : null

/** A name whose bytes stand as latin1. Other bytes than UTF-8 would make one name of several people's. */
const inUtf8 = (latin: string): string => {
  const bytes = Buffer.from(latin, 'latin1')
  if (!isUtf8(bytes)) throw denied('the name is not UTF-8')
  return bytes.toString('utf8')
}

/** A tag may be sent as it is, or as a bearer. */
const unbeared = (value: string): string => value.replace(/^bearer +/i, '')
const sameRun = (run: string | null, value: string): string | null => {
  if (!isRun(value)) return run
  if (run !== null && value !== run) throw denied('two tags name different users')
  return value
}
/** The run token among the tags; null: none. Throws when there are two. */
const runIn = ({ header, slot }: Tags): string | null => {
  let run: string | null = null
  for (const value of header) run = sameRun(run, unbeared(value))
  for (const value of slot) run = sameRun(run, slotValue(value))
  return run
}

/** A verified assertion, and the keys that it was verified by. */
type Verified = { readonly principal: Principal; readonly by: KeySet; readonly from: IssuerKeys }

/** Each key that fits is tried: an issuer may publish several without `kid` (RFC 7517 4.5). */
const signedBy = async (
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
const byUnknownKey = (error: unknown, token: string): boolean =>
  error instanceof errors.JWKSNoMatchingKey ||
  (error instanceof errors.JWSSignatureVerificationFailed &&
    decodeProtectedHeader(token).kid === undefined)

/** Claims of an assertion whose signature, issuer, audience and times verify. Throws Problem. */
const createCheck =
  (clock: GuardedClock) =>
  async (
    token: string,
    { issuer, audience }: Issuer,
    from: IssuerKeys,
  ): Promise<{ readonly payload: JWTPayload; readonly by: KeySet }> => {
    const rules = {
      issuer,
      audience,
      algorithms: ALGORITHMS,
      requiredClaims: ['exp', 'iat'],
      clockTolerance: SKEW_S,
      currentDate: new Date(clock.now()),
    }
    try {
      assertOneReading(token)
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
        throw denied(`the assertion cannot be read in one way: ${error.message}`, error)
      if (error instanceof errors.JWKSInvalid)
        throw new Problem('issuer_unavailable', 'the issuer publishes keys that cannot be used', {
          cause: error,
        })
      if (error instanceof errors.JOSEError)
        throw denied(`the assertion does not verify: ${error.code}`, error)
      throw error
    }
  }

export const createIdentify = (options: {
  readonly trust: 'asserted' | 'plain'
  /** Lower case. */
  readonly header: string
  /** Longest life of an assertion, ms. */
  readonly maxAge: number
  readonly issuers: readonly Issuer[]
  readonly plainAgent: string
  readonly plainRealm: string
  /** Whose run this token is. Throws Problem unauthenticated. */
  readonly run: (token: string) => Principal | Promise<Principal>
  /** How long known keys serve while their issuer cannot be asked, ms. */
  readonly keysGrace: number
  readonly fetch: typeof fetch
  readonly clock: GuardedClock
  readonly log: Log
}): Identify => {
  const { clock } = options
  const checked = createCheck(clock)
  const verified = new LRUCache<string, Verified>({ maxSize: 50_000, sizeCalculation: one })
  /** What began to verify before everything was forgotten is not remembered after. */
  let changes = 0
  const forget = (): void => {
    changes++
    verified.clear()
  }
  const issuers = options.issuers.map((issuer) => ({
    ...issuer,
    keys: createIssuerKeys(issuer, { ...options, grace: options.keysGrace }),
  }))

  const issuerOf = (token: string): (typeof issuers)[number] | null => {
    try {
      const { iss } = decodeJwt(token)
      return issuers.find(({ issuer }) => issuer === iss) ?? null
    } catch {
      return null // it is no JWT
    }
  }
  /** In the SDK's slot a JWT is a tag only when it names a configured issuer and our audience; anything else is a credential. */
  const isTag = (token: string): boolean => {
    if (!looksLikeJwt(token)) return false
    const issuer = issuerOf(token)
    if (issuer === null) return false
    const { aud } = decodeJwt(token)
    return Array.isArray(aud) ? aud.includes(issuer.audience) : aud === issuer.audience
  }

  const text = (payload: JWTPayload, pointer: string, what: string): string => {
    const value = atPointer(payload, pointer)
    if (typeof value !== 'string') throw denied(`the assertion has no ${what} at ${pointer}`)
    if (pointer === '/email' && payload['email_verified'] !== true)
      throw denied('the assertion’s email is not verified (email_verified)')
    if (!validId(value))
      throw denied(`the assertion’s ${what} is longer than 256 bytes or has control characters`)
    return value
  }

  const verify = async (token: string, digest: string): Promise<Principal> => {
    const issuer = looksLikeJwt(token) ? issuerOf(token) : null
    if (issuer === null) throw denied('the tag is no assertion of a configured issuer')
    const from = issuer.keys
    const seen = changes
    const { payload, by } = await checked(token, issuer, from)
    const { exp = 0, iat = 0 } = payload
    const now = clock.now() / 1_000
    // No tolerance at the end of an assertion's life, a minute at its beginning.
    if (exp <= now) throw denied('the assertion has expired')
    if (iat > now + SKEW_S) throw denied('the assertion was issued in the future')
    if ((exp - iat) * 1_000 > options.maxAge)
      throw denied(`the assertion lives longer than identity.max_age (${options.maxAge / 1_000} s)`)
    const tenant = issuer.tenant === null ? 'default' : text(payload, issuer.tenant, 'tenant')
    if (issuer.tenants !== null && !issuer.tenants.includes(tenant))
      throw denied('the issuer may not speak for this tenant')
    const principal: Principal = {
      person: { tenant, realm: issuer.realm, id: text(payload, issuer.user, 'user') },
      agent: text(payload, issuer.agent, 'agent'),
      verified: true,
      claims: payload as { [k: string]: Json } satisfies JsonObject,
      issuedAt: iat * 1_000,
      expiresAt: exp * 1_000,
      run: null,
    }
    if (seen === changes) verified.set(digest, { principal, by, from })
    return principal
  }

  /** The one assertion or run token. Throws Problem where there is none, or two that differ. */
  const assertedTag = (tags: Tags, named: string | null): string => {
    if (named !== null)
      throw denied('a name in the path is unsigned: this deputy takes signed tags only')
    let tag: string | null = null
    for (const value of tags.header) {
      const token = unbeared(value)
      if (tag !== null && token !== tag) throw denied('two tags name different users')
      tag = token
    }
    for (const value of tags.slot) {
      const token = slotValue(value)
      if (!isRun(token) && !isTag(token)) continue
      if (tag !== null && token !== tag) throw denied('two tags name different users')
      tag = token
    }
    if (tag === null || tag === '')
      throw denied(
        `the call has no tag: send a signed assertion as ${options.header}, or where the SDK puts its key`,
      )
    return tag
  }
  const asserted = (tags: Tags, named: string | null): Principal | Promise<Principal> => {
    const tag = assertedTag(tags, named)
    if (isRun(tag)) return options.run(tag)
    if (tag.length > 16_384) throw denied('the tag is too long')
    const digest = hash('sha256', tag, 'base64url')
    const known = verified.get(digest)
    // What its key no longer verifies, or may not any more, is asked of the issuer like what is new.
    if (
      known !== undefined &&
      (known.principal.expiresAt ?? 0) > clock.now() &&
      known.from.current() === known.by
    )
      return known.principal
    return verify(tag, digest)
  }

  const sameName = (id: string | null, latin: string): string => {
    // Header bytes arrive as latin1.
    const value = /[\x80-\xff]/.test(latin) ? inUtf8(latin) : latin
    if (id !== null && value !== id) throw denied('two tags name different users')
    return value
  }
  const plainPrincipals = new LRUCache<string, Principal>({ max: 10_000 })
  /** A run token, or a name behind `user:`. */
  const plainTag = (tags: Tags, named: string | null): string => {
    let id = named
    const run = runIn(tags)
    if (run !== null) {
      if (named !== null || tags.header.some((value) => unbeared(value) !== run))
        throw denied('two tags name different users')
      return run
    }
    for (const latin of tags.header) id = sameName(id, latin)
    for (const value of tags.slot) {
      const latin = slotName(slotValue(value))
      if (latin !== null) id = sameName(id, latin)
    }
    if (id === null || id === '')
      throw denied(
        `the call has no tag: name the user as ${options.header}, as user:NAME where the SDK puts its key, or as /~NAME/ in the path`,
      )
    return `user:${id}`
  }
  const plain = (tags: Tags, named: string | null): Principal | Promise<Principal> => {
    const tag = plainTag(tags, named)
    const name = slotName(tag)
    return name === null ? options.run(tag) : plainly(name)
  }
  const plainly = (id: string): Principal => {
    const known = plainPrincipals.get(id)
    if (known !== undefined) return known
    if (!validId(id)) throw denied('the name is longer than 256 bytes or has control characters')
    // In a path or a body it would be written into the evidence as a name.
    if (isRun(id)) throw denied('a run token goes into a header, never into a path or a body')
    const principal: Principal = {
      person: { tenant: 'default', realm: options.plainRealm, id },
      agent: options.plainAgent,
      verified: false,
      claims: null,
      issuedAt: null,
      expiresAt: null,
      run: null,
    }
    plainPrincipals.set(id, principal)
    return principal
  }

  const clockWrong = (): Problem =>
    new Problem(
      'clock_wrong',
      'the clock of deputy’s machine was set, so nothing that ends is sure',
    )
  const whose = options.trust === 'asserted' ? asserted : plain
  const tag: Identify['tag'] = (rawHeaders, named) => {
    const tags = tagsOf(rawHeaders, options.header)
    return options.trust === 'asserted'
      ? assertedTag(tags, named)
      : Buffer.from(plainTag(tags, named)).toString('latin1')
  }
  return {
    identify: (rawHeaders, named) => {
      // A clock that is ahead would call good tags expired; one that is behind is made good by the other.
      const wrong = clock.wrong()
      if (wrong === 'ahead') throw clockWrong()
      const tags = tagsOf(rawHeaders, options.header)
      const place = placeOf(tags, named)
      const who = whose(tags, named)
      if (who instanceof Promise)
        return who.then((known) => {
          if (clock.wrong() !== null) throw clockWrong()
          return { who: known, place }
        })
      if (wrong !== null) throw clockWrong()
      return { who, place }
    },
    tag,
    tagged: (rawHeaders) => {
      try {
        return tag(rawHeaders, null) !== ''
      } catch (error) {
        if (error instanceof Problem) return false
        throw error
      }
    },
    named: (id, rawHeaders) => {
      if (clock.wrong() !== null) throw clockWrong()
      const tags = tagsOf(rawHeaders, options.header)
      return tags.header.length > 0 || runIn(tags) !== null ? null : plainly(id)
    },
    tags: createTagSearch(isTag),
    forget,
    close: () => {
      for (const { keys } of issuers) keys.close()
    },
  }
}
