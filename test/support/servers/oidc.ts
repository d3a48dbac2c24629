// oidc-provider, in this process.
import { startAuthServer } from '../authserver.ts'
import { basic, introspectAt } from './server.ts'
import type { Kind } from './server.ts'

const API = { id: 'api', secret: 'canary-api-secret-000000000000000000' }

export const oidcProvider: Kind = {
  name: 'oidc-provider',
  missing: null,
  start: async ({ accounts, clients }) => {
    const server = await startAuthServer({
      clientId: API.id,
      clientSecret: API.secret,
      redirectUris: ['http://127.0.0.1:9/none'],
      auth: 'client_secret_basic',
      accounts: Object.fromEntries(accounts.map((name) => [name, {}])),
      clients: clients.map((client) => ({
        clientId: client.id,
        clientSecret: client.secret,
        redirectUris: client.redirectUris,
        auth: 'client_secret_basic',
      })),
      config: {
        ttl: {
          AccessToken: (_ctx, _token, client) =>
            clients.find(({ id }) => id === client.clientId)?.accessTtl ?? 600,
          RefreshToken: 86_400,
          Interaction: 600,
          Session: 600,
          Grant: 86_400,
          IdToken: 600,
        },
      },
    })
    return {
      habits: { reuse: 'kills', refreshKillsAccess: false },
      token: server.endpoints.token,
      definition: {
        issuer: server.issuer,
        authorize: server.endpoints.authorize,
        userinfo: server.endpoints.userinfo,
        revoke: server.endpoints.revoke,
        scope: { always: ['openid', 'offline_access'] },
        authorize_params: { prompt: 'consent' },
        rotation: 'always',
        lost_response: 'no',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) =>
        introspectAt(
          `${server.issuer}/token/introspection`,
          token,
          'sub',
          basic(API.id, API.secret),
        ),
      fill: ({ text }, account) => ({
        prompt: /name="prompt" value="(\w+)"/.exec(text)?.[1] ?? '',
        login: account,
        password: 'x',
      }),
      close: server.close,
    }
  },
}
