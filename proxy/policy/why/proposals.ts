// What might change a refusal: one step each, of a person, an account, or a table. A step is only worth telling once the
// policy has answered with it (policy/search). Pure.
import type { Json, JsonObject, PolicyDecision } from '../../model.ts'
import { isObject } from '../../wire/json.ts'
import type { Tables } from '../make.ts'
import { own, rolesOf, rowsNear, textsAt } from './why.ts'

export type Proposal = {
  /** As something to do, in words. */
  readonly said: string
  /** A step of people or tables that takes nothing back; of two that help the smaller is told first. */
  readonly cost: number
  readonly input?: (input: JsonObject) => JsonObject
  readonly tables?: (tables: ReadonlyMap<string, JsonObject>) => Tables
}

/** Rows that are looked at, nearest first. */
const NEAR = 8
/** Guards of the starter policy that a team may lift. */
const GUARDS = ['approve', 'merge', 'force_push']

/** The same with `value` at a place; what is no object on the way becomes one. */
export const put = (
  at: Json | undefined,
  [name, ...rest]: readonly string[],
  value: Json,
): Json => {
  if (name === undefined) return value
  const from: JsonObject = isObject(at) ? at : {}
  const inner = Object.hasOwn(from, name) ? from[name] : undefined
  return Object.fromEntries([
    ...Object.entries(from).filter(([key]) => key !== name),
    [name, put(inner, rest, value)],
  ])
}
const inInput =
  (path: readonly string[], value: Json | ((input: JsonObject) => Json)) =>
  (input: JsonObject): JsonObject =>
    put(input, path, typeof value === 'function' ? value(input) : value) as JsonObject
const inTable =
  (name: string, path: readonly string[], value: Json) =>
  (tables: ReadonlyMap<string, JsonObject>): Tables =>
    new Map([[name, put(tables.get(name) ?? {}, path, value) as JsonObject]])

const adding =
  (path: readonly string[], added: readonly string[]) =>
  (input: JsonObject): Json => [...new Set([...textsAt(input, ...path), ...added])]

const ofPerson = (input: JsonObject, tables: Tables): readonly Proposal[] => {
  const provider = String(own(input, 'provider', 'id'))
  const held = rolesOf(input, tables)
  const byRole = own(tables.get('role_grants'), provider)
  const useful = new Set(
    Object.keys(isObject(byRole) ? byRole : {}).filter((role) => !held.has(role)),
  )
  const groups = Object.keys(tables.get('group_roles') ?? {})
  const given = new Set<string>()
  const steps: Proposal[] = []
  // Groups that give the same roles are one step: the policy is asked about the first.
  const alike = new Map<string, string[]>()
  for (const group of groups) {
    const roles = textsAt(tables.get('group_roles'), group).filter((role) => useful.has(role))
    const key = JSON.stringify(roles)
    if (roles.length > 0) alike.set(key, [...(alike.get(key) ?? []), group])
    for (const role of roles) given.add(role)
  }
  for (const [key, [group = '', ...others]] of alike) {
    const roles = JSON.parse(key) as readonly string[]
    const also =
      others.length === 0
        ? ''
        : `; as ${others.slice(0, 5).join(', ')}${others.length > 5 ? ' and more' : ''}`
    steps.push({
      said: `the person is in group ${group} (role ${roles.join(', ')}${also})`,
      cost: 20 + roles.length,
      input: inInput(['user', 'groups'], adding(['user', 'groups'], [group])),
    })
  }
  for (const role of useful)
    if (!given.has(role))
      steps.push({
        said: `the person has role ${role} (no group gives it)`,
        cost: 30,
        input: inInput(['user', 'roles'], adding(['user', 'roles'], [role])),
      })
  if (own(input, 'user', 'active') !== true)
    steps.push({ said: 'the person is active', cost: 15, input: inInput(['user', 'active'], true) })
  const age = own(input, 'user', 'entitlements_age_ms')
  if (typeof age === 'number' && age > 0)
    steps.push({
      said: `the facts about the person are fresh (they were ${age} ms old)`,
      cost: 5,
      input: inInput(['user', 'entitlements_age_ms'], 0),
    })
  return steps
}

/** What a person does at a page: connect, consent, sign in, approve. */
const atPages = (input: JsonObject, decision: PolicyDecision): readonly Proposal[] => {
  const wanted = decision.required_scopes
  const had = textsAt(input, 'provider', 'granted_scopes')
  const lacks = wanted.filter((scope) => !had.includes(scope))
  const steps: Proposal[] = []
  const scopes = adding(['provider', 'granted_scopes'], wanted)
  const granting = inInput(['provider', 'granted_scopes'], scopes)
  const connected = own(input, 'provider', 'connected') === true
  if (!connected || lacks.length > 0)
    steps.push({
      said: connected
        ? `the person consents to ${lacks.join(', ')}`
        : `the person connects the account${wanted.length === 0 ? '' : ` with ${wanted.join(', ')}`}`,
      cost: 1,
      input: (at) => granting(put(at, ['provider', 'connected'], true) as JsonObject),
    })
  for (const [name, { type, properties }] of Object.entries(decision.obligations)) {
    if (type === 'step-up') {
      const [acr] = textsAt(properties, 'acr_values')
      steps.push({
        said: `the person signs in again${acr === undefined ? '' : ` with ${acr}`}`,
        cost: 3,
        input: inInput(['user', 'auth'], { acr: acr ?? null, amr: [], age_s: 0 }),
      })
    }
    if (type === 'approval') {
      const approvers = textsAt(properties, 'approvers')
      const [by = ''] = approvers
      const given = { id: 'proposed', name, by, expires_in_s: 60 }
      steps.push({
        said: `${approvers.join(' or ') || 'somebody'} approves this very call (${name})`,
        cost: 3,
        input: inInput(['approvals'], (at) => [
          ...(Array.isArray(at['approvals']) ? at['approvals'] : []),
          given,
        ]),
      })
    }
  }
  return steps
}

const ofChecks = (input: JsonObject, tables: Tables): readonly Proposal[] => {
  const rows = own(tables.get('grants'), String(own(input, 'provider', 'id')))
  const names = new Set(
    Object.values(isObject(rows) ? rows : {}).flatMap((row) => textsAt(row, 'checks')),
  )
  return [...names]
    .filter((name) => own(input, 'user', 'checks', name) !== true)
    .map((name) => ({
      said: `the authorization service says yes (${name})`,
      cost: 10,
      input: inInput(['user', 'checks', name], true),
    }))
}

/** One row more of what the agent may ever do. */
const ofCeilings = (input: JsonObject, tables: Tables): readonly Proposal[] => {
  const table = tables.get('agents')
  if (table === undefined || own(input, 'operation', 'kind') === 'deputy') return []
  const [agent, operation, access] = [
    String(own(input, 'agent', 'id')),
    String(own(input, 'operation', 'id')),
    String(own(input, 'operation', 'access')),
  ]
  const had = own(table, agent) ?? own(table, '*')
  const row = { operations: [operation], access: [access] }
  return [
    {
      said: `agents.${agent} has a row for ${access} of ${operation}`,
      cost: 45,
      tables: inTable('agents', [agent], [...((Array.isArray(had) ? had : []) as Json[]), row]),
    },
  ]
}

/** One key of one row, or one entry of another table. */
const ofTables = (input: JsonObject, tables: Tables): readonly Proposal[] => {
  const provider = String(own(input, 'provider', 'id'))
  const roles = [...rolesOf(input, tables).keys()]
  const steps: Proposal[] = []
  const agent = String(own(input, 'agent', 'id'))
  const operation = String(own(input, 'operation', 'id'))
  for (const { id, misses } of rowsNear(input, tables, []).slice(0, NEAR)) {
    const row = own(tables.get('grants'), provider, id)
    const change = (key: string, value: Json, said: string): void =>
      void steps.push({
        said: `grants.${provider}.${id}.${key} ${said}`,
        cost: 40 + misses.length,
        tables: inTable('grants', [provider, id, key], value),
      })
    const also = (key: string, one: string): void =>
      change(key, [...textsAt(row, key), one], `has ${one} too`)
    for (const { what } of misses) {
      if (what === 'role')
        for (const role of roles) {
          const ids = textsAt(tables.get('role_grants'), provider, role)
          steps.push({
            said: `role ${role} has row ${id} too (by roles of grants.${provider}.${id}, or where it has none by role_grants)`,
            cost: 40 + misses.length,
            tables: inTable('role_grants', [provider, role], [...ids, id]),
          })
        }
      if (what === 'agent') {
        const agents = own(row, 'agents')
        change(
          'agents',
          [...((Array.isArray(agents) ? agents : []) as Json[]), agent],
          `has ${agent} too`,
        )
      }
      if (what === 'operation') also('operations', operation)
      if (what === 'access') also('access', String(own(input, 'operation', 'access')))
      if (what === 'kind') also('kinds', String(own(input, 'operation', 'kind')))
      if (what === 'path') {
        const path = textsAt(input, 'request', 'segments')
        change('path', path, `is /${path.join('/')}`)
      }
      if (what === 'entitlement')
        steps.push({
          said: `the person has entitlement ${String(own(row, 'entitlement'))}`,
          cost: 20,
          input: inInput(
            ['user', 'entitlements'],
            adding(['user', 'entitlements'], [String(own(row, 'entitlement'))]),
          ),
        })
    }
    for (const key of ['step_up', 'approval', 'mail'] as const)
      if (isObject(own(row, key)) && Object.keys(own(row, key) as object).length > 0)
        change(key, {}, 'asks for nothing')
    for (const key of ['checks', 'when', 'arguments', 'history'] as const)
      if (Array.isArray(own(row, key)) && (own(row, key) as unknown[]).length > 0)
        change(key, [], 'asks for nothing')
    if (typeof own(row, 'max_body_bytes') === 'number')
      change('max_body_bytes', null, 'asks for nothing')
    const most = own(row, 'max_entitlement_age_s')
    const age = own(input, 'user', 'entitlements_age_ms')
    if (typeof most === 'number' && typeof age === 'number' && age > most * 1_000)
      change('max_entitlement_age_s', Math.ceil(age / 1_000), `is ${Math.ceil(age / 1_000)}`)
  }
  for (const guard of GUARDS)
    if (own(tables.get('guards'), provider, guard) !== true)
      steps.push({
        said: `guards.${provider}.${guard} is true`,
        cost: 60,
        tables: inTable('guards', [provider, guard], true),
      })
  return steps
}

/** The smallest first; none of them takes back another, so that two may be tried together. */
export const proposalsFor = (
  input: JsonObject,
  tables: Tables,
  decision: PolicyDecision,
): readonly Proposal[] =>
  [
    ...atPages(input, decision),
    ...ofPerson(input, tables),
    ...ofChecks(input, tables),
    ...ofTables(input, tables),
    ...ofCeilings(input, tables),
  ].toSorted((a, b) => a.cost - b.cost)
