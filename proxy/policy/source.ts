// Where the policy comes from: a bundle (a file or a folder) and a folder of tables. They are read
// again when they change; if what is there is no good, the last good policy stays.
import { join } from 'node:path'
import { mayHeal, namesIn, readWhole, statOf, toldOf, Unreadable } from '../files.ts'
import type { Clock, JsonObject, Log, PolicyEngine, Provider } from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { BUNDLE_LIMITS, bundleFromFiles, readBundle } from './bundle.ts'
import type { Bundle } from './bundle.ts'
import { conflicts } from './conflicts.ts'
import { unknownIn, unreachable } from './reach.ts'
import { parseNamed } from './strict.ts'
import { few, tableProblems } from './tables.ts'
import type { Ceilings, Grants, Table } from './tables.ts'
import { unreadKeys } from './unread.ts'
import { wholeTables } from './whole.ts'
import { activate } from './activate.ts'

export type PolicySource = {
  /** The engine that serves; a call takes it once and keeps it. null: none was ever good. */
  readonly current: () => PolicyEngine | null
  /** A table of those that serve; null: there is none of this name. */
  readonly table: (name: string) => JsonObject | null
  /** Why the newest files do not serve; null: they do. */
  readonly problem: () => string | null
  /** What rows of the tables in use say in vain: they match no call, or contradict another. */
  readonly vain: () => readonly string[]
  /** Why the files cannot be looked at; null: they can. */
  readonly unread: () => string | null
  /** Loads that failed so far. */
  readonly failures: () => number
  /** Reads everything again now. Rejects when the files are no good; the last good engine stays. */
  readonly reload: () => Promise<void>
  readonly close: () => Promise<void>
}

export type PolicySourceOptions = {
  /** Path of a .tar.gz, or of a directory that holds an unpacked bundle. */
  readonly bundle: string
  /** Folder of tables (.json, .yaml, .yml), or null. */
  readonly data: string | null
  /** Whose catalogues rows are compared with, to name those that never match. */
  readonly providers: Iterable<Provider>
  /** Names of the connections, which the table agents may name. */
  readonly connections: Iterable<string>
  /** Bytes. */
  readonly inputLimit: number
  readonly log: Log
  readonly clock: Clock
  readonly onChange: (engine: PolicyEngine) => void
  /** ms between looks at the files; 500 unless told. */
  readonly poll?: number
}

// Not inotify: it misses changes on some volumes, its watches run out on a busy node, and every
// write beside a file wakes it.
const LOOK = 500
/** ms that calls may go on with an engine that was replaced. */
const GRACE = 60_000

/** Files below a folder, relative names. Names that begin with `..` are the machinery of Kubernetes volumes. */
const listing = async (folder: string, deep: boolean): Promise<string[]> => {
  const names: string[] = []
  const walk = async (prefix: string): Promise<void> => {
    for (const name of await namesIn(join(folder, prefix))) {
      if (name.startsWith('..')) continue
      const path = prefix === '' ? name : `${prefix}/${name}`
      const found = await statOf(join(folder, path))
      if (!found.isDirectory()) names.push(path)
      else if (deep) await walk(path)
      if (names.length > BUNDLE_LIMITS.entries)
        throw new Error(`${folder}: more than ${BUNDLE_LIMITS.entries} files`)
    }
  }
  await walk('')
  return names
}

const loadBundle = async (path: string): Promise<Bundle> => {
  if (!(await statOf(path)).isDirectory()) return readBundle(await readWhole(path))
  const files: [string, Uint8Array][] = []
  let size = 0
  for (const name of await listing(path, true)) {
    size += Number((await statOf(join(path, name))).size)
    if (size > BUNDLE_LIMITS.bytes) throw new Error(`${path}: more than 16 MiB`)
    files.push([name, await readWhole(join(path, name))])
  }
  return bundleFromFiles(files)
}

const refuse = (problems: readonly string[]): Error =>
  new Error(`the policy tables cannot be used:\n${problems.map((line) => `- ${line}`).join('\n')}`)

/** The tables that a bundle brings: `deputy_data`. Throws what is wrong with it. */
export const bundleTables = async (path: string): Promise<JsonObject> => {
  const { deputy_data: own } = (await loadBundle(path)).data
  return isObject(own) ? own : {}
}

/**
 * The tables of a folder: `grants.yaml` is the table `grants`.
 * Throws one Error that lists every file that is none, with the line where that is known.
 */
export const loadTables = async (folder: string | null): Promise<ReadonlyMap<string, Table>> => {
  const tables = new Map<string, Table>()
  if (folder === null) return tables
  const problems: string[] = []
  for (const name of await listing(folder, false)) {
    const table = /^([A-Za-z_][A-Za-z0-9_]*)\.(json|yaml|yml)$/.exec(name)?.[1]
    const where = join(folder, name)
    if (table === undefined) problems.push(`${where}: not the name of a table (.json, .yaml, .yml)`)
    else if (tables.has(table)) problems.push(`${where}: another file already holds ${table}`)
    else
      try {
        const value = parseNamed(where, await readWhole(where))
        if (isObject(value)) tables.set(table, { where, value, own: true })
        else problems.push(`${where}: not an object`)
      } catch (error) {
        if (mayHeal(error)) throw error
        problems.push(messageOf(error))
      }
  }
  if (problems.length > 0) throw refuse(problems)
  return tables
}

/**
 * The tables that a bundle decides by, those of the folder in place of its own, with whole rows. Throws one Error that
 * lists everything that is wrong with them.
 * @param where the bundle, named in problems
 */
export const checkTables = (
  bundle: Bundle,
  where: string,
  folder: ReadonlyMap<string, Table>,
): ReadonlyMap<string, Table> => {
  const { deputy_data: bundled = {} } = bundle.data
  if (!isObject(bundled)) throw refuse([`${where}: deputy_data is not an object`])
  const problems: string[] = []
  const tables = new Map<string, Table>()
  for (const [name, value] of Object.entries(bundled))
    if (isObject(value))
      tables.set(name, { where: `${where}: deputy_data.${name}`, value, own: false })
    else problems.push(`${where}: deputy_data.${name} is not an object`)
  for (const [name, table] of folder) tables.set(name, table)
  problems.push(...tableProblems(tables, new Set(Object.keys(bundled))))
  if (problems.length > 0) throw refuse(problems)
  const whole = wholeTables(new Map([...tables].map(([name, { value }]) => [name, value])))
  const grants = (whole.get('grants') ?? {}) as unknown as Grants
  const agents = (whole.get('agents') ?? null) as Ceilings | null
  problems.push(...unreadKeys(bundle.wasm, grants, agents))
  if (problems.length > 0) throw refuse(problems)
  return new Map(
    [...whole].map(([name, value]) => {
      const { where: place, own } = tables.get(name) ?? { where, own: false }
      return [name, { where: place, own, value: value as JsonObject }]
    }),
  )
}

const vainRows = (
  tables: ReadonlyMap<string, Table>,
  { providers, connections }: Pick<PolicySourceOptions, 'providers' | 'connections'>,
): readonly string[] => {
  const grants = tables.get('grants')
  const agents = tables.get('agents')
  const rows = (grants?.value ?? {}) as unknown as Grants
  const ceilings = (agents?.value ?? {}) as unknown as Ceilings
  const known = [...providers]
  return [
    ...few([...unreachable(rows, known), ...conflicts(rows)]).map(
      (one) => `${grants?.where ?? ''}: ${one}`,
    ),
    ...few(unknownIn(ceilings, known, connections)).map((one) => `${agents?.where ?? ''}: ${one}`),
  ]
}

/** Changes whenever a file does, also where a link is turned to another one. */
const fingerprint = async (paths: readonly (string | null)[]): Promise<string> => {
  const seen: string[] = []
  for (const path of paths) {
    if (path === null) continue
    try {
      const files = (await statOf(path)).isDirectory()
        ? (await listing(path, true)).map((name) => join(path, name))
        : [path]
      for (const file of files) {
        const { ino, size, mtimeNs, ctimeNs } = await statOf(file)
        seen.push(
          JSON.stringify([file, String(ino), String(size), String(mtimeNs), String(ctimeNs)]),
        )
      }
    } catch (error) {
      seen.push(`${path}: ${messageOf(error)}`)
    }
  }
  return seen.join('\n')
}

/**
 * Opens, loads once and looks for changes. Never rejects for a bad policy: then `current()` is null and `problem()` says why,
 * nothing is allowed, and the next good file serves.
 */
export const openPolicySource = async (options: PolicySourceOptions): Promise<PolicySource> => {
  const { bundle, data, inputLimit, log, clock, onChange } = options
  let engine: PolicyEngine | null = null
  let serving: ReadonlyMap<string, Table> = new Map()
  let problem: string | null = null
  let vain: readonly string[] = []
  let unread: string | null = null
  let loaded = ''
  let closed = false
  let running: Promise<void> = Promise.resolve()
  let failures = 0
  const retired = new Map<PolicyEngine, NodeJS.Timeout>()

  const retire = (old: PolicyEngine): void => {
    const timer = setTimeout(() => {
      retired.delete(old)
      void old.close()
    }, GRACE)
    timer.unref()
    retired.set(old, timer)
  }
  const load = async (): Promise<void> => {
    // Taken before reading: what changes meanwhile is seen as a change by the next look.
    const mark = await fingerprint([bundle, data])
    try {
      const [read, folder] = await Promise.all([loadBundle(bundle), loadTables(data)])
      const checked = checkTables(read, bundle, folder)
      const found = vainRows(checked, options)
      const tables = new Map<string, JsonObject>(
        [...folder].map(([name, { value }]) => [name, value]),
      )
      const next = await activate(read, tables, { log, clock, inputLimit })
      if (closed) {
        await next.close()
        return
      }
      const old = engine
      engine = next
      serving = checked
      problem = null
      vain = found
      unread = null
      loaded = mark
      if (old !== null) retire(old)
      log.info({ revision: next.revision, digest: next.digest }, 'policy loaded')
      for (const row of vain) log.warn({ row }, 'a row of the policy tables cannot do what it says')
      onChange(next)
    } catch (error) {
      failures += 1
      const said = toldOf(error)
      if (said !== problem)
        log.error(
          { err: error, serving: engine?.revision ?? null },
          engine === null
            ? 'no policy serves: every call is refused'
            : 'the new policy is refused, the last good one serves on',
        )
      problem = said
      unread = error instanceof Unreadable ? said : null
      loaded = mayHeal(error) ? '' : mark
      throw error
    }
  }
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    const next = running.then(work)
    running = next.catch(() => undefined)
    return next
  }
  let glimpsed = ''
  const look = (): void => {
    void inTurn(async () => {
      const now = await fingerprint([bundle, data])
      if (closed || now === loaded) return
      // The writer may not be done yet, so files are read only when two looks saw them alike.
      if (now !== glimpsed) glimpsed = now
      // `load` has told the log, and `problem` keeps it.
      else await load().catch(() => undefined)
    })
  }
  const looking = setInterval(look, options.poll ?? LOOK)
  looking.unref()

  await inTurn(load).catch(() => undefined)

  return {
    current: () => engine,
    table: (name) => serving.get(name)?.value ?? null,
    problem: () => problem,
    vain: () => vain,
    unread: () => unread,
    failures: () => failures,
    reload: () => inTurn(load),
    close: async () => {
      closed = true
      clearInterval(looking)
      await running
      for (const [old, timer] of retired) {
        clearTimeout(timer)
        await old.close()
      }
      await engine?.close()
    },
  }
}
