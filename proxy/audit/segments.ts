// The files of one journal, ordered by what each begins after and ends with. Their names do not
// count, because whoever rotates them chooses the names.
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
  // Asked first: a file that is gone throws here, and leaves no stream whose error nobody hears.
  const unpacks = start === 0 && packed(path)
  const file = fs.createReadStream(path, { start })
  // The error of the file becomes that of the iteration.
  return unpacks ? pipeline(file, createGunzip(), () => undefined) : file
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

const FIRST = Buffer.from('{"v":1,"proc":')
/** May it be a segment, by its first bytes? Beside a journal lie other files, whose names begin like its own. */
export const looksLikeSegment = (path: string): boolean => {
  if (path.endsWith('.torn')) return false
  try {
    const fd = fs.openSync(path, 'r')
    try {
      const start = Buffer.alloc(FIRST.length)
      fs.readSync(fd, start, 0, start.length, 0)
      return start.equals(FIRST) || start.subarray(0, GZIP.length).equals(GZIP)
    } finally {
      fs.closeSync(fd)
    }
  } catch {
    return false // It is gone by now, or nobody may read it: then nothing of it is sent either.
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

export type Beside = {
  /** The one that ends with what `before` names; the newest is looked at first. */
  readonly ending: (before: readonly Link[]) => Promise<Segment | undefined>
  readonly newest: () => Promise<Segment | undefined>
}

/** Files in the folder of `path` whose names begin like its own, the newest first. */
export const othersOf = (
  path: string,
): readonly { readonly at: string; readonly stat: fs.Stats }[] => {
  const name = basename(path)
  const [ending, stem] = [extname(name), basename(name, extname(name))]
  /**
   * `audit.jsonl.1.gz`, `audit.jsonl-20261128`, `audit-20261128.jsonl`; `audit-b.jsonl` is another
   * journal.
   */
  const rotated = (other: string): boolean =>
    other.startsWith(`${name}.`) ||
    other.startsWith(`${name}-`) ||
    (other.startsWith(stem) &&
      /^[-.]\d[\dTZ.-]*$/.test(
        other.replace(/\.gz$/, '').slice(stem.length, -ending.length || undefined),
      ))
  return fs
    .readdirSync(dirname(path), { withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== name && rotated(entry.name))
    .flatMap((entry) => {
      const at = join(dirname(path), entry.name)
      const stat = fs.statSync(at, { throwIfNoEntry: false })
      return stat === undefined ? [] : [{ at, stat }]
    })
    .sort((a, b) => b.stat.mtimeMs - a.stat.mtimeMs)
}

/**
 * Other files of evidence in the folder of `path` whose names begin like its own, read as they are
 * asked for.
 * @param packed how many packed ones, the newest: each must be unpacked to its end
 * @param seen what was read before, for who asks again and again
 */
export const beside = (
  path: string,
  {
    packed: most = Infinity,
    seen = new Map<string, Segment | null>(),
  }: { readonly packed?: number; readonly seen?: Map<string, Segment | null> } = {},
): Beside => {
  const files = othersOf(path)
  const segments = async function* () {
    let unpacked = 0
    for (const { at, stat } of files) {
      // It was moved on since the folder was read.
      if (!fs.existsSync(at) || (packed(at) && ++unpacked > most)) continue
      const key = `${at} ${stat.ino} ${stat.size} ${stat.mtimeMs}`
      if (!seen.has(key)) seen.set(key, await readSegment(at))
      const found = seen.get(key)
      if (found != null) yield found
    }
  }
  return {
    async ending(before) {
      for await (const each of segments()) if (endingWith([each], before) !== undefined) return each
      return undefined
    },
    async newest() {
      const all: Segment[] = []
      for await (const each of segments()) all.push(each)
      // Two may end in one millisecond: what another one continues is older.
      const older = new Set(all.map(({ before }) => endingWith(all, before)))
      const last = all.filter((each) => !older.has(each))
      return last.toSorted((a, b) => (a.ended < b.ended ? 1 : -1))[0]
    },
  }
}

/** The one of them that ends with what `before` names. */
export const endingWith = (
  segments: readonly Segment[],
  before: readonly Link[],
): Segment | undefined => segments.find(({ last }) => before.some((link) => sameLink(link, last)))

/** `newest` and what it continues, newest first, as far as `find` has it. */
export const lineage = async function* (
  newest: Segment,
  find: Beside['ending'],
): AsyncGenerator<Segment> {
  const seen = new Set<string>()
  for (let at: Segment | undefined = newest; at !== undefined && !seen.has(at.path);) {
    seen.add(at.path)
    yield at
    at = at.before.length === 0 ? undefined : await find(at.before)
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

/**
 * Where a segment that is closed now goes: names sort as the segments do, whatever the clock says.
 */
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
