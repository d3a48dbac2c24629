// An authorization begins: policy first, then the link, or the word that nothing is left to ask the person for.
import type { Connection, Flow, Principal, StandingAsk } from '../model.ts'
import type { Begun, Flows } from '../consent/flow.ts'
import { mayReturnTo } from '../consent/next_uri.ts'
import { invalid } from './rest.ts'

type Permitted = { readonly scopes: readonly string[]; readonly held: boolean }
export type BeginDeps = {
  /**
   * Policy decides before any flow begins. `held`: nothing is left to consent to.
   * Throws Problem policy_denied and the like.
   */
  readonly permit: (
    principal: Principal,
    connection: string,
    wanted:
      | { readonly scopes: readonly string[] }
      | { readonly operation: string }
      | { readonly standing: StandingAsk },
  ) => Promise<Permitted>
  readonly flows: Pick<Flows, 'begin' | 'completed'>
  /** Origins that `next_uri` may name. */
  readonly returnTo: readonly string[]
}
export type Asked = (
  { readonly scopes: readonly string[] } | { readonly operations: readonly string[] }
) & {
  readonly standing?: StandingAsk | null
}

/** An authorization as existing clients know it. */
type Shaped = {
  readonly id: string
  readonly status: string
  readonly provider_id: string
  readonly user_id: string
  readonly scopes: readonly string[]
  readonly url?: string
  readonly context: object
}
export const shape = (
  connection: Pick<Connection, 'name'>,
  userId: string,
  what: Pick<Flow, 'scopes' | 'status'> & { readonly id: string; readonly more?: object },
): Shaped => ({
  id: what.id,
  status: what.status,
  ...what.more,
  provider_id: connection.name,
  user_id: userId,
  scopes: what.scopes,
  context: {},
})

export const createBegin = (deps: BeginDeps) => {
  /** What several operations need together. */
  const together = async (
    principal: Principal,
    name: string,
    operations: readonly string[],
  ): Promise<Permitted> => {
    const all: Permitted[] = []
    for (const operation of operations) all.push(await deps.permit(principal, name, { operation }))
    return {
      scopes: [...new Set(all.flatMap(({ scopes }) => scopes))],
      held: all.every(({ held }) => held),
    }
  }
  const permittedOf = async (
    principal: Principal,
    { name }: Connection,
    { standing = null, ...wanted }: Asked,
  ): Promise<Permitted> => {
    if ('operations' in wanted) return together(principal, name, wanted.operations)
    if (standing === null) return deps.permit(principal, name, wanted)
    const { scopes: needed } = await deps.permit(principal, name, { standing })
    return deps.permit(principal, name, { scopes: [...new Set([...needed, ...wanted.scopes])] })
  }
  return async (
    principal: Principal,
    connection: Connection,
    wanted: Asked,
    nextUri: string | undefined,
  ): Promise<Shaped> => {
    const { standing = null } = wanted
    if (nextUri !== undefined && !mayReturnTo(deps.returnTo, nextUri))
      throw invalid('next_uri must have an origin that connect.return_to lists')
    const permitted = await permittedOf(principal, connection, wanted)
    const { person, agent } = principal
    if (permitted.held && standing === null) {
      const { scopes } = permitted
      const done = await deps.flows.completed(
        { person, agent, connection: connection.name },
        scopes,
      )
      return shape(connection, person.id, { id: done, status: 'completed', scopes })
    }
    const begun: Begun = await deps.flows.begin(
      { person, agent, connection: connection.name },
      permitted.scopes,
      {
        nextUri: nextUri ?? null,
        operation: 'operations' in wanted ? (wanted.operations[0] ?? null) : null,
        standing,
      },
    )
    return shape(connection, person.id, {
      id: begun.authorizationId,
      status: 'pending',
      scopes: begun.scopes,
      more: { url: begun.url, expires_at: new Date(begun.expiresAt).toISOString() },
    })
  }
}
