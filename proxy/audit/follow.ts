// Reads the lines of a journal as they come, from where somebody stopped, across its rotations: files are found by what
// they say, since whoever rotates them names them.
import * as fs from 'node:fs'
import { hash } from 'node:crypto'
import type { Foreign, Line, Link } from './chain.ts'
import { linesOf, linkIn, record, sameLink } from './chain.ts'
import {
  beside,
  bytesOf,
  lineage,
  looksLikeSegment,
  othersOf,
  packed,
  readSegment,
  tail,
  type Segment,
} from './segments.ts'

/** A line, and where the next one begins: bytes of the file as they are unpacked. */
export type Place = { readonly link: Link; readonly ino: number; readonly offset: number }
export type Followed = {
  readonly bytes: Buffer
  /** What it says. */
  readonly fields: Foreign
  readonly link: Link
  readonly place: Place
}

/** Where one file is read on. */
type At = { readonly path: string; readonly ino: number; readonly offset: number }

const NOWHERE: Link = { proc: '', seq: 0, hash: '' }

const lineEndsAt = (path: string, offset: number, link: Link): boolean => {
  const fd = fs.openSync(path, 'r')
  try {
    if (offset < 2 || fs.fstatSync(fd).size < offset) return false
    const line = tail(fd, offset - 1, path)
    return hash('sha256', line) === link.hash
  } catch {
    return false
  } finally {
    fs.closeSync(fd)
  }
}

/** Bytes up to the end of this line in the file; null: it is not there. */
const find = async (path: string, link: Link): Promise<number | null> => {
  let offset = 0
  for await (const { bytes, whole } of linesOf(bytesOf(path))) {
    if (!whole) return null
    offset += bytes.length + 1
    if (bytes.includes(link.proc) && hash('sha256', bytes) === link.hash) return offset
  }
  return null
}

const offsetIn = async (segment: Segment, after: Place): Promise<number | null> => {
  const { path, last } = segment
  const { ino } = fs.statSync(path)
  if (ino === after.ino && !packed(path) && lineEndsAt(path, after.offset, after.link))
    return after.offset
  // Nothing of it is left to read, however long it is.
  if (sameLink(last, after.link)) return Infinity
  return find(path, after.link)
}

/**
 * The files from which to read on, oldest first; the last is the one at `path`. Without `after`, or where its line is not
 * there any more, all that there are, from their beginning: what is sent twice can be told, what is missing cannot.
 * `gap`: nor is what continues that line, so some of what followed is gone.
 */
const located = async (
  path: string,
  after: Place | null,
): Promise<{ readonly found: At[]; readonly gap: boolean }> => {
  const others = beside(path)
  const here = fs.existsSync(path) ? await readSegment(path) : null
  const newest = here ?? (await others.newest())
  const found: At[] = []
  const at = (name: string, offset: number): At => ({
    path: name,
    ino: fs.statSync(name).ino,
    offset,
  })
  const gone = after?.link ?? NOWHERE
  let gap = after !== null
  if (newest !== undefined)
    for await (const segment of lineage(newest, others.ending)) {
      const offset = after === null ? null : await offsetIn(segment, after)
      gap &&= offset === null && !segment.before.some((link) => sameLink(link, gone))
      if (offset !== Infinity) found.unshift(at(segment.path, offset ?? 0))
      if (offset !== null) break
    }
  // Nobody has written to it yet.
  if (here === null && fs.existsSync(path)) found.push(at(path, 0))
  else if (found.length === 0 && here !== null) found.push(at(path, fs.statSync(path).size))
  return { found, gap }
}

type Unpacking = {
  readonly ino: number
  offset: number
  readonly rest: AsyncGenerator<Line>
}

/** What was rotated away does not change, wherever it is moved. */
const keyOf = ({ ino, size, mtimeMs }: fs.Stats): string => `${ino} ${size} ${mtimeMs}`

export type Follower = {
  /** The next whole lines, as many as are there now and fit; empty: none is there yet. Rejects where a file cannot be read. */
  readonly next: (most: {
    readonly lines: number
    readonly bytes: number
  }) => Promise<readonly Followed[]>
  /** Finds out where to read on. Rejects where that cannot be read. */
  readonly look: () => Promise<void>
  /** Bytes that are there and were not read yet, of rotated files too; packed ones count as they are packed. */
  readonly behind: () => number
  /** Is there something in this file that was not read yet? */
  readonly waits: (file: string) => boolean
  /** Files of which nothing is left to read, since the last call. */
  readonly finished: () => readonly string[]
}

/**
 * @param after the last line that is not wanted any more; null: all are
 * @param lost hears of lines after this one that are gone though nobody read them
 */
export const createFollower = (
  path: string,
  after: Place | null,
  lost: (after: Link) => void = () => undefined,
): Follower => {
  let last = after
  /** Files that are to be read, the first one from its offset; null: to be found out. */
  let files: At[] | null = null
  let done: string[] = []
  /** Rotated files of which nothing is wanted any more. */
  let settled = new Set<string>()
  /** A packed file that is being read: it would have to be unpacked from its beginning each time. */
  let unpacking: Unpacking | null = null
  /** Bytes that wait beside the file at the path, while nothing is read and nothing rotated. */
  let rest: { readonly key: string; readonly bytes: number } | null = null

  const look = async (): Promise<At[]> => {
    if (files !== null) return files
    const { found, gap } = await located(path, last)
    const wanted = new Set(found.map(({ ino }) => ino))
    const others = othersOf(path).filter(({ stat }) => !wanted.has(stat.ino))
    settled = new Set(others.map(({ stat }) => keyOf(stat)))
    if (gap && last !== null) lost(last.link)
    return (files = found)
  }
  /** Bytes of a file that were not read yet. */
  const unread = (stat: fs.Stats): number => {
    const known = files?.find(({ ino, offset }) => ino === stat.ino && offset <= stat.size)
    return settled.has(keyOf(stat)) ? 0 : stat.size - (known?.offset ?? 0)
  }
  /** Is the file at the path another by now, or shorter than what was read of it, so that its end is elsewhere? */
  const turned = ({ path: name, ino, offset }: At): boolean => {
    if (name !== path) return fs.existsSync(path)
    const there = fs.statSync(path, { throwIfNoEntry: false })
    return there === undefined || there.ino !== ino || there.size < offset
  }
  const readOn = async (
    at: At,
    most: { readonly lines: number; readonly bytes: number },
  ): Promise<readonly Followed[]> => {
    const isPacked = packed(at.path)
    const offset = isPacked ? 0 : at.offset
    const before = unpacking
    const goesOn = isPacked && before?.ino === at.ino && before.offset === at.offset
    if (!goesOn) await before?.rest.return(undefined)
    unpacking = null
    const source = goesOn
      ? before
      : { ino: at.ino, offset, rest: linesOf(bytesOf(at.path, offset)) }
    const lines: Followed[] = []
    for (let size = 0; lines.length < most.lines && size < most.bytes;) {
      const { value, done } = await source.rest.next()
      if (done === true || !value.whole) return lines
      source.offset += value.bytes.length + 1
      if (source.offset <= at.offset) continue
      const fields = record(value.bytes)
      const link = linkIn(fields, value.bytes)
      // What is no line of deputy's is not its evidence.
      if (fields === null || link === null) continue
      size += value.bytes.length
      const place = { link, ino: at.ino, offset: source.offset }
      lines.push({ bytes: value.bytes, fields, link, place })
    }
    if (isPacked) unpacking = source
    else await source.rest.return(undefined)
    return lines
  }
  return {
    async next(most) {
      for (let again = true; ;) {
        const now = await look()
        const [at] = now
        if (at === undefined || (now.length === 1 && turned(at))) {
          // Its last lines, and what continues it, are found by what was read last.
          files = null
          if (!again || at === undefined) return []
          again = false
          continue
        }
        let lines: readonly Followed[]
        try {
          lines = await readOn(at, most)
        } catch (error) {
          // It may have been packed, moved on or removed: what is there now is looked for anew.
          files = null
          if (fs.existsSync(at.path)) throw error
          continue
        }
        // It may have been turned while it was read: what came then may be of another file.
        if (at.path === path && turned(at)) continue
        const end = lines.at(-1)
        if (end !== undefined) {
          last = end.place
          now[0] = { ...at, offset: end.place.offset }
          return lines
        }
        if (now.length === 1) return []
        const stat = fs.statSync(at.path, { throwIfNoEntry: false })
        if (stat !== undefined) settled.add(keyOf(stat))
        done.push(at.path)
        now.shift()
      }
    },
    look: async () => void (await look()),
    behind: () => {
      const here = fs.statSync(path, { throwIfNoEntry: false })
      const [first] = files ?? []
      // While nothing is read and nothing rotated, only the file at the path grows: it is asked for before each record.
      const key = [here?.ino, first?.ino, first?.offset, files?.length].join(' ')
      if (rest?.key !== key) {
        const bytes = othersOf(path).reduce((sum, { at, stat }) => {
          const some = unread(stat)
          return some > 0 && looksLikeSegment(at) ? sum + some : sum
        }, 0)
        rest = { key, bytes }
      }
      return rest.bytes + (here === undefined ? 0 : unread(here))
    },
    waits: (file) => {
      const stat = fs.statSync(file, { throwIfNoEntry: false })
      return stat !== undefined && unread(stat) > 0
    },
    finished: () => {
      const names = done
      done = []
      return names
    },
  }
}
