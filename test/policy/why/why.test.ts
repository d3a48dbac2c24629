import { expect, test } from 'vitest'
import type { JsonObject } from '../../../proxy/model.ts'
import { rolesOf, rowsNear } from '../../../proxy/policy/why/why.ts'

const row: JsonObject = {
  kinds: ['rest'],
  access: ['read'],
  operations: ['a.*'],
  path: ['docs', '*', '**'],
  agents: ['one', { id: 'two', workload: 'cluster' }],
  entitlement: '*',
}
const tables = (grants: JsonObject): ReadonlyMap<string, JsonObject> =>
  new Map([
    ['group_roles', { staff: ['reader'], leads: ['reader', 'boss'] }],
    ['role_grants', { p: { reader: ['r'], boss: ['s'] } }],
    ['grants', { p: grants }],
  ])
const input = (more: JsonObject = {}): JsonObject => ({
  user: { groups: ['staff'], roles: ['guest'], entitlements: [] },
  agent: { id: 'one' },
  provider: { id: 'p' },
  operation: { id: 'a.b', kind: 'rest', access: 'read' },
  request: { segments: ['docs', '7'] },
  ...more,
})
const misses = (more: JsonObject, changed: JsonObject = {}): readonly string[] =>
  (rowsNear(input(more), tables({ r: { ...row, ...changed } }), [])[0]?.misses ?? []).map(
    ({ what, wants }) => `${what}: ${wants}`,
  )

test('roles are the person’s own and those of their groups, with the groups', () => {
  expect([...rolesOf(input(), tables({}))]).toEqual([
    ['guest', []],
    ['reader', ['staff']],
  ])
})
test('a row that covers the call misses nothing', () => {
  expect(misses({})).toEqual([])
  expect(misses({ agent: { id: 'two', workload: { name: 'cluster' } } })).toEqual([])
  expect(misses({ request: { segments: ['docs', '7', 'x', 'y'] } })).toEqual([])
  expect(misses({}, { path: ['do*s', '*'] })).toEqual([])
  expect(misses({ request: { segments: ['docs/x', '7'] } }, { path: ['do*', '*'] })).toEqual([
    'path: /do*/*',
  ])
})
test.each<[string, JsonObject, JsonObject, string]>([
  ['role', { user: { groups: [], roles: [], entitlements: [] } }, {}, 'role: reader'],
  ['operation', { operation: { id: 'b.c', kind: 'rest', access: 'read' } }, {}, 'operation: a.*'],
  ['agent', { agent: { id: 'two' } }, {}, 'agent: one, two of workload cluster'],
  ['path', { request: { segments: ['docs'] } }, {}, 'path: /docs/*/**'],
  ['entitlement', {}, { entitlement: 'gold' }, 'entitlement: gold'],
  ['access', { operation: { id: 'a.b', kind: 'rest', access: 'admin' } }, {}, 'access: read'],
  ['kind', { operation: { id: 'a.b', kind: 'mcp', access: 'read' } }, {}, 'kind: rest'],
  ['what only the policy weighs', {}, { arguments: [{ pointer: '/x' }] }, 'more: arguments'],
  ['whom a mail goes to', {}, { mail: { domains: ['example.com'] } }, 'more: mail'],
])('a row says what keeps it: %s', (_name, more, changed, said) => {
  expect(misses(more, changed)).toEqual([said])
})
test('the nearest row is first, and one of no role says so', () => {
  const grants = {
    far: { ...row, operations: ['z'], path: ['y'] },
    s: row,
    r: { ...row, access: ['write'] },
  }
  const near = rowsNear(input(), tables(grants), [])
  expect(near.map(({ id }) => id)).toEqual(['s', 'r', 'far'])
  expect(near.at(-1)?.misses[0]).toEqual({ what: 'role', wants: 'a role, and no role has it' })
})
test('tables of another shape have no rows', () => {
  expect(rowsNear(input(), new Map(), [])).toEqual([])
  expect(rowsNear({}, tables({ r: 7 }), [])).toEqual([])
})
