// What every source of entitlements is: one interface, and what it says when it cannot answer.
import { createHash } from 'node:crypto'
import type { Entitlements, Person } from '../model.ts'

export type Directory = {
  /**
   * What is known about a person; null: nothing, so nothing is allowed. Throws, or rejects, when it cannot be asked.
   * Facts that are its own truth have no age (`asOf: null`); others are of the moment at which the question left.
   * @param maxAge ms; 0: the question leaves after this
   */
  readonly ask: (
    person: Person,
    maxAge: number,
  ) => Entitlements | null | Promise<Entitlements | null>
  /** Why a file of it cannot be looked at; null: it can, or there is none. */
  readonly unread: () => string | null
  /** Nothing that it kept about this person counts any more, nor what is on its way; null: about anybody. */
  readonly forget: (person: Person | null) => void
  readonly close: () => void
}

/** What an answer says of a person, whoever it came from. */
export type Known = Pick<Entitlements, 'active' | 'groups' | 'roles' | 'entitlements'> &
  Partial<Pick<Entitlements, 'auth' | 'manager'>>

/** Reasons of a closed set, for metrics. */
export type Unanswer =
  | 'timeout'
  | 'unreachable'
  | 'refused'
  | 'status'
  | 'malformed'
  | 'stranger'
  | 'stale'
  | 'too_large'
  | 'resting'
  | 'busy'
  | 'failed'

/** A source could not say. The message names what it answered, never a secret, and is for the operator's log. */
export class Unanswered extends Error {
  readonly reason: Unanswer
  /** It is about this one person: others may well be answered. */
  readonly alone: boolean
  /** ms for which it wants to be left alone; null: it does not say. */
  readonly rest: number | null
  constructor(
    reason: Unanswer,
    message: string,
    more: {
      readonly alone?: boolean
      readonly rest?: number | null
      readonly cause?: unknown
    } = {},
  ) {
    super(message, { cause: more.cause })
    this.reason = reason
    this.alone = more.alone ?? false
    this.rest = more.rest ?? null
  }
}

export const keyOf = (person: Person): string =>
  JSON.stringify([person.tenant, person.realm, person.id])
/** Whom a key names. */
export const personOf = (key: string): Person => {
  const [tenant, realm, id] = JSON.parse(key) as [string, string, string]
  return { tenant, realm, id }
}

/** Canonical digest of the facts, so that evidence can say which facts a decision saw. */
export const factsDigest = (
  facts: Pick<Entitlements, 'active' | 'groups' | 'roles' | 'entitlements'>,
): string =>
  `sha256:${createHash('sha256')
    .update(
      JSON.stringify([
        facts.active,
        facts.groups.toSorted(),
        facts.roles.toSorted(),
        facts.entitlements.toSorted(),
      ]),
    )
    .digest('hex')}`
