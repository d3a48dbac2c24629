// A configuration with mistakes: each told in words for people, the rest read all the same to find more of them.
import type { z } from 'zod'

type Issue = z.core.$ZodIssue

/** How many letters differ, wherever they stand (Levenshtein). */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, letter] of Array.from(a).entries()) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j += 1)
      next.push(
        Math.min(
          (next[j] ?? 0) + 1,
          (row[j + 1] ?? 0) + 1,
          (row[j] ?? 0) + (letter === b[j] ? 0 : 1),
        ),
      )
    row = next
  }
  return row[b.length] ?? 0
}
/** `clientSecret` and `client-secret` are `client_secret`. */
const spelt = (key: string): string =>
  key
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .replaceAll('-', '_')
    .toLowerCase()
/** `: is NAME meant?` of the known name that is a slip of the pen away; empty: none is. Of two the longer one. */
export const meant = (key: string, known: Iterable<string>): string => {
  const own = spelt(key.slice(0, 50))
  const [best] = Array.from(known, (name) => [distance(own, spelt(name)), name] as const).sort(
    ([a, one], [b, other]) => a - b || other.length - one.length,
  )
  return best !== undefined && best[0] <= Math.max(1, Math.floor(own.length / 4))
    ? `: is ${best[1]} meant?`
    : ''
}

/** Why a value of one type is none of another, and how it is written. */
const ofType = (expected: string, message: string): string => {
  if (message.endsWith('received undefined')) return 'is missing'
  if (expected !== 'string')
    return `must be ${({ array: 'a list', object: 'keys and values', record: 'keys and values', number: 'a number', int: 'a whole number', boolean: 'true or false' } as Readonly<Record<string, string>>)[expected] ?? expected}`
  return /received (?:number|boolean)$/.test(message)
    ? 'must be a text: put it in quotes; a duration or a size needs its unit, such as 10s, and an address its host, such as 127.0.0.1:7410'
    : 'must be a text'
}

/** What to add about a key that nobody knows, at a place. */
type Hint = (at: readonly PropertyKey[], key: string) => string

/** zod's own words say little to somebody who writes YAML. */
export const saying =
  (hint: Hint) =>
  (issue: Issue): readonly string[] => {
    const at = (path: readonly PropertyKey[]): string =>
      path.map(String).join('.') || 'configuration'
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map(
        (key) => `${at([...issue.path, key])}: is no key that deputy knows${hint(issue.path, key)}`,
      )
    if (issue.code === 'invalid_key')
      return [`${at(issue.path)}: ${issue.issues[0]?.message ?? 'is no valid name'}`]
    if (issue.code === 'invalid_union') {
      // Of several forms the one that this was meant to be: wrong only within.
      const form = issue.errors.find((list) => list.every(({ path }) => path.length > 0))
      if (form !== undefined && form.length > 0)
        return form.flatMap((each) =>
          saying(hint)({ ...each, path: [...issue.path, ...each.path] }),
        )
    }
    // zod's own words; a schema that has better ones says them.
    if (issue.code === 'invalid_value' && issue.message.startsWith('Invalid '))
      return [
        `${at(issue.path)}: must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map(String).join(', ')}`,
      ]
    return [
      `${at(issue.path)}: ${issue.code === 'invalid_type' ? ofType(issue.expected, issue.message) : issue.message}`,
    ]
  }
export const said = saying(() => '')

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
