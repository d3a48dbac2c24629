// One question to a real server that answers as no bundle service should.
import { once } from 'node:events'
import { createReadStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createDial, type Dial } from '../../proxy/net/dial.ts'
import { createDownload, type Answer, type Asked } from '../../proxy/policy/download.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { startBundleService, type BundleService } from '../support/bundles.ts'

const missing = opensslMissing()
let service: BundleService
let dial: Dial
beforeAll(async () => {
  service = await startBundleService()
  dial = createDial({
    allowPrivate: [{ net: '127.0.0.0/8' }],
    connectTimeout: 20_000,
    idleTimeout: 5_000,
    ca: null,
  })
})
afterEach(() => void (service.asked.length = 0))
afterAll(async () => {
  await dial.close()
  await service.close()
})

const ask = (asked: Partial<Asked> = {}, deadline = 20_000): Promise<Answer> =>
  createDownload({
    url: service.url,
    fetch: dial.fetch,
    authorization: () => Promise.resolve('Bearer of-the-bundles'),
    deadline,
  })({ etag: null, wait: 0, signal: new AbortController().signal, ...asked })
const whyOf = async (handler: RequestListener, asked: Partial<Asked> = {}, deadline?: number) => {
  service.answer(handler)
  const answer = await ask(asked, deadline)
  return answer.kind === 'failed' ? answer.why : answer.kind
}
const GZIP = gzipSync('a bundle')
const reply =
  (
    status: number,
    headers: Readonly<Record<string, string>> = {},
    body?: string | Buffer,
  ): RequestListener =>
  (_req, res) =>
    void res.writeHead(status, headers).end(body)

describe('a question', () => {
  test('asks for snapshots as OPA does, with the credential and the tag of what is here', async () => {
    service.put(GZIP)
    const first = await ask()
    expect(first).toMatchObject({ kind: 'bundle', long: false })
    expect(service.asked[0]).toMatchObject({
      prefer: 'modes=snapshot',
      authorization: 'Bearer of-the-bundles',
      'accept-encoding': 'identity',
      'user-agent': 'deputy',
    })
    expect(service.asked[0]).not.toHaveProperty('if-none-match')
    const etag = first.kind === 'bundle' ? first.etag : null
    expect(await ask({ etag })).toEqual({ kind: 'unchanged', etag: null, long: false })
    expect(service.asked[1]).toHaveProperty('if-none-match', etag)
  })
  test('may be held where the server does so, and no longer than it says', async () => {
    service.hold(GZIP)
    const first = await ask()
    expect(first).toMatchObject({ kind: 'bundle', long: true })
    const etag = first.kind === 'bundle' ? first.etag : null
    const began = performance.now()
    // Its own deadline does not count while it is held.
    expect(await ask({ etag, wait: 3 }, 2_500)).toEqual({
      kind: 'unchanged',
      etag: null,
      long: true,
    })
    expect(performance.now() - began).toBeGreaterThan(2_900)
    expect(service.asked[1]).toHaveProperty('prefer', 'modes=snapshot;wait=3')
  })
  test('ends when nobody wants its answer any more', async () => {
    const ended = new AbortController()
    service.answer(() => ended.abort())
    expect(await ask({ signal: ended.signal })).toMatchObject({ kind: 'failed' })
  })
})

test.skipIf(missing !== '')(
  `over TLS it believes the authorities of the configuration, and nobody else${missing}`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-download-'))
    const { cert, key, pem } = makeCertificate(folder)
    const server = createServer({ cert: pem, key: readFileSync(key) }, (_req, res) => {
      res.writeHead(200).end(GZIP)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `https://localhost:${(server.address() as AddressInfo).port}/b.tar.gz`
    const allowPrivate = [{ net: '127.0.0.0/8' }, { net: '::1/128' }]
    const get = async (ca: string | null): Promise<Answer> => {
      const own = createDial({ allowPrivate, connectTimeout: 20_000, idleTimeout: 20_000, ca })
      const authorization = (): Promise<null> => Promise.resolve(null)
      const signal = AbortSignal.timeout(20_000)
      const answer = await createDownload({ url, fetch: own.fetch, authorization })({
        etag: null,
        wait: 0,
        signal,
      })
      await own.close()
      return answer
    }
    expect(await get(cert)).toMatchObject({ kind: 'bundle' })
    expect(await get(null)).toMatchObject({
      kind: 'failed',
      why: expect.stringMatching(/gave no whole answer \(DEPTH_ZERO_SELF_SIGNED_CERT\)/),
    })
    server.close()
    rmSync(folder, { recursive: true })
  },
)

describe('an answer that is none', () => {
  test.each<[string, RequestListener, RegExp]>([
    ['304 to who has nothing', reply(304), /says that nothing changed \(304\), and was asked/],
    [
      'a page',
      reply(200, { 'content-type': 'text/html' }, '<html>sign in</html>'),
      /gives no gzip file, but 20 bytes of text\/html/,
    ],
    ['nothing', reply(200), /gives no gzip file, but 0 bytes of no type/],
    ['401', reply(401), /does not know deputy \(401\): see policy\.bundle_auth/],
    ['403', reply(403), /does not let deputy have the bundle \(403\)/],
    ['404', reply(404), /has no bundle there \(404\)/],
    ['429', reply(429), /is asked too often \(429\)/],
    ['500', reply(500), /answers 500/],
    ['204', reply(204), /answers 204/],
    ['206', reply(206, {}, GZIP), /answers 206/],
    ['300', reply(300), /answers with a redirect, which is not followed/],
    [
      'half of it',
      (_req, res) => {
        res.writeHead(200, { 'content-length': GZIP.length })
        res.write(GZIP.subarray(0, 5), () => res.destroy())
      },
      /gave no whole answer/,
    ],
    [
      'more than it says',
      (_req, res) => {
        res.socket?.end(`HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n${'x'.repeat(400)}`)
      },
      /gives no gzip file, but 4 bytes|gave no whole answer/,
    ],
    [
      'a word that is no HTTP',
      (_req, res) => void res.socket?.end('hello\r\n\r\n'),
      /gave no whole answer/,
    ],
    ['an end', (_req, res) => void res.socket?.destroy(), /gave no whole answer/],
  ])('%s is told', async (_name, handler, message) => {
    expect(await whyOf(handler)).toMatch(message)
  })

  test('that never begins, or drips and never ends, takes its time and no more', async () => {
    expect(await whyOf(() => {}, {}, 300)).toMatch(/took too long/)
    let gone = false
    const drip: RequestListener = (_req, res) => {
      res.writeHead(200)
      const timer = setInterval(() => res.write(GZIP.subarray(0, 1)), 20)
      res.once('close', () => {
        clearInterval(timer)
        gone = true
      })
    }
    expect(await whyOf(drip, {}, 300)).toMatch(/took too long/)
    await expect.poll(() => gone).toBe(true)
  })

  test('that is larger than a bundle may be is not read to its end', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deputy-download-'))
    const path = join(folder, 'large')
    writeFileSync(path, Buffer.alloc(64 * 1024 ** 2, 0x1f))
    let sent = 0
    expect(
      await whyOf((_req, res) => {
        res.writeHead(200)
        const stream = createReadStream(path)
        stream.on('data', (chunk) => (sent += chunk.length))
        stream.pipe(res)
      }),
    ).toMatch(/gives more than 16 MiB/)
    await expect.poll(() => service.asked.length).toBe(1)
    expect(sent).toBeLessThan(40 * 1024 ** 2)
    rmSync(folder, { recursive: true })
  })

  test('that leads elsewhere takes no credential there', async () => {
    const elsewhere = await startBundleService()
    elsewhere.put(GZIP)
    for (const status of [301, 302, 303, 307, 308])
      expect(await whyOf(reply(status, { location: elsewhere.url }))).toBe(
        `the bundle service ${service.url} answers with a redirect to ${new URL(elsewhere.origin).host}, which is not followed: name the address of the bundle itself`,
      )
    expect(elsewhere.asked).toEqual([])
    await elsewhere.close()
  })

  test.each<[string, () => string, number | null]>([
    ['30', () => '30', 30_000],
    ['99999999', () => '99999999', 600_000],
    ['a date', () => new Date(Date.now() + 100_000).toUTCString(), 100_000],
    ['soon', () => 'soon', null],
    ['-5', () => '-5', null],
  ])('Retry-After: %s is heard, up to ten minutes', async (_name, value, ms) => {
    service.answer(reply(429, { 'retry-after': value() }))
    const answer = await ask()
    const { retryAfter } = answer.kind === 'failed' ? answer : { retryAfter: NaN }
    if (ms === null) expect(retryAfter).toBeNull()
    else expect(Math.abs((retryAfter ?? 0) - ms)).toBeLessThan(20_000)
  })

  test('a private address is not reached unless the configuration allows it', async () => {
    service.put(GZIP)
    const strict = createDial({ allowPrivate: [], connectTimeout: 500, idleTimeout: 500, ca: null })
    const answer = await createDownload({
      url: service.url,
      fetch: strict.fetch,
      authorization: () => Promise.resolve(null),
    })({ etag: null, wait: 0, signal: new AbortController().signal })
    await strict.close()
    expect(answer).toMatchObject({ kind: 'failed', why: expect.stringMatching(/allow_private/) })
    expect(service.asked).toEqual([])
  })
})
