// Fills in what the tables leave out, so that the policy sees whole rows: their defaults, and the roles that rows name
// themselves. Pure.
import type { Json, JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'
import { wholeCeiling, wholeRow } from './row.ts'
import type { Written } from './row.ts'

/** Own members only: tables may hold a key like `__proto__`. */
const each = (
  table: JsonObject,
  make: (value: Json | undefined, key: string) => unknown,
): JsonObject =>
  Object.fromEntries(
    Object.entries(table).map(([key, value]) => [key, make(value, key)]),
  ) as JsonObject

const texts = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : []

/** Whole rows. What is no row is left as it is, for the check to name. */
const wholeGrants = (grants: JsonObject): JsonObject =>
  each(grants, (byId, provider) =>
    isObject(byId)
      ? each(byId, (row) => (isObject(row) ? wholeRow(provider, row as unknown as Written) : row))
      : byId,
  )

const namesRoles = (row: Json | undefined): row is JsonObject =>
  isObject(row) && Object.hasOwn(row, 'roles')

/**
 * provider → role → ids: what the table says of rows that there are, and the roles that rows name. Of a row that names its
 * own the table says nothing: it may be the bundle's, and the row one of a folder that happens to have the same id.
 */
const rolesOf = (roleGrants: JsonObject, grants: JsonObject): JsonObject => {
  const merged = new Map<string, Map<string, Set<string>>>()
  const put = (provider: string, role: string, id: string): void => {
    const byRole = merged.get(provider) ?? new Map<string, Set<string>>()
    merged.set(provider, byRole)
    byRole.set(role, (byRole.get(role) ?? new Set()).add(id))
  }
  const rowsOf = (provider: string): JsonObject => {
    const rows = Object.hasOwn(grants, provider) ? grants[provider] : null
    return isObject(rows) ? rows : {}
  }
  for (const [provider, byRole] of Object.entries(roleGrants)) {
    const rows = rowsOf(provider)
    for (const [role, ids] of Object.entries(isObject(byRole) ? byRole : {}))
      for (const id of texts(ids))
        if (Object.hasOwn(rows, id) && !namesRoles(rows[id])) put(provider, role, id)
  }
  for (const provider of Object.keys(grants))
    for (const [id, row] of Object.entries(rowsOf(provider)))
      if (namesRoles(row)) for (const role of texts(row['roles'])) put(provider, role, id)
  return Object.fromEntries(
    [...merged].map(([provider, byRole]) => [
      provider,
      Object.fromEntries([...byRole].map(([role, ids]) => [role, [...ids]])),
    ]),
  )
}

/** `deputy_data` as the policy sees it. Tables that are not there stay away. */
export const wholeTables = (tables: ReadonlyMap<string, Json>): ReadonlyMap<string, Json> => {
  const whole = new Map(tables)
  const [grants, roles, agents] = ['grants', 'role_grants', 'agents'].map((name) =>
    tables.get(name),
  )
  if (isObject(grants)) {
    whole.set('grants', wholeGrants(grants))
    whole.set('role_grants', rolesOf((roles ?? {}) as JsonObject, grants))
  }
  if (isObject(agents))
    whole.set(
      'agents',
      each(agents, (rows) =>
        Array.isArray(rows) ? rows.map((row) => (isObject(row) ? wholeCeiling(row) : row)) : rows,
      ),
    )
  return whole
}
