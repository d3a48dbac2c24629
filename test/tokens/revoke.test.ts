// The kill switch where something fails: what is gone here stays gone, and every provider that can be told is told.
import { expect, test } from 'vitest'
import type { HeldConnection } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { secret } from '../../proxy/secret.ts'
import { createRevoker, type RevokeDeps, type Revocation } from '../../proxy/tokens/revoke.ts'
import { connectionOf } from '../oauth/fixtures.ts'
import { QUIET } from '../support/log.ts'

const alice = { tenant: 'default', realm: 'corp', id: 'alice' }
const held = (credential: string, connection = 'acme'): HeldConnection => ({
  credential,
  person: alice,
  connection,
  provider: 'acme',
  account: `${credential}-account`,
  status: 'active',
  scopes: [],
  storedAt: 1,
  agents: [],
})
const TOKENS = { access: secret('at'), refresh: null }
const down = new Problem('vault_unavailable', 'locked')

const house = (
  names: readonly string[],
  change: {
    revoke?: (credential: string) => Promise<typeof TOKENS | null>
    open?: RevokeDeps['vault']['open']
    provider?: RevokeDeps['client']['revoke']
  } = {},
) => {
  const diary: string[] = []
  const list = names.map((name) => held(name))
  const revoker = createRevoker({
    vault: {
      list: () => Promise.resolve(list),
      open: change.open ?? (() => Promise.reject(new Error('not asked for'))),
      revoke: (credential) => {
        diary.push(`here ${credential}`)
        return (change.revoke ?? (() => Promise.resolve(TOKENS)))(credential)
      },
    } as RevokeDeps['vault'],
    client: {
      revoke: (connection, tokens) => {
        diary.push('provider')
        return (change.provider ?? (() => Promise.resolve('revoked' as const)))(connection, tokens)
      },
    },
    connections: () => new Map([['acme', connectionOf({})]]),
    log: QUIET,
  })
  return { revoker, diary, list }
}
const results = (all: readonly Revocation[]) =>
  all.map(({ credential, result }) => [credential, result])

test('all of it is gone here before the first provider is asked', async () => {
  const { revoker, diary } = house(['a', 'b', 'c'])
  expect(results(await revoker.revoke({}))).toEqual([
    ['a', 'revoked'],
    ['b', 'revoked'],
    ['c', 'revoked'],
  ])
  expect(diary).toEqual(['here a', 'here b', 'here c', 'provider', 'provider', 'provider'])
})

test('what had ended meanwhile is told so, and its provider is not asked', async () => {
  const { revoker, diary } = house(['a'], { revoke: () => Promise.resolve(null) })
  expect(results(await revoker.revoke({}))).toEqual([['a', 'already_dead']])
  expect(diary).toEqual(['here a'])
})

test('what cannot be opened any more is gone all the same; its provider could not be told', async () => {
  const { revoker, diary } = house(['a'], {
    revoke: () => Promise.reject(down),
    open: () => Promise.resolve(null),
  })
  expect(results(await revoker.revoke({}))).toEqual([['a', 'failed']])
  expect(diary).not.toContain('provider')
})

test('a store that fails is an error, after what was removed has been told to the providers', async () => {
  const done: unknown[] = []
  const { revoker, diary, list } = house(['a', 'b', 'c'], {
    revoke: (credential) => (credential === 'b' ? Promise.reject(down) : Promise.resolve(TOKENS)),
    open: () => Promise.reject(down),
  })
  const these = revoker.these(list, ({ credential }) => {
    done.push(credential)
    return Promise.resolve()
  })
  await expect(these).rejects.toBe(down)
  expect(done).toEqual(['a', 'c'])
  expect(diary.filter((line) => line === 'provider')).toHaveLength(2)
})

test('evidence that fails keeps no other provider from being told, and is an error in the end', async () => {
  const full = new Error('full')
  const { revoker, diary, list } = house(['a', 'b', 'c', 'd', 'e'])
  await expect(revoker.these(list, () => Promise.reject(full))).rejects.toBe(full)
  expect(diary.filter((line) => line === 'provider')).toHaveLength(5)
})

test('a provider that fails is said to have failed, and the others are told', async () => {
  let first = true
  const { revoker } = house(['a', 'b'], {
    provider: () => {
      const fails = first
      first = false
      return fails ? Promise.reject(new Error('down')) : Promise.resolve('access_outlives')
    },
  })
  expect(results(await revoker.revoke({}))).toEqual([
    ['a', 'failed'],
    ['b', 'access_outlives'],
  ])
})

test('four providers at most are asked at once', async () => {
  let [now, most] = [0, 0]
  const { revoker } = house(
    Array.from({ length: 10 }, (_, n) => `c${n}`),
    {
      provider: async () => {
        most = Math.max(most, ++now)
        await new Promise(setImmediate)
        now--
        return 'revoked'
      },
    },
  )
  expect(await revoker.revoke({})).toHaveLength(10)
  expect(most).toBe(4)
})

test('a provider that took the name of another one is shown no token of it', async () => {
  const { revoker, diary, list } = house(['a'])
  const moved = list.map((one) => ({ ...one, provider: 'another' }))
  expect(results(await revoker.these(moved))).toEqual([['a', 'failed']])
  expect(diary).toEqual(['here a'])
})
