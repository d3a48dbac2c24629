// Which files of evidence belong together, and in which order: by what they say, since whoever rotates them names them.
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Beside, Segment } from './segments.ts'
import { beside, endingWith, lineage, readSegment } from './segments.ts'

/** `ended`: ISO time of its last line; null: it cannot be put in order. */
type ChainFile = { readonly path: string; readonly ended: string | null }
/** The files of one journal, oldest first. */
export type Chain = readonly ChainFile[]

/**
 * The files named, those of a folder, and what a named file continues, found beside it; in the order of what they say.
 * Several journals are several chains. Throws where a path cannot be read, or is a folder without evidence.
 */
export const chainsOf = async (paths: readonly string[]): Promise<readonly Chain[]> => {
  const named = new Set<string>()
  const others: Beside[] = []
  for (const path of paths) {
    if (!statSync(path).isDirectory()) {
      named.add(path)
      others.push(beside(path))
      continue
    }
    const before = named.size
    for (const { name } of readdirSync(path, { withFileTypes: true }).filter((e) => e.isFile()))
      if ((await readSegment(join(path, name))) !== null) named.add(join(path, name))
    if (named.size === before) throw new Error(`${path} holds no evidence`)
  }
  const segments: Segment[] = []
  const chains: Chain[] = []
  for (const path of named) {
    const segment = await readSegment(path)
    // What cannot be put in order is read by itself.
    if (segment === null) chains.push([{ path, ended: null }])
    else segments.push(segment)
  }
  const find = async (before: Segment['before']) => {
    let found = endingWith(segments, before)
    for (const each of others) found ??= await each.ending(before)
    return found
  }
  const continued = new Set(segments.flatMap((one) => endingWith(segments, one.before)?.path ?? []))
  for (const newest of segments.filter(({ path }) => !continued.has(path))) {
    const chain: ChainFile[] = []
    for await (const { path, ended } of lineage(newest, find)) chain.unshift({ path, ended })
    chains.push(chain)
  }
  return chains
}
