// The file of the key ring: read, read again when it changed, and replaced in one step.
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { openToAll, readText, statOf, syncFolder, Unreadable } from '../files.ts'
import type { Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import { newKey, ringText } from './seal.ts'
import type { KeyRing } from './seal.ts'
import {
  checkShape,
  fileOf,
  PLAIN,
  unwrapEntry,
  wrapEntry,
  type Entry,
  type Rings,
} from './wrapped.ts'
import type { Kms } from './kms.ts'

/** Text of the ring's file. Throws where others could read it: a Secret's volume is mounted in deputy's container alone. */
const ringFile = async (path: string): Promise<string> => {
  const text = await readText(path)
  const mode = await openToAll(path)
  if (mode !== null)
    throw new Error(
      `vault.keys: ${path} can be read by everybody (mode ${mode}): chmod 600 it, and make new keys if others use this machine`,
    )
  return text
}
/** Reads the ring. Throws an Error that says what is wrong and quotes no key. */
export const readRing = async (path: string, rings: Rings = PLAIN): Promise<KeyRing> =>
  rings.read(await ringFile(path))

/** ms for which a program that gave no key is not asked again for the same file. */
const AGAIN_MS = 5_000

/** The ring as its file is now; one that cannot be read is logged, and the last good one stays. */
export const followRing = (deps: {
  readonly path: string
  readonly first: KeyRing
  readonly log: Log
  readonly rings?: Rings
  readonly onChange?: (ring: KeyRing) => void
}): { readonly latest: () => Promise<KeyRing>; readonly unread: () => string | null } => {
  const { path, log, rings = PLAIN } = deps
  let ring = deps.first
  let read = ''
  /** A program is asked once for a file, whoever waits for it; after a bad answer not at once again. */
  let asked: { readonly file: string; readonly ring: Promise<KeyRing>; again: number } | null = null
  const ringOf = (file: string): Promise<KeyRing> => {
    if (!rings.asks) return readRing(path)
    if (asked !== null && asked.file === file && performance.now() < asked.again) return asked.ring
    const mine = { file, ring: readRing(path, rings), again: Infinity }
    mine.ring.catch(() => {
      mine.again = performance.now() + AGAIN_MS
    })
    asked = mine
    return mine.ring
  }
  let problem: string | null = null
  let unread: string | null = null
  const latest = async (): Promise<KeyRing> => {
    try {
      const { ino, mtimeNs, size } = await statOf(path)
      const file = [ino, mtimeNs, size].join()
      const next = file === read ? ring : await ringOf(file)
      problem = unread = null
      read = file
      const { kid } = ring.current
      ring = next
      if (ring.current.kid !== kid) deps.onChange?.(ring)
    } catch (error) {
      const reason = messageOf(error)
      unread = error instanceof Unreadable ? reason : null
      if (reason !== problem)
        log.error({ path, reason }, 'the key ring cannot be read again: the last good one is used')
      problem = reason
    }
    return ring
  }
  return { latest, unread: () => unread }
}

type RingFile = { readonly current: string; readonly keys: readonly Readonly<{ kid: string }>[] }

/** Replaces the file in one step. One writer at a time: the new file beside it is the lock. */
const rewrite = (path: string, change: (file: RingFile) => string): void => {
  const beside = `${path}.new`
  let out: number
  try {
    out = openSync(beside, 'wx', 0o600)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new Error(
      code === 'EEXIST'
        ? `vault.keys: ${beside} exists: another rotation is under way. If none is, it was cut off: remove that file.`
        : `vault.keys: ${beside} cannot be written (${code}). Where keys come from elsewhere, add the key there.`,
      { cause: error },
    )
  }
  try {
    const { uid, gid, mode } = statSync(path)
    const found = readFileSync(path, 'utf8')
    checkShape(found) // in words that quote no key; those of JSON.parse would
    const text = change(JSON.parse(found) as RingFile)
    checkShape(text)
    // Whole or not at all: one write alone may end in the midst of it, on a disk that is nearly full.
    writeFileSync(out, text)
    // Whoever could read the old ring must be able to read this one: running replicas among them.
    if (uid !== statSync(beside).uid || gid !== statSync(beside).gid) chownSync(beside, uid, gid)
    chmodSync(beside, mode & 0o640)
    fsyncSync(out)
    renameSync(beside, path)
    // Else a loss of power could bring the old ring back, beside a store that is sealed under the new.
    syncFolder(path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  } finally {
    closeSync(out)
  }
}

/**
 * Adds a seal key and makes it the current one. @returns its id
 * @param now ms since the epoch
 * @param entry as it has to stand in the file
 */
export const addKey = (
  path: string,
  now: number,
  entry: Entry = newKey('seal', now, randomBytes),
): string => {
  const kid = String(entry['kid'])
  rewrite(path, ({ keys }) => ringText(kid, [...keys, entry]))
  return kid
}

/**
 * Wraps every key of the file that is not wrapped, or unwraps every one that is. The file is replaced in one step.
 * @returns ids of the keys that were changed
 */
export const convertKeys = async (
  path: string,
  kms: Kms,
  to: 'wrapped' | 'plain',
): Promise<readonly string[]> => {
  const text = await ringFile(path)
  checkShape(text)
  const changed: string[] = []
  const keys: Entry[] = []
  for (const entry of fileOf(text)?.keys ?? []) {
    const stays = 'wrapped' in entry === (to === 'wrapped')
    if (!stays) changed.push(String(entry['kid']))
    keys.push(stays ? entry : await (to === 'wrapped' ? wrapEntry : unwrapEntry)(entry, kms))
  }
  if (changed.length > 0)
    rewrite(path, (file) => {
      if (JSON.stringify(file) !== JSON.stringify(JSON.parse(text)))
        throw new Error(`vault.keys: ${path} changed meanwhile: nothing was done, run it again.`)
      return ringText(file.current, keys)
    })
  return changed
}

/** Removes keys; never the current one, for the ring would not load. */
export const removeKeys = (path: string, kids: readonly string[]): void =>
  rewrite(path, ({ current, keys }) =>
    ringText(
      current,
      keys.filter(({ kid }) => !kids.includes(kid)),
    ),
  )
