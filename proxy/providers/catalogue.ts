// Turns a catalogue of operations (rows, or groups of rows that share their scopes) into
// OperationRows, or into problems with their path.
import { z } from 'zod'
import type { OperationRow } from '../model.ts'
import { isObject } from '../wire/json.ts'
import { explain } from './definition.ts'
import type { Report } from './definition.ts'
import { pointer, pointers } from './pointers.ts'
import { signatureOf } from '../wire/function_segment.ts'

const ACCESS = ['read', 'write', 'delete', 'admin'] as const
const MAX_ROWS = 20_000
const PARAM = /^\{([A-Za-z_]\w*)(\+?)\}$/
/** What Google calls a custom method: a literal behind the last colon of the last segment. */
const VERB = /^(\{[A-Za-z_]\w*\}):[A-Za-z]\w*$/
/** Where Graph goes on by path: `items/{id}:/{path+}:/content`, where `{path+}:` is one segment or more. */
const COLON = /^(\{[A-Za-z_]\w*\+?\}):$/
const LITERAL = /^(?!\.{1,2}$)[\w.~$@:=,()'!*+-]+$/

const operationId = z.string().regex(/^[\w.:$/-]{1,200}$/, 'is not an operation id')

const scopes = z
  .array(z.array(z.string().regex(/^[!#-[\]-~]+$/, 'is not a scope (RFC 6749 3.3)')).max(50))
  .min(1, 'needs at least one list; [[]] says that no scope is needed')
  .max(20)
/** What servers take fields from, and with them credentials. */
const FORMS = /^(?:application\/x-www-form-urlencoded|multipart\/|text\/|.*json)/
const bodies = z
  .record(
    z.string().regex(/^[a-z0-9.+-]{1,100}\/[a-z0-9.+-]{1,100}$/, 'must be a media type'),
    z.enum(['message', 'base64', 'related']),
  )
  .default({})
/** Where a call says to whom its mail goes (model, `MailPlaces`). */
export const mailPlaces = z
  .strictObject({
    to: pointers.default([]),
    cc: pointers.default([]),
    bcc: pointers.default([]),
    address: z.union([z.literal(''), pointer]).default(''),
    attachments: pointers.default([]),
    raw: pointers.default([]),
    bodies,
    stored: z.union([z.boolean(), pointers.min(1)]).default(false),
    sends: z.boolean().default(true),
  })
  .refine(
    ({ to, cc, bcc, raw, bodies: types, stored }) =>
      stored === true || [to, cc, bcc, raw, Object.keys(types)].some((list) => list.length > 0),
    'must say where recipients stand: to, cc, bcc, raw or bodies, or stored: true',
  )
const detail = {
  inspect: pointers.default([]),
  list: pointer.nullable().exactOptional(),
  mail: mailPlaces.exactOptional(),
  upload: z.boolean().default(false),
  opaque: z
    .string()
    .regex(/^[a-z0-9.+-]{1,100}\/[a-z0-9.+-]{1,100}$/, 'must be a media type')
    .refine((type) => !FORMS.test(type), 'is read by servers: it cannot pass unread')
    .nullable()
    .default(null),
  websocket: z
    .array(z.string().regex(/^[\w!#$%&'*+.^`|~-]{1,100}$/, 'must be the name of a subprotocol'))
    .max(20)
    .nullable()
    .exactOptional(),
  rewrite: pointers.default([]),
  signed: pointers.default([]),
  host: z.string().nullable().default(null),
}
/** A call that says nothing more. */
const PLAIN = { inspect: [], upload: false, opaque: null, rewrite: [], signed: [], host: null }
const row = z.strictObject({
  id: operationId,
  method: z.string().regex(/^[A-Z]{1,20}$/, 'must be upper case'),
  path: z.string().max(500),
  access: z.enum(ACCESS),
  scopes,
  ...detail,
})
const CALL =
  'must be `METHOD /path`, a list of them, or { call, inspect, list, mail, upload, opaque, websocket, rewrite, signed, host }'
const call = z
  .string()
  .max(500)
  .regex(/^[A-Z]{1,20} \/\S*$/, CALL)
const calls = z.union([call, z.array(call).min(1).max(20)])
const entries = z
  .record(
    operationId,
    z.union([calls, z.strictObject({ call: calls, ...detail })], {
      error: CALL,
    }),
  )
  .default({})
/** Rows that share their scopes, by access: shorter to write and to check by eye. */
const group = z.strictObject({
  scopes,
  read: entries,
  write: entries,
  delete: entries,
  admin: entries,
})
const FIELD = 'must be `query field` or `mutation field`, a list of them, or { field, inspect }'
const field = z
  .string()
  .max(140)
  .regex(/^(?:query|mutation) [_A-Za-z][_0-9A-Za-z]*$/, FIELD)
const oneOrMore = z.union([field, z.array(field).min(1).max(20)])
const fields = z
  .record(
    operationId,
    z.union([oneOrMore, z.strictObject({ field: oneOrMore, inspect: detail.inspect })], {
      error: FIELD,
    }),
  )
  .default({})
/** The same for root fields behind one GraphQL endpoint. */
const graphqlGroup = group.extend({
  graphql: call.regex(/^POST \/[^+]*$/, 'must be `POST /path` of the endpoint, without {x+}'),
  host: detail.host,
  read: fields,
  write: fields,
  delete: fields,
  admin: fields,
})

/** Schema of `operations` where it is a list, for the generated JSON Schema. */
export const catalogueSchema = z.array(z.union([row, group, graphqlGroup])).max(MAX_ROWS)

/** `search(q='{q}')`: the names in it; null: it is no such call. */
const functionNames = (segment: string): readonly string[] | null =>
  /=(?!'?\{[A-Za-z_]\w*\}'?[,)])/.test(segment) || signatureOf(segment) === null
    ? null
    : [...segment.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name)

const templateProblem = (path: string): string | null => {
  if (!path.startsWith('/')) return 'must begin with /'
  const segments = path.slice(1).split('/')
  const seen = new Set<string>()
  for (const [i, whole] of segments.entries()) {
    const last = i === segments.length - 1
    const segment = (COLON.exec(whole) ?? (last ? VERB.exec(whole) : null))?.[1] ?? whole
    const param = PARAM.exec(segment)
    const named = param === null ? functionNames(segment) : [param[1] ?? '']
    if (named === null && !LITERAL.test(segment) && !(last && segment === ''))
      return `segment "${segment}" is neither a literal, nor one {name}, nor at the end {name}:verb`
    const twice = named?.find((name) => seen.has(name))
    if (twice !== undefined) return `{${twice}} stands twice`
    for (const name of named ?? []) seen.add(name)
  }
  return null
}

/** Two rows of one shape would make an operation a matter of their order. */
const shape = (path: string): string =>
  path.replaceAll(/\{\w+(\+?)\}/g, (_, more: string) => `{${more}}`)

type Placed = { readonly at: string; readonly row: OperationRow }

const readRows = (raw: unknown, report: Report): Placed[] => {
  if (!Array.isArray(raw)) {
    report('', 'must be a list of operations')
    return []
  }
  return raw.flatMap((item: unknown, i): Placed[] => {
    if (isObject(item) && Object.hasOwn(item, 'graphql')) return readFields(item, i, report)
    const one = isObject(item) && Object.hasOwn(item, 'id')
    const parsed = one ? row.safeParse(item) : group.safeParse(item)
    if (!parsed.success) {
      explain(parsed.error, report, [i])
      return []
    }
    if ('id' in parsed.data) return [{ at: String(i), row: parsed.data }]
    const shared = parsed.data
    return ACCESS.flatMap((access) =>
      Object.entries(shared[access]).flatMap(([id, entry]) => {
        const { call: listed, ...rest } =
          typeof entry === 'string' || Array.isArray(entry) ? { ...PLAIN, call: entry } : entry
        return [listed].flat().map((text): Placed => {
          const space = text.indexOf(' ')
          const method = text.slice(0, space)
          const path = text.slice(space + 1)
          const at = `${i}.${access}.${id}`
          return { at, row: { id, access, method, path, scopes: shared.scopes, ...rest } }
        })
      }),
    )
  })
}

/** Rows of root fields: all of them stand where their endpoint is. */
const readFields = (item: unknown, i: number, report: Report): Placed[] => {
  const parsed = graphqlGroup.safeParse(item)
  if (!parsed.success) {
    explain(parsed.error, report, [i])
    return []
  }
  const { graphql: endpoint, host, scopes, ...listed } = parsed.data
  const at = { method: 'POST', path: endpoint.slice('POST '.length), host }
  const rest = { upload: false, rewrite: [] }
  return ACCESS.flatMap((access) =>
    Object.entries(listed[access]).flatMap(([id, entry]) => {
      const { field: named, inspect } =
        typeof entry === 'string' || Array.isArray(entry) ? { field: entry, inspect: [] } : entry
      return [named].flat().map((graphql): Placed => {
        const row = { id, access, scopes, graphql, inspect }
        return { at: `${i}.${access}.${id}`, row: { ...row, ...at, ...rest } }
      })
    }),
  )
}

/** Where a call stands: two rows of one place would make an operation a matter of their order. */
const placeOf = ({ host, method, path, graphql }: OperationRow): string =>
  `${host ?? ''} ${method} ${shape(path)} ${graphql ?? ''}`

/** Adds what the generated catalogue knows beyond the rows that were written by hand: where both name a call, the hand wins. */
export const withGenerated = (
  rows: readonly OperationRow[],
  generated: readonly OperationRow[],
  { serves, inherited }: Serving,
  report: Report,
): readonly OperationRow[] => {
  const places = new Set(rows.map(placeOf))
  const access = new Map(rows.map((row) => [row.id, row.access]))
  const more = generated.filter((row) => {
    if (row.host !== null && !serves(row.host)) {
      if (!inherited) report('', `${row.host} is not among this provider’s hosts`)
      return false
    }
    if ((access.get(row.id) ?? row.access) !== row.access)
      report(row.id, `is ${row.access} here and ${access.get(row.id) ?? ''} where it is listed`)
    return !places.has(placeOf(row))
  })
  return [...rows, ...more]
}

/** Adds what an operator named: only what nobody has named yet, so that no call gets a second name or a lesser access. */
export const beside = (
  rows: readonly OperationRow[],
  own: readonly OperationRow[],
  report: (what: string) => void,
): readonly OperationRow[] => {
  const named = new Map(
    rows.map((row) => [`${row.method} ${shape(row.path)} ${row.graphql ?? ''}`, row]),
  )
  const access = new Map(rows.map((row) => [row.id, row.access]))
  const endpoints = new Set(rows.flatMap((row) => (row.graphql ? [shape(row.path)] : [])))
  for (const row of own) {
    // A call of its own there would be GraphQL that nobody read.
    if (row.graphql === undefined && endpoints.has(shape(row.path)))
      report(`${row.id}: ${row.path} is a GraphQL endpoint: name its root fields`)
    const at = `${row.method} ${shape(row.path)} ${row.graphql ?? ''}`
    const before = named.get(at)
    const elsewhere =
      before !== undefined && before.host !== null && row.host !== null && before.host !== row.host
    if (before !== undefined && !elsewhere)
      report(`${row.id}: this call is operation ${before.id} already`)
    if ((access.get(row.id) ?? row.access) !== row.access)
      report(`${row.id}: is an operation of access ${access.get(row.id) ?? ''} already`)
    named.set(at, row)
    access.set(row.id, row.access)
  }
  return [...rows, ...own]
}

export type Serving = {
  /** Is this one of the provider’s hosts? */
  readonly serves: (host: string) => boolean
  /** The catalogue is that of the base which `extends` names. */
  readonly inherited: boolean
}

/** Reads a catalogue; the rows that hold are returned even when others do not. */
export const readCatalogue = (
  raw: unknown,
  provider: string,
  of: Serving,
  report: Report,
): OperationRow[] => {
  const { serves, inherited } = of
  const shapes = new Map<string, string>()
  const access = new Map<string, string>()
  const endpoints = new Map<string, boolean>()
  const rows = readRows(raw, report).filter(({ at, row: { id, host, ...rest } }) => {
    // What was written for a host of the base stays behind when `hosts` was replaced.
    if (host !== null && inherited && !serves(host)) return false
    const key = JSON.stringify([host, rest.method, shape(rest.path), rest.graphql])
    // Where GraphQL is served, a call of its own (a GET with its query in the URL) would be GraphQL that nobody read.
    const where = shape(rest.path)
    const inner = rest.graphql !== undefined
    if ((endpoints.get(where) ?? inner) !== inner)
      report(at, `${rest.path} is a GraphQL endpoint: list its root fields only`)
    endpoints.set(where, inner)
    if (rest.graphql?.startsWith('mutation ') === true && rest.access === 'read')
      report(at, `${rest.graphql}: a mutation is no read`)
    const problem = templateProblem(rest.path)
    if (problem !== null) report(at, `${rest.path}: ${problem}`)
    if (host !== null && !serves(host)) report(at, `${host} is not among this provider’s hosts`)
    if (rest.list != null && !(rest.inspect.includes(rest.list) && /^\/[^/~]+$/.test(rest.list)))
      report(at, `${id}: list must be one of inspect, and no deeper than a member`)
    if (rest.websocket && rest.method !== 'GET') report(at, `${id}: a WebSocket begins with GET`)
    if (rest.opaque && (rest.upload || rest.inspect.length > 0 || rest.mail))
      report(
        at,
        `${id}: a body that is opaque passes unread: no inspect, no mail, and no upload beside it`,
      )
    if (id === 'unknown' || id.startsWith('deputy.') || id === `${provider}.asset`)
      report(at, `${id} is an id of deputy’s own`)
    if (shapes.has(key))
      report(
        at,
        `${rest.graphql ?? `${rest.method} ${rest.path}`} has the shape of ${shapes.get(key) ?? ''}`,
      )
    if ((access.get(id) ?? rest.access) !== rest.access)
      report(at, `${id} is listed with two kinds of access`)
    shapes.set(key, id)
    access.set(id, rest.access)
    return true
  })
  if (rows.length > MAX_ROWS) report('', `more than ${MAX_ROWS} operations`)
  return rows.map((placed) => placed.row)
}
