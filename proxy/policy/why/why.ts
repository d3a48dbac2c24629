// Why a row of the starter policy's tables covers a call or does not: which of the things that it asks for fail. It tells
// people where to look; what would change an answer is asked of the policy itself (policy/search). Pure.
import type { Json, JsonObject } from '../../model.ts'
import { isObject } from '../../wire/json.ts'
import { fits } from '../../wire/pattern.ts'
import { namesOperation } from './reads.ts'

type Tables = ReadonlyMap<string, JsonObject>

/** One thing that a row asks for and the call does not have. */
type Miss = {
  readonly what:
    'role' | 'operation' | 'agent' | 'path' | 'entitlement' | 'access' | 'kind' | 'more'
  /** What the row wants, in words. */
  readonly wants: string
}
export type RowWhy = {
  readonly id: string
  /** Roles whose people have this row. */
  readonly roles: readonly string[]
  /** Empty: it covers the call. */
  readonly misses: readonly Miss[]
}

export const own = (table: unknown, ...names: readonly string[]): unknown =>
  names.reduce<unknown>(
    (at, name) => (isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined),
    table,
  )
export const textsAt = (from: unknown, ...names: readonly string[]): readonly string[] => {
  const found = own(from, ...names)
  return Array.isArray(found) ? found.filter((one) => typeof one === 'string') : []
}
const textAt = (from: unknown, ...names: readonly string[]): string => {
  const found = own(from, ...names)
  return typeof found === 'string' ? found : ''
}

/** Of the person, by themselves and by groups: role → the groups that give it. */
export const rolesOf = (
  input: JsonObject,
  tables: Tables,
): ReadonlyMap<string, readonly string[]> => {
  const roles = new Map<string, readonly string[]>(
    textsAt(input, 'user', 'roles').map((role) => [role, []]),
  )
  for (const group of textsAt(input, 'user', 'groups'))
    for (const role of textsAt(tables.get('group_roles'), group))
      roles.set(role, [...(roles.get(role) ?? []), group])
  return roles
}

const segmentFits = (pattern: string, segment: string): boolean =>
  pattern === '*' || pattern === segment || (!segment.includes('/') && fits(pattern, segment))
const pathFits = (pattern: readonly string[], path: readonly string[]): boolean => {
  const rest = pattern.at(-1) === '**'
  const fixed = rest ? pattern.slice(0, -1) : pattern
  return (
    (rest ? path.length >= fixed.length : path.length === fixed.length) &&
    fixed.every((part, i) => segmentFits(part, path[i] ?? ''))
  )
}
const shownAgent = (agent: unknown): string =>
  isObject(agent)
    ? `${textAt(agent, 'id')} of workload ${textAt(agent, 'workload')}`
    : String(agent)
const agentFits = (agents: readonly Json[], input: JsonObject): boolean => {
  const id = textAt(input, 'agent', 'id')
  const workload = own(input, 'agent', 'workload', 'name')
  return agents.some((one) =>
    isObject(one)
      ? (own(one, 'id') === id || own(one, 'id') === '*') && own(one, 'workload') === workload
      : one === '*' || one === id,
  )
}
/** Keys that this file does not weigh: they are asked of the policy. */
const OTHERS = ['when', 'arguments', 'max_body_bytes', 'mail', 'history'] as const
const isSaid = (value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  !(typeof value === 'object' && Object.keys(value).length === 0)

const missesOf = (row: unknown, input: JsonObject, covers: boolean): readonly Miss[] => {
  const misses: Miss[] = []
  const miss = (what: Miss['what'], wants: string): void => void misses.push({ what, wants })
  const operation = textAt(input, 'operation', 'id')
  const names = textsAt(row, 'operations')
  if (!names.some((name) => namesOperation(name, operation))) miss('operation', names.join(', '))
  const path = textsAt(row, 'path')
  if (!pathFits(path, textsAt(input, 'request', 'segments'))) miss('path', `/${path.join('/')}`)
  const agents = own(row, 'agents')
  if (!agentFits(Array.isArray(agents) ? agents : [], input))
    miss('agent', (Array.isArray(agents) ? agents : []).map(shownAgent).join(', '))
  const entitlement = textAt(row, 'entitlement')
  if (entitlement !== '*' && !textsAt(input, 'user', 'entitlements').includes(entitlement))
    miss('entitlement', entitlement)
  for (const [what, key] of [
    ['access', 'access'],
    ['kind', 'kinds'],
  ] as const) {
    const wanted = textsAt(row, key)
    if (!wanted.includes(textAt(input, 'operation', what))) miss(what, wanted.join(', '))
  }
  const others = OTHERS.filter((key) => isSaid(own(row, key)))
  if (misses.length === 0 && !covers && others.length > 0) miss('more', others.join(', '))
  return misses
}

/**
 * Every row of the provider, the nearest first: those with the fewest misses, and of these those that miss the least of
 * what the call is about.
 * @param grants ids of rows that the policy said cover the call
 */
export const rowsNear = (
  input: JsonObject,
  tables: Tables,
  grants: readonly string[],
): readonly RowWhy[] => {
  const provider = textAt(input, 'provider', 'id')
  const held = rolesOf(input, tables)
  const rows = own(tables.get('grants'), provider)
  const byRole = own(tables.get('role_grants'), provider)
  const roles = Object.keys(isObject(byRole) ? byRole : {})
  const all = Object.entries(isObject(rows) ? rows : {}).map(([id, row]): RowWhy => {
    const giving = roles.filter((role) => textsAt(byRole, role).includes(id))
    const has = giving.some((role) => held.has(role))
    const misses = missesOf(row, input, grants.includes(id) || !has)
    const role: Miss = { what: 'role', wants: giving.join(' or ') || 'a role, and no role has it' }
    return { id, roles: giving, misses: has ? misses : [role, ...misses] }
  })
  const ORDER = ['more', 'role', 'entitlement', 'agent', 'path', 'access', 'kind', 'operation']
  const far = ({ misses }: RowWhy): number =>
    misses.reduce((sum, { what }) => sum + 10 + ORDER.indexOf(what), 0)
  return all.toSorted((a, b) => far(a) - far(b))
}
