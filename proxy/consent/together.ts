// One link for all that a plan still needs of a person. It is a flow like others, at no connection: its scopes are the ids
// of the consents that it leads to, and it ends as they do.
import type { Flow, Person } from '../model.ts'
import { samePerson } from '../wire/canonical.ts'

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
