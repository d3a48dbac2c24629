import { describe, expect, test } from 'vitest'
import { multipartFields } from '../../proxy/wire/multipart.ts'
import { codeOf } from './fixture.ts'

const DISPOSITION = 'Content-Disposition: form-data; name="a"'
const body = (boundary: string, ...parts: string[]): string =>
  `${parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('')}--${boundary}--`
const read = (text: string, boundary = 'XX') =>
  multipartFields(Buffer.from(text, 'latin1'), `multipart/form-data; boundary="${boundary}"`)

test('fields, files and their types come in order, values byte for byte', () => {
  const parts = [
    `${DISPOSITION}\r\n\r\n`,
    `${DISPOSITION}; filename="x.png"\r\nContent-Type: image/png\r\nX-Other: 1\r\n\r\n\xff\r\n\r\n--X`,
    'content-disposition:form-data;name=b\r\nContent-Transfer-Encoding: 8BIT\r\n\r\nv',
  ]
  for (const end of ['', '\r\n'])
    expect(read(body('XX', ...parts) + end)).toEqual([
      { name: 'a', value: '', file: false, type: '', headers: ['content-disposition'] },
      {
        name: 'a',
        value: '\xff\r\n\r\n--X',
        file: true,
        type: 'image/png',
        headers: ['content-disposition', 'content-type', 'x-other'],
      },
      {
        name: 'b',
        value: 'v',
        file: false,
        type: '',
        headers: ['content-disposition', 'content-transfer-encoding'],
      },
    ])
})

describe('a boundary', () => {
  const part = `${DISPOSITION}\r\n\r\nv`
  test.each(['X', 'x'.repeat(70), "a-'()+_,./:=?Z"])('%s parts a body', (boundary) => {
    expect(read(body(boundary, part), boundary)).toHaveLength(1)
  })
  test.each(['', 'X X', 'X ', 'X*', 'x'.repeat(71)])('%j parts none', (boundary) => {
    expect(codeOf(() => read(body(boundary, part), boundary))).toBe('request_invalid')
  })
  test('does not stand behind the blank line of a part without a value', () => {
    expect(codeOf(() => read(`--XX\r\n${DISPOSITION}\r\n\r\n--XX--`))).toBe('request_invalid')
  })
  test('stands first', () => {
    for (const first of ['--YY', 'abcd'])
      expect(codeOf(() => read(`${first}\r\n${part}\r\n--XX--`))).toBe('request_invalid')
  })
  test('is said once, and by no other word that has it inside', () => {
    const of = (type: string) =>
      codeOf(() => multipartFields(Buffer.from(body('XX', part)), `multipart/form-data${type}`))
    expect(of('; boundary=XX')).toBeNull()
    for (const type of [
      '',
      '; boundary=XX; boundary=YY',
      '; xboundary=YY; boundary=XX',
      '; boundary=XX; Boundary*0=YY',
    ])
      expect(of(type), type).toBe('request_invalid')
  })
  test('stands on a line of its own, and ends the body where it says so', () => {
    const whole = body('XX', part)
    expect(codeOf(() => read(whole))).toBeNull()
    for (const text of [
      `${whole}\r\n--XX`,
      `${whole} `,
      whole.replace('--XX\r\n', '--XX \r\n'),
      whole.replace('--XX\r\n', '--XXab'),
      whole.replace('\r\n--XX--', '--XX--'),
      whole.replace('\r\n--XX--', '\n\n--XX--'),
    ])
      expect(
        codeOf(() => read(text)),
        JSON.stringify(text),
      ).toBe('request_invalid')
  })
  test('may end the body twice, as clients of Go do, with nothing between', () => {
    const twice = `${body('XX', part)}\r\n\r\n--XX--\r\n`
    expect(read(twice)).toEqual(read(body('XX', part)))
    for (const more of [
      `${body('XX', part)}\r\n--XX--\r\n`,
      `${body('XX', part)}\r\nx\r\n--XX--\r\n`,
      `${twice}\r\n--XX--\r\n`,
      `${body('XX', part)}\r\n\r\n--XX\r\n${part}\r\n--XX--\r\n`,
    ])
      expect(codeOf(() => read(more))).toBe('request_invalid')
  })
  test('that looks like a header does not make one', () => {
    expect(codeOf(() => read(`--a:b\r\n${DISPOSITION}\r\n--a:b--`, 'a:b'))).toBe('request_invalid')
  })
})

test.each([
  ['the beginning of a name in pieces', 'Content-Disposition: form-data; name*0="a"'],
  ['a parameter that begins like a name', 'Content-Disposition: form-data; names="a"'],
  ['a line that is no header', `${DISPOSITION}\r\nX-Other`],
  ['a folded header', `${DISPOSITION}\r\n ; name="b"`],
  ['a blank before the colon', `${DISPOSITION}\r\nContent-Disposition : form-data; name="b"`],
  ['a line feed alone', `${DISPOSITION}\nContent-Disposition: form-data; name="b"`],
  ['another disposition than form-data', 'Content-Disposition: attachment; name="a"'],
  ['an escaped quote', 'Content-Disposition: form-data; name="a"; filename="b\\"; x="c"'],
  ['a name in other quotes', "Content-Disposition: form-data; name='a'"],
  ['no name', 'Content-Disposition: form-data; filename="x"'],
  ['two names', 'Content-Disposition: form-data; name="a"; name="b"'],
  ['a name with a backslash', 'Content-Disposition: form-data; name="a\\b"'],
  ['an encoded word', 'Content-Disposition: form-data; name="=?utf-8?q?a?="'],
  ['a second disposition', `${DISPOSITION}\r\n${DISPOSITION}`],
  ['a second type', `${DISPOSITION}\r\nContent-Type: a/b\r\nContent-Type: c/d`],
  ['parts of its own', `${DISPOSITION}\r\nContent-Type: Multipart/Mixed; boundary=b`],
  ['a transfer encoding', `${DISPOSITION}\r\nContent-Transfer-Encoding: base64`],
  ['a part without a disposition', 'Content-Type: text/plain'],
])('%s is refused', (_what, head) => {
  expect(codeOf(() => read(body('XX', `${head}\r\n\r\nv`)))).toBe('request_invalid')
})
