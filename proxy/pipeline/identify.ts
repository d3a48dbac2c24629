// Who is calling, and for whom? No anonymous, no default user (design 2.2).
import { isUtf8 } from 'node:buffer'
import type { JWTPayload } from 'jose'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { GuardedClock } from '../clock.ts'
import { follow } from '../follow.ts'
import type { ClientCertificate, Json, JsonObject, Person, Principal, Workload } from '../model.ts'
import type { IssuerKeys, KeySource } from '../oauth/issuer_keys.ts'
import { createSignedTokens } from '../oauth/signed_token.ts'
import { Problem } from '../problem.ts'
import type { Applications, Claim } from './application.ts'
import { validId } from '../wire/canonical.ts'
import { atPointer } from '../wire/json.ts'
import type { Workloads } from './workload/workload.ts'
import { createTagSearch, type TagSearch } from '../wire/stray_tag.ts'

export type Issuer = KeySource & {
  readonly realm: string
  readonly audience: string
  readonly user: string
  readonly agent: string
  readonly tenant: string | null
  readonly tenants: readonly string[] | null
}

const denied = (detail: string, cause?: unknown): Problem =>
  new Problem('unauthenticated', detail, { cause })

/** Who calls. `slot`: said by the one Authorization header, which therefore holds no credential. */
type Identified = { readonly who: Principal; readonly place: 'slot' | 'elsewhere' }

export type Identify = {
  /** Never a default user. Synchronous when the assertion was verified before. */
  readonly identify: (
    rawHeaders: readonly string[],
    named: string | null,
    certificate?: ClientCertificate | null,
  ) => Identified | Promise<Identified>
  /**
   * What names the person of this call, as it may stand in the key slot; bytes as latin1. Of a call that `identify` took.
   * Behind a line feed, the token of the workload, where one came. Throws as it does.
   */
  readonly tag: (rawHeaders: readonly string[], named: string | null) => string
  /** Do these headers name somebody, rightly or not? */
  readonly tagged: (rawHeaders: readonly string[]) => boolean
  /**
   * Under `plain`, or beside the key of an application: the name a body gives, for a request whose headers name nobody;
   * null: they do.
   * @param tenant where the application has several and the headers say none
   */
  readonly named: (
    id: string,
    rawHeaders: readonly string[],
    tenant?: string,
    certificate?: ClientCertificate | null,
  ) => Principal | Promise<Principal> | null
  /** Finds tags where none belong. */
  readonly tags: TagSearch
  /** Forgets verified assertions of everybody (a reload). */
  readonly forget: () => void
}

type Tags = { readonly header: readonly string[]; readonly slot: readonly string[] }

/** Of a call that had a tag: one that names its person nowhere else named them there. */
const placeOf = ({ header, slot }: Tags, named: string | null): Identified['place'] =>
  named === null && header.length === 0 && slot.length === 1 ? 'slot' : 'elsewhere'

/** All values of the tag header and of Authorization, as they came. */
const tagsOf = (rawHeaders: readonly string[], header: string): Tags => {
  const tags: { header: string[]; slot: string[] } = { header: [], slot: [] }
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (name.length === header.length && name.toLowerCase() === header)
      tags.header.push((rawHeaders[i + 1] ?? '').trim())
    else if (name.length === 13 && name.toLowerCase() === 'authorization')
      tags.slot.push((rawHeaders[i + 1] ?? '').trim())
  }
  return tags
}

/** What an SDK puts where its key goes: any scheme or none; in Basic, the password. */
const slotValue = (value: string): string => {
  const space = value.indexOf(' ')
  const after = value.slice(space + 1).trimStart()
  const end = after.indexOf(' ')
  const rest = end === -1 ? after : after.slice(0, end)
  if (value.slice(0, space).toLowerCase() !== 'basic') return rest
  const pair = Buffer.from(rest, 'base64').toString('latin1')
  return pair.slice(pair.indexOf(':') + 1)
}

/** A run token is a tag wherever a tag may stand. */
const isRun = (value: string): boolean => value.startsWith('dpr_')

/** `user:alice@example.com` in the key slot names a person under `plain`; anything else there is a credential. */
const slotName = (value: string): string | null =>
  value.startsWith('user:') ? value.slice('user:'.length) : null

/** A name whose bytes stand as latin1. Other bytes than UTF-8 would make one name of several people's. */
const inUtf8 = (latin: string): string => {
  const bytes = Buffer.from(latin, 'latin1')
  if (!isUtf8(bytes)) throw denied('the name is not UTF-8')
  return bytes.toString('utf8')
}

/** A tag may be sent as it is, or as a bearer. */
const unbeared = (value: string): string => value.replace(/^bearer +/i, '')
const sameRun = (run: string | null, value: string): string | null => {
  if (!isRun(value)) return run
  if (run !== null && value !== run) throw denied('two tags name different users')
  return value
}
/** The run token among the tags; null: none. Throws when there are two. */
const runIn = ({ header, slot }: Tags): string | null => {
  let run: string | null = null
  for (const value of header) run = sameRun(run, unbeared(value))
  for (const value of slot) run = sameRun(run, slotValue(value))
  return run
}

/** What a tag says; it need not name an agent where a workload's own token does. */
type Tagged = Omit<Principal, 'agent'> & { readonly agent: string | null }

/** Whom a call is for, once it is known which workload calls. */
type Whose = (workload: Workload | null) => Tagged | Promise<Tagged>

const hasAgent = (who: Tagged): who is Principal => who.agent !== null
/** The caller: whom the tag names, and the agent that the workload's token names. One value for each two. */
const createJoin = (): ((who: Tagged, workload: Workload | null) => Principal) => {
  const callers = new WeakMap<Tagged, WeakMap<Workload, Principal>>()
  const join = (who: Tagged, { name, subject, agent, expiresAt }: Workload): Principal => {
    // The agent of a plain name is the configuration's word, not the caller's.
    const said = who.verified || who.run !== null || who.assertedBy !== undefined
    const asserted = said ? who.agent : null
    if (asserted !== null && asserted !== agent)
      throw new Problem(
        'workload_unauthenticated',
        `the tag is for ${asserted}, and the workload’s token says that the call is from ${agent}`,
      )
    return {
      ...who,
      agent,
      workload: { name, subject },
      // What waits for a person waits no longer than both hold.
      expiresAt: Math.min(who.expiresAt ?? Infinity, expiresAt),
    }
  }
  return (who, workload) => {
    if (workload === null) {
      if (hasAgent(who)) return who
      throw denied('the tag names no agent, and no token of a workload came')
    }
    const byWorkload = callers.get(who) ?? new WeakMap<Workload, Principal>()
    callers.set(who, byWorkload)
    let caller = byWorkload.get(workload)
    if (caller === undefined) byWorkload.set(workload, (caller = join(who, workload)))
    return caller
  }
}

type IdentifyOptions = {
  readonly trust: 'asserted' | 'plain'
  /** Lower case. */
  readonly header: string
  /** Longest life of an assertion, ms. */
  readonly maxAge: number
  readonly issuers: readonly Issuer[]
  /** Learns whose a session at an issuer is. */
  readonly session?: (issuer: string, sid: unknown, person: Person) => void
  readonly plainAgent: string
  readonly plainRealm: string
  /** Which agent a call is from, by a token of its own. */
  readonly workloads: Workloads
  /** Backends that name people of their own by a key. */
  readonly applications: Applications
  /** For whom a workload acts without a tag; `name`: what the call names them, or ''. Throws Problem unauthenticated. */
  readonly standing?: (workload: Workload, name: string) => Principal | Promise<Principal>
  /** Whose run this token is. Throws Problem unauthenticated. */
  readonly run: (token: string) => Principal | Promise<Principal>
  /** Closed by whoever made them. */
  readonly keysOf: (source: KeySource) => IssuerKeys
  readonly clock: GuardedClock
}

export const createIdentify = (options: IdentifyOptions): Identify => {
  const { clock, workloads, applications } = options
  const text = (payload: JWTPayload, pointer: string, what: string): string => {
    const value = atPointer(payload, pointer)
    if (typeof value !== 'string') throw denied(`the assertion has no ${what} at ${pointer}`)
    if (pointer === '/email' && payload['email_verified'] !== true)
      throw denied('the assertion’s email is not verified (email_verified)')
    if (!validId(value))
      throw denied(`the assertion’s ${what} is longer than 256 bytes or has control characters`)
    return value
  }

  const assertions = createSignedTokens<Issuer, Tagged>({
    ...options,
    what: 'assertion',
    where: 'the tag',
    foreign: 'is no assertion of a configured issuer',
    denied,
    read: (payload, issuer, times) => {
      const tenant = issuer.tenant === null ? 'default' : text(payload, issuer.tenant, 'tenant')
      if (issuer.tenants !== null && !issuer.tenants.includes(tenant))
        throw denied('the issuer may not speak for this tenant')
      const unnamed = workloads.some && atPointer(payload, issuer.agent) === undefined
      const person = { tenant, realm: issuer.realm, id: text(payload, issuer.user, 'user') }
      options.session?.(issuer.issuer, payload['sid'], person)
      return {
        person,
        agent: unnamed ? null : text(payload, issuer.agent, 'agent'),
        verified: true,
        claims: payload as { [k: string]: Json } satisfies JsonObject,
        ...times,
        run: null,
      }
    },
  })

  const isTag = (token: string): boolean => isRun(token) || assertions.meant(token)
  /** The one assertion or run token. Throws Problem where there is none, or two that differ. */
  const assertedTag = (tags: Tags, named: string | null): string => {
    if (named !== null)
      throw denied('a name in the path is unsigned: this deputy takes signed tags only')
    let tag: string | null = null
    for (const value of tags.header) {
      const token = unbeared(value)
      if (tag !== null && token !== tag) throw denied('two tags name different users')
      tag = token
    }
    for (const value of tags.slot) {
      const token = slotValue(value)
      if (!isTag(token)) continue
      if (tag !== null && token !== tag) throw denied('two tags name different users')
      tag = token
    }
    const none =
      tag?.startsWith('eyJ') === true || tag?.startsWith('dpr_') === true
        ? null
        : applications.unknown(tags)
    if (none !== null) throw none
    if (tag === null || tag === '')
      throw denied(
        `the call has no tag: send a signed assertion as ${options.header}, or where the SDK puts its key`,
      )
    return tag
  }
  /**
   * How a call of a workload names its person where no tag does: '' where nothing does; null: there is a tag, or what
   * wants to be one. Under `plain` a name is a tag.
   */
  const untagged = (tags: Tags, named: string | null): string | null => {
    if (named !== null || tags.slot.some((value) => isTag(slotValue(value)))) return null
    if (options.trust === 'plain') {
      const says = tags.slot.some((value) => slotName(slotValue(value)) !== null)
      return says || tags.header.some((value) => value !== '') ? null : ''
    }
    const signed = (value: string): boolean => isRun(value) || value.startsWith('eyJ')
    if (tags.header.some((value) => signed(unbeared(value)))) return null
    const name = applications.nameIn(tags, isTag)
    // A key that is no application's does not become nobody's call by being cut out.
    return name ?? (applications.unknown(tags) === null ? '' : null)
  }
  /** For whom this workload acts while they are away; null: a tag says whom the call is for. */
  const byStanding = (
    tags: Tags,
    named: string | null,
    workload: Workload | null,
  ): Principal | Promise<Principal> | null => {
    if (workload === null || options.standing === undefined) return null
    const name = untagged(tags, named)
    return name === null ? null : options.standing(workload, name)
  }
  /** By a tag that is signed, or by a name with the key of an application, which may be the token of the workload. */
  const asserted =
    (tags: Tags, named: string | null, rawHeaders: readonly string[], claim: Claim | null): Whose =>
    (workload) => {
      if (claim !== null) return applications.principal(claim.application, claim.user, rawHeaders)
      const own = named === null ? applications.ofWorkload(workload) : null
      const name = own === null ? null : applications.nameIn(tags, isTag)
      if (own !== null && name !== null) return applications.principal(own, name, rawHeaders)
      // A workload that is an application's key names people by that row alone: the row wins over standing.
      const away = own === null ? byStanding(tags, named, workload) : null
      if (away !== null) return away
      const tag = assertedTag(tags, named)
      if (isRun(tag)) return options.run(tag)
      return assertions.of(tag)
    }
  /** What the key of an application says; null: none came. A name in the path stands beside none. */
  const claimOf = (tags: Tags, named: string | null): Claim | null =>
    options.trust === 'asserted' && named === null ? applications.read(tags, isTag) : null

  const sameName = (id: string | null, latin: string): string => {
    // Header bytes arrive as latin1.
    const value = /[\x80-\xff]/.test(latin) ? inUtf8(latin) : latin
    if (id !== null && value !== id) throw denied('two tags name different users')
    return value
  }
  const search = createTagSearch(
    (jwt) => assertions.meant(jwt) || workloads.meant(jwt),
    applications.holds,
  )
  const plainPrincipals = new LRUCache<string, Principal>(room(10_000))
  /** A run token, or a name behind `user:`. */
  const plainTag = (tags: Tags, named: string | null): string => {
    let id = named
    const run = runIn(tags)
    if (run !== null) {
      if (named !== null || tags.header.some((value) => unbeared(value) !== run))
        throw denied('two tags name different users')
      return run
    }
    for (const latin of tags.header) id = sameName(id, latin)
    for (const value of tags.slot) {
      const latin = slotName(slotValue(value))
      if (latin !== null) id = sameName(id, latin)
    }
    if (id === null || id === '')
      throw denied(
        `the call has no tag: name the user as ${options.header}, as user:NAME where the SDK puts its key, or as /~NAME/ in the path`,
      )
    return `user:${id}`
  }
  const plain = (tags: Tags, named: string | null): Principal | Promise<Principal> => {
    const tag = plainTag(tags, named)
    const name = slotName(tag)
    return name === null ? options.run(tag) : plainly(name)
  }
  const plainly = (id: string): Principal => {
    const known = plainPrincipals.get(id)
    if (known !== undefined) return known
    if (!validId(id)) throw denied('the name is longer than 256 bytes or has control characters')
    // In a path or a body it would be written into the evidence as a name.
    if (isRun(id)) throw denied('a run token goes into a header, never into a path or a body')
    if (search.holds(id)) throw denied('a token stands where the name should be')
    const principal: Principal = {
      person: { tenant: 'default', realm: options.plainRealm, id },
      agent: options.plainAgent,
      verified: false,
      claims: null,
      issuedAt: null,
      expiresAt: null,
      run: null,
    }
    plainPrincipals.set(id, principal)
    return principal
  }

  const joined = createJoin()
  const clockWrong = (): Problem =>
    new Problem(
      'clock_wrong',
      'the clock of deputy’s machine was set, so nothing that ends is sure',
    )
  const joinedAt = (
    who: Tagged,
    workload: Workload | null,
    wrong: ReturnType<GuardedClock['wrong']>,
  ): Principal => {
    if (wrong !== null) throw clockWrong()
    return joined(who, workload)
  }
  /** The caller, by a tag that is read once it is known which workload calls. What waits asks the clock again. */
  const caller = (
    by: readonly [rawHeaders: readonly string[], certificate: ClientCertificate | null | undefined],
    whose: Whose,
    wrong: ReturnType<GuardedClock['wrong']>,
  ): Principal | Promise<Principal> => {
    const workload = workloads.of(...by)
    if (workload instanceof Promise)
      return workload.then(async (known) => joinedAt(await whose(known), known, clock.wrong()))
    const who = whose(workload)
    return who instanceof Promise
      ? who.then((known) => joinedAt(known, workload, clock.wrong()))
      : joinedAt(who, workload, wrong)
  }
  /** @param workload does one call, for which a name counts, or none? */
  const tag = (rawHeaders: readonly string[], named: string | null, workload: boolean): string => {
    const tags = tagsOf(rawHeaders, options.header)
    if (options.trust === 'plain')
      return workload && untagged(tags, named) === ''
        ? ''
        : Buffer.from(plainTag(tags, named)).toString('latin1')
    const claim = claimOf(tags, named)
    if (claim !== null) return claim.user === null ? '' : claim.tag()
    const name = workload ? untagged(tags, named) : null
    if (name === null) return assertedTag(tags, named)
    return name === '' ? '' : `user:${Buffer.from(name).toString('latin1')}`
  }
  return {
    identify: (rawHeaders, named, certificate) => {
      // A clock that is ahead would call good tags expired; one that is behind is made good by the other.
      const wrong = clock.wrong()
      if (wrong === 'ahead') throw clockWrong()
      const tags = tagsOf(rawHeaders, options.header)
      const claim = claimOf(tags, named)
      const place = claim === null ? placeOf(tags, named) : claim.inSlot ? 'slot' : 'elsewhere'
      const whose: Whose =
        options.trust === 'asserted'
          ? asserted(tags, named, rawHeaders, claim)
          : (workload) => byStanding(tags, named, workload) ?? plain(tags, named)
      return follow(caller([rawHeaders, certificate], whose, wrong), (who) => ({
        who,
        // By standing nothing may name the person: what stands in the slot then is a credential.
        place: who.standings !== undefined && untagged(tags, named) === '' ? 'elsewhere' : place,
      }))
    },
    tag: (rawHeaders, named) => {
      const workload = workloads.some ? workloads.sent(rawHeaders) : null
      const tenant = applications.some ? applications.tenant(rawHeaders) : null
      // Of a call that was taken: without a signed tag, its workload may have shown a certificate only.
      const all = [tag(rawHeaders, named, workloads.some), workload ?? '', tenant ?? '']
      while (all.at(-1) === '') all.pop()
      return all.join('\n')
    },
    tagged: (rawHeaders) => {
      try {
        return tag(rawHeaders, null, workloads.some && workloads.sent(rawHeaders) !== null) !== ''
      } catch (error) {
        if (error instanceof Problem) return false
        throw error
      }
    },
    named: (id, rawHeaders, tenant, certificate) => {
      if (clock.wrong() !== null) throw clockWrong()
      const tags = tagsOf(rawHeaders, options.header)
      const claim = claimOf(tags, null)
      const inSlot = (): boolean =>
        options.trust === 'asserted' &&
        (tags.slot.some((value) => isTag(slotValue(value))) ||
          applications.nameIn(tags, isTag) !== null)
      const tagged = (): boolean => tags.header.length > 0 || runIn(tags) !== null || inSlot()
      if (claim === null ? tagged() : claim.user !== null) return null
      const whose: Whose = (workload) => {
        if (options.trust === 'plain') return plainly(id)
        const own = claim?.application ?? applications.ofWorkload(workload)
        if (own === null) throw denied('the call has no tag')
        return applications.principal(own, id, rawHeaders, tenant)
      }
      return caller([rawHeaders, certificate], whose, null)
    },
    tags: search,
    forget: () => {
      assertions.forget()
      workloads.forget()
    },
  }
}
