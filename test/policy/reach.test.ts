import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { unknownIn, unreachable } from '../../proxy/policy/reach.ts'
import { wholeRow } from '../../proxy/policy/row.ts'
import type { Grants, Row } from '../../proxy/policy/tables.ts'

const { providers } = compileProviders(
  readProviderFiles(fileURLToPath(new URL('../../providers', import.meta.url))),
)
const row = wholeRow('github', { kinds: ['rest'], operations: ['*'] })
const said = (changes: Partial<Row>, provider = 'github'): readonly string[] =>
  unreachable({ [provider]: { r: { ...row, ...changes } } }, providers.values())

test('every row that ships matches some call of its provider', () => {
  const { grants } = JSON.parse(
    readFileSync(new URL('../../policies/deputy_data/data.json', import.meta.url), 'utf8'),
  ) as { grants: Grants }
  expect(Object.keys(grants).every((id) => providers.has(id))).toBe(true)
  expect(unreachable(grants, providers.values())).toEqual([])
})

test('a path within a path is of one segment or more', () => {
  const wide = wholeRow('microsoft', { kinds: ['rest'], operations: ['*'], access: ['admin'] })
  const path = (...named: string[]) =>
    unreachable({ microsoft: { r: { ...wide, path: named } } }, providers.values())
  expect(path('v1.0', 'me', 'drive', 'root:', 'public', 'a', 'b', 'createLink')).toEqual([])
  expect(path('v1.0', 'me', 'drive', 'root:', 'public', 'a', 'b', 'nothing')).toHaveLength(1)
})

describe('a row matches where the catalogue has an operation that fits all of it', () => {
  test.each<[string, Partial<Row>]>([
    ['a path of one repository', { path: ['repos', 'acme', 'app', '**'] }],
    ['a whole path', { path: ['repos', 'acme', 'app', 'issues', '7'] }],
    ['a file deep below', { path: ['repos', '*', '*', 'contents', 'a', 'b', 'c'] }],
    ['a branch with a slash', { path: ['repos', '*', '*', 'branches', 'a', 'b', '**'] }],
    ['the root', { path: [''] }],
    ['a family', { operations: ['issues.*'], access: ['write'] }],
    ['repositories that begin alike', { path: ['repos', 'acme', 'public-*', 'issues'] }],
    ['a literal that begins so', { path: ['rep*', 'acme', '*', '*ues'] }],
    [
      'an argument that is inspected',
      {
        operations: ['pulls.*'],
        access: ['write'],
        arguments: [{ pointer: '/event', equals: 'COMMENT' }],
      },
    ],
    ['a name of the query', { arguments: [{ pointer: '?state', equals: 'open' }] }],
    ['a download', { kinds: ['asset'], operations: ['github.asset'] }],
  ])('%s', (_name, changes) => {
    expect(said(changes)).toEqual([])
  })

  test('a GraphQL field, which stands at one path', () => {
    expect(said({ kinds: ['graphql'], operations: ['issue.*'] }, 'linear')).toEqual([])
    expect(said({ operations: ['issue.*'] }, 'linear')).toEqual([
      'linear.r.kinds: no operation of linear fits ["rest"] and the rest of the row, so it never matches',
    ])
  })
})

describe('a row that matches nothing is named with the member that is in the way', () => {
  test.each<[string, Partial<Row>, string]>([
    [
      'a path that the API has not',
      { path: ['repo', 'acme', '**'], operations: ['issues.*'] },
      'path: no operation of github fits ["repo","acme","**"]',
    ],
    ['a path too short', { path: ['repos', 'acme'] }, 'path: no operation'],
    ['a prefix that is cut', { path: ['api', 'v3', '**'] }, 'path: no operation'],
    [
      'a path of another operation',
      { path: ['gists', '**'], operations: ['issues.*'] },
      'path: no operation',
    ],
    [
      'an access that the operation has not',
      { operations: ['issues.create'] },
      'access: no operation of github fits ["read"]',
    ],
    [
      'a kind that the provider has not',
      { kinds: ['mcp'] },
      'kinds: no operation of github fits ["mcp"]',
    ],
    [
      'a segment that no literal begins with',
      { path: ['repox*', 'acme', '**'], operations: ['issues.*'] },
      'path: no operation',
    ],
    [
      'an argument that nobody inspects',
      { arguments: [{ pointer: '/nowhere', equals: 1 }] },
      'arguments: no operation of github fits [{"pointer":"/nowhere","equals":1}]',
    ],
    [
      'an operation misspelt',
      { operations: ['issues.craete'], access: ['write'] },
      'operations: the catalogue of github has no "issues.craete"',
    ],
    [
      'a family misspelt',
      { operations: ['isues.*'] },
      'operations: the catalogue of github has no "isues.*"',
    ],
  ])('%s', (_name, changes, what) => {
    expect(said(changes)).toEqual([expect.stringMatching(/^github\.r\./)])
    expect(said(changes)[0]).toContain(`github.r.${what}`)
  })

  test('one name of several too, and the rest of the row is left alone', () => {
    expect(said({ operations: ['issues.*', 'isues.*'] })).toEqual([
      'github.r.operations: the catalogue of github has no "isues.*"',
    ])
  })

  test('but not where no connection uses the provider', () => {
    expect(unreachable({ acme: { r: { ...row, operations: ['x'] } } }, providers.values())).toEqual(
      [],
    )
  })
})

test('whom a mail may go to is asked in vain of what writes none', () => {
  const google = (operation: string): readonly string[] =>
    said(
      { operations: [operation], access: ['write'], mail: { domains: ['example.com'] } },
      'google',
    )
  expect(google('gmail.users.messages.send')).toEqual([])
  expect(google('calendar.events.insert')).toEqual([
    expect.stringContaining(
      'google.r.mail: no operation of google fits {"domains":["example.com"]}',
    ),
  ])
})

test('a budget of a member that no covered operation inspects is named', () => {
  const budget = (pointer: string): Partial<Row> => ({
    operations: ['pulls.*'],
    access: ['write'],
    obligations: {
      day: {
        type: 'budget',
        properties: { key: ['person'], limit: 9, window_s: 60, pointer, of: 'value' },
      },
    },
  })
  expect(said(budget('/event'))).toEqual([])
  expect(said(budget('request.mail'))).toEqual([])
  expect(said(budget('/amount'))).toEqual([
    'github.r.obligations.day: no operation of github that the row covers inspects /amount, so it would refuse them all',
  ])
})

test('a ceiling that names a connection or an operation that there is not is told', () => {
  const all = { connections: ['*'], operations: ['*'], access: ['read' as const] }
  const agents = {
    triage: [all, { ...all, connections: ['github', 'gitlab'] }],
    nightly: [{ ...all, operations: ['issues.*', 'isues.*', 'issues.create'] }],
  }
  expect(unknownIn(agents, [...providers.values()], ['github'])).toEqual([
    'triage.1.connections: there is no connection "gitlab"',
    'nightly.0.operations: no catalogue in use has "isues.*"',
  ])
})
