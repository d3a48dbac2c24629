// Addresses with one reading; everything that some reader would take for another address is refused.
import { describe, expect, test } from 'vitest'
import { addressesOf, addressOf, domainOf, fromBase64 } from '../../proxy/envelope/address.ts'
import { cpuMs } from '../support/pace.ts'
import { refusalOf } from './fixture.ts'

const refused = (work: () => unknown): string | undefined => refusalOf(work).split(':')[0]

describe('domains', () => {
  test.each([
    ['Example.COM', 'example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['ＥＸＡＭＰＬＥ.com', 'example.com'],
    ['例え。テスト', 'xn--r8jz45g.xn--zckzah'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
  ])('%s is %s', (text, domain) => {
    expect(domainOf(text)).toBe(domain)
  })
  test.each([
    '',
    'localhost',
    'a..b',
    '.a.b',
    'a.b.',
    '-a.b',
    'a-.b',
    'a_b.example',
    '[192.0.2.1]',
    '192.0.2.1',
    '0x7f.1',
    'straße.example',
    'βόλος.example',
    'a\u200db.example',
    'a b.example',
    'a.b\n',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}ab`,
    'a@b.example',
    '１.２.３.４',
  ])('%j is none', (text) => {
    expect(refused(() => domainOf(text))).toBe('request_invalid')
  })
})

describe('addresses', () => {
  test('keep the case of what stands before the @', () => {
    expect(addressOf('Alice.Smith+x@Example.com')).toBe('Alice.Smith+x@example.com')
    expect(addressOf(`${'a'.repeat(64)}@b.example`)).toBe(`${'a'.repeat(64)}@b.example`)
  })
  test.each([
    'alice',
    '@b.example',
    'alice@',
    'a@b@c.example',
    '"a b"@c.example',
    'a b@c.example',
    'a..b@c.example',
    '.a@b.example',
    'a.@b.example',
    'a%evil.example@b.example',
    'evil.example!a@b.example',
    '=?utf-8?q?x?=@b.example',
    '<a@b.example>',
    ' a@b.example',
    'a@b.example ',
    'a@b.example\n',
    'a(c)@b.example',
    'ä@b.example',
    `${'a'.repeat(65)}@b.example`,
    'a,b@c.example',
    '@a.example:b@c.example',
  ])('%j is none', (text) => {
    expect(refused(() => addressOf(text))).toBe('request_invalid')
  })
})

describe('lists', () => {
  test.each([
    ['', []],
    [' \t', []],
    ['a@b.example', ['a@b.example']],
    ['a@b.example,c@D.example', ['a@b.example', 'c@d.example']],
    [' Alice B. <a@b.example> ,\t<c@d.example>', ['a@b.example', 'c@d.example']],
    ['"Smith, Alice" <a@b.example>, x "y" <c@d.example>', ['a@b.example', 'c@d.example']],
    ['=?utf-8?Q?M=C3=BCller=2C_Hans?= <a@b.example>', ['a@b.example']],
    ['=?UTF-8?B?TcO8bGxlcg==?= =?iso-8859-1?q?=FC?= <a@b.example>', ['a@b.example']],
    ['=?windows-1252?q?=80?= x <a@b.example>', ['a@b.example']],
  ])('%j', (value, addresses) => {
    expect(addressesOf(value)).toEqual(addresses)
  })
  test.each([
    ',',
    'a@b.example,',
    ',a@b.example',
    'a@b.example,,c@d.example',
    'a@b.example c@d.example',
    'a@b.example;c@d.example',
    'Team: a@b.example;',
    'undisclosed-recipients:;',
    'Alice <a@b.example> (x)',
    '(x) a@b.example',
    'a@b.example (x)',
    '<@r.example:a@b.example>',
    'Alice <a@b.example',
    'Alice a@b.example>',
    '<a@b.example> x',
    '<<a@b.example>>',
    '<a@b.example><c@d.example>',
    'x@y.example <a@b.example>',
    '"x@y.example" <a@b.example>',
    '"<x>" <a@b.example>',
    '"a\\" <x@y.example>, \\"" <a@b.example>',
    '"Alice <a@b.example>',
    '< a@b.example>',
    '<>',
    'Alice <>',
    '"" <a@b.example>',
    '.Bob <a@b.example>',
    'Bob . <a@b.example>',
    '"a". <a@b.example>',
    '=?utf-8?Q?x=40y.example=2C?= <a@b.example>',
    '=?utf-8?Q?x=3C?= <a@b.example>',
    '=?utf-8?Q?=22?= <a@b.example>',
    '=?utf-8?Q?=0A?= <a@b.example>',
    '=?utf-8?Q?=E2=80=A8?= <a@b.example>',
    '=?utf-8?B?/w==?= <a@b.example>',
    '=?utf-7?Q?x?= <a@b.example>',
    '=?utf-8?X?x?= <a@b.example>',
    '=?utf-8?Q?x <a@b.example>',
    'a=?utf-8?Q?x?= <a@b.example>',
    '=?utf-8?B?eA=?= <a@b.example>',
    '"=?utf-8?Q?x?=" <a@b.example>',
    '=?utf-8*en?Q?x?= <a@b.example>',
  ])('%j has more than one reading, or none', (value) => {
    expect(refused(() => addressesOf(value))).toBe('request_invalid')
  })
  test('a long one is read in time that grows with its length', () => {
    const slow = [
      `${'"'.repeat(2)}${' '.repeat(200_000)}x`,
      'a'.repeat(400_000),
      ' '.repeat(400_000),
      'a@b.example,'.repeat(40_000),
      `${'=?'.repeat(200_000)} <a@b.example>`,
      '<'.repeat(200_000),
      '"" '.repeat(130_000),
    ]
    const took = cpuMs(() => {
      for (const value of slow) refused(() => addressesOf(value))
    })
    expect(took).toBeLessThan(2_000)
  })
})

describe('base64', () => {
  test.each([
    ['', ''],
    ['YQ==', 'a'],
    ['YQ', 'a'],
    ['Pz8_', '???'],
    ['Pz8/', '???'],
  ])('%j', (text, plain) => {
    expect(fromBase64(text).toString()).toBe(plain)
  })
  test.each([
    'Y',
    'YR',
    'YQ=',
    'YQ===',
    '=',
    '====',
    'Pz8_Pz8/',
    'YQ==YQ==',
    'Y Q=',
    'YWI\n',
    'YQ\0',
    'YWJj=',
  ])('%j is none', (text) => {
    expect(refused(() => fromBase64(text))).toBe('request_invalid')
  })
})
