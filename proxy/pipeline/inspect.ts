// Reads every body that some server reads as fields; the bytes kept are the bytes sent.
import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { InnerCall, Json, Mail, ReadField, Route } from '../model.ts'
import { CallerLeft, Problem } from '../problem.ts'
import { readBatch, typeOfBatch } from '../envelope/batch.ts'
import { readMessage, type Spoken } from '../envelope/jsonrpc.ts'
import { asMembers, isMessage, mailIn, unread as unreadMail } from '../envelope/mail.ts'
import { bodyRules, queryMembers, readBody } from '../wire/body.ts'
import type { Read } from '../wire/body.ts'
import { takes } from '../wire/grpc.ts'
import { readMedia } from '../wire/media.ts'
import type { Media } from '../wire/media.ts'
import type { Act } from './classify.ts'

export type Body = {
  /**
   * `too_large`: an upload that passes unread; `unparsed`: streamed, or searched and without members that policy needs.
   */
  readonly state: 'none' | 'parsed' | 'unparsed' | 'too_large'
  /** Exactly what will be sent; null: stream the request. */
  readonly bytes: Buffer | null
  readonly declared: number | null
  readonly contentType: string | null
  /** JSON pointer → value, for the pointers that the operation names. */
  readonly json: Readonly<Record<string, Json>>
  /** `sha256:…` of `bytes`. */
  readonly digest: string | null
  readonly stripped: readonly string[]
  /** To whom its mail goes, where the operation writes one. */
  readonly mail?: Mail
  /** It came as gzip, and is sent as it was read. */
  readonly unzipped?: true
  /** Nobody looked at what `bytes` say: they were read to be sent as they are. */
  readonly unseen?: true
  /** The calls inside a GraphQL call. */
  readonly inner?: readonly ReadField[]
  /** The calls in a batch, and its document with a mark for each number that others read as another. */
  readonly calls?: readonly InnerCall[]
  readonly marked?: (() => unknown) | undefined
  /** What was read of the body of each. */
  readonly parts?: readonly Body[]
  /** What a body to an MCP server says. */
  readonly message?: Spoken & { readonly value: unknown }
}

/** Of a call without one. */
export const NO_BODY: Body = {
  state: 'none',
  bytes: null,
  declared: 0,
  contentType: null,
  json: {},
  digest: null,
  stripped: [],
}

type Limits = { readonly requestBody: number; readonly inspectedBody: number }

/** How long a body that must be read as a whole may take, ms. */
const WHOLE_MS = 60_000
const LATE = `the body was not whole after ${WHOLE_MS / 1_000} s, and must be read before the call may leave`

/** Reads up to `cap` bytes. null: the body is longer; what was read is put back, so that it can stream. */
export const readUpTo = (req: IncomingMessage, cap: number): Promise<Buffer | null> =>
  new Promise((resolve, reject) => {
    // It came with its head, as most do: nobody needs to wait for events. Without the length, a stream that flows gives
    // its first chunk alone.
    const here = req.complete && !req.destroyed ? req.readableLength : 0
    if (here > 0 && here <= cap) return resolve(req.read(here) as Buffer)
    const chunks: Buffer[] = []
    let size = 0
    // Whoever lets a body drip holds what was read of it in memory.
    const late = (): void => onError(new Problem('request_timeout', LATE))
    const timer = req.complete ? undefined : setTimeout(late, WHOLE_MS)
    const off = (): void => {
      clearTimeout(timer)
      req.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
    }
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk)
      size += chunk.length
      if (size <= cap) return
      off()
      req.pause()
      req.unshift(Buffer.concat(chunks))
      resolve(null)
    }
    const onEnd = (): void => {
      off()
      resolve(Buffer.concat(chunks, size))
    }
    const onError = (error: Error): void => {
      off()
      const cause = new CallerLeft(error)
      reject(
        error instanceof Problem ? error : new Problem('request_invalid', cause.message, { cause }),
      )
    }
    const onClose = (): void => onError(new Error('the caller left'))
    // Who left before now does not leave again.
    if (req.destroyed) return onClose()
    req.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
  })

/** Without a body, the query is the only place that a server can look in. */
const bodiless = (route: Route, { operation }: Act): Body => {
  const { query } = route.target
  const { mail } = operation
  const none = mail === undefined ? NO_BODY : { ...NO_BODY, mail: mailIn(mail, query, null) }
  if (operation.inspect.length === 0) return none
  return { ...none, json: queryMembers(query, operation.inspect, null) }
}

const tooLong = (cap: number): Problem =>
  new Problem(
    'request_too_large',
    `the body must be inspected, and limits.inspected_body allows ${cap} bytes`,
  )

/**
 * @param early the whole body, where it was read before
 * @throws Problem 413 request_too_large, 415 unsupported_media_type, 400 credential_in_body and request_invalid
 */
export const inspect = (
  req: IncomingMessage,
  { route, act }: { readonly route: Route; readonly act: Act },
  limits: Limits,
  early: Buffer | null = null,
): Body | Promise<Body> => {
  const length = req.headers['content-length']
  const declared = length === undefined ? null : Number(length)
  if (req.headers['transfer-encoding'] === undefined && (declared === null || declared === 0))
    return bodiless(route, act)
  if ((declared ?? 0) > limits.requestBody)
    throw new Problem(
      'request_too_large',
      `the body has ${declared} bytes; limits.request_body allows ${limits.requestBody}`,
    )
  const { operation } = act
  const contentType = req.headers['content-type'] ?? null
  const media = readMedia(contentType)
  const { mail } = operation
  const streamed: Body = {
    state: 'unparsed',
    bytes: null,
    declared,
    contentType,
    json: {},
    digest: null,
    stripped: [],
    ...(mail === undefined ? {} : { mail: unreadMail(mail) }),
  }
  if (operation.opaque && !takes(operation.opaque, media.essence))
    throw new Problem(
      'unsupported_media_type',
      `${operation.id} takes bodies of ${operation.opaque} and no others`,
    )
  if (operation.opaque) return streamed
  if (act.kind === 'graphql' && media.essence !== 'application/json')
    throw new Problem('unsupported_media_type', 'a GraphQL call comes as application/json')
  const batch = act.envelope === undefined ? null : typeOfBatch(act.envelope.format)
  if (batch !== null && media.essence !== batch)
    throw new Problem('unsupported_media_type', `this batch comes as ${batch}`)
  if (act.kind === 'mcp' && media.essence !== 'application/json')
    throw new Problem('unsupported_media_type', 'a message to an MCP server is application/json')
  const needed = operation.inspect.length > 0
  const message = isMessage(mail, media.essence)
  const passes = media.reading === 'stream' || (media.reading === 'refused' && operation.upload)
  if (passes && !needed && !message) return streamed
  if (batch === null && !message && (passes || media.reading === 'refused'))
    throw unreadable(media, needed)
  if ((declared ?? 0) > limits.inspectedBody) {
    if (operation.upload) return { ...streamed, state: 'too_large' }
    throw tooLong(limits.inspectedBody)
  }
  const coding = (req.headers['content-encoding'] ?? 'identity').toLowerCase()
  if (coding !== 'identity' && coding !== 'gzip')
    throw new Problem(
      'unsupported_media_type',
      'the body must be inspected, so it must come without Content-Encoding, or as gzip',
    )
  const cap = limits.inspectedBody
  const bytes = early ?? readUpTo(req, cap)
  const given = { route, act, cap, headers: req.headers }
  if (coding === 'identity') return read(bytes, streamed, media, given)
  return unpacked(bytes, cap).then(async ({ packed, plain }) => {
    // What it holds passes the limit, as an upload may: it goes on as it came.
    if (packed !== null && plain === null && operation.upload)
      return { ...streamed, state: 'too_large', ...asBytes(packed), unseen: true }
    const body = await read(plain, streamed, media, given)
    return body.state === 'too_large' ? body : { ...body, unzipped: true }
  })
}

/** What will be sent. */
const asBytes = (bytes: Buffer): Pick<Body, 'bytes' | 'declared' | 'digest'> => ({
  bytes,
  declared: bytes.length,
  digest: `sha256:${hash('sha256', bytes, 'hex')}`,
})

/**
 * What a body says that came as gzip; null: more than `cap` bytes. Others unpack strange ones otherwise, so it is sent as it
 * was read.
 * @throws Problem 400 request_invalid
 */
const unpacked = async (
  coming: Buffer | Promise<Buffer | null>,
  cap: number,
): Promise<{ readonly packed: Buffer | null; readonly plain: Buffer | null }> => {
  const packed = await coming
  if (packed === null || packed.length === 0) return { packed, plain: packed }
  // Few clients pack what they send: only they load it.
  const { gunzip } = process.getBuiltinModule('node:zlib')
  return new Promise((resolve, reject) => {
    gunzip(packed, { maxOutputLength: cap }, (cause, plain) => {
      if (cause === null) resolve({ packed, plain })
      else if ('code' in cause && cause.code === 'ERR_BUFFER_TOO_LARGE')
        resolve({ packed, plain: null })
      else
        reject(
          new Problem(
            'request_invalid',
            'the body is not the gzip that its Content-Encoding says',
            {
              cause,
            },
          ),
        )
    })
  })
}

const unreadable = ({ essence }: Media, needed: boolean): Problem =>
  new Problem(
    'unsupported_media_type',
    needed
      ? `policy needs members of the body, and ${essence ?? 'this'} has none that deputy can read: send application/json`
      : `servers read fields out of ${essence ?? 'this'}, and deputy cannot: send JSON or a form, or let the operation say upload or opaque`,
  )

const read = async (
  coming: Buffer | null | Promise<Buffer | null>,
  streamed: Body,
  media: Media,
  {
    route,
    act,
    cap,
    headers,
  }: {
    readonly route: Route
    readonly act: Act
    readonly cap: number
    readonly headers: IncomingMessage['headers']
  },
): Promise<Body> => {
  const { operation, kind } = act
  const bytes = await coming
  if (bytes === null) {
    if (operation.upload) return { ...streamed, state: 'too_large' }
    throw tooLong(cap)
  }
  if (bytes.length === 0) return bodiless(route, act)
  const rules = bodyRules(route.connection.provider, operation)
  const contentType = streamed.contentType ?? ''
  const unread: Read = { state: 'parsed', bytes, json: {}, stripped: [] }
  const message = isMessage(operation.mail, media.essence)
  const passes = message || media.reading === 'refused'
  const found = passes ? unread : readBody(bytes, media, contentType, rules)
  const { query } = route.target
  const mail =
    operation.mail && mailIn(operation.mail, query, { ...found, ...media, ...rules, contentType })
  const json =
    message && operation.mail && mail
      ? asMembers(operation.mail, mail, operation.inspect)
      : found.json
  queryMembers(query, operation.inspect, json)
  const { value, marked } = found
  const opened =
    act.envelope === undefined
      ? found
      : readBatch(act.envelope.format, { bytes: found.bytes, value, contentType }, route)
  const body: Body = {
    ...streamed,
    state: found.state,
    ...asBytes(opened.bytes),
    json,
    ...(mail === undefined ? {} : { mail }),
    stripped: found.stripped,
    ...('calls' in opened ? { calls: opened.calls, marked } : {}),
  }
  if (kind === 'mcp') return withMessage(body, found.bytes, found.value, headers)
  if (kind !== 'graphql') return body
  // Loaded by the first GraphQL call: nobody else waits for a parser.
  const { readGraphql } = await import('../envelope/graphql.ts')
  return { ...body, inner: readGraphql(value, marked) }
}

const withMessage = (
  body: Body,
  bytes: Buffer,
  value: unknown,
  headers: IncomingMessage['headers'],
): Body => {
  const came = bytes.toString('utf8')
  // Its mark of order is no part of the message, and is not sent.
  const message = readMessage(came.replace(/^\ufeff/, ''), value, headers)
  if (message.text === came) return { ...body, message: { ...message, value } }
  return { ...body, ...asBytes(Buffer.from(message.text)), message: { ...message, value } }
}
