// Everything that deputy writes anywhere, searched for every secret that it ever held: the real command, at log level debug.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { createServer as createHttpServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startAuthServer } from '../support/authserver.ts'
import type { AuthServer } from '../support/authserver.ts'
import { createBrowser } from '../support/browser.ts'
import { prepareFolder, providersAt, startChild, TABLES } from '../support/deputy.ts'
import type { Child } from '../support/deputy.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { ESCAPES, escapeEach, spellings } from '../support/spellings.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import { freePort } from '../support/ports.ts'

const canary = (name: string): string => `cnry-${name}-7Qz+/x9Kf2LmW8pTr4Vb`
const SECRETS = {
  providerSecret: 'cnry-provider-client-secret-7Qz9Kf2LmW8pTr4Vb',
  pagesSecret: 'cnry-pages-client-secret-7Qz9Kf2LmW8pTr4Vb',
  access: canary('access'),
  refresh: canary('refresh'),
  deadAccess: canary('dead-access'),
  deadRefresh: canary('dead-refresh'),
  refreshedAccess: canary('refreshed-access'),
  refreshedRefresh: canary('refreshed-refresh'),
  forgedHeader: canary('forged-header'),
  forgedBasic: canary('forged-basic'),
  forgedCookie: canary('forged-cookie'),
  forgedQuery: 'cnry-forged-query-7Qz9Kf2LmW8pTr4Vb',
  forgedForm: 'cnry-forged-form-7Qz9Kf2LmW8pTr4Vb',
  forgedJson: canary('forged-json'),
  forgedPath: 'cnryforgedpath7Qz9Kf2LmW8pTr4VbxxxxYYYY1234',
  foreignBearer: canary('operator-like'),
  providerError: canary('provider-error-description'),
  forgedRun: `dpr_${'cnryRun7Qz9Kf2LmW8pTr4Vb'.padEnd(43, 'x')}`,
}
/** Their grants cannot be renewed. */
const DEAD = ['carol', 'dave', 'erin', 'frank', 'grace', 'heidi', 'ivan', 'judy']
let upstream: Upstream
let provider: AuthServer
let idp: AuthServer
let jwks: ReturnType<typeof createHttpServer>
/** Takes spans and evidence by OTLP. */
let collector: ReturnType<typeof createHttpServer>
const collected: Buffer[] = []
let deputy: Child
const secrets = new Map<string, string>(Object.entries(SECRETS))
/** What agents and browsers were answered. */
const answers: Buffer[] = []
let authorizeUrl = ''
const sealed = new Map<string, Buffer>()
let assertionOf: (sub: string) => Promise<string>

beforeAll(async () => {
  upstream = await startUpstream()
  for (const name of ['access', 'refreshedAccess'] as const)
    upstream.people.set(SECRETS[name], 'bob')
  const connectPort = await freePort()
  const connect = `http://localhost:${connectPort}`
  provider = await startAuthServer({
    clientId: 'deputy',
    clientSecret: SECRETS.providerSecret,
    redirectUris: [`${connect}/callback/real`],
    scopes: ['notes'],
    accounts: { 'alice-there': {} },
  })
  idp = await startAuthServer({
    clientId: 'pages',
    clientSecret: SECRETS.pagesSecret,
    redirectUris: [`${connect}/sign-in/callback`],
    accounts: { alice: {}, mallory: {} },
  })
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }
  jwks = createHttpServer((_req, res) => res.end(JSON.stringify({ keys: [jwk] })))
  await new Promise<void>((resolve) => jwks.listen(0, '127.0.0.1', resolve))
  collector = createHttpServer((req, res) => {
    req.on('data', (chunk: Buffer) => collected.push(chunk)).on('end', () => res.end())
  })
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  assertionOf = async (sub) => {
    const now = Math.floor(Date.now() / 1_000)
    const tag = await new SignJWT({
      iss: idp.issuer,
      aud: 'deputy',
      sub,
      act: { sub: 'agent' },
      iat: now,
      exp: now + 600,
    })
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .sign(privateKey)
    secrets.set(`assertion of ${sub} ${secrets.size}`, tag)
    secrets.set(`its signature ${secrets.size}`, tag.split('.')[2] ?? '')
    return tag
  }
  const client = {
    client_id: 'deputy',
    client_secret: SECRETS.providerSecret,
    scopes: ['openid', 'notes'],
  }
  const [acme] = providersAt(upstream.origin)
  const setup = {
    upstream: upstream.origin,
    people: ['alice', 'bob', ...DEAD].map((id) => ({
      id,
      realm: 'corp',
      groups: ['staff'],
    })),
    held: [
      {
        person: { tenant: 'default', realm: 'corp', id: 'bob' },
        agent: 'agent',
        token: SECRETS.access,
        refresh: SECRETS.refresh,
        agedMs: 600_000,
        expiresIn: 86_400,
      },
      // Each of them fails at the token endpoint in a way of its own.
      ...DEAD.map((id) => ({
        person: { tenant: 'default', realm: 'corp', id },
        agent: 'agent',
        token: SECRETS.deadAccess,
        refresh: SECRETS.deadRefresh,
        agedMs: 600_000,
        expiresIn: -1,
      })),
    ],
    config: {
      telemetry: {
        log_level: 'debug',
        otlp: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
        traces: 1,
      },
      audit: { sink: ['file:audit.jsonl', 'otlp'] },
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: `127.0.0.1:${connectPort}`,
      },
      identity: {
        trust: 'asserted',
        issuers: [
          {
            issuer: idp.issuer,
            jwks_uri: `http://127.0.0.1:${(jwks.address() as AddressInfo).port}/`,
            audience: 'deputy',
            realm: 'corp',
          },
        ],
      },
      providers: [
        ...providersAt(upstream.origin),
        {
          ...acme,
          id: 'real',
          hosts: { 'api.real.test': upstream.origin },
          assets: [],
          authorize: provider.endpoints.authorize,
          token: provider.endpoints.token,
          userinfo: provider.endpoints.userinfo,
          issuer: provider.issuer,
          account: { from: 'userinfo', id: '/sub' },
          scope: { always: ['offline_access'] },
          authorize_params: { prompt: 'consent' },
          operations: [
            {
              id: 'real.get',
              method: 'GET',
              path: '/{rest+}',
              access: 'read',
              scopes: [['openid', 'notes']],
            },
          ],
        },
      ],
      connections: {
        acme: { provider: 'acme', ...client, scopes: ['notes'] },
        real: { provider: 'real', ...client },
      },
      connect: {
        sign_in: {
          issuer: idp.issuer,
          client_id: 'pages',
          client_secret: SECRETS.pagesSecret,
          realm: 'corp',
        },
      },
    },
  }
  const tables = {
    ...TABLES,
    role_grants: { ...TABLES['role_grants'], real: { user: ['use'] } },
    grants: { ...TABLES['grants'], real: (TABLES['grants'] ?? {})['acme'] },
    providers: {
      ...TABLES['providers'],
      real: { hosts: ['api.real.test'], assets: [], inspect_body: [] },
    },
  }
  const dir = await prepareFolder({ ...setup, tables })
  const ring = JSON.parse(readFileSync(join(dir, 'keys.json'), 'utf8')) as {
    keys: { use: string; k?: string; d?: string }[]
  }
  for (const { use, k, d } of ring.keys) {
    const text = k ?? d ?? ''
    secrets.set(`ring key ${use}, as it stands`, text)
    secrets.set(`ring key ${use}, in hex`, Buffer.from(text, 'base64url').toString('hex'))
    sealed.set(use, Buffer.from(text, 'base64url'))
  }
  deputy = await startChild({ ...setup, tables }, dir)
})
afterAll(async () => {
  await deputy.close()
  await Promise.all([upstream.close(), provider.close(), idp.close()])
  jwks.close()
  collector.closeAllConnections()
  collector.close()
})

const call = async (
  target: string,
  tag: string | null,
  more: readonly string[] = [],
  { method = 'GET', body = '' } = {},
): Promise<{ status: number; json: Record<string, unknown> }> => {
  const answer = await sendRaw(
    deputy.agent,
    lines(
      `${method} ${target} HTTP/1.1`,
      `Host: ${new URL(deputy.agent).host}`,
      ...(tag === null ? [] : [`Deputy-User: ${tag}`]),
      ...more,
    ) + body,
  )
  answers.push(answer.raw)
  return answer
}

/** Everything written so far, by the place where it stands. */
const written = async (): Promise<ReadonlyMap<string, Buffer>> => {
  const places = new Map<string, Buffer>([
    ['standard output', deputy.stdout()],
    ['standard error', deputy.stderr()],
    ['answers', Buffer.concat(answers)],
    ['collector', Buffer.concat(collected)],
  ])
  const admin = deputy.admin.startsWith('http') ? deputy.admin : `http://${deputy.admin}`
  for (const path of ['/metrics', '/livez', '/readyz']) {
    const response = await fetch(admin + path).catch(() => null)
    if (response !== null) places.set(path, Buffer.from(await response.arrayBuffer()))
  }
  const own = new Set(['keys.json', 'deputy.yaml', 'people.yaml'])
  for (const name of readdirSync(deputy.dir, { recursive: true, encoding: 'utf8' }))
    if (!own.has(name) && statSync(join(deputy.dir, name)).isFile())
      places.set(name, readFileSync(join(deputy.dir, name)))
  return places
}
const findings = async (): Promise<readonly string[]> => {
  const found: string[] = []
  for (const [place, bytes] of await written())
    for (const [name, secret] of secrets)
      if (spellings(secret).some((spelling) => bytes.includes(spelling)))
        found.push(`${name} in ${place}`)
  return found
}

describe('a day in the life', () => {
  test('calls of every kind', async () => {
    const bob = await assertionOf('bob')
    const forged = [
      `Authorization: Bearer ${SECRETS.forgedHeader}`,
      `Proxy-Authorization: Basic ${Buffer.from(`u:${SECRETS.forgedBasic}`).toString('base64')}`,
      `Cookie: session=${SECRETS.forgedCookie}`,
      `X-Api-Key: ${SECRETS.foreignBearer}`,
    ]
    const query = `access_token=${SECRETS.forgedQuery}`
    expect((await call(`/api.acme.test/a?${query}`, bob, forged)).status).toBe(200)
    const form = `a=b&token=${SECRETS.forgedForm}`
    expect(
      (
        await call(
          '/api.acme.test/a',
          bob,
          ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${form.length}`],
          { method: 'POST', body: form },
        )
      ).status,
    ).toBe(200)
    const json = JSON.stringify({ token: SECRETS.forgedJson })
    expect(
      (
        await call(
          '/api.acme.test/a',
          bob,
          ['Content-Type: application/json', `Content-Length: ${json.length}`],
          { method: 'POST', body: json },
        )
      ).status,
    ).toBe(400)
    // From here on the provider repeats nothing of the call.
    upstream.handle = (_seen, res) => void res.end('ok')
    // A run token where it is no tag.
    for (const [target, header] of [
      ['/api.acme.test/a', `X-Note: ${SECRETS.forgedRun}`],
      ['/api.acme.test/a', `User-Agent: sdk (${SECRETS.forgedRun})`],
      [`/api.acme.test/a?note=${SECRETS.forgedRun}`, 'Accept: */*'],
    ] as const)
      expect((await call(target, bob, [header])).status).toBe(200)
    for (const [target, header] of [
      ['/api.acme.test/a', `${SECRETS.forgedRun}: 1`],
      [`/api.acme.test/a/${SECRETS.forgedRun}`, 'Accept: */*'],
      [`/api.acme.test/a?${SECRETS.forgedRun}=1`, 'Accept: */*'],
    ] as const)
      expect((await call(target, bob, [header])).status).toBe(400)
    // A segment that the definition calls secret, and one that looks like a credential.
    expect((await call(`/api.acme.test/hooks/${SECRETS.forgedPath}`, bob)).status).toBe(200)
    expect((await call(`/api.acme.test/x/${SECRETS.forgedPath}`, bob)).status).toBe(200)
    // The secret as the name of a query parameter, of a host, of a connection, of a tag.
    for (const target of [
      `/api.acme.test/a?${SECRETS.forgedPath}=1`,
      `/${SECRETS.forgedPath.toLowerCase()}.test/a`,
      `/~${SECRETS.forgedPath}/api.acme.test/a`,
      `/api.acme.test/a/../${SECRETS.forgedPath}`,
    ])
      await call(target, bob, forged)
    await call('/api.acme.test/a', SECRETS.forgedHeader)
    await call('/api.acme.test/a', null, forged)
    await call('/api.acme.test/a', `${bob.slice(0, -8)}AAAAAAAA`)
    await call('/evil.test/a', bob, forged)
    await sendRaw(deputy.agent, `GARBAGE ${SECRETS.forgedHeader}\r\n\r\n`).then(({ raw }) =>
      answers.push(raw),
    )
    await call('/api.acme.test/a', bob, [
      `Connection: deputy-user, ${SECRETS.forgedCookie.replaceAll(/[+/]/g, '')}`,
    ])
    for (const path of ['/v1/auth/status?id=nothing', '/v1/nothing']) await call(path, bob, forged)
    upstream.handle = null
  })
  test('a provider that echoes the token, and one that breaks', async () => {
    const bob = await assertionOf('bob')
    upstream.handle = ({ headers }, res) =>
      void res
        .writeHead(500, { 'x-echo': String(headers.authorization) })
        .end(`failed: ${headers.authorization}`)
    expect((await call('/api.acme.test/a', bob)).status).toBe(500)
    upstream.handle = (_seen, res) => void res.socket?.destroy()
    expect((await call('/api.acme.test/a', bob)).status).toBe(502)
    const zipped = gzipSync(`{"a":"${SECRETS.access}"}`)
    for (const [status, head, body] of [
      [
        403,
        `401 X\r\nWWW-Authenticate: Bearer error="insufficient_user_authentication", acr_values="${SECRETS.access}"`,
        '',
      ],
      [
        403,
        `403 X\r\nWWW-Authenticate: Bearer error="insufficient_scope", scope="${SECRETS.access}"`,
        '',
      ],
      [200, `200 X\r\nx-${encodeURIComponent(SECRETS.access)}: 1`, 'ok'],
      [200, `200 X\r\nX-Echo: ${Buffer.from(`user:${SECRETS.access}`).toString('base64')}`, 'ok'],
      [200, '200 X\r\nContent-Encoding: identity\r\nContent-Encoding: gzip', zipped],
      [502, '200 X\r\nContent-Encoding: compress', SECRETS.access],
      [200, '200 X', Buffer.from(`{"me":"${SECRETS.access}"}`).toString('base64')],
      ...ESCAPES.map((escape) => [200, '200 X', escapeEach(SECRETS.access, escape)] as const),
    ] as const) {
      upstream.handle = (_seen, res) => {
        const length = Buffer.byteLength(body)
        res.socket?.write(`HTTP/1.1 ${head}\r\nContent-Length: ${length}\r\n\r\n`)
        res.socket?.end(body)
      }
      expect([head, (await call('/api.acme.test/a', bob)).status]).toEqual([head, status])
    }
    upstream.handle = null
  })
  test('a refresh, and one whose failure quotes everything it was sent', async () => {
    upstream.people.delete(SECRETS.access)
    upstream.token = (_form, res) =>
      void res.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          access_token: SECRETS.refreshedAccess,
          refresh_token: SECRETS.refreshedRefresh,
          expires_in: 3600,
          token_type: 'bearer',
        }),
      )
    expect((await call('/api.acme.test/a', await assertionOf('bob'))).json['login']).toBe('bob')
    for (const [person, status, type, body] of [
      ['carol', 500, 'text/plain', 'down'],
      ['dave', 400, 'application/json', ''],
      ['erin', 200, 'text/html', '<h1>'],
    ] as const) {
      upstream.token = (form, res) =>
        void res.writeHead(status, { 'content-type': type }).end(
          body +
            (type === 'application/json'
              ? JSON.stringify({
                  error: 'invalid_request',
                  error_description: `${SECRETS.providerError} ${form.toString()}`,
                })
              : form.toString()),
        )
      expect(
        (await call('/api.acme.test/a', await assertionOf(person))).status,
      ).toBeGreaterThanOrEqual(400)
    }
    // The same in words and spellings that no plain search finds.
    const spelled: readonly ((text: string) => object)[] = [
      ...ESCAPES.map((escape) => (text: string) => ({
        error: 'invalid_request',
        error_description: `no: ${escapeEach(text, escape)}`,
        error_uri: `https://x.test/${escapeEach(text, escape)}`,
      })),
      (text) => ({
        error: Buffer.from(text).toString('base64url').slice(0, 64),
        error_description: Buffer.from(`u:${text}`).toString('base64'),
        claims: JSON.stringify({ access_token: { acr: { value: text } } }),
        suberror: 'interaction_required',
      }),
    ]
    for (const [i, say] of spelled.entries()) {
      upstream.token = (form, res) =>
        void res
          .writeHead(400, { 'content-type': 'application/json' })
          .end(JSON.stringify(say(form.get('refresh_token') ?? '')))
      const { status } = await call('/api.acme.test/a', await assertionOf(DEAD[i + 3] ?? ''))
      expect(status).toBeGreaterThanOrEqual(400)
    }
    expect(upstream.refreshes.length).toBeGreaterThanOrEqual(9)
    upstream.token = null
  })
  test('a consent, with everything that went through the browser', async () => {
    const alice = await assertionOf('alice')
    const asked = await call('/api.real.test/a', alice)
    expect(asked.json['code']).toBe('consent_required')
    const url = String(asked.json['url'])
    const api = JSON.stringify({
      user_id: 'alice',
      auth_requirement: { id: 'real', oauth2: { scopes: ['notes'] } },
    })
    expect(
      (
        await call(
          '/v1/auth/authorize',
          alice,
          ['Content-Type: application/json', `Content-Length: ${api.length}`],
          { method: 'POST', body: api },
        )
      ).status,
    ).toBe(200)
    const browser = createBrowser()
    const connect = new URL(url).origin
    let page = await browser.open(url)
    while (new URL(page.url).origin === idp.issuer)
      page = await browser.submit(page, { login: 'alice', password: 'x' })
    const back = (next: URL): boolean => next.origin === connect
    const leaving = (next: URL): boolean => next.origin === provider.issuer
    authorizeUrl = (await browser.submit(page, { answer: 'yes' }, { until: leaving })).url
    let there = await browser.open(authorizeUrl, back)
    while (new URL(there.url).origin === provider.issuer)
      there = await browser.submit(there, { login: 'alice-there', password: 'x' }, { until: back })
    const done = await browser.open(there.url)
    expect([done.status, done.text.includes('alice-there')]).toEqual([200, true])
    // Again, with an answer that was used, and one that is forged.
    const again = await browser.open(there.url)
    const forged = await createBrowser().open(
      `${connect}/callback/real?code=${SECRETS.forgedPath}&state=${SECRETS.forgedPath}`,
    )
    for (const visit of [
      again,
      forged,
      await browser.open(`${connect}/problems/consent_required`),
      await browser.open(`${connect}/${SECRETS.forgedPath}`),
    ])
      answers.push(Buffer.from(visit.text))
    for (const { url: at, text, headers } of browser.seen)
      if (at.startsWith(connect))
        answers.push(
          Buffer.from(
            `${JSON.stringify([...headers].filter(([name]) => name !== 'set-cookie' && name !== 'location'))}${text}`,
          ),
        )
    const code = new URL(there.url).searchParams.get('code') ?? ''
    const state = new URL(there.url).searchParams.get('state') ?? ''
    expect(Math.min(code.length, state.length)).toBeGreaterThan(20)
    secrets.set('the code', code)
    const tokens = provider.requests.filter(({ path }) => path === '/token')
    secrets.set('the PKCE verifier', tokens.at(-1)?.form['code_verifier'] ?? 'missing')
    for (const [i, { form }] of idp.requests.filter(({ path }) => path === '/token').entries()) {
      secrets.set(`the code of the sign-in ${i}`, form['code'] ?? 'missing')
      secrets.set(`the verifier of the sign-in ${i}`, form['code_verifier'] ?? 'missing')
    }
    // The state and the link's id were sent to the browser on purpose; what stays behind must not hold them.
    const upstreamToken = () =>
      upstream.seen.at(-1)?.headers.authorization?.replace('Bearer ', '') ?? ''
    upstream.handle = (_seen, res) => void res.end('ok')
    expect((await call('/api.real.test/a', alice)).status).toBe(200)
    upstream.handle = null
    secrets.set('the token of the consent', upstreamToken())
    expect(upstreamToken().length).toBeGreaterThan(20)
    const stays = [...(await written())].filter(([place]) => place !== 'answers')
    const linkId = url.slice(url.lastIndexOf('/') + 1)
    const cookies = [...browser.cookies]
      .filter(([at]) => at === new URL(connect).host)
      .flatMap(([, jar]) => [...jar.values()])
    for (const [name, secret] of [
      ['state', state],
      ['link', linkId],
      ...cookies.map((value) => ['cookie', value] as const),
    ] as const)
      for (const [place, bytes] of stays)
        expect([name, place, secret.length >= 16 && bytes.includes(secret)]).toEqual([
          name,
          place,
          false,
        ])
  })
})

test('what a definition always asks for is asked for with every consent', () => {
  expect(new URL(authorizeUrl).searchParams.get('scope')?.split(' ').toSorted()).toEqual([
    'notes',
    'offline_access',
    'openid',
  ])
})

test('the search finds a secret however it was written down', () => {
  const secret = SECRETS.access
  for (const text of [
    secret,
    Buffer.from(secret).toString('base64'),
    Buffer.from(`user:${secret}!`).toString('base64'),
    Buffer.from(`{"a":"${secret}"}`).toString('base64url'),
    Buffer.from(secret).toString('hex'),
    encodeURIComponent(secret),
  ])
    expect(spellings(secret).some((spelling) => Buffer.from(text).includes(spelling))).toBe(true)
})

test('no secret stands anywhere in what deputy wrote', async () => {
  expect(deputy.alive()).toBe(true)
  const places = await written()
  for (const place of [
    'standard error',
    'answers',
    'collector',
    '/metrics',
    'audit.jsonl',
    'deputy.db',
  ])
    expect([place, (places.get(place)?.length ?? 0) > 50]).toEqual([place, true])
  // The debug log was on.
  expect(deputy.stderr().toString()).toContain('"level":"debug"')
  expect(await findings()).toEqual([])
})

test('nor after it has ended, in what its last moments wrote', async () => {
  for (const [use, key] of sealed) {
    expect([use, key.length > 30]).toEqual([use, true])
    for (const [place, bytes] of await written())
      expect([use, place, bytes.includes(key)]).toEqual([use, place, false])
  }
  expect(await deputy.stop()).toBe(0)
  const told = Buffer.concat(collected).toString('latin1')
  for (const word of ['deputy.first_byte', 'deputy.decision.effect', 'process.stopped'])
    expect(told).toContain(word)
  expect(await findings()).toEqual([])
})
