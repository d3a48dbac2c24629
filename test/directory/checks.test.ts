// An authorization service that is asked about one call: what it may answer with, and that only a plain boolean counts.
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createCheck, type CheckKind } from '../../proxy/directory/checks.ts'
import { Unanswered } from '../../proxy/directory/source.ts'
import { Unaskable } from '../../proxy/wire/template.ts'
import { QUIET } from '../support/log.ts'

let server: Server
let origin: string
let handle: RequestListener
let seen: { readonly method: string; readonly url: string; readonly body: string }[]
let failures: string[]
let answers: [string, boolean][]
const bodyOf = async (req: IncomingMessage): Promise<string> => {
  let text = ''
  for await (const chunk of req) text += String(chunk)
  return text
}
beforeEach(async () => {
  seen = []
  failures = []
  answers = []
  server = createServer((req, res) => {
    void bodyOf(req).then((body) => {
      seen.push({ method: req.method ?? '', url: req.url ?? '', body })
      handle(req, res)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})
const json =
  (body: string, status = 200, headers: Record<string, string> = {}): RequestListener =>
  (_, res) =>
    void res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)

const fga = (more: Partial<Extract<CheckKind, { preset: 'openfga' }>> = {}): CheckKind => ({
  preset: 'openfga',
  url: origin,
  store: 'S/1',
  model: null,
  user: 'user:{id}',
  relation: 'can_edit',
  object: 'repo:{path.repo}',
  ...more,
})
const checking = (kind: CheckKind = fga(), timeoutMs = 5_000) =>
  createCheck({
    name: 'can_edit',
    kind,
    operations: ['*'],
    get: {
      fetch: (input, init) => globalThis.fetch(input, init),
      authorization: () => Promise.resolve('Bearer canary'),
    },
    timeoutMs,
    clock: { now: () => Date.now(), mono: () => performance.now() },
    log: QUIET,
    seen: {
      answered: (_, answer) => void answers.push(['can_edit', answer]),
      failed: (_, reason) => void failures.push(reason),
    },
  })
const CALL: Readonly<Record<string, string>> = { id: 'alice', 'path.repo': 'app' }
const asked = (check = checking(), call = CALL, whose = 'alice'): Promise<boolean> =>
  check.about((name) => call[name], whose)?.() ?? Promise.reject(new Error('not asked'))
const reasonOf = (asking: Promise<unknown>): Promise<unknown> =>
  asking.then(
    (answer) => answer,
    (error: unknown) => (error instanceof Unanswered ? error.reason : error),
  )

describe('OpenFGA', () => {
  test('is asked for one tuple, past its caches, and its boolean is the answer', async () => {
    handle = json('{"allowed":true,"resolution":""}')
    expect(await asked(checking(fga({ model: '01M' })))).toBe(true)
    expect(seen[0]).toMatchObject({ method: 'POST', url: '/stores/S%2F1/check' })
    expect(JSON.parse(seen[0]?.body ?? '')).toEqual({
      tuple_key: { user: 'user:alice', relation: 'can_edit', object: 'repo:app' },
      authorization_model_id: '01M',
      consistency: 'HIGHER_CONSISTENCY',
    })
    handle = json('{"allowed":false}')
    expect(await asked()).toBe(false)
    expect(answers.map(([, answer]) => answer)).toEqual([true, false])
  })
  test('is asked anew each time', async () => {
    handle = json('{"allowed":true}')
    const check = checking()
    await Promise.all([asked(check), asked(check), asked(check)])
    expect(seen).toHaveLength(3)
  })
  test('is not asked about a call that lacks what the templates name', () => {
    expect(checking().about((name) => (name === 'id' ? 'alice' : undefined), 'a')).toBeNull()
  })
  test('is never asked what a value would change', () => {
    for (const repo of ['app#owner', 'user:x', '*', 'a b'])
      expect(() => checking().about((name) => ({ ...CALL, 'path.repo': repo })[name], 'a')).toThrow(
        Unaskable,
      )
    expect(seen).toEqual([])
  })
})

describe('a lying answer is none', () => {
  const html: RequestListener = (_, res) =>
    void res.writeHead(200, { 'content-type': 'text/html' }).end('{"allowed":true}')
  test.each<[string, RequestListener, string]>([
    ['a text for a boolean', json('{"allowed":"true"}'), 'malformed'],
    ['a number', json('{"allowed":1}'), 'malformed'],
    ['a list', json('[{"allowed":true}]'), 'malformed'],
    ['nothing', json('{}'), 'malformed'],
    ['null', json('null'), 'malformed'],
    ['an inherited name', json('{"__proto__":{"allowed":true}}'), 'malformed'],
    ['two answers', json('{"allowed":false,"allowed":true}'), 'malformed'],
    ['HTML', html, 'malformed'],
    ['HTML that says it is JSON', json('<html>{"allowed":true}'), 'malformed'],
    ['1 MB', json(`{"allowed":true,"x":"${'x'.repeat(1_000_000)}"}`), 'too_large'],
    ['a redirect', json('{"allowed":true}', 302, { location: '/yes' }), 'status'],
    ['an error with a yes', json('{"allowed":true}', 500), 'status'],
    ['a bad request with a yes', json('{"allowed":true}', 400), 'status'],
    ['a 404 with a yes', json('{"allowed":true}', 404), 'status'],
    ['a refusal of our own token', json('{"allowed":true}', 401), 'refused'],
    ['another success', json('{"allowed":true}', 202), 'status'],
    ['of a cache', json('{"allowed":true}', 200, { age: '3' }), 'stale'],
    ['a closed connection', (req) => void req.socket.destroy(), 'unreachable'],
  ])('%s', async (_, listener, reason) => {
    handle = listener
    expect(await reasonOf(asked())).toBe(reason)
    expect(failures).toEqual([reason])
    expect(answers).toEqual([])
    expect(seen.map(({ url }) => url)).not.toContain('/yes')
  })
  test('one that does not come is waited for no longer than its time', async () => {
    handle = () => {}
    expect(await reasonOf(asked(checking(fga(), 50)))).toBe('timeout')
    handle = (_, res) =>
      void res.writeHead(200, { 'content-type': 'application/json' }).write('{"allowed":tr')
    expect(await reasonOf(asked(checking(fga(), 50)))).toBe('timeout')
  })
})

test('no more than 64 questions run at once, and one that gets no turn in time fails', async () => {
  const waiting: (() => void)[] = []
  handle = (_, res) => void waiting.push(() => json('{"allowed":true}')(_, res))
  const check = checking(fga(), 1_500)
  const all = Array.from({ length: 70 }, () => reasonOf(asked(check)))
  await expect.poll(() => waiting).toHaveLength(64)
  for (const answer of waiting.splice(0)) answer()
  await expect.poll(() => waiting).toHaveLength(6)
  for (const answer of waiting.splice(0)) answer()
  expect(new Set(await Promise.all(all))).toEqual(new Set([true]))
})

test('one that fails for everybody is left alone for a while, and asked again', async () => {
  handle = (req) => void req.socket.destroy()
  const check = checking()
  for (let i = 0; i < 5; i++) expect(await reasonOf(asked(check))).toBe('unreachable')
  const before = seen.length
  expect(await reasonOf(asked(check))).toBe('resting')
  expect(seen).toHaveLength(before)
  handle = json('{"allowed":true}')
  await expect.poll(() => reasonOf(asked(check))).toBe(true)
})

describe('a service of one’s own', () => {
  const kind = (more: object = {}): CheckKind => ({
    preset: 'none',
    url: `${origin}/may/{id}`,
    method: 'GET',
    body: undefined,
    answer: '/result/allow',
    ...more,
  })
  test('says true or false where it is told', async () => {
    handle = json('{"result":{"allow":true}}')
    expect(await asked(checking(kind()))).toBe(true)
    expect(seen[0]).toEqual({ method: 'GET', url: '/may/alice', body: '' })
    handle = json('{"result":{"allow":false}}')
    const body = { input: { who: '{id}', repo: '{path.repo}' } }
    expect(await asked(checking(kind({ url: `${origin}/v1`, method: 'POST', body })))).toBe(false)
    expect(seen[1]?.body).toBe('{"input":{"who":"alice","repo":"app"}}')
  })
  test.each(['{"result":true}', '{"result":{"allow":"yes"}}', '{"allow":true}', '{}'])(
    '%s says neither',
    async (text) => {
      handle = json(text)
      expect(await reasonOf(asked(checking(kind())))).toBe('malformed')
    },
  )
})
