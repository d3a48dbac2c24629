import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Json, JsonObject } from '../../proxy/model.ts'
import { tableProblems } from '../../proxy/policy/tables.ts'
import type { Table } from '../../proxy/policy/tables.ts'

const shipped = JSON.parse(
  readFileSync(new URL('../../policies/deputy_data/data.json', import.meta.url), 'utf8'),
) as Record<string, JsonObject>
const bundled = new Set(Object.keys(shipped))

/** What is wrong when a folder `t` brings these tables to the shipped ones. */
const wrong = (own: Record<string, Json>): readonly string[] => {
  const tables = new Map<string, Table>()
  for (const [name, value] of Object.entries(shipped))
    tables.set(name, { where: `bundle: ${name}`, value, own: false })
  for (const [name, value] of Object.entries(own))
    tables.set(name, { where: `t/${name}.json`, value: value as JsonObject, own: true })
  return tableProblems(tables, bundled)
}
const row = (shipped['grants'] as { github: { 'gh-read': JsonObject } }).github['gh-read']
const grants = (changes: JsonObject, without: readonly string[] = []) => ({
  grants: {
    acme: {
      r: Object.fromEntries(
        Object.entries({ ...row, ...changes }).filter(([key]) => !without.includes(key)),
      ),
    },
  },
})
const at = (member: string, what: string): string => `t/grants.json: acme.r.${member}: ${what}`

test('roles of a row in two places are refused, but the bundle may name an id that a folder uses too', () => {
  const own = grants({ roles: ['intern'] })
  expect(wrong({ ...own, role_grants: { acme: { developer: ['r'] } } })).toEqual([
    't/role_grants.json: acme.developer.0: grants.acme.r names its roles itself: say it in one of the two',
  ])
  expect(wrong({ grants: { github: { 'gh-read': { ...row, roles: ['intern'] } } } })).toEqual([])
})

test('the tables that ship are fine, and so is a folder that replaces some of them', () => {
  expect(wrong({})).toEqual([])
  expect(wrong(grants({}))).toEqual([])
  expect(wrong({ ...grants({}), role_grants: { acme: { developer: ['r'] } } })).toEqual([])
  expect(wrong({ guards: { github: { merge: true } } })).toEqual([])
})

describe('a wrong table is named with its file, row and member', () => {
  test.each<[string, Record<string, Json>, readonly string[]]>([
    [
      'a member misspelt',
      grants({ operation: ['*'] }),
      ['t/grants.json: acme.r: there is no member "operation": is operations meant?'],
    ],
    ['a member left out', grants({}, ['operations']), [at('operations', 'is missing')]],
    [
      'a workload of no agent',
      grants({ agents: [{ workload: 'cluster' }] }),
      [at('agents.0', 'must be an agent, or one with its workload: { "id": …, "workload": … }')],
    ],
    [
      'a workload that is not needed',
      grants({ agents: [{ id: 'agent:a', workload: 'cluster' }, 'agent:a'] }),
      [
        at(
          'agents.0',
          '"agent:a" is there without a workload too, so none is needed: keep one of the two',
        ),
      ],
    ],
    ['a text for a list', grants({ path: '/repos/**' }), [at('path', 'must be a list')]],
    ['a number in a list of texts', grants({ scopes: [1] }), [at('scopes.0', 'must be a text')]],
    [
      'an access that there is not',
      grants({ access: ['reed'] }),
      [at('access.0', 'must be one of read, write, delete, admin')],
    ],
    [
      'a kind that there is not',
      grants({ kinds: ['soap'] }),
      [at('kinds.0', 'must be one of rest, graphql, mcp, asset')],
    ],
    [
      'a text for an age',
      grants({ max_entitlement_age_s: '60' }),
      [at('max_entitlement_age_s', 'must be a number')],
    ],
    [
      'a list for an entitlement',
      grants({ entitlement: ['*'] }),
      [at('entitlement', 'must be a text')],
    ],
    [
      'null for a row',
      { grants: { acme: { r: null } } },
      ['t/grants.json: acme.r: must be an object'],
    ],
    [
      'a list for a provider',
      { grants: { acme: [row] } },
      ['t/grants.json: acme: must be an object'],
    ],
    [
      'two mistakes',
      grants({ access: 'read' }, ['operations']),
      [at('access', 'must be a list'), at('operations', 'is missing')],
    ],
    [
      'a group with one role, no list',
      { group_roles: { staff: 'reader' } },
      ['t/group_roles.json: staff: must be a list'],
    ],
    [
      'roles straight under a role',
      { role_grants: { developer: ['gh-read'] } },
      ['t/role_grants.json: developer: must be an object'],
    ],
    [
      'a row that no table has',
      { role_grants: { github: { developer: ['gh-raed'] } } },
      ['t/role_grants.json: github.developer.0: grants.github has no row "gh-raed"'],
    ],
    [
      'a provider without hosts',
      { providers: { acme: { assets: [], inspect_body: [] } } },
      ['t/providers.json: acme.hosts: is missing'],
    ],
    [
      'a guard that there is not',
      { guards: { github: { approves: true } } },
      ['t/guards.json: github: there is no member "approves": is approve meant?'],
    ],
    [
      'a guard with a text',
      { guards: { github: { merge: 'yes' } } },
      ['t/guards.json: github.merge: must be true or false'],
    ],
    [
      'a probe without an answer',
      { probes: { p: { input: {} } } },
      ['t/probes.json: p.allow: is missing'],
    ],
    [
      'a table that there is not',
      { grant: {} },
      [
        't/grant.json: there is no table "grant": the bundle has agents, grants, group_roles, guards, operator_roles, probes, providers, role_grants, standing',
      ],
    ],
    [
      'the table that deputy makes',
      { grant_index: {} },
      ['t/grant_index.json: deputy makes the table grant_index itself'],
    ],
  ])('%s', (_name, own, problems) => {
    expect(wrong(own)).toEqual(problems)
  })

  test('thousands of mistakes are counted, not listed', () => {
    const rows = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`r${i}`, {}]))
    const said = wrong({ grants: { acme: rows } })
    expect(said).toHaveLength(21)
    expect(said.at(-1)).toBe('t/grants.json: and 480 more')
  })
})

describe('a row that says something in vain is refused', () => {
  test.each<[string, JsonObject, string]>([
    ['no kinds', { kinds: [] }, 'kinds: [] matches nothing'],
    ['no path', { path: [] }, 'path: [] matches nothing'],
    [
      'a star inside a name',
      { operations: ['issues*'] },
      'operations.0: "issues*" matches nothing',
    ],
    [
      'a star in front',
      { operations: ['*', '*.create'] },
      'operations.1: "*.create" matches nothing',
    ],
    ['an empty name', { operations: [''] }, 'operations.0: "" matches nothing'],
    [
      'the rest in the middle',
      { path: ['repos', '**', 'issues'] },
      'path.1: "**" matches nothing here',
    ],
    ['a path in one entry', { path: ['repos/acme', '**'] }, 'path.0: "repos/acme" is no segment'],
    [
      'three stars inside a segment',
      { path: ['repos', '*a*b*'] },
      'path.1: "*a*b*" matches nothing: a segment has one * or two with something between them',
    ],
    ['two stars side by side', { path: ['repos', 'acme-**'] }, 'path.1: "acme-**" matches nothing'],
  ])('%s', (_name, changes, what) => {
    expect(wrong(grants(changes))).toEqual([
      expect.stringContaining(`t/grants.json: acme.r.${what}`),
    ])
  })
})

test('a bundle of somebody else may bring tables that nobody here knows, and a folder may replace them', () => {
  const table = (own: boolean): Table => ({ where: 'x', value: { anything: [1] }, own })
  expect(tableProblems(new Map([['mine', table(false)]]), new Set(['mine']))).toEqual([])
  expect(tableProblems(new Map([['mine', table(true)]]), new Set(['mine']))).toEqual([])
  expect(tableProblems(new Map([['mine', table(true)]]), new Set())).toHaveLength(1)
})
