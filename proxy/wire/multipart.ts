// Reads the fields of multipart/form-data strictly, line by line: a body that two servers would
// split differently is refused.
import { Problem } from '../problem.ts'

const BOUNDARY = /;[ \t]*boundary[ \t]*=[ \t]*(?:"([^"\\]*)"|([^\s;"]+))/gi
// RFC 2046 5.1.1, without the blank that only some readers trim.
const BOUNDARY_FORM = /^[0-9A-Za-z'()+_,./:=?-]{1,70}$/
// oxlint-disable-next-line no-control-regex
const HEADER = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)$/
const DISPOSITION = /^form-data((?:[ \t]*;[ \t]*[a-z0-9*_-]+=(?:"[^"]*"|[^\s";]+))*)[ \t]*$/i
const PARAMETER = /;[ \t]*([a-z0-9*_-]+)=(?:"([^"]*)"|([^\s";]+))/gi

const PLAIN_CODING = /^(?:7bit|8bit|binary)[ \t]*$/i

const invalid = (detail: string): Problem =>
  new Problem('request_invalid', `the multipart body ${detail}`)

export const boundaryOf = (contentType: string): string => {
  const [first] = contentType.matchAll(BOUNDARY)
  const boundary = first?.[1] ?? first?.[2] ?? ''
  // PHP searches for the word alone, so `xboundary=` and `boundary*0=` are further boundaries to
  // it, wherever they stand.
  const [before = '', after = ''] = first === undefined ? [] : contentType.split(first[0])
  if (/boundary/i.test(before + after) || !BOUNDARY_FORM.test(boundary))
    throw invalid('has no one plain boundary')
  return boundary
}

// `name*` (RFC 5987), escapes and encoded words (RFC 2047) are read by some servers and not by
// others.
const fieldName = (disposition: string): string => {
  const match = DISPOSITION.exec(disposition)
  // Many read `\"` as a quote that ends nothing, and PHP takes `'` for one that begins something.
  if (disposition.includes('\\"') || disposition.replaceAll(/"[^"]*"/g, '').includes("'"))
    throw invalid('has a part with quotes that servers read differently')
  if (match === null) throw invalid('has a part that is not plain form-data')
  const names: string[] = []
  for (const [, key = '', quoted, bare] of (match[1] ?? '').matchAll(PARAMETER)) {
    if (key.toLowerCase().startsWith('name')) {
      if (key.length > 4) throw invalid('has an extended field name')
      names.push(quoted ?? bare ?? '')
    }
  }
  const [name] = names
  if (name === undefined || names.length > 1) throw invalid('has a part without one name')
  if (name.includes('\\') || name.includes('=?')) throw invalid('has an escaped field name')
  return name
}

export type Part = {
  /** As latin1 text of their bytes. */
  readonly name: string
  readonly value: string
  readonly file: boolean
  /** Its Content-Type, or empty. */
  readonly type: string
  /** Names of its headers, lower case. */
  readonly headers: readonly string[]
}

const partOf = (block: string): Omit<Part, 'value'> => {
  let name: string | null = null
  let file = false
  let type = ''
  const headers: string[] = []
  for (const line of block.split('\r\n')) {
    const [, key = '', value = ''] = HEADER.exec(line) ?? []
    if (key === '') throw invalid('has a part with a malformed header')
    const lower = key.toLowerCase()
    headers.push(lower)
    if (lower === 'content-disposition') {
      if (name !== null) throw invalid('has a part with two dispositions')
      name = fieldName(value)
      file = /;[ \t]*filename\*?=/i.test(value)
    } else if (lower === 'content-type') {
      if (type !== '') throw invalid('has a part with two types')
      if (/^multipart\//i.test(value)) throw invalid('has a part with parts of its own')
      type = value
    } else if (lower === 'content-transfer-encoding' && !PLAIN_CODING.test(value)) {
      throw invalid('has a part in a transfer encoding, which only some servers undo')
    }
  }
  if (name === null) throw invalid('has a part without a name')
  return { name, file, type, headers }
}

/**
 * The fields, in order.
 * @param bytes the whole body
 * @throws Problem `request_invalid` unless every reader would find these very parts (RFC 7578,
 *   RFC 2046 5.1)
 */
export const multipartFields = (bytes: Buffer, contentType: string): readonly Part[] => {
  const delimiter = `--${boundaryOf(contentType)}`
  const text = bytes.toString('latin1')
  const parts: Part[] = []
  if (!text.startsWith(delimiter)) throw invalid('does not begin with its boundary')
  let at = delimiter.length
  for (;;) {
    const after = text.slice(at, at + 2)
    if (after === '--') {
      const rest = text.slice(at + 2)
      // Go's clients that close their writer twice say the end again, and nothing between.
      const again = `\r\n\r\n${delimiter}--\r\n`
      if (rest !== '' && rest !== '\r\n' && rest !== again) throw invalid('goes on after its end')
      return parts
    }
    if (after !== '\r\n') throw invalid('has a delimiter that does not end its line')
    const head = text.indexOf('\r\n\r\n', at)
    const next = text.indexOf(delimiter, at)
    // The boundary anywhere but on a line of its own is where lenient readers part ways; one that
    // is missing is at -1.
    if (head === -1 || next < head + 6 || text.slice(next - 2, next) !== '\r\n') {
      throw invalid('is cut short, or holds its boundary in a part')
    }
    const value = text.slice(head + 4, next - 2)
    parts.push({ ...partOf(text.slice(at + 2, head)), value })
    at = next + delimiter.length
  }
}
