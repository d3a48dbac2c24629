// A call of a workload whose person is away stays within what they let it do, whatever policy would allow.
import type { Decision, Lets, Operation, Principal, StandingRow } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Act } from './classify.ts'

const DAY_MS = 86_400_000

/** What policy is asked again at each such call: may this person still let the workload act? */
export const STANDING: Operation = {
  id: 'deputy.standing',
  access: 'write',
  scopes: [[]],
  inspect: [],
  upload: false,
  rewrite: [],
}

const letsOf = (row: StandingRow): Lets => ({
  id: row.id,
  days: Math.ceil((row.expiresAt - row.createdAt) / DAY_MS),
  expires_at: Math.floor(row.expiresAt / 1_000),
  operations: row.operations,
})

const refused = (detail: string): Problem => new Problem('standing_refused', detail)

/** A call by standing that waited is still the same person's, by the same standing. Throws Problem standing_refused. */
export const stillTheSame = (before: Principal, now: Principal): Principal => {
  if (before.standings === undefined && now.standings === undefined) return now
  const [was, is] = [before.person, now.person]
  if (was.tenant !== is.tenant || was.realm !== is.realm || was.id !== is.id)
    throw refused('whom this call is for has changed while it waited: call again')
  if (before.standing !== now.standing)
    throw refused('the standing of this call has changed while it waited: call again')
  return now
}

export const createStanding = (now: () => number) => {
  const bounded = new WeakMap<Principal, Map<string, Principal>>()
  return {
    /** The caller within what holds at this connection; of a tag's person: as they are. Throws Problem standing_refused. */
    at: (who: Principal, connection: string): Principal => {
      const { standings } = who
      if (standings === undefined) return who
      const row = standings.find((one) => one.connection === connection && one.expiresAt > now())
      if (row === undefined)
        throw refused(
          `what this person lets the workload do while they are away does not include ${connection}`,
        )
      const byConnection = bounded.get(who) ?? new Map<string, Principal>()
      bounded.set(who, byConnection)
      let narrow = byConnection.get(row.id)
      if (narrow === undefined) {
        narrow = {
          ...who,
          standing: row.id,
          standings: [row],
          lets: letsOf(row),
          reach: { connections: [connection], operations: row.operations },
          // What waits for a person waits no longer than the standing.
          expiresAt: Math.min(who.expiresAt ?? Infinity, row.expiresAt),
        }
        byConnection.set(row.id, narrow)
      }
      return narrow
    },
    /** Every operation of the call is one of those. Throws Problem standing_refused. */
    covers: ({ lets }: Principal, act: Act): void => {
      if (lets === undefined) return
      for (const { operation } of act.parts ?? [act])
        if (!lets.operations.includes(operation.id))
          throw refused(
            `what this person lets the workload do while they are away does not include ${operation.id}`,
          )
    },
  }
}

/** Policy’s answer to `deputy.standing` as the answer to the call; null: it is no refusal. */
export const withdrawn = (said: Decision): Decision | null => {
  if (said.effect === 'allow') return null
  if (said.effect === 'error' || said.reasons.every(({ code }) => code === 'entitlements_stale'))
    return said
  const why = {
    code: 'standing_withdrawn',
    msg: 'policy does not let this person give this standing any more',
  }
  return { ...said, effect: 'deny', reasons: [why, ...said.reasons] }
}

/** Throws Problem unauthenticated where a person must be named by a tag. */
export const tagOnly = (who: Principal): Principal => {
  if (who.standings !== undefined)
    throw new Problem(
      'unauthenticated',
      'standing is for calls to providers: here the person’s tag is needed',
    )
  return who
}
