import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { secret } from '../../proxy/secret.ts'
import { createSpool, spooled } from '../../proxy/tokens/spool.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'

const sealer = createSealer(parseKeyRing(newKeyRing(Date.now(), randomBytes)))
const logged: string[] = []
const write = (_fields: object, message: string): void => void logged.push(message)
const log = { debug: write, info: write, warn: write, error: write }
const ENTRY = {
  lease: 'lease-1',
  tokens: {
    access: secret('at-canary-1'),
    refresh: secret('rt-canary-1'),
    scopes: ['repo'],
    expiresIn: 60,
    clientId: 'deputy',
  },
  credential: {
    id: 'cred-1',
    person: { tenant: 'acme', realm: 'corp', id: 'alice' },
    connection: 'acme',
    provider: 'acme',
    generation: 2,
    storedAt: 1_000,
  },
}
let dir = ''
let folder = ''
const spool = () => createSpool({ folder, sealer, log })
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'spool-'))
  folder = join(dir, 'vault-spool')
  logged.length = 0
})
afterEach(() => rmSync(dir, { recursive: true }))

test('where nothing was kept there is no folder, and nothing is left', async () => {
  expect([await spooled(folder), await spool().left(), spool().size()]).toEqual([[], [], 0])
  expect(await spool().conflict('cred-1')).toBeNull()
})

test('what is kept is sealed in a file of its own, which the next process finds whole', async () => {
  const before = spool()
  await before.keep(ENTRY)
  expect([await spooled(folder), before.size()]).toEqual([['cred-1.json'], 1])
  const file = join(folder, 'cred-1.json')
  expect([statSync(file).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700])
  expect(readFileSync(file, 'utf8')).not.toContain('canary')
  const after = spool()
  const [left, ...more] = await after.left()
  expect([more, after.size()]).toEqual([[], 1])
  expect(left).toMatchObject({
    lease: 'lease-1',
    credential: ENTRY.credential,
    tokens: { scopes: ['repo'], expiresIn: 60, clientId: 'deputy' },
  })
  expect([left?.tokens.access.reveal(), left?.tokens.refresh?.reveal()]).toEqual([
    'at-canary-1',
    'rt-canary-1',
  ])
  await after.drop('cred-1')
  expect([await spooled(folder), after.size()]).toEqual([[], 0])
})

test('a file in which somebody else is named does not open: that is told, and it stays', async () => {
  await spool().keep(ENTRY)
  const text = readFileSync(join(folder, 'cred-1.json'), 'utf8')
  writeFileSync(join(folder, 'other.json'), text.replace('"alice"', '"bobby"'))
  const next = spool()
  expect(await next.left()).toHaveLength(1)
  expect(logged.join()).toContain('bring back the key that it names')
  expect([(await spooled(folder)).toSorted(), next.size()]).toEqual([
    ['cred-1.json', 'other.json'],
    2,
  ])
})

test('what came second is kept beside what came first, and each goes by itself', async () => {
  const one = spool()
  await one.keep(ENTRY)
  await one.keep({ ...ENTRY, lease: 'lease-2' }, 'conflict')
  expect(await one.conflict('cred-1')).toMatchObject({ lease: 'lease-2' })
  expect((await one.left()).map(({ lease }) => lease)).toEqual(['lease-1'])
  await one.drop('cred-1', 'conflict')
  expect([await one.conflict('cred-1'), await spooled(folder)]).toEqual([null, ['cred-1.json']])
})
