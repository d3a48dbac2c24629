import { generateKeyPairSync } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt } from 'jose'
import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, Provider } from '../../proxy/model.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { need, quoting, scopeField, withoutEcho, written } from '../../proxy/oauth/request.ts'
import type { TokenFailure } from '../../proxy/oauth/token_answer.ts'
import { secret } from '../../proxy/secret.ts'
import { connectionOf, REDIRECT, RULES } from './fixtures.ts'

const client = createOAuthClient({ fetch, clock: Date, timeoutMs: 20_000 })
const closers: (() => void)[] = []
afterEach(() => closers.splice(0).forEach((close) => close()))

type Seen = {
  readonly path: string
  readonly method: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}
/** A real server that answers every path with the same JSON. */
const serve = async (answer: object, status = 200) => {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const { url: path = '', method = '', headers } = request
      seen.push({ path, method, headers, body })
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => (server.close(), server.closeAllConnections()))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}
const at = (url: string, change: Partial<Provider> = {}, more: Partial<Connection> = {}) =>
  connectionOf(
    {
      authorize: `${url}/authorize`,
      token: `${url}/token`,
      revoke: `${url}/revoke`,
      userinfo: `${url}/me`,
    },
    change,
    more,
  )
const ask = { redirectUri: REDIRECT, state: 's', challenge: 'c', scopes: ['repo'] }
const code = { code: secret('the-code'), redirectUri: REDIRECT, verifier: null }
const TOKENS = { access_token: 'at', refresh_token: 'rt', token_type: 'Bearer' }

describe('what is sent', () => {
  test('always asks for the scopes of the definition, which no connection lists', async () => {
    const url = await client.authorize(
      at('http://127.0.0.1:9', { scopeAlways: ['offline_access', 'openid'] }),
      ask,
    )
    expect(url.searchParams.get('scope')).toBe('offline_access openid repo')
  })

  test('names every resource with the authorization, token and refresh requests (RFC 8707 2)', async () => {
    const { url, seen } = await serve(TOKENS)
    const connection = at(url, { resource: ['https://a.example/', 'https://b.example/'] })
    const link = await client.authorize(connection, ask)
    await client.exchangeCode(connection, code)
    await client.refresh(connection, secret('rt'))
    for (const params of [link.searchParams, ...seen.map(({ body }) => new URLSearchParams(body))])
      expect(params.getAll('resource')).toEqual(['https://a.example/', 'https://b.example/'])
    expect(seen).toHaveLength(2)
  })

  test('pushes the authorization request, and the link holds nothing else (RFC 9126 2.1, 4)', async () => {
    const { url, seen } = await serve({ request_uri: 'urn:x:1', expires_in: 60 }, 201)
    for (const clientAuth of ['client_secret_basic', 'client_secret_post'] as const) {
      const link = await client.authorize(at(url, { par: `${url}/par`, clientAuth }), ask)
      expect([...link.searchParams]).toEqual([
        ['client_id', 'deputy-client_1'],
        ['request_uri', 'urn:x:1'],
      ])
      const { path, body } = seen.at(-1) ?? { path: '', body: '' }
      expect(path).toBe('/par')
      const pushed = new URLSearchParams(body)
      expect(pushed.getAll('client_id')).toEqual(['deputy-client_1'])
      expect(Object.fromEntries(pushed)).toMatchObject({
        state: 's',
        scope: 'repo',
        code_challenge: 'c',
      })
    }
  })

  test('a pushed request that is refused begins nothing', async () => {
    const { url } = await serve({ error: 'invalid_request' }, 400)
    await expect(client.authorize(at(url, { par: `${url}/par` }), ask)).rejects.toMatchObject({
      code: 'credential_unavailable',
    })
  })

  test('writes a token request as JSON where the provider reads that', async () => {
    const { url, seen } = await serve(TOKENS)
    await client.exchangeCode(at(url, { tokenFormat: 'json' }), code)
    expect(seen[0]?.headers['content-type']).toBe('application/json')
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual({
      grant_type: 'authorization_code',
      code: 'the-code',
      redirect_uri: REDIRECT,
      client_id: 'deputy-client_1',
      client_secret: 'the-client-secret',
    })
  })

  test('a refresh has its own address, parameters, client and answer, where the definition says so', async () => {
    const { url, seen } = await serve({ again: { token: 'new' } })
    const answer = { ...RULES, accessToken: ['/again/token'] }
    const refresh = {
      url: `${url}/refresh`,
      clientAuth: 'bearer' as const,
      params: { x: '1' },
      answer,
    }
    const connection = at(url, { refresh, tokenParams: { y: '2' }, scopeRepeat: ['refresh'] })
    const held = { access: secret('old'), scopes: ['repo', 'openid'] }
    expect(await client.refresh(connection, secret('rt'), held)).toMatchObject({ kind: 'tokens' })
    expect(seen[0]).toMatchObject({ path: '/refresh', headers: { authorization: 'Bearer old' } })
    expect(Object.fromEntries(new URLSearchParams(seen[0]?.body))).toEqual({
      grant_type: 'refresh_token',
      refresh_token: 'rt',
      scope: 'repo openid',
      x: '1',
    })
  })

  test('where refresh tokens are never used, none is kept', async () => {
    const { url } = await serve(TOKENS)
    expect((await client.exchangeCode(at(url, { refresh: null }), code)).tokens.refresh).toBeNull()
    expect((await client.exchangeCode(at(url), code)).tokens.refresh).not.toBeNull()
  })
})

describe('what is read', () => {
  test('introspection tells account and scopes; two parts make one id that no other parts make', async () => {
    const { url, seen } = await serve({
      ...TOKENS,
      hub_id: 'a/b',
      user_id: 'c',
      scopes: ['x', 'y'],
    })
    const account = {
      from: 'introspect' as const,
      id: ['/hub_id', '/user_id'],
      label: ['/nobody', '/user_id'],
    }
    const introspect = {
      url: `${url}/introspect`,
      auth: 'client' as const,
      at: ['grant' as const],
      scope: ['/scopes'],
      expiresIn: [],
    }
    const earned = await client.exchangeCode(at(url, { account, introspect }), code)
    expect(earned.account).toEqual({ id: 'a%2Fb/c', label: 'c' })
    expect(earned.tokens.scopes).toEqual(['x', 'y'])
    expect(new URLSearchParams(seen[1]?.body).get('token')).toBe('at')
  })

  test('GraphQL tells the account by POST', async () => {
    const { url, seen } = await serve({ data: { viewer: { id: 'u' } } })
    const account = { from: 'userinfo' as const, id: '/data/viewer/id', label: [] }
    const connection = at(url, { account, userinfoBody: '{"query":"{ viewer { id } }"}' })
    expect(await client.userinfo(connection, secret('at'))).toEqual({ id: 'u', label: 'u' })
    expect(seen[0]).toMatchObject({ method: 'POST', body: '{"query":"{ viewer { id } }"}' })
    expect(seen[0]?.headers['content-type']).toBe('application/json')
  })

  test('scopes may stand in the access token itself', async () => {
    const claims = Buffer.from(JSON.stringify({ scp: ['a', 'b'] })).toString('base64url')
    const { url } = await serve({ access_token: `e30.${claims}.sig` })
    const answer = { ...RULES, scope: [{ jwt: '/access_token', claim: '/scp' }] }
    expect((await client.exchangeCode(at(url, { answer }), code)).tokens.scopes).toEqual(['a', 'b'])
  })
})

describe('a signed client', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  test('names the audience that the definition says, and never the same assertion twice', async () => {
    const { url, seen } = await serve(TOKENS)
    const text = privateKey.export({ type: 'pkcs8', format: 'pem' })
    const key = { clientSecret: null, clientKey: secret(text) }
    const signs = { clientAuth: 'private_key_jwt' as const, issuer: 'https://issuer.example' }
    for (const change of [
      {},
      { assertionAudience: 'token' },
      { assertionAudience: 'https://aud.example' },
    ])
      await client.refresh(at(url, { ...signs, ...change }, key), secret('rt'))
    const assertions = seen.map(
      ({ body }) => new URLSearchParams(body).get('client_assertion') ?? '',
    )
    expect(assertions.map((jwt) => decodeJwt(jwt).aud)).toEqual([
      'https://issuer.example',
      `${url}/token`,
      'https://aud.example',
    ])
    expect(new Set(assertions.map((jwt) => decodeJwt(jwt).jti)).size).toBe(3)
    expect(seen.every(({ body }) => !body.includes('client_secret='))).toBe(true)
  })
})

describe('what a provider repeats', () => {
  const failure = (error: string, more: Partial<TokenFailure> = {}): TokenFailure => ({
    kind: 'refused',
    error,
    description: null,
    retryAfterMs: null,
    ...more,
  })
  const SECRET = 's3cr+et/=x'
  test.each([
    ['as it is', SECRET],
    ['form-encoded', 's3cr%2Bet%2F%3Dx'],
    ['in JSON', JSON.stringify(`a "${SECRET}"`)],
    ['in base64', Buffer.from(`x:${SECRET}`).toString('base64')],
  ])('of our secret %s is not passed on', (_name, said) => {
    const one = withoutEcho(failure(said, { description: `bad: ${said}`, claims: said }), [SECRET])
    expect(one).toEqual({
      kind: 'refused',
      error: 'unnamed_error',
      description: null,
      retryAfterMs: null,
    })
  })
  test('and says itself is', () => {
    const said = failure('invalid_grant', { description: 'it is over', claims: '{"a":1}' })
    expect(withoutEcho(said, [SECRET])).toEqual(said)
    expect(quoting([SECRET])('nothing of it')).toBe(false)
  })
  test('too short to be told apart counts for nothing', () => {
    expect(quoting(['abc'])('abc')).toBe(false)
    expect(quoting(['abcd'])('abcd')).toBe(true)
    expect(quoting([])('abcd')).toBe(false)
  })
  test('that could be a token is no word', () => {
    expect(withoutEcho(failure('at_0123456789abcdefghij'), []).error).toBe('unnamed_error')
    expect(withoutEcho(failure('temporarily_unavailable_now'), []).error).toBe(
      'temporarily_unavailable_now',
    )
  })
})

describe('an endpoint that is not there', () => {
  test('is named, with whoever should have said it', () => {
    expect(() => need(connectionOf({}), 'token')).toThrow(
      'connections.acme: provider acme has no token endpoint',
    )
    const discover = { problem: 'it does not answer' } as unknown as NonNullable<
      Provider['discover']
    >
    const unknown = connectionOf({}, { issuer: 'https://idp.example', discover })
    expect(() => need(unknown, 'userinfo')).toThrow(
      /endpoints of Acme are not known now: its issuer https:\/\/idp\.example .* it does not answer/,
    )
  })
  test('and one that is, is given', () => {
    expect(need(connectionOf({ token: 'https://acme.example/token' }), 'token')).toBe(
      'https://acme.example/token',
    )
  })
})

test('a request is written as the provider reads it', () => {
  const fields = [
    ['a', 'x y'],
    ['b', '&'],
  ] as const
  expect(written(fields, 'form')).toBe('a=x+y&b=%26')
  expect(written(fields, 'json')).toBe('{"a":"x y","b":"&"}')
})

test('scopes are named again only where the definition says so', () => {
  const { provider } = connectionOf({}, { scopeRepeat: ['refresh'], scopeSeparator: ',' })
  expect(scopeField(provider, 'refresh', ['a', 'b'])).toEqual({ scope: 'a,b' })
  expect(scopeField(provider, 'token', ['a'])).toEqual({})
  expect(scopeField(provider, 'refresh', [])).toEqual({})
  expect(scopeField({ ...provider, scopeParam: null }, 'refresh', ['a'])).toEqual({})
})
