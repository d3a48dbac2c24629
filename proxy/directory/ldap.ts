// What an LDAP directory says of one person: whether the account is good, and the groups, nested ones too.
import { Filter, FilterParser, type Entry } from 'ldapts'
import type { Clock, Log } from '../model.ts'
import type { Open } from '../net/dial.ts'
import { createAsked, type Question, type Seen } from './asked.ts'
import { createLdapWire, type LdapServer, type Search } from './ldap_wire.ts'
import { nameable } from './presets.ts'
import { Unanswered, type Directory } from './source.ts'

export type LdapKind = {
  readonly preset: 'openldap' | 'active_directory'
  readonly base: string
  /** With `{id}`. */
  readonly user: string
  /** Its value must be the id that was asked about. */
  readonly id: string
  readonly groupsBase: string
  /** A filter with `{dn}` or `{id}`; null: the attribute memberOf says it. */
  readonly groups: string | null
  /** Groups of groups are asked for here. */
  readonly nested: boolean
  /** `dn`: the whole. */
  readonly groupName: string
}

const MOST_NAMES = 10_000
const MOST_LENGTH = 1_024
/** Groups that are asked about one by one, and how deep. */
const MOST_NESTED = 200

const malformed = (what: string): never => {
  throw new Unanswered('malformed', `its answer ${what}`, { alone: true })
}

/** The values of an attribute; names of attributes know no case. */
const valuesOf = (entry: Entry, attribute: string): readonly string[] => {
  const wanted = attribute.toLowerCase()
  const found = Object.entries(entry).filter(([key]) => key.toLowerCase() === wanted)
  // Active Directory hands out long lists in parts, under another name (MS-ADTS 3.1.1.3.1.3.3).
  if (Object.keys(entry).some((key) => key.toLowerCase().startsWith(`${wanted};range=`)))
    throw new Unanswered(
      'too_large',
      `it hands out ${attribute} in parts: let groups be searched by a filter instead`,
      { alone: true },
    )
  return found
    .flatMap(([, value]) => value)
    .map((value) =>
      typeof value === 'string' && value.isWellFormed()
        ? value
        : malformed(`has no text as ${attribute}`),
    )
}
const one = (entry: Entry, attribute: string): string | null => {
  const [first, ...more] = valuesOf(entry, attribute)
  if (more.length > 0) malformed(`has several values of ${attribute}`)
  return first ?? null
}
const numberOf = (value: string, attribute: string): number =>
  /^-?\d{1,20}$/.test(value) ? Number(value) : malformed(`has a ${attribute} that is no number`)

const DISABLED = 2
const TICKS_PER_MS = 10_000
/** Years 1601 to 1970. */
const EPOCH_MS = 11_644_473_600_000
const NEVER = 2 ** 63
const DAY_MS = 86_400_000
const MARKS = {
  openldap: ['pwdAccountLockedTime', 'nsAccountLock', 'loginDisabled', 'shadowExpire'],
  active_directory: ['userAccountControl', 'accountExpires'],
} as const

const isActive = (preset: LdapKind['preset'], entry: Entry, now: number): boolean => {
  if (preset === 'active_directory') {
    const control = one(entry, 'userAccountControl')
    if (control === null) return malformed('does not say whether the account is disabled')
    const ends = numberOf(one(entry, 'accountExpires') ?? '0', 'accountExpires')
    const over = ends !== 0 && ends < NEVER && ends / TICKS_PER_MS - EPOCH_MS <= now
    // eslint-disable-next-line no-bitwise -- it is a set of bits
    return (numberOf(control, 'userAccountControl') & DISABLED) === 0 && !over
  }
  const said = (attribute: string): boolean =>
    valuesOf(entry, attribute).some((value) => value.toLowerCase() !== 'false')
  const expires = one(entry, 'shadowExpire')
  const days = expires === null ? -1 : numberOf(expires, 'shadowExpire')
  return (
    valuesOf(entry, 'pwdAccountLockedTime').length === 0 &&
    !said('nsAccountLock') &&
    !said('loginDisabled') &&
    (days < 0 || days * DAY_MS > now)
  )
}

/** The parts of a name, last first, so that those of two can be compared (RFC 4514). */
const partsOf = (dn: string): readonly string[] =>
  (dn.match(/(?:\\.|[^,\\])+/gsu) ?? [])
    .map((part) =>
      part
        .trim()
        .replace(/\s*=\s*/, '=')
        .toLowerCase(),
    )
    .toReversed()
const isBelow = (dn: string, base: string): boolean => {
  const parts = partsOf(dn)
  return partsOf(base).every((part, i) => parts[i] === part)
}

/** A value means nothing to the filter around it (RFC 4515). */
export const filledFilter = (
  template: string,
  of: { readonly id: string; readonly dn: string },
): string => template.replaceAll(/\{(id|dn)\}/g, (_, key: 'id' | 'dn') => Filter.escape(of[key]))

/** Throws an Error that says which filter cannot be read. */
const readFilters = ({ user, groups }: LdapKind): void => {
  for (const [key, template] of Object.entries({ user, groups })) {
    if (template === null) continue
    try {
      FilterParser.parseString(filledFilter(template, { id: 'a', dn: 'cn=a' }))
    } catch (error) {
      throw new Error(`${key}: is no LDAP filter, such as (uid={id})`, { cause: error })
    }
  }
}

type Group = { readonly dn: string; readonly names: readonly string[] }

/** @param dn of the person @returns the groups, each once */
const groupsOf = async (
  kind: LdapKind,
  {
    id,
    dn,
    memberOf,
  }: { readonly id: string; readonly dn: string; readonly memberOf: readonly string[] },
  search: Search,
): Promise<readonly Group[]> => {
  const attributes = ['memberOf', kind.groupName]
  const read = async (at: string): Promise<readonly Entry[]> =>
    isBelow(at, kind.groupsBase)
      ? ((await search({ base: at, scope: 'base', filter: '(objectClass=*)', attributes })) ?? [])
      : []
  const holding = async (member: string, template: string): Promise<readonly Entry[]> => {
    const filter = filledFilter(template, { id, dn: member })
    return (
      (await search({
        base: kind.groupsBase,
        scope: 'sub',
        filter,
        attributes: [kind.groupName],
      })) ?? []
    )
  }
  const { groups } = kind
  const above = (entry: Entry): Promise<readonly Entry[]> =>
    groups === null
      ? Promise.all(valuesOf(entry, 'memberOf').map(read)).then((found) => found.flat())
      : holding(entry.dn, groups)
  const known = new Map<string, Entry>()
  let edge =
    groups === null ? (await Promise.all(memberOf.map(read))).flat() : await holding(dn, groups)
  while (edge.length > 0) {
    const fresh = edge.filter((entry) => !known.has(entry.dn))
    for (const entry of fresh) known.set(entry.dn, entry)
    if (known.size > (kind.nested ? MOST_NESTED : MOST_NAMES))
      throw new Unanswered(
        'too_large',
        `it names more than ${kind.nested ? MOST_NESTED : MOST_NAMES} groups`,
        { alone: true },
      )
    edge = kind.nested ? (await Promise.all(fresh.map(above))).flat() : []
  }
  return [...known.values()].map((entry) => ({
    dn: entry.dn,
    names: kind.groupName === 'dn' ? [entry.dn] : valuesOf(entry, kind.groupName),
  }))
}

/** One question, as it is asked: nothing is kept and nobody shares it. */
export const ldapQuestion = (
  kind: LdapKind,
  wire: Pick<ReturnType<typeof createLdapWire>, 'ask'>,
  now: () => number,
): Question => {
  readFilters(kind)
  const marks = MARKS[kind.preset]
  return ({ id }, signal) =>
    wire.ask(async (search) => {
      const attributes = [
        ...new Set([kind.id, ...marks, ...(kind.groups === null ? ['memberOf'] : [])]),
      ]
      const filter = filledFilter(kind.user, { id, dn: '' })
      const found = await search({ base: kind.base, scope: 'sub', filter, attributes })
      const [entry, ...others] = found ?? []
      if (entry === undefined) return null
      if (others.length > 0) malformed('names several people of this id')
      // Directories compare without case and accents: the id must be the one that was asked about, to the letter.
      if (!valuesOf(entry, kind.id).includes(id))
        throw new Unanswered('stranger', 'it answers about another person than was asked', {
          alone: true,
        })
      const active = isActive(kind.preset, entry, now())
      const memberOf = kind.groups === null ? valuesOf(entry, 'memberOf') : []
      const groups = await groupsOf(kind, { id, dn: entry.dn, memberOf }, search)
      const names = new Set(groups.flatMap((group) => group.names))
      if (groups.some((group) => group.names.length === 0)) malformed('has a group without a name')
      if ([...names].some((name) => name === '' || name.length > MOST_LENGTH))
        malformed('has a group that is no name')
      return { active, groups: [...names], roles: [], entitlements: [] }
    }, signal)
}

export const createLdapDirectory = (options: {
  readonly kind: LdapKind
  readonly server: LdapServer
  /** Whose people it knows; everybody else is nobody. */
  readonly realm: string
  readonly open: Open
  readonly timeoutMs: number
  readonly keepMs: number
  readonly clock: Clock
  readonly log: Log
  readonly seen: Seen
}): Directory => {
  const { kind, server, realm, open, clock, ...rest } = options
  const wire = createLdapWire(server, open)
  const question = ldapQuestion(kind, wire, clock.now)
  const asked = createAsked({ ...rest, name: 'ldap', question, clock })
  return {
    ...asked,
    // An id says who somebody is in their own realm only.
    ask: (person, maxAge) =>
      person.realm === realm && nameable(person.id) ? asked.ask(person, maxAge) : null,
    close: () => {
      asked.close()
      wire.close()
    },
  }
}
