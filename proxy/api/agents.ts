// Agents for operators: which are known or switched off, and the switch.
import type { AgentAbout } from '../config/agents.ts'
import type { AgentOff } from '../model.ts'
import type { Agents } from '../vault/agents.ts'
import { validId } from '../wire/canonical.ts'
import { by, type Gate, type Operator } from './operator.ts'
import { agentShape, agentsQuery, tenantQuery } from './operators_schema.ts'
import { invalid, paged, readQuery, type Rest } from './rest.ts'

export type AgentApiDeps = {
  readonly agents: Pick<Agents, 'list' | 'disable' | 'enable'> & {
    readonly about: ReadonlyMap<string, AgentAbout>
  }
  readonly onEvent: (event: string, fields: object) => Promise<void>
}

export const addAgentRoutes = (
  { route }: Pick<Rest, 'route'>,
  gate: Gate,
  { agents, onEvent }: AgentApiDeps,
): void => {
  /** Whose calls an operator switches: everybody's, or those of the tenants that it serves. */
  const places = async (
    operator: Operator,
    tenant: string | undefined,
  ): Promise<readonly (string | null)[]> => {
    if (tenant === undefined) return operator.tenants ?? [null]
    await gate.mustServe(operator, tenant)
    return [tenant]
  }
  const seenBy = (operator: Operator, { tenant }: Pick<AgentOff, 'tenant'>): boolean =>
    tenant === null || gate.serves(operator, tenant)

  const answer = async (operator: Operator, id: string): Promise<object> => {
    const off = (await agents.list()).filter((each) => each.agent === id && seenBy(operator, each))
    return agentShape(id, agents.about.get(id) ?? null, off, (owner) =>
      gate.serves(operator, owner.tenant),
    )
  }

  route('GET', '/v1/admin/agents', async (c) => {
    const operator = await gate.enter(c, 'connections')
    const { limit, offset } = readQuery(c, agentsQuery)
    const off = (await agents.list()).filter((each) => seenBy(operator, each))
    const rows = [...agents.about.values()].filter(
      ({ owner }) => owner === null || gate.serves(operator, owner.tenant),
    )
    const ids = [...new Set([...rows, ...off.map(({ agent: id }) => ({ id }))].map(({ id }) => id))]
    await onEvent('operator.listed', { ...by(operator), what: 'agents', found: ids.length })
    return c.json(
      paged(ids.sort(), limit, offset, (id) =>
        agentShape(
          id,
          agents.about.get(id) ?? null,
          off.filter(({ agent }) => agent === id),
          (owner) => gate.serves(operator, owner.tenant),
        ),
      ),
    )
  })

  route('POST', '/v1/admin/agents/:id/disable', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const { tenant } = readQuery(c, tenantQuery)
    const id = c.req.param('id') ?? ''
    if (!validId(id)) throw invalid('id: is longer than 256 bytes or has control characters')
    // Also one that nobody has a row for: it may act all the same.
    const all = await places(operator, tenant)
    // It is off everywhere before anything is recorded: evidence that fails must not leave it on at one place.
    const done = await Promise.allSettled(
      all.map(async (place) => agents.disable(id, place, 'operator')),
    )
    const told = await Promise.allSettled(
      all.flatMap((place, i) => {
        const off = done[i]
        if (off?.status !== 'fulfilled') return []
        // Whoever repeats it may do so because the first time was not recorded.
        const repeated = off.value ? {} : { repeated: true }
        return [
          onEvent('agent.disabled', { ...by(operator), agent: { id }, tenant: place, ...repeated }),
        ]
      }),
    )
    for (const each of [...done, ...told]) if (each.status === 'rejected') throw each.reason
    return c.json(await answer(operator, id))
  })

  route('POST', '/v1/admin/agents/:id/enable', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const { tenant } = readQuery(c, tenantQuery)
    const id = c.req.param('id') ?? ''
    const off = await agents.list()
    for (const place of await places(operator, tenant)) {
      if (!off.some((each) => each.agent === id && each.tenant === place)) continue
      // Nothing of it runs again before that is on record.
      await onEvent('agent.enabled', { ...by(operator), agent: { id }, tenant: place })
      await agents.enable(id, place, 'operator')
    }
    return c.json(await answer(operator, id))
  })
}
