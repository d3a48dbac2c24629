// One message of an MCP host to deputy's own door, read in one way (revisions 2025-11-25 and 2026-07-28). Pure.
import type { McpCall } from '../model.ts'
import { readMessage } from '../envelope/jsonrpc.ts'
import { Problem } from '../problem.ts'
import { isObject, parseStrict, utf8Text } from '../wire/json.ts'

export const MODERN = '2026-07-28'
/** What an older client may agree on, the newest first; they do not differ in what is spoken here. */
const LEGACY = ['2025-11-25', '2025-06-18', '2025-03-26']
/** As they are told. */
export const SUPPORTED: readonly string[] = [MODERN, '2025-11-25']

export const FAULT = {
  parse: -32700,
  request: -32600,
  method: -32601,
  params: -32602,
  internal: -32603,
  header: -32020,
  version: -32022,
} as const

export type Id = string | number | null
/** A fault of the protocol; what a model is to read is a result instead. */
export type Fault = {
  readonly kind: 'fault'
  readonly status: number
  readonly id: Id
  readonly code: number
  readonly message: string
  readonly data?: object
}
export type Asked = {
  readonly kind: 'asked'
  readonly call: McpCall
  /** Of a tool, as they came. */
  readonly args: unknown
  /** What an earlier answer gave back (`requestState`); null: nothing. */
  readonly state: string | null
  /** The revision that `initialize` settles on. */
  readonly version: string
}

const META = 'io.modelcontextprotocol/'

const idIn = (value: unknown): Id => {
  const id = isObject(value) && Object.hasOwn(value, 'id') ? value['id'] : null
  return typeof id === 'string' || Number.isSafeInteger(id) ? (id as string | number) : null
}
const fault = (value: unknown, code: number, message: string, data?: object): Fault => ({
  kind: 'fault',
  status: 400,
  id: idIn(value),
  code,
  message,
  ...(data === undefined ? {} : { data }),
})

/** The members of `params` and of its `_meta`, as far as they are there. */
const partsOf = (value: unknown) => {
  const params = isObject(value) && isObject(value['params']) ? value['params'] : {}
  const meta = isObject(params['_meta']) ? params['_meta'] : {}
  return { params, meta, version: meta[`${META}protocolVersion`] }
}

type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

/** What is wrong with the revision that it says it is of; null: nothing. */
const wrongRevision = (value: unknown, headers: Headers): Fault | null => {
  const { meta, version } = partsOf(value)
  const told = headers['mcp-protocol-version']
  const request = isObject(value) && Object.hasOwn(value, 'method') && Object.hasOwn(value, 'id')
  if (version === undefined && typeof told === 'string' && told >= MODERN && request)
    return fault(value, FAULT.params, `params._meta has no ${META}protocolVersion`)
  const said = version ?? told
  if (
    typeof said === 'string' &&
    said !== MODERN &&
    !LEGACY.includes(said) &&
    (told === undefined || version === undefined || told === version)
  )
    return fault(value, FAULT.version, 'Unsupported protocol version', {
      supported: SUPPORTED,
      requested: said.slice(0, 64),
    })
  if (version === MODERN && request && !isObject(meta[`${META}clientCapabilities`]))
    return fault(value, FAULT.params, `params._meta has no ${META}clientCapabilities`)
  return null
}

const agreed = (wanted: unknown): string =>
  LEGACY.find((version) => version === wanted) ?? LEGACY[0] ?? ''

/** @param headers by their name in lower case */
export const readAsked = (bytes: Uint8Array, headers: Headers): Asked | Fault => {
  let text: string
  let value: unknown
  try {
    text = utf8Text(bytes)
    value = parseStrict(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return fault(null, FAULT.parse, 'the body is not JSON with one reading')
  }
  const wrong = wrongRevision(value, headers)
  if (wrong !== null) return wrong
  try {
    const { call } = readMessage(text, value, headers)
    const { params } = partsOf(value)
    const state = params['requestState'] ?? null
    if (state !== null && typeof state !== 'string')
      return fault(value, FAULT.params, 'params.requestState is no text')
    return {
      kind: 'asked',
      call,
      args: params['arguments'],
      state,
      version: agreed(params['protocolVersion']),
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const { rpc } = error.extra
    const own = error.message.startsWith('params') ? FAULT.params : FAULT.request
    return fault(value, typeof rpc === 'number' ? rpc : own, error.message)
  }
}
