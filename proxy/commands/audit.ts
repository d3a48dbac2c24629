// `deputy audit verify`: was the evidence changed?
import type { JsonWebKeyInput, KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Verified } from '../observe/chain.ts'
import { anchorsOf, verifyJournal } from '../observe/chain.ts'
import { visible } from '../observe/log.ts'

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

const report = (file: string, result: Verified, checked: boolean): readonly string[] => {
  const { lines, procs, problems, found, lastAnchor, unanchored, continues, torn } = result
  const many = (n: number, what: string) => `${n} ${what}${n === 1 ? '' : 's'}`
  return [
    ...problems.map(({ line, what }) => `${file}:${line}: ${what}`),
    ...(found > problems.length ? [`and ${found - problems.length} more`] : []),
    ...(torn > 0 ? [`the last line is torn (${torn} bytes): a crash, or a write under way`] : []),
    ...continues.map(
      ({ proc, seq }) => `the file continues one that ended with line ${seq} of ${proc}`,
    ),
    lastAnchor === null
      ? 'no anchor: the lines agree with each other, but nothing is signed'
      : `last anchor: line ${lastAnchor.line}, for line ${lastAnchor.seq} of ${lastAnchor.proc}, ` +
        `${lastAnchor.signed ? `signed by ${lastAnchor.kid}` : 'signature not checked (--keys)'}; ` +
        `${many(unanchored, 'line')} after it`,
    `${file}: ${many(lines, 'line')} of ${many(procs, 'process').replace('processs', 'processes')}: ` +
      (found > 0
        ? `BROKEN, ${many(found, 'problem')}`
        : checked
          ? 'whole'
          : 'whole, as far as can be told without a signed anchor'),
  ]
}

/**
 * Verifies an evidence file; prints what was found, escaped. Exit code 0: whole; 1: broken or unreadable.
 * @param keys path of the key ring, to check the signatures of anchors
 * @param anchors path of a copy of the evidence, or of its anchors, kept elsewhere
 */
export const auditVerify = async (options: {
  readonly file: string
  readonly keys?: string
  readonly anchors?: string
  readonly print: (line: string) => void
}): Promise<number> => {
  const { file, keys, anchors } = options
  const print = (line: string) => options.print(visible(line))
  try {
    const result = await verifyJournal(file, {
      ...(keys === undefined ? {} : { publicKeys: publicKeys(keys) }),
      ...(anchors === undefined ? {} : { held: await anchorsOf(anchors) }),
    })
    if (result.lines === 0) throw new Error('it holds no record')
    const checked = result.lastAnchor?.signed === true
    for (const line of report(file, result, checked)) print(line)
    return result.ok ? 0 : 1
  } catch (error) {
    print(
      `${file} could not be verified: ${error instanceof Error ? error.message : String(error)}`,
    )
    return 1
  }
}
