// SPIFFE: names of workloads, and the keys of a trust domain that sign tokens for them (SPIFFE-ID, JWT-SVID, Trust Domain and Bundle).
import type { JSONWebKeySet, JWK } from 'jose'
import { atPointer } from '../wire/json.ts'

/** SPIFFE-ID 2.2: segments of these characters, none empty, none that goes up; the least path names a workload. */
const ID = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/

/** The trust domain of a workload's name; null: it is no such name. */
export const domainOfId = (id: unknown): string | null => {
  const found = typeof id === 'string' ? ID.exec(id) : null
  const segments = found?.[2]?.split('/') ?? []
  return segments.includes('.') || segments.includes('..') ? null : (found?.[1] ?? null)
}

/** JWT-SVID 3.1: no others sign, EdDSA among them. */
export const SVID_ALGORITHMS: readonly string[] = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
]

/** What a JWT-SVID may say that it is (JWT-SVID 2.3). */
export const svidType = (typ: unknown): boolean =>
  typ === undefined || typ === 'JWT' || typ === 'JOSE'

/** The keys of a bundle that sign tokens; those of certificates are left out. Throws an Error that says what is wrong. */
export const svidKeys = (bundle: unknown): JSONWebKeySet => {
  const keys: unknown = atPointer(bundle, '/keys')
  if (!Array.isArray(keys)) throw new Error('needs a member keys, a list')
  return {
    keys: keys.flatMap((key: unknown): JWK[] => {
      if (atPointer(key, '/use') !== 'jwt-svid') return []
      // A key without a name is not of a bundle (Bundle 4.2.2): it is passed over.
      if (typeof atPointer(key, '/kid') !== 'string') return []
      return [{ ...(key as JWK), use: 'sig' }]
    }),
  }
}
