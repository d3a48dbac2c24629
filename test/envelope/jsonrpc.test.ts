// One JSON-RPC message has one reading, or it is refused (the wire's side of that is in e2e/mcp.test.ts).
import { describe, expect, test } from 'vitest'
import { argumentsAt, readMessage } from '../../proxy/envelope/jsonrpc.ts'
import { EXACT, parseStrict } from '../../proxy/wire/json.ts'

const META = 'io.modelcontextprotocol/'
const modern = (more: object = {}) => ({
  _meta: { [`${META}protocolVersion`]: '2026-07-28', [`${META}clientCapabilities`]: {}, ...more },
})
const headersOf = (method: string, more: object = {}) => ({
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': method,
  ...more,
})
const read = (message: object | string, headers = {}) => {
  const text =
    typeof message === 'string' ? message : JSON.stringify({ jsonrpc: '2.0', id: 1, ...message })
  return readMessage(text, parseStrict(text), headers)
}
const call = (message: object, headers = {}) => read(message, headers).call

describe('what a message calls', () => {
  test.each([
    [{ method: 'tools/list' }, 'tools/list', null],
    [{ method: 'tools/call', params: { name: 'a' } }, 'tools/call a', 'a'],
    [{ method: 'prompts/get', params: { name: 'a' } }, 'prompts/get a', 'a'],
    [{ method: 'resources/read', params: { uri: 'x://a' } }, 'resources/read x://a', 'x://a'],
    [{ method: 'resources/subscribe', params: { uri: 'x://a' } }, 'resources/read x://a', 'x://a'],
    [
      { method: 'completion/complete', params: { ref: { type: 'ref/prompt', name: 'a' } } },
      'prompts/get a',
      'a',
    ],
    [
      { method: 'completion/complete', params: { ref: { type: 'ref/resource', uri: 'x://a' } } },
      'resources/read x://a',
      'x://a',
    ],
  ])('%j', (message, key, name) => {
    expect(call(message)).toMatchObject({ kind: 'request', id: 1, key, name, modern: false })
  })
  test('a name that every object has is no name of a row', () => {
    const params = { '[object Object]': 'x', uri: 'x://a' }
    expect(call({ method: '__proto__', params })).toMatchObject({ key: '__proto__', name: null })
    expect(call({ method: 'constructor', params }).name).toBeNull()
    for (const type of [{ toString: 1 }, ['ref/prompt'], 'constructor', null])
      expect(() =>
        call({ method: 'completion/complete', params: { ref: { type, name: 'a' } } }),
      ).toThrow('neither a prompt')
  })
  test('a method is never taken for a method with a name', () => {
    expect(() => call({ method: 'tools/call a' })).toThrow('no name of a method')
  })
  test('a notification waits for nothing; an answer to the server is empty, or data that leaves', () => {
    expect(read('{"jsonrpc":"2.0","method":"notifications/initialized"}').call).toMatchObject({
      kind: 'notification',
      id: null,
    })
    expect(read('{"jsonrpc":"2.0","id":"s1","result":{}}').call.key).toBe('response/empty')
    expect(read('{"jsonrpc":"2.0","id":"s1","error":{"code":1}}').call.key).toBe('response/empty')
    expect(read('{"jsonrpc":"2.0","id":"s1","result":{"action":"accept"}}').call.key).toBe(
      'response',
    )
    expect(() => read('{"jsonrpc":"2.0","id":1,"result":{},"error":{}}')).toThrow('neither')
  })
  test.each([
    [{ code: -1, message: 'User rejected the request' }, 'response/empty'],
    [{ code: -1, message: 'x'.repeat(129) }, 'response'],
    [{ code: -1, message: 'x', data: {} }, 'response'],
    [{ code: 'all of it', message: 'x' }, 'response'],
    ['all of it', 'response'],
  ])('an error that says more than that there is one is data that leaves: %j', (error, key) => {
    expect(read(JSON.stringify({ jsonrpc: '2.0', id: 1, error })).call.key).toBe(key)
  })
  test('the row of an answer is no method', () => {
    for (const method of ['response', 'response/empty'])
      expect(() => call({ method })).toThrow('no name of a method')
  })
  test.each([
    [{ q: { action: 'accept', content: { a: 1 } } }, ['response']],
    [{ q: { action: 'all of it' } }, ['response']],
    ['text', ['response']],
    [{ q: { action: 'accept' }, deputy: { action: 'accept', content: {} } }, undefined],
    [{ q: { action: 'decline' } }, undefined],
  ])('answers inside a request are answers: %j', (inputResponses, also) => {
    expect(call({ method: 'tools/call', params: { name: 'a', inputResponses } }).also).toEqual(also)
  })
  test('of each resource that it subscribes to it needs the row', () => {
    const listen = (notifications: unknown) =>
      call({ method: 'subscriptions/listen', params: { notifications } }).also
    expect(listen({ resourceSubscriptions: ['x://a', 'x://b'] })).toEqual([
      'resources/read x://a',
      'resources/read x://b',
    ])
    expect(listen({ toolsListChanged: true })).toBeUndefined()
    for (const odd of [{ resourcesubscriptions: [] }, { resourceSubscriptions: 'x://a' }, []])
      expect(() => listen(odd)).toThrow('params.notifications')
    expect(() => listen({ resourceSubscriptions: Array(65).fill('x://a') })).toThrow('at most')
  })
})

describe('the newer revision', () => {
  const params = { name: 'a', ...modern() }
  test('is known by its own word in the body, and headers say the same', () => {
    const said = call(
      { method: 'tools/call', params },
      headersOf('tools/call', { 'mcp-name': 'a' }),
    )
    expect(said).toMatchObject({ modern: true, url: false })
    const encoded = `=?base64?${Buffer.from('a').toString('base64')}?=`
    expect(
      call({ method: 'tools/call', params }, headersOf('tools/call', { 'mcp-name': encoded })),
    ).toEqual(said)
  })
  test.each([
    [{}, 'MCP-Protocol-Version'],
    [headersOf('tools/list', { 'mcp-name': 'a' }), 'Mcp-Method'],
    [headersOf('tools/call'), 'Mcp-Name'],
    [headersOf('tools/call', { 'mcp-name': 'b' }), 'Mcp-Name'],
    [headersOf('tools/call', { 'mcp-name': 'a, a' }), 'Mcp-Name'],
    [headersOf('tools/call', { 'mcp-name': 'a', 'mcp-param-x': '1' }), 'mcp-param-x'],
  ])('%j is refused', (headers, named) => {
    expect(() => call({ method: 'tools/call', params }, headers)).toThrow(named)
  })
  test('a header of it on a message of the older one is refused', () => {
    expect(() => call({ method: 'ping' }, { 'mcp-protocol-version': '2026-07-28' })).toThrow()
    expect(call({ method: 'ping' }, { 'mcp-protocol-version': '2025-11-25' }).modern).toBe(false)
  })
  test('says by each request what its client can do; the older one when it opens', () => {
    const url = { elicitation: { url: {} } }
    const able = modern({ [`${META}clientCapabilities`]: url })
    expect(call({ method: 'ping', params: able }, headersOf('ping')).url).toBe(true)
    expect(call({ method: 'initialize', params: { capabilities: url } }).url).toBe(true)
    expect(call({ method: 'initialize', params: { capabilities: { elicitation: {} } } }).url).toBe(
      false,
    )
  })
  test('what became of deputy’s link is for deputy; every other byte of the values is sent as it came', () => {
    const text =
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1.50},"inputResponses":{"deputy":{"action":"accept"},"x":{"a":1e2}}}}'
    const spoken = read(text)
    expect(spoken.call.answered).toBe('accept')
    expect(spoken.text).toBe(
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1.50},"inputResponses":{"x":{"a":1e2}}}}',
    )
    const alone = read(text.replace(',"x":{"a":1e2}', '').replace('accept', 'decline'))
    expect([alone.call.answered, alone.text.includes('inputResponses')]).toEqual([
      'declined',
      false,
    ])
  })
})

test('what a completion says of arguments is seen as the arguments that it will be', () => {
  const at = (params: object) => {
    const text = JSON.stringify({ method: 'completion/complete', params })
    return argumentsAt(text, parseStrict(text), ['/title', '/to'], EXACT)
  }
  const argument = { name: 'title', value: 'secret' }
  expect(at({ argument })).toEqual({ '/title': 'secret' })
  expect(at({ argument, context: { arguments: { to: 'x' } } })).toEqual({
    '/title': 'secret',
    '/to': 'x',
  })
  for (const [params, why] of [
    [{}, 'argument is no JSON object'],
    [{ argument: { ...argument, Value: 'y' } }, 'take for value'],
    [{ argument: { name: 'title', value: 5 } }, 'is no text'],
    [{ argument, context: { arguments: { title: 'harmless' } } }, 'another value'],
    [{ argument, context: { arguments: { to: 1 } } }, 'of texts'],
    [{ argument, context: { Arguments: {} } }, 'take for arguments'],
    [{ argument: { name: 'Title', value: 'x' } }, 'take for a part'],
  ] as const)
    expect(() => at(params), JSON.stringify(params)).toThrow(why)
  // Nothing of it is asked for: it passes as it came.
  expect(argumentsAt('{}', { method: 'completion/complete' }, [], EXACT)).toEqual({})
})
test('of the arguments policy sees what the operation names, and nothing that others read otherwise', () => {
  const at = (text: string, pointers: readonly string[]) =>
    argumentsAt(text, parseStrict(text), pointers, EXACT)
  const of = (text: string) => `{"params":{"arguments":${text}}}`
  expect(at(of('{"a":{"b":[1,2]},"c":"x"}'), ['/a/b', '/d'])).toEqual({ '/a/b': [1, 2] })
  expect(() => at(of('{"a":9007199254740993}'), ['/a'])).toThrow('round')
  expect(() => at(of('{"a":1,"A":2}'), ['/a'])).toThrow('take for a part')
  const inner = (text: string) => of(JSON.stringify({ a: text }))
  for (const text of ['{"b":"x"}', 'x', '"{}"'])
    expect(() => at(inner(text), ['/a/b']), text).toThrow('some servers parse')
  for (const text of ['{"b":1}', ' [1]', 'null', '[-Infinity, NaN]'])
    expect(() => at(inner(text), ['/a']), text).toThrow('some servers parse')
  for (const text of ['', 'x', '5', 'true', '[draft] x', '"x"', '{'])
    expect(at(inner(text), ['/a'])).toEqual({ '/a': text })
})
