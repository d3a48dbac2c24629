// Simple JSONPath → our places; what is more than a path is refused, not guessed.
import { expect, test } from 'vitest'
import { placeOf } from '../../../proxy/commands/import/jsonpath.ts'

test.each([
  ['$.data.items[0].id', '/data/items/0/id'],
  ["$['a/b']['c~d']", '/a~1b/c~0d'],
  ['$.scope[*]', '/scope'],
  ["join('$.scope', ',')", '/scope'],
  ["jwt_decode('$.id_token', '$.sub')", { jwt: '/id_token', claim: '/sub' }],
  ["join(jwt_decode($.a, $.scp), ' ')", { jwt: '/a', claim: '/scp' }],
  ['$', null],
  ['$..token', null],
  ['$.tokens[?(@.a)].b', null],
  ['data.token', null],
  ["jwt_decode('$.a')", null],
])('%s', (expression, place) => {
  expect(placeOf(expression)).toEqual(place)
})
