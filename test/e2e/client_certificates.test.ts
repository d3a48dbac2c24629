// Which agent calls, by the certificate of its connection: named, bounded, recorded, and void when it or its authority is.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectH2 } from 'node:http2'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeAuthority } from '../support/authority.ts'
import type { Authority, Shown } from '../support/authority.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { moveClocks } from '../support/clocks.ts'
import { startDeputy, TABLES } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const LONG = { timeout: 60_000 }
const TOKEN = 'at-alice-acme-0123456789'
const TRIAGE = 'spiffe://corp/agents/triage'
const CERTIFICATE = {
  name: 'mesh',
  certificate: { uri: 'spiffe://corp/agents/*' },
  agent: '/uri',
}
const SVID = {
  name: 'svid',
  spiffe: 'spiffe://corp',
  match: { '/sub': 'spiffe://corp/agents/*' },
  agent: '/sub',
}
type Answer = { readonly status: number; readonly json: Fields }

const missing = opensslMissing()
describe.skipIf(missing !== '')(`a client certificate${missing}`, () => {
  let upstream: Upstream
  let folder: string
  let ca: Authority
  let other: Authority
  let deputy: Deputy
  let sign: (claims?: Fields, header?: Fields) => Promise<string>
  const agents: Agent[] = []

  beforeAll(async () => {
    upstream = await startUpstream()
    upstream.people.set(TOKEN, 'alice-acme')
    folder = mkdtempSync(join(tmpdir(), 'deputy-mtls-'))
    ca = makeAuthority(folder, 'agents')
    other = makeAuthority(folder, 'others')
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
    const key = { ...(await exportJWK(publicKey)), kid: 'k1' }
    writeFileSync(
      join(folder, 'bundle.json'),
      JSON.stringify({
        keys: [
          { ...key, use: 'jwt-svid' },
          { ...key, use: 'x509-svid' },
        ],
        spiffe_sequence: 1,
      }),
    )
    sign = (claims = {}, header = {}) => {
      const now = Math.floor(Date.now() / 1_000)
      return new SignJWT({ sub: TRIAGE, aud: ['deputy'], exp: now + 300, ...claims })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header })
        .sign(privateKey)
    }
    const { cert, key: own } = makeCertificate(folder)
    writeFileSync(join(folder, 'client-ca.crt'), readFileSync(ca.path))
    deputy = await startDeputy({
      upstream: upstream.origin,
      config: {
        listeners: {
          agent: '127.0.0.1:0',
          admin: '127.0.0.1:0',
          connect: '127.0.0.1:0',
          agent_tls: {
            listen: '127.0.0.1:0',
            cert,
            key: own,
            client_ca: join(folder, 'client-ca.crt'),
          },
        },
        workloads: [
          CERTIFICATE,
          { name: 'names', certificate: { dns: '*.agents.test', cn: 'agent' }, agent: '/dns' },
          { ...SVID, jwks: join(folder, 'bundle.json') },
        ],
      },
      held: [
        { person: 'alice', agent: TRIAGE, token: TOKEN },
        { person: 'alice', agent: 'b.agents.test', token: TOKEN },
      ],
    })
  })
  afterAll(async () => {
    await deputy.close()
    await upstream.close()
    rmSync(folder, { recursive: true })
  })
  beforeEach(() => {
    upstream.seen.length = 0
  })
  afterEach(() => agents.splice(0).forEach((agent) => agent.destroy()))

  const client = (shown: Partial<Shown> = {}): Agent => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false, ...shown })
    agents.push(agent)
    return agent
  }
  const call = (
    agent: Agent,
    headers: Readonly<Record<string, string>> = {},
    path = '/api.acme.test/a',
  ) =>
    new Promise<Answer>((resolve, reject) => {
      const { hostname, port } = new URL(deputy.addresses['agent_tls'] ?? '')
      const sent = request(
        { agent, hostname, port, path, headers: { 'deputy-user': 'alice', ...headers } },
        (answer) => {
          const chunks: Buffer[] = []
          answer.on('data', (chunk: Buffer) => chunks.push(chunk))
          answer.on('end', () => {
            const text = Buffer.concat(chunks).toString()
            resolve({ status: answer.statusCode ?? 0, json: JSON.parse(text) as Fields })
          })
        },
      )
      sent.once('error', reject)
      sent.end()
    })
  const last = () => deputy.evidence().findLast(({ event }) => event === 'decision')
  const refused = async (agent: Agent, headers: Readonly<Record<string, string>> = {}) => {
    const before = deputy.evidence().length
    const { status, json } = await call(agent, headers)
    expect([status, json['code']]).toEqual([401, 'workload_unauthenticated'])
    expect(upstream.seen).toEqual([])
    await expect
      .poll(() => JSON.stringify(deputy.evidence().slice(before)), LONG)
      .toContain('workload_unauthenticated')
    return json['detail']
  }

  test('names the agent of each call on its connection, and the tag names the person', async () => {
    const mine = client(ca.give(`URI:${TRIAGE}`))
    for (let n = 0; n < 2; n += 1) expect((await call(mine)).json['login']).toBe('alice-acme')
    expect(last()).toMatchObject({
      user: { id: 'alice' },
      agent: { id: TRIAGE, workload: { name: 'mesh', subject: TRIAGE, verified: true } },
    })
    const named = client(ca.give('DNS:a.other.test,DNS:B.agents.test'))
    expect((await call(named)).status).toBe(200)
    expect(last()).toMatchObject({ agent: { id: 'b.agents.test', workload: { name: 'names' } } })
  })

  test('names the agent of each stream of HTTP/2 too', async () => {
    const shown = ca.give(`URI:${TRIAGE}`)
    const origin = deputy.addresses['agent_tls'] ?? ''
    const session = connectH2(origin, { ...shown, rejectUnauthorized: false })
    const stream = session.request({ ':path': '/api.acme.test/a', 'deputy-user': 'alice' })
    const text = await new Promise<string>((resolve, reject) => {
      let all = ''
      stream.on('data', (chunk: Buffer) => void (all += chunk.toString()))
      stream.on('end', () => resolve(all)).on('error', reject)
    })
    session.destroy()
    expect(JSON.parse(text)).toMatchObject({ login: 'alice-acme' })
    expect(last()).toMatchObject({
      agent: { id: TRIAGE, workload: { name: 'mesh', subject: TRIAGE, verified: true } },
    })
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is shown anew by each connection, with its whole chain: none resumes another (%s)',
    async (version) => {
      const { hostname, port } = new URL(deputy.addresses['agent_tls'] ?? '')
      const shown = { ...ca.give(`URI:${TRIAGE}`), minVersion: version, maxVersion: version }
      const again = async (session?: Buffer) => {
        const socket = connect({
          host: hostname,
          port: Number(port),
          rejectUnauthorized: false,
          ...shown,
          ...(session === undefined ? {} : { session }),
        })
        let given: Buffer | undefined
        let reused: boolean | null = null
        socket.once('secureConnect', () => {
          reused = socket.isSessionReused()
          given = socket.getSession()
        })
        socket.on('session', (one) => void (given = one))
        socket.write(
          'GET /v1/auth/status?id=x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
        )
        for await (const _ of socket) expect(given).toBeDefined()
        return { given, reused }
      }
      const { given } = await again()
      expect((await again(given)).reused).toBe(false)
    },
  )

  test('is no tag: without one that names the person the call is refused', async () => {
    const mine = client(ca.give(`URI:${TRIAGE}`))
    const { status, json } = await call(mine, { 'deputy-user': '' })
    expect([status, json['code']]).toEqual([401, 'unauthenticated'])
    const asked = await call(mine, { 'deputy-user': '' }, '/v1/auth/status?id=x')
    expect(asked.status).toBe(401)
  })

  test('says who asks for a link, too', async () => {
    const status = async (agent: Agent) =>
      (await call(agent, {}, '/v1/auth/status?id=none')).json['code']
    expect(await status(client())).toBe('workload_unauthenticated')
    expect(await status(client(ca.give(`URI:${TRIAGE}`)))).not.toBe('workload_unauthenticated')
  })

  test.each<[string, () => Partial<Shown>, RegExp]>([
    ['none', () => ({}), /does not say which agent it is from.*or show its certificate/],
    [
      'one of another authority',
      () => other.give(`URI:${TRIAGE}`),
      /does not verify by listeners\.agent_tls\.client_ca/,
    ],
    ['one that has ended', () => ca.give(`URI:${TRIAGE}`, { days: -1 }), /CERT_HAS_EXPIRED/],
    ['one for servers', () => ca.give(`URI:${TRIAGE}`, { usage: 'serverAuth' }), /INVALID_PURPOSE/],
    [
      'one of an authority below',
      () => ca.give(`URI:${TRIAGE}`, { ca: true }),
      /is one of an authority/,
    ],
    [
      'one of another path',
      () => ca.give('URI:spiffe://corp/people/alice'),
      /mesh wants another \/uri/,
    ],
    [
      'one of two names',
      () => ca.give(`URI:${TRIAGE},URI:spiffe://corp/agents/b`),
      /more than one URI name/,
    ],
    ['one without names', () => ca.give(''), /no row of workloads is meant/],
    [
      'one with half of what a row wants',
      () => ca.give('DNS:b.agents.test', { cn: 'x' }),
      /names wants another \/cn/,
    ],
  ])('that is %s is refused with its reason, and nothing is sent', async (_, shown, said) => {
    expect(await refused(client(shown()))).toMatch(said)
  })

  test('and a token must name the same agent, and neither mends the other', async () => {
    const mine = client(ca.give(`URI:${TRIAGE}`))
    expect((await call(mine, { 'deputy-agent': await sign() })).status).toBe(200)
    expect(last()).toMatchObject({ agent: { id: TRIAGE, workload: { name: 'svid' } } })
    upstream.seen.length = 0
    expect(
      await refused(mine, { 'deputy-agent': await sign({ sub: 'spiffe://corp/agents/other' }) }),
    ).toMatch(
      /token says that the call is from spiffe:\/\/corp\/agents\/other, and the client certificate says/,
    )
    expect(
      await refused(client(other.give(`URI:${TRIAGE}`)), { 'deputy-agent': await sign() }),
    ).toMatch(/does not verify by/)
    expect(await refused(mine, { 'deputy-agent': 'nonsense' })).toMatch(/no token of an issuer/)
  })

  test('a token of the trust domain names the agent without one, here and over plain http', async () => {
    expect((await call(client(), { 'deputy-agent': await sign() })).status).toBe(200)
    const plainly = async (token: string) => {
      const answer = await fetch(`${deputy.agent}/api.acme.test/a`, {
        headers: { 'deputy-user': 'alice', 'deputy-agent': token },
      })
      return [answer.status, ((await answer.json()) as Fields)['detail']]
    }
    expect((await plainly(await sign({}, { typ: 'JWT' })))[0]).toBe(200)
    upstream.seen.length = 0
    const now = Math.floor(Date.now() / 1_000)
    for (const [token, said] of [
      [await sign({ exp: now - 1 }), /expired|not verify/],
      [await sign({ exp: undefined }), /does not verify/],
      [await sign({ exp: now + 3_600 }), /lives longer than its max_age \(600 s\)/],
      [await sign({ aud: 'vault' }), /does not verify/],
      [await sign({ sub: 'spiffe://other/agents/triage' }), /no token of an issuer/],
      [await sign({ sub: 'spiffe://corp/agents/../triage' }), /no token of an issuer/],
      [await sign({ sub: 'spiffe://corp/people/alice' }), /svid wants another \/sub/],
      [await sign({}, { typ: 'at+jwt' }), /another kind of token/],
      [await sign({}, { kid: 'k2' }), /does not verify/],
    ] as const)
      expect(await plainly(token)).toEqual([401, expect.stringMatching(said)])
    expect(upstream.seen).toEqual([])
  })

  test('is refused at the next call once it has ended, though its connection is kept', async () => {
    const mine = client(ca.give(`URI:${TRIAGE}`))
    expect((await call(mine)).status).toBe(200)
    upstream.seen.length = 0
    const clocks = moveClocks()
    try {
      clocks.pass(3 * 86_400_000)
      const { status, json } = await call(mine)
      expect([status, json['code'], json['detail']]).toEqual([
        401,
        'workload_unauthenticated',
        'The client certificate has expired.',
      ])
      expect(upstream.seen).toEqual([])
    } finally {
      clocks.restore()
    }
  })

  test('of an authority that is not named any more proves nothing, on connections that stand too', async () => {
    const [mine, busy] = [client(ca.give(`URI:${TRIAGE}`)), client(ca.give(`URI:${TRIAGE}`))]
    expect((await call(mine)).status).toBe(200)
    let answer = (): void => undefined
    upstream.handle = (_, res) => {
      answer = () => void res.setHeader('content-type', 'application/json').end('{}')
    }
    const held = call(busy)
    await expect.poll(() => upstream.seen.length, LONG).toBe(2)
    writeFileSync(join(folder, 'client-ca.crt'), readFileSync(other.path))
    await deputy.reload()
    // Where nothing was under way the connection ends, and the client makes another.
    await expect.poll(() => Object.keys(mine.freeSockets), LONG).toEqual([])
    upstream.handle = null
    answer()
    expect((await held).status).toBe(200)
    upstream.seen.length = 0
    expect(await refused(busy)).toMatch(/have changed since this connection began/)
    expect(await refused(mine)).toMatch(/does not verify by/)
    expect((await call(client(other.give(`URI:${TRIAGE}`)))).status).toBe(200)
    writeFileSync(join(folder, 'client-ca.crt'), 'no certificate')
    await deputy.reload()
    expect(deputy.logged()).toContain('client-ca.crt is no list of certificates')
    expect((await call(client(other.give(`URI:${TRIAGE}`)))).status).toBe(200)
    writeFileSync(join(folder, 'client-ca.crt'), readFileSync(ca.path))
    await deputy.reload()
    expect((await call(client(ca.give(`URI:${TRIAGE}`)))).status).toBe(200)
  })
})

test('a row of the grants asks for the agent and its workload, whatever the tag says', async () => {
  const upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice-acme')
  const grants = structuredClone(TABLES['grants']) as Record<
    string,
    Record<string, { agents: unknown[] }>
  >
  for (const of of Object.values(grants))
    for (const one of Object.values(of)) one.agents = [{ id: TRIAGE, workload: 'svid' }]
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const folder = mkdtempSync(join(tmpdir(), 'deputy-bound-'))
  const jwks = join(folder, 'bundle.json')
  const key = { ...(await exportJWK(publicKey)), kid: 'k1', use: 'jwt-svid' }
  writeFileSync(jwks, JSON.stringify({ keys: [key] }))
  const sign = (sub: string) =>
    new SignJWT({ sub, aud: 'deputy', exp: Math.floor(Date.now() / 1_000) + 300 })
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .sign(privateKey)
  const deputy = await startDeputy({
    upstream: upstream.origin,
    config: {
      identity: { trust: 'plain', agent: TRIAGE, agent_required: false },
      workloads: [
        { ...SVID, match: { '/sub': TRIAGE }, jwks },
        { ...SVID, name: 'twin', agent: TRIAGE, jwks },
      ],
    },
    tables: { ...TABLES, grants },
    held: [{ person: 'alice', agent: TRIAGE, token: TOKEN }],
  })
  try {
    const by = async (headers: Readonly<Record<string, string>>) => {
      const answer = await fetch(`${deputy.agent}/api.acme.test/a`, {
        headers: { 'deputy-user': 'alice', ...headers },
      })
      return [answer.status, ((await answer.json()) as Fields)['code']]
    }
    expect((await by({ 'deputy-agent': await sign(TRIAGE) }))[0]).toBe(200)
    upstream.seen.length = 0
    // The same agent by another row, and by the configuration's word alone.
    expect(await by({ 'deputy-agent': await sign('spiffe://corp/agents/b') })).toEqual([
      403,
      'policy_denied',
    ])
    expect(await by({})).toEqual([403, 'policy_denied'])
    expect(upstream.seen).toEqual([])
  } finally {
    await deputy.close()
    await upstream.close()
    rmSync(folder, { recursive: true })
  }
})
