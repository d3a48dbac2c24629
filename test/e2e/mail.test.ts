// A whole deputy whose tables say who is inside: mail, invitations and shares go to nobody else, by whatever way they are sent.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { BUNDLE } from '../support/deputy.ts'
import { startVendor } from '../support/vendor.ts'
import type { Vendor } from '../support/vendor.ts'

const G = 'https://www.googleapis.com/auth'
const GOOGLE = [`${G}/gmail.modify`, `${G}/calendar`, `${G}/drive`]
const GRAPH = ['Mail.Send', 'Mail.ReadWrite', 'Calendars.ReadWrite', 'Files.ReadWrite', 'User.Read']
let folder: string
let vendor: Vendor
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-mail-'))
  const inside = { domains: ['corp.test', '*.corp.test'] }
  const guards = { google: inside, microsoft: inside }
  writeFileSync(join(folder, 'guards.json'), JSON.stringify(guards))
  vendor = await startVendor({
    connections: {
      google: {
        provider: 'google',
        hosts: ['gmail.googleapis.com', 'www.googleapis.com'],
        scopes: GOOGLE,
      },
      microsoft: { provider: 'microsoft', hosts: ['graph.microsoft.com'], scopes: GRAPH },
    },
    held: ['google', 'microsoft'].map((connection) => ({
      person: 'alice',
      connection,
      token: `at-alice-${connection}`,
    })),
    config: { policy: { bundle: BUNDLE, data: folder }, limits: { inspected_body: '64KiB' } },
  })
})
afterEach(() => void vendor.upstream.seen.splice(0))
afterAll(async () => {
  await vendor.close()
  rmSync(folder, { recursive: true })
})

/** Status, and the refusal's codes and sentence; what was allowed arrived byte for byte. */
const send = async (
  to: string,
  body: string | object | null,
  type = 'application/json',
  method = 'POST',
): Promise<string> => {
  const bytes = body === null ? '' : typeof body === 'string' ? body : JSON.stringify(body)
  const { length } = vendor.upstream.seen
  const answer = await fetch(`${vendor.deputy.agent}/${to}`, {
    method,
    headers: {
      authorization: `Bearer ${vendor.tag('alice')}`,
      ...(body === null ? {} : { 'content-type': type }),
    },
    ...(body === null ? {} : { body: bytes }),
  })
  const text = await answer.text()
  const seen = vendor.upstream.seen.slice(length)
  if (answer.status === 200) {
    expect(seen.map((call) => call.body.toString())).toEqual([bytes])
    return 'sent'
  }
  expect(seen).toEqual([])
  return `${answer.status} ${answer.headers.get('deputy-answer') ?? ''} ${/[a-z]+_outside|[a-z]+_share/.exec(text)?.[0] ?? ''}`.trim()
}
const OUTSIDE = '403 policy_denied recipient_outside'
const UNCLEAR = '400 request_invalid'
const mail = (...lines: readonly string[]): string => [...lines, '', 'hello', ''].join('\r\n')
const INSIDE = mail('To: Bob <bob@corp.test>', 'Cc: eve@eu.Corp.test', 'Subject: hi')
const OUT = mail('To: bob@corp.test', 'Bcc: x@evil.test', 'Subject: hi')
const raw = (text: string): object => ({ raw: Buffer.from(text).toString('base64url') })
const GMAIL = 'gmail.googleapis.com/gmail/v1/users/me'
const UPLOAD = 'gmail.googleapis.com/upload/gmail/v1/users/me'
const ME = 'graph.microsoft.com/v1.0/me'
const one = (address: string): object => ({ emailAddress: { address } })

test('Gmail: a message in the JSON', async () => {
  expect(await send(`${GMAIL}/messages/send`, raw(INSIDE))).toBe('sent')
  expect(await send(`${GMAIL}/messages/send`, raw(INSIDE.replaceAll('\r\n', '\n')))).toBe('sent')
  expect(await send(`${GMAIL}/messages/send`, raw(OUT))).toBe(OUTSIDE)
  expect(
    await send(`${GMAIL}/messages/send`, raw(mail('To: bob@corp.test', 'To: x@evil.test'))),
  ).toBe(UNCLEAR)
  expect(await send(`${GMAIL}/messages/send`, {})).toBe(OUTSIDE)
})

test('Gmail: an upload, as it is or beside its JSON', async () => {
  expect(await send(`${UPLOAD}/messages/send?uploadType=media`, INSIDE, 'message/rfc822')).toBe(
    'sent',
  )
  expect(await send(`${UPLOAD}/messages/send?uploadType=media`, OUT, 'message/rfc822')).toBe(
    OUTSIDE,
  )
  const related = (text: string): string =>
    `--b\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n${text}\r\n--b--`
  const type = 'multipart/related; boundary=b'
  expect(await send(`${UPLOAD}/messages/send?uploadType=multipart`, related(INSIDE), type)).toBe(
    'sent',
  )
  expect(await send(`${UPLOAD}/messages/send?uploadType=multipart`, related(OUT), type)).toBe(
    OUTSIDE,
  )
})

test('Gmail: what is larger than what is inspected, and what is stored, is read by nobody', async () => {
  const large = INSIDE + 'x'.repeat(70_000)
  expect(await send(`${UPLOAD}/messages/send?uploadType=media`, large, 'message/rfc822')).toBe(
    OUTSIDE,
  )
  expect(await send(`${GMAIL}/messages/send`, raw(large))).toBe(OUTSIDE)
  expect(await send(`${GMAIL}/drafts/send`, { id: 'd1' })).toBe(OUTSIDE)
  expect(await send(`${GMAIL}/drafts/send`, { message: raw(INSIDE) })).toBe('sent')
})

test('Gmail: a draft goes to nobody', async () => {
  expect(await send(`${GMAIL}/drafts`, { message: raw(OUT) })).toBe('sent')
  expect(await send(`${GMAIL}/drafts`, { message: raw(mail('To: a, b')) })).toBe(UNCLEAR)
})

test('Graph: recipients as members, in any spelling', async () => {
  const message = (...to: readonly string[]): object => ({
    message: { subject: 's', toRecipients: to.map(one) },
  })
  expect(await send(`${ME}/sendMail`, message('bob@corp.test'))).toBe('sent')
  expect(await send(`${ME}/sendMail`, message('bob@corp.test', 'x@evil.test'))).toBe(OUTSIDE)
  const spelt = {
    Message: { BCCRECIPIENTS: [one('x@evil.test')], toRecipients: [one('bob@corp.test')] },
  }
  expect(await send(`${ME}/sendMail`, spelt)).toBe(OUTSIDE)
  expect(await send(`${ME}/messages`, message('x@evil.test'))).toBe('sent')
  expect(await send(`${ME}/messages/m/forward`, { toRecipients: [one('bob@corp.test')] })).toBe(
    'sent',
  )
  expect(await send(`${ME}/messages/m/forward`, { toRecipients: [one('x@evil.test')] })).toBe(
    OUTSIDE,
  )
})

test('Graph: a message in base64', async () => {
  const mime = (text: string): string => Buffer.from(text).toString('base64')
  expect(await send(`${ME}/sendMail`, mime(INSIDE), 'text/plain')).toBe('sent')
  expect(await send(`${ME}/sendMail`, mime(OUT), 'text/plain')).toBe(OUTSIDE)
  expect(await send(`${ME}/sendMail`, INSIDE, 'text/plain')).toBe(UNCLEAR)
})

test('Graph: what is stored is read by nobody, also in a batch', async () => {
  for (const path of ['send', 'reply', 'replyAll'])
    expect(await send(`${ME}/messages/m/${path}`, path === 'send' ? null : { comment: 'x' })).toBe(
      OUTSIDE,
    )
  const batch = (address: string): object => ({
    requests: [
      {
        id: '1',
        method: 'POST',
        url: '/me/sendMail',
        headers: { 'Content-Type': 'application/json' },
        body: { message: { toRecipients: [one(address)] } },
      },
    ],
  })
  expect(await send('graph.microsoft.com/v1.0/$batch', batch('bob@corp.test'))).toBe('sent')
  expect(await send('graph.microsoft.com/v1.0/$batch', batch('x@evil.test'))).toBe(OUTSIDE)
})

test('invitations go inside', async () => {
  const events = 'www.googleapis.com/calendar/v3/calendars/primary/events'
  const guests = (...emails: readonly string[]): object => ({
    attendees: emails.map((email) => ({ email })),
  })
  expect(await send(events, guests('bob@corp.test'))).toBe('sent')
  expect(await send(events, guests('bob@corp.test', 'x@evil.test'))).toBe(
    '403 policy_denied invitation_outside',
  )
  expect(await send(`${ME}/events`, { attendees: [one('bob@corp.test')] })).toBe('sent')
  expect(await send(`${ME}/events`, { attendees: [one('x@evil.test')] })).toBe(
    '403 policy_denied invitation_outside',
  )
})

test('a revision is not published', async () => {
  const path = 'www.googleapis.com/drive/v3/files/f/revisions/r'
  expect(await send(path, { keepForever: true }, undefined, 'PATCH')).toBe('sent')
  expect(await send(path, { published: true }, undefined, 'PATCH')).toBe(
    '403 policy_denied google_share',
  )
})
