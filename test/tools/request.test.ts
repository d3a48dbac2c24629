// The request that a tool builds, byte for byte; what cannot be sent in one reading is refused in a sentence.
import { expect, test } from 'vitest'
import type { Json } from '../../proxy/model.ts'
import { requestOf } from '../../proxy/tools/request.ts'
import { checkArguments } from '../../proxy/tools/schema.ts'
import { toolNamed } from './sample.ts'

const build = (name: string, input: Record<string, unknown>, i = 0, item?: Json) => {
  const tool = toolNamed(name)
  const checked = checkArguments(tool, input)
  if ('wrong' in checked) throw new Error(checked.wrong)
  const step = tool.steps[i]
  if (step === undefined) throw new Error('no such step')
  const { body, ...rest } = requestOf(step, {
    args: checked.args,
    steps: new Map(),
    links: new Map(),
    item,
  })
  return { ...rest, body: body?.toString() ?? null }
}

test('a body, a query and headers are filled, and what is absent is not there', () => {
  expect(build('Acme.CreateNote', { title: 'Größe & co', tags: ['a'], trace: 'abc' })).toEqual({
    method: 'POST',
    host: 'api.acme.test',
    target: '/v1/me/notes?kind=plain',
    headers: ['X-Trace', 'abc', 'content-type', 'application/json'],
    body: '{"title":"Größe & co","tags":["a"]}',
  })
})

test('a text in the query is escaped, a list comes several times, an element fills the path', () => {
  expect(build('Acme.ListNotes', { folder: 'a&b=c d' }).target).toBe(
    '/v1/me/notes?max=5&q=in%3Aa%26b%3Dc%20d%20is%3Anote',
  )
  expect(build('Acme.ListNotes', {}).target).toBe('/v1/me/notes?max=5')
  expect(build('Acme.ListNotes', {}, 1, { id: 'n/1'.replace('/', '') }).target).toBe(
    '/v1/me/notes/n1?fields=title&fields=text',
  )
})

test('slashes stand where the catalogue lets them', () => {
  expect(build('Acme.GetFile', { path: 'src/a b.ts' }).target).toBe('/v1/files/src/a%20b.ts')
})

test('an argument within a text of OData ends it nowhere', () => {
  const [step] = toolNamed('Acme.GetFile').steps
  if (step === undefined) throw new Error('no such step')
  const text = { kind: 'text', parts: ['in:', 'folder', ''], quote: null } as const
  const { target } = requestOf(
    {
      ...step,
      operation: { ...step.operation, path: "/v1/search(q='{q}')" },
      path: [['q', text]],
    },
    {
      args: new Map([['folder', "a',top='9"]]),
      steps: new Map(),
      links: new Map(),
      item: undefined,
    },
  )
  expect(target).toBe("/v1/search(q='in:a''%2Ctop%3D''9')")
})

test('a GraphQL document goes with its variables', () => {
  expect(build('Acme.CreateBoard', { name: 'x' }).body).toBe(
    '{"query":"mutation($name: String!) { boardCreate(name: $name) { id } }","variables":{"name":"x"}}',
  )
})

test.for([
  ['Acme.DeleteNote', { id: '../admin' }, '`id` may not contain a slash'],
  ['Acme.DeleteNote', { id: '..' }, '`id` has a part that is empty, "." or ".."'],
  ['Acme.DeleteNote', { id: 'a%2fb' }, '`id` holds a percent escape: write the character itself'],
  ['Acme.DeleteNote', { id: '' }, '`id` must not be empty'],
  ['Acme.DeleteNote', { id: 'a\\b' }, '`id` holds a control character, a backslash or a semicolon'],
  [
    'Acme.DeleteNote',
    { id: 'a\r\nHost: x' },
    '`id` holds a control character, a backslash or a semicolon',
  ],
  ['Acme.DeleteNote', { id: '\ud800' }, '`id` holds half of a character'],
  [
    'Acme.DeleteNote',
    { id: 'x'.repeat(9_000) },
    'the arguments make an address of more than 8192 bytes: shorten them',
  ],
  ['Acme.GetFile', { path: 'a/../../b' }, '`path` has a part that is empty, "." or ".."'],
  ['Acme.GetFile', { path: '/etc/passwd' }, '`path` has a part that is empty, "." or ".."'],
  [
    'Acme.CreateNote',
    { title: 't', trace: 'a\r\nX-Evil: 1' },
    '`trace` goes into a header: printable ASCII in one line only',
  ],
] as const)('%s with %j is refused: %s', ([name, input, message]) => {
  expect(() => build(name, input)).toThrow(message)
})
