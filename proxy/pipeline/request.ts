// What the stations hand on: a call that was read, what was decided of it, and whose it is.
import type { IncomingMessage } from 'node:http'
import type { Decision, Holding, Principal, Route } from '../model.ts'
import type { Act } from './classify.ts'
import type { Question } from './decide.ts'
import type { Facts } from './entitlements.ts'
import type { Body } from './inspect.ts'
import type { Tagged } from './tag_place.ts'
import { shareOf } from '../shares.ts'
import type { Sifted } from '../wire/headers.ts'
import type { Bound } from '../wire/query_seal.ts'

/** A call that was read: what policy sees of it, and what will be sent. */
export type Request = {
  readonly req: IncomingMessage
  readonly tagged: Tagged
  readonly route: Route
  /** The target without what the provider had put into it. */
  readonly said: Route['target']
  readonly act: Act
  readonly body: Body
  readonly sifted: Sifted
}
/** What was decided, on which facts; of a call that is several also each part's own. */
export type Verdict = {
  readonly facts: Facts
  readonly holding: Holding
  readonly decision: Decision
  readonly each: readonly Decision[] | null
  /** What policy was asked. */
  readonly question: Question
}

/** Whose share of what all have in common a call is of. */
export const ofShare = ({ person, agent }: Principal): string => shareOf(person.tenant, agent)
export const boundTo = ({ person, agent }: Principal, { connection, host }: Route): Bound => ({
  person,
  agent,
  connection: connection.name,
  host,
})
