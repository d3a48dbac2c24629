// Messages to an MCP server whose tool is called by its name here, and what its answers say. Both revisions. Pure.
import type { JsonObject } from '../model.ts'
import type { InnerAnswer } from '../net/inner.ts'
import { isObject } from '../wire/json.ts'

const META = 'io.modelcontextprotocol/'
export const MODERN = '2026-07-28'
export const LEGACY = '2025-11-25'
/** One message has one answer here: its id need not tell it from others. */
const ID = 1
const SELF: JsonObject = { name: 'deputy', version: '1' }

/** How a server is spoken to. `session`: as deputy sealed it to the person; null: it has none. */
export type Peer = {
  readonly revision: 'modern' | 'legacy'
  readonly version: string
  readonly session: string | null
}
/** Whom nobody has asked yet: by the newer revision, which has no opening. */
export const UNASKED: Peer = { revision: 'modern', version: MODERN, session: null }

/** @param what.notification it has no answer */
export const messageTo = (
  peer: Peer,
  { host, path }: { readonly host: string | null; readonly path: string },
  what: {
    readonly method: string
    readonly params?: JsonObject
    readonly notification?: boolean
  },
): {
  readonly method: string
  readonly host: string | null
  readonly target: string
  readonly headers: readonly string[]
  readonly body: Buffer
} => {
  const { method, params = {}, notification = false } = what
  const modern = peer.revision === 'modern'
  const opening = method === 'initialize'
  const said: JsonObject = modern
    ? {
        ...params,
        _meta: {
          [`${META}protocolVersion`]: peer.version,
          [`${META}clientCapabilities`]: {},
          [`${META}clientInfo`]: SELF,
        },
      }
    : params
  const { name } = params
  const headers = [
    'accept',
    'application/json, text/event-stream',
    'content-type',
    'application/json',
    ...(opening ? [] : ['mcp-protocol-version', peer.version]),
    ...(modern ? ['mcp-method', method] : []),
    ...(modern && typeof name === 'string' ? ['mcp-name', name] : []),
    ...(peer.session === null ? [] : ['mcp-session-id', peer.session]),
  ]
  const message: JsonObject = {
    jsonrpc: '2.0',
    ...(notification ? {} : { id: ID }),
    method,
    params: said,
  }
  return {
    method: 'POST',
    host,
    target: path,
    headers,
    body: Buffer.from(JSON.stringify(message)),
  }
}
export const opening: JsonObject = {
  protocolVersion: LEGACY,
  capabilities: {},
  clientInfo: SELF,
}

export type Reply =
  | { readonly kind: 'result'; readonly result: JsonObject; readonly session: string | null }
  /** Of JSON-RPC; nothing was done. */
  | { readonly kind: 'error'; readonly status: number; readonly error: JsonObject }
  /** deputy's own answer: the document of a problem. */
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly code: string
      readonly document: JsonObject
      readonly headers: ReadonlyMap<string, string>
    }
  /** None that can be read. */
  | { readonly kind: 'none'; readonly status: number; readonly why: string }

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
/** Of a stream the message that answers: pipeline/mcp passes each event with LF alone. */
const answerIn = ({ headers, body }: InnerAnswer): unknown => {
  const text = body.toString('utf8')
  if (!/^text\/event-stream\b/i.test(headers.get('content-type') ?? '')) return parsed(text)
  for (const event of text.split('\n\n')) {
    const data = event
      .split('\n')
      .flatMap((line) => (line.startsWith('data:') ? [line.slice(5).replace(/^ /, '')] : []))
    const message = data.length === 0 ? undefined : parsed(data.join('\n'))
    if (isObject(message) && !Object.hasOwn(message, 'method') && message['id'] === ID)
      return message
  }
  return undefined
}

/** Where a refusal holds the document: as the client's revision reads it (pipeline/mcp refusalFor). */
const documentIn = (message: unknown): JsonObject | null => {
  if (!isObject(message)) return null
  const { error, result } = message
  const inError = isObject(error) ? error['data'] : undefined
  const meta = isObject(result) ? result['_meta'] : undefined
  const found = inError ?? (isObject(meta) ? meta['deputy/problem'] : undefined) ?? message
  return isObject(found) ? (found as JsonObject) : null
}

export const readReply = (answer: InnerAnswer): Reply => {
  const { status, headers } = answer
  if (answer.end === 'too_large')
    return { kind: 'none', status: 502, why: 'its answer is larger than a tool may read' }
  const code = headers.get('deputy-answer')
  const message = answerIn(answer)
  if (code !== undefined) {
    const document = documentIn(message) ?? {}
    const own = document['status']
    return {
      kind: 'refused',
      status: typeof own === 'number' ? own : status,
      code,
      document,
      headers,
    }
  }
  if (isObject(message) && isObject(message['result']) && status < 300)
    return {
      kind: 'result',
      result: message['result'] as JsonObject,
      session: headers.get('mcp-session-id') ?? null,
    }
  if (isObject(message) && isObject(message['error']))
    return { kind: 'error', status, error: message['error'] as JsonObject }
  if (answer.end === 'broken' || status === 0)
    return {
      kind: 'none',
      status: 502,
      why: 'the call was cut off before its answer was whole; the server may have carried it out',
    }
  return { kind: 'none', status, why: `its answer (status ${status}) is no message of MCP` }
}

/** A text of a server, in one line, without what is not shown, bounded. */
export const plainText = (text: unknown, most: number): string => {
  if (typeof text !== 'string') return ''
  const line = text
    .slice(0, most * 4)
    .replaceAll(
      /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{Default_Ignorable_Code_Point}\p{Zl}\p{Zp}\s]+/gu,
      ' ',
    )
    .trim()
  return line.length <= most ? line : `${line.slice(0, most - 1).trimEnd()}…`
}
