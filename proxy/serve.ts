// Order of start and drain: a list of names. What they stand for is in compose/.
import type { RequestListener } from 'node:http'
import { watchCertificate } from './compose/certificate.ts'
import { openLasting, type InForce, type Told } from './compose/core.ts'
import type { Preparing } from './compose/directories.ts'
import { createKept } from './compose/kept.ts'
import { startAgents, startProbes } from './compose/listeners.ts'
import { createReloading } from './compose/reload.ts'
import { buildRevision, type Place, type Revision } from './compose/revision.ts'
import { followScim } from './compose/scim.ts'
import { followSignals } from './compose/signals.ts'
import { createScope, type Scope } from './compose/scope.ts'
import { prepare, systemClock } from './compose/snapshot.ts'
import { startWeb, type Web } from './compose/web.ts'
import { controlSocket } from './config/address.ts'
import type { Loaded, Result } from './config/load.ts'
import type { Log, PolicyEngine } from './model.ts'
import type { Shown } from './net/certificate.ts'
import { createForwarded } from './net/forwarded.ts'
import { startControl } from './net/control.ts'

export type Serving = {
  readonly addresses: Readonly<Record<string, string>>
  /**
   * Goes on in the evidence files that are at their paths now (somebody may have rotated them), and reads the configuration
   * again. Does not reject.
   */
  readonly reload: () => Promise<void>
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

/** The host name of an address, as a Host header has it. */
const hostOf = (url: string): string => URL.parse(url)?.hostname ?? ''

type Options = {
  readonly log: Log & { readonly setLevel?: (level: string) => void }
  readonly print: (line: string) => void
  readonly version: string
  /** Reads the configuration again. */
  readonly read: () => Promise<Result>
}

/** Everything that a configuration is made in force by, and the first one. */
const openFirst = async (scope: Scope) => {
  const { config, clock, log, opened } = scope
  const kept = createKept()
  opened(() => kept.close())
  let inForce: InForce | null = null
  const told: Told = {
    policy: () => {},
    policyRefused: () => {},
    people: () => {},
    key: () => {},
    firstUse: () => {},
    seen: { answered: () => {}, failed: () => {} },
  }
  const changed: Preparing['changed'] = {
    people: () => told.people(),
    seen: {
      answered: (...what) => told.seen.answered(...what),
      failed: (...what) => told.seen.failed(...what),
    },
    policyRefused: (problem) => told.policyRefused(problem),
    // A policy that is not in force yet is nothing to tell.
    policy: (engine: PolicyEngine) => {
      if (inForce?.policy.current() === engine) told.policy(engine)
    },
  }
  const keeping = kept.next()
  const prepared = await prepare(scope, { clock, log, keep: keeping.keep, changed })
  if ('problems' in prepared) throw new Error(prepared.problems.join('\n'))
  const { parts } = prepared
  const first: InForce = { ...parts, config, connections: () => scope.connections }
  const lasting = await openLasting(scope, () => inForce ?? first, told)
  const put = (next: Revision): void => {
    // What its service gives now, or signs, counts no more.
    const { policy } = inForce ?? first
    if (policy !== next.policy) policy.rest()
    inForce = next
    told.policy(next.policy.current())
    told.firstUse = next.firstUse
    told.people = () => next.invalidated({ person: null, source: 'file', cause: 'file_changed' })
  }
  return { kept, changed, keeping, parts, lasting, put }
}

/** The configuration in force: the first one, and those that a reload puts in its place. */
const openRevisions = async (
  scope: Scope,
  first: Awaited<ReturnType<typeof openFirst>>,
  at: Pick<Place, 'publicUrl' | 'apart' | 'operatorsUrl'>,
) => {
  const { parts, keeping, lasting } = first
  const place: Place = { scope, lasting, ...at, later: () => current }
  const { keep, commit } = keeping
  let current = await buildRevision(place, { loaded: scope, parts, keep, before: null })
  commit()
  scope.opened(() => current.close())
  first.put(current)
  current.begin()
  await lasting.refresher.resume(current.connections())
  await lasting.waiting.look()
  const put = (next: Revision): void => {
    current = next
    first.put(next)
    next.begin()
    next.peopleChanged()
    lasting.hold.again()
    void lasting.waiting.look()
  }
  return { place, now: () => current, put }
}

/**
 * Starts everything. Rejects with one Error that lists every problem; nothing is left open then.
 * @param options.print lines for the person at the terminal (the one-time code of `sign_in: local`)
 */
export const serve = async (loaded: Loaded, options: Options): Promise<Serving> => {
  const { scope, drain, closeAll } = createScope(loaded, systemClock(), options)
  const { config, log, opened } = scope
  const { listeners } = config
  let phase = { ready: false, draining: false }
  let closeProbes = async (): Promise<void> => {}
  const end = async (): Promise<void> => {
    await closeAll()
    await closeProbes()
  }
  try {
    const first = await openFirst(scope)
    const { lasting } = first
    const connect = await openWeb(scope, 'listeners.connect', listeners.connect)
    const usual = `http://localhost:${connect?.port ?? 0}`
    const publicUrl = (config.connect.url ?? usual).replace(/\/$/, '')
    const apart = await openWeb(scope, 'listeners.operators', listeners.operators)
    const operatorsUrl = operatorsUrlOf(config, apart)
    const revisions = await openRevisions(scope, first, {
      publicUrl,
      apart: apart !== null,
      operatorsUrl,
    })
    const { now } = revisions
    opened(followScim(lasting.store, now))
    followSignals(scope, lasting, (of) => now().invalidated(of))
    const { host } = createForwarded(listeners.trusted_proxies)
    connect?.serve((req, res) => now().connect(req, res), [...listeners.names, hostOf(publicUrl)], {
      typeBase: publicUrl,
      host,
    })
    const ownNames = [...listeners.names, hostOf(operatorsUrl ?? '')]
    apart?.serve((req, res) => now().operators(req, res), ownNames, {
      typeBase: publicUrl,
      host: () => null,
    })
    const local: RequestListener = (req, res) => now().local(req, res)
    opened(await startControl(controlSocket(config.vault.store, scope.written), local, log))
    const { check: certificate, look } = watchCertificate(scope, lasting.metrics, now)
    let renew = (_pair: Shown | null): void => {}
    const reloading = createReloading({
      ...revisions,
      ...first,
      read: options.read,
      put: (next) => {
        revisions.put(next)
        renew(next.tls)
        look()
        options.log.setLevel?.(next.config.telemetry.log_level)
      },
    })
    const agents = await startAgents(scope, lasting, { now, typeBase: publicUrl })
    renew = agents.renew
    const probes = await startProbes(scope, lasting, {
      phase: () => phase,
      now,
      reloading,
      certificate,
    })
    closeProbes = probes.close
    phase = { ready: true, draining: false }
    const addresses = {
      ...(connect === null ? {} : { connect: publicUrl }),
      ...operatorsAddress(listeners.operators?.host, apart),
      admin: probes.address,
      ...agents.addresses,
    }
    log.info({ addresses, policy: now().policy.current()?.revision }, 'deputy serves')
    return {
      addresses,
      reload: async () => {
        lasting.journal.reopen()
        await reloading.reload()
      },
      close: async () => {
        phase = { ready: true, draining: true }
        // Balancers need a moment to hear of it: until then calls are served, each as the last one of its connection.
        for (const each of [agents, connect, apart]) each?.part()
        const { drain_delay: delay } = now().config.limits
        if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay))
        drain(now().config.limits.drain)
        // A held call is answered with its link: the person's yes will count after the restart.
        lasting.hold.release()
        // The pages stop at once with the agents' listeners; what runs there is waited for in its turn.
        for (const web of [connect, apart]) void web?.close(scope.left())
        // Begun first: a rotated token that is not stored is the one thing that cannot be had again.
        await Promise.all([lasting.refresher.drain().catch(() => {}), end()]) // told by closeAll, which drains once more
      },
    }
  } catch (error) {
    await end()
    throw error
  }
}

/** Where browsers reach the console at the operators' own listener, without a trailing slash; null: it is with the pages. */
const operatorsUrlOf = (
  { operators_sign_in: signIn }: Loaded['config'],
  apart: Web | null,
): string | null => (apart === null ? null : (signIn?.url?.replace(/\/$/, '') ?? null))

const operatorsAddress = (host = '', web: Web | null): { readonly operators?: string } =>
  web === null ? {} : { operators: `http://${host.includes(':') ? `[${host}]` : host}:${web.port}` }
