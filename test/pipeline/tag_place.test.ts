// Tags that stand in no header: a form field, and an address that deputy sealed for clients that send no key there.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import type { Route } from '../../proxy/model.ts'
import { createTagged } from '../../proxy/pipeline/tag_place.ts'
import { lines, sendRaw } from '../support/raw.ts'
import { BUNDLE, startDeputy } from '../support/deputy.ts'
import type { Deputy } from '../support/deputy.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const TOKENS = { alice: 'xoxp-alice-0123456789', bob: 'xoxp-bob-0123456789' } as const
const SCOPES = ['users:read', 'files:write', 'chat:write']
/** Slack signs these itself. */
const SIGNED = '/upload/v1/CwABAAAA?token=signed-by-slack&upload=1'

let slack: Upstream
let deputy: Deputy
beforeAll(async () => {
  slack = await startUpstream()
  for (const [name, token] of Object.entries(TOKENS)) slack.people.set(token, name)
  slack.handle = ({ url }, res) => {
    const upload = { ok: true, upload_url: `https://files.slack.com${SIGNED}`, file_id: 'F1' }
    const answer = url.includes('getUploadURL') ? upload : { ok: true }
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer))
  }
  deputy = await startDeputy({
    upstream: slack.origin,
    people: ['alice', 'bob'].map((id) => ({ id, groups: ['engineering'] })),
    held: Object.entries(TOKENS).map(([person, token]) => ({
      person,
      connection: 'slack',
      token,
      scopes: SCOPES,
    })),
    config: {
      policy: { bundle: BUNDLE },
      providers: [],
      connections: {
        slack: {
          provider: 'slack',
          client_id: 'deputy',
          client_secret: 'client-secret-of-slack-0123456789',
          scopes: SCOPES,
          hosts: { 'slack.com': slack.origin, 'files.slack.com': slack.origin },
        },
      },
    },
  })
})
afterAll(async () => {
  await deputy.close()
  await slack.close()
})
beforeEach(() => {
  slack.seen.length = 0
})

const post = async (
  url: string,
  body: string | URLSearchParams,
  headers: Record<string, string> = {},
) => {
  const answer = await fetch(url, { method: 'POST', body, headers })
  return { code: answer.headers.get('deputy-answer'), body: (await answer.json()) as object }
}
const form = (fields: Record<string, string>) => new URLSearchParams(fields)
const seenAs = () =>
  slack.seen.map(({ headers, url, body }) => [headers['authorization'], url, body.toString()])

test('the form field of the SDK’s key holds a tag: each is themselves, and the field stays here', async () => {
  for (const person of ['alice', 'bob'] as const) {
    const answer = await post(
      `${deputy.agent}/slack.com/api/auth.test`,
      form({ token: `user:${person}`, a: 'b' }),
    )
    expect(answer).toEqual({ code: null, body: { ok: true } })
  }
  expect(seenAs()).toEqual([
    [`Bearer ${TOKENS.alice}`, '/api/auth.test', 'a=b'],
    [`Bearer ${TOKENS.bob}`, '/api/auth.test', 'a=b'],
  ])
  const decided = deputy.evidence().filter(({ event }) => event === 'decision')
  expect(decided.slice(-2).map(({ user, stripped }) => [user, stripped])).toMatchObject([
    [{ id: 'alice' }, []],
    [{ id: 'bob' }, []],
  ])
})

test.each([
  ['a credential in the field names nobody', { token: 'xoxp-made-up' }, {}, 'unauthenticated'],
  ['nor does an empty one', { token: '' }, {}, 'unauthenticated'],
  ['nor a field of another name', { key: 'user:alice' }, {}, 'unauthenticated'],
])('%s', async (_what, fields, headers, code) => {
  const answer = await post(`${deputy.agent}/slack.com/api/auth.test`, form(fields), headers)
  expect(answer.code).toBe(code)
  expect(slack.seen).toEqual([])
})

test('where a header names somebody, the field is a credential and is cut', async () => {
  const url = `${deputy.agent}/slack.com/api/auth.test`
  const answer = await post(url, form({ token: 'user:bob' }), { 'Deputy-User': 'alice' })
  expect(answer.code).toBeNull()
  expect(seenAs()).toEqual([[`Bearer ${TOKENS.alice}`, '/api/auth.test', '']])
  expect(deputy.evidence().findLast(({ event }) => event === 'decision')?.stripped).toEqual([
    'body:token',
  ])
})

test('two fields that differ are nobody, and so is one that is too long to be read', async () => {
  const url = `${deputy.agent}/slack.com/api/auth.test`
  expect(
    (
      await post(
        url,
        new URLSearchParams([
          ['token', 'user:alice'],
          ['token', 'user:bob'],
        ]),
      )
    ).code,
  ).toBe('unauthenticated')
  const long = `token=user:alice&a=${'x'.repeat(1_100_000)}`
  const type = { 'content-type': 'application/x-www-form-urlencoded' }
  expect((await post(url, long, type)).code).toBe('unauthenticated')
  expect(slack.seen).toEqual([])
})

const uploadUrl = async (
  person: string,
  at = deputy.agent,
  path = '/slack.com',
): Promise<string> => {
  const url = `${at}${path}/api/files.getUploadURLExternal`
  const { body } = await post(url, form({ filename: 'a', length: '1' }), { 'Deputy-User': person })
  return (body as { upload_url: string }).upload_url
}

test('an address that clients follow without a key carries a tag of its own', async () => {
  for (const person of ['alice', 'bob'] as const) {
    const url = await uploadUrl(person)
    expect(url).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+\/~dps_[\w-]+\/files\.slack\.com\/upload\/v1\/CwABAAAA\?/,
    )
    slack.seen.length = 0
    const answer = await post(url, 'the file', { 'content-type': 'application/octet-stream' })
    expect(answer).toEqual({ code: null, body: { ok: true } })
    // What Slack signed into the address is its own, and goes back to it.
    expect(seenAs()).toEqual([[`Bearer ${TOKENS[person]}`, SIGNED, 'the file']])
  }
  const host = await uploadUrl('alice', deputy.agent, '/slack@slack.com')
  expect(host).toContain('/slack@files.slack.com/')
})

test('it opens nothing else, and no line of evidence or log has it', async () => {
  const url = await uploadUrl('alice')
  slack.seen.length = 0
  const sealed = /~(dps_[\w-]+)/.exec(url)?.[1] ?? ''
  const at = `${deputy.agent}/~${sealed}`
  for (const other of [
    `${at}/files.slack.com/upload/v1/Other?token=signed-by-slack&upload=1`,
    `${at}/files.slack.com/upload/v1/CwABAAAA`,
    `${url}&more=1`,
    `${at}/slack.com/api/chat.postMessage`,
    url.replace('dps_', 'dps_A'),
  ])
    expect(
      (await post(other, 'x', { 'content-type': 'application/octet-stream' })).code,
      other,
    ).toBe('unauthenticated')
  expect(slack.seen).toEqual([])
  // Whoever names somebody themselves is that one.
  await post(url, 'x', { 'content-type': 'application/octet-stream', 'Deputy-User': 'bob' })
  expect(seenAs()[0]?.[0]).toBe(`Bearer ${TOKENS.bob}`)
  expect(JSON.stringify(deputy.evidence())).not.toContain('dps_')
  expect(deputy.logged()).not.toContain('dps_')
})

test('so it is where the host names the provider', async () => {
  const { port } = new URL(deputy.agent)
  const ask = (host: string, start: string, ...more: readonly string[]) =>
    sendRaw(deputy.agent, lines(start, `Host: ${host}`, 'Content-Length: 0', ...more))
  const start = 'POST /api/files.getUploadURLExternal HTTP/1.1'
  const { json } = await ask(`slack.com.localhost:${port}`, start, 'Deputy-User: alice')
  const url = new URL(String(json['upload_url']))
  expect(url.host).toBe(`files.slack.com.localhost:${port}`)
  expect(url.pathname).toMatch(/^\/~dps_[\w-]+\/upload\/v1\/CwABAAAA$/)
  slack.seen.length = 0
  const answer = await ask(url.host, `POST ${url.pathname}${url.search} HTTP/1.1`)
  expect(answer.status).toBe(200)
  expect(seenAs()).toEqual([[`Bearer ${TOKENS.alice}`, SIGNED, '']])
})

test('an address for uploads is for nothing else', async () => {
  const url = await uploadUrl('alice')
  slack.seen.length = 0
  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
    const answer = await fetch(url, { method })
    expect([method, answer.headers.get('deputy-answer')]).toEqual([method, 'unauthenticated'])
  }
  expect(slack.seen).toEqual([])
})

test('policy decides when the address is used, not when it was made', async () => {
  const url = await uploadUrl('bob')
  const people = join(deputy.dir, 'people.yaml')
  writeFileSync(people, JSON.stringify({ people: [{ id: 'bob', groups: [] }] }))
  const type = { 'content-type': 'application/octet-stream' }
  await expect.poll(async () => (await post(url, 'x', type)).code).toBe('policy_denied')
})

const FORM = 'application/x-www-form-urlencoded'
/** A look at one request alone. `read` counts the bodies that were read. */
const alone = (
  headers: Record<string, string | undefined> = {},
  route: object = {},
  strip: readonly string[] = ['token'],
  body = 'token=user:alice',
  opened = 'user:sealed',
) => {
  let read = 0
  const tagged = createTagged({
    tagHeader: 'deputy-user',
    agentHeader: 'deputy-agent',
    addressTags: { seal: () => '', open: () => opened },
    tagged: () => false,
    read: () => {
      read++
      return Promise.resolve(Buffer.from(body))
    },
    most: 1,
  })
  const req = { headers: { 'content-type': FORM, ...headers }, rawHeaders: [] }
  const provider = { strip: { body: strip } }
  const target = { path: '/a', query: [], segments: ['a'], raw: ['a'] }
  const given = { named: null, host: 'h', target, connection: { provider }, ...route }
  const found = tagged(req as unknown as IncomingMessage, given as unknown as Route)
  return { found, read: () => read }
}

test('a form is read for a tag only where one may stand in it, and nobody is named elsewhere', async () => {
  const rows: readonly Parameters<typeof alone>[] = [
    [{}, { named: 'bob' }],
    [{ authorization: 'Bearer x' }],
    [{ 'deputy-user': 'bob' }],
    [{}, {}, ['key']],
    [{ 'content-type': undefined }],
    [{ 'content-type': 'application/json' }],
  ]
  for (const row of rows) {
    const { found, read } = alone(...row)
    expect(await found).toMatchObject({ place: null, read: null, rawHeaders: [] })
    expect(read()).toBe(0)
  }
  const none = alone({}, {}, ['token'], 'a=b')
  expect(await none.found).toMatchObject({ place: null, rawHeaders: [] })
  expect(none.read()).toBe(1)
  const jose = alone({}, {}, ['token'], 'token=user%3Ajos%C3%A9')
  // As header bytes, so that it is read as the same name.
  expect(await jose.found).toMatchObject({
    place: 'form',
    rawHeaders: ['authorization', Buffer.from('user:jos\u00e9').toString('latin1')],
  })
})

test('what an address was sealed with stays out of other addresses, whatever way it came', async () => {
  const seal = '~dps_abc'
  const rows = [
    [
      { kind: 'path', prefix: `/${seal}/slack@` },
      { kind: 'path', prefix: '/slack@' },
    ],
    [
      { kind: 'host', prefix: `/${seal}` },
      { kind: 'host', prefix: '' },
    ],
    [{ kind: 'absolute' }, { kind: 'absolute' }],
    [{ kind: 'listener' }, { kind: 'listener' }],
  ] as const
  for (const [addressing, left] of rows) {
    const { found } = alone({}, { named: 'dps_abc', addressing })
    expect(await found).toMatchObject({
      place: 'address',
      named: null,
      rawHeaders: ['authorization', 'user:sealed'],
      route: { named: null },
    })
    expect((await found).route.addressing).toEqual(left)
  }
})

test('a sealed address names the workload, too, unless the client does', async () => {
  const address = { named: 'dps_abc', addressing: { kind: 'listener' } }
  const of = async (headers: Record<string, string>) =>
    (await alone(headers, address, [], '', 'user:sealed\nthe-token').found).rawHeaders
  expect(await of({})).toEqual(['authorization', 'user:sealed', 'deputy-agent', 'the-token'])
  const ofTenant = await alone({}, address, [], '', 'key:a\n\nacme').found
  expect(ofTenant.rawHeaders).toEqual(['authorization', 'key:a', 'deputy-tenant', 'acme'])
  expect(await of({ 'deputy-agent': 'a-newer-one' })).toEqual(['authorization', 'user:sealed'])
})

test('for callers whom nobody knows yet so many bodies are read at once, and no more', async () => {
  const read = Promise.withResolvers<Buffer>()
  const tagged = createTagged({
    tagHeader: 'deputy-user',
    agentHeader: 'deputy-agent',
    addressTags: { seal: () => '', open: () => '' },
    tagged: () => false,
    read: () => read.promise,
    most: 1,
  })
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const req = { headers, rawHeaders: [] as string[] } as unknown as IncomingMessage
  const strip = { body: ['token'] }
  const route = { named: null, connection: { provider: { strip } } } as unknown as Route
  const first = tagged(req, route)
  const second = await Promise.resolve(tagged(req, route)).catch((error: unknown) => error)
  expect(second).toMatchObject({ code: 'too_many_calls' })
  read.resolve(Buffer.from('token=user:alice'))
  expect(await first).toMatchObject({ place: 'form', rawHeaders: ['authorization', 'user:alice'] })
  expect(await tagged(req, route)).toMatchObject({ place: 'form' })
})
