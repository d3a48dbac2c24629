import { expect, test } from 'vitest'
import { createReader, readAnswer } from '../../proxy/policy/decision.ts'

const GOOD = {
  version: 1,
  allow: true,
  reasons: [],
  required_scopes: ['repo'],
  obligations: { slow: { type: 'rate_limit', properties: { per: 'minute' } } },
  max_entitlement_age_s: 60,
  grants: ['use'],
}
const text = (result: unknown): string => JSON.stringify([{ result }])
const read = (result: unknown) => readAnswer(text(result))
const without = (name: keyof typeof GOOD): object =>
  Object.fromEntries(Object.entries(GOOD).filter(([key]) => key !== name))

test('a decision of the promised shape is read as it is, and frozen to the ground', () => {
  const decision = read(GOOD)
  expect(decision).toEqual(GOOD)
  if ('failed' in decision) throw new Error(decision.detail)
  for (const part of [decision, decision.obligations, decision.obligations['slow']?.properties])
    expect(Object.isFrozen(part)).toBe(true)
  expect(() => (decision.grants as string[]).push('more')).toThrow(TypeError)
})

test.each(Object.keys(GOOD) as (keyof typeof GOOD)[])('one without %s is malformed', (name) => {
  expect(read(without(name))).toEqual({
    failed: 'policy_malformed',
    detail: `the decision is malformed: ${name} is missing`,
  })
})

const reason = (more: object) => ({ allow: false, reasons: [{ code: 'no', msg: 'no', ...more }] })
test.each<[string, object]>([
  ['version is not 1', { version: 2 }],
  ['version is not 1', { version: '1' }],
  ['allow is not a boolean', { allow: 'true' }],
  ['allow is not a boolean', { allow: 1 }],
  ['reasons is not a list', { reasons: {} }],
  ['a reason is not {code, msg}', reason({ code: 'No' })],
  ['a reason is not {code, msg}', reason({ code: '' })],
  ['a reason is not {code, msg}', reason({ code: 'a'.repeat(65) })],
  ['a reason is not {code, msg}', reason({ msg: 1 })],
  ['a reason is not {code, msg}', { allow: false, reasons: ['no'] }],
  ['it allows and gives reasons against it', { reasons: [{ code: 'no', msg: '' }] }],
  ['required_scopes is not a list of texts', { required_scopes: 'repo' }],
  ['required_scopes is not a list of texts', { required_scopes: [1] }],
  ['grants is not a list of texts', { grants: [{}] }],
  ['max_entitlement_age_s is not a number of seconds', { max_entitlement_age_s: -1 }],
  ['max_entitlement_age_s is not a number of seconds', { max_entitlement_age_s: '60' }],
  ['obligations is not an object', { obligations: [] }],
  ['an obligation is not {type, properties}', { obligations: { slow: { type: 'x' } } }],
  ['an obligation is not {type, properties}', { obligations: { slow: { properties: {} } } }],
  ['an obligation is not {type, properties}', { obligations: { slow: 'x' } }],
  // An obligation misspelt would be one that nobody carries out.
  ['"obligation" is not a field', { obligation: {} }],
])('%s: %j', (why, change) => {
  expect(read({ ...GOOD, ...change })).toEqual({
    failed: 'policy_malformed',
    detail: `the decision is malformed: ${why}`,
  })
})

test.each(['text', 7, null, [GOOD]])('%j is no decision', (result) => {
  expect(read(result)).toMatchObject({ failed: 'policy_malformed' })
})

test.each([
  '[]',
  '{}',
  '[{}]',
  '[{"other":1}]',
  `[${text(GOOD).slice(1, -1)},{"result":1}]`,
  'null',
])('the result set %s decides nothing', (set) => {
  expect(readAnswer(set)).toEqual({
    failed: 'policy_undefined',
    detail: 'the policy gave no decision',
  })
})

test('what is not JSON is malformed', () => {
  expect(readAnswer('{')).toEqual({ failed: 'policy_malformed', detail: 'the answer is not JSON' })
})

test('equal texts are one decision to whoever remembers, and other texts are others', () => {
  const reader = createReader()
  expect(reader(text(GOOD))).toBe(reader(text(GOOD)))
  expect(reader(text({ ...GOOD, grants: [] }))).not.toBe(reader(text(GOOD)))
  expect(reader('{')).toMatchObject({ failed: 'policy_malformed' })
})
