// Tools for programs, in shapes that existing clients know: list, format, authorize elsewhere, execute. Each call of a tool
// goes the way of every call; what this file decides is how an answer looks.
import type { Context, Hono } from 'hono'
import type { z } from 'zod'
import type { Connection, Json, JsonObject, Principal } from '../model.ts'
import { Problem, sentence } from '../problem.ts'
import type { Catalogue, Offer } from '../tools/catalogue.ts'
import type { Outer, Tools } from '../tools/doors.ts'
import type { Behaviour, Tool } from '../tools/definition.ts'
import { toldHalted } from '../tools/halted.ts'
import { resultOf, type Ran } from '../tools/run.ts'
import { anthropicFormat, openaiFormat, parameterList } from '../tools/schema.ts'
import type { Seen } from '../tools/visible.ts'
import { createBegin, type BeginDeps } from './begin.ts'
import { createCaller, mine, type CallerDeps, type Caller } from './caller.ts'
import { createRest, invalid, paged, readBody, readQuery, type Env, type RestDeps } from './rest.ts'
import {
  executeBody,
  filter,
  FORMATS,
  listQuery,
  oneQuery,
  requirementsBody,
} from './tools_schema.ts'

type ToolsDeps = RestDeps &
  CallerDeps &
  BeginDeps & {
    readonly tools: Pick<Tools, 'catalogue' | 'visible' | 'described' | 'run'>
    readonly now: () => number
    readonly mono: () => number
  }

/** Arguments hold whole documents. */
const BODY_BYTES = 2 * 1024 ** 2
/** There is one of each: the one that this deputy has. */
const VERSION = '1.0.0'

/** One of the list, with the offer that its person would use. */
type Row = {
  readonly tool: Tool
  readonly offers: readonly Offer[]
  readonly seen: Seen
  readonly offer: Offer
}

const verb = ({ steps }: Tool): readonly string[] => [
  ...new Set(
    steps.map(({ operation: { access, method } }) =>
      access === 'read'
        ? 'read'
        : access === 'delete'
          ? 'delete'
          : method === 'PUT' || method === 'PATCH'
            ? 'update'
            : 'create',
    ),
  ),
]
const behaviour = (tool: Tool): JsonObject => {
  const { readOnly, destructive, idempotent, openWorld }: Behaviour = tool.behaviour
  return {
    operations: verb(tool),
    read_only: readOnly,
    destructive,
    idempotent,
    open_world: openWorld,
  }
}
const formatted = (tool: Tool, format: string): Json =>
  format === 'anthropic' ? anthropicFormat(tool) : openaiFormat(tool)

const scopesOf = ({ tool: { steps } }: Offer): readonly string[] => [
  ...new Set(steps.flatMap(({ operation }) => operation.scopes[0] ?? [])),
]

const toolShape = ({ tool, offers, seen, offer }: Row, formats: readonly string[]): JsonObject => {
  const [, short = ''] = tool.name.split('.')
  const met = seen.consent === null
  const format = formats.find((one) => one !== 'arcade')
  return {
    name: short,
    qualified_name: tool.name,
    fully_qualified_name: `${tool.name}@${VERSION}`,
    description: tool.description,
    toolkit: { name: tool.toolkit, description: offer.connection.provider.name, version: VERSION },
    input: parameterList(tool),
    output: {
      description: 'What the provider answered, as far as it is kept.',
      available_modes: ['value', 'error'],
      value_schema: { val_type: 'json' },
    },
    requirements: {
      met,
      authorization: {
        id: offer.connection.name,
        provider_id: offer.connection.provider.id,
        provider_type: 'oauth2',
        oauth2: { scopes: seen.consent ?? scopesOf(offer) },
        status: met ? 'active' : 'inactive',
        token_status: met ? 'completed' : 'not_started',
      },
    },
    metadata: {
      behavior: behaviour(tool),
      classification: { service_domains: [tool.toolkit.toLowerCase()] },
      extras: {
        may: seen.may,
        connections: offers.map(({ connection }) => connection.name),
        operations: [...new Set(tool.steps.map(({ operation }) => operation.id))],
      },
    },
    ...(format === undefined ? {} : { formatted_schema: formatted(tool, format) }),
  }
}

/** Kinds of failure that existing clients know, by the provider's status. */
const kindOf = (status: number): string =>
  status === 400 || status === 422
    ? 'UPSTREAM_RUNTIME_BAD_REQUEST'
    : status === 401 || status === 403
      ? 'UPSTREAM_RUNTIME_AUTH_ERROR'
      : status === 404
        ? 'UPSTREAM_RUNTIME_NOT_FOUND'
        : status === 429
          ? 'UPSTREAM_RUNTIME_RATE_LIMIT'
          : status >= 500
            ? 'UPSTREAM_RUNTIME_SERVER_ERROR'
            : 'UPSTREAM_RUNTIME_UNMAPPED'

/** Where it may have been carried out, only what does no harm twice is to be tried again. */
const fails = (ran: Extract<Ran, { kind: 'failed' }>, { behaviour, steps }: Tool): JsonObject => ({
  kind: kindOf(ran.status),
  message: sentence(ran.message),
  can_retry:
    (ran.status === 429 && (behaviour.idempotent || steps.length === 1)) ||
    (ran.status >= 500 && behaviour.idempotent),
  status_code: ran.status,
  ...(ran.retryAfter === null ? {} : { retry_after_ms: ran.retryAfter * 1_000 }),
  extra: { answer: ran.value },
})
const textIn = (document: JsonObject, name: string, otherwise: string): string => {
  const said = document[name]
  return typeof said === 'string' ? said : otherwise
}
/** What a model is to read and not to try again. */
const denied = (document: JsonObject): JsonObject => ({
  kind: 'CONTEXT_DENIED',
  message: `${textIn(document, 'detail', 'policy refused the call')} Do not retry unchanged.`,
  can_retry: false,
  status_code: 403,
  extra: document,
})

const split = (list: string | undefined): readonly string[] =>
  (list ?? '').split(',').filter((one) => one !== '')
const formatsIn = (list: string | undefined): readonly string[] => {
  const formats = split(list)
  const odd = formats.find((one) => !FORMATS.some((known) => known === one))
  if (odd !== undefined)
    throw invalid(`include_format: ${JSON.stringify(odd)} is none of ${FORMATS.join(', ')}`)
  return formats
}
const filterIn = (text: string | undefined): ((tool: Tool) => boolean) => {
  if (text === undefined) return () => true
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch (cause) {
    throw new Problem('request_invalid', 'filter: is no JSON', { cause })
  }
  const parsed = filter.safeParse(raw)
  if (!parsed.success) throw invalid('filter: takes operations with any_of, all_of, none_of')
  const wanted = parsed.data.operations ?? {}
  return (tool) => {
    const verbs = verb(tool)
    return (
      (wanted.any_of?.some((one) => verbs.includes(one)) ?? true) &&
      (wanted.all_of ?? []).every((one) => verbs.includes(one)) &&
      !(wanted.none_of ?? []).some((one) => verbs.includes(one))
    )
  }
}

/** Which of its connections a tool stands for in a list: the first that needs nothing, else the first that may be used. */
const rowOf = (group: Catalogue['made'][number], seen: readonly Seen[]): Row | null => {
  const all = group.offers.map((offer, i) => ({
    offer,
    seen: seen[i] ?? ({ may: 'no', consent: null } as const),
  }))
  const may = all.filter(({ seen: { may } }) => may !== 'no')
  const best = may.find(({ seen: { consent } }) => consent === null) ?? may[0]
  return best === undefined
    ? null
    : { ...group, ...best, tool: best.offer.tool, offers: may.map(({ offer }) => offer) }
}

/** Mounted under the agent listener: `/v1/tools`, `/v1/formatted_tools`, `/v1/scheduled_tools`. */
export const createToolsApi = (deps: ToolsDeps): Hono<Env> => {
  const { route, close } = createRest(deps, BODY_BYTES)
  const callerOf = createCaller(deps)
  const begin = createBegin(deps)
  const { tools } = deps
  const byQuery = async (c: Context<Env>, user: string | undefined): Promise<Caller> => {
    const caller = await callerOf(c, () =>
      Promise.resolve(user === undefined ? null : { id: user }),
    )
    mine(user, caller.who)
    return caller
  }
  const outerOf = (c: Context<Env>, { who, named }: Caller): Outer => {
    const req = c.env?.incoming
    if (req === undefined) throw new Problem('internal', 'a tool is called over HTTP only')
    return { req, who, named, via: 'tool', signal: c.req.raw.signal }
  }
  /** The same rows, in the words of the MCP servers whose they are. */
  const told = async (c: Context<Env>, caller: Caller, rows: readonly Row[]): Promise<Row[]> => {
    const offers = await tools.described(outerOf(c, caller), rows)
    return rows.map((row, i) => {
      const offer = offers[i] ?? row.offer
      return { ...row, offer, tool: offer.tool }
    })
  }

  const rowsOf = async (who: Principal, groups: Catalogue['made']): Promise<readonly Row[]> => {
    const seen = await tools.visible(
      who,
      groups.flatMap(({ offers }) => offers),
    )
    let at = 0
    return groups.flatMap((group) => {
      const row = rowOf(group, seen.slice(at, (at += group.offers.length)))
      return row === null ? [] : [row]
    })
  }
  /**
   * Of a whole catalogue only so many as the page needs, and one more that says that others follow: each is decided, and
   * of most nobody reads what was decided.
   */
  const firstOf = async (
    who: Principal,
    groups: Catalogue['made'],
    wanted: number,
  ): Promise<readonly Row[]> => {
    const rows: Row[] = []
    for (let at = 0, some = wanted; at < groups.length && rows.length < wanted; some *= 2) {
      rows.push(...(await rowsOf(who, groups.slice(at, at + some))))
      at += some
    }
    return rows.slice(0, wanted)
  }
  const listed = async (
    c: Context<Env>,
  ): Promise<{ readonly rows: readonly Row[]; readonly query: z.output<typeof listQuery> }> => {
    const query = readQuery(c, listQuery)
    const caller = await byQuery(c, query.user_id)
    const { who } = caller
    const fits = filterIn(query.filter)
    const catalogue = await tools.catalogue()
    const plain = query.plain === 'true'
    const all = [...catalogue.made, ...catalogue.remote, ...(plain ? await catalogue.plain() : [])]
    const kit = query.toolkit?.toLowerCase()
    const wanted = all.filter(
      ({ tool }) => (kit === undefined || tool.toolkit.toLowerCase() === kit) && fits(tool),
    )
    const { limit, offset } = query
    const end = offset + limit
    const rows = plain ? await firstOf(who, wanted, end + 1) : await rowsOf(who, wanted)
    const page = await told(c, caller, rows.slice(offset, end))
    return { rows: [...rows.slice(0, offset), ...page, ...rows.slice(end)], query }
  }
  /** One by its name, as far as policy lets the person see it: hidden is unknown. */
  const oneOf = async (
    c: Context<Env>,
  ): Promise<{ readonly row: Row; readonly query: z.output<typeof oneQuery> }> => {
    const query = readQuery(c, oneQuery)
    const caller = await byQuery(c, query.user_id)
    const name = c.req.param('name') ?? ''
    const catalogue = await tools.catalogue()
    const offer = await catalogue.find(name)
    const rows = await rowsOf(caller.who, [{ tool: offer.tool, offers: [offer] }])
    const [row] = await told(c, caller, rows)
    if (row === undefined)
      throw new Problem('tool_not_found', `there is no tool ${JSON.stringify(name)}`)
    return { row, query }
  }

  route('GET', '/v1/tools', async (c) => {
    const { rows, query } = await listed(c)
    const formats = formatsIn(query.include_format)
    return c.json(paged(rows, query.limit, query.offset, (row) => toolShape(row, formats)))
  })
  route('GET', '/v1/formatted_tools', async (c) => {
    const { rows, query } = await listed(c)
    return c.json(
      paged(rows, query.limit, query.offset, ({ tool }) => formatted(tool, query.format) as object),
    )
  })
  route('GET', '/v1/scheduled_tools', async (c) => {
    const { limit, offset, user_id } = readQuery(c, listQuery)
    await byQuery(c, user_id).catch((error: unknown) => {
      // Clients name nobody here, and there is nothing to see of anybody.
      if (!(error instanceof Problem && error.code === 'application_user_missing')) throw error
    })
    return c.json(paged([], limit, offset, () => ({})))
  })

  const executed = async (
    c: Context<Env>,
    caller: Caller,
    body: z.output<typeof executeBody>,
  ): Promise<Response> => {
    if (body.run_at !== undefined && body.run_at !== null && body.run_at !== '')
      throw invalid('run_at: this deputy schedules nothing: call when it is time')
    const outer = outerOf(c, caller)
    const offer = await (await tools.catalogue()).find(body.tool_name, body.connection)
    const began = deps.mono()
    const answered = (success: boolean, output: JsonObject, code?: string): Response => {
      const id = deps.newId()
      if (code !== undefined) c.header('deputy-answer', code)
      return c.json({
        id,
        execution_id: id,
        execution_type: 'immediate',
        status: success ? 'success' : 'failed',
        success,
        duration: Math.round((deps.mono() - began) * 10) / 10,
        finished_at: new Date(deps.now()).toISOString(),
        output,
      })
    }
    const input = body.input ?? {}
    const ran = await tools.run(outer, offer, input).catch((error: unknown) => {
      // The model reads it, and calls again: no client turns it into an exception.
      if (error instanceof Problem && error.code === 'invalid_arguments') return error
      throw error
    })
    if (ran instanceof Problem)
      return answered(
        false,
        {
          error: {
            kind: 'TOOL_RUNTIME_BAD_INPUT_VALUE',
            message: sentence(ran.message),
            can_retry: true,
            status_code: 400,
          },
        },
        ran.code,
      )
    if (ran.kind === 'done') return answered(true, { value: resultOf(ran) })
    const halted = toldHalted(ran)
    if (halted !== null) {
      const { message, extra } = halted
      const { status: status_code } = ran
      const error = { kind: 'TOOL_RUNTIME_FATAL', message, can_retry: false, status_code, extra }
      return answered(false, { error }, 'partly_done')
    }
    if (ran.kind === 'failed') return answered(false, { error: fails(ran, offer.tool) })
    if (ran.code === 'policy_denied')
      return answered(false, { error: denied(ran.document) }, ran.code)
    return refused(ran)
  }

  route('POST', '/v1/tools/execute', async (c) => {
    const caller = await callerOf(c, async () => {
      const { user_id: id } = await readBody(c, executeBody)
      return id === undefined ? null : { id }
    })
    const body = await readBody(c, executeBody)
    mine(body.user_id, caller.who)
    return executed(c, caller, body)
  })

  route('POST', '/v1/tools/requirements', async (c) => {
    const { who } = await callerOf(c, async () => {
      const { user_id: id } = await readBody(c, requirementsBody)
      return id === undefined ? null : { id }
    })
    const body = await readBody(c, requirementsBody)
    mine(body.user_id, who)
    const names = body.tool_names ?? body.tools?.map(({ tool_name }) => tool_name) ?? []
    const catalogue = await tools.catalogue()
    const offers: Offer[] = []
    for (const name of names) offers.push(await catalogue.find(name))
    const seen = await tools.visible(who, offers)
    const denied = offers.flatMap(({ tool }, i) => (seen[i]?.may === 'no' ? [tool.name] : []))
    const items = await needed(who, offers, { seen, body })
    const met = Object.values(items).every((item) => item.met)
    return c.json({
      met: met && denied.length === 0,
      authorization: { met, items },
      secrets: { met: true, items: {} },
      ...(denied.length === 0 ? {} : { denied }),
    })
  })

  type Item = { readonly met: boolean; readonly [member: string]: unknown }
  /** By connection, what the person has still to consent to; `authorize`: with the link. */
  const needed = async (
    who: Principal,
    offers: readonly Offer[],
    {
      seen,
      body,
    }: { readonly seen: readonly Seen[]; readonly body: z.output<typeof requirementsBody> },
  ): Promise<Record<string, Item>> => {
    const groups = new Map<
      string,
      {
        connection: Connection
        names: string[]
        operations: string[]
        scopes: string[]
        met: boolean
      }
    >()
    offers.forEach((offer, i) => {
      const one = seen[i]
      if (one === undefined || one.may === 'no') return
      const { connection, tool } = offer
      const group = groups.get(connection.name) ?? {
        connection,
        names: [],
        operations: [],
        scopes: [],
        met: true,
      }
      groups.set(connection.name, group)
      group.names.push(tool.name)
      group.scopes.push(...(one.consent ?? scopesOf(offer)))
      if (one.consent === null) return
      group.met = false
      group.operations.push(...tool.steps.map(({ operation }) => operation.id))
    })
    const items: Record<string, Item> = {}
    for (const [name, { connection, names, operations, scopes, met }] of groups) {
      const begun =
        met || !body.authorize
          ? null
          : await begin(who, connection, { operations: [...new Set(operations)] }, body.next_uri)
      items[name] = {
        met,
        provider_id: connection.provider.id,
        provider_type: 'oauth2',
        scopes: [...new Set(scopes)],
        status: met ? 'active' : 'inactive',
        token_status: met ? 'completed' : begun === null ? 'not_started' : 'pending',
        ...(begun === null ? {} : { authorization_id: begun.id, url: begun.url }),
        tool_names: names,
      }
    }
    return items
  }

  route('GET', '/v1/tools/:name{.+}', async (c) => {
    const { row, query } = await oneOf(c)
    return c.json(toolShape(row, formatsIn(query.include_format)))
  })
  route('GET', '/v1/formatted_tools/:name{.+}', async (c) => {
    const { row, query } = await oneOf(c)
    return c.json(formatted(row.tool, query.format) as object)
  })
  return close()
}

const ANSWERED = ['deputy-answer', 'proxy-status', 'retry-after', 'www-authenticate'] as const
/** deputy's own answer to the call inside: the same document, with the two members that existing clients show. */
const refused = ({
  status,
  code,
  document,
  headers,
}: Extract<Ran, { kind: 'refused' }>): Response => {
  const own = ANSWERED.flatMap((name) => {
    const value = headers.get(name)
    return value === undefined ? [] : [[name, value] as const]
  })
  const text = JSON.stringify({
    ...document,
    name: code,
    message: sentence(textIn(document, 'detail', code)),
  })
  return new Response(text, {
    status,
    headers: { ...Object.fromEntries(own), 'content-type': 'application/problem+json' },
  })
}
