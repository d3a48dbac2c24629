// Tools of MCP servers beside deputy's own: which there are, as their definition lists them, and what a server says of
// them to one person. Pure: what a server says is text, bounded, and never decides what a tool may do.
import { hash } from 'node:crypto'
import type { Connection, Json, JsonObject, OperationRow } from '../model.ts'
import { isDeep, isObject } from '../wire/json.ts'
import { behaviourOf, type Step, type Tool } from './definition.ts'
import { camel, spelling } from './names.ts'
import { plainText } from './remote_message.ts'
import { inputsIn, plainSchema } from './remote_schema.ts'
import type { Ran } from './run.ts'
import { fitted } from './result.ts'

const CALL = 'tools/call '
type Offer = { readonly tool: Tool; readonly connection: Connection }
const NOTHING: JsonObject = { type: 'object', properties: {} }
/** Characters of what a server says of one tool. */
const MOST_SAID = 400

const stepOf = (operation: OperationRow, remote: string, host: string | null): Step => ({
  name: 'call',
  operation,
  host,
  each: null,
  path: [],
  query: [],
  headers: [],
  body: null,
  graphql: null,
  content: null,
  rest: null,
  remote,
})

const nameOf = (connection: string, tool: string, same: number): string => {
  const own = camel(tool)
  const sum = hash('sha256', tool, 'hex').slice(0, 6)
  const last = own === '' ? `Tool${sum}` : same > 1 ? `${own}_${sum}` : own
  return `${camel(connection)}.${last}`
}

/** The tools that a connection's definition lists, each by a name of its own. */
export const remoteTools = (
  connection: Connection,
): { readonly offers: readonly Offer[]; readonly problems: readonly string[] } => {
  const { provider } = connection
  if (!provider.mcp) return { offers: [], problems: [] }
  const rows = provider.operations.flatMap((row) =>
    row.mcp?.startsWith(CALL) === true ? [{ row, own: row.mcp.slice(CALL.length) }] : [],
  )
  const [host = null] = provider.hosts.keys()
  const alike = Map.groupBy(rows, ({ own }) => spelling(camel(own)))
  const offers = rows.map(({ row, own }) => {
    const same = alike.get(spelling(camel(own)))?.length ?? 1
    const tool: Tool = {
      name: nameOf(connection.name, own, same),
      toolkit: camel(connection.name),
      provider: provider.id,
      aliases: same > 1 ? [] : [`${connection.name}.${own}`],
      description: `${own} of the MCP server ${provider.name}.`,
      input: [],
      example: null,
      steps: [stepOf(row, own, host)],
      keep: null,
      failure: null,
      next: [],
      behaviour: behaviourOf([row]),
      plain: false,
      remote: { tool: own, schema: NOTHING },
    }
    return { tool, connection }
  })
  const problems = [...alike.values()]
    .filter((same) => same.length > 1)
    .map((same) => {
      const names = same.map(({ own }) => own)
      const called = names.map((own) => nameOf(connection.name, own, names.length))
      return `${connection.name}: ${names.join(', ')} come to one name: they are ${called.join(', ')}`
    })
  return { offers, problems }
}

/** What a server said of its tools, by their names there; null: it said a name twice. */
export type Said = ReadonlyMap<string, { readonly [member: string]: unknown } | null>

/**
 * One page of `tools/list`.
 * @param wanted whatever else it lists is nobody's
 * @returns where the next page is; null: there is none
 */
export const readPage = (
  { tools, nextCursor }: JsonObject,
  wanted: ReadonlySet<string>,
  into: Map<string, { readonly [member: string]: unknown } | null>,
): string | null => {
  for (const one of Array.isArray(tools) ? (tools as readonly unknown[]) : []) {
    const name = isObject(one) ? one['name'] : undefined
    if (!isObject(one) || typeof name !== 'string' || !wanted.has(name)) continue
    into.set(name, into.has(name) ? null : one)
  }
  return typeof nextCursor === 'string' && nextCursor !== '' && nextCursor.length <= 2_000
    ? nextCursor
    : null
}

const CANNOT = 'Its arguments are not known'
/** The tool as its server describes it to this person; or with a sentence that says why it does not. */
export const describedBy = ({ tool, connection }: Offer, said: Said | string): Offer => {
  const { remote } = tool
  if (remote === undefined) return { tool, connection }
  const untold = (why: string): Offer => ({
    tool: { ...tool, description: `${tool.description} ${CANNOT}: ${why}.` },
    connection,
  })
  if (typeof said === 'string') return untold(said)
  const one = said.get(remote.tool)
  if (one === undefined) return untold('the server does not list it now')
  if (one === null) return untold('the server lists it twice')
  const { schema, left } = plainSchema(one['inputSchema'])
  const told = plainText(one['description'], MOST_SAID)
  const without =
    left.length === 0 ? '' : ` Arguments that cannot be named here: ${left.slice(0, 5).join(', ')}.`
  const whose = `${remote.tool} of the MCP server ${connection.provider.name}`
  return {
    connection,
    tool: {
      ...tool,
      // A model reads it: whose words they are stands before them.
      description: `${told === '' ? `${whose}.` : `${whose}, in its words: ${told}`}${without}`,
      input: inputsIn(schema),
      remote: { ...remote, schema },
    },
  }
}

const textsIn = (content: readonly JsonObject[]): string =>
  content.flatMap(({ text }) => (typeof text === 'string' ? [text] : [])).join('\n')

const OF_KIND: Readonly<Record<string, readonly string[]>> = {
  text: ['text'],
  image: ['data', 'mimeType'],
  audio: ['data', 'mimeType'],
  resource_link: ['uri', 'name', 'title', 'description', 'mimeType'],
}
const NEEDED: Readonly<Record<string, readonly string[]>> = {
  ...OF_KIND,
  resource_link: ['uri', 'name'],
}
const texts = (of: JsonObject, names: readonly string[]): JsonObject =>
  Object.fromEntries(
    names.flatMap((name) => (typeof of[name] === 'string' ? [[name, of[name]]] : [])),
  )
/** Of a block what its kind has, so that one that is odd does not cost a host the whole result. */
const blockOf = (one: unknown): JsonObject => {
  const odd: JsonObject = {
    type: 'text',
    text: 'A part of the answer was left out: it is of no known kind.',
  }
  if (!isObject(one)) return odd
  const block = one as JsonObject
  const { type } = block
  if (type === 'resource' && isObject(block['resource'])) {
    const resource = texts(block['resource'], ['uri', 'mimeType', 'text', 'blob'])
    const whole = 'uri' in resource && ('text' in resource || 'blob' in resource)
    return whole ? { type, resource } : odd
  }
  if (typeof type !== 'string' || !Object.hasOwn(OF_KIND, type)) return odd
  const members = texts(block, OF_KIND[type] ?? [])
  return NEEDED[type]?.every((name) => name in members) === true ? { type, ...members } : odd
}

/** Content within so many bytes: the first that fit, of a text as much as fits. */
const contentWithin = (
  content: readonly JsonObject[],
  bytes: number,
): { readonly content: readonly JsonObject[]; readonly truncated: boolean } => {
  const fit: JsonObject[] = []
  let left = bytes
  for (const block of content) {
    const size = Buffer.byteLength(JSON.stringify(block))
    if (size <= left) {
      fit.push(block)
      left -= size
      continue
    }
    const { text } = block
    if (typeof text === 'string' && left > 128)
      fit.push({ type: 'text', text: fitted(text, left - 64) })
    return { content: fit, truncated: true }
  }
  return { content: fit, truncated: false }
}

/** Where the server itself asks its person to open a link: it is for people, and never followed. */
const linksIn = (data: unknown): readonly string[] => {
  const all = isObject(data) ? data['elicitations'] : undefined
  return (Array.isArray(all) ? (all as readonly unknown[]) : []).flatMap((one) => {
    const url = isObject(one) ? one['url'] : undefined
    return typeof url === 'string' && url.length <= 2_000 && /^https?:\/\/[\x21-\x7e]+$/.test(url)
      ? [url]
      : []
  })
}
const failed = (status: number, message: string, value: Json = null): Ran => ({
  kind: 'failed',
  status,
  message,
  value,
  retryAfter: null,
})
/** What a server says instead of a result. */
export const errorOf = (name: string, status: number, { code, message, data }: JsonObject): Ran => {
  const said = plainText(message, 512)
  const links = linksIn(data)
  const open =
    links.length === 0 ? '' : ` It asks the person to open ${links.slice(0, 3).join(' and ')}`
  return failed(
    status < 300 ? 502 : status,
    `${name} answered the error ${typeof code === 'number' ? code : '?'}${said === '' ? '' : `: ${said}`}${open}`,
  )
}

/**
 * A result of `tools/call`.
 * @param bytes that it may have
 */
export const ranOf = (name: string, result: JsonObject, bytes: number): Ran => {
  if (result['resultType'] !== undefined && result['resultType'] !== 'complete')
    return failed(
      502,
      `${name} wants to ask the person something, which cannot be passed on here: call it at its own address`,
    )
  const { content, structuredContent } = result
  const structured = isDeep(structuredContent ?? null) ? null : structuredContent
  const all = (Array.isArray(content) ? (content as readonly unknown[]) : [])
    .slice(0, 1_000)
    .map(blockOf)
  if (result['isError'] === true)
    return failed(502, `${name}: ${fitted(textsIn(all), 4_096) as string}`)
  const cut = contentWithin(all, bytes)
  const whole: Json = isObject(structured) ? structured : { content: all }
  const value = fitted(whole, bytes)
  return {
    kind: 'done',
    value,
    truncated: cut.truncated || value !== whole,
    next: null,
    served: { content: cut.content, structured: isObject(structured) && isObject(value) },
  }
}
