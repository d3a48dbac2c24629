import { describe, expect, test } from 'vitest'
import type { AllowedOf } from '../../proxy/consent/allowed.ts'
import { createPermit } from '../../proxy/consent/permit.ts'
import type { Connection, Decision, Holding, OperationRow } from '../../proxy/model.ts'
import type { Question } from '../../proxy/pipeline/decide.ts'
import { alice, provider as bare } from '../wire/fixture.ts'

const row = (
  id: string,
  access: OperationRow['access'],
  scopes: readonly string[],
): OperationRow => ({
  id,
  method: 'POST',
  path: `/x/${id}`,
  host: null,
  access,
  scopes: [scopes],
  inspect: [],
  upload: false,
  rewrite: [],
})
const notes = row('notes.make', 'write', ['notes'])
const acme: Connection = {
  name: 'acme',
  provider: { ...bare, operations: [notes, row('team.drop', 'admin', ['team'])] },
  clientId: 'c',
  clientSecret: null,
  scopes: ['notes', 'team'],
}
const held = (
  granted: readonly string[] | null,
  status: 'active' | 'needs_reauth' = 'active',
): Holding => ({
  kind: 'held',
  credential: 'k',
  status,
  account: 'a',
  generation: 1,
  scopes: ['notes', 'team'],
  granted,
})
const house = (
  effect: Decision['effect'],
  {
    holding = { kind: 'none' },
    allowed = [notes],
  }: { holding?: Holding; allowed?: readonly OperationRow[] } = {},
) => {
  const asked: Question[] = []
  const told: (readonly [string, object])[] = []
  const accesses: string[] = []
  const allowedOf: AllowedOf = () => Promise.resolve(new Set(allowed.map(({ id }) => id)))
  const permit = createPermit({
    clock: { now: () => 0 },
    policy: () => null,
    grants: () => null,
    entitlements: (_who, access) => {
      accesses.push(access)
      return {
        entitlements: {
          active: true,
          groups: [],
          roles: [],
          entitlements: [],
          auth: null,
          source: 'file',
          digest: 'sha256:x',
          asOf: null,
        },
        ageMs: () => 0,
      }
    },
    vault: { look: () => holding },
    decide: (_engine, question) => {
      asked.push(question)
      return {
        id: 'd1',
        effect,
        reasons: effect === 'allow' ? [] : [{ code: 'no_grant', msg: 'nothing allows it' }],
        requiredScopes: [],
        obligations: {},
        grants: [],
        revision: 'r',
        digest: 'sha256:r',
        decidedAt: 0,
      }
    },
    newId: () => 'id-1',
    connections: () => new Map([['acme', acme]]),
    evidence: {
      event: (event, fields) => {
        told.push([event, fields])
        return Promise.resolve()
      },
    },
    allowed: allowedOf,
  })
  return {
    permit: (wanted: Parameters<typeof permit>[2], name = 'acme') => permit(alice, name, wanted),
    asked,
    told,
    accesses,
  }
}

test.each<[string, Parameters<ReturnType<typeof house>['permit']>, string]>([
  ['no connection', [{ scopes: [] }, 'other'], 'no connection is called "other"'],
  ['no operation', [{ operation: 'notes.eat' }], 'acme has no operation "notes.eat"'],
])('where there is %s policy is not asked', async (_name, args, why) => {
  const { permit, asked, told } = house('allow')
  await expect(permit(...args)).rejects.toThrow(why)
  expect([asked, told]).toEqual([[], []])
})

describe('what policy is asked', () => {
  test.each([
    [{ scopes: ['notes'] }, 'deputy.connect', 'read', 'consent.decided'],
    [{ operation: 'notes.make' }, 'notes.make', 'write', 'consent.decided'],
    [{ keep: ['notes'] }, 'deputy.connect', 'read', 'connection.decided'],
    [{ run: 'runner' }, 'deputy.run', 'write', 'run.decided'],
  ] as const)(
    '%j is %s, with facts as fresh as for a %s, and evidence',
    async (wanted, id, access, event) => {
      const { permit, asked, told, accesses } = house('allow')
      await permit(wanted)
      expect(asked.map(({ act }) => act.operation.id)).toEqual([id])
      expect(accesses).toEqual([access])
      expect(told).toMatchObject([
        [
          event,
          {
            connection: 'acme',
            operation: { id, access },
            decision: { effect: 'allow', id: 'd1' },
          },
        ],
      ])
      expect(told[0]?.[1]).toHaveProperty('user.id', 'alice')
    },
  )
  test('the operator who wants a run stands in the evidence', async () => {
    const { permit, told } = house('allow')
    await permit({ run: 'runner' })
    expect(told[0]?.[1]).toHaveProperty('operator', 'runner')
  })
})

describe('what policy says', () => {
  test.each(['step_up_required', 'approval_required'] as const)(
    '%s is asked for when the operation is called; nothing else is let through by it',
    async (effect) => {
      const permitted = await house(effect).permit({ operation: 'notes.make' })
      expect(permitted).toMatchObject({ scopes: ['notes'] })
      for (const wanted of [{ scopes: ['notes'] }, { run: 'runner' }])
        await expect(house(effect).permit(wanted)).rejects.toMatchObject({ code: 'policy_denied' })
    },
  )
  test.each(['deny'] as const)('%s is a refusal', async (effect) => {
    const { permit, told } = house(effect)
    await expect(permit({ operation: 'notes.make' })).rejects.toMatchObject({
      code: 'policy_denied',
      extra: { reasons: ['no_grant'], decision_id: 'd1' },
    })
    expect(told).toHaveLength(1)
  })
  test('nothing is no refusal: it could not be asked', async () => {
    await expect(house('error').permit({ scopes: [] })).rejects.toMatchObject({
      code: 'policy_unavailable',
    })
  })
  test.each(['allow', 'consent_required'] as const)(
    '%s: the scopes that are left to ask for',
    async (effect) => {
      expect(await house(effect).permit({ operation: 'notes.make' })).toEqual({
        scopes: ['notes'],
        held: false,
      })
    },
  )
})

describe('nobody is asked for what they could make no use of', () => {
  test('scopes that no allowed operation needs are left out', async () => {
    const { permit } = house('allow')
    expect(await permit({ scopes: ['notes', 'team'] })).toMatchObject({ scopes: ['notes'] })
  })
  test('and where nothing is left it is a refusal', async () => {
    const { permit } = house('allow', { allowed: [] })
    await expect(permit({ scopes: ['team'] })).rejects.toMatchObject({
      code: 'policy_denied',
      extra: { reasons: ['scope_unused'] },
    })
    expect(await permit({ scopes: [] })).toMatchObject({ scopes: [] })
  })
})

describe('nothing is left to ask', () => {
  test.each<[string, Holding, boolean]>([
    ['where it is held', held(['notes']), true],
    ['not where this agent has no grant', held(null), false],
    ['not where it has another', held(['team']), false],
    ['not where the provider withdrew it', held(['notes'], 'needs_reauth'), false],
    ['not where nothing is held', { kind: 'none' }, false],
  ])('%s', async (_name, holding, is) => {
    expect((await house('allow', { holding }).permit({ operation: 'notes.make' })).held).toBe(is)
    expect(
      (await house('consent_required', { holding }).permit({ operation: 'notes.make' })).held,
    ).toBe(false)
  })
  test('for a run, once policy allows it', async () => {
    expect(await house('allow').permit({ run: 'runner' })).toMatchObject({ held: true })
    expect(await house('consent_required').permit({ run: 'runner' })).toMatchObject({ held: false })
  })
})
