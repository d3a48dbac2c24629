// Messages to an MCP server in both revisions, and what its answers say.
import { expect, test } from 'vitest'
import { messageTo, plainText, readReply, UNASKED } from '../../proxy/tools/remote_message.ts'
import { readMessage } from '../../proxy/envelope/jsonrpc.ts'

const AT = { host: 'mcp.acme.test', path: '/mcp' }
const legacy = { revision: 'legacy', version: '2025-11-25', session: 'n.x.s1' } as const
const headersIn = (headers: readonly string[]) =>
  Object.fromEntries(
    Array.from({ length: headers.length / 2 }, (_, i) => [headers[2 * i], headers[2 * i + 1]]),
  )

test.each([
  [UNASKED, { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'a' }],
  [legacy, { 'mcp-protocol-version': '2025-11-25', 'mcp-session-id': 'n.x.s1' }],
])('a call in revision %j is what deputy itself reads in one way', (peer, wanted) => {
  const params = { name: 'a', arguments: { title: 'é' } }
  const { method, host, target, headers, body } = messageTo(peer, AT, {
    method: 'tools/call',
    params,
  })
  expect([method, host, target]).toEqual(['POST', 'mcp.acme.test', '/mcp'])
  const all = headersIn(headers)
  expect(all).toEqual({
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    ...wanted,
  })
  const text = body.toString() ?? ''
  const { call } = readMessage(text, JSON.parse(text), all)
  expect(call).toMatchObject({ kind: 'request', key: 'tools/call a', url: false })
})

test('an opening says no version in a header, and a notification has no id', () => {
  const opening = messageTo({ ...legacy, session: null }, AT, { method: 'initialize' })
  expect(headersIn(opening.headers)).not.toHaveProperty('mcp-protocol-version')
  const told = messageTo(legacy, AT, { method: 'notifications/initialized', notification: true })
  expect(JSON.parse(told.body.toString() ?? '')).toEqual({
    jsonrpc: '2.0',
    method: 'notifications/initialized',
    params: {},
  })
})

const answer = (body: string, headers: Record<string, string> = {}, status = 200) =>
  readReply({
    status,
    headers: new Map(Object.entries({ 'content-type': 'application/json', ...headers })),
    body: Buffer.from(body),
    end: status === 0 ? 'broken' : 'whole',
  })
const STREAM = { 'content-type': 'text/event-stream; charset=utf-8' }

test.each([
  ['a result', answer('{"id":1,"result":{"a":1}}'), { kind: 'result', result: { a: 1 } }],
  [
    'a result in a stream, behind what else was said',
    answer('data: {"method":"x","id":1}\n\nid: 1\ndata: {"id":1,\ndata: "result":{}}\n\n', STREAM),
    { kind: 'result', result: {} },
  ],
  ['a stream without it', answer('data: {"id":2,"result":{}}\n\n', STREAM), { kind: 'none' }],
  ['an error', answer('{"id":1,"error":{"code":-1}}', {}, 400), { kind: 'error', status: 400 }],
  ['a page of HTML', answer('<html>', {}, 502), { kind: 'none', status: 502 }],
  [
    'a result with a status that is none of one',
    answer('{"id":1,"result":{}}', {}, 404),
    { kind: 'none' },
  ],
  ['a cut', answer('', {}, 0), { kind: 'none', why: expect.stringContaining('cut off') }],
  [
    'a refusal of deputy in an error',
    answer('{"error":{"code":403,"data":{"status":403,"code":"policy_denied"}}}', {
      'deputy-answer': 'policy_denied',
    }),
    { kind: 'refused', status: 403, code: 'policy_denied', document: { code: 'policy_denied' } },
  ],
  [
    'a refusal of deputy in a result',
    answer('{"result":{"isError":true,"_meta":{"deputy/problem":{"status":403,"url":"u"}}}}', {
      'deputy-answer': 'consent_required',
    }),
    { kind: 'refused', status: 403, code: 'consent_required', document: { url: 'u' } },
  ],
])('%s', (_what, reply, wanted) => {
  expect(reply).toMatchObject(wanted)
})

test('a text of a server is one line without what is not shown, and ends in time', () => {
  expect(plainText(' a\n\n\u0000b\u202ec\u200b ', 20)).toBe('a b c')
  expect(plainText('a\u{e0142}\ufe01b\u3164', 20)).toBe('a b')
  expect(plainText('x'.repeat(1_000_000), 10)).toBe(`${'x'.repeat(9)}…`)
  expect(plainText(7, 10)).toBe('')
})
