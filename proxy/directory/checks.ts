// An authorization service is asked about one very call. Nothing is kept of what it says, and nobody shares a question.
import type { Clock, Log } from '../model.ts'
import { atPointer } from '../wire/json.ts'
import {
  filled,
  filledJson,
  filledUrl,
  Lacking,
  readTemplate,
  Unaskable,
  type ValueOf,
} from '../wire/template.ts'
import { asUnanswered, createInTurn, within } from './asked.ts'
import { createGet, type GetOptions } from './page.ts'
import { Unanswered, type Unanswer } from './source.ts'

/** What one kind of service is asked; its texts are templates (wire/template). */
export type CheckKind =
  | {
      readonly preset: 'openfga'
      /** Of the server, without a trailing slash. */
      readonly url: string
      readonly store: string
      /** null: its newest. */
      readonly model: string | null
      readonly user: string
      readonly relation: string
      readonly object: string
    }
  | {
      readonly preset: 'none'
      readonly url: string
      readonly method: 'GET' | 'POST'
      readonly body: unknown
      /** JSON pointer of the one boolean that counts. */
      readonly answer: string
    }

/** Labels are the names of checks, so of a closed set. */
export type CheckSeen = {
  readonly answered: (check: string, answer: boolean, seconds: number) => void
  readonly failed: (check: string, reason: Unanswer) => void
}
/** One question, filled with the values of one call. Rejects with Unanswered. */
export type Ask = () => Promise<boolean>
export type Check = {
  readonly name: string
  /** Operations by id, or families such as `issues.*`; `*`: all. */
  readonly operations: readonly string[]
  /**
   * @param whose a person's key: what fails for one of them alone stops no other
   * @returns null: the call lacks what the templates name
   * @throws Unaskable
   */
  readonly about: (valueOf: ValueOf, whose: string) => Ask | null
}

/** One boolean needs no more. */
const MOST_BYTES = 64 * 1024

type Question = { readonly url: string; readonly method: 'GET' | 'POST'; readonly body?: string }
const questionOf = (kind: CheckKind, valueOf: ValueOf): Question => {
  if (kind.preset === 'openfga') {
    const text = (template: string): string => filled(readTemplate(template), valueOf)
    const { url, store, model } = kind
    const body = {
      tuple_key: {
        user: text(kind.user),
        relation: text(kind.relation),
        object: text(kind.object),
      },
      ...(model === null ? {} : { authorization_model_id: model }),
      // Its caches are for questions that may be answered by what was.
      consistency: 'HIGHER_CONSISTENCY',
    }
    return {
      url: `${url}/stores/${encodeURIComponent(store)}/check`,
      method: 'POST',
      body: JSON.stringify(body),
    }
  }
  const { url, method, body } = kind
  return {
    url: filledUrl(url, valueOf),
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(filledJson(body, valueOf)) }),
  }
}
const answerAt = (json: unknown, pointer: string): boolean => {
  const said = atPointer(json, pointer)
  if (typeof said === 'boolean') return said
  throw new Unanswered('malformed', `its answer has neither true nor false at ${pointer}`)
}

export const createCheck = (options: {
  readonly name: string
  readonly kind: CheckKind
  readonly operations: readonly string[]
  readonly get: Omit<GetOptions, 'clock' | 'most'>
  /** For one question. */
  readonly timeoutMs: number
  readonly clock: Clock
  readonly log: Log
  readonly seen: CheckSeen
}): Check => {
  const { name, kind, operations, timeoutMs, clock, log, seen } = options
  const get = createGet({ ...options.get, clock, most: MOST_BYTES })
  const inTurn = createInTurn(`checks.${name}`, timeoutMs, clock, log)
  const pointer = kind.preset === 'openfga' ? '/allowed' : kind.answer

  const ask = ({ url, ...how }: Question, whose: string): Promise<boolean> =>
    inTurn(whose, async () => {
      const began = clock.mono()
      const page = await within(timeoutMs, (signal) => get(signal)(url, how))
      if (page === null)
        throw new Unanswered('status', 'it answers 404: nothing is checked at this address')
      const answer = answerAt(page.json, pointer)
      seen.answered(name, answer, (clock.mono() - began) / 1_000)
      return answer
    })
  return {
    name,
    operations,
    about: (valueOf, whose) => {
      try {
        const question = questionOf(kind, valueOf)
        return () =>
          ask(question, whose).catch((thrown: unknown) => {
            const error = asUnanswered(thrown)
            seen.failed(name, error.reason)
            throw error
          })
      } catch (error) {
        if (error instanceof Lacking) return null
        if (error instanceof Unaskable) throw new Unaskable(`the check ${name}: ${error.message}`)
        throw error
      }
    },
  }
}
