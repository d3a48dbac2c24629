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
  ['the same where it is not', { $query: { of: { $link: 'one' }, name: 'cursor' } }, undefined],
])('%s', ([, raw, value]) => {
  expect(of(raw, { x: 'X', n: 3, many: 'a, b,' })).toEqual(value)
})

test('a text takes no list', () => {
  expect(() => of({ $text: '{x}' }, { x: [1] })).toThrow('`x` must be a text or a number here')
})
