// Between agent and provider nothing changes but what must: bytes, order, timing, endings. And the token never comes back.
import { createHash, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy, until } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { dial, lines, parseAnswer, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Seen, Upstream } from '../support/upstream.ts'

// Of every character that a token may have (RFC 6750 2.1): encoders of JSON and URLs find something to escape.
const TOKEN = 'at/alice+of.the-provider~x_0123456789=='
const MB = 1024 * 1024
let upstream: Upstream
let deputy: Deputy
let host: string

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({
      person: 'alice',
      connection,
      token: TOKEN,
      refresh: null,
    })),
    config: {
      listeners: {
        agent: '127.0.0.1:0',
        admin: '127.0.0.1:0',
        connect: '127.0.0.1:0',
        extra: [
          { listen: '127.0.0.1:0', upstream: 'api.acme.test', user: 'alice' },
          { listen: '127.0.0.1:0', upstream: 'stream@api.stream.test' },
        ],
      },
      limits: { rewritten_body: '64KiB' },
    },
  })
  host = new URL(deputy.agent).host
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  upstream.handle = null
  upstream.early = null
})

const request = (method: string, target: string, more: readonly string[] = [], at = host): string =>
  lines(`${method} ${target} HTTP/1.1`, `Host: ${at}`, 'Deputy-User: alice', ...more)
const ask = (
  target: string,
  more: readonly string[] = [],
  { method = 'GET', body = '', at = host, origin = deputy.agent } = {},
): Promise<RawAnswer> => sendRaw(origin, request(method, target, more, at) + body)
const last = (): Seen => {
  const seen = upstream.seen.at(-1)
  if (seen === undefined) throw new Error('the provider saw nothing')
  return seen
}
const answering = (write: (res: ServerResponse, seen: Seen) => void): void => {
  upstream.handle = (seen, res) => write(res, seen)
}
const outcome = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

describe('bodies on their way to the provider', () => {
  test('a body with a length arrives byte for byte, with that length', async () => {
    const bytes = randomBytes(300_000)
    const answer = await sendRaw(
      deputy.agent,
      Buffer.concat([
        Buffer.from(
          request('PUT', '/api.stream.test/a', [
            'Content-Type: application/octet-stream',
            `Content-Length: ${bytes.length}`,
          ]),
        ),
        bytes,
      ]),
    )
    expect(answer.status).toBe(200)
    expect(sha(last().body)).toBe(sha(bytes))
    expect(last().headers['content-length']).toBe('300000')
    expect(last().headers['transfer-encoding']).toBeUndefined()
  })
  test('a chunked body arrives without its chunks, framed once', async () => {
    const body = '5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n'
    await ask('/api.stream.test/a', ['Transfer-Encoding: chunked'], { method: 'POST', body })
    expect(last().body.toString()).toBe('hello world')
    // A body that was whole before it left may get a length instead.
    const { 'transfer-encoding': coding, 'content-length': length } = last().headers
    expect([coding, length]).toEqual(
      coding === undefined ? [undefined, '11'] : ['chunked', undefined],
    )
  })
  test('a body that was looked into arrives as it came', async () => {
    const body = '{ "title" :\t"a\\u0062c",  "n": 1.0e+2, "big": 12345678901234567890 }\n'
    const headers = ['Content-Type: application/json', `Content-Length: ${body.length}`]
    await ask('/api.acme.test/notes', headers, { method: 'POST', body })
    expect(last().body.toString()).toBe(body)
  })
  test('a coded body that nobody must read passes as it is', async () => {
    const bytes = gzipSync('hello')
    await sendRaw(
      deputy.agent,
      Buffer.concat([
        Buffer.from(
          request('POST', '/api.stream.test/a', [
            'Content-Type: application/octet-stream',
            'Content-Encoding: gzip',
            `Content-Length: ${bytes.length}`,
          ]),
        ),
        bytes,
      ]),
    )
    expect(last().body.equals(bytes)).toBe(true)
    expect(last().headers['content-encoding']).toBe('gzip')
  })
  test('the provider sees the first bytes before the last are sent', async () => {
    let first = ''
    upstream.early = (req, res) => {
      req.on('data', (chunk: Buffer) => (first += chunk.toString()))
      req.on('end', () => res.end('done'))
      return true
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(
      request('POST', '/api.stream.test/a', [
        'Content-Type: application/octet-stream',
        'Transfer-Encoding: chunked',
      ]),
    )
    socket.write('5\r\nearly\r\n')
    await until(() => first === 'early', 'the first chunk arrives')
    socket.write('4\r\nlate\r\n0\r\n\r\n')
    await until(() => received().toString().includes('done'), 'the answer arrives')
    expect(first).toBe('earlylate')
    socket.destroy()
  })
  test('a request without a body has none at the provider, whatever its method', async () => {
    for (const method of ['DELETE', 'OPTIONS', 'POST']) {
      await ask('/api.stream.test/a', method === 'POST' ? ['Content-Length: 0'] : [], { method })
      expect([last().method, last().body.length]).toEqual([method, 0])
      expect(last().headers['transfer-encoding']).toBeUndefined()
    }
  })
  test('Expect: 100-continue is answered here', async () => {
    const { socket, received } = await dial(deputy.agent)
    socket.write(
      request('POST', '/api.stream.test/a', ['Content-Length: 2', 'Expect: 100-continue']),
    )
    await until(() => received().toString().startsWith('HTTP/1.1 100'), '100 Continue')
    socket.write('ok')
    await until(() => received().toString().includes('HTTP/1.1 200'), 'the answer')
    expect(last().headers.expect).toBeUndefined()
    socket.destroy()
  })
})

describe('answers on their way back', () => {
  test('events of a stream arrive one by one, as they are sent', async () => {
    let stream: ServerResponse | undefined
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.flushHeaders()
      stream = res
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(request('GET', '/api.stream.test/events'))
    await until(() => received().toString().includes('text/event-stream'), 'the head arrives')
    for (const event of ['data: one\n\n', 'data: two\n\n', 'data: three\n\n']) {
      stream?.write(event)
      await until(() => received().toString().includes(event), `${event} arrives before the next`)
    }
    stream?.end()
    await until(() => parseAnswer(received())?.whole === true, 'the end arrives')
    expect(parseAnswer(received())?.body.toString()).toBe(
      'data: one\n\ndata: two\n\ndata: three\n\n',
    )
    socket.destroy()
  })
  test('a length stays a length, chunks stay chunks', async () => {
    answering((res) => res.writeHead(200, { 'content-length': '5' }).end('hello'))
    expect((await ask('/api.stream.test/a')).headers.get('content-length')).toEqual(['5'])
    answering((res) => {
      res.write('hel')
      res.end('lo')
    })
    const chunked = await ask('/api.stream.test/a')
    expect(chunked.headers.get('transfer-encoding')).toEqual(['chunked'])
    expect([chunked.body.toString(), chunked.whole]).toEqual(['hello', true])
  })
  test('HEAD, 204 and 304 have no body and keep their headers', async () => {
    answering((res) => res.writeHead(200, { 'content-length': '1234', etag: '"a"' }).end())
    const head = await ask('/api.stream.test/a', [], { method: 'HEAD' })
    expect([last().method, head.status]).toEqual(['HEAD', 200])
    expect(head.headers.get('content-length')).toEqual(['1234'])
    expect(head.raw.toString().endsWith('\r\n\r\n')).toBe(true)
    for (const status of [204, 304]) {
      answering((res) => res.writeHead(status, { etag: '"b"' }).end())
      const answer = await ask('/api.acme.test/a', ['If-None-Match: "b"'])
      expect([answer.status, answer.headers.get('etag')]).toEqual([status, ['"b"']])
      expect(answer.raw.toString().endsWith('\r\n\r\n')).toBe(true)
      expect(last().headers['if-none-match']).toBe('"b"')
    }
  })
  test('two calls on one connection both get their answers', async () => {
    answering((res, seen) => res.writeHead(seen.url === '/1' ? 204 : 200).end())
    const { socket, received } = await dial(deputy.agent)
    socket.write(request('GET', '/api.stream.test/1'))
    await until(() => received().toString().includes(' 204 '), 'the first')
    socket.write(request('GET', '/api.stream.test/2'))
    await until(() => received().toString().includes(' 200 '), 'the second')
    socket.destroy()
  })
  test('the provider’s errors pass as they are, and do not look like deputy’s', async () => {
    for (const status of [400, 403, 404, 409, 422, 429, 500, 503]) {
      answering((res) =>
        res
          .writeHead(status, {
            'content-type': 'application/problem+json',
            'retry-after': '7',
            'Deputy-Answer': 'policy_denied',
            'Deputy-Else': '1',
            'Proxy-Status': 'deputy; error=http_request_denied',
            'Proxy-Authenticate': 'Basic',
          })
          .end('{"code":"policy_denied"}'),
      )
      const answer = await ask('/api.stream.test/a')
      expect([answer.status, answer.body.toString()]).toEqual([status, '{"code":"policy_denied"}'])
      expect(answer.headers.get('retry-after')).toEqual(['7'])
      for (const name of ['deputy-answer', 'deputy-else', 'proxy-status', 'proxy-authenticate'])
        expect(answer.headers.has(name)).toBe(false)
    }
  })
  test('names and values of headers keep bytes, order and repetition', async () => {
    answering((res) => {
      res.socket?.end(
        'HTTP/1.1 200 Fine Indeed\r\nX-One: a\r\nX-TWO: \xe9\r\nX-One: b\r\nVary: x\r\nvary: y\r\nContent-Length: 2\r\n\r\nok',
        'latin1',
      )
    })
    const answer = await ask('/api.stream.test/a')
    const head = answer.raw.toString('latin1')
    expect(head).toContain('HTTP/1.1 200 OK\r\n')
    expect(head).toMatch(/X-One: a\r\nX-TWO: \xe9\r\nX-One: b\r\nVary: x\r\nvary: y\r\n/)
  })
  test.each([
    ['404 Non trouv\xe9', 404],
    [Buffer.from('200 成功').toString('latin1'), 200],
    [`500 ${'\x80'.repeat(999)}`, 500],
  ])('a reason phrase stays behind, whatever it is: %s', async (line, status) => {
    answering((res) => {
      res.socket?.end(`HTTP/1.1 ${line}\r\nContent-Length: 0\r\n\r\n`, 'latin1')
    })
    const answer = await ask('/api.stream.test/a')
    expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([status, undefined])
  })
  test('what belongs to one hop, and what would speak for deputy’s origin, stays behind', async () => {
    answering((res) => {
      res.socket?.end(
        'HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nUpgrade: h2c\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n' +
          'Access-Control-Allow-Origin: *\r\nStrict-Transport-Security: max-age=1\r\nAlt-Svc: h3=":443"\r\nClear-Site-Data: "*"\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok',
      )
    })
    const answer = await ask('/api.stream.test/a')
    for (const name of [
      'x-hop',
      'upgrade',
      'set-cookie',
      'access-control-allow-origin',
      'strict-transport-security',
      'alt-svc',
      'clear-site-data',
    ])
      expect([name, answer.headers.has(name)]).toEqual([name, false])
    expect(answer.headers.get('x-kept')).toEqual(['yes'])
    expect(answer.raw.toString()).not.toContain('timeout=9')
  })
  test('request headers: repeated ones stay, those of one hop and of deputy go', async () => {
    await ask('/api.stream.test/a', [
      'X-Two: a',
      'x-two: b',
      'Accept: a/b',
      'TE: trailers',
      'Connection: X-Gone',
      'X-Gone: 1',
      'Deputy-Connection: stream',
      'X-Forwarded-For: 1.2.3.4',
      'Forwarded: for=1.2.3.4',
      'Via: 1.1 x',
      'Prefer: wait=5, return=minimal',
    ])
    const { rawHeaders, headers } = last()
    expect(rawHeaders.filter((_, i) => rawHeaders[i - (i % 2)]?.toLowerCase() === 'x-two')).toEqual(
      ['x-two', 'a', 'x-two', 'b'],
    )
    expect([headers.accept, headers['prefer'], headers.host]).toEqual([
      'a/b',
      'return=minimal',
      new URL(upstream.origin).host,
    ])
    for (const name of [
      'te',
      'x-gone',
      'deputy-connection',
      'deputy-user',
      'x-forwarded-for',
      'forwarded',
      'via',
    ])
      expect([name, headers[name]]).toEqual([name, undefined])
  })
  test('early hints and other interim answers do not confuse the answer', async () => {
    answering((res) => {
      res.socket?.write('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n')
      res.socket?.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    const answer = await ask('/api.stream.test/a')
    expect([answer.status, answer.body.toString()]).toEqual([200, 'ok'])
  })
})

describe('big answers and broken ones', () => {
  test('ten megabytes arrive whole while the reader sets the pace', async () => {
    const block = randomBytes(MB)
    let written = 0
    upstream.handle = async (_seen, res) => {
      res.writeHead(200, { 'content-length': String(64 * MB) })
      for (let i = 0; i < 64; i++) {
        if (!res.write(block)) await new Promise((resolve) => res.once('drain', resolve))
        written += block.length
      }
      res.end()
    }
    const { socket, received } = await dial(deputy.agent)
    socket.pause()
    socket.write(request('GET', '/api.stream.test/big'))
    await new Promise((resolve) => setTimeout(resolve, 400))
    // Only what sockets and buffers between us hold has left the provider.
    expect(written).toBeLessThan(32 * MB)
    const hash = createHash('sha256')
    let size = 0
    socket.removeAllListeners('data')
    socket.on('data', (chunk: Buffer) => {
      const skip = size === 0 ? chunk.indexOf('\r\n\r\n') + 4 : 0
      hash.update(chunk.subarray(skip))
      size += chunk.length - skip
    })
    socket.resume()
    await until(() => size >= 64 * MB, 'everything arrives')
    const wanted = createHash('sha256')
    for (let i = 0; i < 64; i++) wanted.update(block)
    expect([size, hash.digest('hex')]).toEqual([64 * MB, wanted.digest('hex')])
    expect(received().length).toBe(0)
    socket.destroy()
  })
  test('a slow provider sets the pace of an upload', async () => {
    let resume = (): void => undefined
    upstream.early = (req, res) => {
      let size = 0
      resume = () => {
        req.on('data', (chunk: Buffer) => (size += chunk.length))
        req.on('end', () => res.end(String(size)))
      }
      return true
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(
      request('PUT', '/api.stream.test/a', [
        'Content-Type: application/octet-stream',
        `Content-Length: ${40 * MB}`,
      ]),
    )
    const block = Buffer.alloc(MB)
    for (let i = 0; i < 40; i++) socket.write(block)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(socket.writableLength).toBeGreaterThan(10 * MB)
    resume()
    await until(
      () =>
        received()
          .toString()
          .endsWith(String(40 * MB)),
      'all of it arrives',
    )
    socket.destroy()
  })
  test('when the agent leaves, the call at the provider ends', async () => {
    let left = false
    upstream.handle = (_seen, res) => {
      res.on('close', () => (left = true))
      res.write('begun')
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(request('GET', '/api.stream.test/a'))
    await until(() => received().toString().includes('begun'), 'the answer begins')
    socket.destroy()
    await until(() => left, 'the provider sees the end')
    await until(() => outcome()?.['result'] === 'interrupted', 'the evidence says so')
  })
  test('when the agent leaves before the answer began, too', async () => {
    let left = false
    upstream.handle = (_seen, res) => void res.on('close', () => (left = true))
    const { socket } = await dial(deputy.agent)
    socket.write(request('GET', '/api.stream.test/a'))
    await until(() => upstream.seen.length === 1, 'the call arrives')
    socket.destroy()
    await until(() => left, 'the provider sees the end')
  })
  test('when the agent leaves in the middle of its body, the provider never sees a whole one', async () => {
    let [begun, ended, cut] = [false, false, false]
    upstream.early = (req) => {
      req.once('data', () => (begun = true))
      req.on('end', () => (ended = true))
      req.on('close', () => (cut = true))
      req.on('error', () => undefined)
      req.resume()
      return true
    }
    for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked']) {
      begun = cut = false
      const { socket } = await dial(deputy.agent)
      const headers = ['Content-Type: application/octet-stream', framing]
      socket.write(`${request('POST', '/api.stream.test/a', headers)}5\r\nhello\r\n`)
      await until(() => begun, 'the provider sees the beginning')
      socket.destroy()
      await until(() => cut, 'the provider sees the cut')
      expect(ended).toBe(false)
    }
  })
  test.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
  ])('an answer with %s that breaks off breaks off for the agent', async (_name, text) => {
    answering((res) => void res.socket?.end(text))
    const answer = await ask('/api.stream.test/a')
    expect([answer.status, answer.whole, answer.body.toString()]).toEqual([200, false, 'half'])
    await until(() => outcome()?.['result'] === 'interrupted', 'the evidence says so')
  })
  test('a connection that breaks before an answer is 502, and it says that something may have left', async () => {
    answering((res) => void res.socket?.destroy())
    const answer = await ask('/api.stream.test/a')
    expect([answer.status, answer.json['code']]).toEqual([502, 'upstream_unreachable'])
    await until(() => outcome()?.['result'] === 'upstream_unreachable', 'the evidence says so')
    expect(outcome()?.['sent']).toBe(true)
  })
  test.each([
    ['nonsense', 'NONSENSE\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc'],
    [
      'a length beside chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('an answer that is no HTTP is 502: %s', async (_name, text) => {
    answering((res) => void res.socket?.end(text))
    const answer = await ask('/api.stream.test/a')
    expect([answer.status, answer.json['code']]).toEqual([502, 'upstream_unreachable'])
  })
  test('an early answer to an unfinished upload arrives', async () => {
    upstream.early = (_req, res) => {
      res.writeHead(413, { connection: 'close' }).end('too much')
      return true
    }
    const { socket, received } = await dial(deputy.agent)
    const headers = ['Content-Type: application/octet-stream', 'Content-Length: 1000000']
    socket.write(request('PUT', '/api.stream.test/a', headers) + 'abc')
    await until(() => received().toString().includes('too much'), 'the answer arrives')
    expect(parseAnswer(received())?.status).toBe(413)
    socket.destroy()
  })
})

describe('URLs on their way back lead to deputy', () => {
  const links =
    '<https://api.acme.test/items?page=2>; rel="next", <http://api.acme.test:80/items?page=9>; rel="last", <https://elsewhere.test/x>; rel="help"'
  const body =
    '{"next": "https://api.acme.test/items?page=2", "items": [ {"url":"https:\\/\\/up.acme.test\\/u{?name}", "big": 12345678901234567890}, {"url": "https://elsewhere.test/x"}], "note":"https://api.acme.test/stays"}'
  const redirect = (location: string): void =>
    answering((res) =>
      res.writeHead(302, { location, link: links, 'content-type': 'application/json' }).end(body),
    )
  const page = (): void =>
    answering((res) =>
      res
        .writeHead(200, {
          link: links,
          'content-type': 'application/json; charset=utf-8',
          etag: '"x"',
        })
        .end(body),
    )

  test('by path', async () => {
    page()
    const answer = await ask('/api.acme.test/items')
    const at = deputy.agent
    expect(answer.headers.get('link')).toEqual([
      `<${at}/api.acme.test/items?page=2>; rel="next", <${at}/api.acme.test/items?page=9>; rel="last", <https://elsewhere.test/x>; rel="help"`,
    ])
    expect(answer.body.toString()).toBe(
      body
        .replace('https://api.acme.test/items', `${at}/api.acme.test/items`)
        .replace('https:\\/\\/up.acme.test\\/u{?name}', `${at}/up.acme.test/u{?name}`),
    )
    expect(answer.headers.has('etag')).toBe(false)
  })
  test('by path with a person and a connection: both are in the new address, and it works', async () => {
    page()
    const answer = await sendRaw(
      deputy.agent,
      lines('GET /~alice/acme@api.acme.test/items HTTP/1.1', `Host: ${host}`),
    )
    const next = `${deputy.agent}/~alice/acme@api.acme.test/items?page=2`
    expect(answer.headers.get('link')?.[0]).toContain(`<${next}>; rel="next"`)
    upstream.handle = null
    const second = await fetch(next)
    expect([second.status, last().url]).toEqual([200, '/items?page=2'])
  })
  test('by host', async () => {
    page()
    const { port } = new URL(deputy.agent)
    const answer = await ask('/items', [], { at: `api.acme.test.localhost:${port}` })
    expect(answer.headers.get('link')?.[0]).toContain(
      `<http://api.acme.test.localhost:${port}/items?page=2>; rel="next"`,
    )
    expect(answer.body.toString()).toContain(`http://up.acme.test.localhost:${port}/u{?name}`)
  })
  test('by host with the person in the path: the person is in the new address', async () => {
    page()
    const { port } = new URL(deputy.agent)
    const at = `api.acme.test.localhost:${port}`
    const answer = await sendRaw(deputy.agent, lines('GET /~alice/items HTTP/1.1', `Host: ${at}`))
    expect(answer.status).toBe(200)
    expect(answer.headers.get('link')?.[0]).toContain(
      `<http://${at}/~alice/items?page=2>; rel="next"`,
    )
  })
  test('in the absolute form', async () => {
    page()
    const answer = await ask('http://api.acme.test/items', [], { at: 'api.acme.test' })
    expect(answer.headers.get('link')?.[0]).toContain(
      '<http://api.acme.test/items?page=2>; rel="next"',
    )
  })
  test('on a dedicated listener', async () => {
    page()
    const origin = deputy.addresses['extra.0'] ?? ''
    const answer = await sendRaw(
      origin,
      lines('GET /items HTTP/1.1', `Host: ${new URL(origin).host}`),
    )
    expect(answer.headers.get('link')?.[0]).toContain(`<${origin}/items?page=2>; rel="next"`)
    // Another host of the provider is not behind this listener: its path here would be somebody else's.
    expect(answer.body.toString()).not.toContain(`${origin}/u{?name}`)
  })
  test.each([
    [
      'an absolute one',
      'https://up.acme.test/x?y=z#f',
      (at: string) => `${at}/up.acme.test/x?y=z#f`,
    ],
    ['one where the host is really reached', '', (at: string) => `${at}/api.acme.test/x`],
    ['one without scheme', '//api.acme.test/x', (at: string) => `${at}/api.acme.test/x`],
    ['a path alone', '/x/y?z', (at: string) => `${at}/api.acme.test/x/y?z`],
    [
      'a download host',
      'https://dl.acme.test/f?sig=1',
      (at: string) => `${at}/dl.acme.test/f?sig=1`,
    ],
    ['one that nobody serves', 'https://elsewhere.test/x', () => 'https://elsewhere.test/x'],
  ])('a redirect is passed on, never followed: %s', async (_name, location, expected) => {
    const given = location === '' ? `${upstream.origin}/x` : location
    redirect(given)
    const answer = await ask('/api.acme.test/items')
    expect([answer.status, upstream.seen.length]).toEqual([302, 1])
    const got = answer.headers.get('location')?.[0]
    // Two names are reached at this one address, so either is right.
    if (location === '')
      expect(got).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/(?:api|up|dl)\.[a-z]+\.test\/x$/)
    else expect(got).toBe(expected(deputy.agent))
  })
  test('a download host gets no credential', async () => {
    answering((res) => res.end('file'))
    const answer = await ask('/dl.acme.test/f?sig=1', [`Authorization: Bearer ${'x'.repeat(30)}`])
    expect([answer.status, last().headers.authorization, last().url]).toEqual([
      200,
      undefined,
      '/f?sig=1',
    ])
  })
  test('an answer past the cap passes as it is, and the evidence says so', async () => {
    const big = JSON.stringify({ pad: 'a'.repeat(70_000), next: 'https://api.acme.test/2' })
    answering((res) => res.writeHead(200, { 'content-type': 'application/json' }).end(big))
    const answer = await ask('/api.acme.test/items')
    expect(answer.body.toString()).toBe(big)
    await until(() => outcome()?.['unrewritten'] === true, 'the evidence says so')
  })
  test('a coded answer is read and rewritten', async () => {
    answering((res, seen) =>
      res
        .writeHead(200, {
          'content-type': 'application/json',
          'content-encoding': 'gzip',
          'x-asked': String(seen.headers['accept-encoding']),
        })
        .end(gzipSync(body)),
    )
    const answer = await ask('/api.acme.test/items', ['Accept-Encoding: br, gzip'])
    expect(answer.headers.get('x-asked')).toEqual(['gzip'])
    expect(answer.headers.has('content-encoding')).toBe(false)
    expect(answer.headers.get('content-length')).toEqual([String(answer.body.length)])
    expect(answer.body.toString()).toContain(`${deputy.agent}/api.acme.test/items?page=2`)
  })
  test('a rewritten answer that breaks off is a problem, since nothing of it was passed on', async () => {
    answering((res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
      res.write('{"next":', () => res.socket?.destroy())
    })
    const answer = await ask('/api.acme.test/items')
    expect([answer.status, answer.json['code']]).toEqual([502, 'upstream_unreachable'])
    expect(answer.json['sent']).toBe(true)
  })
  test('a JSON answer that is no UTF-8, or no JSON, keeps its bytes', async () => {
    for (const bytes of [
      Buffer.from('{"a":"caf\xe9"}', 'latin1'),
      Buffer.from('{"next":'),
      Buffer.from('\ufeff{"a":1}'),
    ]) {
      answering((res) => res.writeHead(200, { 'content-type': 'application/json' }).end(bytes))
      expect((await ask('/api.acme.test/items')).body).toEqual(bytes)
    }
  })
})

describe('the token never comes back', () => {
  const spellings: readonly (readonly [string, string])[] = [
    ['raw', TOKEN],
    ['in JSON', JSON.stringify(TOKEN).slice(1, -1)],
    ['in JSON with slashes escaped', JSON.stringify(TOKEN).slice(1, -1).replaceAll('/', '\\/')],
    ['in JSON that fears HTML', TOKEN.replaceAll('+', '\\u002B')],
    ['in a URL', encodeURIComponent(TOKEN)],
    ['in a form', new URLSearchParams({ t: TOKEN }).toString().slice(2)],
  ]
  const clean = (answer: RawAnswer): void => {
    const text = answer.raw.toString('latin1')
    for (const [name, spelling] of spellings)
      expect([name, text.includes(spelling)]).toEqual([name, false])
    for (const part of ['0123456789', 'the-provider']) expect(text).not.toContain(part)
  }
  test.each(spellings)('echoed %s', async (_name, spelling) => {
    answering((res) =>
      res.writeHead(200, { 'content-type': 'text/plain' }).end(`<${spelling}> and ${spelling}`),
    )
    const answer = await ask('/api.stream.test/a')
    clean(answer)
    expect(answer.body.toString()).toContain('[redacted]')
    await until(() => outcome()?.['masked'] === 2, 'the evidence counts it')
  })
  test('echoed in a rewritten answer', async () => {
    answering((res) =>
      res.writeHead(200, { 'content-type': 'application/json' }).end(
        JSON.stringify({
          next: `https://api.acme.test/?t=${encodeURIComponent(TOKEN)}`,
          t: TOKEN,
        }),
      ),
    )
    const answer = await ask('/api.acme.test/a')
    clean(answer)
    expect(answer.json['next']).toContain(deputy.agent)
  })
  test('split over chunks at every place', async () => {
    for (let at = 1; at < TOKEN.length; at += 3) {
      upstream.handle = async (_seen, res) => {
        res.write(`a${TOKEN.slice(0, at)}`)
        await new Promise((resolve) => setImmediate(resolve))
        res.end(`${TOKEN.slice(at)}b`)
      }
      const answer = await ask('/api.stream.test/a')
      clean(answer)
      expect(answer.body.toString()).toMatch(/^a\[redacted\]\*+b$/)
    }
  })
  test('byte by byte', async () => {
    upstream.handle = async (_seen, res) => {
      for (const char of `a${TOKEN}b`) {
        res.write(char)
        await new Promise((resolve) => setImmediate(resolve))
      }
      res.end()
    }
    clean(await ask('/api.stream.test/a'))
  })
  test('in a gzipped answer, though identity was asked for', async () => {
    answering((res, seen) => {
      expect(seen.headers['accept-encoding']).toBe('identity')
      res.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(`a${TOKEN}b`))
    })
    const answer = await ask('/api.stream.test/a', ['Accept-Encoding: gzip'])
    clean(answer)
    expect(answer.body.toString()).toMatch(/^a\[redacted\]\*+b$/)
  })
  test('in a coding that deputy cannot read the answer is refused', async () => {
    answering((res) => res.writeHead(200, { 'content-encoding': 'compress' }).end(TOKEN))
    const answer = await ask('/api.stream.test/a')
    clean(answer)
    expect([answer.status, answer.json['code']]).toEqual([502, 'answer_not_redactable'])
  })
  test.each([
    ['a header', `200 OK\r\nX-Echo: Bearer ${TOKEN}`],
    ['a header, escaped', `200 OK\r\nX-Url: ${encodeURIComponent(TOKEN)}`],
    [
      'a redirect',
      `302 Found\r\nLocation: https://api.stream.test/?t=${encodeURIComponent(TOKEN)}`,
    ],
    ['the reason phrase', `200 ${TOKEN}`],
  ])('in %s', async (_name, head) => {
    answering((res) => void res.socket?.end(`HTTP/1.1 ${head}\r\nContent-Length: 0\r\n\r\n`))
    clean(await ask('/api.stream.test/a'))
  })
  test('in an error of the provider', async () => {
    answering((res) => res.writeHead(500).end(`Bearer ${TOKEN} failed`))
    const answer = await ask('/api.stream.test/a')
    clean(answer)
    expect(answer.status).toBe(500)
  })
  test('an answer that only begins like it arrives whole and at once', async () => {
    let stream: ServerResponse | undefined
    upstream.handle = (_seen, res) => {
      res.write('begun ')
      stream = res
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(request('GET', '/api.stream.test/a'))
    await until(() => received().toString().includes('begun '), 'the first part')
    stream?.end(TOKEN.slice(0, 12))
    await until(() => parseAnswer(received())?.whole === true, 'the end')
    expect(parseAnswer(received())?.body.toString()).toBe(`begun ${TOKEN.slice(0, 12)}`)
    socket.destroy()
  })
})

describe('a 401 of the provider', () => {
  let second: Deputy
  const old = (person: string) => `at-${person}-old-0123456789abcdef`
  const call = (
    person: string,
    method = 'GET',
    more: readonly string[] = [],
    body = '',
    target = '/api.acme.test/a',
  ) =>
    sendRaw(
      second.agent,
      lines(
        `${method} ${target} HTTP/1.1`,
        `Host: ${new URL(second.agent).host}`,
        `Deputy-User: ${person}`,
        ...more,
      ) + body,
    )
  beforeAll(async () => {
    const people = ['ann', 'ben', 'cid', 'dan', 'eve', 'fay', 'gus', 'hal']
    second = await startDeputy({
      upstream: upstream.origin,
      people: people.map((id) => ({ id, groups: ['staff'] })),
      held: people.flatMap((person) =>
        ['acme', 'stream'].map((connection) => ({
          person,
          connection,
          token: old(person),
          refresh: person === 'cid' ? null : `rt-${person}-1`,
          // Past half of a short life, or ten minutes of a day.
          expiresIn: person === 'hal' ? 40 : 86_400,
          agedMs: person === 'hal' ? 22_000 : 600_000,
        })),
      ),
    })
  })
  afterAll(() => second.close())
  beforeEach(() => {
    upstream.refreshes.length = 0
    upstream.token = null
  })

  test('leads to one refresh and one more try, and the agent sees only the good answer', async () => {
    const answer = await call('ann')
    expect([answer.status, answer.json['login']]).toEqual([200, 'ann'])
    expect(
      upstream.seen.map(({ headers }) => headers.authorization?.startsWith(`Bearer ${old('ann')}`)),
    ).toEqual([true, false])
    expect(upstream.refreshes).toHaveLength(1)
    await until(
      () =>
        second
          .evidence()
          .some(
            ({ event, credential }) =>
              event === 'outcome' && (credential as { refreshed?: boolean }).refreshed === true,
          ),
      'the evidence says so',
    )
  })
  test('of a token that lives for 40 seconds leads to a refresh after half of them', async () => {
    expect((await call('hal')).status).toBe(200)
    expect(upstream.refreshes).toHaveLength(1)
  })
  test('with a body that was read, the same bytes go twice', async () => {
    const body = '{"title":"x"}'
    const answer = await call(
      'ben',
      'POST',
      ['Content-Type: application/json', `Content-Length: ${body.length}`],
      body,
      '/api.acme.test/notes',
    )
    expect(answer.status).toBe(200)
    expect(upstream.seen.map((seen) => seen.body.toString())).toEqual([body, body])
  })
  test('without a refresh token passes as it came, also with an empty body', async () => {
    expect((await call('cid')).status).toBe(401)
    answering((res) =>
      res.writeHead(401, { 'content-length': '0', 'www-authenticate': 'Bearer' }).end(),
    )
    const answer = await call('cid')
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, ['Bearer']])
    expect(answer.headers.has('deputy-answer')).toBe(false)
  })
  test('after a refresh passes as it came: never a third try', async () => {
    answering((res) => res.writeHead(401).end('no'))
    const answer = await call('dan')
    expect([
      answer.status,
      answer.body.toString(),
      upstream.seen.length,
      upstream.refreshes.length,
    ]).toEqual([401, 'no', 2, 1])
  })
  test('to a streamed body passes as it came, since that body is gone', async () => {
    const answer = await call(
      'eve',
      'POST',
      ['Content-Type: application/octet-stream', 'Content-Length: 5'],
      'hello',
      '/api.stream.test/a',
    )
    expect([answer.status, upstream.seen.length]).toEqual([401, 1])
  })
  test('whose refresh is refused for good asks the person', async () => {
    upstream.token = (_form, res) =>
      void res
        .writeHead(400, { 'content-type': 'application/json' })
        .end('{"error":"invalid_grant"}')
    const answer = await call('fay')
    expect([answer.status, answer.json['code']]).toEqual([403, 'reauthorization_required'])
    expect(String(answer.json['url'])).toContain(second.connect)
    // From now on nothing is sent with the dead one.
    upstream.seen.length = 0
    expect((await call('fay')).json['code']).toBe('reauthorization_required')
    expect(upstream.seen).toEqual([])
  })
  test('to many calls at once leads to one refresh for all', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => call('gus')))
    expect(answers.map(({ status, json }) => [status, json['login']])).toEqual(
      Array.from({ length: 20 }, () => [200, 'gus']),
    )
    expect(upstream.refreshes).toHaveLength(1)
  })
})
