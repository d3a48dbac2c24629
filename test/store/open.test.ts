import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openStore } from '../../proxy/store/open.ts'
import { kinds } from '../support/postgres.ts'
import { QUIET } from '../support/log.ts'
import { freePort } from '../support/ports.ts'

const folder = mkdtempSync(join(tmpdir(), 'store-open-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test.for(await kinds())('a store on $name is opened by its name alone', async (kind, { skip }) => {
  if (kind.skip) skip()
  const { where } = await kind.place()
  const asked: string[] = []
  const store = await openStore(where, (path) => (asked.push(path), path), QUIET)
  await store.check()
  await store.close()
  // A path is the configuration's to resolve; an address is not.
  expect(asked).toEqual(where.startsWith('sqlite:') ? [where.slice('sqlite:'.length)] : [])
})

test('a path is resolved as the configuration says', async () => {
  const store = await openStore('sqlite:deputy.db', (path) => join(folder, path), QUIET)
  await store.close()
  const again = await openStore(`sqlite:${join(folder, 'deputy.db')}`, (path) => path, QUIET)
  await again.check()
  await again.close()
})

test('a folder or a server that is not there is named', async () => {
  const missing = join(folder, 'none', 'deputy.db')
  await expect(openStore(`sqlite:${missing}`, (path) => path, QUIET)).rejects.toThrow(missing)
  const url = `postgres://u:sesame@127.0.0.1:${await freePort()}/x`
  await expect(openStore(url, (path) => path, QUIET)).rejects.toThrow(/ECONNREFUSED/)
})
