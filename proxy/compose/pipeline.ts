// The request's way: its stations, each handed what it needs.
import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import type { Seen, Snapshot, Traces } from '../pipeline/exchange.ts'
import { realmOf } from '../config/applications.ts'
import type { Connection, Log, PolicyEngine, Route, Via } from '../model.ts'
import { clientCertificate } from '../net/client_certificate.ts'
import type { Dedicated } from '../net/admit.ts'
import { createIssuerKeys, type KeySource } from '../oauth/issuer_keys.ts'
import type { Shadow, ShadowTold } from '../policy/shadow.ts'
import type { PolicySource } from '../policy/source.ts'
import { Problem } from '../problem.ts'
import type { Metrics } from '../observe/metrics.ts'
import { createPep, type PepDeps, type Planned } from '../pipeline/pep.ts'
import { snapshotOf } from './snapshot.ts'
import { createAddressTags } from '../wire/address_tag.ts'
import { createMcpSessions } from '../wire/mcp_session.ts'
import { createQuerySeals } from '../wire/query_seal.ts'
import { createSift } from '../wire/headers.ts'
import { needsOf } from '../consent/approvers.ts'
import { isAsk } from '../consent/asks.ts'
import { demandIn } from '../consent/step_ups.ts'
import { createChecks } from '../pipeline/checks.ts'
import { createCredentials, lookAgain } from '../pipeline/credential.ts'
import { createDecide, type Decide } from '../pipeline/decide.ts'
import { createEntitlements } from '../pipeline/entitlements.ts'
import { createObligations, type Carrier, type Obligations } from '../pipeline/obligations.ts'
import { createLogCarrier, createNotificationCarrier } from '../pipeline/obligation/telling.ts'
import { redactCarrier } from '../pipeline/obligation/redaction.ts'
import { createSealCarrier } from '../pipeline/obligation/seal.ts'
import { createHistory } from '../pipeline/obligation/history.ts'
import { createLimits } from '../pipeline/obligation/limits.ts'
import type { Hooks } from '../pipeline/obligation/hooks.ts'
import { createIdentify, type Identify } from '../pipeline/identify.ts'
import { readUpTo } from '../pipeline/inspect.ts'
import { matchRoute } from '../pipeline/route.ts'
import { createTagged } from '../pipeline/tag_place.ts'
import { createApplications } from '../pipeline/application.ts'
import { createWorkloads } from '../pipeline/workload/workload.ts'
import { checksOf } from './checks.ts'
import { hooksOf } from './hooks.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import type { Configured } from './scope.ts'

export type Pipeline = {
  readonly pep: ReturnType<typeof createPep>
  /** The same way for calls that come by another door. */
  readonly within: (via: Via) => ReturnType<typeof createPep>
  /** The same way as far as the decision: nothing leaves, no token is fetched, no call is recorded. */
  readonly planning: (via: Via, planned: (plan: Planned) => void) => ReturnType<typeof createPep>
  /**
   * The way of a call that follows later as far as the decision: where that is no, it is refused, recorded and waited for as
   * the call itself would be. `free`: it might leave now; nothing is recorded then, and nothing has left.
   */
  readonly rehearsing: (via: Via, free: () => void) => ReturnType<typeof createPep>
  readonly identify: Identify
  readonly obligations: Obligations
  readonly hooks: Hooks | null
  /** What people said, by the directory of this configuration. */
  readonly asked: Pick<PepDeps, 'approvals' | 'stepUps'>
  readonly entitlements: ReturnType<typeof createEntitlements>
  /** Of what is no call yet: no authorization service is asked about it. */
  readonly decide: Decide
  /** Of a call: what those services say of it at this moment counts. */
  readonly decideCall: Decide
  readonly snapshot: () => Snapshot
}

/** What a call asks that may have waited while the configuration changed: of the one in force then. */
export type Later = {
  readonly connections: () => ReadonlyMap<string, Connection>
  readonly policy: PolicySource
  readonly shadow: Shadow | null
  readonly pipeline: Pick<
    Pipeline,
    'identify' | 'entitlements' | 'decide' | 'decideCall' | 'snapshot' | 'hooks' | 'asked'
  >
}

/** An issuer that cannot be asked just now is no reason to forget what it said. */
export const keysOf =
  ({ config, clock, log, keep }: Configured, fetch: Core['fetch']) =>
  ({ issuer, jwksUri, jwksFile, spiffe }: KeySource) => {
    const grace = config.identity.jwks_grace
    return keep('keys', [issuer, jwksUri, jwksFile, spiffe, grace], () => {
      const source = { issuer, jwksUri, jwksFile, spiffe }
      const value = createIssuerKeys(source, { grace, fetch, clock, log })
      return { value, close: value.close }
    })
  }

const identifyOf = (
  scope: Configured,
  { issuers, workloads: rows, runs, standings, fetch, issuerSessions }: Core,
): Identify => {
  const { config, clock, log } = scope
  const { identity } = config
  const verifying = { keysOf: keysOf(scope, fetch), clock }
  const workloads = createWorkloads({
    ...rows,
    ...verifying,
    header: identity.agent_header.toLowerCase(),
    required: identity.agent_required,
    fetch,
    log,
  })
  const applications = createApplications(
    config.applications.map((row) => ({
      name: row.name,
      keys: row.bearer ?? [],
      workload: row.workload ?? null,
      agent: row.agent,
      realm: realmOf(config, row),
      tenants: row.tenants ?? ['default'],
      people: row.people,
    })),
  )
  return createIdentify({
    ...verifying,
    maxAge: identity.max_age,
    trust: identity.trust,
    header: identity.header.toLowerCase(),
    issuers,
    workloads,
    applications,
    plainAgent: identity.agent,
    plainRealm: identity.realm,
    run: runs.verify,
    standing: standings.verify,
    session: issuerSessions.seen,
  })
}

/** Calls see what an issuer says anew with the next one that comes. */
const snapshots = (connections: Core['connections']) => {
  let seen = connections()
  let tables = snapshotOf(seen)
  return () => {
    if (seen !== connections()) tables = snapshotOf((seen = connections()))
    return tables
  }
}

const observe = (seen: Seen, metrics: Metrics, log: Log): void => {
  metrics.call(seen)
  log.debug(seen, 'call')
}

/** Refuses a call that waited while what it was understood by changed: whoever calls again is served by what is in force. */
const stillAs = (then: () => Snapshot, later: () => Later) =>
  function stands(req: IncomingMessage, { connection }: Route, dedicated: Dedicated | null): void {
    const { routes } = later().pipeline.snapshot()
    if (routes === then().routes) return
    const now = matchRoute(routes, req, dedicated).connection // 404 409: as of a call that begins
    const same =
      now.name === connection.name &&
      isDeepStrictEqual([now.provider, now.scopes], [connection.provider, connection.scopes])
    if (!same)
      throw new Problem(
        'configuration_changed',
        `the configuration of ${connection.name} changed while this call waited`,
        { extra: { retry_after: 1 } },
      )
  }

/** What deputy gives out and knows again: each by a key of its own. */
const sealsOf = (sealer: Core['sealer'], now: () => number) => {
  const keyOf = (room: string, use: string): Buffer =>
    Buffer.from(sealer.hmac(room, use), 'base64url')
  return {
    addressTags: createAddressTags({ key: keyOf('address', 'tag'), randomBytes, now }),
    querySeals: createQuerySeals({ key: keyOf('query', 'seal'), now }),
    mcpSessions: createMcpSessions({ key: keyOf('mcp', 'session') }),
  }
}

/** The same way up to what would leave: nothing is begun, sent or kept. */
const planningOf =
  ({ traces: _traces, ...stations }: PepDeps, { vault, store }: Pick<Core, 'vault' | 'store'>) =>
  (via: Via, planned: (plan: Planned) => void): ReturnType<typeof createPep> =>
    createPep({
      ...stations,
      via,
      planned: (plan) => {
        planned(plan)
        return true
      },
      vault,
      history: createHistory({ history: store.history, clock: stations.clock, keeps: false }),
      evidence: { ...stations.evidence, refused: () => {} },
      link: () => Promise.reject(new Problem('internal', 'a plan begins nothing by itself')),
      observe: () => {},
    })

const rehearsingOf =
  (stations: PepDeps, obligations: Pick<Obligations, 'able'>, { store }: Pick<Core, 'store'>) =>
  (via: Via, free: () => void): ReturnType<typeof createPep> => {
    let isFree = false
    return createPep({
      ...stations,
      via,
      planned: ({ decision }) => {
        if (decision.effect !== 'allow') return false
        obligations.able(decision)
        isFree = true
        free()
        return true
      },
      history: createHistory({ history: store.history, clock: stations.clock, keeps: false }),
      // What might leave is counted when it does.
      observe: (seen) => {
        if (seen.code !== null) stations.observe(seen)
      },
      // Its span is made when it leaves: each call has one.
      ...(stations.traces === undefined
        ? {}
        : { traces: unlessFree(stations.traces, () => isFree) }),
    })
  }

const unlessFree = ({ begin, spanOf }: Traces, isFree: () => boolean): Traces => ({
  spanOf,
  begin: (traceparent) => {
    const timeline = begin(traceparent)
    return (
      timeline && {
        at: timeline.at,
        end: (ended) => {
          if (!isFree()) timeline.end(ended)
        },
      }
    )
  },
})

/** The policy in force, with `policy.shadow` beside it for calls that would leave. */
const besideShadow = ({ metrics, note }: Core, later: () => Pick<Later, 'policy' | 'shadow'>) => {
  const told: ShadowTold = {
    counted: metrics.shadow,
    differed: ({ part, ...what }) =>
      note('policy.shadow', part === null ? what : { ...what, part }),
  }
  return (): PolicyEngine | null => {
    const { policy, shadow } = later()
    const engine = policy.current()
    return engine === null || shadow === null ? engine : shadow.beside(engine, told)
  }
}
const bodyLimits = (limits: Configured['config']['limits']): PepDeps['limits'] => ({
  requestBody: limits.request_body,
  inspectedBody: limits.inspected_body,
})

const obligationsOf = (scope: Configured, core: Core): Obligations =>
  createObligations(carriersOf(scope, core), createLimits(core.count), core.metrics.obligation)

/** What people answer, and how a call waits for it. */
const answersOf = (
  { asks }: Consent['asking'],
  flows: Consent['flows'],
  later: () => Pipeline['asked'],
): Pick<PepDeps, 'approvals' | 'stepUps' | 'needsOf' | 'demandIn' | 'link' | 'ended'> => ({
  link: ({ person, agent }, { name: connection }, scopes, { again, challenge, operation }) =>
    flows.ask({ person, agent, connection }, scopes, {
      reauthorization: again,
      challenge,
      operation,
    }),
  // A call that waited goes by the directory of now: the one that it began with looks at nothing any more.
  approvals: {
    get able() {
      return later().approvals.able
    },
    begin: (ask) => later().approvals.begin(ask),
    given: (...call) => later().approvals.given(...call),
    spend: (...by) => later().approvals.spend(...by),
  },
  stepUps: {
    get able() {
      return later().stepUps.able
    },
    met: (...by) => later().stepUps.met(...by),
    begin: (...by) => later().stepUps.begin(...by),
  },
  needsOf,
  demandIn,
  ended: async ({ person, agent }, id, ms, signal) => {
    const who = { person, agent }
    const { status } = await (isAsk(id) ? asks : flows).status(id, who, ms, signal)
    return status === 'completed' || status === 'given' || status === 'used'
  },
})

/** @param later what is in force when it is asked */
export const createPipeline = (
  scope: Configured,
  core: Core,
  consent: Pick<Consent, 'people' | 'flows' | 'session' | 'asking'>,
  later: () => Later,
): Pipeline => {
  const { config, clock, log } = scope
  const { connections, metrics, evidence, calls, rate, sealer, hold } = core
  const { people, flows, session, asking: asks } = consent
  const tagHeader = config.identity.header.toLowerCase()
  const agentHeader = config.identity.agent_header.toLowerCase()
  const identify = identifyOf(scope, core)
  const entitlements = createEntitlements({
    source: people,
    maxAge: config.entitlements?.max_age ?? { read: 0, write: 0, delete: 0, admin: 0 },
    clock,
    aged: metrics.sources.aged,
  })
  const { plain, asking, supposing } = decidingOf(scope, core)
  const snapshot = snapshots(connections)
  const seals = sealsOf(sealer, clock.now)
  const obligations = obligationsOf(scope, core)
  const stations: PepDeps = {
    via: 'proxy',
    snapshot,
    stands: stillAs(snapshot, later),
    policy: besideShadow(core, later),
    tagged: createTagged({
      tagHeader,
      agentHeader,
      addressTags: seals.addressTags,
      tagged: identify.tagged,
      read: (req) => readUpTo(req, config.limits.inspected_body),
      most: config.limits.calls,
    }),
    identify: (...by) => later().pipeline.identify.identify(...by),
    certificate: (req) => clientCertificate(req.socket),
    tags: identify.tags,
    tag: identify.tag,
    agentOn: core.agents.allowed,
    ...seals,
    entitlements: (who, access, fresh) => later().pipeline.entitlements(who, access, fresh),
    ...grantsOf(core, clock.now, () => later().connections()),
    decide: (...question) => later().pipeline.decideCall(...question),
    supposing: (...question) => later().pipeline.decide(...question),
    obligations,
    history: core.history,
    hooks: () => later().pipeline.hooks,
    forward: core.forward,
    evidence,
    calls,
    rate,
    ...answersOf(asks, flows, () => later().pipeline.asked),
    readWhole: (req) => readUpTo(req, config.limits.inspected_body),
    hold,
    limits: bodyLimits(config.limits),
    auditRequired: config.audit.required,
    sift: createSift([tagHeader, agentHeader], identify.tags.holds),
    typeBase: session.publicUrl,
    clock,
    log,
    observe: (seen) => observe(seen, metrics, log),
    traces: core.traces,
  }
  const unshadowed: PepDeps = { ...stations, policy: () => later().policy.current() }
  return {
    pep: createPep(stations),
    within: (via) => createPep({ ...stations, via }),
    planning: planningOf(unshadowed, core),
    rehearsing: rehearsingOf(unshadowed, obligations, core),
    identify,
    entitlements,
    obligations,
    hooks: hooksOf(scope, core, plain),
    asked: asks,
    decide: supposing,
    decideCall: asking,
    snapshot,
  }
}

/** `plain`: without a word of authorization services. */
const decidingOf = (scope: Configured, { fetch, newId, metrics, history }: Core) => {
  const { config, clock } = scope
  const keeps = config.audit.inputs === 'sealed'
  const plain = history.informing(createDecide(clock, newId, metrics.evaluated, keeps))
  const checks = checksOf(config, { ...scope, fetch, seen: metrics.checks })
  return { plain, ...createChecks(plain, checks, clock) }
}

/** What carries out each type of obligation, in this order: what refuses by itself comes before what is done. */
const carriersOf = (
  { config, clock, log }: Configured,
  { store, evidence }: Core,
): ReadonlyMap<string, Carrier> => {
  const auditRequired = config.audit.required
  const keep = evidence.sealMembers
  return new Map([
    ['redact', redactCarrier],
    ...(keep === null
      ? []
      : [['seal', createSealCarrier({ keep, evidence, auditRequired, log })] as const]),
    ['log', createLogCarrier({ log, evidence, auditRequired })],
    [
      'notification',
      createNotificationCarrier({
        notices: store.notices,
        clock,
        deliver: config.connect.notify !== undefined,
      }),
    ],
  ])
}

/**
 * What people have granted, and their tokens. Refreshes go by the client's secret of now, also for a call that began
 * before it changed.
 */
const grantsOf = (
  { vault, client, refresher, metrics, used, standings }: Core,
  now: () => number,
  connections: Core['connections'],
): Pick<PepDeps, 'vault' | 'credentials' | 'used'> => {
  const { fresh, atHand } = refresher
  const { take, again } = createCredentials({
    vault,
    alive: client.alive,
    fresh,
    atHand,
    now,
    outcome: metrics.credential,
  })
  const latest = (one: Connection): Connection => connections().get(one.name) ?? one
  return {
    vault: { look: lookAgain({ look: vault.look, fresh, connections, now }) },
    credentials: {
      take: (holding, connection, host, agent) => take(holding, latest(connection), host, agent),
      again: (before, connection, said, agent) => again(before, latest(connection), said, agent),
    },
    used: (who, connection) => {
      used.note(who.person, who.agent, connection)
      standings.used(who)
    },
  }
}
