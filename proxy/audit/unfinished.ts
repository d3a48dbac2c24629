// Calls that a crash left open: allowed, and without an outcome.
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import type { Json } from '../model.ts'
import type { Foreign, Line } from './chain.ts'
import { linesOf, record } from './chain.ts'
import { beside, bytesOf, lineage, packed, readSegment } from './segments.ts'

type OpenEnd = { readonly exchange: string; readonly part: Json; readonly proc: string }

const STOPPED = '"event":"process.stopped"'
const TAIL = 64 * 1024 * 1024

/** Where the last orderly stop stands, in the last `most` bytes of a file; null: not there. */
const lastStop = (path: string, size: number, most: number): number | null => {
  const fd = openSync(path, 'r')
  try {
    const floor = Math.max(0, size - most)
    const chunk = Buffer.alloc(1024 * 1024)
    for (let from = size; from > floor;) {
      from = Math.max(floor, from - chunk.length + STOPPED.length)
      const read = readSync(fd, chunk, 0, chunk.length, from)
      // Quotes inside a value are escaped, so these bytes are a member and no text.
      const at = chunk.subarray(0, read).lastIndexOf(STOPPED)
      if (at >= 0) return from + at
    }
    return null
  } finally {
    closeSync(fd)
  }
}

/**
 * What to read, oldest first: from the last orderly stop on, also in files that were rotated, at
 * most 64 MiB.
 */
const sinceStop = async (
  path: string,
): Promise<readonly { readonly path: string; readonly start: number }[]> => {
  const newest = await readSegment(path)
  const parts: { path: string; start: number }[] = []
  let left = TAIL
  if (newest === null) return parts
  for await (const file of lineage(newest, beside(path).ending)) {
    const { size } = statSync(file.path)
    const stop = packed(file.path) ? null : lastStop(file.path, size, left)
    parts.unshift({
      path: file.path,
      start: stop ?? (packed(file.path) ? 0 : Math.max(0, size - left)),
    })
    left -= size
    if (stop !== null || left <= 0) break
  }
  return parts
}

const linesSince = async function* (path: string): AsyncGenerator<Line> {
  for (const part of await sinceStop(path)) yield* linesOf(bytesOf(part.path, part.start))
}

/**
 * The calls that an earlier process allowed and left without an outcome when it crashed, oldest
 * first.
 * @param own the process that asks: its own calls are still under way
 */
export const openEnds = async (path: string, own: string): Promise<readonly OpenEnd[]> => {
  const open = new Map<string, Map<string, OpenEnd>>()
  for await (const { bytes, whole } of linesSince(path)) {
    if (bytes.includes(STOPPED)) open.clear()
    const decision = bytes.includes('"event":"decision"')
    if (!whole || (!decision && !bytes.includes('"event":"outcome"'))) continue
    const line = record(bytes)
    const exchange = line?.['exchange']
    if (typeof exchange !== 'string' || (decision && line?.['proc'] === own)) continue
    const part = (line?.['part'] ?? null) as Json
    const key = JSON.stringify(part)
    const { effect } = (line?.['decision'] ?? {}) as Foreign
    if (decision && effect === 'allow') {
      const parts = open.get(exchange) ?? new Map<string, OpenEnd>()
      parts.set(key, { exchange, part, proc: String(line?.['proc']) })
      open.set(exchange, parts)
    } else if (part === null && !decision) open.delete(exchange)
    else open.get(exchange)?.delete(key)
  }
  return [...open.values()].flatMap((parts) => [...parts.values()])
}

/**
 * Records those calls as `unknown`: whoever writes an orderly stop behind them must do so first,
 * because a search for them ends at that stop.
 */
export const closeEnds = async (
  journal: { readonly append: (event: string, fields: string) => Promise<void> },
  sinks: readonly ('stdout' | { readonly file: string })[],
  own: string,
): Promise<void> => {
  for (const sink of sinks)
    if (sink !== 'stdout')
      for (const { exchange, part } of await openEnds(sink.file, own)) {
        const which = part === null ? '' : `,"part":${JSON.stringify(part)}`
        await journal.append(
          'outcome',
          `,"exchange":${JSON.stringify(exchange)}${which},"result":"unknown","sent":null,"status":null`,
        )
      }
}
