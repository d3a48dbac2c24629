// Which paths do rows of the policy name for an operation? Its template alone fits no row that says more. Pure.
import type { Connection, JsonObject, OperationRow } from '../model.ts'
import { fits } from '../wire/pattern.ts'
import { concerns } from '../wire/pattern.ts'

const MOST_PATHS = 8

/** What is read of a row here. */
type Reaching = {
  readonly path: readonly unknown[]
  readonly operations: readonly string[]
  readonly access: readonly string[]
}

/** A template as one path that both it and the row's pattern allow; null: there is none. `{x+}` takes one segment or more. */
const meeting = (
  [segment, ...after]: readonly string[],
  [wanted, ...others]: readonly unknown[],
): readonly string[] | null => {
  if (segment === undefined) return wanted === undefined || wanted === '**' ? [] : null
  if (wanted === '**') return [segment, ...after]
  if (typeof wanted !== 'string') return null
  const open = segment.startsWith('{')
  if (!open && !fits(wanted, segment)) return null
  const own = open && wanted !== '*' ? wanted : segment
  const rest =
    meeting(after, others) ??
    (/\+\}:?$/.test(segment) ? meeting([segment, ...after], others) : null)
  return rest === null ? null : [own, ...rest]
}

/**
 * Paths that rows of the policy name for this operation, where its template says less; 8 at most. A segment like `public-*`
 * stands for itself, which it fits.
 * @param table grants, by which the policy that ships decides
 */
export const pathsIn = (
  table: JsonObject | null,
  { provider }: Connection,
  { id: operation, path: template, access }: Pick<OperationRow, 'id' | 'path' | 'access'>,
): readonly (readonly string[])[] => {
  const segments = template.split('/').slice(1)
  const found = new Map<string, readonly string[]>()
  for (const id of provider.lineage) {
    const rows = table !== null && Object.hasOwn(table, id) ? table[id] : null
    for (const row of Object.values(rows ?? {}) as readonly (Partial<Reaching> | null)[]) {
      if (found.size > MOST_PATHS) break
      const { path, operations = [], access: kinds = [] } = row ?? {}
      if (!kinds.includes(access) || !operations.some((name) => concerns(name, operation))) continue
      const met = Array.isArray(path) ? meeting(segments, path) : null
      if (met !== null) found.set(met.join('/'), met)
    }
  }
  found.delete(segments.join('/'))
  return [...found.values()].slice(0, MOST_PATHS)
}
