// The files of one journal. What a file begins after and ends with puts them in order, not their names:
// whoever rotates them names them as he likes.
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { Foreign, Link } from './chain.ts'
import { isLink, linesOf, linkOf, record, sameLink } from './chain.ts'

export type Segment = {
  readonly path: string
  /** The line that its first line continues, one of these; empty: here the evidence begins. */
  readonly before: readonly Link[]
  readonly last: Link
  /** ISO times of its first and its last line. */
  readonly began: string
  readonly ended: string
  /** Bytes behind the last line end. */
  readonly torn: Buffer
}

/** No line of a journal is longer. */
const LONGEST = 16 * 1024 * 1024
const GZIP = Buffer.from([0x1f, 0x8b])
const CLOSED = /^\.(\d{8}T\d{6}\.\d{3}Z)$/

/** The bytes after the last line end before `end`, read backwards. Throws where that is no line. */
export const tail = (fd: number, end: number, path: string): Buffer => {
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

/** The first line without its end; null: none, or it is too long for one. */
const head = (fd: number, size: number): Buffer | null => {
  const most = Math.min(size, LONGEST)
  let bytes = Buffer.alloc(0)
  while (bytes.length < most) {
    const chunk = Buffer.alloc(Math.min(65_536, most - bytes.length))
    const read = fs.readSync(fd, chunk, 0, chunk.length, bytes.length)
    if (read === 0) return null
    const at = chunk.subarray(0, read).indexOf(10)
    bytes = Buffer.concat([bytes, chunk.subarray(0, at < 0 ? read : at)])
    if (at >= 0) return bytes
  }
  return null
}

/** When the first line of a file was written (ms). @param now what to say where it does not tell */
export const began = (fd: number, now: number): number => {
  const first = head(fd, fs.fstatSync(fd).size)
  const at = first === null ? Number.NaN : Date.parse(String(record(first)?.['time']))
  return Number.isNaN(at) ? now : at
}

/** The bytes of a file of evidence, unpacked where somebody packed it with gzip. */
export const bytesOf = (path: string, start = 0): AsyncIterable<Buffer> => {
  const file = fs.createReadStream(path, { start })
  if (start > 0 || !packed(path)) return file
  // The error of the file becomes that of the iteration.
  return pipeline(file, createGunzip(), () => undefined)
}

/** Is it packed with gzip? */
export const packed = (path: string): boolean => {
  const fd = fs.openSync(path, 'r')
  try {
    const start = Buffer.alloc(GZIP.length)
    fs.readSync(fd, start, 0, start.length, 0)
    return start.equals(GZIP)
  } finally {
    fs.closeSync(fd)
  }
}

/** What a line continues; null: it is no record. */
const continues = (line: Foreign | null): readonly Link[] | null => {
  const { v, proc, seq, prev, after } = line ?? {}
  const before = { proc, seq: Number(seq) - 1, hash: prev }
  if (v !== 1 || !isLink(before)) return null
  if (seq !== 1) return [before]
  return Array.isArray(after) ? after.filter(isLink) : []
}

const segment = (path: string, first: Buffer, end: Buffer, torn: Buffer): Segment | null => {
  const opening = record(first)
  const before = continues(opening)
  const last = linkOf(end)
  if (before === null || last === null) return null
  const began = String(opening?.['time'])
  return { path, before, last, began, ended: String(record(end)?.['time']), torn }
}

/** Reads the ends of a file. null: it is empty or no evidence. */
export const readSegment = async (path: string): Promise<Segment | null> => {
  if (!fs.statSync(path).isFile()) return null
  if (packed(path)) {
    const ends: { first?: Buffer; last?: Buffer; torn: Buffer } = { torn: Buffer.alloc(0) }
    for await (const { bytes, whole } of linesOf(bytesOf(path))) {
      if (!whole) ends.torn = bytes
      else if (ends.first === undefined && record(bytes)?.['v'] !== 1) return null
      else [ends.first, ends.last] = [ends.first ?? bytes, bytes]
    }
    const { first, last, torn } = ends
    return first === undefined || last === undefined ? null : segment(path, first, last, torn)
  }
  const fd = fs.openSync(path, 'r')
  try {
    const { size } = fs.fstatSync(fd)
    const first = head(fd, size)
    if (first === null || continues(record(first)) === null) return null
    const torn = tail(fd, size, path)
    return segment(path, first, tail(fd, size - torn.length - 1, path), torn)
  } finally {
    fs.closeSync(fd)
  }
}

/** Other files of evidence in the folder of `path` whose names begin like its own. */
export const beside = async (path: string): Promise<readonly Segment[]> => {
  const name = basename(path)
  const stem = basename(name, extname(name))
  const found: Segment[] = []
  for (const entry of fs.readdirSync(dirname(path), { withFileTypes: true })) {
    if (!entry.isFile() || entry.name === name || !entry.name.startsWith(stem)) continue
    const each = await readSegment(join(dirname(path), entry.name))
    if (each !== null) found.push(each)
  }
  return found
}

/** The one of them that ends with what `before` names. */
export const ending = (
  segments: readonly Segment[],
  before: readonly Link[],
): Segment | undefined => segments.find(({ last }) => before.some((link) => sameLink(link, last)))

/** `path` and what it continues, oldest first, as far as it is among `others`. */
export const lineage = (newest: Segment, others: readonly Segment[]): readonly Segment[] => {
  const found = [newest]
  for (let at = newest; ;) {
    const older = ending(others, at.before)
    if (older === undefined || found.includes(older)) return found
    found.unshift(older)
    at = older
  }
}

/** Segments that deputy itself closed, oldest first. */
const closed = (path: string): readonly { readonly path: string; readonly stamp: string }[] =>
  fs
    .readdirSync(dirname(path))
    .filter((name) => name.startsWith(basename(path)))
    .map((name) => ({
      path: join(dirname(path), name),
      stamp: CLOSED.exec(name.slice(basename(path).length))?.[1] ?? '',
    }))
    .filter(({ stamp }) => stamp !== '')
    .sort((a, b) => (a.stamp < b.stamp ? -1 : 1))

const stampOf = (at: number): string => new Date(at).toISOString().replaceAll(/[-:]/g, '')

/** Where a segment that is closed now goes: names sort as the segments do, whatever the clock says. */
export const segmentName = (path: string, now: number): string => {
  const last = closed(path).at(-1)?.stamp ?? ''
  let at = now
  if (stampOf(at) <= last) {
    const [, date = '', time = ''] = /^(\d{8})T(\d{6}\.\d{3})Z$/.exec(last) ?? []
    const iso = `${date.replace(/(....)(..)(..)/, '$1-$2-$3')}T${time.replace(/(..)(..)(.*)/, '$1:$2:$3')}Z`
    at = Date.parse(iso) + 1
  }
  return `${path}.${stampOf(at)}`
}

/** The oldest of the segments that deputy closed before `time` (ms). */
export const expired = (path: string, time: number): readonly string[] =>
  closed(path)
    .filter(({ stamp }) => stamp < stampOf(time))
    .map((each) => each.path)

/** What of a file is no record, kept for whoever wants to know. */
export type Torn = { readonly file: string; readonly bytes: number; readonly sha256: string }
export const tornOf = (path: string, bytes: Buffer): Torn => ({
  file: basename(path),
  bytes: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
})
