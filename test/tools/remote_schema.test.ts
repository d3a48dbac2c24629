// What an MCP server says that a tool takes, in the words that every host accepts, whatever it says.
import { Ajv } from 'ajv'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inputsIn, plainSchema } from '../../proxy/tools/remote_schema.ts'

const WORDS = new Set(['type', 'properties', 'required', 'items', 'enum', 'description', 'default'])
const check = (schema: unknown, depth = 0): void => {
  expect(depth).toBeLessThan(8)
  expect(typeof schema).toBe('object')
  const one = schema as { readonly [word: string]: unknown }
  for (const word of Object.keys(one)) expect(WORDS).toContain(word)
  expect(['string', 'integer', 'number', 'boolean', 'array', 'object']).toContain(one['type'])
  for (const [name, inner] of Object.entries(one['properties'] ?? {})) {
    expect(name).toMatch(/^[\w.-]{1,64}$/)
    check(inner, depth + 1)
  }
  if (one['items'] !== undefined) check(one['items'], depth + 1)
}

describe('a schema of a server', () => {
  test('keeps what hosts take, of references and unions the first that is something', () => {
    const { schema, left } = plainSchema({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: { note: { type: 'object', properties: { to: { type: 'string' } }, required: ['to'] } },
      properties: {
        note: { $ref: '#/$defs/note', description: 'The\nnote' },
        many: { type: 'array', items: { $ref: '#/$defs/note' } },
        maybe: { anyOf: [{ type: 'null' }, { type: 'integer', default: 5 }] },
        kind: { enum: ['a', 'b'], default: 'a', title: 'Kind' },
        nothing: { $ref: 'https://elsewhere.test/x' },
        either: { type: ['null', 'number'] },
        $select: { type: 'string' },
      },
      required: ['note', '$select', 'kind'],
      additionalProperties: false,
    })
    const note = { type: 'object', properties: { to: { type: 'string' } }, required: ['to'] }
    expect(schema).toEqual({
      type: 'object',
      properties: {
        note: { ...note, description: 'The note' },
        many: { type: 'array', items: note },
        maybe: { type: 'integer', default: 5 },
        kind: { type: 'string', enum: ['a', 'b'], default: 'a' },
        nothing: { type: 'string' },
        either: { type: 'number' },
      },
      required: ['note', 'kind'],
    })
    expect(left).toEqual(['$select'])
    expect(
      inputsIn(schema).map(({ name, type, required, items }) => [name, type, required, items]),
    ).toEqual([
      ['note', 'object', true, null],
      ['many', 'array', false, 'object'],
      ['maybe', 'integer', false, null],
      ['kind', 'string', true, null],
      ['nothing', 'string', false, null],
      ['either', 'number', false, null],
    ])
  })

  test('of which too much would be told is told without its inner members', () => {
    const inner = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [
        `member_${i}`,
        { type: 'string', description: 'x'.repeat(100) },
      ]),
    )
    const { schema } = plainSchema({
      properties: { one: { type: 'object', properties: inner }, two: { type: 'array', items: {} } },
      required: ['one'],
    })
    expect(schema).toEqual({
      type: 'object',
      properties: { one: { type: 'object' }, two: { type: 'array', items: { type: 'object' } } },
      required: ['one'],
    })
  })

  test('choices of which some cannot be told are none, since the others would be lost', () => {
    const { schema } = plainSchema({
      properties: {
        a: { enum: ['x', 'a\u0000b'] },
        b: { enum: Array.from({ length: 41 }, String) },
      },
    })
    expect(schema['properties']).toEqual({ a: { type: 'string' }, b: { type: 'string' } })
  })

  test('a choice that is named twice is told once', () => {
    const { schema } = plainSchema({ properties: { a: { enum: [7, 7, 8] } } })
    expect(schema['properties']).toEqual({ a: { type: 'number', enum: [7, 8] } })
  })

  test('may be anything: what comes of it is small, compiles, and has no other word', () => {
    const ajv = new Ajv({ strict: true })
    const word = fc.constantFrom(
      'type',
      'properties',
      'items',
      'anyOf',
      '$ref',
      'enum',
      'required',
      'description',
      'default',
      'x y',
      '__proto__',
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: 'medium' },
        fc.constantFrom('object', 'array', 'string', '#/$defs/a', 7, null, true, 'a\u202eb'),
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(word, tie('tree'), { maxKeys: 6 }),
      ),
    }))
    fc.assert(
      fc.property(tree, tree, (given, other) => {
        const { schema } = plainSchema({ properties: { a: given, b: other }, $defs: { a: other } })
        check(schema)
        expect(JSON.stringify(schema).length).toBeLessThan(10_000)
        ajv.compile(schema)
        inputsIn(schema)
      }),
      { numRuns: 500 },
    )
  })
})
