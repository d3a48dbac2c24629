// Reads the lines of a journal as they come, from where somebody stopped, across its rotations: files are found by what
// they say, since whoever rotates them names them.
import * as fs from 'node:fs'
import { hash } from 'node:crypto'
import type { Link } from './chain.ts'
import { linesOf, linkOf, sameLink } from './chain.ts'
import { beside, bytesOf, lineage, packed, readSegment, tail, type Segment } from './segments.ts'

/** A line, and where the next one begins: bytes of the file as they are unpacked. */
export type Place = { readonly link: Link; readonly ino: number; readonly offset: number }
export type Followed = { readonly bytes: Buffer; readonly link: Link; readonly place: Place }

/** Where one file is read on. */
type At = { readonly path: string; readonly ino: number; readonly offset: number }

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
 */
const located = async (path: string, after: Place | null): Promise<readonly At[]> => {
  const others = beside(path)
  const here = fs.existsSync(path) ? await readSegment(path) : null
  const newest = here ?? (await others.newest())
  const found: At[] = []
  const at = (name: string, offset: number): At => ({
    path: name,
    ino: fs.statSync(name).ino,
    offset,
  })
  if (newest !== undefined)
    for await (const segment of lineage(newest, others.ending)) {
      const offset = after === null ? null : await offsetIn(segment, after)
      if (offset !== Infinity) found.unshift(at(segment.path, offset ?? 0))
      if (offset !== null) break
    }
  // Nobody has written to it yet.
  if (here === null && fs.existsSync(path)) found.push(at(path, 0))
  else if (found.length === 0 && here !== null) found.push(at(path, fs.statSync(path).size))
  return found
}

export type Follower = {
  /** The next whole lines, as many as are there now and fit; empty: none is there yet. Rejects where a file cannot be read. */
  readonly next: (most: {
    readonly lines: number
    readonly bytes: number
  }) => Promise<readonly Followed[]>
  /** Bytes that are there and were not read yet; packed files count as they are packed. */
  readonly behind: () => number
  /** Files of which nothing is left to read, since the last call. */
  readonly finished: () => readonly string[]
}

/** @param after the last line that is not wanted any more; null: all are */
export const createFollower = (path: string, after: Place | null): Follower => {
  let last = after
  /** Files that are to be read, the first one from its offset; null: to be found out. */
  let files: At[] | null = null
  let done: string[] = []

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
    const lines: Followed[] = []
    let [offset, size] = [isPacked ? 0 : at.offset, 0]
    for await (const { bytes, whole } of linesOf(bytesOf(at.path, isPacked ? 0 : at.offset))) {
      if (!whole) break
      offset += bytes.length + 1
      if (offset <= at.offset) continue
      const link = linkOf(bytes)
      // What is no line of deputy's is not its evidence.
      if (link === null) continue
      size += bytes.length
      lines.push({ bytes, link, place: { link, ino: at.ino, offset } })
      if (lines.length >= most.lines || size >= most.bytes) break
    }
    return lines
  }
  return {
    async next(most) {
      for (let again = true; ;) {
        files ??= [...(await located(path, last))]
        const [at] = files
        if (at === undefined || (files.length === 1 && turned(at))) {
          // Its last lines, and what continues it, are found by what was read last.
          files = null
          if (!again || at === undefined) return []
          again = false
          continue
        }
        const lines = await readOn(at, most)
        // It may have been turned while it was read: what came then may be of another file.
        if (at.path === path && turned(at)) continue
        const end = lines.at(-1)
        if (end !== undefined) {
          last = end.place
          files[0] = { ...at, offset: end.place.offset }
          return lines
        }
        if (files.length === 1) return []
        done.push(at.path)
        files.shift()
      }
    },
    behind: () =>
      (files ?? []).reduce(
        (sum, { path: name, offset }) =>
          sum + Math.max(0, (fs.statSync(name, { throwIfNoEntry: false })?.size ?? 0) - offset),
        0,
      ),
    finished: () => {
      const names = done
      done = []
      return names
    },
  }
}
