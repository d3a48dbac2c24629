// Carries out what policy demands with an allow, or refuses: an obligation that cannot be met turns the permit into a refusal.
import type { Decision, JsonObject, Obligation, Principal, Route } from '../model.ts'
import { Problem, toProblem, type ProblemCode } from '../problem.ts'
import { arePointers } from '../wire/rewrite.ts'
import type { Act } from './classify.ts'
import type { Body } from './inspect.ts'

/** The call, or the part of it, that was allowed on a condition. */
export type Obliged = {
  readonly exchange: string
  readonly who: Principal
  readonly route: Route
  readonly act: Act
  readonly body: Body
  /** Which of the calls in a batch, from 1; null: the call is one. */
  readonly part: number | null
  /** The call itself: the same object however often it is decided. */
  readonly call: object
  /** Waits so many ms where the caller asked to wait (RFC 7240 4.3) and has so much time left. false: it did not. */
  readonly backOff: (ms: number) => Promise<boolean>
  /** The whole call, of which that may be a part. */
  readonly within: Act
  /** Its body. */
  readonly whole: Body
}
/** One obligation that is to be carried out. */
export type Due = Obligation & { readonly about: Obliged; readonly name: string }
/** Obligations that are carried out all together, or not at all, before any other. */
export type Gathering = {
  readonly types: ReadonlySet<string>
  /** @throws Problem obligation_refused of one that can never be carried out, whatever the call */
  readonly able: (name: string, obligation: Obligation) => void
  /** Rejects with the Problem of a call that may not leave. May be asked again for one call, as a carrier. */
  readonly together: (due: readonly Due[]) => Promise<void>
}
/** What is still to be done on the way: with what leaves, or with what comes back. */
export type Redaction = {
  readonly in: 'request' | 'response'
  /** RFC 6901, with `*` for any member or item. */
  readonly pointers: readonly string[]
  readonly part: number | null
}
/** What is kept of an answer, before any of it leaves. `kept` rejects with the Problem of one that may not leave. */
export type Keeping = {
  readonly in: 'answer'
  /** `text` null: it has no body. */
  readonly kept: (answer: {
    readonly status: number
    readonly text: string | null
  }) => Promise<void>
}
export type Owed = Redaction | Keeping
/**
 * Carries out one obligation, or throws the Problem of a call that may not leave. It may be asked again for the same
 * exchange, part and name, where the decision was taken anew: what counts counts once.
 * @returns what is still to be done on the way; nothing: it is done
 */
export type Carrier = (
  about: Obliged,
  name: string,
  properties: Obligation['properties'],
) => void | Owed | Promise<void | Owed>

export type Obligations = {
  /** @throws Problem obligation_refused, naming the first obligation that this deputy cannot carry out */
  readonly able: (decision: Pick<Decision, 'obligations'>) => void
  /** The same of all, before any is carried out; then whatever a carrier throws. @returns what is still to be done */
  readonly carry: (
    each: readonly (readonly [Obliged, Pick<Decision, 'obligations'>])[],
  ) => readonly Owed[] | Promise<readonly Owed[]>
}

const NOTHING: readonly Owed[] = []
/** @throws Problem obligation_refused, always: what policy demands with this obligation cannot be carried out, and why */
export const refuse = (name: string, why: string): never => {
  throw new Problem('obligation_refused', `policy demands ${JSON.stringify(name)}: ${why}`, {
    extra: { obligation: name },
  })
}

export type Pointed = Pick<Redaction, 'in' | 'pointers'>
const pointed = new WeakMap<JsonObject, Pointed>()
/**
 * The members that an obligation of this type names, on one side; the properties of one decision are read once.
 * @throws Problem obligation_refused
 */
export const readPointed = (
  type: 'redact' | 'seal',
  name: string,
  properties: JsonObject,
): Pointed => {
  let read = pointed.get(properties)
  if (read === undefined) {
    const { in: where, pointers, ...rest } = properties
    if (
      (where !== 'request' && where !== 'response') ||
      !arePointers(pointers) ||
      pointers.length === 0 ||
      Object.keys(rest).length > 0
    )
      return refuse(
        name,
        `${type} takes in (request or response) and pointers, a list of JSON pointers`,
      )
    pointed.set(properties, (read = { in: where, pointers }))
  }
  return read
}

const NO_GATHERING: Gathering = {
  types: new Set(),
  able: () => {},
  together: () => Promise.resolve(),
}

/**
 * @param carriers by the type of obligation, in the order in which they are carried out
 * @param gathering of the types that come first
 * @param observe learns what became of each
 */
export const createObligations = (
  carriers: ReadonlyMap<string, Carrier>,
  gathering: Gathering = NO_GATHERING,
  observe: (type: string, result: 'ok' | ProblemCode) => void = () => {},
): Obligations => {
  const order = [...carriers.keys()]
  const seen = async <T>(due: readonly Due[], work: () => Promise<T>): Promise<T> => {
    try {
      const done = await work()
      for (const { type } of due) observe(type, 'ok')
      return done
    } catch (error) {
      for (const type of new Set(due.map((one) => one.type))) observe(type, toProblem(error).code)
      throw error
    }
  }
  const able: Obligations['able'] = ({ obligations }) => {
    for (const [name, obligation] of Object.entries(obligations)) {
      const { type } = obligation
      if (gathering.types.has(type)) gathering.able(name, obligation)
      else if (!carriers.has(type))
        throw new Problem(
          'obligation_refused',
          `policy demands ${JSON.stringify(type)} (${name}), which this version of deputy cannot carry out`,
          { extra: { obligation: name } },
        )
    }
  }
  return {
    able,
    carry(each) {
      const due = each.flatMap(([about, decision]) => {
        able(decision)
        return Object.entries(decision.obligations).map(([name, one]) => ({ about, name, ...one }))
      })
      if (due.length === 0) return NOTHING
      const sorted = due.toSorted((a, b) => order.indexOf(a.type) - order.indexOf(b.type))
      const all = async (): Promise<readonly Owed[]> => {
        const first = due.filter(({ type }) => gathering.types.has(type))
        if (first.length > 0) await seen(first, () => gathering.together(first))
        const left: Owed[] = []
        for (const one of sorted.filter(({ type }) => carriers.has(type))) {
          const more = await seen([one], async () =>
            carriers.get(one.type)?.(one.about, one.name, one.properties),
          )
          if (more) left.push(more)
        }
        return left
      }
      return all()
    },
  }
}
