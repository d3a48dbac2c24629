// Does the client name itself as this provider wants it? What is wrong is said as what the definition should say.
import { createPublicKey } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { jwtVerify } from 'jose'
import type { Example } from './example.ts'

/** How deputy is registered at the scripted provider. */
export type ClientFacts = {
  readonly id: string
  readonly secret: string
  /** Public half of the connection's key, PEM. */
  readonly publicKey: string
}
type Request = { readonly headers: IncomingMessage['headers']; readonly form: URLSearchParams }

const formDecoded = (text: string): string => new URLSearchParams(`v=${text}`).get('v') ?? ''

/** Which methods this request can be read as. */
const methods = async (
  client: ClientFacts,
  { headers, form }: Request,
): Promise<readonly string[]> => {
  const header = headers.authorization ?? ''
  if (header.startsWith('Bearer ')) return ['bearer']
  if (header.startsWith('Basic ')) {
    const text = Buffer.from(header.slice(6), 'base64').toString()
    const colon = text.indexOf(':')
    const [id, secret] = [text.slice(0, colon), text.slice(colon + 1)] as const
    const raw = id === client.id && secret === client.secret
    const encoded = formDecoded(id) === client.id && formDecoded(secret) === client.secret
    return [...(encoded ? ['client_secret_basic'] : []), ...(raw ? ['raw_basic'] : [])]
  }
  if (form.get('client_id') !== client.id) return []
  const assertion = form.get('client_assertion')
  if (assertion !== null) {
    const options = { issuer: client.id, subject: client.id, requiredClaims: ['exp', 'jti', 'aud'] }
    return jwtVerify(assertion, createPublicKey(client.publicKey), options).then(
      () => ['private_key_jwt'],
      () => [],
    )
  }
  const secret = form.get('client_secret')
  // The scripted provider speaks no TLS: a client that shows a certificate says its id alone.
  if (secret === null) return ['none', 'tls_client_auth', 'self_signed_tls_client_auth']
  return secret === client.secret ? ['client_secret_post'] : []
}

/** null: this is how the provider wants it. */
export const complain = async (
  { client_auth: taken }: Example,
  client: ClientFacts,
  request: Request,
): Promise<string | null> => {
  const header = request.headers.authorization !== undefined
  if (header && (request.form.has('client_secret') || request.form.has('client_assertion')))
    return 'the client names itself in two places'
  const used = await methods(client, request)
  if (used.includes('bearer') || used.some((method) => taken.some((one) => one === method)))
    return null
  return `client_auth should be ${taken[0] ?? 'none'}: the provider does not take ${used[0] ?? 'what was sent'}`
}
