// A configuration with mistakes: each told in words for people, the rest read all the same to find more of them.
import type { z } from 'zod'

type Issue = z.core.$ZodIssue

/** zod's own words say little to somebody who writes YAML. */
export const said = (issue: Issue): readonly string[] => {
  const at = (path: readonly PropertyKey[]): string => path.map(String).join('.') || 'configuration'
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => `${at([...issue.path, key])}: is no key that deputy knows`)
  if (issue.code === 'invalid_key')
    return [`${at(issue.path)}: ${issue.issues[0]?.message ?? 'is no valid name'}`]
  if (issue.code === 'invalid_union') {
    // Of several forms the one that this was meant to be: wrong only within.
    const meant = issue.errors.find((list) => list.every(({ path }) => path.length > 0))
    if (meant !== undefined && meant.length > 0)
      return meant.flatMap((each) => said({ ...each, path: [...issue.path, ...each.path] }))
  }
  if (issue.code !== 'invalid_type') return [`${at(issue.path)}: ${issue.message}`]
  const wanted = issue.expected === 'object' ? 'keys and values' : issue.expected
  return [
    issue.message.endsWith('received undefined')
      ? `${at(issue.path)}: is missing`
      : `${at(issue.path)}: must be ${wanted === 'string' ? 'a text (durations and sizes carry a unit, such as 10s)' : wanted === 'array' ? 'a list' : wanted}`,
  ]
}

type Tree = Record<PropertyKey, unknown>
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null

/** What stands in for a value that is required and missing, so that everything else can still be judged. */
type StandIns = readonly (readonly [path: readonly string[], value: unknown])[]
const STAND_IN: StandIns = [
  [['version'], 1],
  [['identity', 'trust'], 'plain'],
  [['policy', 'bundle'], 'missing'],
  [['vault', 'keys'], 'missing'],
  [['connections'], { missing: { provider: 'missing' } }],
]

/** The configuration without what is wrong in it: only to find further problems, never to serve. null: nothing is left. */
export const salvage = <T>(
  schema: z.ZodType<T>,
  raw: unknown,
  issues: readonly Issue[],
  standIns: StandIns = STAND_IN,
): T | null => {
  if (!isTree(raw)) return null
  const copy = structuredClone(raw)
  const parentOf = (path: readonly PropertyKey[], make: boolean): Tree | null => {
    let at: Tree = copy
    for (const key of path.slice(0, -1)) {
      if (!isTree(at[key]) && make) at[key] = {}
      const next = at[key]
      if (!isTree(next)) return null
      at = next
    }
    return at
  }
  const drop = (path: readonly PropertyKey[]): void => {
    const last = path.at(-1)
    const parent = parentOf(path, false)
    if (last === undefined || parent === null) return
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else delete parent[last]
  }
  let wrong = issues
  // A list or entry that lost a required part goes as a whole, in the next turn.
  for (let turn = 0; turn < 5; turn++) {
    for (const issue of wrong.toReversed()) {
      const { path } = issue
      if (issue.code === 'unrecognized_keys') for (const key of issue.keys) drop([...path, key])
      else if (turn > 0 && issue.message.includes('undefined')) drop(path.slice(0, -1))
      else drop(path)
    }
    for (const [path, value] of standIns) {
      const parent = parentOf(path, true)
      const last = path.at(-1) ?? ''
      if (parent !== null && parent[last] === undefined) parent[last] = value
    }
    const parsed = schema.safeParse(copy)
    if (parsed.success) return parsed.data
    wrong = parsed.error.issues
  }
  return null
}
