import { describe, expect, test } from 'vitest'
import { queryMembers, readBody } from '../../proxy/wire/body.ts'
import type { BodyRules } from '../../proxy/wire/body.ts'
import { EXACT } from '../../proxy/wire/json.ts'
import { readMedia } from '../../proxy/wire/media.ts'
import { codeOf } from './fixture.ts'

const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = 'application/json'
const PARTS = 'multipart/form-data; boundary=XX'
const none: BodyRules = { credentials: [], inspect: [], upload: false, names: EXACT }
const labels: BodyRules = { ...none, inspect: ['/labels'] }
const insensitive: BodyRules = {
  ...none,
  inspect: ['/message/toRecipients'],
  names: { insensitive: true, spellings: ['emailAddress', 'address'] },
}
const read = (body: string | Buffer, type: string | null, rules: BodyRules) => {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body)
  return readBody(bytes, readMedia(type), type ?? '', rules)
}
const seen = (body: string | Buffer, type: string | null, rules: BodyRules) =>
  read(body, type, rules).json
const code = (body: string | Buffer, type: string | null, rules: BodyRules) =>
  codeOf(() => read(body, type, rules))
const part = (name: string, value: string, more = ''): string =>
  `--XX\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${value}\r\n`

describe('policy sees the same members whatever the type says', () => {
  test.each([
    [JSON_TYPE, '{"labels":["a"]}'],
    [FORM, '{"labels":["a"]}'],
    [FORM, '\ufeff \r\n{"labels":["a"]}'],
    ['text/plain', '{"labels":["a"]}'],
    [null, '{"labels":["a"]}'],
    ['application/x-thing', '{"labels":["a"]}'],
    ['application/vnd.acme+json', '{"labels":["a"]}'],
  ])('%s %s', (type, body) => {
    expect(seen(body, type, labels)).toEqual({ '/labels': ['a'] })
  })
  test('of a bare list, where the provider takes it for a member', () => {
    const listed: BodyRules = { ...labels, list: '/labels' }
    expect(seen('["a","b"]', JSON_TYPE, listed)).toEqual({ '/labels': ['a', 'b'] })
    expect(seen('["a"]', 'text/plain', listed)).toEqual({ '/labels': ['a'] })
    expect(seen('[]', JSON_TYPE, listed)).toEqual({ '/labels': [] })
    expect(seen('{"labels":["a"]}', JSON_TYPE, listed)).toEqual({ '/labels': ['a'] })
    // The rest is as strict as ever.
    expect(code('[9007199254740993]', JSON_TYPE, listed)).toBe('request_invalid')
    expect(code('"a"', JSON_TYPE, listed)).toBe('request_invalid')
    expect(code('["a"]x', JSON_TYPE, listed)).toBe('request_invalid')
    expect(code('["a"]', JSON_TYPE, { ...listed, inspect: ['/labels', '/x/y'] })).toBeNull()
  })
  test('of a form and of parts', () => {
    expect(seen('labels=a+%C3%A9&x=1', FORM, labels)).toEqual({ '/labels': 'a é' })
    // Bytes that the client did not escape are UTF-8 to servers all the same.
    expect(seen('labels=a+é%C3%A9&x=1', FORM, labels)).toEqual({ '/labels': 'a éé' })
    expect(seen(`${part('labels', 'a é')}--XX--`, PARTS, labels)).toEqual({ '/labels': 'a é' })
  })
  test.each([
    ['a form inside JSON', FORM, '{"x":"&labels=a&"}'],
    ['the same without a type', null, '{"x":"&labels=a&"}'],
    ['a member that is cut by a semicolon', FORM, '{"x":";labels=a"}'],
    ['a list', JSON_TYPE, '[{"labels":["a"]}]'],
    ['a text', JSON_TYPE, '"labels"'],
    ['null', JSON_TYPE, 'null'],
    ['a list without objects as text', 'text/plain', '[1]'],
    ['another case beside it', JSON_TYPE, '{"labels":["a"],"LABELS":["b"]}'],
    ['another case alone', JSON_TYPE, '{"Labels":["b"]}'],
    ['a long s', JSON_TYPE, '{"label\u017f":["b"]}'],
    ['a separator that some readers skip', JSON_TYPE, '{"la_bels":["b"]}'],
    ['two parts', PARTS, `${part('labels', 'a')}${part('labels', 'b')}--XX--`],
    ['a part as a file', PARTS, `${part('labels', 'a', '; filename="x"')}--XX--`],
    ['a field that is no UTF-8', FORM, Buffer.from('labels=\xe9', 'latin1')],
    ['a part that is no UTF-8', PARTS, Buffer.from(`${part('labels', '\xff')}--XX--`, 'latin1')],
    [
      'a part that is coded',
      PARTS,
      `--XX\r\nContent-Disposition: form-data; name="labels"\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--XX--`,
    ],
    [
      'a part of two types',
      PARTS,
      `--XX\r\nContent-Disposition: form-data; name="labels"\r\nContent-Type: text/plain\r\nContent-Type: application/json\r\n\r\na\r\n--XX--`,
    ],
    ['a field twice', FORM, 'labels=a&labels=b'],
    ['a charset in a field', FORM, 'labels=%2BAGE-&_charset_=utf-7'],
    ['a charset in a part', PARTS, `${part('_charset_', 'utf-7')}${part('labels', '+AGE-')}--XX--`],
    ['a field of a list', FORM, 'labels[]=a'],
    ['a number that rounds', JSON_TYPE, '{"labels":9007199254740993}'],
    ['a number too large', JSON_TYPE, '{"labels":[1e400]}'],
    ['a number too small', JSON_TYPE, '{"labels":{"x":1e-400}}'],
    ['a number too fine', JSON_TYPE, '{"labels":1.0000000000000000001}'],
  ])('%s is refused', (_what, type, body) => {
    expect(code(body, type, labels)).toBe('request_invalid')
  })
  test.each([
    '0',
    '-0',
    '0.0',
    '0e5',
    '1.50',
    '1e2',
    '100e-2',
    '0.1',
    '9007199254740991',
    '-1.5E+3',
    '1e300',
  ])('the number %s survives', (number) => {
    expect(seen(`{"labels":${number}}`, JSON_TYPE, labels)).toEqual({
      '/labels': JSON.parse(number) as number,
    })
  })
  test('a number under an escaped name is that number, whatever objects were parsed before', () => {
    for (let i = 0; i < 50; i++) JSON.parse('{"title":1,"labels_foo\\\\u":2}')
    const rules = { ...none, inspect: ['/labels_fooen'] }
    const body = (number: string) => `{"title":1,"labels_foo\\u0065n":${number}}`
    expect(seen(body('5'), JSON_TYPE, rules)).toEqual({ '/labels_fooen': 5 })
    expect(code(body('9007199254740993'), JSON_TYPE, rules)).toBe('request_invalid')
  })
  test('numbers that policy does not see pass as they are', () => {
    const body = '{"labels":"a","id":9007199254740993}'
    expect(read(body, JSON_TYPE, labels).bytes.toString()).toBe(body)
  })
  test.each([
    ['["a",null,{"b":null}]', ['a', null, { b: null }]],
    ['[1,"9007199254740993",null]', [1, '9007199254740993', null]],
    ['null', null],
  ])('%s is seen as it is', (text, value) => {
    expect(seen(`{"labels":${text}}`, JSON_TYPE, labels)).toEqual({ '/labels': value })
  })
  test('a field says no other charset than UTF-8 of itself', () => {
    const typed = (type: string, value: string): string =>
      `--XX\r\nContent-Disposition: form-data; name="labels"\r\nContent-Type: ${type}\r\n\r\n${value}\r\n--XX--`
    const named = 'labels=%C3%A9&_charset_=UTF-8'
    expect(seen(named, FORM, labels)).toEqual({ '/labels': 'é' })
    for (const charset of ['utf-8', '"UTF-8"'])
      expect(seen(typed(`text/plain; charset=${charset}`, 'é'), PARTS, labels)).toEqual({
        '/labels': 'é',
      })
    for (const type of [
      'text/plain; charset=utf-7',
      'text/plain; charset=utf-16',
      'text',
      'x/y; z',
    ])
      expect(code(typed(type, '+AGE-'), PARTS, labels)).toBe('unsupported_media_type')
    // Nobody needs to know what else it holds.
    expect(code(typed('text/plain; charset=utf-7', '+AGE-'), PARTS, none)).toBeNull()
  })
  test('what policy needs deeper down comes as JSON', () => {
    const deep = { ...none, inspect: ['/config/url'] }
    expect(code('config[url]=x', FORM, deep)).toBe('unsupported_media_type')
    expect(code('{"config":[{"url":1}]}', JSON_TYPE, deep)).toBe('request_invalid')
    expect(seen('{"config":{"url":"x"}}', JSON_TYPE, deep)).toEqual({ '/config/url': 'x' })
  })
  test('text that is no JSON has no members to see', () => {
    for (const type of ['text/plain', null])
      expect(code('labels=a', type, labels)).toBe('unsupported_media_type')
    expect(
      code(
        `${part('a', '{}').replace('\r\n\r\n', '\r\nContent-Type: application/json\r\n\r\n')}--XX--`,
        PARTS,
        labels,
      ),
    ).toBe('unsupported_media_type')
  })
})

describe('where policy needs no members', () => {
  test.each([
    ['a form', FORM, 'a=1&labels[]=b&labels[]=c'],
    [
      'parts, JSON among them',
      PARTS,
      `${part('a', '{}').replace('\r\n\r\n', '\r\nContent-Type: application/json\r\n\r\n')}--XX--`,
    ],
    ['text', 'text/plain', 'Hello {name}, [x](y)'],
    ['text of lines', 'text/plain', 'Hello\n{name}'],
    ['text that begins like a comment', null, '/* {'],
    ['text that begins like a line of comment', null, '// {'],
  ])('%s passes unparsed, byte for byte', (_what, type, body) => {
    expect(read(body, type, none)).toMatchObject({
      state: 'unparsed',
      bytes: Buffer.from(body),
      json: {},
    })
  })
  test.each(['null', '"text"', '1e400', '[1]', '{}'])('the JSON %s passes', (body) => {
    expect(read(body, JSON_TYPE, none)).toMatchObject({ state: 'parsed', json: {} })
  })
})

describe('where a provider does not tell cases apart', () => {
  const to = [{ emailAddress: { address: 'a@b' } }]
  test.each([
    '{"message":{"toRecipients":[{"emailAddress":{"address":"a@b"}}]}}',
    '{"Message":{"ToRecipients":[{"EmailAddress":{"Address":"a@b"}}]}}',
    '{"MESSAGE":{"torecipients":[{"EMAILADDRESS":{"ADDRESS":"a@b"}}]}}',
  ])('policy sees one spelling of %s', (body) => {
    expect(seen(body, JSON_TYPE, insensitive)).toEqual({ '/message/toRecipients': to })
  })
  test.each([
    '{"message":{},"Message":{}}',
    '{"message":{"x":1,"X":2}}',
    '{"a":{"k":1,"\\u212a":2}}',
  ])('%s has two spellings of one member', (body) => {
    expect(code(body, JSON_TYPE, insensitive)).toBe('request_invalid')
    expect(code(body, JSON_TYPE, none)).toBeNull()
  })
})

describe('JSON is strict, whether or not policy looks', () => {
  test.each([
    ['bytes after the end', '{"a":1}x'],
    ['a second document', '{"a":1}\n{"a":2}'],
    ['NaN', '{"a":NaN}'],
    ['single quotes', "{'a':1}"],
    ['a comment', '{"a":1/* */}'],
    ['a comma too many', '{"a":1,}'],
    ['UTF-16', Buffer.from('{"a":1}', 'utf16le')],
    ['UTF-16 with a mark', Buffer.from('\ufeff{"a":1}', 'utf16le')],
    ['no UTF-8', Buffer.from('{"a":"\xff"}', 'latin1')],
    ['half of a pair', '{"a":"\\ud800"}'],
    ['half of a pair in a key', '{"\\udfff":1}'],
    ['a key twice', '{"a":1,"\\u0061":2}'],
    ['65 levels', `${'['.repeat(65)}${']'.repeat(65)}`],
  ])('%s', (_what, body) => {
    for (const rules of [none, labels]) {
      expect(code(body, JSON_TYPE, rules)).toBe('request_invalid')
      if (_what !== '65 levels' || rules === labels)
        expect(code(body, FORM, rules)).toBe('request_invalid')
    }
  })
  test('a whole pair is a character', () => {
    expect(seen('{"labels":"\\ud83d\\ude00"}', JSON_TYPE, labels)).toEqual({ '/labels': '😀' })
  })
  test('a file that only claims to be JSON passes where the operation takes files', () => {
    const upload = { ...none, upload: true }
    // Nothing is cut out of a file that a client posts as a form.
    expect(code('a=1&access_token=x', FORM, upload)).toBe('credential_in_body')
    expect(read('a=1&b', FORM, upload).bytes.toString()).toBe('a=1&b')
    for (const type of [JSON_TYPE, 'text/plain'])
      expect(read('{"a":1}x', type, upload).state).toBe('unparsed')
    for (const type of [JSON_TYPE, 'text/plain'])
      expect(code('{"access_token":"x"}', type, upload)).toBe('credential_in_body')
    expect(code('{"a":1}x', JSON_TYPE, { ...upload, inspect: ['/a'] })).toBe('request_invalid')
  })
  test('and says why it is refused', () => {
    for (const [body, why] of [
      [Buffer.from('{"a":"\xff"}', 'latin1'), /not UTF-8/],
      ['{"a":1,"a":2}', /"a" stands twice/],
      ['{"labels":1,"Labels":2}', /"Labels", which some servers take for a part of \/labels/],
    ] as const)
      expect(() => read(body, JSON_TYPE, labels)).toThrow(why)
  })
  test.each([
    ['a zero byte', '00'],
    ['a tab', '09'],
    ['a line feed', '0a'],
    ['a vertical tab', '0b'],
    ['a form feed', '0c'],
    ['a carriage return', '0d'],
    ['a blank', '20'],
    ['a mark of UTF-8', 'efbbbf'],
    ['a mark of UTF-16', 'feff'],
    ['its twin', 'fffe'],
    ['a next line', 'c285'],
    ['a next line in Latin-1', '85'],
    ['a blank that does not break', 'c2a0'],
    ['a comment', '2f2a2a2f'],
    ['a line of comment', '2f2f0a'],
  ])('behind %s it is JSON under any type', (_what, hex) => {
    const body = Buffer.concat([Buffer.from(hex, 'hex'), Buffer.from('{"access_token":"x"}')])
    for (const type of [FORM, 'text/plain', null])
      expect(code(body, type, none)).toMatch(/^(?:request_invalid|credential_in_body)$/)
  })
  test('that is not UTF-8 is no text either', () => {
    expect(code(Buffer.from('["\xff"]', 'latin1'), 'text/plain', none)).toBe('request_invalid')
  })
  test('text may begin with a bracket', () => {
    expect(read('[a link](http://a.example)', 'text/plain', none).state).toBe('unparsed')
    expect(code('[a link]({"access_token":1', 'text/plain', none)).toBe('request_invalid')
  })
})

describe('credentials, whatever the definition says', () => {
  test.each([
    ['access_token=x&a=1', FORM],
    ['bearer_token=x&a=1', FORM],
  ])('%s is cut', (body, type) => {
    expect(read(body, type, none)).toMatchObject({ bytes: Buffer.from('a=1') })
  })
  test.each([
    ['{"access_token":"x"}', FORM],
    ['{"access_token":"x"}', JSON_TYPE],
    ['[{"Access-Token":"x"}]', 'text/plain'],
    ['{"a":"&access_token=x&"}', FORM],
    ['access_token=x', 'text/plain'],
    ['a=1&access_token=x', null],
    [`${part('access_token', 'x')}--XX--`, PARTS],
  ])('%s as %s is refused', (body, type) => {
    expect(code(body, type, none)).toBe('credential_in_body')
  })
  test.each([
    ['_method=DELETE', FORM],
    ['_method=DELETE', null],
    ['_method=DELETE', 'text/plain'],
    ['{"_method":"DELETE"}', JSON_TYPE],
    ['{"a":"&_method=DELETE&"}', FORM],
    [`${part('_method', 'DELETE')}--XX--`, PARTS],
  ])('%s as %s would change the method', (body, type) => {
    expect(code(body, type, none)).toBe('request_invalid')
  })
})

describe('charsets', () => {
  test.each([
    ['utf-8', 'é', null],
    ['UTF8', 'é', null],
    ['us-ascii', 'e', null],
    ['ascii', 'e', null],
    ['iso-8859-1', 'e', null],
    ['latin1', 'e', null],
    ['windows-1252', 'e', null],
    ['windows-1252', 'é', 'unsupported_media_type'],
    ['iso-8859-1', 'é', 'unsupported_media_type'],
    ['utf-7', 'e', 'unsupported_media_type'],
    ['utf-16', 'e', 'unsupported_media_type'],
    ['ibm037', 'e', 'unsupported_media_type'],
  ])('%s with %s', (charset, text, answer) => {
    expect(code(`{"labels":"${text}"}`, `${JSON_TYPE}; charset=${charset}`, labels)).toBe(answer)
    expect(code(`labels=${encodeURIComponent(text)}`, `${FORM}; charset=${charset}`, labels)).toBe(
      answer,
    )
  })
})

describe('the query beside the body', () => {
  const channel = ['/channel', '/message/to']
  const query = (...pairs: [string, string][]) => pairs.map(([name, value]) => ({ name, value }))
  test('is the only place where there is no body, and agrees where there is one', () => {
    expect(queryMembers(query(['channel', 'A'], ['x', '1']), channel, null)).toEqual({
      '/channel': 'A',
    })
    expect(queryMembers(query(['channel', 'A']), channel, { '/channel': 'A' })).toEqual({
      '/channel': 'A',
    })
    expect(queryMembers(query(['channel', '7']), channel, { '/channel': 7 })).toEqual({
      '/channel': 7,
    })
  })
  test.each([
    ['another value', query(['channel', 'A']), { '/channel': 'B' }],
    ['a body without it', query(['channel', 'undefined']), {}],
    ['a list', query(['channel', 'A']), { '/channel': ['A'] }],
    ['twice', query(['channel', 'A'], ['channel', 'A']), null],
    ['another case', query(['Channel', 'A']), null],
    ['brackets', query(['channel[]', 'A']), null],
    ['a part of a member', query(['message[to]', 'A']), null],
    ['a member of which policy needs a part', query(['message', '{}']), null],
  ])('%s is refused', (_what, pairs, has) => {
    expect(codeOf(() => queryMembers(pairs, channel, has))).toBe('request_invalid')
  })
})
