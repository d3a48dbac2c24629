// Where an answer's bytes go on their way to the agent: whole for rewriting, undone of a coding, bounded.
import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { Transform, type Readable, type TransformCallback, type Writable } from 'node:stream'
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib'
import { Problem } from '../problem.ts'

/** `push` says whether there is room for more. */
export type Sink = { readonly push: (chunk: Buffer) => boolean; readonly end: () => void }

/**
 * Limits a streamed body (bytes), and keeps the caller's socket alive when the upstream breaks.
 * @param moved so many bytes of it went on
 */
export const bounded = (
  req: IncomingMessage,
  limit: number,
  moved: (bytes: number) => void,
): Transform => {
  let size = 0
  const pipe = new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      size += chunk.length
      moved(chunk.length)
      if (size <= limit) return done(null, chunk)
      const what = `the body passes limits.request_body (${limit} bytes)`
      return done(new Problem('request_too_large', what))
    },
  })
  req.on('error', (error) => pipe.destroy(error))
  return req.pipe(pipe)
}

/**
 * The same for HTTP/2, as what is no stream to undici: of a stream that is still being written it ends its own without a
 * RST_STREAM, and the provider would hear nothing of a call that was cut.
 */
export const iterated = (body: Transform): Readable =>
  // It takes whatever can be iterated, though its types name streams alone.
  ({ [Symbol.asyncIterator]: () => body[Symbol.asyncIterator]() }) as unknown as Readable

/** Undoes one content coding (RFC 9110 8.4.1); null: not one that is known here. */
export const decoderFor = (coding: string): Transform | null =>
  coding === 'gzip' || coding === 'x-gzip'
    ? createGunzip()
    : coding === 'br'
      ? createBrotliDecompress()
      : coding === 'deflate'
        ? createInflate()
        : coding === 'zstd'
          ? createZstdDecompress()
          : null

/** What is done with a text that is rewritten as a whole. */
type Rewriting = {
  readonly rewrite: (text: string) => string
  /** It passes as it came. */
  readonly unrewritten: () => void
  /** It is about to go on: with so many bytes, or null where nobody knows how many follow. */
  readonly begin: (bytes: number | null) => void
}

/** Collects a text of at most `limit` bytes to rewrite it as a whole; what is longer, or not UTF-8, passes as it is. */
export const rewritten = (
  limit: number,
  into: Sink,
  { rewrite, unrewritten, begin }: Rewriting,
): Sink => {
  let chunks: Buffer[] | null = []
  let size = 0
  return {
    push(chunk) {
      if (chunks === null) return into.push(chunk)
      chunks.push(chunk)
      size += chunk.length
      if (size <= limit) return true
      const all = Buffer.concat(chunks)
      chunks = null
      unrewritten()
      begin(null)
      return into.push(all)
    },
    end() {
      if (chunks !== null) {
        const all = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
        const text = isUtf8(all) ? all.toString('utf8') : null
        if (text === null) unrewritten()
        const next = text === null ? null : rewrite(text)
        const whole = next === null || next === text ? all : Buffer.from(next)
        begin(whole.length)
        into.push(whole)
      }
      into.end()
    },
  }
}

/** Where bytes come from and go to, around a decoder. */
type Ends = {
  readonly out: Writable
  /** There is room for more again. */
  readonly resume: () => void
  readonly broken: () => void
}

/** Sends bytes through a decoder into a sink, with backpressure from `out` and to `resume`. */
export const decoded = (decoder: Transform, into: Sink, { out, resume, broken }: Ends): Sink => {
  // An event has no caller: what a step throws here would end the process.
  const guarded = <T>(step: (given: T) => void): ((given: T) => void) => {
    return (given) => {
      try {
        step(given)
      } catch {
        broken()
      }
    }
  }
  decoder.on(
    'data',
    guarded((chunk: Buffer) => {
      if (into.push(chunk)) return
      decoder.pause()
      out.once('drain', () => decoder.resume())
    }),
  )
  decoder.on('end', guarded(into.end))
  decoder.on('error', broken)
  let empty = true
  return {
    push(chunk) {
      empty = false
      const more = decoder.write(chunk)
      if (!more) decoder.once('drain', resume)
      return more
    },
    // Nothing is nothing in any coding: some servers name one all the same.
    end: () => {
      if (empty) into.end()
      else decoder.end()
    },
  }
}
