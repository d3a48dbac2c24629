// The token that deputy itself shows at an API of the organisation: got with its own credentials, kept, and renewed.
import { createPrivateKey, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import type { ClientAuth, Clock } from '../model.ts'
import type { Fetch } from '../net/dial.ts'
import type { Secret } from '../secret.ts'
import { parseBody } from './body.ts'
import { authenticate, type Draft } from './client_auth.ts'
import { createSend } from './transport.ts'

export type OwnCredentials =
  | { readonly kind: 'none' }
  /** A token that somebody made, shown as it is. */
  | { readonly kind: 'bearer'; readonly scheme: string; readonly token: Secret }
  /** RFC 6749 4.4. */
  | {
      readonly kind: 'client'
      readonly url: string
      readonly auth: ClientAuth
      readonly id: string
      readonly secret: Secret | null
      readonly key: Secret | null
      readonly scope: string | null
    }
  /** RFC 7523 2.1: a service account speaks for an administrator. */
  | {
      readonly kind: 'account'
      readonly url: string
      readonly id: string
      readonly key: Secret
      readonly scope: string
      readonly subject: string | null
    }

/** @param rejected a value that was just refused: another one is got, once for all who saw it refused */
export type OwnToken = (rejected: string | null) => Promise<string | null>

const TIMEOUT_MS = 5_000
/** Renewed this long before its end, or when a tenth of its life is left. */
const EARLY_MS = 30_000
const LIFE_S = 300
/** Without `expires_in`, RFC 6749 5.1 leaves it open. */
const UNTOLD_S = 300

const need = (value: Secret | null, what: string): string => {
  if (value === null) throw new Error(`it needs a ${what}`)
  return value.reveal()
}
const draftOf = async (
  credentials: Extract<OwnCredentials, { readonly kind: 'client' | 'account' }>,
  now: () => number,
): Promise<Draft> => {
  const draft: Draft = { fields: [], headers: {} }
  if (credentials.kind === 'client') {
    const { id, secret, key, scope, url, auth } = credentials
    draft.fields.push(['grant_type', 'client_credentials'])
    if (scope !== null) draft.fields.push(['scope', scope])
    const client = {
      id,
      secret: () => need(secret, 'client_secret'),
      key: () => need(key, 'client_key'),
      audience: url,
    }
    await authenticate(auth, client, draft, { now, randomId: randomUUID })
    return draft
  }
  const { id, key, scope, subject, url } = credentials
  const at = Math.floor(now() / 1_000)
  const assertion = new SignJWT({ scope })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
    .setIssuer(id)
    .setAudience(url)
    .setIssuedAt(at)
    .setExpirationTime(at + LIFE_S)
  if (subject !== null) assertion.setSubject(subject)
  draft.fields.push(
    ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
    ['assertion', await assertion.sign(createPrivateKey(key.reveal()))],
  )
  return draft
}

export const createOwnToken = (
  credentials: OwnCredentials,
  { fetch, clock }: { readonly fetch: Fetch; readonly clock: Clock },
): OwnToken => {
  if (credentials.kind === 'none') return () => Promise.resolve(null)
  if (credentials.kind === 'bearer') {
    const { scheme, token } = credentials
    return () => Promise.resolve(`${scheme} ${token.reveal()}`)
  }
  const send = createSend(fetch, TIMEOUT_MS)
  let kept: { readonly value: string; readonly until: number } | null = null
  let running: Promise<string> | null = null
  const get = async (): Promise<string> => {
    const { fields, headers } = await draftOf(credentials, clock.now)
    const began = clock.mono()
    const raw = await send(credentials.url, {
      method: 'POST',
      headers: {
        ...headers,
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        'user-agent': 'deputy',
      },
      body: new URLSearchParams(fields).toString(),
    })
    const from = `${credentials.url} gives no token`
    if ('kind' in raw) throw new Error(`${from} (${raw.description ?? raw.error})`)
    const body = parseBody(raw)
    const token = body?.['access_token']
    if (raw.status !== 200 || typeof token !== 'string' || token === '') {
      const code = body?.['error']
      // RFC 6749 5.2: a code of ours to tell, never a description that may quote what was sent.
      const told = typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? `, ${code}` : ''
      throw new Error(`${from} (${raw.status}${told})`)
    }
    const lives = Number(body?.['expires_in'] ?? UNTOLD_S) * 1_000
    const early = Math.min(EARLY_MS, lives / 10)
    kept = { value: `Bearer ${token}`, until: began + (Number.isFinite(lives) ? lives : 0) - early }
    return kept.value
  }
  return (rejected) => {
    if (kept !== null && kept.value !== rejected && clock.mono() < kept.until)
      return Promise.resolve(kept.value)
    return (running ??= get().finally(() => (running = null)))
  }
}
