// The evidence journal: hash-chained JSON lines; the lines of one turn of the event loop share one write.
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Clock, Journal, Log } from '../model.ts'
import { messageOf, Problem } from '../problem.ts'
import { createBlocks, type Anchoring, type Block, type Chain, type Line } from './block.ts'
import { member } from './chain.ts'
import { createRetention } from './retention.ts'
import type { FileSink, Rotate } from './sink.ts'
import { openFile, openStream } from './sink.ts'

export type JournalOptions = {
  readonly sinks: readonly ('stdout' | { readonly file: string })[]
  /** Files are flushed to the disk never on purpose, before each answer, or every so many ms. */
  readonly fsync: 'never' | 'each' | number
  readonly clock: Clock
  /** Id of this process, in every line. */
  readonly proc: string
  readonly anchor: Anchoring
  /** Files are closed and new ones begun; absent: somebody else does that, or nobody. */
  readonly rotate?: Rotate | undefined
  /** Files that were closed this long ago (ms) are removed; absent: none is. */
  readonly retentionMs?: number | undefined
  readonly log: Log
  /** Does something in this closed file wait to be sent on? Then it stays, however old it is. */
  readonly waits?: (file: string) => boolean
  /** Why no record may be added now, in a sentence; null: it may. */
  readonly full?: () => string | null
  /** Further members of `process.started`: JSON text that begins with `,`. */
  readonly about?: string
  /** The key of the configuration that messages name; absent: `audit.sink`. */
  readonly key?: string
  /** Told of each record once it is written, in order; must not throw. */
  readonly written?: (lines: readonly Line[]) => void
  /** Told that a file begins anew; what it appends comes after the first line. */
  readonly began?: () => void
}

/** The file of a spool: what is written to it waits for a collector, and is removed once that has it. */
const SPOOLED = 'evidence.jsonl'
type Sinks = { readonly sink: readonly string[]; readonly spool?: string | undefined }
const spoolFile = ({ sink, spool }: Sinks, at: (path: string) => string): string | null =>
  spool === undefined || !sink.includes('otlp') || sink.some((one) => one.startsWith('file:'))
    ? null
    : at(join(spool, SPOOLED))

/** `audit.sink` as the configuration writes it; a collector gets what stands in a file. @param at resolves a path */
export const sinksOf = (audit: Sinks, at: (path: string) => string): JournalOptions['sinks'] => {
  const spool = spoolFile(audit, at)
  return [
    ...audit.sink.flatMap((sink): JournalOptions['sinks'] =>
      sink === 'otlp' ? [] : [sink === 'stdout' ? sink : { file: at(sink.slice('file:'.length)) }],
    ),
    ...(spool === null ? [] : [{ file: spool }]),
  ]
}

/** The file that a collector gets the lines of, and whether it is there for that alone; null: no collector does. */
export const exportedFile = (
  audit: Sinks,
  at: (path: string) => string,
): { readonly file: string; readonly spooled: boolean } | null => {
  if (!audit.sink.includes('otlp')) return null
  const spool = spoolFile(audit, at)
  if (spool !== null) return { file: spool, spooled: true }
  const own = audit.sink.find((sink) => sink.startsWith('file:'))
  return own === undefined ? null : { file: at(own.slice('file:'.length)), spooled: false }
}

export type OpenJournal = Journal & {
  /** Lines that wait for a write. */
  readonly waiting: () => number
  /** Appends that were refused, since the start. */
  readonly refused: () => number
  /** Why evidence is not kept now, in a sentence; null: it is. */
  readonly fault: () => string | null
  /** Goes on in the file that is at each path now (SIGHUP): somebody moved the one that was there. */
  readonly reopen: () => void
}

const SLOW_MS = 10
const CALM_MS = 5_000
const STALLED_MS = 5_000
const LATE = `a write has been under way for more than ${STALLED_MS} ms`
/** Lines of one write: more would hold up the turn that hashes them. */
const BATCH = 2_048
const MOST_WAITING = 20_000
const TICK_MS = 1_000
const HOUR_MS = 3_600_000
/** How long a segment that could not be closed goes on. */
const ROTATE_AGAIN_MS = 60_000
type Batch = {
  readonly lines: Line[]
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

const newBatch = (): Batch => {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // Whoever appended a record hears of a failure, but a batch of an anchor alone has nobody to
  // tell.
  promise.catch(() => undefined)
  return { lines: [], done: promise, resolve, reject }
}

const unwritten = (cause: unknown): Problem =>
  new Problem('audit_unavailable', 'the evidence could not be written', { cause })
const every = (ms: number, work: () => void): NodeJS.Timeout => setInterval(work, ms).unref()

/** Throws an Error that names the sink; none is left open then. */
const openFiles = async (
  sinks: JournalOptions['sinks'],
  proc: string,
  { log, key }: { readonly log: Log; readonly key: string },
): Promise<readonly FileSink[]> => {
  const files: FileSink[] = []
  try {
    for (const sink of sinks) {
      if (sink === 'stdout') continue
      // deputy's own folder, made when it is needed; any other must be there.
      if (sink.file.endsWith(`/${SPOOLED}`))
        mkdirSync(dirname(sink.file), { recursive: true, mode: 0o700 })
      files.push(await openFile(sink.file, proc, log))
    }
  } catch (error) {
    for (const file of files) file.close()
    const what = messageOf(error)
    throw new Error(`${key}: ${what}`, { cause: error })
  }
  return files
}

/**
 * Opens every sink, writes `process.started`, returns the journal. Throws an Error that names the sink
 * and says what to do. `append` rejects with Problem `audit_unavailable`.
 */
export const openJournal = async (options: JournalOptions): Promise<OpenJournal> => {
  const { clock, proc, anchor, log, fsync, rotate, retentionMs, key = 'audit.sink' } = options
  const files = await openFiles(options.sinks, proc, { log, key })
  const stream = options.sinks.includes('stdout') ? openStream(1) : null
  const blocks = createBlocks(options)
  let chain = blocks.start
  const queue: Batch[] = []
  let writing: { readonly batch: Batch; readonly since: number } | null = null
  let scheduled = false
  let lazy: NodeJS.Timeout | undefined
  let closing: Promise<void> | null = null
  let refused = 0
  let slowUntil = 0
  let writeFault: string | null = null
  let syncFault = false
  let opening: string | null = null
  let hangup = false
  let rotateFrom = 0

  const refuse = (batch: Batch, cause: unknown) => {
    const why = messageOf(cause)
    if (writeFault !== why)
      log.error({ err: cause }, 'evidence cannot be written; calls are refused')
    writeFault = why
    refused += batch.lines.splice(0).length
    batch.reject(unwritten(cause))
  }

  const keep = (next: Chain) => {
    for (const file of files) file.keep()
    chain = next
    opening = null
  }

  const written = (batch: Batch, next: Chain) => {
    keep(next)
    options.written?.(batch.lines)
    if (writeFault !== null) log.info({ refused }, 'evidence is written again')
    writeFault = null
    batch.resolve()
  }

  const failed = (batch: Batch, next: Chain, cause: unknown) => {
    // A stream cannot be cut back: what it began stays, everywhere, though the waiters are refused.
    if (stream?.begun() === true) keep(next)
    else for (const file of files) file.cut()
    refuse(batch, cause)
  }

  const writeAll = async (bytes: Buffer) => {
    for (const file of files) await file.write(bytes)
    // After a failed fsync nobody knows what the disk has: each batch is flushed until one succeeds.
    if (fsync === 'each' || syncFault) for (const file of files) await file.sync()
    syncFault = false
    if (stream !== null) await stream.write(bytes)
  }

  /** Records that a call waits for are written at the end of the turn; what nobody waits for goes along, or after 1 ms. */
  const schedule = (urgent: boolean) => {
    if (writing !== null) return
    if (!urgent) {
      if (!scheduled) lazy ??= setTimeout(flush, 1)
      return
    }
    if (scheduled) return
    scheduled = true
    process.nextTick(flush)
  }

  const begin = (why: string, file: string | null) => {
    opening = member('why', why) + member('continues', { file, ...chain.last })
    log.info({ why, continues: file }, 'the evidence goes on in a new file')
    options.began?.()
  }

  /** The files at the paths become those that are written. Rejects with what to do where they cannot. */
  const turned = async (rotating: boolean) => {
    const forced = hangup
    for (const file of files) {
      const found = await file.reopen(chain.last, { forced, flush: fsync !== 'never' })
      if (found !== 'same') begin(forced ? 'hangup' : 'moved', found.file)
    }
    hangup = false
    if (!rotating || opening !== null) return
    for (const file of files) {
      try {
        begin('rotate', await file.rotate(clock.now(), fsync !== 'never'))
      } catch (error) {
        rotateFrom = clock.mono() + ROTATE_AGAIN_MS
        log.error({ err: error, file: file.path }, 'a segment of evidence could not be closed')
      }
    }
  }

  const turnOver = (rotating: boolean) => {
    const turning = { batch: newBatch(), since: clock.mono() }
    writing = turning
    const settle = (end: () => void) => {
      writing = null
      end()
      if (queue.length > 0 || opening !== null) schedule(true)
    }
    void turned(rotating).then(
      () => settle(() => undefined),
      (error: unknown) =>
        settle(() => {
          for (const batch of [turning.batch, ...queue.splice(0)]) refuse(batch, error)
        }),
    )
  }

  const flush = () => {
    scheduled = false
    clearTimeout(lazy)
    lazy = undefined
    if (writing !== null) return
    const due =
      rotate !== undefined &&
      chain.last.seq > 0 &&
      clock.mono() >= rotateFrom &&
      files.some((file) => file.due(rotate, clock.now()))
    const unsealed = chain.last.seq > chain.anchored
    if (hangup || (due && !unsealed) || files.some((file) => file.fault(true) !== null))
      return turnOver(due && !unsealed)
    const batch = queue.shift() ?? newBatch()
    let built: Block
    try {
      built = blocks.build(batch.lines, { chain, opening, closing: due })
    } catch (error) {
      refuse(batch, error)
      if (queue.length > 0) schedule(true)
      return
    }
    const { bytes, next } = built
    if (bytes.length === 0) return
    const since = clock.mono()
    const settle = (end: () => void) => {
      if (clock.mono() - since > SLOW_MS) slowUntil = clock.mono() + CALM_MS
      writing = null
      end()
      if (queue.length > 0) schedule(true)
    }
    // A write into the page cache costs half of a trip through the thread pool. A disk that shows any
    // sign of being slow (an fsync under way, a slow write lately) is met from the pool only.
    const calm = stream === null && fsync !== 'each' && !syncFault && since >= slowUntil
    if (calm && files.every((file) => file.idle())) {
      try {
        for (const file of files) file.writeNow(bytes)
        settle(() => written(batch, next))
      } catch (error) {
        settle(() => failed(batch, next, error))
      }
      return
    }
    writing = { batch, since }
    void writeAll(bytes).then(
      () => settle(() => written(batch, next)),
      (error: unknown) => settle(() => failed(batch, next, error)),
    )
  }

  const put = (event: string, fields: string, urgent = true): Promise<void> => {
    let batch = queue.at(-1)
    if (batch === undefined || batch.lines.length >= BATCH) queue.push((batch = newBatch()))
    batch.lines.push({ at: clock.now(), event, fields })
    schedule(urgent)
    return batch.done
  }

  const stalled = () => writing !== null && clock.mono() - writing.since > STALLED_MS

  const objection = (): string | null => {
    if (closing !== null) return 'the journal is closed'
    if (stalled()) return LATE
    const full = options.full?.() ?? null
    if (full !== null) return full
    return queue.length * BATCH > MOST_WAITING ? 'too many records wait to be written' : null
  }

  const append = (event: string, fields: string, urgent = true): Promise<void> => {
    const why = objection()
    if (why === null) return put(event, fields, urgent)
    refused++
    return Promise.reject(unwritten(new Error(why)))
  }

  /** Gives up on a stalled write, tries a failed one again, sets the anchor of quiet times. */
  const tick = () => {
    if (writing !== null) {
      if (!stalled()) return
      const late = new Error(LATE)
      for (const batch of [writing.batch, ...queue.splice(0)]) refuse(batch, late)
    } else if (closing !== null) return
    else if (writeFault !== null || syncFault)
      void put('audit.recovered', member('refused', refused))
    else if (files.some((file) => file.fault() !== null)) schedule(true)
    else if (chain.last.seq > chain.anchored && blocks.due(chain)) schedule(true)
  }

  const expire = createRetention({ files, retentionMs, waits: options.waits, clock, log, append })

  const syncAll = () => {
    if (syncFault) return
    for (const file of files) {
      file.sync().catch((error: unknown) => {
        syncFault = true
        log.error({ err: error }, 'evidence did not reach the disk')
      })
    }
  }

  const timers = [every(Math.min(TICK_MS, anchor.everyMs), tick), every(HOUR_MS, expire)]
  if (typeof fsync === 'number') timers.push(every(fsync, syncAll))

  const finish = async () => {
    for (const timer of timers) clearInterval(timer)
    // A stalled write still holds the descriptor; the lock is seen to be stale once the process is gone.
    if (writing !== null) return
    try {
      // Twice: a flush that is under way does not cover the last lines, the one after it does.
      const all = fsync === 'never' ? [] : [...files, ...files]
      for (const file of all) await file.sync()
    } finally {
      for (const file of files) file.close()
    }
  }

  const stop = async () => {
    try {
      await put('process.stopped', '')
    } finally {
      await finish()
    }
  }

  const start = async () => {
    const after = files.length > 0 ? files.flatMap(({ after }) => after ?? []) : null
    const torn = files.flatMap(({ torn }) => torn ?? [])
    try {
      const found = member('after', after) + member('torn', torn)
      await put('process.started', found + (options.about ?? ''))
    } catch (error) {
      await finish()
      throw new Error(`${key}: the first record could not be written`, { cause: error })
    }
  }
  await start()
  expire()

  const fault = (): string | null => {
    if (closing !== null) return 'the journal is closed'
    if (stalled()) return LATE
    if (syncFault) return 'what was written did not reach the disk'
    if (writeFault !== null || writing !== null) return writeFault
    return files.map((file) => file.fault()).find((why) => why !== null) ?? options.full?.() ?? null
  }

  return {
    append,
    healthy: () => fault() === null,
    fault,
    reopen: () => {
      hangup = files.length > 0
      schedule(true)
    },
    lines: () => chain.last.seq,
    waiting: () =>
      [writing?.batch, ...queue].reduce((sum, batch) => sum + (batch?.lines.length ?? 0), 0),
    refused: () => refused,
    close: () => (closing ??= stop()),
  }
}
