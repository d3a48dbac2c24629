// An issuer of assertions on a real socket: discovery, a key set that changes, and the ways in which both can fail.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import type { Fields } from './deputy.ts'

export const AUDIENCE = 'deputy'

export type Issuer = {
  url: string
  /** Makes a key, publishes it beside the others and signs with it from now on. */
  rotate: (kid: string) => Promise<void>
  /** Withdraws all others. */
  keep: (kid: string) => void
  /** @param named false: the token does not say by which key */
  sign: (claims: Fields, kid?: string, named?: boolean) => Promise<string>
  /** Signs this very text as claims. */
  signText: (claims: string, header?: string) => Promise<string>
  /** The key set as it is published. */
  published: () => string
  /** Whether the set says `kid`. */
  named: boolean
  asked: string[]
  down: boolean
  /** Takes questions and never answers. */
  hangs: boolean
  /** Where discovery says that the keys are. */
  keysAt: string
  /** Instead of the key set. */
  instead: string | null
  close: () => void
}

export const startIssuer = async (): Promise<Issuer> => {
  const keys = new Map<string, { jwk: JWK; privateKey: CryptoKey }>()
  let current = ''
  const keyOf = (kid: string): CryptoKey => {
    const key = keys.get(kid)
    if (key === undefined) throw new Error(`no key ${kid}`)
    return key.privateKey
  }
  const claimsNow = (claims: Fields): Fields => {
    const now = Math.floor(Date.now() / 1_000)
    return {
      iss: issuer.url,
      aud: AUDIENCE,
      act: { sub: 'agent-1' },
      iat: now,
      exp: now + 900,
      ...claims,
    }
  }
  const issuer: Issuer = {
    url: '',
    asked: [],
    down: false,
    hangs: false,
    named: true,
    keysAt: '/keys',
    instead: null,
    rotate: async (kid) => {
      const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
      keys.set(kid, { jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256' }, privateKey })
      current = kid
    },
    keep: (kid) => {
      for (const other of keys.keys()) if (other !== kid) keys.delete(other)
    },
    sign: (claims, kid = current, named = true) =>
      new SignJWT(claimsNow(claims))
        .setProtectedHeader({ alg: 'RS256', ...(named ? { kid } : {}) })
        .sign(keyOf(kid)),
    signText: async (claims, header = JSON.stringify({ alg: 'RS256', kid: current })) => {
      const signed = [header, claims]
        .map((part) => Buffer.from(part).toString('base64url'))
        .join('.')
      const signature = await crypto.subtle.sign(
        'RSASSA-PKCS1-v1_5',
        keyOf(current),
        Buffer.from(signed),
      )
      return `${signed}.${Buffer.from(signature).toString('base64url')}`
    },
    published: () =>
      JSON.stringify({
        keys: [...keys.values()].map(({ jwk: { kid, ...jwk } }) =>
          issuer.named ? { ...jwk, kid } : jwk,
        ),
      }),
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
  const server = createServer((req, res) => {
    issuer.asked.push(req.url ?? '')
    if (issuer.hangs) return
    if (issuer.down) res.writeHead(503).end()
    else if (req.url === '/.well-known/openid-configuration')
      res.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}${issuer.keysAt}` }))
    else if (req.url === issuer.keysAt) res.end(issuer.instead ?? issuer.published())
    else res.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  issuer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  await issuer.rotate('k1')
  return issuer
}
