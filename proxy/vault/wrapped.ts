// Keys of the ring as a program wrapped them: what stands in the file, and the ring that comes of it.
import { createHmac, generateKeyPairSync, timingSafeEqual } from 'node:crypto'
import { parseKeyRing, ringText } from './seal.ts'
import type { KeyRing } from './seal.ts'
import { KEY_BYTES, type Kms } from './kms.ts'

/** One entry of the ring's file, whatever stands in it. */
export type Entry = Readonly<Record<string, unknown>>
const UNWRAPPED =
  'lies in the file as it is, though vault.kms names a program: run `deputy keys wrap`'

const isEntry = (value: unknown): value is Entry =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
/** The member that is the secret (RFC 7518 6.4.1, RFC 8037 2). */
const secretOf = ({ kty }: Entry): 'k' | 'd' => (kty === 'OKP' ? 'd' : 'k')
const kidOf = ({ kid }: Entry): string => (typeof kid === 'string' ? kid : '')

/** Says of unwrapped bytes whether they are the key that was wrapped, and nothing of the key itself. */
const checkOf = ({ kid, use }: Entry, key: Buffer): Buffer =>
  createHmac('sha256', key)
    .update(JSON.stringify(['deputy ring key', kid, use]))
    .digest()

/** The entry with its secret wrapped. What the program cannot give back is never relied on: it is asked at once. */
export const wrapEntry = async (entry: Entry, kms: Kms): Promise<Entry> => {
  const { [secretOf(entry)]: text, ...rest } = entry
  const key = Buffer.from(typeof text === 'string' ? text : '', 'base64url')
  if (key.length !== KEY_BYTES) throw new Error(`${kidOf(entry)} has no ${secretOf(entry)}`)
  const wrapped = await kms.wrap(kidOf(entry), key)
  const next = { ...rest, wrapped, check: checkOf(entry, key).toString('base64url') }
  await unwrapEntry(next, kms)
  return next
}

export const unwrapEntry = async (entry: Entry, kms: Kms): Promise<Entry> => {
  const { wrapped, check, ...rest } = entry
  if (typeof wrapped !== 'string' || typeof check !== 'string')
    throw new Error('wrapped and check must be texts')
  const key = await kms.unwrap(kidOf(entry), wrapped)
  const [is, should] = [checkOf(entry, key), Buffer.from(check, 'base64url')]
  if (is.length !== should.length || !timingSafeEqual(is, should))
    throw new Error(
      `vault.kms: the program gave another key than the one that was wrapped as ${kidOf(entry)}: does it use the key that it wrapped with?`,
    )
  return { ...rest, [secretOf(entry)]: key.toString('base64url') }
}

type File = { readonly current: unknown; readonly keys: readonly Entry[] }
/** null: no ring at all, about which parseKeyRing has the words. */
export const fileOf = (text: string): File | null => {
  try {
    const file: unknown = JSON.parse(text)
    const keys = isEntry(file) ? file['keys'] : null
    return isEntry(file) && Array.isArray(keys) && keys.every(isEntry)
      ? { ...file, current: file['current'], keys }
      : null
  } catch {
    return null
  }
}

/** The ring as if its wrapped keys were known: for rules about the file as a whole. Throws as parseKeyRing. */
export const checkShape = (text: string): void => {
  const file = fileOf(text)
  const k = Buffer.alloc(KEY_BYTES).toString('base64url')
  const { x, d } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  const keys = file?.keys.map((entry) =>
    'wrapped' in entry ? { ...entry, ...(secretOf(entry) === 'd' ? { x, d } : { k }) } : entry,
  )
  parseKeyRing(keys === undefined ? text : JSON.stringify({ ...file, keys }))
}

export type Rings = {
  /** The ring of a file's text. Throws one Error that names every problem and quotes no key. */
  readonly read: (text: string) => Promise<KeyRing>
  /** A new entry as it has to stand in the file. */
  readonly entry: (entry: Entry) => Promise<Entry>
  /** Reading may ask a program, which takes its time. */
  readonly asks: boolean
}

/**
 * Rings whose keys a program wraps: it is asked once for each key while this process lives, and for nothing else.
 * @param kms null: no key may be wrapped; else every key must be
 */
export const createRings = (kms: Kms | null): Rings => {
  let known = new Map<string, Entry>()
  const read = async (text: string): Promise<KeyRing> => {
    const file = fileOf(text)
    if (file === null) return parseKeyRing(text)
    const wrong = file.keys.flatMap((entry, i) =>
      kms === null
        ? 'wrapped' in entry
          ? [`keys.${i}: ${kidOf(entry)} is wrapped by a program: name it as vault.kms`]
          : []
        : 'wrapped' in entry && !('k' in entry) && !('d' in entry)
          ? []
          : [`keys.${i}: ${kidOf(entry)} ${UNWRAPPED}`],
    )
    if (wrong.length > 0) throw new Error(`vault.keys: ${wrong.join('; ')}`)
    if (kms === null) return parseKeyRing(text)
    const next = new Map<string, Entry>()
    // One after the other: a key store that serves many does not like to be asked at once.
    for (const entry of file.keys) {
      const name = JSON.stringify(entry)
      next.set(name, known.get(name) ?? (await unwrapEntry(entry, kms)))
    }
    known = next
    return parseKeyRing(JSON.stringify({ ...file, keys: [...next.values()] }))
  }
  const entry = async (plain: Entry): Promise<Entry> =>
    kms === null ? plain : wrapEntry(plain, kms)
  return { read, entry, asks: kms !== null }
}
/** A new ring's text, as it has to stand in the file. */
export const wrappedText = async (plain: string, { entry, asks }: Rings): Promise<string> => {
  const file = fileOf(plain)
  if (!asks || file === null) return plain
  const keys: Entry[] = []
  for (const each of file.keys) keys.push(await entry(each))
  return ringText(String(file.current), keys)
}
/** Of files whose keys stand in them as they are. */
export const PLAIN = createRings(null)
