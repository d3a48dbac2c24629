// Input → WASM → checked decision. Fragments that repeat are prepared once; decisions are never cached.
import { follow } from '../follow.ts'
import type {
  Approval,
  CallHistory,
  Clock,
  Connection,
  Decision,
  Entitlements,
  Holding,
  InputMember,
  Operation,
  PolicyEngine,
  PolicyDecision,
  PolicyFailure,
  Principal,
  Provider,
  Reason,
  Route,
  RunReach,
  Via,
} from '../model.ts'
import type { Act } from './classify.ts'
import type { Facts } from './entitlements.ts'
import { askable, lacking, widened } from '../wire/scopes.ts'
import { members, quoted, quotedList } from '../wire/json.ts'
import { signInOf } from '../wire/sign_in.ts'
import type { Body } from './inspect.ts'
import { mcpMember } from './mcp.ts'
import { createNow } from '../wire/now.ts'
import { inFamily } from '../wire/pattern.ts'
import { shareOf } from '../shares.ts'

/** What one decision is about. */
export type Question = {
  readonly id: string
  /** absent: the proxy's. */
  readonly via?: Via
  /** Asked for a list of what may be done, without arguments: nothing will leave. */
  readonly listing?: boolean
  readonly principal: Principal
  readonly route: Pick<Route, 'connection' | 'host' | 'target'>
  readonly act:
    | Act
    | {
        readonly operation: Operation
        readonly kind: 'deputy'
        readonly segments: readonly string[]
      }
  readonly body: Body | null
  readonly stripped: readonly string[]
  readonly facts: Facts
  readonly holding: Holding
  /** What authorization services say of this very call, by the names of the checks; absent: none was asked. */
  readonly checks?: Readonly<Record<string, boolean>>
  /** What people said yes to, of this very call; absent: nothing. */
  readonly approvals?: readonly Approval[]
  /** What was allowed before; absent: no table asks. */
  readonly history?: CallHistory
  /** The same of each part of a call that is several, from 1. */
  readonly approvalsOf?: (part: number) => readonly Approval[]
  /** A sign-in that counts instead of what assertion and directory say; null or absent: theirs does. */
  readonly auth?: Entitlements['auth']
  /** The scopes to demand, where the parts of one call are chosen for together; one of the operation's own lists. */
  readonly scopes?: readonly string[]
  /** Which of the calls in a batch, from 1, and how many there are. */
  readonly part?: { readonly number: number; readonly of: number }
}

/** The reasons that only the person can lift, by consenting; anything beside them refuses. */
export const CONSENT: ReadonlySet<string> = new Set(['connection_missing', 'scope_missing'])
/** What a person can lift, one after another: their consent, a stronger sign-in of theirs, somebody's approval. */
const LIFTS = ['step_up_required', 'approval_required'] as const
const lifts = ({ code }: Reason): boolean =>
  CONSENT.has(code) || LIFTS.some((effect) => effect === code)

const STALE: readonly Reason[] = [
  { code: 'entitlements_stale', msg: 'the facts are older than this decision allows' },
]
const NO_SCOPES: readonly string[] = []
/** What this agent may use of the stored scopes, with all that they contain, by every name. */
export const usable = (
  holding: Holding,
  provider: Pick<Provider, 'scopeReach'>,
): readonly string[] => {
  if (holding.kind === 'none' || holding.granted === null || holding.status !== 'active')
    return NO_SCOPES
  const granted = widened(provider, holding.granted)
  const scopes = widened(provider, holding.scopes)
  return scopes.every((scope) => granted.includes(scope))
    ? scopes
    : scopes.filter((scope) => granted.includes(scope))
}

/**
 * The scopes to demand: the first list that is granted, else the one that the connection may ask for and that adds least to
 * what is granted, the first of several. Where no source says which suffice: all that the connection lists.
 */
export const chooseScopes = (
  { scopes }: Operation,
  granted: readonly string[],
  allowed: readonly string[],
  listed = allowed,
): readonly string[] => {
  if (scopes.length === 0) return listed
  const held = scopes.find((list) => list.every((scope) => granted.includes(scope)))
  if (held !== undefined) return held
  const lacks = (list: readonly string[]): number =>
    list.filter((scope) => !granted.includes(scope)).length
  const open = scopes.filter((list) => list.every((scope) => allowed.includes(scope)))
  const [least] = open.toSorted((a, b) => lacks(a) - lacks(b))
  return least ?? scopes[0] ?? NO_SCOPES
}

/** Those of `wanted` that no operation of a run needs: it asks its person for nothing else. */
export const beyondRun = (
  reach: RunReach | undefined,
  { provider, scopes: listed }: Pick<Connection, 'provider' | 'scopes'>,
  wanted: readonly string[],
): readonly string[] => {
  const operations = reach?.operations ?? null
  if (operations === null) return NO_SCOPES
  const needed = provider.operations
    .filter(({ id }) => operations.some((named) => inFamily(named, id)))
    .flatMap((one) => chooseScopes(one, NO_SCOPES, widened(provider, listed), listed))
  return lacking(provider, askable(provider, listed, needed), wanted)
}
/** A run touches only what it was minted for, whatever policy says. */
const reaches = (reach: RunReach, { route: { connection }, act }: Question): boolean =>
  reach.connections.includes(connection.name) &&
  (reach.operations === null ||
    (act.kind === 'deputy'
      ? beyondRun(reach, connection, act.operation.scopes.flat()).length === 0
      : reach.operations.some((named) => inFamily(named, act.operation.id))))
const OUT_OF_REACH: PolicyDecision = {
  version: 1,
  allow: false,
  reasons: [
    { code: 'run_scope', msg: 'the run was not minted for this connection, operation or scope' },
  ],
  required_scopes: [],
  obligations: {},
  max_entitlement_age_s: 0,
  grants: [],
}

export type Decide = (
  engine: PolicyEngine | null,
  question: Question,
) => Promise<Decision> | Decision

/** A call in a batch, as policy is asked about it: with a target and a body of its own. */
export const asPart = <Q extends Pick<Question, 'route' | 'body' | 'stripped'>>(
  question: Q,
  { target }: Act,
  index: number,
): Q => {
  const body = question.body?.parts?.[index]
  if (target === undefined || body === undefined) return question
  const { route, stripped } = question
  return {
    ...question,
    route: { ...route, target },
    body,
    stripped: [...stripped, ...body.stripped],
  }
}

/** For each part the list of scopes to demand, so that one consent asks for the least that suffices for all. */
const scopesTogether = (
  { holding, route: { connection } }: Question,
  acts: readonly Act[],
): readonly (readonly string[])[] => {
  const { provider, scopes: listed } = connection
  const granted = usable(holding, provider)
  const allowed = widened(provider, listed)
  const chosen = acts.map(({ operation }) => chooseScopes(operation, granted, allowed, listed))
  for (const [i, { operation }] of acts.entries()) {
    if (chosen[i]?.every((scope) => granted.includes(scope)) === true) continue
    // What another part needs anyway suffices here too, where one of the alternatives is just that.
    const had = new Set([...granted, ...chosen.flatMap((list, j) => (j === i ? [] : list))])
    const free = operation.scopes.find((list) => list.every((scope) => had.has(scope)))
    if (free !== undefined) chosen[i] = free
  }
  return chosen
}

/** So many are asked about at once; between them other calls have their turn. */
const AT_ONCE = 8
const othersTurn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve)
  })

/** Of each part what was allowed before it, with the parts before: either all leave, or none. */
const historyOfParts = (
  { principal, route, history }: Question,
  acts: readonly Act[],
): readonly Pick<Question, 'history'>[] => {
  if (history === undefined) return acts.map(() => ({}))
  const provider = route.connection.provider.id
  const counts = new Map<string, number>()
  return acts.map(({ operation: { id } }) => {
    const parts = [...counts].map(([operation, count]) => ({
      provider,
      operation,
      count,
      last_s: 0,
    }))
    counts.set(id, (counts.get(id) ?? 0) + 1)
    const person = [...history.person, ...parts]
    const run = principal.run === null ? history.run : [...history.run, ...parts]
    return { history: { ...history, person, run } }
  })
}

/** What is asked about each part of a call that is several. */
export const questionsOf = (question: Question, acts: readonly Act[]): readonly Question[] => {
  const chosen = scopesTogether(question, acts)
  const histories = historyOfParts(question, acts)
  const of = acts.length
  return acts.map((act, i) => ({
    ...asPart(question, act, i),
    ...histories[i],
    act,
    scopes: chosen[i] ?? NO_SCOPES,
    ...(question.approvalsOf === undefined ? {} : { approvals: question.approvalsOf(i + 1) }),
    ...(act.target === undefined ? {} : { part: { number: i + 1, of } }),
  }))
}
/** Decides each part of a call that is several. */
export const decideEach = async (
  decide: Decide,
  engine: PolicyEngine | null,
  question: Question,
  acts: readonly [Act, ...Act[]],
): Promise<readonly [Decision, ...Decision[]]> => {
  const questions = questionsOf(question, acts)
  const said: Decision[] = []
  for (let at = 0; at < questions.length; at += AT_ONCE) {
    if (at > 0) await othersTurn()
    const some = questions.slice(at, at + AT_ONCE)
    said.push(...(await Promise.all(some.map(async (one) => decide(engine, one)))))
  }
  const [first, ...rest] = said
  if (first === undefined) throw new Error('a call of several parts has none')
  return [first, ...rest]
}

const union = <T>(lists: readonly (readonly T[])[]): readonly T[] => [...new Set(lists.flat())]
/** Without those that another of them contains; of two names of one the first stays. */
const leastOf = (
  provider: Pick<Provider, 'scopeReach'>,
  scopes: readonly string[],
): readonly string[] =>
  scopes.reduce<readonly string[]>((kept, scope) => {
    const others = kept.filter((one) => one !== scope)
    return lacking(provider, others, [scope]).length === 0 ? others : kept
  }, scopes)
/** How hard each answer refuses; of what people can lift the later the earlier they are asked. */
const RANK: Readonly<Record<Decision['effect'], number>> = {
  allow: 0,
  approval_required: 1,
  step_up_required: 2,
  consent_required: 3,
  deny: 4,
  error: 5,
}

/**
 * One answer for a call of several parts: what refuses hardest wins, so that all must be allowed;
 * its id is that of the first part that was refused that hard.
 */
export const together = (
  decisions: readonly [Decision, ...Decision[]],
  provider: Pick<Provider, 'scopeReach'> = {},
): Decision => {
  const [first, ...rest] = decisions
  const hardest = rest.reduce(
    (worst, one) => (RANK[one.effect] > RANK[worst.effect] ? one : worst),
    first,
  )
  const reasons = decisions.flatMap((one) => one.reasons)
  return {
    ...hardest,
    reasons: reasons.filter(({ code }, i) => reasons.findIndex((r) => r.code === code) === i),
    requiredScopes: leastOf(provider, union(decisions.map((one) => one.requiredScopes))),
    // Every part's own: a limit that counts calls counts each.
    obligations: Object.fromEntries(
      decisions.flatMap(({ obligations }, i) =>
        Object.entries(obligations).map(([name, one]) => [
          i === 0 ? name : `${name}#${i + 1}`,
          one,
        ]),
      ),
    ),
    grants: union(decisions.map((one) => one.grants)),
    decidedAt: Math.min(...decisions.map((one) => one.decidedAt)),
  }
}

/** `members`: of the user, but for what changes with time; `user`: with facts of this moment. */
type Who = {
  readonly agent: InputMember
  readonly user: InputMember
  readonly members: string
  readonly run: string
  readonly auth: Facts['entitlements']['auth']
}
/** `members`: of the operation, but for what a GraphQL document says. */
type Asked = { readonly members: string; readonly member: InputMember }
const NO_APPROVALS: InputMember = ['approvals', '[]']

/** @param evaluated learns the duration of each evaluation, in s @param keeps a decision holds what was asked */
export const createDecide = (
  clock: Clock,
  newId: () => string,
  evaluated: (seconds: number) => void,
  keeps = false,
): Decide => {
  const users = new WeakMap<Entitlements, WeakMap<Principal, Who>>()
  const providers = new WeakMap<Holding, Map<string, InputMember>>()
  const operations = new WeakMap<Operation, Map<readonly string[], Asked>>()
  const nowMember = createNow(clock)

  /** Who, so far as it does not change with time. */
  const userOf = ({ principal, facts }: Question): Who => {
    const { entitlements } = facts
    const byPrincipal = users.get(entitlements) ?? new WeakMap<Principal, Who>()
    users.set(entitlements, byPrincipal)
    let who = byPrincipal.get(principal)
    if (who === undefined) {
      const { person, verified, agent, run, workload, assertedBy, lets } = principal
      const { active, groups, roles, entitlements: rights, manager } = entitlements
      const user = members({
        id: person.id,
        realm: person.realm,
        tenant: person.tenant,
        verified,
        asserted_by: assertedBy,
        active,
        groups,
        roles,
        entitlements: rights,
        standing: lets,
        ...(manager ? { manager } : {}),
      })
      who = {
        agent: ['agent', JSON.stringify({ id: agent, workload })],
        run: run === null ? '' : `,"run":${JSON.stringify(run)}`,
        user: ['user', `{${user},"entitlements_age_ms":0}`],
        members: user,
        // A directory knows people, not how they signed in: that is in their assertion.
        auth: entitlements.auth ?? signInOf(principal.claims),
      }
      byPrincipal.set(principal, who)
    }
    return who
  }
  /** The same at this moment, where it does. */
  const aged = (of: Who, { checks, auth: stronger }: Question, age: number): InputMember => {
    const { members: user } = of
    const auth = stronger ?? of.auth
    const signIn =
      auth === null
        ? ''
        : `,"auth":${JSON.stringify({ acr: auth.acr, amr: auth.amr, age_s: auth.at === null ? null : Math.max(0, Math.round((clock.now() - auth.at) / 1_000)) })}`
    const said = checks === undefined ? '' : `,"checks":${JSON.stringify(checks)}`
    return ['user', `{${user},"entitlements_age_ms":${age}${signIn}${said}}`]
  }
  const providerMember = (
    { route, holding }: Question,
    granted: readonly string[],
  ): InputMember => {
    const { connection } = route
    const byConnection = providers.get(holding) ?? new Map<string, InputMember>()
    providers.set(holding, byConnection)
    let member = byConnection.get(connection.name)
    if (member === undefined) {
      const own = holding.kind === 'held' && holding.status === 'active' && holding.granted !== null
      const provider = JSON.stringify({
        id: connection.provider.id,
        lineage: connection.provider.lineage,
        connection: connection.name,
        connected: own,
        account: holding.kind === 'held' ? holding.account : null,
        granted_scopes: granted,
      })
      byConnection.set(connection.name, (member = ['provider', provider]))
    }
    return member
  }
  const operationMember = (
    { operation, kind }: Question['act'],
    scopes: readonly string[],
  ): Asked => {
    let byScopes = operations.get(operation)
    if (byScopes === undefined) operations.set(operation, (byScopes = new Map()))
    // The chosen list is one of the operation's own, so its identity is the key.
    let asked = byScopes.get(scopes)
    if (asked === undefined) {
      const text = members({
        id: operation.id,
        kind,
        access: operation.access,
        required_scopes: scopes,
        scope_alternatives: operation.scopes,
        inspects: operation.inspect.length > 0,
      })
      byScopes.set(scopes, (asked = { members: text, member: ['operation', `{${text}}`] }))
    }
    return asked
  }
  /** The same with what the document says: design 3, `operation.graphql`. */
  const graphqlMember = (operation: string, { graphql }: Act): InputMember => [
    'operation',
    `{${operation},"graphql":${JSON.stringify(graphql ?? null)}}`,
  ]
  const spokenMember = (operation: string, act: Act): InputMember =>
    act.mcp === undefined
      ? graphqlMember(operation, act)
      : ['operation', `{${operation},"mcp":${mcpMember(act)}}`]
  const queryText = ({ route }: Question): string => {
    const lists = new Map<string, string>()
    for (const { name, value } of route.target.query) {
      const before = lists.get(name)
      lists.set(name, before === undefined ? quoted(value) : `${before},${quoted(value)}`)
    }
    let text = ''
    for (const [name, list] of lists) text += `${text === '' ? '' : ','}${quoted(name)}:[${list}]`
    return `{${text}}`
  }
  const bodyText = (body: Body | null): string =>
    body === null || (body.state === 'none' && Object.keys(body.json).length === 0)
      ? '{"state":"none","bytes":0}'
      : JSON.stringify({
          state: body.state,
          bytes: body.declared ?? -1,
          content_type: body.contentType ?? '',
          json: body.json,
        })

  const mailText = (body: Body | null): string =>
    body?.mail === undefined ? '' : `,"mail":${JSON.stringify(body.mail)}`

  /** What is new in this call, and the members that it shares with others. */
  const input = (
    question: Question,
    scopes: readonly string[],
    granted: readonly string[],
    zones: readonly string[],
  ): readonly [string, readonly InputMember[]] => {
    const { route, act, facts, part } = question
    const who = userOf(question)
    const { agent, user, run } = who
    const operation = operationMember(act, scopes)
    const shared = [nowMember(zones), agent, providerMember(question, granted)]
    if (question.approvals === undefined) shared.push(NO_APPROVALS)
    const own: InputMember[] = []
    if (question.approvals !== undefined)
      own.push(['approvals', JSON.stringify(question.approvals)])
    if (question.history !== undefined) {
      const { person, run: ofRun } = question.history
      own.push(['history', JSON.stringify({ person, run: ofRun })])
    }
    const age = Math.round(facts.ageMs())
    const signIn = question.auth ?? who.auth
    if (age === 0 && signIn === null && question.checks === undefined) shared.push(user)
    else own.push(aged(who, question, age))
    if ('graphql' in act || 'mcp' in act) own.push(spokenMember(operation.members, act))
    else shared.push(operation.member)
    let text =
      `{"version":1,"request_id":"${question.id}"${run},"via":"${question.via ?? 'proxy'}",` +
      (question.listing === true ? '"asked":"list",' : '') +
      `"request":{"method":"${route.target.method}","host":"${route.host}","segments":${quotedList(act.segments)},"query":${queryText(question)},` +
      `"stripped":${quotedList(question.stripped)},"body":${bodyText(question.body)}` +
      `${mailText(question.body)}${part === undefined ? '' : `,"part":{"number":${part.number},"of":${part.of}}`}}`
    for (const [name, value] of own) text += `,"${name}":${value}`
    return [`${text}}`, shared]
  }

  const settle = (
    engine: PolicyEngine | null,
    question: Question,
    answer: Awaited<ReturnType<PolicyEngine['evaluate']>>,
  ): Decision => {
    const said = (
      effect: Decision['effect'],
      reasons: readonly Reason[],
      answered: PolicyDecision | null,
    ): Decision => ({
      id: newId(),
      effect,
      reasons,
      requiredScopes: answered?.required_scopes ?? NO_SCOPES,
      obligations: answered?.obligations ?? {},
      grants: answered?.grants ?? NO_SCOPES,
      revision: engine?.revision ?? '',
      digest: engine?.digest ?? '',
      decidedAt: clock.mono(),
    })
    if ('failed' in answer)
      return said('error', [{ code: answer.failed, msg: answer.detail }], null)
    const { reasons } = answer
    if (answer.allow && reasons.length === 0) {
      // The decision's own bound on the age of facts holds even where a policy forgot to compare.
      return question.facts.ageMs() > answer.max_entitlement_age_s * 1_000
        ? said('deny', STALE, answer)
        : said('allow', reasons, answer)
    }
    const { connection } = question.route
    const unlisted = lacking(connection.provider, connection.scopes, answer.required_scopes)
    const liftable = reasons.every(lifts)
    const consent = liftable && reasons.some(({ code }) => CONSENT.has(code))
    // Nobody is sent to a page that may not ask for what is missing.
    if (consent && unlisted.length === 0) return said('consent_required', reasons, answer)
    const lift = consent ? undefined : LIFTS.find((one) => reasons.some(({ code }) => code === one))
    if (liftable && lift !== undefined) return said(lift, reasons, answer)
    const why: readonly Reason[] = consent
      ? [
          ...reasons,
          {
            code: 'scope_not_listed',
            msg: `connections.${connection.name}.scopes does not list ${unlisted.join(', ')}`,
          },
        ]
      : reasons.length > 0
        ? reasons
        : [{ code: 'not_allowed', msg: 'policy gave no reason' }]
    return said('deny', why, answer)
  }

  return (engine, question) => {
    const { reach } = question.principal
    if (reach !== undefined && !reaches(reach, question))
      return settle(engine, question, OUT_OF_REACH)
    const { provider, scopes: listed } = question.route.connection
    const granted = usable(question.holding, provider)
    const scopes =
      question.scopes ??
      chooseScopes(question.act.operation, granted, widened(provider, listed), listed)
    const missing: PolicyFailure = { failed: 'policy_missing', detail: 'no policy is loaded' }
    if (engine === null) return settle(engine, question, missing)
    const began = clock.mono()
    const asked = input(question, scopes, granted, engine.asks.zones)
    const { person, agent } = question.principal
    return follow(engine.evaluate(...asked, shareOf(person.tenant, agent)), (answer) => {
      evaluated((clock.mono() - began) / 1_000)
      const said = settle(engine, question, answer)
      return keeps ? { ...said, asked } : said
    })
  }
}
