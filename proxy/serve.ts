// The composition root: builds every part, hands it to those who need it, listens, drains.
import { randomBytes } from 'node:crypto'
import type { RequestListener, Server, ServerResponse } from 'node:http'
import type { getRequestListener } from '@hono/node-server'
import { createCalls } from './calls.ts'
import type { GuardedClock } from './clock.ts'
import { controlSocket } from './config/address.ts'
import { naming } from './config/backend.ts'
import { USUAL_CLAIMS, type Config } from './config/config.ts'
import type { Loaded } from './config/load.ts'
import { oddities } from './config/rules.ts'
import type { Directory } from './directory/file.ts'
import type { Log, Person, PolicyEngine, Principal } from './model.ts'
import { startAdmin } from './net/admin.ts'
import { outOfDate, readPair } from './net/certificate.ts'
import { createHostRule, ownNames } from './net/host.ts'
import { startControl, startListener, type Listening } from './net/listener.ts'
import { closing, mannerly } from './net/sockets.ts'
import { createOAuthClient } from './oauth/client.ts'
import { createDiscovery } from './oauth/discovery.ts'
import { createFlows } from './oauth/flow.ts'
import { createIdle } from './oauth/idle.ts'
import { createRefresher } from './oauth/refresh.ts'
import { createRevoker } from './oauth/revoke.ts'
import { confirmArrival, createVisits } from './oauth/session.ts'
import { createLocalSignIn, createSignIn } from './oauth/sign_in.ts'
import { createSpool, spooled } from './oauth/unstored.ts'
import { ANCHORED } from './observe/chain.ts'
import type { Seen } from './exchange.ts'
import { closeEnds } from './observe/ends.ts'
import { openJournal, sinksOf } from './observe/journal.ts'
import { createNotifier } from './observe/notify.ts'
import { createTelemetry } from './observe/telemetry.ts'
import type { Logo } from './config/logo.ts'
import type { createOperatorsApi } from './people/operators.ts'
import { createPermit } from './people/permit.ts'
import { createPep } from './pep.ts'
import { dialOf, prepare, snapshotOf, systemClock } from './reload.ts'
import { Problem, problemAnswer } from './problem.ts'
import { copyVault, replayRevocations } from './replay.ts'
import { createPlaces } from './shares.ts'
import { openStore } from './store/open.ts'
import { createUlid } from './ulid.ts'
import { followRing, missingKeys, rotateKeys } from './vault/rotate.ts'
import { createRuns } from './vault/runs.ts'
import { createSealer } from './vault/seal.ts'
import { createUsed } from './vault/used.ts'
import { createVault } from './vault/vault.ts'
import { createWaiting } from './vault/waiting.ts'
import { createCredentials, lookAgain } from './way/credential.ts'
import { createDecide } from './way/decide.ts'
import { createEntitlements, type PeopleSource } from './way/entitlements.ts'
import { createEvidence } from './way/evidence.ts'
import { createForward } from './way/forward.ts'
import { serves } from './way/route.ts'
import { createSift } from './wire/headers.ts'
import { createHold } from './way/hold.ts'
import { createIdentify } from './way/identify.ts'
import { readUpTo } from './way/inspect.ts'
import { createTagged } from './way/tags.ts'
import { createAddressTags } from './wire/address_tag.ts'
import { createQuerySeals } from './wire/query_seal.ts'
import { canonicalHeaders, validId } from './wire/canonical.ts'

export type Serving = {
  readonly addresses: Readonly<Record<string, string>>
  /** Goes on in the evidence files that are at their paths now: somebody rotated them. */
  readonly reopen: () => void
  /** Stops accepting, lets calls end, stores what is unstored, closes the evidence. */
  readonly close: () => Promise<void>
}
// Not `import`: naming its members would load all that node:http offers, undici a second time among them (10 MB, 50 ms).
const { createServer } = process.getBuiltinModule('node:http')
/** By how much the clocks of replicas on one store may differ. */
const SKEW_MS = 600_000
/** Fields of `consent.user_mismatch`. */
type Mismatch = {
  readonly flow: string
  readonly user: Person
  readonly agent: string
  readonly connection: string
}
const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))

type Connect = {
  readonly server: Server
  readonly port: number
  /** @param names further ones that a Host header may have */
  readonly serve: (listener: RequestListener, names: readonly string[], typeBase: string) => void
}
const misdirected = (res: ServerResponse, typeBase: string): void => {
  const what = 'the Host header does not name this listener'
  const { status, headers, body } = problemAnswer(
    new Problem('host_refused', what),
    'none',
    typeBase,
  )
  res.writeHead(status, { ...headers, connection: 'close' }).end(body)
}

/** Binds a listener for people or operators. The connect listener is first: the pages' address is part of every link. */
const startConnect = (
  key: string,
  listen: { readonly host: string; readonly port: number },
): Promise<Connect> =>
  new Promise((resolve, reject) => {
    let call: RequestListener = (_req, res) => void res.destroy()
    const server = mannerly(
      createServer({ headersTimeout: 10_000, requestTimeout: 30_000, maxHeaderSize: 32_768 }),
      { call: (req, res) => call(req, res) },
    )
    server.once('error', (error) =>
      reject(new Error(`${key}: cannot listen on ${listen.host}:${listen.port}: ${error.message}`)),
    )
    server.listen(listen, () => {
      const bound = server.address()
      resolve({
        server,
        port: bound === null || typeof bound === 'string' ? listen.port : bound.port,
        serve: (listener, names, typeBase) => {
          const ours = createHostRule(ownNames(listen, names))
          call = (req, res) => (ours(req) ? listener(req, res) : misdirected(res, typeBase))
        },
      })
    })
  })

/**
 * Starts everything. Rejects with one Error that lists every problem; nothing is left open then.
 * @param print lines for the person at the terminal (the one-time code of `sign_in: local`)
 */
export const serve = async (
  loaded: Loaded,
  options: { readonly log: Log; readonly print: (line: string) => void; readonly version: string },
): Promise<Serving> => {
  const { config, at, written } = loaded
  const { log } = options
  const clock = systemClock()
  // What was opened, newest first: closed in that order, whether the start fails or the process ends.
  const opened: (() => Promise<unknown> | void)[] = []
  const closeAll = async (): Promise<void> => {
    for (const close of opened.toReversed())
      await Promise.resolve(close()).catch((error: unknown) =>
        log.error({ err: error }, 'closing failed'),
      )
  }
  let ready = false
  let draining = false
  let drained = 0 // a start that fails serves nobody yet: the shortest
  /** What is left of the drain, ms; a second at least, for what is cut at its end. */
  const left = (): number => Math.max(1_000, drained - clock.mono())
  /** Closed last: until then it says that this deputy drains. */
  const atLast: { admin: (() => Promise<void>) | null } = { admin: null }
  try {
    const told: { policy: (engine: PolicyEngine) => void; people: () => void } = {
      policy: () => {},
      people: () => {},
    }
    const prepared = await prepare(loaded, clock, log, {
      people: () => told.people(),
      policy: (engine) => told.policy(engine),
    })
    if ('problems' in prepared) throw new Error(prepared.problems.join('\n'))
    const { ring, policy, issuers, directory, ca, logo } = prepared.parts
    opened.push(
      () => policy.close(),
      () => directory?.close(),
    )

    const keys: { changed: (kid: string) => void } = { changed: () => {} }
    const followed = followRing({
      path: at(config.vault.keys),
      first: ring,
      log,
      onChange: ({ current }) => keys.changed(current.kid),
    })
    const sealer = createSealer(ring, followed.latest)
    const newId = createUlid(clock.now)
    const proc = newId()
    const telemetry = createTelemetry({ version: options.version })
    const calls = createCalls({
      calls: config.limits.calls,
      perAgent: config.limits.calls_per_agent,
    })
    const dial = dialOf(config, ca)
    opened.push(() => dial.close())

    const store = await openStore(config.vault.store, written, log)
    opened.push(() => store.close())
    if (store.connections !== undefined) telemetry.connections(store.connections)
    const missing = await missingKeys(store, ring)
    if (missing.length > 0)
      log.error(
        { keys: missing },
        `vault.keys: ${at(config.vault.keys)} lacks keys under which grants are sealed: bring them back into the ring from your copy; until then these people get vault_unavailable`,
      )
    const sinks = sinksOf(config.audit.sink, written)
    const journal = await openJournal({
      sinks,
      fsync: config.audit.fsync,
      clock,
      proc,
      anchor: { sign: sealer.sign, ...ANCHORED },
      ...rotationOf(config.audit),
      log,
    })
    opened.push(() => journal.close())
    opened.push(watchClock(clock, log))
    telemetry.watch(
      'deputy_clock_lead_seconds',
      'gauge',
      'Wall clock minus the time that has passed since the start; beyond 60 either way no call is let through.',
      () => clock.lead() / 1_000,
    )
    telemetry.audit(journal)
    telemetry.policy(() => policy.current()?.revision ?? null)
    telemetry.watch(
      'deputy_policy_load_failures_total',
      'counter',
      'Bundles and tables that could not be used, once for each try.',
      policy.failures,
    )
    await closeEnds(journal, sinks, proc)
    const evidence = createEvidence({
      journal,
      clock,
      log,
      hashed: config.audit.user_ids === 'hashed',
      hmac: sealer.hmac,
    })
    opened.push(() => evidence.close())
    keys.changed = (key) => {
      log.info({ key }, 'key ring read again: another key seals now')
      evidence
        .event('key.rotated', { key })
        .catch((error: unknown) => log.error({ err: error }, 'key.rotated could not be recorded'))
    }
    let last = ''
    told.policy = ({ revision, digest }) => {
      if (digest === last) return
      last = digest
      evidence
        .event('policy.loaded', { policy: { revision, digest } })
        .catch((error: unknown) => log.error({ err: error }, 'policy.loaded could not be recorded'))
    }
    const engine = policy.current()
    if (engine !== null) told.policy(engine)
    // Without a policy deputy serves refusals, is not ready, and says why: the next good bundle ends that.
    const broken = policy.problem()
    if (broken !== null) await evidence.event('policy.failed', { problem: broken })

    const vault = createVault({
      store,
      sealer,
      clock,
      randomId: newId,
      onRevoked: ({ person, connection, agent, credential }) => {
        calls.abort(
          { person, connection, ...(agent === undefined ? {} : { agent }) },
          new Problem('reauthorization_required', 'the grant was revoked'),
        )
        if (credential === null) return
        refresher
          .discard(credential, connections().get(connection) ?? null)
          .catch((error: unknown) =>
            log.error({ err: error, credential }, 'what the spool keeps could not be given back'),
          )
      },
    })
    const runs = createRuns({
      store,
      clock,
      randomBytes,
      newId,
      onRevoked: (run) =>
        calls.abort({ run }, new Problem('unauthenticated', 'the run was revoked')),
    })
    const used = createUsed({ grants: store.grants, clock, log })
    opened.push(() => used.close())
    const client = createOAuthClient({ fetch: dial.fetch, clock })
    const spool = createSpool({ folder: written(config.vault.spool), sealer, log })
    telemetry.watch(
      'deputy_spool_tokens',
      'gauge',
      'Tokens in the spool, which the vault did not take.',
      spool.size,
    )
    const refresher = createRefresher({
      vault,
      client,
      clock,
      log,
      spool,
      onFailure: telemetry.refreshFailed,
    })
    opened.push(() => refresher.drain())

    const discovery = createDiscovery({
      connections: loaded.connections,
      fetch: dial.fetch,
      log,
      onChange: (issuer, { authorize, token, userinfo, revoke }, names) => {
        evidence
          .event('provider.discovered', {
            issuer,
            connections: names,
            endpoints: { authorize, token, userinfo, revoke },
          })
          .catch((error: unknown) =>
            log.error({ err: error }, 'provider.discovered could not be recorded'),
          )
      },
    })
    opened.push(() => discovery.close())
    // Before anything is waited for: a revocation elsewhere may be told from now on, and asks for them.
    const { connections } = discovery
    await discovery.start()
    await refresher.resume(connections())
    const waiting = createWaiting({ clients: vault.clients, connections, log })
    await waiting.look()
    telemetry.watch(
      'deputy_grants_waiting_for_client',
      'gauge',
      'Grants that belong to a client which is not configured, by connection.',
      waiting.samples,
    )

    const connect =
      config.listeners.connect === null
        ? null
        : await startConnect('listeners.connect', config.listeners.connect)
    const servers: Server[] = connect === null ? [] : [connect.server]
    if (connect !== null) opened.push(() => closing(connect.server, left()))
    const publicUrl = (config.connect.url ?? `http://localhost:${connect?.port ?? 0}`).replace(
      /\/$/,
      '',
    )
    const onEvent = (event: string, fields: object): Promise<void> => {
      if (event === 'consent.user_mismatch') deliver.mismatch(fields as Mismatch)
      return evidence.event(event, fields as Record<string, unknown>)
    }
    const revoker = createRevoker({ vault, client, connections, log })
    const people = peopleOf(config, directory)
    const active = async (person: Person): Promise<boolean> =>
      people.kind !== 'directory' || (await people.ask(person))?.active === true
    // A stream that began before its person was set inactive does not outlive that.
    const cutInactive = async (): Promise<void> => {
      for (const person of calls.people())
        if (!(await active(person)))
          calls.abort({ person }, new Problem('policy_denied', 'the user is not active any more'))
    }
    told.people = () =>
      void cutInactive().catch((error: unknown) =>
        log.error({ err: error }, 'whose calls are to be cut is not known: nobody new is let in'),
      )
    const { notify } = config.connect
    const deliver: { wake: () => void; mismatch: (of: Mismatch) => void } = {
      wake: () => {},
      mismatch: () => {},
    }
    const flows = createFlows({
      store,
      vault,
      sealer,
      client,
      connections,
      publicUrl,
      linkTtlMs: config.connect.link_ttl,
      nagAfterMs: config.connect.nag_after,
      clock,
      randomBytes,
      onEvent,
      ...(notify === undefined ? {} : { onLink: () => deliver.wake() }),
      active,
    })
    if (notify !== undefined) {
      const notifier = createNotifier({
        ...notify,
        due: flows.notices,
        next: flows.notifyAt,
        fetch: dial.fetch,
        clock,
        log,
        onEvent,
      })
      opened.push(() => notifier.close())
      deliver.wake = notifier.wake
      deliver.mismatch = ({ flow, user, ...of }) =>
        notifier.mismatch({ ...of, hash: flow, person: user })
      // What an earlier process left behind.
      notifier.wake()
    }
    const sweep = setInterval(() => {
      void waiting.look()
      // By a wrong clock everything would be old.
      if (clock.wrong() !== null) return
      for (const each of [flows.sweep(), runs.sweep(), store.sessions.sweep(clock.now() - SKEW_MS)])
        each.catch((error: unknown) =>
          log.error({ err: error }, 'old consents, runs and sessions could not be swept'),
        )
    }, 60_000)
    sweep.unref()
    opened.push(() => clearInterval(sweep))

    for (const odd of oddities(config)) log.warn({}, odd)
    const { sign_in: signIn, verifier } = config.connect
    const session = { sealer, clock, store, randomBytes, publicUrl }
    let pages: RequestListener | null = null
    if (connect !== null && (signIn !== undefined || verifier !== undefined)) {
      const atDoor =
        signIn === undefined
          ? createVisits(verifier?.url ?? '', session)
          : signIn === 'local'
            ? await createLocalSignIn({
                ...session,
                codeFile: written('.deputy-code'),
                print: options.print,
              })
            : createSignIn(signIn, { ...session, fetch: dial.fetch })
      const shown = {
        flows,
        signIn: atDoor,
        localPerson: (id: string) =>
          validId(id) ? { tenant: 'default', realm: config.identity.realm, id } : null,
        session,
        vault,
        revoke: revoker.revoke,
        connections,
        returnTo: config.connect.return_to,
        brand: brandOf(config, logo),
        onEvent,
        log,
      }
      pages = whenAsked(log, async () => (await import('./people/app.ts')).createConnectApp(shown))
    }

    const identify = createIdentify({
      trust: config.identity.trust,
      header: config.identity.header.toLowerCase(),
      maxAge: config.identity.max_age,
      issuers,
      plainAgent: config.identity.agent,
      plainRealm: config.identity.realm,
      run: runs.verify,
      keysGrace: config.identity.jwks_grace,
      fetch: dial.fetch,
      clock,
      log,
    })
    opened.push(() => identify.close())
    const entitlements = createEntitlements({
      source: people,
      maxAge: config.entitlements?.max_age ?? { read: 0, write: 0, delete: 0, admin: 0 },
      clock,
    })
    const decide = createDecide(clock, newId, telemetry.evaluated)
    const forward = createForward({
      dispatcher: dial.upstream,
      idleTimeout: config.upstream.idle_timeout,
      requestBody: config.limits.request_body,
      rewrittenBody: config.limits.rewritten_body,
      clock,
      upstream: telemetry.upstream,
    })
    opened.push(() => forward.close())
    // Calls see what an issuer says anew with the next one that comes.
    let seen = connections()
    let tables = snapshotOf(seen)
    const snapshot = () => {
      if (seen !== connections()) tables = snapshotOf((seen = connections()))
      return tables
    }
    const tagHeader = config.identity.header.toLowerCase()
    const hold = createHold({
      calls: config.limits.held_calls,
      bytes: config.limits.held_bytes,
      // Under `plain` there is one agent, and nobody to share with.
      share: config.identity.trust === 'plain' ? 1 : 0.5,
      max: config.limits.hold_max,
      unasked: config.connect.hold,
      now: clock.now,
    })
    telemetry.watch('deputy_held_calls', 'gauge', 'Calls that wait for a person.', hold.count)
    const addressTags = createAddressTags({
      key: Buffer.from(sealer.hmac('address', 'tag'), 'base64url'),
      randomBytes,
      now: clock.now,
    })
    const pep = createPep({
      snapshot,
      policy: () => policy.current(),
      tagged: createTagged({
        tagHeader,
        addressTags,
        tagged: identify.tagged,
        read: (req) => readUpTo(req, config.limits.inspected_body),
        most: config.limits.calls,
      }),
      identify: identify.identify,
      tags: identify.tags,
      tag: identify.tag,
      addressTags,
      querySeals: createQuerySeals({
        key: Buffer.from(sealer.hmac('query', 'seal'), 'base64url'),
        now: clock.now,
      }),
      entitlements,
      vault: {
        look: lookAgain({
          look: vault.look,
          fresh: refresher.fresh,
          connections,
          now: clock.now,
        }),
      },
      decide,
      credentials: createCredentials({
        vault,
        alive: client.alive,
        fresh: refresher.fresh,
        atHand: refresher.atHand,
        now: clock.now,
        outcome: telemetry.credential,
      }),
      forward: forward.forward,
      used: used.note,
      evidence,
      calls,
      link: (principal, connection, scopes, reauthorization, challenge = null) =>
        flows.ask(principal.person, principal.agent, connection.name, scopes, {
          reauthorization,
          challenge,
        }),
      ended: async (who, authorizationId, ms, signal) =>
        (await flows.status(authorizationId, who.person, who.agent, ms, signal)).status ===
        'completed',
      hold,
      limits: {
        requestBody: config.limits.request_body,
        inspectedBody: config.limits.inspected_body,
      },
      auditRequired: config.audit.required,
      tagHeader,
      sift: createSift(tagHeader, identify.tags.holds),
      typeBase: publicUrl,
      clock,
      log,
      observe: (seen) => observe(seen, telemetry, log),
    })
    const permit = createPermit({
      connections,
      policy: () => policy.current(),
      entitlements,
      vault,
      decide,
      evidence,
      newId,
    })
    const idle = createIdle({
      store,
      refresher,
      // By a wrong clock all would be due, or put off for as long as it is wrong.
      connections: () => (clock.wrong() === null ? connections() : new Map()),
      allowed: async (person, { agent, connection, scopes }) => {
        if (!(await active(person))) return false
        const verified = config.identity.trust === 'asserted'
        return permit({ ...unattended(person, agent), verified }, connection, {
          keep: scopes,
        }).then(
          () => true,
          (error: unknown) => {
            if (error instanceof Problem && error.code === 'policy_denied') return false
            throw error
          },
        )
      },
      onEvent,
      outcome: telemetry.idle,
      clock,
      log,
    })
    opened.push(() => idle.close())
    // Claims come with a call only: nobody says that the owner of an idle grant is still active.
    if (people.kind === 'claims')
      log.info({}, 'idle grants are not refreshed: entitlements.source is claims')
    else idle.start()
    const operatorsDeps = {
      ...naming(config),
      operators: config.operators,
      verifier: verifier?.key ?? null,
      connections,
      vault,
      locate: vault.locate,
      revoker,
      flows,
      runs,
      maxRunMs: config.runs.max,
      permitRun: async (person: Person, agent: string, connection: string, operator: string) => {
        // What is minted by a wrong clock would end too late by the right one.
        if (clock.wrong() !== null) throw new Problem('clock_wrong', clockSentence(clock))
        const { held } = await permit(unattended(person, agent), connection, { run: operator })
        if (!held) throw new Problem('policy_denied', `policy wants a consent at ${connection}`)
      },
      onEvent,
      arrived: (flowId: string, person: Person) => confirmArrival(session, flowId, person),
      stranger: () => evidence.refused(newId(), 'unauthenticated', null),
      clock,
      publicUrl,
      newId,
      log,
    }
    const operatorsApi = (parts: Parameters<typeof createOperatorsApi>[0]): RequestListener =>
      whenAsked(log, async () => (await import('./people/operators.ts')).createOperatorsApi(parts))
    let operatorsAddress: string | null = null
    const apart = config.listeners.operators
    if (connect !== null) {
      // Without a listener of their own the operators are here, on loopback (the configuration's rule).
      const beside = operatorsApi(
        apart === undefined ? operatorsDeps : { ...operatorsDeps, operators: [] },
      )
      connect.serve(
        (req, res) => {
          if (pages === null || req.url?.startsWith('/v1/') === true) beside(req, res)
          // A session that begins by a clock that is ahead would outlive its hour.
          else if (clock.wrong() === 'ahead') unsure(res, clockSentence(clock))
          else pages(req, res)
        },
        [...config.listeners.names, hostOf(publicUrl)],
        publicUrl,
      )
    }
    if (apart !== undefined) {
      const operators = await startConnect('listeners.operators', apart)
      servers.push(operators.server)
      opened.push(() => closing(operators.server, left()))
      operators.serve(operatorsApi(operatorsDeps), config.listeners.names, publicUrl)
      operatorsAddress = `http://${apart.host.includes(':') ? `[${apart.host}]` : apart.host}:${operators.port}`
    }
    const local = operatorsApi({
      ...operatorsDeps,
      operators: [],
      verifier: null,
      local: true,
      rotate: async (retire) => {
        const [printed, complaints]: [string[], string[]] = [[], []]
        const code = await rotateKeys({
          store,
          path: at(config.vault.keys),
          waiting: async () => (await spooled(written(config.vault.spool))).length,
          retire,
          print: (line) => void printed.push(line),
          complain: (line) => void complaints.push(line),
          now: clock.now,
        }).catch((error: unknown) => {
          complaints.push(message(error))
          return 1
        })
        return { code, printed, complaints }
      },
      copy: (file) => copyVault(store, config.vault.store, written, file),
      replay: (files) => replayRevocations(store, files, clock.now()),
    })
    opened.push(await startControl(controlSocket(config.vault.store, written), local, log))
    const asked = {
      identify: async (rawHeaders: readonly string[]) => identify.identify(rawHeaders, null),
      plainPerson:
        config.identity.trust === 'plain'
          ? (userId: string, rawHeaders: readonly string[]) => identify.named(userId, rawHeaders)
          : null,
      permit,
      polls: createPlaces({
        what: 'the polls that wait',
        most: config.limits.calls,
        each: config.limits.calls_per_agent,
      }),
      flows,
      connections,
      returnTo: config.connect.return_to,
      publicUrl,
      newId,
      log,
    }
    const api = whenAsked(log, async () => (await import('./people/api.ts')).createAuthApi(asked))

    const addresses: Record<string, string> = {
      ...(connect === null ? {} : { connect: publicUrl }),
      ...(operatorsAddress === null ? {} : { operators: operatorsAddress }),
    }
    const listeners: Listening[] = []
    const listen = async (
      key: string,
      where: Config['listeners']['agent'],
      dedicated: { upstream: string; user: string | null } | null,
      tls: { cert: string; key: string } | null,
    ): Promise<void> => {
      const listener = await startListener({
        key,
        listen: 'path' in where ? { path: written(where.path) } : where,
        tls,
        dedicated,
        maxHeaderBytes: config.limits.headers,
        names: config.listeners.names,
        origins: config.listeners.origins,
        check: canonicalHeaders(tagHeader),
        serves: (host) => serves(snapshot().routes, host),
        typeBase: publicUrl,
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
    opened.push(async () => {
      await Promise.all(listeners.map((listener) => listener.close(left())))
      // What was cut still has its outcome to write.
      await calls.drain(1_000)
    })
    /** What is looked at and does not answer: what it says by now is not known. */
    const unread = () =>
      [policy.unread(), directory?.unread() ?? null, followed.unread()].flatMap((detail) =>
        detail === null ? [] : [{ name: 'file', ok: false, detail }],
      )
    const admin = await startAdmin({
      listen: config.listeners.admin,
      names: config.listeners.names,
      checks: async () => {
        // What the other checks ask is being closed.
        if (draining) return [{ name: 'draining', ok: false, detail: 'deputy is shutting down' }]
        void followed.latest() // looks; what it finds is told by the next probe at the latest
        return [
          { name: 'started', ok: ready, detail: ready ? '' : 'starting' },
          { name: 'draining', ok: true, detail: '' },
          {
            name: 'policy',
            ok: policy.current() !== null,
            detail: [policy.current()?.revision ?? 'none', policy.problem() ?? []]
              .flat()
              .join('; '),
          },
          ...unread(),
          { name: 'audit', ok: journal.healthy(), detail: journal.fault() ?? '' },
          {
            name: 'clock',
            ok: clock.wrong() === null,
            detail: clock.wrong() === null ? '' : clockSentence(clock),
          },
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
    atLast.admin = admin.close
    addresses['admin'] = admin.address
    await listen('listeners.agent', config.listeners.agent, null, null)
    const { agent_tls: tls } = config.listeners
    if (tls !== undefined) {
      const read = await readPair('listeners.agent_tls', { cert: at(tls.cert), key: at(tls.key) })
      if ('problems' in read) throw new Error(read.problems.join('\n'))
      const late = outOfDate(read.pair.cert, clock.now())
      if (late !== null) log.error({}, `listeners.agent_tls.cert: ${at(tls.cert)} ${late}`)
      await listen('listeners.agent_tls.listen', tls.listen, null, read.pair)
    }
    for (const [i, extra] of config.listeners.extra.entries())
      await listen(
        `listeners.extra.${i}.listen`,
        extra.listen,
        { upstream: extra.upstream, user: extra.user ?? null },
        null,
      )
    ready = true
    log.info({ addresses, policy: policy.current()?.revision }, 'deputy serves')
    return {
      addresses,
      reopen: journal.reopen,
      close: async () => {
        draining = true
        drained = clock.mono() + config.limits.drain
        // A held call is answered with its link: the person's yes will count after the restart.
        hold.release()
        // The pages stop at once with the agents' listeners; what runs there is waited for in its turn.
        for (const server of servers) void closing(server, left())
        // Begun first: a rotated token that is not stored is the one thing that cannot be had again.
        await Promise.all([refresher.drain().catch(() => {}), closeAll()]) // told by closeAll, which drains once more
        await atLast.admin?.()
      },
    }
  } catch (error) {
    await closeAll()
    await atLast.admin?.()
    throw error
  }
}

/** The host name of an address, as a Host header has it. */
const hostOf = (url: string): string => URL.parse(url)?.hostname ?? ''

const clockSentence = (clock: GuardedClock): string => {
  const s = Math.round(clock.lead() / 1_000)
  return s > 0
    ? `the wall clock is ${s} s ahead of the time that has passed: it is believed once it has stayed so for a minute`
    : `the wall clock is ${-s} s behind the time that has passed: set it right; if it was ahead when deputy started, restart deputy`
}
const unsure = (res: ServerResponse, sentence: string): void => {
  res.writeHead(503, { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '30' })
  res.end(`${sentence}\n`)
}
/** Tells the log when the clock goes wrong and when it is right again; looks often enough to know since when. */
const watchClock = (clock: GuardedClock, log: Log): (() => void) => {
  let before: ReturnType<GuardedClock['wrong']> = null
  const timer = setInterval(() => {
    const wrong = clock.wrong()
    if (wrong !== null && wrong !== before)
      log.error({}, `no call is let through: ${clockSentence(clock)}`)
    if (wrong === null && before !== null) log.info({}, 'the clocks agree again')
    before = wrong
  }, 1_000).unref()
  return () => clearInterval(timer)
}

const DAY_MS = 86_400_000
/** When evidence files are closed, and how long they are kept after. */
/** Whose pages these are, as the pages take it. */
const brandOf = ({ connect: { brand } }: Config, logo: Logo | null) =>
  brand === undefined
    ? null
    : {
        words: { name: brand.name, logo: logo !== null, support: brand.support ?? null },
        logo,
      }
const rotationOf = ({ rotate, retention }: Config['audit']) =>
  rotate === 'off'
    ? {}
    : {
        rotate: { size: rotate?.size ?? 256 * 1024 ** 2, everyMs: rotate?.every ?? DAY_MS },
        retentionMs: retention ?? 400 * DAY_MS,
      }

const peopleOf = (config: Config, directory: Directory | null): PeopleSource => {
  if (directory !== null) return { kind: 'directory', ask: directory.ask }
  return config.entitlements?.source === 'claims'
    ? { kind: 'claims', ...(config.entitlements.claims ?? USUAL_CLAIMS) }
    : { kind: 'none' }
}

/** Somebody who is not there: named by deputy itself, for policy to judge. */
const unattended = (person: Person, agent: string): Principal => ({
  person,
  agent,
  verified: true,
  claims: null,
  issuedAt: null,
  expiresAt: null,
  run: null,
})

/** Pages and small APIs are loaded when one is first asked for: most sidecars never are. Whoever asks first waits. */
const whenAsked = (
  log: Log,
  make: () => Promise<{ readonly fetch: Parameters<typeof getRequestListener>[0] }>,
): RequestListener => {
  let loading: Promise<ReturnType<typeof getRequestListener>> | null = null
  const load = async (): Promise<ReturnType<typeof getRequestListener>> => {
    const [server, app] = await Promise.all([import('@hono/node-server'), make()])
    return server.getRequestListener(app.fetch)
  }
  return (req, res) => {
    loading ??= load()
    loading
      .then((listener) => listener(req, res))
      .catch((error: unknown) => {
        loading = null
        log.error({ err: error }, 'a page or API could not be loaded')
        res.destroy()
      })
  }
}

const observe = (seen: Seen, telemetry: ReturnType<typeof createTelemetry>, log: Log): void => {
  telemetry.call(seen)
  log.debug(seen, 'call')
}
