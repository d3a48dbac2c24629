// What people are asked so that policy lets a call pass: approvals and stronger sign-ins, with whoever may give them.
import { randomBytes } from 'node:crypto'
import { createApprovals } from '../consent/approvals.ts'
import { createMayApprove } from '../consent/approvers.ts'
import { createAsks } from '../consent/asks.ts'
import type { EndedBy, Send, StandingCare } from '../consent/standing.ts'
import { createStepUps } from '../consent/step_ups.ts'
import type { Person } from '../model.ts'
import type { PeopleSource } from '../pipeline/entitlements.ts'
import type { Core } from './core.ts'
import type { Configured } from './scope.ts'

/** Fields of `agent.disabled`. */
export type AgentOff = { readonly agent: { readonly id: string }; readonly tenant?: string | null }
export type Asking = ReturnType<typeof createAsking>

export const createAsking = (
  { config, clock, log }: Pick<Configured, 'config' | 'clock' | 'log'>,
  { store, sealer, agents }: Pick<Core, 'store' | 'sealer' | 'agents'>,
  {
    publicUrl,
    people,
    onEvent,
    wake,
  }: {
    readonly publicUrl: string
    readonly people: PeopleSource
    readonly onEvent: (event: string, fields: object) => Promise<void>
    /** There is something to tell; null: nobody listens. */
    readonly wake: (() => void) | null
  },
) => {
  const { sign_in: signIn, link_ttl: linkTtlMs, nag_after: nagAfterMs } = config.connect
  const asks = createAsks({
    store,
    sealer,
    clock,
    log,
    randomBytes,
    publicUrl,
    linkTtlMs,
    nagAfterMs,
    // Whoever reads a terminal is nobody in particular, and an application's page approves nothing here.
    able: signIn !== undefined && signIn !== 'local',
    ...(wake === null ? {} : { onAsk: wake }),
    agentUrl: (agent) => `${publicUrl}/agents/${encodeURIComponent(agent)}`,
    onEvent,
  })
  const approvals = createApprovals({
    asks,
    store,
    clock,
    may: createMayApprove(people),
    onEvent,
  })
  const stepUps = createStepUps({ asks, store, clock, onEvent })
  return {
    asks,
    approvals,
    stepUps,
    agentOn: agents.allowed,
    watch: (send: Send) => asks.watch(send, () => clock.wrong() === null),
    sweep: async (): Promise<void> => {
      await asks.sweep()
      await stepUps.sweep()
    },
    /** Nobody answers for an agent that is switched off. */
    unasked: ({ agent: { id: agent }, tenant }: AgentOff): void =>
      void asks
        .endAll({ agent, ...(tenant == null ? {} : { tenant }) }, { by: 'agent_disabled' })
        .catch((error: unknown) =>
          log.error({ err: error }, 'what an agent asked could not be ended'),
        ),
    /** What ends somebody's standing ends what is asked for them too. */
    with: (standing: StandingCare): StandingCare => ({
      ...standing,
      endAll: async (
        person: Person,
        of: { readonly agent?: string; readonly connection?: string },
        how: EndedBy,
      ): Promise<number> => {
        const { tenant, realm, id: user } = person
        await asks.endAll({ tenant, realm, user, ...of }, how)
        if (of.connection === undefined) await stepUps.endAll(person, of.agent ?? null)
        return standing.endAll(person, of, how)
      },
    }),
  }
}
