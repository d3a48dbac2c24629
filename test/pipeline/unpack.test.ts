// Each call in a batch is what it would be alone: its operation, its members for policy, its body read; or the whole is refused.
import { describe, expect, test } from 'vitest'
import { readBatch } from '../../proxy/envelope/batch.ts'
import { createClassify } from '../../proxy/pipeline/classify.ts'
import type { InnerCall } from '../../proxy/model.ts'
import type { Body } from '../../proxy/pipeline/inspect.ts'
import { unpack } from '../../proxy/pipeline/unpack.ts'
import { markNumbers } from '../../proxy/wire/json.ts'
import { providerOf, refusalOf, routeTo } from '../envelope/fixture.ts'

const provider = providerOf({
  envelopes: [
    { call: 'POST /v1/$batch', holds: 'graph_batch', rewrite: ['/responses/*/body/next'] },
    { call: 'POST /batch/{api}', holds: 'multipart_batch' },
  ],
  operations: [
    {
      scopes: [['notes']],
      read: { 'note.get': 'GET /v1/notes/{id}' },
      write: {
        'note.create': { call: 'POST /v1/notes', inspect: ['/to'] },
        'file.put': { call: 'PUT /v1/files/{id}', upload: true },
        'mail.send': {
          call: 'POST /v1/mail',
          inspect: ['/to'],
          mail: { to: ['/to'], bodies: { 'message/rfc822': 'message' } },
        },
        'mail.note': { call: 'POST /v1/notes/mail', mail: { to: ['/to'] } },
        'raw.put': { call: 'PUT /v1/raw/{id}', opaque: 'application/x-git-pack' },
        'cbor.put': { call: 'PUT /v1/cbor/{id}', opaque: 'application/cbor' },
        'tag.put': 'PUT /v1/tags/{id}',
      },
      delete: { 'note.delete': 'DELETE /v1/notes/{id}' },
    },
    { graphql: 'POST /v1/graphql', scopes: [[]], read: { me: 'query me' } },
  ],
})
const classify = createClassify([provider])
const route = routeTo(provider, 'POST', '/v1/$batch')

const opened = (text: string, at = route) => {
  const bytes = Buffer.from(text)
  const value: unknown = JSON.parse(text)
  const { calls } = readBatch('graph_batch', { bytes, value, contentType: '' }, at)
  return openedAs(calls, text, at)
}
const openedAs = (calls: readonly InnerCall[], text = '{}', at = route) => {
  const act = classify(at)
  const bytes = Buffer.from(text)
  const body: Body = {
    state: 'parsed',
    bytes,
    declared: bytes.length,
    contentType: 'application/json',
    json: {},
    digest: 'sha256:x',
    stripped: [],
    calls,
    marked: /\d/.test(text) ? () => markNumbers(text) : undefined,
  }
  return unpack(act, at, body, classify)
}
const batch = (...requests: readonly object[]): string =>
  JSON.stringify({ requests: requests.map((one, i) => ({ id: `${i}`, ...one })) })
const refused = (...requests: readonly object[]): string =>
  refusalOf(() => opened(batch(...requests)).act.parts?.length)

test('a batch is its parts, as strong as the strongest', () => {
  const { act, body } = opened(
    batch(
      { method: 'GET', url: '/notes/1?full=yes' },
      { method: 'POST', url: '/notes', body: { to: 'bob', text: 'x' } },
      { method: 'DELETE', url: '/notes/1' },
      { method: 'GET', url: '/nowhere' },
    ),
  )
  expect(act.operation).toMatchObject({ id: 'batch', access: 'admin' })
  expect(act.operation.rewrite).toEqual(['/responses/*/body/next'])
  expect(act.parts?.map(({ operation }) => operation.id)).toEqual([
    'note.get',
    'note.create',
    'note.delete',
    'unknown',
  ])
  expect(act.parts?.[0]?.target?.query).toMatchObject([{ name: 'full', value: 'yes' }])
  expect(body.parts?.map(({ state, json, digest }) => [state, json, digest])).toEqual([
    ['none', {}, 'sha256:x'],
    ['parsed', { '/to': 'bob' }, 'sha256:x'],
    ['none', {}, 'sha256:x'],
    ['none', {}, 'sha256:x'],
  ])
  const [get, post] = [
    { method: 'GET', url: '/notes/1' },
    { method: 'POST', url: '/notes' },
  ]
  const remove = { ...get, method: 'DELETE' }
  const accessOf = (...requests: readonly object[]) => opened(batch(...requests)).act.operation
  expect(accessOf(get)).toMatchObject({ access: 'read' })
  expect(accessOf(get, post, get)).toMatchObject({ access: 'write' })
  expect(accessOf(remove, post, get)).toMatchObject({ access: 'delete' })
})

test('a member that policy needs is read of the body, or of the query where there is none', () => {
  const headers = { 'Content-Type': 'application/json; charset=utf-8' }
  const { body } = opened(
    batch(
      { method: 'POST', url: '/notes?to=bob' },
      { method: 'POST', url: '/notes', headers, body: { to: 'eve' } },
    ),
  )
  expect(body.parts?.map(({ json }) => json)).toEqual([{ '/to': 'bob' }, { '/to': 'eve' }])
})

test('any other call passes through', () => {
  const other = routeTo(provider, 'GET', '/v1/notes/1')
  const act = classify(other)
  const body: Body = {
    state: 'none',
    bytes: null,
    declared: 0,
    contentType: null,
    json: {},
    digest: null,
    stripped: [],
  }
  expect(unpack(act, other, body, classify)).toEqual({ act, body })
  expect(refusalOf(() => unpack(classify(route), route, body, classify))).toContain(
    'a batch comes with a body',
  )
})

test('a batch that the catalogue lists as a call of its own is a batch all the same', () => {
  expect(classify(routeTo(provider, 'POST', '/batch/drive')).envelope?.format).toBe(
    'multipart_batch',
  )
  expect(classify(routeTo(provider, 'POST', '/batch/')).envelope).toBeUndefined()
  expect(classify(routeTo(provider, 'GET', '/batch/drive')).envelope).toBeUndefined()
  expect(classify(routeTo(provider, 'POST', '/v1/%24batch')).envelope?.format).toBe('graph_batch')
})

describe('is refused:', () => {
  const get = { method: 'GET', url: '/notes/1' }
  test.each<[string, object, string]>([
    [
      'a batch in a batch',
      { method: 'POST', url: '/$batch', body: { requests: [] } },
      'holds calls of its own',
    ],
    ['the same, escaped', { method: 'POST', url: '/%24batch', body: {} }, 'holds calls of its own'],
    ['GraphQL in a batch', { method: 'POST', url: '/graphql', body: {} }, 'holds calls of its own'],
    ['dots in a URL', { method: 'GET', url: '/notes/../$batch' }, 'dot segment'],
    ['a method that is none', { method: 'get', url: '/notes/1' }, 'not a token in upper case'],
    ['a tunnel', { method: 'CONNECT', url: '/notes/1' }, 'never forwarded'],
    ['a credential in the query', { ...get, url: '/notes/1?key=s' }, 'credential_in_body'],
    ['another word for the method', { ...get, url: '/notes/1?_method=DELETE' }, 'overrides method'],
    [
      'a credential in the body',
      { method: 'POST', url: '/notes', body: { client_secret: 's' } },
      'credential_in_body',
    ],
    [
      'a member that only some read',
      { method: 'POST', url: '/notes', body: { To: 'bob', to: 'eve' } },
      'some servers take',
    ],
    [
      'a number that others round',
      { method: 'POST', url: '/notes', body: { to: '@' } },
      'round otherwise',
    ],
    [
      'a member that the query names too',
      { method: 'POST', url: '/notes?to=eve', body: { to: 'bob' } },
      'not one',
    ],
    [
      'a type that lies',
      { method: 'POST', url: '/notes', headers: { 'Content-Type': 'text/csv' }, body: { to: 'a' } },
      'unsupported_media_type',
    ],
    [
      'a form where JSON stands',
      {
        method: 'POST',
        url: '/notes',
        headers: { 'Content-Type': 'application/json; charset=utf-16' },
        body: { to: 'a' },
      },
      'unsupported_media_type',
    ],
    [
      'an upload of a type that hides fields',
      {
        method: 'POST',
        url: '/notes',
        headers: { 'Content-Type': 'application/cbor' },
        body: 'aGk=',
      },
      'unsupported_media_type',
    ],
    [
      'what takes one type alone',
      { method: 'PUT', url: '/raw/1', headers: { 'Content-Type': 'image/png' }, body: 'aGk=' },
      'unsupported_media_type',
    ],
  ])('%s', (_, request, why) => {
    const text = batch(get, request).replace('"@"', '9007199254740993')
    const said = refusalOf(() => opened(text).act.parts?.length)
    expect(said).toContain('part 2: ')
    expect(said).toContain(why)
  })

  test.each<[string, string, string]>([
    ['fields in a shape that nobody here can read', '/tags/1', 'application/cbor'],
    ['a type without fields where policy needs some', '/notes', 'image/png'],
  ])('%s', (_, url, type) => {
    const method = url === '/notes' ? 'POST' : 'PUT'
    const request = { method, url, headers: { 'Content-Type': type }, body: 'aGk=' }
    expect(refused(request)).toContain('unsupported_media_type: part 1')
  })

  test('a credential in a form that policy needs nothing of', () => {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const body = Buffer.from('client_secret=s').toString('base64')
    for (const url of ['/tags/1', '/files/1'])
      expect(refused({ method: 'PUT', url, headers, body })).toContain('credential_in_body: part 1')
  })

  test('what another part will fill in, where policy needs to see it', () => {
    const call: InnerCall = {
      method: 'POST',
      target: '/v1/notes',
      contentType: null,
      stripped: [],
      body: { kind: 'json', value: { text: '@{other.id}' }, pointer: '/requests/0/body' },
    }
    const refers = { ...call, refers: true }
    const why = 'refers to what another part will answer'
    expect(refusalOf(() => openedAs([refers]).act.parts?.length)).toContain(why)
    expect(refusalOf(() => openedAs([{ ...refers, target: '/v1/notes/mail' }]))).toContain(why)
    expect(openedAs([call]).act.parts).toHaveLength(1)
    const tags = { ...refers, method: 'PUT', target: '/v1/tags/1' }
    expect(openedAs([tags]).act.parts).toHaveLength(1)
  })

  test('nothing at all', () => {
    expect(refusalOf(() => openedAs([]))).toContain('request_invalid: the batch holds no call')
  })

  test('a query in the URL of the batch', () => {
    const at = routeTo(provider, 'POST', '/v1/$batch?a=b')
    expect(refusalOf(() => opened(batch(get), at))).toContain('a batch has no query')
  })
})

test('bodies pass unread where they would alone', () => {
  const image = { 'Content-Type': 'image/png' }
  const pack = { 'Content-Type': 'application/x-git-pack' }
  const { body } = opened(
    batch(
      { method: 'PUT', url: '/files/1', headers: image, body: 'aGk=' },
      { method: 'PUT', url: '/raw/1', headers: pack, body: 'aGk=' },
    ),
  )
  expect(body.parts?.map(({ state, declared }) => [state, declared])).toEqual([
    ['unparsed', 2],
    ['unparsed', 2],
  ])
  const cbor = { 'Content-Type': 'application/cbor' }
  const unread = opened(
    batch(
      { method: 'PUT', url: '/files/1', headers: cbor, body: 'aGk=' },
      { method: 'PUT', url: '/cbor/1', headers: cbor, body: 'aGk=' },
    ),
  )
  expect(unread.body.parts?.map(({ state }) => state)).toEqual(['unparsed', 'unparsed'])
  const untyped: InnerCall = {
    method: 'PUT',
    target: '/v1/tags/1',
    contentType: null,
    stripped: [],
    body: { kind: 'bytes', bytes: Buffer.from('words') },
  }
  expect(openedAs([untyped]).body.parts?.map(({ state }) => state)).toEqual(['unparsed'])
  expect(refused({ method: 'GET', url: '/notes/1' })).toBe('passed: 1')
})

describe('a mail in a batch', () => {
  const unread = { unread: true, sends: true }
  const of = (...requests: readonly object[]) =>
    opened(batch(...requests)).body.parts?.map(({ state, mail, json }) => [state, mail, json])
  const sent = (headers: object, body: unknown) => ({ method: 'POST', url: '/mail', headers, body })

  test('is read as if it came alone', () => {
    const json = { 'Content-Type': 'application/json' }
    const rfc822 = { 'Content-Type': 'message/rfc822' }
    const message = Buffer.from('To: eve@e.test\r\n\r\nx').toString('base64')
    expect(
      of(
        sent(json, { to: ['bob@B.test'] }),
        sent(rfc822, message),
        { method: 'POST', url: '/mail' },
        { method: 'GET', url: '/notes/1' },
      ),
    ).toMatchObject([
      ['parsed', { unread: false, to: ['bob@b.test'] }, { '/to': ['bob@B.test'] }],
      ['parsed', { unread: false, to: ['eve@e.test'] }, { '/to': ['eve@e.test'] }],
      ['none', unread, {}],
      ['none', undefined, {}],
    ])
  })
  test('that is of another type is read by nobody', () => {
    const image = { 'Content-Type': 'image/png' }
    const request = { method: 'POST', url: '/notes/mail', headers: image, body: 'aGk=' }
    expect(of(request)).toEqual([['unparsed', unread, {}]])
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
    expect(of({ ...request, headers: form, body: 'YT1i' })).toMatchObject([
      ['unparsed', unread, {}],
    ])
  })
  test('with more than one reading is refused', () => {
    expect(refused(sent({ 'Content-Type': 'application/json' }, { to: ['bob'] }))).toContain(
      'request_invalid: part 1',
    )
    expect(refused({ method: 'POST', url: '/mail?to=a' })).toContain('request_invalid: part 1')
  })
})
