// What a policy of one's own may demand in a shape that nobody carries out: refused before anything is done.
import { expect, test } from 'vitest'
import type { JsonObject } from '../../../proxy/model.ts'
import { redactCarrier } from '../../../proxy/pipeline/obligation/redaction.ts'
import type { Obliged } from '../../../proxy/pipeline/obligations.ts'
import { codeOf } from '../../wire/fixture.ts'

const act = { kind: 'rest', operation: { id: 'acme.get' } }
const about = { part: null, act, within: act } as unknown as Obliged

test.each<[string, JsonObject]>([
  ['no place', { pointers: ['/a'] }],
  ['another place', { in: 'both', pointers: ['/a'] }],
  ['no pointers', { in: 'response', pointers: [] }],
  ['a pointer that is none', { in: 'response', pointers: ['a'] }],
  ['a pointer that is no text', { in: 'response', pointers: [1] }],
  ['a member more', { in: 'response', pointers: ['/a'], unless: 'x' }],
])('with %s it is refused', (_what, properties) => {
  expect(codeOf(() => redactCarrier(about, 'r', properties))).toBe('obligation_refused')
})

test('else it is what is still to be done with the answer', () => {
  expect(redactCarrier(about, 'r', { in: 'response', pointers: ['/*/a'] })).toEqual({
    in: 'response',
    pointers: ['/*/a'],
    part: null,
  })
})
