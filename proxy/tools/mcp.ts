// The door for MCP hosts on the agents' listeners: five methods of two revisions on one address, without a store. What a
// tool does goes the way of every call; here it is only heard and told.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { originOf } from '../net/host.ts'
import type { Access, Json, JsonObject, Log, Person, Principal } from '../model.ts'
import type { Flight } from '../pipeline/calls.ts'
import { readUpTo } from '../pipeline/inspect.ts'
import {
  CallerLeft,
  Problem,
  problemAnswer,
  sentence,
  toProblem,
  type ProblemCode,
} from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { sessionUnknown, type McpSessions } from '../wire/mcp_session.ts'
import { fits } from '../wire/pattern.ts'
import type { Catalogue } from './catalogue.ts'
import { DISCOVERY, DISCOVERY_TEXT, readSearch } from './discovery.ts'
import {
  endpointOf,
  MOST_LISTED,
  searched,
  shapeOf,
  type Endpoint,
  type EndpointRow,
} from './endpoint.ts'
import {
  badParams,
  detailOf,
  discovered,
  done,
  empty,
  failed,
  faultAnswer,
  listed,
  listOf,
  opened,
  ranAnswer,
  transportAnswer,
  unknownMethod,
  unknownTool,
  type Answer,
  type Told,
} from './mcp_answer.ts'
import { readAsked, type Asked } from './mcp_message.ts'
import type { Outer, Tools } from './doors.ts'
import type { CallBound, McpStates } from './mcp_state.ts'

export type McpDeps = Pick<Tools, 'catalogue' | 'visible' | 'described' | 'run'> & {
  readonly endpoints: readonly EndpointRow[]
  /** Throws Problem unauthenticated. */
  readonly identify: (req: IncomingMessage) => Principal | Promise<Principal>
  /** Counts a message among what is in flight. Throws Problem too_many_calls. */
  readonly enter: (who: Principal) => Flight
  /** Throws Problem agent_disabled. */
  readonly agentOn: (who: Principal) => void | Promise<void>
  /** Counts what is no call of a provider. Throws Problem tenant_busy. */
  readonly rate: (who: Principal) => void
  /** Throws Problem unauthenticated where a workload calls for somebody who is away. */
  readonly tagOnly: (who: Principal) => unknown
  /** How long a list that stands on facts for these may be taken for true, ms. */
  readonly ttl: (who: Principal, accesses: ReadonlySet<Access>) => Promise<number>
  readonly sessions: McpSessions
  readonly states: McpStates
  /** Who signs people in, as the configuration names them. */
  readonly issuers: readonly string[]
  readonly most: number
  readonly version: string
  readonly typeBase: string
  readonly newId: () => string
  readonly refused: (id: string, code: ProblemCode, person: Person | null) => void
  readonly log: Log
}

/** How long a repeated call waits for its person, s: hosts give up after sixty. */
const WAIT_S = 45
const METADATA = '/.well-known/oauth-protected-resource'
/** Of what is searched, so many are asked about. */
const LOOKED = 60

type Call = {
  readonly req: IncomingMessage
  readonly asked: Asked
  readonly to: Told
  readonly who: Principal
  readonly row: EndpointRow
  readonly endpoint: Endpoint
  readonly signal: AbortSignal
}

const pathOf = ({ url = '' }: IncomingMessage): string => /^[^?]*/.exec(url)?.[0] ?? ''
const send = (res: ServerResponse, { status, headers = {}, body }: Answer): void => {
  if (res.headersSent || res.destroyed) return
  if (!res.req.complete) res.shouldKeepAlive = false
  if (body === null) res.writeHead(status, headers).end()
  else
    res
      .writeHead(status, {
        'content-type': 'application/json',
        'content-length': String(Buffer.byteLength(body)),
        'cache-control': 'no-store',
        ...headers,
      })
      .end(body)
}

const bearsJson = ({ headers }: IncomingMessage): boolean =>
  /^application\/json\s*(?:;|$)/i.test(headers['content-type'] ?? '') &&
  /^(?:identity)?$/i.test(headers['content-encoding'] ?? '')

const SESSION = 'mcp-session-id'
const boundTo = ({ person, agent }: Principal, { path }: EndpointRow) => ({
  person,
  agent,
  connection: '',
  host: path,
})

/** What a model cannot help: its host is told, by the status and in JSON-RPC. */
const forHost: ReadonlySet<ProblemCode> = new Set([
  'unauthenticated',
  'tenant_busy',
  'too_many_calls',
  'agent_disabled',
  'internal',
])

export const createMcp = (deps: McpDeps) => {
  const rows = new Map(deps.endpoints.map((row) => [row.path, row]))
  const endpoints = new WeakMap<Catalogue, Map<string, Promise<Endpoint>>>()
  const endpointFor = async (row: EndpointRow): Promise<Endpoint> => {
    const catalogue = await deps.catalogue()
    const made = endpoints.get(catalogue) ?? new Map<string, Promise<Endpoint>>()
    endpoints.set(catalogue, made)
    let endpoint = made.get(row.path)
    if (endpoint === undefined) {
      endpoint = endpointOf(row, catalogue).then((one) => {
        if (one.tooMany)
          deps.log.warn(
            { path: row.path, tools: one.entries.length },
            `${row.path} has more than ${MOST_LISTED} tools, so they are searched for and not listed: name fewer of them, or say discovery: true`,
          )
        return one
      })
      made.set(row.path, endpoint)
      endpoint.catch(() => made.delete(row.path))
    }
    return endpoint
  }

  /** Those of these that this person may use through this agent now. */
  const seenOf = async (who: Principal, entries: Endpoint['entries']) => {
    const seen = await deps.visible(
      who,
      entries.map(({ offer }) => offer),
    )
    return entries.flatMap((entry, i) => {
      const one = seen[i]
      return one === undefined || one.may === 'no' ? [] : [{ entry, seen: one }]
    })
  }

  type Listed = Awaited<ReturnType<typeof seenOf>>
  const outerOf = ({ req, who, signal }: Call, wait: number): Outer => ({
    req,
    who,
    named: null,
    via: 'mcp',
    signal,
    wait,
  })
  const describedOf = async (call: Call, all: Listed): Promise<Listed> => {
    if (all.every(({ entry }) => entry.offer.tool.remote === undefined)) return all
    const offers = await deps.described(
      outerOf(call, 0),
      all.map(({ entry, seen }) => ({ offer: entry.offer, seen })),
    )
    return all.map(({ entry, seen }, i) => {
      const offer = offers[i] ?? entry.offer
      return { entry: offer === entry.offer ? entry : { ...entry, offer }, seen }
    })
  }

  const list = async (call: Call): Promise<Answer> => {
    const { to, who, endpoint } = call
    deps.tagOnly(who)
    if (endpoint.discovery) return listOf(to, DISCOVERY_TEXT, 0)
    const tools = await describedOf(call, await seenOf(who, endpoint.entries))
    const accesses = endpoint.entries.flatMap(({ offer }) =>
      offer.tool.steps.map(({ operation }) => operation.access),
    )
    return listed(to, tools, to.modern ? await deps.ttl(who, new Set(accesses)) : 0)
  }

  /** What is asked by a call and is none of a provider. */
  const counted = (who: Principal): void => {
    deps.tagOnly(who)
    deps.rate(who)
  }
  const search = async ({ to, who, endpoint }: Call, given: unknown): Promise<Answer> => {
    const read = readSearch(given)
    if ('wrong' in read) return failed(to, 'invalid_arguments', sentence(read.wrong))
    counted(who)
    const found = searched(endpoint.entries, read.query).slice(0, LOOKED)
    const may = await seenOf(who, found)
    const tools = may.slice(0, read.limit).map(({ entry, seen }): JsonObject => ({
      name: entry.name,
      description: entry.offer.tool.description,
      ...(seen.consent === null ? {} : { consent_needed: true }),
    }))
    const hint = tools.length === 0 ? { hint: 'No tool fits: try other words.' } : {}
    return done(to, { tools, ...hint })
  }
  const describe = async (call: Call, name: string): Promise<Answer> => {
    const { to, who, endpoint } = call
    counted(who)
    const entry = endpoint.find(name)
    const [seen] = entry === undefined ? [] : await describedOf(call, await seenOf(who, [entry]))
    if (entry === undefined || seen === undefined)
      return failed(to, 'tool_not_found', `There is no tool ${name.slice(0, 128)}: search for one.`)
    return done(to, {
      ...shapeOf(seen.entry),
      ...(seen.seen.consent === null ? {} : { consent_needed: true }),
    })
  }

  const run = async (call: Call, name: string, input: unknown): Promise<Answer> => {
    const { to, who, row, endpoint, asked } = call
    const entry = endpoint.find(name)
    if (entry === undefined)
      return endpoint.discovery
        ? failed(to, 'tool_not_found', `There is no tool ${name.slice(0, 128)}: search for one.`)
        : unknownTool(to, name)
    const tool = entry.name
    const bound: CallBound = { ...who, endpoint: row.path, tool, args: input }
    const waits = asked.state !== null && asked.call.answered === 'accept'
    if (asked.state !== null) {
      const read = deps.states.read(bound, asked.state)
      if (read !== 'good')
        return badParams(
          to,
          read === 'ended'
            ? 'requestState has ended: call the tool again without it'
            : 'requestState is not of this call: call the tool again without it',
        )
    }
    if (asked.call.answered === 'declined')
      return failed(
        to,
        'consent_declined',
        'The person did not open the link, so nothing was done. Ask them before you try again.',
      )
    const ran = await deps.run(outerOf(call, waits ? WAIT_S : 0), entry.offer, input)
    // Whose tag has ended on the way hears it as whoever has none.
    if (ran.kind === 'refused' && ran.status === 401 && ran.halted === undefined)
      throw new Problem('unauthenticated', detailOf(ran))
    return ranAnswer(to, ran, (until) => deps.states.seal(bound, until))
  }

  const discovering = async (call: Call, name: string, given: unknown): Promise<Answer> => {
    const args = isObject(given) ? given : {}
    if (name === DISCOVERY.search) return search(call, args)
    if (name !== DISCOVERY.describe && name !== DISCOVERY.call)
      return call.endpoint.find(name) === undefined
        ? unknownTool(call.to, name)
        : run(call, name, given)
    const tool = args['name']
    if (typeof tool !== 'string')
      return failed(call.to, 'invalid_arguments', '`name` is missing; it must be a string.')
    return name === DISCOVERY.describe
      ? describe(call, tool)
      : run(call, tool, args['arguments'] ?? {})
  }

  const callTool = async (call: Call): Promise<Answer> => {
    const { to, asked, endpoint } = call
    const name = asked.call.name ?? ''
    try {
      return await (endpoint.discovery
        ? discovering(call, name, asked.args)
        : run(call, name, asked.args))
    } catch (error) {
      const problem = toProblem(error)
      if (forHost.has(problem.code)) throw problem
      return failed(to, problem.code, sentence(problem.message), {
        more: problem.extra as JsonObject,
      })
    }
  }

  const initialize = ({ to, who, row, asked, req }: Call): Answer => {
    const answer = opened(to, asked.version, deps.version)
    // Later calls of this revision do not say what their client can do: the session does.
    if (!asked.call.url || req.method === undefined) return answer
    const session = deps.sessions.seal(boundTo(who, row), { id: deps.newId(), url: true })
    return { ...answer, headers: { [SESSION]: session } }
  }

  const answer = (call: Call): Answer | Promise<Answer> => {
    const { asked, to } = call
    const { method } = asked.call
    if (method === 'tools/call') return callTool(call)
    if (method === 'tools/list') return list(call)
    if (to.modern)
      return method === 'server/discover' ? discovered(to, deps.version) : unknownMethod(to)
    if (method === 'initialize') return initialize(call)
    return method === 'ping' ? empty(to) : unknownMethod(to)
  }

  /** Can the client of an older revision show links? Its session says so. */
  const urlOf = (
    req: IncomingMessage,
    { call }: Asked,
    who: Principal,
    row: EndpointRow,
  ): boolean => {
    const sealed = req.headers[SESSION]
    if (call.modern || typeof sealed !== 'string' || call.method === 'initialize') return call.url
    const session = deps.sessions.open(boundTo(who, row), sealed)
    if (session === null) throw sessionUnknown()
    return session.url
  }

  const post = async (
    req: IncomingMessage,
    res: ServerResponse,
    row: EndpointRow,
    who: Principal,
  ): Promise<Answer> => {
    if (!bearsJson(req))
      throw new Problem('unsupported_media_type', 'the body must be application/json')
    // Before anything of it is held in memory; and whoever switches the agent off later cuts it.
    using flight = deps.enter(who)
    await flight.uncut(deps.agentOn(who))
    const bytes = await flight.uncut(readUpTo(req, deps.most))
    if (bytes === null)
      throw new Problem('request_too_large', `a message may have ${deps.most} bytes`)
    const asked = readAsked(bytes, req.headers)
    if (asked.kind === 'fault') {
      if (asked.code === -32020)
        deps.log.warn({ said: asked.message }, 'an MCP host disagrees with itself')
      return faultAnswer(asked)
    }
    const to: Told = { ...asked.call, url: urlOf(req, asked, who, row) }
    if (asked.call.kind !== 'request') {
      deps.rate(who)
      return { status: 202, body: null }
    }
    const left = new AbortController()
    // An answer that is whole ends nothing, and an abort costs more than the rest of the door.
    res.once('close', () => {
      if (!res.writableFinished) left.abort()
    })
    const endpoint = await endpointFor(row)
    const call = { req, asked, to, who, row, endpoint, signal: left.signal }
    try {
      if (asked.call.method !== 'tools/call') {
        deps.rate(who)
        return await flight.uncut(answer(call))
      }
      // What it calls is counted, and cut, as calls of providers are.
      flight[Symbol.dispose]()
      return await answer(call)
    } catch (error) {
      return untold(toProblem(error), to, who)
    }
  }
  /** A problem of a message that was understood; who is not known to be anybody hears it by HTTP alone. */
  const untold = (problem: Problem, to: Told, who: Principal): Answer => {
    const id = deps.newId()
    const { status, headers } = problemAnswer(problem, id, deps.typeBase)
    if (status === 401) throw problem
    if (problem.cause !== undefined)
      deps.log.warn({ err: problem.cause, code: problem.code, instance: id }, problem.message)
    if (status === 403 || status === 429) deps.refused(id, problem.code, who.person)
    const retry = headers['retry-after']
    return transportAnswer(to, status, `${problem.code}: ${sentence(problem.message)}`, {
      'deputy-answer': problem.code,
      ...(retry === undefined ? {} : { 'retry-after': retry }),
    })
  }

  /** Which issuers sign the people in whose tokens are taken here (RFC 9728). */
  const metadata = (req: IncomingMessage, path: string): Answer => {
    const of = path.slice(METADATA.length)
    const known = of === '' ? rows.has('/mcp') || rows.size > 0 : rows.has(of)
    if (req.method !== 'GET')
      throw new Problem('method_not_allowed', 'only GET is known here', {
        headers: { allow: 'GET' },
      })
    if (!known || deps.issuers.length === 0)
      throw new Problem('route_not_found', 'there is no such protected resource')
    const first = rows.has('/mcp') ? '/mcp' : (deps.endpoints[0]?.path ?? '/mcp')
    const body: { readonly [name: string]: Json } = {
      resource: `${originOf(req)}${of === '' ? first : of}`,
      authorization_servers: deps.issuers,
      bearer_methods_supported: ['header'],
      resource_name: 'deputy',
    }
    return { status: 200, body: JSON.stringify(body) }
  }

  const entered = async (
    req: IncomingMessage,
    res: ServerResponse,
    known: (who: Principal) => void,
  ): Promise<Answer> => {
    const path = pathOf(req)
    if (path.startsWith(METADATA)) return metadata(req, path)
    const row = rows.get(path)
    if (row === undefined) throw new Problem('route_not_found', 'there is no MCP endpoint here')
    if (req.method !== 'POST')
      throw new Problem('method_not_allowed', 'MCP messages are sent by POST', {
        headers: { allow: 'POST' },
      })
    const who = await deps.identify(req)
    known(who)
    // Whoever may not ask it learns nothing of it.
    if (row.agents !== undefined && !row.agents.some((agent) => fits(agent, who.agent)))
      throw new Problem('route_not_found', 'there is no MCP endpoint here')
    return post(req, res, row, who)
  }

  const refusal = (req: IncomingMessage, error: unknown, who: Principal | null): Answer => {
    const problem = toProblem(error)
    const id = deps.newId()
    if (problem.cause !== undefined && !(problem.cause instanceof CallerLeft))
      deps.log.warn({ err: problem.cause, code: problem.code, instance: id }, problem.message)
    const { status, headers, body } = problemAnswer(problem, id, deps.typeBase)
    if (status === 403 || status === 429) deps.refused(id, problem.code, who?.person ?? null)
    if (status === 401) {
      deps.refused(id, problem.code, null)
      const at = `${originOf(req)}${METADATA}${pathOf(req)}`
      const parameter = deps.issuers.length === 0 ? '' : ` resource_metadata="${at}"`
      return { status, headers: { ...headers, 'www-authenticate': `Bearer${parameter}` }, body }
    }
    return { status, headers, body }
  }

  return (req: IncomingMessage, res: ServerResponse): void => {
    let who: Principal | null = null
    entered(req, res, (known) => (who = known))
      .catch((error: unknown) => refusal(req, error, who))
      .then((answered) => {
        if (!req.complete) req.resume()
        send(res, answered)
      })
      .catch((error: unknown) => {
        deps.log.error({ err: error }, 'an MCP host could not be answered')
        res.destroy()
      })
  }
}
