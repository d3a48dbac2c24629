// Answers of MCP servers and of batches without what may not be seen; what has no one reading passes not at all.
import { describe, expect, test } from 'vitest'
import { bodiesIn, partsOf, redactAnswer, type Redacting } from '../../proxy/envelope/redacted.ts'
import { EXACT } from '../../proxy/wire/json.ts'
import { codeOf } from '../wire/fixture.ts'

const at = { status: 200, names: EXACT }
const redacted = (value: unknown, of: Redacting, status = 200): unknown => {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return JSON.parse(redactAnswer(text, of, { ...at, status }).text)
}
const refused = (value: unknown, of: Redacting): string | null => codeOf(() => redacted(value, of))

describe('a message of an MCP server', () => {
  const of: Redacting = { kind: 'message', pointers: ['/user/email', '/*/email'] }
  const answer = (result: object): object => ({ jsonrpc: '2.0', id: 1, result })
  const text = (value: unknown): object => ({ type: 'text', text: JSON.stringify(value) })

  test('structured content and the texts beside it lose the same members', () => {
    const value = { user: { email: 'a@x', id: 1 } }
    const clean = { user: { email: '[redacted]', id: 1 } }
    expect(
      redacted(
        answer({ structuredContent: value, content: [text(value), text([{ email: 1 }])] }),
        of,
      ),
    ).toEqual(
      answer({ structuredContent: clean, content: [text(clean), text([{ email: '[redacted]' }])] }),
    )
  })
  test('contents of a resource, results without content, errors and notices are documents as well', () => {
    const secret = { user: { email: 'a@x' } }
    const clean = { user: { email: '[redacted]' } }
    expect(
      redacted(answer({ contents: [{ uri: 'x', text: JSON.stringify(secret) }] }), of),
    ).toEqual(answer({ contents: [{ uri: 'x', text: JSON.stringify(clean) }] }))
    expect(redacted(answer(secret), of)).toEqual(answer(clean))
    expect(redacted({ jsonrpc: '2.0', id: 1, error: { code: 1, data: secret } }, of)).toEqual({
      jsonrpc: '2.0',
      id: 1,
      error: { code: 1, data: clean },
    })
    expect(redacted({ jsonrpc: '2.0', method: 'x', params: secret }, of)).toEqual({
      jsonrpc: '2.0',
      method: 'x',
      params: clean,
    })
  })
  test.each([
    ['prose', answer({ content: [{ type: 'text', text: 'her address is a@x' }] })],
    ['a picture', answer({ content: [{ type: 'image', data: 'YUB4', mimeType: 'image/png' }] })],
    ['a resource', answer({ content: [{ type: 'resource', resource: { text: '{}' } }] })],
    ['bytes', answer({ contents: [{ uri: 'x', blob: 'YUB4' }] })],
    ['a prompt', answer({ messages: [] })],
    ['content that is no list', answer({ content: { text: '{}' } })],
    ['members that another reader folds', answer({ Content: [{ type: 'text', text: 'a@x' }] })],
    ['a member twice', '{"jsonrpc":"2.0","result":{},"result":{"user":{"email":"a@x"}}}'],
    ['a list of messages', [answer({})]],
    ['half a message', '{"jsonrpc":"2.0"'],
  ])('is refused: %s', (_what, value) => {
    expect(refused(value, of)).toBe('answer_not_redactable')
  })
})

describe('the answer to a batch', () => {
  const graph = partsOf('graph_batch', { requests: [{ id: 'A' }, { id: 'b' }] })
  if (graph === null) throw new Error('no parts')
  const of: Redacting = { kind: 'batch', parts: graph, pointers: [['/mail'], ['/*/name']] }
  const answers = (...responses: readonly unknown[]): object => ({ responses })

  test('each part loses what its own pointers name, in whatever order they come', () => {
    expect(
      redacted(
        answers(
          { id: 'b', status: 200, body: [{ name: 1, mail: 2 }] },
          { id: 'a', status: 200, body: { name: 3, mail: 4 } },
        ),
        of,
      ),
    ).toEqual(
      answers(
        { id: 'b', status: 200, body: [{ name: '[redacted]', mail: 2 }] },
        { id: 'a', status: 200, body: { name: 3, mail: '[redacted]' } },
      ),
    )
  })
  test('by reference and by place, as Salesforce has it', () => {
    const composite = partsOf('salesforce_composite', {
      compositeRequest: [{ referenceId: 'one' }, { referenceId: 'two' }],
    })
    const batch = partsOf('salesforce_batch', { batchRequests: [{}, {}] })
    if (composite === null || batch === null) throw new Error('no parts')
    expect(
      redacted(
        { compositeResponse: [{ referenceId: 'two', body: { x: 1 } }] },
        { kind: 'batch', parts: composite, pointers: [[], ['/x']] },
      ),
    ).toEqual({ compositeResponse: [{ referenceId: 'two', body: { x: '[redacted]' } }] })
    expect(
      redacted(
        { results: [{ result: { x: 1 } }, { result: { x: 2 } }] },
        { kind: 'batch', parts: batch, pointers: [[], ['/x']] },
      ),
    ).toEqual({ results: [{ result: { x: 1 } }, { result: { x: '[redacted]' } }] })
  })
  test('what failed as a whole is one document, and loses what any part would', () => {
    expect(redacted([{ mail: 1, name: 2, x: 3 }], of, 400)).toEqual([
      { mail: 1, name: '[redacted]', x: 3 },
    ])
  })
  test.each([
    ['an answer that nobody asked for', answers({ id: 'c', body: {} })],
    ['one twice', answers({ id: 'a', body: {} }, { id: 'A', body: {} })],
    ['one that is a text', answers({ id: 'a', body: 'bWFpbA==' })],
    ['one without a name', answers({ body: {} })],
    ['no list', { responses: {} }],
    ['the list twice', '{"responses":[],"responses":[{"id":"a","body":{"mail":1}}]}'],
  ])('is refused: %s', (_what, value) => {
    expect(refused(value, of)).toBe('answer_not_redactable')
  })
  test('batches whose answers cannot be told apart have no parts', () => {
    for (const format of ['multipart_batch', 'salesforce_tree', 'salesforce_graph'] as const)
      expect(partsOf(format, { requests: [] })).toBeNull()
    expect(bodiesIn({ responses: [{ id: 'a' }] }, graph)).toEqual([null, null])
  })
})
