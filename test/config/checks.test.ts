// Checks in the configuration: one or several, what goes together, and what they mean.
import { describe, expect, test } from 'vitest'
import {
  checkAddressesOf,
  checkCredentialsOf,
  checkKindOf,
  nameOf,
} from '../../proxy/config/checks.ts'
import { parseConfig } from '../../proxy/config/parse.ts'
import type { Fields } from '../support/deputy.ts'

const parsed = (checks: unknown) =>
  parseConfig({
    version: 1,
    identity: { trust: 'plain' },
    entitlements: { source: 'file', file: './people.yaml', checks },
    policy: { bundle: './bundle.tar.gz' },
    connections: { github: { provider: 'github' } },
    vault: { keys: './keys.json' },
    connect: { sign_in: 'local' },
  })
const problems = (checks: unknown): string => {
  const read = parsed(checks)
  return 'problems' in read ? read.problems.join('\n') : ''
}
const read = (checks: unknown) => {
  const of = parsed(checks)
  if ('problems' in of) throw new Error(of.problems.join('\n'))
  return of.config.entitlements?.checks ?? []
}
const fga: Fields = {
  preset: 'openfga',
  url: 'https://fga.example.com/',
  store: 'S',
  user: 'user:{id}',
  relation: 'can_edit',
  object: 'repo:{path.owner}/{path.repo}',
}
const own: Fields = {
  name: 'may',
  preset: 'none',
  url: 'https://z.example.com/{id}/{operation}',
  answer: '/result',
}

test('one may stand without a list', () => {
  const [one, ...more] = read(fga)
  expect(more).toEqual([])
  expect(read([fga])).toEqual([one])
  if (one === undefined) throw new Error('there is none')
  expect(nameOf(one)).toBe('can_edit')
  expect([one.operations, one.timeout]).toEqual([['*'], 2_000])
  expect(checkKindOf(one)).toEqual({ ...fga, url: 'https://fga.example.com', model: null })
  expect(checkCredentialsOf(one)).toEqual({ kind: 'none' })
})

test('a service of one’s own has a template for its address', () => {
  const [one] = read({ ...own, bearer: 'b', operations: ['issues.*'] })
  if (one === undefined) throw new Error('there is none')
  expect(checkKindOf(one)).toMatchObject({ url: own['url'], method: 'GET', answer: '/result' })
  expect(checkAddressesOf(one).map((url) => new URL(url).hostname)).toEqual(['z.example.com'])
  expect(checkCredentialsOf(one)).toMatchObject({ kind: 'bearer', scheme: 'Bearer' })
})

test('a client gets its own token', () => {
  const client = { client_id: 'deputy', token: 'https://idp.example.com/token', scope: 'x' }
  const [one] = read({ ...fga, ...client, client_secret: 's' })
  if (one === undefined) throw new Error('there is none')
  expect(checkCredentialsOf(one)).toMatchObject({
    kind: 'client',
    url: 'https://idp.example.com/token',
    auth: 'client_secret_post',
    id: 'deputy',
    scope: 'x',
  })
  expect(checkAddressesOf(one)).toHaveLength(2)
})

describe('what does not go together is refused', () => {
  test.each<[Fields, string]>([
    [{ ...fga, store: undefined }, 'checks.0.store: the preset openfga needs it'],
    [{ ...fga, object: 'doc:{path}' }, 'checks.0.object: {path} is nothing that a call has'],
    [{ ...fga, object: 'doc:{id}{agent}' }, 'checks.0.object: nothing stands between two values'],
    [{ ...fga, relation: '{operation}' }, 'checks.0.name: the relation is no name for policy'],
    [{ ...fga, url: 'https://{id}.example.com' }, 'checks.0.url: holds a {name}'],
    [{ ...fga, url: 'http://fga.example.com' }, 'is plain http to another machine'],
    [{ ...fga, url: 'ftp://fga' }, 'checks.0.url: is no http(s) URL'],
    [{ ...fga, answer: '/x' }, 'checks.0.answer: is not read with the preset openfga'],
    [{ ...fga, operations: ['issues*'] }, 'checks.0.operations: issues* names nothing'],
    [{ ...fga, operations: [] }, 'checks.0.operations'],
    [{ ...fga, timeout: '0s' }, 'checks.0.timeout: must be more than nothing'],
    [{ ...fga, client_id: 'x' }, 'checks.0.client_id: goes with a client_secret'],
    [{ ...fga, client_id: 'x', client_secret: 's' }, 'checks.0.token: goes with a client_id'],
    [{ ...own, name: undefined }, 'checks.0.name: the preset none needs it'],
    [{ ...own, answer: undefined }, 'checks.0.answer: the preset none needs it'],
    [{ ...own, url: 'https://{id}/x' }, 'checks.0.url: a value may stand in the path or the query'],
    [{ ...own, url: 'https://z.example.com/may' }, 'nothing says which call is asked about'],
    [{ ...own, url: 'https://z.example.com/{who}' }, '{who} is nothing that a call has'],
    [{ ...own, body: { a: '{id}' } }, 'checks.0.body: needs method: POST'],
    [{ ...own, method: 'POST', body: { a: ['{who}'] } }, '{who} is nothing that a call has'],
    [{ ...own, store: 'S' }, 'checks.0.store: is not read with the preset none'],
  ])('%j', (check, told) => {
    expect(problems(check)).toContain(told)
  })
  test('two of one name', () => {
    expect(problems([fga, { ...fga, object: 'x:{id}' }])).toContain(
      'checks.1.name: two checks are called can_edit',
    )
  })
  test('a member that is no key', () => {
    expect(problems({ ...fga, cache: '5s' })).toContain('cache')
  })
})
