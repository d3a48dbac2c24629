// What may be demanded to be taken out, where nobody looks so that it is refused, and what leaves and comes back without it.
import { describe, expect, test } from 'vitest'
import type { EnvelopeFormat, JsonObject } from '../../../proxy/model.ts'
import type { Act } from '../../../proxy/pipeline/classify.ts'
import { NO_BODY, type Body } from '../../../proxy/pipeline/inspect.ts'
import {
  redactCarrier,
  redacting,
  takenByHook,
} from '../../../proxy/pipeline/obligation/redaction.ts'
import type { Obliged, Redaction } from '../../../proxy/pipeline/obligations.ts'
import type { Request } from '../../../proxy/pipeline/request.ts'
import { STANDING } from '../../../proxy/pipeline/standing.ts'
import { canonicalTarget } from '../../../proxy/wire/canonical.ts'
import { codeOf, provider } from '../../wire/fixture.ts'

const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = 'application/json'
const bodyOf = (text: string, contentType = JSON_TYPE): Body => ({
  ...NO_BODY,
  state: 'parsed',
  bytes: Buffer.from(text),
  declared: text.length,
  contentType,
})
type Given = {
  readonly websocket?: readonly string[]
  readonly kind?: Act['kind']
  readonly format?: EnvelopeFormat
  readonly part?: number | null
  readonly body?: Body
  readonly query?: string
}
const given = ({
  kind = 'rest',
  format,
  part = null,
  body = NO_BODY,
  query = '',
  websocket,
}: Given = {}) => {
  const act = {
    operation: { ...STANDING, id: 'acme.get', websocket },
    kind,
    segments: [],
    ...(format === undefined ? {} : { envelope: { format } }),
  } as unknown as Act
  const route = { connection: { provider }, target: canonicalTarget('POST', `/x${query}`) }
  const about = { part, act, within: act, body, route } as unknown as Obliged
  const sifted = {
    kept: ['accept', 'a/b', 'content-md5', 'x', 'digest', 'y', 'x-digest', 'digest'],
  }
  const request = { act, body, route, sifted } as unknown as Request
  return { about, request }
}
const asked = (of: Given, properties: JsonObject): string | null =>
  codeOf(() => redactCarrier(given(of).about, 'r', properties))
const taking = (of: Given, ...pointers: readonly string[]) => asked(of, { in: 'request', pointers })
const REFUSED = 'obligation_refused'

describe('what policy demands', () => {
  test.each<[string, JsonObject]>([
    ['no place', { pointers: ['/a'] }],
    ['another place', { in: 'both', pointers: ['/a'] }],
    ['no pointers', { in: 'response', pointers: [] }],
    ['a pointer that is none', { in: 'response', pointers: ['a'] }],
    ['a pointer that is no text', { in: 'response', pointers: [1] }],
    ['a member more', { in: 'response', pointers: ['/a'], unless: 'x' }],
  ])('with %s it is refused, at each call', (_what, properties) => {
    for (const _ of [1, 2]) expect(asked({}, properties)).toBe(REFUSED)
  })
  test('else it is what is still to be done, with the request or with the answer', () => {
    for (const where of ['request', 'response'] as const) {
      const properties = { in: where, pointers: ['/*/a'] }
      const [first, again] = [1, 2].map(() => redactCarrier(given().about, 'r', properties))
      expect(first).toEqual({ in: where, pointers: ['/*/a'], part: null })
      expect(again).toEqual(first)
    }
  })
  test('of an answer whose members the caller names, or whose parts nobody tells apart, is refused', () => {
    const answer = { in: 'response', pointers: ['/a'] }
    expect(asked({ kind: 'graphql' }, answer)).toBe(REFUSED)
    expect(asked({ websocket: [] }, answer)).toBe(REFUSED)
    expect(asked({ kind: 'mcp' }, answer)).toBeNull()
    expect(asked({ format: 'multipart_batch', part: 1 }, answer)).toBe(REFUSED)
    expect(asked({ format: 'salesforce_tree', part: 1 }, answer)).toBe(REFUSED)
    expect(asked({ format: 'graph_batch', part: 1 }, answer)).toBeNull()
    expect(asked({ format: 'multipart_batch' }, answer)).toBeNull()
    expect(asked({ part: 1 }, answer)).toBeNull()
  })
})

describe('nothing is taken out of a request', () => {
  test('that is inside another one, or a message', () => {
    const body = bodyOf('{}')
    expect(taking({ body }, '/a')).toBeNull()
    expect(taking({ body, part: 1 }, '/a')).toBe(REFUSED)
    expect(taking({ body, kind: 'mcp' }, '/a')).toBe(REFUSED)
    expect(taking({ body, kind: 'graphql' }, '/a')).toBe(REFUSED)
    expect(codeOf(() => takenByHook(given({ body, part: 1 }).about, 'h', ['/a']))).toBe(REFUSED)
    expect(takenByHook(given({ body }).about, 'h', ['/a'])).toEqual({
      in: 'request',
      pointers: ['/a'],
      part: null,
    })
  })
  test('whose body nobody read, or nobody can take members out of', () => {
    expect(taking({}, '/a')).toBeNull()
    for (const body of [
      { ...bodyOf(''), bytes: null },
      { ...bodyOf('{}'), unseen: true as const },
      bodyOf('words', 'text/plain'),
      bodyOf('<a/>', 'application/xml'),
      bodyOf('{"a":1}', FORM),
      bodyOf(' [1]', FORM),
    ])
      expect(taking({ body }, '/a')).toBe(REFUSED)
    expect(taking({ body: bodyOf('b=1', FORM) }, '/a')).toBeNull()
    expect(taking({ body: bodyOf('{"b":1}') }, '/a/b')).toBeNull()
  })
  test.each<[pointer: string, query: string, refused: boolean]>([
    ['/a', '?a=1', true],
    ['/a', '?b=1&A=1', true],
    ['/a', '?b=1', false],
    ['/a', '?ab=1', false],
    ['/card_no', '?cardNo=1', true],
    ['/a/b', '?a[b]=1', true],
    ['/a/b', '?a.b=1', true],
    ['/a/b', '?a=1', true],
    ['/a/b', '?a[c]=1', false],
    ['/a/b', '?c[b]=1', false],
    ['/a.b', '?a.b=1', true],
    ['/a~1b', '?a/b=1', true],
    ['/a~0b', '?a~b=1', true],
    ['/a', '?[a]=1', true],
    ['/a', '?[]=1', false],
    ['/[]', '?[]=1', true],
    ['/a', '?a[]=1', true],
    ['/a', '?a[c]=1', true],
    // Any member of the document: a query is none.
    ['/*/a', '?x[a]=1', false],
    ['/*', '?a=1', false],
    ['/**/a', '?x[y][a]=1', true],
    ['/**/a', '?a=1', true],
    ['/**/a', '?b=1', false],
    ['/**/a/b', '?x[a]=1', true],
    ['/**/*no/b', '?x[card_no]=1', false],
    ['/x/*no/b', '?x[card_no]=1', true],
    ['/x/*no', '?x[card_no]=1', true],
    ['/x/*no', '?x[card]=1', false],
    ['/x/*', '?x=1', true],
  ])('%s, with a field of that name in the query %s: %s', (pointer, query, refused) => {
    expect(taking({ body: bodyOf('{}'), query }, pointer)).toBe(refused ? REFUSED : null)
  })
  test('out of the value of one field of a form', () => {
    for (const [form, refused] of [
      ['a=1', true],
      ['b=1&a=%5B%5D', true],
      ['b=1;a=1', true],
      ['a[b]=1', false],
      ['c=1', false],
    ] as const)
      expect(taking({ body: bodyOf(form, FORM) }, '/z', '/a/b')).toBe(refused ? REFUSED : null)
    expect(taking({ body: bodyOf('{"a":"x=1&a=1"}') }, '/a/b')).toBeNull()
  })
})

describe('a request', () => {
  const out = (...pointers: readonly string[]): Redaction => ({
    in: 'request',
    pointers,
    part: null,
  })
  const left = (body: Body, ...redactions: readonly Redaction[]) => {
    const { request } = given({ body })
    const { request: sent, taken, guard } = redacting(request, redactions)
    expect(guard).toBeNull()
    return { same: sent === request, text: sent.body.bytes?.toString(), sent, taken }
  }
  test('leaves without what is demanded, and without what speaks of its bytes', () => {
    const { text, sent, taken } = left(bodyOf('{"a":1.0,"b":2.0}'), out('/a'), out('/a', '/c'))
    expect(text).toBe('{"b":2.0}')
    expect(sent.body).toMatchObject({ declared: 9, digest: taken?.digest })
    expect(sent.sifted.kept).toEqual(['accept', 'a/b', 'x-digest', 'digest'])
    expect(taken?.pointers).toEqual(['/a', '/c'])
    expect(taken?.digest).toMatch(/^sha256:[0-9a-f]{64}$/)
  })
  test('that is a form loses its fields, and the others stay as they were written', () => {
    const form = 'x=%31&a=1&b%61=2&a[]=3&A=4&c[a]=5'
    const { text, sent } = left(bodyOf(form, FORM), out('/a'), out('/c/a'))
    expect(text).toBe('x=%31&b%61=2')
    expect(sent.body.declared).toBe(12)
  })
  test.each([
    ['JSON', bodyOf('{ "b": 1.0 }')],
    ['a form', bodyOf('b=1', FORM)],
    ['no body', NO_BODY],
  ])('of which nothing is there leaves as it came: %s', (_what, body) => {
    const { same, sent, taken } = left(body, out('/a'))
    expect(same).toBe(true)
    expect(sent.body.bytes).toBe(body.bytes)
    expect(taken).toEqual({ pointers: ['/a'], digest: null })
  })
  test('of which nothing is demanded is the same', () => {
    expect(left(bodyOf('{"a":1}'))).toMatchObject({ same: true, taken: null })
  })
})

describe('an answer', () => {
  const hide = (pointer: string, part: number | null = null): Redaction => ({
    in: 'response',
    pointers: [pointer],
    part,
  })
  const passed = (of: Given, redactions: readonly Redaction[], text: string) => {
    const { request, taken, guard } = redacting(given(of).request, redactions)
    expect([taken, request.sifted.kept.length]).toEqual([null, 8])
    expect(guard).not.toHaveProperty('judge')
    return guard?.pass(text, 200)
  }
  test('comes back without what is demanded of it', () => {
    for (const body of [NO_BODY, bodyOf('{}')])
      expect(passed({ body }, [hide('/a'), hide('/c')], '{"a":1,"b":1,"c":1}')).toEqual({
        text: '{"a":"[redacted]","b":1,"c":"[redacted]"}',
        count: 2,
      })
  })
  test('of an MCP server is its message', () => {
    const text = '{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"a":1}}}'
    expect(passed({ kind: 'mcp', body: bodyOf('{}') }, [hide('/a')], text)?.count).toBe(1)
  })
  test('to a batch loses of each part what is demanded of that part', () => {
    const body = bodyOf('{"requests":[{"id":"1"},{"id":"2"}]}')
    const part = (id: string) => ({ id, body: { a: 1, b: 1 } })
    const text = JSON.stringify({ responses: [part('2'), part('1')] })
    const both = [hide('/a', 1), hide('/b', 2)]
    const { text: said = '' } = passed({ format: 'graph_batch', body }, both, text) ?? {}
    expect(JSON.parse(said)).toEqual({
      responses: [
        { id: '2', body: { a: 1, b: '[redacted]' } },
        { id: '1', body: { a: '[redacted]', b: 1 } },
      ],
    })
  })
  test('to a batch that nobody can read the parts of is one document', () => {
    for (const of of [
      { format: 'multipart_batch', body: bodyOf('{}') },
      { format: 'graph_batch' },
    ] as const)
      expect(passed(of, [hide('/a')], '{"a":1}')?.text).toBe('{"a":"[redacted]"}')
  })
  test('that somebody judges is held back for them, and passes else as it is', async () => {
    const judge = async () => ({ text: 'judged', count: 0 })
    const { guard, taken } = redacting(given().request, [], judge)
    expect([guard?.judge, taken]).toEqual([judge, null])
    expect(guard?.pass('{ "a": 1 }', 200)).toEqual({ text: '{ "a": 1 }', count: 0 })
    const both = redacting(given().request, [hide('/a')], judge).guard
    expect(both?.judge).toBe(judge)
    expect(both?.pass('{"a":1}', 200)).toMatchObject({ count: 1 })
  })
  test('that neither is demanded of nor judged by anybody is held back by nobody', () => {
    expect(redacting(given().request, []).guard).toBeNull()
    const request = { in: 'request', pointers: ['/a'], part: null } as const
    expect(redacting(given().request, [request]).guard).toBeNull()
  })
})
