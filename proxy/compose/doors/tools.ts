// Tools: which exist, what a person may see of them, and how one is carried out: as calls that go the very way of all
// others. Nothing of it is loaded, and no file read, before a door asks.
import type { RequestListener } from 'node:http'
import type { Connection, Principal } from '../../model.ts'
import { innerExchange } from '../../net/inner.ts'
import type { Catalogue, Offer } from '../../tools/catalogue.ts'
import type { Outer, Tools } from '../../tools/doors.ts'
import type { Ahead, Send } from '../../tools/run.ts'
import type { Request } from '../../tools/request.ts'
import type { InnerAnswer } from '../../net/inner.ts'
import type { Seen } from '../../tools/visible.ts'
import type { Consent } from '../consent.ts'
import type { Core } from '../core.ts'
import type { Pipeline } from '../pipeline.ts'
import { askingOf } from './asking.ts'
import type { BeginDeps } from '../../api/begin.ts'
import type { Configured } from '../scope.ts'
import { whenAsked } from '../web.ts'

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

const NOT_SEEN: Seen = { may: 'no', consent: null }
const ACCEPT = ['accept', 'application/json, */*;q=0.5']
/** ms for which an MCP server may take to say what its tools are, and to carry one out. */
const LIST_MS = 5_000
const CALL_MS = 300_000

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
const catalogueOf = async (
  connections: ReadonlyMap<string, Connection>,
  { toolFiles, log }: Pick<Core, 'toolFiles'> & Pick<Configured, 'log'>,
): Promise<Catalogue> => {
  const { catalogueAt } = await import('../../tools/at.ts')
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
  { within, rehearsing, entitlements, decide }: Pipeline,
): Tools => {
  const { config, clock } = scope
  const { connections, hold, policy, vault, newId, metrics } = core
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
      const { createVisible } = await import('../../tools/visible.ts')
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
    () => import('../../tools/run.ts'),
  )
  const remotes = whileSame(
    () => true,
    async () => (await import('../../tools/remote_run.ts')).createRemotes(),
  )
  /** The same caller, who does not wait longer than this. */
  const patiently = (outer: Outer, ms: number): Outer => ({
    ...outer,
    signal: AbortSignal.any([outer.signal, AbortSignal.timeout(ms)]),
  })
  const callerOf = (outer: Outer, offer: Offer) => ({
    who: outer.who,
    send: sendingOf(outer, offer).send,
    look: () => vault.look(outer.who.person, offer.connection.name, outer.who.agent),
  })
  const described: Tools['described'] = async (outer, all) => {
    const asked = all.filter(
      ({ offer: { tool }, seen: { may, consent } }) =>
        tool.remote !== undefined && may !== 'no' && consent === null,
    )
    if (asked.length === 0) return all.map(({ offer }) => offer)
    const { describe } = await remotes()
    const told = new Map<Offer['tool'], Offer>()
    const groups = Map.groupBy(asked, ({ offer }) => offer.connection).values()
    const patient = patiently({ ...outer, wait: 0 }, LIST_MS)
    await Promise.all(
      groups.map(async (group) => {
        const offers = group.map(({ offer }) => offer)
        const [first] = offers
        if (first === undefined) return
        const by = {
          ...callerOf(patient, first),
          most: config.limits.rewritten_body,
        }
        const now = await describe(by, offers)
        offers.forEach((offer, i) => told.set(offer.tool, now[i] ?? offer))
      }),
    )
    return all.map(({ offer }) => told.get(offer.tool) ?? offer)
  }
  /** How a tool's requests go: for this caller, at this connection. */
  const sendingOf = (
    { req: outer, who, named, via, signal, wait }: Outer,
    { connection }: Offer,
  ): Pick<Ahead, 'rehearse'> & { readonly send: Send } => {
    const headers = passed(outer.rawHeaders, own, wait === undefined)
    // One budget for all steps, however many of them need their person.
    const budget = wait === undefined ? hold.budget(outer, who) : wait * 1_000
    const until = clock.mono() + budget
    const silent = wait === undefined && budget === 0
    const waits = (): readonly string[] =>
      silent ? [] : ['prefer', `wait=${Math.max(0, Math.floor((until - clock.mono()) / 1_000))}`]
    // Its bytes as latin1, as they would come in a header.
    if (named !== null) headers.push(tag, Buffer.from(named).toString('latin1'))
    const exchange = async (request: Request, most: number) => {
      const host = request.host ?? (await hostOf(who, connection))
      const made = innerExchange(
        {
          method: request.method,
          url: `/${connection.name}@${host}${request.target}`,
          headers: [
            // Before what the caller prefers: of two the first counts (RFC 7240 2).
            ...waits(),
            ...headers,
            ...(request.headers.includes('accept') ? [] : ACCEPT),
            ...request.headers,
          ],
          body: request.body,
        },
        outer.socket,
        most,
      )
      const { leave } = made
      if (signal.aborted) leave()
      signal.addEventListener('abort', leave, { once: true })
      return {
        ...made,
        heard: (): Promise<InnerAnswer> =>
          made.answer.finally(() => signal.removeEventListener('abort', leave)),
      }
    }
    return {
      send: async (request, most) => {
        const { req, res, heard } = await exchange(request, most)
        const end = metrics.begin(request.method)
        void doors[via](req, res, newId(), null).then(end)
        return heard()
      },
      rehearse: async (request, most) => {
        const { req, res, leave, heard } = await exchange(request, most)
        let free = false
        await rehearsing(via, () => {
          free = true
        })(req, res, newId(), null)
        leave()
        const answer = await heard()
        return free ? null : answer
      },
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
    described,
    run: async (outer, offer, input) => {
      const { rewritten_body: answers, tool_result: result } = config.limits
      if (offer.tool.remote !== undefined) {
        const { run } = await remotes()
        const by = {
          ...callerOf(patiently(outer, CALL_MS), offer),
          seen: async () => (await (await seen())(outer.who, [offer]))[0] ?? NOT_SEEN,
        }
        return run(by, offer, input, { answers, result })
      }
      const { runTool } = await running()
      const { send, rehearse } = sendingOf(outer, offer)
      const may: Ahead['may'] = async (steps) => {
        const [one] = await (
          await seen()
        )(outer.who, [{ ...offer, tool: { ...offer.tool, steps } }])
        return one !== undefined && one.may !== 'no'
      }
      const how = { send, ahead: { rehearse, may } }
      return runTool(offer.tool, input, how, { answers, result })
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
  return whenAsked(scope.log, async () => (await import('../../api/tools.ts')).createToolsApi(deps))
}
