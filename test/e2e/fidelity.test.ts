// What passes as it is, over real sockets: methods, codings, ranges, slow and half-closed ends. The facts are told in
// docs/compatibility.md; order, framing and breaking off are in transparency.test.ts, trailers in trailers.test.ts.
import { randomBytes } from 'node:crypto'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { providersAt, startDeputy, until } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { dial, lines, parseAnswer, sendRaw } from '../support/raw.ts'

const TOKEN = 'at-alice-of-the-provider-0123456789'
const CODINGS = {
  gzip: gzipSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
  deflate: deflateSync,
} as const
/** Text that compresses, and bytes of every kind. */
const TEXT = Buffer.concat([Buffer.from('all work and no play '.repeat(500)), randomBytes(999)])
let server: Server
let deputy: Deputy
/** Each connection to the provider hands its bytes here, as they come. */
let provider: (socket: Socket, got: () => Buffer) => void
/** What the provider got on its last connection. */
let got: () => Buffer = () => Buffer.alloc(0)
const sockets = new Set<Socket>()

beforeAll(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    const chunks: Buffer[] = []
    const mine = (): Buffer => Buffer.concat(chunks)
    let told = false
    socket.on('error', () => {})
    socket.on('close', () => void sockets.delete(socket))
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      got = mine
      if (told) return
      told = true
      provider(socket, mine)
    })
  })
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const [acme = {}, stream = {}] = providersAt(origin)
  const unusual = ['PROPFIND', 'REPORT', 'SEARCH', 'MKCOL', 'LOCK', 'QUERY']
  const rows = unusual.map((method) => ({
    id: `dav.${method.toLowerCase()}`,
    method,
    path: '/{rest+}',
    access: 'read',
    scopes: [[]],
  }))
  deputy = await startDeputy({
    upstream: origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token: TOKEN })),
    config: {
      providers: [
        acme,
        { ...stream, operations: [...(stream['operations'] as readonly object[]), ...rows] },
      ],
    },
  })
})
afterAll(async () => {
  await deputy.close()
  for (const socket of sockets) socket.destroy()
  server.close()
})
beforeEach(() => {
  got = () => Buffer.alloc(0)
  provider = (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
})

const head = (method: string, target: string, ...more: readonly string[]): string =>
  lines(`${method} ${target} HTTP/1.1`, 'Host: 127.0.0.1', 'Deputy-User: alice', ...more)
/** An answer that ends its connection. */
const says = (first: string, body: Buffer, ...more: readonly string[]): void => {
  provider = (socket) => {
    socket.write(
      lines(`HTTP/1.1 ${first}`, `Content-Length: ${body.length}`, 'Connection: close', ...more),
    )
    socket.end(body)
  }
}
/** The head that the provider got, in lower case: the names of headers arrive so. */
const headGot = (): string => got().toString('latin1').split('\r\n\r\n')[0]?.toLowerCase() ?? ''
/** The body that the provider got, behind its head. */
const bodyGot = (): Buffer => got().subarray(got().indexOf('\r\n\r\n') + 4)

describe('methods', () => {
  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])(
    '%s arrives as it is',
    async (method) => {
      const answer = await sendRaw(deputy.agent, head(method, '/api.stream.test/a?b=1'))
      expect([answer.status, answer.body.toString()]).toEqual([200, 'ok'])
      expect(got().toString()).toMatch(new RegExp(`^${method} /a\\?b=1 HTTP/1\\.1\\r\\n`))
    },
  )
  test.each(['PROPFIND', 'REPORT', 'SEARCH', 'MKCOL', 'LOCK', 'QUERY'])(
    '%s passes where the definition has a row for it, with its body',
    async (method) => {
      const body = '<a/>'
      const more = [
        'Content-Type: application/octet-stream',
        `Content-Length: ${body.length}`,
        'Depth: 1',
      ]
      const answer = await sendRaw(deputy.agent, head(method, '/api.stream.test/a', ...more) + body)
      expect([answer.status, answer.json['code']]).toEqual([200, undefined])
      expect(got().toString()).toMatch(
        new RegExp(`^${method} /a HTTP/1\\.1\\r\\n[^]*\\r\\n\\r\\n${body}$`),
      )
      expect(headGot()).toContain('\r\ndepth: 1\r\n')
    },
  )
  test.each(['PROPFIND', 'UNLOCK', 'COPY'])('%s is unknown where no row has it', async (method) => {
    const answer = await sendRaw(deputy.agent, head(method, '/api.acme.test/a'))
    expect([answer.status, answer.json['code'], got().length]).toEqual([403, 'policy_denied', 0])
  })
})

describe('codings of a body', () => {
  const names = Object.keys(CODINGS) as (keyof typeof CODINGS)[]
  test.each(names)('%s on its way to the provider is the same bytes', async (coding) => {
    const bytes = CODINGS[coding](TEXT)
    const more = ['Content-Type: application/octet-stream', `Content-Encoding: ${coding}`]
    const whole = head('PUT', '/api.stream.test/a', ...more, `Content-Length: ${bytes.length}`)
    const answer = await sendRaw(deputy.agent, Buffer.concat([Buffer.from(whole), bytes]))
    expect(answer.status).toBe(200)
    expect(bodyGot().equals(bytes)).toBe(true)
    expect(headGot()).toContain(`\r\ncontent-encoding: ${coding}\r\n`)
  })
  test.each(names)(
    '%s of a download without a credential is the same bytes, with its headers',
    async (coding) => {
      const bytes = CODINGS[coding](TEXT)
      says(
        '200 OK',
        bytes,
        `Content-Encoding: ${coding}`,
        'ETag: "a"',
        'Content-Digest: sha-256=:x:',
      )
      const answer = await sendRaw(
        deputy.agent,
        head('GET', '/dl.acme.test/f', `Accept-Encoding: ${coding}`),
      )
      expect(headGot()).toContain(`\r\naccept-encoding: ${coding}`)
      expect(answer.body.equals(bytes)).toBe(true)
      expect(answer.headers.get('content-encoding')).toEqual([coding])
      expect([answer.headers.get('etag'), answer.headers.get('content-digest')]).toEqual([
        ['"a"'],
        ['sha-256=:x:'],
      ])
    },
  )
  test.each(names)(
    '%s where a token was added is unpacked, and no digest of it is left',
    async (coding) => {
      says(
        '200 OK',
        CODINGS[coding](TEXT),
        `Content-Encoding: ${coding}`,
        'ETag: "a"',
        'Content-Digest: sha-256=:x:',
      )
      const answer = await sendRaw(
        deputy.agent,
        head('GET', '/api.stream.test/f', `Accept-Encoding: ${coding}`),
      )
      expect(headGot()).toContain('\r\naccept-encoding: identity')
      expect([answer.status, answer.body.equals(TEXT)]).toEqual([200, true])
      expect(answer.headers.has('content-encoding')).toBe(false)
      expect(answer.headers.has('content-digest')).toBe(false)
    },
  )
})

describe('ranges', () => {
  test('a part of a file where a token was added: 206, its range and its bytes', async () => {
    const bytes = randomBytes(4_096)
    says(
      '206 Partial Content',
      bytes,
      'Content-Range: bytes 1000-5095/9999',
      'Accept-Ranges: bytes',
    )
    const answer = await sendRaw(
      deputy.agent,
      head('GET', '/api.stream.test/f', 'Range: bytes=1000-5095', 'If-Range: "a"'),
    )
    expect(headGot()).toContain('\r\nrange: bytes=1000-5095\r\nif-range: "a"')
    expect([answer.status, answer.body.equals(bytes)]).toEqual([206, true])
    expect(answer.headers.get('content-range')).toEqual(['bytes 1000-5095/9999'])
  })
  test('several parts of a download without a credential arrive as they are', async () => {
    const bytes = Buffer.from(
      '--x\r\nContent-Range: bytes 0-0/9\r\n\r\na\r\n--x\r\nContent-Range: bytes 8-8/9\r\n\r\nb\r\n--x--\r\n',
    )
    says('206 Partial Content', bytes, 'Content-Type: multipart/byteranges; boundary=x')
    const answer = await sendRaw(
      deputy.agent,
      head('GET', '/dl.acme.test/f', 'Range: bytes=0-0,8-8'),
    )
    expect(headGot()).toContain('\r\nrange: bytes=0-0,8-8')
    expect([answer.status, answer.body.equals(bytes)]).toEqual([206, true])
  })
  test('416 says how long the file is', async () => {
    says('416 Range Not Satisfiable', Buffer.alloc(0), 'Content-Range: bytes */9')
    const answer = await sendRaw(
      deputy.agent,
      head('GET', '/api.stream.test/f', 'Range: bytes=99999-'),
    )
    expect([answer.status, answer.headers.get('content-range')]).toEqual([416, ['bytes */9']])
  })
})

describe('ends that are slow or half closed', () => {
  /** Writes byte by byte, and never the next one before the last was seen. */
  const trickle = async (socket: Socket, bytes: string, seen: () => string): Promise<void> => {
    for (let at = 1; at <= bytes.length; at += 1) {
      socket.write(bytes.slice(at - 1, at))
      await until(
        () => seen().endsWith(bytes.slice(0, at)),
        `byte ${at} of ${bytes.length} arrives`,
      )
    }
  }
  test('a body that is written byte by byte arrives byte by byte', async () => {
    provider = () => {}
    const { socket, received } = await dial(deputy.agent)
    socket.write(
      head(
        'PUT',
        '/api.stream.test/a',
        'Content-Type: application/octet-stream',
        'Content-Length: 12',
      ),
    )
    await trickle(socket, 'byte by byte', () => bodyGot().toString())
    for (const each of sockets)
      each.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
    await until(() => received().toString().endsWith('ok'), 'the answer arrives')
    socket.destroy()
  })
  test('an answer that is written byte by byte arrives byte by byte', async () => {
    let far: Socket | undefined
    provider = (socket) => {
      far = socket
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\n',
      )
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(head('GET', '/api.stream.test/a'))
    await until(() => received().includes('\r\n\r\n'), 'the head arrives')
    if (far === undefined) throw new Error('the provider was not asked')
    await trickle(far, 'byte by byte', () => received().toString())
    far.end()
    socket.destroy()
  })
  test('a request head that is written byte by byte is the request that it is', async () => {
    const { socket, received } = await dial(deputy.agent)
    for (const char of head('GET', '/api.stream.test/slow')) {
      socket.write(char)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => parseAnswer(received())?.whole === true, 'the answer arrives')
    expect(got().toString()).toMatch(/^GET \/slow HTTP/)
    socket.destroy()
  })
  test('an agent that closes its side is gone: its call ends at the provider, and so does its connection', async () => {
    let [asked, ended, closed] = [false, false, false]
    provider = (far) => {
      asked = true
      far.on('end', () => (ended = true)).on('close', () => (ended = true))
    }
    const url = new URL(deputy.agent)
    const socket = connect({ host: url.hostname, port: Number(url.port), allowHalfOpen: true })
    socket.on('end', () => (closed = true)).resume()
    socket.write(head('GET', '/api.stream.test/half'))
    await until(() => asked, 'the provider is asked')
    socket.end()
    await until(() => ended && closed, 'both connections end')
    const outcome = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
    await until(() => outcome()?.['result'] === 'interrupted', 'the evidence says so')
    socket.destroy()
  })
  test('an answer without a length ends where the provider closes its side', async () => {
    provider = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n')
      socket.end('until the end')
    }
    const answer = await sendRaw(deputy.agent, head('GET', '/api.stream.test/a'))
    expect([answer.status, answer.body.toString(), answer.whole]).toEqual([
      200,
      'until the end',
      true,
    ])
  })
  test('a provider that closes its side before it has answered is 502, and it is said that the call left', async () => {
    provider = (socket) => void socket.end()
    const answer = await sendRaw(
      deputy.agent,
      head('POST', '/api.stream.test/a', 'Content-Length: 0'),
    )
    expect([answer.status, answer.json['code'], answer.json['sent']]).toEqual([
      502,
      'upstream_unreachable',
      true,
    ])
  })
  test('one that answers before it has read the body, and closes, is heard out', async () => {
    provider = (socket) => {
      const said = lines('HTTP/1.1 413 Content Too Large', 'Content-Length: 7', 'Connection: close')
      socket.pause()
      socket.write(`${said}too big`, () => socket.destroy())
    }
    const size = 4 * 1024 * 1024
    const more = ['Content-Type: application/octet-stream', `Content-Length: ${size}`]
    const sent = Buffer.concat([
      Buffer.from(head('PUT', '/api.stream.test/a', ...more)),
      Buffer.alloc(size),
    ])
    for (let i = 0; i < 5; i++) {
      const answer = await sendRaw(deputy.agent, sent)
      expect([answer.status, answer.body.toString()]).toEqual([413, 'too big'])
      expect(answer.headers.get('connection')).toEqual(['close'])
    }
  })
  test('one that closes in the middle of an answer leaves it broken off, never shortened', async () => {
    provider = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
      setTimeout(() => socket.end(), 50)
    }
    const answer = await sendRaw(deputy.agent, head('GET', '/api.stream.test/a'))
    expect([answer.body.toString(), answer.whole]).toEqual(['hello', false])
  })
  test('an agent that is gone takes its call at the provider with it, up and down', async () => {
    for (const [method, more] of [
      ['GET', []],
      ['PUT', ['Content-Type: application/octet-stream', 'Content-Length: 99']],
    ] as const) {
      let gone = false
      let asked = false
      provider = (socket) => {
        asked = true
        socket.on('close', () => (gone = true)).on('end', () => (gone = true))
        if (method === 'GET') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nbegun')
      }
      const { socket } = await dial(deputy.agent)
      socket.write(
        `${head(method, '/api.stream.test/a', ...more)}${method === 'PUT' ? 'begun' : ''}`,
      )
      await until(() => asked, 'the provider is asked')
      await new Promise((resolve) => setTimeout(resolve, 50))
      socket.destroy()
      await until(() => gone, `${method}: the provider’s connection ends`)
    }
  })
})

test('events arrive before the next is written, where the token is searched for and where nothing is', async () => {
  for (const target of ['/api.stream.test/events', '/dl.acme.test/events']) {
    let far: Socket | undefined
    provider = (socket) => {
      far = socket
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n',
      )
    }
    const { socket, received } = await dial(deputy.agent)
    socket.write(head('GET', target))
    await until(() => far !== undefined, 'the provider is asked')
    for (const n of [1, 2, 3]) {
      const event = `id: ${n}\ndata: {"n":${n}}\n\n`
      far?.write(`${event.length.toString(16)}\r\n${event}\r\n`)
      await until(
        () => received().toString().includes(event),
        `event ${n} arrives before the next is written`,
      )
    }
    far?.end('0\r\n\r\n')
    await until(() => parseAnswer(received())?.whole === true, 'the end arrives')
    socket.destroy()
  }
})
