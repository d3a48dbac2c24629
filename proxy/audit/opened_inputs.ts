// Sealed inputs of policy, opened with the investigator's private key: each only where the evidence names the very record.
import { createSecretKey, type KeyObject } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { compactDecrypt, decodeProtectedHeader } from 'jose'
import type { InvestigatorKey } from '../config/investigator.ts'
import { isObject } from '../wire/json.ts'
import { linesOf, record } from './chain.ts'
import {
  contentKid,
  digestOf,
  INPUT_EVENT,
  KEY_EVENT,
  MEMBERS_EVENT,
  type InputOf,
} from './inputs.ts'
import { bytesOf, packed } from './segments.ts'

/** Where a record stands; of a packed file its text is kept. */
type Place = {
  readonly file: string
  readonly line: number
  readonly digest: string
  readonly at: number
  readonly length: number
  readonly text: string | null
}
type OpenedInput =
  | { readonly kind: 'opened'; readonly text: string }
  /** `why`: a part of a sentence that begins with what is wrong. */
  | { readonly kind: 'unusable'; readonly why: string }
export type OpenedInputs = {
  /** The input of a decision, whose line names the record by `digest`. Never rejects. */
  readonly of: (decision: InputOf, digest: string) => Promise<OpenedInput>
  /** The same of members that a line `obligation.sealed` of this process and exchange names. Never rejects. */
  readonly members: (
    line: Pick<InputOf, 'exchange' | 'proc'>,
    digest: string,
  ) => Promise<OpenedInput>
  /** Keys and lines that are of no use, in sentences. */
  readonly wrong: readonly string[]
}

const idOf = ({ proc, exchange, n, part = 0 }: InputOf): string =>
  JSON.stringify([proc, exchange, n, part])
/** What the header says that the record belongs to; null: it is no input. */
const belongsTo = (jwe: string): InputOf | null => {
  try {
    const { proc, exchange, n, part } = decodeProtectedHeader(jwe) as Readonly<
      Record<string, unknown>
    >
    return typeof proc === 'string' &&
      typeof exchange === 'string' &&
      typeof n === 'number' &&
      (part === undefined || typeof part === 'number')
      ? { proc, exchange, n, part }
      : null
  } catch {
    return null
  }
}
const jweIn = (bytes: Buffer): { readonly event: unknown; readonly jwe: string } | null => {
  const line = record(bytes)
  const jwe = line?.['jwe']
  return typeof jwe === 'string' ? { event: line?.['event'], jwe } : null
}

const unusable = (why: string): OpenedInput => ({ kind: 'unusable', why })

/** @returns the content key, by its own name. Throws an Error where it does not open, or is none */
const contentKeyIn = async (
  jwe: string,
  { alg, kid, key }: InvestigatorKey,
): Promise<readonly [string, KeyObject]> => {
  const to = decodeProtectedHeader(jwe).kid
  if (to !== kid) throw new Error(`is sealed for another key than yours (${String(to)})`)
  const { plaintext } = await compactDecrypt(jwe, key, {
    keyManagementAlgorithms: [alg],
    contentEncryptionAlgorithms: ['A256GCM'],
  })
  const jwk: unknown = JSON.parse(Buffer.from(plaintext).toString())
  const k = isObject(jwk) ? jwk['k'] : undefined
  if (typeof k !== 'string') throw new Error('holds no key')
  return [contentKid(k), createSecretKey(Buffer.from(k, 'base64url'))]
}

const textAt = ({ file, at, length, text }: Place): string => {
  if (text !== null) return text
  const fd = openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(length)
    readSync(fd, bytes, 0, length, at)
    return jweIn(bytes)?.jwe ?? ''
  } finally {
    closeSync(fd)
  }
}

/**
 * Reads the files once, and of each input where it stands; what is asked for is read and opened then.
 * @param files of sealed inputs, packed ones too
 * @throws Error of a file that cannot be read
 */
export const openInputs = async (
  files: readonly string[],
  investigator: InvestigatorKey,
): Promise<OpenedInputs> => {
  const keys = new Map<string, KeyObject>()
  const places = new Map<string, Place[]>()
  /** Records of members by their digests. */
  const members = new Map<string, Place>()
  const wrong: string[] = []
  const read = async (file: string): Promise<void> => {
    const keeps = packed(file)
    let at = 0
    for await (const { number: line, bytes } of linesOf(bytesOf(file))) {
      const from = at
      at += bytes.length + 1
      const said = jweIn(bytes)
      if (said?.event === KEY_EVENT)
        try {
          keys.set(...(await contentKeyIn(said.jwe, investigator)))
        } catch (error) {
          // What a library says of it could quote what it read.
          const why =
            error instanceof Error && error.message.startsWith('is sealed for')
              ? error.message
              : 'does not open'
          wrong.push(`${file}:${line}: a content key ${why}`)
        }
      if (said?.event === MEMBERS_EVENT) {
        const digest = digestOf(said.jwe)
        const text = keeps ? said.jwe : null
        members.set(digest, { file, line, digest, at: from, length: bytes.length, text })
      }
      if (said?.event !== INPUT_EVENT) continue
      const of = belongsTo(said.jwe)
      if (of === null) {
        wrong.push(`${file}:${line}: this is no sealed input`)
        continue
      }
      const id = idOf(of)
      const place = { file, line, digest: digestOf(said.jwe), at: from, length: bytes.length }
      const known = places.get(id) ?? []
      places.set(id, known)
      known.push({ ...place, text: keeps ? said.jwe : null })
    }
  }
  for (const file of files) await read(file)

  const opened = async (place: Place): Promise<OpenedInput> => {
    const where = `in ${place.file}:${place.line}`
    const jwe = textAt(place)
    if (digestOf(jwe) !== place.digest) return unusable(`${where} changed while it was read`)
    const { kid } = decodeProtectedHeader(jwe)
    const key = keys.get(kid ?? '')
    if (key === undefined)
      return unusable(`${where} is sealed under ${String(kid)}, a key that none of the files has`)
    try {
      const { plaintext } = await compactDecrypt(jwe, key, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      })
      return { kind: 'opened', text: Buffer.from(plaintext).toString() }
    } catch {
      return unusable(`${where} does not open`)
    }
  }

  return {
    wrong,
    members: async ({ exchange, proc }, digest) => {
      const place = members.get(digest)
      if (place === undefined) return unusable('is in none of the files')
      const told = await opened(place)
      if (told.kind === 'unusable') return told
      const { exchange: whose, proc: by } = decodeProtectedHeader(textAt(place))
      return whose === exchange && by === proc
        ? told
        : unusable(`in ${place.file}:${place.line} belongs to another call`)
    },
    of: async (decision, digest) => {
      const known = places.get(idOf(decision)) ?? []
      const place = known.find((one) => one.digest === digest)
      if (place === undefined) {
        const [other] = known
        return other === undefined
          ? unusable('is in none of the files')
          : unusable(`in ${other.file}:${other.line} is not the one that the evidence names`)
      }
      return opened(place)
    },
  }
}
