// `deputy policy diff`: which recorded calls another policy would answer otherwise.
import { decisionsIn, newTally, type Recorded, type Tally } from '../../audit/decisions.ts'
import { snapshotOf } from '../../compose/snapshot.ts'
import type { Loaded } from '../../config/load.ts'
import type { Decision } from '../../model.ts'
import { visible } from '../../observe/log.ts'
import { createDecide, type Decide, type Question } from '../../pipeline/decide.ts'
import { readsOf } from '../../policy/why/reads.ts'
import { compared, createSummary, type Verdict } from '../../policy/why/replay.ts'
import { messageOf } from '../../problem.ts'
import {
  answer,
  evidenceFiles,
  keptInputs,
  openPolicy,
  peopleFile,
  policyInForce,
} from './opened.ts'
import type { InputsOptions, Policy, Printing } from './opened.ts'
import { createRebuild, type Rebuild, type Rebuilt } from './recorded.ts'

type DiffOptions = Printing &
  InputsOptions & {
    readonly loaded: Loaded
    readonly candidate: string
    /** Folder of tables of the candidate; absent: that of the configuration. */
    readonly data?: string | undefined
    readonly evidence: readonly string[]
    /** ISO times; the first is in, the last is not. */
    readonly from?: string | undefined
    readonly to?: string | undefined
    readonly now: boolean
    /** Told how many records were read, some times a second; absent: nobody looks. */
    readonly progress?: ((records: number) => void) | undefined
  }

const AT_ONCE = 512
const AHEAD = 3
const TOLD_MS = 250
/** Sealed inputs that are named as of no use. */
const MOST_TOLD = 20

const verdictOf = ({ effect, reasons, obligations }: Decision): Verdict => ({
  effect,
  codes: reasons.map(({ code }) => code),
  obligations: Object.keys(obligations).toSorted(),
})
/** Is it what was recorded of this call? */
const asRecorded = ({ decision }: Recorded, said: Decision): boolean =>
  decision.effect === said.effect &&
  JSON.stringify([decision.reasons, decision.grants]) ===
    JSON.stringify([said.reasons.map(({ code }) => code), said.grants])

/** In what the ways differ that a call may have been. */
const differs = ({ holding, body }: Question, first: Question): string =>
  holding === first.holding && body?.state !== first.body?.state
    ? 'request.body.state'
    : 'provider.granted_scopes'

/** Decides as of the time of a record. */
export const decideAt = (time: () => number): Decide =>
  createDecide(
    { now: time, mono: () => performance.now() },
    () => '',
    () => {},
  )

const ask = async (
  record: Recorded,
  { questions, facts, document }: Rebuilt,
  { decide, force, candidate }: Replaying,
) => {
  const asked = (policy: Policy) =>
    Promise.all(
      questions.map(async (question) => answer(decide, policy.engine, question, document)),
    )
  const [now, then] = await Promise.all([asked(force), asked(candidate)])
  const known = facts === 'as recorded' && record.policy.digest === force.digest
  return compared(
    questions.flatMap((question, i) => {
      const [a, b, first] = [now[i], then[i], questions[0]]
      if (a === undefined || b === undefined || first === undefined) return []
      if (known && !asRecorded(record, a)) return []
      return { does: verdictOf(a), would: verdictOf(b), member: differs(question, first) }
    }),
  )
}

type Replaying = {
  readonly decide: Decide
  readonly force: Policy
  readonly candidate: Policy
  readonly rebuild: Rebuild
  /** Sets the time of what is asked next; what is asked takes it at once. */
  readonly at: (time: number) => void
}

const callOf = ({
  time,
  exchange,
  user,
  agent,
  operation,
  request,
  connection,
}: Recorded): string =>
  `${time} ${exchange} ${user.id} by ${agent.id}: ${operation.id}, ${request.method} ${connection}@${request.host}${request.path}`

const timeOf = (text: string | undefined, none: number): number => {
  const at = text === undefined ? none : Date.parse(text)
  if (Number.isNaN(at))
    throw new Error(`${JSON.stringify(text)} is no time: write 2026-11-22 or 2026-11-22T15:00:00Z`)
  return at
}

const replay = async (
  files: readonly string[],
  replaying: Replaying,
  { from, to, progress }: DiffOptions,
) => {
  const [first, end] = [timeOf(from, -Infinity), timeOf(to, Infinity)]
  const [tally, summary] = [newTally(), createSummary()]
  const counts = { asked: 0, elsewhere: 0, now: 0, kept: 0 }
  const unused = new Set<string>()
  let told = performance.now()
  let failed: Error | null = null as Error | null
  let waiting: Promise<void>[] = []
  // While some are asked, the next are read.
  const running: Promise<unknown>[] = []
  for await (const record of decisionsIn(files, tally)) {
    if (record.at < first || record.at >= end) continue
    counts.asked += 1
    if (record.policy.digest !== replaying.force.digest) counts.elsewhere += 1
    const built = await replaying.rebuild(record)
    if (built.facts === 'now') counts.now += 1
    if (built.document !== undefined) counts.kept += 1
    if (built.unused !== undefined && unused.size < MOST_TOLD)
      unused.add(`the sealed input of ${record.exchange} ${built.unused}: it is not used`)
    if (built.unknown.length > 0)
      summary.add({ kind: 'undetermined', members: built.unknown }, () => '')
    else {
      replaying.at(record.at)
      waiting.push(
        ask(record, built, replaying).then(
          (what) => summary.add(what, () => callOf(record)),
          (error: unknown) =>
            void (failed ??= error instanceof Error ? error : new Error(String(error))),
        ),
      )
    }
    if (waiting.length >= AT_ONCE) {
      running.push(Promise.all(waiting))
      waiting = []
      if (running.length > AHEAD) await running.shift()
    }
    if (progress !== undefined && performance.now() - told > TOLD_MS) {
      progress(tally.lines)
      told = performance.now()
    }
  }
  await Promise.all([...running, ...waiting])
  if (failed !== null) throw failed
  progress?.(tally.lines)
  return { tally, summary, counts, unused: [...unused] }
}

/** What is wrong with the evidence itself, so that what it says of calls proves little. */
export const doubts = ({ unread, broken, torn }: Tally): readonly string[] => [
  ...(broken > 0
    ? [
        `${broken} lines do not follow the line before them: the evidence was changed (\`deputy audit verify\` says where)`,
      ]
    : []),
  ...(unread > 0
    ? [`${unread} lines are no evidence that this version of deputy can read: they are left out`]
    : []),
  ...(torn > 0 ? [`the last line is torn in ${torn} files: a crash, or a write under way`] : []),
]

const report = (
  { summary, counts, tally }: Awaited<ReturnType<typeof replay>>,
  print: (line: string) => void,
): void => {
  const { same, changed, undetermined } = summary.counts
  for (const { said, count, calls } of summary.groups()) {
    print(`${count} × ${said}`)
    for (const call of calls) print(`  ${call}`)
    if (calls.length < count) print(`  and ${count - calls.length} more`)
  }
  if (undetermined > 0) print(`${undetermined} × undetermined, for want of`)
  for (const [member, count] of summary.undetermined()) print(`  ${count} × ${member}`)
  print(
    `${counts.asked} decisions of ${tally.lines} lines: ${same} the same, ${changed} would change, ${undetermined} undetermined`,
  )
  if (counts.kept > 0) print(`${counts.kept} of them with the input that policy was asked then`)
  if (counts.now > 0)
    print(`${counts.now} of them with what the file of people says now, not what it said then`)
  if (counts.elsewhere > 0)
    print(
      `${counts.elsewhere} of them were decided by another policy than the one in force; both are asked anew`,
    )
}

/** @returns exit code: 0 nothing would change, 1 something would, 2 it could not be told */
export const policyDiff = async (options: DiffOptions): Promise<number> => {
  const { loaded } = options
  const { config, connections, at } = loaded
  const print = (line: string): void => options.print(visible(line))
  const complain = (line: string): void => options.complain(visible(line))
  const opened: (() => unknown)[] = []
  try {
    const force = await policyInForce(loaded)
    opened.push(force.close)
    const own = config.policy.data === undefined ? null : at(config.policy.data)
    const data = options.data ?? own
    const candidate = await openPolicy(options.candidate, data, config.limits.policy_input)
    opened.push(candidate.close)
    const people = await peopleFile(loaded)
    if (people !== null) opened.push(people.close)
    const files = await evidenceFiles(loaded, options.evidence)
    const reads = readsOf([force, candidate].map(({ bundle, tables }) => ({ ...bundle, tables })))
    const { classify } = snapshotOf(connections)
    const inputs = await keptInputs(loaded, options)
    let time = 0
    // Where no rule looks at the time, what is alike but for it is one question.
    const timed = ['now', 'unix_s', 'weekday', 'hour', 'zones'].some(reads.names)
    const replaying = {
      force,
      candidate,
      decide: decideAt(() => time),
      rebuild: createRebuild({ connections, classify, reads, people, inputs, now: options.now }),
      at: (next: number) => void (time = timed ? next : 0),
    }
    print(`in force: ${force.revision} (${force.digest})`)
    print(`candidate: ${candidate.revision} (${candidate.digest})`)
    const found = await replay(files, replaying, options)
    report(found, print)
    const wrong = [...doubts(found.tally), ...(inputs?.wrong ?? []), ...found.unused]
    for (const doubt of wrong) complain(doubt)
    const { same, changed } = found.summary.counts
    if (found.counts.asked === 0) complain('there is no decision of that time in the evidence')
    else if (same + changed === 0) complain('no call could be asked again: nothing is proved')
    const { unread, broken } = found.tally
    const sealed = (inputs?.wrong ?? []).length + found.unused.length
    if (same + changed === 0 || unread > 0 || broken > 0 || sealed > 0) return 2
    return changed > 0 ? 1 : 0
  } catch (error) {
    for (const line of messageOf(error).split('\n')) complain(line)
    return 2
  } finally {
    for (const close of opened) await close()
  }
}
