// Which earlier calls rows ask about, so that only these are remembered, and only where somebody asks. Pure.
import type { HistoryAsk, JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'

/** So far back reaches what is remembered of calls, s. */
export const HISTORY_S = 86_400

/** a.b.c, a.* and * as rows name operations. */
const naming = (names: readonly string[]): HistoryAsk['counts'] => {
  if (names.includes('*')) return () => true
  const exact = new Set(names)
  const families = names.filter((name) => name.endsWith('.*')).map((name) => name.slice(0, -1))
  return (id) => exact.has(id) || families.some((family) => id.startsWith(family))
}

/**
 * @param grants the table; what is no row of it asks for nothing; null: no row asks
 * @throws Error of a row whose history reaches further back than is remembered, or names no operations
 */
export const historyAskOf = (grants: unknown): HistoryAsk | null => {
  const windows = new Set<number>()
  const names = new Set<string>()
  const byId = (table: unknown): readonly unknown[] => (isObject(table) ? Object.values(table) : [])
  const rows = byId(grants).flatMap(byId).filter(isObject) as readonly JsonObject[]
  for (const { history } of rows)
    for (const one of Array.isArray(history) ? history : []) {
      const { within_s: within = null, operations = null } = isObject(one) ? one : {}
      if (!Number.isSafeInteger(within) || Number(within) < 1 || Number(within) > HISTORY_S)
        throw new Error(
          `history of a row of grants: within_s is ${JSON.stringify(within)}, and must be a whole number of seconds from 1 to ${HISTORY_S}`,
        )
      if (!Array.isArray(operations))
        throw new Error('history of a row of grants: operations is not a list')
      windows.add(Number(within))
      for (const name of operations) names.add(String(name))
    }
  return windows.size === 0
    ? null
    : { windows: [...windows].toSorted((a, b) => a - b), counts: naming([...names]) }
}
