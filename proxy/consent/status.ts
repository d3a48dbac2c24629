// How an authorization stands, for whoever began it. A request may wait, and is woken when the
// authorization ends in any process.
import type { Asker, Clock, Flow, Person, Store } from '../model.ts'
import { Problem } from '../problem.ts'
import { samePerson } from '../wire/canonical.ts'

/** The bus tells within a second; this is for what it lost. */
const POLL_MS = 5_000
/**
 * Flows that are waited for are looked at one by one, this far apart: a thousand held calls are no
 * load of their own.
 */
const SPREAD_MS = 30
const AUTHORIZATION_ID = /^ac_([0-9a-f]{64})$/
/** The hash of the flow that an authorization id names; undefined: it is none. */
export const flowHashOf = (authorizationId: string): string | undefined =>
  AUTHORIZATION_ID.exec(authorizationId)?.[1]

export const createStatus = (
  store: Pick<Store, 'subscribe'>,
  clock: Pick<Clock, 'mono'>,
  byHash: (hash: string) => Promise<Flow | null>,
) => createWaiting(store, clock, { topic: 'flow', hashOf: flowHashOf, byHash })

/** What can be waited for. */
type Pending = {
  readonly person: Person
  readonly agent: string
  readonly status: string
  readonly parts?: Flow['parts']
}

/** @param of.topic under which the store tells that one ended, by its hash */
export const createWaiting = <T extends Pending>(
  store: Pick<Store, 'subscribe'>,
  clock: Pick<Clock, 'mono'>,
  {
    topic,
    hashOf,
    byHash,
  }: {
    readonly topic: string
    readonly hashOf: (authorizationId: string) => string | undefined
    readonly byHash: (hash: string) => Promise<T | null>
  },
) => {
  const waiting = new Map<string, Set<() => void>>()
  store.subscribe(topic, (hash) => {
    const woken = hash === '*' ? [...waiting.values()] : [waiting.get(hash) ?? []]
    for (const each of woken) for (const wake of each) wake()
  })

  /**
   * Waits at most `waitMs` for the flow to end. Throws Problem authorization_not_found
   * unless this person and agent began it.
   */
  return async (
    authorizationId: string,
    { person, agent }: Pick<Asker, 'person' | 'agent'>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<T> => {
    const hash = hashOf(authorizationId) ?? ''
    const deadline = clock.mono() + waitMs
    // What a link for several consents waits for, too.
    let parts: readonly string[] = []
    for (;;) {
      const left = deadline - clock.mono()
      // Listening before looking: what ends in between is not missed.
      const poll = Math.max(POLL_MS, waiting.size * SPREAD_MS)
      const ms = Math.max(0, Math.min(poll, left))
      const { woken, stop } = listen(waiting, [hash, ...parts], ms, signal)
      try {
        const flow = hash === '' ? null : await byHash(hash)
        if (flow === null || flow.agent !== agent || !samePerson(flow.person, person))
          throw new Problem('authorization_not_found', 'you have begun no authorization of this id')
        if (flow.status !== 'pending' || left <= 0 || signal.aborted) return flow
        if (flow.parts !== undefined && parts.length === 0 && flow.parts.length > 0) {
          parts = flow.parts.map((part) => part.flow.hash)
          continue
        }
        await woken
      } finally {
        stop()
      }
    }
  }
}

/** `woken`: the flow ended, `ms` passed or the caller left. `stop` must be called. */
const listen = (
  waiting: Map<string, Set<() => void>>,
  hashes: readonly string[],
  ms: number,
  signal: AbortSignal,
): { readonly woken: Promise<void>; readonly stop: () => void } => {
  const { promise: woken, resolve } = Promise.withResolvers<void>()
  const wake = (): void => resolve()
  const timer = setTimeout(wake, ms)
  signal.addEventListener('abort', wake, { once: true })
  const all = hashes.map((hash) => {
    const mine = waiting.get(hash) ?? new Set<() => void>()
    waiting.set(hash, mine.add(wake))
    return [hash, mine] as const
  })
  return {
    woken,
    stop: () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', wake)
      for (const [hash, mine] of all) {
        mine.delete(wake)
        if (mine.size === 0 && waiting.get(hash) === mine) waiting.delete(hash)
      }
    },
  }
}
