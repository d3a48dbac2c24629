// One record in a sentence, and the page that says what to do about it.
import { expect, test } from 'vitest'
import type { RecentRow } from '../../../proxy/audit/recent.ts'
import { EFFECTS, labelOf, toldOf, USUAL } from '../../../proxy/people/console/told.ts'
import { decision, outcome } from '../../audit/evidence_lines.ts'

const row = (event: string, fields: object, end: object | null = null): RecentRow => ({
  file: '',
  line: 7,
  newest: 7,
  at: 0,
  fields: { event, time: '', ...fields },
  outcome: end === null ? null : { ...end },
})
const told = (...of: Parameters<typeof row>) => toldOf(row(...of))

test.each([
  ['allow', [], 'Under way.', null],
  [
    'deny',
    ['no_grant'],
    'Policy refused the call: because of no_grant (no_grant).',
    'policy_denied',
  ],
  ['deny', [], 'Policy refused the call.', 'policy_denied'],
  [
    'consent_required',
    ['connection_missing'],
    'The user must connect the account first: because of connection_missing (connection_missing).',
    'consent_required',
  ],
  [
    'error',
    ['policy_unavailable'],
    expect.stringContaining('policy_unavailable'),
    'policy_unavailable',
  ],
] as const)('%s %j', (effect, reasons, sentence, problem) => {
  const said = told('decision', decision({ exchange: 'A', effect, reasons: [...reasons] }))
  expect([said.effect, said.sentence, said.problem]).toEqual([effect, sentence, problem])
})

test('an allowed call that ended well, and one that did not', () => {
  const fine = told('decision', decision({ exchange: 'A' }), outcome('A'))
  expect([fine.sentence, labelOf(fine)]).toEqual([
    'The provider answered 201 after 12.3 ms.',
    'Allowed',
  ])
  const bad = told(
    'decision',
    decision({ exchange: 'A' }),
    outcome('A', { result: 'rate_limited', sent: false, status: null }),
  )
  expect([bad.sentence, bad.problem, labelOf(bad), bad.effect]).toEqual([
    'Nothing left: A limit that policy sets is reached, after 12.3 ms.',
    'rate_limited',
    'Allowed, but it failed',
    'allow',
  ])
})

test('refusals before policy, one by one and summed', () => {
  const one = told('refused', { exchange: 'X', code: 'unauthenticated' })
  expect([one.what, one.sentence, one.problem]).toEqual([
    'unauthenticated',
    'Who is this call for?',
    'unauthenticated',
  ])
  const many = told('refused', { summed: { unauthenticated: 40 } })
  expect([many.effect, many.sentence, many.problem]).toEqual([
    'refused',
    'More refusals of a moment, summed: 40 × unauthenticated.',
    null,
  ])
})

test('other events say who did it; that somebody looked is not shown unless asked for', () => {
  const event = told('connection.revoked', { operator: 'sso:ada', result: 'revoked' })
  expect([event.effect, event.what, event.sentence]).toEqual([
    'event',
    'connection.revoked',
    'By sso:ada, result revoked.',
  ])
  expect(told('operator.listed', { operator: 'sso:ada', what: 'runs' }).effect).toBe('looked')
  expect(USUAL).toEqual(Object.keys(EFFECTS).filter((name) => name !== 'looked'))
})

test('records that are nothing that deputy writes are told without a fault', () => {
  for (const fields of [
    {},
    { decision: null },
    { decision: { effect: 7, reasons: 'x' } },
    { user: [], agent: 'x' },
    { code: {} },
  ])
    for (const event of ['decision', 'refused', 'other'])
      expect(typeof told(event, fields, {}).sentence).toBe('string')
  expect(
    told('decision', { decision: { effect: 'constructor', reasons: ['__proto__'] } }).problem,
  ).toBe(null)
})
