import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { GrantUse, Log } from '../../proxy/model.ts'
import { createUsed } from '../../proxy/vault/used.ts'
import type { Used } from '../../proxy/vault/used.ts'

const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
const written: (readonly GrantUse[])[] = []
const warned: string[] = []
const log: Log = {
  debug: () => {},
  info: () => {},
  warn: (_fields, msg) => void warned.push(msg),
  error: () => {},
}
let broken = false
let used: Used
beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
  written.length = 0
  warned.length = 0
  broken = false
  used = createUsed({
    grants: {
      touch: async (uses) => {
        if (broken) throw new Error('disk full')
        written.push(uses)
      },
    },
    clock: { now: () => Date.now(), mono: () => performance.now() },
    log,
  })
})
afterEach(() => vi.useRealTimers())

test('a thousand uses in a minute are one write, made after the calls', async () => {
  for (let i = 0; i < 1_000; i += 1) used.note(alice, 'triage', 'github')
  expect(written).toEqual([])
  await vi.advanceTimersByTimeAsync(59_000)
  used.note(alice, 'triage', 'github')
  expect(written).toEqual([
    [{ person: alice, agent: 'triage', connection: 'github', at: 1_000_000 }],
  ])
  await vi.advanceTimersByTimeAsync(2_000)
  used.note(alice, 'triage', 'github')
  await used.close()
  expect(written[1]).toMatchObject([{ at: 1_061_000 }])
})

test('grants are told apart by person, agent and connection, and written together', async () => {
  used.note(alice, 'triage', 'github')
  used.note({ ...alice, tenant: 'globex' }, 'triage', 'github')
  used.note(alice, 'other', 'github')
  used.note(alice, 'triage', 'gitlab')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(written.map((uses) => uses.length)).toEqual([4])
})

test('a write that fails is told and tried again at the next use', async () => {
  broken = true
  used.note(alice, 'triage', 'github')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(warned).toHaveLength(1)
  broken = false
  used.note(alice, 'triage', 'github')
  await vi.advanceTimersByTimeAsync(2_000)
  expect(written).toHaveLength(1)
})
