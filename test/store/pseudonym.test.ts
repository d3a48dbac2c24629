import { expect, test } from 'vitest'
import { pseudonym } from '../../proxy/store/pseudonym.ts'

const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }

test('one person has one name in one database, and another in the next', () => {
  expect(pseudonym('k1', alice)).toBe(pseudonym('k1', { ...alice }))
  expect(pseudonym('k1', alice)).not.toBe(pseudonym('k2', alice))
  expect(pseudonym('k1', alice)).toMatch(/^[\w-]{43}$/)
})

test('no two people have the same, however their names are cut', () => {
  const people = [
    alice,
    { ...alice, tenant: 'acm', realm: 'ecorp' },
    { ...alice, realm: 'corpa', id: 'lice' },
    { tenant: 'acme","corp', realm: '', id: 'alice' },
    { ...alice, id: 'Alice' },
    { ...alice, tenant: 'corp', realm: 'acme' },
  ]
  expect(new Set(people.map((person) => pseudonym('k', person))).size).toBe(people.length)
})
