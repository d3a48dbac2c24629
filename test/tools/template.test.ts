// Templates: what each operator makes of arguments and earlier answers, and that what is absent is absent.
import { expect, test } from 'vitest'
import type { Json } from '../../proxy/model.ts'
import { filled, readTemplate, type Uses } from '../../proxy/tools/template.ts'

const uses: Uses = {
  arg: () => undefined,
  step: () => undefined,
  item: () => undefined,
  wrong: (what) => {
    throw new Error(what)
  },
}
const of = (raw: unknown, args: Record<string, Json> = {}): Json | undefined =>
  filled(readTemplate(raw, uses), {
    args: new Map(Object.entries(args)),
    steps: new Map([
      ['one', { list: [{ id: 7 }], next: 'https://api.example.com/x?$skiptoken=abc' }],
    ]),
    links: new Map([['one', 'https://api.example.com/x?page=2']]),
    item: { id: 'i' },
  })

test.for<[string, unknown, Json | undefined]>([
  ['a literal', { a: [1, 'x', null] }, { a: [1, 'x', null] }],
  ['an argument', { a: { $arg: 'x' }, b: { $arg: 'absent' } }, { a: 'X' }],
  ['a list without what is absent', [{ $arg: 'x' }, { $arg: 'absent' }], ['X']],
  ['an earlier answer', { $step: 'one', at: '/list/0/id' }, 7],
  ['an element', { $item: '/id' }, 'i'],
  ['a text', { $text: 'in {x}/{n}' }, 'in X/3'],
  ['a text on an absent argument', { $text: 'in {absent}' }, undefined],
  ['JSON in a text', { $json: { a: { $arg: 'n' } } }, '{"a":3}'],
  ['a list from a text', { $split: { of: { $arg: 'many' }, by: ',' } }, ['a', 'b']],
  ['a parameter of the next page', { $query: { of: { $link: 'one' }, name: 'page' } }, '2'],
  [
    'the same of a URL in a body',
    { $query: { of: { $step: 'one', at: '/next' }, name: '$skiptoken' } },
    'abc',
  ],
  ['a text from a list', { $join: { of: { $arg: 'list' }, by: ',' } }, 'a,b'],
  [
    'a text from what is there',
    { $join: { of: [{ $arg: 'absent' }, { $arg: 'x' }], by: ' ' } },
    'X',
  ],
  ['a text from nothing', { $join: { of: [{ $arg: 'absent' }], by: ' ' } }, undefined],
  [
    'a list from a list',
    { $map: { of: { $arg: 'list' }, to: { email: { $item: '' } } } },
    [{ email: 'a' }, { email: 'b' }],
  ],
  ['a list from nothing', { $map: { of: { $arg: 'absent' }, to: { $item: '' } } }, undefined],
  ['a list from an empty one', { $map: { of: [], to: { $item: '' } } }, []],
  ['text as base64', { $base64: { $text: 'ü{x}' } }, 'w7xY'],
  [
    'a text in quotes, a number as it is',
    { $text: 'a = {odd} LIMIT {n}', quote: 'backslash' },
    String.raw`a = 'it\'s "\\' LIMIT 3`,
  ],
  ['a phrase', { $text: '{odd}', quote: 'phrase' }, String.raw`"it's \"\\"`],
  [
    'what loses all by absence',
    { a: { b: { $arg: 'absent' } }, c: [{ $arg: 'absent' }] },
    undefined,
  ],
  ['what was empty before', { a: {}, b: [] }, { a: {}, b: [] }],
  ['the same where it is not', { $query: { of: { $link: 'one' }, name: 'cursor' } }, undefined],
])('%s', ([, raw, value]) => {
  expect(of(raw, { x: 'X', n: 3, many: 'a, b,', list: ['a', 'b'], odd: 'it\'s "\\' })).toEqual(
    value,
  )
})

test('a text takes no list', () => {
  expect(() => of({ $text: '{x}' }, { x: [1] })).toThrow('`x` must be a text or a number here')
})

test('only a list is joined or mapped', () => {
  expect(() => of({ $join: { of: { $arg: 'x' }, by: ',' } }, { x: 'a' })).toThrow(
    'must be an array here',
  )
  expect(() => of({ $map: { of: { $arg: 'x' }, to: { $item: '' } } }, { x: 'a' })).toThrow(
    'what is mapped must be an array here',
  )
})

test('a quote that is none is told', () => {
  expect(() => of({ $text: '{x}', quote: 'odd' })).toThrow('quote is backslash or phrase')
})
