// To whom a mail goes: each line that two readers might take differently refuses it, and what passes is what others read.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readMessage } from '../../proxy/envelope/message.ts'
import { mimeMessage } from '../../proxy/tools/mime.ts'
import { cpuMs } from '../support/pace.ts'
import { refusalOf } from './fixture.ts'

const read = (text: string) => readMessage(Buffer.from(text, 'latin1'))
const refused = (text: string): string | undefined => refusalOf(() => read(text)).split(':')[0]
const crlf = (...lines: readonly string[]): string => lines.join('\r\n')
const TO = 'To: bob@b.example'
const plain = (...header: readonly string[]): string => crlf(...header, '', 'text', '')

test('recipients, whichever end of line it has', () => {
  const text = plain(
    'From: a@a.example',
    'To: Bob <bob@B.example>,',
    ' c@c.example',
    'CC: d@d.example',
    'bCc:',
    'Subject: x: y',
  )
  const found = {
    to: ['bob@b.example', 'c@c.example'],
    cc: ['d@d.example'],
    bcc: [],
    attachments: 0,
  }
  expect(read(text)).toEqual(found)
  expect(read(text.replaceAll('\r\n', '\n'))).toEqual(found)
  expect(read(crlf('Subject: to nobody', '', ''))).toEqual({
    to: [],
    cc: [],
    bcc: [],
    attachments: 0,
  })
})

test('what deputy’s own tools write', () => {
  const no = (what: string): never => {
    throw new Error(what)
  }
  const raw = mimeMessage(
    new Map<string, string | string[]>([
      [
        'to',
        [
          '"Müller, Hans" <hans@bücher.example>'.replace('ü', 'u').replace('bücher', 'b'),
          'Jörg <j@c.example>',
          'x@d.example',
        ],
      ],
      ['cc', 'Alice B. <a@a.example>'],
      [
        'subject',
        'Grüße an alle, die sehr lange Betreffe mögen, und sie dann auch noch lesen wollen',
      ],
      ['text', 'Schöne Grüße'],
    ]),
    no,
  )
  expect(readMessage(Buffer.from(raw, 'base64url'))).toEqual({
    to: ['hans@b.example', 'j@c.example', 'x@d.example'],
    cc: ['a@a.example'],
    bcc: [],
    attachments: 0,
  })
})

describe('more than one reading', () => {
  test.each([
    ['a bare LF', `${TO}\nBcc: e@e.example\r\n\r\nx`],
    ['a bare CR', `${TO}\rBcc: e@e.example\r\n\r\nx`],
    ['a bare LF in the text', `${TO}\r\n\r\nx\ny`],
    ['NUL in the text', `${TO}\r\n\r\nx\0`],
    ['an empty line first', `\r\n${TO}\r\n\r\nx`],
    ['no empty line', `${TO}\r\n`],
    ['a line of blanks', `${TO}\r\n \r\nBcc: e@e.example\r\n\r\nx`],
    ['a folded line first', ` x\r\n${TO}\r\n\r\nx`],
    ['a blank before the colon', plain('To : e@e.example')],
    ['no colon', plain(TO, 'x')],
    ['an envelope', plain('From a@a.example Mon Jan  1', TO)],
    ['8-bit', plain(TO, 'Subject: \xe4')],
    ['8-bit in a folded line', plain(TO, 'Subject: x', ' \xe4')],
    ['a form feed', plain(TO, 'Subject: x\fBcc: e@e.example')],
    ['a next line (U+0085)', plain(TO, 'Subject: x\x85Bcc: e@e.example')],
    ['DEL', plain(TO, 'Subject: \x7f')],
    ['two To', plain(TO, 'to: e@e.example')],
    ['two Cc', plain('Cc: a@a.example', TO, 'CC: e@e.example')],
    ['two From', plain('From: a@a.example', TO, 'From: b@b.example')],
    ['two types', plain(TO, 'Content-Type: text/plain', 'Content-Type: text/html')],
    ['Resent-To', plain(TO, 'Resent-To: e@e.example')],
    ['Resent-Bcc', plain(TO, 'Resent-Bcc: e@e.example')],
    ['Apparently-To', plain('Apparently-To: e@e.example')],
    ['a field in the text', crlf(TO, '', 'Bcc: e@e.example', '', 'x')],
    ['a folded address', plain('To: bob', ' @b.example')],
    ['a group', plain('To: x: bob@b.example;')],
    ['a comment', plain('To: bob@b.example (x)')],
    ['a long line', plain(TO, `Subject: ${'x'.repeat(990)}`)],
    ['many fields', plain(TO, ...Array.from({ length: 500 }, (_, i) => `X-${i}: x`))],
  ])('%s', (_what, text) => {
    expect(refused(text)).toBe('request_invalid')
  })
  test('and the same without it is read', () => {
    expect(read(plain(TO, `Subject: ${'x'.repeat(989)}`)).to).toEqual(['bob@b.example'])
    expect(read(plain(TO, ...Array.from({ length: 499 }, (_, i) => `X-${i}: x`))).to).toHaveLength(
      1,
    )
    expect(read(plain('X: a', 'X: b', TO)).to).toHaveLength(1)
    expect(read(`${TO}\r\n\r\nGr\xfc\xdfe`).to).toHaveLength(1)
  })
})

const multi = (type: string, ...parts: readonly string[]): string =>
  `Content-Type: multipart/${type}; boundary="b_1"\r\n\r\n${parts.map((part) => `--b_1\r\n${part}\r\n`).join('')}--b_1--\r\n`
const HTML = 'Content-Type: text/html\r\n\r\n<p>'
const TEXT = '\r\ntext'
const PDF = 'Content-Type: application/pdf\r\n\r\n%PDF'

describe('attachments', () => {
  test.each([
    [0, multi('alternative', TEXT, HTML)],
    [1, multi('mixed', TEXT, PDF)],
    [2, multi('mixed', PDF, 'Content-Type: text/plain; name=a.txt\r\n\r\nx')],
    [1, multi('mixed', TEXT, 'Content-Disposition: attachment\r\n\r\nx')],
    [1, multi('mixed', 'Content-Disposition: inline;\r\n filename="a"\r\n\r\nx')],
    [1, multi('mixed', 'Content-Type: message/rfc822\r\n\r\nTo: x@x.example\r\n\r\nx')],
    [0, `Content-Type: multipart/mixed; boundary=b_1\r\n\r\nfor old readers\r\n--b_1\r\n--b_1--`],
    [1, 'Content-Type: application/pdf\r\n\r\n%PDF'],
    [0, 'Content-Type: TEXT/Plain ;charset=utf-8\r\n\r\nx'],
    [1, multi('mixed', multi('alternative', TEXT, HTML).replaceAll('b_1', 'inner').trimEnd(), PDF)],
  ])('%d', (attachments, text) => {
    expect(read(`${TO}\r\n${text}`).attachments).toBe(attachments)
  })
  test.each([
    ['no boundary', 'Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n--b--'],
    [
      'two boundaries',
      'Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--',
    ],
    ['another boundary', multi('mixed', TEXT).replaceAll('--b_1', '--b_2')],
    ['no end', multi('mixed', TEXT).replace('--b_1--', '')],
    ['a longer boundary', multi('mixed', TEXT).replace('--b_1\r\n', '--b_1x\r\n')],
    ['a blank behind the boundary', multi('mixed', TEXT).replace('--b_1\r\n', '--b_1 \r\n')],
    ['more behind the end', `${multi('mixed', TEXT)}--b_1\r\n${PDF}\r\n--b_1--`],
    ['a part without an empty line', multi('mixed', 'Content-Type: text/html')],
    ['a part with two types', multi('mixed', `Content-Type: text/html\r\n${PDF}`)],
    ['an encoded whole', `Content-Transfer-Encoding: base64\r\n${multi('mixed', TEXT)}`],
    [
      'parts in parts without an end',
      Array.from({ length: 9 }, (_, i) => i).reduce(
        (inner, i) => multi('mixed', inner).replaceAll('b_1', `x${i}y`).trimEnd(),
        multi('mixed', TEXT).trimEnd(),
      ),
    ],
    ['too many parts', multi('mixed', ...Array.from({ length: 1_001 }, () => TEXT))],
  ])('%s', (_what, text) => {
    expect(refused(`${TO}\r\n${text}`)).toBe('request_invalid')
  })
  test('25 MB are read in time that grows with their length', () => {
    const line = `${'A'.repeat(76)}\r\n`
    const part = (of: string): string => `Content-Type: application/pdf\r\n\r\n${of}`
    const took = cpuMs(() => {
      read(`${TO}\r\n${multi('mixed', part(line.repeat(320_000)))}`)
      refused(`${TO}\r\n${'\r\n--b_'.repeat(500_000)}`)
      refused(`${TO}\r\n${multi('mixed', part('\r\n--b_'.repeat(500_000)))}`)
      refused('\r'.repeat(1_000_000))
      refused(`${TO}\r\n${' x\r\n'.repeat(500_000)}\r\n`)
    })
    expect(took).toBeLessThan(4_000)
  })
})

// --- what others read ---------------------------------------------------------------------------

const piece = fc.constantFrom(
  'a@a.example',
  'b@B.example',
  'Bob <b@b.example>',
  '"X, Y" <c@c.example>',
  '"" <c@c.example>',
  '=?utf-8?q?M=C3=BC?= <d@d.example>',
  '<e@e.example>',
  ',',
  ', ',
  ' ',
  ',\r\n ',
  ',\r\n\t',
  '\r\n ',
  '(x)',
  'G: ',
  ';',
  '"',
  '\\',
  '<',
  '>',
  '@',
  '.',
  'x',
  '=?utf-8?b?eEB5?=',
  '%',
  '!',
  '[1.2.3.4]',
  'a@a.example, b@b.example',
  '=?utf-8?q?x=2C?=',
  "'",
  'J. R. <j@j.example>',
  '\t',
  '\x0b',
  '\x1c',
  '\x85',
)
const sane = fc.constantFrom(
  'a@a.example',
  'b@B.example',
  'Bob <b@b.example>',
  '"X, Y" <c@c.example>',
  '=?utf-8?q?M=C3=BC?= <d@d.example>',
  '=?utf-8?q?M=C3=BC=2C_x?= y <d@d.example>',
  '<e@e.example>',
  'J. R. <j@j.example>',
  "O'B <o'b@o.example>",
  '"Dr." X <f+g@f.example>',
)
const value = fc.oneof(
  fc.array(piece, { maxLength: 6 }).map((all) => all.join('')),
  fc
    .array(sane, { minLength: 1, maxLength: 5 })
    .chain((all) => fc.constantFrom(', ', ',', ',\r\n ', ' ,\r\n\t').map((by) => all.join(by))),
)
const field = fc.tuple(
  fc.constantFrom(
    'To',
    'to',
    'CC',
    'Bcc',
    'From',
    'Subject',
    'X-To',
    'To ',
    'Reply-To',
    'Resent-To',
    '',
    'X',
  ),
  fc.constantFrom(': ', ':', ':\r\n ', ' : ', ': \t'),
  value,
)
const mails = fc
  .tuple(
    fc.array(field, { minLength: 1, maxLength: 5 }),
    fc.constantFrom('\r\n', '\n', '\r', ''),
    fc.constantFrom('x', 'Bcc: z@z.example', '', ' x'),
  )
  .map(
    ([fields, extra, body]) =>
      `${fields.map((one) => one.join('')).join('\r\n')}\r\n${extra}\r\n${body}`,
  )

type Found = {
  readonly to: readonly string[]
  readonly cc: readonly string[]
  readonly bcc: readonly string[]
}
const accepted = (): readonly { readonly text: string; readonly found: Found }[] =>
  fc.sample(mails, { numRuns: 20_000, seed: 7 }).flatMap((mail) =>
    // Both ends of line.
    [mail, mail.replaceAll('\r\n', '\n')].flatMap((text) => {
      if (refused(text) !== 'passed') return []
      const { to, cc, bcc } = read(text)
      return [{ text, found: { to, cc, bcc } }]
    }),
  )
const lowered = (found: Found): Found => {
  const each = (list: readonly string[]): string[] => list.map((one) => one.toLowerCase())
  return { to: each(found.to), cc: each(found.cc), bcc: each(found.bcc) }
}
const exists = (command: string, arg: string): boolean => spawnSync(command, [arg]).status === 0
const skipped = (tool: string, there: boolean): string => (there ? '' : ` (SKIPPED: needs ${tool})`)

const PYTHON = `
import base64, email, email.policy, json, sys
from email.utils import getaddresses
out = []
for raw in json.load(sys.stdin):
    data = base64.b64decode(raw)
    one = []
    for policy in (email.policy.default, email.policy.compat32, email.policy.SMTP):
        m = email.message_from_bytes(data, policy=policy)
        try:
            if policy is email.policy.compat32:
                one.append({k: [a for _, a in getaddresses([str(v) for v in m.get_all(k, [])]) if a] for k in ('to', 'cc', 'bcc')})
            else:
                one.append({k: [a.addr_spec for v in m.get_all(k, []) for a in v.addresses] for k in ('to', 'cc', 'bcc')})
        except Exception as error:
            one.append({'to': [repr(error)], 'cc': [], 'bcc': []})
    out.append(one)
json.dump(out, sys.stdout)
`
const GO = `package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/mail"
	"os"
)

func main() {
	var raws []string
	if err := json.NewDecoder(os.Stdin).Decode(&raws); err != nil {
		panic(err)
	}
	out := []map[string][]string{}
	for _, raw := range raws {
		data, _ := base64.StdEncoding.DecodeString(raw)
		found := map[string][]string{"to": {}, "cc": {}, "bcc": {}}
		m, err := mail.ReadMessage(bytes.NewReader(data))
		if err != nil {
			found["error"] = []string{err.Error()}
			out = append(out, found)
			continue
		}
		for name := range map[string]bool{"to": true, "cc": true, "bcc": true} {
			for _, value := range m.Header[map[string]string{"to": "To", "cc": "Cc", "bcc": "Bcc"}[name]] {
				if value == "" {
					continue
				}
				list, err := mail.ParseAddressList(value)
				if err != nil {
					found["error"] = append(found["error"], err.Error()+": "+value)
				}
				for _, one := range list {
					found[name] = append(found[name], one.Address)
				}
			}
		}
		out = append(out, found)
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
`
const python = exists('python3', '--version')
const go = exists('go', 'version')

describe('others find the same recipients', () => {
  const all = accepted()
  const stdin = JSON.stringify(
    all.map(({ text }) => Buffer.from(text, 'latin1').toString('base64')),
  )
  const big = { input: stdin, encoding: 'utf8', maxBuffer: 2 ** 28 } as const

  test('enough mails pass for that to mean something', () => {
    expect(all.length).toBeGreaterThan(1_000)
    expect(all.filter(({ found }) => found.to.length + found.cc.length > 2).length).toBeGreaterThan(
      200,
    )
  })
  test.skipIf(!python)(
    `Python’s email, by three of its policies${skipped('python3', python)}`,
    { timeout: 120_000 },
    () => {
      const out = JSON.parse(execFileSync('python3', ['-c', PYTHON], big)) as Found[][]
      const differ = all.flatMap(({ text, found }, i) =>
        (out[i] ?? []).flatMap((theirs) =>
          JSON.stringify(lowered(theirs)) === JSON.stringify(lowered(found))
            ? []
            : [{ text, found, theirs }],
        ),
      )
      expect([out.length, differ]).toEqual([all.length, []])
    },
  )
  test.skipIf(!go)(`Go’s net/mail${skipped('go', go)}`, { timeout: 300_000 }, () => {
    const scratch = mkdtempSync(join(tmpdir(), 'deputy-mail-'))
    try {
      writeFileSync(join(scratch, 'main.go'), GO)
      const out = JSON.parse(
        execFileSync('go', ['run', join(scratch, 'main.go')], big),
      ) as (Found & { error?: string[] })[]
      const differ = all.flatMap(({ text, found }, i) => {
        const theirs = out[i]
        return theirs !== undefined &&
          theirs.error === undefined &&
          JSON.stringify(lowered({ to: theirs.to, cc: theirs.cc, bcc: theirs.bcc })) ===
            JSON.stringify(lowered(found))
          ? []
          : [{ text, found, theirs }]
      })
      expect([out.length, differ]).toEqual([all.length, []])
    } finally {
      rmSync(scratch, { recursive: true })
    }
  })
})
