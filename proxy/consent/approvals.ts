// A yes of a named person to one very call: asked for, given, withdrawn, void when its giver may not give it any more,
// and spent by the one call that it was given to.
import { createHash } from 'node:crypto'
import type { Approval, AskRow, Clock, Person, Store } from '../model.ts'
import { samePerson } from '../wire/canonical.ts'
import type { MayApprove, Need } from './approvers.ts'
import {
  fieldsOf,
  personOfAsk,
  SKEW_MS,
  type AskBegun,
  type AskDeclined,
  type Asks,
} from './asks.ts'

/** One yes. Its giver is of the tenant and realm of the person whom the call is for. */
type Yes = {
  readonly name: string
  readonly part: number | null
  readonly by: string
  readonly at: number
  readonly until: number
}
/** The call that somebody is to look at. */
export type ApprovalAsk = {
  readonly person: Person
  readonly agent: string
  readonly connection: string
  readonly digest: string
  readonly operations: readonly string[]
  readonly needs: readonly Need[]
  readonly shown: object
}
/** What holds of a call's approvals. */
export type Given = {
  readonly hash: string
  /** As policy sees them: of the call (null), or of one of its parts. */
  readonly of: (part: number | null) => readonly Approval[]
}
export type Approvals = ReturnType<typeof createApprovals>

const needsIn = ({ needs }: AskRow): readonly Need[] => JSON.parse(needs) as readonly Need[]
const yesesIn = ({ given }: AskRow): readonly Yes[] => JSON.parse(given) as readonly Yes[]
const same = (a: Pick<Need, 'name' | 'part'>, b: Pick<Need, 'name' | 'part'>): boolean =>
  a.name === b.name && a.part === b.part
/** Other demands are another question: a yes never counts for what policy asks only since. */
const questionOf = ({ digest, needs }: Pick<ApprovalAsk, 'digest' | 'needs'>): string =>
  createHash('sha256')
    .update(JSON.stringify(['approval', digest, needs]))
    .digest('hex')

export const createApprovals = (deps: {
  readonly asks: Asks
  readonly store: Pick<Store, 'asks'>
  readonly clock: Clock
  readonly may: MayApprove
  readonly onEvent: (event: string, fields: object) => Promise<void>
}) => {
  const { asks, clock, may, onEvent } = deps
  const store = deps.store.asks

  /** Writes down what is said now; the row ends when its first yes does. */
  const write = async (row: AskRow, yeses: readonly Yes[]): Promise<AskRow | null> => {
    const whole = needsIn(row).every((need) => yeses.some((yes) => same(yes, need)))
    const after = {
      given: JSON.stringify(yeses),
      status: whole ? ('given' as const) : ('pending' as const),
      expiresAt: whole ? Math.min(...yeses.map(({ until }) => until)) : asks.linkEnds(row),
    }
    if (!(await store.answer(row, after, clock.now()))) return null
    await asks.changed(row.hash)
    return { ...row, ...after }
  }
  const holds = async (row: AskRow, yes: Yes): Promise<boolean> => {
    const need = needsIn(row).find((one) => same(one, yes))
    const now = clock.now()
    if (need === undefined || yes.until <= now || yes.at > now + SKEW_MS) return false
    const person = personOfAsk(row)
    return may(need, person, { ...person, id: yes.by })
  }

  const alive = (row: AskRow): readonly Yes[] => {
    const now = clock.now()
    return yesesIn(row).filter(({ until }) => until > now)
  }

  return {
    able: asks.able,

    /** @throws Problem rate_limited */
    begin: ({ needs, ...ask }: ApprovalAsk): Promise<AskBegun | AskDeclined> =>
      asks.begin({
        ...ask,
        kind: 'approval',
        needs,
        question: questionOf({ digest: ask.digest, needs }),
      }),

    /**
     * What people said yes to, of this very call and of what policy demands now: asked again of the directory.
     * null: not everything that is needed.
     * @param exchange what it spent already counts for it on
     */
    given: async (
      call: Pick<ApprovalAsk, 'digest' | 'needs'>,
      exchange: string,
    ): Promise<Given | null> => {
      const row = await asks.open(questionOf(call), exchange)
      if (row === null || row.status === 'pending') return null
      const yeses = yesesIn(row)
      const kept: Yes[] = []
      for (const yes of yeses) if (await holds(row, yes)) kept.push(yes)
      if (kept.length < yeses.length) {
        // The link stays good: somebody else may say yes in their place.
        if (row.status === 'given') await write(row, kept)
        await onEvent('approval.voided', {
          ...fieldsOf(row),
          by: yeses.filter((yes) => !kept.includes(yes)).map(({ by }) => by),
        })
        return null
      }
      const now = clock.now()
      return {
        hash: row.hash,
        of: (part) =>
          yeses
            .filter((yes) => yes.part === part)
            .map(({ name, by, until }) => ({
              id: row.hash,
              name,
              by,
              expires_in_s: Math.floor((until - now) / 1_000),
            })),
      }
    },

    /** Marks the call as leaving. false: another call was first, or the yes has ended. */
    spend: async (hash: string, exchange: string): Promise<boolean> => {
      const row = await store.byHash(hash)
      if (!(await store.spend(hash, exchange, clock.now()))) return false
      // A call that is decided anew before it leaves has used it once.
      if (row !== null && row.status !== 'used')
        await onEvent('approval.used', {
          ...fieldsOf(row),
          exchange,
          approvers: yesesIn(row).map(({ name, by }) => ({ name, id: by })),
        })
      return true
    },

    needs: needsIn,
    /** Those whose time is not over. */
    yeses: alive,

    /** Which of its needs this person may say yes to now; empty: they are no approver of it. */
    asked: async (row: AskRow, approver: Person): Promise<readonly Need[]> => {
      const mine: Need[] = []
      for (const need of needsIn(row))
        if (await may(need, personOfAsk(row), approver)) mine.push(need)
      return mine
    },

    /** @returns null: it is not open any more, or somebody else answered at the same moment */
    say: async (row: AskRow, approver: Person, mine: readonly Need[]): Promise<AskRow | null> => {
      const before = alive(row)
      const at = clock.now()
      const more = mine
        .filter((need) => !before.some((yes) => same(yes, need)))
        .map(({ name, part, ttlS }) => ({
          name,
          part,
          by: approver.id,
          at,
          until: at + ttlS * 1_000,
        }))
      if (more.length === 0 || row.status !== 'pending') return null
      const after = await write(row, [...before, ...more])
      if (after === null) return null
      try {
        await onEvent('approval.given', {
          ...fieldsOf(row),
          by: approver,
          names: more.map(({ name }) => name),
          complete: after.status === 'given',
        })
      } catch (error) {
        // What nobody can account for is not given.
        await write(after, yesesIn(row))
        throw error
      }
      return after
    },

    /** A no, or a yes that is taken back: nobody is asked the same again for a while. */
    decline: (row: AskRow, approver: Person): Promise<boolean> =>
      asks.end(row, 'declined', {
        by: approver,
        withdrawn: yesesIn(row).some(({ by }) =>
          samePerson({ ...personOfAsk(row), id: by }, approver),
        ),
      }),
  }
}
