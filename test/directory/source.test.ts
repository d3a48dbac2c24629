// What every source shares: the digest of facts, the key of a person, and the error of one that cannot say.
import { expect, test } from 'vitest'
import { factsDigest, keyOf, Unanswered } from '../../proxy/directory/source.ts'

const facts = { active: true, groups: ['a', 'b'], roles: ['r'], entitlements: [] }

test('the digest tells what counts, and not its order', () => {
  const digest = factsDigest(facts)
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/)
  expect(factsDigest({ ...facts, groups: ['b', 'a'] })).toBe(digest)
  for (const other of [
    { ...facts, active: false },
    { ...facts, groups: ['a'] },
    { ...facts, groups: ['a', 'b', 'r'], roles: [] },
  ])
    expect(factsDigest(other)).not.toBe(digest)
})

test('no two people have one key', () => {
  const one = keyOf({ tenant: 'a', realm: 'b', id: 'c' })
  expect(keyOf({ tenant: 'a', realm: 'b,c', id: '' })).not.toBe(one)
  expect(keyOf({ tenant: 'a', realm: 'b', id: 'C' })).not.toBe(one)
})

test('an answer that is none is about everybody unless it says otherwise', () => {
  expect(new Unanswered('timeout', 'late')).toMatchObject({ alone: false, rest: null })
  expect(new Unanswered('stranger', 'bob', { alone: true })).toMatchObject({ alone: true })
})
