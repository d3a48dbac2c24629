// Run tokens for programs that start jobs: policy is asked before one is minted, and the token is
// shown once.
import type { Clock, Operation, Person } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Runs } from '../vault/runs.ts'
import { validId } from '../wire/canonical.ts'
import { inFamily } from '../wire/pattern.ts'
import { createRunEnd } from './acts.ts'
import { by, namingFor, personNamed, type Gate, type Naming } from './operator.ts'
import { runBody, runShape, runsQuery } from './operators_schema.ts'
import { given, invalid, paged, readBody, readQuery, type Rest } from './rest.ts'

export type RunApiDeps = Naming & {
  readonly runs: Runs
  /** Longest life of a run, ms. */
  readonly maxRunMs: number
  readonly connections: () => ReadonlyMap<
    string,
    { readonly provider: { readonly operations: readonly Pick<Operation, 'id'>[] } }
  >
  /**
   * Policy's answer to `deputy.run` for this person. Throws Problem policy_denied and what its
   * sources throw.
   */
  readonly permitRun: (
    person: Person,
    agent: string,
    connection: string,
    operator: string,
  ) => Promise<void>
  readonly onEvent: (event: string, fields: object) => Promise<void>
  readonly clock: Clock
}

export const addRunRoutes = (
  { route }: Pick<Rest, 'route'>,
  gate: Gate,
  deps: RunApiDeps,
): void => {
  const { runs, onEvent, clock } = deps
  const revokeRun = createRunEnd({ runs, onEvent })

  route('POST', '/v1/admin/runs', async (c) => {
    const operator = await gate.enter(c, 'runs')
    const body = await readBody(c, runBody)
    const { agent, operations = null } = body
    const person = personNamed(namingFor(deps, operator), body.user_id, body)
    await gate.mustServe(operator, person.tenant)
    if (!namingFor(deps, operator).realms.includes(person.realm))
      throw invalid('realm: identity knows no such realm')
    if (!validId(agent)) throw invalid('agent: has control characters or is too long')
    const connections = [...new Set(body.connections)]
    const served = connections.flatMap((name) => {
      const found = deps.connections().get(name)
      if (found === undefined)
        throw invalid(`connections: ${JSON.stringify(name)} is not configured`)
      return found.provider.operations
    })
    for (const wanted of operations ?? [])
      if (!served.some(({ id }) => inFamily(wanted, id)))
        throw invalid(`operations: ${JSON.stringify(wanted)} is none of these connections`)
    const now = clock.now()
    const expiresAt =
      body.expires_in === undefined
        ? Date.parse(body.expires_at ?? '')
        : now + body.expires_in * 1_000
    if (!(expiresAt > now && expiresAt <= now + deps.maxRunMs))
      throw invalid(`the run must end in the future, within runs.max (${deps.maxRunMs / 1_000} s)`)
    for (const connection of connections)
      await deps.permitRun(person, agent, connection, operator.name)
    const what = { person, agent, connections, operations, by: operator.name, expiresAt }
    const { token, row } = await runs.mint(what)
    try {
      await onEvent('run.minted', {
        ...by(operator),
        run: row.id,
        user: person,
        agent: { id: agent },
        connections,
        operations,
        expires_at: new Date(expiresAt).toISOString(),
      })
    } catch (error) {
      // A token that nobody can account for is never handed out.
      await runs.revoke(row.id)
      throw new Problem('audit_unavailable', 'the record of the run could not be written', {
        cause: error,
      })
    }
    return c.json({ ...runShape(row), token }, 201)
  })

  route('GET', '/v1/admin/runs', async (c) => {
    const operator = await gate.enter(c, 'runs', 'list')
    const { limit, offset, user_id: user, ...rest } = readQuery(c, runsQuery)
    if (rest.tenant !== undefined) await gate.mustServe(operator, rest.tenant)
    const found = await runs.list(given({ ...rest, user }))
    const mine = found.filter((run) => gate.serves(operator, run.tenant))
    await onEvent('operator.listed', { ...by(operator), what: 'runs', found: mine.length })
    return c.json(paged(mine, limit, offset, runShape))
  })

  route('DELETE', '/v1/admin/runs/:id', async (c) => {
    const operator = await gate.enter(c, 'runs')
    const [run] = await runs.list({ id: c.req.param('id') ?? '' })
    if (run === undefined || !(await gate.sees(operator, run.tenant)))
      throw new Problem('not_found', 'no run has this id')
    await revokeRun(operator, run)
    return c.body(null, 204)
  })
}
