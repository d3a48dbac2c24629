// What goes in and out of the operators' API: zod schemas, and the list from which its OpenAPI
// document is made.
import { z } from 'zod'
import type { AgentAbout } from '../config/agents.ts'
import type { AgentOff, AskRow, HeldConnection, Person, RunRow, StandingRow } from '../model.ts'
import type { ApiRoute } from './openapi.ts'
import { peopleApi } from './people.ts'
import { short, whole } from './rest.ts'

const id = z.string().min(1).max(1_024)
const place = { tenant: short.optional(), realm: short.optional() }
const paging = { limit: whole(100, 25), offset: whole(999_999_999, 0) }

export const tenantQuery = z.strictObject({ tenant: short.optional() })
export const revokeQuery = z.strictObject({ ...place, agent: short.optional() })
export const connectionsQuery = z.strictObject({
  user_id: id.optional(),
  provider_id: short.optional(),
  ...place,
  ...paging,
})
export const runsQuery = z.strictObject({
  user_id: id.optional(),
  agent: short.optional(),
  ...place,
  ...paging,
})
export const standingsQuery = runsQuery
export const approvalsQuery = runsQuery
export const runBody = z
  .strictObject({
    user_id: id,
    ...place,
    agent: short,
    connections: z.array(short).min(1).max(100),
    /** Ids, or families such as `issues.*`; absent: what policy allows. */
    operations: z.array(short).min(1).max(1_000).optional(),
    /** Seconds. */
    expires_in: z.int().min(1).optional(),
    expires_at: z.iso.datetime({ offset: true }).optional(),
  })
  .refine((body) => (body.expires_in === undefined) !== (body.expires_at === undefined), {
    error: 'needs one of expires_in (seconds) and expires_at',
  })
export const agentsQuery = z.strictObject(paging)
export const confirmBody = z.strictObject({
  flow_id: z.string().min(1).max(1_024),
  user_id: id,
  ...place,
})

const listOf = (item: z.ZodType) =>
  z.object({
    items: z.array(item),
    limit: z.int(),
    offset: z.int(),
    page_count: z.int(),
    total_count: z.int(),
  })
const connectionItem = z.object({
  id: z.string(),
  connection_id: z.string(),
  connection_status: z.enum(['active', 'needs_reauth']),
  provider_id: z.string(),
  provider_type: z.literal('oauth2'),
  provider_description: z.string(),
  provider_user_info: z.object({ account: z.string() }),
  scopes: z.array(z.string()),
  user_id: z.string(),
  tenant: z.string(),
  realm: z.string(),
  agents: z.array(
    z.object({ agent: z.string(), scopes: z.array(z.string()), granted_at: z.string() }),
  ),
  stored_at: z.string(),
})
const runItem = z.object({
  id: z.string(),
  user_id: z.string(),
  tenant: z.string(),
  realm: z.string(),
  agent: z.string(),
  connections: z.array(z.string()),
  operations: z.array(z.string()).nullable(),
  created_by: z.string(),
  created_at: z.string(),
  expires_at: z.string(),
  revoked_at: z.string().nullable(),
})
const standingItem = z.object({
  id: z.string(),
  user_id: z.string(),
  tenant: z.string(),
  realm: z.string(),
  agent: z.string(),
  workload: z.string(),
  connection_id: z.string(),
  operations: z.array(z.string()),
  created_at: z.string(),
  expires_at: z.string(),
  last_used_at: z.string().nullable(),
})
const approvalItem = z.object({
  id: z.string(),
  kind: z.enum(['approval', 'step_up']),
  status: z.enum(['pending', 'given']),
  user_id: z.string(),
  tenant: z.string(),
  realm: z.string(),
  agent: z.string(),
  connection_id: z.string(),
  operations: z.array(z.string()),
  digest: z.string(),
  created_at: z.string(),
  expires_at: z.string(),
})
/**
 * `failed`: deputy forgot the token, the provider may still accept it; `access_outlives`: until it
 * expires. `grant_removed`: other agents keep the account.
 */
const results = z.array(
  z.object({
    id: z.string(),
    connection_id: z.string(),
    provider: z.string(),
    account: z.string(),
    user_id: z.string(),
    tenant: z.string(),
    realm: z.string(),
    result: z.enum([
      'revoked',
      'already_dead',
      'not_supported',
      'access_outlives',
      'failed',
      'grant_removed',
    ]),
  }),
)
const agentItem = z.object({
  id: z.string(),
  name: z.string(),
  /** Has `agents` a row for it? */
  known: z.boolean(),
  /** The id; null: none, or of a tenant that the operator does not serve. */
  owner: z.string().nullable(),
  contact: z.string().nullable(),
  workload: z.string().nullable(),
  /** Where it is switched off; a tenant of null: for everybody. */
  disabled: z.array(
    z.object({
      tenant: z.string().nullable(),
      at: z.string(),
      by: z.enum(['owner', 'operator']),
    }),
  ),
})
const ended = z.object({
  user_id: z.string(),
  tenant: z.string(),
  realm: z.string(),
  agent: z.string().nullable(),
  results,
  runs_revoked: z.int(),
  standings_ended: z.int(),
  authorizations_ended: z.int(),
})

const iso = (ms: number): string => new Date(ms).toISOString()

export const connectionShape = (
  held: HeldConnection,
  provider: string,
): z.input<typeof connectionItem> => ({
  id: held.credential,
  connection_id: held.connection,
  connection_status: held.status,
  provider_id: held.connection,
  provider_type: 'oauth2',
  provider_description: provider,
  provider_user_info: { account: held.account },
  scopes: [...held.scopes],
  user_id: held.person.id,
  tenant: held.person.tenant,
  realm: held.person.realm,
  agents: held.agents.map(({ agent, scopes, at }) => ({
    agent,
    scopes: [...scopes],
    granted_at: iso(at),
  })),
  stored_at: iso(held.storedAt),
})
export const agentShape = (
  id: string,
  about: AgentAbout | null,
  off: readonly AgentOff[],
  serves: (owner: Person) => boolean,
): z.input<typeof agentItem> => ({
  id,
  name: about?.name ?? id,
  known: about !== null,
  owner: about?.owner != null && serves(about.owner) ? about.owner.id : null,
  contact: about?.contact ?? null,
  workload: about?.workload ?? null,
  disabled: off.map(({ tenant, at, by }) => ({ tenant, at: iso(at), by })),
})
/** Never the token or its hash. */
export const runShape = (row: RunRow): z.input<typeof runItem> => ({
  id: row.id,
  user_id: row.user,
  tenant: row.tenant,
  realm: row.realm,
  agent: row.agent,
  connections: [...row.connections],
  operations: row.operations === null ? null : [...row.operations],
  created_by: row.createdBy,
  created_at: iso(row.createdAt),
  expires_at: iso(row.expiresAt),
  revoked_at: row.revokedAt === null ? null : iso(row.revokedAt),
})

export const standingShape = (row: StandingRow): z.input<typeof standingItem> => ({
  id: row.id,
  user_id: row.user,
  tenant: row.tenant,
  realm: row.realm,
  agent: row.agent,
  workload: row.workload,
  connection_id: row.connection,
  operations: [...row.operations],
  created_at: iso(row.createdAt),
  expires_at: iso(row.expiresAt),
  last_used_at: row.lastUsedAt === null ? null : iso(row.lastUsedAt),
})

export const approvalShape = (row: AskRow, id: string): z.input<typeof approvalItem> => ({
  id,
  kind: row.kind,
  status: row.status === 'given' ? 'given' : 'pending',
  user_id: row.user,
  tenant: row.tenant,
  realm: row.realm,
  agent: row.agent,
  connection_id: row.connection,
  operations: [...row.operations],
  digest: row.digest,
  created_at: iso(row.createdAt),
  expires_at: iso(row.expiresAt),
})

export const CONFIRM_API: readonly ApiRoute[] = [
  {
    method: 'post',
    path: '/v1/auth/confirm_user',
    summary: 'The application says who was at its page (connect.verifier)',
    auth: 'verifier',
    body: confirmBody,
    answer: z.object({ auth_id: z.string(), next_uri: z.string().optional() }),
    also: {
      status: 400,
      description: 'Somebody else was there: nothing is stored, what was granted is given back',
      answer: z.object({
        code: z.literal(400),
        error: z.literal('user_mismatch'),
        msg: z.string(),
      }),
    },
  },
]
export const SIGN_IN_API: readonly ApiRoute[] = [
  {
    method: 'get',
    path: '/v1/admin/login',
    summary: 'Where and how a person signs in as an operator (deputy login)',
    auth: null,
    answer: z.object({
      issuer: z.string(),
      client_id: z.string(),
      scope: z.string(),
      audience: z.string().nullable(),
      token: z.enum(['access_token', 'id_token']),
    }),
  },
]
export const OPERATORS_API: readonly ApiRoute[] = [
  {
    method: 'get',
    path: '/v1/admin/user_connections',
    summary: 'Who is connected to what, and which agents may use it',
    auth: 'operator',
    query: connectionsQuery,
    answer: listOf(connectionItem),
  },
  {
    method: 'delete',
    path: '/v1/admin/user_connections/{id}',
    summary: 'Revoke one connection, here and then at the provider (Deputy-Revocation says how)',
    auth: 'operator',
    answer: null,
  },
  {
    method: 'delete',
    path: '/v1/admin/users/{id}/connections',
    summary: 'Revoke everything of one person, or of one agent of theirs',
    auth: 'operator',
    query: revokeQuery,
    answer: ended,
  },
  ...peopleApi(ended),
  {
    method: 'delete',
    path: '/v1/admin/connections/{name}/grants',
    summary: 'Revoke what everybody granted at one connection',
    auth: 'operator',
    query: tenantQuery,
    answer: z.object({ connection_id: z.string(), results }),
  },
  {
    method: 'post',
    path: '/v1/admin/runs',
    summary: 'Mint a run token for a job; it is shown once',
    auth: 'operator',
    body: runBody,
    answer: runItem.extend({ token: z.string() }),
    status: 201,
  },
  {
    method: 'get',
    path: '/v1/admin/runs',
    summary: 'Runs, the newest first',
    auth: 'operator',
    query: runsQuery,
    answer: listOf(runItem),
  },
  {
    method: 'delete',
    path: '/v1/admin/runs/{id}',
    summary: 'Revoke a run and abort what it has in flight',
    auth: 'operator',
    answer: null,
  },
  {
    method: 'get',
    path: '/v1/admin/agents',
    summary: 'Agents that are known or switched off',
    auth: 'operator',
    query: agentsQuery,
    answer: listOf(agentItem),
  },
  {
    method: 'post',
    path: '/v1/admin/agents/{id}/disable',
    summary: 'Switch an agent off: for everybody, or for the tenants that the operator serves',
    auth: 'operator',
    query: tenantQuery,
    answer: agentItem,
  },
  {
    method: 'post',
    path: '/v1/admin/agents/{id}/enable',
    summary: 'Switch it on again, where this operator may',
    auth: 'operator',
    query: tenantQuery,
    answer: agentItem,
  },
  {
    method: 'get',
    path: '/v1/admin/standings',
    summary: 'What workloads may do for people who are away, the newest first',
    auth: 'operator',
    query: standingsQuery,
    answer: listOf(standingItem),
  },
  {
    method: 'delete',
    path: '/v1/admin/standings/{id}',
    summary: 'End one of these and abort what it has in flight',
    auth: 'operator',
    answer: null,
  },
  {
    method: 'get',
    path: '/v1/admin/approvals',
    summary: 'Calls that wait for an approval or a stronger sign-in, the newest first',
    auth: 'operator',
    query: approvalsQuery,
    answer: listOf(approvalItem),
  },
  {
    method: 'delete',
    path: '/v1/admin/approvals/{id}',
    summary: 'End the waiting: the call does not leave by it',
    auth: 'operator',
    answer: null,
  },
]

/** On the socket of the machine only. */
export const rotateBody = z.strictObject({ retire: z.boolean() })
export const copyBody = z.strictObject({ file: z.string().startsWith('/') })
export const replayBody = z.strictObject({ files: z.array(z.string().startsWith('/')).min(1) })
