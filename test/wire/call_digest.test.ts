// What a yes to a call is bound to, and what it is not.
import { expect, test } from 'vitest'
import { boundHeaders, callDigest, unnumbered } from '../../proxy/wire/call_digest.ts'

type Call = Parameters<typeof callDigest>[0]
const call: Call = {
  person: { tenant: 'acme', realm: 'corp', id: 'alice' },
  agent: 'agent:triage',
  run: null,
  standing: null,
  connection: 'github',
  account: 'alice-gh',
  host: 'api.github.com',
  method: 'POST',
  target: '/repos/acme/app/issues?a=1',
  headers: [
    ['content-type', 'application/json'],
    ['accept', 'application/json'],
  ],
  operations: ['issues.create'],
  body: '{"title":"x"}',
}

const others: readonly Partial<Call>[] = [
  { person: { tenant: 'other', realm: 'corp', id: 'alice' } },
  { person: { tenant: 'acme', realm: 'other', id: 'alice' } },
  { person: { tenant: 'acme', realm: 'corp', id: 'Alice' } },
  { agent: 'agent:other' },
  { run: 'r1' },
  { standing: 'r1' },
  { connection: 'github-2' },
  { account: 'alice-other' },
  { account: null },
  { host: 'uploads.github.com' },
  { method: 'PUT' },
  { target: '/repos/acme/app/issues?a=1&b=2' },
  { target: '/repos/acme/app/issues' },
  { headers: [['content-type', 'application/json']] },
  {
    headers: [
      ['content-type', 'text/plain'],
      ['accept', 'application/json'],
    ],
  },
  { operations: ['issues.create', 'issues.create'] },
  { operations: [] },
  { body: '{"title":"y"}' },
  { body: '' },
  { body: null },
]

test('each part of a call changes its digest, and no two changes make the same', () => {
  const all = [{}, ...others].map((change) => callDigest({ ...call, ...change }))
  expect(new Set(all).size).toBe(others.length + 1)
  for (const digest of all) expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/)
})

test('the order of headers of other names, and text or bytes of the body, change nothing', () => {
  const turned = call.headers.toReversed()
  expect(callDigest({ ...call, headers: turned })).toBe(callDigest(call))
  expect(callDigest({ ...call, body: Buffer.from('{"title":"x"}') })).toBe(callDigest(call))
  const twice = (values: readonly string[]): string =>
    callDigest({ ...call, headers: values.map((value) => ['x-a', value] as const) })
  expect(twice(['1', '2'])).not.toBe(twice(['2', '1']))
})

test('headers that a client writes anew at each try are left out, and no others', () => {
  const kept = [
    ['Accept', 'a', 'If-Match', '"1"', 'X-GitHub-Api-Version', '2022-11-28', 'Prefer', 'x'],
    ['X-HTTP-Method-Override', 'DELETE', 'Destination', '/b', 'Stripe-Account', 'acct_1'],
    ['traceparent', '00-1', 'User-Agent', 'u', 'Idempotency-Key', 'k', 'X-Request-Id', 'r'],
    ['x-b3-traceid', 't', 'X-Stainless-Retry-Count', '1', 'mcp-session-id', 's'],
  ].flat()
  expect(boundHeaders(kept).map(([name]) => name)).toEqual([
    'accept',
    'if-match',
    'x-github-api-version',
    'prefer',
    'x-http-method-override',
    'destination',
    'stripe-account',
  ])
  const anew = [
    ['accept-encoding', 'baggage', 'idempotency-key', 'mcp-session-id', 'traceparent'],
    ['tracestate', 'user-agent', 'x-amzn-trace-id', 'x-cloud-trace-context', 'x-correlation-id'],
    ['x-goog-api-client', 'x-request-id', 'x-b3-flags', 'x-datadog-trace-id', 'x-stainless-lang'],
  ].flat()
  expect(boundHeaders(anew.flatMap((name) => [name, 'v']))).toEqual([])
  for (const name of anew) expect(boundHeaders([`${name}s`.slice(1), 'v'])).toHaveLength(1)
})

test('a message of JSON-RPC is the same under another id and progress token, and by nothing else', () => {
  const message = {
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: { name: 'send', arguments: { to: 'bob' }, _meta: { progressToken: 7 } },
  }
  const again = { ...message, id: 'b', params: { ...message.params, _meta: { progressToken: 8 } } }
  const said = (one: object): string => unnumbered(JSON.stringify(one))
  expect(said(again)).toBe(said(message))
  const { _meta: _token, ...params } = message.params
  expect(said({ ...message, params })).toBe(said(message))
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' }
  expect(said({ ...ping, params: {} })).not.toBe(said(ping))
  for (const other of [
    { ...message, method: 'tools/list' },
    { ...message, params: { ...message.params, arguments: { to: 'eve' } } },
    { ...message, params: { ...message.params, _meta: { as: 'admin' } } },
    { jsonrpc: '2.0', id: 1, method: 'tools/call' },
  ])
    expect(said(other)).not.toBe(said(message))
})

test('two numbers of a message that this runtime would round to one are two', () => {
  const paying = (amount: string): string =>
    unnumbered(`{"id":1,"method":"tools/call","params":{"arguments":{"account":${amount}}}}`)
  expect(paying('12345678901234567891')).not.toBe(paying('12345678901234567890'))
  expect(paying('12345678901234567891')).toContain('12345678901234567891')
})
