// Reads the body where provider or policy need it; the bytes kept are the bytes sent.
import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Json, RootField, Route } from '../model.ts'
import { CallerLeft, Problem } from '../problem.ts'
import { atPointer, parseStrict } from '../wire/json.ts'
import { formFields, jsonCredential, multipartCredential, stripForm } from '../wire/strip.ts'
import type { Act } from './classify.ts'

export type Body = {
  /** `too_large`: an upload that passes unread; `unparsed`: read or streamed, but neither JSON nor a form. */
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
  /** The calls inside a GraphQL call. */
  readonly inner?: readonly RootField[]
}

const NONE: Body = {
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
const readUpTo = (req: IncomingMessage, cap: number): Promise<Buffer | null> =>
  new Promise((resolve, reject) => {
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

const atPointers = (value: unknown, pointers: readonly string[]): Record<string, Json> => {
  const found: Record<string, Json> = {}
  for (const pointer of pointers) {
    const at = atPointer(value, pointer)
    if (at !== undefined) found[pointer] = at as Json
  }
  return found
}

/**
 * @throws Problem 413 request_too_large, 415 unsupported_media_type, 400 credential_in_body
 */
export const inspect = (
  req: IncomingMessage,
  route: Route,
  act: Act,
  limits: Limits,
): Body | Promise<Body> => {
  const length = req.headers['content-length']
  const declared = length === undefined ? null : Number(length)
  if (req.headers['transfer-encoding'] === undefined && (declared === null || declared === 0))
    return NONE
  if (declared !== null && declared > limits.requestBody)
    throw new Problem(
      'request_too_large',
      `the body has ${declared} bytes; limits.request_body allows ${limits.requestBody}`,
    )
  const names = route.connection.provider.strip.body
  const { operation } = act
  const contentType = req.headers['content-type'] ?? null
  const streamed: Body = {
    state: 'unparsed',
    bytes: null,
    declared,
    contentType,
    json: {},
    digest: null,
    stripped: [],
  }
  const graphql = act.kind === 'graphql'
  if (operation.opaque && mediaOf(contentType) !== operation.opaque)
    throw new Problem(
      'unsupported_media_type',
      `${operation.id} takes bodies of ${operation.opaque} and no others`,
    )
  const unread = names.length === 0 && operation.inspect.length === 0 && !graphql
  if (operation.opaque || act.kind === 'asset' || unread) return streamed
  const tooLarge = (): Body => {
    if (operation.upload) return { ...streamed, state: 'too_large' }
    throw new Problem(
      'request_too_large',
      `the body must be inspected, and limits.inspected_body allows ${limits.inspectedBody} bytes`,
    )
  }
  if (declared !== null && declared > limits.inspectedBody) return tooLarge()
  if ((req.headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity')
    throw new Problem(
      'unsupported_media_type',
      'the body must be inspected, so it must come without Content-Encoding',
    )
  const charset =
    /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType ?? '')?.[1]?.toLowerCase() ?? 'utf-8'
  if (!['utf-8', 'utf8', 'us-ascii', 'ascii', 'iso-8859-1', 'latin1'].includes(charset))
    throw new Problem(
      'unsupported_media_type',
      `the body must be inspected, and its charset ${JSON.stringify(charset)} has readings that deputy does not know: send UTF-8`,
    )
  if (graphql && mediaOf(contentType) !== 'application/json')
    throw new Problem('unsupported_media_type', 'a GraphQL call comes as application/json')
  return read(req, streamed, names, act, limits.inspectedBody, tooLarge)
}

const mediaOf = (contentType: string | null): string =>
  (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? ''

const read = async (
  req: IncomingMessage,
  streamed: Body,
  names: readonly string[],
  { kind, operation }: Act,
  cap: number,
  tooLarge: () => Body,
): Promise<Body> => {
  const bytes = await readUpTo(req, cap)
  if (bytes === null) return tooLarge()
  const media = mediaOf(streamed.contentType)
  const pointers = operation.inspect
  const kept = (body: Partial<Body>, sent = bytes): Body => ({
    ...streamed,
    bytes: sent,
    declared: sent.length,
    digest: `sha256:${hash('sha256', sent, 'hex')}`,
    ...body,
  })
  const refuse = (name: string): never => {
    throw new Problem(
      'credential_in_body',
      `the body has the field ${JSON.stringify(name)}, which is a credential: deputy supplies it`,
    )
  }
  if (media === 'application/x-www-form-urlencoded') {
    const form = stripForm(bytes, names)
    const { stripped } = form
    // Fields have no depth: what stands deeper cannot be looked for here, and the body stays unparsed.
    if (pointers.length === 0 || pointers.some((pointer) => !/^\/[^/~]+$/.test(pointer)))
      return kept({ stripped }, form.bytes)
    const fields = Object.entries(
      formFields(
        form.bytes,
        pointers.map((pointer) => pointer.slice(1)),
      ),
    )
    const json = Object.fromEntries(fields.map(([name, value]) => [`/${name}`, value]))
    return kept({ state: 'parsed', json, stripped }, form.bytes)
  }
  if (media === 'multipart/form-data') {
    const name = multipartCredential(bytes, streamed.contentType ?? '', names)
    return name === null ? kept({}) : refuse(name)
  }
  // Servers read JSON whatever the type says, so every other body that is JSON is judged as JSON.
  const json = parseJson(bytes)
  if (json === null) return kept({})
  if ('broken' in json)
    throw new Problem('request_invalid', `the JSON body has more than one reading: ${json.broken}`)
  const name = jsonCredential(json.value, names)
  if (name !== null) refuse(name)
  const pointed = atPointers(json.value, pointers)
  if (kind !== 'graphql') return kept({ state: 'parsed', json: pointed })
  // Loaded by the first GraphQL call: nobody else waits for a parser.
  const { readGraphql } = await import('../envelope/graphql.ts')
  return kept({ state: 'parsed', json: pointed, inner: readGraphql(json.value) })
}

const strict = new TextDecoder('utf-8', { fatal: true })
const lenient = new TextDecoder('utf-8')

/** null: no JSON at all, state `unparsed`, which policy sees. A byte order mark is no way to hide JSON. */
const parseJson = (
  bytes: Buffer,
): { readonly value: unknown } | { readonly broken: string } | null => {
  const text = lenient.decode(bytes)
  try {
    JSON.parse(text)
  } catch {
    return null
  }
  try {
    return { value: parseStrict(strict.decode(bytes)) }
  } catch (error) {
    if (error instanceof TypeError) return { broken: 'it is not UTF-8' }
    return { broken: error instanceof Error ? error.message : 'malformed' }
  }
}
