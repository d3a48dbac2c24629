// The digest that a yes to one call is bound to: whose call it is, and all of it that its receiver acts on.
import { createHash } from 'node:crypto'
import type { Json, JsonObject, Person } from '../model.ts'
import { exactly } from './json.ts'

/** Of a client's own book-keeping, new at each try: no server does something else because of them. */
const UNBOUND: ReadonlySet<string> = new Set([
  'accept-encoding',
  'baggage',
  'idempotency-key',
  'mcp-session-id',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-amzn-trace-id',
  'x-cloud-trace-context',
  'x-correlation-id',
  'x-goog-api-client',
  'x-request-id',
])
const UNBOUND_FAMILY = /^x-(?:b3|datadog|stainless)-/

/** The headers that a yes covers, as name and value, in the order in which they are sent. */
export const boundHeaders = (
  kept: readonly string[],
): readonly (readonly [name: string, value: string])[] => {
  const bound: [string, string][] = []
  for (let i = 0; i < kept.length; i += 2) {
    const name = (kept[i] ?? '').toLowerCase()
    if (!UNBOUND.has(name) && !UNBOUND_FAMILY.test(name)) bound.push([name, kept[i + 1] ?? ''])
  }
  return bound
}

/**
 * A message of JSON-RPC without what numbers it: the same call comes again under another id. Its other numbers are as they
 * were written: two that this runtime rounds to one are not one to every server.
 */
export const unnumbered = (message: string): string => {
  const { id: _id, params, ...rest } = JSON.parse(message, exactly) as JsonObject
  const { _meta: meta, ...others } = (params ?? {}) as JsonObject
  const { progressToken: _token, ...more } = (meta ?? {}) as JsonObject
  const said: Json = Object.keys(more).length === 0 ? others : { ...others, _meta: more }
  return JSON.stringify(params === undefined ? rest : { ...rest, params: said })
}

/** @returns `sha256:…` over every part; no two calls that differ in one have the same */
export const callDigest = (call: {
  readonly person: Person
  readonly agent: string
  readonly run: string | null
  readonly standing: string | null
  readonly connection: string
  /** At the provider, as whoever is asked sees it; null: not known. */
  readonly account: string | null
  readonly host: string
  readonly method: string
  /** Path and query as they will be sent. */
  readonly target: string
  readonly headers: readonly (readonly [string, string])[]
  /** Ids, in the order of the parts. */
  readonly operations: readonly string[]
  /** null: there is none. */
  readonly body: Buffer | string | null
}): string => {
  const { tenant, realm, id } = call.person
  const body = call.body === null ? null : createHash('sha256').update(call.body).digest('hex')
  const { agent, run, standing, connection, account, host, method, target, operations } = call
  const headers = call.headers.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const who = [tenant, realm, id, agent, run, standing]
  const what = [connection, account, host, method, target, headers, operations, body]
  return `sha256:${createHash('sha256')
    .update(JSON.stringify([1, who, what]))
    .digest('hex')}`
}
