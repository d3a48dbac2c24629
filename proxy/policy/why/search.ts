// The smallest change that turns a refusal: every step, then every two, each answered by the policy itself with the changed
// input and tables. What it did not answer is told as not found, never guessed.
import type { JsonObject } from '../../model.ts'
import { isObject } from '../../wire/json.ts'
import type { Tables } from '../make.ts'
import { proposalsFor, type Proposal } from './proposals.ts'
import type { Answer, Trial } from './trial.ts'
import { textsAt } from './why.ts'

export type Found = {
  /** Each of them alone turns the answer; all are equally many steps. */
  readonly turns: readonly (readonly string[])[]
  /** Questions that were asked. */
  readonly tried: number
  /** Not every step, and every two, were tried. */
  readonly cut: boolean
}

/** Questions at most, and sets of tables, each of which must be loaded. */
const MOST_ASKED = 3_000
const MOST_LOADED = 200
const MOST_STEPS = 80
/** Turns that are told. */
const MOST_TURNS = 8

const allows = (answer: Answer | undefined): boolean =>
  answer !== undefined && !('failed' in answer) && answer.allow

/** Two that change one table would overwrite each other unless the second is made of what the first made. */
const tablesWith = (tables: ReadonlyMap<string, JsonObject>, steps: readonly Proposal[]): Tables =>
  steps.reduce<Tables>(
    (changed, step) =>
      step.tables === undefined
        ? changed
        : new Map([...changed, ...step.tables(new Map([...tables, ...changed]))]),
    new Map(),
  )
const inputWith = (input: JsonObject, steps: readonly Proposal[]): JsonObject =>
  steps.reduce((at, step) => step.input?.(at) ?? at, input)

type Steps = readonly Proposal[]

/** Asks for several changes at once: those of the input alone together, and together what shares its tables. */
const asker = (trial: Pick<Trial, 'ask' | 'tables'>, input: JsonObject) => {
  let [tried, loaded] = [0, 0]
  let cut = false
  const turning = async (all: readonly Steps[]): Promise<readonly Steps[]> => {
    const groups = new Map<string, Steps[]>()
    for (const steps of all) {
      const key = JSON.stringify(steps.flatMap(({ said, tables }) => (tables ? [said] : [])))
      const group = groups.get(key) ?? []
      group.push(steps)
      groups.set(key, group)
    }
    const found: Steps[] = []
    for (const [key, group] of groups) {
      const own = key !== '[]'
      if (tried >= MOST_ASKED || (own && loaded >= MOST_LOADED)) {
        cut = true
        continue
      }
      if (own) loaded += 1
      const some = group.slice(0, MOST_ASKED - tried)
      cut ||= some.length < group.length
      tried += some.length
      const [first = []] = some
      const answers = await trial.ask(
        some.map((steps) => JSON.stringify(inputWith(input, steps))),
        own ? tablesWith(trial.tables, first) : undefined,
      )
      found.push(...some.filter((_, i) => allows(answers[i])))
    }
    return found
  }
  return { turning, state: (short: boolean) => ({ tried, cut: cut || short }) }
}

/** Pairs of distinct steps, the cheapest first. */
const pairsOf = (steps: Steps): readonly Steps[] =>
  steps
    .flatMap((one, i) => steps.slice(i + 1).map((other): Steps => [one, other]))
    .toSorted((a, b) => costOf(a) - costOf(b))
const costOf = (steps: Steps): number => steps.reduce((sum, { cost }) => sum + cost, 0)
const distinct = (steps: Steps): Steps =>
  [...new Map(steps.toReversed().map((step) => [step.said, step])).values()].toReversed()

/** The smallest changes with which this policy allows the input; it is refused as it stands. */
export const turnsOf = async (
  trial: Pick<Trial, 'ask' | 'tables'>,
  input: JsonObject,
): Promise<Found> => {
  const { turning, state } = asker(trial, input)
  let cut = false
  const told = (found: readonly Steps[]): Found => ({
    turns: found
      .toSorted((a, b) => costOf(a) - costOf(b))
      .slice(0, MOST_TURNS)
      .map((steps) => steps.map(({ said }) => said)),
    ...state(cut),
  })
  const [plain] = await trial.ask([JSON.stringify(input)])
  if (plain === undefined || 'failed' in plain) return told([])
  const all = distinct(proposalsFor(input, trial.tables, plain))
  const steps = all.slice(0, MOST_STEPS)
  cut = all.length > MOST_STEPS
  const alone = await turning(steps.map((step) => [step]))
  if (alone.length > 0) return told(alone)
  const pairs = await turning(pairsOf(steps))
  if (pairs.length > 0) return told(pairs)
  const many = await byReasons(trial, input, turning)
  return told(many === null ? [] : [many])
}

/** Steps of one way, each of which lifts a reason. */
const MOST_WAY = 6
const reasonsOf = (answer: Answer | undefined): number =>
  answer === undefined || 'failed' in answer ? Infinity : answer.reasons.length

/**
 * More than two steps: always the one that lifts most of what is left, and then without those that were not needed. Some
 * steps are known only once others are taken, as what an approval is asked for by a row that covers the call.
 */
const byReasons = async (
  trial: Pick<Trial, 'ask' | 'tables'>,
  input: JsonObject,
  turning: (all: readonly Steps[]) => Promise<readonly Steps[]>,
): Promise<Steps | null> => {
  const answerTo = async (steps: Steps): Promise<Answer | undefined> => {
    const [answer] = await trial.ask(
      [JSON.stringify(inputWith(input, steps))],
      tablesWith(trial.tables, steps),
    )
    return answer
  }
  let way: Steps = []
  let left = reasonsOf(await answerTo(way))
  while (way.length < MOST_WAY) {
    const answer = await answerTo(way)
    if (answer === undefined || 'failed' in answer) return null
    if (answer.allow) break
    const tables = new Map([...trial.tables, ...tablesWith(trial.tables, way)])
    let best: Steps | null = null
    for (const step of proposalsFor(inputWith(input, way), tables, answer).slice(0, MOST_STEPS)) {
      const reasons = reasonsOf(await answerTo([...way, step]))
      if (reasons < left) [best, left] = [[...way, step], reasons]
    }
    if (best === null) return null
    way = best
  }
  for (const step of way.toReversed()) {
    const without = way.filter((one) => one !== step)
    if (allows(await answerTo(without))) way = without
  }
  return (await turning([way]))[0] ?? null
}

/** What, once it is taken away, turns an allow: a group, a role or an entitlement of the person. */
export const holdsBy = async (
  trial: Pick<Trial, 'ask'>,
  input: JsonObject,
): Promise<readonly string[]> => {
  const { user } = input
  if (!isObject(user)) return []
  const without = (['groups', 'roles', 'entitlements'] as const).flatMap((kind) => {
    const all = textsAt(user, kind)
    return all.map((one) => ({
      said: `${kind === 'entitlements' ? 'entitlement' : kind.slice(0, -1)} ${one}`,
      input: { ...input, user: { ...user, [kind]: all.filter((other) => other !== one) } },
    }))
  })
  const answers = await trial.ask(without.map((one) => JSON.stringify(one.input)))
  return without.flatMap(({ said }, i) => (allows(answers[i]) ? [] : [said]))
}
