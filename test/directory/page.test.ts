// What a directory may answer with that is no answer: each is told, and nobody is let in by it.
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createGet, pagesOf, type Get } from '../../proxy/directory/page.ts'
import { Unanswered } from '../../proxy/directory/source.ts'

let server: Server
let origin: string
let handle: RequestListener
let shown: (string | null)[]
beforeEach(async () => {
  shown = []
  server = createServer((req, res) => handle(req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})
const getting = (signal = AbortSignal.timeout(20_000)): Get =>
  createGet({
    fetch: (input, init) => globalThis.fetch(input, init),
    authorization: (rejected) => {
      shown.push(rejected)
      return Promise.resolve(`Bearer ${shown.length}`)
    },
    clock: { now: () => Date.now() },
  })(signal)
const reasonOf = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => 'answered',
    (error: unknown) =>
      error instanceof Unanswered ? [error.reason, error.alone, error.rest] : error,
  )
const answer =
  (status: number, headers: Record<string, string>, body: string | Buffer): RequestListener =>
  (_, res) =>
    void res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)

describe('an answer', () => {
  test('that is whole JSON is read, with the page after it', async () => {
    handle = answer(
      200,
      { link: '<https://a.test/?self>; rel="self", </b?c>; rel="next"' },
      '{"a":1}',
    )
    expect(await getting()(`${origin}/a`)).toEqual({ json: { a: 1 }, next: '/b?c' })
    handle = answer(200, { 'content-type': 'application/scim+json; charset=utf-8' }, '[]')
    expect(await getting()(`${origin}/a`)).toEqual({ json: [], next: null })
  })
  test('that there is nothing is none', async () => {
    handle = answer(404, { 'content-type': 'text/html' }, '<h1>')
    expect(await getting()(`${origin}/a`)).toBeNull()
  })
  test.each<[string, RequestListener, unknown]>([
    ['HTML', answer(200, { 'content-type': 'text/html' }, '<html>'), ['malformed', false, null]],
    ['HTML that says it is JSON', answer(200, {}, '<html>'), ['malformed', false, null]],
    ['half of it', answer(200, {}, '{"groups":["a"'), ['malformed', false, null]],
    ['a key twice', answer(200, {}, '{"a":1,"a":2}'), ['malformed', false, null]],
    ['no UTF-8', answer(200, {}, Buffer.from([0x22, 0xff, 0x22])), ['malformed', false, null]],
    ['too long a question', answer(414, {}, ''), ['status', true, null]],
    ['a question that it cannot process', answer(422, {}, '{}'), ['status', true, null]],
    ['one sent to the wrong server', answer(421, {}, ''), ['status', false, null]],
    ['of two caches', answer(200, { age: '9, 0' }, '{}'), ['stale', false, null]],
    ['of a cache', answer(200, { age: '31536000' }, '{}'), ['stale', false, null]],
    [
      'a year old',
      answer(200, { date: new Date(Date.now() - 31_536_000_000).toUTCString() }, '{}'),
      ['stale', false, null],
    ],
    [
      'of 10 MB',
      answer(200, {}, JSON.stringify('x'.repeat(10_000_000))),
      ['too_large', true, null],
    ],
    [
      'a Link without end',
      answer(200, { link: '<'.repeat(9_000) }, '{}'),
      ['malformed', false, null],
    ],
    ['a redirect', answer(302, { location: '/elsewhere' }, ''), ['status', false, null]],
    ['forbidden', answer(403, {}, '{}'), ['refused', false, null]],
    ['a bad request', answer(400, {}, '{}'), ['status', true, null]],
    ['a wish for rest', answer(429, { 'retry-after': '7' }, '{}'), ['status', false, 7_000]],
    ['an error', answer(500, { 'retry-after': '7' }, '{}'), ['status', false, null]],
    [
      'cut off',
      (_, res) => {
        res.writeHead(200, { 'content-type': 'application/json', 'content-length': '99' })
        res.write('{"groups":[')
        setImmediate(() => res.destroy())
      },
      ['unreachable', false, null],
    ],
    ['a closed door', (req) => void req.socket.destroy(), ['unreachable', false, null]],
  ])('%s is refused', async (_name, listener, reason) => {
    const paths: string[] = []
    handle = (req, res) => {
      paths.push(req.url ?? '')
      listener(req, res)
    }
    expect(await reasonOf(getting()(`${origin}/a`))).toEqual(reason)
    expect(new Set(paths)).toEqual(new Set(['/a']))
  })
  test('that drips ends with the time of its question', async () => {
    handle = (_, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      const drip = setInterval(() => res.write(' '), 5)
      res.on('close', () => clearInterval(drip))
    }
    expect(await reasonOf(getting(AbortSignal.timeout(60))(`${origin}/a`))).toEqual([
      'unreachable',
      false,
      null,
    ])
  })
  test('401 is asked once more with another token, and no second time', async () => {
    handle = (req, res) =>
      answer(req.headers.authorization === 'Bearer 2' ? 200 : 401, {}, '{}')(req, res)
    expect(await getting()(`${origin}/a`)).toEqual({ json: {}, next: null })
    expect(shown).toEqual([null, 'Bearer 1'])
    handle = answer(401, {}, '{}')
    expect(await reasonOf(getting()(`${origin}/a`))).toEqual(['refused', false, null])
    expect(shown).toHaveLength(4)
  })
})

describe('pages', () => {
  const page =
    (next: string): Get =>
    () =>
      Promise.resolve({ json: {}, next })
  const all = (get: Get): Promise<unknown> =>
    reasonOf(pagesOf(get, 'https://a.test/x', ({ next }) => next))
  test('that never end are given up', async () => {
    let n = 0
    const get: Get = () => Promise.resolve({ json: {}, next: `/x?${++n}` })
    expect(await all(get)).toEqual(['too_large', true, null])
    expect(n).toBe(100)
  })
  test('of which one is missing are no answer', async () => {
    const get: Get = (url) => Promise.resolve(url.endsWith('/x') ? { json: {}, next: '/y' } : null)
    expect(await all(get)).toEqual(['malformed', true, null])
    expect(await all(() => Promise.resolve(null))).toBe('answered')
  })
  test('that turn in a circle are given up at once', async () => {
    expect(await all(page('/x'))).toEqual(['too_large', true, null])
  })
  test.each(['https://b.test/x', 'http://a.test/x', '//b.test/x', 'https://a.test:1/x', 'file:/x'])(
    'at another origin, %s, are never asked for',
    async (next) => {
      expect(await all(page(next))).toEqual(['malformed', false, null])
    },
  )
})
