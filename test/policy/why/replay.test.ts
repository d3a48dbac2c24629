import { describe, expect, test } from 'vitest'
import { compared, createSummary, type Verdict } from '../../../proxy/policy/why/replay.ts'

const said = (effect: string, ...codes: string[]): Verdict => ({ effect, codes, obligations: [] })
const ALLOW = said('allow')
const DENY = said('deny', 'no_grant')
const pair = (does: Verdict, would: Verdict, member = 'account') => ({ does, would, member })

describe('two answers', () => {
  test('that are alike in every way the call may have been are the same', () => {
    expect(compared([pair(ALLOW, ALLOW), pair(DENY, DENY)])).toEqual({ kind: 'same' })
  })
  test('that differ alike in every way are a change', () => {
    expect(compared([pair(ALLOW, DENY), pair(ALLOW, DENY)])).toEqual({
      kind: 'changed',
      from: ALLOW,
      to: DENY,
    })
  })
  test('that differ in some ways only are undetermined, for want of what these differ in', () => {
    expect(compared([pair(ALLOW, DENY), pair(ALLOW, ALLOW, 'body')])).toEqual({
      kind: 'undetermined',
      members: ['body'],
    })
  })
  test('that are one word in every way say what they have in common', () => {
    const more = said('deny', 'connection_missing', 'no_grant')
    expect(compared([pair(ALLOW, DENY), pair(ALLOW, more)])).toEqual({
      kind: 'changed',
      from: ALLOW,
      to: DENY,
    })
    expect(compared([pair(DENY, DENY), pair(DENY, more, 'scopes')])).toEqual({
      kind: 'undetermined',
      members: ['scopes'],
    })
  })
  test('of which none is the recorded one are undetermined', () => {
    expect(compared([])).toMatchObject({ kind: 'undetermined' })
  })
  test('differ by an obligation as well', () => {
    const limited = { ...ALLOW, obligations: ['limit'] }
    expect(compared([pair(ALLOW, limited)]).kind).toBe('changed')
  })
})

test('changes are summed by rule, allow → deny first, and undetermined ones by what is missing', () => {
  const summary = createSummary()
  summary.add({ kind: 'changed', from: DENY, to: ALLOW }, () => 'late')
  for (const call of ['one', 'two'])
    summary.add({ kind: 'changed', from: ALLOW, to: DENY }, () => call)
  summary.add({ kind: 'changed', from: DENY, to: said('deny', 'guard') }, () => 'words')
  summary.add({ kind: 'changed', from: ALLOW, to: said('error', 'policy_timeout') }, () => 'stuck')
  summary.add(
    { kind: 'changed', from: ALLOW, to: said('consent_required', 'scope_missing') },
    () => 'asks',
  )
  summary.add({ kind: 'same' }, () => '')
  summary.add({ kind: 'undetermined', members: ['a', 'b'] }, () => '')
  summary.add({ kind: 'undetermined', members: ['b'] }, () => '')
  expect(summary.counts).toEqual({ same: 1, changed: 6, undetermined: 2 })
  expect(summary.groups().map(({ said: text, count, calls }) => [text, count, calls])).toEqual([
    ['allow → error: policy_timeout comes', 1, ['stuck']],
    ['allow → deny: no_grant comes', 2, ['one', 'two']],
    ['allow → consent_required: scope_missing comes', 1, ['asks']],
    ['deny → allow: no_grant goes', 1, ['late']],
    ['deny → deny: guard comes, no_grant goes', 1, ['words']],
  ])
  expect(summary.undetermined()).toEqual([
    ['b', 2],
    ['a', 1],
  ])
})
