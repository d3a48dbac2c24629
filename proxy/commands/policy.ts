// `deputy policy build` and `deputy policy test`: the pinned opa, called so that the same sources give the same bytes, and
// what can be proved without it.
import { execFile } from 'node:child_process'
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { constants } from 'node:fs'
import { access, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { delimiter, join, relative, resolve } from 'node:path'
import { tmpdir } from 'node:os'
import { promisify } from 'node:util'
import type { Log } from '../model.ts'
import { bundleKeyOf } from '../config/policy.ts'
import { bundleFromFiles, unpackBundle } from '../policy/bundle.ts'
import type { Verification } from '../policy/signature.ts'
import { checkTables } from '../policy/make.ts'
import { activate } from '../policy/activate.ts'
import { createTrust } from '../policy/trusted.ts'
import { askGolden } from '../policy/golden.ts'
import { messageOf } from '../problem.ts'

const run = promisify(execFile)

/** Older ones compile wasm that corrupts memory, newer ones were not compared with ours. */
export const OPA_VERSION = '1.22.2'
/** How long a program called opa may take to say which it is. */
const VERSION_MS = 30_000
export const ENTRYPOINT = 'deputy/decision'

const NATIVE = ['--capabilities', 'policies/capabilities.json', '--ignore', '*_test.rego']
// Never more than -O 0: higher levels have turned refusals into permissions.
const COMPILE = ['-t', 'wasm', '-O', '0', '-e', ENTRYPOINT, '-b', 'policies', ...NATIVE]

/** The limit of opa's own, 5 s, is one for a machine with nothing else to do. */
const TEST = ['test', '-b', 'policies', '--timeout', '10m']

type Print = (line: string) => void

/** Where an `opa` may be; the first that exists is taken. */
export type OpaPlaces = {
  /** Named by the caller: nothing else is tried. */
  readonly opa?: string | undefined
  /** Value of DEPUTY_OPA: nothing else is tried. */
  readonly named?: string | undefined
  /** Value of PATH. */
  readonly path?: string | undefined
  /** Home directory, for the cache of continuous integration. */
  readonly home?: string | undefined
}

const executable = async (file: string): Promise<boolean> =>
  access(file, constants.X_OK).then(
    () => true,
    () => false,
  )

/** The path of the pinned `opa`. Throws an Error that says what to install when there is none or another version. */
export const findOpa = async (places: OpaPlaces): Promise<string> => {
  const named = places.opa ?? (places.named === '' ? undefined : places.named)
  const candidates =
    named === undefined
      ? [
          ...(places.path ?? '')
            .split(delimiter)
            .filter((folder) => folder !== '')
            .map((folder) => join(folder, 'opa')),
          ...(places.home === undefined
            ? []
            : [join(places.home, '.cache/deputy-ci', `opa-${OPA_VERSION}`, 'opa')]),
        ]
      : [resolve(named)]
  const wrong: string[] = []
  for (const file of candidates) {
    if (!(await executable(file))) {
      if (named !== undefined) wrong.push(`${file} cannot be run`)
      continue
    }
    const said = await run(file, ['version'], { timeout: VERSION_MS }).catch(() => null)
    if (said === null) {
      wrong.push(`${file} does not say its version`)
      continue
    }
    const version = /^Version: (\S+)/m.exec(said.stdout)?.[1] ?? 'of unknown version'
    if (version === OPA_VERSION) return file
    wrong.push(`${file} is ${version}`)
  }
  throw new Error(
    `opa ${OPA_VERSION} is needed${wrong.length === 0 ? ' and was not found' : `, but ${wrong.join(', ')}`}: ` +
      `install it (go install github.com/open-policy-agent/opa@v${OPA_VERSION}, or a binary of https://github.com/open-policy-agent/opa/releases/tag/v${OPA_VERSION}) ` +
      'and put it in PATH or name it with DEPUTY_OPA',
  )
}

/** `opa test -b policies` puts the folder before names that already begin with it: a path that does not exist. */
const truePaths = (out: string): string => out.replaceAll('policies/policies/', 'policies/')

/** Runs opa from the folder that contains `policies`: the path argument becomes part of the bundle's bytes. */
const opaIn = async (
  opa: string,
  root: string,
  args: readonly string[],
): Promise<{ readonly code: number; readonly out: string }> => {
  try {
    const { stdout, stderr } = await run(opa, [...args], { cwd: root, maxBuffer: 64 * 1024 * 1024 })
    return { code: 0, out: truePaths(stdout + stderr) }
  } catch (error) {
    const failed = error as { code?: unknown; stdout?: string; stderr?: string }
    if (typeof failed.code !== 'number') throw error
    return { code: failed.code, out: truePaths(`${failed.stdout ?? ''}${failed.stderr ?? ''}`) }
  }
}

const isSource = (name: string): boolean =>
  name === '.manifest' ||
  /(^|\/)data\.(json|ya?ml)$/.test(name) ||
  (name.endsWith('.rego') && !name.endsWith('_test.rego'))

/** Revision of a bundle: a digest of its sources, so that equal sources give equal bytes at every commit. */
export const contentRevision = async (policies: string): Promise<string> => {
  const found = await readdir(policies, { recursive: true, withFileTypes: true })
  const names = found
    .filter((entry) => entry.isFile())
    .map((entry) => relative(policies, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .filter(isSource)
    .sort()
  const hash = createHash('sha256')
  for (const name of names) {
    const bytes = await readFile(join(policies, name))
    hash.update(`${JSON.stringify(name)} ${bytes.length}\n`).update(bytes)
  }
  return hash.digest('hex').slice(0, 16)
}

const QUIET: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

const clock = { now: () => Date.now(), mono: () => performance.now() }

/** What opa is told about a signature, and what a deputy is told of whose it is. `iat` puts signed bundles in order. */
const signing = async (
  { key, scope }: { readonly key: string; readonly scope: string | undefined },
  scratch: string,
): Promise<{ readonly args: readonly string[]; readonly verification: Verification }> => {
  const text = await readFile(key, 'utf8')
  let pem: string
  try {
    pem = createPublicKey(createPrivateKey(text)).export({ type: 'spki', format: 'pem' })
  } catch {
    throw new Error(`${key} is no private key in PEM that can be read without a password`)
  }
  const read = bundleKeyOf(pem)
  if (typeof read === 'string') throw new Error(`${key} ${read}`)
  const claims = join(scratch, 'claims.json')
  const iat = Math.floor(clock.now() / 1_000)
  await writeFile(claims, JSON.stringify({ iat, ...(scope === undefined ? {} : { scope }) }))
  const args = ['--signing-key', key, '--signing-alg', read.algorithms[0] ?? '']
  return { args: [...args, '--claims-file', claims], verification: { keys: { own: pem }, scope } }
}

/** Throws what a deputy would say that refuses to serve it: wrong tables, wrong answers to its own probes. */
const prove = async (
  bundle: string,
  where: string,
  verification: Verification | null,
): Promise<void> => {
  const trust = createTrust(verification, { rollback: false, clock })
  const { bundle: read } = await trust.read(await unpackBundle(await readFile(bundle)))
  checkTables(read, where, new Map())
  await (await activate(read, new Map(), { log: QUIET, clock })).close()
}

const needFolder = async (root: string): Promise<void> => {
  const names = await readdir(join(root, 'policies')).catch(() => null)
  if (names?.includes('.manifest') !== true)
    throw new Error(
      `${join(root, 'policies')} is no folder of policy sources: \`deputy init\` writes one, then run this beside it`,
    )
}

type Options = {
  /** Folder that contains `policies/`. */
  readonly root: string
  readonly places: OpaPlaces
  readonly print: Print
}

const guarded = async (print: Print, work: () => Promise<number>): Promise<number> => {
  try {
    return await work()
  } catch (error) {
    print(messageOf(error))
    return 1
  }
}

/**
 * Compiles `policies/` into `out` (default `policies/bundle.tar.gz`), once it answers its own probes. With `check` nothing
 * is written: the rebuild must equal the file that is there, byte by byte. Returns the exit code.
 */
export const policyBuild = (
  options: Options & {
    readonly out?: string | undefined
    readonly check?: boolean | undefined
    /** Path of a private key (PEM): the bundle is signed with it. */
    readonly signingKey?: string | undefined
    /** The signature's `scope`. */
    readonly scope?: string | undefined
  },
): Promise<number> =>
  guarded(options.print, async () => {
    const { root, print, signingKey: key, scope } = options
    await needFolder(root)
    if (key !== undefined && options.check === true)
      throw new Error('--check: a signed bundle has another time each time: check the unsigned one')
    if (scope !== undefined && key === undefined)
      throw new Error('--scope: is of a signature: name its key with --signing-key')
    const opa = await findOpa(options.places)
    const out = resolve(root, options.out ?? 'policies/bundle.tar.gz')
    const revision = await contentRevision(join(root, 'policies'))
    const scratch = await mkdtemp(
      options.check === true ? join(tmpdir(), 'deputy-policy-') : `${out}.`,
    )
    try {
      const fresh = join(scratch, 'bundle.tar.gz')
      const signed = key === undefined ? null : await signing({ key: resolve(key), scope }, scratch)
      const args = [...COMPILE, '-r', revision, '-o', fresh, ...(signed?.args ?? [])]
      const built = await opaIn(opa, root, ['build', ...args])
      if (built.code !== 0) {
        print(built.out.trim())
        return 1
      }
      if (options.check !== true) {
        await prove(fresh, 'policies', signed?.verification ?? null)
        await rename(fresh, out)
        print(`${relative(root, out)}: revision ${revision}${signed === null ? '' : ', signed'}`)
        return 0
      }
      const [want, have] = await Promise.all([readFile(fresh), readFile(out)])
      if (want.equals(have)) return 0
      print(`${relative(root, out)} does not match its sources: run \`deputy policy build\``)
      return 1
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  })

type Coverage = {
  readonly coverage: number
  readonly files: Readonly<
    Record<
      string,
      {
        readonly not_covered?: readonly {
          readonly start: { readonly row: number }
          readonly end: { readonly row: number }
        }[]
      }
    >
  >
}

/** Inputs with their decisions, in the folder that holds `policies`. */
const GOLDEN = 'test/golden'
const goldenIn = async (root: string): Promise<ReadonlyMap<string, unknown>> => {
  const names = await readdir(join(root, GOLDEN)).catch(() => [])
  const files = new Map<string, unknown>()
  for (const name of names.filter((one) => one.endsWith('.json')).sort())
    files.set(
      `${GOLDEN}/${name}`,
      JSON.parse(await readFile(join(root, GOLDEN, name), 'utf8')) as unknown,
    )
  return files
}

/** The golden inputs through the WebAssembly of a bundle; false: an answer is wrong. */
const golden = async ({ root, print }: Options, bundle: string): Promise<boolean> => {
  const read = bundleFromFiles(await unpackBundle(await readFile(bundle)), true)
  const { asked, wrong } = await askGolden(read, await goldenIn(root))
  print(`golden inputs in WebAssembly: ${asked - wrong.length} of ${asked} as written`)
  for (const line of wrong) print(`  ${line}`)
  if (read.revision !== (await contentRevision(join(root, 'policies'))))
    print(
      `  note: ${relative(root, bundle)} was built from other sources than those that are there`,
    )
  return wrong.length === 0
}

/** What can be tested without opa; the exit code says that it is not all. */
const withoutOpa = async (options: Options, why: string): Promise<number> => {
  const bundle = join(options.root, 'policies/bundle.tar.gz')
  const right = await golden(options, bundle).catch((error: unknown) => {
    options.print(
      `golden inputs in WebAssembly: ${relative(options.root, bundle)}: ${messageOf(error)}`,
    )
    return false
  })
  options.print(
    `NOT RUN: format, types, the Rego tests and their coverage, because there is no opa: ${why}`,
  )
  return right ? 2 : 1
}

/** The same through a bundle of the sources that are there. */
const goldenOfSources = async (options: Options, opa: string): Promise<boolean> => {
  const scratch = await mkdtemp(join(tmpdir(), 'deputy-policy-'))
  try {
    const fresh = join(scratch, 'bundle.tar.gz')
    const revision = await contentRevision(join(options.root, 'policies'))
    const built = await opaIn(opa, options.root, ['build', ...COMPILE, '-r', revision, '-o', fresh])
    if (built.code !== 0) throw new Error(built.out.trim())
    return await golden(options, fresh)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/**
 * Format, types against the schemas, tests, and how much of the Rego they cover, in per cent; less than `coverage`, where
 * that is given, fails; and golden inputs through the WebAssembly, also where there is no opa. Returns the exit code: 2 is
 * that the golden inputs are right and nothing else was tested.
 */
export const policyTest = (
  options: Options & { readonly coverage?: number | undefined },
): Promise<number> =>
  guarded(options.print, async () => {
    const { root, print } = options
    await needFolder(root)
    const found = await findOpa(options.places).then(
      (path) => ({ path }),
      (error: unknown) => ({ why: messageOf(error) }),
    )
    if ('why' in found) return withoutOpa(options, found.why)
    const opa = found.path
    const strict = ['check', '--strict', '--schema', 'policies/schema', '-b', 'policies']
    const steps: readonly (readonly [string, readonly string[]])[] = [
      ['format', ['fmt', '--fail', '--list', 'policies']],
      // What is compiled may use native builtins only; tests may use everything.
      ['types', [...strict, ...NATIVE]],
      ['types of the tests', strict],
      ['tests', TEST],
    ]
    for (const [name, args] of steps) {
      const { code, out } = await opaIn(opa, root, args)
      if (code !== 0 || name === 'tests') print(`${name}: ${out.trim()}`)
      if (code !== 0) return 1
    }
    if (!(await goldenOfSources(options, opa))) return 1
    const least = options.coverage ?? 0
    const { code, out } = await opaIn(opa, root, [...TEST, '--coverage'])
    if (code !== 0) throw new Error(`coverage: ${out.trim()}`)
    const report = JSON.parse(out) as Coverage
    const missed = Object.entries(report.files).flatMap(([file, { not_covered = [] }]) =>
      not_covered.map(({ start, end }) => `  ${file}:${start.row}-${end.row}`),
    )
    print(`coverage: ${report.coverage} %${missed.length > 0 ? '; no test reaches:' : ''}`)
    for (const lines of new Set(missed)) print(lines)
    if (report.coverage >= least) return 0
    print(`at least ${least} % is asked for`)
    return 1
  })
