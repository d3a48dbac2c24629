import { expect, test } from 'vitest'
import { createIssuerSessions } from '../../proxy/directory/issuer_sessions.ts'
import type { Person, Store } from '../../proxy/model.ts'
import { QUIET } from '../support/log.ts'

const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
const bob = { ...alice, id: 'bob' }

const kept = () => {
  const rows = new Map<string, Person>()
  const state = { now: 0, writes: 0, down: false }
  const sessions: Store['issuerSessions'] = {
    remember: async ({ hash, person }) => {
      state.writes += 1
      if (state.down) throw new Error('the store is away')
      rows.set(hash, person)
    },
    who: async (hash) => [rows.get(hash)].filter((one) => one !== undefined),
    sweep: async () => 0,
  }
  const clock = { now: () => state.now, mono: () => state.now }
  return { state, rows, own: createIssuerSessions({ sessions, clock, log: QUIET }) }
}

test('a session is somebody’s at its issuer, and is written once a day', async () => {
  const { own, state, rows } = kept()
  for (let n = 0; n < 100; n += 1) own.seen('https://one.test', 's', alice)
  own.seen('https://two.test', 's', bob)
  expect(state.writes).toBe(2)
  expect(await own.who('https://one.test', 's')).toEqual([alice])
  expect(await own.who('https://two.test', 's')).toEqual([bob])
  expect(await own.who('https://one.test', 't')).toEqual([])
  state.now = 86_400_000
  own.seen('https://one.test', 's', alice)
  expect(state.writes).toBe(3)
  expect([...rows.keys()].join()).not.toContain('one.test')
  own.close()
})
test('what is no session is none; one that could not be written is tried with the next call', async () => {
  const { own, state } = kept()
  for (const none of [undefined, null, 7, '', 'x'.repeat(1_025), '\ud800'])
    own.seen('https://one.test', none, alice)
  expect(state.writes).toBe(0)
  state.down = true
  own.seen('https://one.test', 's', alice)
  await Promise.resolve()
  state.down = false
  await expect
    .poll(async () => {
      own.seen('https://one.test', 's', alice)
      return own.who('https://one.test', 's')
    })
    .toEqual([alice])
  own.close()
})
