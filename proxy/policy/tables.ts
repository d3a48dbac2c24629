// The tables of the starter policy, `data.deputy_data`: their schema, and a check that names
// everything that is wrong with them. Pure.
import { z } from 'zod'
import { knownElsewhere } from '../config/known.ts'
import type { JsonObject } from '../model.ts'
import { isObject } from '../wire/json.ts'
import {
  access,
  domain,
  namesInVain,
  rowProblems,
  texts,
  writtenCeiling,
  writtenRow,
} from './row.ts'
import type { Ceiling, Row } from './row.ts'
import { wholeTables } from './whole.ts'

const BRANCH = /^(?:[^*\s]+\*?|\*)$/

const byProvider = <T extends z.ZodType>(value: T) => z.record(z.string(), value)

const OPERATOR_ROLES = ['viewer', 'operator', 'auditor', 'break-glass'] as const
export type OperatorRole = (typeof OPERATOR_ROLES)[number]

const TABLES = {
  group_roles: z.record(z.string(), texts).describe('group of the identity provider to roles'),
  operator_roles: z
    .record(z.string(), z.array(z.enum(OPERATOR_ROLES)))
    .describe('group of the issuer of operators_sign_in to what its members may do as operators'),
  role_grants: byProvider(z.record(z.string(), texts)).describe('provider to role to ids of rows'),
  grants: byProvider(z.record(z.string(), writtenRow)).describe('provider to id to row'),
  agents: z
    .record(z.string(), z.array(writtenCeiling))
    .describe('agent, or *, to what it may ever do, by any one of these; without the table: all'),
  providers: byProvider(
    z.strictObject({
      hosts: texts,
      assets: texts.describe('download hosts, reached without a credential'),
      host_suffixes: texts
        .describe("for hosts that each person's own token names; deputy compares the whole name")
        .optional(),
      inspect_body: z.array(access).describe('access whose bodies must have been read'),
      hidden: texts
        .describe('types and fields of GraphQL that no selection beneath a root field may name')
        .optional(),
    }),
  ),
  guards: byProvider(
    z.strictObject({
      approve: z.boolean().optional(),
      merge: z.boolean().optional(),
      force_push: z.boolean().optional(),
      access: z.boolean().optional().describe('change who may sign in, read or do what'),
      share: z.boolean().optional().describe('share with people outside'),
      domains: z
        .array(domain)
        .min(1)
        .describe('who is inside: mail, invitations and shares to others are refused')
        .optional(),
      branches: z
        .array(z.string().regex(BRANCH, 'must be a branch, or its beginning and *: release/*'))
        .min(1)
        .describe('no agent writes to these')
        .optional(),
    }),
  ).describe(
    'what agents may do at a provider though its guard says no, false unless told; and lists that its guards ask',
  ),
  standing: z
    .record(
      z.string(),
      z.strictObject({
        max_days: z.number().min(1),
        operations: texts.describe('a.b.c, a.b.*, a.* or *'),
        agents: texts,
      }),
    )
    .describe('role to what its people may let a workload do while they are away'),
  probes: z
    .record(
      z.string(),
      z.strictObject({
        input: z.record(z.string(), z.unknown()),
        allow: z.boolean(),
        codes: texts.optional(),
      }),
    )
    .describe('asked of every compiled bundle before it may serve; codes: the reasons, sorted'),
} as const

const NEEDED = ['group_roles', 'role_grants', 'grants', 'providers'] as const
type Name = keyof typeof TABLES
const isName = (name: string): name is Name => Object.hasOwn(TABLES, name)

export type { Row } from './row.ts'
/** provider → id → row */
export type Grants = Readonly<Record<string, Readonly<Record<string, Row>>>>
/** agent → any one of these */
export type Ceilings = Readonly<Record<string, readonly Ceiling[]>>
export type RoleGrants = z.output<typeof TABLES.role_grants>

/** What these groups may do as operators, by the table `operator_roles`. */
export const operatorRoles = (
  table: JsonObject | null,
  groups: readonly string[],
): ReadonlySet<OperatorRole> => {
  const parsed = TABLES.operator_roles.safeParse(table ?? {})
  const rows = new Map(Object.entries(parsed.success ? parsed.data : {}))
  return new Set(groups.flatMap((group) => rows.get(group) ?? []))
}

/** deputy makes this table itself, when it loads the others (policy/rows). */
export const INDEX = 'grant_index'
const index = byProvider(
  // role, operation as a row names it, agent, entitlement; heads: place and length of a segment's beginning
  z.record(
    z.string(),
    z.record(
      z.string(),
      z.record(
        z.string(),
        z.record(
          z.string(),
          z.array(
            z.strictObject({
              at: z.array(z.number()),
              heads: z.array(z.array(z.number())),
              rows: z.record(z.string(), texts),
            }),
          ),
        ),
      ),
    ),
  ),
).describe('made by deputy when it loads the tables: ids of rows, by all that a row asks for')

/**
 * JSON Schema of `data.deputy_data`, generated from the parser; opa checks the Rego's types against
 * it.
 */
export const tablesJsonSchema = (): Record<string, unknown> => {
  const optional = Object.fromEntries(
    Object.entries({ ...TABLES, [INDEX]: index }).map(([name, table]) => [
      name,
      NEEDED.some((needed) => needed === name) ? table : table.optional(),
    ]),
  )
  return {
    title: 'Tables of the starter policy (data.deputy_data)',
    ...z.toJSONSchema(z.strictObject(optional), { target: 'draft-7', io: 'input' }),
  }
}

/** A table and the file, or the place in the bundle, that it stands in. */
export type Table = { readonly where: string; readonly value: JsonObject; readonly own: boolean }

const WANTED: Readonly<Record<string, string>> = {
  string: 'a text',
  boolean: 'true or false',
  number: 'a number',
  array: 'a list',
  object: 'an object',
  record: 'an object',
}

const at = (path: readonly PropertyKey[]): string =>
  path.length === 0 ? 'the table' : path.map(String).join('.')

const issueText = (name: Name, { path, ...issue }: z.core.$ZodIssue): string => {
  const said = (): string => {
    if (issue.code === 'unrecognized_keys')
      return `there is no member ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}${issue.keys.length === 1 ? knownElsewhere(TABLES[name], path, issue.keys[0] ?? '') : ''}`
    if (issue.code === 'invalid_type')
      return issue.input === undefined
        ? 'is missing'
        : `must be ${WANTED[issue.expected] ?? issue.expected}`
    if (issue.code === 'invalid_value')
      return `must be one of ${issue.values.map(String).join(', ')}`
    return issue.message
  }
  return `${at(path)}: ${said()}`
}

const MOST = 20
/** The first 20, and how many there are beside. */
export const few = (problems: readonly string[]): readonly string[] =>
  problems.length <= MOST
    ? problems
    : [...problems.slice(0, MOST), `and ${problems.length - MOST} more`]

/**
 * Ids that a role names and no row has; a bundle's roles may outlive the rows that a folder
 * replaced.
 */
const dangling = (roles: Table, role_grants: RoleGrants, grants: Grants): readonly string[] =>
  Object.entries(role_grants).flatMap(([provider, byRole]) =>
    Object.entries(byRole).flatMap(([role, ids]) =>
      ids.flatMap((id, i) =>
        Object.hasOwn(grants, provider) && Object.hasOwn(grants[provider] ?? {}, id)
          ? []
          : [
              `${roles.where}: ${provider}.${role}.${i}: grants.${provider} has no row ${JSON.stringify(id)}`,
            ],
      ),
    ),
  )

/** Roles of one row in two places, which could say two things. */
const twofold = (roles: Table, role_grants: RoleGrants, written: JsonObject): readonly string[] =>
  Object.entries(role_grants).flatMap(([provider, byRole]) => {
    const rows = Object.hasOwn(written, provider) ? written[provider] : null
    const ids = isObject(rows)
      ? Object.keys(rows).filter((id) => isObject(rows[id]) && Object.hasOwn(rows[id], 'roles'))
      : []
    const own = new Set(ids)
    return Object.entries(byRole).flatMap(([role, named]) =>
      named.flatMap((id, i) =>
        own.has(id)
          ? [
              `${roles.where}: ${provider}.${role}.${i}: grants.${provider}.${id} names its roles itself: say it in one of the two`,
            ]
          : [],
      ),
    )
  })

const wholeOf = (tables: ReadonlyMap<string, Table>): readonly (JsonObject | undefined)[] => {
  const whole = wholeTables(new Map([...tables].map(([name, { value }]) => [name, value])))
  return ['grants', 'agents'].map((name) => whole.get(name) as JsonObject | undefined)
}

const ceilingProblems = (agents: JsonObject): readonly string[] =>
  Object.entries(agents as unknown as Ceilings).flatMap(([agent, ceilings]) =>
    ceilings.flatMap(({ operations }, i) =>
      namesInVain(operations, 'operations').map((what) => `${agent}.${i}.${what}`),
    ),
  )

/**
 * Everything that is wrong with the tables, each with its file, row and member; the first 20 of a
 * table.
 * @param bundled names of the tables that the bundle brings; a folder may replace those, and
 *   those that are known here
 */
export const tableProblems = (
  tables: ReadonlyMap<string, Table>,
  bundled: ReadonlySet<string>,
): readonly string[] => {
  const problems: string[] = []
  let sound = true
  for (const [name, { where, value, own }] of tables) {
    const report = (found: readonly string[]): void =>
      void problems.push(...few(found).map((one) => `${where}: ${one}`))
    if (name === INDEX) report([`deputy makes the table ${INDEX} itself`])
    else if (!isName(name)) {
      if (own && !bundled.has(name))
        report([
          `there is no table ${JSON.stringify(name)}: the bundle has ${[...new Set([...bundled, ...Object.keys(TABLES)])].toSorted().join(', ')}`,
        ])
    } else {
      const parsed = TABLES[name].safeParse(value, { reportInput: true })
      if (!parsed.success) {
        sound = false
        report(parsed.error.issues.map((issue) => issueText(name, issue)))
      }
    }
  }
  const grants = tables.get('grants')
  const roles = tables.get('role_grants')
  if (!sound || grants === undefined) return problems
  const [whole, ceilings] = wholeOf(tables)
  const rows = whole as unknown as Grants
  const odd = Object.entries(rows).flatMap(([provider, byId]) =>
    Object.entries(byId).flatMap(([id, one]) =>
      rowProblems(one).map((what) => `${provider}.${id}.${what}`),
    ),
  )
  problems.push(...few(odd).map((one) => `${grants.where}: ${one}`))
  const agents = tables.get('agents')
  if (agents !== undefined && ceilings !== undefined)
    problems.push(...few(ceilingProblems(ceilings)).map((one) => `${agents.where}: ${one}`))
  if (roles !== undefined && (roles.own || !grants.own))
    problems.push(...few(dangling(roles, roles.value as RoleGrants, rows)))
  if (roles !== undefined && roles.own === grants.own)
    problems.push(...few(twofold(roles, roles.value as RoleGrants, grants.value)))
  return problems
}
