import { beforeEach, expect, test } from 'vitest'
import type { Connection, Log, Vault } from '../../proxy/model.ts'
import { createWaiting } from '../../proxy/vault/waiting.ts'
import { connectionOf } from '../oauth/fixtures.ts'

let held: Awaited<ReturnType<Vault['clients']>> | null
let asked = 0
let told: unknown[]
const tell =
  (level: string) =>
  (fields: object, msg: string): void =>
    void told.push([level, fields, msg])
const log: Log = {
  debug: tell('debug'),
  info: tell('info'),
  warn: tell('warn'),
  error: tell('error'),
}
const named = (name: string): readonly [string, Connection] => [
  name,
  { ...connectionOf({}, {}, { clientId: 'new' }), name },
]
const connections = new Map([named('acme'), named('other')])
const make = () =>
  createWaiting({
    clients: async () => {
      asked += 1
      if (held === null) throw new Error('the database is away')
      return held
    },
    connections: () => connections,
    log,
  })
beforeEach(() => {
  told = []
  asked = 0
  held = [
    { connection: 'acme', clientId: 'new', grants: 5 },
    { connection: 'acme', clientId: 'old', grants: 2 },
    { connection: 'acme', clientId: 'older', grants: 1 },
    { connection: 'gone', clientId: 'old', grants: 9 },
  ]
})
const waits = (client_id: string, grants: number) => [
  'warn',
  { connection: 'acme', client_id, configured: 'new', grants },
  expect.stringContaining('grants belong to a client that is not configured'),
]

test('grants of another client are counted by connection, said in words, and told once', async () => {
  const waiting = make()
  await waiting.look()
  expect(waiting.samples()).toEqual([
    [{ connection: 'acme' }, 3],
    [{ connection: 'other' }, 0],
  ])
  expect(await waiting.detail()).toBe(
    '2 grants wait at acme for client old, and new is configured; 1 grant waits at acme for client older, and new is configured',
  )
  expect(told).toEqual([waits('old', 2), waits('older', 1)])
})

test('each change is told, and the end of it; then nobody asks the vault for the words', async () => {
  const waiting = make()
  await waiting.look()
  told = []
  held = [{ connection: 'acme', clientId: 'old', grants: 1 }]
  await waiting.detail()
  expect(told).toEqual([
    waits('old', 1),
    ['info', { connection: 'acme', client_id: 'older' }, 'no grant waits for this client any more'],
  ])
  held = []
  expect(await waiting.detail()).toBe('')
  expect(waiting.samples()[0]).toEqual([{ connection: 'acme' }, 0])
  const before = asked
  expect(await waiting.detail()).toBe('')
  expect(asked).toBe(before)
})

test('a vault that does not answer is told, and what was known stays', async () => {
  const waiting = make()
  await waiting.look()
  told = []
  held = null
  await waiting.look()
  expect(told).toEqual([
    ['error', { err: expect.any(Error) }, 'which client the grants belong to cannot be read'],
  ])
  expect(waiting.samples()[0]).toEqual([{ connection: 'acme' }, 3])
})
