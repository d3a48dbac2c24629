// Schemas in the few words that all hosts take, and arguments refused in sentences.
import { Ajv } from 'ajv'
import { expect, test } from 'vitest'
import {
  anthropicFormat,
  checkArguments,
  inputSchema,
  openaiFormat,
  parameterList,
} from '../../proxy/tools/schema.ts'
import { read, TOOLS_YAML, toolNamed } from './sample.ts'

const note = toolNamed('Acme.CreateNote')
const wrongOf = (given: unknown) => {
  const checked = checkArguments(note, given)
  return 'wrong' in checked ? checked.wrong : null
}

test('each schema compiles, and has no word beyond the subset', () => {
  const words = new Set<string>()
  const walk = (value: unknown, names: boolean): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return
    for (const [key, below] of Object.entries(value)) {
      if (!names) words.add(key)
      walk(below, key === 'properties' && !names)
    }
  }
  for (const tool of read(TOOLS_YAML).tools) {
    const schema = inputSchema(tool)
    expect(() => new Ajv({ strict: true }).compile(schema)).not.toThrow()
    walk(schema, false)
  }
  expect([...words].toSorted()).toEqual([
    'default',
    'description',
    'enum',
    'items',
    'properties',
    'required',
    'type',
  ])
})

test('the formats of OpenAI, Anthropic and Arcade name it as they can', () => {
  expect(openaiFormat(note)).toMatchObject({
    type: 'function',
    function: { name: 'Acme_CreateNote' },
  })
  expect(anthropicFormat(note)).toMatchObject({
    name: 'Acme_CreateNote',
    input_schema: { type: 'object', required: ['title'] },
  })
  expect(parameterList(note)).toMatchObject({
    parameters: [
      { name: 'title', required: true, value_schema: { val_type: 'string' } },
      {},
      { value_schema: { val_type: 'array', inner_val_type: 'string' } },
      { value_schema: { enum: ['plain', 'rich'] } },
      {},
      {},
    ],
  })
})

test('arguments get the defaults, and null is what is left out', () => {
  const checked = checkArguments(note, { title: 't', body: null })
  expect('args' in checked && [...checked.args]).toEqual([
    ['title', 't'],
    ['kind', 'plain'],
  ])
})

test.for([
  [{}, '`title` is missing; it must be a string'],
  [{ title: 7 }, '`title` must be a string, not a number'],
  [{ title: 't', kind: 'odd' }, '`kind` must be one of plain, rich'],
  [{ title: 't', kind: 3 }, '`kind` must be a string, one of plain, rich, not a number'],
  [{ title: 't', priority: 9 }, '`priority` must be at most 5'],
  [{ title: 't', priority: 1.5 }, '`priority` must be a whole number, not a number'],
  [{ title: 't', tags: 'a' }, '`tags` must be an array, not a string'],
  [{ title: 't', tags: ['a', {}] }, 'element 1 of `tags` must be a string, not an object'],
  [[], 'the arguments must be one object, not an array'],
  ['x', 'the arguments must be one object, not a string'],
] as const)('%j is refused: %s', ([given, wrong]) => {
  expect(wrongOf(given)).toBe(wrong)
})

test('an argument that is not known is named, and a member __proto__ is one', () => {
  expect(wrongOf({ title: 't', titel: 'x' })).toBe(
    'Acme.CreateNote has no argument "titel": it takes title, body, tags, kind, priority, trace',
  )
  const given: unknown = JSON.parse('{"title":"t","__proto__":{"kind":"rich"}}')
  expect(wrongOf(given)).toContain('no argument "__proto__"')
})

test('of a thousand faults ten are told', () => {
  const given = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`a${i}`, 1]))
  expect(wrongOf(given)?.split('; ').at(-1)).toBe('and 991 more')
})

test.each([
  [{ title: '\ud800' }, '`title` holds half of a character'],
  [
    JSON.parse('{"title":"t","priority":9007199254740993}'),
    /^`priority` holds a number beyond 2\^53/,
  ],
  [JSON.parse('{"title":"t","tags":["a","\\udc00"]}'), '`tags` holds half of a character'],
])('what would not arrive as it was written is refused', (given, said) => {
  expect(wrongOf(given)).toMatch(said)
})
test.each([
  ['{"a":{"b":[1e400]}}', 'the arguments hold a number beyond 2^53'],
  ['{"a":-9007199254740993}', 'the arguments hold a number beyond 2^53'],
  ['{"\\ud800":1}', 'the arguments hold half of a character'],
  ['{"a":[{"b":"\\udfff"}]}', 'the arguments hold half of a character'],
])('also of a server whose schema nobody here knows: %s', (given, said) => {
  const remote = { tool: 'x', schema: {} }
  const checked = checkArguments({ ...note, remote }, JSON.parse(given))
  expect('wrong' in checked && checked.wrong).toContain(said)
})
test('numbers that every reader keeps pass', () => {
  const remote = { tool: 'x', schema: {} }
  const given = { a: [0.1, -9007199254740991, 9007199254740991, 1e15, 5e-324, '\ud83d\ude00'] }
  expect(checkArguments({ ...note, remote }, given)).toEqual({ args: new Map([['a', given.a]]) })
})
