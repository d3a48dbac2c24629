// Where agents and probes arrive.
import type { RequestListener } from 'node:http'
import type { Config } from '../config/schema.ts'
import { startAdmin } from '../net/admin.ts'
import { outOfDate, readPair } from '../net/certificate.ts'
import { startListener, type Dedicated, type Listening } from '../net/listener.ts'
import { canonicalHeaders } from '../wire/canonical.ts'
import { serves } from '../pipeline/route.ts'
import { clockSentence } from './clock.ts'
import type { Core } from './core.ts'
import type { Pipeline } from './pipeline.ts'
import { message, type Scope } from './scope.ts'

type Where = {
  readonly key: string
  readonly listen: Config['listeners']['agent']
  readonly dedicated: Dedicated | null
  readonly tls: { readonly cert: string; readonly key: string } | null
}

/** Every listener that the configuration names for agents. */
const wheres = async ({ config, at, clock, log }: Scope): Promise<readonly Where[]> => {
  const { agent, agent_tls: tls, extra } = config.listeners
  const all: Where[] = [{ key: 'listeners.agent', listen: agent, dedicated: null, tls: null }]
  if (tls !== undefined) {
    const read = await readPair('listeners.agent_tls', { cert: at(tls.cert), key: at(tls.key) })
    if ('problems' in read) throw new Error(read.problems.join('\n'))
    const late = outOfDate(read.pair.cert, clock.now())
    if (late !== null) log.error({}, `listeners.agent_tls.cert: ${at(tls.cert)} ${late}`)
    all.push({
      key: 'listeners.agent_tls.listen',
      listen: tls.listen,
      dedicated: null,
      tls: read.pair,
    })
  }
  for (const [i, { listen, upstream, user = null }] of extra.entries())
    all.push({
      key: `listeners.extra.${i}.listen`,
      listen,
      dedicated: { upstream, user },
      tls: null,
    })
  return all
}

/** @returns their addresses by the configuration's key, without `listeners.` */
export const startAgents = async (
  scope: Scope,
  { telemetry, evidence, calls, newId }: Core,
  { pep, snapshot, tagHeader, agentHeader }: Pipeline,
  { api, typeBase }: { readonly api: RequestListener; readonly typeBase: string },
): Promise<Readonly<Record<string, string>>> => {
  const { config, written, log, opened, left } = scope
  const listeners: Listening[] = []
  opened(async () => {
    await Promise.all(listeners.map((listener) => listener.close(left())))
    // What was cut still has its outcome to write.
    await calls.drain(1_000)
  })
  const addresses: Record<string, string> = {}
  for (const { key, listen, dedicated, tls } of await wheres(scope)) {
    const listener = await startListener({
      key,
      listen: 'path' in listen ? { path: written(listen.path) } : listen,
      tls,
      dedicated,
      maxHeaderBytes: config.limits.headers,
      names: config.listeners.names,
      origins: config.listeners.origins,
      check: canonicalHeaders(tagHeader, agentHeader),
      serves: (host) => serves(snapshot().routes, host),
      typeBase,
      newId,
      call: (req, res, id, fixed) => {
        const end = telemetry.begin(req.method ?? '')
        void pep(req, res, id, fixed).then(end)
      },
      api,
      refused: (code, id) => evidence.refused(id, code, null),
      log,
    })
    listeners.push(listener)
    addresses[key.replace(/^listeners\./, '').replace(/\.listen$/, '')] = listener.address
  }
  return addresses
}

export type Phase = { readonly ready: boolean; readonly draining: boolean }

/** The admin listener: closed last, since until then it says that this deputy drains. */
export const startProbes = (
  { config, clock, log }: Scope,
  { policy, directory, followed, journal, store, waiting, telemetry }: Core,
  phase: () => Phase,
) => {
  /** What is looked at and does not answer: what it says by now is not known. */
  const unread = () =>
    [policy.unread(), directory?.unread() ?? null, followed.unread()].flatMap((detail) =>
      detail === null ? [] : [{ name: 'file', ok: false, detail }],
    )
  return startAdmin({
    listen: config.listeners.admin,
    names: config.listeners.names,
    checks: async () => {
      const { ready, draining } = phase()
      // What the other checks ask is being closed.
      if (draining) return [{ name: 'draining', ok: false, detail: 'deputy is shutting down' }]
      void followed.latest() // looks; what it finds is told by the next probe at the latest
      const wrong = clock.wrong() !== null
      return [
        { name: 'started', ok: ready, detail: ready ? '' : 'starting' },
        { name: 'draining', ok: true, detail: '' },
        {
          name: 'policy',
          ok: policy.current() !== null,
          detail: [policy.current()?.revision ?? 'none', policy.problem() ?? []].flat().join('; '),
        },
        ...unread(),
        { name: 'audit', ok: journal.healthy(), detail: journal.fault() ?? '' },
        { name: 'clock', ok: !wrong, detail: wrong ? clockSentence(clock) : '' },
        await store.check().then(
          () => ({ name: 'vault', ok: true, detail: '' }),
          (error: unknown) => ({ name: 'vault', ok: false, detail: message(error) }),
        ),
        { name: 'clients', ok: true, detail: await waiting.detail() },
      ]
    },
    render: telemetry.render,
    log,
  })
}
