// What would change an answer, proved by the shipped policy as it is compiled.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Json, JsonObject } from '../../../proxy/model.ts'
import { readBundle } from '../../../proxy/policy/bundle.ts'
import { put } from '../../../proxy/policy/why/proposals.ts'
import { holdsBy, turnsOf } from '../../../proxy/policy/why/search.ts'
import { openTrial, type Trial } from '../../../proxy/policy/why/trial.ts'

const golden = (name: string): JsonObject =>
  (
    JSON.parse(readFileSync(new URL(`../../golden/${name}.json`, import.meta.url), 'utf8')) as {
      readonly input: JsonObject
    }
  ).input
let trial: Trial
beforeAll(async () => {
  const bundle = await readBundle(
    readFileSync(new URL('../../../policies/bundle.tar.gz', import.meta.url)),
  )
  trial = await openTrial({ bundle, tables: new Map() }, 65_536)
})
afterAll(() => trial.close())

const base = golden('merge-a-pull')
const set = (input: JsonObject, ...changes: readonly (readonly [string, Json])[]): JsonObject =>
  changes.reduce((at, [path, value]) => put(at, path.split('.'), value) as JsonObject, input)
/** As an engineer's read of an issue list. */
const read = set(
  base,
  [
    'operation',
    {
      ...(base['operation'] as JsonObject),
      id: 'issues.listForRepo',
      access: 'read',
      kind: 'rest',
    },
  ],
  ['request.method', 'GET'],
  ['request.segments', ['repos', 'acme', 'app', 'issues']],
)
const turns = async (input: JsonObject): Promise<readonly (readonly string[])[]> =>
  (await turnsOf(trial, input)).turns
const tableWith = (name: string, path: readonly string[], value: Json) =>
  new Map([[name, put(trial.tables.get(name), path, value) as JsonObject]])

describe('the smallest change', () => {
  test('is one step where one is enough, each of which the policy itself allows', async () => {
    const found = await turns(set(read, ['user.groups', []]))
    expect(found).toContainEqual(['the person is in group staff (role reader)'])
    expect(found.every((steps) => steps.length === 1)).toBe(true)
    expect(await turns(base)).toEqual([['guards.github.merge is true']])
  })
  test('of a missing scope is the consent', async () => {
    const [first] = await turns(set(read, ['provider.granted_scopes', []]))
    expect(first).toEqual([expect.stringMatching(/^the person consents to /)])
  })
  test('of facts that are too old is fresh facts, or a row that allows their age', async () => {
    const found = await turns(set(read, ['user.entitlements_age_ms', 86_400_000]))
    expect(found).toContainEqual([
      'the facts about the person are fresh (they were 86400000 ms old)',
    ])
    expect(found.flat().some((said) => said.includes('max_entitlement_age_s is 86400'))).toBe(true)
  })
  test('of somebody who is not active is that they are', async () => {
    expect(await turns(set(read, ['user.active', false]))).toEqual([['the person is active']])
  })
  test('may take two steps, and more where every two are not enough', async () => {
    const two = set(base, ['user.groups', []])
    expect(await turns(two)).toContainEqual([
      'the person is in group engineering (role developer)',
      'guards.github.merge is true',
    ])
    const three = await turns(set(two, ['provider.granted_scopes', []]))
    expect(three).toHaveLength(1)
    expect(three[0]).toHaveLength(3)
  })
  test('of what nobody may do is none', async () => {
    const found = await turnsOf(trial, set(read, ['operation.id', 'unknown']))
    expect(found.turns).toEqual([])
    expect(found.tried).toBeGreaterThan(10)
  })
  test('is bounded, and says so', async () => {
    const many = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`g${i}`, [`r${i}`]]))
    const grants = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`r${i}`, ['gh-read']]))
    const tables = new Map([
      ...trial.tables,
      ['group_roles', many as JsonObject],
      ['role_grants', { github: grants } as JsonObject],
    ])
    let asked = 0
    const refusing = {
      tables,
      ask: (inputs: readonly string[]) => {
        asked += inputs.length
        return Promise.resolve(
          inputs.map(() => ({
            version: 1 as const,
            allow: false,
            reasons: [{ code: 'no', msg: '' }],
            required_scopes: [],
            obligations: {},
            max_entitlement_age_s: 60,
            grants: [],
          })),
        )
      },
    }
    const found = await turnsOf(refusing, set(read, ['user.groups', []]))
    expect(found).toMatchObject({ turns: [], cut: true })
    expect(asked).toBeLessThan(3_500)
  })
})

describe('rows that ask for more', () => {
  const ROW = ['github', 'gh-write']
  const write = set(read, ['operation.id', 'issues.create'], ['operation.access', 'write'])
  test.each([
    [
      'approval',
      { boss: { approvers: ['group:leads'], ttl_s: 60 } },
      'group:leads approves this very call (boss)',
    ],
    [
      'step_up',
      { strong: { acr_values: ['urn:mfa'], max_auth_age_s: 60 } },
      'the person signs in again with urn:mfa',
    ],
    ['checks', ['can_edit'], 'the authorization service says yes (can_edit)'],
    ['entitlement', 'github:write', 'the person has entitlement github:write'],
  ])('%s is told as what lifts it', async (key, value, said) => {
    const changed = tableWith('grants', [...ROW, key], value)
    const tables = new Map([...trial.tables, ...changed])
    const other = {
      tables,
      ask: (inputs: readonly string[], more: ReadonlyMap<string, JsonObject> = new Map()) =>
        trial.ask(inputs, new Map([...changed, ...more])),
    }
    expect((await turnsOf(other, write)).turns).toContainEqual([said])
  })
})

test('an allow hangs on the group that gives its role', async () => {
  expect(await holdsBy(trial, read)).toEqual(['group engineering'])
  expect(await holdsBy(trial, set(read, ['user.groups', ['engineering', 'staff']]))).toEqual([])
})
