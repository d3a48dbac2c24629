// To whom a mail goes, read in one way or refused (RFC 5322 3.4, without its obsolete syntax). Pure.
import { domainToASCII } from 'node:url'
import { refused } from './inner.ts'

/** Recipients of one mail; Gmail takes 500. */
export const MOST_RECIPIENTS = 500

/** Letters, digits and what else an atom may hold, without `%` and `!`: old relays read those as a route to another host. */
const LOCAL = /^[\w#$&'*+/=?^`{|}~-]+(?:\.[\w#$&'*+/=?^`{|}~-]+)*$/
const DOMAIN =
  /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!\d+$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
/** IDNA 2003 and 2008 make different names of these (UTS 46, deviation characters). */
const DEVIATION = /[\u00df\u1e9e\u03c2\u200c\u200d]/
// oxlint-disable-next-line no-control-regex
const NOT_ASCII = /[^\0-\x7f]/

const shown = (text: string): string => JSON.stringify(text.slice(0, 80))

/**
 * Lower case, with A-labels (RFC 5890 2.3.2.1) where it has others.
 * @throws Problem request_invalid: no name of a host on the internet, or one with two readings
 */
export const domainOf = (text: string): string => {
  if (DEVIATION.test(text))
    throw refused(`the domain ${shown(text)} has two readings (UTS 46): write its A-label, xn--…`)
  const domain = NOT_ASCII.test(text) ? domainToASCII(text) : text.toLowerCase()
  if (!DOMAIN.test(domain)) throw refused(`${shown(text)} is no domain that mail goes to`)
  return domain
}

/**
 * `local@domain`, the domain as `domainOf` has it; nothing around it.
 * @throws Problem request_invalid: quotes, comments, routes, blanks, encoded words or a domain literal
 */
export const addressOf = (text: string): string => {
  const at = text.indexOf('@')
  const local = text.slice(0, Math.max(0, at))
  if (local.length > 64 || !LOCAL.test(local) || local.includes('=?'))
    throw refused(`${shown(text)} is no address with one reading: write local@domain`)
  return `${local}@${domainOf(text.slice(at + 1))}`
}

/** Quoted texts and words, without what could pass for another address to a reader that looks for one. */
const NAME = /^(?:"[^"\\<>@]+"|[\w!#$%&'*+/=?^`{|}~. \t-])*$/
const WORD = /^=\?([A-Za-z0-9-]+)\?([QqBb])\?([!->A-~]*)\?=$/
/** What an encoded word may turn into: a reader that decodes before it splits must find no other address. */
const DECODED = /^[^\p{Cc}\p{Cf}@<>()[\]\\":;\u2028\u2029]*$/u
const CHARSETS: ReadonlyMap<string, string> = new Map([
  ['utf-8', 'utf-8'],
  ['us-ascii', 'utf-8'],
  ['iso-8859-1', 'latin1'],
  ['windows-1252', 'windows-1252'],
])

/** RFC 2047 4, in a name only. */
const checkWord = (word: string): void => {
  const [, charset = '', coding = '', text = ''] = WORD.exec(word) ?? []
  const label = CHARSETS.get(charset.toLowerCase())
  if (label === undefined) throw refused(`the encoded word ${shown(word)} cannot be read`)
  const bytes =
    coding.toUpperCase() === 'B'
      ? fromBase64(text)
      : Buffer.from(
          text
            .replaceAll('_', ' ')
            .replaceAll(/=([0-9A-F]{2})/gi, (_, hex: string) =>
              String.fromCodePoint(Number.parseInt(hex, 16)),
            ),
          'latin1',
        )
  let decoded: string
  try {
    decoded = new TextDecoder(label, { fatal: true }).decode(bytes)
  } catch (cause) {
    throw refused(`the encoded word ${shown(word)} is not in its charset`, cause)
  }
  if (!DECODED.test(decoded))
    throw refused(`the encoded word ${shown(word)} holds what some readers take for an address`)
}

const checkName = (name: string): void => {
  // A dot that begins a word is nobody's name.
  if (!NAME.test(name) || /(?:^|[ \t"])\./.test(name) || /"[^"]*=\?[^"]*"/.test(name))
    throw refused(`the name ${shown(name)} beside an address has more than one reading`)
  if (name.includes('=?'))
    for (const word of name.split(/[ \t]+/)) if (word.includes('=?')) checkWord(word)
}

/** Where commas stand that no quotes hold. */
const split = (value: string): readonly string[] => {
  const found: string[] = []
  let from = 0
  let quoted = false
  for (let i = 0; i < value.length; i++) {
    const c = value[i]
    if (c === '"') quoted = !quoted
    else if (c === ',' && !quoted) {
      found.push(value.slice(from, i))
      from = i + 1
    }
  }
  if (quoted) throw refused('a list of addresses has a quote without an end')
  return [...found, value.slice(from)]
}

const trimmed = (text: string): string =>
  text.replace(/^[ \t]+/, '').replace(/(?<![ \t])[ \t]+$/, '')

/**
 * The addresses of a header field: a list of `local@domain` and `Name <local@domain>`. Empty: none.
 * @param value unfolded, printable ASCII, blanks and tabs
 * @throws Problem request_invalid: groups, routes, comments, empty places, and whatever else has two readings
 */
export const addressesOf = (value: string): readonly string[] => {
  if (trimmed(value) === '') return []
  return split(value).map((one) => {
    const text = trimmed(one)
    const open = text.lastIndexOf('<')
    if (open === -1) return addressOf(text)
    if (!text.endsWith('>')) throw refused(`${shown(text)} goes on behind its address`)
    checkName(text.slice(0, open))
    return addressOf(text.slice(open + 1, -1))
  })
}

/**
 * Bytes of base64 or base64url (RFC 4648 4 and 5), padded or not.
 * @throws Problem request_invalid: both alphabets, blanks, or bits that some decoders keep and others drop
 */
export const fromBase64 = (text: string): Buffer => {
  const url = /[-_]/.test(text)
  const bare = text.replace(/={1,2}$/, '')
  const bytes = Buffer.from(bare, url ? 'base64url' : 'base64')
  const again = bytes.toString(url ? 'base64url' : 'base64').replace(/={1,2}$/, '')
  if (again !== bare || (bare !== text && text.length % 4 !== 0))
    throw refused('a text is not base64 with one reading (RFC 4648 3.5)')
  return bytes
}
