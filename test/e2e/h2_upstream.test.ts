// HTTP/2 to providers (`http2: true`): a server of Node's own, over TLS by ALPN and over plain http by prior knowledge.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type Http2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeCertificate } from '../support/certificate.ts'
import { PEOPLE, providersAt, startDeputy, TABLES, type Deputy } from '../support/deputy.ts'

type Init = Omit<RequestInit, 'headers'> & {
  readonly headers?: Readonly<Record<string, string>>
  readonly duplex?: 'half'
}
type Heard = { readonly path: string; readonly who: string; readonly headers: object }
const folder = mkdtempSync(join(tmpdir(), 'deputy-h2-upstream-'))
const sessions = new Set<Http2Session>()
let heard: Heard[] = []
let handle: ((stream: ServerHttp2Stream, path: string) => void) | null = null
const servers: Server[] = []
let deputies: Readonly<Record<'tls' | 'plain' | 'old', Deputy>>

const served = (server: Http2Server): Http2Server =>
  server
    .on('session', (session) => void sessions.add(session))
    .on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.on('error', () => undefined)
      const path = headers[':path'] ?? ''
      heard.push({ path, who: String(headers['authorization']), headers: { ...headers } })
      if (handle !== null) return handle(stream, path)
      stream.respond({ ':status': 200, 'content-type': 'application/json' })
      stream.end(JSON.stringify({ path }))
    })
const listening = async (server: Server): Promise<number> => {
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}
beforeAll(async () => {
  const files = makeCertificate(folder)
  const tls = { cert: files.pem, key: readFileSync(files.key) }
  const old = createHttps(tls, (req, res) => {
    heard.push({ path: req.url ?? '', who: req.headers.authorization ?? '', headers: {} })
    res.end(JSON.stringify({ version: req.httpVersion }))
  })
  const start = (origin: string): Promise<Deputy> =>
    startDeputy({
      upstream: origin,
      people: PEOPLE,
      tables: TABLES,
      held: ['alice', 'bob'].flatMap((person) =>
        ['acme', 'stream'].map((connection) => ({
          person,
          connection,
          token: `at-${person}-0123456789`,
        })),
      ),
      config: {
        upstream: { ca: files.cert },
        providers: providersAt(origin).map((one) => ({ ...one, http2: true })),
      },
    })
  deputies = {
    tls: await start(`https://localhost:${await listening(served(createSecureServer(tls)))}`),
    plain: await start(`http://127.0.0.1:${await listening(served(createServer()))}`),
    old: await start(`https://localhost:${await listening(old)}`),
  }
})
afterAll(async () => {
  await Promise.all(Object.values(deputies).map((deputy) => deputy.close()))
  for (const session of sessions) session.destroy()
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})
beforeEach(() => {
  heard = []
  handle = null
})

const ask = (
  way: keyof typeof deputies,
  path: string,
  init: Init = {},
  person = 'alice',
): Promise<Response> =>
  fetch(`${deputies[way].agent}/api.stream.test${path}`, {
    ...init,
    headers: { 'deputy-user': person, ...init.headers },
  })
const outcome = (way: keyof typeof deputies) =>
  deputies[way].evidence().findLast(({ event }) => event === 'outcome')

test('where TLS agrees on HTTP/1.1, that is spoken', async () => {
  const answer = await ask('old', '/a')
  expect(await answer.json()).toEqual({ version: '1.1' })
  expect(heard[0]?.who).toBe('Bearer at-alice-0123456789')
})

describe.each(['tls', 'plain'] as const)('%s', (way) => {
  test('each with their own token, many at once, over few connections', async () => {
    await ask(way, '/first')
    const before = sessions.size
    const all = await Promise.all(
      Array.from({ length: 60 }, (_, i) => ask(way, `/n/${i}`, {}, i % 2 === 0 ? 'alice' : 'bob')),
    )
    expect(all.every(({ status }) => status === 200)).toBe(true)
    for (const [i, answer] of all.entries())
      expect(await answer.json()).toEqual({ path: `/n/${i}` })
    for (const { path, who } of heard.slice(1))
      expect(who).toBe(`Bearer at-${Number(path.slice(3)) % 2 === 0 ? 'alice' : 'bob'}-0123456789`)
    expect(sessions.size - before).toBeLessThanOrEqual(1)
  })

  test('a large body each way, and trailers', async () => {
    handle = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'x/y' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'whole' }))
      stream.pipe(stream)
    }
    const big = Buffer.alloc(5_000_000, 'ab')
    const got = await new Promise<{ readonly body: Buffer; readonly trailers: object }>(
      (resolve, reject) => {
        const req = request(`${deputies[way].agent}/api.stream.test/big`, {
          method: 'POST',
          headers: { 'deputy-user': 'alice', 'content-type': 'application/octet-stream' },
        })
        req.on('error', reject).on('response', (res) => {
          const parts: Buffer[] = []
          res.on('data', (part: Buffer) => void parts.push(part))
          res.on('end', () => resolve({ body: Buffer.concat(parts), trailers: res.trailers }))
        })
        Readable.from([big.subarray(0, 1_000_000), big.subarray(1_000_000)]).pipe(req)
      },
    )
    expect([got.body.equals(big), got.trailers]).toEqual([true, { 'x-sum': 'whole' }])
  })

  test('who reads slowly slows the provider down', async () => {
    let sent = 0
    handle = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'x/y' })
      const more = (): void => {
        while (sent < 64_000_000 && stream.write(Buffer.alloc(64_000))) sent += 64_000
        if (sent >= 64_000_000) stream.end()
        else sent += 64_000
      }
      stream.on('drain', more)
      more()
    }
    const answer = await ask(way, '/slow')
    const reader = answer.body?.getReader()
    await reader?.read()
    let before = -1
    await expect
      .poll(
        () => {
          const same = before === sent
          before = sent
          return same
        },
        { interval: 300 },
      )
      .toBe(true)
    expect(sent).toBeLessThan(32_000_000)
    await reader?.cancel()
  })

  test.each([
    ['that still sends', true],
    ['that has sent all', false],
  ])('a caller %s and leaves: its stream is reset, the others go on', async (_, open) => {
    const closed = new Map<string, number>()
    const streams = new Map<string, ServerHttp2Stream>()
    handle = (stream, path) => {
      streams.set(path, stream)
      stream.on('close', () => closed.set(path, stream.rstCode))
      stream.resume().respond({ ':status': 200, 'content-type': 'x/y' })
      stream.write('x')
    }
    const stays = await ask(way, '/stays')
    const left = new AbortController()
    const body = open
      ? new ReadableStream({ start: (to) => to.enqueue(Buffer.from('one')) })
      : 'one'
    const leaves = await ask(way, '/leaves', {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/octet-stream' },
      signal: left.signal,
      duplex: 'half',
    })
    await leaves.body?.getReader().read()
    left.abort()
    await expect.poll(() => [...closed]).toEqual([['/leaves', constants.NGHTTP2_CANCEL]])
    await expect.poll(() => outcome(way)).toMatchObject({ result: 'interrupted' })
    streams.get('/stays')?.end('y')
    expect(await stays.text()).toBe('xy')
  })

  test('GOAWAY: what runs ends well, what follows gets a new connection', async () => {
    const held = Promise.withResolvers<ServerHttp2Stream>()
    handle = (stream) => held.resolve(stream)
    const first = ask(way, '/first')
    const stream = await held.promise
    handle = null
    stream.session?.close()
    expect((await ask(way, '/next')).status).toBe(200)
    stream.respond({ ':status': 200, 'content-type': 'x/y' })
    stream.end('late')
    expect(await (await first).text()).toBe('late')
  })

  test('a stream that the provider resets, before its answer and in the middle of it', async () => {
    handle = (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR)
    const none = await ask(way, '/none')
    expect([none.status, none.headers.get('deputy-answer')]).toEqual([502, 'upstream_unreachable'])
    handle = (stream) => {
      stream.respond({ ':status': 200, 'content-type': 'x/y' })
      stream.write('x')
      cut = () => void stream.destroy(new Error('it broke'))
    }
    let cut = (): void => undefined
    const half = await ask(way, '/half')
    cut()
    await expect(half.text()).rejects.toThrow()
    handle = null
    expect((await ask(way, '/fine')).status).toBe(200)
  })

  test('nothing of one hop, and the name that the provider knows', async () => {
    await ask(way, '/a', { headers: { 'x-kept': '1', te: 'trailers' } })
    const headers = heard[0]?.headers as Record<string, unknown>
    expect(headers['x-kept']).toBe('1')
    for (const name of ['host', 'connection', 'te', 'deputy-user', 'transfer-encoding'])
      expect(headers).not.toHaveProperty(name)
    expect(headers[':authority']).toMatch(/^(?:localhost|127\.0\.0\.1):\d+$/)
  })
})
