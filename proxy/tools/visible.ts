// The list is the policy: what it would let this person do with a tool through this agent now, asked without arguments.
import { setImmediate as yielded } from 'node:timers/promises'
import type { Access, Connection, Decision, OperationRow, Principal, Reason } from '../model.ts'
import { questionOf, type AllowedDeps } from '../consent/allowed.ts'
import { pathsIn } from '../consent/paths.ts'
import type { Facts } from '../pipeline/entitlements.ts'
import { Problem } from '../problem.ts'
import type { Offer } from './catalogue.ts'

/** `perhaps`: it depends on the arguments, or on a person who approves. `consent`: the scopes to ask the person for. */
export type Seen = {
  readonly may: 'yes' | 'perhaps' | 'no'
  readonly consent: readonly string[] | null
}
export type Visible = (principal: Principal, offers: readonly Offer[]) => Promise<readonly Seen[]>

/** Calls in flight are not to wait for more decisions than this at once. */
const AT_ONCE = 32
/** About the person, the agent or the operation: other arguments change nothing. */
export const WHOEVER: ReadonlySet<string> = new Set([
  'no_grant',
  'user_inactive',
  'operation_unknown',
  'host_mismatch',
  'entitlements_stale',
  'input_unsupported',
  'run_scope',
  'scope_not_listed',
])
const byPerson = ({ code }: Reason): boolean =>
  code === 'approval_required' || code === 'step_up_required'
const NO: Seen = { may: 'no', consent: null }

const worse = (a: Seen, b: Seen): Seen => {
  if (a.may === 'no' || b.may === 'no') return NO
  const consent =
    a.consent === null && b.consent === null
      ? null
      : [...new Set([...(a.consent ?? []), ...(b.consent ?? [])])]
  return { may: a.may === 'perhaps' || b.may === 'perhaps' ? 'perhaps' : 'yes', consent }
}

export const createVisible = (deps: AllowedDeps): Visible => {
  const factsFor = async (principal: Principal, access: Access): Promise<Facts | null> => {
    try {
      return await deps.entitlements(principal, access)
    } catch (error) {
      if (error instanceof Problem && error.code === 'entitlements_unavailable') return null
      throw error
    }
  }
  return async (principal, offers) => {
    const facts = new Map<Access, Facts | null>()
    const holdings = new Map<string, Awaited<ReturnType<AllowedDeps['vault']['look']>>>()
    const known = new Map<string, Seen>()
    let asked = 0
    const decide = async (
      connection: Connection,
      row: OperationRow,
      segments: readonly string[] | null,
    ): Promise<Decision | null> => {
      if (++asked % AT_ONCE === 0) await yielded()
      let fact = facts.get(row.access)
      if (fact === undefined) facts.set(row.access, (fact = await factsFor(principal, row.access)))
      if (fact === null) return null
      const { person, agent } = principal
      const holding =
        holdings.get(connection.name) ?? (await deps.vault.look(person, connection.name, agent))
      holdings.set(connection.name, holding)
      const question = questionOf(deps.newId(), row, true, {
        principal,
        connection,
        facts: fact,
        holding,
      })
      const { route, act } = question
      return deps.decide(deps.policy(), {
        ...question,
        listing: true,
        ...(segments === null
          ? {}
          : {
              route: { ...route, target: { ...route.target, raw: segments, segments } },
              act: { ...act, segments },
            }),
      })
    }
    const seenBy = (
      { effect, requiredScopes, reasons }: Decision,
      sure: Seen['may'],
    ): Seen | null => {
      if (effect === 'allow') return { may: sure, consent: null }
      if (effect === 'approval_required' || effect === 'step_up_required')
        return { may: 'perhaps', consent: null }
      if (effect === 'consent_required')
        return { may: reasons.some(byPerson) ? 'perhaps' : sure, consent: requiredScopes }
      return null
    }
    const judge = async (connection: Connection, row: OperationRow): Promise<Seen> => {
      const plain = await decide(connection, row, null)
      if (plain === null) return NO
      const seen = seenBy(plain, 'yes')
      if (seen !== null) return seen
      if (plain.effect === 'error')
        throw new Problem('policy_unavailable', 'no policy could decide what may be listed')
      for (const path of pathsIn(deps.grants(), connection, row)) {
        const other = await decide(connection, row, path)
        const met = other === null ? null : seenBy(other, 'perhaps')
        if (met !== null) return met
      }
      const open = plain.reasons.every(
        (reason) => byPerson(reason) || (row.inspect.length > 0 && !WHOEVER.has(reason.code)),
      )
      return open && plain.reasons.length > 0 ? { may: 'perhaps', consent: null } : NO
    }
    const result: Seen[] = []
    for (const { tool, connection } of offers) {
      let all: Seen = { may: 'yes', consent: null }
      for (const { operation } of tool.steps) {
        const key = JSON.stringify([
          connection.name,
          operation.method,
          operation.host,
          operation.path,
          operation.id,
        ])
        const seen = known.get(key) ?? (await judge(connection, operation))
        known.set(key, seen)
        all = worse(all, seen)
        if (all.may === 'no') break
      }
      result.push(all)
    }
    return result
  }
}
