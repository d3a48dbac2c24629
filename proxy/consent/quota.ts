// How many links an agent may ask for in a person's name.
import type { Clock, Person, Store } from '../model.ts'
import { Problem } from '../problem.ts'

/** Enough links of one agent for one person, too few to wear somebody down. */
const MOST = 30
/** Links of the last so many ms count. */
export const QUOTA_MS = 600_000

/**
 * Links that are shared cost nothing; `take` rejects with Problem rate_limited. Counted in the
 * store: by all replicas, over restarts.
 */
export const createQuota = (store: Pick<Store, 'flows'>, clock: Clock) => {
  /** Links that are being made in this process and that no store counts yet. */
  const making = new Map<string, number>()
  return {
    take: async <T>(person: Person, agent: string, make: () => Promise<T>): Promise<T> => {
      const key = JSON.stringify([person.tenant, person.realm, person.id, agent])
      const beside = making.get(key) ?? 0
      making.set(key, beside + 1)
      try {
        const now = clock.now()
        const begun = await store.flows.begun(person, agent, now - QUOTA_MS, MOST)
        const oldest = begun.length + beside >= MOST ? (begun.at(-1) ?? now) : null
        if (oldest !== null)
          throw new Problem(
            'rate_limited',
            'This agent has asked for too many links in a short time: use one of those, or wait.',
            { extra: { retry_after: Math.ceil((oldest + QUOTA_MS - now) / 1_000) } },
          )
        return await make()
      } finally {
        const left = (making.get(key) ?? 1) - 1
        if (left > 0) making.set(key, left)
        else making.delete(key)
      }
    },
  }
}
