// `deputy policy explain`: which rules and rows decided a call, what the nearest row lacked, and what would change it.
import { decisionsIn, newTally, type Recorded } from '../../audit/decisions.ts'
import { naming } from '../../config/backend.ts'
import type { Loaded } from '../../config/load.ts'
import { snapshotOf } from '../../compose/snapshot.ts'
import type { Directory } from '../../directory/source.ts'
import { readWhole } from '../../files.ts'
import type { Decision, Entitlements, JsonObject, PolicyEngine, Principal } from '../../model.ts'
import { visible } from '../../observe/log.ts'
import type { Decide, Question } from '../../pipeline/decide.ts'
import { documentOf } from '../../pipeline/obligation/hooks.ts'
import { readsOf } from '../../policy/why/reads.ts'
import { holdsBy, turnsOf } from '../../policy/why/search.ts'
import { own, rolesOf, rowsNear, type RowWhy } from '../../policy/why/why.ts'
import { decideAt, doubts } from './diff.ts'
import { questionsOf, readCall } from './named.ts'
import { answer, evidenceFiles, keptInputs, withPolicy } from './opened.ts'
import type { InputsOptions, Policy, Printing } from './opened.ts'
import { createRebuild, held, type Rebuilt } from './recorded.ts'

type ExplainOptions = Printing &
  InputsOptions & {
    readonly loaded: Loaded
    /** An exchange id, or `METHOD /host/path`. */
    readonly what: string
    readonly part?: number | undefined
    readonly evidence: readonly string[]
    /** What the file of people says now counts, where it is not what it said then. */
    readonly now: boolean
    readonly user?: string | undefined
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
    readonly agent?: string | undefined
    readonly connection?: string | undefined
    /** File that the body is read from, and its media type. */
    readonly body?: string | undefined
    readonly contentType?: string | undefined
    /** What the account has been granted; absent: all that the connection may ask for. */
    readonly scopes?: readonly string[] | undefined
  }
type Print = (line: string) => void
type Opened = {
  readonly policy: Policy
  readonly people: Directory | null
  readonly loaded: Loaded
  readonly print: Print
}

/** Rows that are told of a refusal. */
const NEAR = 3
/** Decisions of one exchange that are told. */
const MOST = 20

/** What policy would be asked, as the document that it gets: what went before is in a store that is not asked here. */
export const inputOf = async (
  decide: Decide,
  question: Question,
  { zones }: PolicyEngine['asks'],
): Promise<JsonObject> => JSON.parse(await documentOf(decide, question, zones)) as JsonObject

/** `grants.github.gh-write (policies/bundle.tar.gz: deputy_data.grants)` */
const rowAt = ({ files }: Policy, provider: string, id: string): string =>
  `grants.${provider}.${id} (${files.get('grants')?.where ?? 'in no table'})`

const missed = ({ misses }: RowWhy): string =>
  misses
    .map(({ what, wants }) => `${what === 'more' ? 'it also asks for' : what}: ${wants}`)
    .join('; ')

/** Rows that cover it, or the nearest that do not, each with what it lacks. */
const rowLines = (
  input: JsonObject,
  policy: Policy,
  grants: readonly string[],
): readonly string[] => {
  const provider = String(own(input, 'provider', 'id'))
  if (grants.length > 0)
    return grants.map((id) =>
      id.startsWith('role:') ? `allowed by ${id}` : `covered by row ${rowAt(policy, provider, id)}`,
    )
  const near = rowsNear(input, policy.tables, grants).slice(0, NEAR)
  if (near.length === 0) return [`no row of the table grants is for ${provider}`]
  return near.map((row) => `near: row ${rowAt(policy, provider, row.id)} wants ${missed(row)}`)
}

const reasonLines = (decision: Decision): readonly string[] =>
  decision.reasons.map(({ code, msg }) => `  ${code}${msg === '' ? '' : `: ${msg}`}`)

/** All of one question: the answer of the policy in force, its rows, and what would turn it. */
const tellQuestion = async (
  question: Question,
  { policy, print }: Opened,
  decide: Decide,
  document?: string,
): Promise<Decision> => {
  const input =
    document === undefined
      ? await inputOf(decide, question, policy.engine.asks)
      : (JSON.parse(document) as JsonObject)
  const decision = await answer(decide, policy.engine, question, document)
  const { operation } = question.act
  print(
    `${decision.effect}: ${operation.id} (${operation.access}) at ${question.route.connection.name}, by ${policy.revision}`,
  )
  for (const line of reasonLines(decision)) print(line)
  for (const name of Object.keys(decision.obligations)) print(`  obligation ${name}`)
  const roles = [...rolesOf(input, policy.tables)].map(
    ([role, groups]) => `${role}${groups.length === 0 ? '' : ` (${groups.join(', ')})`}`,
  )
  print(`  roles: ${roles.join(', ') || 'none'}`)
  for (const line of rowLines(input, policy, decision.grants)) print(`  ${line}`)
  if (decision.effect === 'error') {
    print('  the policy gave no answer, so nothing can be tried')
    return decision
  }
  if (decision.reasons.some(({ code }) => code === 'run_scope'))
    print('  the run itself does not reach so far; policy was not asked')
  else if (decision.effect === 'allow') {
    const by = await holdsBy(policy, input)
    print(
      by.length === 0
        ? '  no single group, role or entitlement less would change it'
        : `  it would change without any of: ${by.join('; ')}`,
    )
  } else await tellTurns(input, policy, print)
  return decision
}

const tellTurns = async (input: JsonObject, policy: Policy, print: Print): Promise<void> => {
  const { turns, tried, cut } = await turnsOf(policy, input)
  print(
    turns.length === 0
      ? `  no change of ${tried} that were tried would allow it${cut ? ', and not all were tried' : ''}`
      : `  it would be allowed if (each answered by the policy, ${tried} tried)`,
  )
  for (const steps of turns) print(`    ${steps.join(', and ')}`)
}

/** The decisions of one exchange, each once: copies of a file tell the same. */
const found = async (
  files: readonly string[],
  exchange: string,
): Promise<{ readonly records: readonly Recorded[]; readonly wrong: readonly string[] }> => {
  const tally = newTally()
  const records = new Map<string, Recorded>()
  for await (const record of decisionsIn(files, tally, Buffer.from(JSON.stringify(exchange))))
    if (record.exchange === exchange) records.set(record.hash, record)
  const all = [...records.values()]
  const procs = new Set(all.map(({ proc }) => proc))
  if (procs.size > 1)
    throw new Error(
      `${exchange} is in the evidence of ${procs.size} processes (${[...new Set(all.map(({ file }) => file))].join(', ')}): an exchange has one; name the file with --evidence`,
    )
  return { records: all, wrong: doubts(tally) }
}

const recordLines = (record: Recorded): readonly string[] => {
  const { user, agent, operation, request, connection, decision, policy, entitlements } = record
  const part = record.part === undefined ? '' : `, part ${record.part}`
  return [
    `${record.file}:${record.line}: ${record.time}, decision ${record.n}${part}`,
    `recorded: ${decision.effect}, ${user.id} by ${agent.id}: ${operation.id} (${operation.access}), ${request.method} ${connection}@${request.host}${request.path}`,
    ...decision.reasons.map((code, i) => `  ${code}: ${decision.messages[i] ?? ''}`),
    ...(decision.grants.length === 0 ? [] : [`  rows: ${decision.grants.join(', ')}`]),
    `  policy ${policy.revision}, facts of ${entitlements.source}, ${entitlements.age_ms} ms old`,
  ]
}

/** The one way in which the call may have been that gives the recorded answer; null: there is none. */
const consistent = async (
  record: Recorded,
  { questions, document }: Rebuilt,
  { policy }: Opened,
  decide: Decide,
): Promise<readonly Question[]> => {
  const kept: Question[] = []
  for (const question of questions) {
    const said = await answer(decide, policy.engine, question, document)
    const codes = said.reasons.map(({ code }) => code)
    if (
      said.effect === record.decision.effect &&
      JSON.stringify([codes, said.grants]) ===
        JSON.stringify([record.decision.reasons, record.decision.grants])
    )
      kept.push(question)
  }
  return kept
}

const tellRecord = async (
  record: Recorded,
  built: Rebuilt,
  opened: Opened,
  now: boolean,
): Promise<boolean> => {
  const { policy, print } = opened
  const decide = decideAt(() => record.at)
  for (const line of recordLines(record)) print(line)
  const other = record.policy.digest !== policy.digest
  if (other) print('  it was decided by another policy or other tables than those in force')
  const { unknown, facts, document, unused } = built
  if (document !== undefined) print('  with the input that policy was asked then')
  if (unused !== undefined) print(`  not used: the sealed input of this decision ${unused}`)
  for (const member of unknown) print(`  undetermined: ${member} is not in the evidence`)
  if (facts === 'now') print('  with what the file of people says now: it is not what it said then')
  if (facts === 'as recorded' && document === undefined)
    print('  the file of people says what it said then')
  if (facts === 'unknown')
    print(
      opened.people === null
        ? '  the source of people is no file, and only the deputy that serves can ask it'
        : '  the file of people does not say any more what it said then: --now takes what it says now',
    )
  const [first] = built.questions
  if (first === undefined) return false
  if (facts === 'unknown') {
    const input = await inputOf(decide, first, policy.engine.asks)
    print('so far as the rest of the call goes:')
    for (const line of rowLines(input, policy, [])) print(`  ${line}`)
    return false
  }
  const fit =
    other || facts === 'now' ? built.questions : await consistent(record, built, opened, decide)
  const [likely] = fit
  if (likely === undefined) {
    print('  undetermined: the policy in force gives another answer to all that the evidence holds')
    return false
  }
  if (new Set(fit.map(({ holding }) => JSON.stringify(holding))).size > 1)
    print(
      '  undetermined: provider.granted_scopes is not in the evidence; the account is taken to have all',
    )
  print(now ? 'asked again, now:' : 'asked again, as of then:')
  await tellQuestion(likely, opened, decide, document)
  return unknown.length === 0 && unused === undefined
}

/** @returns exit code: 0 told; 2 not all could be determined */
const explainExchange = async (opened: Opened, options: ExplainOptions): Promise<number> => {
  const { loaded, policy, people, print } = opened
  const files = await evidenceFiles(loaded, options.evidence)
  const { records, wrong } = await found(files, options.what)
  for (const doubt of wrong) options.complain(visible(doubt))
  const wanted = records.filter(({ part }) => options.part === undefined || part === options.part)
  if (wanted.length === 0) {
    const parts = records.flatMap(({ part }) => part ?? [])
    throw new Error(
      records.length === 0
        ? `no decision on ${options.what} is in ${files.join(', ')}; what is refused before policy (a \`refused\` line) has none`
        : `${options.what} has ${parts.length === 0 ? 'one part only' : `parts ${parts.join(', ')}`}`,
    )
  }
  const inputs = await keptInputs(loaded, options)
  for (const what of inputs?.wrong ?? []) options.complain(visible(what))
  const rebuild = createRebuild({
    inputs,
    connections: loaded.connections,
    classify: snapshotOf(loaded.connections).classify,
    reads: readsOf([{ wasm: policy.bundle.wasm, tables: policy.tables }]),
    people,
    now: options.now,
  })
  let sure = wrong.length === 0 && (inputs?.wrong ?? []).length === 0
  for (const record of wanted.slice(0, MOST))
    sure = (await tellRecord(record, await rebuild(record), opened, options.now)) && sure
  if (wanted.length > MOST) print(`and ${wanted.length - MOST} more: name one with --part`)
  return sure ? 0 : 2
}

const ABSENT: Entitlements = {
  active: false,
  groups: [],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: '',
  asOf: null,
}

/** Who is meant: by the tenant and realm that the configuration has where none is named. */
export const principalOf = (
  { config }: Loaded,
  { user, tenant, realm, agent }: Pick<ExplainOptions, 'user' | 'tenant' | 'realm' | 'agent'>,
): Principal => {
  const { tenants, realms } = naming(config)
  return {
    person: {
      id: user ?? '',
      tenant: tenant ?? tenants[0] ?? 'default',
      realm: realm ?? realms[0] ?? '',
    },
    // Signed tags name their agent, and no setting does.
    agent: agent ?? (config.identity.trust === 'plain' ? config.identity.agent : ''),
    verified: config.identity.trust === 'asserted',
    claims: null,
    issuedAt: null,
    expiresAt: null,
    run: null,
  }
}

const explainCall = async (
  call: NonNullable<ReturnType<typeof readCall>>,
  opened: Opened,
  options: ExplainOptions,
): Promise<number> => {
  const { loaded, people, print } = opened
  const { config, connections } = loaded
  const { user, body, scopes, connection = null, contentType = 'application/json' } = options
  const who = principalOf(loaded, options)
  if (user === undefined || who.agent === '')
    throw new Error('name the person with --user, and the agent with --agent')
  if (people === null)
    throw new Error(
      'undetermined: user.groups, user.roles, user.entitlements: the source of people is no file, and only the deputy that serves can ask it',
    )
  const known = await people.ask(who.person, 0)
  if (known === null) print(`${user} is not in the file of people`)
  const questions = await questionsOf(
    { ...call, connection, contentType, body: body === undefined ? null : await readWhole(body) },
    snapshotOf(connections),
    {
      principal: who,
      known: known ?? ABSENT,
      holding: (at) => held(at.name, scopes ?? at.scopes),
      limits: {
        requestBody: config.limits.request_body,
        inspectedBody: config.limits.inspected_body,
      },
    },
  )
  print(
    scopes === undefined
      ? 'taken for granted: the account is connected, with all that the connection may ask for (--scopes)'
      : `taken for granted: the account is connected, with ${scopes.join(', ') || 'no scope'}`,
  )
  if ((config.entitlements?.checks ?? []).length > 0)
    print('authorization services are not asked here: rows with checks do not cover the call')
  const decide = decideAt(Date.now)
  for (const [i, question] of questions.entries()) {
    if (options.part !== undefined && options.part !== i + 1) continue
    if (questions.length > 1) print(`part ${i + 1} of ${questions.length}:`)
    await tellQuestion(question, opened, decide)
  }
  return 0
}

/** @returns exit code: 0 told, 2 it could not be determined, or not all of it */
export const policyExplain = async (options: ExplainOptions): Promise<number> => {
  const { loaded } = options
  return withPolicy(options, async (policy, people) => {
    const print: Print = (line) => options.print(visible(line))
    const opened = { policy, people, loaded, print }
    const call = readCall(options.what)
    return call === null
      ? await explainExchange(opened, options)
      : await explainCall(call, opened, options)
  })
}
