// The operators' API, for programs only: who is connected, and revocation that says of each grant
// what really happened.
import type { Hono } from 'hono'
import type { HeldConnection, Operation, Person, Vault } from '../model.ts'
import type { Flows } from '../consent/flow.ts'
import type { Revoker } from '../tokens/revoke.ts'
import { Problem } from '../problem.ts'
import { createActs, type Ended } from './acts.ts'
import { addApprovalRoutes, type ApprovalApiDeps } from './approvals.ts'
import { addAgentRoutes, type AgentApiDeps } from './agents.ts'
import { openApi } from './openapi.ts'
import { addPeopleRoutes, type PeopleApiDeps } from './people.ts'
import {
  bearerAmong,
  by,
  createGate,
  personAsked,
  personNamed,
  type Machine,
  type Operator,
} from './operator.ts'
import type { OperatorSignIn } from './operator_sso.ts'
import * as shapes from './operators_schema.ts'
import { createRest, given, pageOf, readBody, readQuery, type Env, type RestDeps } from './rest.ts'
import { addRunRoutes, type RunApiDeps } from './runs.ts'
import { addStandingRoutes, type StandingApiDeps } from './standings.ts'

export type OperatorsDeps = RestDeps &
  Omit<RunApiDeps, 'connections'> &
  AgentApiDeps &
  ApprovalApiDeps &
  PeopleApiDeps &
  StandingApiDeps & {
    /** Empty: this listener does not serve them. */
    readonly operators: readonly Machine[]
    /** By whose tokens people are operators, without a bearer; null: nobody is. */
    readonly signIn: OperatorSignIn | null
    readonly local?: boolean
    /** `deputy keys rotate` beside a deputy that has the vault to itself; for `local` only. */
    readonly rotate?: (retire: boolean) => Promise<object>
    /**
     * `deputy vault backup` beside a deputy that serves: a copy of the vault in a new file; for
     * `local` only.
     */
    readonly copy?: (file: string) => Promise<void>
    /**
     * `deputy vault replay`: carries out again what these files say was revoked; for `local` only.
     */
    readonly replay?: (files: readonly string[]) => Promise<object>
    /**
     * Opens `confirm_user` and nothing else: SHA-256 of `connect.verifier.key`; null: no
     * application confirms.
     */
    readonly verifier: Buffer | null
    readonly connections: () => ReadonlyMap<
      string,
      {
        readonly provider: {
          readonly name: string
          readonly operations: readonly Pick<Operation, 'id'>[]
        }
      }
    >
    readonly vault: Pick<Vault, 'list' | 'page' | 'disallow'>
    /** Where a credential is kept; null: nowhere. */
    readonly locate: (
      credential: string,
    ) => Promise<{ readonly person: Person; readonly connection: string } | null>
    readonly revoker: Revoker
    readonly flows: Pick<Flows, 'cancel' | 'confirm' | 'erase'>
    readonly stranger: (code?: 'operator_refused' | 'unauthenticated') => void
    /**
     * Who is at a person's own pages; the address to go on to, or null: the id is of something
     * else.
     */
    readonly arrived: (flowId: string, person: Person) => Promise<string | null>
  }

const resultShape = ({ result, ...of }: Ended): object => ({
  id: of.credential,
  connection_id: of.connection,
  provider: of.provider,
  account: of.account,
  user_id: of.person.id,
  tenant: of.person.tenant,
  realm: of.person.realm,
  result,
})

/** On the connect listener where that is on loopback, else on one of its own. */
export const createOperatorsApi = (deps: OperatorsDeps): Hono<Env> => {
  const rest = createRest(deps)
  const { app, route } = rest
  const { vault, runs, flows, onEvent } = deps
  const gate = createGate({ ...deps, mono: deps.clock.mono })

  app.use(async (c, next) => {
    if (c.req.header('origin') !== undefined || c.req.header('sec-fetch-site') !== undefined)
      throw new Problem('browser_refused', 'this API serves programs, not pages')
    await next()
  })

  const acts = createActs(deps)
  const revoke = async (
    operator: Operator,
    list: readonly HeldConnection[],
  ): Promise<readonly object[]> => (await acts.revoke(operator, list)).map(resultShape)

  /** Everything of a person, or of one agent of theirs: runs, links under way, grants. */
  const endAll = async (
    operator: Operator,
    person: Person,
    agent: string | null,
  ): Promise<{ readonly results: readonly object[]; readonly [member: string]: unknown }> => {
    const done = await acts.endAll(operator, person, agent)
    return {
      user_id: person.id,
      tenant: person.tenant,
      realm: person.realm,
      agent,
      results: done.results.map(resultShape),
      runs_revoked: done.runs,
      standings_ended: done.standings,
      authorizations_ended: done.authorizations,
    }
  }

  route('GET', '/v1/admin/user_connections', async (c) => {
    const operator = await gate.enter(c, 'connections')
    const query = readQuery(c, shapes.connectionsQuery)
    const { user_id: id, tenant, realm, provider_id: wanted, limit, offset } = query
    if (tenant !== undefined) await gate.mustServe(operator, tenant)
    const { held, total } = await vault.page({
      tenants: tenant === undefined ? (operator.tenants ?? null) : [tenant],
      realm: realm ?? null,
      user: id ?? null,
      at: wanted ?? null,
      skip: offset,
      most: limit,
    })
    await onEvent('operator.listed', {
      ...by(operator),
      what: 'user_connections',
      found: total,
      ...(id === undefined ? {} : { user: { id, realm, tenant } }),
    })
    const name = ({ connection, provider }: HeldConnection): string =>
      deps.connections().get(connection)?.provider.name ?? provider
    const items = held.map((one) => shapes.connectionShape(one, name(one)))
    return c.json(pageOf(items, limit, offset, total))
  })

  route('DELETE', '/v1/admin/user_connections/:id', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const id = c.req.param('id') ?? ''
    const found = await deps.locate(id)
    if (found === null || !(await gate.sees(operator, found.person.tenant)))
      throw new Problem('not_found', 'no connection has this id')
    const held = await vault.list({ ...found.person, connection: found.connection })
    const mine = held.filter(({ credential }) => credential === id)
    const [done] = await acts.revoke(operator, mine)
    // The provider's part, for whoever asks; the answer is otherwise the one that existing clients
    // know.
    c.header('deputy-revocation', done?.result ?? 'already_dead')
    return c.body(null, 204)
  })

  route('DELETE', '/v1/admin/users/:id/connections', async (c) => {
    const { operator, person, query } = await personAsked(c, gate, deps, shapes.revokeQuery)
    return c.json(await endAll(operator, person, query.agent ?? null))
  })

  route('DELETE', '/v1/admin/connections/:name/grants', async (c) => {
    const operator = await gate.enter(c, 'revoke')
    const { tenant } = readQuery(c, shapes.tenantQuery)
    if (tenant !== undefined) await gate.mustServe(operator, tenant)
    const connection = c.req.param('name') ?? ''
    const held = await vault.list(given({ connection, tenant }))
    const mine = held.filter(({ person }) => gate.serves(operator, person.tenant))
    if (mine.length === 0 && !deps.connections().has(connection))
      throw new Problem('not_found', 'no connection has this name')
    return c.json({ connection_id: connection, results: await revoke(operator, mine) })
  })

  addPeopleRoutes(rest, gate, deps, async (operator, person) => {
    const ended = await endAll(operator, person, null)
    const erased = { authorizations: await flows.erase(person), runs: await runs.erase(person) }
    const { tenant, realm, id } = person
    return { ended, erased, left: (await vault.list({ tenant, realm, id })).length }
  })
  addRunRoutes(rest, gate, deps)
  addAgentRoutes(rest, gate, deps)
  addStandingRoutes(rest, gate, deps)
  addApprovalRoutes(rest, gate, deps)

  const { signIn } = deps
  // Whoever is about to sign in has no token yet; nothing in it is secret.
  if (signIn !== null) route('GET', '/v1/admin/login', (c) => c.json(signIn.about))

  const { rotate } = deps
  if (deps.local === true && rotate !== undefined)
    route('POST', '/v1/admin/keys/rotate', async (c) => {
      await gate.enter(c, 'revoke')
      return c.json(await rotate((await readBody(c, shapes.rotateBody)).retire))
    })

  const { copy, replay } = deps
  if (deps.local === true && copy !== undefined)
    route('POST', '/v1/admin/vault/copy', async (c) => {
      const operator = await gate.enter(c, 'revoke')
      const { file } = await readBody(c, shapes.copyBody)
      await onEvent('vault.copied', { ...by(operator), file })
      await copy(file)
      return c.body(null, 204)
    })
  if (deps.local === true && replay !== undefined)
    route('POST', '/v1/admin/vault/replay', async (c) => {
      const operator = await gate.enter(c, 'revoke')
      const { files } = await readBody(c, shapes.replayBody)
      const done = await replay(files)
      await onEvent('vault.replayed', { ...by(operator), ...done })
      return c.json(done)
    })

  route('POST', '/v1/auth/confirm_user', async (c) => {
    if (deps.verifier === null)
      throw new Problem('route_not_found', 'connect.verifier is not configured')
    if (bearerAmong(c, [deps.verifier]) === -1) {
      deps.stranger()
      throw new Problem('unauthenticated', 'the bearer is not the key of connect.verifier')
    }
    const body = await readBody(c, shapes.confirmBody)
    const person = personNamed(deps, body.user_id, body)
    const own = await deps.arrived(body.flow_id, person)
    if (own !== null) return c.json({ auth_id: 'connections', next_uri: own })
    const confirmed = await flows.confirm(body.flow_id, person)
    if (confirmed.kind === 'confirmed')
      return c.json({
        auth_id: confirmed.authorizationId,
        ...(confirmed.nextUri === null ? {} : { next_uri: confirmed.nextUri }),
      })
    if (confirmed.kind !== 'mismatch') throw confirmed.problem
    // The shape that existing clients know; the header says it for everybody else.
    c.header('deputy-answer', 'user_mismatch')
    const msg = 'the authorization was made for somebody else; what was granted has been revoked'
    return c.json({ code: 400, error: 'user_mismatch', msg }, 400)
  })

  const served = [
    ...(deps.operators.length > 0 || deps.signIn !== null ? shapes.OPERATORS_API : []),
    ...(deps.signIn === null ? [] : shapes.SIGN_IN_API),
    ...(deps.verifier === null ? [] : shapes.CONFIRM_API),
  ]
  route('GET', '/v1/openapi.json', (c) =>
    c.json(openApi('deputy: the operators’ API', deps.publicUrl, served)),
  )
  return rest.close()
}
