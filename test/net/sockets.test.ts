// What every HTTP server of the house does with its connections, on real sockets.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  closing,
  createBodies,
  mannerly,
  STILL_MS,
  UNREAD_MS,
  written,
  type Connection,
  type Manners,
} from '../../proxy/net/sockets.ts'
import { dial, lines } from '../support/raw.ts'

const servers: Server[] = []
afterEach(async () => {
  vi.useRealTimers()
  await Promise.all(servers.splice(0).map((server) => closing(server, 0)))
})

const started = async (manners: Partial<Manners>, options = {}) => {
  const seen: string[] = []
  const refused: string[] = []
  const server = mannerly(createServer(options), {
    call: (req, res) => {
      seen.push(`${req.method} ${req.url}`)
      res.end('fine')
    },
    refusal: ({ code }) => {
      refused.push(String(code))
      return written(400, {}, 'refused')
    },
    ...manners,
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    server,
    seen,
    refused,
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  }
}
const GET = (path: string, ...more: readonly string[]) =>
  lines(`GET ${path} HTTP/1.1`, 'Host: a', ...more)

describe('a socket that Node hands over', () => {
  test('a CONNECT behind an answer that is under way is answered after it', async () => {
    const begun = Promise.withResolvers<ServerResponse>()
    const { origin } = await started({
      call: (_req, res) => {
        res.write('abc')
        begun.resolve(res)
      },
      tunnel: () => written(405, {}, 'no'),
    })
    const { socket, received, ended } = await dial(origin)
    socket.write(`${GET('/a')}CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n`)
    const res = await begun.promise
    await expect.poll(() => received().toString()).toContain('abc')
    // More than fits into the socket, so that it has to be drained.
    res.write(Buffer.alloc(8_000_000, 0x64))
    res.once('drain', () => res.end('ef'))
    await ended
    const text = received().toString()
    const [first = '', second] = text.split('HTTP/1.1 405 Method Not Allowed')
    expect([second?.slice(-2), first.slice(-12)]).toEqual(['no', '2\r\nef\r\n0\r\n\r\n'])
  })
  test('whoever leaves behind a CONNECT ends the answer before it', async () => {
    const begun = Promise.withResolvers<ServerResponse>()
    const { origin } = await started({
      call: (_req, res) => begun.resolve(res),
      tunnel: () => written(405, {}, 'no'),
    })
    const { socket } = await dial(origin)
    socket.write(`${GET('/a')}CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n`)
    const res = await begun.promise
    const left = once(res, 'close')
    socket.destroy()
    await left
    expect(res.writableFinished).toBe(false)
  })
  // An error that nobody hears would be an uncaught exception, and fail this run.
  test.each([
    ['a CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n'],
    [
      'a CONNECT whose body is under way',
      'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 9\r\n\r\nabc',
    ],
    ['an upgrade', GET('/', 'Connection: upgrade', 'Upgrade: websocket')],
    ['nonsense', '\0\xff\r\n\r\n'],
  ])('may be reset: %s', async (_name, text) => {
    for (const tunnel of [undefined, () => written(405, {}, 'no')]) {
      const { server, origin } = await started(tunnel === undefined ? {} : { tunnel })
      const errors: unknown[] = []
      server.on('connection', (socket) => socket.on('error', (error) => errors.push(error)))
      for (let i = 0; i < 20; i++) {
        const { socket, ended } = await dial(origin)
        socket.write(Buffer.from(text, 'latin1'))
        await new Promise((resolve) => setTimeout(resolve, i % 4))
        socket.resetAndDestroy()
        await ended
      }
      const { socket, received } = await dial(origin)
      socket.write(GET('/after'))
      await expect.poll(() => received().toString()).toContain('fine')
      socket.destroy()
    }
  })
  test('may be reset also where somebody else took it over', async () => {
    const { server, origin } = await started({})
    let taken = 0
    server.on('upgrade', () => taken++)
    const { socket, ended } = await dial(origin)
    socket.write(GET('/', 'Connection: upgrade', 'Upgrade: websocket'))
    await expect.poll(() => taken).toBe(1)
    socket.resetAndDestroy()
    await ended
    // The reset has been heard once another connection was served.
    const next = await dial(origin)
    next.socket.write(GET('/after'))
    await expect.poll(() => next.received().toString()).toContain('fine')
    next.socket.destroy()
  })
  test('does not keep the server from closing', async () => {
    const { server, origin } = await started({ tunnel: () => written(405, {}, 'no') })
    const { received, ended } = await dial(origin).then((one) => {
      one.socket.write('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n')
      return one
    })
    await expect.poll(() => received().toString()).toContain('405')
    await closing(server, 10)
    await ended
  })
})

describe('the last request of a connection', () => {
  test('is the one that says close: what follows it is not carried out', async () => {
    const { origin, seen } = await started({})
    const { socket, received, ended } = await dial(origin)
    socket.write(GET('/one', 'Connection: close') + GET('/two') + GET('/three'))
    await ended
    expect(seen).toEqual(['GET /one'])
    expect(
      received()
        .toString()
        .match(/HTTP\/1.1/g),
    ).toHaveLength(1)
  })
  test('is any of HTTP/1.0', async () => {
    const { origin, seen } = await started({})
    const { socket, ended } = await dial(origin)
    const old = lines('GET /one HTTP/1.0', 'Host: a', 'Connection: keep-alive')
    socket.write(old + GET('/two'))
    await ended
    expect(seen).toEqual(['GET /one'])
  })
  test('is one whose body breaks after its answer began: nothing is written into that', async () => {
    const { origin, refused } = await started({ call: (_req, res) => void res.write('half') })
    const { socket, received, ended } = await dial(origin)
    socket.write(lines('POST / HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked'))
    await expect.poll(() => received().toString()).toContain('half')
    socket.write('zz\r\n')
    await ended
    expect(refused).toEqual([])
    expect(received().toString()).toMatch(/half\r\n$/)
  })
  test('is the one before nonsense: it has its answer, and nothing else is said', async () => {
    let finish: () => void = () => undefined
    const { origin, refused } = await started({
      call: (_req, res) => {
        res.write('half ')
        finish = () => res.end('whole')
      },
    })
    const { socket, received, ended } = await dial(origin)
    socket.write(GET('/one'))
    await expect.poll(() => received().toString()).toContain('half ')
    socket.write('\0nonsense\r\n\r\n')
    // The parser has seen it once this arrives at the other side.
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    finish()
    await ended
    expect(
      received()
        .toString()
        .match(/HTTP\/1.1 \d+/g),
    ).toEqual(['HTTP/1.1 200'])
    expect(received().toString()).toContain('whole')
    expect(refused).toEqual([])
  })
})

test('a refusal reaches a caller who goes on sending, and only then the connection ends', async () => {
  const { origin } = await started({
    call: (_req, res) => {
      res.shouldKeepAlive = false
      res.writeHead(403).end('refused')
    },
  })
  const MB = Buffer.alloc(1_048_576, 97)
  for (let i = 0; i < 20; i++) {
    const { socket, received, ended } = await dial(origin)
    const errors: unknown[] = []
    socket.on('error', (error) => errors.push(error))
    // Whoever only writes reads nothing of it yet.
    socket.pause()
    socket.write(lines('POST / HTTP/1.1', 'Host: a', `Content-Length: ${8 * MB.length}`))
    for (let n = 0; n < 8; n++) await new Promise((resolve) => socket.write(MB, resolve))
    socket.resume()
    await ended
    expect(errors).toEqual([])
    expect(received().toString()).toContain('403')
  }
})

test('headers that do not come: whoever said something is told, whoever said nothing is not', async () => {
  const { origin, refused } = await started(
    {},
    { headersTimeout: 100, connectionsCheckingInterval: 25 },
  )
  const silent = await dial(origin)
  const slow = await dial(origin)
  slow.socket.write('GET / HTTP/1.1\r\nHost:')
  await Promise.all([silent.ended, slow.ended])
  expect(silent.received().toString()).toBe('')
  expect(slow.received().toString()).toContain('HTTP/1.1 400')
  expect(refused).toEqual(['ERR_HTTP_REQUEST_TIMEOUT'])
})

describe('an answer that nobody reads', () => {
  const reading = async (read: (socket: Socket) => void) => {
    const gone: string[] = []
    const { origin } = await started({
      unreadMs: 600,
      call: (_req, res) => {
        res.once('close', () => gone.push(res.writableFinished ? 'whole' : 'cut'))
        // More than the system takes off our hands.
        res.end(Buffer.alloc(16_000_000, 97))
      },
    })
    const { socket } = await dial(origin)
    socket.pause()
    socket.write(GET('/'))
    read(socket)
    return { gone, socket }
  }
  test('is not waited for without end', async () => {
    const { gone, socket } = await reading(() => undefined)
    await expect.poll(() => gone).toEqual(['cut'])
    socket.destroy()
  })
  test('but that is read, however slowly, arrives whole', async () => {
    let bytes = 0
    const { gone, socket } = await reading((slow) => {
      const sip = setInterval(() => {
        slow.resume()
        setImmediate(() => slow.pause())
      }, 20)
      slow.on('data', (chunk: Buffer) => (bytes += chunk.length))
      slow.on('close', () => clearInterval(sip))
    })
    await expect.poll(() => gone).toEqual(['whole'])
    await expect.poll(() => bytes).toBeGreaterThan(16_000_000)
    socket.destroy()
  })
  test('is a minute’s matter, or two', () => expect(UNREAD_MS).toBe(120_000))
})

test('100 Continue is said when the body is wanted, and not after a final answer', async () => {
  const { origin } = await started({
    call: (req, res) => {
      if (req.url === '/refused') res.writeHead(401).end()
      else if (req.url === '/refused-later') setTimeout(() => res.writeHead(401).end(), 50)
      else req.on('data', () => undefined).on('end', () => res.end('read'))
    },
  })
  const ask = async (path: string) => {
    const { socket, received } = await dial(origin)
    socket.write(
      lines(`POST ${path} HTTP/1.1`, 'Host: a', 'Content-Length: 2', 'Expect: 100-continue'),
    )
    await expect.poll(() => received().toString()).toContain('HTTP/1.1')
    socket.write('ab')
    await expect.poll(() => received().toString()).toMatch(/HTTP\/1.1 (?:200|401)/)
    socket.destroy()
    return received()
      .toString()
      .match(/HTTP\/1.1 \d+/g)
  }
  expect(await ask('/wanted')).toEqual(['HTTP/1.1 100', 'HTTP/1.1 200'])
  for (const path of ['/refused', '/refused-later'])
    expect(await ask(path)).toEqual(['HTTP/1.1 401'])
})

describe('the deadline of a body', () => {
  const body = (given: Partial<IncomingMessage>) => {
    const bytes = { bytesRead: 1 }
    const req = {
      complete: false,
      destroyed: false,
      readableFlowing: true,
      socket: bytes,
      ...given,
    }
    return { bytes, connection: { req, res: null, id: 'x', over: false } as unknown as Connection }
  }
  const late = (
    given: Partial<IncomingMessage>,
    meanwhile: (one: ReturnType<typeof body>, ms: number) => void = () => undefined,
  ) => {
    vi.useFakeTimers()
    const ended: Connection[] = []
    const bodies = createBodies((connection) => ended.push(connection))
    const one = body(given)
    bodies.watch(one.connection)
    let ms = 0
    for (; ended.length === 0 && ms < 3 * STILL_MS; ms += 1_000) {
      meanwhile(one, ms)
      vi.advanceTimersByTime(1_000)
    }
    bodies.close()
    return ended.length === 0 ? null : ms
  }
  test('comes when nothing of it came for so long', () => {
    const ms = late({})
    expect(ms).toBeGreaterThanOrEqual(STILL_MS)
    expect(ms).toBeLessThanOrEqual(STILL_MS + 10_000)
  })
  test('never comes while it flows, while nobody asks for it, or once it is whole or gone', () => {
    expect(late({}, ({ bytes }, ms) => ms % 50_000 === 0 && (bytes.bytesRead += 1))).toBeNull()
    for (const given of [
      { readableFlowing: false },
      { readableFlowing: null },
      { complete: true },
      { destroyed: true },
    ])
      expect(late(given as Partial<IncomingMessage>)).toBeNull()
  })
  test('never comes for a request that another has followed', () => {
    expect(late({}, ({ connection }) => (connection.req = null))).toBeNull()
  })
})
