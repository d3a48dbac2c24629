// The authorization API of the agent listener, in shapes that existing clients know; a token is never in an answer.
import type { IncomingMessage } from 'node:http'
import { Hono } from 'hono'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { z } from 'zod'
import type { Connection, Flow, Log, Principal } from '../model.ts'
import type { Begun, Flows } from '../oauth/flow.ts'
import { Problem, problemAnswer, toProblem } from '../problem.ts'
import { parseStrict } from '../wire/json.ts'
import { mayReturnTo } from './app.ts'

const BODY_BYTES = 65_536
const MAX_WAIT_S = 59

export type ApiDeps = {
  /** Throws Problem unauthenticated. */
  readonly identify: (rawHeaders: readonly string[]) => Principal | Promise<Principal>
  /**
   * Under `trust: plain` only, else null: a user id as the tag of a request that names nobody.
   * It answers null when the request did name somebody, badly.
   */
  readonly plainPerson: ((userId: string, rawHeaders: readonly string[]) => Principal | null) | null
  /**
   * Policy decides before any flow begins. `held`: nothing is left to consent to.
   * Throws Problem policy_denied and the like.
   */
  readonly permit: (
    principal: Principal,
    connection: string,
    wanted: { readonly scopes: readonly string[] } | { readonly operation: string },
  ) => Promise<{ readonly scopes: readonly string[]; readonly held: boolean }>
  readonly flows: Pick<Flows, 'begin' | 'completed' | 'status' | 'byAuthorizationId'>
  readonly connections: () => ReadonlyMap<string, Connection>
  /** Origins that `next_uri` may name. */
  readonly returnTo: readonly string[]
  /** `connect.url`: base of problem types. */
  readonly publicUrl: string
  /** Id of the exchange, for `instance`. */
  readonly newId: () => string
  readonly log: Log
}

const short = z.string().min(1).max(256)
const authorizeBody = z.strictObject({
  user_id: short,
  next_uri: z.string().max(2_048).optional(),
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
})

const invalid = (detail: string): Problem => new Problem('request_invalid', detail)

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

const shape = (
  connection: Pick<Connection, 'name'>,
  userId: string,
  what: Pick<Flow, 'scopes' | 'status'> & { readonly id: string; readonly more?: object },
): object => ({
  id: what.id,
  status: what.status,
  ...what.more,
  provider_id: connection.name,
  user_id: userId,
  scopes: what.scopes,
  context: {},
})

type Env = { readonly Bindings: { readonly incoming?: IncomingMessage } }

/** Mounted under the agent listener: `POST /v1/auth/authorize`, `GET /v1/auth/status`. */
export const createAuthApi = (deps: ApiDeps): Hono<Env> => {
  const app = new Hono<Env>()
  const rawHeaders = (c: Context<Env>): readonly string[] =>
    c.env?.incoming?.rawHeaders ?? [...c.req.raw.headers].flat()

  /** `message` repeats `detail`: existing clients show that member. */
  const refuse = (error: unknown): Response => {
    const problem = toProblem(error)
    const id = deps.newId()
    if (problem.cause !== undefined)
      deps.log.warn(
        { err: named(problem.cause), code: problem.code, instance: id },
        problem.message,
      )
    const extra = { ...problem.extra, message: problem.message }
    const { code, headers } = problem
    const answer = problemAnswer(
      new Problem(code, problem.message, { extra, headers }),
      id,
      deps.publicUrl,
    )
    return new Response(answer.body, { status: answer.status, headers: { ...answer.headers } })
  }

  /**
   * The tag decides. Only under `plain`, and only where a request names nobody, the user that it speaks of does:
   * there any caller may name any user.
   */
  const callerOf = async (
    c: Context<Env>,
    spokenOf: () => Promise<string | null>,
  ): Promise<Principal> => {
    try {
      return await deps.identify(rawHeaders(c))
    } catch (error) {
      const untagged = error instanceof Problem && error.code === 'unauthenticated'
      if (!untagged || deps.plainPerson === null) throw error
      const userId = await spokenOf()
      const plain = userId === null ? null : deps.plainPerson(userId, rawHeaders(c))
      if (plain === null) throw error
      return plain
    }
  }

  app.use(async (c, next) => {
    await next()
    c.header('cache-control', 'no-store')
  })
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES,
      onError: () => refuse(new Problem('request_too_large', 'the body may have 64 KiB')),
    }),
  )

  app.post('/v1/auth/authorize', async (c) => {
    // Who calls is known before the body is read, where the tag alone decides.
    const principal = await callerOf(c, async () => (await readBody(c)).user_id)
    const body = await readBody(c)
    if (body.user_id !== principal.person.id)
      throw invalid('user_id is not the user that the tag of this request names')
    const { id, provider_id, oauth2 } = body.auth_requirement
    const connection = connectionNamed(deps.connections(), id ?? provider_id ?? '')
    const asked = oauth2?.scopes ?? []
    const outside = asked.filter((scope) => !connection.scopes.includes(scope))
    if (outside.length > 0)
      throw invalid(`connection ${connection.name} may not ask for ${outside.join(', ')}`)
    if (body.next_uri !== undefined && !mayReturnTo(deps.returnTo, body.next_uri))
      throw invalid('next_uri must have an origin that connect.return_to lists')
    const permitted = await deps.permit(principal, connection.name, { scopes: asked })
    const { person, agent } = principal
    if (permitted.held) {
      const { scopes } = permitted
      const done = await deps.flows.completed(person, agent, connection.name, scopes)
      return c.json(shape(connection, person.id, { id: done, status: 'completed', scopes }))
    }
    const begun: Begun = await deps.flows.begin(person, agent, connection.name, permitted.scopes, {
      nextUri: body.next_uri ?? null,
    })
    return c.json(
      shape(connection, person.id, {
        id: begun.authorizationId,
        status: 'pending',
        scopes: begun.scopes,
        more: { url: begun.url, expires_at: new Date(begun.expiresAt).toISOString() },
      }),
    )
  })

  app.get('/v1/auth/status', async (c) => {
    const id = c.req.query('id')
    const principal = await callerOf(
      c,
      async () => (await deps.flows.byAuthorizationId(id ?? ''))?.person.id ?? null,
    )
    const wait = c.req.query('wait') ?? '0'
    if (!/^\d{1,2}$/.test(wait) || Number(wait) > MAX_WAIT_S)
      throw invalid(`wait is a whole number of seconds from 0 to ${MAX_WAIT_S}`)
    if (id === undefined) throw invalid('id is missing')
    const { person, agent } = principal
    const flow = await deps.flows.status(id, person, agent, Number(wait) * 1_000, c.req.raw.signal)
    return c.json(
      shape({ name: flow.connection }, person.id, {
        id,
        status: flow.status,
        scopes: flow.scopes.filter((scope) => !flow.missing.includes(scope)),
        more: {
          ...(flow.failure === null ? {} : { failure: flow.failure }),
          ...(flow.missing.length > 0 ? { missing_scopes: flow.missing } : {}),
        },
      }),
    )
  })

  const only = (allow: string) => (): never => {
    throw new Problem('method_not_allowed', `only ${allow} is known here`, { headers: { allow } })
  }
  app.all('/v1/auth/authorize', only('POST'))
  app.all('/v1/auth/status', only('GET'))
  app.notFound(() =>
    refuse(new Problem('route_not_found', 'deputy’s own API has nothing at this path')),
  )
  app.onError(refuse)
  return app
}

const readBody = async (c: Context): Promise<z.output<typeof authorizeBody>> => {
  if (!/^application\/json\s*(?:;|$)/i.test(c.req.header('content-type') ?? ''))
    throw new Problem('unsupported_media_type', 'the body must be application/json')
  let value: unknown
  try {
    value = parseStrict(await c.req.text())
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new Problem('request_invalid', 'the body is not JSON with one reading', { cause: error })
  }
  const parsed = authorizeBody.safeParse(value)
  if (parsed.success) return parsed.data
  throw invalid(
    parsed.error.issues
      .map((issue) =>
        issue.code === 'unrecognized_keys'
          ? `${[...issue.path, issue.keys[0] ?? ''].join('.')}: is not known`
          : `${issue.path.join('.') || 'body'}: ${issue.message}`,
      )
      .join('; '),
  )
}

/** Name and message only: a cause may hold what a provider said. */
const named = (error: unknown): object =>
  error instanceof Error ? { name: error.name, message: error.message } : { name: 'unknown' }
