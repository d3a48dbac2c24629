// What operators end, by the API or in the console: each act with its evidence, and an honest word of what became of it.
import type { HeldConnection, Person, RunRow, Vault } from '../model.ts'
import type { Flows } from '../consent/flow.ts'
import type { StandingCare } from '../consent/standing.ts'
import type { Revocation, Revoker } from '../tokens/revoke.ts'
import type { Agents } from '../vault/agents.ts'
import type { Runs } from '../vault/runs.ts'
import { by, type Operator } from './operator.ts'

type ActsDeps = {
  readonly vault: Pick<Vault, 'list' | 'disallow'>
  readonly revoker: Pick<Revoker, 'these'>
  readonly runs: Pick<Runs, 'list' | 'revoke'>
  readonly flows: Pick<Flows, 'cancel'>
  readonly agents: Pick<Agents, 'list' | 'disable' | 'enable'>
  readonly standing: Pick<StandingCare, 'endAll'>
  readonly onEvent: (event: string, fields: object) => Promise<void>
  readonly clock: { readonly now: () => number }
}
/** `grant_removed`: one agent's permission; others were allowed the same account, which stays connected. */
export type Ended = Omit<Revocation, 'result'> & {
  readonly result: Revocation['result'] | 'grant_removed'
}
/** What became of all of a person, or of one agent of theirs. */
type EndedAll = {
  readonly results: readonly Ended[]
  readonly runs: number
  readonly standings: number
  readonly authorizations: number
}
export type Acts = ReturnType<typeof createActs>

/** Fields of the event. */
const runRevoked = (
  operator: Operator,
  run: Pick<RunRow, 'id' | 'tenant' | 'realm' | 'user' | 'agent'>,
): object => ({
  ...by(operator),
  run: run.id,
  user: { tenant: run.tenant, realm: run.realm, id: run.user },
  agent: { id: run.agent },
})

/** @returns false: it had ended before */
export const createRunEnd =
  ({ runs, onEvent }: { readonly runs: Pick<Runs, 'revoke'> } & Pick<ActsDeps, 'onEvent'>) =>
  async (operator: Operator, run: RunRow): Promise<boolean> => {
    const live = await runs.revoke(run.id)
    if (live) await onEvent('run.revoked', runRevoked(operator, run))
    return live
  }

export const createActs = ({ vault, runs, onEvent, ...deps }: Omit<ActsDeps, 'agents'>) => {
  const record = async (operator: Operator, of: Ended, agent: string | null): Promise<void> => {
    const { connection } = of
    const which = agent === null ? { connection } : { connection, agent }
    await deps.standing.endAll(of.person, which, { ...by(operator), by: 'disconnected' })
    return onEvent('connection.revoked', {
      ...by(operator),
      user: of.person,
      ...(agent === null ? {} : { agent: { id: agent } }),
      connection: of.connection,
      provider: of.provider,
      credential: of.credential,
      result: of.result,
    })
  }
  const revoke = (
    operator: Operator,
    list: readonly HeldConnection[],
    agent: string | null = null,
  ): Promise<readonly Ended[]> => deps.revoker.these(list, (each) => record(operator, each, agent))

  const revokeRun = createRunEnd({ runs, onEvent })

  /** What a person connected, or what one agent of theirs may use of it. */
  const connectionsOf = async (
    operator: Operator,
    person: Person,
    agent: string | null,
  ): Promise<readonly Ended[]> => {
    const { tenant, realm, id } = person
    const whole: HeldConnection[] = []
    const kept: Ended[] = []
    for (const held of await vault.list({ tenant, realm, id })) {
      if (agent === null || held.agents.every((grant) => grant.agent === agent)) whole.push(held)
      // Others were allowed the same account: it stays connected, for them.
      else if (await vault.disallow(person, agent, held.connection)) {
        const ended = { ...held, result: 'grant_removed' } as const
        kept.push(ended)
        await record(operator, ended, agent)
      }
    }
    return [...kept, ...(await revoke(operator, whole, agent))]
  }

  return {
    /** Ends these connections. Rejects with what could not be done, after all others were told. */
    revoke,
    revokeRun,
    /** Everything of a person, or of one agent of theirs: runs, links under way, grants. */
    endAll: async (operator: Operator, person: Person, agent: string | null): Promise<EndedAll> => {
      const { tenant, realm, id } = person
      const live = (
        await runs.list({ tenant, realm, user: id, ...(agent === null ? {} : { agent }) })
      ).filter((run) => run.revokedAt === null && run.expiresAt > deps.clock.now())
      for (const run of live) await revokeRun(operator, run)
      const how = { ...by(operator), by: 'operator' } as const
      const endStandings = () => deps.standing.endAll(person, agent === null ? {} : { agent }, how)
      const standings = await endStandings()
      const ended = await connectionsOf(operator, person, agent)
      const authorizations = await deps.flows.cancel(person, agent)
      // A consent may have come back from its provider while others were told of their end.
      const late = await connectionsOf(operator, person, agent)
      return {
        results: [...ended, ...late],
        runs: live.length,
        standings: standings + (await endStandings()),
        authorizations,
      }
    },
  }
}

/** Agents, off and on. */
export const createSwitch = ({ agents, onEvent }: Pick<ActsDeps, 'agents' | 'onEvent'>) => ({
  /** @param places the tenants, or null for everybody */
  disable: async (
    operator: Operator,
    id: string,
    places: readonly (string | null)[],
  ): Promise<void> => {
    // It is off everywhere before anything is recorded: evidence that fails must not leave it on at one place.
    const done = await Promise.allSettled(
      places.map(async (place) => agents.disable(id, place, 'operator')),
    )
    const told = await Promise.allSettled(
      places.flatMap((place, i) => {
        const off = done[i]
        if (off?.status !== 'fulfilled') return []
        // Whoever repeats it may do so because the first time was not recorded.
        const repeated = off.value ? {} : { repeated: true }
        const fields = { ...by(operator), agent: { id }, tenant: place, ...repeated }
        return [onEvent('agent.disabled', fields)]
      }),
    )
    for (const each of [...done, ...told]) if (each.status === 'rejected') throw each.reason
  },
  /** @returns at how many of these places it had been off */
  enable: async (
    operator: Operator,
    id: string,
    places: readonly (string | null)[],
  ): Promise<number> => {
    const off = await agents.list()
    let switched = 0
    for (const place of places) {
      if (!off.some((each) => each.agent === id && each.tenant === place)) continue
      // Nothing of it runs again before that is on record.
      await onEvent('agent.enabled', { ...by(operator), agent: { id }, tenant: place })
      await agents.enable(id, place, 'operator')
      switched += 1
    }
    return switched
  },
})
