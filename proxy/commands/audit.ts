// `deputy audit verify`: is this the evidence that deputy wrote, all of it?
import type { JsonWebKeyInput, KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { chainsOf } from '../audit/chains.ts'
import { writerOf } from '../audit/lock.ts'
import { toldOf } from '../files.ts'
import { visible } from '../observe/log.ts'
import type { Verified } from '../audit/verify.ts'
import { anchorsOf, verifyJournal } from '../audit/verify.ts'

/** The public halves of a ring's signing keys; a copy of the ring without `d` does as well. */
const publicKeys = (path: string): ReadonlyMap<string, KeyObject> => {
  const keys = new Map<string, KeyObject>()
  const wrong = `${path} has no Ed25519 key; name the key ring of vault.keys`
  const text = readFileSync(path, 'utf8')
  let file: { readonly keys?: unknown } | null
  try {
    file = JSON.parse(text) as typeof file
  } catch (cause) {
    throw new Error(wrong, { cause })
  }
  for (const entry of Array.isArray(file?.keys) ? (file.keys as readonly unknown[]) : []) {
    const { kid, kty, crv, x } = (entry ?? {}) as Readonly<Record<string, unknown>>
    if (typeof kid !== 'string' || kty !== 'OKP' || crv !== 'Ed25519') continue
    keys.set(
      kid,
      createPublicKey({ key: { kty, crv, x } as JsonWebKeyInput['key'], format: 'jwk' }),
    )
  }
  if (keys.size === 0) throw new Error(wrong)
  return keys
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
      const paths = chain.map(({ path }) => path)
      const result = await verifyJournal(paths, checks)
      const name = paths.at(-1) ?? ''
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
    const why = toldOf(error)
    print(`${files.join(', ')} could not be verified: ${why}`)
    return 1
  }
}
