// Two processes on one store: what one revokes, the other refuses within a second.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Store } from '../../proxy/model.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { createUlid } from '../../proxy/ulid.ts'
import { createRuns } from '../../proxy/vault/runs.ts'

const folder = mkdtempSync(join(tmpdir(), 'runs-'))
let store: Store
let at = 1_000_000
const clock = { now: () => at, mono: () => at }
const revoked: string[] = []
/** `deaf`: the change bus does not reach this one. */
const runs = (deaf = false) =>
  createRuns({
    store: deaf ? { ...store, subscribe: () => () => {} } : store,
    clock,
    randomBytes,
    newId: createUlid(clock.now),
    onRevoked: (id) => void revoked.push(id),
  })
beforeAll(async () => {
  store = await openSqlite(join(folder, 'deputy.db'))
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true })
})
const ALICE = { tenant: 'acme', realm: 'corp', id: 'alice' }
const what = (ms = 60_000) => ({
  person: ALICE,
  agent: 'job',
  connections: ['github'],
  operations: null,
  by: 'backend',
  expiresAt: at + ms,
})
const verified = async (who: ReturnType<typeof runs>, token: string) => who.verify(token)

test('a revocation in one process is seen by the other, after a second at most where nobody tells it', async () => {
  const [one, two] = [runs(true), runs(true)]
  const { token, row } = await one.mint(what())
  expect((await verified(two, token)).run).toBe(row.id)
  expect(await one.revoke(row.id)).toBe(true)
  expect(revoked).toEqual([row.id])
  await expect(verified(one, token)).rejects.toThrow('revoked')
  at += 999
  expect((await verified(two, token)).run).toBe(row.id)
  at += 1
  await expect(verified(two, token)).rejects.toThrow('revoked')
  expect(await two.revoke(row.id)).toBe(false)

  const heard = runs()
  const next = await one.mint(what())
  await verified(heard, next.token)
  await one.revoke(next.row.id)
  await expect(verified(heard, next.token)).rejects.toThrow('revoked')
  expect(revoked.filter((id) => id === next.row.id)).toHaveLength(2)
})

test('the end of a run counts to the millisecond, also while it is remembered', async () => {
  const one = runs()
  const { token } = await one.mint(what(500))
  const principal = await verified(one, token)
  expect(await verified(one, token)).toBe(principal)
  at += 499
  expect(await verified(one, token)).toBe(principal)
  at += 1
  await expect(verified(one, token)).rejects.toThrow('over')
})

test('a store that fails lets nobody through, not even who was known', async () => {
  const one = runs()
  const { token } = await one.mint(what())
  await verified(one, token)
  at += 1_000
  const { byHash } = store.runs
  Object.assign(store.runs, { byHash: () => Promise.reject(new Error('gone')) })
  try {
    await expect(verified(one, token)).rejects.toMatchObject({ code: 'vault_unavailable' })
  } finally {
    Object.assign(store.runs, { byHash })
  }
})

test('runs are listed by any part of whom they are for, swept long after their end, and erased with their person', async () => {
  const one = runs()
  const { row } = await one.mint({ ...what(), operations: ['issues.*'], agent: 'other' })
  expect(await one.list({ id: row.id })).toEqual([row])
  expect(await one.list({ tenant: 'acme', agent: 'other' })).toEqual([row])
  expect(await one.list({ realm: 'else' })).toEqual([])
  expect(await one.sweep()).toBe(0)
  const all = (await one.list({})).length
  at += 40 * 86_400_000
  expect(await one.sweep()).toBe(all)
  await one.mint(what())
  expect(await one.erase({ ...ALICE, tenant: 'else' })).toBe(0)
  expect(await one.erase(ALICE)).toBe(1)
})
