// Wrong configurations, each one change to a good one, and what `deputy validate` says.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { validate } from '../../proxy/commands/validate/command.ts'
import { load } from '../../proxy/config/load.ts'
import { NOT_REGISTERED } from '../../proxy/config/rules.ts'
import { makeCertificate, opensslMissing } from '../support/certificate.ts'
import { prepareFolder, startChild, TABLES, type Fields } from '../support/deputy.ts'
import { startServer } from '../support/postgres.ts'

type World = {
  readonly dir: string
  /** A port that another program has, and one that nobody answers at. */
  readonly taken: number
  readonly silent: number
  /** URL of a database that can be used. */
  readonly postgres: string
}
type Part =
  | 'listeners'
  | 'identity'
  | 'connect'
  | 'vault'
  | 'audit'
  | 'connections'
  | 'policy'
  | 'operators'
  | 'network'
type Tree = Record<Exclude<Part, 'operators'>, Record<string, unknown>> & {
  operators: unknown
  hooks: unknown
}
type Row = readonly [
  what: string,
  change: (config: Tree, world: World) => unknown,
  says: (world: World) => string,
  /** 78, or 0 where the rest is served. */
  code?: 0 | 78,
]

const file = (world: World, name: string, text: string): void =>
  writeFileSync(join(world.dir, name), text, { mode: 0o600 })
const people = (world: World, row: Fields): void =>
  file(
    world,
    'people.yaml',
    JSON.stringify({ people: [{ id: 'alice', groups: ['staff'], ...row }] }),
  )
const tables = (world: World, name: string, table: Fields): void =>
  file(world, `tables/${name}.json`, JSON.stringify(table))
const openssl = (args: readonly string[]): unknown =>
  execFileSync('/usr/bin/openssl', args, { stdio: 'ignore' })
const tls = (config: Tree, world: World, cert = 'tls.crt', key = 'tls.key'): void => {
  makeCertificate(world.dir)
  config['listeners']['agent_tls'] = { listen: '127.0.0.1:0', cert, key }
}
const DAY_MS = 86_400_000
const later = (ms: number): unknown => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })
const asserted = (config: Tree, issuer: Fields): void => {
  config['identity'] = { trust: 'asserted', issuers: [{ audience: 'deputy', ...issuer }] }
  config['connect'] = {
    verifier: { url: 'https://app.example.com/confirm', key: 'v'.repeat(32) },
  }
}
const database = (change: (url: URL) => void) => (config: Tree, world: World) => {
  const url = new URL(world.postgres)
  change(url)
  config['vault']['store'] = url.href
}
const at =
  (name: string) =>
  ({ dir }: World): string =>
    join(dir, name)

const ADDRESSES: readonly Row[] = [
  [
    'a forward proxy without its authority',
    (c) => Object.assign(c, { forward: { listen: '127.0.0.1:0', ca: './ca' } }),
    (w) => `forward.ca: ${at('ca/ca.crt')(w)} does not exist: run \`deputy ca\``,
  ],
  [
    'a port that another program has',
    (c, w) => (c['listeners']['agent'] = `127.0.0.1:${w.taken}`),
    (w) => `listeners.agent: 127.0.0.1:${w.taken} is in use: stop the program that listens there`,
  ],
  [
    'one port for two listeners',
    (c, w) => {
      c['listeners']['admin'] = `127.0.0.1:${w.silent}`
      c['listeners']['connect'] = `localhost:${w.silent}`
    },
    (w) => `listeners.connect: localhost:${w.silent} is taken by listeners.admin already`,
  ],
  [
    'one port for an address and for all of them',
    (c, w) => {
      c['listeners']['admin'] = `0.0.0.0:${w.silent}`
      c['listeners']['connect'] = `127.0.0.1:${w.silent}`
    },
    (w) => `listeners.connect: 127.0.0.1:${w.silent} is taken by listeners.admin already`,
  ],
  [
    'an address of another machine',
    (c) => (c['listeners']['admin'] = '192.0.2.1:0'),
    () => 'listeners.admin: 192.0.2.1:0 is no address of this machine',
  ],
  [
    'an address without a port',
    (c) => (c['listeners']['agent'] = '127.0.0.1'),
    () => 'listeners.agent: is no address: write host:port',
  ],
  [
    'pages at another port than people are sent to',
    (c, w) => {
      c['listeners']['connect'] = `127.0.0.1:${w.silent}`
      c['connect']['url'] = 'http://localhost:1'
    },
    (w) =>
      `connect.url: people and providers are sent to http://localhost:1, but the pages listen on port ${w.silent}`,
    0,
  ],
  [
    'pages under plain http on another machine',
    (c) => (c['connect']['url'] = 'http://deputy.example.com'),
    () => 'connect.url: http://deputy.example.com is plain http to another machine: use https',
  ],
  [
    'an open port while anybody may name any user',
    (c) => (c['listeners']['agent'] = '0.0.0.0:0'),
    () => 'listeners.agent: identity.trust is plain, so anybody who reaches this address',
  ],
]
const hook = (more: Readonly<Record<string, unknown>>) => ({
  name: 'dlp',
  when: 'before',
  url: 'https://dlp.example/deputy',
  key: 'key-of-the-hook-0123456789',
  ...more,
})
const HOOKS: readonly Row[] = [
  [
    'a hook for an operation that there is not',
    (c) => (c['hooks'] = [hook({ operations: ['no.such.*'] })]),
    () => 'hooks.0.operations: no connection has no.such.*, so dlp is never asked about it',
  ],
  [
    'a hook that is waited for too long',
    (c) => (c['hooks'] = [hook({ timeout: '11s' })]),
    () => 'hooks.0.timeout: must be 10s at most',
  ],
  [
    'two hooks of one name',
    (c) => (c['hooks'] = [hook({}), hook({ when: 'after' })]),
    () => 'hooks.1.name: two hooks are called dlp',
  ],
  [
    'a hook under plain http on another machine',
    (c) => (c['hooks'] = [hook({ url: 'http://dlp.example/deputy' })]),
    () => 'hooks.0: http://dlp.example/deputy is plain http to another machine: use https',
  ],
]
const CERTIFICATES: readonly Row[] = [
  [
    'a certificate that is absent',
    (c, w) => tls(c, w, 'none.crt'),
    (w) => `listeners.agent_tls.cert: ${at('none.crt')(w)} does not exist: create it`,
  ],
  [
    'a key that is absent',
    (c, w) => tls(c, w, 'tls.crt', 'none.key'),
    (w) => `listeners.agent_tls.key: ${at('none.key')(w)} does not exist: create it`,
  ],
  [
    'a certificate that is none',
    (c, w) => {
      tls(c, w)
      file(w, 'tls.crt', 'hello')
    },
    (w) => `listeners.agent_tls.cert: ${at('tls.crt')(w)} is no certificate`,
  ],
  [
    'a key that is none',
    (c, w) => {
      tls(c, w)
      file(w, 'tls.key', 'hello')
    },
    (w) => `listeners.agent_tls.key: ${at('tls.key')(w)} is no private key`,
  ],
  [
    'the key of another certificate',
    (c, w) => {
      tls(c, w)
      openssl(['genpkey', '-algorithm', 'ED25519', '-out', join(w.dir, 'tls.key')])
    },
    (w) => `listeners.agent_tls.key: ${at('tls.key')(w)} is not the key of ${at('tls.crt')(w)}`,
  ],
  [
    'a certificate that has expired',
    (c, w) => {
      tls(c, w)
      later(30 * DAY_MS)
    },
    (w) => `listeners.agent_tls.cert: ${at('tls.crt')(w)} expired on `,
  ],
  [
    'a certificate for later',
    (c, w) => {
      tls(c, w)
      later(-30 * DAY_MS)
    },
    (w) => `listeners.agent_tls.cert: ${at('tls.crt')(w)} is not valid before `,
  ],
]
const STORES: readonly Row[] = [
  [
    'a database that nobody answers for',
    database((url) => (url.port = '1')),
    () => 'vault.store: PostgreSQL 127.0.0.1:1/postgres cannot be reached (ECONNREFUSED)',
  ],
  [
    'a password that is wrong',
    database((url) => (url.password = 'wrong')),
    () => 'refuses this user or password. Check both in the URL.',
  ],
  [
    'a database that does not exist',
    database((url) => (url.pathname = '/none')),
    () => '/none does not exist. Create the database.',
  ],
  [
    'a store that is none',
    (c) => (c['vault']['store'] = 'mysql://x'),
    () => 'vault.store: is no store: write sqlite:PATH, or postgres://',
  ],
  [
    'a folder for the vault that is absent',
    (c) => (c['vault']['store'] = 'sqlite:none/deputy.db'),
    (w) => `vault.store: the folder ${at('none')(w)} does not exist: create it`,
  ],
  [
    'a folder for the evidence that is absent',
    (c) => (c['audit'] = { sink: ['file:gone/audit.jsonl'] }),
    (w) => `audit.sink: the folder ${at('gone')(w)} does not exist: create it`,
  ],
  [
    'keys that are absent',
    (c) => (c['vault']['keys'] = 'none.json'),
    (w) => `vault.keys: ${at('none.json')(w)} does not exist: create it, or name another`,
  ],
  [
    'keys that everybody can read',
    (_, w) => chmodSync(join(w.dir, 'keys.json'), 0o644),
    (w) => `vault.keys: ${at('keys.json')(w)} can be read by everybody (mode 644): chmod 600 it`,
  ],
  [
    'keys that are a folder',
    (c, w) => {
      mkdirSync(join(w.dir, 'ring'), { mode: 0o700 })
      c['vault']['keys'] = 'ring'
    },
    (w) => `vault.keys: ${at('ring')(w)}: is no file: a folder is there`,
  ],
]
const PEOPLE: readonly Row[] = [
  [
    'an issuer that nobody answers for',
    (c, w) => asserted(c, { issuer: `http://127.0.0.1:${w.silent}` }),
    (w) => `identity.issuers.0: nobody whom http://127.0.0.1:${w.silent} names is believed until`,
    0,
  ],
  [
    'a sign-in that nobody answers for',
    (c, w) =>
      (c['connect']['sign_in'] = {
        issuer: `http://127.0.0.1:${w.silent}`,
        client_id: 'deputy',
        realm: 'local',
      }),
    (w) =>
      `connect.sign_in: nobody can sign in until http://127.0.0.1:${w.silent} answers: it cannot be reached (ECONNREFUSED)`,
    0,
  ],
  [
    'a sign-in of another realm than tags',
    (c, w) =>
      (c['connect']['sign_in'] = {
        issuer: `http://127.0.0.1:${w.silent}`,
        client_id: 'd',
      }),
    (w) =>
      `connect.sign_in.realm: people who sign in are of the realm "http://127.0.0.1:${w.silent}", and tags name only "local"`,
  ],
  [
    'a person of a realm that no issuer has',
    (_, w) => people(w, { realm: 'elsewhere' }),
    () =>
      'entitlements.file: "alice" is of the realm "elsewhere", which no issuer has: one of "local"',
  ],
  [
    'a person of a tenant that no issuer has',
    (_, w) => people(w, { tenant: 'acme' }),
    () => 'entitlements.file: "alice" is of the tenant "acme", which no issuer has',
  ],
  [
    'an operator of a tenant that no issuer has',
    (c) =>
      (c['operators'] = [
        { name: 'ops', bearer: 'b'.repeat(32), may: ['runs'], tenants: ['acme'] },
      ]),
    () => 'operators.0.tenants: no issuer has the tenant "acme": one of "default"',
  ],
  [
    'a group without a role',
    (_, w) => people(w, { groups: ['stafff'] }),
    () => 'entitlements.file: no role belongs to the group "stafff", so it allows nothing',
    0,
  ],
  [
    'a role without a group',
    (_, w) => tables(w, 'role_grants', { acme: { user: ['use'], boss: ['use'] } }),
    () => 'policy.data: no group and nobody has the role "boss", so its grants are never used',
    0,
  ],
  [
    'a role without grants',
    (_, w) => tables(w, 'group_roles', { staff: ['user', 'usr'] }),
    () => 'policy.data: the role "usr" has no grants, so it allows nothing',
    0,
  ],
  [
    'people who are absent',
    (_, w) => rmSync(join(w.dir, 'people.yaml')),
    (w) => `entitlements.file: ${at('people.yaml')(w)} does not exist: create it`,
  ],
]
const PROVIDERS: readonly Row[] = [
  [
    'rows of a provider that nobody defined',
    (c, w) => {
      mkdirSync(join(w.dir, 'tables'), { recursive: true })
      tables(w, 'role_grants', {})
      tables(w, 'grants', { githb: { read: { roles: ['reader'], operations: ['*'] } } })
      c['policy']['data'] = './tables'
    },
    () =>
      'policy.data: the table grants has rows of "githb", and no provider is called so: is github meant?',
    0,
  ],
  [
    'a table that is wrong',
    (c, w) => {
      mkdirSync(join(w.dir, 'tables'), { recursive: true })
      tables(w, 'group_roles', { staff: 'reader' })
      c['policy']['data'] = './tables'
    },
    () => 'policy.data: the policy tables cannot be used:',
  ],
  [
    'a scope that no operation needs',
    (c, w) => (c['connections'] = github(w, ['repo', 'gist', 'read:nothing'])),
    () => 'connections.github.scopes: no operation of GitHub needs "read:nothing": remove it',
    0,
  ],
  [
    'operations whose scopes may not be asked for',
    (c, w) => (c['connections'] = github(w, ['gist'])),
    () => 'operations need a scope that is not listed and are always refused, such as',
    0,
  ],
  [
    'a provider at a private address',
    (c) => (c['network'] = {}),
    () =>
      'is private or local, and deputy will not go there: add { host: 127.0.0.1, net: 127.0.0.1/32 }',
    0,
  ],
  [
    'a provider that nobody defined',
    (c) => (c['connections']['acme'] = { provider: 'acmee', client_id: 'x' }),
    () => 'connections.acme.provider: "acmee" is not known: one of',
  ],
]
const WRITING: readonly Row[] = [
  [
    'a policy that is absent',
    (c) => (c['policy'] = { bundle: 'none.tar.gz' }),
    (w) => `policy.bundle: ${at('none.tar.gz')(w)} does not exist: create it`,
  ],
  [
    'a key with a slip of the pen',
    (c) => (c['vault']['stor'] = 'x'),
    () => 'line 1: vault.stor: is no key that deputy knows: is store meant?',
  ],
  [
    'a key of another section',
    (c) => (c['vault']['allow_private'] = []),
    () => 'vault.allow_private: is no key that deputy knows: it belongs under network',
  ],
  [
    'a port where an address is wanted',
    (c) => (c['listeners']['agent'] = 7410),
    () =>
      'listeners.agent: must be a text: put it in quotes; a duration or a size needs its unit, such as 10s, and an address its host',
  ],
  [
    'a folder in the place of the database',
    (c, w) => {
      mkdirSync(join(w.dir, 'db'))
      c['vault']['store'] = 'sqlite:db'
    },
    (w) => `vault.store: ${at('db')(w)} is a folder: name a file`,
  ],
  [
    'a URL of SQLite, which would be a file in the root folder',
    (c) => (c['vault']['store'] = 'sqlite://deputy.db'),
    () => 'vault.store: is no store: write sqlite:PATH',
  ],
  [
    'a state that is a file',
    (c) => Object.assign(c, { state: './people.yaml' }),
    (w) => `vault.store: ${at('people.yaml')(w)} is no folder, and deputy keeps the vault there`,
  ],
  [
    'a client that was never registered',
    (c, w) => (c['connections'] = github(w, ['gist'], NOT_REGISTERED)),
    () =>
      'connections.github.client_id: is what deputy init wrote, so nobody can connect: register',
    0,
  ],
  [
    'a variable as a shell writes it',
    (c, w) => (c['connections'] = github(w, ['gist'], '$CLIENT_ID')),
    () =>
      'connections.github.client_id: $CLIENT_ID is taken as it is: to read a variable, write ${env:CLIENT_ID}',
    0,
  ],
  [
    'a secret whose file is absent',
    (c) => (c['connections']['acme'] = { provider: 'acme', client_secret: '${file:none.txt}' }),
    (w) => `connections.acme.client_secret: ${at('none.txt')(w)} does not exist: create it`,
  ],
]
const github = (world: World, scopes: readonly string[], id = 'id'): Fields => ({
  github: {
    provider: 'github',
    client_id: id,
    client_secret: 'secret',
    scopes,
    hosts: { 'api.github.com': `http://127.0.0.1:${world.silent}` },
  },
})
const ROWS = [
  ...ADDRESSES,
  ...HOOKS,
  ...CERTIFICATES,
  ...STORES,
  ...PEOPLE,
  ...PROVIDERS,
  ...WRITING,
]

const dirs: string[] = []
const ends: (() => Promise<void>)[] = []
let other: Server
let ports: { taken: number; silent: number }
let postgres: string
const listening = async (): Promise<Server> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
beforeAll(async () => {
  other = await listening()
  const gone = await listening()
  ports = {
    taken: (other.address() as AddressInfo).port,
    silent: (gone.address() as AddressInfo).port,
  }
  await new Promise((resolve) => gone.close(resolve))
  postgres = (await startServer((stop) => void ends.push(stop))).url
})
afterEach(() => vi.useRealTimers())
afterEach(() => dirs.splice(0).forEach((dir) => rmSync(dir, { recursive: true, force: true })))
afterAll(async () => {
  other.close()
  for (const end of ends) await end()
})

const world = async (): Promise<World> => {
  const dir = await prepareFolder({ upstream: `http://127.0.0.1:${ports.silent}` })
  dirs.push(dir)
  return { dir, ...ports, postgres }
}
const validated = async (dir: string, offline = false) => {
  const lines: string[] = []
  const print = (line: string): void => void lines.push(line)
  const result = await load(join(dir, 'deputy.yaml'), {})
  const from = 'loaded' in result ? result.loaded : result.rest
  const problems = 'loaded' in result ? [] : result.problems
  if (from === null) return { code: 78, said: problems.join('\n') }
  const code = await validate({ loaded: from, problems, offline, print, complain: print })
  return { code, said: lines.join('\n') }
}
const changed = async (change: Row[1]): Promise<World> => {
  const made = await world()
  const path = join(made.dir, 'deputy.yaml')
  const config = JSON.parse(readFileSync(path, 'utf8')) as Tree
  change(config, made)
  writeFileSync(path, JSON.stringify(config))
  return made
}

test('the configuration that all of them change is fine, and so it is on PostgreSQL', async () => {
  for (const change of [() => {}, database(() => {})]) {
    const { dir } = await changed(change)
    const { code, said } = await validated(dir)
    expect(said).toMatch(/deputy\.yaml: fine; policy /)
    expect(said).not.toContain('note:')
    expect(code).toBe(0)
  }
  expect(Object.keys(TABLES)).toContain('group_roles')
})

test('without entitlements it says that nobody is allowed anything by groups or roles', async () => {
  const { dir } = await changed((config) => void Reflect.deleteProperty(config, 'entitlements'))
  const { code, said } = await validated(dir)
  expect(said).toContain('note: entitlements: none are configured')
  expect(code).toBe(0)
})

test(`they are fifty-five${opensslMissing()}`, () => {
  expect(ROWS.length).toBe(55)
  expect(new Set(ROWS.map(([what]) => what)).size).toBe(55)
})

const NAMED = ROWS.map(([what, change, says, code = 78]) => ({ what, change, says, code }))
test.each(NAMED)('$what', async ({ change, says, code }) => {
  const made = await changed(change)
  const { code: ended, said } = await validated(made.dir)
  expect(said).toContain(says(made))
  expect(ended).toBe(code)
  // No word of the system's own, nor of the parser's.
  expect(said).not.toMatch(/ENOENT|EISDIR|error:[0-9A-F]{8}/)
})

describe('deputy validate', () => {
  test('tells all of them at once, also where the configuration cannot be read whole', async () => {
    const made = await changed((c, w) => {
      c['listeners']['agent'] = `127.0.0.1:${w.taken}`
      c['vault']['stor'] = 'x'
      c['vault']['keys'] = 'none.json'
      c['audit'] = { sink: ['file:gone/audit.jsonl'] }
    })
    const { code, said } = await validated(made.dir)
    for (const part of ['vault.stor', 'is in use', 'none.json does not exist', '/gone does not'])
      expect(said).toContain(part)
    expect(said).toMatch(/: 4 problems\n/)
    expect(code).toBe(78)
  })

  test('says nothing of groups whose roles a policy that cannot be read would name', async () => {
    const made = await changed((c) => (c['policy'] = { bundle: 'none.tar.gz' }))
    expect((await validated(made.dir)).said).not.toContain('no role belongs to the group')
  })

  test('--offline asks nobody', async () => {
    const made = await changed(database((url) => (url.port = '1')))
    expect(await validated(made.dir, true)).toMatchObject({ code: 0 })
    expect((await validated(made.dir)).code).toBe(78)
  })

  test('takes the ports of the deputy that runs here for its own', async () => {
    const made = await changed((c, w) => (c['listeners']['admin'] = `127.0.0.1:${w.silent}`))
    const deputy = await startChild({ upstream: '' }, made.dir)
    try {
      const { code, said } = await validated(made.dir, true)
      expect(said).toContain('is in use, as it seems by the deputy that runs here')
      expect(code).toBe(0)
    } finally {
      await deputy.close()
    }
  })

  test.each([
    ['version: 1\n\tstate: x\n', ':2: the line is indented with a tab'],
    ['version: 1\nversion: 1\n', ':2: the key version stands here twice: keep one'],
    ['a: b: c\n', ':1: two "key: value" stand on one line'],
    ['a: "b\n', 'something is missing here: a closing quote'],
    ['a: [b\n', 'or a bracket above it is not closed'],
    ['a: @b\n', 'a value may not begin with @'],
    ['a: *b\n', 'name behind * is not known'],
    ['hello\n', 'must hold keys and values'],
    ['version: 1\n---\nversion: 1\n', ':2: a second document begins here'],
  ])('says in plain words what is wrong with %j', async (text, says) => {
    const { dir } = await world()
    writeFileSync(join(dir, 'deputy.yaml'), text)
    expect((await validated(dir)).said).toContain(says)
  })
})
