// A tool is found by any of its names, at the connection that is meant, or not at all with the nearest ones.
import { expect, test } from 'vitest'
import type { Connection } from '../../proxy/model.ts'
import { createCatalogue, type Offer } from '../../proxy/tools/catalogue.ts'
import { provider, read, TOOLS_YAML } from './sample.ts'

const connection = (name: string): Connection => ({
  name,
  provider: provider(),
  clientId: 'c',
  clientSecret: null,
  scopes: ['notes.read'],
})
const catalogue = (...names: readonly string[]) => {
  const connections = new Map(names.map((name) => [name, connection(name)]))
  const offers = [...connections.values()].flatMap((each): Offer[] =>
    read(TOOLS_YAML).tools.map((tool) => ({ tool, connection: each })),
  )
  return createCatalogue(connections, { offers, problems: [], parametersOf: async () => new Map() })
}

test.for<[string, string]>([
  ['Acme.CreateNote', 'Acme.CreateNote'],
  ['acme_createnote', 'Acme.CreateNote'],
  ['ACME.CreateNote@2.1.0', 'Acme.CreateNote'],
  ['Notes.Create', 'Acme.CreateNote'],
  ['notes.create', 'Acme.NotesCreate'],
  ['Acme_NotesCreate', 'Acme.NotesCreate'],
])('%s is %s', async ([name, found]) => {
  expect((await catalogue('acme').find(name)).tool.name).toBe(found)
})

test('of two connections one is named, in either way; without it nobody guesses', async () => {
  const two = catalogue('home', 'work')
  expect((await two.find('work/Acme.CreateNote')).connection.name).toBe('work')
  expect((await two.find('Acme.CreateNote', 'home')).connection.name).toBe('home')
  await expect(two.find('Acme.CreateNote')).rejects.toMatchObject({
    code: 'connection_ambiguous',
    extra: { connections: ['home', 'work'] },
  })
  await expect(two.find('Acme.CreateNote', 'other')).rejects.toMatchObject({
    code: 'tool_not_found',
  })
  await expect(two.find('work/Acme.CreateNote', 'home')).rejects.toMatchObject({
    code: 'request_invalid',
  })
})

test('what is not there names what is near', async () => {
  await expect(catalogue('acme').find('Acme.CreateNotes')).rejects.toMatchObject({
    code: 'tool_not_found',
    extra: { nearest: expect.arrayContaining(['Acme.CreateNote']) },
  })
  await expect(catalogue('acme').find('__proto__')).rejects.toMatchObject({
    code: 'tool_not_found',
  })
})

test('a field of GraphQL is no tool by itself, every other operation is', async () => {
  expect((await catalogue('acme').plain()).map(({ tool }) => tool.name)).toEqual([
    'Acme.FilesGet',
    'Acme.NotesCreate',
    'Acme.NotesDelete',
    'Acme.NotesGet',
    'Acme.NotesList',
    'Acme.NotesUpload',
  ])
})
