// Asks policy before any consent begins: may this person connect this account, with these scopes?
import type { Clock, Connection, Lets, OperationRow, Principal, StandingAsk } from '../model.ts'
import { toldReasons, Problem } from '../problem.ts'
import { chooseScopes, usable } from '../pipeline/decide.ts'
import type { Evidence } from '../audit/records.ts'
import { questionOf, useful, type AllowedDeps, type AllowedOf } from './allowed.ts'

type Wanted =
  | { readonly scopes: readonly string[] }
  | { readonly operation: string }
  /** What a workload is to do while the person is away. */
  | { readonly standing: StandingAsk }
  /** A run token for this connection, with the operator that wants it. */
  | { readonly run: string }
  /** What was granted long ago, and nobody used since. */
  | { readonly keep: readonly string[] }

/**
 * @returns what to ask the person for; `held`: nothing is left to ask. Throws policy_denied and
 * what its sources throw.
 */
export const createPermit = (
  deps: Omit<AllowedDeps, 'clock'> & {
    readonly clock: Pick<Clock, 'now'>
    readonly connections: () => ReadonlyMap<string, Connection>
    readonly evidence: Pick<Evidence, 'event'>
    readonly allowed: AllowedOf
  },
) => {
  /** Nobody is asked for what policy lets them make no use of. */
  const worthAsking = async (
    principal: Principal,
    connection: Connection,
    wanted: readonly string[],
  ): Promise<readonly string[]> => {
    const scopes = useful(
      connection,
      wanted,
      await deps.allowed(principal, connection, wanted, 'one'),
    )
    if (wanted.length > 0 && scopes.length === 0)
      throw new Problem(
        'policy_denied',
        `The security policy allows no operation at ${connection.name} for which ${wanted.join(', ')} would be used.`,
        { extra: { reasons: ['scope_unused'] } },
      )
    return scopes
  }
  return async (
    caller: Principal,
    name: string,
    wanted: Wanted,
  ): Promise<{ readonly scopes: readonly string[]; readonly held: boolean }> => {
    const connection = deps.connections().get(name)
    if (connection === undefined)
      throw new Problem('request_invalid', `no connection is called ${JSON.stringify(name)}`)
    const operation = operationOf(connection, wanted)
    const principal =
      'standing' in wanted
        ? { ...caller, lets: askedFor(wanted.standing, deps.clock.now()) }
        : caller
    const facts = await deps.entitlements(principal, operation.access)
    const holding = await deps.vault.look(principal.person, connection.name, principal.agent)
    const about = { principal, connection, facts, holding }
    const decision = await deps.decide(
      deps.policy(),
      questionOf(deps.newId(), operation, 'operation' in wanted, about),
    )
    const reasons = decision.reasons.map(({ code }) => code)
    const kind =
      'run' in wanted
        ? 'run'
        : 'standing' in wanted
          ? 'standing'
          : 'keep' in wanted
            ? 'connection'
            : 'consent'
    await deps.evidence.event(`${kind}.decided`, {
      ...('run' in wanted ? { operator: wanted.run } : {}),
      user: { ...principal.person, verified: principal.verified },
      agent: { id: principal.agent },
      connection: connection.name,
      operation: { id: operation.id, access: operation.access },
      decision: { effect: decision.effect, id: decision.id, reasons },
      policy: { revision: decision.revision, digest: decision.digest },
    })
    if (decision.effect === 'error')
      throw new Problem('policy_unavailable', `no policy could decide (${reasons.join(', ')})`)
    // Of an operation that is named: whoever must approve it, or sign in anew, is asked when it is called.
    const later =
      'operation' in wanted &&
      (decision.effect === 'approval_required' || decision.effect === 'step_up_required')
    if (!later && decision.effect !== 'allow' && decision.effect !== 'consent_required')
      throw new Problem(
        'policy_denied',
        `The security policy does not allow ${operation.id} at ${connection.name}: ${toldReasons(decision.reasons)}.`,
        { extra: { reasons, decision_id: decision.id } },
      )
    const may = usable(holding, connection.provider)
    const scopes =
      'scopes' in wanted
        ? await worthAsking(principal, connection, wanted.scopes)
        : 'standing' in wanted
          ? scopesFor(connection, wanted.standing.operations, may)
          : chooseScopes(operation, may, connection.scopes)
    // An allow of deputy's own operation says that one may connect, not that one has.
    const own = holding.kind === 'held' && holding.status === 'active' && holding.granted !== null
    const has = own && scopes.every((scope) => may.includes(scope))
    return { scopes, held: (later || decision.effect === 'allow') && ('run' in wanted || has) }
  }
}

const askedFor = ({ days, operations }: StandingAsk, now: number): Lets => ({
  id: null,
  days,
  expires_at: Math.floor((now + days * 86_400_000) / 1_000),
  operations,
})
const scopesFor = (
  { provider, scopes }: Connection,
  ids: readonly string[],
  may: readonly string[],
): readonly string[] => [
  ...new Set(
    provider.operations
      .filter(({ id }) => ids.includes(id))
      .flatMap((one) => chooseScopes(one, may, scopes)),
  ),
]

const own = (
  id: string,
  access: OperationRow['access'],
  scopes: readonly string[],
): OperationRow => ({
  id,
  access,
  scopes: [scopes],
  inspect: [],
  upload: false,
  rewrite: [],
  method: 'POST',
  path: '/',
  host: null,
})

const operationOf = (connection: Connection, wanted: Wanted): OperationRow => {
  if ('scopes' in wanted) return own('deputy.connect', 'read', wanted.scopes)
  // Who may not connect it any more has no use for it either.
  if ('keep' in wanted) return own('deputy.connect', 'read', wanted.keep)
  // What a run may do later is asked again at each of its calls; minting one needs facts as fresh
  // as a write.
  if ('run' in wanted) return own('deputy.run', 'write', [])
  if ('standing' in wanted) return own('deputy.standing', 'write', [])
  const found = connection.provider.operations.find(({ id }) => id === wanted.operation)
  if (found === undefined)
    throw new Problem(
      'request_invalid',
      `${connection.provider.id} has no operation ${JSON.stringify(wanted.operation)}`,
    )
  return found
}
