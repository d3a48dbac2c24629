// A backend with one key and many users: it names any of its own, as far as its row of `applications` reaches (design 2.2).
import { isUtf8 } from 'node:buffer'
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Person, Principal, Workload } from '../model.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import type { Secret } from '../secret.ts'
import { validId } from '../wire/canonical.ts'
import { fits } from '../wire/pattern.ts'
import { createTagSearch } from '../wire/stray_tag.ts'

/** A row of `applications`. */
export type Application = {
  readonly name: string
  /** SHA-256 of each, and what finds it where it does not belong; none where a workload's token is the key. */
  readonly keys: readonly { readonly digest: Buffer; readonly key: Secret }[]
  /** The row of `workloads` whose token is the key. */
  readonly workload: string | null
  /** The agent of all its calls. */
  readonly agent: string
  readonly realm: string
  readonly tenants: readonly string[]
  /** Ids of its people; `*` stands for any characters. */
  readonly people: readonly string[]
}

/** What the headers of a call that holds a key say. */
export type Claim = {
  readonly application: Application
  /** Whom they name; null: nobody. */
  readonly user: string | null
  /** `KEY:USER` as it may stand in the key slot, bytes as latin1. */
  readonly tag: () => string
  /** The key stood in the one Authorization header, which therefore holds no credential. */
  readonly inSlot: boolean
}
type Tags = { readonly header: readonly string[]; readonly slot: readonly string[] }
type IsTag = (value: string) => boolean

export type Applications = {
  /** Are any configured? */
  readonly some: boolean
  /**
   * null: no key came. Throws Problem when two came, two names or another tag.
   * @param isTag is this, in the key slot, a signed tag for us?
   */
  readonly read: (tags: Tags, isTag: IsTag) => Claim | null
  /** The application whose key is the token of this workload; null: it is none's. */
  readonly ofWorkload: (workload: Workload | null) => Application | null
  /** The name in a call without a key; null: none. Throws Problem when there are two, or a signed tag beside it. */
  readonly nameIn: (tags: Tags, isTag: IsTag) => string | null
  /** One value for each person of it. Throws Problem for whom it may not name. */
  readonly principal: (
    application: Application,
    user: string | null,
    rawHeaders: readonly string[],
    tenant?: string | null,
  ) => Principal
  /** The tenant that the headers say; null: none. Throws Problem when there are two. */
  readonly tenant: (rawHeaders: readonly string[]) => string | null
  /** Why a name alone is nobody's tag. */
  readonly unknown: (tags: Tags) => Problem | null
  /** Does a key stand in this text? */
  readonly holds: (text: string) => boolean
}

/** Which of an application's tenants the user is of; needed where it has several. */
const TENANT = 'deputy-tenant'
/** A key, alone or before a name (RFC 6750 2.1: a bearer has no colon). */
const KEY = /^([\w.~+/=-]{32,512})(?::([^]*))?$/
const JWT = /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/
const RUN = 'dpr_'
/** `user:NAME` in the key slot names a person, where what is the key stands elsewhere. */
const NAME = 'user:'
const REMEMBERED = 50_000

const denied = (code: ProblemCode, detail: string): Problem => new Problem(code, detail)
const unbeared = (value: string): string => value.replace(/^bearer +/i, '')

/** Whatever an SDK makes of its key: any scheme or none; in Basic it is the password, or the name with a password behind it. */
const inSlot = (value: string): readonly string[] => {
  const space = value.indexOf(' ')
  const rest = value.slice(space + 1).trimStart()
  if (value.slice(0, space).toLowerCase() !== 'basic') return [rest, value]
  const pair = Buffer.from(rest, 'base64').toString('latin1')
  return [pair.replace(/:$/, ''), pair.slice(pair.indexOf(':') + 1)]
}
/** Where a signed tag is looked for: one ends at a space, whatever follows it. */
const upToSpace = (text: string): string => text.split(' ', 1)[0] ?? ''
/** A signed tag, or what wants to be one: no name looks so. */
const isSigned = (value: string): boolean => value.startsWith(RUN) || JWT.test(value)

/** A name whose bytes stand as latin1; other bytes than UTF-8 would make one name of several people's. */
const inUtf8 = (latin: string): string => {
  const bytes = Buffer.from(latin, 'latin1')
  if (!isUtf8(bytes)) throw denied('unauthenticated', 'the name is not UTF-8')
  return bytes.toString('utf8')
}
const same = (user: string | null, latin: string): string | null => {
  if (latin === '') return user
  const name = inUtf8(latin)
  if (user !== null && name !== user)
    throw denied('unauthenticated', 'two tags name different users')
  return name
}
const tenantIn = (rawHeaders: readonly string[]): string | null => {
  let tenant: string | null = null
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (name.length !== TENANT.length || name.toLowerCase() !== TENANT) continue
    const value = inUtf8((rawHeaders[i + 1] ?? '').trim())
    if (tenant !== null && value !== tenant)
      throw denied('unauthenticated', 'two tags name different tenants')
    tenant = value
  }
  return tenant
}

const beside = (what: string): Problem =>
  denied(
    'application_beside_tag',
    `${what} came beside a signed tag, which names its person itself: send one of the two`,
  )

const nameIn: Applications['nameIn'] = ({ header, slot }, isTag) => {
  let user: string | null = null
  let signed = false
  for (const value of header)
    if (isSigned(unbeared(value))) signed = true
    else user = same(user, value)
  for (const value of slot)
    for (const text of inSlot(value)) {
      if (text.startsWith(NAME)) user = same(user, text.slice(NAME.length))
      else signed ||= isTag(upToSpace(text))
    }
  if (user !== null && signed) throw beside('a name')
  return user
}

export const createApplications = (rows: readonly Application[]): Applications => {
  // A digest tells nothing of the key, and so neither does how long it takes to find one.
  const byDigest = new Map(
    rows.flatMap((row) =>
      row.keys.map(({ digest }) => [digest.toString('base64url'), row] as const),
    ),
  )
  const byWorkload = new Map(rows.flatMap((row) => (row.workload ? [[row.workload, row]] : [])))
  const principals = new Map(
    rows.map((row) => [row, new LRUCache<string, Principal>(room(REMEMBERED))]),
  )
  const holds = (text: string): boolean =>
    rows.some(({ keys }) => keys.some(({ key }) => text.includes(key.reveal())))
  /** As a name it would be written into the evidence, however it is dressed. */
  const secrets = createTagSearch(() => true, holds)

  type Found = { readonly application: Application; readonly digest: string; readonly key: string }
  /** The key in what may be one, with the name behind it. */
  const keyIn = (text: string): (Found & { readonly latin: string }) | null => {
    const [, key, latin = ''] = KEY.exec(text) ?? []
    if (key === undefined) return null
    const digest = hash('sha256', key, 'base64url')
    const application = byDigest.get(digest)
    return application === undefined ? null : { application, digest, key, latin }
  }

  const read: Applications['read'] = (tags, isTag) => {
    if (byDigest.size === 0) return null
    let found: Found | null = null
    let user: string | null = null
    let signed = false
    let slot = false
    const take = (text: string): boolean => {
      const next = keyIn(text)
      if (next === null) return false
      if (found !== null && next.digest !== found.digest)
        throw denied('application_keys_differ', 'two keys came with one call: send one')
      found = next
      user = same(user, next.latin)
      return true
    }
    for (const value of tags.slot) {
      const texts = inSlot(value)
      if (texts.some(take)) slot = true
      else signed ||= texts.map(upToSpace).some(isTag)
    }
    const named: string[] = []
    for (const value of tags.header) {
      const text = unbeared(value)
      if (take(text)) continue
      if (isSigned(text)) signed = true
      else named.push(value)
    }
    // TypeScript does not see that `take` was called.
    const key = found as Found | null
    if (key === null) return null
    if (signed) throw beside(`the key of ${key.application.name}`)
    for (const value of named) user = same(user, value)
    const name = user
    return {
      application: key.application,
      user,
      tag: () => `${key.key}:${Buffer.from(name ?? '').toString('latin1')}`,
      inSlot: slot && tags.slot.length === 1,
    }
  }

  const tenantOf = ({ name, tenants }: Application, said: string | null): string => {
    const tenant = said ?? (tenants.length === 1 ? tenants[0] : undefined)
    if (tenant === undefined)
      throw denied(
        'application_tenant_missing',
        `${name} has several tenants: say of which the user is, as Deputy-Tenant`,
      )
    if (!tenants.includes(tenant))
      throw denied('application_user_refused', `${name} may not name people of this tenant`)
    return tenant
  }
  const made = ({ name, agent, people }: Application, person: Person): Principal => {
    if (!validId(person.id))
      throw denied('unauthenticated', 'the name is longer than 256 bytes or has control characters')
    if (secrets.holds(person.id) || isSigned(person.id))
      throw denied('application_keys_differ', 'a key or a tag stands where the name should be')
    if (!people.some((pattern) => fits(pattern, person.id)))
      throw denied('application_user_refused', `the user is none of those whom ${name} may name`)
    return {
      person,
      agent,
      verified: false,
      assertedBy: name,
      claims: null,
      issuedAt: null,
      expiresAt: null,
      run: null,
    }
  }

  return {
    some: rows.length > 0,
    read,
    ofWorkload: (workload) => byWorkload.get(workload?.name ?? '') ?? null,
    nameIn,
    tenant: tenantIn,
    principal: (application, user, rawHeaders, tenant = null) => {
      if (user === null || user === '')
        throw denied(
          'application_user_missing',
          `the key of ${application.name} names no user: send one as the tag header, behind the key as KEY:USER, or as user_id where the API has one`,
        )
      const of = tenantOf(application, tenantIn(rawHeaders) ?? tenant)
      const known = principals.get(application)
      const key = application.tenants.length === 1 ? user : `${of}\n${user}`
      let principal = known?.get(key)
      if (principal === undefined) {
        principal = made(application, { tenant: of, realm: application.realm, id: user })
        known?.set(key, principal)
      }
      return principal
    },
    unknown: (tags) => {
      if (rows.length === 0) return null
      const keyed = [...tags.slot.flatMap(inSlot), ...tags.header].some((text) =>
        /^[^\s:]{32,}:./.test(text),
      )
      const name = tags.header.some((value) => !isSigned(unbeared(value)) && value !== '')
      return keyed || name
        ? denied(
            'application_unknown',
            'a name came without the key of an application: no application here has the one that was sent, or none was',
          )
        : null
    },
    holds,
  }
}
