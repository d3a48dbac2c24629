// Agents that are switched off: one row for everybody, or one for each tenant.
import type { AgentOff, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw, Work } from './database.ts'
import { checked } from './rows.ts'

/** In the place of a tenant: all of them. */
const EVERYWHERE = ''

const offOf = (raw: Raw): AgentOff => ({
  agent: String(raw['agent']),
  tenant: raw['tenant'] === EVERYWHERE ? null : String(raw['tenant']),
  at: Number(raw['at']),
  by: raw['byRole'] === 'owner' ? 'owner' : 'operator',
})

export const createAgents = (db: Database, { sql, rows }: Asking): Store['agents'] => ({
  off: () => rows(sql.agentsOff, {}, offOf),
  disable: ({ agent, tenant, at, by }) =>
    db.transact(function* (tell): Work<boolean> {
      const row = checked({ agent, tenant: tenant ?? EVERYWHERE, at, byRole: by })
      const first = (yield [sql.agentOff, row]).length > 0
      // Also told where it was off before: whoever asks again wants to be sure.
      tell('agent', JSON.stringify({ agent, tenant, off: true }))
      return first
    }),
  enable: (agent, tenant, by) =>
    db.transact(function* (tell): Work<boolean> {
      const where = checked({ agent, tenant: tenant ?? EVERYWHERE, byRole: by })
      const was = (yield [sql.agentOn, where]).length > 0
      tell('agent', JSON.stringify({ agent, tenant, off: false }))
      return was
    }),
})
