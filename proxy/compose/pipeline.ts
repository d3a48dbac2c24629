// The request's way: its stations, each handed what it needs.
import { randomBytes } from 'node:crypto'
import type { Seen } from '../pipeline/exchange.ts'
import type { Log } from '../model.ts'
import type { Telemetry } from '../observe/metrics.ts'
import { createPep } from '../pipeline/pep.ts'
import { snapshotOf } from './snapshot.ts'
import { createAddressTags } from '../wire/address_tag.ts'
import { createQuerySeals } from '../wire/query_seal.ts'
import { createSift } from '../wire/headers.ts'
import { createCredentials, lookAgain } from '../pipeline/credential.ts'
import { createDecide } from '../pipeline/decide.ts'
import { createEntitlements } from '../pipeline/entitlements.ts'
import { createForward } from '../pipeline/forward.ts'
import { createHold } from '../pipeline/hold.ts'
import { createIdentify } from '../pipeline/identify.ts'
import { readUpTo } from '../pipeline/inspect.ts'
import { createTagged } from '../pipeline/tag_place.ts'
import { createWorkloads } from '../pipeline/workload.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import type { Scope } from './scope.ts'

export type Pipeline = ReturnType<typeof createPipeline>

const identifyOf = (
  { config, clock, log, opened }: Scope,
  { issuers, workloads: rows, runs, dial }: Core,
) => {
  const { identity } = config
  const verifying = {
    maxAge: identity.max_age,
    keysGrace: identity.jwks_grace,
    fetch: dial.fetch,
    clock,
    log,
  }
  const workloads = createWorkloads({
    ...verifying,
    header: identity.agent_header.toLowerCase(),
    required: identity.agent_required,
    issuers: rows,
  })
  opened(workloads.close)
  const identify = createIdentify({
    trust: identity.trust,
    ...verifying,
    header: identity.header.toLowerCase(),
    issuers,
    workloads,
    plainAgent: identity.agent,
    plainRealm: identity.realm,
    run: runs.verify,
  })
  opened(() => identify.close())
  return identify
}

const forwardOf = ({ config, clock, opened }: Scope, { dial, telemetry }: Core) => {
  const { forward, close } = createForward({
    dispatcher: dial.upstream,
    idleTimeout: config.upstream.idle_timeout,
    requestBody: config.limits.request_body,
    rewrittenBody: config.limits.rewritten_body,
    clock,
    upstream: telemetry.upstream,
  })
  opened(close)
  return forward
}

const holdOf = ({ config, clock }: Scope, { telemetry }: Core) => {
  const hold = createHold({
    calls: config.limits.held_calls,
    bytes: config.limits.held_bytes,
    // Under `plain` there is one agent, and nobody to share with.
    share: config.identity.trust === 'plain' ? 1 : 0.5,
    max: config.limits.hold_max,
    unasked: config.connect.hold,
    now: clock.now,
  })
  telemetry.watch('deputy_held_calls', 'gauge', 'Calls that wait for a person.', hold.count)
  return hold
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

const observe = (seen: Seen, telemetry: Telemetry, log: Log): void => {
  telemetry.call(seen)
  log.debug(seen, 'call')
}

export const createPipeline = (
  scope: Scope,
  core: Core,
  { people, flows, session }: Pick<Consent, 'people' | 'flows' | 'session'>,
) => {
  const { config, clock, log } = scope
  const { policy, connections, vault, refresher, client, telemetry, evidence, calls, sealer } = core
  const tagHeader = config.identity.header.toLowerCase()
  const agentHeader = config.identity.agent_header.toLowerCase()
  const identify = identifyOf(scope, core)
  const entitlements = createEntitlements({
    source: people,
    maxAge: config.entitlements?.max_age ?? { read: 0, write: 0, delete: 0, admin: 0 },
    clock,
  })
  const decide = createDecide(clock, core.newId, telemetry.evaluated)
  const forward = forwardOf(scope, core)
  const snapshot = snapshots(connections)
  const hold = holdOf(scope, core)
  const addressTags = createAddressTags({
    key: Buffer.from(sealer.hmac('address', 'tag'), 'base64url'),
    randomBytes,
    now: clock.now,
  })
  const { fresh } = refresher
  const pep = createPep({
    snapshot,
    policy: () => policy.current(),
    tagged: createTagged({
      tagHeader,
      agentHeader,
      addressTags,
      tagged: identify.tagged,
      read: (req) => readUpTo(req, config.limits.inspected_body),
      most: config.limits.calls,
    }),
    identify: identify.identify,
    tags: identify.tags,
    tag: identify.tag,
    addressTags,
    querySeals: createQuerySeals({
      key: Buffer.from(sealer.hmac('query', 'seal'), 'base64url'),
      now: clock.now,
    }),
    entitlements,
    vault: { look: lookAgain({ look: vault.look, fresh, connections, now: clock.now }) },
    decide,
    credentials: createCredentials({
      vault,
      alive: client.alive,
      fresh,
      atHand: refresher.atHand,
      now: clock.now,
      outcome: telemetry.credential,
    }),
    forward,
    used: core.used.note,
    evidence,
    calls,
    link: (principal, connection, scopes, { again, challenge, operation }) =>
      flows.ask(
        { person: principal.person, agent: principal.agent, connection: connection.name },
        scopes,
        {
          reauthorization: again,
          challenge,
          operation,
        },
      ),
    ended: async (who, authorizationId, ms, signal) =>
      (await flows.status(authorizationId, { person: who.person, agent: who.agent }, ms, signal))
        .status === 'completed',
    hold,
    limits: {
      requestBody: config.limits.request_body,
      inspectedBody: config.limits.inspected_body,
    },
    auditRequired: config.audit.required,
    tagHeader,
    sift: createSift([tagHeader, agentHeader], identify.tags.holds),
    typeBase: session.publicUrl,
    clock,
    log,
    observe: (seen) => observe(seen, telemetry, log),
  })
  return { pep, identify, entitlements, decide, hold, snapshot, tagHeader, agentHeader }
}
