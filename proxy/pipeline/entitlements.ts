// What does the identity provider say about this person, and how old is it? (PIP)
import { createHash } from 'node:crypto'
import type { Access, Clock, Entitlements, Person, Principal } from '../model.ts'
import { Problem } from '../problem.ts'
import { atPointer } from '../wire/json.ts'

/** A source behind one interface: a file, a directory, pushed users. */
type Ask = (person: Person) => Entitlements | null | Promise<Entitlements | null>

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

const unanswered = (cause: unknown): never => {
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
}): ((principal: Principal, access: Access) => Facts | Promise<Facts>) => {
  const { source, clock, maxAge } = options
  const zero = (): number => 0
  const fromClaims = new WeakMap<Principal, Entitlements>()

  const timeless = new WeakMap<Entitlements, Facts>()
  const factsOf = (known: Entitlements | null): Facts => {
    const entitlements = known ?? UNKNOWN_PERSON
    const { asOf } = entitlements
    if (asOf !== null) return { entitlements, ageMs: () => clock.mono() - asOf }
    let facts = timeless.get(entitlements)
    if (facts === undefined) timeless.set(entitlements, (facts = { entitlements, ageMs: zero }))
    return facts
  }
  if (source.kind === 'none') {
    const facts = factsOf(NOTHING_KNOWN)
    return () => facts
  }
  if (source.kind === 'directory')
    return (principal) => {
      try {
        const known = source.ask(principal.person)
        return known instanceof Promise ? known.then(factsOf, unanswered) : factsOf(known)
      } catch (error) {
        return unanswered(error)
      }
    }
  return (principal, access) => {
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
      const authTime = claims['auth_time']
      entitlements = {
        active: true,
        groups,
        roles,
        entitlements: rights,
        auth: {
          acr: typeof claims['acr'] === 'string' ? claims['acr'] : null,
          amr: pick(claims, '/amr'),
          at: typeof authTime === 'number' ? authTime * 1_000 : null,
        },
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

type Wanted = { readonly operation: { readonly access: Access } }
/** Facts for several calls at once: each kind of access is asked for, and the youngest serve all (design 3). */
export const freshest = async (
  ask: (principal: Principal, access: Access) => Facts | Promise<Facts>,
  principal: Principal,
  [first, ...rest]: readonly [Wanted, ...Wanted[]],
): Promise<Facts> => {
  const asked = new Set([first.operation.access])
  let facts = await ask(principal, first.operation.access)
  for (const { operation } of rest) {
    if (asked.has(operation.access)) continue
    asked.add(operation.access)
    const next = await ask(principal, operation.access)
    if (next.ageMs() < facts.ageMs()) facts = next
  }
  return facts
}
