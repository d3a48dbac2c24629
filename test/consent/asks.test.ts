// What people are asked: bounded, told of, waited for, ended.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { authorizationIdOf, createAsks, isAsk } from '../../proxy/consent/asks.ts'
import { ALICE, BOB, startConsent, type Consent } from '../support/consent.ts'

let house: Consent
beforeEach(async () => {
  house = await startConsent()
})
afterEach(() => house.close())

const asked = (question: string, person = ALICE) => ({
  kind: 'approval' as const,
  person,
  agent: 'agent:triage',
  connection: 'acme',
  question,
  digest: 'sha256:1',
  operations: ['issues.create'],
  needs: [],
  shown: null,
})
const begin = async (question: string, person = ALICE): Promise<string> =>
  (await house.asking.asks.begin(asked(question, person))).authorizationId

test('so many wait for one agent of one person, and no more; others are not counted', async () => {
  for (let n = 0; n < 20; n++) await begin(`q${n}`)
  await expect(begin('q20')).rejects.toMatchObject({ code: 'rate_limited' })
  // The same again costs nothing.
  await begin('q3')
  await begin('bobs', BOB)
  const { asks } = house.asking
  await asks.endAll({ tenant: 'acme', realm: 'corp', user: 'alice' })
  for (let n = 20; n < 30; n++) await begin(`q${n}`)
  await asks.endAll({ tenant: 'acme', realm: 'corp', user: 'alice' })
  await expect(begin('q30')).rejects.toMatchObject({ code: 'rate_limited' })
  house.advance(600_001)
  await begin('q30')
})

test('two that ask the same at once get one', async () => {
  const ids = await Promise.all([1, 2, 3].map(() => begin('same')))
  expect(new Set(ids).size).toBe(1)
})

test('only who asked may wait for it, and is woken by its end', async () => {
  const id = await begin('q')
  const { asks } = house.asking
  const who = { person: ALICE, agent: 'agent:triage' }
  const { signal } = new AbortController()
  for (const other of [
    { ...who, person: BOB },
    { ...who, agent: 'agent:other' },
  ])
    await expect(asks.status(id, other, 0, signal)).rejects.toMatchObject({
      code: 'authorization_not_found',
    })
  const waiting = asks.status(id, who, 30_000, signal)
  const row = await asks.byAuthorizationId(id)
  if (row === null) throw new Error('there is no ask')
  await asks.end(row, 'cancelled', { by: 'operator' })
  expect(await waiting).toMatchObject({ status: 'cancelled' })
  expect(house.events.at(-1)).toMatchObject({ event: 'approval.cancelled' })
})

test('all of an agent, a connection or a person end at once, and nothing else', async () => {
  const mine = await begin('mine')
  const bobs = await begin('bobs', BOB)
  const { asks } = house.asking
  expect(await asks.endAll({ agent: 'agent:other' })).toBe(0)
  expect(
    await asks.endAll({ tenant: 'acme', realm: 'corp', user: 'alice', connection: 'acme' }),
  ).toBe(1)
  expect(await asks.byAuthorizationId(mine)).toMatchObject({ status: 'cancelled' })
  expect(await asks.byAuthorizationId(bobs)).toMatchObject({ status: 'pending' })
  expect(await asks.endAll({ agent: 'agent:triage' })).toBe(1)
})

test('an erased person is named by none of them, as asker or as giver', async () => {
  const id = await begin('q')
  const row = await house.asking.asks.byAuthorizationId(id)
  if (row === null) throw new Error('there is no ask')
  const yes = [{ name: 'lead', part: null, by: 'bob', at: 1, until: 2 }]
  const after = { given: JSON.stringify(yes), status: 'given' as const, expiresAt: row.expiresAt }
  expect(await house.store.asks.answer(row, after, house.clock.now())).toBe(true)
  await house.store.erase({ ...BOB, tenant: 'other' })
  expect(await house.store.asks.byHash(row.hash)).not.toBe(null)
  await house.store.erase(BOB)
  expect(await house.store.asks.byHash(row.hash)).toBe(null)
  const other = await begin('p')
  await house.store.erase(ALICE)
  expect(await house.asking.asks.byAuthorizationId(other)).toBe(null)
})

test('its id is no consent’s', () => {
  const hash = 'a'.repeat(64)
  expect(authorizationIdOf({ kind: 'approval', hash })).toBe(`ap_${hash}`)
  expect(isAsk(`su_${hash}`)).toBe(true)
  expect([`ac_${hash}`, 'ap_', `ap_${'A'.repeat(64)}`, ''].map(isAsk)).toEqual([
    false,
    false,
    false,
    false,
  ])
})

test('of a link that nobody can open any more the evidence does not say that somebody was told', async () => {
  const keyed = (key: string) =>
    createAsks({
      store: house.store,
      sealer: { ...house.sealer, hmac: (room, text) => house.sealer.hmac(room, `${key}${text}`) },
      clock: house.clock,
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      randomBytes,
      publicUrl: house.publicUrl,
      linkTtlMs: 60_000,
      nagAfterMs: 60_000,
      able: true,
      onAsk: () => {},
      agentUrl: (agent) => agent,
      onEvent: async (event) => void said.push(event),
    })
  const said: string[] = []
  const sent: string[] = []
  const tell = async (key: string): Promise<void> => {
    const watch = keyed(key).watch(
      async (id) => (sent.push(id), null),
      () => true,
    )
    watch.wake()
    await watch.close()
  }
  await keyed('old').begin(asked('before'))
  await tell('new')
  expect([sent, said]).toEqual([[], ['approval.requested']])
  await keyed('new').begin(asked('after'))
  await tell('new')
  expect(sent).toHaveLength(1)
  expect(said.slice(1)).toEqual(['approval.requested', 'approval.notified'])
})
