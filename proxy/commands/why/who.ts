// `deputy policy who-can` and `deputy providers show --as`: who may do what today, through which agent, and on what
// condition, asked of the policy in force as a list of tools is.
import type { Loaded } from '../../config/load.ts'
import type { FileDirectory } from '../../directory/file.ts'
import { questionOf } from '../../consent/allowed.ts'
import type {
  Connection,
  Decision,
  Entitlements,
  Holding,
  OperationRow,
  Principal,
} from '../../model.ts'
import { visible } from '../../observe/log.ts'
import { CONSENT, type Decide, type Question } from '../../pipeline/decide.ts'
import { readsOf } from '../../policy/why/reads.ts'
import { textsAt, own } from '../../policy/why/why.ts'
import { pathsIn } from '../../consent/paths.ts'
import { WHOEVER } from '../../tools/visible.ts'
import { decideAt } from './diff.ts'
import { principalOf } from './explain.ts'
import { withPolicy, type Policy, type Printing } from './opened.ts'
import { held } from './recorded.ts'

type Asking = {
  readonly policy: Policy
  readonly decide: Decide
  /** Pointers of its body that a rule or row looks at. */
  readonly looksAt: (row: OperationRow) => readonly string[]
}
/** Somebody who may do things: a person, or a stand-in for whoever is in a group or has a role. */
type Someone = {
  readonly name: string
  readonly principal: Principal
  readonly known: Entitlements
}
/** null: not at all. */
type Can = { readonly how: string } | null

const NO_ACCOUNT: Holding = { kind: 'none' }
/** Stands for an agent that nothing names: no tag has such an id. */
const [ANY, OTHER] = ['any agent', 'any other agent']

/** Every agent that the configuration, a row or a ceiling names; and any other, where tags may name others. */
const agentsOf = ({ config, agents }: Loaded, { tables }: Policy): readonly string[] => {
  const rows = Object.values(tables.get('grants') ?? {}).flatMap((byId) =>
    Object.values(typeof byId === 'object' && byId !== null ? byId : {}),
  )
  const named = rows.flatMap((row: unknown) => {
    const all = own(row, 'agents')
    return (Array.isArray(all) ? all : []).map((one: unknown) =>
      typeof one === 'string' ? one : String(own(one, 'id')),
    )
  })
  const all = new Set([
    ...agents.keys(),
    ...(config.identity.trust === 'plain' ? [config.identity.agent] : []),
    ...config.applications.map(({ agent }) => agent),
    ...config.workloads.flatMap(({ agent }) => agent),
    ...named,
    ...Object.keys(tables.get('agents') ?? {}),
  ])
  all.delete('*')
  if (all.size === 0) return [ANY]
  // What is granted to `*` is granted to those, too.
  return [...[...all].toSorted(), ...(config.identity.trust === 'plain' ? [] : [OTHER])]
}

const LATER: Readonly<Record<string, string>> = {
  approval_required: 'once a person has approved the call',
  step_up_required: 'after a stronger or fresher sign-in',
  check_refused: 'if the authorization service says yes to the call',
}

/** What is left to do or to know before it is allowed; null: it is refused whatever is done. */
const conditionOf = ({ effect, reasons }: Decision, looked: readonly string[]): string | null => {
  if (effect === 'allow')
    return looked.length === 0 ? '' : `as far as its ${looked.join(', ')} let it`
  if (effect === 'error') throw new Error(`the policy gave no answer: ${reasons[0]?.msg ?? ''}`)
  const codes = reasons.map(({ code }) => code)
  if (codes.length > 0 && codes.every((code) => Object.hasOwn(LATER, code)))
    return codes.map((code) => LATER[code]).join(' and ')
  const open = looked.length > 0 && codes.length > 0 && !codes.some((code) => WHOEVER.has(code))
  return open && !codes.some((code) => CONSENT.has(code))
    ? `if its arguments lift ${codes.join(', ')}`
    : null
}

/** The answer to the operation without arguments, else at the paths that rows name. */
const canDo = async (
  { principal, known }: Pick<Someone, 'principal' | 'known'>,
  connection: Connection,
  row: OperationRow,
  { policy, decide, looksAt }: Asking,
): Promise<Can> => {
  const looked = looksAt(row)
  const facts = { entitlements: known, ageMs: () => 0 }
  const holding = held(connection.name, connection.scopes)
  const plain = questionOf('', row, true, { principal, connection, facts, holding })
  const at = (segments: readonly string[]): Question => ({
    ...plain,
    route: { ...plain.route, target: { ...plain.route.target, raw: segments, segments } },
    act: { ...plain.act, segments },
  })
  const ask = async (question: Question): Promise<Decision> =>
    decide(policy.engine, { ...question, listing: true })
  const first = await ask(plain)
  const paths =
    conditionOf(first, looked) === null
      ? pathsIn(policy.tables.get('grants') ?? null, connection, row)
      : []
  for (const [question, where] of [
    [plain, ''],
    ...paths.map((path) => [at(path), `at /${path.join('/')}`] as const),
  ] as const) {
    const said = question === plain ? first : await ask(question)
    const condition = conditionOf(said, looked)
    if (condition === null) continue
    const { effect, requiredScopes } = await ask({ ...question, holding: NO_ACCOUNT })
    const consent =
      effect === 'consent_required'
        ? `once connected${requiredScopes.length === 0 ? '' : ` with ${requiredScopes.join(', ')}`}`
        : ''
    const rows = said.grants.length === 0 ? '' : `row ${said.grants.join(', ')}`
    return { how: [where, condition, consent, rows].filter((part) => part !== '').join('; ') }
  }
  return null
}

/** `how` → the agents through which it is so. */
const throughAgents = async (
  someone: Someone,
  agents: readonly string[],
  connection: Connection,
  asking: Asking & { readonly row: OperationRow },
): Promise<ReadonlyMap<string, readonly string[]>> => {
  const through = new Map<string, readonly string[]>()
  const answers = await Promise.all(
    agents.map((agent) =>
      canDo(
        { ...someone, principal: { ...someone.principal, agent } },
        connection,
        asking.row,
        asking,
      ),
    ),
  )
  for (const [i, can] of answers.entries())
    if (can !== null) through.set(can.how, [...(through.get(can.how) ?? []), agents[i] ?? ''])
  return through
}

const NOBODY: Omit<Entitlements, 'groups' | 'roles'> = {
  active: true,
  entitlements: [],
  auth: null,
  source: 'none',
  digest: '',
  asOf: null,
}

/** Everybody in the file; of another source whoever is in one group, or has one role that no group gives. */
const everybody = async (
  loaded: Loaded,
  policy: Policy,
  people: FileDirectory | null,
): Promise<readonly Someone[]> => {
  if (people !== null) {
    const all: Someone[] = []
    for (const person of people.everybody()) {
      const known = await people.ask(person, 0)
      if (known !== null)
        all.push({ name: person.id, known, principal: { ...principalOf(loaded, {}), person } })
    }
    return all
  }
  const ofGroups = policy.tables.get('group_roles') ?? {}
  const groups = Object.keys(ofGroups)
  const given = new Set(groups.flatMap((group) => textsAt(ofGroups, group)))
  const roles = Object.values(policy.tables.get('role_grants') ?? {}).flatMap((byRole) =>
    Object.keys(typeof byRole === 'object' && byRole !== null ? byRole : {}),
  )
  const principal = principalOf(loaded, { user: 'somebody' })
  return [
    ...groups.map((group) => ({
      name: `whoever is in group ${group}`,
      known: { ...NOBODY, groups: [group], roles: [] },
      principal,
    })),
    ...[...new Set(roles)]
      .filter((role) => !given.has(role))
      .map((role) => ({
        name: `whoever has role ${role}`,
        known: { ...NOBODY, groups: [], roles: [role] },
        principal,
      })),
  ]
}

const withAsking = (
  options: Printing & { readonly loaded: Loaded },
  work: (asking: Asking, people: FileDirectory | null) => Promise<number>,
): Promise<number> =>
  withPolicy(options, (policy, people) => {
    const reads = readsOf([{ wasm: policy.bundle.wasm, tables: policy.tables }])
    const looksAt = ({ inspect }: OperationRow) => inspect.filter((one) => reads.names(one))
    return work({ policy, decide: decideAt(Date.now), looksAt }, people)
  })

const rowsNamed = ({ provider }: Connection, id: string): readonly OperationRow[] =>
  provider.operations.filter((row) => row.id === id)

/** @returns exit code: 0 somebody can; 1 nobody; 2 it could not be told */
export const policyWhoCan = (
  options: Printing & {
    readonly loaded: Loaded
    readonly operation: string
    readonly connection: string
  },
): Promise<number> =>
  withAsking(options, async (asking, people) => {
    const { loaded, operation } = options
    const print = (line: string): void => options.print(visible(line))
    const connection = loaded.connections.get(options.connection)
    if (connection === undefined)
      throw new Error(
        `there is no connection ${options.connection}; there are ${[...loaded.connections.keys()].join(', ')}`,
      )
    const rows = rowsNamed(connection, operation)
    const [row] = rows
    if (row === undefined)
      throw new Error(
        `${connection.provider.id} has no operation ${operation}: \`deputy providers show ${connection.provider.id}\` lists them`,
      )
    const agents = agentsOf(loaded, asking.policy)
    const all = await everybody(loaded, asking.policy, people)
    if (people === null)
      print('the source of people is no file, so these are groups and roles, each by itself')
    let [can, cannot] = [0, 0]
    for (const one of all) {
      const through = await throughAgents(one, agents, connection, { ...asking, row })
      if (through.size === 0) cannot += 1
      else can += 1
      for (const [how, by] of through)
        print(`${one.name} through ${by.join(', ')}: ${how || 'yes'}`)
    }
    print(
      `${can} can ${operation} (${row.access}) at ${connection.name}, ${cannot} cannot; policy ${asking.policy.revision}`,
    )
    return can > 0 ? 0 : 1
  })

/** @returns exit code: 0 told; 1 they may do nothing; 2 it could not be told */
export const providersShowAs = (
  options: Printing & {
    readonly loaded: Loaded
    readonly id: string
    readonly user: string
    readonly tenant?: string | undefined
    readonly realm?: string | undefined
    readonly agent?: string | undefined
  },
): Promise<number> =>
  withAsking(options, async (asking, people) => {
    const { loaded, id } = options
    const print = (line: string): void => options.print(visible(line))
    const connections = [...loaded.connections.values()].filter(
      ({ provider }) => provider.id === id,
    )
    if (connections.length === 0) throw new Error(`no configured connection is of provider ${id}`)
    if (people === null)
      throw new Error(
        'undetermined: the source of people is no file, and only the deputy that serves can ask it (`deputy policy who-can` tells by groups)',
      )
    const principal = principalOf(loaded, options)
    const known = await people.ask(principal.person, 0)
    if (known === null) throw new Error(`${options.user} is not in the file of people`)
    const agents = options.agent === undefined ? agentsOf(loaded, asking.policy) : [options.agent]
    let [allowed, all] = [0, 0]
    for (const connection of connections) {
      print(`${connection.name}: what ${options.user} may do`)
      // What one id names by several paths is one line for each answer.
      const lines = new Set<string>()
      for (const row of connection.provider.operations) {
        all += 1
        const one = { name: options.user, principal, known }
        const through = await throughAgents(one, agents, connection, { ...asking, row })
        if (through.size > 0) allowed += 1
        for (const [how, by] of through)
          lines.add(`  ${row.id} (${row.access}) through ${by.join(', ')}: ${how || 'yes'}`)
      }
      for (const line of lines) print(line)
    }
    print(`${allowed} of ${all} operations; policy ${asking.policy.revision}`)
    return allowed > 0 ? 0 : 1
  })
