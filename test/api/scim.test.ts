import { expect, test } from 'vitest'
import { changedKeys } from '../../proxy/api/scim.ts'
import type { ScimRow } from '../../proxy/model.ts'

const of = { tenant: 't', realm: 'r' }
const row = (name: string, active = true): ScimRow => ({
  kind: 'User',
  id: `id-${name}`,
  name,
  externalId: null,
  version: 1,
  body: JSON.stringify({ active }),
  createdAt: 0,
  changedAt: 0,
})
const keys = (changed: Parameters<typeof changedKeys>[1]): readonly unknown[] =>
  changedKeys(
    {
      of,
      personIn: ({ name }) => ({ ...of, id: name }),
      isActive: ({ body }) => (JSON.parse(body) as { active: boolean }).active,
    },
    changed,
  ).map((key) => JSON.parse(key) as unknown)

test('who is new is told to nobody; who was changed, renamed or moved is', () => {
  expect(keys({ before: null, after: row('a'), moved: [] })).toEqual([])
  expect(keys({ before: row('a'), after: row('b'), moved: [] })).toEqual([
    ['t', 'r', 'a'],
    ['t', 'r', 'b'],
  ])
  expect(keys({ before: row('a'), after: null, moved: [row('c')] })).toEqual([
    ['t', 'r', 'c'],
    ['t', 'r', 'a'],
  ])
  expect(keys({ before: null, after: null, moved: null })).toEqual([['t', 'r', null]])
})
