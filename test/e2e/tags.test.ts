// A tag that stands where it is none, on real sockets: it never reaches the provider, and the evidence says where it stood.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { AGENT, startDeputy, type Deputy } from '../support/deputy.ts'
import { AUDIENCE, startIssuer, type Issuer } from '../support/issuer.ts'
import { lines, sendRaw, type RawAnswer } from '../support/raw.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const RUN = `dpr_${'aB3-_'.repeat(9).slice(0, 43)}`
let upstream: Upstream
let issuer: Issuer
let asserted: Deputy
let plain: Deputy
let tag: string

beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set('token-of-alice-0123456789', 'alice')
  issuer = await startIssuer()
  tag = await issuer.sign({ sub: 'alice' })
  const held = (realm: string, agent: string) => [
    {
      person: { tenant: 'default', realm, id: 'alice' },
      agent,
      token: 'token-of-alice-0123456789',
    },
  ]
  plain = await startDeputy({ upstream: upstream.origin, held: held('local', AGENT) })
  asserted = await startDeputy({
    upstream: upstream.origin,
    people: [{ id: 'alice', realm: 'corp', groups: ['staff'] }],
    held: held('corp', 'agent-1'),
    config: {
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: issuer.url, audience: AUDIENCE, realm: 'corp' }],
      },
      connect: { sign_in: { issuer: issuer.url, client_id: 'pages' } },
    },
  })
})
afterAll(async () => {
  await Promise.all([plain.close(), asserted.close()])
  issuer.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})

const send = (
  deputy: Deputy,
  line: string,
  more: readonly string[] = [],
  body = '',
): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(
      `${line} HTTP/1.1`,
      `Host: ${new URL(deputy.agent).host}`,
      `Deputy-User: ${deputy === plain ? 'alice' : tag}`,
      ...more,
      ...(body === '' ? [] : [`Content-Length: ${body.length}`]),
    ) + body,
  )
const posted = (type: string, body: string) => ({
  line: 'POST /api.acme.test/a',
  headers: [`Content-Type: ${type}`],
  body,
})
const said = (deputy: Deputy): unknown =>
  deputy.evidence().findLast(({ event }) => event === 'decision')?.['stripped']

describe.each([
  ['a run token under asserted', () => [asserted, RUN] as const],
  ['an assertion', () => [asserted, tag] as const],
  ['a run token under plain', () => [plain, RUN] as const],
])('%s', (_what, given) => {
  test.each([
    ['a header of its own', 'X-Note', (it: string) => it],
    ['a header that every client sends', 'User-Agent', (it: string) => `sdk/1 (${it})`],
    ['a list', 'Prefer', (it: string) => `return=minimal, x=${it}`],
    ['Basic', 'X-Note', (it: string) => `Basic ${Buffer.from(`me:${it}`).toString('base64')}`],
    ['a range', 'Range', (it: string) => `x=${it}`],
    ['codings', 'Accept-Encoding', (it: string) => `gzip, ${it}`],
  ])('in %s is cut out and named', async (_where, name, value) => {
    const [deputy, it] = given()
    expect((await send(deputy, 'GET /api.acme.test/a', [`${name}: ${value(it)}`])).status).toBe(200)
    expect(said(deputy)).toContain(`header:${name.toLowerCase()}`)
    expect(upstream.seen).toHaveLength(1)
    expect(upstream.seen[0]?.headers[name.toLowerCase()] ?? '').not.toContain(it.slice(0, 20))
  })
  test('in the query, also of a download, is cut out and named', async () => {
    const [deputy, it] = given()
    for (const host of ['api.acme.test', 'dl.acme.test']) {
      upstream.handle = (_seen, res) => void res.end('ok')
      expect((await send(deputy, `GET /${host}/a?note=x${it}&b=1`)).status).toBe(200)
      upstream.handle = null
      expect([host, upstream.seen.at(-1)?.url]).toEqual([host, '/a?b=1'])
      expect(said(deputy)).toContain('query:note')
    }
  })
  test.each<[string, (it: string) => { line: string; headers?: string[]; body?: string }]>([
    ['the path', (it) => ({ line: `GET /api.acme.test/a/${it}` })],
    ['a name of the query', (it) => ({ line: `GET /api.acme.test/a?${it}=1` })],
    ['a name of a header', (it) => ({ line: 'GET /api.acme.test/a', headers: [`X-${it}: 1`] })],
    ['JSON', (it) => posted('application/json', `{"text":["x ${it}"]}`)],
    ['JSON of a vendor', (it) => posted('application/vnd.x+json', `{"a":{"b":"${it}"}}`)],
    [
      'a form',
      (it) => {
        const text = it.replaceAll('_', '%5F').replaceAll('.', '%2E')
        return posted('application/x-www-form-urlencoded', `a=b&text=${text}`)
      },
    ],
    ['plain text', (it) => posted('text/plain', `x ${it}`)],
  ])('in %s is refused with a sentence', async (_where, request) => {
    const [deputy, it] = given()
    const { line, headers = [], body = '' } = request(it)
    const answer = await send(deputy, line, headers, body)
    expect([answer.status, answer.json['detail']]).toEqual([
      400,
      expect.stringContaining('A tag of deputy'),
    ])
    expect(answer.raw.toString('latin1')).not.toContain(it.slice(0, 20))
    expect(upstream.seen).toHaveLength(0)
  })
})

test('no tag stands in what was sent, logged or kept', () => {
  for (const it of [RUN, tag])
    for (const bytes of [
      upstream.bytes(),
      ...[plain, asserted].flatMap((deputy) => [
        Buffer.from(deputy.logged()),
        readFileSync(join(deputy.dir, 'audit.jsonl')),
        readFileSync(join(deputy.dir, 'deputy.db')),
      ]),
    ])
      for (const text of [it, it.toLowerCase()]) expect(bytes.includes(text)).toBe(false)
})
