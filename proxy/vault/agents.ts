// Which agents are switched off. Remembered while the store tells of every change, asked anew when
// it may not have told: an agent that may be off is let through by nobody.
import type { AgentOff, AgentSwitched, Clock, Store } from '../model.ts'
import { Problem } from '../problem.ts'

export type Agents = {
  /**
   * Throws Problem agent_disabled, or vault_unavailable where nobody knows; synchronous while
   * what was read holds.
   */
  readonly allowed: (agent: string, tenant: string) => void | Promise<void>
  /** null: it is not switched off for this tenant. */
  readonly offFor: (agent: string, tenant: string) => Promise<AgentOff | null>
  readonly list: () => Promise<readonly AgentOff[]>
  /** Stored, and told to every process. false: it was off there before. */
  readonly disable: (agent: string, tenant: string | null, by: AgentOff['by']) => Promise<boolean>
  /** false: it was not off there, or an owner cannot lift what an operator did. */
  readonly enable: (agent: string, tenant: string | null, by: AgentOff['by']) => Promise<boolean>
}

/** What every call of it is refused with, and cut by. */
export const agentDisabled = (agent: string): Problem =>
  new Problem('agent_disabled', `the agent ${agent} is switched off`)

export const createAgents = (deps: {
  readonly store: Pick<Store, 'agents' | 'subscribe'>
  readonly clock: Pick<Clock, 'now'>
  /** It is off, in whichever process that was done: what it has in flight is aborted. May come twice. */
  readonly onDisabled: (off: Pick<AgentOff, 'agent' | 'tenant'>) => void
}): Agents => {
  const { store } = deps
  let known: readonly AgentOff[] | null = null
  let reading: Promise<readonly AgentOff[]> | null = null

  const read = (): Promise<readonly AgentOff[]> => {
    const mine: Promise<readonly AgentOff[]> = store.agents.off().then(
      (all) => {
        // What was read before a change is not remembered after it.
        if (reading === mine) known = all
        return all
      },
      (cause: unknown) => {
        if (reading === mine) reading = null
        throw new Problem(
          'vault_unavailable',
          'which agents are switched off cannot be read or written now',
          { cause },
        )
      },
    )
    return (reading = mine)
  }
  const all = (): Promise<readonly AgentOff[]> => reading ?? read()
  const hear = (key: string): void => {
    known = reading = null
    if (key !== '*') {
      const { agent, tenant, off } = JSON.parse(key) as AgentSwitched
      if (off) deps.onDisabled({ agent, tenant })
      return
    }
    // One may have been switched off while nobody heard of it.
    all().then(
      (offs) => offs.forEach(deps.onDisabled),
      () => undefined, // whoever calls next asks again, and is told
    )
  }
  store.subscribe('agent', hear)

  /** Of several what an operator did: no owner lifts it. */
  const find = (among: readonly AgentOff[], agent: string, tenant: string): AgentOff | null => {
    const here = among.filter(
      (off) => off.agent === agent && (off.tenant === null || off.tenant === tenant),
    )
    return here.find(({ by }) => by === 'operator') ?? here[0] ?? null
  }
  const refuse = (among: readonly AgentOff[], agent: string, tenant: string): void => {
    if (find(among, agent, tenant) !== null) throw agentDisabled(agent)
  }
  const changing = async (work: Promise<boolean>): Promise<boolean> => {
    try {
      return await work
    } catch (cause) {
      throw new Problem('vault_unavailable', 'the agent cannot be switched now', { cause })
    } finally {
      known = reading = null
    }
  }
  return {
    allowed: (agent, tenant) =>
      known === null
        ? all().then((among) => refuse(among, agent, tenant))
        : refuse(known, agent, tenant),
    offFor: async (agent, tenant) => find(await all(), agent, tenant),
    list: all,
    disable: (agent, tenant, by) =>
      changing(store.agents.disable({ agent, tenant, at: deps.clock.now(), by })),
    enable: (agent, tenant, by) => changing(store.agents.enable(agent, tenant, by)),
  }
}
