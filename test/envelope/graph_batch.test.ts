// A Graph batch: what each request of it is, and what refuses the whole.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { readGraphBatch } from '../../proxy/envelope/graph_batch.ts'
import { providerOf, refusalOf } from './fixture.ts'

const provider = providerOf({})
const read = (...requests: readonly unknown[]) => readGraphBatch({ requests }, '/v1.0', provider)
const request = (more: object) => ({ id: '1', method: 'GET', url: '/me', ...more })

test('a request is a call relative to the version', () => {
  expect(read(request({ headers: { Prefer: 'x' }, dependsOn: [] }))).toEqual([
    { method: 'GET', target: '/v1.0/me', contentType: null, body: { kind: 'none' }, stripped: [] },
  ])
})

test('a body is JSON as it stands, a text, or base64', () => {
  const body = (value: unknown, type?: string) =>
    read(
      request({
        body: value,
        ...(type === undefined ? {} : { headers: { 'Content-Type': type } }),
      }),
    )[0]?.body
  expect(body({ a: 1 })).toEqual({ kind: 'json', value: { a: 1 }, pointer: '/requests/0/body' })
  expect(body(null)).toEqual({ kind: 'none' })
  expect(body('aGk=', 'image/png')).toEqual({ kind: 'bytes', bytes: Buffer.from('hi') })
  expect(body('hi', 'text/plain')).toEqual({ kind: 'bytes', bytes: Buffer.from('hi') })
})

test.each<[string, unknown]>([
  ['no object', []],
  ['another member', { requests: [request({})], Requests: [] }],
  ['no list', { requests: { 0: request({}) } }],
  ['none', { requests: [] }],
  ['one without an id', { requests: [request({ id: 1 })] }],
  ['two of one id', { requests: [request({ id: 'a' }), request({ id: 'A' })] }],
  ['another spelling of a member', { requests: [{ ...request({}), Method: 'DELETE' }] }],
  ['no method', { requests: [request({ method: 1 })] }],
  ['an absolute URL', { requests: [request({ url: 'https://graph.microsoft.com/v1.0/me' })] }],
  ['another host', { requests: [request({ url: '//elsewhere.test/me' })] }],
  ['a URL relative to elsewhere', { requests: [request({ url: 'me' })] }],
  ['a list of headers', { requests: [request({ headers: ['a'] })] }],
  ['a header twice', { requests: [request({ headers: { Prefer: 'a', prefer: 'b' } })] }],
  ['a header that is no text', { requests: [request({ headers: { Prefer: 1 } })] }],
  ['a host', { requests: [request({ headers: { Host: 'x' } })] }],
  ['text where JSON is said', { requests: [request({ body: '{"a":1}' })] }],
  ['no base64', { requests: [request({ body: 'a b', headers: { 'content-type': 'image/png' } })] }],
  ['dependsOn that is no list', { requests: [request({ dependsOn: '1' })] }],
])('%s is refused', (_, value) => {
  expect(refusalOf(() => readGraphBatch(value, '/v1.0', provider))).toMatch(/^request_invalid: /)
})

test('a credential is refused as one, in the part that has it', () => {
  expect(
    refusalOf(() =>
      read(request({}), request({ id: '2', headers: { authorization: 'Bearer x' } })),
    ),
  ).toMatch(/^credential_in_body: part 2: /)
})

test('every valid batch is read as what a plain reader finds in it', () => {
  const requests = fc.uniqueArray(
    fc.record({
      id: fc.string({ minLength: 1 }),
      method: fc.constantFrom('GET', 'POST', 'PATCH', 'DELETE'),
      url: fc.webPath().map((path) => `/x${path}`),
      body: fc.option(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }), {
        nil: undefined,
      }),
    }),
    { minLength: 1, maxLength: 5, selector: ({ id }) => id.toLowerCase() },
  )
  fc.assert(
    fc.property(requests, (list) => {
      const calls = read(...list)
      expect(calls.map(({ method, target }) => [method, target])).toEqual(
        list.map(({ method, url }) => [method, `/v1.0${url}`]),
      )
      expect(calls.map(({ body }) => (body.kind === 'json' ? body.value : undefined))).toEqual(
        list.map(({ body }) => body),
      )
    }),
    { numRuns: 200 },
  )
})
