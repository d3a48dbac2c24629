// Everybody gets their own account, whatever the way in which a call names its person.
import { Octokit } from '@octokit/rest'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { startAuthServer } from '../support/authserver.ts'
import { CLIENT_SECRET, startDeputy } from '../support/deputy.ts'
import type { Deputy, Fields } from '../support/deputy.ts'
import { AUDIENCE, startIssuer } from '../support/issuer.ts'
import type { Issuer } from '../support/issuer.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const tokenOf = (person: string, connection = 'acme'): string =>
  `at-${person}-${connection}-0123456789`
let upstream: Upstream

beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of ['alice', 'bob'])
    for (const connection of ['acme', 'second', 'github'])
      upstream.people.set(tokenOf(person, connection), `${person}-${connection}`)
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.seen.length = 0
})

const get = (
  deputy: Pick<Deputy, 'agent'>,
  target: string,
  ...headers: readonly string[]
): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(`GET ${target} HTTP/1.1`, `Host: ${new URL(deputy.agent).host}`, ...headers),
  )
const connections = (names: Readonly<Record<string, string>>, more: Fields = {}): Fields =>
  Object.fromEntries(
    Object.entries(names).map(([name, provider]) => [
      name,
      { provider, client_id: 'deputy', client_secret: CLIENT_SECRET, scopes: ['notes'], ...more },
    ]),
  )

describe('plain names', () => {
  let deputy: Deputy
  beforeAll(async () => {
    deputy = await startDeputy({
      upstream: upstream.origin,
      config: {
        connections: {
          ...connections({ acme: 'acme', second: 'acme' }),
          github: {
            provider: 'github',
            client_id: 'deputy',
            client_secret: CLIENT_SECRET,
            scopes: ['repo'],
            hosts: { 'api.github.com': upstream.origin },
          },
        },
        listeners: {
          agent: '127.0.0.1:0',
          admin: '127.0.0.1:0',
          connect: '127.0.0.1:0',
          extra: [
            { listen: '127.0.0.1:0', upstream: 'second@api.acme.test', user: 'bob' },
            { listen: '127.0.0.1:0', upstream: 'api.github.com' },
          ],
        },
      },
      held: ['alice', 'bob'].flatMap((person) =>
        ['acme', 'second', 'github'].map((connection) => ({
          person,
          connection,
          token: tokenOf(person, connection),
          ...(connection === 'github' ? { scopes: ['repo'] } : {}),
        })),
      ),
    })
  })
  afterAll(() => deputy.close())

  test('two people share one Octokit, call by call', async () => {
    const octokit = new Octokit({
      baseUrl: `${deputy.agent}/api.github.com`,
      auth: 'the-sdk-wants-a-key',
      retry: { enabled: false },
    })
    const asked = Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? 'bob' : 'alice'))
    const answers = await Promise.all(
      asked.map(async (person, i) => {
        const { data } = await octokit.rest.issues.get({
          owner: 'acme',
          repo: 'app',
          issue_number: i + 1,
          headers: { 'Deputy-User': person },
        })
        return data as unknown as { login: string; url: string }
      }),
    )
    expect(answers.map(({ login, url }) => [login, url])).toEqual(
      asked.map((person, i) => [`${person}-github`, `/repos/acme/app/issues/${i + 1}`]),
    )
    expect(upstream.bytes().toString()).not.toContain('the-sdk-wants-a-key')
    const named = deputy
      .evidence()
      .filter(({ event }) => event === 'decision')
      .map(({ user }) => user as { id: string; verified: boolean })
    expect(named.filter(({ id }) => id === 'bob')).toHaveLength(67)
    expect(named.some(({ verified }) => verified)).toBe(false)
  })
  test('the path names the person, and nothing of it reaches the provider', async () => {
    const answer = await get(deputy, '/~bob/acme@api.acme.test/a?b=c')
    expect([answer.status, answer.json['login']]).toEqual([200, 'bob-acme'])
    expect(upstream.bytes().toString()).not.toContain('~bob')
    expect(upstream.seen[0]?.url).toBe('/a?b=c')
  })
  test('the path and an equal header are one name, also when it is escaped', async () => {
    const answer = await get(deputy, '/~b%6fb/acme@api.acme.test/a', 'Deputy-User: bob')
    expect(answer.json['login']).toBe('bob-acme')
  })
  test('a dedicated listener fixes person and connection; a header that differs is refused', async () => {
    const extra = { agent: deputy.addresses['extra.0'] ?? '' }
    expect((await get(extra, '/a')).json['login']).toBe('bob-second')
    expect((await get(extra, '/a', 'Deputy-User: alice')).status).toBe(401)
    expect((await get(extra, '/v1/auth/status?id=x')).json['login']).toBe('bob-second')
  })
  test('a dedicated listener without a person takes the header', async () => {
    const extra = { agent: deputy.addresses['extra.1'] ?? '' }
    const path = '/repos/acme/app/issues/1'
    expect((await get(extra, path, 'Deputy-User: alice')).json['login']).toBe('alice-github')
    expect((await get(extra, path)).status).toBe(401)
  })
  test('an ambiguous connection is 409 and names both; the path or the header chooses', async () => {
    const answer = await get(deputy, '/api.acme.test/a', 'Deputy-User: alice')
    expect([answer.status, answer.json['code']]).toEqual([409, 'connection_ambiguous'])
    expect(answer.json['connections']).toEqual(['acme', 'second'])
    expect(upstream.seen).toEqual([])
    for (const [target, header, login] of [
      ['/acme@api.acme.test/a', 'X: y', 'alice-acme'],
      ['/second@api.acme.test/a', 'X: y', 'alice-second'],
      ['/api.acme.test/a', 'Deputy-Connection: second', 'alice-second'],
    ] as const)
      expect((await get(deputy, target, 'Deputy-User: alice', header)).json['login']).toBe(login)
    const both = await get(
      deputy,
      '/acme@api.acme.test/a',
      'Deputy-User: alice',
      'Deputy-Connection: second',
    )
    expect(both.status).toBe(400)
    expect((await get(deputy, '/github@api.acme.test/a', 'Deputy-User: alice')).status).toBe(404)
  })
  test('a person of whom nothing is known gets no link, and one without an account does', async () => {
    const unknown = await get(deputy, '/acme@api.acme.test/a', 'Deputy-User: mallory')
    expect([unknown.status, unknown.json['code'], unknown.json['url']]).toEqual([
      403,
      'policy_denied',
      undefined,
    ])
  })
})

/** Both clocks: deputy believes neither alone. */
const FAKED = ['Date', 'performance', 'setInterval', 'clearInterval'] as const

describe('signed assertions', () => {
  const start = (issuer: Issuer, config: Fields = {}, more: Fields = {}) =>
    startDeputy({
      upstream: upstream.origin,
      people: ['alice', 'bob'].map((id) => ({
        id,
        realm: 'corp',
        tenant: 'acme',
        groups: ['staff'],
      })),
      held: ['alice', 'bob'].map((id) => ({
        person: { tenant: 'acme', realm: 'corp', id },
        agent: 'agent-1',
        token: tokenOf(id),
      })),
      config: {
        connections: connections({ acme: 'acme' }),
        identity: {
          trust: 'asserted',
          issuers: [
            {
              issuer: issuer.url,
              realm: 'corp',
              audience: AUDIENCE,
              tenant: '/org',
              tenants: ['acme'],
              ...more,
            },
          ],
        },
        connect: { sign_in: { issuer: issuer.url, client_id: 'pages' } },
        ...config,
      },
    })
  const alice = { sub: 'alice', org: 'acme' }
  const bob = { sub: 'bob', org: 'acme' }
  let issuer: Issuer
  let deputy: Deputy
  beforeAll(async () => {
    issuer = await startIssuer()
    deputy = await start(issuer)
  })
  afterAll(async () => {
    await deputy.close()
    issuer.close()
  })
  afterEach(() => {
    vi.useRealTimers()
  })
  const target = '/api.acme.test/a'
  const login = async (...headers: readonly string[]) =>
    (await get(deputy, target, ...headers)).json['login'] ?? null

  test('the issuer is discovered once, and each assertion names its person', async () => {
    const tags = await Promise.all([alice, bob].map((claims) => issuer.sign(claims)))
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => login(`Deputy-User: ${tags[i % 2] ?? ''}`)),
    )
    expect(answers).toEqual(
      Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? 'alice-acme' : 'bob-acme')),
    )
    expect(issuer.asked).toEqual(['/.well-known/openid-configuration', '/keys'])
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision).toMatchObject({
      user: { id: 'bob', realm: 'corp', tenant: 'acme', verified: true },
      agent: { id: 'agent-1' },
    })
  })
  test('the SDK’s key slot carries it: any scheme, none, or the password of Basic', async () => {
    const tag = await issuer.sign(bob)
    const basic = Buffer.from(`anything:${tag}`).toString('base64')
    for (const value of [`Bearer ${tag}`, `bearer ${tag}`, `token ${tag}`, tag, `Basic ${basic}`])
      expect([value.slice(0, 6), await login(`Authorization: ${value}`)]).toEqual([
        value.slice(0, 6),
        'bob-acme',
      ])
    expect(upstream.bytes().toString()).not.toContain(tag)
    expect(upstream.bytes().toString()).not.toContain(basic)
  })
  test('the tag header may carry it as a bearer, and both places the same one', async () => {
    const tag = await issuer.sign(alice)
    expect(await login(`Deputy-User: Bearer ${tag}`)).toBe('alice-acme')
    expect(await login(`Deputy-User: ${tag}`, `Authorization: Bearer ${tag}`)).toBe('alice-acme')
  })
  test('beside the tag header, any other key in the slot is a credential and goes', async () => {
    const tag = await issuer.sign(alice)
    const foreign = await issuer.sign({ ...bob, aud: 'somebody-else' })
    expect(await login(`Deputy-User: ${tag}`, `Authorization: Bearer ${foreign}`)).toBe(
      'alice-acme',
    )
    expect(upstream.bytes().toString()).not.toContain(foreign)
    expect(deputy.evidence().findLast(({ event }) => event === 'decision')?.['stripped']).toEqual([
      'header:authorization',
    ])
  })
  test('in the slot, a tag of ours that does not verify is 401, not a credential to strip', async () => {
    const tag = await issuer.sign({ ...bob, exp: Math.floor(Date.now() / 1_000) - 5 })
    expect((await get(deputy, target, `Authorization: Bearer ${tag}`)).status).toBe(401)
    const good = await issuer.sign(alice)
    expect(
      (await get(deputy, target, `Deputy-User: ${good}`, `Authorization: Bearer ${tag}`)).status,
    ).toBe(401)
  })
  test('another tenant than the issuer may speak for, none, and another agent', async () => {
    for (const claims of [
      { sub: 'alice', org: 'other' },
      { sub: 'alice' },
      { sub: 'alice', org: ['acme'] },
    ])
      expect((await get(deputy, target, `Deputy-User: ${await issuer.sign(claims)}`)).status).toBe(
        401,
      )
    // Alice allowed agent-1; what another agent gets is her consent page.
    const other = await get(
      deputy,
      target,
      `Deputy-User: ${await issuer.sign({ ...alice, act: { sub: 'agent-2' } })}`,
    )
    expect([other.status, other.json['code']]).toEqual([403, 'consent_required'])
    expect(upstream.seen).toEqual([])
  })
  test('an address counts only when the issuer verified it', async () => {
    const byMail = await start(issuer, {}, { user: '/email' })
    const mail = { org: 'acme', sub: 'x', email: 'alice' }
    expect((await get(byMail, target, `Deputy-User: ${await issuer.sign(mail)}`)).status).toBe(401)
    expect(
      (
        await get(
          byMail,
          target,
          `Deputy-User: ${await issuer.sign({ ...mail, email_verified: 'true' })}`,
        )
      ).status,
    ).toBe(401)
    expect(
      (
        await get(
          byMail,
          target,
          `Deputy-User: ${await issuer.sign({ ...mail, email_verified: true })}`,
        )
      ).json['login'],
    ).toBe('alice-acme')
    await byMail.close()
  })
  test('a new key of the issuer is found, and a removed one ends what it signed', async () => {
    vi.useFakeTimers({ toFake: [...FAKED], now: Date.now() })
    const rotating = await startIssuer()
    const own = await start(rotating)
    try {
      const first = await rotating.sign(alice)
      const ask = async (tag: string) => (await get(own, target, `Deputy-User: ${tag}`)).status
      expect(await ask(first)).toBe(200)
      await rotating.rotate('k2')
      vi.setSystemTime(Date.now() + 15_000)
      expect(await ask(await rotating.sign(bob))).toBe(200)
      // Both keys are published: what the old one signed goes on.
      expect(await ask(first)).toBe(200)
      const looks = rotating.asked.length
      vi.advanceTimersByTime(61_000)
      await expect.poll(() => rotating.asked.length).toBeGreaterThan(looks)
      // That answer must be in before the next look, which would join a question still under way.
      await new Promise((resolve) => setTimeout(resolve, 100))
      rotating.keep('k2')
      vi.advanceTimersByTime(61_000)
      await expect.poll(() => ask(first)).toBe(401)
      expect(await ask(await rotating.sign(alice))).toBe(200)
    } finally {
      vi.useRealTimers()
      await own.close()
      rotating.close()
    }
  })
  test('a removed key ends what it signed also when it leaves before the first look at the keys', async () => {
    vi.useFakeTimers({ toFake: [...FAKED], now: Date.now() })
    const rotating = await startIssuer()
    const own = await start(rotating)
    try {
      const first = await rotating.sign(alice)
      const ask = async (tag: string) => (await get(own, target, `Deputy-User: ${tag}`)).status
      expect(await ask(first)).toBe(200)
      await rotating.rotate('k2')
      rotating.keep('k2')
      vi.advanceTimersByTime(61_000)
      await expect.poll(() => ask(first)).toBe(401)
    } finally {
      vi.useRealTimers()
      await own.close()
      rotating.close()
    }
  })
  test('an issuer that cannot be asked is 503 for its people, not 401, and is asked again', async () => {
    const away = await startIssuer()
    away.down = true
    const own = await start(away)
    const tag = await away.sign(alice)
    const answer = await get(own, target, `Deputy-User: ${tag}`)
    expect([answer.status, answer.json['code']]).toEqual([503, 'issuer_unavailable'])
    away.down = false
    expect((await get(own, target, `Deputy-User: ${tag}`)).status).toBe(200)
    await own.close()
    away.close()
  })
  test('claims are entitlements as old as their assertion', async () => {
    const claims = await start(issuer, {
      entitlements: {
        source: 'claims',
        claims: { groups: '/realm_access/groups' },
        max_age: { read: '5m', write: '1m', delete: '1m', admin: '1m' },
      },
    })
    const now = Math.floor(Date.now() / 1_000)
    const staff = { ...alice, realm_access: { groups: ['staff'] } }
    const ask = async (extra: Fields, method = 'GET') => {
      const tag = await issuer.sign({ ...staff, ...extra })
      const { status, json } = await sendRaw(
        claims.agent,
        lines(
          `${method} ${target} HTTP/1.1`,
          `Host: ${new URL(claims.agent).host}`,
          `Deputy-User: ${tag}`,
          ...(method === 'GET' ? [] : ['Content-Length: 0']),
        ),
      )
      return [status, json['code']]
    }
    expect(await ask({})).toEqual([200, undefined])
    expect(await ask({ realm_access: { groups: [] } })).toEqual([403, 'policy_denied'])
    expect(await ask({ realm_access: 'staff' })).toEqual([403, 'policy_denied'])
    expect(await ask({ iat: now - 120 })).toEqual([200, undefined])
    expect(await ask({ iat: now - 120 }, 'POST')).toEqual([503, 'entitlements_unavailable'])
    expect(await ask({ iat: now - 301 })).toEqual([503, 'entitlements_unavailable'])
    const decision = claims.evidence().findLast(({ event }) => event === 'decision')
    expect(decision?.['entitlements']).toMatchObject({ source: 'claims' })
    const { age_ms: age } = (decision?.['entitlements'] ?? {}) as { age_ms?: number }
    expect(age).toBeGreaterThan(119_000)
    await claims.close()
  })
  test('ID tokens of a real, certified issuer verify against its discovery and keys', async () => {
    const idp = await startAuthServer({
      clientId: AUDIENCE,
      redirectUris: ['http://127.0.0.1:1/cb'],
      accounts: { alice: { org: 'acme' } },
    })
    const own = await start({ ...issuer, url: idp.issuer }, {}, { agent: '/aud' })
    const pkce = 'a'.repeat(43)
    const url = new URL(idp.endpoints.authorize)
    const challenge = Buffer.from(
      await crypto.subtle.digest('SHA-256', Buffer.from(pkce)),
    ).toString('base64url')
    for (const [key, value] of Object.entries({
      client_id: AUDIENCE,
      response_type: 'code',
      scope: 'openid',
      redirect_uri: 'http://127.0.0.1:1/cb',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    }))
      url.searchParams.set(key, value)
    const code = new URL(await idp.consent(url, 'alice')).searchParams.get('code') ?? ''
    const response = await fetch(idp.endpoints.token, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: AUDIENCE,
        code,
        code_verifier: pkce,
        redirect_uri: 'http://127.0.0.1:1/cb',
      }),
    })
    const { id_token: tag } = (await response.json()) as { id_token: string }
    const answer = await get(own, target, `Authorization: Bearer ${tag}`)
    // Its agent is `deputy` here, whom alice has not allowed: identified, entitled, and asked to consent.
    expect([answer.status, answer.json['code']]).toEqual([403, 'consent_required'])
    expect(own.evidence().findLast(({ event }) => event === 'decision')).toMatchObject({
      user: { id: 'alice', tenant: 'acme', verified: true },
      agent: { id: AUDIENCE },
    })
    await own.close()
    await idp.close()
  })
})
