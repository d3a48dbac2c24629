// A whole deputy for two tenants in which everything has the same name twice: people, agents, connections. What only
// north has bears a mark, so that it is seen wherever it should not be.
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { DatabaseSync } from 'node:sqlite'
import { createSessions } from '../../proxy/consent/session.ts'
import type { Store } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { openPostgres } from '../../proxy/store/postgres.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { prepareFolder, startDeputy, type Fields } from './deputy.ts'
import { AUDIENCE, startIssuer } from './issuer.ts'
import { QUIET } from './log.ts'
import { freePort } from './ports.ts'
import type { Postgres } from './postgres.ts'
import { startUpstream } from './upstream.ts'

export type Tenant = 'north' | 'south'
export const TENANTS = ['north', 'south'] as const
/** In every name that is north's alone. */
export const MARK = 'boreal'
/** What north's alice lets a workload do while she is away. */
export const STANDING = randomUUID()
export const BEARERS = {
  north: 'canary-operator-of-north-0000000000000000',
  south: 'canary-operator-of-south-0000000000000000',
  all: 'canary-operator-of-all-000000000000000000',
} as const
export const VERIFIER_KEY = 'canary-verifier-key-0000000000000000000'

/** People of both tenants, and one whom only north has. */
const PEOPLE: Readonly<Record<Tenant, readonly string[]>> = {
  north: ['alice', 'bob', `nora-${MARK}`],
  south: ['alice', 'bob'],
}
/** What was granted before the test: as (person, agent, connection). */
const HELD: Readonly<Record<Tenant, readonly (readonly [string, string, string])[]>> = {
  north: [
    ['alice', 'agent-1', 'acme'],
    ['alice', `agent-${MARK}`, 'acme'],
    ['bob', 'agent-1', 'acme'],
    [`nora-${MARK}`, 'agent-1', 'acme'],
    [`nora-${MARK}`, 'agent-1', `retired-${MARK}`],
  ],
  south: [['alice', 'agent-1', 'acme']],
}
export const tokenOf = (tenant: Tenant, user: string): string =>
  `${tenant === 'north' ? `${MARK}-` : ''}token-of-${tenant}-${user}-0123456789`

/** What north asks its people for, by the nonces of the links. */
const ASKED = { approval: `approval-${MARK}`, step_up: `step-up-${MARK}` } as const
const hashOf = (link: string): string => createHash('sha256').update(link).digest('hex')
/** Ids and links of these. */
const asksOf = (ring: string) => {
  const { hmac } = createSealer(parseKeyRing(ring))
  const [approvalLink, stepUpLink] = [hmac('ask', ASKED.approval), hmac('ask', ASKED.step_up)]
  return {
    approval: `ap_${hashOf(approvalLink)}`,
    approvalLink,
    stepUp: `su_${hashOf(stepUpLink)}`,
    stepUpLink,
  }
}

const grant = async (store: Store, ring: string): Promise<void> => {
  const sealer = createSealer(parseKeyRing(ring))
  const clock = { now: Date.now, mono: () => performance.now() }
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  for (const tenant of TENANTS)
    for (const [id, agent, connection] of HELD[tenant])
      await vault.connect({
        person: { tenant, realm: 'corp', id },
        agent,
        connection,
        provider: 'acme',
        account: { id, label: tenant === 'north' ? `${id}-${MARK}` : id },
        tokens: {
          access: secret(tokenOf(tenant, id)),
          refresh: null,
          scopes: ['notes'],
          expiresIn: 3600,
        },
        scopes: ['notes'],
      })
  for (const [kind, nonce] of Object.entries(ASKED))
    await store.asks.insert({
      hash: hashOf(sealer.hmac('ask', nonce)),
      nonce,
      kind: kind as keyof typeof ASKED,
      tenant: 'north',
      realm: 'corp',
      user: 'alice',
      agent: `agent-${MARK}`,
      connection: 'acme',
      question: `question-${nonce}`,
      digest: kind === 'approval' ? `sha256:${'1'.repeat(64)}` : '',
      operations: ['acme.post'],
      needs:
        kind === 'approval'
          ? '[{"name":"lead","part":null,"approvers":["person:alice","group:staff"],"ttlS":900,"self":true}]'
          : '{"acrValues":["mfa"],"maxAgeS":600}',
      sealed: null,
      status: 'pending',
      given: '[]',
      exchange: null,
      epoch: 0,
      createdAt: clock.now(),
      expiresAt: clock.now() + 3_600_000,
      endedAt: null,
      noticeAt: null,
      notices: 0,
    })
  await store.standings.put({
    id: STANDING,
    tenant: 'north',
    realm: 'corp',
    user: 'alice',
    workload: `nightly-${MARK}`,
    agent: `agent-${MARK}`,
    connection: 'acme',
    operations: ['acme.get'],
    createdAt: clock.now(),
    expiresAt: clock.now() + 30 * 86_400_000,
    lastUsedAt: null,
    noticeAt: null,
  })
}

/** The application that delivers links, as far as it listens. */
const startHook = async () => {
  const messages: Fields[] = []
  const server = createServer((req, res) => {
    void text(req).then((body) => {
      messages.push(JSON.parse(body) as Fields)
      res.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/`,
    messages,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const configOf = (at: { issuer: string; hook: string; url: string; port: number }): Fields => ({
  listeners: {
    agent: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    connect: `127.0.0.1:${at.port}`,
  },
  identity: {
    trust: 'asserted',
    issuers: [
      {
        issuer: at.issuer,
        audience: AUDIENCE,
        realm: 'corp',
        tenant: '/tenant',
        tenants: [...TENANTS],
      },
    ],
  },
  connect: {
    url: at.url,
    sign_in: { issuer: at.issuer, client_id: 'pages', tenant: '/tenant', realm: 'corp' },
    verifier: { url: 'http://127.0.0.1:9/verify', key: VERIFIER_KEY },
    notify: { webhook: at.hook, key: 'canary-hook-key-00000000000000000000000' },
    return_to: ['https://app.example'],
  },
  operators: [
    ...TENANTS.map((name) => ({
      name,
      bearer: BEARERS[name],
      may: ['runs', 'connections', 'revoke'],
      tenants: [name],
    })),
    { name: 'all', bearer: BEARERS.all, may: ['runs', 'connections', 'revoke'] },
  ],
})

/** Every row of the store that says whose it is, of one tenant, as text. */
const rowsOf = async (
  tenant: string,
  query: (sql: string) => Promise<readonly Fields[]>,
  columns: string,
): Promise<readonly string[]> => {
  const tables = (await query(columns)).map(({ name }) => String(name)).toSorted()
  const rows = await Promise.all(
    tables.map(async (table) =>
      (await query(`SELECT * FROM ${table} WHERE tenant = '${tenant}'`)).map(
        (row) => `${table} ${JSON.stringify(row)}`,
      ),
    ),
  )
  return rows.flat().toSorted()
}

export type TwoTenants = Awaited<ReturnType<typeof startTwoTenants>>

/** @param options.postgres where the store is; absent: SQLite */
export const startTwoTenants = async (
  options: { readonly config?: Fields; readonly postgres?: Postgres } = {},
) => {
  const [upstream, issuer, hook, port] = await Promise.all([
    startUpstream(),
    startIssuer(),
    startHook(),
    freePort(),
  ])
  const url = `http://127.0.0.1:${port}`
  const at = await options.postgres?.fresh()
  const setup = {
    upstream: upstream.origin,
    people: TENANTS.flatMap((tenant) =>
      PEOPLE[tenant].map((id) => ({
        id,
        tenant,
        realm: 'corp',
        groups: ['staff'],
        roles: ['operator-run'],
      })),
    ),
    config: {
      ...configOf({ issuer: issuer.url, hook: hook.url, url, port }),
      ...(at === undefined ? {} : { vault: { store: at, keys: './keys.json' } }),
      ...options.config,
    },
  }
  const dir = await prepareFolder(setup)
  const ring = readFileSync(join(dir, 'keys.json'), 'utf8')
  const open = () =>
    at === undefined ? openSqlite(join(dir, 'deputy.db')) : openPostgres(at, { log: QUIET })
  const store = await open()
  await grant(store, ring)
  await store.close()
  for (const tenant of TENANTS)
    for (const id of PEOPLE[tenant]) upstream.people.set(tokenOf(tenant, id), `${tenant} ${id}`)
  const deputy = await startDeputy(setup, dir)
  const query = async (sql: string): Promise<readonly Fields[]> => {
    if (at !== undefined) return (await options.postgres?.sql(at, sql)) ?? []
    const db = new DatabaseSync(join(dir, 'deputy.db'), { readOnly: true })
    try {
      return db.prepare(sql).all()
    } finally {
      db.close()
    }
  }
  const columns =
    at === undefined
      ? `SELECT m.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' AND c.name = 'tenant'`
      : `SELECT table_name AS name FROM information_schema.columns WHERE column_name = 'tenant' AND table_schema = current_schema()`
  const sessions = createSessions(
    {
      sealer: createSealer(parseKeyRing(ring)),
      clock: { now: Date.now, mono: () => performance.now() },
      store: { sessions: { end: async () => {}, ended: async () => false, sweep: async () => 0 } },
      randomBytes,
      publicUrl: url,
    },
    issuer.url,
  )
  return {
    /** What north asks its people for. */
    asks: asksOf(ring),
    deputy,
    upstream,
    url,
    messages: hook.messages,
    tag: (tenant: string, user: string, agent = 'agent-1') =>
      issuer.sign({ sub: user, tenant, act: { sub: agent } }),
    /** The cookie of somebody who has signed in. */
    cookie: async (tenant: string, id: string): Promise<string> =>
      (await sessions.begin({ tenant, realm: 'corp', id }, true)).split(';')[0] ?? '',
    /** What the store holds of a tenant. */
    rows: (tenant: Tenant) => rowsOf(tenant, query, columns),
    close: async (): Promise<void> => {
      await deputy.close()
      issuer.close()
      hook.close()
      await upstream.close()
    },
  }
}
