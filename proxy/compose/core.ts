// The core of a serving process: what its configuration names, its store, evidence, vault and tokens.
import { randomBytes } from 'node:crypto'
import { createCalls } from '../pipeline/calls.ts'
import { dialOf, prepare } from './snapshot.ts'
import type { PolicyEngine } from '../model.ts'
import { createOAuthClient } from '../oauth/client.ts'
import { createDiscovery } from '../oauth/discovery.ts'
import { createRefresher } from '../tokens/refresh.ts'
import { createSpool } from '../tokens/pending.ts'
import { createTelemetry } from '../observe/metrics.ts'
import { Problem } from '../problem.ts'
import { openStore } from '../store/open.ts'
import { createUlid } from '../ulid.ts'
import { followRing, missingKeys } from '../vault/rotate.ts'
import { createRuns } from '../vault/runs.ts'
import { createSealer } from '../vault/seal.ts'
import { createUsed } from '../vault/used.ts'
import { createVault } from '../vault/vault.ts'
import { createWaiting } from '../vault/waiting.ts'
import { openAudit, recordPolicy, type Audit } from './audit.ts'
import type { Scope } from './scope.ts'

export type Core = Awaited<ReturnType<typeof openCore>>
type Ground = Awaited<ReturnType<typeof openGround>>

/** What later parts are told by earlier ones, once they are there. */
type Told = {
  policy: (engine: PolicyEngine) => void
  people: () => void
  key: (kid: string) => void
}

/** Everything that stands by itself: files, keys, connections out, the store. */
const openGround = async (scope: Scope) => {
  const { config, at, written, log, clock, opened } = scope
  const told: Told = { policy: () => {}, people: () => {}, key: () => {} }
  const prepared = await prepare(scope, clock, log, {
    people: () => told.people(),
    policy: (engine) => told.policy(engine),
  })
  if ('problems' in prepared) throw new Error(prepared.problems.join('\n'))
  const { ring, rings, policy, directory } = prepared.parts
  opened(() => policy.close())
  opened(() => directory?.close())
  const followed = followRing({
    path: at(config.vault.keys),
    first: ring,
    rings,
    log,
    onChange: ({ current }) => told.key(current.kid),
  })
  const dial = dialOf(scope, log)
  opened(() => dial.close())
  const store = await openStore(config.vault.store, written, log)
  opened(() => store.close())
  const missing = await missingKeys(store, ring)
  if (missing.length > 0)
    log.error(
      { keys: missing },
      `vault.keys: ${at(config.vault.keys)} lacks keys under which grants are sealed: bring them back into the ring from your copy; until then these people get vault_unavailable`,
    )
  return {
    ...prepared.parts,
    told,
    followed,
    dial,
    store,
    sealer: createSealer(ring, followed.latest),
    newId: createUlid(clock.now),
    calls: createCalls({ calls: config.limits.calls, perAgent: config.limits.calls_per_agent }),
  }
}

const watchGround = ({ clock, version }: Scope, { store, policy }: Ground) => {
  const telemetry = createTelemetry({ version })
  if (store.connections !== undefined) telemetry.connections(store.connections)
  telemetry.policy(() => policy.current()?.revision ?? null)
  telemetry.watch(
    'deputy_clock_lead_seconds',
    'gauge',
    'Wall clock minus the time that has passed since the start; beyond 60 either way no call is let through.',
    () => clock.lead() / 1_000,
  )
  telemetry.watch(
    'deputy_policy_load_failures_total',
    'counter',
    'Bundles and tables that could not be used, once for each try.',
    policy.failures,
  )
  return telemetry
}

/** What people's grants are made of and renewed by. Its parts know each other: a revocation ends calls and unstored tokens. */
const openTokens = (
  { config, written, log, clock, opened }: Scope,
  { store, sealer, newId, calls, dial }: Ground,
  telemetry: ReturnType<typeof createTelemetry>,
  connections: ReturnType<typeof createDiscovery>['connections'],
) => {
  const vault = createVault({
    store,
    sealer,
    clock,
    randomId: newId,
    onRevoked: ({ person, connection, agent, credential }) => {
      calls.abort(
        { person, connection, ...(agent === undefined ? {} : { agent }) },
        new Problem('reauthorization_required', 'the grant was revoked'),
      )
      if (credential === null) return
      refresher
        .discard(credential, connections().get(connection) ?? null)
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
  const used = createUsed({ grants: store.grants, clock, log })
  opened(() => used.close())
  const client = createOAuthClient({ fetch: dial.fetch, clock })
  const spool = createSpool({ folder: written(config.vault.spool), sealer, log })
  telemetry.watch(
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
    onFailure: telemetry.refreshFailed,
  })
  opened(() => refresher.drain())
  return { vault, runs, used, client, refresher }
}

const discoveryOf = ({ connections, log }: Scope, { dial }: Ground, { note }: Audit) =>
  createDiscovery({
    connections,
    fetch: dial.fetch,
    log,
    onChange: (issuer, { authorize, token, userinfo, revoke }, names) =>
      note('provider.discovered', {
        issuer,
        connections: names,
        endpoints: { authorize, token, userinfo, revoke },
      }),
  })

/** @throws Error that lists every problem */
export const openCore = async (scope: Scope) => {
  const { log, opened } = scope
  const ground = await openGround(scope)
  const telemetry = watchGround(scope, ground)
  const { sealer, policy, told } = ground
  const proc = ground.newId()
  const audit = await openAudit(scope, { sealer, telemetry, proc })
  told.key = (key) => {
    log.info({ key }, 'key ring read again: another key seals now')
    audit.note('key.rotated', { key })
  }
  told.policy = await recordPolicy(policy, audit)
  const discovery = discoveryOf(scope, ground, audit)
  const { connections } = discovery
  const tokens = openTokens(scope, ground, telemetry, connections)
  opened(() => discovery.close())
  // Before anything is waited for: a revocation elsewhere may be told from now on, and asks for them.
  await discovery.start()
  await tokens.refresher.resume(connections())
  const waiting = createWaiting({ clients: tokens.vault.clients, connections, log })
  await waiting.look()
  telemetry.watch(
    'deputy_grants_waiting_for_client',
    'gauge',
    'Grants that belong to a client which is not configured, by connection.',
    waiting.samples,
  )
  return { ...ground, ...audit, ...tokens, telemetry, connections, waiting }
}
