// Where evidence lines go. A file takes a whole batch or is cut back to what it had; a stream that took
// part of one owes the rest before anything else.
import { hash } from 'node:crypto'
import * as fs from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Log } from '../model.ts'
import type { Link } from './chain.ts'
import { lockFile } from './lock.ts'

export type Torn = { readonly file: string; readonly bytes: number; readonly sha256: string }

export type FileSink = {
  /** The last line that was there before; null: the file was empty. */
  readonly after: Link | null
  /** What stood behind it without a line end, now in `<path>.torn`. */
  readonly torn: Torn | null
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

export type StreamSink = {
  readonly write: (bytes: Buffer) => Promise<void>
  /** Did it take a part of the last batch, so that the rest must follow? */
  readonly begun: () => boolean
}

const LONGEST = 16 * 1024 * 1024
const AGAIN_MS = 5_000
const writeAsync = promisify(fs.write)
const truncateAsync = promisify(fs.ftruncate)
const syncAsync = promisify(fs.fdatasync)

/** The bytes after the last line end before `end`, read backwards. */
const tail = (fd: number, end: number, path: string): Buffer => {
  let bytes = Buffer.alloc(0)
  for (let from = end; from > 0 && bytes.length <= LONGEST;) {
    const size = Math.min(65_536, from)
    const chunk = Buffer.alloc(size)
    fs.readSync(fd, chunk, 0, size, from - size)
    const at = chunk.lastIndexOf(10)
    bytes = Buffer.concat([chunk.subarray(at + 1), bytes])
    if (at >= 0) return bytes
    from -= size
  }
  if (bytes.length <= LONGEST) return bytes
  throw new Error(`${path} is no audit file: it has a line of more than 16 MiB. Name another one`)
}

const linkOf = (line: Buffer, path: string): Link => {
  try {
    const { v, proc, seq } = JSON.parse(line.toString())
    if (v === 1 && typeof proc === 'string' && Number.isSafeInteger(seq)) {
      return { proc, seq, hash: hash('sha256', line) }
    }
  } catch {
    // falls through to the sentence below
  }
  throw new Error(
    `${path} does not end in an audit record, so nothing is appended to it. ` +
      'Move the file away (keep it: it may be evidence) or name another one',
  )
}

/** Opens or continues a file; a torn last line is moved to `<path>.torn`. Throws what to do. */
export const openFile = async (path: string, proc: string, log: Log): Promise<FileSink> => {
  const lock = await lockFile(path, proc, log)
  let fd = -1
  try {
    fd = fs.openSync(path, 'a+', 0o600)
    const stat = fs.fstatSync(fd)
    if (!stat.isFile())
      throw new Error(`${path} is not a regular file; audit.sink knows stdout too`)
    // A group may have been let in to collect the file; nobody else reads evidence.
    if ((stat.mode & 0o007) !== 0) fs.fchmodSync(fd, stat.mode & 0o770)
    const rest = tail(fd, stat.size, path)
    let good = stat.size - rest.length
    let torn: Torn | null = null
    if (rest.length > 0) {
      fs.appendFileSync(`${path}.torn`, rest, { mode: 0o600, flush: true })
      fs.ftruncateSync(fd, good)
      const name = basename(path)
      torn = { file: name, bytes: rest.length, sha256: hash('sha256', rest) }
      log.warn({ file: path, bytes: rest.length }, `a torn last line was moved to ${name}.torn`)
    }
    const after = good === 0 ? null : linkOf(tail(fd, good - 1, path), path)
    let end = good
    let dirty = false
    let changed = false
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
    return {
      after,
      torn,
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
      sync: () => {
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
      },
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
