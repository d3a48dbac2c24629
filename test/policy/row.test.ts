import { describe, expect, test } from 'vitest'
import { isGlob, rowProblems, wholeRow, writtenRow } from '../../proxy/policy/row.ts'

/** What is wrong with a row that says this beside its operations, as `path: message`. */
const wrong = (more: object): readonly string[] =>
  writtenRow
    .safeParse({ operations: ['*'], ...more })
    .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? []
const argument = (more: object) => ({ arguments: [{ pointer: '/a', ...more }] })
const obligation = (type: string, properties: object) => ({
  obligations: { one: { type, properties } },
})
const approvers = (...list: readonly unknown[]) => ({
  approval: { boss: { approvers: list, ttl_s: 60 } },
})

test('a row says its operations and may leave out all else', () => {
  expect(wrong({})).toEqual([])
  expect(writtenRow.safeParse({}).success).toBe(false)
})

describe('keys that are right', () => {
  test.each<[string, object]>([
    ['a window', { when: [{ zone: 'Europe/Berlin', days: ['mon'], from: '22:00', to: '06:00' }] }],
    ['half a window', { when: [{ from: '22:00' }, { to: '24:00' }, {}] }],
    ['a text', argument({ equals: 'a' })],
    ['false', argument({ equals: false })],
    ['one of several', argument({ one_of: ['a', 1, true] })],
    ['a number', argument({ at_most: 0 })],
    ['a glob', argument({ matches_glob: 'a*b*' })],
    ['the query', { arguments: [{ pointer: '?state', suffix: 'x' }] }],
    ['a size', { max_body_bytes: 0 }],
    ['no size', { max_body_bytes: null }],
    ['mail', { mail: { domains: ['example.com', '*.example.com', 'xn--bcher-kva.example'] } }],
    ['history', { history: [{ by: 'run', operations: ['a.*'], within_s: 86_400, at_most: 0 }] }],
    ['roles', { roles: ['intern'] }],
    [
      'a rate limit',
      obligation('rate_limit', { key: ['person', 'tenant'], limit: 0, window_s: 1 }),
    ],
    [
      'a budget',
      obligation('budget', { key: ['person'], limit: 9, window_s: 60, pointer: '/a', of: 'items' }),
    ],
    ['redaction', obligation('redact', { in: 'response', pointers: ['/*/email'] })],
    ['sealed members', obligation('seal', { in: 'request', pointers: ['/amount'] })],
    ['a notification', obligation('notification', { to: 'security', topic: 't', body: 'b' })],
    [
      'the recipients of mails',
      obligation('budget', {
        key: ['person'],
        limit: 9,
        window_s: 60,
        pointer: 'request.mail',
        of: 'items',
      }),
    ],
    [
      'approval by the person alone',
      { approval: { me: { approvers: [], ttl_s: 60, self: true } } },
    ],
    ['a line of the log', obligation('log', { level: 'warn', tags: ['x'] })],
    ['approvers', approvers('group:leads', 'person:bob@example.com', 'manager')],
  ])('%s', (_name, more) => {
    expect(wrong(more)).toEqual([])
    expect(rowProblems(wholeRow('p', { operations: ['*'], ...more }))).toEqual([])
  })
})

const COMPARISON = 'arguments.0: says exactly one of equals, one_of, suffix, at_most, matches_glob'
const TYPES = 'must be one of rate_limit, budget, redact, seal, notification, log'
describe('keys that are wrong are named', () => {
  test.each<[string, object, string]>([
    [
      'a zone',
      { when: [{ zone: 'Europe/Berlim' }] },
      'when.0.zone: is no time zone: write an IANA name such as Europe/Berlin',
    ],
    ['a day', { when: [{ days: ['monday'] }] }, 'when.0.days.0: '],
    ['no days', { when: [{ days: [] }] }, 'when.0.days: '],
    ['an hour', { when: [{ from: '7:00' }] }, 'when.0.from: must be a time from 00:00 to 24:00'],
    ['a minute', { when: [{ to: '07:60' }] }, 'when.0.to: must be a time from 00:00 to 24:00'],
    [
      'the end of a day as a beginning',
      { when: [{ from: '24:00', to: '06:00' }] },
      'when.0.from: 24:00 is',
    ],
    ['no time', { when: [{ from: '07:00', to: '07:00' }] }, 'when.0: from and to are the same'],
    ['a key of a window', { when: [{ until: '07:00' }] }, 'when.0: '],
    ['no comparison', argument({}), COMPARISON],
    ['two comparisons', argument({ equals: 1, at_most: 2 }), COMPARISON],
    [
      'a pointer',
      { arguments: [{ pointer: 'a', equals: 1 }] },
      'arguments.0.pointer: must be /a/b',
    ],
    ['an object', argument({ equals: {} }), 'arguments.0.equals: must be a text, a number, true'],
    ['one of none', argument({ one_of: [] }), 'arguments.0.one_of: '],
    ['an empty ending', argument({ suffix: '' }), 'arguments.0.suffix: '],
    ['three stars', argument({ matches_glob: '*a*b*' }), 'arguments.0.matches_glob: has one * or'],
    ['a size', { max_body_bytes: -1 }, 'max_body_bytes: '],
    [
      'a domain',
      { mail: { domains: ['Example.com'] } },
      'mail.domains.0: must be example.com or *.',
    ],
    [
      'an address',
      { mail: { domains: ['a@example.com'] } },
      'mail.domains.0: must be example.com or',
    ],
    ['no domains', { mail: { domains: [] } }, 'mail.domains: '],
    [
      'two days of history',
      { history: [{ by: 'person', operations: ['*'], within_s: 86_401, at_most: 1 }] },
      'history.0.within_s: ',
    ],
    ['an obligation', obligation('rate-limit', {}), `obligations.one.type: ${TYPES}`],
    [
      'an obligation without a type',
      { obligations: { one: {} } },
      `obligations.one.type: ${TYPES}`,
    ],
    [
      'a property',
      obligation('log', { level: 'warn', tags: [], colour: 'red' }),
      'obligations.one.properties: ',
    ],
    [
      'a window of nothing',
      obligation('rate_limit', { key: ['person'], limit: 1, window_s: 0 }),
      'obligations.one.properties.window_s: ',
    ],
    [
      'a limit that is no number',
      obligation('rate_limit', { key: ['person'], limit: Number.NaN, window_s: 1 }),
      'obligations.one.properties.limit: ',
    ],
    [
      'the key of a limit',
      obligation('rate_limit', { key: ['group'], limit: 1, window_s: 1 }),
      'obligations.one.properties.key.0: ',
    ],
    [
      'an approver',
      approvers('bob'),
      'approval.boss.approvers.0: must be group:NAME, person:ID or',
    ],
    ['no approver', approvers(), 'approval.boss: names nobody who may approve'],
    [
      'a budget of something else',
      obligation('budget', { key: ['person'], limit: 1, window_s: 1, pointer: 'a', of: 'value' }),
      'obligations.one.properties.pointer: must be /a/b',
    ],
    [
      'a limit for nobody',
      obligation('rate_limit', { key: [], limit: 1, window_s: 1 }),
      'obligations.one.properties.key: ',
    ],
    [
      'a limit for one twice',
      obligation('rate_limit', { key: ['agent', 'agent'], limit: 1, window_s: 1 }),
      'obligations.one.properties.key: names one of them twice',
    ],
    [
      'a redaction without a pointer',
      obligation('redact', { in: 'response', pointers: ['email'] }),
      'obligations.one.properties.pointers.0: must be a JSON pointer',
    ],
  ])('%s', (_name, more, what) => {
    expect(wrong(more)).toEqual([expect.stringContaining(what)])
  })

  test('names that match nothing, and one name for two demands', () => {
    const need = { acr_values: ['mfa'], max_auth_age_s: 60 }
    const row = wholeRow('p', {
      operations: ['*'],
      history: [{ by: 'run', operations: ['a*'], within_s: 60, at_most: 0 }],
      step_up: { x: need },
      approval: { x: { approvers: ['manager'], ttl_s: 60 } },
    })
    expect(rowProblems(row)).toEqual([
      'history.0.operations.0: "a*" matches nothing: write a.b.c, a.b.*, a.* or *',
      'approval.x: step_up uses this name too, so the call would be refused',
    ])
  })
})

test('a query says texts: numbers and truths hold for none of it', () => {
  const said = (more: object): readonly string[] =>
    rowProblems(wholeRow('p', { operations: ['*'], arguments: [{ pointer: '?page', ...more }] }))
  for (const more of [{ at_most: 3 }, { equals: 3 }, { one_of: [true, 1] }])
    expect(said(more)).toEqual([
      expect.stringContaining('arguments.0: a value of the query is a text'),
    ])
  for (const more of [{ equals: '3' }, { one_of: ['a', 1] }, { suffix: 'x' }])
    expect(said(more)).toEqual([])
})

test('a glob has at most two stars with something between them', () => {
  expect(['', 'a', '*', 'a*', '*a*', 'a*b*c'].map(isGlob)).toEqual([
    true,
    true,
    true,
    true,
    true,
    true,
  ])
  expect(['**', 'a**', '*a*b*', '***'].map(isGlob)).toEqual([false, false, false, false])
})
