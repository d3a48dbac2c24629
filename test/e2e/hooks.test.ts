// A service of the team's own judges calls that policy allowed. Whatever is not its plain yes refuses, before the call leaves
// or with nothing of its answer let through.
import { spawn } from 'node:child_process'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { writeFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startDeputy, until, type Deputy, type Fields } from '../support/deputy.ts'
import { freePort } from '../support/ports.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const KEY = 'key-of-the-hook-0123456789-abcdef'
const TOKEN = 'token-of-alice-0123456789'
const SECRET = 'alice.hidden@example.com'
type Question = {
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly url: string
}
type Said = (res: ServerResponse, question: Question) => void

const asked: Question[] = []
const yes: Said = (res) => void res.writeHead(200, JSON_TYPE).end('{"allow":true}')
const JSON_TYPE = { 'content-type': 'application/json' }
let say: Said = yes
const service = createServer((req, res) => {
  let body = ''
  req.on('data', (chunk: Buffer) => (body += chunk.toString()))
  req.on('end', () => {
    const question = { headers: req.headers, body, url: req.url ?? '' }
    asked.push(question)
    say(res, question)
  })
})
const saying = (value: unknown, status = 200): Said => {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return (res) => void res.writeHead(status, JSON_TYPE).end(text)
}

let upstream: Upstream
let deputy: Deputy
let origin = ''
const hook = (
  name: string,
  when: string,
  operations: readonly string[],
  more: Fields = {},
): Fields => ({
  name,
  when,
  operations,
  url: `${origin}/${name}`,
  key: KEY,
  timeout: '2s',
  ...more,
})
beforeAll(async () => {
  await new Promise<void>((resolve) => void service.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(service.address() as AddressInfo).port}`
  upstream = await startUpstream()
  upstream.people.set(TOKEN, 'alice')
  deputy = await startDeputy({
    upstream: upstream.origin,
    config: {
      limits: { rewritten_body: '64KiB' },
      hooks: [
        hook('dlp', 'before', ['acme.note', 'acme.put']),
        hook('second', 'before', ['acme.put']),
        hook('leak', 'after', ['acme.get']),
      ],
    },
    held: [{ person: 'alice', token: TOKEN }],
  })
})
afterAll(async () => {
  await deputy.close()
  await upstream.close()
  service.close()
  service.closeAllConnections()
})
beforeEach(() => {
  asked.length = 0
  upstream.seen.length = 0
  upstream.handle = null
  say = yes
})
type Answer = {
  readonly status: number
  readonly code: string | null
  readonly text: string
  readonly json: Fields
}
const send = async (path: string, init: RequestInit = {}): Promise<Answer> => {
  const answer = await fetch(`${deputy.agent}/~alice/api.acme.test/${path}`, init)
  const text = await answer.text()
  let json: Fields = {}
  try {
    json = JSON.parse(text) as Fields
  } catch {}
  return { status: answer.status, code: answer.headers.get('deputy-answer'), text, json }
}
const note = (title = 'hello'): Promise<Answer> =>
  send('notes', { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ title, more: 1 }) })
const outcomeOf = async ({ json }: Answer): Promise<Fields> => {
  const found = () =>
    deputy
      .evidence()
      .find((line) => line.event === 'outcome' && line['exchange'] === json['instance'])
  await until(() => found() !== undefined, 'the outcome')
  return found() ?? {}
}

describe('before a call leaves', () => {
  test('a hook sees what policy sees, signed, and no token; its yes lets the call go', async () => {
    expect((await note()).status).toBe(200)
    const [{ headers, body, url } = { headers: {}, body: '', url: '' }] = asked
    const webhook = new Webhook(Buffer.from(KEY), { format: 'raw' })
    const said = webhook.verify(body, headers as Record<string, string>) as Fields
    expect([url, asked.length]).toEqual(['/dlp', 1])
    expect(said).toMatchObject({
      version: 1,
      hook: 'dlp',
      when: 'before',
      part: null,
      input: {
        version: 1,
        user: { id: 'alice', groups: ['staff'] },
        agent: { id: 'laptop' },
        operation: { id: 'acme.note', access: 'write' },
        request: { method: 'POST', body: { json: { '/title': 'hello' } } },
      },
    })
    expect(body + JSON.stringify(headers)).not.toContain(TOKEN)
    const last = () => deputy.evidence().findLast(({ event }) => event === 'outcome')
    await until(() => last()?.['hooks'] !== undefined, 'the outcome')
    expect(last()?.['hooks']).toMatchObject([
      { hook: 'dlp', when: 'before', said: 'allow', codes: [] },
    ])
  })
  test('a call that it does not name is no business of its own', async () => {
    await send('x', { method: 'DELETE' })
    expect(asked).toEqual([])
  })
  test('its no is a refusal with its reasons, and nothing left', async () => {
    say = saying({
      allow: false,
      reasons: [{ code: 'card_number', msg: 'There is a card in it.' }],
    })
    const answer = await note()
    expect(answer).toMatchObject({
      status: 403,
      code: 'policy_denied',
      json: { reasons: ['hook_card_number'], hook: 'dlp' },
    })
    expect(answer.json['detail']).toContain('There is a card in it. (hook_card_number)')
    expect(upstream.seen).toEqual([])
    expect(await outcomeOf(answer)).toMatchObject({
      result: 'policy_denied',
      sent: false,
      hooks: [{ hook: 'dlp', said: 'refused', codes: ['hook_card_number'] }],
    })
    say = saying({ allow: false })
    expect((await note()).json['reasons']).toEqual(['hook_refused'])
  })
  test('members that it names are taken out; of several hooks all', async () => {
    say = (res, { url }) =>
      saying({ allow: true, redact: url === '/dlp' ? ['/a'] : ['/b/c'] })(res, {
        url,
        headers: {},
        body: '',
      })
    const body = JSON.stringify({ a: SECRET, b: { c: SECRET, d: 1 } })
    expect((await send('x', { method: 'PUT', headers: JSON_TYPE, body })).status).toBe(200)
    expect(asked.map(({ url }) => url)).toEqual(['/dlp', '/second'])
    expect(upstream.seen[0]?.body.toString()).toBe('{"b":{"d":1}}')
    say = saying({ allow: true, redact: ['/a'] })
    const multipart = await send('x', {
      method: 'PUT',
      headers: { 'content-type': 'text/plain' },
      body: 'a=1',
    })
    expect([multipart.status, multipart.code]).toEqual([403, 'obligation_refused'])
  })

  const bad: readonly (readonly [string, Said])[] = [
    ['late', (res) => void setTimeout(() => yes(res, { headers: {}, body: '', url: '' }), 3_000)],
    [
      'half',
      (res) =>
        void res.writeHead(200, { ...JSON_TYPE, 'content-length': 99 }).write('{"allow":true}'),
    ],
    [
      'cut',
      (res) =>
        void res
          .writeHead(200, { ...JSON_TYPE, 'content-length': 99 })
          .write('{"al', () => res.destroy()),
    ],
    ['closed at once', (res) => void res.destroy()],
    [
      'an HTML page',
      (res) => void res.writeHead(200, { 'content-type': 'text/html' }).end('<p>yes</p>'),
    ],
    ['no JSON', saying('yes')],
    ['another member', saying({ allow: true, also: 1 })],
    ['a member twice', saying('{"allow":false,"allow":true}')],
    ['a text for yes', saying({ allow: 'true' })],
    ['a number for yes', saying({ allow: 1 })],
    ['nothing', saying({})],
    ['a list', saying([{ allow: true }])],
    ['a reason that is a text', saying({ allow: false, reasons: ['no'] })],
    [
      'a reason with a code of another kind',
      saying({ allow: false, reasons: [{ code: 'Not OK', msg: '' }] }),
    ],
    ['pointers that are none', saying({ allow: true, redact: ['title'] })],
    ['a no that redacts', saying({ allow: false, redact: ['/title'] })],
    ['a redirect', (res) => void res.writeHead(302, { location: `${origin}/elsewhere` }).end()],
    ['created', saying({ allow: true }, 201)],
    ['an error', saying({ allow: true }, 500)],
    ['not found', saying({ allow: true }, 404)],
    ['10 MB', saying(JSON.stringify({ allow: true, reasons: [] }) + ' '.repeat(10_000_000))],
    [
      'a bomb',
      (res) =>
        void res
          .writeHead(200, { ...JSON_TYPE, 'content-encoding': 'gzip' })
          .end(gzipSync('{"allow":true}' + ' '.repeat(5_000_000))),
    ],
  ]
  test.each(bad)('an answer that is %s refuses the call', async (_what, how) => {
    say = how
    const answer = await note()
    expect([answer.status, answer.code, answer.json['hook']]).toEqual([
      503,
      'hook_unavailable',
      'dlp',
    ])
    expect(upstream.seen).toEqual([])
    expect(asked.length).toBeLessThanOrEqual(1)
    expect(asked.map(({ url }) => url)).not.toContain('/elsewhere')
    expect(await outcomeOf(answer)).toMatchObject({
      result: 'hook_unavailable',
      sent: false,
      hooks: [{ said: 'unavailable' }],
    })
    // Nobody is left alone for longer than it takes: the next answer counts.
    say = yes
    await expect.poll(async () => (await note()).status, { interval: 100 }).toBe(200)
  })
  test('one that fails again and again is left alone, and asked again by itself', async () => {
    say = (res) => void res.destroy()
    await Promise.all(Array.from({ length: 8 }, () => note()))
    asked.length = 0
    const began = Date.now()
    for (let i = 0; i < 20; i++) expect((await note()).code).toBe('hook_unavailable')
    expect(asked.length).toBeLessThanOrEqual(2 + (Date.now() - began) / 500)
    say = yes
    await expect.poll(async () => (await note()).status, { interval: 100 }).toBe(200)
  })
})

describe('with the answer', () => {
  const answering = (body: string | Buffer, headers: Fields = {}, status = 200): void => {
    upstream.handle = (_seen, res) =>
      void res.writeHead(status, { ...JSON_TYPE, ...(headers as Record<string, string>) }).end(body)
  }
  test('a hook is shown it, without the token, and may redact', async () => {
    answering(`{"n":12345678901234567890,"mail":"${SECRET}","echo":"${TOKEN}"}`)
    say = saying({ allow: true, redact: ['/mail'] })
    const { status, text } = await send('x')
    expect(status).toBe(200)
    expect(text).toContain('{"n":12345678901234567890,"mail":"[redacted]","echo":')
    const [{ body } = { body: '' }] = asked
    expect(body).toContain(
      `"answer":{"status":200,"body":{"n":12345678901234567890,"mail":"${SECRET}"`,
    )
    expect(body).not.toContain(TOKEN)
    expect(text + deputy.logged() + JSON.stringify(deputy.evidence())).not.toContain(SECRET)
  })
  test('its no withholds it, says that the call was carried out, and nothing passes', async () => {
    answering(`{"mail":"${SECRET}"}`, { 'x-mail': SECRET })
    say = saying({ allow: false, reasons: [{ code: 'pii', msg: '' }] })
    const answer = await send('x')
    expect(answer).toMatchObject({
      status: 403,
      code: 'policy_denied',
      json: { reasons: ['hook_pii'], hook: 'leak', sent: true },
    })
    expect(answer.json['detail']).toContain('was carried out')
    expect(await outcomeOf(answer)).toMatchObject({
      result: 'policy_denied',
      sent: true,
      status: 200,
    })
    expect(answer.text).not.toContain(SECRET)
  })
  test('errors and answers without a body are shown as well', async () => {
    answering('{"error":1}', {}, 404)
    expect((await send('x')).json).toEqual({ error: 1 })
    answering('', {}, 204)
    expect((await send('x')).status).toBe(204)
    expect(asked.map(({ body }) => (JSON.parse(body) as { answer: unknown }).answer)).toEqual([
      { status: 404, body: { error: 1 } },
      { status: 204, body: null },
    ])
    say = saying({ allow: false })
    expect((await send('x')).status).toBe(403)
  })
  test.each([
    ['a page', '<p>', { 'content-type': 'text/html' }],
    ['a stream of events', 'data: {}\n\n', { 'content-type': 'text/event-stream' }],
    ['two readings', '{"a":1,"a":2}', {}],
    ['more than may be collected', `"${'x'.repeat(70_000)}"`, {}],
  ])('what cannot be shown does not pass: %s', async (_what, body, headers) => {
    answering(body, headers)
    const answer = await send('x')
    expect([answer.status, answer.code]).toEqual([502, 'answer_not_redactable'])
    expect(asked).toEqual([])
  })
  test('what is not its plain yes withholds the answer', async () => {
    answering(`{"mail":"${SECRET}"}`)
    for (const how of [
      saying({ allow: 'true' }),
      saying({}, 500),
      (res: ServerResponse) => void res.destroy(),
    ]) {
      say = how
      const answer = await send('x')
      expect([answer.status, answer.code, answer.json['sent']]).toEqual([
        503,
        'hook_unavailable',
        true,
      ])
      expect(answer.text).not.toContain(SECRET)
    }
  })
})

test('the hook of docs/hooks.md refuses a card number, and whoever is not deputy', async () => {
  const book = readFileSync(new URL('../../docs/hooks.md', import.meta.url), 'utf8')
  const code = /^```js\n([^]*?)^```$/m.exec(book)?.[1] ?? ''
  const port = await freePort()
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: { DLP_KEY: KEY, PORT: String(port) },
  })
  const path = join(deputy.dir, 'deputy.yaml')
  const before = readFileSync(path, 'utf8')
  try {
    const shown = hook('dlp', 'before', ['acme.note'], {
      url: `http://127.0.0.1:${port}/`,
      timeout: '5s',
    })
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(before) as Fields), hooks: [shown] }))
    await deputy.reload()
    await expect.poll(async () => (await note()).status).toBe(200)
    expect((await note('4111111111111111')).json['reasons']).toEqual(['hook_card'])
    const forged = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' })
    expect(forged.status).toBe(400)
  } finally {
    child.kill()
    writeFileSync(path, before)
    await deputy.reload()
  }
})
test('one that takes longer than a decision may be old is asked once, and policy decides anew', async () => {
  const path = join(deputy.dir, 'deputy.yaml')
  const before = readFileSync(path, 'utf8')
  const slow = hook('slow', 'before', ['acme.note'], { timeout: '5s' })
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(before) as Fields), hooks: [slow] }))
  await deputy.reload()
  say = (res, question) => void setTimeout(() => yes(res, question), 1_300)
  expect((await note()).status).toBe(200)
  expect(asked).toHaveLength(1)
  const last = deputy.evidence().findLast(({ event }) => event === 'decision')
  expect(last).toMatchObject({ n: 2, decision: { effect: 'allow' } })
  writeFileSync(path, before)
  await deputy.reload()
})
test('a reload puts hooks in and takes them out', async () => {
  const path = join(deputy.dir, 'deputy.yaml')
  const before = readFileSync(path, 'utf8')
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(before) as Fields), hooks: [] }))
  await deputy.reload()
  expect((await note()).status).toBe(200)
  expect(asked).toEqual([])
  writeFileSync(path, before)
  await deputy.reload()
  expect((await note()).status).toBe(200)
  expect(asked).toHaveLength(1)
})
