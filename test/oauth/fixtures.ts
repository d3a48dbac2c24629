// A provider and a connection that point at a test server.
import type { AnswerRules, Connection, Provider } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import type { AuthServer } from '../support/authserver.ts'

export const RULES: AnswerRules = {
  accessToken: ['/access_token'],
  refreshToken: ['/refresh_token'],
  scope: ['/scope'],
  expiresIn: ['/expires_in', '/expires_at'],
  scopeSeparator: ' ',
  assumeTtl: null,
  zeroIsNever: false,
  errors: {},
}
export const REDIRECT = 'http://127.0.0.1:9/callback'

export const connectionOf = (
  endpoints: Partial<AuthServer['endpoints']>,
  change: Partial<Provider> = {},
  more: Partial<Connection> = {},
): Connection => ({
  name: 'acme',
  clientId: 'deputy-client_1',
  clientSecret: secret('the-client-secret'),
  scopes: ['openid', 'repo'],
  ...more,
  provider: {
    id: 'acme',
    lineage: ['acme'],
    name: 'Acme',
    credential: 'oauth2',
    issuer: null,
    authorize: endpoints.authorize ?? null,
    token: endpoints.token ?? null,
    userinfo: endpoints.userinfo ?? null,
    revoke: endpoints.revoke ?? null,
    revokeStyle: 'rfc7009',
    clientAuth: 'client_secret_post',
    pkce: true,
    scopeParam: 'scope',
    scopeSeparator: ' ',
    authorizeParams: {},
    tokenParams: {},
    account: { from: 'userinfo', id: '/sub', label: '/email' },
    answer: RULES,
    rotation: 'always',
    lostResponse: 'no',
    hosts: new Map(),
    assets: new Map(),
    present: { header: 'authorization', scheme: 'Bearer' },
    requiredHeaders: {},
    strip: { headers: [], query: [], body: [] },
    rewrite: [],
    operations: [],
    secretSegments: [],
    ...change,
  },
})
