import { describe, expect, test } from 'vitest'
import type { Connection } from '../../proxy/model.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { createCatalogue, type Offer } from '../../proxy/tools/catalogue.ts'
import { endpointOf, MOST_LISTED, searched, shapeOf, textOf } from '../../proxy/tools/endpoint.ts'
import { provider, read, TOOLS_YAML, toolNamed } from './sample.ts'

const connection = (name: string): Connection => ({
  name,
  provider: provider(),
  clientId: 'deputy',
  clientSecret: null,
  scopes: [],
})
const { tools } = read(TOOLS_YAML)
const catalogueAt = (...names: readonly string[]) => {
  const connections = new Map(names.map((name) => [name, connection(name)]))
  const offers: Offer[] = [...connections.values()].flatMap((one) =>
    tools.map((tool) => ({ tool, connection: one })),
  )
  return createCatalogue(connections, {
    offers,
    problems: [],
    parametersOf: () => Promise.resolve(new Map()),
  })
}
const at = async (row: object, ...names: readonly string[]) =>
  endpointOf(
    { path: '/mcp', discovery: false, ...row },
    catalogueAt(...(names.length === 0 ? ['acme'] : names)),
  )
const namesOf = async (row: object, ...names: readonly string[]) =>
  (await at(row, ...names)).entries.map(({ name }) => name)

describe('an endpoint lists', () => {
  test('without tools: the hand-checked ones of every connection, in one order', async () => {
    expect(await namesOf({})).toEqual([
      'Acme_CreateBoard',
      'Acme_CreateNote',
      'Acme_DeleteNote',
      'Acme_GetFile',
      'Acme_ListNotes',
    ])
  })
  test('what its patterns name, in any spelling, by alias too', async () => {
    expect(await namesOf({ tools: ['acme.list*'] })).toEqual(['Acme_ListNotes'])
    expect(await namesOf({ tools: ['Notes.Create', 'Acme_GetFile'] })).toEqual([
      'Acme_CreateNote',
      'Acme_GetFile',
    ])
    expect(await namesOf({ tools: ['Acme.*'] })).toHaveLength(5)
  })
  test('tools of an MCP server where a pattern says which server, and never by a star for everything', async () => {
    const parsed = parseProvider(
      {
        id: 'desk',
        kind: 'mcp',
        url: 'https://mcp.desk.test/mcp',
        tools: ['create_note', 'find'].map((name) => ({ name, access: 'read' })),
      },
      'desk.yaml',
    )
    if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
    const desk = { ...connection('my-desk'), provider: parsed.provider }
    const all = createCatalogue(new Map([['my-desk', desk]]), {
      offers: tools.map((tool) => ({ tool, connection: connection('acme') })),
      problems: [],
      parametersOf: () => Promise.resolve(new Map()),
    })
    const of = async (row: object) => {
      const { entries } = await endpointOf({ path: '/mcp', discovery: false, ...row }, all)
      return entries.flatMap(({ name }) => (name.startsWith('MyDesk') ? [name] : []))
    }
    const both = ['MyDesk_CreateNote', 'MyDesk_Find']
    for (const pattern of ['my-desk.*', 'MyDesk.*', 'my-desk/*', 'MyDesk_*'])
      expect(await of({ tools: [pattern] }), pattern).toEqual(both)
    expect(await of({ tools: ['my-desk.create_note'] })).toEqual(['MyDesk_CreateNote'])
    expect(await of({ tools: ['*', '*.Find', 'My*.Find'] })).toEqual([])
    expect(await of({})).toEqual([])
    expect(await of({ discovery: true })).toEqual(both)
    expect((await all.find('mydesk.createnote')).connection.name).toBe('my-desk')
    await expect(all.find('MyDesk.CreateNotes')).rejects.toThrow('near it: MyDesk.CreateNote')
  })
  test('an operation by itself where it is named, and nothing twice', async () => {
    expect(
      await namesOf({ tools: ['Acme.NotesList', 'Acme.NotesList', 'Acme.ListNotes'] }),
    ).toEqual(['Acme_ListNotes', 'Acme_NotesList'])
  })
  test('what several connections have under the name of each, unless the pattern chooses', async () => {
    expect(await namesOf({ tools: ['Acme.GetFile'] }, 'acme', 'other')).toEqual([
      'acme_Acme_GetFile',
      'other_Acme_GetFile',
    ])
    expect(await namesOf({ tools: ['other/Acme.GetFile'] }, 'acme', 'other')).toEqual([
      'Acme_GetFile',
    ])
  })
  test('patterns that fit nothing are told', async () => {
    expect((await at({ tools: ['Acme.*', 'Gmale.*'] })).unmatched).toEqual(['Gmale.*'])
  })
  test('more than models choose among are searched for', async () => {
    const many = Array.from({ length: MOST_LISTED + 1 }, (_, i) => `c${i}`)
    expect((await at({ tools: ['Acme.GetFile'] }, ...many)).discovery).toBe(true)
    expect((await at({})).discovery).toBe(false)
    const found = await at({ discovery: true })
    expect(found.discovery).toBe(true)
    // All operations, too.
    expect(found.find('Acme_NotesGet')?.offer.tool.plain).toBe(true)
  })
  test('a name that several connections have means none of them', async () => {
    const { find } = await at({ tools: ['Acme.GetFile'] }, 'acme', 'other')
    for (const name of ['Acme_GetFile', 'acme.getfile'])
      expect(() => find(name)).toThrow('call one of acme_Acme_GetFile, other_Acme_GetFile')
    expect(find('OTHER_acme.getfile')?.offer.connection.name).toBe('other')
  })
  test('two names that come to one are told apart', async () => {
    const [tool] = tools
    if (tool === undefined) throw new Error('no tool')
    const made = [
      ['b.c', 'a', 'z'],
      ['c', 'a-b', 'q'],
    ].map(([name = '', ...names]) => {
      const one = { ...tool, name }
      return { tool: one, offers: names.map((at) => ({ tool: one, connection: connection(at) })) }
    })
    const catalogue = { ...catalogueAt('acme'), made }
    const { entries, find } = await endpointOf({ path: '/mcp', discovery: false }, catalogue)
    const names = entries.map(({ name }) => name.replace(/_[0-9a-f]{6}$/, '_SUM'))
    expect(names).toEqual(['a_b_c_SUM', 'a_b_c_SUM', 'q_c', 'z_b_c'])
    expect(new Set(entries.map(({ name }) => find(name)?.offer.connection.name)).size).toBe(4)
    expect(find('a_b_c')).toBeUndefined()
  })
  test('each is found by its name in any spelling', async () => {
    const { find } = await at({})
    for (const name of ['Acme_GetFile', 'Acme.GetFile', 'acme_getfile'])
      expect(find(name)?.offer.tool.name).toBe('Acme.GetFile')
    expect(find('Acme_Nope')).toBeUndefined()
  })
})

test('a tool is told in the few words that every host takes, with what it may do from the catalogue', () => {
  const entry = {
    name: 'Acme_DeleteNote',
    offer: { tool: toolNamed('Acme.DeleteNote'), connection: connection('acme') },
  }
  expect(shapeOf(entry)).toEqual({
    name: 'Acme_DeleteNote',
    title: 'Acme.DeleteNote',
    description: 'Removes a note.',
    inputSchema: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
    annotations: {
      readOnlyHint: false,
      destructiveHint: true,
      idempotentHint: true,
      openWorldHint: true,
    },
  })
  expect(textOf(entry)).toBe(JSON.stringify(shapeOf(entry)))
  expect(textOf(entry)).toBe(textOf(entry))
})

test('a search finds by words of the name before those of the description', async () => {
  const { entries } = await at({ discovery: true })
  const names = searched(entries, 'create note').map(({ name }) => name)
  expect(names[0]).toBe('Acme_CreateNote')
  expect(names.indexOf('Acme_NotesCreate')).toBeGreaterThan(0)
  expect(searched(entries, '')).toEqual([])
  expect(searched(entries, '.* (')).toEqual([])
})
