// What an approver reads: all of it, as it is sent, and nothing that runs or hides. The pages in a browser: browser.test.ts.
import { expect, test } from 'vitest'
import { de } from '../../proxy/people/languages/de.ts'
import { en } from '../../proxy/people/languages/en.ts'
import { approvalPage } from '../../proxy/people/approval_page.ts'
import { asked, GALLERY } from '../support/gallery.ts'

const page = async (name: string, texts = en): Promise<string> =>
  String(await GALLERY[name]?.()(texts).body)

test('it says who, what, where, why and which, in both languages', async () => {
  for (const texts of [en, de]) {
    const text = await page('approval', texts)
    for (const part of [
      'triage',
      'alice@example.com (acme)',
      'issues.create',
      'https://api.github.com/repos/acme/app/issues',
      'content-type',
      'Broken on Safari',
      'a person must approve this very call',
      '4be14be14be1',
      texts.approval.yes,
      texts.approval.no,
    ])
      expect(text, part).toContain(part)
  }
})

test('hostile content is text, with what would hide or turn it named', async () => {
  const text = await page('approval-hostile')
  for (const one of ['<script', '<img', '\u202e', '\u001b', '\u200b'])
    expect(text).not.toContain(one)
  expect(text).toContain('&lt;script&gt;')
  for (const code of ['U+202E', 'U+2066', 'U+200B']) expect(text).toContain(code)
  // As JSON it is sent escaped, and so it stands there too.
  expect(text).toContain('\\u001b')
})

test('a mail is shown as its readers will see it, beside the bytes that are sent', async () => {
  const text = await page('approval-mail')
  expect(text).toContain('Subject: Offer')
  expect(text).toContain('Please find the offer attached.')
  expect(text).toContain('&quot;raw&quot;')
  for (const one of ['bob@example.com', en.approval.mailTo.bcc, 'eve@example.com'])
    expect(text).toContain(one)
})

test('what only looks like a mail is shown as none, and one that nobody could read is said to be that', async () => {
  const text = await page('approval-mail-unread')
  expect(text).toContain(en.approval.mailUnread)
  expect(text).not.toContain('Please find the offer attached.')
})

test('a yes to one part of a batch is shown as none to another of the same name', async () => {
  const text = (await page('approval-half')).replaceAll(/\s+/g, ' ')
  expect(text).toContain('value="yes"')
  expect(text.split(en.approval.open)).toHaveLength(2)
})

test('a body in lines is what is sent: no number is rounded, and no member hides another', async () => {
  const shown = async (body: string): Promise<string> => {
    const view = asked({ bytes: Buffer.from(body) })
    return String(await approvalPage(view)(en).body)
  }
  const number = await shown('{"account":12345678901234567891}')
  expect(number).toContain(en.approval.pretty)
  expect(number.split('12345678901234567891')).toHaveLength(3)
  expect(await shown('{"to":"x","to":"y"}')).not.toContain(en.approval.pretty)
})

test('what is no text is said to be none, and shown whole all the same', async () => {
  const text = await page('approval-binary')
  expect(text).toContain(en.approval.unreadable)
  expect(text).toContain(Buffer.from([0, 255, 1, 254]).toString('base64'))
})

test('the parts of a batch are told, and which of them is asked about', async () => {
  const text = await page('approval-batch')
  expect(text).toContain(en.approval.parts(2))
  expect(text.split(en.approval.asked)).toHaveLength(2)
  expect(text).toContain('security (2)')
})

test('once all is said it offers to take it back, and not to say it again', async () => {
  const text = await page('approval-given')
  expect(text).toContain(en.approval.withdraw)
  expect(text).not.toContain('value="yes"')
})

test('who is no approver is told nothing of the call', async () => {
  const text = await page('approval-stranger')
  for (const part of ['triage', 'issues', 'github', 'alice']) expect(text).not.toContain(part)
})
