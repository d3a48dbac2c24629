// Connections of HTTP/2 by hand, with one request in each: also what no client library would write.
import {
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  framesIn,
  PREFACE,
  TYPE,
} from '../support/frames.ts'

type Request2 = {
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
  const all = block(...fields)
  const size = Math.max(1, Math.ceil(all.length / pieces))
  const blocks = Array.from({ length: pieces }, (_, i) => all.subarray(i * size, (i + 1) * size))
  const parts = blocks.map((piece, i) =>
    frame(
      i === 0 ? 'headers' : 'continuation',
      1,
      (i === pieces - 1 ? END_HEADERS : 0) | (i === 0 && body === null ? END_STREAM : 0),
      piece,
    ),
  )
  if (body !== null)
    parts.push(
      frame('data', 1, trailers.length === 0 ? END_STREAM : 0, Buffer.from(body, 'latin1')),
      ...(trailers.length === 0
        ? []
        : [frame('headers', 1, END_STREAM | END_HEADERS, block(...trailers))]),
    )
  return Buffer.concat([Buffer.from(PREFACE), frame('settings', 0, 0), ...parts])
}

/** Has stream 1 ended, by an answer or by a reset, or will nothing more come? */
export const over = (received: Buffer): boolean =>
  framesIn(received).frames.some(
    ({ type, flags, stream }) =>
      type === TYPE.goaway ||
      (stream === 1 &&
        (type === TYPE.reset ||
          ((type === TYPE.data || type === TYPE.headers) && (flags & END_STREAM) !== 0))),
  )
