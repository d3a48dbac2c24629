// Carries out what policy demands with an allow, or refuses: an obligation that cannot be met turns the permit into a refusal.
import type { Decision } from '../model.ts'
import { Problem } from '../problem.ts'

/** @throws Problem obligation_refused, naming the first obligation that this deputy cannot carry out */
export const obligations = (decision: Decision): void => {
  for (const [name, { type }] of Object.entries(decision.obligations))
    throw new Problem(
      'obligation_refused',
      `policy demands ${JSON.stringify(type)} (${name}), which this version of deputy cannot carry out`,
      {
        extra: { obligation: name },
      },
    )
}
