// Endpoints that the issuer says: read and checked, laid under a definition, followed; and a whole consent with a definition of two lines.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { testProvider } from '../../proxy/commands/quirks.ts'
import { validate } from '../../proxy/commands/validate/command.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import type { Connection } from '../../proxy/model.ts'
import { askIssuer, createDiscovery, laidUnder, readMetadata } from '../../proxy/oauth/discovery.ts'
import { createClients } from '../../proxy/oauth/registration.ts'
import { secret } from '../../proxy/secret.ts'
import { createBrowser } from '../support/browser.ts'
import { loadFolder } from '../support/deputy.ts'
import { startHouse } from '../support/house.ts'
import { freePort } from '../support/ports.ts'

const ISSUER = 'https://id.acme.example'
const DOCUMENT = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: 'https://token.acme.example/token',
  userinfo_endpoint: `${ISSUER}/me`,
  revocation_endpoint: `${ISSUER}/revoke`,
  code_challenge_methods_supported: ['S256', 'plain'],
  scopes_supported: ['openid', 'offline_access', 'notes'],
}
const connectionOf = (
  definition: object = {},
  client: Partial<Connection> = {},
  name = 'acme',
): Connection => {
  const parsed = parseProvider(
    { id: 'acme', name: 'Acme', issuer: ISSUER, hosts: ['api.acme.example'], ...definition },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return {
    name,
    provider: parsed.provider,
    clientId: 'deputy',
    clientSecret: secret('s'),
    scopes: [],
    ...client,
  }
}
const lay = (members: object = {}, definition: object = {}, client: Partial<Connection> = {}) =>
  laidUnder(
    connectionOf(definition, client),
    readMetadata({ ...DOCUMENT, ...members }, ISSUER, false),
  ).provider

describe('a definition that names an issuer and no endpoints', () => {
  test('names itself by its certificate where the connection has one, at the endpoints for that (RFC 8705 2, 5)', () => {
    const told = {
      token_endpoint_auth_methods_supported: ['tls_client_auth', 'none'],
      mtls_endpoint_aliases: {
        token_endpoint: 'https://mtls.acme.example/token',
        revocation_endpoint: 'https://mtls.acme.example/revoke',
      },
    }
    const files = { connection: 'acme', ca: null, client: { cert: '/c.pem', key: '/k.pem' } }
    const own: Partial<Connection> = { tls: files, clientSecret: null }
    expect(lay(told, {}, own)).toMatchObject({
      clientAuth: 'tls_client_auth',
      token: 'https://mtls.acme.example/token',
      revoke: 'https://mtls.acme.example/revoke',
      userinfo: `${ISSUER}/me`,
    })
    const without = { ...own, tls: { ...files, client: null } }
    expect(lay(told, {}, without)).toMatchObject({
      clientAuth: 'none',
      token: 'https://token.acme.example/token',
    })
    expect(
      readMetadata(
        { ...DOCUMENT, mtls_endpoint_aliases: { token_endpoint: 'http://mtls.acme.example' } },
        ISSUER,
        false,
      ),
    ).toEqual({ problem: 'token_endpoint must begin with https://' })
  })
  test('gets them from it, with what OpenID needs for an account and a refresh token', () => {
    expect(lay({ authorization_response_iss_parameter_supported: true })).toMatchObject({
      authorize: `${ISSUER}/authorize`,
      token: 'https://token.acme.example/token',
      userinfo: `${ISSUER}/me`,
      revoke: `${ISSUER}/revoke`,
      revokeStyle: 'rfc7009',
      par: null,
      issRequired: true,
      clientAuth: 'client_secret_basic',
      refresh: { clientAuth: 'client_secret_basic' },
      account: { from: 'userinfo', id: '/sub' },
      scopeAlways: ['openid', 'offline_access'],
      authorizeParams: { prompt: 'consent' },
      discover: { problem: null },
    })
  })

  test('keeps everything that it says itself', () => {
    const own = {
      token: 'https://own.example/token',
      revoke: null,
      userinfo: 'https://own.example/me',
      account: { from: 'userinfo', id: '/id' },
      client_auth: 'client_secret_post',
      pkce: false,
      scope: { always: ['notes'] },
      authorize_params: { audience: 'api' },
    }
    expect(lay({ code_challenge_methods_supported: ['plain'] }, own)).toMatchObject({
      authorize: `${ISSUER}/authorize`,
      token: 'https://own.example/token',
      userinfo: 'https://own.example/me',
      revoke: null,
      revokeStyle: 'none',
      pkce: false,
      clientAuth: 'client_secret_post',
      refresh: { clientAuth: 'client_secret_post' },
      account: { id: '/id' },
      scopeAlways: ['notes'],
      authorizeParams: { audience: 'api' },
    })
  })

  test('is asked for nothing where it has both endpoints', () => {
    const { provider } = connectionOf({
      authorize: 'https://own.example/authorize',
      token: 'https://own.example/token',
    })
    expect(provider.discover).toBeNull()
  })

  test.for<[string, string[], Partial<Connection>, string]>([
    [
      'basic where it is offered',
      ['client_secret_post', 'client_secret_basic'],
      {},
      'client_secret_basic',
    ],
    ['post where that is all', ['private_key_jwt', 'client_secret_post'], {}, 'client_secret_post'],
    ['nothing without a secret', ['none'], { clientSecret: null }, 'none'],
  ])('names its client by %s', ([, offered, client, method]) => {
    expect(lay({ token_endpoint_auth_methods_supported: offered }, {}, client)).toMatchObject({
      clientAuth: method,
      refresh: { clientAuth: method },
    })
  })

  test.for<[string, object, object, Partial<Connection>, RegExp]>([
    ['names another issuer', { issuer: `${ISSUER}/` }, {}, {}, /another issuer/],
    ['names none', { issuer: undefined }, {}, {}, /another issuer/],
    [
      'has a plain endpoint',
      { token_endpoint: 'http://id.acme.example/token' },
      {},
      {},
      /token_endpoint must begin/,
    ],
    [
      'sends tokens to loopback',
      { token_endpoint: 'http://127.0.0.1/token' },
      {},
      {},
      /token_endpoint must begin/,
    ],
    [
      'has an endpoint that is no text',
      { userinfo_endpoint: ['x'] },
      {},
      {},
      /userinfo_endpoint is no URL/,
    ],
    [
      'has an endpoint with a password',
      { revocation_endpoint: 'https://a:b@acme.example/' },
      {},
      {},
      /revocation_endpoint must have no user/,
    ],
    [
      'has no token endpoint',
      { token_endpoint: undefined },
      {},
      {},
      /no token_endpoint: write `token`/,
    ],
    ['offers no S256', { code_challenge_methods_supported: ['plain'] }, {}, {}, /pkce: false/],
    [
      'wants what the client has not',
      { token_endpoint_auth_methods_supported: ['tls_client_auth'] },
      {},
      {},
      /takes tls_client_auth/,
    ],
    ['wants a secret', {}, {}, { clientSecret: null }, /no client_secret/],
  ])(
    'gets none from an issuer whose document %s, and the reason is told',
    ([, members, definition, client, problem]) => {
      const provider = lay(members, definition, client)
      expect(provider.discover?.problem).toMatch(problem)
      expect([provider.authorize, provider.token]).toEqual([null, null])
    },
  )

  test('needs an issuer without a query', () => {
    const parsed = parseProvider({ id: 'acme', issuer: `${ISSUER}/?a=b`, hosts: [] }, 'acme.yaml')
    expect(parsed).toEqual({ problems: ['acme.yaml: issuer: must have no query (RFC 8414 2)'] })
  })
})

describe('an issuer', () => {
  const ends: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0)) await end()
  })
  /** Answers by path; what is not there is 404. */
  const serving = async (
    answers: (origin: string) => Readonly<Record<string, object | number>>,
  ) => {
    const asked: string[] = []
    const server = createServer((req, res) => {
      asked.push(req.url ?? '')
      const answer = answers(handle.origin)[req.url ?? '']
      if (typeof answer === 'object')
        res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
      else res.writeHead(answer ?? 404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const handle = { origin: `http://127.0.0.1:${port}`, port, asked }
    ends.push(
      () =>
        new Promise((resolve) => {
          server.close(() => resolve())
          server.closeAllConnections()
        }),
    )
    return handle
  }
  const about = (issuer: string) => ({
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
  })

  test('is asked as OpenID says, and then as RFC 8414 says', async () => {
    const path = '/.well-known/oauth-authorization-server/tenant'
    const server = await serving((origin) => ({ [path]: about(`${origin}/tenant`) }))
    const issuer = `${server.origin}/tenant`
    expect(await askIssuer(fetch, issuer, false)).toMatchObject({
      metadata: { token: `${issuer}/token` },
    })
    expect(server.asked).toEqual(['/tenant/.well-known/openid-configuration', path])
  })

  test('is not followed to where it redirects, and what it answers is told', async () => {
    const server = await serving(() => ({ '/.well-known/openid-configuration': 302 }))
    expect(await askIssuer(fetch, server.origin, false)).toEqual({
      problem: `${server.origin}/.well-known/openid-configuration answers 302, ${server.origin}/.well-known/oauth-authorization-server answers 404`,
    })
  })

  test('that is down keeps nobody else from starting; it is asked again, and later what it said counts while it is down', async () => {
    let up = false
    let token = '/token'
    const server = await serving((origin) =>
      up
        ? {
            '/.well-known/openid-configuration': {
              ...about(origin),
              token_endpoint: `${origin}${token}`,
            },
          }
        : { '/.well-known/openid-configuration': 503 },
    )
    const other = await serving((origin) => ({
      '/.well-known/openid-configuration': about(origin),
    }))
    const waiting: { readonly ms: number; readonly work: () => void }[] = []
    const logged: string[] = []
    const write = (_: object, msg: string): void => void logged.push(msg)
    const client = { clientSecret: null }
    const make = (issuer: string, name: string) =>
      connectionOf({ issuer, client_auth: 'none' }, client, name)
    const fixed = connectionOf({ authorize: 'https://x.example/a', token: 'https://x.example/t' })
    const discovery = createDiscovery({
      connections: new Map([
        ['acme', make(server.origin, 'acme')],
        ['other', make(other.origin, 'other')],
        ['fixed', fixed],
      ]),
      fetch,
      log: { debug: write, info: write, warn: write, error: write },
      random: () => 0.5,
      after: (ms, work) => {
        waiting.push({ ms, work })
        return setTimeout(() => {}, 0)
      },
    })
    await discovery.start()
    const tokenOf = (name: string) => discovery.connections().get(name)?.provider.token
    const problemOf = (name: string) =>
      discovery.connections().get(name)?.provider.discover?.problem
    expect(tokenOf('other')).toBe(`${other.origin}/token`)
    expect(discovery.connections().get('fixed')).toBe(fixed)
    expect([tokenOf('acme'), problemOf('acme')]).toEqual([null, expect.stringContaining('503')])
    expect(logged).toEqual([expect.stringContaining('are not known')])
    const again = async (): Promise<number> => {
      const at = waiting.findIndex((_, i) => i > 0 || waiting.length === 1)
      const [next] = waiting.splice(at, 1)
      const length = waiting.length
      next?.work()
      await expect.poll(() => waiting.length).toBe(length + 1)
      return next?.ms ?? 0
    }
    // The healthy one is asked again in an hour, this one in seconds, and then less and less often.
    waiting.sort((a, b) => b.ms - a.ms)
    expect(waiting.map(({ ms }) => ms)).toEqual([3_600_000, 5_000])
    expect([await again(), await again()]).toEqual([5_000, 10_000])
    up = true
    await again()
    expect([tokenOf('acme'), problemOf('acme')]).toEqual([`${server.origin}/token`, null])
    const before = discovery.connections()
    up = false
    await again()
    expect(discovery.connections()).toBe(before)
    up = true
    token = '/token2'
    await again()
    expect(tokenOf('acme')).toBe(`${server.origin}/token2`)
    discovery.close()
  })
})

describe('an MCP server that names another authorization server while deputy runs', () => {
  const server = 'https://mcp.acme.test/mcp'
  const moving = async (client: Partial<Connection>) => {
    let named = 'https://good.test'
    const answer = (url: string): Response => {
      const { origin, pathname } = new URL(url)
      if (url.startsWith('https://mcp.acme.test/'))
        return pathname.startsWith('/.well-known/')
          ? Response.json({ resource: server, authorization_servers: [named] })
          : new Response('', { status: 401 })
      if (pathname === '/register') return Response.json({ client_id: 'c1', client_secret: 's' })
      return Response.json({
        issuer: origin,
        authorization_endpoint: `${origin}/authorize`,
        token_endpoint: `${origin}/token`,
        registration_endpoint: `${origin}/register`,
        code_challenge_methods_supported: ['S256'],
      })
    }
    const asked: typeof fetch = (url) => Promise.resolve(answer(url as string))
    const definition = { issuer: undefined, hosts: undefined, kind: 'mcp', url: server }
    const tools = [{ name: 'x', access: 'read' }]
    const connection = connectionOf({ ...definition, tools }, client)
    const kept = new Map<string, string>()
    const logged: string[] = []
    const write = (_: object, msg: string): void => void logged.push(msg)
    const waiting: (() => void)[] = []
    const discovery = createDiscovery({
      connections: new Map([['acme', connection]]),
      fetch: asked,
      log: { debug: write, info: write, warn: write, error: write },
      clients: createClients({
        fetch: asked,
        publicUrl: 'http://localhost:1',
        find: (key) => Promise.resolve(kept.get(key) ?? null),
        keep: (key, text) => Promise.resolve(void kept.set(key, text)),
        registered: () => undefined,
        now: Date.now,
      }),
      after: (_ms, work) => {
        waiting.push(work)
        return setTimeout(() => {}, 0)
      },
    })
    const at = () => {
      const { provider, clientId } = discovery.connections().get('acme') ?? connection
      return [provider.token, clientId, provider.discover?.problem]
    }
    await discovery.start()
    const first = at()
    named = 'https://evil.test'
    waiting.shift()?.()
    await expect.poll(() => waiting.length).toBe(1)
    discovery.close()
    return { first, after: at(), logged }
  }
  test.each([
    ['that deputy registered', { clientId: '', clientSecret: null }, 'c1'],
    ['of the configuration', {}, 'deputy'],
  ])('gets nothing of the client %s', async (_, client, id) => {
    const { first, after, logged } = await moving(client)
    expect(first).toEqual(['https://good.test/token', id, null])
    expect(after).toEqual(first)
    expect(logged).toEqual([expect.stringContaining('names another authorization server')])
  })
})

describe('two lines', () => {
  test('suffice for a consent, a call, a refresh and a revocation at a real, strict provider', async () => {
    const house = await startHouse({
      auth: 'client_secret_basic',
      accessTtl: 3,
      definition: ({ issuer }) => ({ name: 'Acme', issuer }),
    })
    try {
      await house.connect('alice', 'alice-acme')
      const tag = await house.tag('alice')
      const answer = await house.call(tag)
      expect([answer.status, await answer.json()]).toEqual([
        200,
        expect.objectContaining({ sub: 'alice-acme' }),
      ])
      // The authorization request was pushed where the provider offers that, and came back with its `iss`.
      const paths = house.provider.requests.map(({ path, status }) => `${path} ${status}`)
      expect(paths).toContain('/request 201')
      await new Promise((resolve) => setTimeout(resolve, 3_100))
      expect((await house.call(tag)).status).toBe(200)
      expect(house.tokens()).toHaveLength(1)
      const held = async () => (await house.operator().admin.userConnections.list()).items
      expect(await held()).toMatchObject([{ provider_id: 'acme' }])
      const revoked = await house.api('DELETE', '/v1/admin/users/alice/connections?tenant=acme')
      expect(JSON.stringify(await revoked.json())).toContain('"revoked"')
      expect(
        house.provider.requests.filter(({ path }) => path === '/token/revocation').length,
      ).toBeGreaterThan(0)
      expect((await house.call(tag)).status).toBe(403)
      const [line] = house.deputy.evidence().filter(({ event }) => event === 'provider.discovered')
      expect(line).toMatchObject({
        issuer: house.provider.issuer,
        connections: ['acme', 'second'],
        endpoints: { token: house.provider.endpoints.token },
      })
    } finally {
      await house.close()
    }
  })

  test('of an issuer that cannot be asked keep deputy from nothing but connecting there, and say so', async () => {
    const issuer = `http://127.0.0.1:${await freePort()}/nobody`
    const house = await startHouse({ definition: () => ({ name: 'Acme', issuer }) })
    try {
      const { url: link = '' } = await house.authorize('alice')
      const browser = createBrowser()
      const page = await browser.submit(await browser.open(link), { answer: 'yes' })
      expect([page.status, page.text]).toEqual([
        502,
        expect.stringContaining('Acme did not complete the connection'),
      ])
      expect(house.deputy.logged()).toContain('the endpoints of a provider are not known')
      // The link was not spent.
      expect((await browser.open(link)).status).toBe(200)
      const lines: string[] = []
      const print = (line: string): void => void lines.push(line)
      const loaded = await loadFolder(house.deputy.dir)
      expect(await validate({ loaded, print, complain: print })).toBe(0)
      expect(lines.join('\n')).toContain(
        `note: connections.acme: nobody can connect or refresh there until ${issuer} says its endpoints: it cannot be reached (ECONNREFUSED)`,
      )
    } finally {
      await house.close()
    }
  })

  test('pass deputy validate, which says what the issuer says, and deputy providers test', async () => {
    const house = await startHouse({ definition: ({ issuer }) => ({ issuer }) })
    const lines: string[] = []
    const print = (line: string): void => void lines.push(line)
    try {
      const loaded = await loadFolder(house.deputy.dir)
      expect(await validate({ loaded, print, complain: print })).toBe(0)
      expect(lines.join('\n')).toContain(`token ${house.provider.endpoints.token}; client_auth`)
    } finally {
      await house.close()
    }
    const provider = connectionOf({ operations: [] }).provider
    const { failed, passed } = await testProvider(provider, print)
    expect([failed, passed > 60]).toEqual([[], true])
    expect(lines).toContain('ok      metadata of another issuer')
  })
})
