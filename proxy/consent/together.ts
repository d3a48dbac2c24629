// One link for all that a plan still needs of a person. It is a flow like others, at no connection: its scopes are the ids
// of the consents that it leads to, and it ends as they do.
import { createHash } from 'node:crypto'
import type { Flow, FlowRow, Person, Store } from '../model.ts'
import { samePerson } from '../wire/canonical.ts'
import { flowHashOf } from './status.ts'

/** In the place of a connection's name, which has no dot. */
export const TOGETHER = 'deputy.plan'

export const isTogether = ({ connection }: Pick<Flow, 'connection'>): boolean =>
  connection === TOGETHER

type Part = NonNullable<Flow['parts']>[number]

/**
 * What becomes of the whole: completed when every part is; failed once one has failed and none is left to do.
 * @param found null: a part that is gone
 */
export const joined = (whole: Flow, found: readonly (Part | null)[]): Flow => {
  const mine = (person: Person, agent: string): boolean =>
    agent === whole.agent && samePerson(person, whole.person)
  const parts = found.filter((part) => part !== null && mine(part.flow.person, part.flow.agent))
  const known = parts.filter((part) => part !== null)
  const all = { ...whole, parts: known }
  const left = known.some(({ flow }) => flow.status === 'pending')
  if (known.length === found.length && known.every(({ flow }) => flow.status === 'completed'))
    return {
      ...all,
      status: 'completed',
      failure: null,
      missing: [...new Set(known.flatMap(({ flow }) => flow.missing))],
    }
  if (left && whole.status === 'pending') return all
  const failed = known.find(({ flow }) => flow.status === 'failed')
  return { ...all, status: 'failed', failure: failed?.flow.failure ?? 'expired', missing: [] }
}

/** A flow as it is; one that stands for several with these. */
export const createWhole = (deps: {
  readonly store: { readonly flows: Pick<Store['flows'], 'byHash'> }
  readonly toFlow: (row: FlowRow) => Flow
  /** What the link ends with that was made with this nonce. */
  readonly idOf: (nonce: string) => string
}) => {
  const partOf = async (authorizationId: string): Promise<Part | null> => {
    const row = await deps.store.flows.byHash(flowHashOf(authorizationId) ?? '')
    if (row === null) return null
    const id = deps.idOf(row.nonce)
    // Without the hash key that it was made under, a row cannot be turned into its link again.
    const same = createHash('sha256').update(id).digest('hex') === row.hash
    return { flow: deps.toFlow(row), id: same ? id : null }
  }
  return async (flow: Flow): Promise<Flow> =>
    isTogether(flow) ? joined(flow, await Promise.all(flow.scopes.map(partOf))) : flow
}
