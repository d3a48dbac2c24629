// Where evidence lines go. A file takes a whole batch or is cut back to what it had; a stream that
// took part of a batch gets the rest before anything else.
import * as fs from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { syncFolder } from '../files.ts'
import type { Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import type { Link } from './chain.ts'
import { linkOf, sameLink } from './chain.ts'
import { lockFile } from './lock.ts'
import type { Segment, Torn } from './segments.ts'
import { began, beside, readSegment, segmentName, tail, tornOf } from './segments.ts'

export type FileSink = {
  /** The last line that was there before; null: the file was empty. */
  readonly after: Link | null
  /** What stood behind it without a line end, now in `<path>.torn`. */
  readonly torn: Torn | null
  readonly path: string
  /** Why the file at the path is not the one that is written; null: it is. For when no write is under way. */
  readonly fault: (quick?: boolean) => string | null
  /** Is it time for a new segment? @param now wall clock, ms */
  readonly due: (rotate: Rotate, now: number) => boolean
  /** Moves the file aside and goes on in a new one. Resolves with the name of the old one. */
  readonly rotate: (now: number, flush: boolean) => Promise<string>
  /**
   * Goes on with what is at the path. `same`: it ends with `last`. Otherwise it is new and empty, and the
   * file beside it that ends with `last` is named; without one it rejects with what to do, unless `forced`.
   */
  readonly reopen: (
    last: Link,
    how: { readonly forced: boolean; readonly flush: boolean },
  ) => Promise<'same' | { readonly file: string | null }>
  /** May a synchronous write be tried? Not while an fsync runs: it would wait for the disk. */
  readonly idle: () => boolean
  readonly writeNow: (bytes: Buffer) => void
  readonly write: (bytes: Buffer) => Promise<void>
  /** Keeps what was written since the last `keep`, or cuts it off. */
  readonly keep: () => void
  readonly cut: () => void
  readonly sync: () => Promise<void>
  readonly close: () => void
}

export type Rotate = { readonly size: number; readonly everyMs: number }

type StreamSink = {
  readonly write: (bytes: Buffer) => Promise<void>
  /** Did it take a part of the last batch, so that the rest must follow? */
  readonly begun: () => boolean
}

const AGAIN_MS = 5_000
const writeAsync = promisify(fs.write)
const truncateAsync = promisify(fs.ftruncate)
const syncAsync = promisify(fs.fdatasync)

const linkIn = (line: Buffer, path: string): Link => {
  const link = linkOf(line)
  if (link !== null) return link
  throw new Error(
    `${path} does not end in an audit record, so nothing is appended to it. ` +
      'Move the file away (keep it: it may be evidence) or name another one',
  )
}

/** Cuts a file back to its lines; what stood behind them goes to `<path>.torn`. */
const putAside = (fd: number, good: number, path: string, log: Log): Torn => {
  const rest = Buffer.alloc(fs.fstatSync(fd).size - good)
  fs.readSync(fd, rest, 0, rest.length, good)
  fs.appendFileSync(`${path}.torn`, rest, { mode: 0o600, flush: true })
  fs.ftruncateSync(fd, good)
  const torn = tornOf(path, rest)
  log.warn({ ...torn, file: path }, `what is no line was moved to ${torn.file}.torn`)
  return torn
}

const openEnd = (path: string): { readonly fd: number; readonly stat: fs.Stats } => {
  const fd = fs.openSync(path, 'a+', 0o600)
  try {
    const stat = fs.fstatSync(fd)
    if (!stat.isFile())
      throw new Error(`${path} is not a regular file; audit.sink knows stdout too`)
    // A group may have been let in to collect the file; nobody else reads evidence.
    if ((stat.mode & 0o007) !== 0) fs.fchmodSync(fd, stat.mode & 0o770)
    return { fd, stat }
  } catch (error) {
    fs.closeSync(fd)
    throw error
  }
}

/** An empty file that lasts. */
const newFile = (path: string, mode: number): ReturnType<typeof openEnd> => {
  const next = openEnd(path)
  try {
    if (next.stat.size > 0) throw new Error(`${path} was made by somebody else`)
    fs.fchmodSync(next.fd, mode)
    syncFolder(path)
    return next
  } catch (error) {
    fs.closeSync(next.fd)
    throw error
  }
}

/** What the journal finds where an earlier process stopped; its end may lie in a file that was rotated since. */
const found = async (
  fd: number,
  size: number,
  path: string,
  log: Log,
): Promise<{ readonly after: Link | null; readonly torn: Torn | null; readonly good: number }> => {
  const rest = tail(fd, size, path)
  const good = size - rest.length
  const torn = rest.length > 0 ? putAside(fd, good, path, log) : null
  if (good > 0) return { after: linkIn(tail(fd, good - 1, path), path), torn, good }
  const newest = await beside(path, { packed: 1 }).newest()
  if (newest === undefined) return { after: null, torn, good }
  log.info({ file: path, after: newest.path }, 'the evidence goes on after a rotated file')
  const half = newest.torn.length > 0 ? tornOf(newest.path, newest.torn) : null
  return { after: newest.last, torn: torn ?? half, good }
}

const two = Buffer.alloc(2)
/**
 * Is it sure that the file is still at its path and ends after `size` bytes? false: look closer. Nothing is asked about
 * the file's times: a file system that was asked writes them more exactly, and more dearly, at the next write.
 */
const asLeft = (fd: number, path: string, size: number): boolean => {
  try {
    // Linux names there where the file is now, or that it is nowhere.
    if (size === 0 || fs.readlinkSync(`/proc/self/fd/${fd}`) !== path) return false
    return fs.readSync(fd, two, 0, 2, size - 1) === 1
  } catch {
    return false
  }
}

const GO_ON = 'Bring the file back, or send SIGHUP to go on in a new one'

/** Opens or continues a file; a torn last line is moved to `<path>.torn`. Throws what to do. */
export const openFile = async (named: string, proc: string, log: Log): Promise<FileSink> => {
  // Of a symbolic link the file is meant: a rotation would move the link away.
  const path = fs.existsSync(named) ? fs.realpathSync(named) : named
  const lock = await lockFile(path, proc, log)
  let fd = -1
  try {
    const opened = openEnd(path)
    let { stat } = opened
    fd = opened.fd
    const before = await found(fd, stat.size, path, log)
    let { good } = before
    let end = good
    let dirty = false
    let changed = false
    let since: number | null = null
    const seen = new Map<string, Segment | null>()
    let syncing: Promise<void> | null = null
    const check = () => {
      if (!lock.held()) throw new Error(`${path} was taken over by another process`)
    }
    const took = (written: number) => {
      if (written === 0) throw new Error(`${path} takes no more bytes`)
      end += written
      changed = true
      return written
    }
    const sync = (): Promise<void> => {
      if (syncing !== null || !changed) return syncing ?? Promise.resolve()
      changed = false
      const settle = (failed: boolean) => {
        syncing = null
        changed = changed || failed
      }
      syncing = syncAsync(fd).then(
        () => settle(false),
        (error: unknown) => {
          settle(true)
          throw error
        },
      )
      return syncing
    }
    /** Goes on in another file. No write or fsync of the old one may be under way. */
    const swap = (next: ReturnType<typeof openEnd>, size: number) => {
      fs.closeSync(fd)
      ;({ fd, stat } = next)
      good = end = size
      dirty = false
      changed = size > 0
      since = null
    }
    const settled = async (flush: boolean) => {
      await syncing
      if (dirty && fs.fstatSync(fd).size > good) fs.ftruncateSync(fd, good)
      if (flush) await sync()
    }
    const same = (there: fs.Stats) => there.ino === stat.ino && there.dev === stat.dev
    return {
      ...before,
      fault: (quick = false) => {
        if (!lock.held()) return `${path} was taken over by another process`
        if (quick && asLeft(fd, path, good)) return null
        try {
          const there = fs.statSync(path, { throwIfNoEntry: false })
          if (there === undefined) return `${path} was moved or removed`
          if (!same(there)) return `${path} is another file than the one that was written`
          if (there.size < good) return `${path} was cut from ${good} to ${there.size} bytes`
          if (there.size === good || dirty) return null
          return `${path} has ${there.size - good} bytes that somebody else wrote`
        } catch (error) {
          return `${path} cannot be looked at: ${messageOf(error)}`
        }
      },
      due: ({ size, everyMs }, now) => {
        since ??= good > 0 ? began(fd, now) : now
        return good > 0 && (good >= size || now - since >= everyMs)
      },
      rotate: async (now, flush) => {
        await settled(flush)
        const to = segmentName(path, now)
        fs.renameSync(path, to)
        try {
          swap(newFile(path, stat.mode & 0o770), 0)
        } catch (error) {
          fs.renameSync(to, path)
          throw error
        }
        return basename(to)
      },
      reopen: async (last, { forced, flush }) => {
        check()
        await settled(flush)
        const there = fs.statSync(path, { throwIfNoEntry: false })
        if (there !== undefined && same(there) && there.size >= good) {
          if (there.size === good || dirty) return 'same'
          if (linkOf(tail(fd, there.size - 1, path)) === null) {
            putAside(fd, good, path, log)
            return 'same'
          }
        }
        const size = there?.size ?? 0
        const held = size === 0 ? null : await readSegment(path)
        if (size > 0 && (held === null || held.torn.length > 0 || !sameLink(held.last, last)))
          throw new Error(
            `${path} holds other lines than those that deputy wrote. Move it away (keep it), and send SIGHUP to go on in a new file`,
          )
        const needs = held === null ? [last] : held.before
        const older = await beside(path, { packed: 1, seen }).ending(needs)
        if (needs.length > 0 && size !== good && older === undefined && !forced)
          throw new Error(
            `${path} was moved, removed or cut, and no file beside it ends with the last line that was written. ${GO_ON}`,
          )
        const next = openEnd(path)
        if (next.stat.size !== size) {
          fs.closeSync(next.fd)
          throw new Error(`${path} changes while it is opened`)
        }
        syncFolder(path)
        swap(next, size)
        seen.clear()
        if (held !== null) return 'same'
        return { file: older === undefined ? null : basename(older.path) }
      },
      idle: () => syncing === null,
      writeNow: (bytes) => {
        check()
        if (dirty) fs.ftruncateSync(fd, good)
        dirty = true
        for (let at = 0; at < bytes.length;) at += took(fs.writeSync(fd, bytes, at))
      },
      write: async (bytes) => {
        check()
        if (dirty) await truncateAsync(fd, good)
        dirty = true
        for (let at = 0; at < bytes.length;) {
          at += took((await writeAsync(fd, bytes, at, bytes.length - at, null)).bytesWritten)
        }
      },
      keep: () => {
        good = end
        dirty = false
      },
      cut: () => {
        end = good
        if (!dirty) return
        try {
          fs.ftruncateSync(fd, good)
          dirty = false
        } catch (error) {
          log.error({ err: error, file: path }, 'cutting off a failed write is tried again later')
        }
      },
      sync,
      path,
      close: () => {
        fs.closeSync(fd)
        lock.release()
      },
    }
  } catch (error) {
    if (fd >= 0) fs.closeSync(fd)
    lock.release()
    throw error
  }
}

/** A descriptor such as stdout, which may be a pipe that nobody reads: always asynchronous. */
export const openStream = (fd: number): StreamSink => {
  let owed = Buffer.alloc(0)
  let begun = false
  const drain = async () => {
    for (let waited = 0; owed.length > 0;) {
      try {
        const { bytesWritten } = await writeAsync(fd, owed, 0, owed.length, null)
        owed = owed.subarray(bytesWritten)
        begun = true
        waited = 0
      } catch (error) {
        const again = error instanceof Error && 'code' in error && error.code === 'EAGAIN'
        if (!again || waited >= AGAIN_MS) throw error
        waited += 5
        await sleep(5)
      }
    }
  }
  return {
    write: async (bytes) => {
      try {
        await drain()
      } finally {
        begun = false
      }
      owed = Buffer.from(bytes)
      try {
        await drain()
      } catch (error) {
        if (!begun) owed = Buffer.alloc(0)
        throw error
      }
    },
    begun: () => begun,
  }
}
