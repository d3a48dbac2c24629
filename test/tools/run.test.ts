// A tool's steps, sent one after another, and what becomes of each kind of answer.
import { expect, test } from 'vitest'
import type { InnerAnswer } from '../../proxy/net/inner.ts'
import { Problem } from '../../proxy/problem.ts'
import type { Request } from '../../proxy/tools/request.ts'
import { resultOf, runTool, type Ahead } from '../../proxy/tools/run.ts'
import { toolNamed } from './sample.ts'

const FREE: Ahead = { rehearse: () => Promise.resolve(null), may: () => Promise.resolve(true) }
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
  ahead: Ahead = FREE,
) => {
  const sent: Request[] = []
  const ran = await runTool(
    toolNamed(name),
    input,
    {
      send: (request) => {
        sent.push(request)
        return Promise.resolve(answers(sent.length, request))
      },
      ahead,
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
    await expect(
      runTool(toolNamed(name), input, { send: none, ahead: FREE }, LIMITS),
    ).rejects.toBeInstanceOf(Problem)
})

const no = answer(
  { code: 'approval_required', url: 'u' },
  { status: 403 },
  { 'deputy-answer': 'approval_required' },
)
const MOVE = { title: 't', ids: ['a', 'b'], old: 'o' }
/** Refuses what this fits, and keeps what it was asked. */
const asking = (refused: RegExp) => {
  const asked: string[] = []
  const ahead: Ahead = {
    rehearse: ({ method, target }) => {
      asked.push(`${method} ${target}`)
      return Promise.resolve(refused.test(`${method} ${target}`) ? no : null)
    },
    may: (steps) => {
      asked.push(steps.map(({ operation }) => operation.id).join())
      return Promise.resolve(true)
    },
  }
  return { asked, ahead }
}
test('before something is done, all that is known to follow is asked about, and each but once', async () => {
  const { asked, ahead } = asking(/^$/)
  const { ran, sent } = await run('Acme.MoveNotes', MOVE, () => answer({ id: 'n' }), ahead)
  expect(ran.kind).toBe('done')
  expect(asked).toEqual([
    'DELETE /v1/me/notes/o',
    'notes.upload',
    'PUT /v1/me/notes/a',
    'PUT /v1/me/notes/b',
  ])
  expect(sent).toHaveLength(4)
})
test('what would be refused later is refused before anything is done', async () => {
  const { ran, sent } = await run('Acme.MoveNotes', MOVE, () => answer({}), asking(/DELETE/).ahead)
  expect(ran).toMatchObject({ kind: 'refused', code: 'approval_required' })
  expect(ran).not.toHaveProperty('halted')
  expect(sent).toEqual([])
})
test('arguments that a later step cannot be made of are refused before anything is done', async () => {
  await expect(
    run('Acme.MoveNotes', { ...MOVE, old: '../x' }, () => answer({})),
  ).rejects.toMatchObject({ code: 'invalid_arguments' })
})
test('where policy lets nobody do what an answer is still to make, nothing is begun', async () => {
  const ahead: Ahead = { ...FREE, may: () => Promise.resolve(false) }
  await expect(run('Acme.MoveNotes', MOVE, () => answer({}), ahead)).rejects.toMatchObject({
    code: 'tool_not_found',
  })
})
test('one of several elements is refused before the first of them leaves, and what was done before is said', async () => {
  const { ran, sent } = await run(
    'Acme.MoveNotes',
    MOVE,
    () => answer({ id: 'n' }),
    asking(/notes.b$/).ahead,
  )
  expect(sent).toEqual(['/v1/me/notes'])
  expect(ran).toMatchObject({
    kind: 'refused',
    halted: {
      operation: 'notes.upload',
      done: [{ operation: 'notes.create', answers: [{ id: 'n' }] }],
    },
  })
})
test('what a provider refuses in the middle says what was done, elements of the same step too', async () => {
  const { ran } = await run('Acme.MoveNotes', MOVE, (_n, { target }) =>
    target.endsWith('/b') ? answer('no', { status: 409 }) : answer({ id: 'n' }),
  )
  expect(ran).toMatchObject({
    kind: 'failed',
    status: 409,
    halted: {
      operation: 'notes.upload',
      done: [{ operation: 'notes.create' }, { operation: 'notes.upload', answers: [{ id: 'n' }] }],
    },
  })
})
test('a way that ends without a word is no yes', async () => {
  const cut: Ahead = {
    ...FREE,
    rehearse: () => Promise.resolve(answer('', { status: 0, end: 'broken' })),
  }
  const { ran, sent } = await run('Acme.MoveNotes', MOVE, () => answer({}), cut)
  expect(ran).toMatchObject({ kind: 'failed', message: expect.stringContaining('notes.delete') })
  expect(sent).toEqual([])
})
test('reads are not asked about before, since reading again does no harm', async () => {
  const { asked, ahead } = asking(/./)
  const list = { notes: [{ id: 1 }] }
  const { ran } = await run('Acme.ListNotes', {}, (n) => answer(n === 1 ? list : {}), ahead)
  expect([ran.kind, asked]).toEqual(['done', []])
})
test.for([
  ['longer than what may be read', { body: Buffer.from('{"id":'), end: 'too_large' }],
  ['cut off behind its head', { body: Buffer.from('{"id":'), end: 'broken' }],
  ['no text', { body: Buffer.from([255, 254]) }],
] as const)('what the provider did is done, also where its answer is %s', async ([, odd]) => {
  const { ran, sent } = await run('Acme.MoveNotes', MOVE, () => answer('', odd))
  expect(sent).toEqual(['/v1/me/notes'])
  expect(ran).toMatchObject({
    kind: 'failed',
    halted: {
      operation: 'notes.create',
      done: [{ operation: 'notes.create', answers: [null] }],
    },
  })
  expect(JSON.stringify(ran)).not.toContain('fetch it')
})
test('what was cut off before its head, or what the provider refused unreadably, is not called done', async () => {
  for (const odd of [
    { status: 0, end: 'broken' },
    { status: 500, end: 'too_large' },
    { status: 409, body: Buffer.from([255]) },
  ] as const) {
    const { ran } = await run('Acme.MoveNotes', MOVE, () => answer('', odd))
    expect(ran).not.toHaveProperty('halted')
  }
})
test('an act that would be done for the first of many is done for none', async () => {
  const sent: Request[] = []
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  await expect(
    run('Acme.MoveNotes', { ...MOVE, ids }, (_, request) => {
      sent.push(request)
      return answer({ id: 'n' })
    }),
  ).rejects.toMatchObject({
    code: 'invalid_arguments',
    message: 'notes.upload is done for at most 5 at once, and these are 6',
  })
  expect(sent).toEqual([])
})
test('what is told of all that was done is no longer than a result, and no act is left out of it', async () => {
  const ids = ['a', 'b', 'c', 'd']
  const { ran } = await run('Acme.MoveNotes', { ...MOVE, ids }, (_n, { method }) =>
    method === 'DELETE' ? answer('no', { status: 409 }) : answer({ id: 'n'.repeat(900) }),
  )
  const { done = [] } = (ran.kind === 'done' ? undefined : ran.halted) ?? {}
  expect(done.map(({ answers }) => answers.length)).toEqual([1, 4])
  expect(JSON.stringify(done.flatMap(({ answers }) => answers)).length).toBeLessThan(1_010)
})
