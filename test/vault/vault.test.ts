import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Person, Store, TokenSet, Vault } from '../../proxy/model.ts'
import { AccountMismatch, Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import type { Sealer } from '../../proxy/vault/seal.ts'
import { createVault } from '../../proxy/vault/vault.ts'
import { kinds } from '../support/postgres.ts'
import type { Place } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const tokens = (n: number, change: Partial<TokenSet> = {}): TokenSet => ({
  access: secret(`access-${n}`),
  refresh: secret(`refresh-${n}`),
  scopes: ['repo'],
  expiresIn: 60,
  ...change,
})

describe.each(await kinds())('the vault on $name', (kind) => {
  if (kind.skip) return test.skip('is not here')
  let place: Place
  let store: Store
  let sealer: Sealer
  let vault: Vault
  let now: number
  let opened: number
  let reads: number
  const revoked: object[] = []
  const clock = { now: () => now, mono: () => now }
  const counting = (): Store => ({
    ...store,
    credentials: {
      ...store.credentials,
      byId: (id) => ((reads += 1), store.credentials.byId(id)),
      find: (...what) => ((reads += 1), store.credentials.find(...what)),
    },
  })
  const build = (): Vault =>
    createVault({
      store: counting(),
      sealer: { ...sealer, open: (...what) => ((opened += 1), sealer.open(...what)) },
      clock,
      randomId: randomUUID,
      onRevoked: (what) => void revoked.push(what),
    })
  const connect = (
    person = alice,
    agent = 'triage',
    account = { id: '7', label: 'alice-gh' },
    n = 1,
    replace = false,
  ) =>
    vault.connect({
      person,
      agent,
      connection: 'github',
      provider: 'github',
      account,
      tokens: tokens(n),
      scopes: ['repo'],
      replace,
    })

  beforeEach(async () => {
    place = await kind.place()
    store = await place.open()
    sealer = createSealer(parseKeyRing(newKeyRing(0, randomBytes)))
    now = 1_000_000
    opened = 0
    reads = 0
    revoked.length = 0
    vault = build()
  })
  afterEach(() => store.close())

  test('reads the store once for a thousand calls at once, and anew for whoever comes after a change', async () => {
    const id = await connect()
    vault = build()
    reads = 0
    const everybody = Array.from({ length: 1_000 })
    const first = everybody.map(async () => vault.look(alice, 'github', 'triage'))
    expect((await Promise.all(first)).every(({ kind }) => kind === 'held')).toBe(true)
    expect(reads).toBe(1)
    await Promise.all(everybody.map(() => vault.open(id)))
    expect(reads).toBe(2)
    expect(opened).toBe(1)

    vault = build()
    const before = vault.open(id)
    const revoking = vault.revoke(id)
    await revoking
    expect(await vault.open(id)).toBeNull()
    await before
  })

  test('stores what a consent earned, for this person and this agent only', async () => {
    expect(await vault.look(alice, 'github', 'triage')).toEqual({ kind: 'none' })
    const id = await connect()
    expect(await vault.look(alice, 'github', 'triage')).toEqual({
      kind: 'held',
      credential: id,
      status: 'active',
      account: 'alice-gh',
      generation: 1,
      scopes: ['repo'],
      granted: ['repo'],
    })
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({
      kind: 'held',
      granted: null,
    })
    for (const person of [
      { ...alice, id: 'bob' },
      { ...alice, realm: 'x' },
      { ...alice, tenant: 'x' },
    ])
      expect(await vault.look(person, 'github', 'triage')).toEqual({ kind: 'none' })
    const credential = await vault.open(id)
    expect(credential?.access.reveal()).toBe('access-1')
    expect(credential).toMatchObject({ person: alice, generation: 1, expiresAt: 1_060_000 })
    expect(inspect(credential, { depth: 9 })).not.toContain('access-1')
  })

  test('cannot take one person for another by shifting characters between the parts of a name', async () => {
    await connect({ tenant: 'a', realm: 'b","c', id: 'd' })
    await vault.look({ tenant: 'a', realm: 'b","c', id: 'd' }, 'github', 'triage')
    expect(await vault.look({ tenant: 'a', realm: 'b', id: 'c","d' }, 'github', 'triage')).toEqual({
      kind: 'none',
    })
  })

  test('asks the store once and opens a generation once, however many calls come', async () => {
    const id = await connect()
    vault = build()
    reads = 0
    await Promise.all(Array.from({ length: 20 }, () => vault.open(id)))
    expect(opened).toBe(1)
    await vault.look(alice, 'github', 'triage')
    reads = 0
    for (let n = 0; n < 100; n += 1) {
      await vault.open(id)
      await vault.look(alice, 'github', n % 2 === 0 ? 'triage' : 'other')
    }
    expect([reads, opened]).toEqual([0, 1])
  })

  test('forgets what it remembered at every change', async () => {
    const look = (agent = 'triage') => vault.look(alice, 'github', agent)
    await look()
    const id = await connect()
    expect(await look('other')).toMatchObject({ granted: null })
    await vault.grant(alice, 'other', 'github', ['repo'])
    expect(await look('other')).toMatchObject({ granted: ['repo'] })
    await vault.open(id)
    const lease = await vault.lease(id, 1, 1_000)
    if (lease.kind !== 'leased') throw new Error(lease.kind)
    expect(await vault.rotate(id, lease.lease, tokens(2, { refresh: null, scopes: null }))).toBe(
      'stored',
    )
    const rotated = await vault.open(id)
    expect(rotated?.access.reveal()).toBe('access-2')
    expect(rotated?.refresh?.reveal()).toBe('refresh-1') // an answer without one keeps the old one
    expect(await look()).toMatchObject({ generation: 2, scopes: ['repo'] })
    expect((await vault.revoke(id))?.access.reveal()).toBe('access-2')
    expect(revoked).toEqual([{ credential: id, person: alice, connection: 'github' }])
    expect(await look()).toEqual({ kind: 'none' })
    expect(await vault.open(id)).toBeNull()
  })

  test('takes back one agent’s grant at once, says so for that agent alone, and keeps the account', async () => {
    await connect()
    await vault.grant(alice, 'other', 'github', ['repo'])
    await vault.look(alice, 'github', 'other')
    expect(await vault.disallow(alice, 'other', 'github')).toBe(true)
    expect(revoked).toEqual([
      { credential: null, person: alice, connection: 'github', agent: 'other' },
    ])
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({ granted: null })
    expect(await vault.look(alice, 'github', 'triage')).toMatchObject({ granted: ['repo'] })
    expect(await vault.disallow(alice, 'other', 'github')).toBe(false)
    expect(revoked).toHaveLength(1)
  })

  test('keeps the credential at a new consent for the same account, and starts anew for another account', async () => {
    const id = await connect()
    await vault.grant(alice, 'other', 'github', ['repo'])
    expect(await connect(alice, 'triage', { id: '7', label: 'renamed' }, 2)).toBe(id)
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({
      generation: 2,
      account: 'renamed',
      granted: ['repo'],
    })
    await expect(connect(alice, 'triage', { id: '8', label: 'work' }, 3)).rejects.toThrow(
      AccountMismatch,
    )
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({ account: 'renamed' })
    const other = await connect(alice, 'triage', { id: '8', label: 'work' }, 3, true)
    expect(other).not.toBe(id)
    expect(await vault.open(id)).toBeNull()
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({
      credential: other,
      granted: null,
    })
  })

  test('takes an account of another provider for another account, whatever its id: no agent keeps its grant', async () => {
    const id = await connect()
    await vault.grant(alice, 'other', 'github', ['repo'])
    const other = await vault.connect({
      person: alice,
      agent: 'triage',
      connection: 'github',
      provider: 'forge',
      account: { id: '7', label: 'alice' },
      tokens: tokens(2),
      scopes: ['repo'],
    })
    expect(other).not.toBe(id)
    expect(await vault.open(id)).toBeNull()
    expect(await vault.look(alice, 'github', 'other')).toMatchObject({ granted: null })
  })

  test('loses a rotation whose credential was replaced or revoked meanwhile', async () => {
    const id = await connect()
    const lease = await vault.lease(id, 1, 1_000)
    if (lease.kind !== 'leased') throw new Error(lease.kind)
    await connect(alice, 'triage', { id: '7', label: 'a' }, 2)
    expect(await vault.rotate(id, lease.lease, tokens(9))).toBe('lost')
    expect((await vault.open(id))?.access.reveal()).toBe('access-2')
    expect(await vault.lease(id, 1, 1_000)).toEqual({ kind: 'moved' })
    await vault.revoke(id)
    expect(await vault.lease(id, 2, 1_000)).toEqual({ kind: 'gone' })
  })

  test('gives a lease once, remembers an answer that may be lost, cools down, and ends a dead grant', async () => {
    const id = await connect()
    const life = kind.ownClock ? 2_000 : 200
    expect(await vault.lease(id, 1, life)).toMatchObject({ kind: 'leased', unknownBefore: false })
    const until = kind.ownClock ? (expect.any(Number) as unknown) : 1_000_200
    expect(await vault.lease(id, 1, life)).toEqual({ kind: 'busy', until })
    now += 200
    if (kind.ownClock) await pause(life + 20)
    const second = await vault.lease(id, 1, 1_000)
    if (second.kind !== 'leased') throw new Error(second.kind)
    expect(second.unknownBefore).toBe(true)
    await vault.release(id, second.lease, { kind: 'refused', error: 'busy', coolDownMs: 500 })
    expect(await vault.lease(id, 1, 1_000)).toEqual({
      kind: 'cooling',
      until: 1_000_700,
      doubtful: false,
      error: 'busy',
    })
    now += 500
    const third = await vault.lease(id, 1, 1_000)
    if (third.kind !== 'leased') throw new Error(third.kind)
    expect(third.unknownBefore).toBe(true)
    await vault.release(id, third.lease, { kind: 'dead', error: 'invalid_grant', coolDownMs: 0 })
    expect(await vault.look(alice, 'github', 'triage')).toMatchObject({ status: 'needs_reauth' })
    expect(await vault.open(id)).toMatchObject({ status: 'needs_reauth' })
    expect(await vault.lease(id, 1, 1_000)).toEqual({ kind: 'gone' })
  })

  test.each([
    ['user', 'user_id', 'bob'],
    ['tenant', 'tenant', 'evil'],
    ['realm', 'realm', 'other'],
    ['connection', 'connection', 'gitlab'],
    ['slot', 'slot', 'user'],
    ['provider account', 'account_id', '9'],
    ['generation', 'generation', 7],
  ])('does not open a row that was moved to another %s', async (_, name, value) => {
    const mine = await connect()
    await store.close()
    await place.sql(`UPDATE credentials SET ${name} = $1 WHERE id = $2`, [value, mine])
    store = await place.open()
    vault = build()
    await expect(vault.open(mine)).rejects.toMatchObject({ code: 'vault_unavailable' })
  })

  test('does not open a sealed text that was copied into another row', async () => {
    const mine = await connect()
    const theirs = await connect({ ...alice, id: 'bob' }, 'triage', { id: '9', label: 'bob' }, 2)
    await store.close()
    const copied = 'SELECT sealed FROM credentials WHERE id = $1'
    await place.sql(`UPDATE credentials SET sealed = (${copied}) WHERE id = $2`, [theirs, mine])
    store = await place.open()
    vault = build()
    await expect(vault.open(mine)).rejects.toMatchObject({ code: 'vault_unavailable' })
    expect((await vault.open(theirs))?.access.reveal()).toBe('access-2')
  })

  test('says vault_unavailable when the store fails, and nothing of why', async () => {
    await store.close()
    const error = await Promise.resolve(vault.look(alice, 'github', 'triage')).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(Problem)
    expect(error).toMatchObject({
      code: 'vault_unavailable',
      message: 'the vault cannot be read or written now',
    })
    await expect(vault.check()).rejects.toMatchObject({ code: 'vault_unavailable' })
    store = await place.open()
  })

  test('lists what a person holds and which agents may use it', async () => {
    await connect()
    await vault.grant(alice, 'other', 'github', [])
    const [held, ...rest] = await vault.list({ tenant: 'acme', id: 'alice' })
    expect(rest).toEqual([])
    expect(held).toMatchObject({
      person: alice,
      account: 'alice-gh',
      agents: [{ agent: 'other' }, { agent: 'triage', scopes: ['repo'] }],
    })
    expect(await vault.list({ realm: 'other' })).toEqual([])
  })
})
