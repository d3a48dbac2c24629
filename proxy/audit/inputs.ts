// What policy was asked, sealed for an investigator (`audit.inputs: sealed`). Each input is a JWE (RFC 7516) of its own under
// a content key of this process and hour; that key is in the same file, sealed under the investigator's public key, which is
// all that deputy has of theirs.
import { createSecretKey, hash, type KeyObject } from 'node:crypto'
import { CompactEncrypt } from 'jose'
import type { InvestigatorKey } from '../config/investigator.ts'
import type { AskedInput, Journal, Log } from '../model.ts'
import { whole } from '../policy/instance.ts'
import { member } from './chain.ts'

/** The file of the inputs, below `state`. */
export const INPUTS = 'inputs.jsonl'
/** A line with a content key, and one with an input; each holds one JWE as `jwe`. */
export const KEY_EVENT = 'input.key'
export const INPUT_EVENT = 'input'
/** A line with members of a request or an answer. */
export const MEMBERS_EVENT = 'members'

/** Which decision an input belongs to: the authenticated header of its JWE. */
export type InputOf = {
  readonly exchange: string
  readonly n: number
  readonly part?: number | undefined
  /** The process of the line of evidence. */
  readonly proc: string
}

/** Whose members a record holds: its authenticated header, with the process of the line of evidence. */
export type MembersOf = { readonly exchange: string; readonly in: 'request' | 'response' }

export type Inputs = {
  /**
   * Resolves with `sha256:` and the hex digest of the record once it is written; null: it could not be, and need not.
   * Rejects with Problem audit_unavailable where it must be.
   */
  readonly keep: (of: Omit<InputOf, 'proc'>, asked: AskedInput) => Promise<string | null>
  /** The same of members of a request or an answer, as JSON. */
  readonly members: (of: MembersOf, text: string) => Promise<string | null>
  /** The file begins anew: the key that is in use is written into it again. */
  readonly began: () => void
}

const HOUR_MS = 3_600_000

/** Names a content key by its thumbprint (RFC 7638), so that no other can be put in its place. */
export const contentKid = (k: string): string =>
  hash('sha256', JSON.stringify({ k, kty: 'oct' }), 'base64url')
export const digestOf = (jwe: string): string => `sha256:${hash('sha256', jwe)}`

type ContentKey = {
  readonly kid: string
  readonly key: KeyObject
  /** Its own line, without what every line has. */
  readonly line: string
}

export const createInputs = (deps: {
  /** Of the file of the inputs alone. */
  readonly append: Journal['append']
  readonly investigator: InvestigatorKey
  /** Of the evidence that names them. */
  readonly proc: string
  readonly randomBytes: (size: number) => Buffer
  /** `audit.required`. */
  readonly required: boolean
  readonly log: Log
}): Inputs => {
  const { append, investigator, proc, log } = deps
  let current: Promise<ContentKey> | null = null

  const made = async (): Promise<ContentKey> => {
    const bytes = deps.randomBytes(32)
    const k = bytes.toString('base64url')
    const kid = contentKid(k)
    const { alg, kid: to, key } = investigator
    const jwe = await new CompactEncrypt(Buffer.from(JSON.stringify({ kty: 'oct', kid, k })))
      .setProtectedHeader({ alg, enc: 'A256GCM', kid: to, cty: 'jwk+json', proc })
      .encrypt(key)
    const line = member('jwe', jwe)
    await append(KEY_EVENT, line)
    return { kid, key: createSecretKey(bytes), line }
  }
  const contentKey = (): Promise<ContentKey> => {
    if (current !== null) return current
    const mine = made()
    current = mine
    const forget = (): void => {
      if (current === mine) current = null
    }
    // Also where nobody calls: what is older than that, deputy itself cannot read.
    setTimeout(forget, HOUR_MS).unref()
    // A key that nobody could write down must seal nothing.
    mine.catch(forget)
    return mine
  }
  const sealed = async (event: string, of: object, text: string): Promise<string> => {
    const { kid, key } = await contentKey()
    const jwe = await new CompactEncrypt(Buffer.from(text))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid, ...of, proc })
      .encrypt(key)
    await append(event, member('jwe', jwe))
    return digestOf(jwe)
  }
  const unlessRequired = async (what: string, kept: Promise<string>): Promise<string | null> => {
    try {
      return await kept
    } catch (error) {
      if (deps.required) throw error
      log.error({ err: error }, `${what} could not be kept`)
      return null
    }
  }

  return {
    keep: ({ exchange, n, part }, [text, shared]) => {
      const about = { exchange, n, ...(part === undefined ? {} : { part }) }
      return unlessRequired(
        'what policy was asked',
        sealed(INPUT_EVENT, about, whole(text, shared)),
      )
    },
    members: ({ exchange, in: where }, text) =>
      unlessRequired(
        `what policy has sealed of a ${where}`,
        sealed(MEMBERS_EVENT, { exchange, in: where }, text),
      ),
    began: () => {
      const before = current
      before
        ?.then(({ line }) => append(KEY_EVENT, line))
        .catch((error: unknown) => {
          if (current === before) current = null
          log.error({ err: error }, 'the key of the sealed inputs could not be written again')
        })
    },
  }
}
