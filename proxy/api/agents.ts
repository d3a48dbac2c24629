// Agents for operators: which are known or switched off, and the switch.
import type { AgentAbout } from '../config/agents.ts'
import type { AgentOff } from '../model.ts'
import type { Agents } from '../vault/agents.ts'
import { validId } from '../wire/canonical.ts'
import { createSwitch } from './acts.ts'
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
  const turn = createSwitch({ agents, onEvent })
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
    await turn.disable(operator, id, await places(operator, tenant))
    return c.json(await answer(operator, id))
  })

  route('POST', '/v1/admin/agents/:id/enable', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const { tenant } = readQuery(c, tenantQuery)
    const id = c.req.param('id') ?? ''
    await turn.enable(operator, id, await places(operator, tenant))
    return c.json(await answer(operator, id))
  })
}
