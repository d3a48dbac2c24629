// What a question about policy is asked of: the policy in force, another beside it, the file of people, the evidence.
import { chainsOf } from '../../audit/chains.ts'
import { INPUTS } from '../../audit/inputs.ts'
import { openInputs, type OpenedInputs } from '../../audit/opened_inputs.ts'
import { QUIET } from '../aside.ts'
import { sinksOf } from '../../audit/journal.ts'
import { BUNDLES, systemClock } from '../../compose/snapshot.ts'
import { privateKeyOf, type InvestigatorKey } from '../../config/investigator.ts'
import { isService } from '../../config/policy.ts'
import { naming } from '../../config/backend.ts'
import type { Loaded } from '../../config/load.ts'
import { sourcesOf } from '../../config/schema.ts'
import { openFileDirectory, type FileDirectory } from '../../directory/file.ts'
import { readText } from '../../files.ts'
import type { Decision, JsonObject, PolicyEngine } from '../../model.ts'
import type { Decide, Question } from '../../pipeline/decide.ts'
import { visible } from '../../observe/log.ts'
import { STANDING, withdrawn } from '../../pipeline/standing.ts'
import { activate } from '../../policy/activate.ts'
import type { Bundle } from '../../policy/bundle.ts'
import { keptPath } from '../../policy/kept.ts'
import { checkTables } from '../../policy/make.ts'
import { loadBundle, loadTables } from '../../policy/source.ts'
import type { Table } from '../../policy/tables.ts'
import { openTrial, remembering, type Trial } from '../../policy/why/trial.ts'
import { messageOf } from '../../problem.ts'
import { isObject } from '../../wire/json.ts'

export type Printing = {
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
}

export type Policy = Trial & {
  readonly bundle: Bundle
  /** Each table with the file that it stands in. */
  readonly files: ReadonlyMap<string, Table>
}

/**
 * A policy as it would serve, proved by its own probes first.
 * @param data folder of tables, or null
 * @throws Error that says why it would be refused
 */
export const openPolicy = async (
  path: string,
  data: string | null,
  inputLimit: number,
): Promise<Policy> => {
  try {
    const [bundle, folder] = await Promise.all([loadBundle(path), loadTables(data)])
    const files = checkTables(bundle, path, folder)
    const tables = new Map<string, JsonObject>(
      [...folder].map(([name, { value }]) => [name, value]),
    )
    const deps = { log: QUIET, clock: systemClock(), inputLimit }
    await (await activate(bundle, tables, deps)).close()
    const trial = await openTrial({ bundle, tables }, inputLimit)
    return { ...trial, engine: remembering(trial.engine), bundle, files }
  } catch (error) {
    throw new Error(`${path}: ${messageOf(error)}`, { cause: error })
  }
}

/** The one that the configuration names. */
export const policyInForce = ({ config, at, written }: Loaded): Promise<Policy> =>
  openPolicy(
    // Of a bundle service: the last good one that deputy kept.
    isService(config.policy.bundle)
      ? keptPath(written(BUNDLES), config.policy.bundle)
      : at(config.policy.bundle),
    config.policy.data === undefined ? null : at(config.policy.data),
    config.limits.policy_input,
  )

/** null: the source of people is another than a file. @throws Error that says what is wrong with the file */
export const peopleFile = async ({ config, at }: Loaded): Promise<FileDirectory | null> => {
  const [only, ...others] = sourcesOf(config.entitlements)
  const { file } = config.entitlements ?? {}
  if (only !== 'file' || others.length > 0 || file === undefined) return null
  const [realm = ''] = naming(config).realms
  const clock = systemClock()
  return openFileDirectory({ path: at(file), realm, clock, log: QUIET, onChange: () => {} })
}

/**
 * Does the work with the policy in force and the file of people, and closes both. @returns exit code: that of the work,
 * or 2 where something threw, and was told
 */
export const withPolicy = async (
  { loaded, complain }: Pick<Printing, 'complain'> & { readonly loaded: Loaded },
  work: (policy: Policy, people: FileDirectory | null) => Promise<number>,
): Promise<number> => {
  const closing: (() => unknown)[] = []
  try {
    const policy = await policyInForce(loaded)
    closing.push(policy.close)
    const people = await peopleFile(loaded)
    if (people !== null) closing.push(people.close)
    return await work(policy, people)
  } catch (error) {
    for (const line of messageOf(error).split('\n')) complain(visible(line))
    return 2
  } finally {
    for (const close of closing) await close()
  }
}

/** The files named, or those of `audit.sink`, each with what it continues; oldest first. @throws Error */
export const evidenceFiles = async (
  { config, written }: Loaded,
  named: readonly string[],
): Promise<readonly string[]> => {
  const own = sinksOf(config.audit, written).flatMap((sink) =>
    sink === 'stdout' ? [] : [sink.file],
  )
  const paths = named.length > 0 ? named : own
  if (paths.length === 0)
    throw new Error('audit.sink names no file: name the files of evidence with --evidence')
  return (await chainsOf(paths)).flat().map(({ path }) => path)
}

export type InputsOptions = {
  /** Files of sealed inputs; empty: the one below `state`. */
  readonly inputs?: readonly string[] | undefined
  /** File of the private JWK; absent: no input is opened. */
  readonly inputsKey?: string | undefined
}

const investigatorIn = async (path: string): Promise<InvestigatorKey> => {
  const text = await readText(path)
  try {
    return privateKeyOf(text)
  } catch (error) {
    throw new Error(`${path} ${messageOf(error)}`, { cause: error })
  }
}

/** What policy was asked; null: no key was given. @throws Error that says what is wrong with the key or the files */
export const keptInputs = async (
  { written }: Loaded,
  { inputs = [], inputsKey }: InputsOptions,
): Promise<OpenedInputs | null> => {
  if (inputsKey === undefined) {
    if (inputs.length > 0) throw new Error('--inputs needs --inputs-key, the private JWK')
    return null
  }
  const investigator = await investigatorIn(inputsKey)
  const chains = await chainsOf(inputs.length > 0 ? inputs : [written(INPUTS)])
  return openInputs(
    chains.flat().map(({ path }) => path),
    investigator,
  )
}

const isStanding = (document: string): boolean => {
  const { operation } = JSON.parse(document) as JsonObject
  return isObject(operation) && operation['id'] === STANDING.id
}
/**
 * What a policy answers to a question.
 * @param document the very input, as it was kept; absent: it is made of the question
 */
export const answer = async (
  decide: Decide,
  engine: PolicyEngine,
  question: Question,
  document?: string,
): Promise<Decision> => {
  if (document === undefined) return decide(engine, question)
  const said = await decide({ ...engine, evaluate: () => engine.evaluate(document) }, question)
  // Of a call that was refused because its person may not give the standing any more, that was the question.
  return document.includes(STANDING.id) && isStanding(document) ? (withdrawn(said) ?? said) : said
}
