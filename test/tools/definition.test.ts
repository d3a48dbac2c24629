// A file of tools says what it means, or what is wrong with it: tool, step and member.
import { expect, test } from 'vitest'
import { read, TOOLS_YAML, toolNamed } from './sample.ts'

test('a file of tools is read without a problem, each with its behaviour', () => {
  const { tools, problems } = read(TOOLS_YAML)
  expect(problems).toEqual([])
  expect(
    tools.map(({ name, behaviour }) => [
      name,
      behaviour.readOnly,
      behaviour.destructive,
      behaviour.idempotent,
    ]),
  ).toEqual([
    ['Acme.CreateNote', false, false, false],
    ['Acme.ListNotes', true, false, true],
    ['Acme.GetFile', true, false, true],
    ['Acme.DeleteNote', false, true, true],
    ['Acme.CreateBoard', false, false, false],
  ])
  expect(toolNamed('Acme.ListNotes').steps.map(({ name, host }) => [name, host])).toEqual([
    ['list', 'api.acme.test'],
    ['notes.get', 'api.acme.test'],
  ])
})

const step = (text: string, more = '') =>
  read(
    `provider: acme\ntools:\n  A.B:\n    description: d\n    input: { x: { type: string } }\n    steps: [${text}]\n${more}`,
  ).problems
const FINE = '{ operation: notes.list, path: { who: { $arg: x } } }'

test.for([
  [
    'an operation that does not exist',
    '{ operation: notes.nope }',
    'tools.A.B.steps.0.operation: acme has no operation "notes.nope"',
  ],
  [
    'a parameter of the path that is missing',
    '{ operation: notes.get, path: { who: { $arg: x } } }',
    'tools.A.B.steps.0: path: /v1/{who}/notes/{id} needs id',
  ],
  [
    'one too many',
    '{ operation: notes.list, path: { who: { $arg: x }, z: 1 } }',
    'tools.A.B.steps.0: path: /v1/{who}/notes has no z',
  ],
  [
    'an argument that no input is',
    '{ operation: notes.list, path: { who: { $arg: y } } }',
    'tools.A.B.steps.0.path: no input is called y',
  ],
  [
    'a step that is not there yet',
    '{ operation: notes.list, path: { who: { $step: later } }, query: { x: { $arg: x } } }',
    'tools.A.B.steps.0.path: no earlier step is called later',
  ],
  [
    'an element without a list',
    '{ operation: notes.list, path: { who: { $item: /id } }, query: { x: { $arg: x } } }',
    'tools.A.B.steps.0.path: $item stands in a step with each only',
  ],
  [
    'an operator that is none',
    '{ operation: notes.list, path: { who: { $if: x } } }',
    'tools.A.B.steps.0.path: $if is not known: one of $arg, $step, $item, $text, $mime, $json, $split, $join, $map, $base64, $link, $query',
  ],
  [
    'a header of deputy’s',
    '{ operation: notes.list, path: { who: { $arg: x } }, headers: { Authorization: a } }',
    'tools.A.B.steps.0: headers: Authorization is not for a tool to set',
  ],
  [
    'a wait that an argument asks for',
    '{ operation: notes.list, path: { who: me }, headers: { Prefer: { $arg: x } } }',
    'tools.A.B.steps.0: headers: prefer cannot be an argument',
  ],
  [
    'a field of GraphQL without its document',
    '{ operation: boards.list, query: { x: { $arg: x } } }',
    'tools.A.B.steps.0: graphql: boards.list is a field of GraphQL, so it needs a document',
  ],
  [
    'an input that nothing uses',
    '{ operation: notes.list, path: { who: me } }',
    'tools.A.B.input.x: no step uses it',
  ],
  [
    'a recipe that loops without end',
    '{ operation: notes.list, path: { who: { $arg: x } }, each: { of: [1], most: 500 } }',
    'tools.A.B.steps.0.each.most: is at most 50',
  ],
  [
    'six steps',
    Array.from(
      { length: 6 },
      (_, i) => `{ operation: notes.list, as: s${i}, path: { who: { $arg: x } } }`,
    ).join(','),
    'tools.A.B.steps: are at most 5',
  ],
  [
    'two steps of one name',
    `${FINE}, ${FINE}`,
    'tools.A.B.steps.1: two steps are called notes.list: say as:',
  ],
  [
    'a key that is unknown',
    '{ operation: notes.list, path: { who: { $arg: x } }, retry: 3 }',
    'tools.A.B.steps.0.retry: unknown key',
  ],
] as const)('%s is named with tool, step and member', ([, text, problem]) => {
  expect(step(text)).toContain(problem)
})

test('a description of more than a line, or of 221 characters, is refused', () => {
  const with_ = (text: string) =>
    read(
      `provider: acme\ntools:\n  A.B:\n    description: ${JSON.stringify(text)}\n    steps: [{ operation: notes.list, path: { who: me } }]`,
    ).problems
  expect(with_('a\nb')).toEqual(['tools.A.B.description: must be one line'])
  expect(with_('x'.repeat(221))).toEqual(['tools.A.B.description: has more than 220 characters'])
})
