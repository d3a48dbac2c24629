// Requests as hostile and as odd as they come, made from a seed: the bytes that go over the wire, nothing repaired.
import { boolean, oneof, record, sample, type Arbitrary } from 'fast-check'
import { body, type Sent } from './bodies.ts'
import { connectionOf } from './frames.ts'
import { change, changed, FORGED, of, often, SMUGGLED, some, wire, type Change } from './pick.ts'
import { fields, headers } from './headers.ts'
import { method, prefix, tag, target, version } from './pieces.ts'

/** `plain`: HTTP/1.1 on the agent listener; `tunnel`: the same inside a CONNECT; `http/2`: by prior knowledge. */
export const WAYS = ['plain', 'tunnel', 'http/2'] as const
export type Way = (typeof WAYS)[number]
export type Case = {
  /** Names the request: the first segment of its path. */
  readonly id: string
  readonly way: Way
  /** All that is sent; in a tunnel, what is sent inside. */
  readonly bytes: Buffer
}

/** How the body is framed: as it should be in most cases. */
const framing = often(
  of('counted', 'counted', 'chunked'),
  of(
    'none',
    'short',
    'long',
    'both',
    'twice',
    'extension',
    'trailer',
    'many',
    'bare lines',
    'late',
    'wide',
    'padded',
    'no last',
    'signed',
    'hex',
    'more trailers',
    'long extension',
    'extension with a line',
    'overflow',
    'blank size',
    'lengths',
  ),
)
const CHUNKED = 'Transfer-Encoding: chunked'
type Framed = { readonly headers: readonly string[]; readonly sent: string }
/** Chunks as only some readers take them; the text is whole in each. */
const CHUNKS: Readonly<Record<string, (size: string, text: string) => string>> = {
  extension: (size, text) => `${size};a="b"\r\n${text}\r\n0;x\r\n\r\n`,
  trailer: (size, text) => `${size}\r\n${text}\r\n0\r\nAuthorization: Bearer ${FORGED}\r\n\r\n`,
  'more trailers': (size, text) =>
    `${size}\r\n${text}\r\n0\r\nContent-Length: 5\r\nHost: other.test\r\nX-HTTP-Method-Override: DELETE\r\n folded: ${FORGED}\r\n\r\n`,
  many: (_, text) => `${text.replaceAll(/[^]/g, (char) => `1\r\n${char}\r\n`)}0\r\n\r\n`,
  'bare lines': (size, text) => `${size}\n${text}\n0\n\n`,
  late: (size, text) => `${size}\r\n${text}\n0\r\n\r\n`,
  wide: (size, text) => `000000000000000000${size}\r\n${text}\r\n00000\r\n\r\n`,
  padded: (size, text) => ` ${size} \r\n${text}\r\n0\r\n\r\n`,
  'no last': (size, text) => `${size}\r\n${text}\r\n`,
  signed: (size, text) => `+${size}\r\n${text}\r\n0\r\n\r\n`,
  hex: (size, text) => `0x${size}\r\n${text}\r\n0\r\n\r\n`,
  'long extension': (size, text) => `${size};${'a'.repeat(20_000)}\r\n${text}\r\n0\r\n\r\n`,
  'extension with a line': (size, text) =>
    `${size};a="\n${text}\r\n0\r\n\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  overflow: (size, text) => `1${'0'.repeat(16 - size.length)}${size}\r\n${text}\r\n0\r\n\r\n`,
  'blank size': (_, text) => `\r\n${text}\r\n0\r\n\r\n`,
}
const framed = (how: string, text: string): Framed => {
  const { length } = text
  const size = length.toString(16)
  const chunks = length === 0 ? '0\r\n\r\n' : `${size}\r\n${text}\r\n0\r\n\r\n`
  const counted = (n: number | string): Framed => ({
    headers: [`Content-Length: ${n}`],
    sent: text,
  })
  const odd = CHUNKS[how]
  if (odd !== undefined)
    return { headers: [CHUNKED], sent: length === 0 ? chunks : odd(size, text) }
  switch (how) {
    case 'chunked':
      return { headers: [CHUNKED], sent: chunks }
    case 'none':
      return { headers: [], sent: text }
    case 'short':
      return counted(Math.max(0, length - 3))
    case 'long':
      return counted(length + 3)
    case 'twice':
      return { headers: [`Content-Length: ${length}`, `Content-Length: ${length}`], sent: text }
    case 'lengths':
      return { headers: [`Content-Length: ${length}`, 'Content-Length: 0'], sent: text }
    case 'both':
      return { headers: [`Content-Length: ${length}`, CHUNKED], sent: chunks }
    default:
      return counted(length)
  }
}
const TAGS: Readonly<Record<string, readonly [readonly string[], readonly string[]]>> = {
  first: [['Deputy-User: alice'], []],
  last: [[], ['Deputy-User: alice']],
  none: [[], []],
  bob: [['Deputy-User: bob'], []],
  twice: [['Deputy-User: alice'], ['deputy-user: alice']],
  lower: [['deputy-user:alice'], []],
}
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'DELETE', 'get'])

type Made = {
  readonly way: Way
  readonly method: string
  readonly version: string
  readonly prefix: string
  readonly target: { readonly path: string; readonly query: string }
  readonly headers: readonly string[]
  readonly body: Sent
  readonly framing: string
  readonly pipelined: boolean
  readonly tag: string
  readonly ends: string
  readonly changes: readonly Change[]
  readonly fields: {
    readonly before: readonly string[]
    readonly late: readonly string[]
    readonly scheme: string
  }
  readonly pieces: boolean
}
/** Where deputy is, as each way names it. */
type To = { readonly host: string }

const pathOf = (made: Made, id: string): string =>
  `${made.way === 'tunnel' && !/^h/i.test(made.prefix) ? '/' : made.prefix}${id}/${wire(made.target.path + made.target.query)}`
const bare = ({ method: verb, framing: how }: Made): boolean =>
  BODILESS.has(verb) && how === 'counted'
const mutated = (text: string, from: number, { changes }: Made): string =>
  changes.reduce((now, one) => changed(now, from, one), text)

const plainly = (made: Made, id: string, { host }: To): Buffer => {
  const none = bare(made)
  const { headers: framings, sent } = none
    ? { headers: [], sent: '' }
    : framed(made.framing, made.body.text)
  const [before, behind] = TAGS[made.tag] ?? [[], []]
  const head = [
    `${wire(made.method)} ${pathOf(made, id)} ${wire(made.version)}`,
    `Host: ${made.way === 'tunnel' ? 'api.fuzz.test' : host}`,
    ...before,
    ...(none ? [] : made.body.headers),
    ...framings,
    ...made.headers.map(wire),
    ...behind,
  ]
  const text = `${head.join(made.ends)}${made.ends}${made.ends}${sent}`
  const whole = mutated(text, text.indexOf(`${id}/`) + id.length + 1, made)
  return Buffer.from(`${whole}${made.pipelined ? SMUGGLED : ''}`, 'latin1')
}
/** A line as HTTP/2 has it. */
const fieldOf = (line: string): readonly [string, string] => {
  const colon = line.indexOf(':', 1)
  return colon === -1 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')]
}
const lower = ([name, value]: readonly [string, string]): readonly [string, string] => [
  name.toLowerCase(),
  value.replaceAll(/^[ \t]+|[ \t]+$/g, ''),
]
const secondly = (made: Made, id: string, { host }: To): Buffer => {
  const none = bare(made)
  const [before, behind] = TAGS[made.tag] ?? [[], []]
  const text = pathOf(made, id)
  const path = mutated(text, text.indexOf(`${id}/`) + id.length + 1, made)
  const lines = [
    ...before,
    ...(none ? [] : made.body.headers),
    ...made.headers.map(wire),
    ...behind,
  ]
  const length = made.body.text.length
  const counts: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
    short: [['content-length', String(Math.max(0, length - 3))]],
    long: [['content-length', String(length + 3)]],
    counted: [['content-length', String(length)]],
    twice: [
      ['content-length', String(length)],
      ['content-length', String(length)],
    ],
    both: [
      ['content-length', String(length)],
      ['transfer-encoding', 'chunked'],
    ],
  }
  return connectionOf({
    fields: [
      [':method', wire(made.method)],
      [':scheme', made.fields.scheme],
      [':path', path],
      [':authority', host],
      ...made.fields.before.map(fieldOf),
      ...lines.map((line) => lower(fieldOf(line))),
      ...(none ? [] : (counts[made.framing] ?? [])),
      ...made.fields.late.map((line) => fieldOf(wire(line))),
    ],
    body: none ? null : made.body.text,
    trailers: made.framing.includes('trailer')
      ? [
          ['authorization', `Bearer ${FORGED}`],
          [made.framing === 'trailer' ? 'x-a' : ':path', '/a'],
        ]
      : [],
    pieces: made.pieces ? 3 : 1,
  })
}

/** One request; its id stands in its path, unless the path itself is what is odd. */
const request: Arbitrary<Made> = record({
  way: oneof(
    { weight: 6, arbitrary: of('plain') },
    { weight: 2, arbitrary: of('tunnel') },
    { weight: 2, arbitrary: of('http/2') },
  ) as Arbitrary<Way>,
  method,
  version,
  prefix,
  target,
  headers,
  body,
  framing,
  pipelined: boolean(),
  tag,
  ends: often(of('\r\n'), of('\n', '\r', '\r\r\n'), 60),
  changes: often(some(change, 0), some(change, 2, 1), 9),
  fields,
  pieces: boolean(),
})

/** `count` requests of `seed`, named from `first` on and sent to `host`: the same each time. */
export const generated = (
  seed: number,
  count: number,
  first: number,
  host: string,
): readonly Case[] =>
  sample(request, { seed, numRuns: count }).map((made, i) => {
    const id = `c${first + i}`
    const bytes = (made.way === 'http/2' ? secondly : plainly)(made, id, { host })
    return { id, way: made.way, bytes }
  })
