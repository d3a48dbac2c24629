// The authorization API of the agent listener, in shapes that existing clients know. No answer
// holds a token.
import type { Hono } from 'hono'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import type { AskRow, Connection, Flow, Principal, StandingAsk } from '../model.ts'
import type { Flows } from '../consent/flow.ts'
import { Problem, type ProblemCode } from '../problem.ts'
import { shareOf } from '../shares.ts'
import { inFamily } from '../wire/pattern.ts'
import { isAsk, personOfAsk, type Asks } from '../consent/asks.ts'
import { createBegin, shape, type BeginDeps } from './begin.ts'
import { createCaller, mine, type CallerDeps } from './caller.ts'
import { PLAN_API } from './plan_schema.ts'
import { TOOLS_API } from './tools_schema.ts'
import { openApi, type ApiRoute } from './openapi.ts'
import { createRest, invalid, readBody, readQuery, short, type Env, type RestDeps } from './rest.ts'

export type ApiDeps = RestDeps &
  CallerDeps &
  BeginDeps & {
    /** Polls that may wait at once. Throws Problem share_used_up. */
    readonly polls: { readonly enter: (agent: string) => () => void }
    readonly flows: Pick<Flows, 'status' | 'byAuthorizationId'>
    /** Approvals and stronger sign-ins. */
    readonly asks: Pick<Asks, 'status' | 'byAuthorizationId'>
    readonly connections: () => ReadonlyMap<string, Connection>
    /** The connection and the operations of a tool. Throws Problem tool_not_found, connection_ambiguous. */
    readonly tool: (
      name: string,
    ) => Promise<{ readonly connection: Connection; readonly operations: readonly string[] }>
    /** The agent that this row of `workloads` is; null: there is none of this name, or its tokens say. */
    readonly agentOf: (workload: string) => string | null
  }

const nextUri = z.string().max(2_048).optional()
const authorizeBody = z.strictObject({
  user_id: short,
  next_uri: nextUri,
  auth_requirement: z
    .strictObject({
      id: short.optional(),
      provider_id: short.optional(),
      provider_type: z.literal('oauth2', { error: 'must be oauth2' }).optional(),
      oauth2: z.strictObject({ scopes: z.array(short).max(100).default([]) }).optional(),
    })
    .refine((wanted) => wanted.id !== undefined || wanted.provider_id !== undefined, {
      error: 'needs id or provider_id',
    }),
  /** What a workload is to do while the person is away: ids of operations, or families such as `issues.*`. */
  standing: z
    .strictObject({
      days: z.int().min(1).max(3_650),
      operations: z.array(short).min(1).max(100),
      workload: short.optional(),
    })
    .optional(),
})
const toolBody = z.strictObject({
  /** A tool, or an operation id; `connection/tool`, `connection@operation` where several connections serve it. */
  tool_name: short,
  tool_version: short.optional(),
  user_id: short.optional(),
  next_uri: nextUri,
})
const statusQuery = z.strictObject({
  id: z.string({ error: 'is missing' }).max(256),
  wait: z
    .string()
    .regex(/^[0-5]?\d$/, 'is a whole number of seconds from 0 to 59')
    .default('0')
    .transform(Number),
})
const authorization = z.object({
  id: z.string(),
  status: z.enum(['pending', 'completed', 'failed']),
  url: z.string().optional(),
  expires_at: z.string().optional(),
  provider_id: z.string(),
  user_id: z.string(),
  scopes: z.array(z.string()),
  missing_scopes: z.array(z.string()).optional(),
  failure: z.string().optional(),
  /** Of one link for several consents (POST /v1/plan): each. */
  authorizations: z.array(z.looseObject({})).optional(),
  /** A sentence about the failure, to show to the user. */
  detail: z.string().optional(),
  context: z.strictObject({}),
})

const AGENT_API: readonly ApiRoute[] = [
  {
    method: 'post',
    path: '/v1/auth/authorize',
    summary: 'Ask a person to connect an account, or learn that it is connected',
    auth: 'tag',
    body: authorizeBody,
    answer: authorization,
  },
  {
    method: 'post',
    path: '/v1/tools/authorize',
    summary: 'The same for one operation, with the least scopes that suffice',
    auth: 'tag',
    body: toolBody,
    answer: authorization,
  },
  {
    method: 'get',
    path: '/v1/auth/status',
    summary: 'How an authorization stands; wait holds the answer until it ends',
    auth: 'tag',
    query: statusQuery,
    answer: authorization,
  },
]

/** Of a link for several consents: all that they ask for. */
const grantedOf = ({ parts, scopes, missing }: Flow): readonly string[] =>
  parts === undefined
    ? scopes.filter((scope) => !missing.includes(scope))
    : [...new Set(parts.flatMap(({ flow }) => grantedOf(flow)))]
const partShape = ({ flow }: NonNullable<Flow['parts']>[number]): object => ({
  id: `ac_${flow.hash}`,
  provider_id: flow.connection,
  status: flow.status,
  scopes: grantedOf(flow),
})

/** Why nothing came of it, as a person may be told. */
const WHY: ReadonlyMap<string | null, string> = new Map([
  ['denied', 'the request was declined'],
  ['expired', 'nobody used the link in time'],
  ['account_mismatch', 'a different account is connected already'],
  ['user_mismatch', 'somebody else than the user was at the page'],
  ['user_inactive', 'the user’s organisation does not list them as active'],
  ['tenant_quota', 'your organisation may connect no more'],
  ['provider_error', 'the provider did not complete it'],
  ['revoked', 'access was revoked meanwhile'],
])
const whyNot = ({ failure }: Flow): string =>
  `Nothing was connected: ${WHY.get(failure) ?? 'the authorization has ended'}. Ask for a new link to try again.`
/** What became of an approval or a sign-in, for whoever asked for it. */
const askShape = async (
  id: string,
  userId: string,
  of: {
    readonly row: Promise<AskRow>
    /** It was told before that this has failed. */
    readonly deaf: boolean
    readonly tell: () => void
  },
): Promise<object> => {
  const row = await of.row
  const { status: at, connection } = row
  const status = at === 'pending' ? at : at === 'given' || at === 'used' ? 'completed' : 'failed'
  const detail = `${row.kind === 'approval' ? 'The call was not approved' : 'The user did not sign in anew'} (${at}).`
  if (status === 'failed' && of.deaf) throw new Problem('authorization_failed', detail)
  if (status === 'failed') of.tell()
  const more = {
    expires_at: new Date(row.expiresAt).toISOString(),
    ...(status === 'failed' ? { failure: at, detail } : {}),
  }
  return shape({ name: connection }, userId, { id, status, scopes: [], more })
}
/** Whoever has a key learns nothing of authorizations of people who are not its own. */
const NOT_ITS_OWN: ReadonlySet<ProblemCode> = new Set([
  'application_user_missing',
  'application_user_refused',
])

/** A client that waits again so soon after it was told `failed` does not look at it. */
const DEAF_MS = 10_000

/** A connection by its name, or by a provider that has exactly one. */
const connectionNamed = (
  connections: ReadonlyMap<string, Connection>,
  wanted: string,
): Connection => {
  const named = connections.get(wanted)
  if (named !== undefined) return named
  const serving = [...connections.values()].filter(({ provider }) => provider.id === wanted)
  const [only] = serving
  if (only === undefined)
    throw invalid(`no connection or provider is called ${JSON.stringify(wanted)}`)
  if (serving.length > 1) {
    const names = serving.map(({ name }) => name)
    throw new Problem(
      'connection_ambiguous',
      `${wanted} has several connections: name one of ${names.join(', ')} as auth_requirement.id`,
      { extra: { connections: names } },
    )
  }
  return only
}

/** `issues.create`, or `github@issues.create`; null: no operation is called so. */
const operationNamed = (
  connections: ReadonlyMap<string, Connection>,
  wanted: string,
): { readonly connection: Connection; readonly operations: readonly string[] } | null => {
  const at = wanted.indexOf('@')
  const operation = wanted.slice(at + 1)
  const serving = [...connections.values()].filter(
    ({ name, provider }) =>
      (at === -1 || name === wanted.slice(0, at)) &&
      provider.operations.some(({ id }) => id === operation),
  )
  const [connection] = serving
  if (connection === undefined) return null
  if (serving.length > 1) {
    const names = serving.map(({ name }) => name)
    throw new Problem(
      'connection_ambiguous',
      `${operation} is served by several connections: write one of ${names.map((name) => `${name}@${operation}`).join(', ')}`,
      { extra: { connections: names } },
    )
  }
  return { connection, operations: [operation] }
}

/** Families are what they stand for today: what a catalogue gets later, nobody said yes to. */
const idsOf = ({ provider, name }: Connection, wanted: readonly string[]): readonly string[] => {
  const ids = wanted.flatMap((one) => {
    const found = provider.operations.filter(({ id }) => inFamily(one, id))
    if (found.length === 0)
      throw invalid(`standing.operations: ${name} has no ${JSON.stringify(one)}`)
    return found.map(({ id }) => id)
  })
  const all = [...new Set(ids)].toSorted()
  if (all.length > 100)
    throw invalid(`standing.operations: ${all.length} are more than a person can read: at most 100`)
  return all
}

/** Mounted under the agent listener: `/v1/auth/authorize`, `/v1/auth/status`, `/v1/tools/authorize`. */
export const createAuthApi = (deps: ApiDeps): Hono<Env> => {
  const { route, close } = createRest(deps)
  const told = new LRUCache<string, true>({ max: 10_000, ttl: DEAF_MS })
  const callerOf = createCaller(deps)
  const begin = createBegin(deps)
  /** Which workload is to act: the one that asks, or another one that is the same agent. */
  const standingOf = (
    { agent, workload: own }: Principal,
    connection: Connection,
    wanted: z.output<typeof authorizeBody>['standing'],
  ): StandingAsk | null => {
    if (wanted === undefined) return null
    const workload = wanted.workload ?? own?.name
    if (workload === undefined)
      throw invalid(
        'standing.workload: name a row of workloads, or send the own token of the workload that is to act',
      )
    if (workload !== own?.name && deps.agentOf(workload) !== agent)
      throw invalid(
        `standing.workload: ${JSON.stringify(workload)} is no row of workloads whose agent is ${agent}`,
      )
    return { workload, days: wanted.days, operations: idsOf(connection, wanted.operations) }
  }

  route('POST', '/v1/auth/authorize', async (c) => {
    // Who calls is known before the body is read, where the tag alone decides.
    const { who: principal } = await callerOf(c, async () => ({
      id: (await readBody(c, authorizeBody)).user_id,
    }))
    const body = await readBody(c, authorizeBody)
    mine(body.user_id, principal)
    const { id, provider_id, oauth2 } = body.auth_requirement
    const connection = connectionNamed(deps.connections(), id ?? provider_id ?? '')
    const scopes = oauth2?.scopes ?? []
    const outside = scopes.filter((scope) => !connection.scopes.includes(scope))
    if (outside.length > 0)
      throw invalid(`connection ${connection.name} may not ask for ${outside.join(', ')}`)
    const standing = standingOf(principal, connection, body.standing)
    return c.json(await begin(principal, connection, { scopes, standing }, body.next_uri))
  })

  route('POST', '/v1/tools/authorize', async (c) => {
    const { who: principal } = await callerOf(c, async () => {
      const { user_id: id } = await readBody(c, toolBody)
      return id === undefined ? null : { id }
    })
    const body = await readBody(c, toolBody)
    mine(body.user_id, principal)
    const { connection, operations } =
      operationNamed(deps.connections(), body.tool_name) ?? (await deps.tool(body.tool_name))
    return c.json(await begin(principal, connection, { operations }, body.next_uri))
  })

  route('GET', '/v1/auth/status', async (c) => {
    const { id, wait } = readQuery(c, statusQuery)
    let byId = false
    const { who: principal } = await callerOf(c, async () => {
      byId = true
      // Whether there is one at all is for nobody to learn.
      const ask = await deps.asks.byAuthorizationId(id)
      if (ask !== null) return personOfAsk(ask)
      return (await deps.flows.byAuthorizationId(id))?.person ?? { id: '' }
    }).catch((error: unknown) => {
      if (!byId || !(error instanceof Problem) || !NOT_ITS_OWN.has(error.code)) throw error
      throw new Problem('authorization_not_found', 'you have begun no authorization of this id')
    })
    const { person, agent } = principal
    const leave = wait > 0 ? deps.polls.enter(shareOf(person.tenant, agent)) : null
    if (isAsk(id))
      return c.json(
        await askShape(id, person.id, {
          row: deps.asks
            .status(id, { person, agent }, wait * 1_000, c.req.raw.signal)
            .finally(() => leave?.()),
          deaf: wait > 0 && told.has(id),
          tell: () => void (wait > 0 && told.set(id, true)),
        }),
      )
    const flow = await deps.flows
      .status(id, { person, agent }, wait * 1_000, c.req.raw.signal)
      .finally(() => leave?.())
    const failed = flow.status === 'failed'
    // Clients that wait for `completed` alone would ask for ever: an error is what ends their wait.
    if (failed && wait > 0 && told.has(id)) throw new Problem('authorization_failed', whyNot(flow))
    if (failed && wait > 0) told.set(id, true)
    return c.json(
      shape({ name: flow.connection }, person.id, {
        id,
        status: flow.status,
        scopes: grantedOf(flow),
        more: {
          ...(flow.parts === undefined ? {} : { authorizations: flow.parts.map(partShape) }),
          ...(failed ? { failure: flow.failure ?? 'failed', detail: whyNot(flow) } : {}),
          ...(flow.missing.length > 0 ? { missing_scopes: flow.missing } : {}),
        },
      }),
    )
  })

  route('GET', '/v1/openapi.json', (c) =>
    c.json(
      openApi('deputy: the agent’s API', deps.publicUrl, [...AGENT_API, ...TOOLS_API, ...PLAN_API]),
    ),
  )
  return close()
}
