import { describe, expect, test } from 'vitest'
import { createMcpStates } from '../../proxy/tools/mcp_state.ts'

let now = 1_000_000_000
const states = createMcpStates({ key: Buffer.alloc(32, 1), now: () => now })
const bound = {
  person: { tenant: 'acme', realm: 'corp', id: 'alice' },
  agent: 'agent-1',
  endpoint: '/mcp',
  tool: 'Gmail_SendEmail',
  args: { to: 'bob', n: [1, { a: 1, b: 2 }] },
}
const until = now + 60_000

describe('what a host gives back', () => {
  test('is read for the same call, in whatever order its arguments are written', () => {
    const sealed = states.seal(bound, until)
    expect(states.read(bound, sealed)).toBe('good')
    const other = { ...bound, args: { n: [1, { b: 2, a: 1 }], to: 'bob' } }
    expect(states.read(other, sealed)).toBe('good')
  })
  test('is nobody’s for another person, agent, endpoint, tool or argument, or under another key', () => {
    const sealed = states.seal(bound, until)
    const { person } = bound
    for (const other of [
      { ...bound, person: { ...person, id: 'bob' } },
      { ...bound, person: { ...person, realm: 'other' } },
      { ...bound, person: { ...person, tenant: 'other' } },
      { ...bound, agent: 'agent-2' },
      { ...bound, endpoint: '/mcp/sales' },
      { ...bound, tool: 'Gmail_ListEmails' },
      { ...bound, args: { to: 'bob', n: [1, { a: 1, b: 3 }] } },
      { ...bound, args: { to: 'bob', n: [[['a', 1]], 1] } },
      { ...bound, args: undefined },
    ])
      expect(states.read(other, sealed)).toBe('foreign')
    const others = createMcpStates({ key: Buffer.alloc(32, 2), now: () => now })
    expect(others.read(bound, sealed)).toBe('foreign')
  })
  test('ends', () => {
    const sealed = states.seal(bound, until)
    now += 61_000
    expect(states.read(bound, sealed)).toBe('ended')
    now -= 61_000
  })
  test('a later end than was sealed is an edit', () => {
    const [v, , mac] = states.seal(bound, until).split('.')
    expect(states.read(bound, `${v}.${(9_999_999_999).toString(36)}.${mac}`)).toBe('foreign')
  })
  test('whatever else comes is foreign and throws nothing', () => {
    for (const text of ['', 'v1', 'v1..', `v1.abc.${'A'.repeat(43)}`, 'v2.a.b', '💥'])
      expect(states.read(bound, text)).toBe('foreign')
  })
})
