// Calls inside a `multipart/mixed` batch (RFC 2046 5.1; Google's batch endpoints): each part is an HTTP request, read by
// strict lines. What the clients put there of credentials, of their host and of deputy's own path is cut out of the bytes.
import type { InnerCall, Provider } from '../model.ts'
import { evidenceName } from '../wire/strip.ts'
import { boundaryOf } from '../wire/multipart.ts'
import { eachPart, headerRule, MOST_PARTS, refused } from './inner.ts'

const HEADER = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n\0]*)$/
const REQUEST = /^([A-Z]{1,20}) (\S+)(?: HTTP\/1\.[01])?$/
/** Of a part, around its request. */
const AROUND =
  /^(?:content-type|content-id|content-length|content-transfer-encoding|mime-version|content-disposition)$/
const PLAIN_CODING = /^(?:7bit|8bit|binary)$/i

export type Batch = {
  readonly calls: readonly InnerCall[]
  /** What will be sent. */
  readonly bytes: Buffer
}
type Where = {
  readonly provider: Provider
  /** The host that the batch goes to. */
  readonly host: string
  /** Where the client found that host in a path of deputy’s; null: it named the host itself. */
  readonly prefix: string | null
}

/**
 * The blocks between the delimiters. Python's clients end lines with LF alone: one body has one kind of end.
 * @throws Problem request_invalid unless every reader would find these very blocks
 */
const blocksOf = (text: string, delimiter: string): { blocks: readonly string[]; end: string } => {
  if (!text.startsWith(delimiter)) throw refused('the batch does not begin with its boundary')
  const end = text.startsWith('\r\n', delimiter.length) ? '\r\n' : '\n'
  const blocks: string[] = []
  for (let at = delimiter.length; ;) {
    if (text.startsWith('--', at)) {
      const rest = text.slice(at + 2)
      if (rest !== '' && rest !== end) throw refused('the batch goes on after its end')
      return { blocks, end }
    }
    if (!text.startsWith(end, at)) throw refused('the batch has a boundary that ends no line')
    if (blocks.length === MOST_PARTS)
      throw refused(`the batch holds more than ${MOST_PARTS} calls: send several`)
    const from = at + end.length
    const next = text.indexOf(delimiter, from)
    if (next === -1) throw refused('the batch has no end')
    const line = text.slice(next - 2, next)
    // A boundary that is not at the beginning of a line, or after another end of line, is one to some readers only.
    if (next - end.length < from || (end === '\n' ? !/[^\r]\n/.test(line) : line !== end))
      throw refused('the batch holds its boundary inside a part')
    blocks.push(text.slice(from, next - end.length))
    at = next + delimiter.length
  }
}

/** Lines of headers, and what follows the empty line. */
const split = (block: string, end: string): { lines: readonly string[]; rest: string | null } => {
  if (block.startsWith(end)) return { lines: [], rest: block.slice(end.length) }
  const at = block.indexOf(end + end)
  const head = at === -1 ? block : block.slice(0, at)
  const lines = head.split(end)
  if (lines.at(-1) === '') lines.pop()
  return { lines, rest: at === -1 ? null : block.slice(at + 2 * end.length) }
}
const headerOf = (line: string): readonly [string, string] => {
  const [, name = '', value = ''] = HEADER.exec(line) ?? []
  if (name === '') throw refused('it has a malformed header')
  return [name, value.replace(/(?<![ \t])[ \t]+$/, '')]
}

/** The headers around the request: they say that it is one, and nothing else. */
const checkAround = (lines: readonly string[]): void => {
  const seen = new Set<string>()
  for (const line of lines) {
    const [name, value] = headerOf(line)
    const lower = name.toLowerCase()
    if (!AROUND.test(lower)) throw refused(`a part has no header ${lower.slice(0, 64)} of its own`)
    if (seen.has(lower)) throw refused('it has a header twice')
    seen.add(lower)
    if (lower === 'content-type' && !/^application\/http(?:;[ \t]*msgtype=request)?$/i.test(value))
      throw refused('it is no application/http')
    if (lower === 'content-transfer-encoding' && !PLAIN_CODING.test(value))
      throw refused('it comes in a transfer encoding, which only some servers undo')
    // A count that is wrong once something was cut out would end the part elsewhere.
    if (lower === 'content-length' && !/^\d{1,15}$/.test(value))
      throw refused('its content-length is no number')
  }
  if (!seen.has('content-type')) throw refused('it does not say that it is application/http')
}

/** What the provider will take for the target: without the host that the batch is at anyway. */
const targetOf = (said: string, { host, prefix }: Where): string => {
  const absolute = /^https:\/\/([^/?#]*)(\/.*)$/i.exec(said)
  if (absolute !== null) {
    if (absolute[1]?.toLowerCase() !== host)
      throw refused('its URL names another host than the batch is sent to')
    return absolute[2] ?? ''
  }
  if (prefix === null || !said.startsWith(`${prefix}/`)) return said
  return said.slice(prefix.length)
}

/** `text`: what of it will be sent; null: all, as it came. */
type Request = { readonly call: InnerCall; readonly text: string | null }
const requestOf = (text: string, end: string, where: Where): Request => {
  const { lines, rest } = split(text, end)
  const [first = '', ...headers] = lines
  const [, method = '', said = ''] = REQUEST.exec(first) ?? []
  if (method === '') throw refused('it does not begin with a request line')
  const target = targetOf(said, where)
  const kept = [first.replace(` ${said}`, () => ` ${target}`)]
  const seen = new Set<string>()
  const stripped: string[] = []
  let type: string | null = null
  let length: number | null = null
  for (const line of headers) {
    const [name, value] = headerOf(line)
    const rule = headerRule(name, value, where.provider)
    if (rule === 'credential') stripped.push(evidenceName(name.toLowerCase()))
    // The client's word for where deputy is; the provider has that of the batch.
    if (rule === 'credential' || rule === 'host') continue
    if (seen.has(name.toLowerCase())) throw refused('it has a header twice')
    seen.add(name.toLowerCase())
    if (rule === 'type') type = value
    if (rule === 'length') length = /^\d{1,15}$/.test(value) ? Number(value) : -1
    kept.push(line)
  }
  // Clients end a request without a body by one more line end, or by none.
  const body = rest === null || rest === end ? '' : rest
  const sizes = [body.length, body.endsWith(end) ? body.length - end.length : body.length]
  if (length !== null && !sizes.includes(length))
    throw refused('its content-length is not that of its body')
  const bytes = Buffer.from(length === null ? body : body.slice(0, length), 'latin1')
  const inner =
    bytes.length === 0 ? ({ kind: 'none' } as const) : ({ kind: 'bytes', bytes } as const)
  return {
    call: { method, target, contentType: type, body: inner, stripped: [...new Set(stripped)] },
    text:
      kept.length === lines.length && target === said
        ? null
        : `${kept.join(end)}${end}${end}${rest ?? ''}`,
  }
}

/**
 * @throws Problem request_invalid
 */
export const readMultipartBatch = (bytes: Buffer, contentType: string, where: Where): Batch => {
  const delimiter = `--${boundaryOf(contentType)}`
  const { blocks, end } = blocksOf(bytes.toString('latin1'), delimiter)
  let text = ''
  const calls = eachPart(blocks, (block) => {
    const { lines, rest } = split(block, end)
    checkAround(lines)
    if (rest === null) throw refused('it holds no request')
    const request = requestOf(rest, end, where)
    // What counted the request as it came would count wrong now; nobody needs it.
    const around =
      request.text === null ? lines : lines.filter((line) => !/^content-length:/i.test(line))
    text += `${delimiter}${end}${around.join(end)}${end}${end}${request.text ?? rest}${end}`
    return request.call
  })
  const tail = bytes.toString('latin1').endsWith(end) ? end : ''
  return { calls, bytes: Buffer.from(`${text}${delimiter}--${tail}`, 'latin1') }
}
