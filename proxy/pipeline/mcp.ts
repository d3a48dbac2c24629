// Calls of an MCP server: which operation a message is, what its answer may list, and how a refusal is told.
import type { Json, McpCall, OperationRow, Provider, Route } from '../model.ts'
import { Problem, type ProblemDocument } from '../problem.ts'
import { argumentsAt, ASKED } from '../envelope/jsonrpc.ts'
import { EXACT } from '../wire/json.ts'
import { fits } from '../wire/pattern.ts'
import type { Listed } from '../envelope/listed.ts'
import type { Sifted } from '../wire/headers.ts'
import { sessionUnknown, type McpSession } from '../wire/mcp_session.ts'
import { UNKNOWN, type Act } from './classify.ts'

/** A message whose body was read. */
export type Message = { readonly call: McpCall; readonly text: string; readonly value: unknown }

const RESOURCE = 'resources/read '
/** `.` or `..` between two separators, with or without parameters (RFC 3986 3.3). */
const STEP = /(?:^|[/\\])\.{1,2}(?:$|[/\\?#;])/
const CODED = /%(?:2e|2f|5c|3b|25)/gi
/** More codings than this, one in another, nobody writes by mistake. */
const MOST_CODED = 4
/** Some server decodes once more than the next, and another cuts parameters off: none may read another resource by it. */
const hasSteps = (uri: string): boolean => {
  let text = uri
  for (let n = 0; n < MOST_CODED; n++) {
    if (STEP.test(text)) return true
    const plain = text.replaceAll(CODED, (code) => decodeURIComponent(code))
    if (plain === text) return false
    text = plain
  }
  return true
}
/** A URI has a row where a pattern fits; the first of the definition wins. */
const rowOf = (
  messages: ReadonlyMap<string, OperationRow>,
  key: string,
): OperationRow | undefined => {
  const exact = messages.get(key)
  if (exact !== undefined || !key.startsWith(RESOURCE)) return exact
  // A server that resolves such steps would read another resource than policy saw.
  if (hasSteps(key.slice(RESOURCE.length))) return undefined
  for (const [pattern, row] of messages) if (fits(pattern, key)) return row
  return undefined
}

/** Which lists an answer may hold, by the beginning of the rows that stand for their members. */
const LISTS: ReadonlyMap<string, readonly string[]> = new Map([
  ['tools/list', ['tools/call ']],
  ['prompts/list', ['prompts/get ']],
  ['resources/list', [RESOURCE]],
  ['resources/templates/list', [RESOURCE]],
])
const EVERY_LIST = ['tools/call ', 'prompts/get ', RESOURCE]

const NO_ARGUMENTS: Readonly<Record<string, Json>> = {}
const NOBODY: McpCall = {
  kind: 'request',
  id: null,
  method: '',
  key: '',
  name: null,
  modern: false,
  url: false,
  answered: null,
}

/** A row as the call without arguments that it stands for. */
export const asMessage = (operation: OperationRow, segments: readonly string[]): Act => {
  const key = operation.mcp ?? ''
  const [method = '', name = null] = key.split(' ', 2)
  // A pattern is no URI: policy sees none.
  const mcp = { ...NOBODY, method, key, name: key.startsWith(RESOURCE) ? null : name }
  return { operation, kind: 'mcp', segments, mcp: { ...mcp, arguments: NO_ARGUMENTS } }
}
const listedBy = ({ messages, segments }: Act, begins: readonly string[]): readonly Act[] =>
  [...(messages ?? [])].flatMap(([key, operation]) =>
    begins.some((begin) => key.startsWith(begin)) ? [asMessage(operation, segments)] : [],
  )

/** What a message does besides, as the message of its own that it might have been. */
const besides = (
  messages: ReadonlyMap<string, OperationRow>,
  key: string,
  segments: readonly string[],
): Act => {
  const operation = rowOf(messages, key) ?? UNKNOWN
  const mcp = key.startsWith(RESOURCE)
    ? { ...NOBODY, method: 'resources/subscribe', key, name: key.slice(RESOURCE.length) }
    : { ...NOBODY, method: key, key }
  return { operation, kind: 'mcp', segments, mcp: { ...mcp, arguments: NO_ARGUMENTS } }
}

/**
 * The call, once its message is read; GET and DELETE have none. A stream may repeat any answer.
 * @param session whether the client of this session can show links; null: no session says so
 */
export const spoken = (
  act: Act,
  { connection, target }: Pick<Route, 'connection' | 'target'>,
  message: Message | undefined,
  session: { readonly url: boolean } | null,
): Act => {
  const { messages, segments } = act
  if (act.kind !== 'mcp' || messages === undefined) return act
  if (target.query.length > 0)
    throw new Problem('request_invalid', 'a call of an MCP server has no query in its URL')
  if (target.method !== 'POST') {
    if (message !== undefined)
      throw new Problem('request_invalid', `${target.method} to an MCP server has no body`)
    const { operation } = act
    const lists = target.method === 'DELETE' ? {} : { lists: listedBy(act, EVERY_LIST) }
    return { operation, kind: 'mcp', segments, ...lists }
  }
  if (message === undefined)
    throw new Problem('request_invalid', 'a call of an MCP server needs a JSON-RPC message')
  const { call, text, value } = message
  const operation = rowOf(messages, call.key) ?? UNKNOWN
  const names = connection.provider.names ?? EXACT
  const mcp = {
    ...call,
    url: call.url || (!call.modern && session?.url === true),
    arguments: argumentsAt(text, value, operation.inspect, names),
  }
  const begins = LISTS.get(call.method)
  const lists = begins === undefined ? {} : { lists: listedBy(act, begins) }
  const one: Act = { operation, kind: 'mcp', segments, mcp, ...lists }
  const also = call.also?.map((key) => besides(messages, key, segments)) ?? []
  return also.length === 0 ? one : { ...one, parts: [one, ...also] }
}

/** Those of a list that may be seen: whose row is among these. */
export const listed = (keys: ReadonlySet<string>, provider: Provider): Listed => {
  const messages = new Map(
    provider.operations.flatMap((row) => (row.mcp === undefined ? [] : [[row.mcp, row] as const])),
  )
  const seen =
    (begin: string) =>
    (name: string): boolean => {
      const row = rowOf(messages, begin + name)
      return row?.mcp !== undefined && keys.has(row.mcp)
    }
  return {
    tools: seen('tools/call '),
    prompts: seen('prompts/get '),
    resources: seen(RESOURCE),
    // A template stands for many: its braces are taken as they are written.
    resourceTemplates: seen(RESOURCE),
  }
}

const OF_REQUEST = /^mcp-(?:method$|name$|param-)/
/**
 * Headers of the protocol in their one spelling, and of a request only beside one: servers may go by either.
 * @throws Problem request_invalid
 */
export const plainHeaders = (sifted: Sifted, message: Message | undefined): Sifted => {
  const request = message !== undefined && message.call.kind !== 'response'
  for (const [i, name] of sifted.kept.entries()) {
    if (i % 2 === 1) continue
    const folded = name.replaceAll(/[^a-z0-9]/g, '-')
    if (folded.startsWith('mcp-') && folded !== name && !name.startsWith('mcp-param-'))
      throw new Problem('request_invalid', `some servers take the header ${name} for ${folded}`)
    if (!request && OF_REQUEST.test(name))
      throw new Problem('request_invalid', `the header ${name} is of requests, and this is none`)
  }
  return sifted
}

const SESSION = 'mcp-session-id'
/**
 * The agent's headers with the session as its server knows it.
 * @param open null: the session is not this person's and agent's
 * @throws Problem mcp_session_unknown
 */
export const inSession = (
  sifted: Sifted,
  open: (sealed: string) => McpSession | null,
): { readonly sifted: Sifted; readonly session: McpSession | null } => {
  const at = sifted.kept.findIndex((name, i) => i % 2 === 0 && name === SESSION)
  if (at === -1) return { sifted, session: null }
  const session = open(sifted.kept[at + 1] ?? '')
  if (session === null || sifted.kept.indexOf(SESSION, at + 2) !== -1) throw sessionUnknown()
  const kept = sifted.kept.with(at + 1, session.id)
  return { sifted: { ...sifted, kept }, session }
}

/** `operation.mcp` as policy sees it. */
export const mcpMember = ({ mcp }: Pick<Act, 'mcp'>): string => {
  if (mcp === undefined) return 'null'
  const { method, key, name, arguments: given } = mcp
  const named = key.startsWith('tools/call ')
    ? { tool: name }
    : key.startsWith('prompts/get ')
      ? { prompt: name }
      : { uri: name ?? undefined }
  return JSON.stringify({ method, ...named, arguments: given })
}

/** Requests that may be answered with a question (2026-07-28). */
const MAY_ASK: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read'])
/** Statuses that clients of MCP act on: what is wrong is the request itself, its session or its pace. */
const OF_HTTP: ReadonlySet<number> = new Set([400, 401, 404, 405, 413, 415, 429])

/**
 * A refusal as this client reads it: an error of JSON-RPC, a question with the link, or for whoever cannot be asked the
 * link as text. A notification has no answer but a status.
 */
export const refusalFor = (
  mcp: McpCall | undefined,
  document: ProblemDocument,
): { readonly status: number; readonly body: unknown } => {
  const { detail, url, authorization_id: id, reasons, rpc: given, ...rest } = document
  const data = {
    ...rest,
    detail,
    ...(reasons === undefined ? {} : { reasons }),
    ...(url === undefined ? {} : { url, authorization_id: id }),
  }
  const error = (status: number, code: number, message: string, more: object = {}) => ({
    status,
    body: {
      jsonrpc: '2.0',
      id: mcp?.id ?? null,
      error: { code, message, data: { ...data, ...more } },
    },
  })
  const result = (body: object) => ({
    status: 200,
    body: { jsonrpc: '2.0', id: mcp?.id ?? null, result: body },
  })
  if (mcp === undefined || mcp.id === null || OF_HTTP.has(document.status))
    return error(document.status, typeof given === 'number' ? given : document.status, detail)
  const unknown = Array.isArray(reasons) && reasons.includes('operation_unknown')
  if (unknown && mcp.name === null)
    return error(mcp.modern ? 404 : 200, -32601, `Method not found. ${detail}`)
  if (unknown) return error(200, -32602, `Unknown: ${mcp.name}. ${detail}`)
  if (typeof url !== 'string') return error(200, document.status, detail)
  const complete = mcp.modern ? { resultType: 'complete' } : {}
  if (mcp.url && mcp.answered !== 'declined') {
    const params = { mode: 'url', url, message: detail }
    if (!mcp.modern)
      return error(200, -32042, detail, { elicitations: [{ ...params, elicitationId: id }] })
    if (MAY_ASK.has(mcp.method))
      return result({
        resultType: 'input_required',
        inputRequests: { [ASKED]: { method: 'elicitation/create', params } },
      })
  }
  if (mcp.method !== 'tools/call') return error(200, document.status, detail)
  return result({
    ...complete,
    isError: true,
    content: [{ type: 'text', text: `${document.code}: ${detail}` }],
    _meta: { 'deputy/problem': data },
  })
}
