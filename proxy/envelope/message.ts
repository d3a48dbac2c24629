// A mail as bytes (RFC 5322, RFC 2045): to whom it goes and what is attached, read line by line. What two readers would
// read differently is refused. The parsers that others wrote are made to read everything that ever was sent, which is the
// opposite. Pure.
import { boundaryOf } from '../wire/multipart.ts'
import { addressesOf } from './address.ts'
import { refused } from './inner.ts'

export type Message = {
  readonly to: readonly string[]
  readonly cc: readonly string[]
  readonly bcc: readonly string[]
  /** Parts that are no text to be read with the mail. */
  readonly attachments: number
}

const FIELD = /^([!-9;-~]+):([\t\x20-\x7e]*)$/
/** RFC 5322 2.1.1: beyond it some servers break the line. Bytes, without its end. */
const LONGEST_LINE = 998
const MOST_FIELDS = 500
const DEEPEST = 8
const MOST_PARTS = 1_000
/** RFC 5322 3.6 and RFC 2045: of these there is one. */
const ONCE =
  /^(?:from|sender|reply-to|to|cc|bcc|subject|date|message-id|in-reply-to|references|mime-version|content-.*)$/
/** Servers that take recipients from the header take them from these too. */
const ELSEWHERE =
  /^(?:resent-.*|apparently-to|envelope-to|x-envelope-to|delivered-to|x-to|x-cc|x-bcc)$/
const RECIPIENTS = /^(?:to|cc|bcc|resent-(?:to|cc|bcc))[ \t]*:/i

type Header = ReadonlyMap<string, string>

/** @throws Problem request_invalid: a field is malformed, stands twice, or is followed by a line that is neither */
const readHeader = (block: string, end: string): Header => {
  const header = new Map<string, string>()
  let last: string | null = null
  let fields = 0
  for (const line of block === '' ? [] : block.split(end)) {
    if (line.length > LONGEST_LINE)
      throw refused(`the mail has a header line of more than ${LONGEST_LINE} bytes: fold it`)
    if (/^[ \t]/.test(line)) {
      if (last === null || !/[!-~]/.test(line) || !/^[\t\x20-\x7e]*$/.test(line))
        throw refused('the mail has a folded line that readers take differently')
      header.set(last, `${header.get(last) ?? ''}${line}`)
      continue
    }
    const [, named, value = ''] = FIELD.exec(line) ?? []
    if (named === undefined)
      throw refused(
        `the mail has a header line that is no field of printable ASCII: ${JSON.stringify(line.slice(0, 40))}`,
      )
    const name = named.toLowerCase()
    if (++fields > MOST_FIELDS) throw refused(`the mail has more than ${MOST_FIELDS} header fields`)
    if (ELSEWHERE.test(name)) throw refused(`the mail has ${name}, where some find recipients`)
    if (header.has(name) && ONCE.test(name)) throw refused(`the mail has two fields ${name}`)
    header.set(name, value)
    last = name
  }
  return header
}

/** The header, and what follows the empty line. */
const split = (text: string, end: string): { readonly header: Header; readonly body: string } => {
  if (text.startsWith(end)) return { header: new Map(), body: text.slice(end.length) }
  const at = text.indexOf(end + end)
  if (at === -1) throw refused('the mail has no empty line behind its header')
  return { header: readHeader(text.slice(0, at), end), body: text.slice(at + 2 * end.length) }
}

/** One kind of end: Python and many others write LF alone, and Gmail takes it. */
const endOf = (text: string): string => {
  if (text.includes('\0')) throw refused('the mail holds NUL')
  if (!text.includes('\r')) return '\n'
  if (/\r(?!\n)|(?<!\r)\n/.test(text)) throw refused('the mail has a bare CR or LF')
  return '\r\n'
}

const PLAIN = /^[ \t]*text\/(?:plain|html)[ \t]*(?:;|$)/i
const NAMED = /;[ \t]*(?:file)?name\*?/i
const WHOLE = /^[ \t]*(?:7bit|8bit|binary)[ \t]*$/i

const isAttachment = (header: Header): boolean => {
  const type = header.get('content-type') ?? 'text/plain'
  const disposition = header.get('content-disposition') ?? ''
  return (
    !PLAIN.test(type) || NAMED.test(type + disposition) || /^[ \t]*attachment/i.test(disposition)
  )
}

type Count = { parts: number; attachments: number }

const countParts = (
  header: Header,
  body: string,
  of: { end: string; depth: number; count: Count },
): void => {
  const { end, depth, count } = of
  const type = header.get('content-type') ?? ''
  if (!/^[ \t]*multipart\//i.test(type)) {
    if (isAttachment(header)) count.attachments += 1
    return
  }
  if (depth === DEEPEST) throw refused(`the mail has parts in parts, deeper than ${DEEPEST}`)
  if (!WHOLE.test(header.get('content-transfer-encoding') ?? '7bit'))
    throw refused('the mail has parts in a transfer encoding, which only some undo (RFC 2045 6.4)')
  for (const block of blocksOf(body, `--${boundaryOf(type)}`, end)) {
    if (++count.parts > MOST_PARTS) throw refused(`the mail has more than ${MOST_PARTS} parts`)
    const part = split(block, end)
    countParts(part.header, part.body, { end, depth: depth + 1, count })
  }
}

/** What stands between the delimiters (RFC 2046 5.1.1). */
const blocksOf = (body: string, delimiter: string, end: string): readonly string[] => {
  const blocks: string[] = []
  let at = body.startsWith(delimiter) ? 0 : body.indexOf(end + delimiter) + end.length
  if (at < end.length && !body.startsWith(delimiter))
    throw refused('the mail has a multipart body without its boundary')
  for (;;) {
    const from = at + delimiter.length
    if (body.startsWith('--', from)) {
      if (body.slice(from + 2).trim() !== '') throw refused('the mail goes on behind its last part')
      return blocks
    }
    if (!body.startsWith(end, from))
      throw refused('the mail has a boundary that is another to some readers')
    const next = body.indexOf(end + delimiter, from)
    if (next === -1) throw refused('the mail has a part without an end')
    // A delimiter right behind another: between them is a part of nothing.
    blocks.push(next === from ? end : body.slice(from + end.length, next))
    at = next + end.length
  }
}

/**
 * @param bytes the whole mail
 * @throws Problem request_invalid unless every reader finds these recipients
 */
export const readMessage = (bytes: Buffer): Message => {
  const text = bytes.toString('latin1')
  const end = endOf(text)
  if (text.startsWith(end)) throw refused('the mail begins with an empty line')
  const { header, body } = split(text, end)
  if (RECIPIENTS.test(body))
    throw refused('the text of the mail begins with a field, which some take for its header')
  const count: Count = { parts: 0, attachments: 0 }
  countParts(header, body, { end, depth: 0, count })
  const list = (name: string): readonly string[] => addressesOf(header.get(name) ?? '')
  return {
    to: list('to'),
    cc: list('cc'),
    bcc: list('bcc'),
    attachments: count.attachments,
  }
}
