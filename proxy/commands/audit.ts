// `deputy audit verify`: is this the evidence that deputy wrote, all of it?
import type { JsonWebKeyInput, KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { writerOf } from '../audit/lock.ts'
import { visible } from '../observe/log.ts'
import type { Beside, Segment } from '../audit/segments.ts'
import { beside, endingWith, lineage, readSegment } from '../audit/segments.ts'
import type { Verified } from '../audit/verify.ts'
import { anchorsOf, verifyJournal } from '../audit/verify.ts'
import { messageOf } from '../problem.ts'

/** The public halves of a ring's signing keys; a copy of the ring without `d` does as well. */
const publicKeys = (path: string): ReadonlyMap<string, KeyObject> => {
  const keys = new Map<string, KeyObject>()
  const file = JSON.parse(readFileSync(path, 'utf8')) as { readonly keys?: unknown } | null
  for (const entry of Array.isArray(file?.keys) ? (file.keys as readonly unknown[]) : []) {
    const { kid, kty, crv, x } = (entry ?? {}) as Readonly<Record<string, unknown>>
    if (typeof kid !== 'string' || kty !== 'OKP' || crv !== 'Ed25519') continue
    keys.set(
      kid,
      createPublicKey({ key: { kty, crv, x } as JsonWebKeyInput['key'], format: 'jwk' }),
    )
  }
  if (keys.size === 0)
    throw new Error(`${path} has no Ed25519 key; name the key ring of vault.keys`)
  return keys
}

/** The files of one journal, oldest first. */
type Chain = readonly string[]

/**
 * What is to be verified: the files named, those of a folder, and what a named file continues, found
 * beside it; in the order of what they say. Several journals are several chains.
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
    // What cannot be put in order is verified by itself, and said to be broken there.
    if (segment === null) chains.push([path])
    else segments.push(segment)
  }
  const find = async (before: Segment['before']) => {
    let found = endingWith(segments, before)
    for (const each of others) found ??= await each.ending(before)
    return found
  }
  const continued = new Set(segments.flatMap((one) => endingWith(segments, one.before)?.path ?? []))
  for (const newest of segments.filter(({ path }) => !continued.has(path))) {
    const chain: string[] = []
    for await (const { path } of lineage(newest, find)) chain.unshift(path)
    chains.push(chain)
  }
  return chains
}

const many = (n: number, one: string, more = `${one}s`) => `${n} ${n === 1 ? one : more}`

const report = (result: Verified, name: string): readonly string[] => {
  const { problems, found, lastAnchor, unanchored, continues, torn, running } = result
  const file = (problem: { readonly file: string | null }) => problem.file ?? name
  const after = (n: number) =>
    n === 0 ? '0 lines after it' : `${many(n, 'line')} after it, not yet anchored`
  return [
    ...problems.map((problem) => `${file(problem)}:${problem.line}: ${problem.what}`),
    ...(found > problems.length ? [`and ${found - problems.length} more`] : []),
    ...(torn > 0 ? [`the last line is torn (${torn} bytes): a crash, or a write under way`] : []),
    ...(continues === null
      ? []
      : [
          `lines up to ${continues.seq} of ${continues.proc} were removed by audit.retention, as the evidence says`,
        ]),
    ...(running === null
      ? []
      : [
          `process ${running} has not stopped: it runs, it crashed, or its end was cut off (only a copy of the anchors tells: --anchors)`,
        ]),
    lastAnchor === null
      ? 'no anchor: the lines agree with each other, but nothing is signed'
      : `last anchor: line ${lastAnchor.line}, for line ${lastAnchor.seq} of ${lastAnchor.proc}, ` +
        `${lastAnchor.signed ? `signed by ${lastAnchor.kid}` : 'signature not checked (--keys)'}; ` +
        after(unanchored),
  ]
}

/**
 * What the anchors say of the end: `proved`, an orderly stop was the last thing signed; `under way`, the process that holds
 * the file may not have signed its last lines yet; `open`, it crashed or the end was cut off, and nothing tells which.
 */
type End = 'proved' | 'under way' | 'open'
const endOf = ({ lastAnchor, running, unanchored, torn }: Verified, newest: string): End => {
  if (lastAnchor?.signed !== true) return 'open'
  if (running === null && unanchored === 0 && torn === 0) return 'proved'
  return running !== null && writerOf(newest) === running ? 'under way' : 'open'
}

const verdict = (
  { found, lines, procs, lastAnchor }: Verified,
  end: End,
  missing: number,
): string =>
  `${many(lines, 'line')} of ${many(procs, 'process', 'processes')}: ` +
  (found + missing > 0
    ? `BROKEN, ${many(found + missing, 'problem')}`
    : lastAnchor?.signed !== true
      ? 'whole, but nothing proves it: no signature was checked'
      : end === 'open'
        ? 'whole up to the last anchor, but its end is not proved: it crashed or was cut off'
        : 'whole')

/**
 * Verifies evidence; prints what was found, escaped. Exit code 0: proved by signed anchors, to an orderly stop or as far
 * as the process that writes it now has signed; 1: broken or unreadable; 2: whole, but no signature was checked, so whoever
 * can write the files could have made it, or it ends in the middle, so that they could have cut it.
 * @param files files or folders
 * @param keys path of the key ring, to check the signatures of anchors
 * @param anchors path of a copy of the evidence, or of its anchors, kept elsewhere
 */
export const auditVerify = async (options: {
  readonly files: readonly string[]
  readonly keys?: string
  readonly anchors?: string
  readonly print: (line: string) => void
}): Promise<number> => {
  const { files, keys, anchors } = options
  const print = (line: string) => options.print(visible(line))
  try {
    const checks = {
      ...(keys === undefined ? {} : { publicKeys: publicKeys(keys) }),
      held: anchors === undefined ? [] : await anchorsOf(anchors),
    }
    if (anchors !== undefined && checks.held.length === 0)
      throw new Error(`${anchors} holds no anchor`)
    const results: { readonly name: string; readonly result: Verified; readonly end: End }[] = []
    for (const chain of await chainsOf(files)) {
      const result = await verifyJournal(chain, checks)
      const name = chain.at(-1) ?? ''
      if (result.lines === 0) throw new Error(`${name} holds no record`)
      const more = chain.length > 1 ? ` and ${many(chain.length - 1, 'file')} before it` : ''
      results.push({ name: `${name}${more}`, result, end: endOf(result, name) })
    }
    // Of several journals one holds the line that a copy names.
    const missing = checks.held.filter((link) =>
      results.every(({ result }) => result.missing.includes(link)),
    )
    for (const { seq, proc } of missing.slice(0, 100))
      print(
        `line ${seq} of ${proc}, which an anchor held elsewhere names, is missing or was changed`,
      )
    for (const { name, result, end } of results) {
      for (const line of report(result, name)) print(line)
      print(`${name}: ${verdict(result, end, missing.length)}`)
    }
    if (missing.length > 0 || results.some(({ result }) => !result.ok)) return 1
    return results.every(({ end }) => end !== 'open') ? 0 : 2
  } catch (error) {
    const why = messageOf(error)
    print(`${files.join(', ')} could not be verified: ${why}`)
    return 1
  }
}
