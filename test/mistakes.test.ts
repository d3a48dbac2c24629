import { expect, test } from 'vitest'
import { z } from 'zod'
import { meant, said, salvage } from '../proxy/mistakes.ts'

const schema = z.strictObject({
  name: z.string(),
  level: z.enum(['high', 'low']).optional(),
  age: z.number().min(1, 'must be 1 or more').default(1),
  tags: z.array(z.string()).default([]),
  rows: z.array(z.strictObject({ id: z.string(), more: z.string().optional() })).default([]),
  by: z.record(z.string().regex(/^[a-z]+$/, 'is no name'), z.number()).default({}),
})
const issuesOf = (raw: unknown) => schema.safeParse(raw).error?.issues ?? []
const told = (raw: unknown): readonly string[] => issuesOf(raw).flatMap(said)

test.each<[unknown, readonly string[]]>([
  [{}, ['name: is missing']],
  [
    { name: 1 },
    [
      'name: must be a text: put it in quotes; a duration or a size needs its unit, such as 10s, and an address its host, such as 127.0.0.1:7410',
    ],
  ],
  [{ name: [] }, ['name: must be a text']],
  [{ name: 'a', level: 'loud' }, ['level: must be one of high, low']],
  [{ name: 'a', tags: 'x' }, ['tags: must be a list']],
  [{ name: 'a', rows: ['x'] }, ['rows.0: must be keys and values']],
  [{ name: 'a', age: 0 }, ['age: must be 1 or more']],
  [{ name: 'a', age: '1' }, ['age: must be a number']],
  [{ name: 'a', by: { A: 1 } }, ['by.A: is no name']],
  [
    { name: 'a', nmae: 1, x: 2 },
    ['nmae: is no key that deputy knows', 'x: is no key that deputy knows'],
  ],
  [{ name: 'a', rows: [{ id: 'b', di: 1 }] }, ['rows.0.di: is no key that deputy knows']],
  [null, ['configuration: must be keys and values']],
])('%j is told in words, at its place', (raw, lines) => {
  expect(told(raw)).toEqual(lines)
})

test.each([
  ['scope', ': is scopes meant?'],
  ['clientSecret', ': is client_secret meant?'],
  ['client-secret', ': is client_secret meant?'],
  ['Scopes', ': is scopes meant?'],
  ['hosts', ''],
])('of the known names %s is near to%s', (key, said) => {
  expect(meant(key, ['scopes', 'client_secret', 'token'])).toBe(said)
})

const rest = (raw: unknown) => salvage(schema, raw, issuesOf(raw), [[['name'], 'somebody']])

test('what is right is read all the same', () => {
  expect(rest({ name: 'a', age: 0, tags: ['x', 1, 'y'], z: 1 })).toEqual({
    name: 'a',
    age: 1,
    tags: ['x', 'y'],
    rows: [],
    by: {},
  })
})

test('a row that lacks what it needs goes as a whole, the others stay', () => {
  expect(rest({ name: 'a', rows: [{ id: 'b' }, { more: 'c' }, { id: 'd' }] })?.rows).toEqual([
    { id: 'b' },
    { id: 'd' },
  ])
})

test('something stands in for what must be there, and for nothing else', () => {
  expect(rest({ age: 7 })).toMatchObject({ name: 'somebody', age: 7 })
  expect(rest({ name: 1, age: 7 })).toMatchObject({ name: 'somebody', age: 7 })
  expect(rest({ name: 'own' })).toMatchObject({ name: 'own' })
})

test('the configuration itself stays as it was', () => {
  const raw = { name: 'a', age: 0, tags: ['x', 1] }
  rest(raw)
  expect(raw).toEqual({ name: 'a', age: 0, tags: ['x', 1] })
})

test.each([null, 'text', 7, undefined])('of %j nothing is left', (raw) => {
  expect(rest(raw)).toBeNull()
})

test('what stays wrong whatever is taken out is no configuration', () => {
  const never = z.object({ a: z.number() }).refine(() => false, { path: ['b'] })
  expect(salvage(never, { a: 1 }, never.safeParse({ a: 1 }).error?.issues ?? [], [])).toBeNull()
})
