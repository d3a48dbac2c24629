// Connected people in a store of either kind, as a consent would have left them.
import { randomUUID } from 'node:crypto'
import { secret } from '../../proxy/secret.ts'
import { openStore } from '../../proxy/store/open.ts'
import { readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { AGENT } from './deputy.ts'
import { QUIET } from './log.ts'

/** @param keys the ring's file */
export const seedStore = async (
  name: string,
  keys: string,
  people: readonly string[],
  refresh?: string,
): Promise<void> => {
  const store = await openStore(name, (path) => path, QUIET)
  const vault = createVault({
    store,
    sealer: createSealer(await readRing(keys)),
    clock: { now: () => Date.now(), mono: () => performance.now() },
    randomId: randomUUID,
  })
  for (const id of people)
    await vault.connect({
      person: { tenant: 'default', realm: 'local', id },
      agent: AGENT,
      connection: 'acme',
      provider: 'acme',
      account: { id, label: id },
      tokens: {
        access: secret(`at-${id}-1`),
        refresh: secret(refresh ?? `rt-${id}-1`),
        scopes: ['notes'],
        expiresIn: 3600,
      },
      scopes: ['notes'],
    })
  await store.close()
}
