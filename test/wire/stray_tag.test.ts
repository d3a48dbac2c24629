import { describe, expect, test } from 'vitest'
import { canonicalTarget } from '../../proxy/wire/canonical.ts'
import { createTagSearch } from '../../proxy/wire/stray_tag.ts'
import { cpuMs } from '../support/pace.ts'
import { codeOf } from './fixture.ts'

const RUN = `dpr_${'aB3-_'.repeat(9).slice(0, 43)}`
const jwt = (claims: object): string =>
  [{ alg: 'ES256', typ: 'JWT' }, claims, 'signature']
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
const OURS = jwt({ iss: 'https://idp.test', aud: 'deputy' })
const THEIRS = jwt({ iss: 'https://idp.test', aud: 'somebody-else' })
const search = createTagSearch((token) => token === OURS)
const escaped = (text: string, by: (code: string) => string): string =>
  text.replaceAll(/[d_y.]/g, (char) => by(char.charCodeAt(0).toString(16).padStart(2, '0')))

describe('an application’s key', () => {
  const KEY = 'key/+0123456789abcdefghijklmnopqrstuvwxyz='
  const keys = createTagSearch(
    () => false,
    (text) => text.includes(KEY),
  )
  test.each([
    ['alone', KEY],
    ['before a name', `Bearer ${KEY}:alice`],
    ['escaped as URLs do', encodeURIComponent(KEY)],
    ['escaped as JSON may', KEY.replace('/', '\\/')],
    ['with one letter escaped', `\\u006b${KEY.slice(1)}`],
    ['as the password of Basic', `Basic ${Buffer.from(`me:${KEY}`).toString('base64')}`],
  ])('is found %s', (_how, text) => {
    expect(keys.holds(text)).toBe(true)
    expect(codeOf(() => keys.body(Buffer.from(`x${text}`)))).toBe('credential_in_body')
  })
  test('is cut out of the query and refused in the path, whole or over its segments', () => {
    const found = keys.target(
      canonicalTarget('GET', `/a?b=1&x=${KEY}&y=${encodeURIComponent(KEY)}`),
    )
    expect(found.target.query.map(({ raw }) => raw)).toEqual(['b=1'])
    expect(found.stripped).toEqual(['query:x', 'query:y'])
    for (const path of [`/a/${KEY}`, `/a?${encodeURIComponent(KEY)}=1`])
      expect(codeOf(() => keys.target(canonicalTarget('GET', path)))).toBe('request_invalid')
  })
  test('is nothing to a deputy without applications', () => {
    expect(search.holds(KEY)).toBe(false)
  })
})

describe.each([
  ['a run token', RUN],
  ['the seal of an address', RUN.replace('dpr_', 'dps_')],
  ['an assertion', OURS],
])('%s', (_what, tag) => {
  test.each([
    ['alone', tag],
    ['after a scheme', `DPoP ${tag}`],
    ['in the middle', `a=1; t="${tag}", b`],
    ['in a URL', `https://x.test/?t=${tag}&b`],
    ['escaped as URLs do', escaped(tag, (hex) => `%${hex}`)],
    ['escaped as JSON does', escaped(tag, (hex) => `\\u00${hex}`)],
    ...Array.from(tag.slice(0, 4), (char, at): [string, string] => [
      `with its ${char} escaped`,
      `${tag.slice(0, at)}%${char.charCodeAt(0).toString(16)}${tag.slice(at + 1)}`,
    ]),
    ['as the password of Basic', `Basic ${Buffer.from(`me:${tag}`).toString('base64')}`],
  ])('is found %s', (_how, text) => {
    expect(search.holds(text)).toBe(true)
    expect(codeOf(() => search.body(Buffer.from(text)))).toBe('credential_in_body')
  })
  test('is cut out of the query by the name of its parameter, and refused where it is a name', () => {
    const found = search.target(canonicalTarget('GET', `/a?b=1&x=${tag}&x=2&y=%20${tag}`))
    expect(found.target.query.map(({ raw }) => raw)).toEqual(['b=1', 'x=2'])
    expect(found.stripped).toEqual(['query:x', 'query:y'])
    expect(codeOf(() => search.target(canonicalTarget('GET', `/a?${tag}=1`)))).toBe(
      'request_invalid',
    )
  })
  test('is refused in the path', () => {
    for (const path of [`/a/${tag}`, `/a/x-${tag}/b`, `/${escaped(tag, (hex) => `%${hex}`)}`])
      expect(codeOf(() => search.target(canonicalTarget('GET', path)))).toBe('request_invalid')
  })
})

test('a run token that was cut off after 20 characters is one, and a shorter one is not', () => {
  expect(search.holds(RUN.slice(0, 24))).toBe(true)
  expect(search.holds(`x-${RUN.slice(0, 23)}.csv`)).toBe(false)
})

test('what only looks like one passes, as the same object', () => {
  for (const text of [
    'dpr_notes',
    'files/dpr_2026-01-01.csv',
    THEIRS,
    `Bearer ${THEIRS}`,
    'eyJ.a.b',
  ]) {
    expect(search.holds(text)).toBe(false)
    expect(codeOf(() => search.body(Buffer.from(text)))).toBe(null)
    const target = canonicalTarget(
      'GET',
      `/a/${encodeURIComponent(text).replaceAll('%2F', '-')}?q=1`,
    )
    expect(search.target(target).target).toBe(target)
  }
})

test('nobody waits for a text that was made to be searched for ever', () => {
  let asked = 0
  const counting = createTagSearch(() => {
    asked++
    return false
  })
  const [some, most] = [20_000, 350_000]
  for (const text of ['eyJ'.repeat(some), `${'eyJ'.repeat(some)}.a`, 'basic '.repeat(some)])
    expect(cpuMs(() => expect(counting.holds(text)).toBe(false))).toBeLessThan(1_000)
  expect(counting.holds('eyJa.'.repeat(1_000))).toBe(false)
  expect(asked).toBe(999)
  // So many hold nothing else.
  expect(counting.holds('eyJa.'.repeat(most))).toBe(true)
  expect(asked).toBe(1_999)
})
