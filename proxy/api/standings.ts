// Operators see what workloads may do for people who are away, and end it.
import type { StandingRow } from '../model.ts'
import { Problem } from '../problem.ts'
import type { StandingCare } from '../consent/standing.ts'
import type { Standings } from '../vault/standings.ts'
import { by, type Gate } from './operator.ts'
import { standingShape, standingsQuery } from './operators_schema.ts'
import { given, paged, readQuery, type Rest } from './rest.ts'

export type StandingApiDeps = {
  readonly standings: Pick<Standings, 'list'>
  readonly standing: Pick<StandingCare, 'end' | 'endAll'>
  readonly onEvent: (event: string, fields: object) => Promise<void>
}

export const addStandingRoutes = (
  { route }: Pick<Rest, 'route'>,
  gate: Gate,
  { standings, standing, onEvent }: StandingApiDeps,
): void => {
  route('GET', '/v1/admin/standings', async (c) => {
    const operator = await gate.enter(c, 'connections')
    const { limit, offset, user_id: user, ...rest } = readQuery(c, standingsQuery)
    if (rest.tenant !== undefined) await gate.mustServe(operator, rest.tenant)
    const found = await standings.list(given({ ...rest, user }))
    const mine = found.filter(({ tenant }: StandingRow) => gate.serves(operator, tenant))
    await onEvent('operator.listed', { ...by(operator), what: 'standings', found: mine.length })
    return c.json(paged(mine, limit, offset, standingShape))
  })

  route('DELETE', '/v1/admin/standings/:id', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const [row] = await standings.list({ id: c.req.param('id') ?? '' })
    if (row === undefined || !(await gate.sees(operator, row.tenant)))
      throw new Problem('not_found', 'no standing has this id')
    await standing.end(row.id, { ...by(operator), by: 'operator' })
    return c.body(null, 204)
  })
}
