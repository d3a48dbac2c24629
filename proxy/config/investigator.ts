// The key of whoever may read the sealed inputs of policy (`audit.inputs_key`): a JWK (RFC 7517) and what it is good for.
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'

/** `alg` seals content keys (RFC 7518 4.3, 4.6); `kid` is the thumbprint of the public half (RFC 7638, base64url). */
export type InvestigatorKey = {
  readonly alg: 'ECDH-ES+A256KW' | 'RSA-OAEP-256'
  readonly kid: string
  readonly key: KeyObject
}
type Jwk = Readonly<Record<string, unknown>>

/** Bits of a modulus that keeps what is sealed for as long as evidence is kept. */
const LEAST_RSA = 2_048
const CURVES: ReadonlySet<unknown> = new Set(['P-256', 'P-384', 'P-521', 'X25519'])
/** Members that only a private key has (RFC 7518 6.2.2, 6.3.2), and that of a shared one. */
const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'] as const

const read = (text: string): Jwk => {
  let value: unknown = null
  try {
    value = JSON.parse(text)
  } catch {
    // Said below: the cause could quote a key.
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('is no JWK: name a file with one, "${file:./investigator.pub.jwk}"')
  return value as Jwk
}

const thumbprint = ({ kty, crv, x, y, n, e }: Jwk): string => {
  const members =
    kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x }
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}

const judged = (jwk: Jwk, make: (jwk: Jwk) => KeyObject): InvestigatorKey => {
  const { kty, crv, use, alg: named } = jwk
  if (kty !== 'RSA' && !((kty === 'EC' || kty === 'OKP') && CURVES.has(crv)))
    throw new Error('can seal nothing: use RSA, EC (P-256, P-384, P-521) or OKP (X25519)')
  if (use !== undefined && use !== 'enc')
    throw new Error('is a key for signatures (use): make one for encryption')
  const alg = kty === 'RSA' ? 'RSA-OAEP-256' : 'ECDH-ES+A256KW'
  if (named !== undefined && named !== alg)
    throw new Error(`is for another algorithm (alg): here it is used with ${alg}`)
  let key: KeyObject
  try {
    key = make(jwk)
  } catch {
    throw new Error('is no whole JWK: a member is missing or wrong')
  }
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < LEAST_RSA)
    throw new Error(`is an RSA key of ${bits} bits: use ${LEAST_RSA} at least`)
  return { alg, kid: thumbprint(jwk), key }
}

/** @throws Error that says what is wrong, and quotes nothing of the key */
export const publicKeyOf = (text: string): InvestigatorKey => {
  const jwk = read(text)
  if (PRIVATE.some((member) => Object.hasOwn(jwk, member)))
    throw new Error(
      'is a private key, and deputy must not be able to read what it sealed: name the public half',
    )
  return judged(jwk, (from) => createPublicKey({ key: from, format: 'jwk' }))
}

/** The private half, for whoever opens what was sealed; never asked for by `serve`. @throws as publicKeyOf */
export const privateKeyOf = (text: string): InvestigatorKey => {
  const jwk = read(text)
  if (!Object.hasOwn(jwk, 'd')) throw new Error('is a public key, which opens nothing')
  return judged(jwk, (from) => createPrivateKey({ key: from, format: 'jwk' }))
}

/** Why this cannot be `audit.inputs_key`; null: it can. */
export const investigatorProblem = (text: string): string | null => {
  try {
    publicKeyOf(text)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
