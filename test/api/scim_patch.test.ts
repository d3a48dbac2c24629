import { expect, test } from 'vitest'
import { patched } from '../../proxy/api/scim_patch.ts'

const BEFORE = { userName: 'alice', active: true, emails: [{ value: 'a@x', type: 'work' }] }
const ENTERPRISE = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User'
const of = (...Operations: readonly object[]): object => patched('User', BEFORE, { Operations })

test.each([
  ['a string for a boolean', { op: 'Replace', path: 'active', value: 'False' }, { active: false }],
  ['no path', { op: 'replace', value: { active: false } }, { active: false }],
  ['dots in names', { op: 'Add', value: { 'name.givenName': 'A' } }, { name: { givenName: 'A' } }],
  [
    'a filter',
    { op: 'Replace', path: 'emails[type eq "work"].value', value: 'b@x' },
    { emails: [{ value: 'b@x', type: 'work' }] },
  ],
  [
    'a filter that finds nothing, which Entra ID means as a new value',
    { op: 'Add', path: 'emails[type eq "home"].value', value: 'h@x' },
    { emails: [...BEFORE.emails, { type: 'home', value: 'h@x' }] },
  ],
  [
    'an extension',
    { op: 'add', path: `${ENTERPRISE}:department`, value: 'D' },
    { [ENTERPRISE]: { department: 'D' } },
  ],
])('%s', (_, operation, expected) => {
  expect(of(operation)).toEqual({ ...BEFORE, ...expected })
})

test.each([
  [{ op: 'remove' }, 'noTarget'],
  [{ op: 'move', path: 'active', value: 1 }, 'invalidSyntax'],
  [{ op: 'replace', path: 'id', value: 'x' }, 'mutability'],
  [{ op: 'replace', path: 'nothing', value: 'x' }, 'invalidPath'],
  [{ op: 'replace', path: 'emails[type eq "home"].value', value: 'x' }, 'noTarget'],
  [{ op: 'replace', path: 'active', value: 'perhaps' }, 'invalidValue'],
])('refused: %j', (operation, scimType) => {
  expect(() => of(operation)).toThrow(expect.objectContaining({ scimType }))
})

test('of several primary values the last one is', () => {
  const after = of(
    { op: 'add', path: 'emails', value: [{ value: 'p@x', primary: true }] },
    { op: 'add', path: 'emails', value: [{ value: 'q@x', primary: true }] },
  ) as { readonly emails: readonly { readonly primary?: boolean }[] }
  expect(after.emails.map(({ primary }) => primary)).toEqual([undefined, false, true])
})
