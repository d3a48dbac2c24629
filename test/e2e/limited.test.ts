// A provider that says "too many": passed on as it came, unless the call says how long it would wait (Prefer: wait).
import { readFileSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

let upstream: Upstream
let deputy: Deputy
/** What the provider answers, one after another; then 200. */
let answers: [status: number, headers: Record<string, string>, body?: string][] = []

beforeAll(async () => {
  upstream = await startUpstream()
  const token = 'at-alice-0123456789abcdef'
  upstream.people.set(token, 'alice')
  upstream.handle = ({ who, body }, res) => {
    const [status, headers, text = 'too many'] = answers.shift() ?? [200, {}]
    const json = JSON.stringify({ who, sent: body.toString() })
    res.writeHead(status, headers).end(status === 200 ? json : text)
  }
  deputy = await startDeputy({
    upstream: upstream.origin,
    held: ['acme', 'stream'].map((connection) => ({ person: 'alice', connection, token })),
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
  answers = []
})

const call = (prefer: string | null, init: RequestInit = {}, type = 'application/json') =>
  fetch(`${deputy.agent}/api.acme.test/${type === 'application/json' ? 'notes' : 'upload/x'}`, {
    ...init,
    headers: {
      'deputy-user': 'alice',
      'content-type': type,
      ...(prefer === null ? {} : { prefer }),
    },
  })
const last = (event: string) => deputy.evidence().findLast((line) => line.event === event)

test('without Prefer the answer passes as it came, with what it says of when', async () => {
  answers = [[429, { 'retry-after': '7', 'x-ratelimit-reset': '1' }]]
  const answer = await call(null)
  expect([answer.status, answer.headers.get('retry-after'), await answer.text()]).toEqual([
    429,
    '7',
    'too many',
  ])
  expect(answer.headers.get('deputy-answer')).toBeNull()
  expect(upstream.seen).toHaveLength(1)
})

test.each<[string, number, () => Record<string, string>]>([
  ['429 with seconds', 429, () => ({ 'retry-after': '1' })],
  ['429 with a date', 429, () => ({ 'retry-after': new Date(Date.now() + 1_000).toUTCString() })],
  ['a 403 that means it', 403, () => ({ 'retry-after': '0' })],
  ['429 that says nothing', 429, () => ({})],
])('with Prefer: wait, %s is waited for, and the call decided anew', async (_, status, headers) => {
  answers = [[status, headers()]]
  const answer = await call('wait=20', { method: 'POST', body: '{"title":"x"}' })
  expect(await answer.json()).toEqual({ who: 'alice', sent: '{"title":"x"}' })
  expect(upstream.seen.map(({ body }) => body.toString())).toEqual([
    '{"title":"x"}',
    '{"title":"x"}',
  ])
  expect(upstream.seen[0]?.headers).not.toHaveProperty('prefer')
  await expect.poll(() => last('outcome')).toMatchObject({ result: 'ok', status: 200, limited: 1 })
  const exchange = last('outcome')?.['exchange']
  const lines = deputy.evidence().filter((line) => line['exchange'] === exchange)
  expect(lines.map(({ event, n }) => [event, n])).toEqual([
    ['decision', 1],
    ['decision', 2],
    ['outcome', undefined],
  ])
})

test('what does not fit into the one budget is passed on at once', async () => {
  answers = [[429, { 'retry-after': '30' }]]
  const began = performance.now()
  const answer = await call('wait=20')
  expect([answer.status, await answer.text()]).toEqual([429, 'too many'])
  expect(performance.now() - began).toBeLessThan(15_000)
  // Three seconds and three more are more than five.
  answers = [
    [429, { 'retry-after': '3' }],
    [429, { 'retry-after': '3' }, 'the second'],
  ]
  const second = await call('wait=5')
  expect([second.status, await second.text()]).toEqual([429, 'the second'])
  await expect.poll(() => last('outcome')).toMatchObject({ status: 429, limited: 1 })
})

test('five times, and no more', async () => {
  answers = Array.from({ length: 9 }, () => [429, { 'retry-after': '0' }])
  expect((await call('wait=30')).status).toBe(429)
  expect(upstream.seen).toHaveLength(6)
})

test('a body that is not kept is not sent twice', async () => {
  answers = [[429, { 'retry-after': '0' }]]
  const answer = await call(
    'wait=30',
    { method: 'POST', body: 'x'.repeat(2_000_000) },
    'application/octet-stream',
  )
  expect(answer.status).toBe(429)
  await answer.text()
  expect(upstream.seen).toHaveLength(1)
})

test.each<[string, Record<string, string>]>([
  ['longer than any call waits', { 'retry-after': '9'.repeat(40) }],
  ['two lines that differ, the longer first', { 'retry-after': '3600', 'Retry-After': '1' }],
])('Retry-After: %s', async (what, headers) => {
  const lines = Object.entries(headers).flat()
  upstream.early = (_req, res) => {
    upstream.early = null
    upstream.seen.length = 0
    res.writeHead(429, lines).end('too many')
    return true
  }
  // What has two readings says no time.
  const waits = what.startsWith('two')
  expect((await call('wait=8')).status).toBe(waits ? 200 : 429)
  expect(upstream.seen).toHaveLength(waits ? 1 : 0)
})

test('a connection that ends while its answer waits changes nothing', async () => {
  upstream.early = (_req, res) => {
    upstream.early = null
    res.writeHead(429, { 'retry-after': '1', 'content-length': '200' }).write('too many')
    setTimeout(() => (res.socket as Socket).resetAndDestroy(), 200)
    return true
  }
  expect(await (await call('wait=20')).json()).toMatchObject({ who: 'alice' })
  await expect.poll(() => last('outcome')).toMatchObject({ result: 'ok', status: 200, limited: 1 })
})

test('a reload lets nobody go before the time that the provider asked for', async () => {
  answers = [[429, { 'retry-after': '3' }]]
  const began = performance.now()
  const waiting = call('wait=20')
  await expect.poll(() => upstream.seen.length).toBe(1)
  const file = `${deputy.dir}/deputy.yaml`
  const config = JSON.parse(readFileSync(file, 'utf8')) as object
  writeFileSync(file, JSON.stringify({ ...config, limits: { request_body: '50MiB' } }))
  await deputy.reload()
  expect((await waiting).status).toBe(200)
  expect(performance.now() - began).toBeGreaterThan(2_900)
  await expect.poll(() => last('outcome')).toMatchObject({ limited: 1 })
})

test('a 403 that forbids, and a 503 that may have begun, are no reason to wait', async () => {
  answers = [
    [403, {}],
    [503, { 'retry-after': '0' }],
  ]
  expect([(await call('wait=30')).status, (await call('wait=30')).status]).toEqual([403, 503])
  expect(upstream.seen).toHaveLength(2)
})

test('who leaves while it waits is not called for again', async () => {
  answers = [[429, { 'retry-after': '1' }]]
  const leaving = new AbortController()
  const left = call('wait=30', { signal: leaving.signal })
  await expect.poll(() => upstream.seen.length).toBe(1)
  setTimeout(() => leaving.abort(), 200)
  await expect(left).rejects.toThrow()
  await expect.poll(() => last('outcome')).toMatchObject({ result: 'interrupted', status: 429 })
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(upstream.seen).toHaveLength(1)
})

test('a person who may no more by the time that it is over is refused', async () => {
  const people = (groups: readonly string[]) =>
    writeFileSync(
      `${deputy.dir}/people.yaml`,
      JSON.stringify({ people: [{ id: 'alice', groups }] }),
    )
  answers = [[429, { 'retry-after': '4' }]]
  const waiting = call('wait=30')
  await expect.poll(() => upstream.seen.length).toBe(1)
  people([])
  const answer = await waiting
  expect([answer.status, answer.headers.get('deputy-answer')]).toEqual([403, 'policy_denied'])
  expect(upstream.seen).toHaveLength(1)
  people(['staff'])
})
