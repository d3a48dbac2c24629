import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Target } from '../../proxy/model.ts'
import { canonicalTarget, targetText } from '../../proxy/wire/canonical.ts'
import { createQuerySeals, unsealed } from '../../proxy/wire/query_seal.ts'
import type { Bound } from '../../proxy/wire/query_seal.ts'
import { cpuMs } from '../support/pace.ts'
import { provider } from './fixture.ts'

let now = 1_800_000_000_000
const key = randomBytes(32)
const seals = createQuerySeals({ key, now: () => now })
const alice: Bound = {
  person: { tenant: 'default', realm: 'local', id: 'alice' },
  agent: 'agent:a',
  connection: 'acme',
  host: 'api.acme.example',
}
const URL_TEXT = '/files/1?token=T0KEN%2F1&page=2'
const sealOf = (target = URL_TEXT, said: readonly string[] = []): string | null =>
  seals.seal(alice, target, provider, () => said)
/** As the client follows it. */
const followed = (text: string, seal: string, method = 'GET') =>
  unsealed(canonicalTarget(method, `${text}&${seal}`))
const opens = (
  { target, seal }: { readonly target: Target; readonly seal: string | null },
  bound = alice,
): boolean => seals.opens(seal ?? '', bound, target)

describe('the URL of a provider', () => {
  test('comes back as it was, sealed for who got it', () => {
    const seal = sealOf() ?? ''
    expect(seal).toMatch(/^deputy_seal=[0-9a-z]{8}\.[\w-]{43}$/)
    const back = followed(URL_TEXT, seal)
    expect(targetText(back.target)).toBe(URL_TEXT)
    expect(opens(back)).toBe(true)
    expect(opens(followed(URL_TEXT, seal, 'HEAD'))).toBe(true)
  })

  test('at which an upload goes on is good for a day, for sending too', () => {
    const upload = seals.seal({ ...alice, followed: 'upload' }, URL_TEXT, provider, () => []) ?? ''
    for (const method of ['PUT', 'POST', 'GET', 'HEAD'])
      expect([method, opens(followed(URL_TEXT, upload, method))]).toEqual([method, true])
    for (const method of ['PATCH', 'DELETE', 'OPTIONS'])
      expect([method, opens(followed(URL_TEXT, upload, method))]).toEqual([method, false])
    now += 24 * 3_600_000 - 1
    expect(opens(followed(URL_TEXT, upload, 'PUT'))).toBe(true)
    now += 1
    expect(opens(followed(URL_TEXT, upload, 'PUT'))).toBe(false)
  })

  test('nothing else is opened by its seal', () => {
    const seal = sealOf() ?? ''
    for (const other of [
      '/files/2?token=T0KEN%2F1&page=2',
      '/files/1?token=T0KEN%2F2&page=2',
      '/files/1?token=T0KEN%2F1&page=3',
      '/files/1?key=T0KEN%2F1&page=2',
      '/files/1?token=T0KEN%2F1&page=2&token=mine',
      '/files/1?page=2&token=T0KEN%2F1',
    ])
      expect([other, opens(followed(other, seal))]).toEqual([other, false])
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
      expect([method, opens(followed(URL_TEXT, seal, method))]).toEqual([method, false])
    const { person } = alice
    for (const bound of [
      { ...alice, connection: 'second' },
      { ...alice, host: 'up.acme.example' },
      { ...alice, person: { ...person, id: 'bob' } },
      { ...alice, person: { ...person, tenant: 'other' } },
      { ...alice, person: { ...person, realm: 'other' } },
    ])
      expect([bound, opens(followed(URL_TEXT, seal), bound)]).toEqual([bound, false])
    const foreign = createQuerySeals({ key: randomBytes(32), now: () => now })
    const back = followed(URL_TEXT, seal)
    expect(foreign.opens(back.seal ?? '', alice, back.target)).toBe(false)
  })

  test.each(['', '.', 'zz.', `0.${'A'.repeat(43)}`, `${'z'.repeat(11)}.${'A'.repeat(43)}`, 'ä'])(
    'a seal that reads %j opens nothing',
    (seal) => expect(seals.opens(seal, alice, canonicalTarget('GET', URL_TEXT))).toBe(false),
  )

  test('a changed letter opens nothing, and neither does a later end', () => {
    const seal = (sealOf() ?? '').slice('deputy_seal='.length)
    for (let i = 0; i < seal.length; i++) {
      const changed = `${seal.slice(0, i)}${seal[i] === '1' ? '2' : '1'}${seal.slice(i + 1)}`
      expect(seals.opens(changed, alice, canonicalTarget('GET', URL_TEXT))).toBe(false)
    }
  })

  test('it is over after ten minutes', () => {
    const back = followed(URL_TEXT, sealOf() ?? '')
    now += 10 * 60_000 - 1
    expect(opens(back)).toBe(true)
    now += 1
    expect(opens(back)).toBe(false)
  })
})

describe('no seal', () => {
  test('for an empty value', () => expect(sealOf('/files/1?token=', ['node'])).toBeNull())
  test.each([
    '/files/1',
    '/files/1?page=2',
    '/a/../b?token=1',
    '/a?token=1;b',
    '/a?access_token=1',
  ])('for %s', (target) => expect(sealOf(target)).toBeNull())

  test.each([
    '/go?to=/files/1?token=T0KEN/1',
    '/go?to=%2Ffiles%2F1%3Ftoken%3DT0KEN%2F1',
    '/go?to=%252Ffiles%252F1%253Ftoken%253DT0KEN%252F1',
    '{"to":"\\/files\\/1?token=\\u00540KEN\\/1"}',
  ])('for what the agent said itself: %s', (said) => {
    expect(sealOf(URL_TEXT, ['x', said])).toBeNull()
    expect(sealOf(URL_TEXT.replace('T0KEN', 'OTHER'), ['x', said])).not.toBeNull()
  })

  test.each([
    ['SECRET12', '/go?to=SECRET12+'],
    ['AGENT+SECRET1', '/go?to=AGENT%2BSECRET1'],
    ['SECRET12', '{"query":"{a(b:\\"\\\\u0053ECRET12\\")}"}'],
    ['SECRET12', 'a=\\u{53}ECRET12'],
    ['SECRET12', '&#83;ECRET12 &#x53;ECRET12'],
    ['secret12', 'SECRET12'],
    ['PARTONE1PARTTWO2', '/go?a=PARTONE1&b=PARTTWO2'],
    ['SECRET-12-34', '/go?to=SECRET1234'],
    ['SEC-RET12', '/go?to=SEC.RET12'],
  ])('for what a provider may make of what it said: %s of %s', (value, said) => {
    expect(sealOf(`/f?token=${encodeURIComponent(value)}`, [said])).toBeNull()
    expect(sealOf('/f?token=0ther1t0ken2', [said])).not.toBeNull()
  })

  test('by another agent of the same person', () => {
    const back = followed(URL_TEXT, sealOf() ?? '')
    expect(opens(back, { ...alice, agent: 'agent:b' })).toBe(false)
  })

  test('for anything, where nobody knows what the agent said', () => {
    expect(sealOf(URL_TEXT, [`/go?to=%${'25'.repeat(3)}2F`])).not.toBeNull()
    expect(sealOf(URL_TEXT, [`/go?to=%${'25'.repeat(9)}2F`])).toBeNull()
  })

  test.each([
    ['s', '/first?page=2&sort=s1', true],
    ['s', '/first?to=s', false],
    ['s', '/s', false],
    ['1', 'Mozilla/51.12', true],
    ['1', 'a=x&b=%251', false],
    ['sevenxx', '/aasevenxxaa', true],
    ['eight-xx', '/aaeight-xxaa', false],
  ])('a short one counts where it is a word: %s in %s', (value, said, sealed) => {
    expect(sealOf(`/f?sid=${value}`, [said]) !== null).toBe(sealed)
  })

  test('with a letter beyond ASCII too', () => {
    expect(sealOf('/f?token=%C3%A9t%C3%A9', ['to=%c3%a9t%c3%a9'])).toBeNull()
    expect(sealOf('/f?token=%C3%A9t%C3%A9', ['to=\xc3\xa9t\xc3\xa9'])).toBeNull()
  })
})

test('every seal leaves the query, and only the last is looked at', () => {
  const of = (text: string) => {
    const { target, seal } = unsealed(canonicalTarget('GET', text))
    return [targetText(target), seal]
  }
  expect(of('/x?a=1&deputy_seal=s&b=2&deputy_seal=t')).toEqual(['/x?a=1&b=2', 't'])
  expect(of('/x?deputy_seal=s&b=2')).toEqual(['/x?b=2', null])
  const target = canonicalTarget('GET', '/x?a=1')
  expect(unsealed(target)).toEqual({ target, seal: null })
  expect(unsealed(target).target).toBe(target)
})

test('a request of many backslashes is searched in a time that grows with its length', () => {
  const said = `${'\\'.repeat(200_000)}.`
  expect(cpuMs(() => expect(sealOf(URL_TEXT, [said])).not.toBe(null))).toBeLessThan(1_000)
})
