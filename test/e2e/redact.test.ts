// What policy has redacted leaves nowhere: not in the answer, not in the log, the evidence or an error; and what cannot be
// redacted does not leave.
import { gzipSync, brotliCompressSync } from 'node:zlib'
import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy, TABLES, until, type Deputy, type Fields } from '../support/deputy.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const SECRET = 'alice.hidden@example.com'
const use = (TABLES['grants'] as { readonly acme: { readonly use: Fields } }).acme.use
const hiding = (path: string, obligations: Fields): Fields => ({
  ...use,
  path: [path, '**'],
  obligations,
})
const redact = (where: 'request' | 'response', ...pointers: readonly string[]): Fields => ({
  type: 'redact',
  properties: { in: where, pointers },
})
const GRANTS: Fields = {
  use,
  people: hiding('people', { people: redact('response', '/*/user/email', '/email') }),
  names: hiding('people', { names: redact('response', '/*/user/name') }),
  mail: hiding('mail', { mail: redact('request', '/bcc', '/to/*/note') }),
  both: hiding('both', { in: redact('request', '/bcc'), out: redact('response', '/email') }),
}
const tables = {
  ...TABLES,
  grants: { ...TABLES['grants'], acme: GRANTS },
  role_grants: { ...TABLES['role_grants'], acme: { user: Object.keys(GRANTS) } },
}

let upstream: Upstream
let deputy: Deputy
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.people.set('token-of-alice-0123456789', 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    tables,
    config: { limits: { rewritten_body: '256KiB' } },
    held: [{ person: 'alice', token: 'token-of-alice-0123456789' }],
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.seen.length = 0
})

const call = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${deputy.agent}/~alice/api.acme.test/${path}`, init)
const answering = (
  body: string | Buffer,
  headers: Readonly<Record<string, string>> = {},
  status = 200,
): void => {
  upstream.handle = (_seen, res: ServerResponse) =>
    void res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)
}
const outcome = async (id: string | null): Promise<Fields> => {
  const found = () =>
    deputy.evidence().find((line) => line.event === 'outcome' && line['exchange'] === id)
  await until(() => found() !== undefined, 'the outcome')
  return found() ?? {}
}
/** Nowhere at all. */
const nowhere = (...texts: readonly string[]): void => {
  for (const text of [...texts, deputy.logged(), JSON.stringify(deputy.evidence())])
    expect(text).not.toContain(SECRET)
}

describe('an answer', () => {
  const rows = (extra: Fields = {}): string =>
    JSON.stringify([{ user: { email: SECRET, name: SECRET, id: 7 }, ...extra }])

  test('loses what several obligations name, and what speaks of its bytes', async () => {
    answering(rows(), { etag: '"x"', digest: 'sha-256=x', 'content-md5': 'x', 'x-kept': 'y' })
    const got = await call('people/list', {
      headers: { range: 'bytes=0-5000', 'accept-encoding': 'br, gzip' },
    })
    const text = await got.text()
    expect([got.status, JSON.parse(text)]).toEqual([
      200,
      [{ user: { email: '[redacted]', name: '[redacted]', id: 7 } }],
    ])
    expect(got.headers.get('content-length')).toBe(String(text.length))
    expect(
      ['etag', 'digest', 'content-md5', 'x-kept'].map((name) => got.headers.get(name)),
    ).toEqual([null, null, null, 'y'])
    expect(upstream.seen[0]?.headers).toMatchObject({ 'accept-encoding': 'gzip' })
    expect(upstream.seen[0]?.headers).not.toHaveProperty('range')
    const last = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
    await until(() => last()?.['redacted'] !== undefined, 'the outcome')
    expect(last()).toMatchObject({ result: 'ok', status: 200, redacted: { response: 2 } })
    nowhere(text)
  })
  test('that is an error is redacted as well; one without a body passes', async () => {
    answering(JSON.stringify({ email: SECRET, message: 'no' }), {}, 404)
    const got = await call('people/none')
    expect([got.status, await got.json()]).toEqual([404, { email: '[redacted]', message: 'no' }])
    for (const [status, method] of [
      [204, 'GET'],
      [304, 'GET'],
      [200, 'HEAD'],
      [302, 'GET'],
      [200, 'GET'],
    ] as const) {
      answering('', { 'content-type': 'text/html', location: '/x', digest: 'x' }, status)
      const empty = await call('people/none', { method, redirect: 'manual' })
      expect([empty.status, await empty.text(), empty.headers.get('digest')]).toEqual([
        status,
        '',
        null,
      ])
    }
  })
  test('in gzip or brotli is read all the same', async () => {
    for (const [coding, bytes] of [
      ['gzip', gzipSync(rows())],
      ['br', brotliCompressSync(rows())],
    ] as const) {
      answering(bytes, { 'content-encoding': coding })
      const text = await (await call('people/list')).text()
      expect(JSON.parse(text)).toMatchObject([{ user: { email: '[redacted]' } }])
    }
  })
  test('a stream of JSON events passes event by event', async () => {
    let go = (): void => {}
    upstream.handle = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write(`event: row\ndata: {"email":\ndata: "${SECRET}"}\n\n`)
      go = () => res.end(`data: {"n":2}\n\ndata: not json ${SECRET}\n\ndata: {"n":3}\n\n`)
    }
    const got = await call('people/events')
    const reader = got.body?.getReader()
    const first = Buffer.from((await reader?.read())?.value ?? []).toString()
    expect(first).toBe('event: row\ndata: {"email":\ndata: "[redacted]"}\n\n')
    go()
    await expect(reader?.read()).rejects.toThrow()
    const text = first
    nowhere(text)
  })

  const padded = JSON.stringify([{ user: { email: SECRET }, x: 'x'.repeat(300_000) }])
  const bomb = gzipSync(JSON.stringify([{ user: { email: SECRET }, x: ' '.repeat(200_000) }]))
  test.each([
    ['another media type', `<p>${SECRET}</p>`, { 'content-type': 'text/html' }, 200],
    ['an error page', `<p>${SECRET}</p>`, { 'content-type': 'text/html' }, 500],
    ['a page beside a redirect', `<p>${SECRET}</p>`, { 'content-type': 'text/html' }, 302],
    ['no media type', rows(), { 'content-type': '' }, 200],
    ['lines of JSON', `{"email":"${SECRET}"}\n{}`, { 'content-type': 'application/jsonl' }, 200],
    ['another charset', rows(), { 'content-type': 'application/json; charset=utf-7' }, 200],
    ['half of a document', rows().slice(0, -3), {}, 200],
    ['two documents', rows() + rows(), {}, 200],
    ['no UTF-8', Buffer.concat([Buffer.from([0xff]), Buffer.from(rows())]), {}, 200],
    ['more than may be collected', padded, {}, 200],
    ['more than may be collected, packed', gzipSync(padded), { 'content-encoding': 'gzip' }, 200],
    ['a bomb', bomb, { 'content-encoding': 'gzip' }, 200],
    ['a coding that nobody knows', rows(), { 'content-encoding': 'x-own' }, 200],
    ['a part of the document', rows(), { 'content-range': 'bytes 0-9/100' }, 206],
  ])('is refused, and nothing of it passes: %s', async (_what, body, headers, status) => {
    answering(body, headers, status)
    const got = await call('people/list', { redirect: 'manual' })
    const text = await got.text()
    expect([got.status, got.headers.get('deputy-answer')]).toEqual([502, 'answer_not_redactable'])
    const { instance } = JSON.parse(text) as { instance: string }
    expect(await outcome(instance)).toMatchObject({
      result: 'answer_not_redactable',
      sent: true,
      status,
    })
    nowhere(text, JSON.stringify([...got.headers]))
  })
  test('that nothing is demanded of is untouched', async () => {
    answering(rows(), { etag: '"x"' })
    const got = await call('other/list')
    expect(await got.text()).toBe(rows())
  })
})

describe('a request', () => {
  const post = (path: string, body: string, type = 'application/json'): Promise<Response> =>
    call(path, { method: 'POST', headers: { 'content-type': type, digest: 'x' }, body })
  const BODY = `{"to":[{"id":12345678901234567890,"note":"${SECRET}"}], "bcc" : "${SECRET}"}`

  test('loses the members of JSON and the fields of a form; the rest is as it was', async () => {
    answering('{}')
    const got = await post('mail/send', BODY)
    expect(got.status).toBe(200)
    const form = `a=1&bcc=${SECRET}&b%63c=${SECRET}&bcc[]=${SECRET}&z=2`
    expect((await post('mail/send', form, 'application/x-www-form-urlencoded')).status).toBe(200)
    expect(
      upstream.seen.map(({ body, headers }) => [body.toString(), headers['content-length']]),
    ).toEqual([
      ['{"to":[{"id":12345678901234567890}]}', '36'],
      ['a=1&z=2', '7'],
    ])
    expect(upstream.seen[0]?.headers).not.toHaveProperty('digest')
    expect(upstream.bytes().toString()).not.toContain(SECRET)
    const last = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
    await until(() => last()?.['redacted'] !== undefined, 'the outcome')
    const redacted = last()?.['redacted'] as Fields
    expect(redacted).toMatchObject({ request: ['/bcc', '/to/*/note'], response: 0 })
    expect(redacted['body_digest']).toMatch(/^sha256:[0-9a-f]{64}$/)
    const decision = deputy.evidence().findLast(({ event }) => event === 'decision')
    expect((decision?.['request'] as Fields | undefined)?.['body_digest']).not.toBe(
      redacted['body_digest'],
    )
    nowhere()
  })
  test('both ways at once', async () => {
    answering(JSON.stringify({ email: SECRET }))
    expect(await (await post('both/x', `{"bcc":"${SECRET}","a":1}`)).json()).toEqual({
      email: '[redacted]',
    })
    expect(upstream.seen[0]?.body.toString()).toBe('{"a":1}')
  })
  test.each([
    [
      'a multipart body',
      'mail/send',
      `--x\r\ncontent-disposition: form-data; name="bcc"\r\n\r\n${SECRET}\r\n--x--\r\n`,
      'multipart/form-data; boundary=x',
    ],
    ['a body that passes unread', 'mail/send', SECRET, 'application/octet-stream'],
    ['text', 'mail/send', SECRET, 'text/plain'],
    ['JSON in a form', 'mail/send', BODY, 'application/x-www-form-urlencoded'],
    [
      'a form with JSON in a field',
      'mail/send',
      `to=[{"note":"${SECRET}"}]`,
      'application/x-www-form-urlencoded',
    ],
    ['the query', `mail/send?BCC=${SECRET}`, '{}', 'application/json'],
  ])('is refused before anything leaves: %s', async (_what, path, body, type) => {
    const got = await post(path, body, type)
    const text = await got.text()
    expect([got.status, got.headers.get('deputy-answer')]).toEqual([403, 'obligation_refused'])
    expect(upstream.seen).toEqual([])
    nowhere(text)
  })
})
