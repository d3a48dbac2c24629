// Where the recipients of a mail stand: in members, in a message as one member, or in a body that is one.
import { expect, describe, test } from 'vitest'
import type { MailPlaces } from '../../proxy/model.ts'
import { asMembers, isMessage, mailIn, messageIn } from '../../proxy/envelope/mail.ts'
import { mailPlaces } from '../../proxy/providers/catalogue.ts'
import { EXACT } from '../../proxy/wire/json.ts'
import { refusalOf } from './fixture.ts'

const places = (given: object): MailPlaces => mailPlaces.parse(given)
const GMAIL = places({
  raw: ['/raw', '/message/raw'],
  bodies: { 'message/rfc822': 'message', 'multipart/related': 'related' },
  stored: ['/id'],
})
const GRAPH = places({
  to: ['/toRecipients', '/message/toRecipients'],
  cc: ['/message/ccRecipients'],
  bcc: ['/message/bccRecipients'],
  address: '/emailAddress/address',
  attachments: ['/message/attachments'],
  bodies: { 'text/plain': 'base64' },
})
const NAMES = { insensitive: true, spellings: ['emailAddress', 'address'] }
const MAIL = 'To: Bob <bob@B.example>\r\nBcc: c@c.example\r\n\r\nx'
const raw = (text = MAIL): string => Buffer.from(text).toString('base64url')

const json = (where: MailPlaces, value: unknown, names = EXACT) =>
  mailIn(where, [], { essence: 'application/json', contentType: '', names, bytes: null, value })
const body = (where: MailPlaces, essence: string, text: string, contentType = essence) =>
  mailIn(where, [], { essence, contentType, names: EXACT, bytes: Buffer.from(text, 'latin1') })
const refused = (run: () => unknown): string | undefined => refusalOf(run).split(':')[0]
const READ = {
  unread: false,
  sends: true,
  to: ['bob@b.example'],
  cc: [],
  bcc: ['c@c.example'],
  domains: ['b.example', 'c.example'],
  attachments: 0,
}
const UNREAD = { unread: true, sends: true }

describe('a message in one member', () => {
  test('is decoded, whichever alphabet', () => {
    expect(json(GMAIL, { raw: raw(), threadId: 't' })).toEqual(READ)
    expect(json(GMAIL, { message: { raw: Buffer.from(MAIL).toString('base64') } })).toEqual(READ)
  })
  test('is not, where the body names what is stored, or holds none', () => {
    expect(json(GMAIL, { id: 'd1' })).toEqual(UNREAD)
    expect(json(GMAIL, { id: 'd1', message: { raw: raw() } })).toEqual(UNREAD)
    for (const value of [{}, { raw: null }, null, undefined, 'x', 7])
      expect(json(GMAIL, value)).toEqual(UNREAD)
    expect(mailIn(GMAIL, [], null)).toEqual(UNREAD)
    expect(json(GMAIL, { raw: raw('Subject: x\n\nx') })).toEqual(UNREAD)
  })
  test.each([
    { raw: 7 },
    { raw: 'not base64' },
    { raw: raw('To: x\n\n') },
    { raw: raw(), message: { raw: raw() } },
    { raw: raw(), Raw: raw() },
    { RAW: raw() },
    [raw()],
    { message: [{ raw: raw() }] },
    { id: 'd1', raw: 'not base64' },
  ])('with more than one reading it is refused: %j', (value) => {
    expect(refused(() => json(GMAIL, value))).toBe('request_invalid')
  })
})

describe('members', () => {
  const one = (address: unknown) => ({ emailAddress: { address, name: 'x' } })
  test('are read as the provider compares names', () => {
    expect(
      json(
        GRAPH,
        {
          Message: {
            TORECIPIENTS: [{ EmailAddress: { Address: 'bob@BÜCHER.example' } }],
            ccRecipients: null,
            bccRecipients: [one('c@c.example'), one('d@c.example')],
            attachments: [{}, {}],
          },
        },
        NAMES,
      ),
    ).toEqual({
      unread: false,
      sends: true,
      to: ['bob@xn--bcher-kva.example'],
      cc: [],
      bcc: ['c@c.example', 'd@c.example'],
      domains: ['c.example', 'xn--bcher-kva.example'],
      attachments: 2,
    })
  })
  test('at several places are one list', () => {
    const both = {
      toRecipients: [one('a@a.example')],
      message: { toRecipients: [one('b@b.example')] },
    }
    expect(json(GRAPH, both, NAMES)).toMatchObject({ to: ['a@a.example', 'b@b.example'] })
  })
  test('that are texts are addresses', () => {
    const hub = places({ to: ['/message/to'], cc: ['/message/cc'] })
    const value = { message: { to: 'a@a.example', cc: ['b@b.example'] } }
    expect(json(hub, value)).toMatchObject({ to: ['a@a.example'], cc: ['b@b.example'] })
  })
  test('that name nobody are read by nobody, unless it is kept', () => {
    expect(json(GRAPH, { message: { toRecipients: [] } }, NAMES)).toEqual(UNREAD)
    const draft = places({ to: ['/to'], sends: false })
    const empty = {
      unread: false,
      sends: false,
      to: [],
      cc: [],
      bcc: [],
      domains: [],
      attachments: 0,
    }
    expect(json(draft, {})).toEqual(empty)
    expect(mailIn(draft, [], null)).toEqual(empty)
    expect(json(draft, undefined)).toEqual({ unread: true, sends: false })
  })
  test.each([
    { toRecipients: one('a@a.example') },
    { toRecipients: 'a@a.example' },
    { toRecipients: [one(7)] },
    { toRecipients: [{}] },
    { toRecipients: ['a@a.example'] },
    { toRecipients: [null] },
    { toRecipients: [one('Bob <a@a.example>')] },
    { toRecipients: [one('a@a.example, b@b.example')] },
    { to_recipients: [one('a@a.example')] },
    { message: [{ toRecipients: [one('a@a.example')] }] },
    { toRecipients: Array.from({ length: 501 }, () => one('a@a.example')) },
  ])('with more than one reading are refused (%#)', (value) => {
    expect(refused(() => json(GRAPH, value, NAMES))).toBe('request_invalid')
  })
  test('500 recipients are judged', () => {
    const value = { toRecipients: Array.from({ length: 500 }, () => one('a@a.example')) }
    expect(json(GRAPH, value, NAMES)).toMatchObject({ domains: ['a.example'] })
  })
})

describe('a body that is a message', () => {
  test('of which types', () => {
    expect(isMessage(GMAIL, 'message/rfc822')).toBe(true)
    expect(isMessage(GMAIL, 'text/plain')).toBe(false)
    expect(isMessage(GMAIL, 'toString')).toBe(false)
    expect(isMessage(GMAIL, null)).toBe(false)
    expect(isMessage(undefined, 'message/rfc822')).toBe(false)
  })
  test('as it is, or in base64, with breaks', () => {
    expect(body(GMAIL, 'message/rfc822', MAIL)).toEqual(READ)
    const lines = Buffer.from(MAIL).toString('base64').replaceAll(/.{16}/g, '$&\r\n')
    expect(body(GRAPH, 'text/plain', lines)).toEqual(READ)
    expect(refused(() => body(GRAPH, 'text/plain', MAIL))).toBe('request_invalid')
    expect(refused(() => body(GMAIL, 'message/rfc822', 'x'))).toBe('request_invalid')
  })
  const upload = (metadata: string, message = MAIL, more = ''): string =>
    `--b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n${metadata}\r\n--b\r\nContent-Type: message/rfc822\r\n${more}\r\n${message}\r\n--b--\r\n`
  const related = (text: string, type = 'multipart/related; boundary=b') =>
    body(GMAIL, 'multipart/related', text, type)
  test('beside its JSON', () => {
    expect(related(upload('{"threadId":"t"}'))).toEqual(READ)
    expect(related(upload(''))).toEqual(READ)
    expect(
      related(upload('{}', MAIL, 'MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n')),
    ).toEqual(READ)
    expect(related(upload('{}').replaceAll('\r\n', '\n'))).toEqual(READ)
    expect(related(upload('{"id":"d1"}'))).toEqual(UNREAD)
  })
  test.each([
    upload('{"raw":"x"}'),
    upload('{"message":{"raw":"x"}}'),
    upload('{"Raw":"x"}'),
    upload('{"a":1,"a":2}'),
    upload('{'),
    upload('{}', 'x'),
    upload('{}', MAIL, 'Content-Transfer-Encoding: base64\r\n'),
    upload('{}', MAIL, 'X: y\r\n'),
    upload('{}').replace('message/rfc822', 'text/plain'),
    upload('{}').replace('application/json', 'text/plain'),
    `x\r\n${upload('{}')}`,
    `${upload('{}')}x`,
    upload('{}').replace('--b--', '--b'),
    upload('{}').replace(
      '--b--\r\n',
      `--b\r\nContent-Type: message/rfc822\r\n\r\n${MAIL}\r\n--b--\r\n`,
    ),
    '--b\r\nContent-Type: message/rfc822\r\n\r\nx\r\n--b--',
    '',
  ])('with more than one reading is refused (%#)', (text) => {
    expect(refused(() => related(text))).toBe('request_invalid')
  })
  test('without one plain boundary is refused', () => {
    expect(refused(() => related(upload('{}'), 'multipart/related'))).toBe('request_invalid')
  })
  test('of another type is not read', () => {
    expect(body(GMAIL, 'application/octet-stream', MAIL)).toEqual(UNREAD)
  })
})

test('what is always stored is never read', () => {
  const stored = places({ stored: true, to: ['/to'] })
  expect(json(stored, { to: ['a@a.example'] })).toEqual(UNREAD)
  expect(mailIn(stored, [], null)).toEqual(UNREAD)
})

test('members of a mail do not stand in the URL', () => {
  for (const name of ['raw', 'RAW', 'message', 'id'])
    expect(refused(() => mailIn(GMAIL, [{ name, value: raw() }], null))).toBe('request_invalid')
  expect(mailIn(GMAIL, [{ name: 'uploadType', value: 'media' }], null)).toEqual(UNREAD)
})

test('a rule that asks for the members sees them too where the body is a message', () => {
  const mail = body(GRAPH, 'text/plain', Buffer.from(MAIL).toString('base64'))
  expect(asMembers(GRAPH, mail, ['/message/toRecipients', '/message/ccRecipients', '/x'])).toEqual({
    '/message/toRecipients': [{ emailAddress: { address: 'bob@b.example' } }],
    '/message/ccRecipients': [],
  })
  expect(asMembers(GRAPH, { unread: true, sends: true }, ['/message/toRecipients'])).toEqual({})
  expect(asMembers(places({ to: ['/to'] }), mail, ['/to'])).toEqual({ '/to': ['bob@b.example'] })
})

test('a row says where recipients stand, or that they are stored', () => {
  for (const wrong of [
    {},
    { address: '/a' },
    { stored: false },
    { bodies: { 'text/plain': 'x' } },
    { to: ['x'] },
  ])
    expect(mailPlaces.safeParse(wrong).success).toBe(false)
})

describe('the message that somebody is shown', () => {
  const at = (where: MailPlaces, value: unknown, text: string | null = null, type = '') => {
    const of = { essence: type.split(';')[0] ?? null, contentType: type, names: EXACT }
    const bytes = text === null ? null : Buffer.from(text, 'latin1')
    return messageIn(where, { ...of, bytes, value })?.toString('latin1') ?? null
  }
  test('is the one whose recipients were read, and none that stands elsewhere', () => {
    expect(at(GMAIL, { message: { raw: raw() } })).toBe(MAIL)
    // A decoy where only Gmail has its mail.
    expect(at(GRAPH, { raw: raw(), toRecipients: [] })).toBe(null)
    expect(at({ ...GMAIL, raw: ['/message/raw'] }, { raw: raw(), message: {} })).toBe(null)
    expect(at({ ...GMAIL, stored: true }, { raw: raw() })).toBe(null)
  })
  test('in either alphabet of base64', () => {
    const text = 'To: b@b.example\r\n\r\n\xff\xfe\xff'
    expect(at(GMAIL, { raw: Buffer.from(text, 'latin1').toString('base64') })).toBe(text)
  })
  test('as the whole of a body, or beside its JSON', () => {
    expect(at(GMAIL, undefined, MAIL, 'message/rfc822')).toBe(MAIL)
    expect(at(GRAPH, undefined, Buffer.from(MAIL).toString('base64'), 'text/plain')).toBe(MAIL)
    const json = '--b\r\nContent-Type: application/json\r\n\r\n{}'
    const both = `${json}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n${MAIL}\r\n--b--`
    expect(at(GMAIL, undefined, both, 'multipart/related; boundary=b')).toBe(MAIL)
  })
})
