import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTls } from 'node:https'
import { createServer as createTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createDial } from '../../proxy/net/dial.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { secret } from '../../proxy/secret.ts'
import { startAuthServer } from '../support/authserver.ts'
import type { AuthServer } from '../support/authserver.ts'
import { connectionOf, REDIRECT } from './fixtures.ts'

const client = createOAuthClient({ fetch, clock: Date, timeoutMs: 20_000 })
const rt = secret('the-refresh-token')
const openssl = spawnSync('openssl', ['version']).status === 0
if (!openssl && process.env['DEPUTY_NO_SKIP'] === '1')
  throw new Error('DEPUTY_NO_SKIP is 1, and openssl is not installed')

const closers: (() => void)[] = []
afterEach(() => closers.splice(0).forEach((close) => close()))
type Seen = {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}
/** A real server with a scripted answer. */
const scripted = async (answer: (response: ServerResponse, seen: Seen) => void) => {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const one = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body,
      }
      seen.push(one)
      answer(response, one)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => (server.close(), server.closeAllConnections()))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}

describe('against a strict authorization server', () => {
  let server: AuthServer
  beforeAll(async () => {
    server = await startAuthServer({
      accounts: { alice: { email: 'alice@example.com' } },
      clientId: 'deputy-client_1',
      clientSecret: 'the-client-secret',
      redirectUris: [REDIRECT],
      scopes: ['repo'],
    })
  })
  afterAll(() => server.close())

  test('a code becomes tokens, an account, fresh tokens, and is revoked', async () => {
    const connection = connectionOf(server.endpoints)
    const verifier = 'v'.repeat(43)
    const challenge = Buffer.from(
      await crypto.subtle.digest('SHA-256', Buffer.from(verifier)),
    ).toString('base64url')
    const url = await client.authorize(connection, {
      redirectUri: REDIRECT,
      state: 's',
      challenge,
      scopes: ['openid', 'repo'],
    })
    expect(url.searchParams.get('scope')).toBe('openid repo')
    const callback = new URL(await server.consent(url, 'alice'))
    const code = secret(callback.searchParams.get('code') ?? '')
    const { tokens } = await client.exchangeCode(connection, {
      code,
      redirectUri: REDIRECT,
      verifier: secret(verifier),
    })
    expect(tokens.scopes).toEqual(['openid', 'repo'])
    expect(await client.userinfo(connection, tokens.access)).toEqual({
      id: 'alice',
      label: 'alice@example.com',
    })
    if (tokens.refresh === null) throw new Error('no refresh token')
    const next = await client.refresh(connection, tokens.refresh)
    if (next.kind !== 'tokens' || next.tokens.refresh === null) throw new Error(next.kind)
    expect(await client.revoke(connection, next.tokens)).toBe('revoked')
    expect(await client.refresh(connection, next.tokens.refresh)).toMatchObject({
      kind: 'dead',
      error: 'invalid_grant',
    })
  })

  test('a code with another verifier is refused, and the error shows neither', async () => {
    const connection = connectionOf(server.endpoints)
    const exchange = client.exchangeCode(connection, {
      code: secret('some-code'),
      redirectUri: REDIRECT,
      verifier: secret('w'.repeat(43)),
    })
    const error = await exchange.catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'credential_unavailable', cause: { kind: 'dead' } })
    expect(inspect(error, { depth: 9 })).not.toMatch(/some-code|wwww|the-client-secret/)
  })

  test('a wrong client secret is our fault', async () => {
    const connection = connectionOf(server.endpoints, {}, { clientSecret: secret('wrong') })
    expect(await client.refresh(connection, rt)).toMatchObject({
      kind: 'our_fault',
      error: 'invalid_client',
    })
  })
})

describe('the request', () => {
  const good = (response: ServerResponse) => void response.end('{"access_token":"at"}')

  test.each([
    ['client_secret_post', undefined, /client_id=deputy-client_1&client_secret=the-client-secret$/],
    [
      'client_secret_basic',
      'deputy-client_1:the-client-secret',
      /refresh_token=the-refresh-token$/,
    ],
    ['none', undefined, /client_id=deputy-client_1$/],
  ] as const)('authenticates by %s in one place only', async (clientAuth, basic, body) => {
    const { url, seen } = await scripted(good)
    await client.refresh(connectionOf({ token: url }, { clientAuth }), rt)
    const header = seen[0]?.headers.authorization
    expect(header && Buffer.from(header.slice(6), 'base64').toString()).toBe(basic)
    expect(seen[0]?.body).toMatch(body)
  })

  test.each([
    ['client_secret_basic', 'a%3Ab:p%2F%25'],
    ['raw_basic', 'a:b:p/%'],
  ] as const)('encodes id and secret as %s wants', async (clientAuth, pair) => {
    const { url, seen } = await scripted(good)
    await client.refresh(
      connectionOf(
        { token: url },
        { clientAuth },
        { clientId: 'a:b', clientSecret: secret('p/%') },
      ),
      rt,
    )
    expect(Buffer.from(seen[0]?.headers.authorization?.slice(6) ?? '', 'base64').toString()).toBe(
      pair,
    )
  })
})

describe('the answer', () => {
  test('a redirect is not followed', async () => {
    const other = await scripted((response) => void response.end('{"access_token":"stolen"}'))
    const { url } = await scripted(
      (response) => void response.writeHead(307, { location: other.url }).end(),
    )
    expect(await client.refresh(connectionOf({ token: url }), rt)).toMatchObject({
      kind: 'transient',
      error: 'http_307',
    })
    expect(other.seen).toEqual([])
  })

  test('an endless answer is cut off', async () => {
    let sent = 0
    const { url } = await scripted((response) => {
      const more = () => {
        while (!response.destroyed && response.write('a'.repeat(65_536))) sent += 65_536
      }
      response.on('drain', more)
      more()
    })
    expect(await client.refresh(connectionOf({ token: url }), rt)).toMatchObject({
      kind: 'unread',
      error: 'unreadable_answer',
    })
    expect(sent).toBeLessThan(20_000_000)
  })

  test('one that never ends in time is unknown', async () => {
    const { url } = await scripted((response) => void response.write('{'))
    const quick = createOAuthClient({ fetch, clock: Date, timeoutMs: 200 })
    expect(await quick.refresh(connectionOf({ token: url }), rt)).toMatchObject({
      kind: 'unknown',
      error: 'timeout',
    })
  })

  test('a connection that breaks after the request is unknown', async () => {
    const { url } = await scripted((response) => response.socket?.destroy())
    expect(await client.refresh(connectionOf({ token: url }), rt)).toMatchObject({
      kind: 'unknown',
    })
  })

  test('a refused connection, a missing name and a server without TLS mean that nothing was sent', async () => {
    const tcp = createTcp((socket) => {
      socket.on('error', () => {})
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n', () => socket.destroy())
    })
    await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve))
    const { port } = tcp.address() as AddressInfo
    const ask = (token: string) => client.refresh(connectionOf({ token }), rt)
    expect(await ask(`https://127.0.0.1:${port}`)).toMatchObject({ kind: 'not_sent' })
    await new Promise((resolve) => tcp.close(resolve))
    expect(await ask(`http://127.0.0.1:${port}`)).toMatchObject({
      kind: 'not_sent',
      error: 'ECONNREFUSED',
    })
    expect(await ask('http://nowhere.invalid')).toMatchObject({ kind: 'not_sent' })
  })

  test.skipIf(!openssl)(
    `a certificate that does not verify, or is of another name, gets no token${openssl ? '' : ' (SKIPPED: no openssl)'}`,
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'cert-'))
      const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
      const how = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
      const made = spawnSync('openssl', [
        ...how.split(' '),
        '-keyout',
        keyFile,
        '-out',
        certFile,
        '-subj',
        '/CN=other.example',
      ])
      expect(made.status, String(made.stderr)).toBe(0)
      const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)]
      const seen: string[] = []
      const tls = createTls({ key, cert }, (req, res) => {
        seen.push(req.url ?? '')
        res.end('{}')
      })
      await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve))
      const token = `https://127.0.0.1:${(tls.address() as AddressInfo).port}/token`
      for (const [ca, error] of [
        [null, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
        // Trusted, but for another name.
        [certFile, 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ] as const) {
        const dial = createDial({
          allowPrivate: [{ net: '127.0.0.0/8' }],
          connectTimeout: 20_000,
          idleTimeout: 20_000,
          ca,
        })
        const other = createOAuthClient({ fetch: dial.fetch, clock: Date })
        expect(await other.refresh(connectionOf({ token }), rt)).toMatchObject({
          kind: 'not_sent',
          error,
        })
        await dial.close()
      }
      expect(seen).toEqual([])
      await new Promise((resolve) => tls.close(resolve))
    },
  )

  test.each([
    [{ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'not_sent'],
    [{ code: 'UND_ERR_CONNECT_TIMEOUT' }, 'not_sent'],
    [{ code: 'DEPUTY_ADDRESS_PROHIBITED' }, 'not_sent'],
    [{ code: 'ETIMEDOUT', syscall: 'connect' }, 'not_sent'],
    [{ code: 'ETIMEDOUT', syscall: 'read' }, 'unknown'],
    [{ code: 'ECONNRESET' }, 'unknown'],
    [{ code: 'UND_ERR_SOCKET' }, 'unknown'],
    [{ errors: [{ code: 'ECONNREFUSED' }, { code: 'ENETUNREACH' }] }, 'not_sent'],
    [{ errors: [{ code: 'ECONNREFUSED' }, { code: 'ECONNRESET' }] }, 'unknown'],
    [{}, 'unknown'],
  ])('a request that failed with %o is %s', async (cause, kind) => {
    const failing = () => Promise.reject(new TypeError('fetch failed', { cause }))
    const other = createOAuthClient({ fetch: failing, clock: Date })
    expect(await other.refresh(connectionOf({ token: 'https://a.example' }), rt)).toMatchObject({
      kind,
    })
  })

  test('a provider that quotes the token in its error is not quoted', async () => {
    const body = JSON.stringify({
      error: 'the-refresh-token',
      error_description: 'unknown: the-refresh-token',
    })
    const { url } = await scripted((response) => void response.writeHead(400).end(body))
    expect(JSON.stringify(await client.refresh(connectionOf({ token: url }), rt))).not.toContain(
      'the-refresh',
    )
  })
  const odd = 'r1/t+x=9'
  test.each([
    ['\\u', (text: string) => text.replaceAll(/./g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)],
    ['%', (text: string) => text.replaceAll(/./g, (c) => `%${c.charCodeAt(0).toString(16)}`)],
    ['&#', (text: string) => text.replaceAll(/./g, (c) => `&#${c.charCodeAt(0)};`)],
    ['base64', (text: string) => Buffer.from(`me:${text}`).toString('base64url')],
  ])('nor where it is spelt with %s, in any word', async (_how, spell) => {
    const quoted = spell(odd)
    const body = JSON.stringify({
      error: quoted.replaceAll('=', ''),
      error_description: `no: ${quoted}`,
      suberror: 'interaction_required',
      claims: JSON.stringify({ a: quoted }),
    })
    const { url } = await scripted((response) => void response.writeHead(400).end(body))
    const answer = await client.refresh(connectionOf({ token: url }), secret(odd))
    expect(answer).toMatchObject({ kind: 'step' })
    expect(answer).not.toHaveProperty('claims')
    expect(JSON.stringify(answer)).not.toContain(quoted.slice(0, 8))
  })
  test('a good answer that quotes a token as scope or account keeps it nowhere', async () => {
    const { url } = await scripted((response, { url: path }) => {
      const token = { access_token: 'the-new-access', refresh_token: 'the-new-refresh' }
      response.end(
        JSON.stringify(
          path === '/me'
            ? { id: '1', name: 'Bearer the-new-access' }
            : { ...token, scope: 'notes the-new-refresh the-refresh-token' },
        ),
      )
    })
    const base = connectionOf({ token: url, userinfo: `${new URL(url).origin}/me` })
    const account = { from: 'userinfo', id: '/id', label: '/name' } as const
    const connection = { ...base, provider: { ...base.provider, account } }
    const answer = await client.refresh(connection, rt)
    expect(answer).toMatchObject({ kind: 'tokens', tokens: { scopes: ['notes'] } })
    await expect(client.userinfo(connection, secret('the-new-access'))).rejects.toThrow(
      'did not say whose account',
    )
    expect(await client.userinfo(connection, secret('another'))).toMatchObject({ id: '1' })
  })
})

describe('revocation', () => {
  const tokens = { access: secret('at'), refresh: secret('rt') }
  test.each([
    ['rfc7009', 200, '', 'revoked'],
    ['rfc7009', 204, '', 'revoked'],
    ['rfc7009', 400, '{"error":"invalid_token"}', 'already_dead'],
    ['rfc7009', 400, '{"error":"unsupported_token_type"}', 'not_supported'],
    ['rfc7009', 503, '', 'failed'],
    ['bearer', 200, '{"ok":true}', 'revoked'],
    ['bearer', 200, '{"ok":false,"error":"token_revoked"}', 'already_dead'],
    ['bearer', 200, '{"ok":false,"error":"fatal"}', 'failed'],
    ['github', 204, '', 'revoked'],
    ['github', 404, '', 'already_dead'],
    ['github', 500, '', 'failed'],
    ['none', 200, '', 'not_supported'],
  ] as const)('by %s answered %i %s is %s', async (revokeStyle, status, body, result) => {
    const { url } = await scripted(
      (response) => void response.writeHead(status).end(status === 204 ? undefined : body),
    )
    expect(await client.revoke(connectionOf({ revoke: url }, { revokeStyle }), tokens)).toBe(result)
  })

  test('sends the refresh token first, then the access token', async () => {
    const { url, seen } = await scripted((response) => void response.end())
    await client.revoke(connectionOf({ revoke: url }), tokens)
    expect(seen.map(({ body }) => new URLSearchParams(body).get('token'))).toEqual(['rt', 'at'])
  })

  test('at GitHub names the client in path and Basic, and the token in the body', async () => {
    const { url, seen } = await scripted((response) => void response.writeHead(204).end())
    await client.revoke(
      connectionOf({ revoke: `${url}/applications/{client_id}/token` }, { revokeStyle: 'github' }),
      tokens,
    )
    expect(seen[0]).toMatchObject({
      method: 'DELETE',
      url: '/applications/deputy-client_1/token',
      body: '{"access_token":"at"}',
    })
    expect(seen[0]?.headers.authorization).toMatch(/^Basic /)
  })
})
