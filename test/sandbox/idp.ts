// The organisation's OpenID provider: signs people in on deputy's pages, and signs the assertions that agents carry.
import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { startAuthServer } from '../support/authserver.ts'

export type Idp = {
  readonly issuer: string
  /** Signed with the key that the issuer publishes: `agent` acts for `person` (RFC 8693 4.1) until `seconds` from now. */
  readonly assertion: (person: string, agent: string, seconds?: number) => Promise<string>
  readonly close: () => Promise<void>
}

/** Accounts alice and bob, any password. Demands PKCE and rotates refresh tokens. */
export const startIdp = async (options: {
  readonly port: number
  /** deputy's pages, as a client of the provider. */
  readonly pages: { readonly clientId: string; readonly clientSecret: string; readonly url: string }
}): Promise<Idp> => {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const key = { ...(await exportJWK(privateKey)), kid: 'sandbox', alg: 'RS256', use: 'sig' }
  const server = await startAuthServer({
    port: options.port,
    clientId: options.pages.clientId,
    clientSecret: options.pages.clientSecret,
    auth: 'client_secret_basic',
    redirectUris: [`${options.pages.url}/sign-in/callback`],
    accounts: { alice: {}, bob: {} },
    config: { jwks: { keys: [key] } },
  })
  return {
    issuer: server.issuer,
    assertion: (person, agent, seconds = 900) =>
      new SignJWT({ act: { sub: agent } })
        .setProtectedHeader({ alg: 'RS256', kid: key.kid })
        .setIssuer(server.issuer)
        .setAudience('deputy')
        .setSubject(person)
        .setIssuedAt()
        .setExpirationTime(`${seconds}s`)
        .setJti(randomUUID())
        .sign(privateKey),
    close: server.close,
  }
}
