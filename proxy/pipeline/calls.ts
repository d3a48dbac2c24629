// Calls in flight, by person, grant and agent: count, abort, drain.
import type { Person } from '../model.ts'
import { copyOf, Problem } from '../problem.ts'
import { shareOf } from '../shares.ts'
import { createSlots } from './slots.ts'
import { madeAt } from '../ulid.ts'
import { samePerson } from '../wire/canonical.ts'

export type LiveCall = {
  readonly id: string
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly run?: string | null
  readonly standing?: string | null
}
/** One call in flight, until it is disposed of. */
export type Flight = Disposable & {
  /** Aborted with a Problem when the call is ended from outside. */
  readonly signal: AbortSignal
  /** What the work brings, or the Problem by which the call was ended while it waited. */
  readonly uncut: <T>(work: T | Promise<T>) => T | Promise<T>
}
export type CallRegistry = {
  /** Bounded; throws too_many_calls. */
  readonly enter: (call: LiveCall) => Flight
  /** Aborts what matches all given members. @returns how many */
  readonly abort: (
    match: {
      readonly person?: Person
      readonly agent?: string
      readonly tenant?: string
      readonly connection?: string
      readonly run?: string
      readonly standing?: string
      /** Ms since the epoch: whatever began later goes on. */
      readonly begunBy?: number
    },
    reason: Problem,
  ) => number
  readonly size: () => number
  /** Everybody whose calls are in flight, each once. */
  readonly people: () => readonly Person[]
  /** Resolves when no call is left, or after `ms`. @returns how many were still running */
  readonly drain: (ms: number) => Promise<number>
}

type Live = LiveCall & { readonly cut: (reason: Problem) => void }
const takeOff = (
  call: LiveCall,
  dispose: () => void,
): { readonly live: Live; readonly flight: Flight } => {
  const controller = new AbortController()
  const { signal } = controller
  let waiting: ((reason: Problem) => void) | null = null
  return {
    live: {
      ...call,
      cut: (reason) => {
        controller.abort(reason)
        waiting?.(reason)
      },
    },
    flight: {
      signal,
      uncut: <T>(work: T | Promise<T>): T | Promise<T> => {
        if (!(work instanceof Promise)) {
          signal.throwIfAborted()
          return work
        }
        return new Promise<T>((resolve, reject) => {
          waiting = reject
          if (signal.aborted) reject(signal.reason)
          work.then(resolve, reject) // also then: what it ends with is heard
        })
      },
      [Symbol.dispose]: dispose,
    },
  }
}

/** What nobody has is not remembered. */
const createCounts = () => {
  const counts = new Map<string, number>()
  const of = (name: string): number => counts.get(name) ?? 0
  return {
    of,
    more: (name: string): void => void counts.set(name, of(name) + 1),
    less: (name: string): void => {
      if (of(name) > 1) counts.set(name, of(name) - 1)
      else counts.delete(name)
    },
  }
}

export const createCalls = (limits: {
  readonly calls: number
  readonly perAgent: number
  readonly perTenant: number
}): CallRegistry => {
  const live = createSlots<Live>()
  const perAgent = createCounts()
  const perTenant = createCounts()
  let idle: (() => void) | null = null
  return {
    enter(call) {
      const { tenant } = call.person
      const share = shareOf(tenant, call.agent)
      if (
        live.size() >= limits.calls ||
        perAgent.of(share) >= limits.perAgent ||
        perTenant.of(tenant) >= limits.perTenant
      )
        throw new Problem('too_many_calls', 'too many calls are in flight', {
          extra: { retry_after: 1 },
        })
      let left = false
      const started = takeOff(call, () => {
        if (left) return
        left = true
        live.remove(slot)
        perAgent.less(share)
        perTenant.less(tenant)
        if (live.size() === 0) idle?.()
      })
      const slot = live.add(started.live)
      perAgent.more(share)
      perTenant.more(tenant)
      return started.flight
    },
    abort(match, reason) {
      const hit = live.values().filter(
        (call) =>
          (match.person === undefined || samePerson(match.person, call.person)) &&
          (match.agent === undefined || match.agent === call.agent) &&
          (match.tenant === undefined || match.tenant === call.person.tenant) &&
          (match.connection === undefined || match.connection === call.connection) &&
          (match.run === undefined || match.run === call.run) &&
          (match.standing === undefined || match.standing === call.standing) &&
          // Of an id that tells no time nobody knows that it is newer.
          (match.begunBy === undefined || !(madeAt(call.id) > match.begunBy)),
      )
      for (const call of hit) call.cut(copyOf(reason))
      return hit.length
    },
    size: live.size,
    people: () => {
      const keyed = live
        .values()
        .map(
          ({ person }) =>
            [JSON.stringify([person.tenant, person.realm, person.id]), person] as const,
        )
      return [...new Map(keyed).values()]
    },
    drain: async (ms) => {
      if (live.size() > 0) {
        const { promise, resolve } = Promise.withResolvers<void>()
        idle = resolve
        const timer = setTimeout(resolve, ms)
        await promise
        clearTimeout(timer)
      }
      return live.size()
    },
  }
}
