import { describe, expect, test } from 'vitest'
import type { Json, Provider } from '../../proxy/model.ts'
import { exampleOf, pointerTo, render } from '../../proxy/quirks/example.ts'
import { connectionOf } from '../oauth/fixtures.ts'

const provider = (change: Partial<Provider> = {}): Provider => connectionOf({}, change).provider
const of = (change: Partial<Provider> = {}) => {
  const read = exampleOf(provider(change))
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return read.example
}

describe('a definition without an example', () => {
  test('is taken to answer as RFC 6749 5.1 says', () => {
    expect(of().token).toEqual({
      access_token: '{access_token}',
      refresh_token: '{refresh_token}',
      token_type: 'Bearer',
      expires_in: '{expires_in}',
      scope: '{scope}',
    })
  })
  test.each<Partial<Provider>>([{ rotation: 'n/a' }, { refresh: null }])(
    'gives no refresh token where %j',
    (change) => {
      expect(of(change).token).not.toHaveProperty('refresh_token')
    },
  )
  test('names the account where the definition looks for it', () => {
    expect(of().userinfo).toEqual({ sub: '{account}', email: '{label}' })
    const account = { from: 'token' as const, id: ['/team/id', '/user/id'], label: ['/user/id'] }
    const token = of({ account }).token
    expect(token).toMatchObject({ team: { id: '{tenant}' }, user: { id: '{account}' } })
    expect(of({ account: null })).not.toHaveProperty('userinfo')
  })
  test('behaves as the definition says of it', () => {
    expect(
      of({ clientAuth: 'client_secret_basic', rotation: 'always', lostResponse: 'yes' }),
    ).toMatchObject({
      client_auth: ['client_secret_basic'],
      rotates: true,
      reuse: 'works',
    })
    expect(of({ rotation: 'none', lostResponse: 'no' })).toMatchObject({
      rotates: false,
      reuse: 'dead',
    })
    expect(of({ revoke: null })).not.toHaveProperty('revoke')
    expect(of({ revoke: 'https://x/', revokeStyle: 'github' }).revoke).toMatchObject({
      style: 'github',
    })
  })
  test('has hosts that its token may name', () => {
    const hostFromToken = { pointer: '/instance_url', suffixes: ['.acme.example'] }
    expect(of({ hostFromToken })).toMatchObject({
      host: 'acme.acme.example',
      other_host: 'globex.acme.example',
      token: { instance_url: 'https://{host}' },
    })
  })
})

test('what an example says counts, and what is wrong in it is told at its place', () => {
  expect(of({ example: { rotates: false, dead: ['gone'] } })).toMatchObject({
    rotates: false,
    dead: ['gone'],
  })
  const wrong = exampleOf(provider({ example: { tokens: {}, reuse: 'kill' } }))
  expect(wrong).toEqual({
    problems: [
      'acme: example.reuse: must be one of works, dead, kills',
      'acme: example.tokens: unknown key: is token meant?',
    ],
  })
})

describe('a template', () => {
  const values = { a: 1, list: ['x'], text: 't', gone: undefined }
  test.each<[Json, Json]>([
    ['{a}', 1],
    ['{list}', ['x']],
    ['n{a}-{text}', 'n1-t'],
    ['{unknown} {text}', '{unknown} t'],
    [
      { b: { c: '{a}' }, d: '{gone}', e: null },
      { b: { c: 1 }, e: null },
    ],
    [
      ['{a}', '{gone}'],
      [1, null],
    ],
    [7, 7],
    ['{toString}', '{toString}'],
  ])('%j is filled: %j', (template, filled) => {
    expect(render(template, values)).toEqual(filled)
  })
  test('that is nothing but a name without a value is left out', () => {
    expect(render('{gone}', values)).toBeUndefined()
    expect(render('x{gone}', values)).toBe('x""')
  })
})

test.each<[Json, Json, string | null]>([
  [{ a: { b: ['x', 'y'] } }, 'y', '/a/b/1'],
  [{ a: { b: ['x'] } }, ['x'], '/a/b'],
  ['x', 'x', ''],
  [{ a: 1 }, '1', null],
  [null, 'x', null],
])('in %j, %j stands at %j', (body, wanted, at) => {
  expect(pointerTo(body, wanted)).toBe(at)
})
