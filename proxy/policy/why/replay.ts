// What would change: the answers of two policies to recorded calls, compared and summed by rule. Pure.

/** An answer as it counts for whoever calls. */
export type Verdict = {
  readonly effect: string
  /** Codes of reasons, sorted by policy. */
  readonly codes: readonly string[]
  /** Names of obligations, sorted. */
  readonly obligations: readonly string[]
}
type Compared =
  | { readonly kind: 'same' }
  | { readonly kind: 'changed'; readonly from: Verdict; readonly to: Verdict }
  | { readonly kind: 'undetermined'; readonly members: readonly string[] }

const textOf = ({ effect, codes, obligations }: Verdict): string =>
  JSON.stringify([effect, codes, obligations])

/**
 * Both answers for each way in which the call may have been: where these do not agree, nothing is said of it.
 * @param pairs at least one, unless no way gives the answer that was recorded
 */
export const compared = (
  pairs: readonly { readonly does: Verdict; readonly would: Verdict; readonly member: string }[],
): Compared => {
  const [first, ...rest] = pairs
  if (first === undefined)
    return {
      kind: 'undetermined',
      members: ['the recorded answer (the policy in force gives another)'],
    }
  const same = ({ does, would }: typeof first): boolean => textOf(does) === textOf(would)
  if (pairs.every(same)) return { kind: 'same' }
  const alike = (one: typeof first): boolean =>
    one.does.effect === first.does.effect && one.would.effect === first.would.effect
  const other = rest.filter((one) => !alike(one))
  // Of answers that are one word in every way, what they have in common is what can be said.
  return other.length === 0 && (first.does.effect !== first.would.effect || !pairs.some(same))
    ? {
        kind: 'changed',
        from: common(pairs.map(({ does }) => does)),
        to: common(pairs.map(({ would }) => would)),
      }
    : {
        kind: 'undetermined',
        members: [...new Set((other.length === 0 ? rest : other).map(({ member }) => member))],
      }
}
const common = (all: readonly Verdict[]): Verdict => {
  const [{ effect, codes, obligations } = { effect: '', codes: [], obligations: [] }, ...others] =
    all
  return {
    effect,
    codes: codes.filter((code) => others.every((one) => one.codes.includes(code))),
    obligations: obligations.filter((name) =>
      others.every((one) => one.obligations.includes(name)),
    ),
  }
}

/** From what takes most away to what only words differently. */
const ORDER = [
  'allow',
  'consent_required',
  'step_up_required',
  'approval_required',
  'deny',
  'error',
]
const rank = (effect: string): number => ORDER.indexOf(effect)
const weight = ({ from, to }: Change): number => {
  const [a, b] = [rank(from.effect), rank(to.effect)]
  return a === b ? 2_000 : a < b ? a * 10 - b : 1_000 + a * 10 - b
}

export type Change = { readonly from: Verdict; readonly to: Verdict }
type Group = Change & { readonly said: string; count: number; readonly calls: string[] }

const told = ({ effect, codes, obligations }: Verdict): string =>
  [effect, ...codes, ...obligations.map((name) => `+${name}`)].join(' ')
/** What the change is about: the rules that come, and those that go. */
const rule = ({ from, to }: Change): string => {
  const came = to.codes.filter((code) => !from.codes.includes(code))
  const went = from.codes.filter((code) => !to.codes.includes(code))
  const rules = [...came.map((code) => `${code} comes`), ...went.map((code) => `${code} goes`)]
  return rules.length === 0 ? `${told(from)} → ${told(to)}` : rules.join(', ')
}

/** Calls that are kept by name; more are counted. */
const MOST = 100_000

/** Sums what is compared. */
export const createSummary = () => {
  const groups = new Map<string, Group>()
  const undetermined = new Map<string, number>()
  const counts = { same: 0, changed: 0, undetermined: 0 }
  let kept = 0
  return {
    counts,
    add: (what: Compared, call: () => string): void => {
      counts[what.kind] += 1
      if (what.kind === 'undetermined')
        for (const member of what.members)
          undetermined.set(member, (undetermined.get(member) ?? 0) + 1)
      if (what.kind !== 'changed') return
      const said = `${what.from.effect} → ${what.to.effect}: ${rule(what)}`
      const group = groups.get(said) ?? { ...what, said, count: 0, calls: [] }
      groups.set(said, group)
      group.count += 1
      if (kept++ < MOST) group.calls.push(call())
    },
    /** Allow → deny first, then by number. */
    groups: (): readonly Group[] =>
      [...groups.values()].toSorted((a, b) => weight(a) - weight(b) || b.count - a.count),
    undetermined: (): readonly (readonly [string, number])[] =>
      [...undetermined].toSorted(([, a], [, b]) => b - a),
  }
}
