// Finds rows that may cover one call and give one demand of it different values: such a call is refused. Pure.
import { concerns, fits } from '../wire/pattern.ts'
import type { Grants, Row } from './tables.ts'

/** Pairs that are compared; a call that meets a pair beyond is refused all the same. */
const MOST_PAIRS = 100_000

const common = <T>(a: readonly T[], b: readonly T[]): boolean => a.some((one) => b.includes(one))
const operationsMeet = (a: Row, b: Row): boolean =>
  a.operations.some((x) => b.operations.some((y) => concerns(y, x) || concerns(x, y)))
const segmentsMeet = (a: string, b: string): boolean =>
  (a.includes('*') && b.includes('*')) || fits(a, b) || fits(b, a)
const pathsMeet = (a: readonly string[], b: readonly string[]): boolean => {
  const [x, ...xs] = a
  const [y, ...ys] = b
  if (x === '**' || y === '**') return true
  if (x === undefined || y === undefined) return x === y
  return segmentsMeet(x, y) && pathsMeet(xs, ys)
}
const agentsMeet = (a: Row, b: Row): boolean => {
  const [x, y] = [a, b].map(({ agents }) =>
    agents.map((one) => (typeof one === 'string' ? one : one.id)),
  ) as [string[], string[]]
  return x.includes('*') || y.includes('*') || common(x, y)
}
/** May one call be covered by both? Conditions are left out: most times differ only in who has the role. */
const meet = (a: Row, b: Row): boolean =>
  common(a.kinds, b.kinds) &&
  common(a.access, b.access) &&
  operationsMeet(a, b) &&
  pathsMeet(a.path, b.path) &&
  agentsMeet(a, b)

type Named = { readonly id: string; readonly row: Row; readonly said: string }

/** As `provider.row.kind.name: why`. */
export const conflicts = (grants: Grants): readonly string[] => {
  const found: string[] = []
  let pairs = 0
  for (const [provider, rows] of Object.entries(grants)) {
    const byName = new Map<string, Named[]>()
    for (const [id, row] of Object.entries(rows))
      for (const kind of ['obligations', 'step_up', 'approval'] as const)
        for (const [name, value] of Object.entries(row[kind])) {
          const said = `${kind} ${JSON.stringify(value)}`
          const others = byName.get(name) ?? []
          byName.set(name, others)
          const differs = (one: Named): boolean => {
            pairs += 1
            return one.said !== said && meet(one.row, row)
          }
          const other = pairs > MOST_PAIRS ? undefined : others.find(differs)
          if (other !== undefined)
            found.push(
              `${provider}.${id}.${kind}.${name}: the row ${JSON.stringify(other.id)} may cover the same call and says another thing by this name, so the call would be refused: use one value or two names`,
            )
          others.push({ id, row, said })
        }
  }
  return found
}
