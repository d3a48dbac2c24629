// YAML and environment stop here: files → one frozen value, or all problems at once.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isAlias, isMap, isPair, isScalar, isSeq, parseDocument } from 'yaml'
import { readText, toldOf } from '../files.ts'
import type { Connection, ConnectionTls, Provider } from '../model.ts'
import { said } from '../mistakes.ts'
import { messageOf } from '../problem.ts'
import { agentRows, agentsOf, type AgentAbout } from './agents.ts'
import { naming } from './backend.ts'
import { withOwn } from './own_operations.ts'
import { parseConfig } from './parse.ts'
import type { Config, ConfigConnection } from './schema.ts'
import { keyed } from './keyed.ts'
import { inYaml, MOST_BYTES } from './lines.ts'
import { isObject } from '../wire/json.ts'
import { byCertificate } from '../providers/definition.ts'
import { compileProviders, overrideProvider } from '../providers/parse.ts'

export type Loaded = {
  readonly config: Config
  /** Absolute path of the configuration file. */
  readonly path: string
  readonly connections: ReadonlyMap<string, Connection>
  readonly providers: ReadonlyMap<string, Provider>
  /** `agents`, by id; their logos as absolute paths. */
  readonly agents: ReadonlyMap<string, AgentAbout>
  /** The program of `vault.kms`, and all that it sees of the environment. */
  readonly kms: { readonly program: string; readonly env: Readonly<Record<string, string>> } | null
  /** Absolute form of a path that deputy reads: relative to the configuration file. */
  readonly at: (path: string) => string
  /** Absolute form of a path that deputy writes: relative to `state`. */
  readonly written: (path: string) => string
  /** What was read: absolute paths, and a digest of all that stood there. It is of secrets too, so it is shown to nobody. */
  readonly sources: Sources
}
type Sources = {
  readonly files: readonly string[]
  readonly digest: string
  /** When the reading began, ms since the epoch. */
  readonly at: number
}
export type Env = Readonly<Record<string, string | undefined>>
export type Result =
  | { readonly loaded: Loaded }
  | {
      readonly path: string | null
      readonly sources: Sources
      readonly problems: readonly string[]
      /** What could be read all the same: to find further problems in, never to serve. */
      readonly rest: Loaded | null
    }

const PLACES = ['./deputy.yaml', '/etc/deputy/deputy.yaml']
/** Beside `proxy/` in a checkout and beside `dist/` in the package. */
export const shipped = (name: string): string =>
  fileURLToPath(new URL(`../../${name}`, import.meta.url))

/** `--config`, else `DEPUTY_CONFIG`, else the first place that exists; null: nowhere. */
const findConfig = (flag: string | undefined, env: Env): string | null =>
  flag ?? env['DEPUTY_CONFIG'] ?? PLACES.find((place) => existsSync(place)) ?? null

const MOST_DEEP = 64
/**
 * What two readers could understand differently, and its offset. The parser's own `uniqueKeys` compares each key with
 * every other: with the catalogues that ship, a fifth of the start.
 */
const oddity = (
  node: unknown,
  depth = 0,
): { readonly at: number; readonly what: string } | null => {
  if (!isMap(node) && !isSeq(node)) return null
  const at = node.range?.[0] ?? 0
  if (depth >= MOST_DEEP) return { at, what: `nesting is deeper than ${MOST_DEEP}` }
  const keys = new Set<string>()
  for (const item of node.items) {
    if (isPair(item) && isScalar(item.key)) {
      const key = String(item.key.value)
      const twice = {
        at: item.key.range?.[0] ?? at,
        what: `the key ${key} stands here twice: keep one`,
      }
      if (keys.has(key)) return twice
      keys.add(key)
    }
    const odd = oddity(isPair(item) ? item.value : item, depth + 1)
    if (odd !== null) return odd
  }
  return null
}

/**
 * One YAML document as plain data: duplicate keys, aliases that multiply, and nesting past 64 are refused.
 * @throws Error whose message names file, line and what to do
 */
export const readYaml = async (path: string, read = contentOf): Promise<unknown> => {
  const text = await read(path)
  const document = parseDocument(text, { uniqueKeys: false, merge: false })
  const problem = document.errors[0]
  if (problem !== undefined) throw new Error(`${path}${inYaml(problem)}`)
  const odd = oddity(document.contents)
  if (odd !== null)
    throw new Error(`${path}:${text.slice(0, odd.at).split('\n').length}: ${odd.what}`)
  if (isAlias(document.contents) || isScalar(document.contents))
    throw new Error(`${path}: must hold keys and values, such as version: 1`)
  try {
    return document.toJS({ maxAliasCount: 100 }) as unknown
  } catch (error) {
    throw new Error(
      `${path}: a name behind * is not known, or stands for too much: write out what it stands for, or quote a value that begins with *`,
      { cause: error },
    )
  }
}

const contentOf = (path: string): Promise<string> =>
  readText(path, MOST_BYTES).catch((error: unknown) => {
    throw new Error(toldOf(error), { cause: error })
  })

/** A catalogue beside its definition: YAML by hand, or JSON that was generated. */
export const readBeside = async (path: string, read = contentOf): Promise<unknown> => {
  if (!path.endsWith('.catalogue.json')) return readYaml(path, read)
  const text = await read(path)
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new Error(`${path}: is no JSON: put the shipped file back`, { cause })
  }
}

/** Where texts come from: the environment, and files, each of which is noted. */
type From = {
  readonly env: Env
  readonly at: (path: string) => string
  readonly read: (path: string) => Promise<string>
}
/** Notes what is read, also what could not be: it may come back. */
const createNotes = () => {
  const texts = new Map<string, string>()
  const at = Date.now()
  return {
    read: async (path: string): Promise<string> => {
      texts.set(path, '')
      const text = await contentOf(path)
      texts.set(path, text)
      return text
    },
    noted: (): Sources => ({
      at,
      files: [...texts.keys()],
      digest: createHash('sha256')
        .update(JSON.stringify([...texts]))
        .digest('hex'),
    }),
  }
}

const SUBSTITUTION = /\$\{([^}]*)\}/g
type Named = ReadonlyMap<string, string | Error>
/** What `${file:PATH}` anywhere in a value names, read once each. */
const filesNamedIn = async (value: unknown, { at, read }: From): Promise<Named> => {
  const named = new Map<string, string | Error>()
  const walk = (part: unknown): void => {
    if (typeof part === 'string')
      for (const [, inner = ''] of part.matchAll(SUBSTITUTION))
        if (inner.startsWith('file:')) named.set(inner.slice(5), '')
    if (typeof part === 'object' && part !== null) Object.values(part).forEach(walk)
  }
  walk(value)
  for (const name of named.keys())
    named.set(
      name,
      await read(at(name)).catch((error: unknown) =>
        error instanceof Error ? error : new Error(String(error)),
      ),
    )
  return named
}

/** Replaces `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` in string values; what was put in is not expanded again. */
const interpolate = async (value: unknown, from: From, problems: string[]): Promise<unknown> =>
  replaced(value, '', { env: from.env, files: await filesNamedIn(value, from), problems })

const replaced = (
  value: unknown,
  path: string,
  from: { readonly env: Env; readonly files: Named; readonly problems: string[] },
): unknown => {
  const { env, files, problems } = from
  if (typeof value === 'string')
    return value.replaceAll(SUBSTITUTION, (whole, inner: string) => {
      const variable = /^env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(inner)
      if (variable !== null) {
        const found = env[variable[1] ?? ''] ?? variable[2]
        if (found === undefined)
          problems.push(
            `${path}: the environment variable ${variable[1] ?? ''} is not set: set it, or write \${env:${variable[1] ?? ''}:-default}`,
          )
        return found ?? ''
      }
      if (inner.startsWith('file:')) {
        const text = files.get(inner.slice(5)) ?? ''
        if (typeof text === 'string') return text.replace(/\r?\n$/, '')
        problems.push(`${path}: ${text.message}`)
        return ''
      }
      problems.push(`${path}: ${whole} is no substitution: write \${env:NAME} or \${file:PATH}`)
      return ''
    })
  if (Array.isArray(value))
    return value.map((item, i) => replaced(item, `${path}${path === '' ? '' : '.'}${i}`, from))
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        replaced(item, `${path}${path === '' ? '' : '.'}${key}`, from),
      ]),
    )
  return value
}

const idOf = (raw: unknown): unknown =>
  typeof raw === 'object' && raw !== null && !Array.isArray(raw) && 'id' in raw ? raw.id : null

const extended = (raw: unknown): string =>
  typeof raw === 'object' && raw !== null && 'extends' in raw && typeof raw.extends === 'string'
    ? raw.extends
    : ''
export const shippedIds = (): readonly string[] =>
  readdirSync(shipped('providers'))
    .filter((name) => name.endsWith('.yaml') && !/\.(?:operations|tools)\.yaml$/.test(name))
    .map((name) => name.slice(0, -'.yaml'.length))
    .sort()

/** The shipped definitions, then the configuration's own: file names and inline objects. */
const readProviders = async (
  config: Config,
  from: From,
  problems: string[],
): Promise<ReadonlyMap<string, Provider>> => {
  const { at } = from
  const files = new Map<string, unknown>()
  const add = async (path: string, own = false): Promise<void> => {
    try {
      // What ships with deputy does not change while it runs.
      const read = own ? from.read : contentOf
      const text = await readYaml(path, read)
      const unset: string[] = []
      const raw = own ? await interpolate(text, from, unset) : text
      problems.push(...unset.map((problem) => `${path}: ${problem}`))
      files.set(path, raw)
      const named = isObject(raw) ? [raw['operations'], raw['catalogue']] : []
      for (const name of named.filter((one) => typeof one === 'string')) {
        const beside = join(dirname(path), name)
        if (!files.has(beside)) files.set(beside, await readBeside(beside, read))
      }
    } catch (error) {
      problems.push(messageOf(error))
    }
  }
  for (const [i, own] of config.providers.entries())
    if (typeof own === 'string') await add(at(own), true)
    else files.set(`providers.${i}`, own)
  // Of the shipped ones only those that are used are read: catalogues are long. An own definition takes its namesake's place.
  const defined = new Set([...files.values()].map(idOf))
  const wanted = Object.values(config.connections).map(({ provider }) => provider)
  for (const raw of files.values()) wanted.push(extended(raw))
  for (let id = wanted.pop(); id !== undefined; id = wanted.pop()) {
    if (defined.has(id) || !shippedIds().includes(id)) continue
    defined.add(id)
    const path = join(shipped('providers'), `${id}.yaml`)
    await add(path)
    wanted.push(extended(files.get(path)))
  }
  const compiled = compileProviders(files)
  problems.push(...compiled.problems)
  return compiled.providers
}

/** `agents`: the rows of a file, or those that stand there. */
const readAgents = async (
  config: Config,
  from: From,
  problems: string[],
): Promise<ReadonlyMap<string, AgentAbout>> => {
  const { agents: named } = config
  const path = typeof named === 'string' ? from.at(named) : null
  const rowsOf = async (): Promise<ReturnType<typeof agentRows.parse>> => {
    if (typeof named !== 'string' || path === null) return typeof named === 'string' ? [] : named
    try {
      const unset: string[] = []
      const raw = await interpolate(await readYaml(path, from.read), from, unset)
      const parsed = agentRows.safeParse(raw)
      const wrong = parsed.error?.issues.flatMap(said) ?? []
      problems.push(...[...unset, ...wrong].map((problem) => `${path}: ${problem}`))
      return parsed.data ?? []
    } catch (error) {
      problems.push(`agents: ${messageOf(error)}`)
      return []
    }
  }
  const { agents, problems: wrong } = agentsOf(await rowsOf(), naming(config))
  problems.push(...wrong.map((problem) => `${path === null ? 'agents.' : `${path}: `}${problem}`))
  const beside = (logo: string): string =>
    path === null || isAbsolute(logo) ? from.at(logo) : join(dirname(path), logo)
  return new Map(
    [...agents].map(([id, about]) => [
      id,
      about.logo === null ? about : { ...about, logo: beside(about.logo) },
    ]),
  )
}

/** A connection with a key of its own signs, whatever method the definition has. */
const signing = (provider: Provider): Provider => {
  const { refresh } = provider
  const clientAuth = 'private_key_jwt' as const
  const again = refresh ? { ...refresh, clientAuth } : refresh
  return { ...provider, clientAuth, ...(again === undefined ? {} : { refresh: again }) }
}

const PATHS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** @param named `exec:PATH`; of the environment it sees what is named for it, never the secrets of others */
export const programOf = (named: string, at: (path: string) => string, env: Env) => ({
  program: at(named.slice('exec:'.length)),
  env: {
    ...Object.fromEntries(
      Object.entries(env).flatMap(([key, value]) =>
        value !== undefined && (key.startsWith('DEPUTY_KMS_') || key === 'HOME')
          ? [[key, value]]
          : [],
      ),
    ),
    PATH: PATHS,
    LC_ALL: 'C.UTF-8',
  },
})

/**
 * The program that wraps the keys of a new ring: the one given, else what the configuration names that `deputy serve`
 * would take; null: none. Throws an Error where that cannot be read, so that no key is written unwrapped by mistake.
 */
export const kmsGiven = async (
  { kms, config }: { readonly kms?: string | undefined; readonly config?: string | undefined },
  env: Env,
): Promise<Loaded['kms']> => {
  const problem = (where: string): Error =>
    new Error(`${where}: is no program: write exec:/path/of/the/program`)
  if (kms !== undefined) {
    if (!/^exec:.+/.test(kms)) throw problem('--kms')
    return programOf(kms, resolve, env)
  }
  const found = findConfig(config, env)
  // The first keys of a deputy are made before its configuration is: an image names the place of that beforehand.
  if (found === null || (config === undefined && !existsSync(found))) return null
  const path = resolve(found)
  const at = (name: string): string => (isAbsolute(name) ? name : join(dirname(path), name))
  const raw = await readYaml(path)
  const vault = typeof raw === 'object' && raw !== null && 'vault' in raw ? raw.vault : null
  if (typeof vault !== 'object' || vault === null || !('kms' in vault)) return null
  const problems: string[] = []
  const named = await interpolate(vault.kms, { env, at, read: readText }, problems)
  if (problems.length > 0 || typeof named !== 'string' || !/^exec:.+/.test(named))
    throw problem(`${path}: vault.kms`)
  return programOf(named, at, env)
}

/** Files of its own; null: it is dialled as all others are. */
const dialledWith = (
  connection: string,
  { ca, client_cert: client }: ConfigConnection,
  at: (path: string) => string,
): ConnectionTls | null =>
  ca === undefined && client === undefined
    ? null
    : {
        connection,
        ca: ca === undefined ? null : at(ca),
        client: client === undefined ? null : { cert: at(client.cert), key: at(client.key) },
      }

const connect = (
  config: Config,
  providers: ReadonlyMap<string, Provider>,
  problems: string[],
  at: (path: string) => string,
): ReadonlyMap<string, Connection> => {
  const connections = new Map<string, Connection>()
  for (const [name, entry] of Object.entries(config.connections)) {
    const where = `connections.${name}`
    const provider = providers.get(entry.provider)
    if (provider === undefined) {
      problems.push(
        `${where}.provider: ${JSON.stringify(entry.provider)} is not known: one of ${[...new Set([...shippedIds(), ...providers.keys()])].join(', ')}, or a file under providers:`,
      )
      continue
    }
    const { authorize, token, userinfo, revoke, issuer, hosts, slot, insecure } = entry
    const made = overrideProvider(
      provider,
      { authorize, token, userinfo, revoke, issuer, hosts, slot, insecure },
      where,
    )
    if ('problems' in made) {
      problems.push(...made.problems)
      continue
    }
    const named = withOwn(made.provider, entry.operations, (what) =>
      problems.push(`${where}.operations.${what}`),
    )
    const use = entry.client_key === undefined ? named : signing(named)
    const own = keyed(name, use, entry, problems)
    if (own !== null) {
      connections.set(name, { ...own, tls: dialledWith(name, entry, at) })
      continue
    }
    const { client_id: clientId = '', client_secret: clientSecret = null } = entry
    for (const scope of entry.scopes)
      if (use.scopeKnown?.includes(scope) === false)
        problems.push(
          `${where}.scopes: ${JSON.stringify(scope)} is no scope of ${use.name}: one of ${use.scopeKnown.join(', ')}`,
        )
    // A server that speaks MCP takes a client that registers itself.
    if (clientId === '' && !(use.mcp && use.discover))
      problems.push(
        `${where}.client_id: is missing: register deputy at ${use.name} and write the id here`,
      )
    // What is registered with one authorization server is shown to no other, whatever the MCP server names.
    if (clientId !== '' && use.mcp && use.discover && use.issuer === null)
      problems.push(
        `${where}.issuer: is missing: ${use.name} would say who its authorization server is, and client_id belongs to one: write it`,
      )
    const signs = use.clientAuth === 'private_key_jwt'
    if (signs && use.issuer === null && (use.assertionAudience ?? 'issuer') === 'issuer')
      problems.push(`${where}.client_key: ${use.id} has neither issuer nor assertion_audience`)
    if (signs && entry.client_key === undefined)
      problems.push(
        `${where}.client_key: is missing: ${use.name} wants a signed assertion (${use.clientAuth})`,
      )
    // Where the issuer says how clients name themselves, it is asked first.
    const told = use.discover?.left.includes('client_auth') === true
    const shows = byCertificate(use.clientAuth)
    if (shows && entry.client_cert === undefined)
      problems.push(
        `${where}.client_cert: is missing: ${use.name} knows its clients by certificate (${use.clientAuth})`,
      )
    if (!signs && !told && !shows && clientSecret === null && use.clientAuth !== 'none')
      problems.push(`${where}.client_secret: is missing: ${use.name} wants one (${use.clientAuth})`)
    if (!use.discover && (use.authorize === null || use.token === null))
      problems.push(`${where}.provider: ${use.id} has no authorize and token endpoint`)
    connections.set(name, {
      name,
      provider: use,
      clientId,
      clientSecret,
      clientKey: entry.client_key ?? null,
      scopes: entry.scopes,
      tls: dialledWith(name, entry, at),
    })
  }
  return connections
}

/** What follows only from a value that is missing, or was not put in, is no problem of its own. */
const unlike = (told: readonly string[], found: readonly string[]): readonly string[] => {
  const paths = told.map((problem) => problem.split(': ', 1)[0] ?? '')
  return found.filter((problem) => {
    const [at = ''] = problem.split(': ', 1)
    return !paths.some((path) => at === path || at.startsWith(`${path}.`))
  })
}

/** Reads everything that the configuration names but state and policy. Never throws for bad input: every problem is listed. */
export const load = async (flag: string | undefined, env: Env): Promise<Result> => {
  const found = findConfig(flag, env)
  if (found === null)
    return {
      path: null,
      rest: null,
      sources: { files: [], digest: '', at: 0 },
      problems: [
        `no configuration: neither --config, DEPUTY_CONFIG, ${PLACES.join(' nor ')}. \`deputy init\` writes one to begin with`,
      ],
    }
  const path = resolve(found)
  const at = (name: string): string => (isAbsolute(name) ? name : join(dirname(path), name))
  const { read, noted } = createNotes()
  const from: From = { env, at, read }
  const problems: string[] = []
  let raw: unknown
  try {
    raw = await readYaml(path, read)
  } catch (error) {
    return { path, problems: [messageOf(error)], rest: null, sources: noted() }
  }
  const text = await interpolate(raw, from, problems)
  const parsed = parseConfig(text)
  const config = 'problems' in parsed ? parsed.rest : parsed.config
  if ('problems' in parsed) problems.push(...unlike(problems, parsed.problems))
  const wrong = [...problems]
  if (config === null) return { path, problems, rest: null, sources: noted() }
  const providers = await readProviders(config, from, problems)
  const connections = connect(config, providers, problems, at)
  const agents = await readAgents(config, from, problems)
  const written = (name: string): string => (isAbsolute(name) ? name : join(at(config.state), name))
  const sources = noted()
  const kms = config.vault.kms === undefined ? null : programOf(config.vault.kms, at, env)
  const whole = { config, path, connections, providers, agents, kms, at, written, sources }
  const loaded = Object.freeze(whole)
  const all = [...wrong, ...unlike(wrong, problems.slice(wrong.length))]
  return all.length > 0 ? { path, problems: [...new Set(all)], rest: loaded, sources } : { loaded }
}
