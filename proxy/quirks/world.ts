// A small deputy around the scripted provider: the real client, flows, refresher, vault and forwarding, on loopback, for a moment.
import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Connection, Holding, Log, Person, Provider } from '../model.ts'
import { createDial } from '../net/dial.ts'
import { createOAuthClient } from '../oauth/client.ts'
import { askIssuer, laidUnder } from '../oauth/discovery.ts'
import { createFlows } from '../consent/flow.ts'
import { createRefresher } from '../tokens/refresh.ts'
import { createRevoker } from '../tokens/revoke.ts'
import { Problem, problemAnswer, toProblem } from '../problem.ts'
import { secret } from '../secret.ts'
import { openSqlite } from '../store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../vault/seal.ts'
import { createVault } from '../vault/vault.ts'
import { createCredentials } from '../pipeline/credential.ts'
import { createSift } from '../wire/headers.ts'
import { createForward } from '../pipeline/forward.ts'
import { buildRoutes, matchRoute } from '../pipeline/route.ts'
import type { Example, Values } from './example.ts'
import { startScripted } from './server.ts'
import type { Script, Session } from './session.ts'

const AGENT = 'test'
// Characters that the encodings of RFC 6749 2.3.1 and of plain Basic write differently.
const CLIENT = { id: 'client-id_1.x', secret: 's3cr+et/=:%&-_.~' }
const TIMEOUT_MS = 1_500

export type World = Awaited<ReturnType<typeof openWorld>>
export type Attempt = ReturnType<World['attempt']>

/** The definition with its endpoints and hosts at the scripted provider. */
const moved = (provider: Provider, example: Example, origin: string, session: string): Provider => {
  const at = (place: string): string => `${origin}/${session}/${place}`
  const own = [example.host, example.other_host].filter((name) => name !== undefined)
  const listed = provider.hosts.size > 0 ? [...provider.hosts.keys()] : ['git.example.com']
  const names = provider.hostFromToken ? own : listed
  const { introspect, refresh } = provider
  return {
    ...provider,
    authorize: at('authorize'),
    token: at('token'),
    userinfo: provider.userinfo === null ? null : at('userinfo'),
    revoke: provider.revoke === null ? null : at('revoke'),
    par: provider.par ? at('par') : null,
    ...(provider.discover ? { issuer: `${origin}/${session}` } : {}),
    introspect: introspect ? { ...introspect, url: at('introspect') } : null,
    ...(refresh ? { refresh: { ...refresh, url: null } } : {}),
    hosts: new Map(names.map((name) => [name, origin])),
  }
}

/** What is asked for: two scopes of the catalogue, or two that every scripted provider has. */
const scopesOf = (provider: Provider): readonly string[] => {
  if (provider.scopeParam === null) return []
  const known = new Set(provider.operations.flatMap(({ scopes }) => scopes.flat()))
  return [...known, 'first.read', 'second.write'].slice(0, 2)
}

/** What an agent calls. @param way answers, or throws what is told instead */
const startAgentSide = async (
  way: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  typeBase: string,
) => {
  const server = createServer((request, response) => {
    way(request, response).catch((error: unknown) => {
      const { status, headers, body } = problemAnswer(toProblem(error), 'test', typeBase)
      if (!response.headersSent) response.writeHead(status, headers).end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async (): Promise<void> => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const openWorld = async () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-quirks-'))
  const keys = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const scripted = await startScripted({ ...CLIENT, publicKey: keys.publicKey })
  const dial = createDial({
    allowPrivate: [{ net: '127.0.0.0/8' }],
    connectTimeout: 2_000,
    idleTimeout: 5_000,
    ca: null,
  })
  let ahead = 0
  const clock = { now: () => Date.now() + ahead, mono: () => performance.now() + ahead }
  const logged: string[] = []
  const write = (fields: object, msg: string): void =>
    void logged.push(JSON.stringify([msg, fields]))
  const log: Log = { debug: write, info: write, warn: write, error: write }
  // Pauses between tries are not waited for; the limit on a caller's patience is.
  const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    pause(ms < 5_000 ? 1 : ms, undefined, signal === undefined ? {} : { signal })

  const store = await openSqlite(join(folder, 'deputy.db'))
  const sealer = createSealer(parseKeyRing(newKeyRing(Date.now(), randomBytes)))
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  const client = createOAuthClient({ fetch: dial.fetch, clock, timeoutMs: TIMEOUT_MS })
  const refresher = createRefresher({ vault, client, clock, log, sleep })
  const connections = new Map<string, Connection>()
  const publicUrl = 'http://127.0.0.1:9'
  const flows = createFlows({
    store,
    vault,
    sealer,
    client,
    connections: () => connections,
    publicUrl,
    linkTtlMs: 86_400_000,
    clock,
    randomBytes,
    onEvent: (event, fields) => write(fields, event),
  })
  const revoker = createRevoker({ vault, client, connections: () => connections, log })
  const credentials = createCredentials({
    vault,
    alive: client.alive,
    fresh: refresher.fresh,
    atHand: refresher.atHand,
    now: clock.now,
    outcome: () => {},
  })
  const forward = createForward({
    dispatcher: dial.upstream,
    idleTimeout: 5_000,
    requestBody: 1_000_000,
    rewrittenBody: 1_000_000,
    clock,
    upstream: () => {},
  })

  const personOf = (name: string): Person => ({ tenant: 'default', realm: 'test', id: name })
  /** The part of the way that a provider can trip: route, credential, forward. */
  const way = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const connection = connections.get(String(request.headers['deputy-connection']))
    const route = matchRoute(
      buildRoutes(connection === undefined ? [] : [connection]),
      request,
      null,
    )
    const used = route.connection
    const holding = await vault.look(personOf(used.name), used.name, AGENT)
    const none = { state: 'none', bytes: null, declared: 0, contentType: null, json: {} } as const
    const { problem } = await forward.forward(
      {
        route,
        body: { ...none, digest: null, stripped: [] },
        injected: await credentials.take(holding, used, route.host, AGENT),
        pointers: [],
        signed: null,
        seal: null,
        sifted: createSift(['deputy-user'], () => false)(request.rawHeaders, used.provider),
        again: (taken, said) => credentials.again(taken, used, said, AGENT),
        served: () => false,
        later: null,
        websocket: false,
        signal: new AbortController().signal,
      },
      request,
      response,
    )
    if (problem !== null) throw problem
  }
  const agent = await startAgentSide(way, publicUrl)

  let count = 0
  const attempt = (provider: Provider, example: Example, script: Script) => {
    const name = `s${(count += 1)}`
    const session: Session = scripted.open(name, example, script, Boolean(provider.discover))
    const scopes = scopesOf(provider)
    const connection: Connection = {
      name,
      provider: moved(provider, example, scripted.origin, name),
      clientId: CLIENT.id,
      clientSecret: secret(CLIENT.secret),
      clientKey: secret(keys.privateKey),
      scopes,
    }
    connections.set(name, connection)
    const person = personOf(name)
    const held = async (): Promise<Holding> => vault.look(person, name, AGENT)
    const redirectUri = `${publicUrl}/callback/${name}`

    return {
      session,
      scopes,
      held,
      /** Consents as the provider's account of the moment. @returns how the flow ended */
      connect: async (): Promise<string> => {
        const begun = await flows.begin({ person, agent: AGENT, connection: name }, scopes, {
          reauthorization: true,
        })
        const flow = await flows.byAuthorizationId(begun.authorizationId)
        if (flow === null) return 'no flow'
        const { location, cookie } = await flows.leg(flow, redirectUri)
        const answer = await fetch(location, { redirect: 'manual' })
        const back = URL.parse(answer.headers.get('location') ?? '')
        if (back === null) return `the authorization endpoint answered ${answer.status}`
        const params = back.searchParams
        return (
          await flows.finish({
            connection: name,
            params,
            cookie,
            person,
            verified: true,
            redirectUri,
          })
        ).kind
      },
      /** Seconds until the stored token ends; null: no end known. */
      life: async (): Promise<number | null> => {
        const holding = await held()
        const credential = holding.kind === 'held' ? await vault.open(holding.credential) : null
        return credential === null || credential.expiresAt === null
          ? null
          : (credential.expiresAt - clock.now()) / 1_000
      },
      /** One refresh, whatever the life that is left. @returns `refreshed`, `kept`, or the code of the problem */
      refresh: async (): Promise<string> => {
        const holding = await held()
        if (holding.kind !== 'held') return 'not connected'
        const want = { minGeneration: holding.generation + 1 }
        return refresher.fresh(holding.credential, connection, want).then(
          ({ refreshed }) => (refreshed ? 'refreshed' : 'kept'),
          (error: unknown) => (error instanceof Problem ? error.code : 'internal'),
        )
      },
      /** A call of the API. @returns its status, and what the provider saw of it */
      call: async (host?: string) => {
        const target = host ?? connection.provider.hosts.keys().next().value ?? ''
        const before = session.seen.length
        const answer = await fetch(`${agent.url}/${target}/things`, {
          headers: { 'deputy-connection': name, authorization: 'Bearer forged' },
        })
        await answer.arrayBuffer()
        return {
          status: answer.status,
          seen: session.seen.slice(before).filter((one) => one.endpoint === 'api'),
        }
      },
      revoke: async (): Promise<string> =>
        (await revoker.revoke({ connection: name }))[0]?.result ?? 'nothing was held',
    }
  }

  return {
    attempt,
    /** What is asked of the issuer, asked of the scripted one. @param members over what that one says of itself */
    discovered: async (
      provider: Provider,
      example: Example,
      members: Values = {},
    ): Promise<Provider> => {
      const name = `s${(count += 1)}`
      const script = { metadata: { always: { members } } }
      const { issuer } = scripted.open(name, example, script, true)
      const connection: Connection = {
        name,
        provider: { ...provider, issuer },
        clientId: CLIENT.id,
        clientSecret: secret(CLIENT.secret),
        clientKey: secret(keys.privateKey),
        scopes: [],
      }
      const found = await askIssuer(dial.fetch, issuer ?? '', false)
      return laidUnder(connection, found).provider
    },
    now: clock.now,
    /** Lets time pass: past a cool-down, past the life of a token. */
    later: (ms: number): void => void (ahead += ms),
    /** Everything that was logged or would have become evidence. */
    logged: (): string => logged.join('\n'),
    close: async (): Promise<void> => {
      await refresher.drain().catch(() => {})
      forward.close()
      await agent.close()
      await scripted.close()
      await dial.close()
      await store.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
