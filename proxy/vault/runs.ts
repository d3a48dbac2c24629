// Run tokens, with which a job acts for a person while nobody is there. A token is shown once,
// stored as SHA-256, and refused within a second of its revocation.
import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Clock, Person, Principal, RunReach, RunRow, Store } from '../model.ts'
import { Problem } from '../problem.ts'
import { createGuarded } from './guarded.ts'

/**
 * A revocation by another process is seen after this long at the latest, though nobody tells of it.
 */
const FRESH_MS = 1_000
const TOKEN = /^dpr_[A-Za-z0-9_-]{43}$/
/** Ended runs are listed this much longer. */
const LISTED_MS = 30 * 86_400_000

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

export type Runs = {
  /** The one answer that ever holds the token. `expiresAt` in ms since the epoch. */
  readonly mint: (
    what: RunReach & {
      readonly person: Person
      readonly agent: string
      readonly by: string
      readonly expiresAt: number
    },
  ) => Promise<{ readonly token: string; readonly row: RunRow }>
  /**
   * Throws Problem unauthenticated when the token is unknown, revoked or over; synchronous when it
   * was seen just now.
   */
  readonly verify: (token: string) => Principal | Promise<Principal>
  readonly list: Store['runs']['list']
  /** false: there is none, or it was revoked before. */
  readonly revoke: (id: string) => Promise<boolean>
  readonly sweep: () => Promise<number>
  readonly erase: (person: Person) => Promise<number>
}

const principalOf = (row: RunRow): Principal => ({
  person: { tenant: row.tenant, realm: row.realm, id: row.user },
  agent: row.agent,
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: row.expiresAt,
  run: row.id,
  reach: { connections: row.connections, operations: row.operations },
})
const denied = (detail: string): Problem => new Problem('unauthenticated', detail)

export const createRuns = (deps: {
  readonly store: Pick<Store, 'runs' | 'publish' | 'subscribe'>
  readonly clock: Clock
  readonly randomBytes: (size: number) => Buffer
  readonly newId: () => string
  /** After a revocation: what this run has in flight is aborted here. */
  readonly onRevoked: (id: string) => void
}): Runs => {
  const { store, clock } = deps
  const seen = new LRUCache<string, { readonly principal: Principal; readonly at: number }>(
    room(10_000),
  )
  const forget = (id: string): void => {
    seen.clear()
    if (id !== '*') deps.onRevoked(id)
  }
  store.subscribe('run', forget)
  const guarded = createGuarded('the runs cannot be read or written now')
  const ended = (at: number): boolean => at <= clock.now()

  const look = async (hash: string): Promise<Principal> => {
    const at = clock.mono() // before the question: an answer is never younger than it
    const row = await guarded(() => store.runs.byHash(hash))
    const known = seen.get(hash)
    seen.delete(hash)
    if (row === null) throw denied('no run has this token')
    if (row.revokedAt !== null) throw denied('the run was revoked')
    if (ended(row.expiresAt)) throw denied('the run is over')
    // A row never changes but by its end: one value per run, by which others remember what they
    // made of it.
    const principal = known?.principal ?? principalOf(row)
    seen.set(hash, { principal, at })
    return principal
  }

  return {
    mint: ({ person, agent, connections, operations, by, expiresAt }) =>
      guarded(async () => {
        const token = `dpr_${deps.randomBytes(32).toString('base64url')}`
        const row: RunRow = {
          tokenHash: sha256(token),
          id: deps.newId(),
          tenant: person.tenant,
          realm: person.realm,
          user: person.id,
          agent,
          connections,
          operations,
          createdBy: by,
          createdAt: clock.now(),
          expiresAt,
          revokedAt: null,
        }
        await store.runs.insert(row)
        return { token, row }
      }),

    verify: (token) => {
      if (!TOKEN.test(token)) throw denied('this is no run token')
      const hash = sha256(token)
      const known = seen.get(hash)
      if (known !== undefined && clock.mono() - known.at < FRESH_MS) {
        if (ended(known.principal.expiresAt ?? 0)) throw denied('the run is over')
        return known.principal
      }
      return look(hash)
    },

    list: (filter) => guarded(() => store.runs.list(filter)),

    revoke: (id) =>
      guarded(async () => {
        const revoked = await store.runs.revoke(id, clock.now())
        forget(id)
        await store.publish('run', id)
        return revoked
      }),

    sweep: () => guarded(() => store.runs.sweep(clock.now() - LISTED_MS)),

    erase: (person) =>
      guarded(async () => {
        const erased = await store.runs.erase(person)
        seen.clear()
        return erased
      }),
  }
}
