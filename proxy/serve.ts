// The composition root: builds every part, hands it to those who need it, listens, drains.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type Server } from 'node:http'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { createCalls } from './calls.ts'
import type { Config } from './config/config.ts'
import type { Loaded } from './config/load.ts'
import type { Directory } from './directory/file.ts'
import type { Log, Person, PolicyEngine, Principal } from './model.ts'
import { startAdmin } from './net/admin.ts'
import { createDial } from './net/dial.ts'
import { startListener, type Listening } from './net/listener.ts'
import { createOAuthClient } from './oauth/client.ts'
import { createFlows } from './oauth/flow.ts'
import { createRefresher } from './oauth/refresh.ts'
import { createRevoker } from './oauth/revoke.ts'
import { createVisits } from './oauth/session.ts'
import { createLocalSignIn, createSignIn } from './oauth/sign_in.ts'
import { openEnds } from './observe/ends.ts'
import { openJournal } from './observe/journal.ts'
import { createNotifier } from './observe/notify.ts'
import { createTelemetry } from './observe/telemetry.ts'
import { createAuthApi } from './people/api.ts'
import { createConnectApp } from './people/app.ts'
import { createOperatorsApi } from './people/operators.ts'
import { createPermit } from './people/permit.ts'
import { createPep, type Seen } from './pep.ts'
import { prepare, snapshotOf, systemClock } from './reload.ts'
import { Problem } from './problem.ts'
import { openStore } from './store/open.ts'
import { createUlid } from './ulid.ts'
import { followRing } from './vault/rotate.ts'
import { createRuns } from './vault/runs.ts'
import { createSealer } from './vault/seal.ts'
import { createUsed } from './vault/used.ts'
import { createVault } from './vault/vault.ts'
import { createCredentials } from './way/credential.ts'
import { createDecide } from './way/decide.ts'
import { createEntitlements, type PeopleSource } from './way/entitlements.ts'
import { createEvidence } from './way/evidence.ts'
import { createForward } from './way/forward.ts'
import { serves } from './way/route.ts'
import { createSift } from './wire/headers.ts'
import { createHold } from './way/hold.ts'
import { createIdentify } from './way/identify.ts'
import { validId } from './wire/canonical.ts'

export type Serving = {
  readonly addresses: Readonly<Record<string, string>>
  /** Stops accepting, lets calls end, stores what is unstored, closes the evidence. */
  readonly close: () => Promise<void>
}
const DRAIN_MS = 5_000
const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Binds a listener for people or operators. The connect listener is first: the pages' address is part of every link. */
const startConnect = (
  key: string,
  listen: { readonly host: string; readonly port: number },
): Promise<{ server: Server; port: number }> =>
  new Promise((resolve, reject) => {
    const server = createHttpServer({
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      maxHeaderSize: 32_768,
    })
    server.once('error', (error) =>
      reject(new Error(`${key}: cannot listen on ${listen.host}:${listen.port}: ${error.message}`)),
    )
    server.listen(listen, () => {
      const bound = server.address()
      resolve({
        server,
        port: bound === null || typeof bound === 'string' ? listen.port : bound.port,
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
  const { config, at } = loaded
  const { log } = options
  const clock = systemClock
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
  try {
    const told: { policy: (engine: PolicyEngine) => void } = { policy: () => {} }
    const prepared = await prepare(loaded, clock, log, {
      people: () => log.info({}, 'entitlements changed'),
      policy: (engine) => told.policy(engine),
    })
    if ('problems' in prepared) throw new Error(prepared.problems.join('\n'))
    const { ring, policy, issuers, directory, ca } = prepared.parts
    opened.push(
      () => policy.close(),
      () => directory?.close(),
    )

    const keys: { changed: (kid: string) => void } = { changed: () => {} }
    const sealer = createSealer(
      ring,
      followRing({
        path: at(config.vault.keys),
        first: ring,
        log,
        onChange: ({ current }) => keys.changed(current.kid),
      }),
    )
    const newId = createUlid(clock.now)
    const proc = newId()
    const telemetry = createTelemetry({ version: options.version })
    const calls = createCalls({
      calls: config.limits.calls,
      perAgent: config.limits.calls_per_agent,
    })
    const dial = createDial({
      allowPrivate: config.network.allow_private,
      connectTimeout: config.upstream.connect_timeout,
      idleTimeout: config.upstream.idle_timeout,
      ca,
    })
    opened.push(() => dial.close())

    const store = await openStore(config.vault.store, at, log)
    opened.push(() => store.close())
    const sinks = config.audit.sink.map((sink) =>
      sink === 'stdout' ? ('stdout' as const) : { file: at(sink.slice('file:'.length)) },
    )
    const journal = await openJournal({
      sinks,
      fsync: config.audit.fsync,
      clock,
      proc,
      anchor: { sign: sealer.sign, everyLines: 1_000, everyMs: 60_000 },
      log,
    })
    opened.push(() => journal.close())
    telemetry.audit(journal)
    telemetry.policy(() => policy.current()?.revision ?? null)
    for (const sink of sinks)
      if (sink !== 'stdout')
        for (const end of await openEnds(sink.file, proc))
          await journal.append(
            'outcome',
            `,"exchange":${JSON.stringify(end.exchange)}${end.part === null ? '' : `,"part":${JSON.stringify(end.part)}`},"result":"unknown","sent":null,"status":null`,
          )
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
      log.info({ revision, digest }, 'policy loaded')
      evidence
        .event('policy.loaded', { policy: { revision, digest } })
        .catch((error: unknown) => log.error({ err: error }, 'policy.loaded could not be recorded'))
    }
    const engine = policy.current()
    if (engine !== null) told.policy(engine)
    // Without a policy deputy serves refusals, is not ready, and says why: the next good bundle ends that.
    const broken = policy.problem()
    if (broken !== null) {
      log.error({ problem: broken }, 'no policy serves')
      await evidence.event('policy.failed', { problem: broken })
    }

    const vault = createVault({
      store,
      sealer,
      clock,
      randomId: newId,
      onRevoked: ({ person, connection, agent }) =>
        calls.abort(
          { person, connection, ...(agent === undefined ? {} : { agent }) },
          new Problem('reauthorization_required', 'the grant was revoked'),
        ),
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
    const refresher = createRefresher({ vault, client, clock, log })
    opened.push(() => refresher.drain())

    const connect =
      config.listeners.connect === null
        ? null
        : await startConnect('listeners.connect', config.listeners.connect)
    if (connect !== null) opened.push(() => closeServer(connect.server, DRAIN_MS))
    const publicUrl = (config.connect.url ?? `http://localhost:${connect?.port ?? 0}`).replace(
      /\/$/,
      '',
    )
    const onEvent = (event: string, fields: object): Promise<void> =>
      evidence.event(event, fields as Record<string, unknown>)
    const people = peopleOf(config, directory)
    const { notify } = config.connect
    const notifier =
      notify === undefined
        ? null
        : createNotifier({ ...notify, fetch: dial.fetch, clock, log, onEvent })
    opened.push(() => notifier?.close())
    const flows = createFlows({
      store,
      vault,
      sealer,
      client,
      connections: () => loaded.connections,
      publicUrl,
      linkTtlMs: config.connect.link_ttl,
      clock,
      randomBytes,
      onEvent,
      onLink: ({ authorizationId, url, expiresAt }, { person, agent, connection, scopes }) =>
        notifier?.send({
          event: 'authorization.required',
          authorization_id: authorizationId,
          url,
          user_id: person.id,
          tenant: person.tenant,
          realm: person.realm,
          agent,
          connection,
          scopes,
          expires_at: new Date(expiresAt).toISOString(),
        }),
      active: async (person) =>
        people.kind !== 'directory' || (await people.ask(person))?.active === true,
    })
    const sweep = setInterval(() => {
      for (const each of [flows.sweep(), runs.sweep()])
        each.catch((error: unknown) =>
          log.error({ err: error }, 'old consents and runs could not be swept'),
        )
    }, 60_000)
    sweep.unref()
    opened.push(() => clearInterval(sweep))

    const { sign_in: signIn, verifier } = config.connect
    let pages: ReturnType<typeof getRequestListener> | null = null
    if (connect !== null && (signIn !== undefined || verifier !== undefined)) {
      const session = { sealer, clock, randomBytes, publicUrl }
      const app = createConnectApp({
        flows,
        signIn:
          signIn === undefined
            ? createVisits(verifier?.url ?? '', session)
            : signIn === 'local'
              ? await createLocalSignIn({
                  ...session,
                  codeFile: join(at('.'), '.deputy-code'),
                  print: options.print,
                })
              : createSignIn(signIn, { ...session, fetch: dial.fetch }),
        localPerson: (id) =>
          validId(id) ? { tenant: 'default', realm: config.identity.realm, id } : null,
        session,
        vault,
        revoke: createRevoker({ vault, client, connections: () => loaded.connections, log }).revoke,
        connections: () => loaded.connections,
        returnTo: config.connect.return_to,
        onEvent,
        log,
      })
      pages = getRequestListener(app.fetch)
    }

    const identify = createIdentify({
      trust: config.identity.trust,
      header: config.identity.header.toLowerCase(),
      maxAge: config.identity.max_age,
      issuers,
      plainAgent: config.identity.agent,
      plainRealm: config.identity.realm,
      run: runs.verify,
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
    const snapshot = snapshotOf(loaded.connections)
    const tagHeader = config.identity.header.toLowerCase()
    const hold = createHold({
      calls: config.limits.held_calls,
      bytes: config.limits.held_bytes,
      max: config.limits.hold_max,
      unasked: config.connect.hold,
      now: clock.now,
    })
    telemetry.watch('deputy_held_calls', 'gauge', 'Calls that wait for a person.', hold.count)
    const pep = createPep({
      snapshot: () => snapshot,
      policy: () => policy.current(),
      identify: identify.identify,
      entitlements,
      vault,
      decide,
      credentials: createCredentials({
        vault,
        fresh: refresher.fresh,
        atHand: refresher.atHand,
        now: clock.now,
        outcome: telemetry.credential,
      }),
      forward: forward.forward,
      used: used.note,
      evidence,
      calls,
      link: (principal, connection, scopes, again) =>
        flows.begin(principal.person, principal.agent, connection.name, scopes, {
          reauthorization: again,
          nextUri: null,
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
      sift: createSift(tagHeader),
      typeBase: publicUrl,
      clock,
      log,
      observe: (seen) => observe(seen, telemetry, log),
    })
    const permit = createPermit({
      connections: () => loaded.connections,
      policy: () => policy.current(),
      entitlements,
      vault,
      decide,
      evidence,
      newId,
    })
    const operatorsDeps = {
      ...namingOf(config),
      operators: config.operators,
      verifier: verifier?.key ?? null,
      connections: () => loaded.connections,
      vault,
      locate: async (id: string) => {
        const row = await store.credentials.byId(id)
        if (row === null) return null
        const { tenant, realm, user, connection } = row
        return { person: { tenant, realm, id: user }, connection }
      },
      revoker: createRevoker({ vault, client, connections: () => loaded.connections, log }),
      flows,
      runs,
      maxRunMs: config.runs.max,
      permitRun: async (person: Person, agent: string, connection: string, operator: string) => {
        const principal: Principal = {
          person,
          agent,
          verified: true,
          claims: null,
          issuedAt: null,
          expiresAt: null,
          run: null,
        }
        const { held } = await permit(principal, connection, { run: operator })
        if (!held) throw new Problem('policy_denied', `policy wants a consent at ${connection}`)
      },
      onEvent,
      stranger: () => evidence.refused(newId(), 'unauthenticated', null),
      clock,
      publicUrl,
      newId,
      log,
    }
    let operatorsAddress: string | null = null
    const apart = config.listeners.operators
    if (connect !== null) {
      // Without a listener of their own the operators are here, on loopback (the configuration's rule).
      const beside = createOperatorsApi(
        apart === undefined ? operatorsDeps : { ...operatorsDeps, operators: [] },
      )
      const besideListener = getRequestListener(beside.fetch)
      const pagesListener = pages
      connect.server.on('request', (req, res) => {
        if (pagesListener === null || req.url?.startsWith('/v1/') === true)
          void besideListener(req, res)
        else void pagesListener(req, res)
      })
    }
    if (apart !== undefined) {
      const operators = await startConnect('listeners.operators', apart)
      opened.push(() => closeServer(operators.server, DRAIN_MS))
      const listener = getRequestListener(createOperatorsApi(operatorsDeps).fetch)
      operators.server.on('request', (req, res) => void listener(req, res))
      operatorsAddress = `http://${apart.host.includes(':') ? `[${apart.host}]` : apart.host}:${operators.port}`
    }
    const api = createAuthApi({
      identify: async (rawHeaders) => identify.identify(rawHeaders, null),
      plainPerson:
        config.identity.trust === 'plain'
          ? (userId, rawHeaders) => identify.named(userId, rawHeaders)
          : null,
      permit,
      flows,
      connections: () => loaded.connections,
      returnTo: config.connect.return_to,
      publicUrl,
      newId,
      log,
    })
    const apiListener = getRequestListener(api.fetch)

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
        listen: where,
        tls,
        dedicated,
        maxHeaderBytes: config.limits.headers,
        names: config.listeners.names,
        origins: config.listeners.origins,
        serves: (host) => serves(snapshot.routes, host),
        typeBase: publicUrl,
        newId,
        call: (req, res, id, fixed) => {
          const end = telemetry.begin(req.method ?? '')
          void pep(req, res, id, fixed).then(end)
        },
        api: (req, res) => void apiListener(req, res),
        refused: (code, id) => evidence.refused(id, code, null),
      })
      listeners.push(listener)
      addresses[key.replace(/^listeners\./, '').replace(/\.listen$/, '')] = listener.address
    }
    opened.push(async () => {
      await Promise.all(listeners.map((listener) => listener.close(DRAIN_MS)))
      // What was cut still has its outcome to write.
      await calls.drain(1_000)
    })
    const admin = await startAdmin({
      listen: config.listeners.admin,
      checks: async () => [
        { name: 'started', ok: ready, detail: ready ? '' : 'starting' },
        { name: 'draining', ok: !draining, detail: '' },
        {
          name: 'policy',
          ok: policy.current() !== null,
          detail: policy.current()?.revision ?? 'none',
        },
        { name: 'audit', ok: journal.healthy(), detail: '' },
        await store.check().then(
          () => ({ name: 'vault', ok: true, detail: '' }),
          (error: unknown) => ({ name: 'vault', ok: false, detail: message(error) }),
        ),
      ],
      render: telemetry.render,
      log,
    })
    opened.push(() => admin.close())
    addresses['admin'] = admin.address
    await listen('listeners.agent', config.listeners.agent, null, null)
    const { agent_tls: tls } = config.listeners
    if (tls !== undefined)
      await listen('listeners.agent_tls.listen', tls.listen, null, {
        cert: readFileSync(at(tls.cert), 'utf8'),
        key: readFileSync(at(tls.key), 'utf8'),
      })
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
      close: async () => {
        draining = true
        // A held call is answered with its link: the person's yes will count after the restart.
        hold.release()
        await closeAll()
      },
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

const peopleOf = (config: Config, directory: Directory | null): PeopleSource => {
  if (directory !== null) return { kind: 'directory', ask: directory.ask }
  return config.entitlements?.source === 'claims'
    ? { kind: 'claims', ...config.entitlements.claims }
    : { kind: 'none' }
}

/** The tenants and realms that tags can name. */
const namingOf = ({
  identity,
}: Config): { readonly tenants: readonly string[]; readonly realms: readonly string[] } =>
  identity.trust === 'plain'
    ? { tenants: ['default'], realms: [identity.realm] }
    : {
        tenants: [...new Set(identity.issuers.flatMap(({ tenants }) => tenants ?? ['default']))],
        realms: [...new Set(identity.issuers.map(({ realm, issuer }) => realm ?? issuer))],
      }

const closeServer = (server: Server, ms: number): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), ms)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
  })

const observe = (seen: Seen, telemetry: ReturnType<typeof createTelemetry>, log: Log): void => {
  telemetry.call(seen)
  log.debug(seen, 'call')
}
