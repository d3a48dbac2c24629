// A home for a deputy of the bench: configuration, keys, people, tables, and a vault with credentials in it.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { secret } from '../../proxy/secret.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { root } from './processes.ts'
import { tokenOf } from './upstream.ts'

export type Plan = {
  readonly trust: 'plain' | 'asserted'
  /** Rows in the file of entitlements. */
  readonly people: number
  /** Credentials, each with its grant, in the vault. */
  readonly held: number
  /** null: the GitHub catalogue and the starter policy's own tables; else a provider with so many operations. */
  readonly operations: number | null
}
type Home = { readonly config: string; readonly requests: readonly string[] }

/** People who call; the rest of the rows stands beside them. */
export const CALLERS = Array.from({ length: 10 }, (_, i) => `person-${i}`)
export const AGENT = 'agent:bench'
const ISSUER = 'https://idp.example.com'
const REALM = 'corp'

/** One call as an SDK sends it. `head` begins with the path's own prefix. */
const call = (prefix: string, person: string, authorization: string, more: string): string =>
  [
    `GET ${prefix}/repos/${person}/app/issues?state=open&per_page=30 HTTP/1.1`,
    'Host: 127.0.0.1:7410',
    'Accept: application/vnd.github+json',
    'User-Agent: octokit-rest.js/22.0.1 octokit-core.js/7.0.5',
    'X-GitHub-Api-Version: 2022-11-28',
    `Authorization: Bearer ${authorization}`,
    `${more}Connection: keep-alive`,
    '\r\n',
  ].join('\r\n')

/** What a deputy is sent that takes the person's plain name: the model's own idea of a credential is taken out. */
export const namedCalls = (people: readonly string[]): readonly string[] =>
  people.map((person) =>
    call('/api.github.com', person, tokenOf('forged'), `Deputy-User: ${person}\r\n`),
  )

/** What a plain proxy is sent: it forwards the token that the caller holds. */
export const plainCalls = (): readonly string[] =>
  CALLERS.map((person) => call('', person, tokenOf(person), ''))

/** What a proxy that decides for itself is sent: the tag, and a credential that it has to replace. */
export const taggedCalls = (): readonly string[] =>
  CALLERS.map((person) => call('', person, tokenOf('forged'), `Deputy-User: ${person}\r\n`))

const BENCH = 'bench'
/** A provider of our own: the row that is called, and others beside it. */
const ownProvider = (operations: number, origin: string): object => ({
  id: BENCH,
  authorize: `${origin}/authorize`,
  token: `${origin}/token`,
  hosts: { 'api.github.com': origin },
  operations: Array.from({ length: operations }, (_, i) => ({
    id: i === 0 ? 'issues.listForRepo' : `group${i % 97}.operation${i}`,
    method: 'GET',
    path: i === 0 ? '/repos/{owner}/{repo}/issues' : `/v${i % 13}/group${i % 97}/{id}/action${i}`,
    access: 'read',
    scopes: [['repo']],
  })),
})
/** The starter policy's rows under that provider's name. */
const TABLES = {
  role_grants: { [BENCH]: { developer: ['read'] } },
  grants: {
    [BENCH]: {
      read: { kinds: ['rest'], operations: ['*'], max_entitlement_age_s: 300 },
    },
  },
  providers: { [BENCH]: { hosts: ['api.github.com'], assets: [], inspect_body: [] } },
}

const fillVault = async (folder: string, plan: Plan, ring: string, provider: string) => {
  const file = join(folder, 'deputy.db')
  const store = await openSqlite(file)
  const clock = { now: () => Date.now(), mono: () => performance.now() }
  const sealer = createSealer(parseKeyRing(ring))
  const vault = createVault({ store, sealer, clock, randomId: randomUUID })
  for (const person of CALLERS)
    await vault.connect({
      person: { tenant: 'default', realm: REALM, id: person },
      agent: AGENT,
      connection: provider,
      provider,
      account: { id: person, label: `${person}-account` },
      tokens: {
        access: secret(tokenOf(person)),
        refresh: null,
        scopes: null,
        expiresIn: null,
        clientId: 'bench',
      },
      scopes: ['repo', 'read:org'],
    })
  await store.close()
  if (plan.held <= CALLERS.length) return
  // The rest is copied, not sealed one by one: nobody opens it.
  const db = new DatabaseSync(file)
  for (const table of ['credentials', 'grants']) {
    const names = db.prepare(`SELECT name FROM pragma_table_info('${table}')`).all()
    const columns = names.map(({ name }) => String(name))
    const copied = columns.map((name) =>
      name === 'id' || name === 'user_id' ? `'filler-' || i` : name,
    )
    db.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO ${table} (${columns.join()}) SELECT ${copied.join()} FROM ${table}, n WHERE user_id = ?`,
    ).run(plan.held - CALLERS.length, CALLERS[0] ?? '')
  }
  db.close()
}

/** Writes a home into `folder`, and the calls that fit it. `origin` is where the provider listens. */
export const seed = async (folder: string, plan: Plan, origin: string): Promise<Home> => {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value), {
      mode: 0o600,
    })
  const ring = newKeyRing(Date.now(), randomBytes)
  const own = plan.operations !== null
  const connection = own ? BENCH : 'github'
  write('keys.json', ring)
  const others = Array.from({ length: plan.people - CALLERS.length }, (_, i) => `filler-${i}`)
  const people = [...CALLERS, ...others].map((id) => ({ id, groups: ['engineering'] }))
  // Text is YAML as well; one person a line.
  write('people.yaml', `people:\n${people.map((row) => `- ${JSON.stringify(row)}`).join('\n')}\n`)
  await fillVault(folder, plan, ring, connection)

  const keys = await generateKeyPair('ES256')
  write('jwks.json', { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k', alg: 'ES256' }] })
  const assertion = (person: string): Promise<string> =>
    new SignJWT({ act: { sub: AGENT } })
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer(ISSUER)
      .setSubject(person)
      .setAudience('deputy')
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(keys.privateKey)
  if (own) {
    mkdirSync(join(folder, 'tables'))
    for (const [name, table] of Object.entries(TABLES)) write(`tables/${name}.json`, table)
  }
  write('deputy.yaml', {
    version: 1,
    listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: '127.0.0.1:0' },
    identity:
      plan.trust === 'plain'
        ? { trust: 'plain', agent: AGENT, realm: REALM }
        : {
            trust: 'asserted',
            issuers: [{ issuer: ISSUER, jwks: './jwks.json', realm: REALM, audience: 'deputy' }],
          },
    entitlements: { source: 'file', file: './people.yaml' },
    policy: {
      bundle: join(root, 'policies/bundle.tar.gz'),
      ...(own ? { data: './tables' } : {}),
    },
    providers: plan.operations === null ? [] : [ownProvider(plan.operations, origin)],
    connections: {
      [connection]: {
        provider: connection,
        client_id: 'bench',
        client_secret: 'bench-client-secret',
        scopes: ['repo', 'read:org'],
        ...(own ? {} : { hosts: { 'api.github.com': origin } }),
      },
    },
    vault: { store: 'sqlite:deputy.db', keys: './keys.json' },
    connect: {
      sign_in:
        plan.trust === 'plain' ? 'local' : { issuer: ISSUER, client_id: 'pages', realm: REALM },
    },
    audit: { sink: ['file:audit.jsonl'] },
    network: { allow_private: [{ net: '127.0.0.0/8' }] },
    telemetry: { log_level: 'warn' },
  })
  const requests = await Promise.all(
    CALLERS.map(async (person) =>
      call(
        '/api.github.com',
        person,
        // The model's own idea of a credential: deputy takes it out, the upstream would complain of it.
        tokenOf('forged'),
        `Deputy-User: ${plan.trust === 'plain' ? person : await assertion(person)}\r\n`,
      ),
    ),
  )
  return { config: join(folder, 'deputy.yaml'), requests }
}
