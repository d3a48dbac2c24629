// What a plan tells of obligations.
import { expect, test } from 'vitest'
import { demandsOf, together } from '../../proxy/api/plan_demands.ts'
import type { Decision } from '../../proxy/model.ts'

const decision = (
  effect: Decision['effect'],
  obligations: Decision['obligations'],
): Pick<Decision, 'effect' | 'obligations'> => ({ effect, obligations })
const hourly = {
  type: 'rate_limit',
  properties: { key: ['person'], limit: 20, window_s: 3_600, internal: 'x' },
}

test('what an agent can go by, and no more', () => {
  const demands = demandsOf([
    decision('approval_required', {
      hourly,
      lead: { type: 'approval', properties: { approvers: ['group:leads'], ttl_s: 900 } },
      mfa: { type: 'step-up', properties: { acr_values: ['urn:mfa'], max_auth_age_s: 600 } },
      ours: { type: 'of_our_own', properties: { key: 'secret' } },
    }),
  ])
  expect(demands).toEqual([
    { name: 'hourly', type: 'rate_limit', key: ['person'], limit: 20, window_s: 3_600 },
    { name: 'lead', type: 'approval', approvers: ['group:leads'], ttl_s: 900 },
    { name: 'mfa', type: 'step-up', acr_values: ['urn:mfa'], max_auth_age_s: 600 },
    { name: 'ours', type: 'of_our_own' },
  ])
})
test('what is refused demands nothing, and what several demand alike is told once', () => {
  expect(demandsOf([decision('deny', { hourly }), decision('error', { hourly })])).toEqual([])
  expect(demandsOf([decision('allow', { hourly }), decision('allow', { hourly })])).toHaveLength(1)
  const one = demandsOf([decision('consent_required', { hourly })])
  expect(together([one, one, []])).toEqual(one)
})
