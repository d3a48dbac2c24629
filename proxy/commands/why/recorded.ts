// A decision of the evidence → the questions that policy may have been asked. What the evidence does not hold, and an
// answer may hang on, is named and never made up.
import type { Recorded } from '../../audit/decisions.ts'
import { isHidden } from '../../audit/names.ts'
import type { OpenedInputs } from '../../audit/opened_inputs.ts'
import type { Directory } from '../../directory/source.ts'
import type { Connection, Entitlements, Holding, Principal, Route } from '../../model.ts'
import { UNKNOWN, type Act } from '../../pipeline/classify.ts'
import type { Question } from '../../pipeline/decide.ts'
import type { Snapshot } from '../../pipeline/exchange.ts'
import { NO_BODY, type Body } from '../../pipeline/inspect.ts'
import { asMessage } from '../../pipeline/mcp.ts'
import type { Reads } from '../../policy/why/reads.ts'
import { messageOf } from '../../problem.ts'
import { canonicalTarget } from '../../wire/canonical.ts'

export type Rebuilt = {
  /** One for each way in which the account and the body may have been; all of them have the rest in common. */
  readonly questions: readonly Question[]
  /** Members of the input that are not known, and that the answer may hang on. */
  readonly unknown: readonly string[]
  /** Whose word the person's facts are. */
  readonly facts: 'as recorded' | 'now' | 'unknown'
  /** The very input, as it was kept; then nothing of it is unknown. Absent: it is made anew. */
  readonly document?: string
  /** Why the input that was kept is not used; absent: none was looked for, or it is used. */
  readonly unused?: string
}
export type Rebuild = (record: Recorded) => Promise<Rebuilt>

type RebuildDeps = {
  readonly connections: ReadonlyMap<string, Connection>
  readonly classify: Snapshot['classify']
  readonly reads: Reads
  /** The file of people; null: their source is another, and only the deputy that serves can ask it. */
  readonly people: Pick<Directory, 'ask'> | null
  /** What the file says now counts, also where it is not what it said then. */
  readonly now: boolean
  /** What policy was asked, opened; null: nobody gave the files and the key. */
  readonly inputs: OpenedInputs | null
}

const FACTS = ['user.groups', 'user.roles', 'user.entitlements'] as const
const NOBODY: Entitlements = {
  active: true,
  groups: [],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'none',
  digest: '',
  asOf: null,
}

/** Not connected; connected without scopes; with all that the connection may ask for. */
const accountsOf = (connection: Connection): readonly Holding[] => [
  accountWith(connection, connection.scopes),
  accountWith(connection, []),
  NO_ACCOUNT,
]
const NO_ACCOUNT: Holding = { kind: 'none' }
const accounts = new WeakMap<Connection, Map<string, Holding>>()
/** One object for what is alike: what the pipeline prepares for it is prepared once. */
const accountWith = (connection: Connection, scopes: readonly string[]): Holding => {
  const known = accounts.get(connection) ?? new Map<string, Holding>()
  accounts.set(connection, known)
  const key = scopes.join(' ')
  const account = known.get(key) ?? held(connection.name, scopes)
  if (known.size < 1_000) known.set(key, account)
  return account
}
/** An account that this agent may use with these scopes. */
export const held = (connection: string, scopes: readonly string[]): Holding => ({
  kind: 'held',
  credential: connection,
  status: 'active',
  account: '',
  generation: 1,
  scopes,
  granted: scopes,
})

const principalOf = ({ user, agent, run }: Recorded): Principal => {
  const { id, realm, tenant, verified, asserted_by: by, standing } = user
  const { workload } = agent
  return {
    person: { id, realm, tenant },
    agent: agent.id,
    verified,
    claims: null,
    issuedAt: null,
    expiresAt: null,
    run,
    ...(by === undefined ? {} : { assertedBy: by }),
    ...(standing === undefined ? {} : { standing }),
    ...(workload === undefined
      ? {}
      : { workload: { name: workload.name, subject: workload.subject } }),
  }
}

/** The call as the catalogue of now has it; a text: why it is not the recorded one. */
const actOf = (record: Recorded, route: Route, classify: RebuildDeps['classify']): Act | string => {
  const act = classify(route)
  const { id, graphql, mcp } = record.operation
  const differs = `operation.id (the catalogue of now calls it ${act.operation.id})`
  if (act.fields !== undefined) {
    if (graphql === undefined) return 'operation.graphql'
    const { type, field } = graphql
    const operation = act.fields.get(`${type} ${field}`) ?? UNKNOWN
    if (operation.id !== id) return differs
    const root = { type, name: '', fields: [field] as const, depth: 1, types: [], selects: [] }
    return { operation, kind: 'graphql', segments: act.segments, graphql: root }
  }
  if (act.messages !== undefined) {
    const key =
      mcp === undefined ? '' : `${mcp.method}${mcp.name === undefined ? '' : ` ${mcp.name}`}`
    const row = act.messages.get(key) ?? act.messages.get(mcp?.method ?? '')
    return row === undefined || row.id !== id ? 'operation.mcp' : asMessage(row, act.segments)
  }
  return act.operation.id === id ? act : differs
}

/** What was sent of a body is known by its digest alone. */
const bodiesOf = ({ request: { method, body_digest: digest } }: Recorded): readonly Body[] => {
  if (digest !== null) return [{ ...NO_BODY, state: 'parsed', declared: -1, digest }]
  const streamed: Body = { ...NO_BODY, state: 'unparsed', declared: -1 }
  return method === 'GET' || method === 'HEAD' ? [NO_BODY] : [NO_BODY, streamed]
}

/** What the record leaves out of the call, and a rule or row asks for. */
const leftOut = (
  record: Recorded,
  act: Act,
  lineage: readonly string[],
  reads: Reads,
): string[] => {
  const { request, operation, user, part } = record
  const members: string[] = []
  const { inspect } = act.operation
  const keys = request.query_keys
  const carries =
    request.body_digest !== null || keys.length > 0 || act.kind === 'graphql' || act.kind === 'mcp'
  const pointer = carries ? inspect.find((one) => reads.names(one)) : undefined
  if (pointer !== undefined) members.push(`request.body.json${pointer}`)
  const asked = keys.find((key) => isHidden(key) || reads.names(key))
  if (asked !== undefined) members.push(`request.query.${asked}`)
  if (request.path.split('/').some(isHidden)) members.push('request.segments')
  if (act.kind === 'graphql' && reads.selections(lineage)) members.push('operation.graphql.selects')
  if (isHidden(operation.mcp?.name ?? '')) members.push('operation.mcp.name')
  if (isHidden(user.id)) members.push('user.id')
  if (user.standing !== undefined) members.push('user.standing')
  if (part !== undefined && reads.names('part')) members.push('request.part')
  const body = request.body_digest === null ? 'request.body' : ''
  const wanted = new Set(reads.rows(lineage, act.operation))
  // Of a call that is no mail there is none to know.
  if (act.operation.mail === undefined) wanted.delete('request.mail')
  else if (reads.domains(lineage)) wanted.add('request.mail')
  for (const member of wanted) if (member !== body) members.push(member)
  return members
}

const lost = (...unknown: readonly string[]): Rebuilt => ({
  questions: [],
  unknown,
  facts: 'unknown',
})

/** The question whose input was kept: of the call only what deputy itself judges by, after policy. */
const asKept = (record: Recorded, connection: Connection): Question => ({
  id: record.exchange,
  principal: principalOf(record),
  route: { connection, host: record.request.host, target: canonicalTarget('GET', '/') },
  act: { operation: { ...UNKNOWN, ...record.operation }, kind: 'deputy', segments: [] },
  body: null,
  stripped: [],
  facts: { entitlements: NOBODY, ageMs: () => record.entitlements.age_ms },
  holding: NO_ACCOUNT,
  scopes: [],
})

/** Asks nobody but the file of people. */
export const createRebuild = (deps: RebuildDeps): Rebuild => {
  const anew = createAnew(deps)
  return async (record) => {
    const connection = deps.connections.get(record.connection)
    if (deps.inputs === null || record.input === undefined || connection === undefined)
      return anew(record)
    const kept = await deps.inputs.of(record, record.input)
    return kept.kind === 'unusable'
      ? { ...(await anew(record)), unused: kept.why }
      : {
          questions: [asKept(record, connection)],
          unknown: [],
          facts: 'as recorded',
          document: kept.text,
        }
  }
}

/** From what the evidence holds. */
const createAnew = (deps: RebuildDeps): Rebuild => {
  // Who is alike is one object: what the pipeline prepares for it is prepared once.
  const principals = new Map<string, Principal>()
  const factsOf = async (
    record: Recorded,
    { person }: Principal,
  ): Promise<Pick<Rebuilt, 'facts'> & { readonly known: Entitlements }> => {
    const said = (await deps.people?.ask(person, 0)) ?? null
    if (said !== null && said.digest === record.entitlements.digest)
      return { known: said, facts: 'as recorded' }
    return deps.now && deps.people !== null
      ? { known: said ?? { ...NOBODY, active: false }, facts: 'now' }
      : { known: NOBODY, facts: 'unknown' }
  }
  return async (record) => {
    const connection = deps.connections.get(record.connection)
    if (connection === undefined || connection.provider.id !== record.provider)
      return lost(`connection (${record.connection} of ${record.provider} is not configured here)`)
    const { request, checks } = record
    let act: Act | string
    let target: Route['target']
    try {
      const query = request.query_keys.map((key) => `${encodeURIComponent(key)}=`).join('&')
      target = canonicalTarget(request.method, `${request.path}${query && `?${query}`}`)
      const asset = connection.provider.assets.has(request.host)
      // Of a route only what names the call counts here: nothing is dialled.
      const nowhere = { origin: '', authority: '', port: 0, named: null }
      const addressing = { kind: 'absolute' } as const
      const route: Route = {
        connection,
        host: request.host,
        asset,
        target,
        addressing,
        ...nowhere,
      }
      act = actOf(record, route, deps.classify)
    } catch (error) {
      return lost(`request.path (${messageOf(error)})`)
    }
    if (typeof act === 'string') return lost(act)
    const made = principalOf(record)
    const key = JSON.stringify(made)
    const principal = principals.get(key) ?? made
    if (principals.size < 10_000) principals.set(key, principal)
    const { known, facts } = await factsOf(record, principal)
    const unknown = leftOut(record, act, connection.provider.lineage, deps.reads)
    if (facts === 'unknown') unknown.unshift(...FACTS)
    const ageMs = (): number => record.entitlements.age_ms
    // Downloads go without an account.
    const accounts =
      record.scopes === null
        ? accountsOf(connection).slice(act.kind === 'asset' ? -1 : 0)
        : [accountWith(connection, record.scopes)]
    const id = deps.reads.names('request_id') ? record.exchange : ''
    const questions = accounts.flatMap((holding) =>
      bodiesOf(record).map((body): Question => ({
        id,
        via: record.via,
        principal,
        route: { connection, host: request.host, target },
        act,
        body,
        stripped: record.stripped,
        facts: { entitlements: known, ageMs },
        holding,
        ...(checks === undefined ? {} : { checks: checks.answers }),
        ...(record.part === undefined ? {} : { part: { number: record.part, of: record.part } }),
      })),
    )
    return { questions, unknown, facts }
  }
}
