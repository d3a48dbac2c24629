// What a soak must not show: memory or descriptors that grow, and calls without their evidence. Pure.
import type { EvidenceLine } from '../support/deputy.ts'

export type Sample = {
  /** MB. */
  readonly heap: number
  readonly resident: number
  readonly descriptors: number
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

/** Descriptors that may be open after all have left, beyond those of before: connections to the provider are kept. */
const KEPT = 64

/**
 * Compares the second quarter of the samples, when all code has run, with the last one, and the end with the beginning.
 * Fewer than eight samples prove nothing, and are found too.
 */
export const growth = (
  samples: readonly Sample[],
  before: Sample,
  after: Sample,
): readonly string[] => {
  const quarter = Math.floor(samples.length / 4)
  if (quarter < 2) return [`${samples.length} samples are too few: let it run longer`]
  const early = samples.slice(quarter, 2 * quarter)
  const late = samples.slice(-quarter)
  const grew = (name: 'heap' | 'resident', share: number, mb: number): readonly string[] => {
    const [was, is] = [early, late].map((some) => median(some.map((one) => one[name])))
    return was === undefined || is === undefined || !(is < was * (1 + share) + mb)
      ? [`${name} grew from ${was?.toFixed(0)} to ${is?.toFixed(0)} MB`]
      : []
  }
  return [
    ...grew('heap', 0.2, 10),
    ...grew('resident', 0.2, 20),
    ...(after.descriptors <= before.descriptors + KEPT
      ? []
      : [`descriptors: ${before.descriptors} before, ${after.descriptors} after`]),
  ]
}

/**
 * Idle connections prove something only while deputy has them; those that it ends come back within seconds, so the median
 * counts.
 */
export const few = (samples: readonly Sample[], wanted: number): readonly string[] => {
  const held = median(samples.map(({ descriptors }) => descriptors))
  return held >= wanted * 0.9 ? [] : [`deputy held only ${held} of ${wanted} idle connections`]
}

/** @param arrived requests that the provider saw */
export const missing = (lines: readonly EvidenceLine[], arrived: number): readonly string[] => {
  const allowed = new Set<unknown>()
  const ended = new Map<unknown, number>()
  let sent = 0
  for (const { event, exchange, decision, sent: left } of lines) {
    if (event === 'decision' && (decision as { readonly effect: string }).effect === 'allow')
      allowed.add(exchange)
    if (event !== 'outcome') continue
    ended.set(exchange, (ended.get(exchange) ?? 0) + 1)
    if (left === true) sent++
  }
  const open = [...allowed].filter((exchange) => ended.get(exchange) !== 1)
  const strange = [...ended.keys()].filter((exchange) => !allowed.has(exchange))
  return [
    ...(open.length > 0 ? [`${open.length} allowed calls have not exactly one outcome`] : []),
    ...(strange.length > 0 ? [`${strange.length} outcomes of calls that were not allowed`] : []),
    ...(sent >= arrived ? [] : [`the provider saw ${arrived} calls, and the evidence has ${sent}`]),
  ]
}
