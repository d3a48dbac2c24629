import { expect, test } from 'vitest'
import { matches, parseFilter, parsePath } from '../../proxy/api/scim_filter.ts'

const ALICE = {
  userName: 'Alice',
  active: true,
  externalId: 'X1',
  name: { givenName: 'Ann' },
  emails: [
    { value: 'a@x.test', type: 'work', primary: true },
    { value: 'b@y.test', type: 'home' },
  ],
  meta: { lastModified: '2026-01-02T00:00:00Z' },
}

test.each([
  ['userName eq "alice"', true],
  ['externalId eq "x1"', false],
  ['USERNAME SW "al" AND active eq true', true],
  ['active eq "True"', true],
  ['not (active eq true)', false],
  ['emails eq "b@y.test"', true],
  ['emails.type eq "home"', true],
  ['emails[type eq "work" and value co "y.test"]', false],
  ['emails[type eq "home" and value co "y.test"]', true],
  ['name.givenName pr and not (title pr)', true],
  ['userName eq "x" or userName eq "alice" and active eq false', false],
  ['meta.lastModified gt "2026-01-01T23:00:00Z"', true],
  ['urn:ietf:params:scim:schemas:core:2.0:User:userName ne "bob"', true],
])('%s', (text, expected) => {
  expect(matches(ALICE, parseFilter(text, 'User'))).toBe(expected)
})

test('a path may choose values, and name a part of them', () => {
  const { path, filter } = parsePath('emails[type eq "work"].value', 'User')
  expect([path.attribute.name, path.sub?.name, filter?.kind]).toEqual([
    'emails',
    'value',
    'compare',
  ])
  expect(() => parsePath('emails[type eq "work"]x', 'User')).toThrow('goes on')
  expect(() => parsePath('constructor', 'User')).toThrow('not known')
})
