// Keycloak: built once for an in-memory database (.ci/run), its realm made through its own API.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { basic, introspectAt, missingProgram, post, startProgram } from './server.ts'
import type { Kind } from './server.ts'
import { freePort } from '../ports.ts'

const HOME =
  process.env['DEPUTY_KEYCLOAK'] ?? join(homedir(), '.cache/deputy-ci/keycloak-26.7.3-ssf')
const COMMAND = join(HOME, 'bin/kc.sh')
const ADMIN = 'canary-keycloak-admin'
const API = { id: 'api', secret: 'canary-api-secret-000000000000000000' }

/** Access tokens are for the API: it may introspect only such. */
const forTheApi = {
  name: 'for the API',
  protocol: 'openid-connect',
  protocolMapper: 'oidc-audience-mapper',
  config: {
    'included.client.audience': API.id,
    'access.token.claim': 'true',
    'introspection.token.claim': 'true',
  },
}

export const missingKeycloak = missingProgram(COMMAND)

/** A server with nothing in it but its administrator. */
export const startKeycloak = async () => {
  const [port, management] = [await freePort(), await freePort()]
  const origin = `http://127.0.0.1:${port}`
  const stop = await startProgram({
    command: COMMAND,
    args: [
      'start',
      '--optimized',
      '--cache=local',
      '--http-enabled=true',
      '--http-host=127.0.0.1',
      `--http-port=${port}`,
      `--hostname=${origin}`,
      '--http-management-host=127.0.0.1',
      `--http-management-port=${management}`,
      // It tells of security events, and to receivers of tests.
      '--spi-ssf-transmitter--default--allow-insecure-push-targets=true',
      '--spi-ssf-transmitter--default--outbox-drainer-interval=500ms',
    ],
    env: {
      KC_BOOTSTRAP_ADMIN_USERNAME: 'admin',
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN,
      JAVA_OPTS_KC_HEAP: '-Xms64m -Xmx512m',
      JAVA_OPTS_APPEND: '-XX:TieredStopAtLevel=1',
    },
    ready: `http://127.0.0.1:${management}/health/ready`,
    withinMs: 400_000,
  })
  const login = new URLSearchParams({
    grant_type: 'password',
    client_id: 'admin-cli',
    username: 'admin',
    password: ADMIN,
  })
  const master = `${origin}/realms/master/protocol/openid-connect/token`
  return {
    port,
    origin,
    /** As the administrator, whose token lives for a minute. */
    admin: async (method: string, path: string, body?: object): Promise<unknown> => {
      const { access_token } = (await post(master, login)).answer
      const answer = await fetch(`${origin}/admin/realms${path}`, {
        method,
        headers: {
          authorization: `Bearer ${String(access_token)}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
      return text === '' ? null : JSON.parse(text)
    },
    close: stop,
  }
}

/** A server with one realm, as Keycloak's own API takes it. */
export const startRealm = async (realm: {
  readonly realm: string
  readonly [member: string]: unknown
}): Promise<{ readonly issuer: string; readonly close: () => Promise<void> }> => {
  const { origin, admin, close } = await startKeycloak()
  await admin('POST', '', { enabled: true, sslRequired: 'none', ...realm })
  return { issuer: `${origin}/realms/${realm.realm}`, close }
}

/** Somebody who signs in with the password `pw-NAME`. */
export const keycloakUser = (name: string): object => ({
  username: name,
  enabled: true,
  email: `${name}@acme.test`,
  emailVerified: true,
  firstName: name,
  lastName: name,
  credentials: [{ type: 'password', value: `pw-${name}` }],
})

export const keycloak: Kind = {
  name: 'Keycloak',
  missing: missingKeycloak,
  start: async ({ accounts, clients }) => {
    const { origin, admin, close } = await startKeycloak()
    const realm = {
      realm: 'acme',
      revokeRefreshToken: true,
      refreshTokenMaxReuse: 0,
      users: accounts.map(keycloakUser),
      clients: [
        {
          clientId: API.id,
          secret: API.secret,
          standardFlowEnabled: false,
        },
        ...clients.map((client) => ({
          clientId: client.id,
          secret: client.secret,
          redirectUris: client.redirectUris,
          consentRequired: true,
          attributes: {
            'pkce.code.challenge.method': 'S256',
            'access.token.lifespan': String(client.accessTtl),
          },
          protocolMappers: [forTheApi],
        })),
      ],
    }
    await admin('POST', '', { enabled: true, sslRequired: 'none', ...realm })
    const endpoints = `${origin}/realms/acme/protocol/openid-connect`
    return {
      habits: { reuse: 'kills', refreshKillsAccess: false },
      token: `${endpoints}/token`,
      definition: {
        issuer: `${origin}/realms/acme`,
        authorize: `${endpoints}/auth`,
        userinfo: `${endpoints}/userinfo`,
        revoke: `${endpoints}/revoke`,
        scope: { always: ['openid'] },
        rotation: 'always',
        lost_response: 'no',
        account: { from: 'userinfo', id: '/sub' },
      },
      introspect: (token) =>
        introspectAt(`${endpoints}/token/introspect`, token, 'username', basic(API.id, API.secret)),
      fill: ({ text }, account) =>
        text.includes('id="kc-form-login"')
          ? { username: account, password: `pw-${account}` }
          : { accept: 'Yes' },
      close,
    }
  },
}
