// What outlives every configuration of a process: store, evidence, vault, tokens, the calls that run. What a
// configuration says is asked for each time it is needed.
import { randomBytes } from 'node:crypto'
import { createCalls } from '../pipeline/calls.ts'
import { createForward } from '../pipeline/forward.ts'
import { createHistory } from '../pipeline/obligation/history.ts'
import { createHold } from '../pipeline/hold.ts'
import { createTenantRate } from '../pipeline/tenant_rate.ts'
import { boundsOf } from '../consent/tenants.ts'
import { naming } from '../config/backend.ts'
import type { Config } from '../config/schema.ts'
import type { Seen } from '../directory/asked.ts'
import type { Fetch } from '../net/dial.ts'
import type { Connection, PolicyEngine, StandingRow } from '../model.ts'
import { createOAuthClient } from '../oauth/client.ts'
import { createRefresher } from '../tokens/refresh.ts'
import { createSpool } from '../tokens/spool.ts'
import { createFeeds } from '../directory/feed.ts'
import { createIssuerSessions } from '../directory/issuer_sessions.ts'
import { createMetrics } from '../observe/metrics.ts'
import { Problem } from '../problem.ts'
import { openStore } from '../store/open.ts'
import { createUlid } from '../ulid.ts'
import { agentDisabled, createAgents } from '../vault/agents.ts'
import { followRing } from '../vault/ring_file.ts'
import { missingKeys } from '../vault/rotate.ts'
import { createCounting } from '../vault/counting.ts'
import { createRuns } from '../vault/runs.ts'
import { createSealer } from '../vault/seal.ts'
import { createStandings } from '../vault/standings.ts'
import { createUsed } from '../vault/used.ts'
import { createVault } from '../vault/vault.ts'
import { createWaiting } from '../vault/waiting.ts'
import type { Check } from '../net/admin.ts'
import { openAudit, recordPolicy } from './audit.ts'
import { openTraces } from './export.ts'
import type { Parts } from './snapshot.ts'
import type { Scope } from './scope.ts'

/** What the configuration in force brings to what outlives it. */
export type InForce = Parts & {
  readonly config: Config
  /** With what issuers say of themselves; the same map as long as nothing changes. */
  readonly connections: () => ReadonlyMap<string, Connection>
}
export type Lasting = Awaited<ReturnType<typeof openLasting>>
/** All that a configuration's parts are made of. */
export type Core = Lasting & InForce
type Ground = Awaited<ReturnType<typeof openGround>>

/** What `/readyz?verbose` says. */
type Health = { checks: () => Promise<readonly Check[]> }

/** What later parts are told by earlier ones, once they are there. */
export type Told = {
  policy: (engine: PolicyEngine | null) => void
  policyRefused: (problem: string) => void
  people: () => void
  key: (kid: string) => void
  /** A standing was used for the first time. */
  firstUse: (row: StandingRow) => void
  seen: Seen
}

/** Everything that stands by itself: keys, the store, the calls that run. */
const openGround = async (scope: Scope, now: () => InForce, told: Told) => {
  const { config, at, written, log, clock, opened } = scope
  const { ring, rings } = now()
  const followed = followRing({
    path: at(config.vault.keys),
    first: ring,
    rings,
    log,
    onChange: ({ current }) => told.key(current.kid),
  })
  const store = await openStore(config.vault.store, written, log)
  opened(() => store.close())
  const missing = await missingKeys(store, ring)
  if (missing.length > 0)
    log.error(
      { keys: missing },
      `vault.keys: ${at(config.vault.keys)} lacks keys under which grants are sealed: bring them back into the ring from your copy; until then these people get vault_unavailable`,
    )
  return {
    told,
    followed,
    store,
    sealer: createSealer(ring, followed.latest),
    newId: createUlid(clock.now),
    count: createCounting({ limits: store.limits, clock }),
    history: createHistory({ history: store.history, clock, keeps: true }),
    /** Checks addresses as the configuration in force has it. */
    fetch: ((input, init) => now().dial.fetch(input, init)) satisfies Fetch,
    calls: createCalls({
      get calls() {
        return now().config.limits.calls
      },
      get perAgent() {
        return now().config.limits.calls_per_agent
      },
      get perTenant() {
        const { config } = now()
        // One tenant may not fill what others need as well.
        return naming(config).tenants.length > 1 ? config.limits.calls / 2 : config.limits.calls
      },
    }),
  }
}

const watchGround = ({ clock, version }: Scope, { store }: Ground, now: () => InForce) => {
  const metrics = createMetrics({ version })
  if (store.connections !== undefined) metrics.connections(store.connections)
  metrics.policy(() => now().policy.current()?.revision ?? null)
  metrics.watch(
    'deputy_clock_lead_seconds',
    'gauge',
    'Wall clock minus the time that has passed since the start; beyond 60 either way no call is let through.',
    () => clock.lead() / 1_000,
  )
  metrics.watch(
    'deputy_policy_load_failures_total',
    'counter',
    'Bundles and tables that could not be used, once for each try.',
    () => now().policy.failures(),
  )
  metrics.watch(
    'deputy_bundle_requests_total',
    'counter',
    'Questions to the bundle service, by what came of them.',
    () =>
      Object.entries(now().policy.service()?.counts ?? {}).map(([result, n]) => [{ result }, n]),
  )
  metrics.watch(
    'deputy_bundle_last_success_timestamp_seconds',
    'gauge',
    'When the bundle service last gave a bundle that serves, or said that nothing changed.',
    () => {
      const at = now().policy.service()?.succeededAt ?? null
      return at === null ? [] : [[{}, at / 1_000]]
    },
  )
  return metrics
}

/** Calls on their way to providers and calls that wait for people: by the limits in force. */
const openTraffic = (
  { config, clock, opened }: Scope,
  metrics: ReturnType<typeof createMetrics>,
  now: () => InForce,
) => {
  const { forward, close } = createForward({
    dispatcher: {
      dispatch: (options, handler) => now().dial.upstream.dispatch(options, handler),
    },
    get idleTimeout() {
      return now().config.upstream.idle_timeout
    },
    get requestBody() {
      return now().config.limits.request_body
    },
    get rewrittenBody() {
      return now().config.limits.rewritten_body
    },
    clock,
    upstream: metrics.upstream,
  })
  opened(close)
  const hold = createHold({
    get calls() {
      return now().config.limits.held_calls
    },
    get bytes() {
      return now().config.limits.held_bytes
    },
    // Under `plain` there is one agent, and nobody to share with.
    share: config.identity.trust === 'plain' ? 1 : 0.5,
    get max() {
      return now().config.limits.hold_max
    },
    get unasked() {
      return now().config.connect.hold
    },
    get away() {
      return now().config.runs.hold
    },
    now: clock.now,
  })
  metrics.watch('deputy_held_calls', 'gauge', 'Calls that wait for a person.', hold.count)
  const rate = createTenantRate({
    most: (tenant) => boundsOf(now().config.tenants, tenant).calls_per_minute,
    mono: clock.mono,
    refused: (tenant) => metrics.tenantRefused(tenant, 'calls_per_minute'),
  })
  return { forward, hold, rate }
}

/** What people's grants are made of and renewed by. Its parts know each other: a revocation ends calls and unstored tokens. */
const openTokens = (
  { config, written, log, clock, opened }: Scope,
  { store, sealer, newId, calls, fetch, told }: Ground,
  metrics: ReturnType<typeof createMetrics>,
  now: () => InForce,
) => {
  const vault = createVault({
    store,
    sealer,
    clock,
    randomId: newId,
    providerOf: (connection) => now().connections().get(connection)?.provider.id ?? null,
    onRevoked: ({ person, connection, agent, credential }) => {
      calls.abort(
        { person, connection, ...(agent === undefined ? {} : { agent }) },
        new Problem('reauthorization_required', 'the grant was revoked'),
      )
      if (credential === null) return
      refresher
        .discard(credential, now().connections().get(connection) ?? null)
        .catch((error: unknown) =>
          log.error({ err: error, credential }, 'what the spool keeps could not be given back'),
        )
    },
  })
  const runs = createRuns({
    store,
    clock,
    randomBytes,
    newId,
    onRevoked: (run) => calls.abort({ run }, new Problem('unauthenticated', 'the run was revoked')),
  })
  const agents = createAgents({
    store,
    clock,
    onDisabled: ({ agent, tenant }) =>
      void calls.abort({ agent, ...(tenant === null ? {} : { tenant }) }, agentDisabled(agent)),
  })
  const standings = createStandings({
    store,
    clock,
    newId,
    log,
    onEnded: (standing) =>
      calls.abort(
        { standing },
        new Problem('standing_refused', 'the standing of this workload has ended'),
      ),
    onFirstUse: (row) => told.firstUse(row),
  })
  const used = createUsed({ grants: store.grants, clock, log })
  opened(() => used.close())
  const client = createOAuthClient({ fetch, clock })
  const spool = createSpool({ folder: written(config.vault.spool), sealer, log })
  metrics.watch(
    'deputy_spool_tokens',
    'gauge',
    'Tokens in the spool, which the vault did not take.',
    spool.size,
  )
  const refresher = createRefresher({
    vault,
    client,
    clock,
    log,
    spool,
    onFailure: metrics.refreshFailed,
  })
  return { vault, runs, agents, standings, used, client, refresher }
}

/** @throws Error that says what is wrong with the store or the evidence */
export const openLasting = async (scope: Scope, now: () => InForce, told: Told) => {
  const { log, opened } = scope
  const ground = await openGround(scope, now, told)
  const metrics = watchGround(scope, ground, now)
  told.seen = metrics.sources
  const traffic = openTraffic(scope, metrics, now)
  const audit = await openAudit(scope, {
    store: ground.store,
    sealer: ground.sealer,
    metrics,
    newId: ground.newId,
    fetch: ground.fetch,
  })
  const traces = await openTraces(scope, {
    pseudonyms: audit.evidence.pseudonyms,
    sealer: ground.sealer,
    metrics,
    fetch: ground.fetch,
    share: () => now().config.telemetry.traces ?? 0,
  })
  told.key = (key) => {
    log.info({ key }, 'key ring read again: another key seals now')
    audit.note('key.rotated', { key })
  }
  told.policy = await recordPolicy(now().policy, audit)
  told.policyRefused = (problem) => audit.note('policy.failed', { problem })
  const tokens = openTokens(scope, ground, metrics, now)
  opened(() => tokens.refresher.drain())
  const issuerSessions = createIssuerSessions({
    sessions: ground.store.issuerSessions,
    clock: scope.clock,
    log,
  })
  opened(() => issuerSessions.close())
  const feeds = createFeeds(scope.clock)
  metrics.watch(
    'deputy_feeds_failing',
    'gauge',
    'Feeds of what identity providers change that do not work just now, by kind.',
    feeds.samples,
  )
  const connections = () => now().connections()
  const waiting = createWaiting({ clients: tokens.vault.clients, connections, log })
  metrics.watch(
    'deputy_grants_waiting_for_client',
    'gauge',
    'Grants that belong to a client which is not configured, by connection.',
    waiting.samples,
  )
  // Until the probes are there nobody could ask.
  const health: Health = { checks: () => Promise.resolve([]) }
  const startedAt = scope.clock.now()
  return {
    ...ground,
    ...traffic,
    ...audit,
    ...tokens,
    traces,
    metrics,
    waiting,
    feeds,
    issuerSessions,
    health,
    startedAt,
  }
}
