// Operators see which calls wait for somebody's yes, or for a stronger sign-in, and end the waiting. Nothing of a call's
// content is told here: that is for its approvers.
import type { AskRow } from '../model.ts'
import { Problem } from '../problem.ts'
import { authorizationIdOf, isAsk, type Asks } from '../consent/asks.ts'
import { by, type Gate } from './operator.ts'
import { approvalShape, approvalsQuery } from './operators_schema.ts'
import { given, paged, readQuery, type Rest } from './rest.ts'

export type ApprovalApiDeps = {
  readonly asks: Pick<Asks, 'list' | 'byAuthorizationId' | 'end'>
  readonly onEvent: (event: string, fields: object) => Promise<void>
}

export const addApprovalRoutes = (
  { route }: Pick<Rest, 'route'>,
  gate: Gate,
  { asks, onEvent }: ApprovalApiDeps,
): void => {
  route('GET', '/v1/admin/approvals', async (c) => {
    const operator = await gate.enter(c, 'connections')
    const { limit, offset, user_id: user, ...rest } = readQuery(c, approvalsQuery)
    if (rest.tenant !== undefined) await gate.mustServe(operator, rest.tenant)
    const found = await asks.list(given({ ...rest, user }))
    const mine = found.filter(({ tenant }: AskRow) => gate.serves(operator, tenant))
    await onEvent('operator.listed', { ...by(operator), what: 'approvals', found: mine.length })
    return c.json(paged(mine, limit, offset, (row) => approvalShape(row, authorizationIdOf(row))))
  })

  route('DELETE', '/v1/admin/approvals/:id', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const id = c.req.param('id') ?? ''
    const row = isAsk(id) ? await asks.byAuthorizationId(id) : null
    const there = row !== null && (row.status === 'pending' || row.status === 'given')
    if (!there || !(await gate.sees(operator, row.tenant)))
      throw new Problem('not_found', 'nothing that waits has this id')
    await asks.end(row, 'cancelled', { ...by(operator), by: 'operator' })
    return c.body(null, 204)
  })
}
