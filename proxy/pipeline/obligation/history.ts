// What a person was allowed before, for policies whose tables ask: read for a decision, and added to with it.
import type {
  CallHistory,
  Clock,
  HistoryAsk,
  HistoryEntry,
  HistoryStore,
  Person,
  PolicyEngine,
  Principal,
} from '../../model.ts'
import { Problem } from '../../problem.ts'
import type { Act } from '../classify.ts'
import type { Decide, Question } from '../decide.ts'
import type { Verdict } from '../request.ts'

/** So often others may be quicker, on other replicas: here one person's calls take turns. */
const MOST_TRIES = 8
/** Whoever has waited longer for a turn, ms, is refused. */
const PATIENCE_MS = 5_000

/** A list is many questions about one person: they are answered by what was so a moment ago, ms. */
const LISTED_MS = 1_000

/** A call that is to be decided by what came before it. */
export type Following = {
  /** The call itself: the same object however often it is decided. */
  readonly call: object
  readonly principal: Principal
  readonly provider: string
  /** The call, or each of its parts. */
  readonly acts: readonly Pick<Act, 'operation'>[]
}
export type History = {
  /**
   * Decides by what was allowed until now. An allow is counted before anybody else of this person is decided, so that
   * of two calls at the same time the second is decided by the first; what was counted stays so, whatever becomes of it.
   * Rejects with Problem limits_unavailable.
   */
  readonly deciding: (
    following: Following,
    ask: HistoryAsk,
    decide: (history: CallHistory) => Verdict | Promise<Verdict>,
  ) => Promise<Verdict>
  /** The same for questions about what is no call: what was allowed until now, and nothing is counted. */
  readonly informing: (decide: Decide) => Decide
}

const unavailable = (cause: unknown): Problem =>
  new Problem('limits_unavailable', 'what this person was allowed before is not known now', {
    cause,
  })
const orUnavailable = <T>(work: Promise<T>): Promise<T> =>
  work.catch((cause: unknown) => {
    throw unavailable(cause)
  })

/** How many calls of each operation that policy counts. */
const countedOf = (
  { provider, acts }: Following,
  { counts }: HistoryAsk,
): readonly Pick<HistoryEntry, 'provider' | 'operation' | 'count'>[] => {
  const each = new Map<string, number>()
  for (const { operation } of acts)
    if (counts(operation.id)) each.set(operation.id, (each.get(operation.id) ?? 0) + 1)
  return [...each].map(([operation, count]) => ({ provider, operation, count }))
}

/** One after the other for each person. */
const createTurns = (mono: () => number) => {
  const tails = new Map<string, Promise<unknown>>()
  return async <T>({ tenant, realm, id }: Person, work: () => Promise<T>): Promise<T> => {
    const key = JSON.stringify([tenant, realm, id])
    const asked = mono()
    const mine = (tails.get(key) ?? Promise.resolve()).then(() => {
      if (mono() - asked > PATIENCE_MS) throw unavailable(new Error('the store is slow'))
      return work()
    })
    const tail = mine.catch(() => {})
    tails.set(key, tail)
    try {
      return await mine
    } finally {
      if (tails.get(key) === tail) tails.delete(key)
    }
  }
}

/** @param deps.keeps false: nothing will leave, so nothing is counted */
export const createHistory = (deps: {
  readonly history: HistoryStore
  readonly clock: Clock
  readonly keeps: boolean
}): History => {
  const { history, clock, keeps } = deps
  const turn = createTurns(clock.mono)
  /** A call that was counted is decided anew by what came before it then. */
  const before = new WeakMap<object, CallHistory>()
  const told = new WeakMap<
    Principal,
    { readonly at: number; readonly until: Promise<CallHistory> }
  >()
  const read = ({ person, run }: Principal, { windows }: HistoryAsk): Promise<CallHistory> =>
    orUnavailable(history.read({ person, run }, windows, clock))

  const counting = async (
    following: Following,
    ask: HistoryAsk,
    decide: (history: CallHistory) => Verdict | Promise<Verdict>,
  ): Promise<Verdict> => {
    const { call, principal } = following
    const calls = countedOf(following, ask)
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const until = await read(principal, ask)
      const verdict = await decide(until)
      if (verdict.decision.effect !== 'allow') return verdict
      const { person, run } = principal
      const of = { person, run, version: until.version }
      if (await orUnavailable(history.add(of, calls, ask.windows, clock))) {
        before.set(call, until)
        return verdict
      }
    }
    throw unavailable(new Error('other replicas allowed calls of this person at each try'))
  }
  return {
    deciding: async (following, ask, decide) => {
      const { call, principal } = following
      const known = before.get(call)
      if (known !== undefined) return decide(known)
      if (!keeps || countedOf(following, ask).length === 0)
        return decide(await read(principal, ask))
      return turn(principal.person, () => counting(following, ask, decide))
    },
    informing: (decide) => (engine: PolicyEngine | null, question: Question) => {
      const ask = engine?.asks.history ?? null
      if (ask === null || question.history !== undefined) return decide(engine, question)
      const { principal } = question
      let known = told.get(principal)
      if (known === undefined || clock.mono() - known.at > LISTED_MS) {
        known = { at: clock.mono(), until: read(principal, ask) }
        told.set(principal, known)
      }
      return known.until.then((until) => decide(engine, { ...question, history: until }))
    },
  }
}
