// One mail, in one reading.
import { expect, test } from 'vitest'
import type { Json } from '../../proxy/model.ts'
import { mimeMessage } from '../../proxy/tools/mime.ts'

const refuse = (what: string): never => {
  throw new Error(what)
}
const mail = (members: Record<string, Json>): string =>
  Buffer.from(mimeMessage(new Map(Object.entries(members)), refuse), 'base64url').toString()

test('a plain mail', () => {
  expect(
    mail({
      to: 'bob@example.com',
      cc: ['c@example.com', 'D E <d@example.com>'],
      subject: 'Hi',
      text: 'Hello\n.',
    }),
  ).toBe(
    'To: bob@example.com\r\nCc: c@example.com,\r\n "D E" <d@example.com>\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n' +
      'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8KLg==\r\n',
  )
})

test('an address is read in a time that grows with its length, and has a bound', () => {
  const began = process.cpuUsage().user
  expect(() => mail({ to: `${' '.repeat(100_000)}x`, text: 'a' })).toThrow('no e-mail address')
  expect(() => mail({ to: `${'x <'.repeat(400)}>`, text: 'a' })).toThrow('more than 1000 letters')
  expect(process.cpuUsage().user - began).toBeLessThan(1_000_000)
})

test('other letters than ASCII are encoded words that no character is cut by', () => {
  const subject = 'Grüße '.repeat(20)
  const text = mail({ to: 'Jürgen <j@example.com>', subject, type: 'html', text: '<b>ü</b>' })
  expect(text).toContain('To: =?UTF-8?B?SsO8cmdlbg==?= <j@example.com>')
  const words = [...text.matchAll(/=\?UTF-8\?B\?([^?]+)\?=/g)].slice(1)
  expect(words.map(([, word = '']) => Buffer.from(word, 'base64').toString()).join('')).toBe(
    subject,
  )
  expect(words.every(([word]) => word.length <= 75)).toBe(true)
  expect(text).toContain('Content-Type: text/html; charset=utf-8')
})

test('a text that looks like an encoded word, or is longer than a line may be, is read as it was written', () => {
  for (const said of ['=?utf-8?B?cGFpZA==?=', 'long '.repeat(400)]) {
    const text = mail({ to: `${said.slice(0, 300)} <j@example.com>`, subject: said, text: 'a' })
    const subject = /^Subject: ([\s\S]+?)\r\nMIME/m.exec(text)?.[1] ?? ''
    const words = [...subject.matchAll(/=\?UTF-8\?B\?([^?]+)\?=/g)]
    expect(words.map(([, word = '']) => Buffer.from(word, 'base64').toString()).join('')).toBe(said)
    expect(text.split('\r\n').every((line) => line.length < 998)).toBe(true)
    expect(text).not.toContain('cGFpZA==?= <')
  }
})

test.for([
  [
    { to: 'a@example.com\r\nBcc: evil@example.com' },
    '`to` holds a line break or control character',
  ],
  [
    { to: 'a@example.com', subject: 'x\nBcc: y' },
    '`subject` holds a line break or control character',
  ],
  [{ to: 'nobody' }, '`to` holds "nobody", which is no e-mail address'],
  [{ to: 'ü@example.com' }, '`to`: an address must be ASCII'],
  [
    { to: Array.from({ length: 10_000 }, (_, i) => `a${i}@example.com`) },
    '`to` holds 10000 addresses; at most 500 go in one mail',
  ],
  [{ to: 'a@example.com', subject: 7 }, '`subject` must be a text'],
] as const)('%j is refused', ([members, message]) => {
  expect(() => mail(members)).toThrow(message)
})
