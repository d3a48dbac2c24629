// The evidence journal: hash-chained JSON lines; the lines of one turn of the event loop share one write.
import { hash } from 'node:crypto'
import { unlinkSync } from 'node:fs'
import { basename } from 'node:path'
import type { Clock, Journal, Log } from '../model.ts'
import { Problem } from '../problem.ts'
import type { Signature } from './chain.ts'
import { anchorText, GENESIS, isoTime, lineAfter, member, signedLine } from './chain.ts'
import { expired, readSegment } from './segments.ts'
import type { FileSink, Rotate } from './sink.ts'
import { openFile, openStream } from './sink.ts'

export type JournalOptions = {
  readonly sinks: readonly ('stdout' | { readonly file: string })[]
  /** Files are flushed to the disk never on purpose, before each answer, or every so many ms. */
  readonly fsync: 'never' | 'each' | number
  readonly clock: Clock
  /** Id of this process, in every line. */
  readonly proc: string
  readonly anchor: {
    /** Ed25519 over the UTF-8 text by a ring key, base64url. */
    readonly sign: (text: string) => Signature
    readonly everyLines: number
    readonly everyMs: number
  }
  /** Files are closed and new ones begun; absent: somebody else does that, or nobody. */
  readonly rotate?: Rotate | undefined
  /** Files that were closed this long ago (ms) are removed; absent: none is. */
  readonly retentionMs?: number | undefined
  readonly log: Log
  /** Further members of `process.started`: JSON text that begins with `,`. */
  readonly about?: string
}

/** `audit.sink` as the configuration writes it. @param at resolves a path */
export const sinksOf = (
  sinks: readonly string[],
  at: (path: string) => string,
): JournalOptions['sinks'] =>
  sinks.map((sink) => (sink === 'stdout' ? sink : { file: at(sink.slice('file:'.length)) }))

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

type Batch = {
  /** `at`: wall clock, ms. */
  readonly lines: { readonly at: number; readonly event: string; readonly fields: string }[]
  readonly done: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

const SLOW_MS = 10
const CALM_MS = 5_000
const STALLED_MS = 5_000
const LATE = `a write has been under way for more than ${STALLED_MS} ms`
/** Lines of one write: more would hold up the turn that hashes them. */
const BATCH = 2_048
const MOST_WAITING = 20_000
/** Bytes kept ready for a write, and how many are kept after a larger one. */
const USUAL = 65_536
const LARGEST = 1_048_576
const TICK_MS = 1_000
const HOUR_MS = 3_600_000
/** How long a segment that could not be closed goes on. */
const ROTATE_AGAIN_MS = 60_000
/** What nobody has to wait for an anchor to believe. */
const SEALED = new Set(['process.started', 'process.stopped', 'segment.started', 'segment.removed'])
const COMMA = 44
const LINE_END = 10

const newBatch = (): Batch => {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  // Whoever appended hears of a failure; a batch of an anchor alone has nobody to tell.
  promise.catch(() => undefined)
  return { lines: [], done: promise, resolve, reject }
}

/**
 * Opens every sink, writes `process.started`, returns the journal. Throws an Error that names the sink
 * and says what to do. `append` rejects with Problem `audit_unavailable`.
 */
export const openJournal = async (options: JournalOptions): Promise<OpenJournal> => {
  const { clock, proc, anchor, log, fsync, rotate, retentionMs } = options
  const files: FileSink[] = []
  try {
    for (const sink of options.sinks) {
      if (sink !== 'stdout') files.push(await openFile(sink.file, proc, log))
    }
  } catch (error) {
    for (const file of files) file.close()
    const what = error instanceof Error ? error.message : String(error)
    throw new Error(`audit.sink: ${what}`, { cause: error })
  }
  const stream = options.sinks.includes('stdout') ? openStream(1) : null
  const iso = isoTime()
  /** The last line that was really written, and where the last anchor stood. */
  let chain = {
    last: { proc, seq: 0, hash: GENESIS },
    anchored: 0,
    anchoredAt: clock.mono(),
    /** Time of the first line after the anchor. */
    since: 0,
  }
  const queue: Batch[] = []
  let writing: { readonly batch: Batch; readonly since: number } | null = null
  let scheduled = false
  let lazy: NodeJS.Timeout | undefined
  let closing: Promise<void> | null = null
  let refused = 0
  let slowUntil = 0
  let writeFault: string | null = null
  let syncFault = false
  /** What a new segment begins with. */
  let opening: string | null = null
  let hangup = false
  let rotateFrom = 0

  const anchorDue = () => clock.mono() - chain.anchoredAt >= anchor.everyMs

  // One write is under way at a time, so all of them share their memory, which stays in the processor's caches.
  let bytes = Buffer.allocUnsafeSlow(USUAL)
  const build = ({ lines }: Batch, closing: boolean): { bytes: Buffer; next: typeof chain } => {
    let { last, anchored, anchoredAt, since } = chain
    let end = 0
    if (bytes.length > LARGEST) bytes = Buffer.allocUnsafeSlow(USUAL)
    const put = (line: string, fields: string, event: string) => {
      const most = end + 3 * line.length + 1
      if (most > bytes.length && end + Buffer.byteLength(line) + 1 > bytes.length)
        bytes = Buffer.concat([bytes.subarray(0, end)], 2 * most)
      // Each text is made whole once, as the bytes that are written: what is asked of it is asked of them.
      const written = bytes.subarray(end, end + bytes.write(line, end))
      const first = written[line.length - fields.length - 1]
      if (fields !== '' && first !== COMMA)
        throw new Error('the fields of a record begin with a comma')
      // A line end inside a record would forge the next one.
      if (line.includes('\n')) throw new Error(`a record of ${event} holds a line end`)
      last = { proc, seq: last.seq + 1, hash: hash('sha256', written) }
      end += written.length
      bytes[end++] = LINE_END
    }
    const seal = () => {
      try {
        const { seq, hash } = last
        const fields = member('anchor', { seq, hash })
        const line = lineAfter(last, iso(clock.now()), 'chain.anchor', fields)
        put(signedLine(line, anchor.sign(anchorText(line))), '', 'chain.anchor')
      } catch (error) {
        log.error({ err: error }, 'the chain of evidence could not be anchored; tried again later')
      }
      anchored = last.seq
      anchoredAt = clock.mono()
    }
    const add = (at: number, event: string, fields: string) => {
      // By the times in the lines: a machine that slept leaves no longer run without an anchor either.
      if (last.seq > anchored && Math.abs(at - since) >= anchor.everyMs) seal()
      if (last.seq === anchored) since = at
      put(lineAfter(last, iso(at), event, fields), fields, event)
      if (SEALED.has(event) || last.seq - anchored >= anchor.everyLines) seal()
    }
    if (opening !== null) add(clock.now(), 'segment.started', opening)
    for (const { at, event, fields } of lines) add(at, event, fields)
    if (last.seq > anchored && (closing || anchorDue())) seal()
    return { bytes: bytes.subarray(0, end), next: { last, anchored, anchoredAt, since } }
  }

  const refuse = (batch: Batch, cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause)
    if (writeFault !== why)
      log.error({ err: cause }, 'evidence cannot be written; calls are refused')
    writeFault = why
    refused += batch.lines.splice(0).length
    batch.reject(new Problem('audit_unavailable', 'the evidence could not be written', { cause }))
  }

  const keep = (next: typeof chain) => {
    for (const file of files) file.keep()
    chain = next
    opening = null
  }

  const written = (batch: Batch, next: typeof chain) => {
    keep(next)
    if (writeFault !== null) log.info({ refused }, 'evidence is written again')
    writeFault = null
    batch.resolve()
  }

  const failed = (batch: Batch, next: typeof chain, cause: unknown) => {
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
    if (hangup || (due && !unsealed) || files.some((file) => file.fault() !== null))
      return turnOver(due && !unsealed)
    const batch = queue.shift() ?? newBatch()
    let built: ReturnType<typeof build>
    try {
      built = build(batch, due)
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
    return queue.length * BATCH > MOST_WAITING ? 'too many records wait to be written' : null
  }

  const append = (event: string, fields: string, urgent = true): Promise<void> => {
    const why = objection()
    if (why === null) return put(event, fields, urgent)
    refused++
    const cause = new Error(why)
    return Promise.reject(
      new Problem('audit_unavailable', 'the evidence could not be written', { cause }),
    )
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
    else if (chain.last.seq > chain.anchored && anchorDue()) schedule(true)
  }

  /** Removes what is older than the retention, once the evidence says so. */
  const expire = async (before: number) => {
    for (const { path } of files)
      for (const each of expired(path, before)) {
        const segment = await readSegment(each)
        if (segment === null) throw new Error(`${each} is no evidence, and stays`)
        await append(
          'segment.removed',
          member('segment', { file: basename(each), ...segment.last }),
        )
        unlinkSync(each)
      }
  }

  const expireNow = () => {
    if (retentionMs === undefined) return
    expire(clock.now() - retentionMs).catch((error: unknown) =>
      log.error({ err: error }, 'old evidence could not be removed; tried again in an hour'),
    )
  }

  const syncAll = () => {
    if (syncFault) return
    for (const file of files) {
      file.sync().catch((error: unknown) => {
        syncFault = true
        log.error({ err: error }, 'evidence did not reach the disk')
      })
    }
  }

  const timers = [setInterval(tick, Math.min(TICK_MS, anchor.everyMs))]
  timers.push(setInterval(expireNow, HOUR_MS))
  if (typeof fsync === 'number') timers.push(setInterval(syncAll, fsync))
  for (const timer of timers) timer.unref()

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

  const after = files.length > 0 ? files.flatMap(({ after }) => after ?? []) : null
  const torn = files.flatMap(({ torn }) => torn ?? [])
  try {
    const found = member('after', after) + member('torn', torn)
    await put('process.started', found + (options.about ?? ''))
  } catch (error) {
    await finish()
    throw new Error('audit.sink: the first record could not be written', { cause: error })
  }

  expireNow()

  const fault = (): string | null => {
    if (closing !== null) return 'the journal is closed'
    if (stalled()) return LATE
    if (syncFault) return 'what was written did not reach the disk'
    if (writeFault !== null || writing !== null) return writeFault
    return files.map((file) => file.fault()).find((why) => why !== null) ?? null
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
