// How deputy authenticates at a token endpoint: by one method, in one place (RFC 6749 2.3, RFC 7523
// 2.2).
import { createPrivateKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import type { ClientAuth } from '../model.ts'

/** What one request is made of; a field may stand twice (RFC 8707 2). */
export type Draft = {
  readonly fields: [string, string][]
  readonly headers: Record<string, string>
}
/** Secrets are asked for only by the method that needs them. */
export type Client = {
  readonly id: string
  readonly secret: () => string
  /** A JWK, or PEM. */
  readonly key: () => string
  /** `aud` of an assertion. */
  readonly audience: string
}

const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const ASSERTION_LIFE_S = 60
const CURVES: Readonly<Record<string, string>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
}

export const basic = (id: string, password: string): string =>
  `Basic ${Buffer.from(`${id}:${password}`).toString('base64')}`
/** RFC 6749 2.3.1 and appendix B: form-encoded before they are joined. */
const formEncoded = (text: string): string => new URLSearchParams([['', text]]).toString().slice(1)

const algorithmOf = (key: KeyObject): string => {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.asymmetricKeyType !== 'ec') return 'RS256'
  return CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? 'ES256'
}

/** RFC 7523 3: issuer and subject are the client, one audience, a minute to live, never used twice. */
const assertion = async (client: Client, nowMs: number, id: string): Promise<string> => {
  const text = client.key().trim()
  const jwk = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : null
  const key = jwk === null ? createPrivateKey(text) : createPrivateKey({ key: jwk, format: 'jwk' })
  const header = {
    alg: typeof jwk?.['alg'] === 'string' ? jwk['alg'] : algorithmOf(key),
    typ: 'JWT',
    ...(typeof jwk?.['kid'] === 'string' ? { kid: jwk['kid'] } : {}),
    ...(typeof jwk?.['x5t#S256'] === 'string' ? { 'x5t#S256': jwk['x5t#S256'] } : {}),
  }
  const now = Math.floor(nowMs / 1000)
  return new SignJWT()
    .setProtectedHeader(header)
    .setIssuer(client.id)
    .setSubject(client.id)
    .setAudience(client.audience)
    .setJti(id)
    .setIssuedAt(now)
    .setExpirationTime(now + ASSERTION_LIFE_S)
    .sign(key)
}

/** Adds who we are to a request; what it says of the client already (RFC 9126 2.1) is not said twice. */
export const authenticate = async (
  method: ClientAuth,
  client: Client,
  { fields, headers }: Draft,
  deps: { readonly now: () => number; readonly randomId: () => string },
): Promise<void> => {
  const own: [string, string][] = fields.some(([name]) => name === 'client_id')
    ? []
    : [['client_id', client.id]]
  switch (method) {
    case 'client_secret_basic':
      headers['authorization'] = basic(formEncoded(client.id), formEncoded(client.secret()))
      return
    case 'raw_basic':
      headers['authorization'] = basic(client.id, client.secret())
      return
    case 'client_secret_post':
      fields.push(...own, ['client_secret', client.secret()])
      return
    case 'none':
    // Who we are was shown in the handshake (RFC 8705 2): the request names the client alone.
    case 'tls_client_auth':
    case 'self_signed_tls_client_auth':
      fields.push(...own)
      return
    case 'private_key_jwt':
      fields.push(
        ...own,
        ['client_assertion_type', ASSERTION],
        ['client_assertion', await assertion(client, deps.now(), deps.randomId())],
      )
      return
    default:
      method satisfies never
  }
}
