// How many links one agent may make for one person: enough for work, too few to wear somebody down.
import { LRUCache } from 'lru-cache'
import type { Clock, Person } from '../model.ts'
import { Problem } from '../problem.ts'

const MOST = 30
const WITHIN_MS = 600_000

/** Links that are shared cost nothing; `take` throws Problem rate_limited. Counted in this process. */
export const createQuota = (
  clock: Clock,
): { readonly take: (person: Person, agent: string) => void } => {
  const made = new LRUCache<string, readonly number[]>({ max: 20_000 })
  return {
    take: ({ tenant, realm, id }, agent) => {
      const key = JSON.stringify([tenant, realm, id, agent])
      const now = clock.mono()
      const recent = (made.get(key) ?? []).filter((at) => now - at < WITHIN_MS)
      const oldest = recent.at(-MOST)
      if (oldest !== undefined)
        throw new Problem('rate_limited', 'too many authorizations were begun for this person', {
          extra: { retry_after: Math.ceil((oldest + WITHIN_MS - now) / 1_000) },
        })
      made.set(key, [...recent, now])
    },
  }
}
