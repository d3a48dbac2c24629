// An index over the rows of the grants table, so that a decision costs the same however many rows a
// role has. Pure.
import type { Grants, RoleGrants } from './tables.ts'

/**
 * Fewer rows of a role are compared one by one: that costs less than looking for those that fit.
 */
const FEW = 8
/**
 * Deeper places are not told apart: there are at most 2^8 sets of places for each operation, agent
 * and entitlement.
 */
const PLACES = 8

/** Of a longer beginning only so much is told apart. */
const HEAD = 64
/** So many shapes at most tell beginnings apart: each costs every call that comes by it. */
const SHAPES = 256

/**
 * Rows whose paths say a segment at the same places, and begin one equally far: their ids by what they say there.
 * `heads`: place and length, in characters of ASCII, of the first segment like `public-*`.
 */
type Shape = {
  readonly at: readonly number[]
  readonly heads: readonly (readonly [number, number])[]
  readonly rows: Record<string, string[]>
}
/** provider → role → operation as a row names it → agent → entitlement → shapes */
type Index = Record<string, Record<string, Record<string, Record<string, Record<string, Shape[]>>>>>

/** Which workload is asked for too, the policy compares. */
const idOf = (agent: Grants[string][string]['agents'][number]): string =>
  typeof agent === 'string' ? agent : agent.id

/** Where a row says how a segment begins, how far that can be told apart. */
const headOf = (path: readonly string[]): Shape['heads'] => {
  for (const [i, segment] of path.slice(0, PLACES).entries()) {
    const [head = ''] = /^[!-)+-~]*/.exec(segment.split('*', 1)[0] ?? '') ?? []
    if (segment.includes('*') && head !== '') return [[i, Math.min(head.length, HEAD)]]
  }
  return []
}

/** Tables may hold a key like `__proto__`. */
const bare = <T>(): Record<string, T> => Object.create(null) as Record<string, T>

/**
 * The index that `deputy.grants` asks for the rows which may cover a call; it still compares each
 * of them whole. Roles of few rows are not in it.
 */
export const indexOf = (grants: Grants, roleGrants: RoleGrants): Index => {
  const index: Index = bare()
  for (const [provider, byRole] of Object.entries(roleGrants)) {
    const rows = new Map(
      Object.hasOwn(grants, provider) ? Object.entries(grants[provider] ?? {}) : [],
    )
    for (const [role, ids] of Object.entries(byRole)) {
      if (ids.length <= FEW) continue
      const byName = ((index[provider] ??= bare())[role] ??= bare())
      const said = new Set<string>()
      for (const id of ids) {
        const row = rows.get(id)
        // Of rows that say the same the first stands for all: thousands of copies cost no more than
        // one.
        const text = JSON.stringify(row)
        if (row === undefined || said.has(text)) continue
        said.add(text)
        const at = [...row.path.slice(0, PLACES).keys()].filter(
          (i) => row.path[i]?.includes('*') === false,
        )
        const begins = headOf(row.path)
        const places = (heads: Shape['heads']): string =>
          [
            ...at.map((i) => row.path[i]),
            ...heads.map(([i, length]) => row.path[i]?.slice(0, length)),
          ].join('/')
        for (const name of new Set(row.operations))
          for (const agent of new Set(row.agents.map(idOf))) {
            const shapes = (((byName[name] ??= bare())[agent] ??= bare())[row.entitlement] ??= [])
            const like = (heads: Shape['heads']): Shape | undefined =>
              shapes.find((one) => one.at.join() === at.join() && one.heads.join() === heads.join())
            const heads = shapes.length < SHAPES || like(begins) !== undefined ? begins : []
            let shape = like(heads)
            if (shape === undefined) shapes.push((shape = { at, heads, rows: bare() }))
            ;(shape.rows[places(heads)] ??= []).push(id)
          }
      }
    }
  }
  return index
}
