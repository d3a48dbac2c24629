// What a tool would send, as far as its arguments tell.
import { expect, test } from 'vitest'
import { foreseen } from '../../proxy/tools/planned.ts'
import { toolNamed } from './sample.ts'

const told = (name: string, input: unknown) =>
  foreseen(toolNamed(name), input).map(({ step, request }) => [
    step.operation.id,
    request === null ? null : `${request.method} ${request.target}`,
  ])

test('a step that needs an earlier answer is not made up', () => {
  expect(told('Acme.ListNotes', { n: 3 })).toEqual([
    ['notes.list', 'GET /v1/me/notes?max=3'],
    ['notes.get', null],
  ])
  expect(told('Acme.DeleteNote', { id: 'a b' })).toEqual([
    ['notes.delete', 'DELETE /v1/me/notes/a%20b'],
  ])
})
test('what could not be sent is said as the call would say it', () => {
  for (const [input, what] of [
    [{}, '`id` is missing'],
    [{ id: '../x' }, 'slash'],
    [{ id: 'x', more: 1 }, 'has no argument'],
  ] as const)
    expect(() => foreseen(toolNamed('Acme.DeleteNote'), input)).toThrow(
      expect.objectContaining({
        code: 'invalid_arguments',
        message: expect.stringContaining(what),
      }),
    )
})
