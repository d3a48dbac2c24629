// Reads an OPA bundle, an archive or a folder, completely, or refuses it with everything that is
// wrong with it.
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { unpackTar } from 'modern-tar'
import type { Json, JsonObject } from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { ENTRYPOINT } from './instance.ts'
import { parseNamed } from './strict.ts'

const ROOTS = ['deputy', 'deputy_data', 'deputy_test']
const MAX_BYTES = 16 * 1024 * 1024
const MAX_ENTRIES = 1000

export type Bundle = {
  readonly revision: string
  /** sha256 (hex, `sha256:` prefix) over module and data. */
  readonly digest: string
  readonly wasm: Uint8Array<ArrayBuffer>
  readonly data: JsonObject
  readonly manifest: JsonObject
}

/** Unpacked size and number of files are bounded here too, for whoever lists a directory. */
export const BUNDLE_LIMITS = { bytes: MAX_BYTES, entries: MAX_ENTRIES } as const

/** sha256 over parts of any length, each preceded by its length so that no two lists share a digest. */
export const digestOf = (parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    hash.update(`${bytes.length}\n`).update(bytes)
  }
  return `sha256:${hash.digest('hex')}`
}

const refuse = (problems: readonly string[]): Error =>
  new Error(`the policy bundle cannot be used:\n${problems.map((line) => `- ${line}`).join('\n')}`)

/** OPA writes `/data.json`, others `./data.json` or `data.json`. null: not a name inside the bundle. */
export const entryName = (raw: string): string | null => {
  const name = raw.replace(/^(\.?\/)+/, '').replace(/\/$/, '')
  const odd =
    name.includes('\\') ||
    name.split('/').some((part) => part === '' || part === '..' || part === '.')
  return odd ? null : name
}

/** Segments of `a/b`, and of `/a/b/`, which OPA takes for the same. */
const rootPath = (root: string): string => root.replaceAll(/^\/+|\/+$/g, '')
const rootsOf = (manifest: JsonObject): readonly Json[] =>
  Array.isArray(manifest['roots']) ? manifest['roots'] : ['']
const within = (path: string, root: string): boolean => path === root || path.startsWith(`${root}/`)

/** Paths of data that no root owns: another bundle may own them. */
const outside = (
  at: string,
  value: Json | undefined,
  roots: readonly string[],
): readonly string[] => {
  if (roots.some((root) => within(at, root))) return []
  return isObject(value) && roots.some((root) => within(root, at))
    ? Object.entries(value).flatMap(([key, inner]) => outside(`${at}/${key}`, inner, roots))
    : [at]
}

const checkManifest = (manifest: JsonObject, problems: string[]): void => {
  const roots = rootsOf(manifest)
  const paths = roots.flatMap((root) => (typeof root === 'string' ? [rootPath(root)] : []))
  for (const [i, path] of paths.entries()) {
    const other = paths.find((each, j) => j !== i && within(path, each))
    if (other !== undefined && (other !== path || paths.indexOf(path) === i))
      problems.push(
        `.manifest: root ${JSON.stringify(path)} overlaps with ${JSON.stringify(other)}`,
      )
  }
  for (const root of roots)
    if (root === 'partial')
      problems.push('it was built with -O 1 or -O 2, which can drop refusals: build it with -O 0')
    else if (typeof root !== 'string' || !ROOTS.includes(rootPath(root).split('/')[0] ?? ''))
      problems.push(`.manifest: root ${JSON.stringify(root)} is none of ${ROOTS.join(', ')}`)
  const modules = Array.isArray(manifest['wasm']) ? manifest['wasm'] : []
  const ours = modules.find((module) => isObject(module) && module['entrypoint'] === ENTRYPOINT)
  if (!isObject(ours))
    problems.push(`.manifest: no entry point ${ENTRYPOINT}: build with -t wasm -e ${ENTRYPOINT}`)
  else if (typeof ours['module'] !== 'string' || entryName(ours['module']) !== 'policy.wasm')
    problems.push(`.manifest: entry point ${ENTRYPOINT} is not in /policy.wasm`)
  if (manifest['revision'] !== undefined && typeof manifest['revision'] !== 'string')
    problems.push('.manifest: revision is not a text')
}

/** Names as they stand in the archive or folder, and their bytes. */
export type BundleFiles = readonly (readonly [string, Uint8Array])[]

type Tree = Map<string, Json | Tree>

const plain = (tree: Tree): JsonObject =>
  Object.fromEntries(
    [...tree].map(([key, value]) => [key, value instanceof Map ? plain(value) : value]),
  )

/** Puts the object of `a/b/data.json` at a.b; two files may share a place but never a key. */
const graft = (tree: Tree, name: string, value: JsonObject, problems: string[]): void => {
  let at = tree
  for (const step of name.split('/').slice(0, -1)) {
    const next = at.get(step) ?? new Map<string, Json | Tree>()
    if (!(next instanceof Map)) {
      problems.push(`${name}: another file already holds ${JSON.stringify(step)}`)
      return
    }
    at.set(step, next)
    at = next
  }
  for (const [key, inner] of Object.entries(value))
    if (at.has(key)) problems.push(`${name}: another file already holds ${JSON.stringify(key)}`)
    else at.set(key, inner)
}

const isData = (name: string): boolean => /(^|\/)data\.(json|ya?ml)$/.test(name)

/** OPA goes by how a name ends, so that each of these anywhere else would be a second one. */
const ONCE = ['.manifest', '.signatures.json']

/** Names inside the bundle and bytes; what is no name, or more than there may be, is told. */
const filesOf = (files: BundleFiles, problems: string[]): Map<string, Uint8Array> => {
  const found = new Map<string, Uint8Array>()
  for (const [raw, bytes] of files) {
    const name = entryName(raw)
    const end =
      name === null ? undefined : ONCE.find((each) => name !== each && name.endsWith(each))
    if (name === null) problems.push(`${JSON.stringify(raw)}: not a name inside a bundle`)
    else if (end !== undefined)
      problems.push(`${name}: a second ${end} to OPA, which may be at the top only`)
    else if (found.has(name)) problems.push(`${name} is there twice`)
    else found.set(name, bytes)
  }
  if (found.size > MAX_ENTRIES) problems.push(`more than ${MAX_ENTRIES} files`)
  return found
}

/**
 * A bundle from its files. Throws one Error that lists every problem.
 * @param verified its signature was checked; one that nobody checked is a problem
 */
export const bundleFromFiles = (files: BundleFiles, verified = false): Bundle => {
  const problems: string[] = []
  const found = filesOf(files, problems)
  if (found.has('.signatures.json') && !verified)
    problems.push(
      'it is signed (.signatures.json), and nothing says whose signature counts: name the keys in policy.verification',
    )
  if (found.has('patch.json')) problems.push('it is a delta bundle: ask the server for snapshots')
  if ([...found.keys()].some((name) => name.startsWith('optimized/')))
    problems.push('it holds /optimized/ entries: build it with -O 0')

  const read = (name: string, bytes: Uint8Array): JsonObject | null => {
    try {
      const value = parseNamed(name === '.manifest' ? '.manifest.json' : name, bytes)
      if (isObject(value)) return value
      problems.push(`${name}: not an object`)
    } catch (error) {
      problems.push(messageOf(error))
    }
    return null
  }
  const manifestBytes = found.get('.manifest')
  const manifest = manifestBytes === undefined ? null : read('.manifest', manifestBytes)
  if (manifestBytes === undefined) problems.push('there is no .manifest')
  if (manifest !== null) checkManifest(manifest, problems)

  const tree: Tree = new Map()
  // Shallow files first: a table may be split over folders below it.
  for (const [name, bytes] of [...found].sort(([a], [b]) => a.localeCompare(b)))
    if (isData(name)) {
      const value = read(name, bytes)
      if (value !== null) graft(tree, name, value, problems)
    }
  const data = plain(tree)
  const roots = rootsOf(manifest ?? {}).flatMap((root) =>
    typeof root === 'string' ? [rootPath(root)] : [],
  )
  for (const key of tree.keys())
    if (!ROOTS.includes(key)) problems.push(`data.${key} lies outside ${ROOTS.join(', ')}`)
    else if (manifest !== null)
      for (const path of outside(key, data[key], roots))
        problems.push(`data.${path.replaceAll('/', '.')} lies outside the roots of .manifest`)

  const wasm = found.get('policy.wasm')
  if (wasm === undefined) problems.push('there is no policy.wasm: build it with -t wasm')
  if (problems.length > 0 || wasm === undefined || manifest === null) throw refuse(problems)
  const digest = digestOf([wasm, JSON.stringify(data)])
  const revision = manifest['revision']
  return {
    revision: typeof revision === 'string' && revision !== '' ? revision : digest.slice(7, 23),
    digest,
    wasm: new Uint8Array(wasm),
    data,
    manifest,
  }
}

/** The files of a `.tar.gz` of at most 16 MiB unpacked. Rejects with one Error that says what is wrong. */
export const unpackBundle = async (bytes: Uint8Array): Promise<BundleFiles> => {
  const archive = await promisify(gunzip)(bytes, { maxOutputLength: MAX_BYTES }).catch(
    (error: unknown) => {
      const large = isObject(error) && error['code'] === 'ERR_BUFFER_TOO_LARGE'
      throw refuse([
        large ? 'it unpacks to more than 16 MiB' : `not a gzip file: ${messageOf(error)}`,
      ])
    },
  )
  const entries = await unpackTar(archive, { strict: true }).catch((error: unknown) => {
    throw refuse([`not a tar archive: ${messageOf(error)}`])
  })
  if (entries.length > MAX_ENTRIES) throw refuse([`more than ${MAX_ENTRIES} entries`])
  const files: [string, Uint8Array][] = []
  for (const { header, data } of entries) {
    if (header.type === 'directory') continue
    if ((header.type ?? 'file') !== 'file' || data === undefined)
      throw refuse([
        `${JSON.stringify(header.name)} is a ${header.type ?? 'bodyless entry'}, not a file`,
      ])
    files.push([header.name, data])
  }
  return files
}

/** An unsigned bundle from a `.tar.gz`. Rejects with one Error that lists every problem. */
export const readBundle = async (bytes: Uint8Array): Promise<Bundle> =>
  bundleFromFiles(await unpackBundle(bytes))
