// Calls of an MCP server: which operation, what may be seen, and how a refusal is told in each revision.
import { describe, expect, test } from 'vitest'
import { createClassify, type Act } from '../../proxy/pipeline/classify.ts'
import {
  asMessage,
  inSession,
  listed,
  mcpMember,
  plainHeaders,
  refusalFor,
  spoken,
} from '../../proxy/pipeline/mcp.ts'
import { readMessage } from '../../proxy/envelope/jsonrpc.ts'
import type { McpCall, Route } from '../../proxy/model.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'

const parsed = parseProvider(
  {
    id: 'acme',
    kind: 'mcp',
    url: 'https://mcp.acme.test/mcp',
    tools: [
      { name: 'create', access: 'write', inspect: ['/title'] },
      { name: 'read', access: 'read' },
    ],
    prompts: [{ name: 'greet' }],
    resources: [
      { id: 'open', uri: 'acme://docs/open' },
      { id: 'docs', uri: 'acme://docs/*', access: 'admin' },
      { id: 'late', uri: 'acme://docs/late' },
    ],
  },
  'acme.yaml',
)
if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
const { provider } = parsed
const classify = createClassify([provider])
const routeOf = (method: string, path = '/mcp') =>
  ({
    connection: { provider },
    host: 'mcp.acme.test',
    asset: false,
    target: canonicalTarget(method, path),
  }) as unknown as Route
const act = (message: object, path?: string): Act => {
  const route = routeOf('POST', path)
  const value = { jsonrpc: '2.0', id: 1, ...message }
  const text = JSON.stringify(value)
  return spoken(classify(route), route, { ...readMessage(text, value, {}), value }, null)
}

describe('an operation', () => {
  test.each([
    ['initialize', {}, 'mcp.initialize', 'read'],
    ['tools/call', { name: 'create', arguments: { title: 'a' } }, 'tools.create', 'write'],
    ['tools/call', { name: 'other' }, 'unknown', 'admin'],
    ['prompts/get', { name: 'greet' }, 'prompts.greet', 'read'],
    // The first that fits is meant.
    ['resources/read', { uri: 'acme://docs/open' }, 'resources.open', 'read'],
    ['resources/read', { uri: 'acme://docs/a' }, 'resources.docs', 'admin'],
    ['resources/read', { uri: 'acme://docs/late' }, 'resources.late', 'read'],
    ['resources/read', { uri: 'acme://docs/../x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/%2e%2E/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/..;/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/..;a=b/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/%2e%2e%3B/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/%252e%252e/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs%25252f..%25252fx' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/%25252525252e/x' }, 'unknown', 'admin'],
    ['resources/read', { uri: 'acme://docs/a..b/..c;d/100%25' }, 'resources.docs', 'admin'],
    ['resources/read', { uri: 'acme://vault/a' }, 'unknown', 'admin'],
    ['tasks/get', { taskId: 'x' }, 'unknown', 'admin'],
    ['__proto__', { '[object Object]': 'x' }, 'unknown', 'admin'],
  ])('%s %j is %s', (method, params, id, access) => {
    const { operation, kind } = act({ method, params })
    expect([operation.id, operation.access, kind]).toEqual([id, access, 'mcp'])
  })
  test('policy sees method, name and the arguments that are named', () => {
    const called = act({
      method: 'tools/call',
      params: { name: 'create', arguments: { title: 'a', more: 'b' } },
    })
    expect(JSON.parse(mcpMember(called))).toEqual({
      method: 'tools/call',
      tool: 'create',
      arguments: { '/title': 'a' },
    })
    const read = act({ method: 'resources/read', params: { uri: 'acme://docs/open' } })
    expect(JSON.parse(mcpMember(read))).toMatchObject({ uri: 'acme://docs/open' })
    const prompt = act({ method: 'prompts/get', params: { name: 'greet' } })
    expect(JSON.parse(mcpMember(prompt))).toMatchObject({ prompt: 'greet' })
    expect(JSON.parse(mcpMember(act({ method: 'ping' })))).toEqual({
      method: 'ping',
      arguments: {},
    })
    expect(mcpMember({})).toBe('null')
  })
  test('what is no message of a server is left as it is; a POST needs one', () => {
    const elsewhere = routeOf('POST', '/other')
    const other = classify(elsewhere)
    expect(spoken(other, elsewhere, undefined, null)).toBe(other)
    const of = classify(routeOf('POST'))
    const rest: Act = { ...of, kind: 'rest' }
    expect(spoken(rest, routeOf('POST'), undefined, null)).toBe(rest)
    const { messages: _messages, ...without } = of
    expect(spoken(without, routeOf('POST'), undefined, null)).toBe(without)
    expect(() => spoken(of, routeOf('POST'), undefined, null)).toThrow('needs a JSON-RPC message')
  })
  test('whether its client shows links it says itself, or its session of the older revision', () => {
    const value = { jsonrpc: '2.0', id: 1, method: 'ping' }
    const text = JSON.stringify(value)
    const { call } = readMessage(text, value, {})
    const shows = (more: Partial<McpCall>, session: { readonly url: boolean } | null) =>
      spoken(
        classify(routeOf('POST')),
        routeOf('POST'),
        { call: { ...call, ...more }, text, value },
        session,
      ).mcp?.url
    expect([true, false].map((url) => shows({}, { url }))).toEqual([true, false])
    expect(shows({}, null)).toBe(false)
    expect(shows({ url: true }, null)).toBe(true)
    expect(shows({ modern: true }, { url: true })).toBe(false)
    expect(shows({ modern: true, url: true }, null)).toBe(true)
  })
  test('what a message does besides is decided by rows of its own', () => {
    const idsOf = ({ parts }: Act) => parts?.map(({ operation }) => operation.id)
    const answer = { q: { action: 'accept', content: { a: 1 } } }
    const told = act({ method: 'tools/call', params: { name: 'read', inputResponses: answer } })
    expect(idsOf(told)).toEqual(['tools.read', 'mcp.response'])
    expect(told.parts?.[1] && JSON.parse(mcpMember(told.parts[1]))).toEqual({
      method: 'response',
      arguments: {},
    })
    const resourceSubscriptions = ['acme://docs/a', 'acme://vault/a']
    const heard = act({
      method: 'subscriptions/listen',
      params: { notifications: { resourceSubscriptions } },
    })
    expect(idsOf(heard)).toEqual(['mcp.subscriptions.listen', 'resources.docs', 'unknown'])
    expect(heard.parts?.map((one) => JSON.parse(mcpMember(one)))).toMatchObject([
      { method: 'subscriptions/listen' },
      { method: 'resources/subscribe', uri: 'acme://docs/a' },
      { method: 'resources/subscribe', uri: 'acme://vault/a' },
    ])
    expect(act({ method: 'tools/call', params: { name: 'read' } }).parts).toBeUndefined()
  })
  test('GET is a stream, DELETE the end of a session; another path or a query is no call', () => {
    const of = (method: string) =>
      spoken(classify(routeOf(method)), routeOf(method), undefined, null)
    expect(of('GET').operation.id).toBe('mcp.stream')
    expect(of('GET').lists).toHaveLength(6)
    expect(classify(routeOf('POST')).operation.id, 'what a POST is its message says').toBe(
      'unknown',
    )
    expect(of('DELETE')).toMatchObject({ operation: { id: 'mcp.session.end' } })
    expect(of('DELETE').lists).toBeUndefined()
    const hidden = { method: 'tools/call', params: { name: 'create' } }
    const value = { jsonrpc: '2.0', id: 1, ...hidden }
    const message = { ...readMessage(JSON.stringify(value), value, {}), value }
    expect(() => spoken(classify(routeOf('GET')), routeOf('GET'), message, null)).toThrow('no body')
    expect(classify(routeOf('POST', '/other')).operation.id).toBe('unknown')
    expect(() => act({ method: 'ping' }, '/mcp?a=b')).toThrow('no query')
  })
})

test('of a list may be seen whose row policy allows, and nothing without a row', () => {
  const { lists = [] } = act({ method: 'tools/list' })
  expect(lists.map(({ mcp }) => mcp?.name)).toEqual(['create', 'read'])
  const listedBy = (method: string) => act({ method }).lists?.map(({ operation: { id } }) => id)
  expect(listedBy('prompts/list')).toEqual(['prompts.greet'])
  expect(listedBy('resources/list')).toEqual(['resources.open', 'resources.docs', 'resources.late'])
  expect(listedBy('resources/templates/list')).toEqual(listedBy('resources/list'))
  expect(listedBy('ping')).toBeUndefined()
  const seen = listed(new Set(['tools/call read', 'resources/read acme://docs/*']), provider)
  expect(['create', 'read', 'other'].filter(seen.tools)).toEqual(['read'])
  expect(['acme://docs/open', 'acme://docs/a', 'acme://x'].filter(seen.resources)).toEqual([
    'acme://docs/a',
  ])
  const [row] = provider.operations.filter(({ id }) => id === 'resources.docs')
  // A pattern is no URI that policy could go by.
  expect(row && asMessage(row, []).mcp?.name).toBeNull()
})

test('a session that does not open is no session; two are none either', () => {
  const sifted = { kept: ['a', 'b', 'mcp-session-id', 'x'], accepted: '', stripped: [] }
  const opened = inSession(sifted, (sealed) => ({ id: `raw-${sealed}`, url: true }))
  expect(opened.sifted.kept).toEqual(['a', 'b', 'mcp-session-id', 'raw-x'])
  expect(() => inSession(sifted, () => null)).toThrow('no such session')
  const never = (): never => {
    throw new Error('nothing is opened')
  }
  for (const kept of [[], ['a', 'mcp-session-id']])
    expect(inSession({ ...sifted, kept }, never)).toEqual({
      sifted: { ...sifted, kept },
      session: null,
    })
  const twice = { ...sifted, kept: [...sifted.kept, 'mcp-session-id', 'y'] }
  expect(() => inSession(twice, (id) => ({ id, url: false }))).toThrow('no such session')
})

test('a header of the protocol has one spelling, and stands beside a request where it is of one', () => {
  const judged = (name: string, message?: object) => {
    const value = { jsonrpc: '2.0', id: 1, ...message }
    const said = message && { ...readMessage(JSON.stringify(value), value, {}), value }
    return () => plainHeaders({ kept: ['a', 'mcp_x', name, 'v'], accepted: '', stripped: [] }, said)
  }
  const ping = { method: 'ping' }
  for (const name of ['mcp_session_id', 'mcp.method', 'mcp_name', 'mcp_param_x'])
    expect(judged(name, ping), name).toThrow('some servers take the header')
  for (const name of ['mcp-method', 'mcp-name', 'mcp-param-x']) {
    expect(judged(name, ping)().kept).toContain(name)
    for (const message of [undefined, { result: {} }])
      expect(judged(name, message), name).toThrow('this is none')
  }
  for (const name of ['mcp-session-id', 'mcp-protocol-version', 'mcp-param-my_arg', 'x_mcp'])
    expect(judged(name, ping)().kept).toContain(name)
  expect(judged('accept')().kept).toContain('accept')
})

describe('a refusal', () => {
  const mcp: McpCall = {
    kind: 'request',
    id: 'q',
    method: 'tools/call',
    key: 'tools/call create',
    name: 'create',
    modern: false,
    url: false,
    answered: null,
  }
  const document = {
    type: 't',
    title: 'T',
    status: 403,
    detail: 'Connect at https://d.test/connect/x',
    instance: 'i',
    code: 'consent_required',
    url: 'https://d.test/connect/x',
    authorization_id: 'a1',
  }
  const { url: _url, authorization_id: _id, ...denied } = { ...document, code: 'policy_denied' }
  test('is an error in a 200; of a notification a status', () => {
    expect(refusalFor(mcp, denied)).toMatchObject({
      status: 200,
      body: { jsonrpc: '2.0', id: 'q', error: { code: 403, data: { code: 'policy_denied' } } },
    })
    expect(refusalFor({ ...mcp, id: null }, denied)).toMatchObject({
      status: 403,
      body: { id: null },
    })
    expect(refusalFor(undefined, { ...denied, status: 400 })).toMatchObject({ status: 400 })
    expect(refusalFor(mcp, { ...denied, status: 429 }).status).toBe(429)
  })
  test('of the request itself, its session or its pace has its status, with the code that it may have', () => {
    for (const status of [400, 401, 404, 405, 413, 415, 429])
      expect(refusalFor(mcp, { ...denied, status })).toMatchObject({
        status,
        body: { error: { code: status } },
      })
    expect(refusalFor(mcp, { ...denied, status: 503 }).status).toBe(200)
    expect(refusalFor(mcp, { ...denied, status: 400, rpc: -32020 })).toMatchObject({
      status: 400,
      body: { error: { code: -32020 } },
    })
  })
  test('says its reasons and its link where it has some', () => {
    const ping = { ...mcp, method: 'ping', name: null }
    const dataOf = (document_: Parameters<typeof refusalFor>[1]) => {
      const { body } = refusalFor(ping, document_)
      return (body as { readonly error: { readonly data: object } }).error.data
    }
    expect(dataOf({ ...denied, reasons: ['hours'] })).toHaveProperty('reasons', ['hours'])
    expect(dataOf(document)).toMatchObject({ url: document.url, authorization_id: 'a1' })
    for (const name of ['reasons', 'url', 'authorization_id'])
      expect(Object.keys(dataOf(denied))).not.toContain(name)
    expect(refusalFor(ping, { ...denied, reasons: ['hours'] })).toMatchObject({
      body: { error: { code: 403 } },
    })
  })
  test('of what is unknown has the protocol’s own code', () => {
    const unknown = { ...denied, reasons: ['operation_unknown'] }
    expect(refusalFor(mcp, unknown)).toMatchObject({ body: { error: { code: -32602 } } })
    const method = { ...mcp, name: null, method: 'tasks/list' }
    expect(refusalFor(method, unknown)).toMatchObject({
      status: 200,
      body: { error: { code: -32601 } },
    })
    expect(refusalFor({ ...method, modern: true }, unknown).status).toBe(404)
  })
  test('that a person can lift asks the client to show the link, each revision in its way', () => {
    expect(refusalFor({ ...mcp, url: true }, document)).toMatchObject({
      status: 200,
      body: {
        error: {
          code: -32042,
          data: { elicitations: [{ mode: 'url', elicitationId: 'a1', url: document.url }] },
        },
      },
    })
    for (const method of ['tools/call', 'prompts/get', 'resources/read'])
      expect(refusalFor({ ...mcp, method, url: true, modern: true }, document)).toMatchObject({
        body: {
          id: 'q',
          result: {
            resultType: 'input_required',
            inputRequests: {
              deputy: { method: 'elicitation/create', params: { mode: 'url', url: document.url } },
            },
          },
        },
      })
  })
  test.each([
    ['a client that cannot show links', { ...mcp }],
    ['the same of the newer revision', { ...mcp, modern: true }],
    ['a person who said no', { ...mcp, modern: true, url: true, answered: 'declined' as const }],
  ])('%s: the link as text, where the model reads it', (_what, call) => {
    const { status, body } = refusalFor(call, document)
    expect([status, body]).toMatchObject([
      200,
      { result: { isError: true, content: [{ text: expect.stringContaining(document.url) }] } },
    ])
    expect(JSON.stringify(body)).not.toContain('-32042')
    expect(JSON.stringify(body).includes('"resultType":"complete"')).toBe(call.modern)
  })
  test('where nothing can be asked the link stands in the error, never the code of the older revision', () => {
    const discover = { ...mcp, method: 'server/discover', name: null, modern: true, url: true }
    expect(refusalFor(discover, document)).toMatchObject({
      status: 200,
      body: { error: { code: 403, message: expect.stringContaining(document.url) } },
    })
  })
})
