// Lets one process write a file: a lock file beside it says who holds it, and is touched while that
// process lives.
import {
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../model.ts'

export type FileLock = {
  /** Is the lock ours, as far as was seen within the last ten seconds? */
  readonly held: () => boolean
  readonly release: () => void
}

type Holder = {
  readonly proc: string
  readonly pid: number
  /** Boot and pid namespace: only in the same one does a pid mean anything. */
  readonly space: string
  /** Start of the process in clock ticks: a pid comes back, its start does not. */
  readonly start: string
}

const BEAT_MS = 2_000
const SILENCE_MS = 10_000

const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : null

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * What a lock says; null: there is none; undefined: it cannot be told now (no descriptors, an I/O
 * error).
 */
const look = (file: string): string | null | undefined => {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? null : undefined
  }
}

const space = (): string => {
  try {
    return `${read('/proc/sys/kernel/random/boot_id').trim()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

const startOf = (pid: number): string => {
  const stat = read(`/proc/${pid}/stat`)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

const holderIn = (text: string): Holder | null => {
  try {
    const value = JSON.parse(text)
    return typeof value?.proc === 'string' && Number.isSafeInteger(value.pid) ? value : null
  } catch {
    return null
  }
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) !== 'ESRCH'
  }
}

/** Is the holder gone? At once where its pid can be looked up, else by watching for a beat. */
const abandoned = async (path: string, holder: Holder | null, silenceMs: number) => {
  if (holder !== null && holder.space === space()) {
    if (!alive(holder.pid)) return true
    // Empty: it could not be read, which says nothing.
    const start = startOf(holder.pid)
    return holder.space !== '' && start !== '' && start !== holder.start
  }
  const before = statSync(path, { throwIfNoEntry: false })?.mtimeMs
  for (let waited = 0; waited < silenceMs; waited += 500) {
    await sleep(Math.min(500, silenceMs))
    if (statSync(path, { throwIfNoEntry: false })?.mtimeMs !== before) return false
  }
  return true
}

/** The process that writes this file now, by its lock; null: none that is known to live. */
export const writerOf = (path: string): string | null => {
  const file = `${path}.lock`
  const holder = holderIn(look(file) ?? '')
  if (holder === null) return null
  if (holder.space === space() && holder.space !== '')
    return alive(holder.pid) && startOf(holder.pid) === holder.start ? holder.proc : null
  // On another machine or in another container a pid means nothing, so only the touched lock shows
  // that its holder lives.
  const touched = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return Date.now() - touched < SILENCE_MS ? holder.proc : null
}

/**
 * Takes `<path>.lock`. Throws an Error that says who has it; waits up to 10 s where the holder
 * lived in another container or on another host and may have crashed.
 */
export const lockFile = async (
  path: string,
  proc: string,
  log: Log,
  silenceMs: number = SILENCE_MS,
): Promise<FileLock> => {
  const file = `${path}.lock`
  const own: Holder = { proc, pid: process.pid, space: space(), start: startOf(process.pid) }
  const mine = JSON.stringify(own)
  const take = () => writeFileSync(file, mine, { flag: 'wx', mode: 0o600 })
  try {
    take()
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    const text = look(file)
    if (text === undefined) throw new Error(`${file} cannot be read now`, { cause: error })
    const holder = holderIn(text ?? '')
    const who = holder === null ? 'another process' : `process ${holder.pid} (${holder.proc})`
    const busy = `${path} is being written by ${who}. Give each deputy a file of its own`
    if (!(await abandoned(file, holder, silenceMs))) {
      throw new Error(`${busy}, or stop that one. If none runs, remove ${file}`, { cause: error })
    }
    // Two may come to this point: who renames a lock other than the one that was judged puts it
    // back.
    const aside = `${file}.${proc}`
    renameSync(file, aside)
    if (look(aside) !== text) {
      renameSync(aside, file)
      throw new Error(`${busy}: it started just now`, { cause: error })
    }
    rmSync(aside)
    take()
    log.warn({ file: path, holder: who }, 'the last writer of this file did not stop in order')
  }
  // What cannot be read for a moment is no fact. What is not confirmed for as long as another host
  // waits before it takes over may be gone.
  let confirmed = performance.now()
  let stolen = false
  const confirm = (): void => {
    const text = look(file)
    if (text === undefined) return
    try {
      if (text === null) take()
      else if (text === mine) utimesSync(file, new Date(), new Date())
    } catch (error) {
      // Tried again with the next beat.
      log.warn({ err: error, file }, 'the lock of the evidence could not be renewed')
      return
    }
    const own = text === null || text === mine
    if (own) confirmed = performance.now()
    if (own === stolen)
      log[own ? 'info' : 'error'](
        { file },
        own
          ? 'the lock is ours again'
          : 'somebody took the lock away: nothing is written here until it is ours again',
      )
    stolen = !own
  }
  const beat = setInterval(confirm, BEAT_MS)
  beat.unref()
  return {
    held: () => {
      if (performance.now() - confirmed > SILENCE_MS) confirm()
      return !stolen && performance.now() - confirmed <= SILENCE_MS
    },
    release: () => {
      clearInterval(beat)
      if (read(file) === mine) rmSync(file)
      stolen = true
    },
  }
}
