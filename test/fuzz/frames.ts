// HTTP/2 by hand (RFC 9113, RFC 7541): frames as they are asked for, also those that no client library would write.
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const [DATA, HEADERS, RESET, SETTINGS, GOAWAY, CONTINUATION] = [0, 1, 3, 4, 7, 9] as const
const [END_STREAM, END_HEADERS] = [1, 4] as const

const frame = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}
/** RFC 7541 5.1 and 5.2, without Huffman's code. */
const literal = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'latin1')
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
  const length = [127]
  let rest = bytes.length - 127
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128)
  return Buffer.concat([Buffer.from([...length, rest]), bytes])
}
/** RFC 7541 6.2.2: without indexing, its name new. */
const section = (fields: readonly (readonly [string, string])[]): Buffer =>
  Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]),
  )

export type Request2 = {
  /** Names and values, latin1, in the order in which they go out. */
  readonly fields: readonly (readonly [string, string])[]
  /** latin1; null: the header section ends the stream. */
  readonly body: string | null
  readonly trailers: readonly (readonly [string, string])[]
  /** The header section comes in so many frames. */
  readonly pieces: number
}
/** A whole connection with this one request in it, as stream 1. */
export const connectionOf = ({ fields, body, trailers, pieces }: Request2): Buffer => {
  const block = section(fields)
  const size = Math.max(1, Math.ceil(block.length / pieces))
  const blocks = Array.from({ length: pieces }, (_, i) => block.subarray(i * size, (i + 1) * size))
  const parts = blocks.map((piece, i) =>
    frame(
      i === 0 ? HEADERS : CONTINUATION,
      (i === pieces - 1 ? END_HEADERS : 0) | (i === 0 && body === null ? END_STREAM : 0),
      1,
      piece,
    ),
  )
  if (body !== null)
    parts.push(
      frame(DATA, trailers.length === 0 ? END_STREAM : 0, 1, Buffer.from(body, 'latin1')),
      ...(trailers.length === 0
        ? []
        : [frame(HEADERS, END_STREAM | END_HEADERS, 1, section(trailers))]),
    )
  return Buffer.concat([Buffer.from(PREFACE), frame(SETTINGS, 0, 0, Buffer.alloc(0)), ...parts])
}

/** Has stream 1 ended, by an answer or by a reset, or will nothing more come? */
export const over = (received: Buffer): boolean => {
  for (let at = 0; at + 9 <= received.length;) {
    const length = received.readUIntBE(at, 3)
    const [type, flags, stream] = [
      received.readUInt8(at + 3),
      received.readUInt8(at + 4),
      received.readUInt32BE(at + 5),
    ]
    at += 9 + length
    if (at > received.length) return false
    if (type === GOAWAY) return true
    if (stream !== 1) continue
    if (type === RESET) return true
    if ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0) return true
  }
  return false
}
