// What an MCP host is told, in both revisions: results, refusals that a model can act on, and the link by which a person
// helps. Pure.
import type { JsonObject, McpCall } from '../model.ts'
import { ASKED } from '../envelope/jsonrpc.ts'
import { quoted } from '../wire/json.ts'
import { textOf, type Entry } from './endpoint.ts'
import { FAULT, SUPPORTED, type Fault, type Id } from './mcp_message.ts'
import { jsonOf } from './result.ts'
import { toldHalted } from './halted.ts'
import { resultOf, type Ran } from './run.ts'
import type { Seen } from './visible.ts'

export type Answer = {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** null: it has none. */
  readonly body: string | null
}
/** Who asks, as far as an answer depends on it. */
export type Told = Pick<McpCall, 'id' | 'modern' | 'url'>

const rpc = (id: Id, rest: string): string =>
  `{"jsonrpc":"2.0","id":${id === null ? 'null' : JSON.stringify(id)},${rest}}`

export const faultAnswer = ({ status, id, code, message, data }: Fault): Answer => ({
  status,
  body: rpc(
    id,
    `"error":${JSON.stringify({ code, message, ...(data === undefined ? {} : { data }) })}`,
  ),
})
const error = (
  id: Id,
  { status = 200, code, message }: Partial<Fault> & Pick<Fault, 'code' | 'message'>,
): Answer => faultAnswer({ kind: 'fault', status, id, code, message })

export const unknownTool = ({ id }: Told, name: string): Answer =>
  error(id, { code: FAULT.params, message: `Unknown tool: ${name.slice(0, 128)}` })
export const unknownMethod = ({ id, modern }: Told): Answer =>
  error(id, { status: modern ? 404 : 200, code: FAULT.method, message: 'Method not found' })
export const badParams = ({ id }: Told, message: string): Answer =>
  error(id, { code: FAULT.params, message })
/** A refusal that is not about this tool: the host itself is to wait. */
export const transportAnswer = (
  { id }: Told,
  status: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Answer => ({ ...error(id, { status, code: status, message }), headers })

/** A result by its members as JSON text. */
const result = ({ id, modern }: Told, members: string): Answer => ({
  status: 200,
  body: rpc(id, `"result":{${modern ? `"resultType":"complete",` : ''}${members}}`),
})
const inner = (of: JsonObject): string => JSON.stringify(of).slice(1, -1)

export const empty = (to: Told): Answer => ({
  status: 200,
  body: rpc(to.id, `"result":${to.modern ? '{"resultType":"complete"}' : '{}'}`),
})

const INSTRUCTIONS =
  'Each tool acts as the person for whom you call, and policy decides each call. Where a result says consent_required, show its link to the person and call the tool again when they are done. Do not repeat unchanged what is denied.'
const aboutServer = (version: string): JsonObject => ({ name: 'deputy', version })

export const opened = (to: Told, agreed: string, version: string): Answer =>
  result(
    to,
    inner({
      protocolVersion: agreed,
      capabilities: { tools: {} },
      serverInfo: aboutServer(version),
      instructions: INSTRUCTIONS,
    }),
  )
export const discovered = (to: Told, version: string): Answer =>
  result(
    to,
    inner({
      supportedVersions: SUPPORTED,
      capabilities: { tools: {} },
      instructions: INSTRUCTIONS,
      ttlMs: 0,
      cacheScope: 'private',
      _meta: { 'io.modelcontextprotocol/serverInfo': aboutServer(version) },
    }),
  )

/** One of the list; where the person has to connect an account first, it says so to the model and to the host. */
const listedText = (entry: Entry, { consent }: Seen): string => {
  const plain = textOf(entry)
  if (consent === null) return plain
  const { connection, tool } = entry.offer
  const first = `The person has to connect their ${connection.provider.name} account first: the first call answers with the link.`
  const said = quoted(`${tool.description} ${first}`)
  const mark = JSON.stringify({
    'deputy/consent': { connection: connection.name, scopes: consent },
  })
  const marked = plain.replace(
    `"description":${JSON.stringify(tool.description)}`,
    () => `"description":${said}`,
  )
  return `${marked.slice(0, -1)},"_meta":${mark}}`
}
/** @param ttlMs how long it may be taken for true */
export const listed = (
  to: Told,
  tools: readonly { readonly entry: Entry; readonly seen: Seen }[],
  ttlMs: number,
): Answer => listOf(to, tools.map(({ entry, seen }) => listedText(entry, seen)).join(), ttlMs)
/** @param tools as JSON text, with commas between */
export const listOf = (to: Told, tools: string, ttlMs: number): Answer =>
  result(
    to,
    `"tools":[${tools}]${to.modern ? `,"ttlMs":${Math.max(0, Math.floor(ttlMs))},"cacheScope":"private"` : ''}`,
  )

/** What a tool gives: the same as text, for hosts that read nothing else. */
export const done = (to: Told, value: JsonObject): Answer => {
  const text = jsonOf(value)
  return result(
    to,
    `"content":[{"type":"text","text":${JSON.stringify(text)}}],"structuredContent":${text}`,
  )
}
/** Of an MCP server's tool: its content as it came, and what of it is structured. */
const passed = (
  to: Told,
  { value, truncated }: Extract<Ran, { kind: 'done' }>,
  { content, structured }: NonNullable<Extract<Ran, { kind: 'done' }>['served']>,
): Answer => {
  const cut = truncated ? [{ type: 'text', text: 'The result was cut: ask for less.' }] : []
  return result(
    to,
    inner({ content: [...content, ...cut], ...(structured ? { structuredContent: value } : {}) }),
  )
}
/** An error that the model reads. */
export const failed = (
  to: Told,
  code: string,
  message: string,
  {
    more = {},
    headers = {},
  }: {
    readonly more?: JsonObject
    readonly headers?: Readonly<Record<string, string>>
  } = {},
): Answer => ({
  ...result(
    to,
    inner({
      isError: true,
      content: [{ type: 'text', text: `${code}: ${message}` }],
      structuredContent: { code, ...more },
    }),
  ),
  headers,
})

/** A person can lift these by a link; whatever else policy says is no question to anybody. */
const BY_LINK: ReadonlySet<string> = new Set([
  'consent_required',
  'reauthorization_required',
  'approval_required',
  'step_up_required',
])
const OF_HTTP: ReadonlySet<string> = new Set(['type', 'title', 'status', 'instance', 'detail'])

type Refused = Extract<Ran, { kind: 'refused' }>
export const detailOf = ({ document, code }: Refused): string =>
  typeof document['detail'] === 'string' ? document['detail'] : code
const retryOf = ({ headers }: Refused): Readonly<Record<string, string>> => {
  const after = headers.get('retry-after')
  return after === undefined ? {} : { 'retry-after': after }
}

/**
 * @param state made where the host is asked to show the link and to repeat the call
 */
const linked = (to: Told, refused: Refused, url: string, state: (until: number) => string) => {
  const { code, document } = refused
  const detail = detailOf(refused)
  const params = { mode: 'url', url, message: detail }
  if (to.url && to.modern) {
    const { expires_at: ends } = document
    const until = typeof ends === 'string' ? Date.parse(ends) : NaN
    return {
      status: 200,
      body: rpc(
        to.id,
        `"result":${JSON.stringify({
          resultType: 'input_required',
          inputRequests: { [ASKED]: { method: 'elicitation/create', params } },
          requestState: state(Number.isFinite(until) ? until : 0),
        })}`,
      ),
    }
  }
  if (to.url) {
    const elicitationId = document['authorization_id'] ?? url
    const data = { elicitations: [{ ...params, elicitationId }] }
    return faultAnswer({
      kind: 'fault',
      status: 200,
      id: to.id,
      code: -32042,
      message: detail,
      data,
    })
  }
  const link = detail.includes(url) ? '' : ` ${url}`
  return failed(
    to,
    code,
    `${detail}${link} Show this link to the person, and call the tool again when they are done.`,
    { more: told(document, code) },
  )
}
const told = (document: JsonObject, code: string): JsonObject => ({
  ...Object.fromEntries(Object.entries(document).filter(([name]) => !OF_HTTP.has(name))),
  code,
})

const refusal = (to: Told, refused: Refused, state: (until: number) => string): Answer => {
  const { code, document } = refused
  const detail = detailOf(refused)
  const { url } = document
  if (refused.status === 429 && code !== 'rate_limited')
    return transportAnswer(to, 429, detail, retryOf(refused))
  if (BY_LINK.has(code) && typeof url === 'string') return linked(to, refused, url, state)
  const { url: _never, ...rest } = document
  if (code !== 'policy_denied')
    return failed(to, code, detail, { more: told(rest, code), headers: retryOf(refused) })
  return failed(to, code, `${detail} Do not retry unchanged.`, { more: told(rest, code) })
}

/**
 * What became of a call.
 * @param state of a host that is asked to show a link and repeat the call: what it gives back
 */
export const ranAnswer = (to: Told, ran: Ran, state: (until: number) => string): Answer => {
  const halted = ran.kind === 'done' ? null : toldHalted(ran)
  if (halted !== null) return failed(to, 'partly_done', halted.message, { more: halted.extra })
  switch (ran.kind) {
    case 'done':
      return ran.served === undefined ? done(to, resultOf(ran)) : passed(to, ran, ran.served)
    case 'refused':
      return refusal(to, ran, state)
    case 'failed':
      return failed(to, 'provider_error', ran.message, {
        more: {
          status: ran.status,
          ...(ran.value === null ? {} : { answer: ran.value }),
          ...(ran.retryAfter === null ? {} : { retry_after: ran.retryAfter }),
        },
        headers: ran.retryAfter === null ? {} : { 'retry-after': String(ran.retryAfter) },
      })
    default:
      return ran satisfies never
  }
}
