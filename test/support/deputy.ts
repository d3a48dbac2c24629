// A whole deputy in a folder of its own, around a recording provider: in this process, or as a child with the real command.
import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { load } from '../../proxy/config/load.ts'
import type { Loaded } from '../../proxy/config/load.ts'
import type { Person } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { serve } from '../../proxy/serve.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'

export type Fields = { readonly [key: string]: unknown }
export type Held = {
  /** `alice`: default tenant and realm `local`. */
  readonly person: string | Person
  readonly agent?: string
  readonly connection?: string
  readonly token: string
  readonly refresh?: string | null
  readonly scopes?: readonly string[]
  /** Seconds; null: no end known. */
  readonly expiresIn?: number | null
  /** Stored that long ago, ms: a 401 refreshes only what was not stored just now. */
  readonly agedMs?: number
  /** Where each person has a host of their own. */
  readonly host?: string
  /** The client that it was given to; absent: not known. */
  readonly clientId?: string
}
export type Setup = {
  /** Where every host of the providers is reached. */
  readonly upstream: string
  /** Laid over the configuration, a whole top-level key at a time. */
  readonly config?: Fields
  readonly held?: readonly Held[]
  /** Policy tables by name, instead of those below; null: the starter bundle's own. */
  readonly tables?: Readonly<Record<string, Fields>> | null
  readonly people?: readonly Fields[]
}

export const BUNDLE = fileURLToPath(new URL('../../policies/bundle.tar.gz', import.meta.url))
export const AGENT = 'laptop'
export const CLIENT_SECRET = 'client-secret-of-acme-0123456789'

const oauth = (upstream: string): Fields => ({
  authorize: `${upstream}/oauth/authorize`,
  token: `${upstream}/oauth/token`,
  client_auth: 'client_secret_post',
  rotation: 'always',
})
const row = (method: string, path: string, id: string, more: Fields = {}): Fields => ({
  id,
  method,
  path,
  access: method === 'GET' ? 'read' : method === 'DELETE' ? 'delete' : 'write',
  scopes: [[]],
  ...more,
})
const everything = (prefix: string): readonly Fields[] =>
  ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((method) =>
    row(method, '/{rest+}', `${prefix}.${method.toLowerCase()}`, {
      access: method === 'OPTIONS' ? 'read' : method === 'GET' ? 'read' : 'write',
    }),
  )

/** `acme` looks into bodies and rewrites answers; `stream` does neither. */
export const providersAt = (upstream: string): readonly Fields[] => [
  {
    id: 'acme',
    ...oauth(upstream),
    hosts: { 'api.acme.test': upstream, 'up.acme.test': upstream },
    assets: { 'dl.acme.test': upstream },
    strip: { headers: ['X-Acme-Key'], query: ['teamid'], body: ['token', 'client_secret'] },
    rewrite: ['/next', '/items/*/url'],
    secret_segments: ['hooks'],
    operations: [
      row('GET', '/secret/admin', 'acme.admin', { access: 'admin' }),
      row('POST', '/upload/{name}', 'acme.upload', { upload: true }),
      row('POST', '/notes', 'acme.note', { inspect: ['/title'] }),
      ...everything('acme'),
    ],
  },
  {
    id: 'stream',
    ...oauth(upstream),
    hosts: { 'api.stream.test': upstream },
    operations: everything('stream'),
  },
]

const grant = (access: readonly string[]): Fields => ({
  kinds: ['rest', 'asset'],
  access,
  operations: ['*'],
  max_entitlement_age_s: 300,
})
const ALL = ['acme', 'stream', 'github']
const each = (value: unknown): Fields => Object.fromEntries(ALL.map((id) => [id, value]))
/** Group `staff` may read and write, never `admin`; nobody else may do anything. */
export const TABLES: Readonly<Record<string, Fields>> = {
  group_roles: { staff: ['user'] },
  role_grants: each({ user: ['use'] }),
  grants: each({ use: grant(['read', 'write', 'delete']) }),
  providers: {
    acme: { hosts: ['api.acme.test', 'up.acme.test'], assets: ['dl.acme.test'], inspect_body: [] },
    stream: { hosts: ['api.stream.test'], assets: [], inspect_body: [] },
    github: { hosts: ['api.github.com', 'uploads.github.com'], assets: [], inspect_body: [] },
  },
}
export const PEOPLE: readonly Fields[] = ['alice', 'bob'].map((id) => ({ id, groups: ['staff'] }))

const personOf = (person: string | Person): Person =>
  typeof person === 'string' ? { tenant: 'default', realm: 'local', id: person } : person

/** The configuration file as it is written (JSON is YAML). */
const configOf = (setup: Setup): Fields => ({
  version: 1,
  listeners: { agent: '127.0.0.1:0', admin: '127.0.0.1:0', connect: '127.0.0.1:0' },
  identity: { trust: 'plain', agent: AGENT },
  entitlements: { source: 'file', file: './people.yaml' },
  policy: setup.tables === null ? { bundle: BUNDLE } : { bundle: BUNDLE, data: './tables' },
  providers: providersAt(setup.upstream),
  connections: Object.fromEntries(
    ['acme', 'stream'].map((provider) => [
      provider,
      { provider, client_id: 'deputy', client_secret: CLIENT_SECRET, scopes: ['notes'] },
    ]),
  ),
  vault: { store: 'sqlite:deputy.db', keys: './keys.json' },
  connect: { sign_in: 'local' },
  audit: { sink: ['file:audit.jsonl'] },
  network: { allow_private: [{ net: '127.0.0.0/8' }] },
  ...setup.config,
})

/** The provider that each connection of this folder's configuration is at. */
const providersOf = (dir: string): Readonly<Record<string, string | undefined>> => {
  const text = readFileSync(join(dir, 'deputy.yaml'), 'utf8')
  const { connections } = parse(text) as {
    readonly connections: Readonly<Record<string, { readonly provider: string }>>
  }
  return Object.fromEntries(
    Object.entries(connections).map(([name, { provider }]) => [name, provider]),
  )
}
/** Stores credentials as a consent would have. The database must not be in use. */
export const seed = async (dir: string, held: readonly Held[]): Promise<void> => {
  const store = await openSqlite(join(dir, 'deputy.db'))
  const sealer = createSealer(parseKeyRing(readFileSync(join(dir, 'keys.json'), 'utf8')))
  const providers = providersOf(dir)
  for (const one of held) {
    const now = Date.now() - (one.agedMs ?? 0)
    const vault = createVault({
      store,
      sealer,
      clock: { now: () => now, mono: () => performance.now() },
      randomId: randomUUID,
    })
    const connection = one.connection ?? 'acme'
    await vault.connect({
      person: personOf(one.person),
      agent: one.agent ?? AGENT,
      connection,
      provider: providers[connection] ?? connection,
      account: { id: personOf(one.person).id, label: personOf(one.person).id },
      tokens: {
        access: secret(one.token),
        refresh: one.refresh == null ? null : secret(one.refresh),
        scopes: one.scopes ?? ['notes'],
        expiresIn: one.expiresIn === undefined ? 3600 : one.expiresIn,
        ...(one.host === undefined ? {} : { host: one.host }),
        ...(one.clientId === undefined ? {} : { clientId: one.clientId }),
      },
      scopes: one.scopes ?? ['notes'],
    })
  }
  await store.close()
}

/** Writes everything that a deputy needs into a new folder. */
export const prepareFolder = async (setup: Setup): Promise<string> => {
  const dir = mkdtempSync(join(tmpdir(), 'deputy-e2e-'))
  writeFileSync(join(dir, 'keys.json'), newKeyRing(Date.now(), randomBytes), { mode: 0o600 })
  writeFileSync(join(dir, 'people.yaml'), JSON.stringify({ people: setup.people ?? PEOPLE }))
  mkdirSync(join(dir, 'tables'))
  for (const [name, table] of Object.entries(
    setup.tables === undefined ? TABLES : (setup.tables ?? {}),
  ))
    writeFileSync(join(dir, 'tables', `${name}.json`), JSON.stringify(table))
  writeFileSync(join(dir, 'deputy.yaml'), JSON.stringify(configOf(setup)), { mode: 0o600 })
  await seed(dir, setup.held ?? [])
  return dir
}

export type EvidenceLine = { readonly [key: string]: unknown } & { readonly event: string }
const evidenceOf = (dir: string): readonly EvidenceLine[] =>
  readFileSync(join(dir, 'audit.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as EvidenceLine)

export type Deputy = {
  /** Origin of the agent listener: `http://127.0.0.1:PORT`. */
  readonly agent: string
  readonly connect: string
  readonly admin: string
  /** By name: `agent`, `connect`, `admin`, `extra.0`... */
  readonly addresses: Readonly<Record<string, string>>
  readonly dir: string
  /** The lines of the evidence so far. */
  readonly evidence: () => readonly EvidenceLine[]
  /** What was logged (in process), or standard error (child). */
  readonly logged: () => string
  /** Reads the configuration again, as SIGHUP has it. */
  readonly reload: () => Promise<void>
  /** Ends it; the folder stays until `close`. */
  readonly stop: () => Promise<unknown>
  readonly close: () => Promise<void>
}

export const loadFolder = async (dir: string): Promise<Loaded> => {
  const result = await load(join(dir, 'deputy.yaml'), {})
  if ('problems' in result) throw new Error(result.problems.join('\n'))
  return result.loaded
}

const remove = (dir: string): void => rmSync(dir, { recursive: true, force: true })

/** Starts deputy in this process. `dir`: a folder of prepareFolder; it is removed at the end. */
export const startDeputy = async (setup: Setup, dir?: string): Promise<Deputy> => {
  const folder = dir ?? (await prepareFolder(setup))
  const logged: string[] = []
  const write = (fields: object, msg: string): void => {
    const plain = Object.entries(fields).map(([key, value]) => [
      key,
      value instanceof Error ? String(value.stack) : value,
    ])
    logged.push(JSON.stringify([msg, plain]))
  }
  try {
    const serving = await serve(await loadFolder(folder), {
      log: { debug: write, info: write, warn: write, error: write },
      print: (line) => void logged.push(line),
      version: '0.0.0',
      read: () => load(join(folder, 'deputy.yaml'), {}),
    })
    let stopped: Promise<void> | null = null
    const stop = (): Promise<void> => (stopped ??= serving.close())
    return {
      agent: serving.addresses['agent'] ?? '',
      connect: serving.addresses['connect'] ?? '',
      admin: serving.addresses['admin'] ?? '',
      addresses: serving.addresses,
      dir: folder,
      evidence: () => evidenceOf(folder),
      logged: () => logged.join('\n'),
      reload: serving.reload,
      stop,
      close: async () => {
        await stop()
        remove(folder)
      },
    }
  } catch (error) {
    remove(folder)
    throw error
  }
}

export type Child = Deputy & {
  readonly stdout: () => Buffer
  readonly stderr: () => Buffer
  /** Closes our end of its standard output. */
  readonly cutStdout: () => void
  readonly alive: () => boolean
  /** Ends it by SIGKILL; the folder stays until `close`. */
  readonly kill: () => Promise<unknown>
  /** Ends it by SIGTERM and waits; the folder stays until `close`. */
  readonly stop: () => Promise<number | null>
}

/** Starts `bin/deputy.js serve` as a child process. */
export const startChild = async (
  setup: Setup,
  dir?: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Child> => {
  const folder = dir ?? (await prepareFolder(setup))
  const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
  const child = spawn(
    process.execPath,
    [command, 'serve', '--config', join(folder, 'deputy.yaml')],
    {
      cwd: folder,
      env: { PATH: process.env['PATH'] ?? '', ...env },
    },
  )
  const out: Buffer[] = []
  const err: Buffer[] = []
  const text = (): string => Buffer.concat(err).toString()
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => resolve(code))
  })
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`deputy is not ready: ${text()}`)), 60_000)
    child.stderr.on('data', (chunk: Buffer) => {
      err.push(chunk)
      if (!text().includes('deputy is ready')) return
      clearTimeout(timer)
      resolve()
    })
    void exited.then((code) => reject(new Error(`deputy ended with ${code}: ${text()}`)))
  }).catch((error: unknown) => {
    child.kill('SIGKILL')
    remove(folder)
    throw error
  })
  const address = (name: string): string =>
    new RegExp(`^${name}: (\\S+)$`, 'm').exec(text())?.[1] ?? ''
  const stop = (): Promise<number | null> => {
    if (child.exitCode === null) child.kill('SIGTERM')
    return exited
  }
  return {
    agent: address('agent'),
    connect: address('connect'),
    admin: address('admin'),
    addresses: {},
    dir: folder,
    evidence: () => evidenceOf(folder),
    logged: text,
    reload: () => {
      child.kill('SIGHUP')
      return Promise.resolve()
    },
    stdout: () => Buffer.concat(out),
    stderr: () => Buffer.concat(err),
    cutStdout: () => child.stdout.destroy(),
    alive: () => child.exitCode === null && child.signalCode === null,
    kill: () => {
      child.kill('SIGKILL')
      return exited
    },
    stop,
    close: async () => {
      await stop()
      remove(folder)
    },
  }
}

/** Polls until `check` is true; rejects after `ms`. */
export const until = async (check: () => boolean, what: string, ms = 30_000): Promise<void> => {
  for (const end = Date.now() + ms; !check();) {
    if (Date.now() > end) throw new Error(`did not happen: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
