// Who may say yes to a call.
import { describe, expect, test } from 'vitest'
import { createMayApprove, needsOf, type Need } from '../../proxy/consent/approvers.ts'
import type { Entitlements, Person } from '../../proxy/model.ts'
import type { PeopleSource } from '../../proxy/pipeline/entitlements.ts'

const person = (id: string, more: Partial<Person> = {}): Person => ({
  tenant: 'acme',
  realm: 'corp',
  id,
  ...more,
})
const facts = (groups: readonly string[], more: Partial<Entitlements> = {}): Entitlements => ({
  active: true,
  groups,
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: 'sha256:x',
  asOf: null,
  ...more,
})
const need = (more: Partial<Need> = {}): Need => ({
  name: 'lead',
  part: null,
  approvers: ['group:leads'],
  ttlS: 900,
  self: false,
  ...more,
})
const KNOWN: Readonly<Record<string, Entitlements>> = {
  alice: facts(['leads'], { manager: 'dora' }),
  bob: facts(['leads']),
  gone: facts(['leads'], { active: false }),
  dora: facts([]),
  own: facts(['leads'], { manager: 'own' }),
  // A directory that finds them by any spelling, as LDAP does.
  ALICE: facts(['leads']),
  ａlice: facts(['leads']),
}
const asked: number[] = []
const directory: PeopleSource = {
  kind: 'directory',
  ask: ({ id }, maxAge) => {
    asked.push(maxAge)
    return KNOWN[id] ?? null
  },
}
const alice = person('alice')

describe('may approve', () => {
  const may = createMayApprove(directory)
  test.each<[string, Need, Person, boolean]>([
    ['a member of the group', need(), person('bob'), true],
    ['a member who is not active', need(), person('gone'), false],
    ['who is in no such group', need(), person('dora'), false],
    ['whom nobody knows', need(), person('nobody'), false],
    ['a group with a longer name', need({ approvers: ['group:lead'] }), person('bob'), false],
    ['the same name in another tenant', need(), person('bob', { tenant: 'other' }), false],
    ['the same name in another realm', need(), person('bob', { realm: 'other' }), false],
    ['the person themselves', need(), alice, false],
    ['the person, spelt as the directory finds them too', need(), person('ALICE'), false],
    ['the same in other letters of one form', need(), person('ａlice'), false],
    ['another spelling, where self is said', need({ self: true }), person('ALICE'), false],
    ['the person, where self is said', need({ self: true }), alice, true],
    [
      'the person of a self that is no approver',
      need({ self: true, approvers: ['group:x'] }),
      alice,
      false,
    ],
    [
      'the person alone, where nobody else is named',
      need({ self: true, approvers: [] }),
      alice,
      true,
    ],
    [
      'another, where only the person is',
      need({ self: true, approvers: [] }),
      person('bob'),
      false,
    ],
    ['a named person', need({ approvers: ['person:dora'] }), person('dora'), true],
    ['another spelling of them', need({ approvers: ['person:dora'] }), person('Dora'), false],
    ['the manager', need({ approvers: ['manager'] }), person('dora'), true],
    ['who is not the manager', need({ approvers: ['manager'] }), person('bob'), false],
  ])('%s', async (_name, of, approver, yes) => {
    expect(await may(of, alice, approver)).toBe(yes)
  })
  test('nobody is their own manager', async () => {
    const own = person('own')
    expect(await may(need({ approvers: ['manager'], self: true }), own, own)).toBe(false)
  })
  test('the directory is asked now, each time', () => {
    expect(asked.length).toBeGreaterThan(5)
    expect(new Set(asked)).toEqual(new Set([0]))
  })
  test('without a directory named people alone', async () => {
    const by = createMayApprove({ kind: 'none' })
    expect(await by(need(), alice, person('bob'))).toBe(false)
    expect(await by(need({ approvers: ['person:bob'] }), alice, person('bob'))).toBe(true)
  })
  test('a directory that does not answer says no to everybody, and why', async () => {
    const by = createMayApprove({ kind: 'directory', ask: () => Promise.reject(new Error('down')) })
    await expect(by(need(), alice, person('bob'))).rejects.toMatchObject({
      code: 'entitlements_unavailable',
    })
  })
})

describe('what a decision demands', () => {
  const of = (properties: object) =>
    needsOf({ obligations: { lead: { type: 'approval', properties: properties as never } } }, 2)
  test('is read as it is written', () => {
    expect(of({ approvers: ['group:a b', 'manager'], ttl_s: 60, self: true })).toEqual([
      { name: 'lead', part: 2, approvers: ['group:a b', 'manager'], ttlS: 60, self: true },
    ])
  })
  test.each([
    ['nobody', { approvers: [], ttl_s: 60 }],
    ['another kind of approver', { approvers: ['role:x'], ttl_s: 60 }],
    ['a group without a name', { approvers: ['group:'], ttl_s: 60 }],
    ['no time', { approvers: ['manager'] }],
    ['a time that is over', { approvers: ['manager'], ttl_s: 0 }],
    ['a time without end', { approvers: ['manager'], ttl_s: 1e12 }],
    ['a self that is no boolean', { approvers: ['manager'], ttl_s: 60, self: 'yes' }],
    ['no list', { approvers: 'manager', ttl_s: 60 }],
  ])('is nothing that anybody can give: %s', (_name, properties) => {
    expect(of(properties)).toBe(null)
  })
  test('nothing where no approval is demanded', () => {
    expect(needsOf({ obligations: {} }, null)).toBe(null)
  })
})
