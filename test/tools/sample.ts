// A file of tools at a provider of its own, for the tests of this folder.
import type { Provider } from '../../proxy/model.ts'
import { parseProvider } from '../../proxy/providers/parse.ts'
import { readTools, type Tool } from '../../proxy/tools/definition.ts'
import { parseToolFile } from '../../proxy/tools/load.ts'

export const PROVIDER_YAML = {
  id: 'acme',
  authorize: 'https://login.acme.test/authorize',
  token: 'https://login.acme.test/token',
  hosts: ['api.acme.test'],
  present: 'Authorization: Bearer {token}',
  operations: [
    {
      scopes: [['notes.read']],
      read: {
        'notes.list': 'GET /v1/{who}/notes',
        'notes.get': 'GET /v1/{who}/notes/{id}',
        'files.get': 'GET /v1/files/{path+}',
      },
    },
    {
      scopes: [['notes.write']],
      write: {
        'notes.create': 'POST /v1/{who}/notes',
        'notes.upload': { call: 'PUT /v1/{who}/notes/{id}', upload: true },
      },
      delete: { 'notes.delete': 'DELETE /v1/{who}/notes/{id}' },
    },
    {
      scopes: [['notes.read'], ['notes.write']],
      graphql: 'POST /graphql',
      read: { 'boards.list': 'query boards' },
      write: { 'boards.create': 'mutation boardCreate' },
    },
  ],
}

export const provider = (): Provider => {
  const parsed = parseProvider(PROVIDER_YAML, 'acme.yaml')
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  return parsed.provider
}

export const TOOLS_YAML = `
provider: acme
tools:
  Acme.CreateNote:
    aliases: [Notes.Create]
    description: Writes a note.
    input:
      title: { type: string, required: true, description: Its title. }
      body: { type: string }
      tags: { type: array, items: string }
      kind: { type: string, enum: [plain, rich], default: plain }
      priority: { type: integer, minimum: 1, maximum: 5 }
      trace: { type: string }
    steps:
      - operation: notes.create
        path: { who: me }
        query: { kind: { $arg: kind } }
        headers: { X-Trace: { $arg: trace } }
        body: { title: { $arg: title }, text: { $arg: body }, tags: { $arg: tags }, priority: { $arg: priority } }
    result: { keep: { id: /id } }
  Acme.ListNotes:
    description: Reads the newest notes.
    input:
      n: { type: integer, default: 5, minimum: 1, maximum: 25 }
      page_token: { type: string }
      folder: { type: string }
    steps:
      - operation: notes.list
        as: list
        path: { who: me }
        query: { max: { $arg: n }, page: { $arg: page_token }, q: { $text: "in:{folder} is:note" } }
      - operation: notes.get
        each: { of: { $step: list, at: /notes }, most: 3 }
        path: { who: me, id: { $item: /id } }
        query: { fields: [title, text] }
    result: { keep: { notes: { $each: { id: /id, title: /title } }, total: { $step: list, at: /total } } }
    next: { page_token: { $step: list, at: /next } }
  Acme.GetFile:
    description: Reads a file.
    input: { path: { type: string, required: true } }
    steps: [{ operation: files.get, path: { path: { $arg: path } } }]
  Acme.DeleteNote:
    description: Removes a note.
    input: { id: { type: string, required: true } }
    steps: [{ operation: notes.delete, path: { who: me, id: { $arg: id } } }]
  Acme.CreateBoard:
    description: Makes a board.
    input: { name: { type: string, required: true } }
    steps:
      - operation: boards.create
        graphql:
          document: "mutation($name: String!) { boardCreate(name: $name) { id } }"
          variables: { name: { $arg: name } }
    result: { keep: { id: /data/boardCreate/id } }
`

/** One that does several things. */
const STEPS_YAML = `
provider: acme
tools:
  Acme.MoveNotes:
    description: Writes a note, uploads others and removes an old one.
    input:
      title: { type: string, required: true }
      ids: { type: array, items: string }
      old: { type: string }
    steps:
      - { operation: notes.create, as: made, path: { who: me }, body: { title: { $arg: title } } }
      - operation: notes.upload
        as: sent
        each: { of: { $arg: ids }, most: 5 }
        path: { who: me, id: { $item: '' } }
        body: { of: { $step: made, at: /id } }
      - { operation: notes.delete, as: gone, path: { who: me, id: { $arg: old } } }
`

export const read = (
  text: string,
): { readonly tools: readonly Tool[]; readonly problems: readonly string[] } => {
  const problems: string[] = []
  const { raw } = parseToolFile('acme.tools.yaml', text)
  const tools = readTools(raw, provider(), (path, what) => void problems.push(`${path}: ${what}`))
  return { tools, problems }
}
export const toolNamed = (name: string): Tool => {
  const tools = [TOOLS_YAML, STEPS_YAML].flatMap((text) => read(text).tools)
  const tool = tools.find((one) => one.name === name)
  if (tool === undefined) throw new Error(`no tool ${name}`)
  return tool
}
