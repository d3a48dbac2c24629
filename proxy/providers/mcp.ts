// A server that speaks MCP: what its definition lists becomes rows of the catalogue, one for each message that may pass.
import { z } from 'zod'
import type { Access, OperationRow } from '../model.ts'
import { pointers } from './pointers.ts'

const access = z.enum(['read', 'write', 'delete', 'admin'])
const scopes = z
  .array(z.array(z.string().regex(/^[!#-[\]-~]+$/, 'is not a scope (RFC 6749 3.3)')).max(50))
  .min(1, 'needs at least one list; [[]] says that no scope is needed')
  .max(20)
  .default([[]])
const name = z
  .string()
  .regex(/^[\w./-]{1,128}$/, 'must be the name of a tool or prompt: letters, digits, _, -, . and /')
const tool = z.strictObject({ name, access, scopes, inspect: pointers.default([]) })
const prompt = z.strictObject({
  name,
  access: access.default('read'),
  scopes,
  inspect: pointers.default([]),
})
const resource = z.strictObject({
  id: name,
  uri: z
    .string()
    .regex(/^[\x21-\x7e]{1,500}$/, 'must be a URI, in which * stands for any characters'),
  access: access.default('read'),
  scopes,
})

/** Schemas of `tools`, `prompts` and `resources`, for the definition. */
export const mcpLists = {
  tools: z.array(tool).max(2_000).default([]),
  prompts: z.array(prompt).max(2_000).default([]),
  resources: z.array(resource).max(2_000).default([]),
}
type McpLists = {
  readonly tools: readonly z.output<typeof tool>[]
  readonly prompts: readonly z.output<typeof prompt>[]
  readonly resources: readonly z.output<typeof resource>[]
}

/** What the protocol itself needs: message → access. Whatever is missing here and in the lists is unknown. */
const PROTOCOL: readonly (readonly [string, Access])[] = [
  ['initialize', 'read'],
  ['server/discover', 'read'],
  ['ping', 'read'],
  ['tools/list', 'read'],
  ['prompts/list', 'read'],
  ['resources/list', 'read'],
  ['resources/templates/list', 'read'],
  ['subscriptions/listen', 'read'],
  ['logging/setLevel', 'read'],
  ['notifications/initialized', 'read'],
  ['notifications/cancelled', 'read'],
  ['notifications/progress', 'read'],
  ['notifications/roots/list_changed', 'read'],
  // An answer to what the server asked: an empty one or a short error tells it nothing, any other is data that leaves.
  ['response/empty', 'read'],
  ['response', 'write'],
]

/**
 * Where a server stands: its one host, and its path there.
 * @returns what is wrong with it, where it is a text
 */
export const mcpPlace = (
  text: string | null,
): { readonly host: string; readonly origin: string; readonly path: string } | string => {
  if (text === null) return 'is needed with kind: mcp: the address of the server'
  const url = URL.parse(text)
  if (url === null) return 'must be an absolute URL'
  if (url.search !== '' || url.hash !== '') return 'must have no query and no fragment'
  if (!/^\/[\w.~$@:=,()'!*+/-]*$/.test(url.pathname)) return 'has a path that deputy cannot match'
  return { host: url.hostname, origin: url.origin, path: url.pathname }
}

/** The rows of one server. `mcp` is the message, with the name that it calls. */
export const mcpRows = (
  lists: McpLists,
  path: string,
  report: (path: string, what: string) => void,
): OperationRow[] => {
  const plain = { inspect: [], upload: false, rewrite: [], host: null, path }
  const post = { ...plain, method: 'POST' }
  const rows: OperationRow[] = [
    { ...plain, id: 'mcp.stream', method: 'GET', access: 'read', scopes: [[]] },
    { ...plain, id: 'mcp.session.end', method: 'DELETE', access: 'read', scopes: [[]] },
    ...PROTOCOL.map(([mcp, may]) => ({
      ...post,
      id: `mcp.${mcp.replaceAll('/', '.')}`,
      access: may,
      scopes: [[]],
      mcp,
    })),
  ]
  const seen = new Set<string>()
  const add = (at: string, mcp: string, row: Pick<OperationRow, 'id' | 'access' | 'scopes'>) => {
    if (seen.has(mcp) || seen.has(row.id)) report(at, 'stands twice')
    seen.add(mcp).add(row.id)
    rows.push({ ...post, ...row, mcp })
  }
  for (const [i, one] of lists.tools.entries())
    add(`tools.${i}`, `tools/call ${one.name}`, { ...one, id: `tools.${one.name}` })
  for (const [i, one] of lists.prompts.entries())
    add(`prompts.${i}`, `prompts/get ${one.name}`, { ...one, id: `prompts.${one.name}` })
  for (const [i, { uri, ...one }] of lists.resources.entries())
    add(`resources.${i}`, `resources/read ${uri}`, { ...one, id: `resources.${one.id}` })
  return rows
}
