// What is asked of every SDK, whatever its language, and what is seen of it: at the provider, and in deputy's evidence.
import type { Fields } from '../support/deputy.ts'
import type { Told } from './javascript.ts'
import type { Since, World } from './world.ts'

export type Step = 'who' | 'calls' | 'pages' | 'upload'
/** What came of a step: what it found, or what its exception told. */
export type Said = { readonly value: unknown } | { readonly told: Told; readonly error: string }
/** Has one SDK do one step with this tag in its key slot. */
export type Ask = (sdk: string, step: Step, tag: string) => Promise<Said>

/** Waits until every exchange that was begun has its end in the evidence, and gives what happened. */
export const settled = async (world: World, act: () => Promise<unknown>): Promise<Since> => {
  world.since()
  await act()
  const all: Since[] = []
  for (const until = Date.now() + 10_000; ;) {
    all.push(world.since())
    const lines = all.flatMap(({ evidence }) => evidence)
    const ended = new Set(
      lines.filter(({ event }) => event === 'outcome').map(({ exchange }) => exchange),
    )
    const left = lines.filter(
      (line) => line.event === 'decision' && (line['decision'] as Fields)['effect'] === 'allow',
    )
    if (left.every(({ exchange }) => ended.has(exchange))) break
    if (Date.now() > until) throw new Error('an exchange has no end')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    seen: all.flatMap(({ seen }) => seen),
    evidence: all.flatMap(({ evidence }) => evidence),
  }
}

/** Throws unless each call that came to the provider was this person's, and at least one came. */
export const onlyOf = (person: string, { seen, evidence }: Since): void => {
  const others = seen.filter(({ who }) => who !== person)
  const named = evidence
    .filter(({ event }) => event === 'decision')
    .filter((line) => (line['user'] as Fields)['id'] !== person)
  if (seen.length === 0) throw new Error('the provider saw nothing')
  if (others.length > 0 || named.length > 0)
    throw new Error(`${others.length} calls and ${named.length} decisions were not ${person}’s`)
}

const operationOf = (line: Fields): unknown => (line['operation'] as Fields)['id']
/** How many calls were decided, and how many of them were no operation of the definition. One of several parts counts once. */
export const counted = ({
  evidence,
}: Since): { readonly calls: number; readonly unknown: number } => {
  const decided = evidence.filter(({ event }) => event === 'decision')
  const of = (lines: readonly Fields[]): number =>
    new Set(lines.map((line) => line['exchange'])).size
  return {
    calls: of(decided),
    unknown: of(decided.filter((line) => operationOf(line) === 'unknown')),
  }
}
