// Where agents and probes arrive.
import type { Config } from '../config/schema.ts'
import { startAdmin, type Check } from '../net/admin.ts'
import type { Shown } from '../net/certificate.ts'
import type { Dedicated } from '../net/admit.ts'
import { createLeaves } from '../net/authority.ts'
import { startListener, type Listening } from '../net/listener.ts'
import { messageOf } from '../problem.ts'
import { canonicalHeaders } from '../wire/canonical.ts'
import { serves } from '../pipeline/route.ts'
import type { PolicySource } from '../policy/source.ts'
import { clockSentence } from './clock.ts'
import type { InForce, Lasting } from './core.ts'
import type { Reloading } from './reload.ts'
import type { Revision } from './revision.ts'
import type { Scope } from './scope.ts'

type Where = {
  readonly key: string
  readonly listen: Config['listeners']['agent']
  readonly dedicated: Dedicated | null
  readonly tls: Shown | null
  /** It takes CONNECT for the hosts that are served. */
  readonly forwards?: true
}

/** Every listener that the configuration names for agents. */
const wheres = ({ config }: Scope, pair: Shown | null): readonly Where[] => {
  const { agent, agent_tls: tls, extra } = config.listeners
  const all: Where[] = [{ key: 'listeners.agent', listen: agent, dedicated: null, tls: null }]
  if (tls !== undefined)
    all.push({
      key: 'listeners.agent_tls.listen',
      listen: tls.listen,
      dedicated: null,
      tls: pair,
    })
  for (const [i, { listen, upstream, user = null }] of extra.entries())
    all.push({
      key: `listeners.extra.${i}.listen`,
      listen,
      dedicated: { upstream, user },
      tls: null,
    })
  if (config.forward !== undefined)
    all.push({
      key: 'forward.listen',
      listen: config.forward.listen,
      dedicated: null,
      tls: null,
      forwards: true,
    })
  return all
}

/** @returns their addresses by the configuration's key, without `listeners.`; `renew` shows another certificate */
export const startAgents = async (
  scope: Scope,
  { metrics, evidence, calls, newId }: Lasting,
  { now, typeBase }: { readonly now: () => Revision; readonly typeBase: string },
): Promise<{
  readonly addresses: Readonly<Record<string, string>>
  readonly renew: (pair: Shown | null) => void
  readonly part: () => void
}> => {
  const { config, written, log, opened, left } = scope
  const listeners: Listening[] = []
  opened(async () => {
    await Promise.all(listeners.map((listener) => listener.close(left())))
    // What was cut still has its outcome to write.
    await calls.drain(1_000)
  })
  const addresses: Record<string, string> = {}
  const { authority: vouching } = now()
  const forward =
    vouching === null
      ? null
      : {
          tagHeader: config.identity.header,
          leaf: createLeaves(() => now().authority ?? vouching, scope.clock.now),
        }
  for (const { key, listen, dedicated, tls, forwards } of wheres(scope, now().tls)) {
    const listener = await startListener({
      key,
      listen: 'path' in listen ? { path: written(listen.path) } : listen,
      tls,
      dedicated,
      forward: forwards === true ? forward : null,
      maxHeaderBytes: config.limits.headers,
      names: config.listeners.names,
      origins: config.listeners.origins,
      check: canonicalHeaders(config.identity.header, config.identity.agent_header),
      serves: (host) => serves(now().pipeline.snapshot().routes, host),
      typeBase,
      newId,
      call: (req, res, id, fixed) => {
        const end = metrics.begin(req.method ?? '')
        void now().pipeline.pep(req, res, id, fixed).then(end)
      },
      api: (req, res) => now().api(req, res),
      refused: (code, id) => evidence.refused(id, code, null),
      log,
    })
    listeners.push(listener)
    addresses[key.replace(/^listeners\./, '').replace(/\.listen$/, '')] = listener.address
  }
  return {
    addresses,
    part: () => listeners.forEach((listener) => listener.part()),
    renew: (pair) => {
      if (pair !== null) for (const listener of listeners) listener.renew(pair)
    },
  }
}

type Phase = { readonly ready: boolean; readonly draining: boolean }

/** Which policy decides, by whom, how the bundle service answers, and what is refused. */
const policyDetail = (policy: PolicySource): string => {
  const engine = policy.current()
  const { from, signed } = engine?.origin ?? { from: 'files', signed: null }
  const iat = signed?.issuedAt ?? null
  const at = policy.service()?.succeededAt ?? null
  return [
    engine?.revision ?? 'none',
    signed === null
      ? []
      : `signed by ${signed.key}${iat === null ? '' : ` at ${new Date(iat).toISOString()}`}`,
    from === 'kept' ? 'kept from the last run' : [],
    at === null ? [] : `the bundle service answered at ${new Date(at).toISOString()}`,
    policy.problem() ?? [],
  ]
    .flat()
    .join('; ')
}

/** The admin listener: closed last, since until then it says that this deputy drains. */
export const startProbes = (
  { config, clock, log }: Scope,
  { followed, exported, journal, store, waiting, metrics, feeds, health }: Lasting,
  {
    phase,
    now,
    reloading,
    certificate,
  }: {
    readonly phase: () => Phase
    readonly now: () => InForce
    readonly reloading: Pick<Reloading, 'state'>
    readonly certificate: () => readonly Check[]
  },
) => {
  /** What is looked at and does not answer: what it says by now is not known. */
  const unread = ({ policy, directories }: InForce) =>
    [
      policy.unread(),
      ...[...directories.values()].map((each) => each.unread()),
      followed.unread(),
    ].flatMap((detail) => (detail === null ? [] : [{ name: 'file', ok: false, detail }]))
  /** What was refused is told, and is no reason not to be ready: what was in force before serves on. */
  const revision = () => {
    const { revision: n, problem } = reloading.state()
    const refused = problem === null ? '' : `; what its files say now is refused: ${problem}`
    return { name: 'config', ok: true, detail: `revision ${n}${refused}` }
  }
  const checks = async (): Promise<readonly Check[]> => {
    const { ready, draining } = phase()
    // What the other checks ask is being closed.
    if (draining) return [{ name: 'draining', ok: false, detail: 'deputy is shutting down' }]
    void followed.latest() // looks; what it finds is told by the next probe at the latest
    const wrong = clock.wrong() !== null
    const { policy, shadow } = now()
    return [
      { name: 'started', ok: ready, detail: ready ? '' : 'starting' },
      { name: 'draining', ok: true, detail: '' },
      revision(),
      {
        name: 'policy',
        ok: policy.current() !== null,
        detail: policyDetail(policy),
      },
      // Nothing hangs on it.
      ...(shadow === null
        ? []
        : [
            {
              name: 'policy.shadow',
              ok: true,
              detail: [shadow.revision() ?? 'none', shadow.problem() ?? []].flat().join('; '),
            },
          ]),
      ...unread(now()),
      ...certificate(),
      {
        name: 'audit',
        ok: journal.healthy(),
        detail: [journal.fault() ?? [], exported() ?? []].flat().join('; '),
      },
      { name: 'clock', ok: !wrong, detail: wrong ? clockSentence(clock) : '' },
      await store.check().then(
        () => ({ name: 'vault', ok: true, detail: '' }),
        (error: unknown) => ({ name: 'vault', ok: false, detail: messageOf(error) }),
      ),
      { name: 'clients', ok: true, detail: await waiting.detail() },
      // Whoever asks at the act misses nothing while a feed fails.
      { name: 'feeds', ok: true, detail: feeds.detail() },
    ]
  }
  health.checks = checks
  return startAdmin({
    listen: config.listeners.admin,
    names: config.listeners.names,
    checks,
    render: metrics.render,
    log,
  })
}
