// What the table of SDKs is measured against: a whole deputy whose people are named by signed tags, and vendors that know each
// caller by their token alone: Backlot's, and for the rest a stand-in that answers nobody it does not know.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCa } from '../../proxy/commands/ca.ts'
import { readProviderFiles } from '../../proxy/commands/providers.ts'
import { compileProviders } from '../../proxy/providers/parse.ts'
import { startBacklot } from '../support/backlot.ts'
import { BUNDLE, CLIENT_SECRET, loadFolder, prepareFolder, startDeputy } from '../support/deputy.ts'
import type { Deputy, EvidenceLine, Fields, Setup } from '../support/deputy.ts'
import { startIssuer } from '../support/issuer.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Seen, Upstream } from '../support/upstream.ts'
import { relayed } from '../support/vendor.ts'
import { answer } from './vendors.ts'

/** dave has connected nothing, of erin nobody knows anything at first, and each of `slow-0`… may call once in two seconds. */
const SLOW = Array.from({ length: 32 }, (_, n) => `slow-${n}`)
const HOLD = ['alice', 'bob', 'erin', ...SLOW]
const PEOPLE = [...HOLD, 'dave']

const HOSTS: Readonly<Record<string, readonly string[]>> = {
  github: ['api.github.com', 'uploads.github.com'],
  google: ['gmail.googleapis.com', 'www.googleapis.com'],
  microsoft: ['graph.microsoft.com'],
  slack: ['slack.com', 'files.slack.com'],
  hubspot: ['api.hubapi.com'],
  salesforce: ['acme.my.salesforce.com'],
  linear: ['api.linear.app'],
  openai: ['api.openai.com'],
  anthropic: ['api.anthropic.com'],
  stripe: ['api.stripe.com', 'files.stripe.com'],
  notion: ['api.notion.com'],
}
const NAMES = Object.keys(HOSTS)

/** Where Backlot keeps what a vendor says about the caller: path, host, Backlot's own root for that vendor. */
const ASKED: readonly (readonly [RegExp, string, string])[] = [
  [/^\/api\/auth\.test$/, 'slack.com', '/slack'],
  [/^\/gmail\/v1\/users\/me\/profile/, 'www.googleapis.com', ''],
  [/^\/v1\.0\/me$/, 'graph.microsoft.com', '/msgraph'],
  [/^\/v1\/users\/me$/, 'api.notion.com', '/notion'],
]
const TRUST = [
  'SSL_CERT_FILE',
  'REQUESTS_CA_BUNDLE',
  'HTTPLIB2_CA_CERTS',
  'NODE_EXTRA_CA_CERTS',
  'CURL_CA_BUNDLE',
  'GIT_SSL_CAINFO',
]
/** Who the two are in Backlot's company. */
const COMPANY: Readonly<Record<string, string>> = { alice: 'ava.chen', bob: 'bob.iyer' }

const definitions = compileProviders(
  readProviderFiles(join(import.meta.dirname, '../../providers')),
)
/** All that any operation of this definition may want. */
const scopesOf = (name: string): readonly string[] => {
  const rows = definitions.providers.get(name)?.operations
  return [...new Set((rows ?? []).flatMap(({ scopes }) => scopes.flat()))].toSorted()
}

const tables = (): Readonly<Record<string, Fields>> => {
  const row = (obligations: Fields): Fields => ({
    kinds: ['rest', 'graphql', 'asset'],
    access: ['read', 'write', 'delete', 'admin'],
    operations: ['*'],
    max_entitlement_age_s: 0,
    obligations,
  })
  const each = (value: (name: string) => unknown): Fields =>
    Object.fromEntries(NAMES.map((name) => [name, value(name)]))
  const calls = { type: 'rate_limit', properties: { key: ['person'], limit: 1, window_s: 2 } }
  const guard = { approve: true, merge: true, force_push: true, access: true, share: true }
  return {
    group_roles: { all: ['all'], slow: ['slow'] },
    role_grants: each(() => ({ all: ['all'], slow: ['slow'] })),
    grants: each(() => ({ all: row({}), slow: row({ calls }) })),
    providers: each((name) => ({ hosts: HOSTS[name], assets: [], inspect_body: [] })),
    guards: each(() => guard),
  }
}

export type World = {
  readonly deputy: Deputy
  readonly upstream: Upstream
  /** What HTTPS_PROXY and one certificate need, for programs that trust by any of these names. */
  readonly env: Readonly<Record<string, string>>
  /** The person's tag, for the slot where the SDK wants its key. */
  readonly tag: (person: string) => string
  /** What happened since the last time this was asked, to whom. */
  readonly since: () => Since
  /** From now on it is known what erin is entitled to, or nobody can say. */
  readonly erinKnown: (known: boolean) => void
  readonly close: () => Promise<void>
}
export type Since = {
  /** As they came to the vendor. */
  readonly seen: readonly Seen[]
  readonly evidence: readonly EvidenceLine[]
}

/** Starts everything on loopback. */
export const startWorld = async (): Promise<World> => {
  const [upstream, issuer, backlot] = await Promise.all([
    startUpstream(),
    startIssuer(),
    startBacklot(),
  ])
  const tokenOf = (person: string): string => {
    const real = COMPANY[person]
    return real === undefined ? `at-of-${person}-0123456789abcdef` : backlot.token(real)
  }
  for (const person of HOLD) upstream.people.set(tokenOf(person), person)
  upstream.handle = (seen, res) => {
    const path = seen.url.split('?')[0] ?? ''
    const [, host = '', root = ''] = ASKED.find(([asked]) => asked.test(path)) ?? []
    const real = host !== '' && Object.hasOwn(COMPANY, seen.who ?? '')
    return real ? relayed(backlot.origin, host, root)(seen, res) : answer(seen, res)
  }
  let known = false
  const people = createServer((req, res) => {
    const id = decodeURIComponent((req.url ?? '').split('/').at(-1) ?? '')
    if (id === 'erin' && !known) res.writeHead(500).end()
    else if (!PEOPLE.includes(id)) res.writeHead(404).end()
    else
      res
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ id, groups: [SLOW.includes(id) ? 'slow' : 'all'] }))
  })
  await new Promise<void>((done) => void people.listen(0, '127.0.0.1', done))
  const setup: Setup = {
    upstream: upstream.origin,
    tables: tables(),
    held: HOLD.flatMap((id) =>
      NAMES.map((connection) => ({
        person: { tenant: 'default', realm: 'corp', id },
        agent: 'agent-1',
        connection,
        token: tokenOf(id),
        scopes: scopesOf(connection),
        ...(connection === 'salesforce' ? { host: 'acme.my.salesforce.com' } : {}),
      })),
    ),
    config: {
      identity: {
        trust: 'asserted',
        issuers: [{ issuer: issuer.url, audience: 'deputy', realm: 'corp', agent: '/act/sub' }],
      },
      entitlements: {
        source: 'http',
        http: {
          preset: 'none',
          url: `http://127.0.0.1:${(people.address() as AddressInfo).port}/people/{id}`,
          id: '/id',
          groups: '/groups',
          bearer: 'bearer-of-the-directory-0123456789abcdef',
        },
      },
      policy: { bundle: BUNDLE, data: './tables' },
      connections: Object.fromEntries(
        NAMES.map((name) => [
          name,
          {
            provider: name,
            // Where each person pastes a key of their own there is no client.
            ...(definitions.providers.get(name)?.credential === 'api_key'
              ? {}
              : {
                  client_id: 'deputy',
                  client_secret: CLIENT_SECRET,
                  scopes: scopesOf(name),
                }),
            hosts: Object.fromEntries((HOSTS[name] ?? []).map((host) => [host, upstream.origin])),
          },
        ]),
      ),
      connect: { verifier: { url: 'https://app.example/verify', key: 'k'.repeat(32) } },
      forward: { listen: '127.0.0.1:0', ca: './ca' },
    },
  }
  const dir = await prepareFolder(setup)
  const loaded = await loadFolder(dir)
  const quiet = (): void => {}
  await makeCa({ loaded, days: 30, renew: false, now: Date.now(), print: quiet, complain: quiet })
  const deputy = await startDeputy(setup, dir)
  const tags = new Map<string, string>()
  for (const id of PEOPLE) tags.set(id, await issuer.sign({ sub: id }))
  let [calls, bytes] = [0, 0]
  return {
    deputy,
    upstream,
    env: {
      HTTPS_PROXY: deputy.addresses['forward'] ?? '',
      ...Object.fromEntries(TRUST.map((name) => [name, join(dir, 'ca/ca.crt')])),
      NODE_USE_ENV_PROXY: '1',
    },
    tag: (person) => tags.get(person) ?? '',
    since: () => {
      const file = readFileSync(join(dir, 'audit.jsonl'))
      const end = file.lastIndexOf('\n') + 1
      const text = file.toString('utf8', bytes, end)
      bytes = end
      const evidence = text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as EvidenceLine)
      const seen = upstream.seen.slice(calls)
      calls += seen.length
      return { seen, evidence }
    },
    erinKnown: (now) => void (known = now),
    close: async () => {
      await deputy.close()
      await Promise.all([upstream.close(), backlot.close()])
      issuer.close()
      people.closeAllConnections()
      people.close()
    },
  }
}
