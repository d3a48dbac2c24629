// A tool's steps, sent one after another, and what becomes of each kind of answer.
import { expect, test } from 'vitest'
import type { InnerAnswer } from '../../proxy/net/inner.ts'
import { Problem } from '../../proxy/problem.ts'
import type { Request } from '../../proxy/tools/request.ts'
import { resultOf, runTool } from '../../proxy/tools/run.ts'
import { toolNamed } from './sample.ts'

const LIMITS = { answers: 100_000, result: 1_000 }
const answer = (
  value: unknown,
  more: Partial<InnerAnswer> = {},
  headers: object = {},
): InnerAnswer => ({
  status: 200,
  headers: new Map(Object.entries({ 'content-type': 'application/json', ...headers })),
  body: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  end: 'whole',
  ...more,
})
const run = async (
  name: string,
  input: unknown,
  answers: (n: number, request: Request) => InnerAnswer,
) => {
  const sent: Request[] = []
  const ran = await runTool(
    toolNamed(name),
    input,
    (request) => {
      sent.push(request)
      return Promise.resolve(answers(sent.length, request))
    },
    LIMITS,
  )
  return { ran, sent: sent.map(({ target }) => target) }
}

test('one call for each element, at most as many as the tool says, and the answers in their order', async () => {
  const { ran, sent } = await run('Acme.ListNotes', {}, (n, { target }) =>
    n === 1
      ? answer({ notes: [1, 2, 3, 4, 5].map((id) => ({ id })), total: 5, next: 'p' })
      : answer({ id: target.split(/[/?]/)[4], title: 't' }),
  )
  expect(sent).toHaveLength(4)
  expect(ran.kind === 'done' && resultOf(ran)).toEqual({
    notes: ['1', '2', '3'].map((id) => ({ id, title: 't' })),
    total: 5,
    next: { page_token: 'p' },
  })
})

test('a list that is not there is none, and the last page says nothing of a next', async () => {
  const { ran } = await run('Acme.ListNotes', {}, () => answer({ total: 0 }))
  expect(ran).toEqual({
    kind: 'done',
    value: { notes: [], total: 0 },
    truncated: false,
    next: null,
  })
})

test('deputy’s own refusal ends it, also in the middle', async () => {
  const { ran, sent } = await run('Acme.ListNotes', {}, (n) =>
    n === 1
      ? answer({ notes: [{ id: 1 }] })
      : answer({ code: 'policy_denied' }, { status: 403 }, { 'deputy-answer': 'policy_denied' }),
  )
  expect(ran).toMatchObject({ kind: 'refused', status: 403, code: 'policy_denied' })
  expect(sent).toHaveLength(2)
})

test.for<[string, InnerAnswer, object]>([
  [
    'a status',
    answer({ error: { message: 'no such note' } }, { status: 404 }),
    { status: 404, message: 'the provider answered 404: no such note' },
  ],
  [
    'a redirect',
    answer('', { status: 302 }, { location: 'https://x.example/' }),
    { status: 302, message: 'the provider answered 302: the answer leads to https://x.example/' },
  ],
  [
    'too much',
    answer('', { end: 'too_large' }),
    { status: 502, message: expect.stringContaining('larger than a tool may read') },
  ],
  [
    'half of an answer',
    answer('', { end: 'broken' }),
    { status: 502, message: expect.stringContaining('may have carried it out') },
  ],
  [
    'bytes',
    answer('', { body: Buffer.from([255, 254]) }, { 'content-type': 'image/png' }),
    { message: expect.stringContaining('2 bytes of image/png') },
  ],
  [
    'when to come again',
    answer({}, { status: 429 }, { 'retry-after': '9' }),
    { status: 429, retryAfter: 9 },
  ],
])('%s is told in a sentence', async ([, given, expected]) => {
  const { ran } = await run('Acme.GetFile', { path: 'a' }, () => given)
  expect(ran).toMatchObject({ kind: 'failed', ...expected })
})

test('errors of GraphQL are errors, whatever the status', async () => {
  const { ran } = await run('Acme.CreateBoard', { name: 'x' }, () =>
    answer({ errors: [{ message: 'not yours' }] }),
  )
  expect(ran).toMatchObject({ kind: 'failed', message: 'the provider answered: not yours' })
})

test('what is nested deeper than anybody reads stays a text', async () => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  const { ran } = await run('Acme.GetFile', { path: 'a' }, () =>
    answer(deep, {}, { 'content-type': 'text/plain' }),
  )
  expect(ran).toMatchObject({ kind: 'done' })
  const fault = await run('Acme.GetFile', { path: 'a' }, () => answer(deep, { status: 500 }))
  expect(fault.ran).toMatchObject({ kind: 'failed', status: 500 })
})

test('an answer without a body is done, and a text is the result', async () => {
  expect(
    (await run('Acme.DeleteNote', { id: 'n' }, () => answer('', { status: 204 }))).ran,
  ).toMatchObject({ value: { done: true } })
  const { ran } = await run('Acme.GetFile', { path: 'a' }, () =>
    answer('hello', {}, { 'content-type': 'text/plain' }),
  )
  expect(ran.kind === 'done' && resultOf(ran)).toEqual({ result: 'hello' })
})

test('a result that is cut says so, and leads to no next page that would pass over what was cut', async () => {
  const { ran } = await run('Acme.ListNotes', {}, (n) =>
    n === 1
      ? answer({ notes: [{ id: 1 }], next: 'p' })
      : answer({ id: 1, title: 'x'.repeat(5_000) }),
  )
  expect(ran).toMatchObject({ kind: 'done', truncated: true, next: null })
  expect(JSON.stringify(ran.kind === 'done' && ran.value).length).toBeLessThan(1_010)
})

test('arguments that cannot be sent are refused before anything is', async () => {
  const none = () => {
    throw new Error('sent')
  }
  for (const [name, input] of [
    ['Acme.GetFile', { path: '..' }],
    ['Acme.CreateNote', {}],
  ] as const)
    await expect(runTool(toolNamed(name), input, none, LIMITS)).rejects.toBeInstanceOf(Problem)
})
