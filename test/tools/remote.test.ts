// Tools of MCP servers as a definition lists them, as a server describes them, and what becomes of a result.
import { expect, test } from 'vitest'
import type { Connection, JsonObject } from '../../proxy/model.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { describedBy, errorOf, ranOf, readPage, remoteTools } from '../../proxy/tools/remote.ts'

const connectionOf = (name: string, tools: readonly string[]): Connection => {
  const parsed = parseProvider(
    {
      id: 'acme',
      name: 'Acme',
      kind: 'mcp',
      url: 'https://mcp.acme.test/mcp',
      tools: tools.map((one) => ({
        name: one,
        access: one.startsWith('delete') ? 'delete' : 'read',
      })),
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return { name, provider: parsed.provider } as Connection
}

test('each is named by its connection and its own name, and where two come to one name each has a sum of its own', () => {
  const { offers, problems } = remoteTools(
    connectionOf('work-notes', ['create_note', 'a/b.c', 'createNote', 'delete_all', '...']),
  )
  expect(offers.map(({ tool }) => [tool.name, tool.aliases])).toEqual([
    [expect.stringMatching(/^WorkNotes\.CreateNote_[0-9a-f]{6}$/), []],
    ['WorkNotes.ABC', ['work-notes.a/b.c']],
    [expect.stringMatching(/^WorkNotes\.CreateNote_[0-9a-f]{6}$/), []],
    ['WorkNotes.DeleteAll', ['work-notes.delete_all']],
    [expect.stringMatching(/^WorkNotes\.Tool[0-9a-f]{6}$/), ['work-notes....']],
  ])
  expect(new Set(offers.map(({ tool }) => tool.name)).size).toBe(5)
  expect(problems).toEqual([
    expect.stringMatching(/^work-notes: create_note, createNote come to one name/),
  ])
  // What a tool does is what its definition says.
  expect(offers.map(({ tool }) => tool.behaviour.destructive)).toEqual([
    false,
    false,
    false,
    true,
    false,
  ])
  expect(
    remoteTools({ name: 'x', provider: { mcp: null, operations: [] } } as unknown as Connection),
  ).toEqual({
    offers: [],
    problems: [],
  })
})

test('of a page counts what is wanted; a name that is said twice is described by neither', () => {
  const said = new Map<string, { readonly [member: string]: unknown } | null>()
  const wanted = new Set(['a', 'b'])
  const page = {
    tools: [{ name: 'a' }, { name: 'c' }, 7, { name: 'b', description: '1' }, { name: 'b' }],
  }
  expect(readPage({ ...page, nextCursor: 'n' }, wanted, said)).toBe('n')
  expect([...said]).toEqual([
    ['a', { name: 'a' }],
    ['b', null],
  ])
  expect(readPage({ tools: {}, nextCursor: 'x'.repeat(5_000) }, wanted, said)).toBe(null)
  const [offer] = remoteTools(connectionOf('notes', ['b'])).offers
  if (offer === undefined) throw new Error('none')
  expect(describedBy(offer, said).tool.description).toContain('the server lists it twice')
  expect(describedBy(offer, new Map()).tool.description).toContain('does not list it now')
  expect(describedBy(offer, 'it is down').tool.description).toBe(
    'b of the MCP server Acme. Its arguments are not known: it is down.',
  )
})

test('a result is bounded, and is the server’s where it says that it failed', () => {
  const resource = { type: 'resource', resource: { uri: 'a://b', text: 'x', more: 1 } }
  expect(
    ranOf('Acme', { content: [resource, { type: 'resource', resource: { uri: 'a' } }] }, 10_000),
  ).toMatchObject({
    kind: 'done',
    truncated: false,
    served: {
      structured: false,
      content: [{ type: 'resource', resource: { uri: 'a://b', text: 'x' } }, { type: 'text' }],
    },
  })
  const long = ranOf(
    'Acme',
    { content: [{ type: 'text', text: 'é'.repeat(5_000) }, resource] },
    1_000,
  )
  expect(long).toMatchObject({ kind: 'done', truncated: true })
  expect(JSON.stringify(long).length).toBeLessThan(2_500)
  expect(
    ranOf('Acme', { isError: true, content: [{ type: 'text', text: 'no' }] }, 100),
  ).toMatchObject({
    kind: 'failed',
    message: 'Acme: no',
  })
  const shout = { isError: true, content: [{ type: 'text', text: 'no '.repeat(50_000) }] }
  expect(JSON.stringify(ranOf('Acme', shout, 1_000_000)).length).toBeLessThan(4_500)
  const urls = Array.from({ length: 9 }, (_, i) => ({ url: `https://a.test/${i}` }))
  const many = errorOf('Acme', 400, { code: 1, data: { elicitations: urls } })
  expect(JSON.stringify(many).match(/https:/g)).toHaveLength(3)
  expect(ranOf('Acme', {}, 100)).toMatchObject({ kind: 'done', value: { content: [] } })
  const error = {
    code: -32602,
    message: 'a\u0000b',
    data: { elicitations: [{ url: 'file:///x' }] },
  }
  expect(errorOf('Acme', 200, error)).toMatchObject({
    kind: 'failed',
    status: 502,
    message: 'Acme answered the error -32602: a b',
  })
})

test('structure that nobody could read is left out, and the content passes', () => {
  const trap: unknown = JSON.parse(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`)
  const content = [{ type: 'text', text: 'done' }]
  expect(ranOf('Acme', { content, structuredContent: trap } as JsonObject, 65_536)).toMatchObject({
    kind: 'done',
    served: { content, structured: false },
  })
})
