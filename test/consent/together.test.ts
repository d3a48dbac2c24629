// One link for several consents ends as they do.
import { expect, test } from 'vitest'
import { isTogether, joined, TOGETHER } from '../../proxy/consent/together.ts'
import type { Flow } from '../../proxy/model.ts'

const flow = (hash: string, more: Partial<Flow> = {}): Flow => ({
  hash,
  person: { tenant: 'acme', realm: 'corp', id: 'alice' },
  agent: 'laptop',
  connection: 'acme',
  scopes: ['repo'],
  reauthorization: false,
  status: 'pending',
  failure: null,
  missing: [],
  nextUri: null,
  createdAt: 0,
  expiresAt: 1,
  leg: null,
  ...more,
})
const whole = flow('whole', { connection: TOGETHER, scopes: ['ac_a', 'ac_b'] })
const late = { ...whole, status: 'failed', failure: 'expired' } as const
const part = (more: Partial<Flow> = {}) => ({ flow: flow('a', more), id: 'x' })
const done = part({ status: 'completed', missing: ['mail'] })
const denied = part({ status: 'failed', failure: 'denied' })
const endOf = (all: Flow, found: Parameters<typeof joined>[1]) => {
  const { status, failure, missing } = joined(all, found)
  return [status, failure, missing]
}

test('it is done when all are, and failed when nothing is left to do for one that did', () => {
  expect(endOf(whole, [part(), done])).toEqual(['pending', null, []])
  expect(endOf(whole, [denied, part()])).toEqual(['pending', null, []])
  expect(endOf(whole, [done, done])).toEqual(['completed', null, ['mail']])
  expect(endOf(whole, [done, denied])).toEqual(['failed', 'denied', []])
})
test('its own time runs out too, but what was given in time counts', () => {
  expect(endOf(late, [part(), done])).toEqual(['failed', 'expired', []])
  expect(endOf(late, [done, done])).toEqual(['completed', null, ['mail']])
})
test('what is gone, or of somebody else, completes nothing', () => {
  const foreign = part({ status: 'completed', agent: 'other' })
  const bob = part({ status: 'completed', person: { ...whole.person, id: 'bob' } })
  for (const one of [null, foreign, bob]) {
    expect(endOf(whole, [done, one])).toEqual(['failed', 'expired', []])
    expect(joined(whole, [done, one]).parts).toEqual([done])
  }
  expect([isTogether(whole), isTogether(done.flow)]).toEqual([true, false])
})
