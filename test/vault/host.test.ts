import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'

test('the host of a credential is sealed with it: a row that names another does not open', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'deputy-host-'))
  try {
    const path = join(folder, 'deputy.db')
    const sealer = createSealer(parseKeyRing(newKeyRing(Date.now(), randomBytes)))
    const clock = { now: () => Date.now(), mono: () => performance.now() }
    const open = async () => {
      const store = await openSqlite(path)
      return { store, vault: createVault({ store, sealer, clock, randomId: randomUUID }) }
    }
    const first = await open()
    const id = await first.vault.connect({
      person: { tenant: 't', realm: 'r', id: 'alice' },
      agent: 'a',
      connection: 'salesforce',
      provider: 'salesforce',
      account: { id: '1', label: 'alice' },
      tokens: {
        access: secret('at'),
        refresh: secret('rt'),
        scopes: ['api'],
        expiresIn: null,
        host: 'acme.my.salesforce.com',
      },
      scopes: ['api'],
    })
    expect(await first.vault.open(id)).toMatchObject({ host: 'acme.my.salesforce.com' })
    // A refresh that says nothing of the host keeps it.
    const leased = await first.vault.lease(id, 1, 1_000)
    const next = { access: secret('at2'), refresh: null, scopes: null, expiresIn: null }
    if (leased.kind !== 'leased') throw new Error(leased.kind)
    expect(await first.vault.rotate(id, leased.lease, next)).toBe('stored')
    expect(await first.vault.open(id, { fresh: true })).toMatchObject({
      host: 'acme.my.salesforce.com',
    })
    await first.store.close()

    const raw = new DatabaseSync(path)
    raw.exec(`UPDATE credentials SET host = 'evil.my.salesforce.com'`)
    raw.close()
    const second = await open()
    await expect(second.vault.open(id)).rejects.toMatchObject({ code: 'vault_unavailable' })
    await second.store.close()
  } finally {
    rmSync(folder, { recursive: true })
  }
})
