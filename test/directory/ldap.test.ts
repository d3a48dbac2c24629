// What an LDAP answer says of a person. Active Directory is scripted from its documentation here; OpenLDAP is real in test/e2e/ldap.test.ts.
import type { Entry } from 'ldapts'
import { describe, expect, test } from 'vitest'
import { filledFilter, ldapQuestion, type LdapKind } from '../../proxy/directory/ldap.ts'
import type { Search, Wanted } from '../../proxy/directory/ldap_wire.ts'
import type { Known } from '../../proxy/directory/source.ts'

const BASE = 'DC=acme,DC=test'
const DN = `CN=Alice,OU=People,${BASE}`
const AD: LdapKind = {
  preset: 'active_directory',
  base: BASE,
  user: '(sAMAccountName={id})',
  id: 'sAMAccountName',
  groupsBase: BASE,
  groups: '(member:1.2.840.113556.1.4.1941:={dn})',
  nested: false,
  groupName: 'cn',
}
const ALICE: Entry = {
  dn: DN,
  sAMAccountName: 'alice',
  userAccountControl: '512',
  accountExpires: '9223372036854775807',
}
const NOW = Date.parse('2026-01-01T00:00:00Z')
const ask = async (
  kind: LdapKind,
  answer: (wanted: Wanted) => readonly Entry[] | null,
  id = 'alice',
): Promise<Known | null> => {
  const search: Search = (wanted) => Promise.resolve(answer(wanted))
  const question = ldapQuestion(kind, { ask: (asking) => asking(search) }, () => NOW)
  return question({ tenant: 'default', realm: 'local', id }, new AbortController().signal)
}
const about =
  (person: readonly Entry[], groups: readonly Entry[] = []) =>
  ({ filter }: Wanted): readonly Entry[] =>
    filter.startsWith('(sAMAccountName') ? person : groups

describe('Active Directory, as documented', () => {
  test('asks for groups of groups by one search, by the name of the person', async () => {
    const seen: Wanted[] = []
    const known = await ask(AD, (wanted) => {
      seen.push(wanted)
      return about(
        [ALICE],
        [
          { dn: `CN=staff,${BASE}`, cn: 'staff' },
          { dn: `CN=all,${BASE}`, cn: 'all' },
        ],
      )(wanted)
    })
    expect(known).toMatchObject({ active: true, groups: ['staff', 'all'], roles: [] })
    expect(seen.map(({ filter }) => filter)).toEqual([
      '(sAMAccountName=alice)',
      `(member:1.2.840.113556.1.4.1941:=${DN})`,
    ])
  })

  const ticks = (at: number): string => String((at + 11_644_473_600_000) * 10_000)
  test.each([
    [{ userAccountControl: '514' }, false],
    [{ userAccountControl: '66050' }, false],
    [{ userAccountControl: '66048' }, true],
    [{ accountExpires: '0' }, true],
    [{ accountExpires: [] }, true],
    [{ accountExpires: ticks(NOW - 60_000) }, false],
    [{ accountExpires: ticks(NOW + 60_000) }, true],
  ])('%j: active %s', async (more, active) => {
    expect(await ask(AD, about([{ ...ALICE, ...more }]))).toMatchObject({ active })
  })

  test.each([
    [{ userAccountControl: [] }, 'does not say whether the account is disabled'],
    [{ userAccountControl: 'yes' }, 'is no number'],
    [{ userAccountControl: ['512', '514'] }, 'several values'],
    [{ sAMAccountName: 'Alice' }, 'another person'],
    [{ sAMAccountName: [] }, 'another person'],
  ])('%j is closed', async (more, said) => {
    await expect(ask(AD, about([{ ...ALICE, ...more }]))).rejects.toThrow(said)
  })

  test('two of one name, a list in parts and groups without a name are closed', async () => {
    await expect(ask(AD, about([ALICE, { ...ALICE, dn: 'CN=B' }]))).rejects.toThrow(
      'several people',
    )
    await expect(ask(AD, about([ALICE], [{ dn: 'CN=x', cn: [] }]))).rejects.toThrow(
      'without a name',
    )
    const parts = { ...ALICE, memberOf: [], 'memberOf;range=0-1499': ['CN=a'] }
    await expect(ask({ ...AD, groups: null, nested: true }, about([parts]))).rejects.toThrow(
      'in parts',
    )
    expect(await ask(AD, () => [])).toBeNull()
  })
})

describe('groups of groups', () => {
  const group = (n: number): Entry => ({ dn: `cn=g${n},${BASE}`, cn: `g${n}`, memberOf: [] })
  test('in a circle end; without end they are too many', async () => {
    const kind = { ...AD, groups: '(member={dn})', nested: true }
    const circle = await ask(kind, ({ filter }) =>
      filter.startsWith('(sAM') ? [ALICE] : [group(filter.includes('g1') ? 2 : 1)],
    )
    expect(circle?.groups).toEqual(['g1', 'g2'])
    let n = 0
    const endless = ask(kind, ({ filter }) =>
      filter.startsWith('(sAM') ? [ALICE] : [group((n += 1))],
    )
    await expect(endless).rejects.toThrow('more than 200 groups')
  })
  test('those outside of the base do not count, however their names are written', async () => {
    const kind = { ...AD, groups: null, nested: true, groupsBase: `ou=Groups, ${BASE}` }
    const inside = `CN=in,OU=groups,dc=acme,DC=test`
    const outside = String.raw`CN=x\,OU=groups\,DC=acme\,DC=test,DC=other`
    const known = await ask(kind, ({ scope, base }) =>
      scope === 'sub'
        ? [{ ...ALICE, memberOf: [inside, outside] }]
        : [{ dn: base, cn: base, memberOf: [] }],
    )
    expect(known?.groups).toEqual([inside])
  })
})

test('an id and a name mean nothing to the filter around them', () => {
  const of = { id: '*)(uid=*', dn: String.raw`cn=a\, (b)*` }
  expect(filledFilter('(uid={id})', of)).toBe(String.raw`(uid=\2a\29\28uid=\2a)`)
  expect(filledFilter('(member={dn})', of)).toBe(String.raw`(member=cn=a\5c, \28b\29\2a)`)
  // What an id holds is not filled again.
  expect(filledFilter('(uid={id})', { ...of, id: '{dn}' })).toBe('(uid={dn})')
})

test('a filter that cannot be read is refused before anybody is asked about', () => {
  const wire = { ask: () => expect.fail('asked') }
  expect(() => ldapQuestion({ ...AD, user: '(uid={id}' }, wire, Date.now)).toThrow(
    'user: is no LDAP filter',
  )
})
