// A call of several parts: the youngest facts, the hardest answer, everything that any part needs.
import { describe, expect, test } from 'vitest'
import type { Access, Decision, Entitlements, Principal } from '../../proxy/model.ts'
import { together } from '../../proxy/pipeline/decide.ts'
import { createEntitlements, freshest } from '../../proxy/pipeline/entitlements.ts'
import type { Facts } from '../../proxy/pipeline/entitlements.ts'

const who = (issuedAt: number): Principal => ({
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  agent: 'agent:triage',
  verified: true,
  claims: { groups: ['staff'] },
  issuedAt,
  expiresAt: null,
  run: null,
})
const part = (access: Access) => ({ operation: { access } })

describe('facts', () => {
  test('each kind of access is asked for once, and the youngest facts serve all parts', async () => {
    const asked: Access[] = []
    const ages = { read: 20_000, write: 0, delete: 5, admin: 7 }
    const ask = (_: Principal, access: Access): Facts => {
      asked.push(access)
      return { entitlements: {} as Entitlements, ageMs: () => ages[access] }
    }
    const parts = [part('read'), part('delete'), part('write'), part('read')] as const
    expect((await freshest(ask, who(0), parts)).ageMs()).toBe(0)
    expect(asked).toEqual(['read', 'delete', 'write'])
  })

  test('claims that are too old for one part are too old for the call', async () => {
    const ask = createEntitlements({
      source: { kind: 'claims', groups: '/groups', roles: '/roles', entitlements: '/rights' },
      maxAge: { read: 60_000, write: 1_000, delete: 60_000, admin: 60_000 },
      clock: { now: () => 30_000, mono: () => 0 },
    })
    await expect(freshest(ask, who(0), [part('read'), part('delete')])).resolves.toBeDefined()
    await expect(freshest(ask, who(0), [part('delete'), part('write')])).rejects.toThrow(
      'this write allows 1 s',
    )
  })
})

const decision = (effect: Decision['effect'], more: Partial<Decision> = {}): Decision => ({
  id: `d-${effect}`,
  effect,
  reasons: effect === 'allow' ? [] : [{ code: effect, msg: '' }],
  requiredScopes: [],
  obligations: {},
  grants: [],
  revision: 'r',
  digest: 'sha256:r',
  decidedAt: 5,
  ...more,
})
const EFFECTS = [
  'allow',
  'consent_required',
  'step_up_required',
  'approval_required',
  'deny',
  'error',
] as const

describe('the answer', () => {
  test('is allow only if every part is allowed; else that of the part that was refused hardest', () => {
    for (const [i, a] of EFFECTS.entries())
      for (const [j, b] of EFFECTS.entries()) {
        const hardest = EFFECTS[Math.max(i, j)]
        expect(together([decision(a), decision(b)])).toMatchObject({
          effect: hardest,
          id: `d-${hardest}`,
        })
      }
  })

  test('has the id of the first part that was refused that hard', () => {
    const ids = (...parts: readonly [Decision, ...Decision[]]) => together(parts).id
    const [one, two] = [decision('deny', { id: 'one' }), decision('deny', { id: 'two' })]
    expect(ids(decision('allow'), one, two)).toBe('one')
    expect(ids(two, one, decision('consent_required'))).toBe('two')
  })

  test('names every scope, reason and grant once, and keeps each part’s obligations and the oldest time', () => {
    const limit = { type: 'rate_limit', properties: { limit: 5 } }
    expect(
      together([
        decision('deny', {
          requiredScopes: ['write'],
          obligations: { slow: limit },
          grants: ['a'],
          decidedAt: 7,
        }),
        decision('deny', {
          requiredScopes: ['write', 'read'],
          obligations: { slow: limit },
          grants: ['a', 'b'],
          decidedAt: 6,
        }),
      ]),
    ).toMatchObject({
      requiredScopes: ['write', 'read'],
      reasons: [{ code: 'deny', msg: '' }],
      obligations: { slow: limit, 'slow#2': limit },
      grants: ['a', 'b'],
      decidedAt: 6,
    })
  })
})
