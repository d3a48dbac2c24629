// A directory that answers anything: the call that needed it is refused with a code, nothing leaves, and others are served.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { startDeputy, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const tokenOf = (person: string): string => `at-${person}-0123456789abcdef`
const good =
  (groups: readonly string[] = ['staff']): RequestListener =>
  (req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' })
    res.end(JSON.stringify({ id: (req.url ?? '').slice(1), active: true, groups }))
  }

let upstream: Upstream
let server: Server
let deputy: Deputy
/** How alice is answered; everybody else well. */
let alice: RequestListener
let asked: number
const people = ['alice', 'bob']
const http = (port: number, scheme = 'http'): Fields => ({
  preset: 'none',
  url: `${scheme}://127.0.0.1:${port}/{id}`,
  id: '/id',
  active: '/active',
  groups: '/groups',
  timeout: '3s',
})
const start = (entitlements: Fields): Promise<Deputy> =>
  startDeputy({
    upstream: upstream.origin,
    held: people.map((person) => ({ person, token: tokenOf(person) })),
    config: { entitlements },
  })
const listening = async (of: Server): Promise<number> => {
  await new Promise<void>((resolve) => of.listen(0, '127.0.0.1', resolve))
  return (of.address() as AddressInfo).port
}
beforeAll(async () => {
  upstream = await startUpstream()
  for (const person of people) upstream.people.set(tokenOf(person), person)
  server = createServer((req, res) => {
    asked += 1
    if (req.url === '/alice') alice(req, res)
    else good()(req, res)
  })
  deputy = await start({ source: 'http', http: http(await listening(server)) })
})
afterAll(async () => {
  await deputy.close()
  server.closeAllConnections()
  server.close()
  await upstream.close()
})
const others: Deputy[] = []
beforeEach(() => {
  alice = good()
  asked = 0
  upstream.seen.length = 0
})
afterEach(async () => {
  await Promise.all(others.splice(0).map((each) => each.close()))
})
const call = async (
  person: string,
  method = 'GET',
  at = deputy,
): Promise<readonly [number, unknown]> => {
  const answer = await fetch(`${at.agent}/~${person}/api.acme.test/a`, { method })
  const text = await answer.text()
  return [answer.status, answer.ok ? 'ok' : (JSON.parse(text) as Fields)['code']]
}
const FINE = [200, 'ok']
const DENIED = [403, 'policy_denied']
const UNAVAILABLE = [503, 'entitlements_unavailable']

const said =
  (json: unknown, headers: Record<string, string> = {}): RequestListener =>
  (_, res) =>
    void res
      .writeHead(200, { 'content-type': 'application/json', ...headers })
      .end(typeof json === 'string' ? json : JSON.stringify(json))
const whole = { id: 'alice', active: true, groups: ['staff'] }
test.each<[string, RequestListener]>([
  ['HTML', said('<html>', { 'content-type': 'text/html' })],
  ['half an answer', said('{"id":"alice","active":true,"groups":["staff"')],
  ['another person', said({ ...whole, id: 'bob' })],
  ['the person in capitals', said({ ...whole, id: 'Alice' })],
  ['50,000 groups', said({ ...whole, groups: Array.from({ length: 50_000 }, (_, i) => `g${i}`) })],
  ['groups of another type', said({ ...whole, groups: ['staff', { admin: true }] })],
  ['an answer of last year', said(whole, { date: 'Mon, 01 Jan 2024 00:00:00 GMT' })],
  ['what a cache kept', said(whole, { age: '31536000' })],
  ['a redirect', (_, res) => void res.writeHead(302, { location: '/bob' }).end()],
  ['10 MB', said(JSON.stringify({ ...whole, more: 'x'.repeat(10_000_000) }))],
  ['nothing, ever', () => {}],
  [
    'a drip',
    (_, res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      const drip = setInterval(() => res.write(' '), 20)
      res.on('close', () => clearInterval(drip))
    },
  ],
  [
    'pages for ever',
    (req, res) => said(whole, { link: `</alice?${asked}>; rel="next"` })(req, res),
  ],
])('%s lets nobody through, and others are served', async (_name, listener) => {
  alice = (req, res) => listener(req, res)
  const served = expect.poll(() => call('bob')).toEqual(FINE)
  expect(await call('alice', 'POST')).toEqual(UNAVAILABLE)
  await served
  expect(upstream.seen.filter(({ method }) => method === 'POST')).toEqual([])
  alice = good()
  await expect.poll(() => call('alice')).toEqual(FINE)
})

test('a group in other letters is another group', async () => {
  alice = good(['Staff'])
  expect(await call('alice')).toEqual(DENIED)
})

test('however many calls come for one person, one question runs and each is answered by one that left later', async () => {
  let [running, most] = [0, 0]
  alice = (req, res) => {
    most = Math.max(most, ++running)
    setTimeout(() => {
      running -= 1
      good()(req, res)
    }, 100)
  }
  const calls = Array.from({ length: 100 }, () => call('alice'))
  for (const [, code] of await Promise.all(calls)) expect(code).not.toBe('entitlements_unavailable')
  expect(most).toBe(1)
  expect(asked).toBeLessThan(100)
})

test.skipIf(opensslMissing() !== '')(
  `a certificate that does not verify lets nobody through${opensslMissing()}`,
  async () => {
    const dir = mkdtempSync(join(tmpdir(), 'deputy-directory-'))
    makeCertificate(dir)
    const tls = createTlsServer(
      { cert: readFileSync(join(dir, 'tls.crt')), key: readFileSync(join(dir, 'tls.key')) },
      good(),
    )
    const port = await listening(tls)
    const strict = await start({ source: 'http', http: http(port, 'https') })
    others.push(strict)
    expect(await call('alice', 'GET', strict)).toEqual(UNAVAILABLE)
    expect(upstream.seen).toEqual([])
    expect(strict.logged()).toContain('it cannot be reached')
    tls.close()
    rmSync(dir, { recursive: true })
  },
)

test('of two sources both must know the person as active, and the evidence names both', async () => {
  const port = (server.address() as AddressInfo).port
  const both = await start({
    sources: ['file', 'http'],
    file: './people.yaml',
    http: http(port),
  })
  others.push(both)
  alice = good([])
  await expect.poll(() => call('alice', 'GET', both)).toEqual(FINE)
  const decision = both.evidence().findLast(({ event }) => event === 'decision')
  expect(decision?.['entitlements']).toMatchObject({
    source: 'file+http',
    age_ms: 0,
    parts: [
      { source: 'file', active: true },
      { source: 'http', active: true },
    ],
  })
  alice = (_, res) => void res.writeHead(404).end()
  expect(await call('alice', 'GET', both)).toEqual(DENIED)
  alice = good()
  writeFileSync(
    join(both.dir, 'people.yaml'),
    JSON.stringify({ people: [{ id: 'alice', groups: ['staff'], active: false }] }),
  )
  await expect.poll(() => call('alice', 'GET', both)).toEqual(DENIED)
  await expect
    .poll(() => both.evidence().findLast(({ event }) => event === 'entitlement.invalidated'))
    .toMatchObject({ source: 'file', cause: 'file_changed' })
})
