// Reads the part of a catalogue that was generated from a vendor's specification: compact rows, whose
// scopes and hosts are named by number. What it says was checked when it was made, so only its form is checked here.
import type { Access, MailPlaces, OperationRow } from '../model.ts'
import { isObject } from '../wire/json.ts'
import { mailPlaces } from './catalogue.ts'
import type { Report } from './definition.ts'

const ACCESS: readonly Access[] = ['read', 'write', 'delete', 'admin']
const isText = (value: unknown): value is string => typeof value === 'string'
const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every(isText)

/** No source says which scopes suffice: a connection then asks for all that it may (config/load). */
const UNTOLD: readonly (readonly string[])[] = []
const NONE: readonly string[] = []

type Table = {
  readonly hosts: readonly string[]
  readonly scopes: readonly (readonly (readonly string[])[])[]
  readonly graphql: string
  readonly inspect: readonly (readonly string[])[]
  readonly mail: readonly MailPlaces[]
}

/**
 * `[id, access, "GET /path" or "query field", number of its scopes or -1, number of its host or -1, 1 where uploads are large,
 * number of what is inspected or -1, number of where its mail's recipients stand]`
 */
const readRow = (row: unknown, table: Table): OperationRow | null => {
  if (!Array.isArray(row)) return null
  const { hosts, scopes, graphql, inspect, mail } = table
  const [id, access, call, scope, host, large, seen, mailed]: readonly unknown[] = row
  const known = ACCESS.find((one) => one === access)
  if (!isText(id) || known === undefined || !isText(call)) return null
  if (typeof scope !== 'number' || typeof host !== 'number') return null
  const pointers = typeof seen === 'number' && seen !== -1 ? inspect[seen] : NONE
  const places = typeof mailed === 'number' ? mail[mailed] : null
  if (pointers === undefined || places === undefined) return null
  const space = call.indexOf(' ')
  const first = call.slice(0, space)
  const field = first === 'query' || first === 'mutation'
  return {
    id,
    access: known,
    scopes: scopes[scope] ?? UNTOLD,
    inspect: pointers,
    upload: large === 1,
    rewrite: NONE,
    method: field ? 'POST' : first,
    path: field ? graphql : call.slice(space + 1),
    host: hosts[host] ?? null,
    ...(field ? { graphql: call } : {}),
    ...(places === null ? {} : { mail: places }),
  }
}

const readTable = (raw: unknown): (Table & { readonly rows: readonly unknown[] }) | null => {
  if (!isObject(raw)) return null
  const { hosts, scopes, graphql, inspect = [], mail = [], operations: rows } = raw
  if (!isTexts(hosts) || !isText(graphql) || !Array.isArray(rows) || !Array.isArray(scopes))
    return null
  if (!Array.isArray(inspect) || !inspect.every(isTexts)) return null
  const places = mailPlaces.array().safeParse(mail)
  if (!places.success) return null
  const lists = scopes.filter(
    (one): one is readonly (readonly string[])[] => Array.isArray(one) && one.every(isTexts),
  )
  return lists.length === scopes.length
    ? { hosts, scopes: lists, graphql, inspect, mail: places.data, rows }
    : null
}

/** @param raw the parsed `<id>.catalogue.json` */
export const readGenerated = (raw: unknown, report: Report): readonly OperationRow[] => {
  const table = readTable(raw)
  if (table === null) {
    report('', 'is no generated catalogue: `npm run catalogues` writes it')
    return []
  }
  return table.rows.flatMap((row, i) => {
    const read = readRow(row, table)
    if (read === null) report(`operations.${i}`, 'is no row of a generated catalogue')
    return read === null ? [] : [read]
  })
}
