// The signature of a bundle as `opa sign` makes it: one JWS over the names and hashes of all files.
import { createHash } from 'node:crypto'
import { compactVerify, decodeProtectedHeader } from 'jose'
import { bundleKeyOf, type BundleKey } from '../config/policy.ts'
import type { Json, JsonObject } from '../model.ts'
import { messageOf } from '../problem.ts'
import { isObject } from '../wire/json.ts'
import { entryName, type BundleFiles } from './bundle.ts'
import { parseJson, parseNamed } from './strict.ts'

declare global {
  // ECMAScript's source text access, which this Node has and the types have not yet.
  interface JSON {
    rawJSON(text: string): object
    isRawJSON(value: unknown): boolean
  }
}

export type Verification = {
  /** Public keys (PEM) by id. */
  readonly keys: Readonly<Record<string, string>>
  /** Absent: a signature must have none. */
  readonly scope?: string | undefined
}
/** What a good signature says. */
export type Signed = {
  /** Id of the key. */
  readonly key: string
  /** ms since the epoch (`iat`); null: it does not say, so it is neither older nor newer than another. */
  readonly issuedAt: number | null
  /** ms since the epoch (`exp`); null: it does not end. */
  readonly expiresAt: number | null
}

const SIGNATURES = '.signatures.json'
const HASHES: Readonly<Record<string, string>> = {
  'SHA-256': 'sha256',
  'SHA-384': 'sha384',
  'SHA-512': 'sha512',
}
/** ms that the signer's clock may be ahead of this one, or behind. */
const LEEWAY = 60_000
/** How many names a message lists. */
const SHOWN = 5

const few = (names: readonly string[]): string =>
  names.length <= SHOWN
    ? names.join(', ')
    : `${names.slice(0, SHOWN).join(', ')} and ${names.length - SHOWN} more`
const refuse = (why: string): Error => new Error(`the signature of the policy bundle: ${why}`)

/** Numbers as they are written there, `1.0` and `-0` too. */
const exact = (text: string): unknown =>
  JSON.parse(text, (_key: string, value: unknown, ...rest: readonly unknown[]): unknown => {
    const [context] = rest as readonly [{ readonly source: string }]
    return typeof value === 'number' ? JSON.rawJSON(context.source) : value
  })
/** As Go's encoder writes it without escaping HTML. */
const quoted = (text: string): string =>
  JSON.stringify(text).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

const canonical = (value: unknown): string => {
  if (typeof value === 'string') return quoted(value)
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null || JSON.isRawJSON(value))
    return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => byBytes(a, b))
  return `{${members.map(([key, inner]) => `${quoted(key)}:${canonical(inner)}`).join(',')}}`
}

/** What OPA hashes of a file: the bytes; of a document its canonical JSON, so that spaces and order do not count. */
const hashed = (name: string, bytes: Uint8Array): string | Uint8Array => {
  const base = name.split('/').at(-1) ?? ''
  if (base === 'data.yaml' || base === 'data.yml') return canonical(parseNamed(name, bytes))
  if (base !== 'data.json' && base !== '.manifest') return bytes
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  parseJson(text, name) // what two readers understand differently has no hash
  return canonical(exact(text))
}

const isList = (value: unknown): value is readonly Json[] => Array.isArray(value)

/** The one JWS. */
const tokenOf = (bytes: Uint8Array): string => {
  const file = parseNamed(SIGNATURES, bytes)
  const { signatures, plugin = '_default' } = isObject(file) ? file : {}
  if (plugin !== '_default')
    throw refuse(`${SIGNATURES} names the plugin ${JSON.stringify(plugin)}, which is not here`)
  const [token, ...more] = isList(signatures) ? signatures : []
  if (typeof token !== 'string' || more.length > 0)
    throw refuse(`${SIGNATURES} must hold exactly one signature`)
  return token
}

/** The claims, and by which of our keys they are signed. The key says which algorithms count, never the signature. */
const claimsOf = async (
  token: string,
  keys: ReadonlyMap<string, BundleKey>,
): Promise<{ readonly claims: JsonObject; readonly key: string }> => {
  const { alg = 'none', kid, crit } = decodeProtectedHeader(token)
  if (crit !== undefined) throw refuse('it has extensions (crit), which nobody here understands')
  // `opa build` names the key "default" where nobody gave it a name: what names none of ours says nothing.
  const named = [...keys].filter(([id]) => kid === undefined || !keys.has(kid) || id === kid)
  const fitting = named.filter(([, { algorithms }]) => algorithms.includes(alg))
  if (fitting.length === 0)
    throw refuse(
      `its algorithm is ${JSON.stringify(alg)}, and no key of policy.verification is one for that`,
    )
  for (const [id, { key, algorithms }] of fitting) {
    const verified = await compactVerify(token, key, { algorithms: [...algorithms] }).catch(
      () => null,
    )
    if (verified === null) continue
    const claims = parseJson(new TextDecoder().decode(verified.payload), 'its claims')
    if (!isObject(claims)) throw refuse('its claims are not an object')
    const { keyid } = claims
    // OPA's older place for the name of the key.
    if (typeof keyid === 'string' && keyid !== id && keys.has(keyid))
      throw refuse(`it is by the key ${JSON.stringify(id)} and says ${JSON.stringify(keyid)}`)
    return { claims, key: id }
  }
  throw refuse(`it is not by ${few(fitting.map(([id]) => id))}`)
}

const timeOf = (claims: JsonObject, name: 'iat' | 'exp' | 'nbf'): number | null => {
  const value = claims[name]
  if (value === undefined) return null
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw refuse(`${name} is no time`)
  return value * 1_000
}

/** Every file is listed, every listed file is there, and each is what was signed. */
const compare = (listed: Json | undefined, files: ReadonlyMap<string, Uint8Array>): void => {
  if (!isList(listed)) throw refuse('it lists no files')
  const open = new Set([...files.keys()].filter((name) => name !== SIGNATURES))
  const [seen, absent, changed] = [new Set<string>(), [] as string[], [] as string[]]
  for (const row of listed) {
    const { name: raw, hash, algorithm } = isObject(row) ? row : {}
    const name = typeof raw === 'string' ? entryName(raw) : null
    if (name === null || typeof hash !== 'string' || typeof algorithm !== 'string')
      throw refuse('it lists a file without name, hash and algorithm')
    const by = HASHES[algorithm]
    if (by === undefined) throw refuse(`${name} is hashed with ${algorithm}: sign with SHA-256`)
    if (seen.has(name)) throw refuse(`it lists ${name} twice`)
    seen.add(name)
    const bytes = files.get(name)
    if (bytes === undefined || name === SIGNATURES) absent.push(name)
    else if (createHash(by).update(hashed(name, bytes)).digest('hex') !== hash) changed.push(name)
    open.delete(name)
  }
  const said = [
    changed.length > 0 && `what was signed as ${few(changed)} was changed since`,
    absent.length > 0 &&
      `${few(absent)} was signed and is not there (sign from within the folder: opa sign --bundle .)`,
    open.size > 0 && `${few([...open])} is there and was not signed`,
  ].filter((each) => each !== false)
  if (said.length > 0) throw refuse(said.join('; '))
}

/** The files by their names inside the bundle. Throws where two have one. */
const named = (files: BundleFiles): ReadonlyMap<string, Uint8Array> => {
  const found = new Map<string, Uint8Array>()
  for (const [raw, bytes] of files) {
    const name = entryName(raw)
    if (name === null) throw refuse(`${JSON.stringify(raw)} is not a name inside a bundle`)
    if (found.has(name)) throw refuse(`${name} is there twice`)
    found.set(name, bytes)
  }
  return found
}

/**
 * Checks the signature of a bundle over each of its files, as OPA does: key, algorithm (of the key's kind, never HS*),
 * `scope`, names and hashes. Rejects with an Error that says what is wrong. When it was signed and until when it counts
 * is for `refuseUntimely`.
 */
export const createVerifier = ({ keys, scope = '' }: Verification) => {
  const known = new Map<string, BundleKey>()
  for (const [id, pem] of Object.entries(keys)) {
    const read = bundleKeyOf(pem)
    if (typeof read === 'string') throw new Error(`policy.verification.keys.${id}: ${read}`)
    known.set(id, read)
  }
  return async (files: BundleFiles): Promise<Signed> => {
    const found = named(files)
    const bytes = found.get(SIGNATURES)
    if (bytes === undefined)
      throw refuse('there is none (.signatures.json), and policy.verification wants one')
    const token = tokenOf(bytes)
    const { claims, key } = await claimsOf(token, known).catch((error: unknown) => {
      const said = messageOf(error)
      throw said.startsWith('the signature') ? error : refuse(`it cannot be read: ${said}`)
    })
    const { scope: own = '' } = claims
    if (own !== scope)
      throw refuse(`its scope is ${JSON.stringify(own)}, and ${JSON.stringify(scope)} is wanted`)
    compare(claims['files'], found)

    const [issuedAt, expiresAt] = [timeOf(claims, 'iat'), timeOf(claims, 'exp')]
    return { key, issuedAt, expiresAt }
  }
}

const at = (ms: number): string => new Date(ms).toISOString()
/** Another moment may find it well. */
const untimely = (why: string): Error =>
  Object.assign(refuse(why), { code: 'DEPUTY_BUNDLE_UNTIMELY' })

/**
 * Throws an Error where a signature has ended (`exp`), is of the future (`iat`), or is older than the one in use. Clocks
 * may differ by a minute.
 * @param now ms since the epoch
 * @param floor when the bundle in use was signed, ms since the epoch; null: there is none, it does not say, or that does
 *   not count
 */
export const refuseUntimely = (
  { issuedAt, expiresAt }: Signed,
  now: number,
  floor: number | null,
): void => {
  if (expiresAt !== null && now > expiresAt + LEEWAY)
    throw untimely(`it ended at ${at(expiresAt)} (exp)`)
  if (issuedAt !== null && issuedAt > now + LEEWAY)
    throw untimely(`it was made at ${at(issuedAt)} (iat), which is still to come`)
  if (floor === null) return
  if (issuedAt === null)
    throw refuse(
      `it does not say when it was made (iat), and the one in use was made at ${at(floor)}: sign with iat, or say policy.allow_rollback: true`,
    )
  if (issuedAt < floor)
    throw refuse(
      `it was made at ${at(issuedAt)} (iat), before the one in use (${at(floor)}): sign again, or say policy.allow_rollback: true`,
    )
}
