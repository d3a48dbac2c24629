// A message as Gmail answers it, read as a mail.
import { expect, test } from 'vitest'
import { readMail, textOfHtml } from '../../proxy/tools/mail.ts'

const data = (text: string, charset: BufferEncoding = 'utf8'): { data: string } => ({
  data: Buffer.from(text, charset).toString('base64url'),
})
const headers = [
  { name: 'From', value: 'Ann <ann@example.com>' },
  { name: 'SUBJECT', value: 'Lunch' },
  { name: 'Message-ID', value: '<a1@mail.example.com>' },
  { name: 'Received', value: 'from somewhere' },
]

test('the plain part is the text, and an attachment is only named', () => {
  const payload = {
    mimeType: 'multipart/mixed',
    filename: '',
    headers,
    parts: [
      {
        mimeType: 'multipart/alternative',
        parts: [
          { mimeType: 'text/html', filename: '', body: data('<p>At <b>noon</b>?</p>') },
          { mimeType: 'text/plain', filename: '', body: data('At noon? Grüße') },
        ],
      },
      { mimeType: 'text/plain', filename: 'notes.txt', body: { attachmentId: 'x' } },
    ],
  }
  expect(readMail(payload)).toEqual({
    from: 'Ann <ann@example.com>',
    subject: 'Lunch',
    message_id: '<a1@mail.example.com>',
    text: 'At noon? Grüße',
    attachments: [{ name: 'notes.txt', type: 'text/plain' }],
  })
})

test('a part is read in its own character set', () => {
  const part = (charset: string) => ({
    mimeType: 'text/plain',
    headers: [{ name: 'Content-Type', value: `text/plain; charset="${charset}"` }],
    body: data('Grüße', 'latin1'),
  })
  expect(readMail(part('iso-8859-1'))['text']).toBe('Grüße')
  // One that nobody knows is taken for UTF-8.
  expect(readMail(part('x-none'))['text']).toBe('Gr��e')
})

test('of HTML alone the words are the text', () => {
  const html =
    '<style>p { color: red }</style><script>alert("<p>")</script><p>Dear&nbsp;Bob,</p><p>1 &lt; 2 &#8364; &odd; &#0;</p>'
  expect(readMail({ mimeType: 'text/html', body: data(html) })['text']).toBe(
    'Dear Bob,\n1 < 2 € &odd; &#0;',
  )
})

// By a pattern that looks ahead this would take minutes.
test('HTML that never ends takes no longer than its length', () => {
  expect(textOfHtml('<'.repeat(200_000))).toBe('')
  expect(textOfHtml('<script>'.repeat(50_000))).toBe('')
})

test('what is no message is an empty one', () => {
  expect(readMail(null)).toEqual({})
  expect(readMail({ headers: 'x', parts: [1], body: 2 })).toEqual({ text: '' })
  let deep: object = { mimeType: 'text/plain', body: data('deep') }
  for (let i = 0; i < 10_000; i += 1) deep = { mimeType: 'multipart/mixed', parts: [deep] }
  expect(readMail(deep)).toEqual({ text: '' })
})
