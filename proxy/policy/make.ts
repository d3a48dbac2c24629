// A bundle and files of tables → what a policy is made of, or everything that is wrong with them. Of many rows it takes
// seconds, so it can be done in a thread. Pure.
import type { Asks, Json, JsonObject } from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { asksOf } from './asks.ts'
import { digestOf, type Bundle } from './bundle.ts'
import { conflicts } from './conflicts.ts'
import { unknownIn, unreachable, type Catalogue } from './reach.ts'
import { parseNamed } from './strict.ts'
import { indexOf } from './rows.ts'
import { few, INDEX, tableProblems } from './tables.ts'
import type { Ceilings, Grants, RoleGrants, Table } from './tables.ts'
import { unreadKeys } from './unread.ts'
import { wholeTables } from './whole.ts'

/** Tables of the operator: name → table, each in place of a whole one of `data.deputy_data`. */
export type Tables = ReadonlyMap<string, JsonObject>

/** `deputy_data` as the policy sees it: rows whole, without the probes, which only the self-test reads. */
export const tablesIn = (data: JsonObject, tables: Tables): ReadonlyMap<string, Json> => {
  const own = isObject(data['deputy_data']) ? data['deputy_data'] : {}
  const merged = new Map<string, Json>([...Object.entries(own), ...tables])
  merged.delete('probes')
  return wholeTables(merged)
}

/** The `data` document, with the index of its rows. */
const document = (data: JsonObject, tables: ReadonlyMap<string, Json>): Uint8Array<ArrayBuffer> => {
  const merged = new Map(tables)
  const [grants, roles] = [merged.get('grants'), merged.get('role_grants')]
  if (isObject(grants) && isObject(roles))
    merged.set(INDEX, indexOf(grants as unknown as Grants, roles as unknown as RoleGrants))
  const whole = new Map<string, Json>([
    ...Object.entries(data),
    ['deputy_data', Object.fromEntries(merged)],
  ])
  return new TextEncoder().encode(JSON.stringify(Object.fromEntries(whole)))
}

/** The `data` document of a bundle with these tables of the operator's. */
export const documentOf = (data: JsonObject, tables: Tables): Uint8Array<ArrayBuffer> =>
  document(data, tablesIn(data, tables))

/** Of module, data and overlay. */
const digestWith = ({ wasm, data }: Bundle, tables: Tables): string => {
  const overlay = [...tables].sort(([a], [b]) => (a < b ? -1 : 1))
  return digestOf([wasm, JSON.stringify(data), JSON.stringify(overlay)])
}

/** What a policy is loaded from and proved by. */
export type Ready = {
  /** The `data` document, as JSON. */
  readonly data: Uint8Array<ArrayBuffer>
  readonly asks: Asks
  readonly digest: string
  /** Are there no tables but the bundle's? */
  readonly alone: boolean
  readonly probes: { readonly bundled: Json | undefined; readonly own: Json | undefined }
  /** Is there a table of what agents may ever do? */
  readonly ceilings: boolean
}
/** @throws Error where the tables ask for more than deputy gathers */
export const readyOf = (bundle: Bundle, tables: Tables): Ready => {
  const { deputy_data: bundled } = bundle.data
  const inUse = tablesIn(bundle.data, tables)
  return {
    data: document(bundle.data, inUse),
    asks: asksOf(inUse.get('grants')),
    digest: digestWith(bundle, tables),
    alone: tables.size === 0,
    probes: {
      bundled: isObject(bundled) ? bundled['probes'] : undefined,
      own: tables.get('probes'),
    },
    ceilings: inUse.has('agents'),
  }
}

/** A file of a table, as it was read. */
export type TableFile = {
  readonly name: string
  readonly where: string
  readonly bytes: Uint8Array
}
export type ToMake = {
  readonly bundle: Bundle
  /** The bundle, named in problems. */
  readonly where: string
  readonly files: readonly TableFile[]
  /** What rows are compared with, to name those that never match. */
  readonly catalogues: readonly Catalogue[]
  /** Names of the connections, which the table agents may name. */
  readonly connections: readonly string[]
  /** Something keeps what rows have sealed (`audit.inputs`). */
  readonly seals: boolean
}
export type Made = {
  /** Those that the policy decides by, whole. */
  readonly tables: ReadonlyMap<string, Table>
  /** What rows say in vain. */
  readonly vain: readonly string[]
  readonly ready: Ready
}

const refuse = (problems: readonly string[]): Error =>
  new Error(`the policy tables cannot be used:\n${problems.map((line) => `- ${line}`).join('\n')}`)

/** @throws one Error that lists every file that is no table, with the line where that is known */
export const parseTables = (files: readonly TableFile[]): ReadonlyMap<string, Table> => {
  const tables = new Map<string, Table>()
  const problems: string[] = []
  for (const { name, where, bytes } of files) {
    const table = /^([A-Za-z_][A-Za-z0-9_]*)\.(json|yaml|yml)$/.exec(name)?.[1]
    if (table === undefined) problems.push(`${where}: not the name of a table (.json, .yaml, .yml)`)
    else if (tables.has(table)) problems.push(`${where}: another file already holds ${table}`)
    else
      try {
        const value = parseNamed(where, bytes)
        if (isObject(value)) tables.set(table, { where, value, own: true })
        else problems.push(`${where}: not an object: write keys and values`)
      } catch (error) {
        problems.push(messageOf(error))
      }
  }
  if (problems.length > 0) throw refuse(problems)
  return tables
}

/**
 * The tables that a bundle decides by, those of the folder in place of its own, with whole rows. Throws one Error that
 * lists everything that is wrong with them.
 * @param where the bundle, named in problems
 */
export const checkTables = (
  bundle: Bundle,
  where: string,
  folder: ReadonlyMap<string, Table>,
): ReadonlyMap<string, Table> => {
  const { deputy_data: bundled = {} } = bundle.data
  if (!isObject(bundled)) throw refuse([`${where}: deputy_data is not an object`])
  const problems: string[] = []
  const tables = new Map<string, Table>()
  for (const [name, value] of Object.entries(bundled))
    if (isObject(value))
      tables.set(name, { where: `${where}: deputy_data.${name}`, value, own: false })
    else problems.push(`${where}: deputy_data.${name} is not an object`)
  for (const [name, table] of folder) tables.set(name, table)
  problems.push(...tableProblems(tables, new Set(Object.keys(bundled))))
  if (problems.length > 0) throw refuse(problems)
  const whole = wholeTables(new Map([...tables].map(([name, { value }]) => [name, value])))
  const grants = (whole.get('grants') ?? {}) as unknown as Grants
  const agents = (whole.get('agents') ?? null) as Ceilings | null
  const guards = (whole.get('guards') ?? null) as JsonObject | null
  problems.push(...unreadKeys(bundle.wasm, grants, { agents, guards }))
  if (problems.length > 0) throw refuse(problems)
  return new Map(
    [...whole].map(([name, value]) => {
      const { where: place, own } = tables.get(name) ?? { where, own: false }
      return [name, { where: place, own, value: value as JsonObject }]
    }),
  )
}

const vainRows = (
  tables: ReadonlyMap<string, Table>,
  { catalogues, connections }: Pick<ToMake, 'catalogues' | 'connections'>,
): readonly string[] => {
  const grants = tables.get('grants')
  const agents = tables.get('agents')
  const rows = (grants?.value ?? {}) as unknown as Grants
  const ceilings = (agents?.value ?? {}) as unknown as Ceilings
  return [
    ...few([...unreachable(rows, catalogues), ...conflicts(rows)]).map(
      (one) => `${grants?.where ?? ''}: ${one}`,
    ),
    ...few(unknownIn(ceilings, catalogues, connections)).map(
      (one) => `${agents?.where ?? ''}: ${one}`,
    ),
  ]
}

/** Rows that demand what nothing here could keep, or of calls of which nothing is ever kept. */
const sealing = (tables: ReadonlyMap<string, Table>, seals: boolean): readonly string[] => {
  const grants = tables.get('grants')
  const rows = (grants?.value ?? {}) as unknown as Grants
  return Object.entries(rows).flatMap(([provider, named]) =>
    Object.entries(named).flatMap(([row, { kinds, obligations }]) => {
      const never = kinds.every((kind) => kind === 'graphql' || kind === 'mcp')
      return Object.entries(obligations).flatMap(([name, { type }]) => {
        if (type !== 'seal' || (seals && !never)) return []
        const where = `${grants?.where ?? ''}: ${provider}.${row}.obligations.${name}`
        const why = seals
          ? `seal keeps nothing of ${kinds.join(' and ')} calls, so each call of this row would be refused: take it out`
          : 'seal needs audit.inputs: sealed'
        return [`${where}: ${why}`]
      })
    }),
  )
}

/** @throws one Error that lists everything that is wrong with the tables */
export const makeOf = (of: ToMake): Made => {
  const folder = parseTables(of.files)
  const tables = checkTables(of.bundle, of.where, folder)
  const unkept = sealing(tables, of.seals)
  if (unkept.length > 0) throw refuse(unkept)
  const own = new Map<string, JsonObject>([...folder].map(([name, { value }]) => [name, value]))
  return { tables, vain: vainRows(tables, of), ready: readyOf(of.bundle, own) }
}
