// A definition of an MCP server, and the messages that it lists.
import { describe, expect, test } from 'vitest'
import { parseProvider } from '../../proxy/providers/parse.ts'

const read = (more: object) =>
  parseProvider({ id: 'acme', kind: 'mcp', url: 'https://mcp.acme.test/mcp', ...more }, 'acme.yaml')
const rows = (more: object) => {
  const parsed = read(more)
  return 'provider' in parsed ? parsed.provider.operations : []
}

describe('kind: mcp', () => {
  test('one line is a server: its host, its resource and what the protocol needs', () => {
    const parsed = read({})
    expect(parsed).toMatchObject({
      provider: {
        mcp: { url: 'https://mcp.acme.test/mcp', path: '/mcp' },
        resource: ['https://mcp.acme.test/mcp'],
        discover: { problem: 'it was not asked yet' },
        issuer: null,
      },
    })
    expect('provider' in parsed && [...parsed.provider.hosts]).toEqual([
      ['mcp.acme.test', 'https://mcp.acme.test'],
    ])
    expect(rows({}).map(({ id }) => id)).toContain('mcp.tools.list')
    expect(rows({}).find(({ id }) => id === 'mcp.response')?.access).toBe('write')
  })
  test('a tool, a prompt and a resource are operations by their names', () => {
    const made = rows({
      tools: [{ name: 'create', access: 'write', scopes: [['w']], inspect: ['/title'] }],
      prompts: [{ name: 'greet' }],
      resources: [{ id: 'docs', uri: 'acme://docs/*' }],
    }).slice(-3)
    expect(made).toMatchObject([
      {
        id: 'tools.create',
        access: 'write',
        mcp: 'tools/call create',
        scopes: [['w']],
        inspect: ['/title'],
      },
      { id: 'prompts.greet', access: 'read', mcp: 'prompts/get greet' },
      { id: 'resources.docs', access: 'read', mcp: 'resources/read acme://docs/*' },
    ])
  })
  test.each([
    [{ url: undefined }, 'url: is needed with kind: mcp'],
    [{ url: 'https://mcp.acme.test/mcp?a=b' }, 'url: must have no query'],
    [{ hosts: ['other.test'] }, 'hosts: must be the one host of url: mcp.acme.test'],
    [{ operations: [{ id: 'a' }] }, 'operations: have no place with kind: mcp'],
    [{ tools: [{ name: 'a' }] }, 'tools.0.access: '],
    [{ tools: [{ name: 'a b', access: 'read' }] }, 'tools.0.name: must be the name of a tool'],
    [
      {
        tools: [
          { name: 'a', access: 'read' },
          { name: 'a', access: 'write' },
        ],
      },
      'tools.1: stands twice',
    ],
    [{ kind: 'api', hosts: ['a.test'] }, 'kind: must be mcp'],
  ])('%j is wrong', (more, problem) => {
    const parsed = read(more)
    expect('problems' in parsed ? parsed.problems.join('\n') : '').toContain(problem)
  })
})
