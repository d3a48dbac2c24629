// HTTP/2 from agents: by prior knowledge on the agent listener, by ALPN under TLS. Real clients: curl, and Node's own.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import { connect as dial } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { asked } from '../../proxy/net/h2.ts'
import { makeCertificate } from '../support/certificate.ts'
import { startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import { connectionOf, over } from '../fuzz/frames.ts'
import type { Upstream } from '../support/upstream.ts'

const run = promisify(execFile)
let upstream: Upstream
let deputy: Deputy
const folder = mkdtempSync(join(tmpdir(), 'deputy-h2-'))
const open: ClientHttp2Session[] = []

beforeAll(async () => {
  upstream = await startUpstream()
  const { cert, key } = makeCertificate(folder)
  const token = 'at-alice-0123456789abcdef'
  upstream.people.set(token, 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token })),
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: '127.0.0.1:0',
        agent_tls: {
          listen: '127.0.0.1:0',
          cert,
          key,
        },
      },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
})
afterEach(() => open.splice(0).forEach((session) => session.destroy()))

const session = (origin = deputy.agent): ClientHttp2Session => {
  const made = connect(origin, { rejectUnauthorized: false })
  made.on('error', () => undefined)
  open.push(made)
  return made
}
type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: Buffer
  readonly trailers: Readonly<Record<string, unknown>>
}
const answerOf = (stream: ClientHttp2Stream): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let headers: Record<string, unknown> = {}
    let trailers: Record<string, unknown> = {}
    stream.on('response', (said) => void (headers = { ...said }))
    stream.on('trailers', (said) => void (trailers = { ...said }))
    stream.on('data', (chunk: Buffer) => void chunks.push(chunk))
    stream.on('end', () =>
      resolve({
        status: Number(headers[':status']),
        headers,
        body: Buffer.concat(chunks),
        trailers,
      }),
    )
    stream.on('error', reject)
  })
const ask = (
  path: string,
  more: Record<string, string> = {},
  {
    body,
    on = session(),
  }: { readonly body?: Buffer | string; readonly on?: ClientHttp2Session } = {},
): Promise<Answer> => {
  const stream = on.request({ ':path': path, 'deputy-user': 'alice', ...more })
  const answer = answerOf(stream)
  stream.end(body)
  return answer
}
/** Of one who is refused, to be sent. */
const upload = (on: ClientHttp2Session, method: string): ClientHttp2Stream =>
  on.request({
    ':path': '/api.acme.test/a',
    ':method': method,
    'deputy-user': 'bob',
    'content-type': 'application/octet-stream',
  })
const json = ({ body }: Answer): unknown => JSON.parse(body.toString())

describe('the same way as in HTTP/1.1', () => {
  test.each(['--http2-prior-knowledge', '--http2'])('curl %s', async (flag) => {
    const tls = flag === '--http2'
    const origin = tls ? (deputy.addresses['agent_tls'] ?? '') : deputy.agent
    const { stdout } = await run('curl', [
      '-sk',
      flag,
      '-Hdeputy-user: alice',
      '-Hauthorization: Bearer forged',
      '-Hcontent-type: application/json',
      '-d{"title":"x"}',
      '-w\n%{http_version} %{http_code}',
      `${origin}/api.acme.test/notes`,
    ])
    const [body = '', said] = stdout.split('\n')
    expect(said).toBe('2 200')
    expect(JSON.parse(body)).toEqual({ login: 'alice', method: 'POST', url: '/notes' })
    expect(upstream.seen[0]?.body.toString()).toBe('{"title":"x"}')
    expect(JSON.stringify(upstream.seen[0]?.rawHeaders)).not.toContain('forged')
  })

  test('beside it HTTP/1.0 is taken, which curl names in TLS', async () => {
    const url = `${deputy.addresses['agent_tls'] ?? ''}/api.acme.test/notes`
    const { stdout } = await run('curl', ['-sk0', '-Hdeputy-user: alice', url])
    expect(JSON.parse(stdout)).toMatchObject({ login: 'alice' })
  })

  test('many at once on one connection, each its own call with its own evidence', async () => {
    const on = session()
    const paths = Array.from({ length: 60 }, (_, i) => `/n/${i}`)
    const answers = await Promise.all(paths.map((path) => ask(`/api.acme.test${path}`, {}, { on })))
    expect(answers.map((one) => (json(one) as { url: string }).url)).toEqual(paths)
  })

  test('a refusal is the same document', async () => {
    const { status, headers, body } = await ask('/api.acme.test/a', { 'deputy-user': 'bob' })
    expect([status, headers['deputy-answer']]).toEqual([403, 'consent_required'])
    expect(JSON.parse(body.toString())).toMatchObject({ code: 'consent_required' })
    const none = await ask('/api.acme.test/a', { origin: 'https://x.example' })
    expect([none.status, none.headers['deputy-answer']]).toEqual([403, 'browser_refused'])
    const other = await ask('/api.acme.test/a', { ':authority': 'evil.example' })
    expect([other.status, other.headers['deputy-answer']]).toEqual([421, 'host_refused'])
    expect(upstream.seen).toEqual([])
  })

  test('events come one by one, and an agent that leaves takes its call along', async () => {
    const left = Promise.withResolvers<void>()
    upstream.handle = (_seen, res) => {
      res.on('close', () => left.resolve())
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write('data: 1\n\n')
    }
    const stream = session().request({ ':path': '/api.stream.test/e', 'deputy-user': 'alice' })
    const first = await new Promise<Buffer>((resolve) => stream.once('data', resolve))
    expect(first.toString()).toBe('data: 1\n\n')
    stream.close(constants.NGHTTP2_CANCEL)
    await left.promise
    await expect
      .poll(() => deputy.evidence().findLast(({ event }) => event === 'outcome'))
      .toMatchObject({ result: 'interrupted' })
  })

  test('who asks before sending a body is told when it is wanted', async () => {
    const stream = session().request({
      ':path': '/api.acme.test/notes',
      ':method': 'POST',
      'deputy-user': 'alice',
      'content-type': 'application/json',
      expect: '100-continue',
    })
    const answer = answerOf(stream)
    stream.once('continue', () => stream.end('{}'))
    expect((await answer).status).toBe(200)
    expect(upstream.seen[0]?.body.toString()).toBe('{}')
    expect(upstream.seen[0]?.headers).not.toHaveProperty('expect')
  })

  test('trailers, a large body each way, HEAD and 204', async () => {
    upstream.handle = ({ body }, res) => {
      res.writeHead(200, { trailer: 'x-sum', 'content-type': 'application/octet-stream' })
      res.write(body)
      res.addTrailers({ 'x-sum': String(body.length) })
      res.end()
    }
    const big = Buffer.alloc(3_000_000, 'ab')
    const type = { ':method': 'POST', 'content-type': 'application/octet-stream' }
    const answer = await ask('/api.acme.test/upload/x', type, { body: big })
    expect([answer.body.equals(big), answer.trailers['x-sum']]).toEqual([true, '3000000'])
    upstream.handle = (_seen, res) => void res.writeHead(204).end()
    expect((await ask('/api.acme.test/a')).status).toBe(204)
  })

  test.each([
    ['by policy', 'PUT', 403],
    ['before it is a call', 'put', 400],
  ])('who is refused %s may send all of its body', async (_why, method, status) => {
    const on = session()
    const stream = upload(on, method)
    const answer = answerOf(stream)
    // Java 17 looks at no answer before that.
    stream.write(Buffer.alloc(1_000_000))
    expect((await answer).status).toBe(status)
    await expect.poll(() => on.socket.bytesWritten).toBeGreaterThan(1_000_000)
    expect(upstream.seen).toEqual([])
  })

  test('who then sends nothing more is reset', async () => {
    const on = session()
    const stream = upload(on, 'PUT')
    const closed = once(stream, 'close')
    stream.write('a')
    expect((await answerOf(stream)).status).toBe(403)
    expect((await ask('/api.acme.test/a', {}, { on })).status).toBe(200)
    expect(stream.closed).toBe(false)
    await closed
    expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR)
  })
})

describe('what a provider says', () => {
  const plain = 'content-type: text/plain\r\ncontent-length: 2\r\n'
  const ok = (more: string): string => `HTTP/1.1 200 OK\r\n${plain}${more}\r\nok`
  test.each<[string, string]>([
    ['two lines of what is said once', ok('etag: "a"\r\netag: "b"\r\n')],
    ['two types', ok('content-type: text/html\r\n')],
    ['what is of HTTP/2 itself', ok('http2-settings: AAA\r\nte: gzip\r\n')],
    ['names that every object has', ok('constructor: x\r\n__proto__: y\r\n')],
    [
      'long headers',
      ok(Array.from({ length: 20 }, (_, i) => `x-${i}: ${'a'.repeat(3_000)}\r\n`).join('')),
    ],
    [
      'trailers of one hop',
      'HTTP/1.1 200 OK\r\ntrailer: x-a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nhttp2-settings: x\r\nte: x\r\nx-a: 1\r\nx-a: 2\r\n\r\n',
    ],
  ])('passes as in HTTP/1.1, and ends nothing: %s', async (_, text) => {
    upstream.handle = (_seen, res) => void res.socket?.end(text)
    const { status, headers, body } = await ask('/api.stream.test/a')
    expect([status, body.toString()]).toEqual([200, 'ok'])
    if (text.includes('constructor')) expect(headers['constructor']).toBe('x')
    if (text.includes('x-19')) expect(headers['x-19']).toHaveLength(3_000)
  })

  test('in a status that HTTP/2 has no room for is a sentence, and ends nothing', async () => {
    upstream.handle = (_seen, res) => void res.socket?.end(`HTTP/1.1 999 No\r\n${plain}\r\nno`)
    const { status, body } = await ask('/api.stream.test/a')
    expect([status, body.toString()]).toEqual([502, expect.stringContaining('999')])
  })
})

describe('what has two readings, or asks for too much', () => {
  const base = [':method', 'GET', ':path', '/a', ':scheme', 'http', ':authority', 'a.test']
  test.each<[string, readonly string[]]>([
    ['two hosts', [...base, 'host', 'b.test']],
    ['a pseudo-header twice', [...base, ':path', '/b']],
    ['an absolute :path', [':method', 'GET', ':path', 'http://b.test/', ':authority', 'a.test']],
    ['a :path with a blank', [':method', 'GET', ':path', '/a HTTP/1.1', ':authority', 'a.test']],
    ['a method in lower case', [':method', 'get', ':path', '/a', ':authority', 'a.test']],
    ['a line break', [...base, 'x', 'a\r\nhost: b.test']],
    ['transfer-encoding', [...base, 'transfer-encoding', 'chunked']],
    ['a name in upper case', [...base, 'X-A', '1']],
    ['CONNECT', [':method', 'CONNECT', ':authority', 'a.test:443']],
    ['a WebSocket (RFC 8441)', [...base, ':protocol', 'websocket']],
  ])('%s is refused', (_, raw) => expect(() => asked(raw, true)).toThrow())

  test('cookies are one line, and the authority is the host', () => {
    expect(asked([...base, 'cookie', 'a=1', 'cookie', 'b=2', 'te', 'trailers'], false)).toEqual({
      method: 'GET',
      path: '/a',
      headers: ['host', 'a.test', 'cookie', 'a=1; b=2', 'transfer-encoding', 'chunked'],
    })
  })

  test('CONNECT gets a sentence', async () => {
    const stream = session().request({ ':method': 'CONNECT', ':authority': 'api.acme.test:443' })
    const answer = answerOf(stream)
    stream.end()
    expect((await answer).status).toBe(405)
  })

  test('headers past limits.headers are refused', async () => {
    const answer = await ask('/api.acme.test/a', { 'x-long': 'x'.repeat(40_000) }).catch(() => null)
    expect(answer?.status ?? 431).toBe(431)
    expect(upstream.seen).toEqual([])
  })

  test('whoever resets stream after stream loses the connection (CVE-2023-44487)', async () => {
    const on = session()
    const gone = new Promise<void>((resolve) => void on.once('close', resolve))
    const flood = setInterval(() => {
      for (let i = 0; i < 50 && !on.destroyed; i += 1) {
        const stream = on.request({ ':path': '/api.acme.test/a', 'deputy-user': 'alice' })
        stream.on('error', () => undefined)
        stream.close(constants.NGHTTP2_CANCEL)
      }
    }, 5)
    await gone
    clearInterval(flood)
    expect((await ask('/api.acme.test/a')).status).toBe(200)
  })

  test('a refused request whose body breaks its own length ends nothing but itself', async () => {
    const { hostname, port } = new URL(deputy.agent)
    const socket = dial(Number(port), hostname)
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => void chunks.push(chunk))
    // All in one piece: the stream has ended by the time that its headers are told of.
    const fields = [
      [':method', 'get'],
      [':scheme', 'http'],
      [':path', '/a'],
      [':authority', 'a.test'],
      ['content-length', '1'],
    ] as const
    socket.write(connectionOf({ fields, body: 'abc', trailers: [], pieces: 1 }))
    await expect.poll(() => over(Buffer.concat(chunks))).toBe(true)
    socket.destroy()
    expect((await ask('/api.acme.test/a')).status).toBe(200)
  })

  const spoken = (...parts: readonly string[]): Promise<string> => {
    const { hostname, port } = new URL(deputy.agent)
    const socket = dial(Number(port), hostname)
    return new Promise<string>((resolve) => {
      let all = ''
      socket.on('data', (chunk) => void (all += chunk.toString()))
      socket.on('close', () => resolve(all))
      parts.forEach((part, i) => setTimeout(() => socket.write(part), 50 * i))
    })
  }
  test('bytes that only begin like HTTP/2 are HTTP/1.1, and are refused as that', async () => {
    expect(await spoken('PR', 'x /a HTTP/1.1\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
    expect(await spoken('PRI', ' /a HTTP/1.1\r\n\r\n')).toBe('')
    expect(await spoken('PRI * HTTP/2.0\r\n', '\r\nSX\r\n\r\n')).toBe('')
  })
})

test('at the end each connection hears GOAWAY, and what runs is answered', async () => {
  const other = await startDeputy({
    upstream: upstream.origin,
    held: [{ person: 'alice', token: 'at-alice-0123456789abcdef' }],
  })
  let go: (() => void) | null = null
  upstream.handle = (_seen, res) => {
    go = () => void res.end('late')
  }
  const on = session(other.agent)
  const away = new Promise<void>((resolve) => void on.once('goaway', () => resolve()))
  const answer = ask('/api.acme.test/a', {}, { on })
  await expect.poll(() => go).not.toBeNull()
  const stopped = other.stop()
  await away
  ;(go as (() => void) | null)?.()
  expect((await answer).body.toString()).toBe('late')
  await stopped
  await other.close()
})
