// Where the policy comes from: a bundle (a file, a folder, or what a bundle service gives) and a folder of tables. They are
// read again when they change; if what is there is no good, the last good policy stays.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { mayHeal, namesIn, readWhole, statOf, toldOf, Unreadable } from '../files.ts'
import type {
  BundleOrigin,
  Clock,
  Json,
  JsonObject,
  Log,
  PolicyEngine,
  Provider,
} from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { BUNDLE_LIMITS, bundleFromFiles, unpackBundle } from './bundle.ts'
import type { Bundle, BundleFiles } from './bundle.ts'
import type { Download } from './download.ts'
import type { KeptBundle } from './kept.ts'
import { makeOf, parseTables } from './make.ts'
import type { Made, TableFile, ToMake } from './make.ts'
import type { Catalogue } from './reach.ts'
import type { Table } from './tables.ts'
import { makeAside, Unfinished } from './threads.ts'
import { createService } from './service.ts'
import type { Service, ServiceState } from './service.ts'
import type { Verification } from './signature.ts'
import { createTrust } from './trusted.ts'
import type { Trust, Trusted } from './trusted.ts'
import { activate, createCompiler } from './activate.ts'

export type PolicySource = {
  /** The engine that serves; a call takes it once and keeps it. null: none was ever good. */
  readonly current: () => PolicyEngine | null
  /** A table of those that serve; null: there is none of this name. */
  readonly table: (name: string) => JsonObject | null
  /** All of them, by name. */
  readonly tables: () => JsonObject
  /** Why the newest files do not serve, or the bundle service gives none that does; null: they do. */
  readonly problem: () => string | null
  /** What rows of the tables in use say in vain: they match no call, or contradict another. */
  readonly vain: () => readonly string[]
  /** Why the files cannot be looked at; null: they can. */
  readonly unread: () => string | null
  /** Loads that failed so far. */
  readonly failures: () => number
  /** How a bundle service answers; null: there is none, or it is not asked. */
  readonly service: () => ServiceState | null
  /** Reads everything that is a file again now. Rejects when the files are no good; the last good engine stays. */
  readonly reload: () => Promise<void>
  /** Looks and asks no more; what serves goes on for calls that began under it. */
  readonly rest: () => void
  readonly close: () => Promise<void>
}

/** How a bundle service is asked. */
export type Serviced = {
  readonly download: Download
  readonly kept: KeptBundle
  /** The least ms between questions. */
  readonly poll: number
  /** `once` and `never` are for who only looks, and keep nothing. */
  readonly ask: 'always' | 'once' | 'never'
  /** ms that a start without a policy waits for the first answer; 10 s unless told. */
  readonly first?: number
}

export type PolicySourceOptions = {
  /** Path of a .tar.gz, or of a directory that holds an unpacked bundle; with `service` the URL. */
  readonly bundle: string
  readonly service?: Serviced | null
  /** Whose signature a bundle must have; null: it has none. */
  readonly verification?: Verification | null
  /** It may be older than the one in use. */
  readonly rollback?: boolean
  /** Folder of tables (.json, .yaml, .yml), or null. */
  readonly data: string | null
  /** Whose catalogues rows are compared with, to name those that never match. */
  readonly providers: Iterable<Provider>
  /** Names of the connections, which the table agents may name. */
  readonly connections: Iterable<string>
  /** Something keeps what rows have sealed (`audit.inputs`); absent: nothing does. */
  readonly seals?: boolean
  /** Bytes. */
  readonly inputLimit: number
  readonly log: Log
  readonly clock: Clock
  readonly onChange: (engine: PolicyEngine) => void
  /** A bundle or tables are refused, and it is another reason than the last. */
  readonly onRefused?: (problem: string) => void
  /** ms between looks at the files; 500 unless told. */
  readonly poll?: number
  /** How a policy is made one that answers; absent: as one that serves. */
  readonly activate?: typeof activate
  /** How tables of many rows are checked; absent: in a thread. */
  readonly makeAside?: typeof makeAside
}

// Not inotify: it misses changes on some volumes, its watches run out on a busy node, and every
// write beside a file wakes it.
const LOOK = 500
/** ms that a start without a policy waits for the first answer of a bundle service. */
const FIRST = 10_000
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

const bundleFiles = async (path: string): Promise<BundleFiles> => {
  if (!(await statOf(path)).isDirectory()) return unpackBundle(await readWhole(path))
  const files: [string, Uint8Array][] = []
  let size = 0
  for (const name of await listing(path, true)) {
    size += Number((await statOf(join(path, name))).size)
    if (size > BUNDLE_LIMITS.bytes) throw new Error(`${path}: more than 16 MiB`)
    files.push([name, await readWhole(join(path, name))])
  }
  return files
}

/** A bundle of a file or a folder, for whoever asks what it would say: it serves nobody. Throws what is wrong with it. */
export const loadBundle = async (path: string): Promise<Bundle> =>
  bundleFromFiles(await bundleFiles(path), true)

/** The files of a folder of tables: `grants.yaml` is the table `grants`. */
const tableFiles = async (folder: string | null): Promise<readonly TableFile[]> => {
  const files: TableFile[] = []
  for (const name of folder === null ? [] : await listing(folder, false)) {
    const where = join(folder ?? '', name)
    files.push({ name, where, bytes: await readWhole(where) })
  }
  return files
}
/**
 * The tables of a folder.
 * Throws one Error that lists every file that is none, with the line where that is known.
 */
export const loadTables = async (folder: string | null): Promise<ReadonlyMap<string, Table>> =>
  parseTables(await tableFiles(folder))

/** Beyond this the check is left to a thread: bytes of files, and rows that a bundle brings. */
const MUCH = { bytes: 256 * 1024, rows: 1_000 }
/** ms */
const CHECKING = 120_000
const rowsIn = (table: Json | undefined): number =>
  isObject(table)
    ? Object.values(table).reduce<number>(
        (sum, rows) => sum + (isObject(rows) ? Object.keys(rows).length : 0),
        0,
      )
    : 0
/** ms after which tables are looked at again whose check did not come to its end: nothing may be wrong with them. */
const AGAIN = 300_000
/** What a policy is made of. @throws Error that lists everything that is wrong with the tables */
const makeBeside = async (of: ToMake, unwanted: AbortSignal, aside = makeAside): Promise<Made> => {
  const { deputy_data: bundled } = of.bundle.data
  const bytes = of.files.reduce((sum, file) => sum + file.bytes.length, 0)
  const much = bytes > MUCH.bytes || (isObject(bundled) && rowsIn(bundled['grants']) > MUCH.rows)
  return much ? aside(of, CHECKING, unwanted) : makeOf(of)
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

/** The engine that serves and those it replaced, which calls may still hold. */
const createServing = () => {
  const retired = new Map<PolicyEngine, NodeJS.Timeout>()
  let engine: PolicyEngine | null = null
  return {
    current: () => engine,
    put: (next: PolicyEngine): void => {
      const old = engine
      engine = next
      if (old === null) return
      const timer = setTimeout(() => {
        retired.delete(old)
        void old.close()
      }, GRACE)
      timer.unref()
      retired.set(old, timer)
    },
    close: async (): Promise<void> => {
      for (const [old, timer] of retired) {
        clearTimeout(timer)
        await old.close()
      }
      await engine?.close()
    },
  }
}

/** A bundle that may be tried, and where it comes from. */
type Found = Trusted & { readonly from: BundleOrigin['from'] }

/** Bundle and tables → the engine that serves, or what is wrong with them. */
const createLoading = (options: PolicySourceOptions, trust: Trust) => {
  const { bundle: where, service = null, data, inputLimit, log, clock } = options
  const serving = createServing()
  const compile = createCompiler()
  const watched = service === null ? [where, data] : [data]
  // What a thread can be handed.
  const catalogues = [...options.providers].map(
    ({ id, operations, assets, mcp = null }): Catalogue => ({
      id,
      operations,
      assets,
      mcp,
    }),
  )
  let tables: ReadonlyMap<string, Table> = new Map()
  let vain: readonly string[] = []
  let problem: string | null = null
  let unread: string | null = null
  let loaded = ''
  /** By the clock that only goes on: when what is loaded is looked at again although it is the same. */
  let again = Infinity
  const ending = new AbortController()
  const isClosed = (): boolean => ending.signal.aborted
  let failures = 0
  let good: Found | null = null
  /** The last that was read; perhaps only the tables were not well. */
  let newest: Found | null = null
  let told: string | null = null

  const tryOut = async (find: () => Promise<Found>) => {
    const [found, files] = await Promise.all([find(), tableFiles(data)])
    newest = found
    const { bundle, signed, from } = found
    const {
      tables: checked,
      vain: rows,
      ready,
    } = await makeBeside(
      {
        bundle,
        where,
        files,
        catalogues,
        connections: [...options.connections],
        seals: options.seals === true,
      },
      ending.signal,
      options.makeAside,
    )
    const engine = await (options.activate ?? activate)(bundle, new Map(), {
      log,
      clock,
      inputLimit,
      compile,
      ready,
    })
    const by = signed === null ? null : { key: signed.key, issuedAt: signed.issuedAt }
    const next: PolicyEngine = { ...engine, origin: { from, signed: by } }
    return { found, checked, rows, next }
  }
  const tell = (error: unknown): string => {
    failures += 1
    const said = toldOf(error)
    const current = serving.current()
    if (said !== told) {
      options.onRefused?.(said)
      log.error(
        { err: error, serving: current?.revision ?? null },
        current === null
          ? 'no policy serves: every call is refused'
          : 'the new policy is refused, the last good one serves on',
      )
    }
    told = said
    return said
  }
  const put = ({ found, checked, rows, next }: Awaited<ReturnType<typeof tryOut>>): void => {
    serving.put(next)
    trust.use(found)
    good = found
    tables = checked
    vain = rows
    problem = null
    told = null
    unread = null
    log.info({ revision: next.revision, digest: next.digest }, 'policy loaded')
    for (const row of rows) log.warn({ row }, 'a row of the policy tables cannot do what it says')
    options.onChange(next)
  }
  return {
    serving,
    state: () => ({
      tables,
      vain,
      problem,
      unread,
      failures,
      found: good ?? newest,
      closed: isClosed(),
    }),
    fingerprint: () => fingerprint(watched),
    isLoaded: (mark: string): boolean => mark === loaded && clock.mono() < again,
    /** Nobody waits for a check any more. */
    end: (): void => ending.abort(),
    /** What the service gave cannot be read. */
    tell,
    /**
     * Rejects where they are no good; that is told.
     * @param offered by the service, whose problem it is then: the tables may be well with the bundle in use
     */
    load: async (find: () => Promise<Found>, offered = false): Promise<void> => {
      // Taken before reading: what changes meanwhile is seen as a change by the next look.
      const mark = await fingerprint(watched)
      try {
        const tried = await tryOut(find)
        if (isClosed()) return await tried.next.close()
        put(tried)
        loaded = mark
        again = Infinity
      } catch (error) {
        if (isClosed()) throw error
        const said = tell(error)
        if (!offered) {
          problem = said
          unread = error instanceof Unreadable ? said : null
        }
        if (!offered || good === null) loaded = mayHeal(error) ? '' : mark
        again = error instanceof Unfinished ? clock.mono() + AGAIN : Infinity
        throw error
      }
    },
  }
}
type Loading = ReturnType<typeof createLoading>
type InTurn = <T>(work: () => Promise<T>) => Promise<T>

/** Waits for this, and no longer than so many ms. */
const inTime = async (work: Promise<void>, ms: number): Promise<void> => {
  const over = new AbortController()
  const { signal } = over
  await Promise.race([work, sleep(ms, undefined, { signal, ref: false }).catch(() => undefined)])
  over.abort()
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** What the service gives, tried and kept; what was kept serves until then. */
const followService = async (
  { download, kept, poll, ask, first = FIRST }: Serviced,
  { log, clock }: PolicySourceOptions,
  {
    loading,
    trust,
    inTurn,
  }: { readonly loading: Loading; readonly trust: Trust; readonly inTurn: InTurn },
): Promise<Service | null> => {
  let inUse = ''
  let unkept: Uint8Array | null = null
  const keep = async (): Promise<void> => {
    if (unkept === null || ask !== 'always') return
    try {
      await kept.write(unkept)
      unkept = null
    } catch (error) {
      log.error({ err: error }, 'the policy bundle serves and could not be kept for the next start')
    }
  }
  const read = async (bytes: Uint8Array, by: Trust['read']): Promise<Trusted> => {
    try {
      return await by(await unpackBundle(bytes))
    } catch (error) {
      loading.tell(error)
      throw error
    }
  }
  const take = (bytes: Uint8Array): Promise<boolean> =>
    inTurn(async () => {
      const name = sha256(bytes)
      const other = name !== inUse
      if (other) {
        const trusted = await read(bytes, trust.read)
        await loading.load(() => Promise.resolve({ ...trusted, from: 'service' }), true)
        if (loading.state().closed) return false
        inUse = name
        unkept = bytes
      }
      await keep()
      return other
    })
  const takeKept = async (): Promise<void> => {
    try {
      const bytes = await kept.read()
      if (bytes === null) return
      const trusted = await read(bytes, trust.readKept)
      await loading.load(() => Promise.resolve({ ...trusted, from: 'kept' }), true)
      inUse = sha256(bytes)
    } catch (error) {
      log.error({ err: error }, 'the policy bundle that was kept for this start cannot be used')
    }
  }
  await inTurn(takeKept)
  if (ask === 'never') return null
  const service = createService({ download, take, poll, once: ask === 'once', clock, log })
  // With a policy that serves nobody waits for a service that may be away.
  if (ask === 'once') await service.first
  else if (loading.serving.current() === null) await inTime(service.first, first)
  return service
}

/**
 * Opens, loads once and looks for changes. Never rejects for a bad policy: then `current()` is null and `problem()` says why,
 * nothing is allowed, and the next good file serves.
 */
export const openPolicySource = async (options: PolicySourceOptions): Promise<PolicySource> => {
  const { bundle, clock, verification = null, rollback = false } = options
  const trust = createTrust(verification, { rollback, clock })
  const loading = createLoading(options, trust)
  let running: Promise<unknown> = Promise.resolve()
  const inTurn: InTurn = (work) => {
    const next = running.then(work)
    running = next.catch(() => undefined)
    return next
  }
  /** With a service: the bundle in use with the tables as they are now. */
  const load = async (): Promise<void> => {
    const { found } = loading.state()
    if (options.service == null)
      await loading.load(async () => ({
        ...(await trust.read(await bundleFiles(bundle))),
        from: 'files',
      }))
    else if (found !== null) await loading.load(() => Promise.resolve(found))
  }
  let glimpsed = ''
  const look = (): void => {
    void inTurn(async () => {
      const now = await loading.fingerprint()
      if (loading.state().closed || loading.isLoaded(now)) return
      // The writer may not be done yet, so files are read only when two looks saw them alike.
      if (now !== glimpsed) glimpsed = now
      // `load` has told the log, and `problem` keeps it.
      else await load().catch(() => undefined)
    })
  }
  const looking = setInterval(look, options.poll ?? LOOK)
  looking.unref()

  if (options.service == null) await inTurn(load).catch(() => undefined)
  const service =
    options.service == null
      ? null
      : await followService(options.service, options, { loading, trust, inTurn })
  const rest = (): Promise<void> => {
    loading.end()
    clearInterval(looking)
    return service?.close() ?? Promise.resolve()
  }
  return {
    current: loading.serving.current,
    table: (name) => loading.state().tables.get(name)?.value ?? null,
    tables: () =>
      Object.fromEntries([...loading.state().tables].map(([name, { value }]) => [name, value])),
    problem: () => {
      const said = [loading.state().problem, service?.state().problem ?? null]
      const told = [...new Set(said.filter((each) => each !== null))].join('; ')
      if (told !== '' || loading.serving.current() !== null) return told || null
      return `the bundle service ${bundle} ${service === null ? 'was not asked' : 'has not answered yet'}`
    },
    vain: () => loading.state().vain,
    unread: () => loading.state().unread,
    failures: () => loading.state().failures,
    service: () => service?.state() ?? null,
    reload: () => inTurn(load),
    rest: () => void rest(),
    close: async () => {
      await rest()
      await running
      await loading.serving.close()
    },
  }
}
