// What policy demands with the word that a plan tells: as far as it is known before the call, and nothing is reserved. Pure.
import type { Decision, JsonObject } from '../model.ts'

/** Members of each type of obligation that say what an agent can go by; of another type its name alone is told. */
const TOLD: Readonly<Record<string, readonly string[]>> = {
  rate_limit: ['key', 'limit', 'window_s'],
  budget: ['key', 'limit', 'window_s', 'pointer', 'of'],
  approval: ['approvers', 'ttl_s', 'self'],
  'step-up': ['acr_values', 'max_auth_age_s'],
  redact: ['in', 'pointers'],
}
/** `name` and `type` of an obligation, and what is known of it; times in s. */
export type PlanDemand = JsonObject & { readonly name: string; readonly type: string }

const OPEN: ReadonlySet<Decision['effect']> = new Set([
  'allow',
  'consent_required',
  'approval_required',
  'step_up_required',
])

/** Each once. What is refused demands nothing. */
export const demandsOf = (
  decisions: readonly Pick<Decision, 'effect' | 'obligations'>[],
): readonly PlanDemand[] =>
  together(
    decisions
      .filter(({ effect }) => OPEN.has(effect))
      .map(({ obligations }) =>
        Object.entries(obligations).map(([name, { type, properties }]): PlanDemand => ({
          name,
          type,
          ...Object.fromEntries(
            (TOLD[type] ?? []).flatMap((member) => {
              const value = Object.hasOwn(properties, member) ? properties[member] : undefined
              return value === undefined ? [] : [[member, value]]
            }),
          ),
        })),
      ),
  )

/** Those of several calls that are one, each once. */
export const together = (lists: readonly (readonly PlanDemand[])[]): readonly PlanDemand[] => [
  ...new Map(lists.flat().map((one) => [JSON.stringify(one), one])).values(),
]
