// Where a second policy said something else than the one that serves, in memory: the newest of each tenant, for a page. What
// lasts is the event `policy.shadow` in the evidence.
import type { Person } from '../model.ts'
import type { Called, Differed, Said } from './shadow.ts'

/** One call that the two policies judged differently. */
export type Difference = Omit<Called, 'revision'> & {
  /** Milliseconds since 1970: when the second policy had answered. */
  readonly at: number
  readonly exchange: string
  /** Of a call that is several, from 1; null: the call itself. */
  readonly part: number | null
  readonly result: Differed['result']
  readonly serving: Said & { readonly revision: string }
  readonly shadow: Said & { readonly revision: string; readonly digest: string }
}
export type Differences = {
  readonly note: (what: Differed, call: Called) => void
  /**
   * Newest first, of these tenants; null: of all. The counts are of all differences since this process began, those that are
   * not kept any more among them.
   */
  readonly read: (tenants: readonly string[] | null) => {
    readonly kept: readonly Difference[]
    readonly counts: Readonly<Record<Differed['result'], number>>
  }
}

/** Of each tenant. */
export const KEPT = 200
/** Tenants; of the one whose last difference is oldest nothing is kept any more, its counts neither. */
export const TENANTS = 50
/** Of reasons, rows and obligations of one answer. */
const NAMES = 20

const cut = (said: Said): Said => ({
  allow: said.allow,
  reasons: said.reasons.slice(0, NAMES),
  grants: said.grants.slice(0, NAMES),
  obligations: said.obligations.slice(0, NAMES),
})

/** @param now milliseconds since 1970 */
export const createDifferences = (now: () => number): Differences => {
  const tenants = new Map<
    Person['tenant'],
    { readonly kept: Difference[]; readonly counts: Record<Differed['result'], number> }
  >()
  return {
    note: ({ exchange, part, result, serving, shadow, policy }, { revision, ...call }) => {
      const { tenant } = call.person
      const of = tenants.get(tenant) ?? {
        kept: [],
        counts: { allow_to_deny: 0, deny_to_allow: 0, otherwise: 0 },
      }
      tenants.delete(tenant)
      tenants.set(tenant, of)
      for (const oldest of tenants.keys()) if (tenants.size > TENANTS) tenants.delete(oldest)
      of.counts[result] += 1
      of.kept.unshift({
        ...call,
        at: now(),
        exchange,
        part,
        result,
        serving: { ...cut(serving), revision },
        shadow: { ...cut(shadow), ...policy },
      })
      of.kept.splice(KEPT)
    },
    read: (only) => {
      const counts = { allow_to_deny: 0, deny_to_allow: 0, otherwise: 0 }
      const kept: Difference[] = []
      for (const [tenant, of] of tenants) {
        if (only !== null && !only.includes(tenant)) continue
        kept.push(...of.kept)
        counts.allow_to_deny += of.counts.allow_to_deny
        counts.deny_to_allow += of.counts.deny_to_allow
        counts.otherwise += of.counts.otherwise
      }
      return { kept: kept.toSorted((a, b) => b.at - a.at), counts }
    },
  }
}
