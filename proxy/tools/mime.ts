// A mail as one message (RFC 5322), base64url, as Gmail takes it. Pure.
import type { Json } from '../model.ts'

/** Header fields in the order in which they are written, by the template's name for them. */
const FIELDS: readonly (readonly [string, string])[] = [
  ['from', 'From'],
  ['to', 'To'],
  ['cc', 'Cc'],
  ['bcc', 'Bcc'],
  ['reply_to', 'Reply-To'],
  ['in_reply_to', 'In-Reply-To'],
  ['references', 'References'],
  ['subject', 'Subject'],
]
const ADDRESSES: ReadonlySet<string> = new Set(['from', 'to', 'cc', 'bcc', 'reply_to'])
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x08\x0a-\x1f\x7f\u2028\u2029]/
const MOST_ADDRESSES = 500

const isAscii = (text: string): boolean => /^[\x20-\x7e]*$/.test(text)
/** Letters that fit into one line with the name of the field (RFC 5322 2.1.1). */
const LONGEST_LINE = 900
/** Read as it is written: what looks like an encoded word would be decoded into something else. */
const isPlain = (text: string): boolean =>
  isAscii(text) && text.length <= LONGEST_LINE && !text.includes('=?')

/** RFC 2047 2: words of at most 75 characters, none of which cuts a character in two. */
const encodedWords = (text: string): string => {
  const words: string[] = []
  let word = ''
  for (const character of text) {
    if (Buffer.byteLength(word + character) > 45) {
      words.push(word)
      word = ''
    }
    word += character
  }
  return [...words, word]
    .map((each) => `=?UTF-8?B?${Buffer.from(each).toString('base64')}?=`)
    .join('\r\n ')
}

/** Of one address with its name, UTF-16 units. */
const LONGEST_ADDRESS = 1_000

/** `Name <address>`: only the name may be encoded, so only the name may be other than ASCII. */
const address = (all: string, refuse: (what: string) => never, field: string): string => {
  const text = all.trim()
  if (text.length > LONGEST_ADDRESS)
    refuse(`\`${field}\` holds an address of more than ${LONGEST_ADDRESS} letters`)
  const at = text.endsWith('>') ? text.lastIndexOf('<') : -1
  const bare = at < 0 ? text : text.slice(at + 1, -1)
  const name = at < 0 ? '' : text.slice(0, at).trim()
  if (!/^[^\s<>,;:"()[\]\\@]+@[^\s<>,;:"()[\]\\@]+$/.test(bare))
    refuse(`\`${field}\` holds ${JSON.stringify(text.slice(0, 80))}, which is no e-mail address`)
  if (!isAscii(bare)) refuse(`\`${field}\`: an address must be ASCII`)
  if (name === '') return bare
  const said = name.replace(/^"(.*)"$/, '$1')
  return isPlain(said)
    ? `"${said.replaceAll(/["\\]/g, '\\$&')}" <${bare}>`
    : `${encodedWords(said)} <${bare}>`
}

const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '')
const listOf = (value: Json): readonly string[] =>
  Array.isArray(value) ? (value as readonly Json[]).map(textOf) : textOf(value).split(',')

const fieldValue = (name: string, value: Json, refuse: (what: string) => never): string => {
  if (ADDRESSES.has(name)) {
    const all = listOf(value).filter((one) => one.trim() !== '')
    if (all.length > MOST_ADDRESSES)
      refuse(`\`${name}\` holds ${all.length} addresses; at most ${MOST_ADDRESSES} go in one mail`)
    return all.map((one) => address(one, refuse, name)).join(',\r\n ')
  }
  const text = textOf(value)
  return isPlain(text) ? text : encodedWords(text)
}

/** @param refuse throws what the model is told */
export const mimeMessage = (
  members: ReadonlyMap<string, Json>,
  refuse: (what: string) => never,
): string => {
  const lines: string[] = []
  for (const [name, header] of FIELDS) {
    const value = members.get(name)
    if (value === undefined || value === null) continue
    for (const one of Array.isArray(value) ? (value as readonly Json[]) : [value]) {
      if (typeof one !== 'string') refuse(`\`${name}\` must be a text`)
      if (CONTROL.test(one)) refuse(`\`${name}\` holds a line break or control character`)
    }
    const said = fieldValue(name, value, refuse)
    if (said !== '') lines.push(`${header}: ${said}`)
  }
  const html = members.get('type') === 'html' ? 'html' : 'plain'
  const text = textOf(members.get('text'))
  const body = Buffer.from(text)
    .toString('base64')
    .replaceAll(/.{76}(?=.)/g, '$&\r\n')
  const head = [
    ...lines,
    'MIME-Version: 1.0',
    `Content-Type: text/${html}; charset=utf-8`,
    'Content-Transfer-Encoding: base64',
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}\r\n`).toString('base64url')
}
