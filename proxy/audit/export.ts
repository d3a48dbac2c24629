// Sends the evidence on, line for line and in order. The journal's own file is the queue, so that neither an outage nor a
// restart loses a line; where it stopped is kept beside it.
import { readFileSync, statSync, unlinkSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { replaceFile } from '../files.ts'
import type { Clock, Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import { isLink, record } from './chain.ts'
import { createFollower, type Followed, type Place } from './follow.ts'
import { logRecordOf, type LogRecord } from './log_record.ts'

/** What became of one request. */
export type Sent =
  | { readonly kind: 'taken' }
  /** The collector took the request and dropped some of it, and wants none of it again (OTLP 1.5, partial success). */
  | { readonly kind: 'partly'; readonly rejected: number; readonly why: string }
  /** Try again, after so long if it said so (ms). */
  | { readonly kind: 'later'; readonly why: string; readonly afterMs: number | null }
  /** It will never take this. */
  | { readonly kind: 'refused'; readonly why: string }
export type Send = (records: readonly LogRecord[], signal: AbortSignal) => Promise<Sent>

type ExportOptions = {
  /** The file that the journal writes. */
  readonly path: string
  /** Where is kept how far it came. */
  readonly cursor: string
  /** Files of which everything was taken are removed: they are a queue, and nobody else's evidence. */
  readonly remove: boolean
  readonly send: Send
  /** A line of evidence about the export itself. */
  readonly note: (event: string, fields: Readonly<Record<string, unknown>>) => void
  readonly clock: Clock
  readonly log: Log
}
export type Export = {
  readonly start: () => void
  /** Finds out how far an earlier process came; what cannot be read then is told once it is sent. */
  readonly look: () => Promise<void>
  /** Bytes that wait to be sent. */
  readonly behind: () => number
  /** Is there something in this file that was not sent yet? */
  readonly waits: (file: string) => boolean
  /** Why nothing is taken now; null: it is, or there is nothing to send. */
  readonly problem: () => string | null
  readonly counts: () => {
    readonly sent: number
    readonly failed: number
    readonly rejected: number
  }
  /** Sends what is there, for at most so many ms; what is left is sent after the next start. */
  readonly close: (ms: number) => Promise<void>
}

const BATCH = { lines: 256, bytes: 512 * 1024 } as const
/** So many in a row are skipped, each by itself. */
const MOST_SKIPPED = 3
const LOOK_MS = 200
const FIRST_MS = 500
const LONGEST_MS = 30_000
/** A collector may ask for more patience than that, but no collector stops the export for hours. */
const MOST_ASKED_MS = 300_000

const placeIn = (path: string): Place | null => {
  try {
    const { link, ino, offset } = record(readFileSync(path)) ?? {}
    return isLink(link) && Number.isSafeInteger(ino) && Number.isSafeInteger(offset)
      ? { link, ino: Number(ino), offset: Number(offset) }
      : null
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

/** Throws where the cursor is there and cannot be read. */
export const createExport = (options: ExportOptions): Export => {
  const { path, cursor, send, note, log } = options
  const follower = createFollower(path, placeIn(cursor), (after) => {
    log.error({ after, file: path }, 'evidence that a collector does not have yet is gone')
    note('audit.unsent', { after })
  })
  const ending = new AbortController()
  const counts = { sent: 0, failed: 0, rejected: 0 }
  let problem: string | null = null
  /** Lines skipped since one was taken: a collector that takes nothing is not one that dislikes a line. */
  let skipped = 0
  let running: Promise<void> = Promise.resolve()
  /** Read, and not taken yet: the collector lacks them as it lacks what was not read. */
  let inHand: readonly Followed[] = []
  let stopAt = Infinity

  const over = (): boolean => ending.signal.aborted
  const sleep = (ms: number): Promise<void> =>
    pause(ms, undefined, { signal: ending.signal, ref: false }).catch(() => undefined)
  const failing = (why: string): void => {
    counts.failed++
    if (problem !== why)
      log.warn({ why, file: path }, 'evidence is not taken; it waits in its file and is sent later')
    problem = why
  }
  const works = (): void => {
    if (problem !== null) log.info({ file: path }, 'evidence is taken again')
    problem = null
    skipped = 0
  }
  const kept = (lines: readonly Followed[]): void => {
    const end = lines.at(-1)
    if (end !== undefined) replaceFile(cursor, `${JSON.stringify({ v: 1, ...end.place })}\n`)
    if (!options.remove) return
    for (const name of follower.finished()) unlinkSync(name)
  }
  const recordOf = ({ bytes, fields }: Followed): LogRecord => logRecordOf(bytes.toString(), fields)

  /** false: this process ends before they were taken. */
  const delivered = async (lines: readonly Followed[]): Promise<boolean> => {
    const records = lines.map(recordOf)
    for (let wait = FIRST_MS; !over(); wait = Math.min(wait * 2, LONGEST_MS)) {
      const sent = await send(records, ending.signal).catch((error: unknown): Sent => ({
        kind: 'later',
        why: messageOf(error),
        afterMs: null,
      }))
      switch (sent.kind) {
        case 'taken':
          works()
          counts.sent += lines.length
          return true
        case 'partly':
          works()
          counts.sent += lines.length - sent.rejected
          rejected(lines, sent.rejected, sent.why)
          return true
        case 'refused':
          if (lines.length > 1) return inHalves(lines)
          if (skipped < MOST_SKIPPED) {
            skipped++
            rejected(lines, 1, sent.why)
            return true
          }
          failing(sent.why)
          await sleep(wait)
          break
        case 'later':
          if (over()) return false
          failing(sent.why)
          // Not all replicas come back in the same moment.
          // Nor does one that asks for no patience get requests without a pause.
          await sleep(
            Math.min(Math.max(sent.afterMs ?? 0, wait * (0.5 + Math.random() / 2)), MOST_ASKED_MS),
          )
      }
    }
    return false
  }
  /** The chain tells of what a collector would not take: whoever verifies there finds the gap named. */
  const rejected = (lines: readonly Followed[], count: number, why: string): void => {
    counts.rejected += count
    const [first, last] = [lines[0]?.link, lines.at(-1)?.link]
    const of = { proc: first?.proc, first: first?.seq, last: last?.seq }
    const where = options.remove ? 'nobody has it' : 'the file still has it'
    log.error({ ...of, count, why }, `a collector rejected evidence; ${where}`)
    // Of its own rejection nothing is told again: a collector that takes nothing would fill the file.
    const own = lines.every(({ bytes }) => bytes.includes('"event":"audit.rejected"'))
    if (!own) note('audit.rejected', { lines: of, count, why: why.slice(0, 256) })
  }
  const inHalves = async (lines: readonly Followed[]): Promise<boolean> => {
    const half = Math.ceil(lines.length / 2)
    return (await delivered(lines.slice(0, half))) && delivered(lines.slice(half))
  }

  const run = async (): Promise<void> => {
    while (!over()) {
      try {
        // Asked first: what was written while the file was read is read before the end.
        const last = options.clock.mono() >= stopAt
        const lines = await follower.next(BATCH)
        inHand = lines
        if (lines.length === 0) {
          kept([])
          if (last) return
          await sleep(LOOK_MS)
        } else if (await delivered(lines)) {
          inHand = []
          kept(lines)
        }
      } catch (error) {
        failing(messageOf(error))
        await sleep(FIRST_MS)
      }
    }
  }
  return {
    start: () => {
      running = run()
    },
    look: async () => follower.look().catch((error: unknown) => failing(messageOf(error))),
    behind: () => inHand.reduce((sum, { bytes }) => sum + bytes.length + 1, 0) + follower.behind(),
    waits: (file) => {
      const ino = statSync(file, { throwIfNoEntry: false })?.ino
      return inHand.some(({ place }) => place.ino === ino) || follower.waits(file)
    },
    problem: () => problem,
    counts: () => counts,
    async close(ms) {
      stopAt = 0
      const late = setTimeout(() => ending.abort(), ms)
      await running
      clearTimeout(late)
      ending.abort()
    },
  }
}
