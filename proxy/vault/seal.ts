// Stored secrets are JWE under a key of the ring. What a secret belongs to is in the authenticated
// header (RFC 7516 4.3), so that it opens nowhere else.
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hkdfSync,
  sign,
  verify,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader } from 'jose'
import { messageOf } from '../problem.ts'
import { secret } from '../secret.ts'
import type { Secret } from '../secret.ts'
import { isObject } from '../wire/json.ts'

type Use = 'seal' | 'sign' | 'hash'

type RingKey = {
  readonly kid: string
  readonly use: Use
  /** Secret key (seal, hash) or private key (sign); prints nothing of itself. */
  readonly key: KeyObject
}

export type KeyRing = {
  /** Seals; every other seal key of the ring still opens. */
  readonly current: RingKey
  /** The last one in the file signs; all of them verify. */
  readonly sign: readonly RingKey[]
  /** The last one in the file hashes. */
  readonly hash: readonly RingKey[]
  readonly seal: ReadonlyMap<string, RingKey>
}

/** What a sealed text belongs to. Sealed for one, it opens for no other. */
export type Bound = { readonly purpose: string; readonly [field: string]: string | number }

export type Sealer = {
  readonly seal: (plain: Readonly<Record<string, Secret | null>>, bound: Bound) => Promise<string>
  /** The same text under the current key, bound as it was; null: it is under it already. */
  readonly reseal: (text: string) => Promise<string | null>
  /** Opens what `seal` made; a member that was null is absent. Throws when the key, the text or `bound` is not the one. */
  readonly open: (text: string, bound: Bound) => Promise<ReadonlyMap<string, Secret>>
  /** For texts that are no tokens: sessions, policy inputs. */
  readonly sealText: (
    purpose: string,
    bound: Omit<Bound, 'purpose'>,
    text: string,
  ) => Promise<string>
  readonly openText: (
    purpose: string,
    bound: Omit<Bound, 'purpose'>,
    sealed: string,
  ) => Promise<string>
  /** Ed25519 over the UTF-8 bytes; base64url. */
  readonly sign: (text: string) => { readonly kid: string; readonly signature: string }
  readonly verify: (text: string, kid: string, signature: string) => boolean
  /** HMAC-SHA256, base64url; different for every purpose. */
  readonly hmac: (purpose: string, text: string) => string
  /** The same under each key of the ring that hashes, the newest first. */
  readonly hmacs: (purpose: string, text: string) => readonly string[]
}

/** Derived keys that are remembered for one ring key. */
const MOST_TENANTS = 1_000
const ALG = { seal: 'A256KW', sign: 'Ed25519', hash: 'HS256' } as const
const NOT_A_RING = 'key ring: not a JSON object; make one with `deputy keygen`'
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

type RandomBytes = (size: number) => Buffer
const named = (use: Use, now: number, randomBytes: RandomBytes) => {
  const created = new Date(now).toISOString()
  const day = created.slice(0, 10).replaceAll('-', '')
  return { kid: `${use}-${day}-${randomBytes(4).toString('hex')}`, use, created }
}
/** An entry of a key ring: a new symmetric key. */
export const newKey = (use: 'seal' | 'hash', now: number, randomBytes: RandomBytes) => ({
  ...named(use, now, randomBytes),
  kty: 'oct',
  alg: ALG[use],
  k: randomBytes(32).toString('base64url'),
})

/** @returns the text of a ring file */
export const ringText = (current: string, keys: readonly object[]): string =>
  `${JSON.stringify({ version: 1, current, keys }, null, 2)}\n`

/**
 * Text of a new key ring: one key for each use.
 * @param now ms since the epoch
 */
export const newKeyRing = (now: number, randomBytes: RandomBytes): string => {
  const der = Buffer.concat([PKCS8_ED25519, randomBytes(32)])
  const pair = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({
    format: 'jwk',
  })
  const seal = newKey('seal', now, randomBytes)
  const signing = { ...named('sign', now, randomBytes), alg: ALG.sign, ...pair }
  return ringText(seal.kid, [seal, signing, newKey('hash', now, randomBytes)])
}

type Entry = Readonly<Record<string, unknown>>
const isUse = (value: unknown): value is Use =>
  typeof value === 'string' && Object.hasOwn(ALG, value)

const symmetricKey = (entry: Entry): KeyObject => {
  const bytes =
    typeof entry['k'] === 'string' ? Buffer.from(entry['k'], 'base64url') : Buffer.alloc(0)
  if (bytes.length !== 32) throw new Error('k must be 32 bytes in base64url')
  return createSecretKey(bytes)
}
const signingKey = (entry: Entry): KeyObject => {
  try {
    return createPrivateKey({ key: entry, format: 'jwk' })
  } catch {
    throw new Error('kty, crv, x and d must be a private Ed25519 JWK') // the cause could quote the key
  }
}

const parseKey = (entry: unknown): RingKey => {
  if (!isObject(entry)) throw new Error('must be an object')
  const { kid, use, alg } = entry
  if (typeof kid !== 'string' || kid === '') throw new Error('kid is missing')
  if (!isUse(use)) throw new Error('use must be seal, sign or hash')
  if (alg !== ALG[use]) throw new Error(`alg must be ${ALG[use]}`)
  const key = use === 'sign' ? signingKey(entry) : symmetricKey(entry)
  if (use === 'sign' && key.asymmetricKeyType !== 'ed25519') throw new Error('crv must be Ed25519')
  return { kid, use, key }
}

/** Reads a key ring file. Throws one Error that names every problem and quotes no key. */
export const parseKeyRing = (text: string): KeyRing => {
  const problems: string[] = []
  const file = parseJson(text, NOT_A_RING)
  if (!isObject(file)) throw new Error(NOT_A_RING)
  if (file['version'] !== 1) problems.push('version must be 1')
  const keys: RingKey[] = []
  const entries = Array.isArray(file['keys']) ? (file['keys'] as readonly unknown[]) : []
  if (entries.length === 0) problems.push('keys must be a list of keys')
  for (const [at, entry] of entries.entries()) {
    try {
      const key = parseKey(entry)
      if (keys.some(({ kid }) => kid === key.kid)) throw new Error(`kid ${key.kid} is there twice`)
      keys.push(key)
    } catch (error) {
      problems.push(`keys.${at}: ${messageOf(error)}`)
    }
  }
  const of = (use: Use) => keys.filter((key) => key.use === use)
  const seal = new Map(of('seal').map((key) => [key.kid, key]))
  const current = typeof file['current'] === 'string' ? seal.get(file['current']) : undefined
  if (current === undefined) problems.push('current must be the kid of a seal key')
  for (const use of ['sign', 'hash'] as const)
    if (of(use).length === 0) problems.push(`keys: none with use ${use}`)
  if (current === undefined || problems.length > 0)
    throw new Error(`key ring: ${problems.join('; ')}`)
  return { current, seal, sign: of('sign'), hash: of('hash') }
}

const parseJson = (text: string, complaint: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(complaint) // the cause quotes the text
  }
}

const canonical = (bound: unknown): string =>
  isObject(bound) ? JSON.stringify(Object.entries(bound).sort(([a], [b]) => (a < b ? -1 : 1))) : ''

/** The key that a sealed text names; null: it is no sealed text. Says nothing of whether it opens. */
export const kidOf = (text: string): string | null => {
  try {
    const { kid } = decodeProtectedHeader(text)
    return kid ?? null
  } catch {
    return null // not JWE: whoever opens it will say so
  }
}

/**
 * Seals and opens, signs and hashes with a key ring.
 * @param latest the ring as it is now: asked before anything is sealed and when a key is unknown, so that all
 *   processes seal under a new key as soon as the ring has it, and none under one that was retired
 */
export const createSealer = (
  first: KeyRing,
  latest: () => Promise<KeyRing> = () => Promise.resolve(first),
): Sealer => {
  let ring = first
  const derived = new WeakMap<KeyObject, Map<string, KeyObject>>()
  /** Each tenant's values are under a key of its own, derived from the ring's (RFC 5869). */
  const tenantKey = (key: KeyObject, bound: unknown): KeyObject => {
    const tenant = isObject(bound) ? bound['tenant'] : undefined
    if (typeof tenant !== 'string') return key
    let own = derived.get(key)
    if (own === undefined) derived.set(key, (own = new Map()))
    const known = own.get(tenant)
    if (known !== undefined) return known
    const info = JSON.stringify(['deputy tenant', tenant])
    const made = createSecretKey(Buffer.from(hkdfSync('sha256', key, '', info, 32)))
    if (own.size < MOST_TENANTS) own.set(tenant, made)
    return made
  }
  const encrypt = async (plain: Uint8Array, bound: unknown): Promise<string> => {
    ring = await latest()
    const { kid, key } = ring.current
    return new CompactEncrypt(plain)
      .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM', kid, bound })
      .encrypt(tenantKey(key, bound))
  }
  const keyOf = async (kid: string | undefined): Promise<KeyObject> => {
    if (!ring.seal.has(kid ?? '')) ring = await latest()
    const found = ring.seal.get(kid ?? '')
    if (found === undefined)
      throw new Error(`sealed under key ${JSON.stringify(kid)}, which the key ring does not have`)
    return found.key
  }
  const decrypt = (text: string) =>
    compactDecrypt(text, async ({ kid, bound }) => tenantKey(await keyOf(kid), bound), {
      keyManagementAlgorithms: ['A256KW'],
      contentEncryptionAlgorithms: ['A256GCM'],
    })
  const openBound = async (text: string, bound: Bound): Promise<string> => {
    const { plaintext, protectedHeader } = await decrypt(text)
    if (canonical(protectedHeader['bound']) !== canonical(bound))
      throw new Error(
        `sealed text of purpose ${bound.purpose} belongs to somebody or something else`,
      )
    return Buffer.from(plaintext).toString()
  }

  return {
    seal: (plain, bound) =>
      encrypt(
        Buffer.from(
          JSON.stringify(
            Object.entries(plain).flatMap(([name, value]) =>
              value === null ? [] : [[name, value.reveal()]],
            ),
          ),
        ),
        bound,
      ),
    reseal: async (text) => {
      ring = await latest()
      if (kidOf(text) === ring.current.kid) return null
      const { plaintext, protectedHeader } = await decrypt(text)
      return encrypt(plaintext, protectedHeader['bound'])
    },
    open: async (text, bound) => {
      const entries = parseJson(await openBound(text, bound), 'sealed text: not made by seal')
      return new Map(
        (entries as readonly (readonly [string, string])[]).map(([k, v]) => [k, secret(v)]),
      )
    },
    sealText: (purpose, bound, text) => encrypt(Buffer.from(text), { ...bound, purpose }),
    openText: (purpose, bound, sealed) => openBound(sealed, { ...bound, purpose }),
    sign: (text) => {
      const { kid, key } = last(ring.sign)
      return { kid, signature: sign(null, Buffer.from(text), key).toString('base64url') }
    },
    verify: (text, kid, signature) => {
      const found = ring.sign.find((key) => key.kid === kid)
      return (
        found !== undefined &&
        verify(
          null,
          Buffer.from(text),
          createPublicKey(found.key),
          Buffer.from(signature, 'base64url'),
        )
      )
    },
    hmac: (purpose, text) => hashed(last(ring.hash), purpose, text),
    hmacs: (purpose, text) => ring.hash.toReversed().map((key) => hashed(key, purpose, text)),
  }
}

const hashed = ({ key }: RingKey, purpose: string, text: string): string =>
  createHmac('sha256', key)
    .update(JSON.stringify([purpose, text]))
    .digest('base64url')

const last = (keys: readonly RingKey[]): RingKey => {
  const key = keys.at(-1)
  if (key === undefined) throw new Error('key ring: a use has no key')
  return key
}
