// One credential of one person, for tests of the store.
import type { CredentialRow } from '../../proxy/model.ts'

export const owner = { tenant: 'acme', realm: 'corp', user: 'alice', connection: 'github' }
/** Without what later schemas added. */
export const credential: CredentialRow = {
  ...owner,
  id: 'c1',
  provider: 'github',
  slot: 'default',
  accountId: '7',
  host: null,
  account: 'a',
  status: 'active',
  generation: 1,
  scopes: [],
  sealed: 'jwe',
  expiresAt: null,
  storedAt: 1,
  lease: null,
  leaseUntil: null,
  unknownSince: null,
  coolUntil: null,
  coolError: null,
}
