// An LDAP directory in the configuration: its keys, what goes together, and what that means for whoever asks it.
import { z } from 'zod'
import type { LdapKind } from '../directory/ldap.ts'
import { isLoopback } from './address.ts'
import { duration, insecure, secretText, some, text } from './values.ts'

const ldapUrl = z
  .string()
  .meta({ title: 'URL' })
  .refine((value) => {
    const parsed = URL.parse(value)
    return (
      parsed !== null &&
      ['ldap:', 'ldaps:'].includes(parsed.protocol) &&
      parsed.hostname !== '' &&
      /^\/?$/.test(parsed.pathname) &&
      `${parsed.username}${parsed.password}${parsed.search}${parsed.hash}` === ''
    )
  }, 'is no address of an LDAP server: write ldaps://host or ldap://host:port')
const attribute = z
  .string()
  .regex(/^(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)$/, 'is no name of an attribute, such as uid')

/** Filters are read when the source is opened; which of them fit each other is a rule below. */
export const ldap = z
  .strictObject({
    preset: z.enum(['openldap', 'active_directory']).default('openldap'),
    url: ldapUrl,
    starttls: z.boolean().default(false),
    ca: text.optional(),
    bind: z.strictObject({ dn: text, password: secretText }),
    base: text,
    user: text.optional(),
    id: attribute.optional(),
    groups: text.optional(),
    groups_base: text.optional(),
    group_name: attribute.default('cn'),
    people_realm: text.optional(),
    timeout: some(duration).default(5_000),
    insecure,
  })
  .superRefine((entry, ctx) => {
    const { protocol, hostname } = new URL(entry.url)
    const local = isLoopback(hostname.replace(/^\[|\]$/g, ''))
    if (protocol === 'ldaps:' && entry.starttls)
      ctx.addIssue('starttls is for ldap:// alone: ldaps:// is encrypted from its first byte')
    if (protocol === 'ldap:' && !entry.starttls && !entry.insecure && !local)
      ctx.addIssue(
        `${entry.url} would send the password unencrypted to another machine: use ldaps://, or starttls: true, or say insecure: true here`,
      )
  })
export type LdapConfig = z.infer<typeof ldap>

/** The rule by which Active Directory follows groups of groups by itself (LDAP_MATCHING_RULE_IN_CHAIN). */
const IN_CHAIN = '1.2.840.113556.1.4.1941'
const USUAL = {
  openldap: {
    user: '(&(objectClass=person)(uid={id}))',
    id: 'uid',
    groups: '(&(objectClass=groupOfNames)(member={dn}))',
  },
  active_directory: {
    user: '(&(objectCategory=person)(objectClass=user)(sAMAccountName={id}))',
    id: 'sAMAccountName',
    groups: `(&(objectClass=group)(member:${IN_CHAIN}:={dn}))`,
  },
} as const

/** What is asked. The configuration has kept its rules. */
export const ldapKindOf = (entry: LdapConfig): LdapKind => {
  const usual = USUAL[entry.preset]
  const groups = entry.groups ?? usual.groups
  return {
    preset: entry.preset,
    base: entry.base,
    user: entry.user ?? usual.user,
    id: entry.id ?? usual.id,
    groupsBase: entry.groups_base ?? entry.base,
    groups: groups === 'memberOf' ? null : groups,
    // Where the server follows them, or a filter names no DN, there is nothing more to ask.
    nested: groups === 'memberOf' || (groups.includes('{dn}') && !groups.includes(IN_CHAIN)),
    groupName: entry.group_name,
  }
}

/** `entitlements.ldap.…: message` for everything that does not go together. */
export const ldapProblems = ({ user, id, groups }: LdapConfig): readonly string[] => [
  ...(user !== undefined && !user.includes('{id}')
    ? [
        'entitlements.ldap.user: nothing says who is asked about: put {id} where the person’s id belongs',
      ]
    : []),
  ...(user !== undefined && id === undefined
    ? [
        'entitlements.ldap.id: a filter of your own finds the person: name the attribute that must be the id',
      ]
    : []),
  ...(groups !== undefined && groups !== 'memberOf' && !/\{(?:dn|id)\}/.test(groups)
    ? [
        'entitlements.ldap.groups: nothing says whose groups: write memberOf, or a filter with {dn} or {id}',
      ]
    : []),
]

/** Where the server is. */
export const ldapServerOf = (
  url: string,
): { readonly host: string; readonly port: number; readonly tls: boolean } => {
  const { hostname, port, protocol } = new URL(url)
  const tls = protocol === 'ldaps:'
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port === '' ? (tls ? 636 : 389) : port),
    tls,
  }
}
