// The consent side of a deputy with everything real around it: an organisation's IdP, a provider that demands PKCE,
// SQLite in a folder of its own, HTTP on port 0.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { parseProvider } from '../../proxy/providers/parse.ts'
import type { AgentAbout } from '../../proxy/config/agents.ts'
import type { Logo } from '../../proxy/config/logo.ts'
import type { AgentOff, Asker, Connection, Entitlements, Log, Person } from '../../proxy/model.ts'
import { createOAuthClient } from '../../proxy/oauth/client.ts'
import { createApprovals } from '../../proxy/consent/approvals.ts'
import { createMayApprove } from '../../proxy/consent/approvers.ts'
import { createAsks } from '../../proxy/consent/asks.ts'
import { createStepUps } from '../../proxy/consent/step_ups.ts'
import { createFlows } from '../../proxy/consent/flow.ts'
import { createRoom, type Tenants } from '../../proxy/consent/tenants.ts'
import { createRevoker } from '../../proxy/tokens/revoke.ts'
import { createLocalSignIn, createSignIn } from '../../proxy/consent/sign_in.ts'
import { createConnectApp } from '../../proxy/people/app.ts'
import { secret } from '../../proxy/secret.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createAgents } from '../../proxy/vault/agents.ts'
import { createRuns } from '../../proxy/vault/runs.ts'
import { createStandings } from '../../proxy/vault/standings.ts'
import { createStandingCare } from '../../proxy/consent/standing.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { startAuthServer } from './authserver.ts'

export const ALICE: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
export const BOB: Person = { tenant: 'acme', realm: 'corp', id: 'bob' }
export const PAGES_SECRET = 'canary-pages-secret-0000000000000000'
export const PROVIDER_SECRET = 'canary-provider-secret-00000000000000'

export type Consent = Awaited<ReturnType<typeof startConsent>>

export const startConsent = async (
  options: {
    readonly signIn?: 'oidc' | 'local'
    readonly returnTo?: readonly string[]
    /** Links are to be delivered. */
    readonly onLink?: () => void
    /** Stands between the sign-in and the IdP. */
    readonly idpFetch?: typeof fetch
    /** Who the agents are. */
    readonly agents?: ReadonlyMap<string, AgentAbout>
    readonly marks?: ReadonlyMap<string, Logo>
  } = {},
) => {
  const folder = await mkdtemp(join(tmpdir(), 'deputy-consent-'))
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const publicUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const idp = await startAuthServer({
    clientId: 'pages',
    clientSecret: PAGES_SECRET,
    redirectUris: [`${publicUrl}/sign-in/callback`],
    accounts: { alice: { org: 'acme' }, bob: { org: 'acme' }, carol: { org: 'other' }, dave: {} },
  })
  const provider = await startAuthServer({
    clientId: 'deputy',
    clientSecret: PROVIDER_SECRET,
    redirectUris: ['acme', 'second'].map((name) => `${publicUrl}/callback/${name}`),
    scopes: ['repo', 'mail'],
    accounts: { 'alice-acme': {}, 'alice-private': {}, 'bob-acme': {} },
  })

  const parsed = parseProvider(
    {
      id: 'acme',
      name: 'Acme <Code>',
      issuer: provider.issuer,
      authorize: provider.endpoints.authorize,
      token: provider.endpoints.token,
      userinfo: provider.endpoints.userinfo,
      revoke: provider.endpoints.revoke,
      client_auth: 'client_secret_post',
      account: { from: 'userinfo', id: '/sub' },
      authorize_params: { prompt: 'consent' },
      hosts: { 'api.acme.test': provider.issuer },
      operations: [],
    },
    'acme.yaml',
  )
  if ('problems' in parsed) throw new Error(parsed.problems.join('\n'))
  const connection = (name: string): Connection => ({
    name,
    provider: parsed.provider,
    clientId: 'deputy',
    clientSecret: secret(PROVIDER_SECRET),
    scopes: ['openid', 'repo', 'mail', 'unknown-there'],
  })
  const connections = new Map(['acme', 'second'].map((name) => [name, connection(name)]))

  let ahead = 0
  const clock = { now: () => Date.now() + ahead, mono: () => performance.now() + ahead }
  const sealer = createSealer(parseKeyRing(newKeyRing(Date.now(), randomBytes)))
  const file = join(folder, 'deputy.db')
  const store = await openSqlite(file)
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  const events: { readonly event: string; readonly fields: Readonly<Record<string, unknown>> }[] =
    []
  const printed: string[] = []
  const logged: string[] = []
  const write = (fields: object, msg: string): void =>
    void logged.push(`${msg} ${JSON.stringify(fields)}`)
  const log: Log = { debug: write, info: write, warn: write, error: write }
  const onEvent = (event: string, fields: object): void =>
    void events.push({ event, fields: fields as Readonly<Record<string, unknown>> })

  const client = createOAuthClient({ fetch, clock })
  const suspended = new Set<string>()
  const cut: Pick<AgentOff, 'agent' | 'tenant'>[] = []
  const bounds: { tenants: Tenants } = { tenants: undefined }
  const parts = {
    store,
    vault,
    sealer,
    client,
    connections: () => connections,
    publicUrl,
    linkTtlMs: 86_400_000,
    clock,
    randomBytes,
    onEvent,
    active: async ({ id }: Person) => !suspended.has(id),
    room: (who: Asker) =>
      createRoom({ tenants: bounds.tenants, store, onEvent, refused: () => {} })(who),
    ...(options.onLink === undefined ? {} : { onLink: options.onLink }),
  }
  const agents = createAgents({ store, clock, onDisabled: (off) => void cut.push(off) })
  const flows = createFlows({ ...parts, agentOn: agents.allowed })
  const runs = createRuns({
    store,
    clock,
    randomBytes,
    newId: () => randomBytes(8).toString('hex'),
    onRevoked: () => undefined,
  })
  const standings = createStandings({
    store,
    clock,
    newId: randomUUID,
    log,
    onEnded: () => {},
    onFirstUse: () => {},
  })
  const standing = createStandingCare({
    standings,
    store: store.standings,
    clock,
    log,
    onEvent: async (event, fields) => onEvent(event, fields),
  })
  const told = async (event: string, fields: object): Promise<void> => onEvent(event, fields)
  const asks = createAsks({
    ...parts,
    log,
    nagAfterMs: 3_600_000,
    able: options.signIn !== 'local',
    agentUrl: (agent) => `${publicUrl}/agents/${agent}`,
    onEvent: told,
  })
  /** Groups by id; nobody else is known to the directory. */
  const directory = new Map<string, Entitlements>()
  const people = { kind: 'directory' as const, ask: ({ id }: Person) => directory.get(id) ?? null }
  const asking = {
    asks,
    approvals: createApprovals({
      asks,
      store,
      clock,
      may: createMayApprove(people),
      onEvent: told,
    }),
    stepUps: createStepUps({ asks, store, clock, onEvent: told }),
    agentOn: agents.allowed,
  }
  const session = { sealer, clock, store, randomBytes, publicUrl }
  const codeFile = join(folder, 'code')
  const signIn =
    options.signIn === 'local'
      ? await createLocalSignIn({
          ...session,
          codeFile,
          print: (line) => void printed.push(line),
        })
      : createSignIn(
          {
            issuer: idp.issuer,
            client_id: 'pages',
            client_secret: secret(PAGES_SECRET),
            scope: 'openid',
            user: '/sub',
            tenant: '/org',
            realm: 'corp',
            insecure: false,
          },
          { ...session, fetch: options.idpFetch ?? fetch },
        )
  const app = createConnectApp({
    flows,
    asking,
    signIn,
    localPerson: (id) => ({ tenant: 'acme', realm: 'corp', id }),
    session,
    vault,
    revoke: createRevoker({ vault, client, connections: () => connections, log }).revoke,
    standings,
    standing,
    connections: () => connections,
    agents: {
      ...agents,
      about: options.agents ?? new Map(),
      marks: options.marks ?? new Map(),
      active: parts.active,
      grantsTo: store.grants.to,
    },
    runs,
    returnTo: options.returnTo ?? [],
    onEvent,
    from: ({ socket }) => socket.remoteAddress ?? null,
    log,
  })
  const listener = getRequestListener(app.fetch)
  server.on('request', (request, response) => void listener(request, response))

  return {
    publicUrl,
    idp,
    provider,
    connections,
    flows,
    asking,
    directory,
    /** Another replica's: the same store and keys, nothing else in common. */
    replica: () => createFlows(parts),
    /** Ids that the identity provider lists as not active. */
    suspended,
    agents,
    /** Agents whose calls were ended. */
    cut,
    runs,
    /** What tenants may store. */
    bounds,
    vault,
    store,
    sealer,
    signIn,
    codeFile,
    events,
    printed,
    logged,
    clock,
    /** Everything that the database wrote, as text. */
    stored: async (): Promise<string> => {
      const names = (await readdir(folder)).filter((name) => name.startsWith('deputy.db'))
      const parts = await Promise.all(names.map((name) => readFile(join(folder, name), 'latin1')))
      return parts.join('')
    },
    advance: (ms: number): void => void (ahead += ms),
    redirectUri: (name: string) => `${publicUrl}/callback/${name}`,
    close: async (): Promise<void> => {
      server.closeAllConnections()
      server.close()
      await Promise.all([idp.close(), provider.close()])
      await store.close()
      await rm(folder, { recursive: true })
    },
  }
}
