// What does the identity provider say about this person, and how old is it? (PIP)
import { createHash } from 'node:crypto'
import type { Access, Clock, Entitlements, Person, Principal } from '../model.ts'
import { Problem } from '../problem.ts'
import { atPointer } from '../wire/json.ts'
import { signInOf } from '../wire/sign_in.ts'

/** Sources behind one interface (directory/source): a file, a directory, pushed users. */
type Ask = (person: Person, maxAge: number) => Entitlements | null | Promise<Entitlements | null>
/** @param fresh policy wants younger facts than those it got: whatever the access allows, they are asked for now */
export type AskFacts = (
  principal: Principal,
  access: Access | readonly Access[],
  fresh?: boolean,
) => Facts | Promise<Facts>

export type Facts = {
  readonly entitlements: Entitlements
  /** Age at the decision, ms. */
  readonly ageMs: () => number
}

export type PeopleSource =
  | { readonly kind: 'none' }
  | {
      readonly kind: 'claims'
      readonly groups: string
      readonly roles: string
      readonly entitlements: string
    }
  | { readonly kind: 'directory'; readonly ask: Ask }

const UNKNOWN_PERSON: Entitlements = {
  active: false,
  groups: [],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'none',
  digest: 'sha256:none',
  asOf: null,
}
const NOTHING_KNOWN: Entitlements = { ...UNKNOWN_PERSON, active: true }

/** Throws Problem: its source of facts failed, or a problem that it says itself. */
export const unanswered = (cause: unknown): never => {
  if (cause instanceof Problem) throw cause
  throw new Problem('entitlements_unavailable', 'the source of entitlements could not be asked', {
    cause,
  })
}

const pick = (claims: unknown, pointer: string): readonly string[] => {
  const at = atPointer(claims, pointer)
  return Array.isArray(at)
    ? at.filter((item) => typeof item === 'string')
    : typeof at === 'string'
      ? [at]
      : []
}

export const createEntitlements = (options: {
  readonly source: PeopleSource
  /** ms by access. */
  readonly maxAge: Readonly<Record<Access, number>>
  readonly clock: Clock
  /** Learns how old the facts of a directory are, in s. */
  readonly aged?: (source: string, seconds: number) => void
}): AskFacts => {
  const { source, clock, maxAge } = options
  const zero = (): number => 0
  const fromClaims = new WeakMap<Principal, Entitlements>()

  const timeless = new WeakMap<Entitlements, Facts>()
  const always = (entitlements: Entitlements): Facts => {
    let facts = timeless.get(entitlements)
    if (facts === undefined) timeless.set(entitlements, (facts = { entitlements, ageMs: zero }))
    return facts
  }
  if (source.kind === 'none') {
    const facts = always(NOTHING_KNOWN)
    return () => facts
  }
  /** Of a call that is several, the part that allows the least age. */
  const strictest = (access: Access | readonly Access[]): Access =>
    typeof access === 'string'
      ? access
      : access.reduce((one, other) => (maxAge[other] < maxAge[one] ? other : one))
  if (source.kind === 'directory') {
    /** @param since when the question was asked here: what left later is of now, however long its way was */
    const aged = (known: Entitlements | null, since: number, allowed: number): Facts => {
      const entitlements = known ?? UNKNOWN_PERSON
      const { asOf } = entitlements
      options.aged?.(entitlements.source, asOf === null ? 0 : (clock.mono() - asOf) / 1_000)
      if (asOf === null) return always(entitlements)
      const ageMs = (): number => clock.mono() - asOf
      if (asOf >= since) return { entitlements, ageMs: allowed === 0 ? zero : ageMs }
      // Whatever a source says of its own answer: nobody is let in by older facts.
      if (ageMs() > allowed) return unanswered(new Error(`its answer is ${ageMs()} ms old`))
      return { entitlements, ageMs }
    }
    return (principal, access, fresh = false) => {
      const allowed = fresh ? 0 : maxAge[strictest(access)]
      const since = clock.mono()
      try {
        const known = source.ask(principal.person, allowed)
        return known instanceof Promise
          ? known.then((facts) => aged(facts, since, allowed), unanswered)
          : aged(known, since, allowed)
      } catch (error) {
        return unanswered(error)
      }
    }
  }
  return (principal, wanted) => {
    const access = strictest(wanted)
    const { claims, issuedAt } = principal
    if (claims === null || issuedAt === null)
      throw new Problem(
        'entitlements_unavailable',
        'the tag carries no claims to read entitlements from',
      )
    // The age of claims is what has passed since `iat`; a clock behind the issuer's counts as 0.
    const ageMs = (): number => Math.max(0, clock.now() - issuedAt)
    if (ageMs() > maxAge[access])
      throw new Problem(
        'entitlements_unavailable',
        `the assertion’s claims are ${Math.round(ageMs() / 1_000)} s old and this ${access} allows ${maxAge[access] / 1_000} s: send a fresher assertion`,
      )
    let entitlements = fromClaims.get(principal)
    if (entitlements === undefined) {
      const groups = pick(claims, source.groups)
      const roles = pick(claims, source.roles)
      const rights = pick(claims, source.entitlements)
      entitlements = {
        active: true,
        groups,
        roles,
        entitlements: rights,
        auth: signInOf(claims) ?? { acr: null, amr: [], at: null },
        source: 'claims',
        digest: `sha256:${createHash('sha256')
          .update(JSON.stringify([groups.toSorted(), roles.toSorted(), rights.toSorted()]))
          .digest('hex')}`,
        asOf: null,
      }
      fromClaims.set(principal, entitlements)
    }
    return { entitlements, ageMs }
  }
}
