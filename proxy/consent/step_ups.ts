// A stronger or fresher sign-in that policy asks for: made at deputy's own page, kept for the agent whose call needed it.
import { createHash } from 'node:crypto'
import type {
  AskRow,
  Clock,
  Decision,
  Entitlements,
  JsonObject,
  Person,
  SignInRow,
  Store,
} from '../model.ts'
import {
  fieldsOf,
  personOfAsk,
  SKEW_MS,
  type AskBegun,
  type AskDeclined,
  type Asks,
} from './asks.ts'

/** What a sign-in must be: one of these, and no older. Several demands are met by one sign-in that meets all. */
export type Demand = { readonly acrValues: readonly string[]; readonly maxAgeS: number }
export type SignedIn = {
  readonly acr: string | null
  readonly amr: readonly string[]
  /** `auth_time`, ms since the epoch; null: not told. */
  readonly at: number | null
}
export type StepUps = ReturnType<typeof createStepUps>

/** A sign-in is kept no longer than this, whatever policy would still take, ms. */
const MOST_MS = 12 * 3_600_000

const demandOf = ({ acr_values: acr, max_auth_age_s: age }: JsonObject): Demand | null =>
  Array.isArray(acr) &&
  acr.length > 0 &&
  acr.every((one) => typeof one === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]{1,256}$/.test(one)) &&
  typeof age === 'number' &&
  age >= 0
    ? { acrValues: acr as readonly string[], maxAgeS: Math.floor(age) }
    : null

/**
 * What all of these decisions demand together, of one sign-in; null: nothing that one could meet.
 */
export const demandIn = (decisions: readonly Pick<Decision, 'obligations'>[]): Demand | null => {
  const all = decisions
    .flatMap(({ obligations }) => Object.values(obligations))
    .filter(({ type }) => type === 'step-up')
    .map(({ properties }) => demandOf(properties))
  let met: Demand | null = null
  for (const one of all) {
    if (one === null) return null
    met =
      met === null
        ? one
        : {
            acrValues: met.acrValues.filter((acr) => one.acrValues.includes(acr)),
            maxAgeS: Math.min(met.maxAgeS, one.maxAgeS),
          }
  }
  return met === null || met.acrValues.length === 0 ? null : met
}

/** Why a sign-in is not what was asked for; null: it is. */
export const lacks = (
  { acrValues, maxAgeS }: Demand,
  { acr, at }: SignedIn,
  now: number,
): 'acr' | 'auth_time' | null => {
  if (acr === null || !acrValues.includes(acr)) return 'acr'
  // By a clock that is a little ahead it is of this moment; one of the far future is of another clock.
  if (at === null || at > now + SKEW_MS || now - at > maxAgeS * 1_000) return 'auth_time'
  return null
}

export const createStepUps = (deps: {
  readonly asks: Asks
  readonly store: Pick<Store, 'signIns' | 'epochs'>
  readonly clock: Clock
  readonly onEvent: (event: string, fields: object) => Promise<void>
}) => {
  const { asks, clock, onEvent } = deps
  const { signIns, epochs } = deps.store
  const authOf = ({ acr, amr, at }: SignInRow): Entitlements['auth'] => ({ acr, amr, at })
  return {
    able: asks.able,
    demand: ({ needs }: AskRow): Demand => JSON.parse(needs) as Demand,

    /** A sign-in of this person, for this agent, that meets the demand now; null: there is none. */
    met: async (person: Person, agent: string, demand: Demand): Promise<Entitlements['auth']> => {
      const now = clock.now()
      const rows = await signIns.of(person, agent, now)
      const row = rows.find((one) => lacks(demand, one, now) === null)
      if (row === undefined || row.epoch !== (await epochs.read(person))) return null
      return authOf(row)
    },

    /** @throws Problem rate_limited */
    begin: (
      who: { readonly person: Person; readonly agent: string; readonly connection: string },
      demand: Demand,
      operations: readonly string[],
    ): Promise<AskBegun | AskDeclined> => {
      const { tenant, realm, id } = who.person
      const what = ['step_up', tenant, realm, id, who.agent, who.connection, demand]
      return asks.begin({
        ...who,
        kind: 'step_up',
        question: createHash('sha256').update(JSON.stringify(what)).digest('hex'),
        digest: '',
        operations,
        needs: demand,
        shown: null,
      })
    },

    /**
     * The person of the ask has signed in anew.
     * @returns why that does not do; null: it does, and calls that wait go on
     */
    signedIn: async (row: AskRow, signedIn: SignedIn): Promise<'acr' | 'auth_time' | null> => {
      const person = personOfAsk(row)
      const demand = JSON.parse(row.needs) as Demand
      const now = clock.now()
      const { acr, amr, at } = signedIn
      const why = lacks(demand, signedIn, now)
      if (why !== null || acr === null || at === null) {
        await onEvent('step_up.failed', { ...fieldsOf(row), reason: why, acr, amr })
        return why
      }
      await signIns.put({
        tenant: row.tenant,
        realm: row.realm,
        user: row.user,
        agent: row.agent,
        acr,
        amr,
        at,
        expiresAt: Math.min(at + MOST_MS, now + MOST_MS),
        epoch: await epochs.read(person),
      })
      await asks.end(row, 'used', { acr, amr, auth_time: new Date(at).toISOString() })
      return null
    },

    decline: (row: AskRow): Promise<boolean> => asks.end(row, 'declined', { by: personOfAsk(row) }),
    endAll: (person: Person, agent: string | null): Promise<void> => signIns.end(person, agent),
    sweep: async (): Promise<void> => void (await signIns.sweep(clock.now())),
  }
}
