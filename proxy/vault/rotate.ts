// The file of the key ring and its rotation: reads the file again when it changed, adds keys, and
// seals everything anew under the current key.
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
import type { Log, SealedRow, Store } from '../model.ts'
import { openToAll, readText, statOf, syncFolder, Unreadable } from '../files.ts'
import { messageOf } from '../problem.ts'
import { createSealer, kidOf, newKey, ringText } from './seal.ts'
import type { KeyRing, Sealer } from './seal.ts'
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

type Resealed = {
  readonly moved: number
  /** Rows that do not open: left as they are. */
  readonly broken: readonly { readonly row: SealedRow; readonly reason: string }[]
  /** key id → rows under it. */
  readonly used: ReadonlyMap<string, number>
}

const PAGE = 200
const PASSES = 10

/**
 * Seals everything anew under the current key while others work: a row that changed meanwhile is theirs, and is
 * looked at again in the next pass. Ends when a pass found nothing to do.
 */
export const reseal = async (deps: {
  readonly store: Pick<Store, 'sealed'>
  readonly sealer: Pick<Sealer, 'reseal'>
  readonly progress: (moved: number) => void
  readonly page?: number
}): Promise<Resealed> => {
  const { store, sealer, progress, page = PAGE } = deps
  let moved = 0
  for (let pass = 1; ; pass += 1) {
    const used = new Map<string, number>()
    const broken: { readonly row: SealedRow; readonly reason: string }[] = []
    let busy = false
    for (let after: SealedRow | null = null; ;) {
      const rows: readonly SealedRow[] = await store.sealed.page(after, page)
      for (const row of rows) {
        const next = await sealer.reseal(row.sealed).catch((error: unknown) => {
          broken.push({ row, reason: messageOf(error) })
          return null
        })
        const done = next !== null && (await store.sealed.replace(row, next))
        busy ||= next !== null
        moved += done ? 1 : 0
        const kid = kidOf(done ? next : row.sealed) ?? 'unknown'
        used.set(kid, (used.get(kid) ?? 0) + 1)
      }
      after = rows.at(-1) ?? null
      if (after === null) break
      progress(moved)
    }
    if (!busy || pass === PASSES) return { moved, broken, used }
  }
}

/** Keys that sealed rows name and the ring lacks; the first rows stand for all. */
export const missingKeys = async (
  store: Pick<Store, 'sealed'>,
  ring: KeyRing,
): Promise<readonly string[]> => {
  const kids = (await store.sealed.page(null, PAGE)).map(({ sealed }) => kidOf(sealed) ?? '')
  return [...new Set(kids)].filter((kid) => kid !== '' && !ring.seal.has(kid))
}

/** A process that read the ring before this may still be about to store what it sealed. */
const SETTLED_MS = 10 * 60_000
export const ROTATE_AGAIN = '`deputy keys rotate --retire`'

/**
 * The whole command: adds a key and seals everything anew under it, or removes what nothing needs.
 * @returns exit code: 0, or 1 with what is wrong and what to do
 */
export const rotateKeys = async (options: {
  readonly store: Pick<Store, 'sealed'>
  /** The ring's file. */
  readonly path: string
  readonly rings?: Rings
  /** How many refreshed tokens wait for the store, sealed. */
  readonly waiting: () => Promise<number>
  readonly retire: boolean
  readonly print: (line: string) => void
  readonly complain: (line: string) => void
  readonly now: () => number
}): Promise<number> => {
  const { store, path, rings = PLAIN, retire, print, complain, now } = options
  const settled = now() - statSync(path).mtimeMs
  if (!retire) {
    const entry = await rings.entry(newKey('seal', now(), randomBytes))
    print(`${addKey(path, now(), entry)} was added to ${path} and seals from now on`)
  }
  const ring = await readRing(path, rings)
  const result = await reseal({
    store,
    sealer: createSealer(ring, () => readRing(path, rings)),
    progress: (moved) => print(`sealed anew: ${moved}`),
  })
  const { moved, broken, used } = result
  print(
    `sealed anew: ${moved}, all in all; under ${ring.current.kid} now: ${used.get(ring.current.kid) ?? 0}`,
  )
  for (const { row, reason } of broken)
    complain(`${row.table} ${row.id} does not open and stays as it is: ${reason}`)
  const unused = report(
    [...ring.seal.keys()].filter((kid) => kid !== ring.current.kid),
    result,
    print,
  )
  if (retire && unused.length > 0) {
    const waiting = await options.waiting()
    if (waiting > 0) {
      complain(
        `${waiting} refreshed tokens wait in vault.spool, perhaps under an old key: nothing was removed. Start deputy, which stores them, and run ${ROTATE_AGAIN} again.`,
      )
      return 1
    }
    if (settled < SETTLED_MS) {
      complain(
        `The ring changed less than ${SETTLED_MS / 60_000} minutes ago, and a running deputy may be about to store what it sealed before: nothing was removed. Run ${ROTATE_AGAIN} later.`,
      )
      return 1
    }
    removeKeys(path, unused)
    print(`removed: ${unused.join(', ')}`)
  }
  return broken.length === 0 ? 0 : 1
}

/** @returns the old keys that nothing is sealed under */
const report = (
  old: readonly string[],
  { used }: Resealed,
  print: (line: string) => void,
): readonly string[] => {
  for (const kid of old) {
    const rows = used.get(kid) ?? 0
    print(
      rows === 0
        ? `${kid}: nothing is sealed under it; ${ROTATE_AGAIN} removes it`
        : `${kid}: still needed by ${rows} row${rows === 1 ? '' : 's'}`,
    )
  }
  return old.filter((kid) => (used.get(kid) ?? 0) === 0)
}
