import { describe, expect, test } from 'vitest'
import { readAsked } from '../../proxy/tools/mcp_message.ts'

const NEW = '2026-07-28'
const meta = (more: object = {}) => ({
  'io.modelcontextprotocol/protocolVersion': NEW,
  'io.modelcontextprotocol/clientCapabilities': {},
  ...more,
})
const heads = (method: string, more: Readonly<Record<string, string>> = {}) => ({
  'mcp-protocol-version': NEW,
  'mcp-method': method,
  ...more,
})
const read = (message: unknown, headers: Readonly<Record<string, string>> = {}) =>
  readAsked(Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)), headers)
const request = (method: string, params: object = {}) => ({ jsonrpc: '2.0', id: 1, method, params })

describe('a message is read in one way', () => {
  test('bytes that are not UTF-8 are no message: all of them would be one letter', () => {
    const bytes = Buffer.from('{"jsonrpc":"2.0","id":"\xff","method":"ping"}', 'latin1')
    expect(readAsked(bytes, {})).toMatchObject({ kind: 'fault', code: -32700, id: null })
  })
  test('of the newer revision: the call, its arguments, and what the host gives back', () => {
    const asked = read(
      request('tools/call', {
        name: 'A_B',
        arguments: { x: 1 },
        requestState: 'v1.a',
        inputResponses: { deputy: { action: 'accept' } },
        _meta: meta(),
      }),
      heads('tools/call', { 'mcp-name': 'A_B' }),
    )
    expect(asked).toMatchObject({
      kind: 'asked',
      call: { kind: 'request', id: 1, name: 'A_B', modern: true, url: false, answered: 'accept' },
      args: { x: 1 },
      state: 'v1.a',
    })
  })
  test('of the older one: the opening settles on what both speak', () => {
    for (const [wanted, agreed] of [
      ['2025-11-25', '2025-11-25'],
      ['2025-06-18', '2025-06-18'],
      ['2030-01-01', '2025-11-25'],
      [undefined, '2025-11-25'],
    ])
      expect(
        read(
          request('initialize', {
            protocolVersion: wanted,
            capabilities: { elicitation: { url: {} } },
          }),
        ),
      ).toMatchObject({ kind: 'asked', version: agreed, call: { url: true, modern: false } })
  })
  test('a notification asks for no answer', () => {
    expect(read({ jsonrpc: '2.0', method: 'notifications/initialized' })).toMatchObject({
      call: { kind: 'notification' },
    })
  })
})

describe('faults have the codes of the protocol', () => {
  test.each([
    ['no JSON', '{', {}, -32700],
    ['two readings', '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', {}, -32700],
    ['a batch', [request('ping')], {}, -32600],
    ['no JSON-RPC', { id: 1, method: 'ping' }, {}, -32600],
    ['a null id', { jsonrpc: '2.0', id: null, method: 'ping' }, {}, -32600],
    ['params of a list', { jsonrpc: '2.0', id: 1, method: 'ping', params: [] }, {}, -32602],
    ['arguments of a list', request('tools/call', { name: 'A', arguments: [] }), {}, -32602],
    ['no name', request('tools/call', {}), {}, -32602],
    ['a state that is no text', request('tools/call', { name: 'A', requestState: {} }), {}, -32602],
    [
      'another method in the header',
      request('tools/list', { _meta: meta() }),
      heads('tools/call'),
      -32020,
    ],
    ['no header', request('tools/list', { _meta: meta() }), {}, -32020],
    [
      'another name in the header',
      request('tools/call', { name: 'A', _meta: meta() }),
      heads('tools/call', { 'mcp-name': 'B' }),
      -32020,
    ],
    [
      'another revision in the header',
      request('tools/list', { _meta: meta() }),
      { ...heads('tools/list'), 'mcp-protocol-version': '2025-11-25' },
      -32020,
    ],
    ['no _meta', request('tools/list'), heads('tools/list'), -32602],
    [
      'no capabilities',
      request('tools/list', { _meta: { 'io.modelcontextprotocol/protocolVersion': NEW } }),
      heads('tools/list'),
      -32602,
    ],
    [
      'a revision of nobody',
      request('tools/list', {
        _meta: meta({ 'io.modelcontextprotocol/protocolVersion': '1900-01-01' }),
      }),
      { ...heads('tools/list'), 'mcp-protocol-version': '1900-01-01' },
      -32022,
    ],
    ['an older one of nobody', request('ping'), { 'mcp-protocol-version': '2024-01-01' }, -32022],
  ] as const)('%s', (_what, message, headers, code) => {
    expect(read(message, headers)).toMatchObject({ kind: 'fault', status: 400, code })
  })
  test('the id of the request stands in its fault, where it has one', () => {
    expect(read(request('tools/list'), heads('tools/list'))).toMatchObject({ id: 1 })
    expect(read([])).toMatchObject({ id: null })
  })
})
