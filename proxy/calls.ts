// Calls in flight, by person, grant and agent: count, abort, drain.
import type { Person } from './model.ts'
import { Problem } from './problem.ts'
import { createSlots } from './slots.ts'
import { samePerson } from './wire/canonical.ts'

export type LiveCall = {
  readonly id: string
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly run?: string | null
  readonly abort: (reason: Problem) => void
}
export type CallRegistry = {
  /** Bounded; throws too_many_calls. The returned function ends the entry. */
  readonly enter: (call: LiveCall) => () => void
  /** Aborts what matches all given members. @returns how many */
  readonly abort: (
    match: {
      readonly person?: Person
      readonly agent?: string
      readonly connection?: string
      readonly run?: string
    },
    reason: Problem,
  ) => number
  readonly size: () => number
  /** Everybody whose calls are in flight, each once. */
  readonly people: () => readonly Person[]
  /** Resolves when no call is left, or after `ms`. @returns how many were still running */
  readonly drain: (ms: number) => Promise<number>
}

export const createCalls = (limits: {
  readonly calls: number
  readonly perAgent: number
}): CallRegistry => {
  const live = createSlots<LiveCall>()
  const perAgent = new Map<string, number>()
  let idle: (() => void) | null = null
  return {
    enter(call) {
      const ofAgent = perAgent.get(call.agent) ?? 0
      if (live.size() >= limits.calls || ofAgent >= limits.perAgent)
        throw new Problem('too_many_calls', 'too many calls are in flight', {
          extra: { retry_after: 1 },
        })
      const slot = live.add(call)
      let left = false
      perAgent.set(call.agent, ofAgent + 1)
      return () => {
        if (left) return
        left = true
        live.remove(slot)
        const others = (perAgent.get(call.agent) ?? 1) - 1
        if (others === 0) perAgent.delete(call.agent)
        else perAgent.set(call.agent, others)
        if (live.size() === 0) idle?.()
      }
    },
    abort(match, reason) {
      const hit = live
        .values()
        .filter(
          (call) =>
            (match.person === undefined || samePerson(match.person, call.person)) &&
            (match.agent === undefined || match.agent === call.agent) &&
            (match.connection === undefined || match.connection === call.connection) &&
            (match.run === undefined || match.run === call.run),
        )
      for (const call of hit) call.abort(reason)
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
