import { describe, expect, test } from 'vitest'
import { spanOf } from '../../proxy/audit/span.ts'
import type { Call } from '../../proxy/pipeline/exchange.ts'

const pseudonyms = { user: () => 'hmac:who', path: () => '/hmac:path' }
const req = { method: 'POST', httpVersion: '1.1', socket: {} }
type Given = { readonly call?: object; readonly over?: object }
const span = ({ call = {}, over = {} }: Given) =>
  spanOf(
    {
      id: 'call-1',
      route: null,
      who: null,
      act: null,
      decision: null,
      outcome: null,
      ...call,
    } as unknown as Call,
    { req, status: 200, problem: null, via: 'proxy', ...over } as unknown as Parameters<
      typeof spanOf
    >[1],
    pseudonyms,
  )
const route = {
  connection: { name: 'github', provider: { id: 'github' } },
  host: 'api.github.com',
  port: 443,
}
const who = {
  person: { id: 'alice@acme.test', realm: 'corp', tenant: 'acme' },
  agent: 'agent:triage',
  run: null,
}
const act = { operation: { id: 'issues.create', access: 'write' } }

describe('a span', () => {
  test('of a call that was not understood names no route, person or path', () => {
    const { name, attributes } = span({})
    expect(name).toBe('POST')
    expect(Object.keys(attributes).toSorted()).toEqual([
      'deputy.exchange',
      'http.request.method',
      'http.response.status_code',
      'network.protocol.version',
      'url.scheme',
    ])
  })
  test('says what was asked for once it was decided, and not before', () => {
    const before = span({ call: { route, who, act } }).attributes
    expect(before).toMatchObject({ 'user.id': 'hmac:who', 'http.route': 'github' })
    expect(before).not.toHaveProperty('url.path')
    expect(before).not.toHaveProperty(['gen_ai.tool.name'])
    const decision = {
      effect: 'deny',
      id: 'd',
      reasons: [{ code: 'no' }],
      revision: 'r',
      digest: 'x',
    }
    const { name, attributes } = span({ call: { route, who, act, decision } })
    expect(name).toBe('POST github')
    expect(attributes).toMatchObject({
      'url.path': '/hmac:path',
      'gen_ai.tool.name': 'issues.create',
      'deputy.decision.reasons': ['no'],
    })
    expect(JSON.stringify(attributes)).not.toContain('alice')
  })
  test('of a made-up method is of _OTHER', () => {
    const { name, attributes } = span({ over: { req: { ...req, method: 'X'.repeat(40) } } })
    expect([name, attributes['http.request.method']]).toEqual(['_OTHER', '_OTHER'])
  })
  test.each([
    [{ over: { status: 403, problem: { code: 'policy_denied' } } }, false, 'policy_denied'],
    [
      { over: { status: 502, problem: { code: 'upstream_unreachable' } } },
      true,
      'upstream_unreachable',
    ],
    [{ call: { outcome: { result: 'interrupted', credential: null } } }, true, 'interrupted'],
    [{}, false, undefined],
  ])('%j failed: %j, as %j', (given, failed, type) => {
    const { attributes, ...said } = span(given)
    expect([said.failed, attributes['error.type']]).toEqual([failed, type])
  })
  test('of an encrypted connection says https, and of another door which', () => {
    const over = { req: { ...req, socket: { encrypted: true } }, via: 'mcp' }
    expect(span({ over }).attributes).toMatchObject({ 'url.scheme': 'https', 'deputy.via': 'mcp' })
  })
})
