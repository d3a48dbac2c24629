import { expect, test } from 'vitest'
import { projected, resourceOf, shownOf } from '../../proxy/api/scim_schema.ts'

test('what comes in has the schema’s names and types, and no password', () => {
  const body = { USERNAME: 'a', password: 'hunter2', id: 'mine', Active: 'True', zzz: 1 }
  expect(resourceOf('User', body)).toEqual({ userName: 'a', active: true })
  expect(() => resourceOf('User', { userName: 'a', USERNAME: 'b' })).toThrow('twice')
  expect(() => resourceOf('User', [])).toThrow('object')
  for (const schemas of [[], ['urn:other'], 'x'])
    expect(() => resourceOf('User', { userName: 'a', schemas })).toThrow('schemas')
})

test('what goes out is what was asked for, and always the id', () => {
  const tree = { id: '1', schemas: [], userName: 'a', name: { givenName: 'A', familyName: 'B' } }
  const shown = projected(shownOf('name.givenName', undefined), tree)
  expect(shown).toEqual({ id: '1', schemas: [], name: { givenName: 'A' } })
  expect(projected(shownOf(undefined, 'id,name'), tree)).toEqual({
    id: '1',
    schemas: [],
    userName: 'a',
  })
  expect(() => shownOf('a', 'b')).toThrow('exclude')
})
