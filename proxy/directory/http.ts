// A directory or entitlement service that is asked over http, about the people of one realm.
import type { Clock, Log } from '../model.ts'
import { createAsked, type Question, type Seen } from './asked.ts'
import { createGet, type GetOptions } from './page.ts'
import { askOf, nameable, type Kind } from './presets.ts'
import type { Directory } from './source.ts'

/** One question, as it is asked: nothing is kept and nobody shares it. */
export const questionOf = (kind: Kind, options: GetOptions): Question => {
  const get = createGet(options)
  const ask = askOf(kind)
  return (person, signal) => ask(person, get(signal))
}

export const createHttpDirectory = (options: {
  readonly kind: Kind
  /** Whose people it knows; everybody else is nobody. */
  readonly realm: string
  readonly get: Omit<GetOptions, 'clock'>
  readonly timeoutMs: number
  readonly keepMs: number
  readonly clock: Clock
  readonly log: Log
  readonly seen: Seen
}): Directory => {
  const { kind, realm, get, clock, ...rest } = options
  const question = questionOf(kind, { ...get, clock })
  const asked = createAsked({ ...rest, name: 'http', question, clock })
  return {
    ...asked,
    // An id says who somebody is in their own realm only.
    ask: (person, maxAge) =>
      person.realm === realm && nameable(person.id) && nameable(person.tenant)
        ? asked.ask(person, maxAge)
        : null,
  }
}
