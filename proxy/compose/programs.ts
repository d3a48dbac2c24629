// What programs ask deputy itself: the authorization API of agents, the operators' API, and what is decided for people who are not there.
import type { RequestListener } from 'node:http'
import { naming } from '../config/backend.ts'
import type { Person, Principal } from '../model.ts'
import { createIdle } from '../tokens/idle.ts'
import { confirmArrival, SESSION_MS } from '../consent/session.ts'
import { spooled } from '../tokens/spool.ts'
import { createOperatorSignIn } from '../api/operator_sso.ts'
import type { createOperatorsApi } from '../api/operators.ts'
import { createAllowed, type AllowedOf } from '../consent/allowed.ts'
import { createPermit } from '../consent/permit.ts'
import { messageOf, Problem } from '../problem.ts'
import { copyVault, replayRevocations } from './replay.ts'
import { createPeopleKept } from '../audit/people_kept.ts'
import { createPlaces } from '../shares.ts'
import { rotateKeys } from '../vault/rotate.ts'
import { clockSentence } from './clock.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import { keysOf, type Pipeline } from './pipeline.ts'
import type { Configured, Scope } from './scope.ts'
import { askingOf } from './doors/asking.ts'
import type { Tools } from '../tools/doors.ts'
import { whenAsked } from './web.ts'

type OperatorsDeps = Parameters<typeof createOperatorsApi>[0]
type Permit = ReturnType<typeof createPermit>

/** Somebody who is not there: named by deputy itself, for policy to judge. */
export const unattended = (person: Person, agent: string, verified: boolean): Principal => ({
  person,
  agent,
  verified,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
})

/** What policy says of people who are not there, for pages and APIs. */
export const judges = (
  { clock }: Scope,
  { connections, policy, vault, evidence, newId }: Core,
  { entitlements, decide }: Pipeline,
): { readonly allowed: AllowedOf; readonly permit: Permit } => {
  const asking = {
    policy: () => policy.current(),
    grants: () => policy.table('grants'),
    entitlements,
    vault,
    decide,
    newId,
    clock,
  }
  const allowed = createAllowed(asking)
  return { allowed, permit: createPermit({ ...asking, allowed, connections, evidence }) }
}

/** Grants that nobody uses are refreshed as long as policy still allows their owner to have them. */
export const startIdle = (
  { config, clock, log, opened }: Scope,
  { store, refresher, connections, metrics }: Core,
  { people, active, onEvent }: Consent,
  permit: Permit,
): void => {
  const idle = createIdle({
    store,
    refresher,
    // By a wrong clock all would be due, or put off for as long as it is wrong.
    connections: () => (clock.wrong() === null ? connections() : new Map()),
    allowed: async (person, { agent, connection, scopes }) => {
      if (!(await active(person))) return false
      const verified = config.identity.trust === 'asserted'
      return permit(unattended(person, agent, verified), connection, { keep: scopes }).then(
        () => true,
        (error: unknown) => {
          if (error instanceof Problem && error.code === 'policy_denied') return false
          throw error
        },
      )
    },
    onEvent,
    outcome: metrics.idle,
    clock,
    log,
  })
  opened(() => idle.close())
  // Claims come with a call only: nobody says that the owner of an idle grant is still active.
  if (people.kind === 'claims')
    log.info({}, 'idle grants are not refreshed: entitlements.source is claims')
  else idle.start()
}

/** People who are operators by the organisation's tokens; null: none. */
const signInOf = (scope: Configured, { policy, fetch }: Core) => {
  const { operators_sign_in: rules } = scope.config
  if (rules === undefined) return null
  const table = () => policy.table('operator_roles')
  return createOperatorSignIn(rules, { keysOf: keysOf(scope, fetch), table, clock: scope.clock })
}

/** What the operators' API is made of, wherever it is served. */
export const operatorsDepsOf = (
  scope: Configured,
  core: Core,
  { flows, revoker, onEvent, session, standing, asking }: Consent,
  permit: Permit,
): OperatorsDeps => {
  const { config, agents: about, clock, log } = scope
  const { connections, vault, runs, standings, agents, evidence, newId } = core
  const { store, sealer, names } = core
  return {
    ...naming(config),
    operators: config.operators,
    signIn: signInOf(scope, core),
    verifier: config.connect.verifier?.key ?? null,
    connections,
    vault,
    locate: vault.locate,
    revoker,
    flows,
    runs,
    standings,
    standing,
    asks: asking.asks,
    maxRunMs: config.runs.max,
    agents: { ...agents, about },
    people: createPeopleKept({ config, store, sealer, names, clock, sessionMs: SESSION_MS }),
    permitRun: async (person: Person, agent: string, connection: string, operator: string) => {
      await agents.allowed(agent, person.tenant)
      // What is minted by a wrong clock would end too late by the right one.
      if (clock.wrong() !== null) throw new Problem('clock_wrong', clockSentence(clock))
      const { held } = await permit(unattended(person, agent, true), connection, { run: operator })
      if (!held) throw new Problem('policy_denied', `policy wants a consent at ${connection}`)
    },
    onEvent,
    arrived: (flowId: string, person: Person) => confirmArrival(session, flowId, person),
    stranger: (code = 'unauthenticated') => evidence.refused(newId(), code, null),
    clock,
    publicUrl: session.publicUrl,
    newId,
    log,
  }
}

export const operatorsApi = ({ log }: Scope, deps: OperatorsDeps): RequestListener =>
  whenAsked(log, async () => (await import('../api/operators.ts')).createOperatorsApi(deps))

/** The operators' API for whoever may open `deputy.sock`: the commands on this machine. */
export const localApi = (
  scope: Scope,
  { store, rings, sealer }: Core,
  deps: OperatorsDeps,
): RequestListener => {
  const { config, at, written, clock } = scope
  return operatorsApi(scope, {
    ...deps,
    operators: [],
    signIn: null,
    verifier: null,
    local: true,
    rotate: async (retire) => {
      const [printed, complaints]: [string[], string[]] = [[], []]
      const code = await rotateKeys({
        store,
        path: at(config.vault.keys),
        rings,
        waiting: async () => (await spooled(written(config.vault.spool))).length,
        retire,
        print: (line) => void printed.push(line),
        complain: (line) => void complaints.push(line),
        now: clock.now,
      }).catch((error: unknown) => {
        complaints.push(messageOf(error))
        return 1
      })
      return { code, printed, complaints }
    },
    copy: (file) => copyVault(store, config.vault.store, written, file),
    replay: (files) => replayRevocations(store, files, clock.now(), { sealer }),
  })
}

/** The authorization API on the agents' listeners. */
export const authApi = (
  scope: Scope,
  core: Core,
  { flows, session, asking }: Consent,
  {
    identify,
    permit,
    tools,
  }: Pick<Pipeline, 'identify'> & { readonly permit: Permit; readonly tools: Tools },
): RequestListener => {
  const { config, log } = scope
  const asked = {
    ...askingOf(scope, core, identify),
    permit,
    polls: createPlaces({
      what: 'the polls that wait',
      most: config.limits.calls,
      each: config.limits.calls_per_agent,
    }),
    flows,
    asks: asking.asks,
    connections: core.connections,
    tool: tools.operationsOf,
    agentOf: (workload: string) => {
      const agent = config.workloads.find(({ name }) => name === workload)?.agent ?? '/'
      return agent.startsWith('/') ? null : agent
    },
    returnTo: config.connect.return_to,
    publicUrl: session.publicUrl,
    newId: core.newId,
    log,
  }
  return whenAsked(log, async () => (await import('../api/auth.ts')).createAuthApi(asked))
}
