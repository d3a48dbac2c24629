// Which agents are switched off: known without a question, never longer than the store tells of changes.
import { expect, test } from 'vitest'
import type { AgentOff, Store } from '../../proxy/model.ts'
import { createAgents } from '../../proxy/vault/agents.ts'

type Switched = Pick<AgentOff, 'agent' | 'tenant'>

/** Two processes on one store, which tells both of each change. */
const pair = () => {
  const rows: AgentOff[] = []
  const hearers = new Set<(key: string) => void>()
  const state = { reads: 0, down: false }
  const tell = (key: string): void => hearers.forEach((hear) => hear(key))
  const up = (): void => {
    if (state.down) throw new Error('ECONNREFUSED')
  }
  const store: Pick<Store, 'agents' | 'subscribe'> = {
    subscribe: (_topic, hear) => {
      hearers.add(hear)
      return () => void hearers.delete(hear)
    },
    agents: {
      off: async () => {
        state.reads += 1
        up()
        return [...rows]
      },
      disable: async (off) => {
        up()
        rows.push(off)
        tell(JSON.stringify({ agent: off.agent, tenant: off.tenant, off: true }))
        return true
      },
      enable: async (agent, tenant) => {
        up()
        const at = rows.findIndex((row) => row.agent === agent && row.tenant === tenant)
        rows.splice(at, 1)
        tell(JSON.stringify({ agent, tenant, off: false }))
        return at !== -1
      },
    },
  }
  const make = () => {
    const cut: Switched[] = []
    const onDisabled = ({ agent, tenant }: Switched): void => void cut.push({ agent, tenant })
    return { cut, ...createAgents({ store, clock: { now: () => 5 }, onDisabled }) }
  }
  return { here: make(), there: make(), state, rows, tell }
}
const refused = { code: 'agent_disabled' }

test('an agent that is on costs no question once that is known', async () => {
  const { here, state } = pair()
  await here.allowed('triage', 'acme')
  expect(here.allowed('triage', 'acme')).toBeUndefined()
  expect(here.allowed('other', 'acme')).toBeUndefined()
  expect(state.reads).toBe(1)
})

test('switched off in one process it is off in the other before its next call, and what it has there is cut', async () => {
  const { here, there } = pair()
  await there.allowed('triage', 'acme')
  expect(await here.disable('triage', null, 'owner')).toBe(true)
  for (const each of [here, there]) {
    expect(each.cut).toEqual([{ agent: 'triage', tenant: null }])
    await expect(each.allowed('triage', 'acme')).rejects.toMatchObject(refused)
    expect(() => each.allowed('triage', 'other')).toThrow('the agent triage is switched off')
    expect(each.allowed('Triage', 'acme')).toBeUndefined()
    expect(await each.offFor('triage', 'acme')).toMatchObject({ by: 'owner', at: 5 })
  }
  expect(await there.enable('triage', null, 'owner')).toBe(true)
  await here.allowed('triage', 'acme')
  expect(here.cut).toHaveLength(1)
})

test('switched off for one tenant it acts on for the others', async () => {
  const { here, there } = pair()
  await here.disable('triage', 'acme', 'operator')
  await expect(there.allowed('triage', 'acme')).rejects.toMatchObject(refused)
  expect(there.allowed('triage', 'other')).toBeUndefined()
  expect(await there.offFor('triage', 'other')).toBe(null)
})

test('where the store cannot be asked and may have told nothing, nobody is let through', async () => {
  const { here, state, tell } = pair()
  await here.allowed('triage', 'acme')
  state.down = true
  expect(here.allowed('triage', 'acme')).toBeUndefined() // it tells of changes yet
  tell('*')
  await expect(here.allowed('triage', 'acme')).rejects.toMatchObject({ code: 'vault_unavailable' })
  await expect(here.disable('triage', null, 'owner')).rejects.toMatchObject({
    code: 'vault_unavailable',
  })
  state.down = false
  await here.allowed('triage', 'acme')
})

test('what was switched off while nobody heard is cut as soon as that is known', async () => {
  const { here, rows, tell } = pair()
  await here.allowed('triage', 'acme')
  rows.push({ agent: 'triage', tenant: 'acme', at: 1, by: 'operator' })
  tell('*')
  await expect.poll(() => here.cut).toEqual([{ agent: 'triage', tenant: 'acme' }])
})

test('what was read before a change is not remembered after it', async () => {
  const { here, there } = pair()
  const asked = here.allowed('triage', 'acme')
  const switched = there.disable('triage', null, 'operator')
  await Promise.allSettled([asked, switched])
  await expect(Promise.resolve().then(() => here.allowed('triage', 'acme'))).rejects.toMatchObject(
    refused,
  )
})
