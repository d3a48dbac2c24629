// What nobody should send, over sockets of our own: one right status and code each, and the provider sees nothing of it.
import { createHmac } from 'node:crypto'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { dial, lines, parseAnswer, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'
import type { ProblemCode } from '../../proxy/problem.ts'
import { CATALOGUE } from '../../proxy/problem.ts'
import { paced } from '../support/pace.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
let upstream: Upstream
let deputy: Deputy
let host: string

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
    config: { limits: { headers: '8KiB', inspected_body: '64KiB', request_body: '1MiB' } },
  })
  host = new URL(deputy.agent).host
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})

const ask = (
  target: string,
  more: readonly string[] = [],
  {
    method = 'GET',
    body = '',
    tag = 'alice',
    at = host,
  }: { method?: string; body?: string; tag?: string | null; at?: string } = {},
): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(
      `${method} ${target} HTTP/1.1`,
      ...(at === '' ? [] : [`Host: ${at}`]),
      ...(tag === null ? [] : [`Deputy-User: ${tag}`]),
      ...more,
    ) + body,
  )

/** deputy's own answer, in every respect that an agent may rely on. */
const expectProblem = (answer: RawAnswer, code: ProblemCode): void => {
  expect([answer.status, answer.headers.get('deputy-answer')?.[0]]).toEqual([
    CATALOGUE[code].status,
    code,
  ])
  expect(answer.headers.get('content-type')).toEqual(['application/problem+json'])
  expect(answer.headers.get('proxy-status')?.[0]).toContain(
    `deputy; error=${CATALOGUE[code].proxy}`,
  )
  expect(answer.whole).toBe(true)
  expect(answer.json).toMatchObject({
    code,
    status: CATALOGUE[code].status,
    title: CATALOGUE[code].title,
    type: `${deputy.connect}/problems/${code}`,
    instance: expect.stringMatching(/^[0-9A-Z]{26}$/) as unknown,
    detail: expect.stringMatching(/.{8}/) as unknown,
  })
  expect(answer.headers.has('access-control-allow-origin')).toBe(false)
}
/** One line, so that every row of a table says all of it. */
const refused = async (asked: Promise<RawAnswer>, code: ProblemCode): Promise<void> => {
  expectProblem(await asked, code)
  expect(upstream.seen).toEqual([])
}
const passed = async (asked: Promise<RawAnswer>) => {
  const answer = await asked
  expect([answer.status, answer.json['login']]).toEqual([200, 'alice'])
  expect(upstream.seen).toHaveLength(1)
  const seen = upstream.seen[0]
  if (seen === undefined) throw new Error('unreachable')
  return seen
}

describe('targets with more than one reading are refused', () => {
  test.each([
    ['dot segments', '/a/../admin'],
    ['a dot segment at the end', '/a/..'],
    ['a single dot', '/a/./b'],
    ['encoded dots', '/a/%2e%2e/admin'],
    ['half encoded dots', '/a/.%2e/admin'],
    ['an encoded slash beside dots', '/a%2f..%2fadmin'],
    ['dots behind a parameter', '/a;x=/../admin'],
    ['a path parameter', '/a;x=y/b'],
    ['an empty segment', '/a//b'],
    ['another host behind two slashes', '//evil.test/admin'],
    ['backslashes', '/a/\\..\\admin'],
    ['an encoded backslash', '/a%5c..%5cadmin'],
    ['a zero byte', '/a%00b'],
    ['an encoded line break', '/a%0d%0aX-Evil:%20yes'],
    ['an escape that is none', '/a%zz'],
    ['a cut escape', '/a%2'],
    ['overlong UTF-8', '/a%c0%af..%c0%afadmin'],
    ['UTF-8 that is none', '/a%ff'],
    ['a fragment', '/a#b'],
    ['a semicolon in the query', '/a?b=1;access_token=2'],
    ['a method override in the query', '/a?_method=DELETE'],
  ])('%s', async (_name, path) => {
    await refused(ask(`/api.acme.test${path}`), 'request_invalid')
  })
  test('a space inside the target', async () => {
    await refused(ask('/api.acme.test/a b'), 'request_invalid')
  })
  test('bytes outside ASCII', async () => {
    await refused(ask('/api.acme.test/caf\xe9'), 'request_invalid')
  })
  test('an encoded slash is one segment and reaches the provider as it was written', async () => {
    expect((await passed(ask('/api.acme.test/a%2Fb/c?x=%2F..%2F'))).url).toBe('/a%2Fb/c?x=%2F..%2F')
  })
  test('double encoding is not decoded twice', async () => {
    expect((await passed(ask('/api.acme.test/a/%252e%252e/b'))).url).toBe('/a/%252e%252e/b')
  })
  test('the path of an administrative operation is denied by policy in every spelling', async () => {
    for (const path of ['/secret/admin', '/%73ecret/admin', '/secret/%61dmin'])
      await refused(ask(`/api.acme.test${path}`), 'policy_denied')
  })
})

describe('other ways to name a target', () => {
  test('an absolute target of a host that nobody serves', async () => {
    await refused(ask('http://evil.test/admin', [], { at: 'evil.test' }), 'host_refused')
  })
  test('an absolute target and a Host header that disagree', async () => {
    await refused(ask('http://api.acme.test/a', [], { at: host }), 'request_invalid')
    await refused(ask('http://api.acme.test/a', [], { at: 'up.acme.test' }), 'request_invalid')
  })
  test('an absolute target without a Host header', async () => {
    await refused(ask('http://api.acme.test/a', [], { at: '' }), 'request_invalid')
  })
  test('https in the absolute form', async () => {
    await refused(ask('https://api.acme.test/a', [], { at: 'api.acme.test' }), 'request_invalid')
  })
  test('another scheme, the star and the bare authority', async () => {
    await refused(ask('ftp://api.acme.test/a'), 'request_invalid')
    await refused(ask('*', [], { method: 'OPTIONS' }), 'request_invalid')
    await refused(ask('api.acme.test/a'), 'request_invalid')
  })
  test('a user in the absolute target', async () => {
    const answer = await ask('http://bob:pw@api.acme.test/a', [], { at: 'api.acme.test' })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(upstream.seen).toEqual([])
    expect(answer.raw.toString()).not.toContain('pw@')
  })
  test('a good absolute target goes to the provider in origin form', async () => {
    const seen = await passed(ask('http://api.acme.test/a?b=c', [], { at: 'api.acme.test' }))
    expect([seen.url, seen.headers.host]).toEqual(['/a?b=c', new URL(upstream.origin).host])
  })
  test('a host or a port that nobody serves', async () => {
    await refused(ask('/evil.test/a'), 'route_not_found')
    await refused(ask('/api.acme.test:8443/a'), 'route_not_found')
    await refused(ask('/nodot/a'), 'route_not_found')
    await refused(ask('/'), 'route_not_found')
    await refused(ask('/127.0.0.1/a'), 'route_not_found')
  })
  test('a host name in capitals, or with its usual port, is the same host', async () => {
    expect((await passed(ask('/API.Acme.Test:443/a'))).url).toBe('/a')
  })
  test('prototype names are no hosts, connections or people', async () => {
    for (const name of ['__proto__', 'constructor', 'toString'])
      await refused(ask(`/${name}@api.acme.test/a`), 'route_not_found')
    await refused(ask('/api.acme.test/a', ['Deputy-Connection: __proto__']), 'route_not_found')
    await refused(ask('/api.acme.test/a', [], { tag: '__proto__' }), 'policy_denied')
  })
  test('CONNECT', async () => {
    await refused(ask('api.acme.test:443', [], { method: 'CONNECT' }), 'method_not_allowed')
  })
  test('TLS, whose client reads no answer: the log says which scheme is meant', async () => {
    const { hostname: host, port } = new URL(deputy.agent)
    await new Promise((resolve) =>
      tlsConnect({ host, port: Number(port), rejectUnauthorized: false }).once('error', resolve),
    )
    expect(deputy.logged()).toContain('begin its base URL with http://')
  })
  test('TRACE, and methods in lower case or of other alphabets', async () => {
    await refused(ask('/api.acme.test/a', [], { method: 'TRACE' }), 'request_invalid')
    await refused(ask('/api.acme.test/a', [], { method: 'get' }), 'request_invalid')
    await refused(ask('/api.acme.test/a', [], { method: 'FOO' }), 'request_invalid')
  })
})

describe('header sections with more than one reading are refused', () => {
  test.each<readonly [string, readonly string[]]>([
    ['Content-Length beside chunked', ['Content-Length: 5', 'Transfer-Encoding: chunked']],
    ['two lengths', ['Content-Length: 5', 'Content-Length: 6']],
    ['a length that is no number', ['Content-Length: +5']],
    ['a transfer coding before chunked', ['Transfer-Encoding: gzip, chunked']],
    ['a transfer coding after chunked', ['Transfer-Encoding: chunked, identity']],
    ['a hidden transfer coding', ['Transfer_Encoding: chunked']],
    ['a folded header', ['X-Note: a', ' folded: b']],
    ['a space before the colon', ['X-Note : a']],
    ['a zero byte in a value', ['X-Note: a\0b']],
    ['a bare CR in a value', ['X-Note: a\rb']],
    ['a header without a name', [': a']],
    ['two Host headers', ['Host: api.acme.test']],
    ['the tag in the spelling of CGI', ['Deputy_User: bob']],
    ['the tag with a dot', ['Deputy.User: bob']],
    ['the connection in the spelling of CGI', ['Deputy_Connection: acme']],
    ['two connections', ['Deputy-Connection: acme', 'Deputy-Connection: stream']],
    [
      'an authorization in the spelling of CGI',
      ['Http_Authorization: x', 'proxy_authorization: y'],
    ],
    ['Connection that names Host', ['Connection: host']],
    ['Connection that names a length', ['Connection: Content-Length']],
  ])('%s', async (_name, headers) => {
    const answer = await ask('/api.acme.test/a', headers)
    // An Http_ prefix is no name that deputy acts on; the other one is.
    expectProblem(answer, 'request_invalid')
    expect(upstream.seen).toEqual([])
  })
  test.each(['Deputy-User', 'deputy-user, close', 'keep-alive,DEPUTY-USER', 'Authorization'])(
    'the tag named in Connection: %s',
    async (names) => {
      await refused(ask('/api.acme.test/a', [`Connection: ${names}`]), 'unauthenticated')
    },
  )
  test('a TLS handshake', async () => {
    const text = '\x16\x03\x01\x02\0\x01\0'
    expectProblem(await sendRaw(deputy.agent, text), 'request_invalid')
    expect(upstream.seen).toEqual([])
  })
  test.each(['', ' HTTP/0.9', ' HTTP/2.0'])(
    'a request line of another version:%s',
    async (version) => {
      const text = `GET /api.acme.test/a${version}\r\nHost: ${host}\r\nDeputy-User: alice\r\n\r\n`
      await refused(sendRaw(deputy.agent, text), 'http_version_unsupported')
    },
  )
  test('a chunk size that is none ends the call', async () => {
    const body = 'zz\r\nabc\r\n0\r\n\r\n'
    const answer = await ask('/api.acme.test/a', ['Transfer-Encoding: chunked'], {
      method: 'POST',
      body,
    })
    expect(answer.status).toBe(400)
    expect(upstream.seen).toEqual([])
  })
  test('headers beyond the limit', async () => {
    await refused(ask('/api.acme.test/a', [`X-Note: ${'a'.repeat(9_000)}`]), 'headers_too_large')
    await refused(ask(`/api.acme.test/${'a'.repeat(9_000)}`), 'headers_too_large')
  })
  test('thousands of small headers', async () => {
    const many = Array.from({ length: 3_000 }, (_, i) => `X-${i}: ${i}`)
    await refused(ask('/api.acme.test/a', many), 'headers_too_large')
  })
})

describe('who is there', () => {
  test('no tag, an empty one, one too long', async () => {
    await refused(ask('/api.acme.test/a', [], { tag: null }), 'unauthenticated')
    await refused(ask('/api.acme.test/a', [], { tag: '' }), 'unauthenticated')
    await refused(ask('/api.acme.test/a', [], { tag: 'a'.repeat(257) }), 'unauthenticated')
  })
  test('control and bidirectional characters in a name', async () => {
    const latin = (text: string): string => Buffer.from(text).toString('latin1')
    await refused(ask('/api.acme.test/a', [], { tag: latin('ali\u202ece') }), 'unauthenticated')
    await refused(ask('/~ali%00ce/api.acme.test/a', [], { tag: null }), 'unauthenticated')
    await refused(ask('/~ali%0ace/api.acme.test/a', [], { tag: null }), 'unauthenticated')
    await refused(ask('/~%zz/api.acme.test/a', [], { tag: null }), 'unauthenticated')
    await refused(ask('/~/api.acme.test/a', [], { tag: null }), 'unauthenticated')
  })
  test('two tags that differ, in headers or in header and path', async () => {
    await refused(ask('/api.acme.test/a', ['Deputy-User: bob']), 'unauthenticated')
    await refused(ask('/~bob/api.acme.test/a'), 'unauthenticated')
  })
  test('names are compared byte for byte', async () => {
    for (const tag of ['Alice', 'alice ​', 'аlice'])
      await refused(
        ask('/api.acme.test/a', [], { tag: Buffer.from(tag).toString('latin1') }),
        'policy_denied',
      )
  })
  test('a 401 says how to do it', async () => {
    const answer = await ask('/api.acme.test/a', [], { tag: null })
    expect(answer.headers.get('www-authenticate')?.[0]).toContain('deputy')
  })
})

describe('browsers and foreign names', () => {
  test.each<readonly [string, readonly string[]]>([
    ['an Origin', ['Origin: https://evil.test']],
    ['the Origin null', ['Origin: null']],
    ['deputy’s own origin', ['Origin: http://127.0.0.1:7410']],
    ['Sec-Fetch-Site', ['Sec-Fetch-Site: same-origin']],
    ['a cross-site navigation', ['Sec-Fetch-Site: none', 'Sec-Fetch-Mode: navigate']],
  ])('%s is refused', async (_name, headers) => {
    await refused(ask('/api.acme.test/a', headers), 'browser_refused')
    await refused(ask('/v1/auth/status?id=a', headers), 'browser_refused')
  })
  test('a CORS preflight is refused without a CORS answer', async () => {
    await refused(
      ask('/api.acme.test/a', ['Origin: https://evil.test', 'Access-Control-Request-Method: GET'], {
        method: 'OPTIONS',
      }),
      'browser_refused',
    )
  })
  test('Sec-Fetch-Mode alone is Node’s fetch and passes, but not on to the provider', async () => {
    const seen = await passed(ask('/api.acme.test/a', ['Sec-Fetch-Mode: cors']))
    expect(seen.headers['sec-fetch-mode']).toBeUndefined()
  })
  test.each([
    'evil.test',
    'evil.test:80',
    'api.acme.test',
    'localhost.evil.test',
    'evil.test.localhost',
    '169.254.169.254',
    'a b',
    '127.0.0.1@evil.test',
  ])('Host %s, as after a DNS rebinding, is refused', async (at) => {
    await refused(ask('/api.acme.test/a', [], { at }), 'host_refused')
    await refused(ask('/v1/auth/status?id=a', [], { at }), 'host_refused')
  })
  test('no Host at all', async () => {
    await refused(ask('/api.acme.test/a', [], { at: '' }), 'host_refused')
  })
  test('localhost and the name of a served host are fine', async () => {
    await passed(ask('/api.acme.test/a', [], { at: 'localhost' }))
    upstream.seen.length = 0
    expect((await passed(ask('/a/b', [], { at: 'api.acme.test.localhost:7410' }))).url).toBe('/a/b')
  })
})

describe('credentials that the agent brings never leave', () => {
  const FORGED = 'forged-by-the-model-0123456789'
  test('in headers of every kind, twice, and in every case', async () => {
    const names = [
      'Authorization',
      'authorization',
      'AUTHORIZATION',
      'Proxy-Authorization',
      'Cookie',
      'X-Api-Key',
      'X-Acme-Key',
      'X_Acme_Key',
      'X-Auth-Token',
      'X-Amz-Security-Token',
      'X-Goog-Iam-Authorization-Token',
      'Private-Token',
      'X-Forwarded-Access-Token',
    ]
    const seen = await passed(
      ask(
        '/api.acme.test/a',
        names.map((name) => `${name}: Bearer ${FORGED}`),
      ),
    )
    expect(upstream.bytes().toString('latin1')).not.toContain(FORGED)
    expect(seen.rawHeaders.filter((name) => name.toLowerCase() === 'authorization')).toHaveLength(1)
    expect(seen.headers.authorization).toBe(`Bearer ${TOKEN}`)
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect(decision?.['stripped']).toEqual(
      expect.arrayContaining(['header:authorization', 'header:cookie', 'header:x-acme-key']),
    )
    expect(JSON.stringify(decision)).not.toContain(FORGED)
  })
  test('in the query, in any spelling', async () => {
    const seen = await passed(
      ask(
        `/api.acme.test/a?x=1&access_token=${FORGED}&TeamID=${FORGED}&%61ccess%5ftoken=${FORGED}&api.key=${FORGED}&key[]=${FORGED}&y=%20z`,
      ),
    )
    expect(seen.url).toBe('/a?x=1&y=%20z')
  })
  test('in a form: cut out of the bytes, the rest unchanged', async () => {
    const body = `a=%20b+c&token=${FORGED}&x=1&tok%65n=${FORGED}&access_token=${FORGED}`
    const seen = await passed(
      ask(
        '/api.acme.test/a',
        ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${body.length}`],
        { method: 'POST', body },
      ),
    )
    expect(seen.body.toString()).toBe('a=%20b+c&x=1')
    expect(seen.headers['content-length']).toBe('12')
  })
  test.each([
    ['JSON', 'application/json', `{"a":1,"token":"${FORGED}"}`],
    ['JSON without its type', 'text/plain', `{"client_secret":"${FORGED}"}`],
    ['JSON with an escaped key', 'application/json', `{"\\u0074oken":"${FORGED}"}`],
    ['a JSON list', 'application/json', `[{"token":"${FORGED}"}]`],
    [
      'multipart',
      'multipart/form-data; boundary=x',
      `--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n${FORGED}\r\n--x--\r\n`,
    ],
  ])('inside %s the call is refused', async (_name, type, body) => {
    const headers = [`Content-Type: ${type}`, `Content-Length: ${body.length}`]
    const answer = await ask('/api.acme.test/a', headers, { method: 'POST', body })
    expectProblem(answer, 'credential_in_body')
    expect(answer.raw.toString()).not.toContain(FORGED)
    expect(upstream.seen).toEqual([])
  })
  test.each([
    ['a key twice', '{"a":1,"a":2}'],
    ['a key twice by an escape', '{"a":1,"\\u0061":2}'],
    ['nesting without end', '['.repeat(5_000) + ']'.repeat(5_000)],
  ])('JSON with more than one reading is refused: %s', async (_name, body) => {
    const headers = ['Content-Type: application/json', `Content-Length: ${body.length}`]
    await refused(ask('/api.acme.test/notes', headers, { method: 'POST', body }), 'request_invalid')
  })
  test.each<[string, (text: string) => Buffer, Parameters<typeof refused>[1]]>([
    ['gzip', gzipSync, 'credential_in_body'],
    ['br', brotliCompressSync, 'unsupported_media_type'],
    ['gzip, gzip', (text) => gzipSync(gzipSync(text)), 'unsupported_media_type'],
  ])('inside a body that is coded as %s', async (coding, coded, code) => {
    const body = coded(`{"token":"${FORGED}"}`).toString('latin1')
    const headers = [
      'Content-Type: application/json',
      `Content-Encoding: ${coding}`,
      `Content-Length: ${body.length}`,
    ]
    await refused(ask('/api.acme.test/a', headers, { method: 'POST', body }), code)
  })
  test.each([
    [
      'a credential beside bytes that are no UTF-8',
      Buffer.from(`{"token":"${FORGED}","a":"\xff"}`, 'latin1'),
    ],
    // Policy would see U+FFFD where the provider sees what was sent.
    ['a field that policy needs and that is no UTF-8', Buffer.from('{"title":"\xff"}', 'latin1')],
    ['UTF-16', Buffer.from(`\ufeff{"token":"${FORGED}"}`, 'utf16le')],
    ['UTF-16 without a mark', Buffer.from(`{"token":"${FORGED}"}`, 'utf16le')],
    ['text that is no JSON where policy needs a field', Buffer.from('title=x')],
  ])('a body that must be read and cannot be: %s', async (_name, bytes) => {
    const headers = ['Content-Type: application/json', `Content-Length: ${bytes.length}`]
    const body = bytes.toString('latin1')
    const answer = await ask('/api.acme.test/notes', headers, { method: 'POST', body })
    expect(upstream.seen).toEqual([])
    expect([400, 403, 415]).toContain(answer.status)
  })
  test('UTF-8 with a byte order mark is JSON to lenient servers', async () => {
    const body = Buffer.from(`\ufeff{"token":"${FORGED}"}`).toString('latin1')
    const headers = ['Content-Type: application/json', `Content-Length: ${body.length}`]
    const answer = await ask('/api.acme.test/a', headers, { method: 'POST', body })
    expect(answer.status).toBe(400)
    expect(upstream.seen).toEqual([])
  })
})

describe('sizes', () => {
  test('a declared length beyond the limit is refused before a byte of it is read', async () => {
    const headers = ['Content-Length: 1048577']
    await refused(ask('/api.stream.test/a', headers, { method: 'POST' }), 'request_too_large')
  })
  test('a chunked body beyond the limit is cut', async () => {
    const chunk = `10000\r\n${'a'.repeat(65_536)}\r\n`
    const answer = await ask('/api.stream.test/a', ['Transfer-Encoding: chunked'], {
      method: 'POST',
      body: `${chunk.repeat(17)}0\r\n\r\n`,
    })
    expectProblem(answer, 'request_too_large')
    expect(upstream.seen).toEqual([])
  })
  test('a body that must be read and is longer than that limit is refused, and the answer arrives', async () => {
    const body = 'a'.repeat(600_000)
    for (const headers of [[`Content-Length: ${body.length}`]])
      await refused(ask('/api.acme.test/a', headers, { method: 'POST', body }), 'request_too_large')
    const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    await refused(
      ask('/api.acme.test/a', ['Transfer-Encoding: chunked'], { method: 'POST', body: chunked }),
      'request_too_large',
    )
  })
  test('an upload of that size passes unread and unchanged', async () => {
    const body = 'b'.repeat(100_000)
    const seen = await passed(
      ask('/api.acme.test/upload/x', [`Content-Length: ${body.length}`], { method: 'POST', body }),
    )
    expect(seen.body.toString()).toBe(body)
  })
})

describe('requests that want to be two', () => {
  test('what follows a refused body is never taken for a request', async () => {
    const smuggled = lines(
      'GET /api.acme.test/smuggled HTTP/1.1',
      `Host: ${host}`,
      'Deputy-User: alice',
    )
    const answer = await ask('/evil.test/a', [`Content-Length: ${smuggled.length}`], {
      method: 'POST',
      body: smuggled,
    })
    expectProblem(answer, 'route_not_found')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(upstream.seen).toEqual([])
    expect(answer.raw.toString().match(/HTTP\/1\.1 /g)).toHaveLength(1)
  })
  test('two requests at once on one connection get their own answers, in order', async () => {
    const one = (path: string, user: string): string =>
      lines(`GET /api.acme.test/${path} HTTP/1.1`, `Host: ${host}`, `Deputy-User: ${user}`)
    const { socket, received } = await dial(deputy.agent)
    socket.write(one('first', 'alice') + one('second', 'mallory') + one('third', 'alice'))
    await expect
      .poll(() =>
        received()
          .toString()
          .match(/HTTP\/1\.1 (\d+)/g),
      )
      .toEqual(['HTTP/1.1 200', 'HTTP/1.1 403', 'HTTP/1.1 200'])
    await expect.poll(() => received().toString()).toContain('/third')
    expect(upstream.seen.map(({ url }) => url)).toEqual(['/first', '/third'])
    socket.destroy()
  })
  // Java's HttpClient says it with its first request to each origin (RFC 7540 3.2, which RFC 9113 has no more).
  test.each(['GET', 'POST'])('an upgrade to HTTP/2 is answered in HTTP/1.1: %s', async (method) => {
    const head = lines(
      `${method} /api.acme.test/a HTTP/1.1`,
      `Host: ${host}`,
      'Deputy-User: alice',
      'Connection: Upgrade, HTTP2-Settings',
      'Upgrade: h2c',
      'HTTP2-Settings: AAMAAABkAAQAAP__',
      ...(method === 'POST' ? ['Content-Type: text/plain', 'Content-Length: 5'] : []),
    )
    const { socket, received } = await dial(deputy.agent)
    const one = method === 'POST' ? `${head}hello` : head
    // The connection stays what it was.
    for (const answers of [1, 2]) {
      socket.write(one)
      await expect
        .poll(() =>
          received()
            .toString()
            .match(/HTTP\/1\.1 200/g),
        )
        .toHaveLength(answers)
    }
    socket.destroy()
    expect(upstream.seen.map(({ body }) => body.toString())).toEqual(
      method === 'POST' ? ['hello', 'hello'] : ['', ''],
    )
    for (const { headers } of upstream.seen)
      expect([headers.upgrade, headers['http2-settings'], headers.connection]).toEqual([
        undefined,
        undefined,
        'keep-alive',
      ])
  })
  test('an upgrade is not passed on', async () => {
    upstream.seen.length = 0
    const answer = await ask('/api.acme.test/a', ['Connection: Upgrade', 'Upgrade: websocket'])
    expect([answer.status, upstream.seen.length]).toEqual([400, 0])
  })
})

describe('assertions', () => {
  const AUDIENCE = 'deputy'
  const ISSUER = 'http://127.0.0.1:1/issuer'
  let strict: Deputy
  let sign: (claims: Record<string, unknown>, header?: Record<string, string>) => Promise<string>
  let publicPem: string
  let jwksServer: ReturnType<typeof createServer>

  beforeAll(async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }
    publicPem = JSON.stringify(jwk)
    jwksServer = createServer((_req, res) => res.end(JSON.stringify({ keys: [jwk] })))
    await new Promise<void>((resolve) => jwksServer.listen(0, '127.0.0.1', resolve))
    const now = Math.floor(Date.now() / 1_000)
    sign = (claims, header = {}) =>
      new SignJWT({
        iss: ISSUER,
        aud: AUDIENCE,
        sub: 'alice',
        act: { sub: 'agent' },
        iat: now,
        exp: now + 600,
        ...claims,
      })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1', ...header })
        .sign(privateKey)
    strict = await startDeputy({
      upstream: upstream.origin,
      config: {
        identity: {
          trust: 'asserted',
          issuers: [
            {
              issuer: ISSUER,
              jwks_uri: `http://127.0.0.1:${(jwksServer.address() as AddressInfo).port}/jwks`,
              audience: AUDIENCE,
              realm: 'local',
            },
          ],
        },
        connect: { sign_in: { issuer: ISSUER, client_id: 'pages' } },
      },
      held: [{ person: 'alice', agent: 'agent', token: TOKEN }],
    })
  })
  afterAll(async () => {
    await strict.close()
    jwksServer.close()
  })
  const tagged = (tag: string, ...more: readonly string[]): Promise<RawAnswer> =>
    sendRaw(
      strict.agent,
      lines(
        'GET /api.acme.test/a HTTP/1.1',
        `Host: ${new URL(strict.agent).host}`,
        ...(tag === '' ? [] : [`Deputy-User: ${tag}`]),
        ...more,
      ),
    )
  const denied = async (asked: Promise<RawAnswer>): Promise<void> => {
    const answer = await asked
    expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([401, ['unauthenticated']])
    expect(upstream.seen).toEqual([])
  }
  const unsigned = (header: object, claims: object, signature = ''): string =>
    `${[header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.${signature}`
  const claims = () => {
    const now = Math.floor(Date.now() / 1_000)
    return {
      iss: ISSUER,
      aud: AUDIENCE,
      sub: 'alice',
      act: { sub: 'agent' },
      iat: now,
      exp: now + 600,
    }
  }

  test('a good one passes', async () => {
    expect((await tagged(await sign({}))).status).toBe(200)
  })
  test.each<readonly [string, Record<string, unknown>]>([
    ['of an unknown issuer', { iss: 'https://evil.test' }],
    ['for another audience', { aud: 'somebody-else' }],
    ['that has expired', { exp: Math.floor(Date.now() / 1_000) - 1 }],
    ['without exp', { exp: undefined }],
    ['without iat', { iat: undefined }],
    ['that lives longer than identity.max_age', { exp: Math.floor(Date.now() / 1_000) + 7_200 }],
    ['issued in the future', { iat: Math.floor(Date.now() / 1_000) + 120 }],
    ['not yet valid', { nbf: Math.floor(Date.now() / 1_000) + 120 }],
    ['without a user', { sub: undefined }],
    ['with a user that is no text', { sub: 7 }],
    ['with an empty user', { sub: '' }],
    ['with a user of control characters', { sub: 'ali\u0000ce' }],
    ['without an agent', { act: undefined }],
  ])('one %s is refused', async (_name, changed) => {
    await denied(tagged(await sign(changed)))
  })
  test('alg none, with and without a signature', async () => {
    await denied(tagged(unsigned({ alg: 'none', kid: 'k1' }, claims())))
    await denied(tagged(unsigned({ alg: 'None' }, claims(), 'AA')))
  })
  test('HS256 with the public key as its secret', async () => {
    const body = unsigned({ alg: 'HS256', kid: 'k1' }, claims()).slice(0, -1)
    const mac = createHmac('sha256', publicPem).update(body).digest('base64url')
    await denied(tagged(`${body}.${mac}`))
  })
  test('a broken signature, a key of its own, a critical header nobody knows', async () => {
    const good = await sign({})
    await denied(tagged(`${good.slice(0, -6)}AAAAAA`))
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
    const own = new SignJWT(claims())
      .setProtectedHeader({ alg: 'ES256', jwk: await exportJWK(publicKey) })
      .sign(privateKey)
    await denied(tagged(await own))
    await denied(tagged(unsigned({ alg: 'ES256', crit: ['x'], x: 1, kid: 'k1' }, claims(), 'AA')))
  })
  test('a bare name, a name in the path, and nothing', async () => {
    await denied(tagged('alice'))
    await denied(tagged(''))
    await denied(
      sendRaw(
        strict.agent,
        lines('GET /~alice/api.acme.test/a HTTP/1.1', `Host: ${new URL(strict.agent).host}`),
      ),
    )
  })
  test('two that differ, in one header or in two', async () => {
    const [alice, bob] = [await sign({}), await sign({ sub: 'bob' })]
    await denied(tagged(alice, `Deputy-User: ${bob}`))
    await denied(tagged(alice, `Authorization: Bearer ${bob}`))
    await denied(tagged(`${alice}, ${bob}`))
  })
  test('a run token is refused, not taken for a credential', async () => {
    await denied(tagged('', 'Authorization: Bearer dpr_0123456789'))
  })
  test('refusals never repeat the assertion', async () => {
    const bad = await sign({ aud: 'x' })
    const answer = await tagged(bad)
    expect(answer.raw.toString()).not.toContain(bad.slice(0, 30))
    expect(strict.logged()).not.toContain(bad.split('.')[2])
  })
})

describe('many at once', () => {
  test('a hundred connections that never finish or speak nonsense disturb nobody', async () => {
    const garbage = Array.from({ length: 100 }, (_, i) =>
      i % 4 === 0
        ? `GET /api.acme.test/a HTTP/1.1\r\nHost: ${host}\r\nX-Slow: `
        : i % 4 === 1
          ? '\0\xff\x16garbage\r\n\r\n'
          : i % 4 === 2
            ? lines(
                'POST /api.acme.test/a HTTP/1.1',
                `Host: ${host}`,
                'Deputy-User: alice',
                'Content-Length: 1000',
              )
            : '',
    )
    const open = await Promise.all(
      garbage.map(async (text) => {
        const { socket, received } = await dial(deputy.agent)
        if (text !== '') socket.write(Buffer.from(text, 'latin1'))
        return { socket, received, text }
      }),
    )
    const began = performance.now()
    await passed(ask('/api.acme.test/good'))
    expect(performance.now() - began).toBeLessThan(paced(1_000))
    for (const { socket, received, text } of open) {
      if (text.startsWith('\0')) await expect.poll(() => parseAnswer(received())?.status).toBe(400)
      socket.destroy()
    }
    upstream.seen.length = 0
    await passed(ask('/api.acme.test/after'))
  })
  test('refusals are in the evidence, each with its code', async () => {
    // Past fifty in a second they are summed, and written when the second is over.
    const codes = (): readonly string[] => [
      ...new Set(
        deputy
          .evidence()
          .flatMap(({ event, code, summed }) =>
            event !== 'refused'
              ? []
              : code === undefined
                ? Object.keys(summed as object)
                : [code as string],
          ),
      ),
    ]
    const wanted = [
      'request_invalid',
      'unauthenticated',
      'host_refused',
      'browser_refused',
      'headers_too_large',
      'credential_in_body',
      'request_too_large',
      'method_not_allowed',
    ]
    await expect.poll(() => wanted.filter((code) => !codes().includes(code))).toEqual([])
  })
})
