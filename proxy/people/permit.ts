// Policy decides before any flow begins: may this person connect this account, with these scopes?
import type { Connection, OperationRow, PolicyEngine, Principal, Vault } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Act } from '../way/classify.ts'
import type { Facts } from '../way/entitlements.ts'
import { chooseScopes, toldReasons, usable, type Decide } from '../way/decide.ts'
import type { Evidence } from '../way/evidence.ts'

type Wanted =
  | { readonly scopes: readonly string[] }
  | { readonly operation: string }
  /** A run token for this connection, with the operator that wants it. */
  | { readonly run: string }
  /** What was granted long ago, and nobody used since. */
  | { readonly keep: readonly string[] }

/** @returns what to ask the person for; `held`: nothing is left to ask. Throws policy_denied and what its sources throw. */
export const createPermit =
  (deps: {
    readonly connections: () => ReadonlyMap<string, Connection>
    readonly policy: () => PolicyEngine | null
    readonly entitlements: (
      principal: Principal,
      access: OperationRow['access'],
    ) => Facts | Promise<Facts>
    readonly vault: Pick<Vault, 'look'>
    readonly decide: Decide
    readonly evidence: Pick<Evidence, 'event'>
    readonly newId: () => string
  }) =>
  async (
    principal: Principal,
    name: string,
    wanted: Wanted,
  ): Promise<{ readonly scopes: readonly string[]; readonly held: boolean }> => {
    const connection = deps.connections().get(name)
    if (connection === undefined)
      throw new Problem('request_invalid', `no connection is called ${JSON.stringify(name)}`)
    const operation = operationOf(connection, wanted)
    const named = 'operation' in wanted
    const segments = named ? operation.path.split('/').slice(1) : []
    const facts = await deps.entitlements(principal, operation.access)
    const holding = await deps.vault.look(principal.person, connection.name, principal.agent)
    const decision = await deps.decide(deps.policy(), {
      id: deps.newId(),
      principal,
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
      // A named operation is judged as the call that it would be, with its path's template for segments.
      act: named ? actOf(operation, segments) : { operation, kind: 'deputy', segments },
      body: null,
      stripped: [],
      facts,
      holding,
    })
    const reasons = decision.reasons.map(({ code }) => code)
    const about = 'run' in wanted ? 'run' : 'keep' in wanted ? 'connection' : 'consent'
    await deps.evidence.event(`${about}.decided`, {
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
    if (decision.effect !== 'allow' && decision.effect !== 'consent_required')
      throw new Problem(
        'policy_denied',
        `The security policy does not allow ${operation.id} at ${connection.name}: ${toldReasons(decision.reasons)}.`,
        { extra: { reasons, decision_id: decision.id } },
      )
    const may = usable(holding, connection.provider)
    const scopes = chooseScopes(operation, may, connection.scopes)
    // An allow of deputy's own operation says that one may connect, not that one has.
    const own = holding.kind === 'held' && holding.status === 'active' && holding.granted !== null
    const has = own && scopes.every((scope) => may.includes(scope))
    return { scopes, held: decision.effect === 'allow' && ('run' in wanted || has) }
  }

const actOf = (operation: OperationRow, segments: readonly string[]): Act => {
  const [type, field = ''] = operation.graphql?.split(' ', 2) ?? []
  return type === 'query' || type === 'mutation'
    ? {
        operation,
        kind: 'graphql',
        segments,
        graphql: { type, name: '', fields: [field], depth: 1 },
      }
    : { operation, kind: 'rest', segments }
}

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
  // What a run may do later is asked again at each of its calls; minting one needs facts as fresh as a write.
  if ('run' in wanted) return own('deputy.run', 'write', [])
  const found = connection.provider.operations.find(({ id }) => id === wanted.operation)
  if (found === undefined)
    throw new Problem(
      'request_invalid',
      `${connection.provider.id} has no operation ${JSON.stringify(wanted.operation)}`,
    )
  return found
}
