import { execFileSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { keysRotate } from '../../proxy/commands/keys.ts'
import type { Loaded } from '../../proxy/config/load.ts'
import type { Store, Vault } from '../../proxy/model.ts'
import { secret } from '../../proxy/secret.ts'
import { addKey, followRing, readRing, removeKeys, reseal } from '../../proxy/vault/rotate.ts'
import { createSealer, kidOf, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import type { KeyRing, Sealer } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { kinds } from '../support/postgres.ts'
import type { Place } from '../support/postgres.ts'
import { QUIET } from '../support/log.ts'

const HOUR = 3_600_000
const newRing = (): string => {
  const path = join(mkdtempSync(join(tmpdir(), 'ring-')), 'keys.json')
  writeFileSync(path, newKeyRing(0, randomBytes), { mode: 0o600 })
  return path
}
const ringAt = (path: string): KeyRing => parseKeyRing(readFileSync(path, 'utf8'))
const current = (path: string): string => ringAt(path).current.kid
const follow = (path: string): Sealer => {
  const first = ringAt(path)
  return createSealer(first, followRing({ path, first, log: QUIET }).latest)
}

describe('the ring file', () => {
  test('that everybody may read is refused', async () => {
    const path = newRing()
    chmodSync(path, 0o604)
    await expect(readRing(path)).rejects.toThrow(/can be read by everybody \(mode 604\)/)
  })
  test.skipIf(NO_MOUNT !== null)(
    `in a volume that is read-only here, as a Secret's, is read with the mode that it has there${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
    async () => {
      const volume = mkdtempSync(join(tmpdir(), 'ring-volume-'))
      const unmount = mount('-t', 'tmpfs', '-o', 'size=1m', 'none', volume)
      try {
        const path = join(volume, 'keys.json')
        writeFileSync(path, newKeyRing(0, randomBytes), { mode: 0o444 })
        await expect(readRing(path)).rejects.toThrow(/can be read by everybody/)
        mount('-o', 'remount,ro', volume)
        expect((await readRing(path)).current.kid).toBe(current(path))
      } finally {
        unmount()
      }
    },
  )
  test('gets a new current key in one step, is as private as before, and its old keys still open', async () => {
    const path = newRing()
    const before = current(path)
    const sealed = await follow(path).sealText('p', {}, 'x')
    const added = addKey(path, Date.now())
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(current(path)).toBe(added)
    expect([...ringAt(path).seal.keys()]).toEqual([before, added])
    expect(await follow(path).openText('p', {}, sealed)).toBe('x')
    chmodSync(path, 0o640)
    addKey(path, Date.now())
    expect(statSync(path).mode & 0o777).toBe(0o640)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('is left alone while another rotation is under way, and says how to go on', () => {
    const path = newRing()
    const before = readFileSync(path, 'utf8')
    writeFileSync(`${path}.new`, '')
    expect(() => addKey(path, 0)).toThrow(/another rotation is under way/)
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  test('stays whole where the disk takes only a part of the new one', () => {
    const path = newRing()
    for (let n = 0; n < 8; n += 1) addKey(path, n)
    const before = readFileSync(path, 'utf8')
    expect(before.length).toBeGreaterThan(1_024)
    const script = `import { addKey } from ${JSON.stringify(new URL('../../proxy/vault/rotate.ts', import.meta.url).href)}
try { addKey(${JSON.stringify(path)}, 99) } catch (error) { console.log('failed', error.code) }`
    const limited = ['-c', 'trap "" XFSZ; ulimit -f 1; exec "$@"', '-']
    const node = [process.execPath, '--input-type=module', '-e', script]
    const env = { PATH: process.env['PATH'] ?? '', NODE_DISABLE_COMPILE_CACHE: '1' }
    expect(execFileSync('bash', [...limited, ...node], { env }).toString()).toBe('failed EFBIG\n')
    expect(readFileSync(path, 'utf8')).toBe(before)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('that is no ring any more is not changed, and nothing of it is quoted', () => {
    const path = newRing()
    const torn = readFileSync(path, 'utf8').replace(/"k": ?"/, '"k":')
    writeFileSync(path, torn)
    expect(() => addKey(path, 0)).toThrow(
      /^key ring: not a JSON object; make one with `deputy keygen`$/,
    )
    expect(readFileSync(path, 'utf8')).toBe(torn)
  })

  test('never loses its current key', () => {
    const path = newRing()
    const before = readFileSync(path, 'utf8')
    expect(() => removeKeys(path, [current(path)])).toThrow(/current must be the kid of a seal key/)
    expect(readFileSync(path, 'utf8')).toBe(before)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('is read again when a key is unknown and before anything is sealed', async () => {
    const path = newRing()
    const [here, there] = [follow(path), follow(path)]
    const added = addKey(path, Date.now())
    const sealed = await here.sealText('p', {}, 'x')
    expect(kidOf(sealed)).toBe(added)
    expect(await there.openText('p', {}, sealed)).toBe('x')
  })

  test('that is broken or gone costs nothing: the last good one is used', async () => {
    const path = newRing()
    const sealer = follow(path)
    const sealed = await sealer.sealText('p', {}, 'x')
    for (const text of ['{', '']) {
      writeFileSync(path, text)
      expect(await sealer.openText('p', {}, await sealer.sealText('p', {}, 'y'))).toBe('y')
    }
    chmodSync(path, 0o644)
    expect(await sealer.openText('p', {}, sealed)).toBe('x')
  })
})

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
