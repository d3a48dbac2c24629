// A file that is looked at: never waited for longer than a deadline, and read only if it is a file.
import { isUtf8 } from 'node:buffer'
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  renameSync,
  type BigIntStats,
  writeFileSync,
} from 'node:fs'
import { open, readdir, readFile, realpath, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** ms after which the file system counts as silent: a dead mount answers never. */
const DEADLINE_MS = 2_000
/** It runs in so many parts: while this process is busy itself no more than one of them passes, for the disk may have answered. */
const TICKS = 8
/** Of the four threads that all calls of the system share, names and keys of this process keep one. */
const MOST_AT_ONCE = 3
const MOST_BYTES = 64 * 1024 ** 2

const SAYS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist: create it, or name another',
  EACCES: 'may not be read by the user that runs deputy: change its owner or its mode',
  EPERM: 'may not be read by the user that runs deputy: change its owner or its mode',
  ENOTDIR: 'is below something that is no folder: name another',
  EISDIR: 'is a folder: name a file',
  ELOOP: 'is a link that leads in a circle: name another',
  ENAMETOOLONG: 'is too long a name: name another',
}
/** An error as a sentence: what the system says (`ENOENT: no such file …`) names no remedy. */
export const toldOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (!('errno' in error) || !('path' in error) || !('code' in error)) return error.message
  const code = String(error.code)
  return `${String(error.path)} ${SAYS[code] ?? `cannot be read (${code})`}`
}

/** It could not be looked at, whatever is in it; another look may find it well. `code` as in errors of the system. */
export class Unreadable extends Error {
  readonly code = 'DEPUTY_UNREADABLE'
}

/** What could not be read may be readable at the next look; what was read and is wrong stays so until it changes. */
export const mayHeal = (error: unknown): boolean => error instanceof Error && 'code' in error

/** Calls that did not come back in time, and keep their threads: what lies beside these paths is not asked for. */
const silent = new Set<{ readonly path: string }>()
const waiting: (() => void)[] = []
let active = 0

/** Is a thread of this process kept by a file system that does not answer? Then an ordinary exit waits for it. */
export const stuck = (): boolean => silent.size > 0

const inTime = <T>(path: string, work: () => Promise<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    const late = (): void =>
      reject(
        new Unreadable(
          `${path}: the file system does not answer: is it on a mount that is gone? Mount it again, or name another file`,
        ),
      )
    const call = { path }
    if ([...silent].some((other) => dirname(other.path) === dirname(path))) return late()
    let state: 'waits' | 'runs' | 'given up' = 'waits'
    let ticks = 0
    const tick = (): void => {
      ticks += 1
      if (ticks < TICKS) return void (timer = setTimeout(tick, DEADLINE_MS / TICKS))
      if (state === 'runs') silent.add(call)
      state = 'given up'
      late()
    }
    let timer = setTimeout(tick, DEADLINE_MS / TICKS)
    const begin = async (): Promise<void> => {
      if (state === 'given up') return waiting.shift()?.()
      active += 1
      state = 'runs'
      try {
        resolve(await work())
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)))
      } finally {
        clearTimeout(timer)
        silent.delete(call)
        active -= 1
        waiting.shift()?.()
      }
    }
    if (active < MOST_AT_ONCE) void begin()
    else waiting.push(() => void begin())
  })

/** Throws what the system throws, or Unreadable within two seconds. */
export const statOf = (path: string): Promise<BigIntStats> =>
  inTime(path, () => stat(path, { bigint: true }))

/** Names in a folder, sorted. Throws as `statOf`. */
export const namesIn = async (path: string): Promise<readonly string[]> =>
  (await inTime(path, () => readdir(path))).sort()

/**
 * The whole of a file. Throws as `statOf`; Unreadable also for a pipe, device, socket or folder, which are not waited for.
 * @param most bytes
 */
export const readWhole = (path: string, most = MOST_BYTES): Promise<Buffer> =>
  inTime(path, async () => {
    // Without O_NONBLOCK, opening a pipe waits for its writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const found = await file.stat()
      if (!found.isFile()) throw new Unreadable(`${path}: is no file: ${kindOf(found)} is there`)
      if (found.size > most) throw new Error(`${path}: is larger than ${most / 1024 ** 2} MiB`)
      return await file.readFile()
    } finally {
      await file.close()
    }
  })

/** Throws as `readWhole`, and for other bytes than UTF-8: read leniently, two names in Latin-1 could become one. */
export const readText = async (path: string, most?: number): Promise<string> => {
  const bytes = await readWhole(path, most)
  if (!isUtf8(bytes)) throw new Error(`${path}: is not written in UTF-8: save it again as UTF-8`)
  return bytes.toString('utf8')
}

/** Certificates, whose comments nobody reads, and which are in Latin-1 in many a bundle. Throws as `readWhole`. */
export const readPem = async (path: string): Promise<string> =>
  (await readWhole(path)).toString('latin1')

/** Changes whenever one of these files does, also where a link is turned to another one. Does not reject. */
export const marksOf = async (paths: readonly string[]): Promise<string> =>
  JSON.stringify(
    await Promise.all(
      paths.map(async (path) => {
        try {
          const { ino, size, mtimeNs, ctimeNs } = await statOf(path)
          return [path, ...[ino, size, mtimeNs, ctimeNs].map(String)]
        } catch (error) {
          return [path, toldOf(error)]
        }
      }),
    ),
  )

/** Has one of these files changed since? What cannot be looked at has. Does not reject. @param at ms since the epoch */
export const changedSince = async (paths: readonly string[], at: number): Promise<boolean> =>
  (
    await Promise.all(
      paths.map((path) =>
        statOf(path).then(
          ({ ctimeMs }) => Number(ctimeMs) > at,
          () => true,
        ),
      ),
    )
  ).includes(true)

/**
 * Proves that a folder can be written to, by writing a file and taking it away again.
 * Throws what the system throws, or Unreadable within two seconds.
 */
export const tryFolder = (folder: string): Promise<void> =>
  inTime(join(folder, '.'), async () => {
    const path = join(folder, `.deputy-try-${process.pid}-${Date.now()}`)
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile('deputy tries whether this folder can be written to')
      await file.sync()
    } finally {
      await file.close()
      await unlink(path)
    }
  })

/** A point of `mountinfo`: white space and backslashes are octal there (proc_pid_mountinfo(5)). */
const unescaped = (point: string): string =>
  point.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
/**
 * Does this file lie on a mount below the root that is read-only here, as the volume of a Kubernetes Secret does? Only
 * who has that mount can read it, whatever its mode says. false where the system does not tell. Rejects as `realpath`.
 */
export const onReadOnlyMount = async (path: string): Promise<boolean> => {
  if (process.platform !== 'linux') return false
  const real = await realpath(path)
  let under = '/'
  let flags: readonly string[] = []
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const [, , , , at = '', options = ''] = line.split(' ')
    const point = unescaped(at)
    // What was mounted later lies over what was there.
    if (point.length < under.length || !(real === point || real.startsWith(`${point}/`))) continue
    under = point
    flags = options.split(',')
  }
  return under !== '/' && flags.includes('ro')
}

/** Windows says nothing of others in a mode: whoever may open the folder may open what is in it. */
export const hasModes = (): boolean => process.platform !== 'win32'

/**
 * The mode of a file that everybody may read or write, as octal digits; null: nobody but its owner and group. Rejects as
 * `statOf` and `onReadOnlyMount`.
 */
export const openToAll = async (path: string): Promise<string | null> => {
  const mode = Number((await statOf(path)).mode) & 0o777
  const open = (mode & 0o002) !== 0 || ((mode & 0o005) !== 0 && !(await onReadOnlyMount(path)))
  return hasModes() && open ? mode.toString(8) : null
}

const kindOf = (found: {
  readonly isFIFO: () => boolean
  readonly isSocket: () => boolean
  readonly isDirectory: () => boolean
}): string =>
  found.isFIFO()
    ? 'a pipe'
    : found.isSocket()
      ? 'a socket'
      : found.isDirectory()
        ? 'a folder'
        : 'a device'

/** In place of what is there, whole or not at all; for its owner alone. Throws as the system does. */
export const replaceFile = (path: string, text: string): void => {
  const beside = `${path}.new`
  writeFileSync(beside, text, { mode: 0o600 })
  renameSync(beside, path)
}

/** A name that is to outlive a loss of power: the folder that holds it is on the disk. Throws as the system does. */
export const syncFolder = (path: string): void => {
  // Windows flushes no folder, and says so by an error.
  if (!hasModes()) return
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
