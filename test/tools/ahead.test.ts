// What is known of later steps before an answer has come.
import { expect, test } from 'vitest'
import type { Json } from '../../proxy/model.ts'
import { isAct, requestsAhead } from '../../proxy/tools/ahead.ts'
import { toolNamed } from './sample.ts'

const ahead = (
  name: string,
  at: number,
  args: object,
  steps: Readonly<Record<string, Json>> = {},
) => {
  const step = toolNamed(name).steps[at]
  if (step === undefined) throw new Error('there is no such step')
  const given = {
    args: new Map(Object.entries(args as Record<string, Json>)),
    steps: new Map(Object.entries(steps)),
    links: new Map<string, string>(),
    item: undefined,
  }
  return requestsAhead(step, given)?.map(({ method, target }) => `${method} ${target}`) ?? null
}

test('arguments alone make some, others wait for the answer that they name', () => {
  expect(ahead('Acme.MoveNotes', 2, { old: 'o' })).toEqual(['DELETE /v1/me/notes/o'])
  expect(ahead('Acme.MoveNotes', 1, { ids: ['a', 'b'] })).toBe(null)
  expect(ahead('Acme.MoveNotes', 1, { ids: ['a', 'b'] }, { made: { id: 'n' } })).toEqual([
    'PUT /v1/me/notes/a',
    'PUT /v1/me/notes/b',
  ])
  // What the answer lacks is lacking: that is known.
  expect(ahead('Acme.MoveNotes', 1, { ids: ['a'] }, { made: {} })).toEqual(['PUT /v1/me/notes/a'])
})
test('a list that an answer is to give is not known, and as many as the tool says after it', () => {
  expect(ahead('Acme.ListNotes', 1, {})).toBe(null)
  const notes = [1, 2, 3, 4].map((id) => ({ id }))
  expect(ahead('Acme.ListNotes', 1, {}, { list: { notes } })).toHaveLength(3)
  expect(ahead('Acme.ListNotes', 1, {}, { list: { notes: 'no list' } })).toBe(null)
})
test('what no answer could mend is said at once', () => {
  expect(() => ahead('Acme.MoveNotes', 2, { old: '../x' })).toThrow('slash')
  // Also behind another element, which waits for an answer.
  expect(() => ahead('Acme.MoveNotes', 1, { ids: ['a', '../x'] })).toThrow('slash')
})
test('whatever is no read is an act', () => {
  const acts = (name: string) => toolNamed(name).steps.map(isAct)
  expect(acts('Acme.MoveNotes')).toEqual([true, true, true])
  expect(acts('Acme.ListNotes')).toEqual([false, false])
  expect(acts('Acme.CreateBoard')).toEqual([true])
})
