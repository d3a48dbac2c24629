// Order of start and drain: a list of names. What they stand for is in compose/.
import type { RequestListener, ServerResponse } from 'node:http'
import { clockSentence } from './compose/clock.ts'
import { createConsent } from './compose/consent.ts'
import { openCore } from './compose/core.ts'
import { startAgents, startProbes } from './compose/listeners.ts'
import { createPages } from './compose/pages.ts'
import { createPipeline } from './compose/pipeline.ts'
import {
  authApi,
  judges,
  operatorsApi,
  operatorsDepsOf,
  startIdle,
  startLocal,
} from './compose/programs.ts'
import { createScope, type Scope } from './compose/scope.ts'
import { startWeb, type Web } from './compose/web.ts'
import type { Loaded } from './config/load.ts'
import { oddities } from './config/rules.ts'
import type { Log } from './model.ts'
import { systemClock } from './compose/snapshot.ts'

export type Serving = {
  readonly addresses: Readonly<Record<string, string>>
  /** Goes on in the evidence files that are at their paths now: somebody rotated them. */
  readonly reopen: () => void
  /** Stops accepting, lets calls end, stores what is unstored, closes the evidence. */
  readonly close: () => Promise<void>
}

const openWeb = async (
  { opened, left }: Scope,
  key: string,
  listen: { readonly host: string; readonly port: number } | null | undefined,
): Promise<Web | null> => {
  if (listen === null || listen === undefined) return null
  const web = await startWeb(key, listen)
  opened(() => web.close(left()))
  return web
}

const unsure = (res: ServerResponse, sentence: string): void => {
  res.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '30' })
  res.end(`${sentence}\n`)
}
/** `/v1/` is for programs, everything else for people. */
const atConnect =
  ({ clock }: Scope, pages: RequestListener | null, programs: RequestListener): RequestListener =>
  (req, res) => {
    if (pages === null || req.url?.startsWith('/v1/') === true) programs(req, res)
    // A session that begins by a clock that is ahead would outlive its hour.
    else if (clock.wrong() === 'ahead') unsure(res, clockSentence(clock))
    else pages(req, res)
  }

/** The host name of an address, as a Host header has it. */
const hostOf = (url: string): string => URL.parse(url)?.hostname ?? ''

/**
 * Starts everything. Rejects with one Error that lists every problem; nothing is left open then.
 * @param options.print lines for the person at the terminal (the one-time code of `sign_in: local`)
 */
export const serve = async (
  loaded: Loaded,
  options: { readonly log: Log; readonly print: (line: string) => void; readonly version: string },
): Promise<Serving> => {
  const { scope, drain, closeAll } = createScope(loaded, systemClock(), options)
  const { config, log } = scope
  const { listeners } = config
  let phase = { ready: false, draining: false }
  let closeProbes = async (): Promise<void> => {}
  const end = async (): Promise<void> => {
    await closeAll()
    await closeProbes()
  }
  try {
    const core = await openCore(scope)
    const connect = await openWeb(scope, 'listeners.connect', listeners.connect)
    const usual = `http://localhost:${connect?.port ?? 0}`
    const publicUrl = (config.connect.url ?? usual).replace(/\/$/, '')
    const consent = await createConsent(scope, core, publicUrl)
    for (const odd of oddities(config)) log.warn({}, odd)
    const pipeline = createPipeline(scope, core, consent)
    const { allowed, permit } = judges(scope, core, pipeline)
    const pages = connect === null ? null : await createPages(scope, core, consent, allowed)
    startIdle(scope, core, consent, permit)
    const operators = operatorsDepsOf(scope, core, consent, permit)
    const apart = await openWeb(scope, 'listeners.operators', listeners.operators)
    // Without a listener of their own the operators are at the connect listener, on loopback (the configuration's rule).
    const beside = apart === null ? operators : { ...operators, operators: [] }
    connect?.serve(
      atConnect(scope, pages, operatorsApi(scope, beside)),
      [...listeners.names, hostOf(publicUrl)],
      publicUrl,
    )
    apart?.serve(operatorsApi(scope, operators), listeners.names, publicUrl)
    await startLocal(scope, core, operators)
    const api = authApi(scope, core, consent, { identify: pipeline.identify, permit })
    const probes = await startProbes(scope, core, () => phase)
    closeProbes = probes.close
    const agents = await startAgents(scope, core, pipeline, { api, typeBase: publicUrl })
    phase = { ready: true, draining: false }
    const addresses = {
      ...(connect === null ? {} : { connect: publicUrl }),
      ...operatorsAddress(listeners.operators?.host, apart),
      admin: probes.address,
      ...agents,
    }
    log.info({ addresses, policy: core.policy.current()?.revision }, 'deputy serves')
    return {
      addresses,
      reopen: core.journal.reopen,
      close: async () => {
        phase = { ready: true, draining: true }
        drain(config.limits.drain)
        // A held call is answered with its link: the person's yes will count after the restart.
        pipeline.hold.release()
        // The pages stop at once with the agents' listeners; what runs there is waited for in its turn.
        for (const web of [connect, apart]) void web?.close(scope.left())
        // Begun first: a rotated token that is not stored is the one thing that cannot be had again.
        await Promise.all([core.refresher.drain().catch(() => {}), end()]) // told by closeAll, which drains once more
      },
    }
  } catch (error) {
    await end()
    throw error
  }
}

const operatorsAddress = (host = '', web: Web | null): { readonly operators?: string } =>
  web === null ? {} : { operators: `http://${host.includes(':') ? `[${host}]` : host}:${web.port}` }
