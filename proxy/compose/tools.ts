// Tools: which exist, what a person may see of them, and how one is carried out: as calls that go the very way of all
// others. Nothing of it is loaded, and no file read, before a door asks.
import type { IncomingMessage, RequestListener } from 'node:http'
import type { Connection, Principal, Via } from '../model.ts'
import { innerExchange } from '../net/inner.ts'
import type { Catalogue, Offer } from '../tools/catalogue.ts'
import type { Ran, Send } from '../tools/run.ts'
import type { Visible } from '../tools/visible.ts'
import type { Consent } from './consent.ts'
import type { Core } from './core.ts'
import type { Pipeline } from './pipeline.ts'
import { askingOf } from './asking.ts'
import type { BeginDeps } from '../api/begin.ts'
import type { Configured } from './scope.ts'
import { whenAsked } from './web.ts'

/** Who asks for a tool, as they asked. */
export type Outer = {
  readonly req: IncomingMessage
  readonly who: Principal
  /** The person, where no header but the body named them; null: the headers did. */
  readonly named: string | null
  readonly via: Exclude<Via, 'proxy'>
  /** The caller has left. */
  readonly signal: AbortSignal
  /** Seconds for which it may wait for its person, whatever its own headers say; absent: as they say. */
  readonly wait?: number
}

export type Tools = {
  readonly catalogue: () => Promise<Catalogue>
  /** What policy lets this person do with them now, without arguments. */
  readonly visible: Visible
  /** By any spelling of its name. Throws Problem tool_not_found, connection_ambiguous. */
  readonly operationsOf: (
    name: string,
  ) => Promise<{ readonly connection: Connection; readonly operations: readonly string[] }>
  /** Carries one out, as its caller. @throws Problem invalid_arguments */
  readonly run: (outer: Outer, offer: Offer, input: unknown) => Promise<Ran>
}

/** Of the outer request: who calls, for whom, how long it may wait, and which trace it is of. */
const PASSED: ReadonlySet<string> = new Set([
  'authorization',
  'deputy-tenant',
  'prefer',
  'user-agent',
  'traceparent',
  'tracestate',
  'host',
])

export const passed = (
  raw: readonly string[],
  own: ReadonlySet<string>,
  prefers: boolean,
): string[] => {
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    if (name === 'prefer' && !prefers) continue
    if (PASSED.has(name) || own.has(name)) headers.push(raw[i] ?? '', raw[i + 1] ?? '')
  }
  return headers
}

/** Made when it is first asked for, and anew when what it is made of has changed. */
const whileSame = <K, T>(key: () => K, make: (key: K) => Promise<T>): (() => Promise<T>) => {
  let made: { readonly of: K; readonly value: Promise<T> } | null = null
  return () => {
    const of = key()
    if (made?.of !== of) {
      const value = make(of)
      made = { of, value }
      value.catch(() => {
        made = null
      })
    }
    return made.value
  }
}

/** What its files say wrong is told once, and the rest of them serves. */
export const catalogueOf = async (
  connections: ReadonlyMap<string, Connection>,
  { toolFiles, log }: Pick<Core, 'toolFiles'> & Pick<Configured, 'log'>,
): Promise<Catalogue> => {
  const { catalogueAt } = await import('../tools/at.ts')
  const catalogue = await catalogueAt(connections, toolFiles)
  for (const problem of catalogue.problems) log.warn({}, `tools: ${problem}`)
  return catalogue
}

/** Where each person has a host of their own: the one of their account; any that fits, while there is none to send to. */
export const hostsOf =
  ({ vault }: Pick<Core, 'vault'>) =>
  async ({ person, agent }: Principal, { name, provider }: Connection): Promise<string> => {
    const holding = await vault.look(person, name, agent)
    const held =
      holding.kind === 'none'
        ? null
        : (vault.opened(holding.credential) ?? (await vault.open(holding.credential)))
    return held?.host ?? `login${provider.hostFromToken?.suffixes[0] ?? ''}`
  }

export const createTools = (
  scope: Configured,
  core: Core,
  { within, entitlements, decide }: Pipeline,
): Tools => {
  const { config, clock } = scope
  const { connections, policy, vault, newId, metrics } = core
  const hostOf = hostsOf(core)
  const doors = { tool: within('tool'), mcp: within('mcp') }
  const tag = config.identity.header
  const own = new Set([tag.toLowerCase(), config.identity.agent_header.toLowerCase()])
  const catalogue = whileSame(connections, (all) =>
    catalogueOf(all, { toolFiles: core.toolFiles, log: scope.log }),
  )
  const seen = whileSame(
    () => true,
    async () => {
      const { createVisible } = await import('../tools/visible.ts')
      return createVisible({
        policy: () => policy.current(),
        entitlements,
        vault,
        decide,
        newId,
        clock,
        grants: () => policy.table('grants'),
      })
    },
  )
  // Asked for by each call, `import()` resolves its path each time.
  const running = whileSame(
    () => true,
    () => import('../tools/run.ts'),
  )
  const sendOf = (
    { req: outer, who, named, via, signal, wait }: Outer,
    { connection }: Offer,
  ): Send => {
    const headers = passed(outer.rawHeaders, own, wait === undefined)
    const until = clock.mono() + (wait ?? 0) * 1_000
    const waits = (): readonly string[] =>
      wait === undefined
        ? []
        : ['prefer', `wait=${Math.max(0, Math.floor((until - clock.mono()) / 1_000))}`]
    // Its bytes as latin1, as they would come in a header.
    if (named !== null) headers.push(tag, Buffer.from(named).toString('latin1'))
    return async (request, most) => {
      const host = request.host ?? (await hostOf(who, connection))
      const { req, res, answer, leave } = innerExchange(
        {
          method: request.method,
          url: `/${connection.name}@${host}${request.target}`,
          headers: [
            ...headers,
            ...waits(),
            'accept',
            'application/json, */*;q=0.5',
            ...request.headers,
          ],
          body: request.body,
        },
        outer.socket,
        most,
      )
      if (signal.aborted) leave()
      signal.addEventListener('abort', leave, { once: true })
      const end = metrics.begin(request.method)
      void doors[via](req, res, newId(), null).then(end)
      return answer.finally(() => signal.removeEventListener('abort', leave))
    }
  }
  return {
    catalogue,
    visible: async (who, offers) => (await seen())(who, offers),
    operationsOf: async (name) => {
      const { tool, connection } = await (await catalogue()).find(name)
      const operations = [...new Set(tool.steps.map(({ operation }) => operation.id))]
      return { connection, operations }
    },
    run: async (outer, offer, input) => {
      const { runTool } = await running()
      const { rewritten_body: answers, tool_result: result } = config.limits
      return runTool(offer.tool, input, sendOf(outer, offer), { answers, result })
    },
  }
}

/** `/v1/tools` and its kin on the agents' listeners. */
export const toolsApi = (
  scope: Configured,
  core: Core,
  { flows, session }: Consent,
  {
    pipeline,
    permit,
    tools,
  }: { readonly pipeline: Pipeline; readonly permit: BeginDeps['permit']; readonly tools: Tools },
): RequestListener => {
  const deps = {
    ...askingOf(scope, core, pipeline.identify),
    permit,
    flows,
    returnTo: scope.config.connect.return_to,
    tools,
    publicUrl: session.publicUrl,
    newId: core.newId,
    now: scope.clock.now,
    mono: scope.clock.mono,
    log: scope.log,
  }
  return whenAsked(scope.log, async () => (await import('../api/tools.ts')).createToolsApi(deps))
}
