// One configuration, whole: what is made of it, built beside the one in force and put in its place at once.
import type { StandingRow } from '../model.ts'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Loaded } from '../config/load.ts'
import { oddities } from '../config/rules.ts'
import { createDiscovery } from '../oauth/discovery.ts'
import { clientDocument, createClients, documentUrl } from '../oauth/registration.ts'
import { clockSentence } from './clock.ts'
import { createConsolePages } from './operator_pages.ts'
import { createConsent } from './consent.ts'
import type { Invalidated } from './directories.ts'
import type { Core, InForce, Lasting } from './core.ts'
import type { Keep } from './kept.ts'
import { createPages } from './pages.ts'
import { createPipeline, type Later, type Pipeline } from './pipeline.ts'
import { authApi, judges, localApi, operatorsApi, operatorsDepsOf, startIdle } from './programs.ts'
import { scimApi } from './scim.ts'
import { followAdminEvents } from './admin_events.ts'
import { isMcp, mcpDoor } from './doors/mcp.ts'
import { planApi } from './doors/plan.ts'
import { createTools, toolsApi } from './doors/tools.ts'
import { signalsApi } from './signals.ts'
import type { Configured, Scope } from './scope.ts'
import type { Parts } from './snapshot.ts'

export type Revision = InForce & {
  readonly loaded: Loaded
  readonly pipeline: Pipeline
  /** What issuers of connections said. */
  readonly said: ReturnType<typeof createDiscovery>['said']
  /** Ends the calls of people who are not active any more. */
  readonly peopleChanged: () => void
  /** A standing was used for the first time. */
  readonly firstUse: (row: StandingRow) => void
  /** The same of one or all, and nothing that was kept about them counts any more. */
  readonly invalidated: (what: Invalidated) => void
  /** At the connect listener, the operators' own, `deputy.sock`, and the agents' listeners. */
  readonly connect: RequestListener
  readonly operators: RequestListener
  readonly local: RequestListener
  readonly api: RequestListener
  /** It is in force: what works by itself begins. */
  readonly begin: () => void
  /** Ends what works for it alone. Does not reject. */
  readonly close: () => Promise<void>
}

/** What stays as it is while configurations come and go. */
export type Place = {
  readonly scope: Scope
  readonly lasting: Lasting
  /** `connect.url`, without a trailing slash. */
  readonly publicUrl: string
  /** The operators have a listener of their own. */
  readonly apart: boolean
  /** Where browsers reach the console there, without a trailing slash; null: it is with the pages. */
  readonly operatorsUrl: string | null
  readonly later: () => Later
}

const unsure = (res: ServerResponse, sentence: string): void => {
  res.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '30' })
  res.end(`${sentence}\n`)
}
/** What authorization servers read of deputy's clients, at their ids (Client ID Metadata Documents). */
const documentsOf =
  (publicUrl: string, { connections }: Pick<Configured, 'connections'>) =>
  (target: string): object | null => {
    const [, name = ''] = /^\/oauth-client\/([a-z0-9-]{1,100})$/.exec(target) ?? []
    if (!connections.get(name)?.provider.mcp) return null
    return { client_id: documentUrl(publicUrl, name), ...clientDocument(publicUrl, name, 'none') }
  }
const sayDocument = (req: IncomingMessage, res: ServerResponse, document: object): void => {
  req.resume()
  const body = req.method === 'HEAD' ? undefined : JSON.stringify(document)
  res.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'max-age=300' })
  res.end(body)
}
/** A proxy may leave the path of `connect.url` in its requests, or cut it. */
const below = (target: string, path: string): string => {
  const rest = target.startsWith(path) ? target.slice(path.length) : target
  return rest.startsWith('/') ? rest : rest === '' || rest.startsWith('?') ? `/${rest}` : target
}
/** `/v1/` is for programs, everything else for people. */
const atConnect =
  (
    { clock }: Scope,
    path: string,
    {
      pages,
      console,
      programs,
      pushed,
      signals,
      documents,
    }: {
      readonly pages: RequestListener | null
      /** For operators; null: they have none. */
      readonly console: RequestListener | null
      readonly programs: RequestListener
      readonly pushed: RequestListener | null
      readonly signals: RequestListener | null
      /** What stands at this target of a client that deputy is at MCP servers; null: nothing. */
      readonly documents: (target: string) => object | null
    },
  ): RequestListener =>
  (req: IncomingMessage, res: ServerResponse) => {
    if (path !== '') req.url = below(req.url ?? '/', path)
    const document = documents(req.url ?? '')
    if (document !== null) sayDocument(req, res, document)
    else if (pushed !== null && /^\/scim\/v2(?:[/?]|$)/.test(req.url ?? '')) pushed(req, res)
    else if (signals !== null && /^\/(?:signals|logout\/backchannel)(?:[/?]|$)/.test(req.url ?? ''))
      signals(req, res)
    else if (console !== null && /^\/console(?:[/?]|$)/.test(req.url ?? '')) {
      // As below: a session would begin by a clock that is ahead.
      if (clock.wrong() === 'ahead') unsure(res, clockSentence(clock))
      else console(req, res)
    } else if (pages === null || req.url?.startsWith('/v1/') === true) programs(req, res)
    // A session that begins by a clock that is ahead would outlive its hour.
    else if (clock.wrong() === 'ahead') unsure(res, clockSentence(clock))
    else pages(req, res)
  }

/** Of an address, without a trailing slash; '': it has none. */
const pathOf = (at: string): string => new URL(at).pathname.replace(/\/$/, '')

/** The operators' own: `/v1/` is for programs; the console has what its pages load beside it. */
const atOperators =
  (
    { clock }: Scope,
    { path, pagesAt }: { readonly path: string; readonly pagesAt: string },
    {
      console,
      programs,
    }: { readonly console: RequestListener | null; readonly programs: RequestListener },
  ): RequestListener =>
  (req, res) => {
    if (path !== '') req.url = below(req.url ?? '/', path)
    const [, first = ''] = /^\/([^/?]*)/.exec(req.url ?? '') ?? []
    if (console === null || first === 'v1') programs(req, res)
    else if (first === 'problems') {
      req.resume()
      res.writeHead(303, { location: `${pagesAt}${req.url ?? ''}` }).end()
    } else if (clock.wrong() === 'ahead') unsure(res, clockSentence(clock))
    else console(req, res)
  }

/** Tools have doors of their own; who consents to one asks where all consents begin. */
const atAgents =
  ({
    auth,
    tools,
    mcp,
    plan,
  }: Readonly<Record<'auth' | 'tools' | 'mcp' | 'plan', RequestListener>>): RequestListener =>
  (req, res) => {
    const target = req.url ?? ''
    if (isMcp(target)) mcp(req, res)
    else if (/^\/v1\/plan(?:[/?]|$)/.test(target)) plan(req, res)
    else if (
      /^\/v1\/(?!tools\/authorize(?:[/?]|$))(?:tools|formatted_tools|scheduled_tools)(?:[/?]|$)/.test(
        target,
      )
    )
      tools(req, res)
    else auth(req, res)
  }

const discoveryOf = (
  { connections, log, clock }: Configured,
  { fetch, note, store, sealer }: Lasting,
  publicUrl: string,
  before: Revision | null,
) =>
  createDiscovery({
    connections,
    fetch,
    log,
    now: clock.now,
    clients: createClients({
      fetch,
      publicUrl,
      find: async (key) => {
        const sealed = await store.registered.find(key)
        return sealed === null ? null : sealer.openText('client', { key }, sealed)
      },
      keep: async (key, text, instead) => {
        const after = await sealer.sealText('client', { key }, text)
        if (instead === null) return store.registered.put(key, after, clock.now())
        const sealed = await store.registered.find(key)
        if (sealed === null || (await sealer.openText('client', { key }, sealed)) !== instead)
          return
        await store.sealed.replace(
          { table: 'oauth_clients', id: key, generation: 0, sealed },
          after,
        )
      },
      now: clock.now,
      registered: (connection, issuer) => note('provider.registered', { connection, issuer }),
    }),
    ...(before === null ? {} : { before: before.said() }),
    onChange: (issuer, { authorize, token, userinfo, revoke }, names) =>
      note('provider.discovered', {
        issuer,
        connections: names,
        endpoints: { authorize, token, userinfo, revoke },
      }),
  })

/** ms for which a new configuration waits for issuers that nobody has asked before. */
const SOON_MS = 2_000
const soon = async (asked: Promise<void>): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, SOON_MS)
  await Promise.race([asked, promise])
  clearTimeout(timer)
}

/**
 * Builds; nothing of it is in force yet, and it does nothing by itself but ask issuers.
 * @param of.before the one in force; null: none yet
 */
export const buildRevision = async (
  { scope, lasting, publicUrl, apart, operatorsUrl, later }: Place,
  of: {
    readonly loaded: Loaded
    readonly parts: Parts
    readonly keep: Keep
    readonly before: Revision | null
  },
): Promise<Revision> => {
  const { log } = scope
  const closes: (() => unknown)[] = []
  const begins: (() => void)[] = []
  const opened = (close: () => unknown): void => void closes.push(close)
  const close = async () => {
    for (const close of closes.toReversed())
      try {
        await close()
      } catch (error) {
        log.error({ err: error }, 'closing failed')
      }
  }
  try {
    const configured: Configured = {
      ...scope,
      ...of.loaded,
      keep: of.keep,
      opened,
      begins: (begin) => void begins.push(begin),
    }
    const discovery = discoveryOf(configured, lasting, publicUrl, of.before)
    opened(() => discovery.close())
    const asked = discovery.start()
    // What issuers said before counts, and nobody waits for them to say it again: calls go on meanwhile.
    if (of.before === null || discovery.unknown()) await (of.before === null ? asked : soon(asked))
    const inForce = { ...of.parts, config: of.loaded.config, connections: discovery.connections }
    const core: Core = { ...lasting, ...inForce }
    const consent = await createConsent(configured, core, publicUrl)
    const pipeline = createPipeline(configured, core, consent, later)
    const { allowed, permit } = judges(configured, core, pipeline)
    const pages = await createPages(configured, core, consent, allowed)
    startIdle(configured, core, consent, permit)
    followAdminEvents(configured, core, consent.invalidated)
    const operators = operatorsDepsOf(configured, core, consent, permit)
    // Without a listener of their own the operators are at the connect listener, on loopback (the configuration's rule).
    const beside = apart ? { ...operators, operators: [], signIn: null } : operators
    const tools = createTools(configured, core, pipeline)
    const moved = operatorsUrl !== null
    const at = operatorsUrl ?? publicUrl
    const console = createConsolePages(configured, core, consent, { operators, at })
    for (const odd of oddities(of.loaded.config)) log.warn({}, odd)
    return {
      ...inForce,
      loaded: of.loaded,
      pipeline,
      peopleChanged: consent.peopleChanged,
      firstUse: consent.firstUse,
      invalidated: consent.invalidated,
      said: discovery.said,
      connect: atConnect(scope, pathOf(publicUrl), {
        pages,
        console: moved ? null : console,
        programs: operatorsApi(scope, beside),
        pushed: scimApi(configured, core, publicUrl),
        signals: signalsApi(configured, core, publicUrl),
        documents: documentsOf(publicUrl, configured),
      }),
      operators: atOperators(
        scope,
        { path: operatorsUrl === null ? '' : pathOf(operatorsUrl), pagesAt: publicUrl },
        { console: moved ? console : null, programs: operatorsApi(scope, operators) },
      ),
      local: localApi(configured, core, operators),
      api: atAgents({
        auth: authApi(configured, core, consent, { identify: pipeline.identify, permit, tools }),
        tools: toolsApi(configured, core, consent, { pipeline, permit, tools }),
        mcp: mcpDoor(configured, core, consent, { pipeline, tools }),
        plan: planApi(configured, core, consent, { pipeline, tools }),
      }),
      begin: () => begins.forEach((begin) => begin()),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
