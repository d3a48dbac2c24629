// A session of an MCP server is sealed to one person, agent, connection and host.
import { expect, test } from 'vitest'
import { createMcpSessions } from '../../proxy/wire/mcp_session.ts'

const bound = {
  person: { tenant: 't', realm: 'r', id: 'alice' },
  agent: 'laptop',
  connection: 'acme',
  host: 'mcp.acme.test',
}
const sessions = createMcpSessions({ key: Buffer.alloc(32, 1) })

test('opens for whom it was sealed, at every replica with the same key, and for nobody else', () => {
  const sealed = sessions.seal(bound, { id: 'a.b', url: true })
  expect(createMcpSessions({ key: Buffer.alloc(32, 1) }).open(bound, sealed)).toEqual({
    id: 'a.b',
    url: true,
  })
  for (const other of [
    { ...bound, person: { ...bound.person, id: 'bob' } },
    { ...bound, person: { ...bound.person, tenant: 'u' } },
    { ...bound, person: { ...bound.person, realm: 's' } },
    { ...bound, agent: 'other' },
    { ...bound, connection: 'other' },
    { ...bound, host: 'other.test' },
  ])
    expect(sessions.open(other, sealed)).toBeNull()
  expect(createMcpSessions({ key: Buffer.alloc(32, 2) }).open(bound, sealed)).toBeNull()
})
test('what was not sealed, or was changed, is none', () => {
  const sealed = sessions.seal(bound, { id: 'abc', url: false })
  for (const text of [
    '',
    'abc',
    sealed.replace('n.', 'u.'),
    `${sealed}d`,
    sealed.slice(0, -1),
    ` ${sealed}`,
  ])
    expect(sessions.open(bound, text)).toBeNull()
})
