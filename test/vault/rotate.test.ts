import { randomUUID } from 'node:crypto'
import { readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { keysRotate } from '../../proxy/commands/keys.ts'
import type { Loaded } from '../../proxy/config/load.ts'
import type { Store, Vault } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { addKey } from '../../proxy/vault/ring_file.ts'
import { reseal } from '../../proxy/vault/rotate.ts'
import { kidOf } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { kinds } from '../support/postgres.ts'
import type { Place } from '../support/postgres.ts'
import { current, follow, newRing, ringAt } from './ring.ts'

const HOUR = 3_600_000
describe.each(await kinds())('rotation on $name', (kind) => {
  if (kind.skip) return test.skip('is not here')
  let place: Place
  let store: Store
  let path: string
  let vault: Vault
  let said: string[]
  const build = (): Vault =>
    createVault({
      store,
      sealer: follow(path),
      clock: { now: () => Date.now(), mono: () => performance.now() },
      randomId: randomUUID,
    })
  const connect = (user: string, n = 1): Promise<string> =>
    vault.connect({
      person: { tenant: 'acme', realm: 'corp', id: user },
      agent: 'triage',
      connection: 'github',
      provider: 'github',
      account: { id: user, label: user },
      tokens: { access: secret(`${user}-${n}`), refresh: secret('r'), scopes: [], expiresIn: 60 },
      scopes: [],
    })
  const token = async (id: string): Promise<string | undefined> =>
    (await vault.open(id, { fresh: true }))?.access.reveal()
  /** The command, as another process would run it: SQLite's file must be free. */
  const rotate = async (retire = false): Promise<number> => {
    if (kind.name === 'sqlite') await store.close()
    said = []
    const config = { vault: { store: place.where, keys: path, spool: `${path}.spool` } }
    const code = await keysRotate({
      loaded: {
        config,
        at: (name: string) => name,
        written: (name: string) => (name === 'deputy.sock' ? `${path}.sock` : name),
        kms: null,
      } as unknown as Loaded,
      retire,
      print: (line) => void said.push(line),
      complain: (line) => void said.push(`! ${line}`),
    })
    if (kind.name === 'sqlite') {
      store = await place.open()
      vault = build()
    }
    return code
  }
  const settle = (): void =>
    utimesSync(path, new Date(Date.now() - HOUR), new Date(Date.now() - HOUR))

  beforeEach(async () => {
    place = await kind.place()
    store = await place.open()
    path = newRing()
    vault = build()
  })
  afterEach(() => store.close())

  test('moves every row to a new key, and the old one can be removed once nothing needs it', async () => {
    const old = current(path)
    const ids = await Promise.all(['alice', 'bob', 'carol'].map((user) => connect(user)))
    settle()
    expect(await rotate()).toBe(0)
    const added = current(path)
    expect(added).not.toBe(old)
    expect(said).toContain(`sealed anew: 3, all in all; under ${added} now: 3`)
    expect(said.at(-1)).toBe(
      `${old}: nothing is sealed under it; \`deputy keys rotate --retire\` removes it`,
    )
    // A process with the old ring may still be writing.
    expect(await rotate(true)).toBe(1)
    expect(said.at(-1)).toMatch(/nothing was removed/)
    expect([...ringAt(path).seal.keys()]).toEqual([old, added])
    settle()
    expect(await rotate(true)).toBe(0)
    expect([...ringAt(path).seal.keys()]).toEqual([added])
    vault = build()
    expect(await Promise.all(ids.map(token))).toEqual(['alice-1', 'bob-1', 'carol-1'])
  })

  test('seals a straggler anew before the old key is removed', async () => {
    const old = readFileSync(path, 'utf8')
    await connect('alice')
    await rotate()
    const mine = readFileSync(path, 'utf8')
    writeFileSync(path, old)
    vault = build()
    const late = await connect('bob')
    writeFileSync(path, mine)
    settle()
    expect(await rotate(true)).toBe(0)
    vault = build()
    expect(await token(late)).toBe('bob-1')
    expect(ringAt(path).seal.size).toBe(1)
  })

  test('keeps a row bound to its place: what was moved before does not open after', async () => {
    const [mine, other] = [await connect('alice'), await connect('bob')]
    await store.close()
    await place.sql(`UPDATE credentials SET user_id = 'mallory' WHERE id = $1`, [mine])
    store = await place.open()
    vault = build()
    expect(await rotate()).toBe(0)
    await expect(vault.open(mine, { fresh: true })).rejects.toMatchObject({
      code: 'vault_unavailable',
    })
    expect(await token(other)).toBe('bob-1')
  })

  test('tells of a row that does not open, leaves it, and keeps the key that it names', async () => {
    const id = await connect('alice')
    await connect('bob')
    const [before] = await store.credentials.list({ user: 'alice' })
    const parts = before?.sealed.split('.') ?? []
    const damaged = [parts[0], parts[1], parts[2], 'AAAA', parts[4]].join('.')
    await store.close()
    await place.sql('UPDATE credentials SET sealed = $1 WHERE id = $2', [damaged, id])
    store = await place.open()
    settle()
    const old = current(path)
    expect(await rotate()).toBe(1)
    expect(said.find((line) => line.startsWith('! '))).toMatch(`credentials ${id} does not open`)
    expect(said.at(-1)).toBe(`${old}: still needed by 1 row`)
    settle()
    expect(await rotate(true)).toBe(1)
    expect(ringAt(path).seal.has(old)).toBe(true)
    expect((await store.credentials.byId(id))?.sealed).toBe(damaged)
  })

  test('lets a refresh win that stores while its row is being sealed anew', async () => {
    const id = await connect('alice')
    const lease = await vault.lease(id, 1, 60_000)
    if (lease.kind !== 'leased') throw new Error(lease.kind)
    const sealer = follow(path)
    addKey(path, Date.now())
    let raced = false
    const result = await reseal({
      store,
      progress: () => {},
      sealer: {
        reseal: async (text) => {
          const next = await sealer.reseal(text)
          if (!raced) {
            raced = true
            const tokens = { access: secret('alice-2'), refresh: null, scopes: null, expiresIn: 60 }
            expect(await vault.rotate(id, lease.lease, tokens)).toBe('stored')
          }
          return next
        },
      },
    })
    expect(await token(id)).toBe('alice-2')
    expect([...result.used]).toEqual([[current(path), 1]])
  })

  test('takes a consent under way along', async () => {
    const leg = await follow(path).sealText('flow-leg', { flow: 'h' }, 'verifier')
    await store.flows.insert({
      hash: 'h',
      nonce: 'n',
      tenant: 'acme',
      realm: 'corp',
      user: 'alice',
      agent: 'triage',
      connection: 'github',
      scopes: [],
      reauthorization: false,
      status: 'pending',
      failure: null,
      nextUri: null,
      createdAt: 0,
      expiresAt: HOUR,
      stateHash: 's',
      cookieHash: 'c',
      sealedLeg: leg,
      legExpiresAt: HOUR,
    })
    expect(await rotate()).toBe(0)
    const moved = (await store.flows.byHash('h'))?.sealedLeg ?? ''
    expect(kidOf(moved)).toBe(current(path))
    expect(await follow(path).openText('flow-leg', { flow: 'h' }, moved)).toBe('verifier')
    await expect(follow(path).openText('flow-leg', { flow: 'x' }, moved)).rejects.toThrow(
      'belongs to somebody',
    )
  })

  if (kind.name === 'sqlite')
    test('is refused while another process has the file, and adds no key then', async () => {
      const before = readFileSync(path, 'utf8')
      const complaints: string[] = []
      const config = { vault: { store: place.where, keys: path, spool: `${path}.spool` } }
      const code = await keysRotate({
        loaded: {
          config,
          at: (name: string) => name,
          written: (name: string) => (name === 'deputy.sock' ? `${path}.sock` : name),
          kms: null,
        } as unknown as Loaded,
        retire: false,
        print: () => {},
        complain: (line) => void complaints.push(line),
      })
      expect(code).toBe(1)
      expect(complaints.at(-1)).toMatch(/is in use by another process. Stop it/)
      expect(readFileSync(path, 'utf8')).toBe(before)
    })
  else
    test('goes on beside a replica that serves: it opens what moved and seals under the new key', async () => {
      const ids = await Promise.all(Array.from({ length: 30 }, (_, n) => connect(`user-${n}`)))
      const failures: unknown[] = []
      const done = new AbortController()
      const serve = async (): Promise<void> => {
        for (let n = 0; !done.signal.aborted; n += 1) {
          await token(ids[n % ids.length] ?? '').catch((error: unknown) => failures.push(error))
          if (n % 7 === 0)
            await connect(`user-${n % ids.length}`, 2).catch((error: unknown) =>
              failures.push(error),
            )
        }
      }
      const load = serve()
      expect(await rotate()).toBe(0)
      settle()
      expect(await rotate(true)).toBe(0)
      done.abort()
      await load
      expect(failures).toEqual([])
      const rows = await store.credentials.list({})
      expect(new Set(rows.map(({ sealed }) => kidOf(sealed)))).toEqual(new Set([current(path)]))
      expect(ringAt(path).seal.size).toBe(1)
      expect(await token(ids[29] ?? '')).toMatch(/^user-29-/)
    })
})
