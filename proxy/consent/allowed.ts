// What policy lets one person do through one agent: for the consent page, and before any scope is
// asked for.
import { setImmediate as yielded } from 'node:timers/promises'
import type {
  Access,
  Clock,
  Connection,
  Decision,
  JsonObject,
  OperationRow,
  PolicyEngine,
  Principal,
  Vault,
} from '../model.ts'
import { Problem } from '../problem.ts'
import { pathsIn } from './paths.ts'
import { asMessage } from '../pipeline/mcp.ts'
import type { Act } from '../pipeline/classify.ts'
import { CONSENT } from '../pipeline/decide.ts'
import type { Decide, Question } from '../pipeline/decide.ts'
import type { Facts } from '../pipeline/entitlements.ts'
import { widened } from '../wire/scopes.ts'

export type AllowedDeps = {
  readonly policy: () => PolicyEngine | null
  readonly entitlements: (principal: Principal, access: Access) => Facts | Promise<Facts>
  readonly vault: Pick<Vault, 'look'>
  readonly decide: Decide
  readonly newId: () => string
  readonly clock: Pick<Clock, 'mono'>
  /** Rows by which the policy that ships decides. */
  readonly grants: () => JsonObject | null
}

/** Calls in flight are not to wait for more decisions than this at once. */
const AT_ONCE = 32
/** A policy that needs longer for one person's list, ms, is not waited for. */
const PATIENCE_MS = 1_000
/**
 * They say who somebody is (OpenID Connect Core 5.4, 11): no operation is theirs, whatever a
 * catalogue says.
 */
const IDENTITY: ReadonlySet<string> = new Set(['openid', 'profile', 'email', 'offline_access'])

const actOf = (operation: OperationRow, segments: readonly string[]): Act => {
  if (operation.mcp !== undefined) return asMessage(operation, segments)
  const [type, field = ''] = operation.graphql?.split(' ', 2) ?? []
  return type === 'query' || type === 'mutation'
    ? {
        operation,
        kind: 'graphql',
        segments,
        graphql: { type, name: '', fields: [field], depth: 1, types: [], selects: [] },
      }
    : { operation, kind: 'rest', segments }
}

/**
 * A named operation is judged as the call that it would be, with its path's template for segments.
 */
export const questionOf = (
  id: string,
  operation: OperationRow,
  named: boolean,
  about: Pick<Question, 'principal' | 'facts' | 'holding'> & { readonly connection: Connection },
): Question => {
  const { connection, ...rest } = about
  const segments = named ? operation.path.split('/').slice(1) : []
  return {
    ...rest,
    id,
    route: {
      connection,
      host: operation.host ?? connection.provider.hosts.keys().next().value ?? '',
      target: {
        method: operation.method,
        path: operation.path,
        raw: segments,
        segments,
        query: [],
      },
    },
    act: named ? actOf(operation, segments) : { operation, kind: 'deputy', segments },
    body: null,
    stripped: [],
  }
}

/** What a person can lift later, by consenting, signing in or approving. */
const LIFTED: ReadonlySet<string> = new Set([...CONSENT, 'approval_required', 'step_up_required'])
const couldBe = ({ effect, reasons }: Decision): boolean =>
  effect !== 'error' && reasons.every(({ code }) => LIFTED.has(code))

/** The operations that name this scope, or one that it contains. */
const concerned = ({ provider }: Connection, scope: string): readonly OperationRow[] => {
  const reach = widened(provider, [scope])
  return provider.operations.filter(({ scopes }) =>
    scopes.some((list) => list.some((one) => reach.includes(one))),
  )
}

/**
 * Ids of the operations concerned by `scopes` that policy allows now, or would after the consent.
 * `one`: of each scope's operations one is enough, for `useful`.
 * Throws Problem policy_unavailable when policy takes too long, and what the source of entitlements
 * throws.
 */
export type AllowedOf = (
  principal: Principal,
  connection: Connection,
  scopes: readonly string[],
  one?: 'one',
) => Promise<ReadonlySet<string>>

export const createAllowed = (deps: AllowedDeps): AllowedOf => {
  /**
   * Claims may be fresh enough to read by and too old to write by: what nobody knows allows
   * nothing.
   */
  const factsFor = async (principal: Principal, access: Access): Promise<Facts | Problem> => {
    try {
      return await deps.entitlements(principal, access)
    } catch (error) {
      if (error instanceof Problem && error.code === 'entitlements_unavailable') return error
      throw error
    }
  }
  return async (principal, connection, scopes, one) => {
    const holding = await deps.vault.look(principal.person, connection.name, principal.agent)
    const facts = new Map<Access, Facts | Problem>()
    const asked = new Set<OperationRow>()
    const allowed = new Set<string>()
    const began = deps.clock.mono()
    const ask = async (operation: OperationRow): Promise<void> => {
      const { access } = operation
      const known = facts.get(access) ?? (await factsFor(principal, access))
      facts.set(access, known)
      if (known instanceof Problem) return
      const about = { principal, connection, facts: known, holding }
      const { route, act, ...rest } = questionOf(deps.newId(), operation, true, about)
      const may = async (segments: readonly string[]): Promise<Decision> =>
        deps.decide(deps.policy(), {
          ...rest,
          listing: true,
          route: { ...route, target: { ...route.target, raw: segments, segments } },
          act: { ...act, segments },
        })
      const template = operation.path.split('/').slice(1)
      const first = await may(template)
      let open = couldBe(first)
      if (first.reasons.some(({ code }) => code === 'no_grant'))
        for (const path of pathsIn(deps.grants(), connection, operation))
          open ||= couldBe(await may(path))
      if (open) allowed.add(operation.id)
    }
    for (const scope of scopes) {
      const operations = one && IDENTITY.has(scope) ? [] : concerned(connection, scope)
      if (one && operations.some(({ id }) => allowed.has(id))) continue
      for (const operation of operations) {
        if (asked.has(operation)) continue
        asked.add(operation)
        await ask(operation)
        if (one && allowed.has(operation.id)) break
        if (asked.size % AT_ONCE === 0) await yielded()
        if (deps.clock.mono() - began > PATIENCE_MS)
          throw new Problem(
            'policy_unavailable',
            `policy took longer than ${PATIENCE_MS} ms to say what may be done at ${connection.name}`,
          )
      }
    }
    const unknown = [...facts.values()].find((one) => one instanceof Problem)
    // Nothing at all for want of facts is no refusal of policy's.
    if (allowed.size === 0 && unknown !== undefined) throw unknown
    return allowed
  }
}

/** Those of `scopes` that somebody has a use for: not of which policy allows no operation. */
export const useful = (
  connection: Connection,
  scopes: readonly string[],
  allowed: ReadonlySet<string>,
): readonly string[] =>
  scopes.filter((scope) => {
    if (IDENTITY.has(scope) || connection.provider.scopeAlways?.includes(scope)) return true
    const operations = concerned(connection, scope)
    // What no operation names is for policy's own rule on connecting, which has allowed it.
    return operations.length === 0 || operations.some(({ id }) => allowed.has(id))
  })
