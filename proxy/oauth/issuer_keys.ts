// The keys that verify an issuer's assertions: how they are read and renewed, and for how long they
// serve while the issuer cannot be asked.
import { createLocalJWKSet, type JSONWebKeySet } from 'jose'
import { readText } from '../files.ts'
import type { Clock, Log } from '../model.ts'
import { messageOf, Problem } from '../problem.ts'
import { atPointer, parseStrict } from '../wire/json.ts'
import { svidKeys } from './spiffe.ts'
import { createSend } from './transport.ts'

export type KeySource = {
  readonly issuer: string
  /** null: the issuer's discovery document says. */
  readonly jwksUri: string | null
  /** Path of a JWKS file in place of both; null: none. */
  readonly jwksFile: string | null
  /** The trust domain whose bundle the keys are; absent: they are a JWKS. */
  readonly spiffe?: string | undefined
}
export type KeySet = ReturnType<typeof createLocalJWKSet>

export type IssuerKeys = {
  /**
   * The keys known now; null: none that may still serve. The same value until what the issuer says changes, so that
   * whatever was verified by one value is void once there is another.
   */
  readonly current: () => KeySet | null
  /** The keys that serve, asked for where they must be. Throws Problem issuer_unavailable. */
  readonly serving: () => Promise<KeySet>
  /**
   * Asks anew, discovery too, because a token names a key that is not among `known`; null: nothing newer may be asked for.
   * Throws Problem issuer_unavailable when the issuer cannot say.
   */
  readonly newer: (known: KeySet) => Promise<KeySet | null>
  readonly close: () => void
}

/** For discovery and keys together: nobody waits longer for an issuer that hangs. */
const DEADLINE_MS = 5_000
const EVERY_MS = 60_000
const FILE_EVERY_MS = 1_000
const DISCOVERY_EVERY_MS = 3_600_000
/** What calls may ask beside the regular look: a few at once, then one at a time. Anybody can invent a key's name. */
const BURST = 4
const REFILL_MS = 5_000
const MAX_JWKS = 256 * 1024

const unavailable = (cause?: unknown): Problem =>
  new Problem(
    'issuer_unavailable',
    'the keys of the issuer that signed this token cannot be read now',
    { cause },
  )

/** Throws an Error that says what is wrong. */
export const readJwks = (text: string, bundle = false): KeySet => {
  if (Buffer.byteLength(text) > MAX_JWKS) throw new Error('is larger than 256 kB')
  const parsed: unknown = parseStrict(text)
  if (bundle) return createLocalJWKSet(svidKeys(parsed))
  if (!Array.isArray(atPointer(parsed, '/keys'))) throw new Error('needs a member keys, a list')
  return createLocalJWKSet(parsed as JSONWebKeySet)
}

/** Reads from the issuer, or from the file. @returns the text of the key set, each time anew */
const createReader = (
  { issuer, jwksUri, jwksFile }: KeySource,
  fetch: typeof globalThis.fetch,
  clock: Pick<Clock, 'mono'>,
): ((again: boolean) => Promise<string>) => {
  const get = async (url: string, end: number): Promise<string> => {
    const send = createSend(fetch, Math.max(1, Math.ceil(end - clock.mono())))
    // A Kubernetes API server publishes keys by their own type only (RFC 7517 8.5.1).
    const accept = 'application/json, application/jwk-set+json'
    const headers = { accept, 'user-agent': 'deputy' }
    const raw = await send(url, { method: 'GET', headers })
    if ('kind' in raw) throw new Error(`${url} cannot be read (${raw.description ?? raw.error})`)
    if (raw.status !== 200) throw new Error(`${url} answers ${raw.status}`)
    if (raw.body === null) throw new Error(`${url} answers more than 256 kB`)
    return raw.body
  }
  let found: { readonly uri: string; readonly at: number } | null = null
  const discover = async (end: number): Promise<string> => {
    const at = clock.mono()
    const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
    const metadata: unknown = parseStrict(await get(url, end))
    const uri = atPointer(metadata, '/jwks_uri')
    // OIDC Discovery 4.3: the document must be the issuer's own.
    if (typeof uri !== 'string' || atPointer(metadata, '/issuer') !== issuer)
      throw new Error(`${url} answers without a jwks_uri of exactly this issuer`)
    if (uri.startsWith('http:') && !issuer.startsWith('http:'))
      throw new Error(`${url} names a plain http jwks_uri`)
    found = { uri, at }
    return uri
  }
  if (jwksFile !== null) return () => readText(jwksFile, MAX_JWKS)
  return async (again) => {
    const end = clock.mono() + DEADLINE_MS
    const known = found !== null && !again && clock.mono() - found.at < DISCOVERY_EVERY_MS
    return get(jwksUri ?? (known && found !== null ? found.uri : await discover(end)), end)
  }
}

/** @param options.grace ms for which known keys serve while the issuer cannot be asked (`identity.jwks_grace`) */
export const createIssuerKeys = (
  source: KeySource,
  options: {
    readonly grace: number
    readonly fetch: typeof globalThis.fetch
    readonly clock: Clock
    readonly log: Log
  },
): IssuerKeys => {
  const { clock, log, grace } = options
  const read = createReader(source, options.fetch, clock)
  const every = source.jwksFile === null ? EVERY_MS : FILE_EVERY_MS
  let known: { readonly keys: KeySet; readonly text: string; readonly at: number } | null = null
  let running: Promise<KeySet> | null = null
  let timer: NodeJS.Timeout | undefined
  let complaint = ''
  let closed = false

  const ask = async (again: boolean): Promise<KeySet> => {
    try {
      const text = await read(again)
      const keys = known?.text === text ? known.keys : readJwks(text, source.spiffe !== undefined)
      // The age of keys runs with the guarded clock: it counts the sleep of a machine as well.
      known = { keys, text, at: clock.now() }
      if (complaint !== '') log.info({ issuer: source.issuer }, 'the issuer’s keys are read again')
      complaint = ''
      // Looked at more often than a short grace ends: an issuer that answers never runs into it.
      timer ??= setInterval(look, Math.min(every, Math.max(1_000, grace / 3))).unref()
      if (closed) clearInterval(timer)
      return keys
    } catch (error) {
      if (messageOf(error) !== complaint)
        log.warn({ err: error, issuer: source.issuer }, 'the issuer’s keys cannot be read')
      complaint = messageOf(error)
      throw unavailable(error)
    }
  }
  const asked = (again = false): Promise<KeySet> =>
    (running ??= ask(again).finally(() => (running = null)))
  const look = (): void => void asked().catch(() => {}) // `ask` has told the log

  let left = BURST
  let refilled = clock.mono()
  /** May a call ask now? false: one asked just now. */
  const mayAsk = (): boolean => {
    const more = Math.floor((clock.mono() - refilled) / REFILL_MS)
    if (more > 0) {
      left = Math.min(BURST, left + more)
      refilled += more * REFILL_MS
    }
    if (left === 0) return false
    left -= 1
    return true
  }

  const current = (): KeySet | null => {
    if (known === null) return null
    const age = clock.now() - known.at
    return age >= 0 && age <= grace ? known.keys : null
  }
  return {
    current,
    serving: async () => {
      const keys = current()
      if (keys !== null) return keys
      if (running === null && !mayAsk()) throw unavailable()
      return asked()
    },
    newer: async (old) => {
      const keys = current()
      if (keys !== null && keys !== old) return keys
      if (mayAsk()) {
        await running?.catch(() => {}) // what is under way may have left before the key was there
        const next = await asked(true)
        return next === old ? null : next
      }
      if (complaint !== '') throw unavailable()
      return null
    },
    close: () => {
      closed = true
      clearInterval(timer)
    },
  }
}
