import { describe, expect, test } from 'vitest'
import { accountAt, first, hostAt, parseBody, parseJson, word } from '../../proxy/oauth/body.ts'

const answer = (body: string | null, type: string | null = null) => ({
  status: 200,
  headers: { get: () => type },
  body,
})
const FORM = 'application/x-www-form-urlencoded'

describe('a body', () => {
  test.each<[string, string | null, string | null, unknown]>([
    ['JSON, whatever its type', '{"a":1}', 'text/plain', { a: 1 }],
    ['a form', 'a=1&b=x+y', FORM, { a: '1', b: 'x y' }],
    ['a form with a charset', 'a=1', `${FORM}; charset=utf-8`, { a: '1' }],
    [
      'a form that does not say so',
      ' access_token=x&scope=a%20b\n',
      null,
      { access_token: 'x', scope: 'a b' },
    ],
    ['a list', '[1]', null, null],
    ['a number', '7', null, null],
    ['a text', '"a=b"', null, null],
    ['a page', '<a href="?a=b">', 'text/html', null],
    ['a sentence', 'a = b, and so on', null, null],
    ['nothing', '', null, null],
    ['one that broke off', null, null, null],
    ['JSON that says a member twice', '{"a":1,"a":2}', null, null],
  ])('%s', (_name, body, type, fields) => {
    expect(parseBody(answer(body, type))).toEqual(fields)
  })
  test('keeps large numbers exact, as text', () => {
    expect(parseJson('{"id":12345678901234567890,"n":7,"f":1.5,"max":9007199254740991}')).toEqual({
      id: '12345678901234567890',
      n: 7,
      f: 1.5,
      max: 9_007_199_254_740_991,
    })
    expect(parseJson('{')).toBeUndefined()
  })
})

describe('a word', () => {
  test.each<[unknown, string | null]>([
    ['x', 'x'],
    [0, '0'],
    [12.5, '12.5'],
    ['a'.repeat(256), 'a'.repeat(256)],
    ['a'.repeat(257), null],
    ['', null],
    [null, null],
    [true, null],
    [Infinity, null],
    [['x'], null],
    [{ toString: () => 'x' }, null],
  ])('%j is read as %j', (value, text) => {
    expect(word(value)).toBe(text)
  })
})

const jwt = (claims: unknown): string =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`

describe('a place', () => {
  test('is the first that holds something', () => {
    const body = { a: null, b: { c: 'x' }, d: 'y' }
    expect(first(body, ['/a', '/none', '/b/c', '/d'])).toBe('x')
    expect(first(body, ['/a', '/none'])).toBeUndefined()
    expect(first({ a: 0 }, ['/a', '/b'])).toBe(0)
  })
  test('may be a claim of a token', () => {
    const place = { jwt: '/id_token', claim: '/sub' }
    expect(first({ id_token: jwt({ sub: 'u' }) }, [place])).toBe('u')
    for (const id_token of ['no-jwt', 7, 'e30.%%.x', jwt('text')])
      expect(first({ id_token }, [place])).toBeUndefined()
  })
})

describe('an account', () => {
  test.each<[string, unknown, string | readonly string[], unknown]>([
    ['one part', { id: 7 }, '/id', { id: '7', label: '7' }],
    ['a part that is missing', {}, '/id', null],
    ['an empty part', { id: '' }, '/id', null],
    [
      'two parts',
      { hub: 'a/b', user: 'c' },
      ['/hub', '/user'],
      { id: 'a%2Fb/c', label: 'a%2Fb/c' },
    ],
    ['two parts, one missing', { hub: 'a' }, ['/hub', '/user'], null],
  ])('%s', (_name, body, id, account) => {
    expect(accountAt(body, { id, label: '/mail' })).toEqual(account)
  })
  test('is called by its label where there is one', () => {
    const rules = { id: '/id', label: ['/name', '/mail'] }
    expect(accountAt({ id: 7, mail: 'a@b' }, rules)).toEqual({ id: '7', label: 'a@b' })
    expect(accountAt({ id: 7, name: { x: 1 }, mail: 'a@b' }, rules)?.label).toBe('7')
  })
  test('of two parts is never that of other two', () => {
    const id = (a: string, b: string) => accountAt({ a, b }, { id: ['/a', '/b'], label: '/x' })?.id
    expect(id('a/b', 'c')).not.toBe(id('a', 'b/c'))
  })
})

describe('a host that an answer names', () => {
  const rules = { pointer: '/api', suffixes: ['.acme.example'], required: true }
  const host = (api: unknown, required = true) => hostAt({ api }, { ...rules, required })
  test.each<[unknown, unknown]>([
    ['https://eu.acme.example', { name: 'eu.acme.example' }],
    ['https://EU.acme.example/v1', { name: 'eu.acme.example' }],
    ['https://eu.acme.example:443', { name: 'eu.acme.example' }],
    ['http://eu.acme.example', 'foreign'],
    ['https://eu.acme.example:8443', 'foreign'],
    ['https://u@eu.acme.example', 'foreign'],
    ['https://.acme.example', 'foreign'],
    ['https://acme.example', 'foreign'],
    ['https://eu.acme.example.evil.test', 'foreign'],
    ['https://evilacme.example', 'foreign'],
    ['eu.acme.example', 'foreign'],
    [7, 'foreign'],
    [undefined, 'foreign'],
    [null, 'foreign'],
  ])('%j', (api, found) => {
    expect(host(api)).toEqual(found)
  })
  test('may be missing where none is needed, and is foreign all the same where it is wrong', () => {
    expect([host(undefined, false), host(null, false)]).toEqual([null, null])
    expect(host('https://evil.test', false)).toBe('foreign')
  })
})
