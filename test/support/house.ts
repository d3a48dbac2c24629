// A whole deputy whose people the application confirms: a strict provider around it, signed tags, operators, a webhook.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Arcade from '@arcadeai/arcadejs'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { startAuthServer } from './authserver.ts'
import type { AuthServer } from './authserver.ts'
import { createBrowser } from './browser.ts'
import type { Browser } from './browser.ts'
import { startDeputy, TABLES } from './deputy.ts'
import { conforming } from './openapi.ts'
import type { Fields } from './deputy.ts'
import { freePort } from './ports.ts'

export const BACKEND = 'canary-backend-bearer-00000000000000000'
export const READER = 'canary-reader-bearer-000000000000000000'
export const VERIFIER_KEY = 'canary-verifier-key-0000000000000000000'
export const HOOK_KEY = 'canary-hook-key-00000000000000000000000'
export const CLIENT = 'canary-client-secret-00000000000000000'
export const VERIFIER = 'http://127.0.0.1:9/verify?app=1'

export type House = Awaited<ReturnType<typeof startHouse>>

const person = (id: string, tenant: string, more: Fields = {}): Fields => ({
  id,
  tenant,
  realm: 'corp',
  groups: ['staff'],
  roles: ['operator-run'],
  ...more,
})

export const startHouse = async (
  options: {
    readonly tenants?: readonly string[]
    /** Seconds that an access token of the provider lives. */
    readonly accessTtl?: number
    /** Seconds that what a person granted at the provider lives. */
    readonly grantTtl?: number
    readonly config?: Fields
    /** How the provider wants its client to name itself. */
    readonly auth?: 'client_secret_post' | 'client_secret_basic'
    /** The definition, instead of the long one below; hosts and operations are added. */
    readonly definition?: (provider: AuthServer) => Fields
    readonly connect?: Fields
    readonly identity?: Fields
    readonly listeners?: Fields
    /** Policy tables beside the usual ones. */
    readonly tables?: Readonly<Record<string, Fields>>
  } = {},
) => {
  const tenants = options.tenants ?? ['acme']
  const folder = mkdtempSync(join(tmpdir(), 'deputy-house-'))
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }
  writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys: [jwk] }))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const names = ['acme', 'second']
  const provider = await startAuthServer({
    clientId: 'deputy',
    clientSecret: CLIENT,
    redirectUris: names.map((name) => `${url}/callback/${name}`),
    scopes: ['notes', 'mail'],
    ...(options.auth === undefined ? {} : { auth: options.auth }),
    accounts: { 'alice-acme': {}, 'bob-acme': {}, mallory: {} },
    ttl: {
      ...(options.accessTtl === undefined ? {} : { AccessToken: options.accessTtl }),
      ...(options.grantTtl === undefined
        ? {}
        : { RefreshToken: options.grantTtl, Grant: options.grantTtl }),
    },
    ...(options.grantTtl === undefined ? {} : { config: { expiresWithSession: () => false } }),
  })
  const people = ['alice', 'bob', 'carol'].flatMap((id) =>
    tenants.map((tenant) => person(id, tenant, id === 'carol' ? { roles: [] } : {})),
  )
  const listed = { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: `127.0.0.1:${port}` }
  const row = (method: string, path: string, id: string) => ({
    id,
    method,
    path,
    access: method === 'GET' ? 'read' : 'write',
    scopes: [['openid']],
  })
  const deputy = await startDeputy({
    upstream: provider.issuer,
    people,
    tables: { ...TABLES, ...options.tables },
    config: {
      listeners: { ...listed, ...options.listeners },
      identity: {
        ...options.identity,
        trust: 'asserted',
        issuers: [
          {
            issuer: 'https://idp.test',
            jwks: join(folder, 'jwks.json'),
            realm: 'corp',
            audience: 'deputy',
            tenant: '/tenant',
            tenants,
          },
        ],
      },
      providers: [
        {
          id: 'acme',
          ...(options.definition?.(provider) ?? {
            name: 'Acme',
            issuer: provider.issuer,
            authorize: provider.endpoints.authorize,
            token: provider.endpoints.token,
            userinfo: provider.endpoints.userinfo,
            revoke: provider.endpoints.revoke,
            client_auth: 'client_secret_post',
            rotation: 'always',
            account: { from: 'userinfo', id: '/sub' },
            authorize_params: { prompt: 'consent' },
          }),
          hosts: { 'api.acme.test': provider.issuer },
          operations: [row('GET', '/me', 'acme.me.read'), row('POST', '/me', 'acme.me.write')],
        },
      ],
      connections: Object.fromEntries(
        names.map((name) => [
          name,
          {
            provider: 'acme',
            client_id: 'deputy',
            client_secret: CLIENT,
            scopes: ['openid', 'notes', 'mail'],
          },
        ]),
      ),
      connect: {
        url,
        verifier: { url: VERIFIER, key: VERIFIER_KEY },
        return_to: ['https://app.example'],
        ...options.connect,
      },
      operators: [
        { name: 'backend', bearer: BACKEND, may: ['runs', 'connections', 'revoke'] },
        { name: 'reader', bearer: READER, may: ['connections'], tenants: [tenants.at(-1)] },
      ],
      ...options.config,
    },
  })

  const tag = (user: string, tenant = tenants[0] ?? '', agent = 'agent:triage', ttl = 600) => {
    const now = Math.floor(Date.now() / 1_000)
    return new SignJWT({ act: { sub: agent }, tenant })
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer('https://idp.test')
      .setAudience('deputy')
      .setSubject(user)
      .setIssuedAt(now)
      .setExpirationTime(now + ttl)
      .sign(privateKey)
  }
  const client = (baseURL: string, apiKey: string) =>
    new Arcade({ apiKey, baseURL, maxRetries: 0, fetch: conforming })
  const api = (method: string, path: string, body?: object, bearer = BACKEND) =>
    conforming(`${deputy.addresses['operators'] ?? deputy.connect}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${bearer}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
  /** Says yes at deputy's page and at the provider; returns what the application's page is told. */
  const walk = async (
    browser: Browser,
    link: string,
    account: string,
    fields: Readonly<Record<string, string>> = {},
  ): Promise<URL> => {
    const atVerifier = (to: URL): boolean => to.href.startsWith('http://127.0.0.1:9/')
    let page = await browser.open(link)
    page = await browser.submit(page, { answer: 'yes', ...fields }, { until: atVerifier })
    while (new URL(page.url).origin === provider.issuer)
      page = await browser.submit(page, { login: account, password: 'x' }, { until: atVerifier })
    if (!atVerifier(new URL(page.url))) throw new Error(`${page.status} ${page.url}: ${page.text}`)
    return new URL(page.url)
  }
  const verifier = () => client(deputy.connect, `Bearer ${VERIFIER_KEY}`)
  const authorize = async (user: string, tenant?: string, agent?: string, connection = 'acme') => {
    const agentClient = client(deputy.agent, await tag(user, tenant, agent))
    const auth_requirement = { id: connection, oauth2: { scopes: ['openid'] } }
    return agentClient.auth.authorize({ user_id: user, auth_requirement })
  }
  return {
    deputy,
    provider,
    url,
    tag,
    client,
    api,
    walk,
    verifier,
    authorize,
    agentClient: async (user: string, agent?: string) =>
      client(deputy.agent, await tag(user, undefined, agent)),
    operator: (bearer = BACKEND) => client(deputy.addresses['operators'] ?? deputy.connect, bearer),
    /** Connects an account as a person would. */
    connect: async (
      user: string,
      account: string,
      more: {
        readonly tenant?: string
        readonly agent?: string
        readonly connection?: string
      } = {},
    ): Promise<void> => {
      const { url: link = '' } = await authorize(user, more.tenant, more.agent, more.connection)
      const flow_id = (await walk(createBrowser(), link, account)).searchParams.get('flow_id') ?? ''
      const body = { flow_id, user_id: user, tenant: more.tenant ?? tenants[0] ?? '' }
      await verifier().post('/v1/auth/confirm_user', { body })
    },
    /** One call to the provider through deputy. */
    call: (tagText: string, connection = 'acme') =>
      fetch(`${deputy.agent}/${connection}@api.acme.test/me`, {
        headers: { 'deputy-user': tagText },
      }),
    people: (change: (rows: readonly Fields[]) => readonly Fields[]): void =>
      writeFileSync(join(deputy.dir, 'people.yaml'), JSON.stringify({ people: change(people) })),
    tokens: (): readonly string[] =>
      provider.requests
        .filter(({ path }) => path === '/token')
        .map(({ form }) => form['refresh_token'] ?? '')
        .filter((token) => token !== ''),
    close: async (): Promise<void> => {
      await deputy.close()
      await provider.close()
      rmSync(folder, { recursive: true })
    },
  }
}
