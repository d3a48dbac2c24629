// The keys of an LDAP directory: what is refused, and what a preset fills in.
import { describe, expect, test } from 'vitest'
import { ldap, ldapKindOf, ldapProblems, ldapServerOf } from '../../proxy/config/ldap.ts'

const BASE = {
  url: 'ldaps://dc.acme.test',
  bind: { dn: 'cn=deputy', password: 'canary-password' },
  base: 'dc=acme,dc=test',
}
const problemsOf = (more: object): string => {
  const parsed = ldap.safeParse({ ...BASE, ...more })
  return parsed.success
    ? ldapProblems(parsed.data).join('\n')
    : parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('\n')
}

describe('an LDAP directory', () => {
  test.each([
    [{}, ''],
    [{ url: 'ldap://10.0.0.1:389', starttls: true }, ''],
    [{ url: 'ldap://10.0.0.1:389', insecure: true }, ''],
    [{ url: 'ldap://127.0.0.1:389' }, ''],
    [{ url: 'ldap://10.0.0.1:389' }, 'would send the password unencrypted'],
    [{ starttls: true }, 'ldaps:// is encrypted from its first byte'],
    [{ url: 'https://dc.acme.test' }, 'is no address of an LDAP server'],
    [{ url: 'ldaps://dc.acme.test/dc=acme' }, 'is no address of an LDAP server'],
    [{ url: 'ldaps://a:b@dc.acme.test' }, 'is no address of an LDAP server'],
    // A bind without a password is one as nobody, and succeeds (RFC 4513 5.1.2).
    [{ bind: { dn: 'cn=deputy', password: '' } }, 'bind.password: must not be empty'],
    [{ id: 'uid)(' }, 'is no name of an attribute'],
    [{ user: '(uid=alice)', id: 'uid' }, 'put {id} where'],
    [{ user: '(mail={id})' }, 'name the attribute that must be the id'],
    [{ groups: '(cn=*)' }, 'nothing says whose groups'],
    [{ groups: 'memberOf' }, ''],
  ])('%j: %s', (more, said) => {
    if (said === '') expect(problemsOf(more)).toBe('')
    else expect(problemsOf(more)).toContain(said)
  })

  test('a preset says how people and groups are found, and who follows groups of groups', () => {
    const kind = (more: object) => ldapKindOf(ldap.parse({ ...BASE, ...more }))
    expect(kind({})).toMatchObject({ id: 'uid', nested: true, groupsBase: BASE.base })
    expect(kind({ preset: 'active_directory' })).toMatchObject({
      id: 'sAMAccountName',
      groups: '(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))',
      nested: false,
    })
    expect(kind({ groups: 'memberOf' })).toMatchObject({ groups: null, nested: true })
    expect(kind({ groups: '(memberUid={id})' })).toMatchObject({ nested: false })
  })

  test('the port is that of the scheme, unless it is said', () => {
    expect(ldapServerOf('ldaps://a.test')).toEqual({ host: 'a.test', port: 636, tls: true })
    expect(ldapServerOf('ldap://[::1]')).toEqual({ host: '::1', port: 389, tls: false })
    expect(ldapServerOf('ldap://a.test:1389').port).toBe(1389)
  })
})
