// Which bodies are read, up to where, and what becomes of them; what is in them is judged in wire/body.
import { hash } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { EnvelopeFormat, Operation, Route } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import type { Act } from '../../proxy/pipeline/classify.ts'
import { inspect, readUpTo, type Body } from '../../proxy/pipeline/inspect.ts'
import { mailPlaces } from '../../proxy/providers/catalogue.ts'
import { provider } from '../wire/fixture.ts'

const LIMITS = { requestBody: 1_000, inspectedBody: 20 }
type Given = {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly operation?: Partial<Operation>
  readonly kind?: Act['kind']
  readonly format?: EnvelopeFormat
  readonly query?: readonly { readonly name: string; readonly value: string }[]
  readonly early?: Buffer | null
}
const request = (headers: Readonly<Record<string, string>>, body: string): IncomingMessage =>
  Object.assign(new PassThrough().end(body), {
    headers,
    complete: false,
  }) as unknown as IncomingMessage

/** The length is that of the body unless a test says otherwise; '' says nothing. */
const look = async (given: Given, limits = LIMITS): Promise<Body> => {
  const { body = '', operation = {}, kind = 'rest', query = [], early } = given
  const length: Record<string, string> =
    body === '' ? {} : { 'content-length': String(body.length) }
  const headers = Object.fromEntries(
    Object.entries({ ...length, ...given.headers }).filter(([, value]) => value !== ''),
  )
  const row = { id: 'o', access: 'write', scopes: [[]], inspect: [], upload: false, rewrite: [] }
  const envelope = given.format === undefined ? {} : { envelope: { format: given.format } }
  const act = { operation: { ...row, ...operation }, kind, segments: [], ...envelope } as Act
  const host = 'api.acme.example'
  const route = {
    connection: { provider },
    addressing: { kind: 'path', prefix: '/' },
    host,
    target: { query, path: '/v1/$batch' },
  } as unknown as Route
  return inspect(request(headers, body), { route, act }, limits, early)
}
const refused = (given: Given): Promise<string> =>
  look(given).then(
    ({ state }) => `passed as ${state}`,
    (error: unknown) => (error instanceof Problem ? error.code : String(error)),
  )
const json = { 'content-type': 'application/json' }
const bytes = { 'content-type': 'application/octet-stream' }
const xml = { 'content-type': 'application/xml' }

describe('whether there is a body', () => {
  test('neither length nor chunks, or a length of nothing: there is none, and the query alone is looked at', async () => {
    const operation = { inspect: ['/title'] }
    const query = [{ name: 'title', value: 'x' }]
    for (const headers of [{}, { 'content-length': '0' }]) {
      expect(await look({ headers, operation })).toMatchObject({ state: 'none', json: {} })
      expect(await look({ headers, query })).toMatchObject({ state: 'none', json: {} })
      expect(await look({ headers, operation, query })).toMatchObject({
        state: 'none',
        declared: 0,
        json: { '/title': 'x' },
      })
    }
  })
  test('of what there is not the type does not matter', async () => {
    for (const length of ['', '0'])
      for (const kind of ['rest', 'graphql'] as const)
        expect(await refused({ headers: { ...xml, 'content-length': length }, kind })).toBe(
          'passed as none',
        )
  })
  test('chunks that stream have no length', async () => {
    const chunked = { 'transfer-encoding': 'chunked', 'content-length': '', ...bytes }
    expect(await look({ body: 'x', headers: chunked })).toMatchObject({
      state: 'unparsed',
      declared: null,
    })
  })
  test('chunks may bring one, also beside a length of nothing', async () => {
    const chunked = { 'transfer-encoding': 'chunked', 'content-length': '', ...json }
    expect(await look({ body: '{"a":1}', headers: chunked })).toMatchObject({
      state: 'parsed',
      declared: 7,
    })
    expect(await look({ headers: chunked, body: '' })).toMatchObject({ state: 'none', bytes: null })
    const both = { ...chunked, 'content-length': '0' }
    expect(await look({ body: '{"a":1}', headers: both })).toMatchObject({ state: 'parsed' })
  })
})

describe('how much of it', () => {
  test('more than limits.request_body is refused before a byte is read, exactly as much is not', async () => {
    const at = (length: number) => ({ ...bytes, 'content-length': String(length) })
    expect(await refused({ body: 'x', headers: at(1_001) })).toBe('request_too_large')
    expect(await refused({ body: 'x', headers: at(1_000) })).toBe('passed as unparsed')
  })
  test('fields beyond limits.inspected_body are refused, told by the length or found out; exactly as many are not', async () => {
    const exact = JSON.stringify({ a: 'x'.repeat(20 - 8) })
    expect(exact).toHaveLength(20)
    expect(await refused({ body: exact, headers: json })).toBe('passed as parsed')
    for (const headers of [json, { ...json, 'content-length': '', 'transfer-encoding': 'chunked' }])
      expect(await refused({ body: `${exact} `, headers })).toBe('request_too_large')
  })
  test('a body whose length is beyond it is not waited for', async () => {
    const headers = { ...json, 'content-length': '21' }
    expect(await refused({ headers })).toBe('request_too_large')
    expect(await refused({ headers, operation: { upload: true } })).toBe('passed as too_large')
  })
  test('an upload beyond it passes unread, told by the length or found out', async () => {
    const operation = { upload: true }
    const body = `"${'x'.repeat(30)}"`
    for (const headers of [json, { ...json, 'content-length': '', 'transfer-encoding': 'chunked' }])
      expect(await look({ body, headers, operation })).toMatchObject({
        state: 'too_large',
        bytes: null,
      })
    expect(await look({ body: '{"a":1}', headers: json, operation })).toMatchObject({
      state: 'parsed',
    })
  })
})

describe('what kind of body', () => {
  test.each<[string, Given, string]>([
    ['bytes that no server reads as fields stream', { headers: bytes }, 'passed as unparsed'],
    [
      'but not where policy needs a member',
      { headers: bytes, operation: { inspect: ['/a'] } },
      'unsupported_media_type',
    ],
    ['what cannot be read is refused', { headers: xml }, 'unsupported_media_type'],
    ['unless it is an upload', { headers: xml, operation: { upload: true } }, 'passed as unparsed'],
    [
      'of which policy needs nothing',
      { headers: xml, operation: { upload: true, inspect: ['/a'] } },
      'unsupported_media_type',
    ],
    [
      'one opaque type passes',
      { headers: xml, operation: { opaque: 'application/xml' } },
      'passed as unparsed',
    ],
    [
      'and no other',
      { headers: json, operation: { opaque: 'application/xml' } },
      'unsupported_media_type',
    ],
    [
      'a download’s body is read like any other',
      { headers: json, kind: 'asset' },
      'passed as parsed',
    ],
    ['GraphQL comes as JSON', { headers: bytes, kind: 'graphql' }, 'unsupported_media_type'],
    [
      'and in no other JSON',
      { headers: { 'content-type': 'application/graphql+json' }, kind: 'graphql' },
      'unsupported_media_type',
    ],
    [
      'a coding hides what is in it',
      { headers: { ...json, 'content-encoding': 'br' } },
      'unsupported_media_type',
    ],
    [
      'what says gzip must be gzip',
      { headers: { ...json, 'content-encoding': 'gzip' } },
      'request_invalid',
    ],
    [
      'identity is none',
      { headers: { ...json, 'content-encoding': 'Identity' } },
      'passed as parsed',
    ],
    [
      'a coding of what streams is its own affair',
      { headers: { ...bytes, 'content-encoding': 'gzip' } },
      'passed as unparsed',
    ],
  ])('%s', async (_what, given, end) => {
    expect(await refused({ body: '{"a":1}', ...given })).toBe(end)
  })
  test('gzip is unpacked up to limits.inspected_body, and sent as it was read', async () => {
    const headers = { ...json, 'content-encoding': 'GZIP' }
    const of = (text: string): Given => ({ headers, early: gzipSync(text), body: 'x' })
    const limits = { ...LIMITS, inspectedBody: 60 }
    const operation = { inspect: ['/a'] }
    expect(await look({ ...of('{"a":1}'), operation }, limits)).toMatchObject({
      bytes: Buffer.from('{"a":1}'),
      declared: 7,
      json: { '/a': 1 },
      unzipped: true,
    })
    const large = JSON.stringify('x'.repeat(59))
    await expect(look(of(large), limits)).rejects.toMatchObject({ code: 'request_too_large' })
    // An upload is as long as it is, packed or not.
    const packed = gzipSync(large)
    expect(await look({ ...of(large), operation: { upload: true } }, limits)).toEqual({
      state: 'too_large',
      bytes: packed,
      declared: packed.length,
      contentType: json['content-type'],
      json: {},
      digest: `sha256:${hash('sha256', packed, 'hex')}`,
      stripped: [],
      unseen: true,
    })
    const upload = { upload: true }
    expect(await look({ ...of('{"a":1}'), operation: upload }, limits)).toMatchObject({
      bytes: Buffer.from('{"a":1}'),
      unzipped: true,
    })
    const chunked = { ...headers, 'content-length': '', 'transfer-encoding': 'chunked' }
    const longer = { body: 'x'.repeat(61), headers: chunked, operation: upload }
    expect(await look(longer, limits)).toMatchObject({ state: 'too_large', bytes: null })
    expect(await look({ body: '{"a":1}', headers: json })).not.toHaveProperty('unzipped')
    const none = { headers: { ...headers, 'transfer-encoding': 'chunked' }, early: Buffer.alloc(0) }
    expect(await look(none)).toMatchObject({ state: 'none', unzipped: true })
  })
  test('a batch comes in the type of its format alone, also where no one call may', async () => {
    const mixed = { 'content-type': 'multipart/mixed; boundary=b' }
    const parts =
      '--b\r\nContent-Type: application/http\r\n\r\nGET /me HTTP/1.1\r\n\r\n\r\n--b--\r\n'
    const limits = { requestBody: 1_000, inspectedBody: 500 }
    const multipart = { body: parts, headers: mixed, format: 'multipart_batch' } as const
    expect((await look(multipart, limits)).calls).toMatchObject([{ method: 'GET', target: '/me' }])
    const graph = '{"requests":[{"id":"1","method":"GET","url":"/me"}]}'
    const batch = { body: graph, headers: json, format: 'graph_batch' } as const
    expect((await look(batch, limits)).calls).toHaveLength(1)
    for (const wrong of [
      { ...multipart, headers: json },
      { ...batch, headers: { 'content-type': 'text/json' } },
    ])
      await expect(look(wrong, limits)).rejects.toMatchObject({
        code: 'unsupported_media_type',
        message: expect.stringContaining('this batch comes as') as string,
      })
    expect(await refused({ body: parts, headers: mixed })).toBe('unsupported_media_type')
  })
  test('a message to an MCP server is JSON by its type', async () => {
    const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    const limits = { requestBody: 1_000, inspectedBody: 500 }
    expect(await look({ body, headers: json, kind: 'mcp' }, limits)).toMatchObject({
      message: { text: body },
    })
    for (const type of ['', 'text/json', 'text/plain'])
      await expect(
        look({ body, headers: { 'content-type': type }, kind: 'mcp' }, limits),
      ).rejects.toMatchObject({ code: 'unsupported_media_type' })
  })
  test('the refusal says why: nobody can read it, or policy needs of it what it has not', async () => {
    await expect(look({ body: 'x', headers: xml })).rejects.toThrow(
      'servers read fields out of application/xml',
    )
    await expect(look({ body: 'x', headers: xml, operation: { inspect: ['/a'] } })).rejects.toThrow(
      'policy needs members of the body',
    )
  })
  test('a GraphQL call brings its root fields, and is no upload; another one brings none', async () => {
    const body = '{"query":"{a}"}'
    const graphql = await look({ body, headers: json, kind: 'graphql' })
    expect(graphql.inner).toMatchObject([{ field: { type: 'query', fields: ['a'] } }])
    expect((await look({ body, headers: json })).inner).toBeUndefined()
    expect(
      await refused({ body: '{oops', headers: json, kind: 'graphql', operation: { upload: true } }),
    ).toBe('request_invalid')
    expect(await refused({ body: '{oops', headers: json, operation: { upload: true } })).toBe(
      'passed as unparsed',
    )
    expect(await refused({ body: '{oops', headers: json })).toBe('request_invalid')
  })
})

test('members that policy needs stand in the body alone, or in both places alike', async () => {
  const operation = { inspect: ['/a'] }
  const asked = (value: string, needs = operation) =>
    refused({ body: '{"a":"1"}', headers: json, operation: needs, query: [{ name: 'a', value }] })
  expect(await asked('1')).toBe('passed as parsed')
  expect(await asked('2')).toBe('request_invalid')
  expect(await asked('2', { inspect: [] })).toBe('passed as parsed')
})

test('what was read before is not read again', async () => {
  const early = Buffer.from('{"a":1}')
  const body = await look({ headers: { ...json, 'content-length': '7' }, early })
  expect(body).toMatchObject({ state: 'parsed', declared: 7 })
  expect(body.bytes).toBe(early)
  expect(body.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
})

describe('reading', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
  afterEach(() => void vi.useRealTimers())
  test('exactly the cap is whole; one byte more is put back', async () => {
    expect((await readUpTo(request({}, '12345'), 5))?.toString()).toBe('12345')
    const long = request({}, '123456')
    expect(await readUpTo(long, 5)).toBeNull()
    let rest = ''
    for await (const chunk of long) rest += String(chunk)
    expect(rest).toBe('123456')
  })
  test('who left, before or meanwhile, is told nothing; it is no fault of ours', async () => {
    const gone = request({}, '12')
    gone.destroy()
    await once(gone, 'close')
    const leaving = new PassThrough() as unknown as IncomingMessage
    const read = readUpTo(leaving, 5)
    leaving.destroy(new Error('ECONNRESET'))
    for (const reading of [readUpTo(gone, 5), read]) {
      const said = await reading.catch((error: unknown) => error)
      expect(said).toMatchObject({ code: 'request_invalid' })
      expect(said).toHaveProperty('cause.name', 'CallerLeft')
    }
  })
  test('a body that is not whole after a minute is late; one that came whole before needs no clock', async () => {
    const slow = Object.assign(new PassThrough(), { headers: {}, complete: false })
    const read = readUpTo(slow as unknown as IncomingMessage, 5)
    vi.advanceTimersByTime(60_000)
    await expect(read).rejects.toMatchObject({ code: 'request_timeout' })
    const whole = Object.assign(new PassThrough(), { headers: {}, complete: true })
    const reading = readUpTo(whole as unknown as IncomingMessage, 5)
    expect(vi.getTimerCount()).toBe(0)
    whole.end('12')
    expect((await reading)?.toString()).toBe('12')
  })
})

test('a message for an MCP server is sent without a mark of order', async () => {
  const said = (more: string) =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"${more}}}`
  for (const more of ['', ',"inputResponses":{"deputy":{"action":"accept"}}']) {
    const body = `\ufeff${said(more)}`
    const headers = { ...json, 'content-length': String(Buffer.byteLength(body)) }
    const limits = { requestBody: 1_000, inspectedBody: 1_000 }
    const read = await look({ headers, body, kind: 'mcp' }, limits)
    expect([read.bytes?.toString(), read.declared]).toEqual([said(''), said('').length])
  }
})

describe('a mail', () => {
  const mail = mailPlaces.parse({
    to: ['/to'],
    raw: ['/raw'],
    bodies: { 'message/rfc822': 'message', 'text/plain': 'base64' },
  })
  const text = 'To: bob@b.test\r\n\r\nx'
  const raw = Buffer.from(text).toString('base64')
  const limits = { requestBody: 1_000, inspectedBody: 500 }
  const of = (body: string, type: string, operation: Partial<Operation> = {}) =>
    look({ body, headers: { 'content-type': type }, operation: { mail, ...operation } }, limits)
  const found = { unread: false, sends: true, to: ['bob@b.test'], domains: ['b.test'] }
  const unread = { unread: true, sends: true }

  test('is read, and is sent as it came', async () => {
    for (const [body, type] of [
      [`{"raw":"${raw}"}`, 'application/json'],
      ['{"to":["bob@B.test"]}', 'application/json'],
      [text, 'message/rfc822'],
      [raw, 'text/plain'],
    ] as const) {
      const read = await of(body, type)
      expect(read).toMatchObject({ state: 'parsed', mail: found, declared: body.length })
      expect(read.bytes?.toString()).toBe(body)
    }
  })
  test('in members is shown to policy as it is written', async () => {
    const { json } = await of('{"to":["bob@B.test"]}', 'application/json', { inspect: ['/to'] })
    expect(json).toEqual({ '/to': ['bob@B.test'] })
  })
  test('that is a message shows policy the members that it asks for', async () => {
    const { json } = await of(text, 'message/rfc822', { inspect: ['/to', '/subject'] })
    expect(json).toEqual({ '/to': ['bob@b.test'] })
  })
  test('with more than one reading is refused', async () => {
    await expect(of('To: x\r\n\r\n', 'message/rfc822')).rejects.toMatchObject({
      code: 'request_invalid',
    })
    const query = [{ name: 'to', value: 'eve@e.test' }]
    const headers = { 'content-type': 'message/rfc822' }
    await expect(
      look({ body: text, headers, operation: { mail }, query }, limits),
    ).rejects.toMatchObject({
      code: 'request_invalid',
    })
    await expect(look({ operation: { mail }, query })).rejects.toMatchObject({
      code: 'request_invalid',
    })
  })
  test('that nobody reads is told', async () => {
    expect(await look({ operation: { mail } })).toMatchObject({ state: 'none', mail: unread })
    const upload = { upload: true }
    expect(await of('x', 'image/png', upload)).toMatchObject({ state: 'unparsed', mail: unread })
    expect(await of('x', 'message/partial', upload)).toMatchObject({
      state: 'unparsed',
      mail: unread,
    })
    const large = text + 'x'.repeat(500)
    expect(await of(large, 'message/rfc822', upload)).toMatchObject({
      state: 'too_large',
      mail: unread,
    })
    const headers = {
      'content-type': 'message/rfc822',
      'content-length': '',
      'transfer-encoding': 'chunked',
    }
    expect(
      await look({ body: large, headers, operation: { mail, ...upload } }, limits),
    ).toMatchObject({
      state: 'too_large',
      mail: unread,
    })
    expect(await of('a=b', 'application/x-www-form-urlencoded')).toMatchObject({ mail: unread })
  })
  test('comes without a Content-Encoding that is not read, and other operations have none', async () => {
    const headers = { 'content-type': 'message/rfc822', 'content-encoding': 'br' }
    await expect(
      look({ body: text, headers, operation: { mail, upload: true } }, limits),
    ).rejects.toMatchObject({
      code: 'unsupported_media_type',
    })
    expect(await look({ body: '{"a":1}', headers: json })).not.toHaveProperty('mail')
    expect(await look({})).not.toHaveProperty('mail')
  })
})
