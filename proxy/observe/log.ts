// The log: one JSON object a line. Three nets keep secrets out: the Secret type prints [redacted], errors are
// written from an allow-list, and names that carry credentials are redacted by path.
import pino from 'pino'
import sonic from 'sonic-boom'
import type { Log } from '../model.ts'
import { sumRepeats } from './repeats.ts'

type LogOptions = {
  readonly level: string
  /** File descriptor (1 or 2), or where to put each line. */
  readonly destination: 1 | 2 | { readonly write: (line: string) => void }
  readonly name: string
  readonly version: string
}

const NAMES = [
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'x-api-key',
  'token',
  'access_token',
  'refresh_token',
  'id_token',
  'client_secret',
  'secret',
  'password',
  'code_verifier',
]
const PLACES = ['', 'headers', 'req.headers', 'res.headers', 'body', 'fields', 'query', 'claims']
const PATHS = PLACES.flatMap((place) =>
  NAMES.map((name) => (/^\w+$/.test(name) ? (place && `${place}.`) + name : `${place}["${name}"]`)),
)

const LONGEST = 2_048
const MOST_WAITING = 8 * 1024 * 1024
const MOMENT_MS = 20
/** How often, each 100 ms, a full pipe is tried again at exit. */
const AT_EXIT = 10
const DEEPEST = 5
const BEARER = /\b(Bearer|Basic|DPoP)\s+[\w.~+/=-]{6,}/gi
const IN_URL =
  /([?&](?:access_token|refresh_token|id_token|client_secret|code|state|token|key)=)[^&\s"']+/gi
const RUN_TOKEN = /\bdpr_[\w-]+/g
// What ends a line or turns the reading direction in some viewer, though JSON allows it raw.
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu

/** Control, format and bidirectional characters as `\uXXXX`: text that can be printed on a terminal. */
export const visible = (text: string): string =>
  text.replaceAll(UNSEEN, (char) =>
    Array.from({ length: char.length }, (_, i) => char.charCodeAt(i).toString(16).padStart(4, '0'))
      .map((hex) => `\\u${hex}`)
      .join(''),
  )

const scrubbed = (text: string): string =>
  text
    .slice(0, LONGEST)
    .replaceAll(BEARER, '$1 [redacted]')
    .replaceAll(IN_URL, '$1[redacted]')
    .replaceAll(RUN_TOKEN, '[redacted]')

/** Type, code, message, stack and the same of causes; never `response`, bodies, headers or other members. */
const errorFields = (error: Error, depth = 0): object => {
  const { cause } = error
  const code: unknown = 'code' in error ? error.code : undefined
  const inner = error instanceof AggregateError ? error.errors : []
  return {
    type: error.name,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    message: scrubbed(error.message),
    ...(depth === 0 && error.stack !== undefined ? { stack: scrubbed(error.stack) } : {}),
    ...(depth < DEEPEST && cause instanceof Error ? { cause: errorFields(cause, depth + 1) } : {}),
    ...(depth < DEEPEST && inner.length > 0
      ? { errors: inner.slice(0, 5).map((each) => plain(each, depth + 1)) }
      : {}),
  }
}

/** Errors at any depth become what may be said of them; what is thrown and no Error says only its type. */
const plain = (value: unknown, depth: number): unknown => {
  if (value instanceof Error) return errorFields(value, depth)
  if (typeof value !== 'object' || value === null) return value
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if ('toJSON' in value) return value
  if (depth >= DEEPEST) return '[deeper]'
  if (Array.isArray(value)) return value.slice(0, 100).map((each) => plain(each, depth + 1))
  const proto: unknown = Object.getPrototypeOf(value)
  if (proto !== Object.prototype && proto !== null) return `[${value.constructor.name}]`
  return Object.fromEntries(Object.entries(value).map(([k, each]) => [k, plain(each, depth + 1)]))
}

const fieldsOf = (fields: object): Record<string, unknown> =>
  fields instanceof Error
    ? { err: errorFields(fields) }
    : Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plain(value, 0)]))

/** There is nowhere to say that the log cannot be written; evidence has its own way and its own check. */
const streamTo = (fd: 1 | 2, sync: boolean, tries: () => number) =>
  new sonic.SonicBoom({
    fd,
    sync,
    maxLength: MOST_WAITING,
    retryEAGAIN: () => tries() > 0,
  }).on('error', () => {})

/**
 * Asynchronous, since a reader that stops reading must not stop the loop; what is left is written at exit.
 * @param last called at exit, for what is still to be said
 */
const destinationOf = (fd: 1 | 2, last: () => void) => {
  let tries = Infinity
  let writing = false
  const written = (): void => void (writing = false)
  const live = streamTo(fd, false, () => tries--)
    .on('drain', written)
    .on('error', written)
  let out = live
  process.once('exit', () => {
    tries = AT_EXIT
    // The thread that writes right now needs a moment; a second try would print its lines twice.
    if (writing) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, MOMENT_MS)
    try {
      live.flushSync()
      out = streamTo(fd, true, () => tries--)
      last()
    } catch {
      // the reader is gone, or full: nothing is left to try
    }
  })
  return {
    write: (line: string) => {
      writing = true
      out.write(line)
    },
  }
}

/** A log whose `setLevel` takes effect at once. Equal warnings and errors are summed; `flush` tells what is counted yet. */
export const createLog = (
  options: LogOptions,
): Log & { readonly setLevel: (level: string) => void; readonly flush: () => void } => {
  const { destination, level, name, version } = options
  const summed = sumRepeats(({ level, fields, msg }) => logger[level](fields, msg))
  const out =
    typeof destination === 'number' ? destinationOf(destination, summed.flush) : destination
  const logger = pino(
    {
      level,
      base: { service: name, version },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: fieldsOf },
      serializers: { err: (value: unknown) => value },
      redact: { paths: PATHS, censor: '[redacted]' },
    },
    {
      write: (line) => {
        out.write(`${visible(line.slice(0, -1))}\n`)
      },
    },
  )
  return {
    debug: (fields, msg) => logger.debug(fields, msg),
    info: (fields, msg) => logger.info(fields, msg),
    warn: (fields, msg) => summed.say({ level: 'warn', fields, msg }),
    error: (fields, msg) => summed.say({ level: 'error', fields, msg }),
    flush: summed.flush,
    setLevel: (level) => {
      logger.level = level
    },
  }
}
