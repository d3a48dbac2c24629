// A yes to one very call: for that call, once, while its giver may give it and its time is not over.
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { AskBegun } from '../../proxy/consent/asks.ts'
import type { Need } from '../../proxy/consent/approvers.ts'
import type { AskRow, Entitlements, Person } from '../../proxy/model.ts'
import { ALICE, BOB, startConsent, type Consent } from '../support/consent.ts'

let house: Consent
beforeEach(async () => {
  house = await startConsent()
  house.directory.set('bob', facts(['leads']))
  house.directory.set('carol', facts(['leads']))
})
afterEach(() => house.close())

const facts = (groups: readonly string[]): Entitlements => ({
  active: true,
  groups,
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: 'sha256:x',
  asOf: null,
})
const CAROL: Person = { ...BOB, id: 'carol' }
const lead: Need = { name: 'lead', part: null, approvers: ['group:leads'], ttlS: 900, self: false }
const call = (digest = 'sha256:a', needs: readonly Need[] = [lead]) => ({
  person: ALICE,
  agent: 'agent:triage',
  connection: 'acme',
  digest,
  operations: ['issues.create'],
  needs,
  shown: { body: 'a-secret-body' },
})
const begin = async (of = call()): Promise<AskRow> => {
  const begun = (await house.asking.approvals.begin(of)) as AskBegun
  const row = await house.asking.asks.byAuthorizationId(begun.authorizationId)
  if (row === null) throw new Error('there is no ask')
  return row
}
const yes = async (row: AskRow, by = BOB) =>
  house.asking.approvals.say(row, by, await house.asking.approvals.asked(row, by))
const given = (of = call(), exchange = 'x1') => house.asking.approvals.given(of, exchange)
const names = (): readonly string[] => house.events.map(({ event }) => event)

test('it counts for that call alone, and is spent once, whoever asks at the same time', async () => {
  const row = await begin()
  expect(await given()).toBe(null)
  expect(await yes(row)).toMatchObject({ status: 'given' })
  const found = await given()
  expect(found?.of(null)).toMatchObject([{ name: 'lead', by: 'bob' }])
  expect(found?.of(1)).toEqual([])
  expect(await given(call('sha256:b'))).toBe(null)
  const { approvals } = house.asking
  const spent = await Promise.all(['x1', 'x2', 'x3'].map((id) => approvals.spend(row.hash, id)))
  expect(spent.filter(Boolean)).toHaveLength(1)
  const mine = ['x1', 'x2', 'x3'][spent.indexOf(true)] ?? ''
  // The call that has it may decide anew before it leaves; no other.
  expect(await given(call(), mine)).not.toBe(null)
  expect(await approvals.spend(row.hash, mine)).toBe(true)
  expect(names().filter((name) => name === 'approval.used')).toHaveLength(1)
  expect(await given(call(), 'x9')).toBe(null)
})

test('it is over at its end, and when the clock was set back before it was given', async () => {
  await yes(await begin())
  house.advance(899_000)
  expect(await given()).not.toBe(null)
  house.advance(2_000)
  expect(await given()).toBe(null)
  await yes(await begin(call('sha256:late')))
  house.advance(-600_000)
  expect(await given(call('sha256:late'))).toBe(null)
})

test('what its giver may not say any more is void, and somebody else may say it', async () => {
  const row = await begin()
  await yes(row)
  house.directory.set('bob', facts([]))
  expect(await given()).toBe(null)
  expect(names()).toContain('approval.voided')
  house.directory.set('bob', facts(['leads']))
  expect(await given()).toBe(null)
  const open = await house.asking.asks.byHash(row.hash)
  expect(open).toMatchObject({ status: 'pending', given: '[]' })
  // The yes would have ended in a quarter of an hour; the link lives on.
  expect(open?.expiresAt).toBe(row.expiresAt)
  if (open !== null) await yes(open, CAROL)
  expect((await given())?.of(null)).toMatchObject([{ by: 'carol' }])
})

test('a directory that does not answer is no yes', async () => {
  await yes(await begin())
  house.directory.get = () => {
    throw new Error('down')
  }
  await expect(given()).rejects.toMatchObject({ code: 'entitlements_unavailable' })
})

test('other demands are another question', async () => {
  await yes(await begin())
  expect(await given(call('sha256:a', [{ ...lead, approvers: ['group:security'] }]))).toBe(null)
  expect(await given(call('sha256:a', [{ ...lead, ttlS: 60 }]))).toBe(null)
  expect(await given(call('sha256:a', [lead, { ...lead, name: 'second' }]))).toBe(null)
})

test('several yeses make one, each to its part', async () => {
  const of = call('sha256:two', [
    { ...lead, part: 1 },
    { ...lead, part: 2, approvers: ['person:carol'] },
  ])
  const row = await begin(of)
  expect(await yes(row)).toMatchObject({ status: 'pending' })
  expect(await given(of)).toBe(null)
  // Of two that answer at the same moment the second looks again.
  expect(await yes(row, CAROL)).toBe(null)
  const half = await house.asking.asks.byHash(row.hash)
  if (half !== null) await yes(half, CAROL)
  const found = await given(of)
  expect([1, 2].map((part) => found?.of(part).map(({ by }) => by))).toEqual([['bob'], ['carol']])
})

test('of several yeses one that is over is to be said anew, and makes nothing whole', async () => {
  const of = call('sha256:slow', [
    { ...lead, approvers: ['person:bob'] },
    { ...lead, name: 'second', approvers: ['person:carol'] },
  ])
  const row = await begin(of)
  await yes(row)
  house.advance(901_000)
  const half = await house.asking.asks.byHash(row.hash)
  if (half === null) throw new Error('there is no ask')
  expect(house.asking.approvals.yeses(half)).toEqual([])
  const after = await yes(half, CAROL)
  expect(after).toMatchObject({ status: 'pending' })
  expect(await given(of)).toBe(null)
  if (after !== null) await yes(after)
  expect(
    (await given(of))
      ?.of(null)
      .map(({ by }) => by)
      .toSorted(),
  ).toEqual(['bob', 'carol'])
})

test('the same is asked once, and after a no not for a while', async () => {
  const row = await begin()
  expect((await begin()).hash).toBe(row.hash)
  await house.asking.approvals.decline(row, BOB)
  expect(await house.asking.approvals.begin(call())).toMatchObject({ declined: {} })
  expect(await yes(row)).toBe(null)
  house.advance(3_600_001)
  expect((await begin()).hash).not.toBe(row.hash)
})

test('a yes that nobody can account for is none', async () => {
  const row = await begin()
  const push = house.events.push.bind(house.events)
  house.events.push = () => {
    throw new Error('the disk is full')
  }
  await expect(yes(row)).rejects.toThrow('the disk is full')
  house.events.push = push
  expect(await given()).toBe(null)
  expect(await house.asking.asks.byHash(row.hash)).toMatchObject({ status: 'pending' })
})

test('what was asked ends with its person’s epoch, and its link with its time', async () => {
  const row = await begin()
  await yes(row)
  await house.store.epochs.move(ALICE)
  expect(await given()).toBe(null)
  expect((await begin()).hash).not.toBe(row.hash)
  const other = await begin(call('sha256:slow'))
  house.advance(86_400_001)
  expect(await house.asking.asks.byHash(other.hash)).toMatchObject({ status: 'expired' })
  expect(await yes(other)).toBe(null)
  // Its place is free again, and its end is told.
  expect((await begin(call('sha256:slow'))).hash).not.toBe(other.hash)
  expect(names()).toContain('approval.expired')
})

test('nothing of the call stands in the store in clear, nor after it has left', async () => {
  const row = await begin()
  expect(await house.stored()).not.toContain('a-secret-body')
  expect(await house.asking.asks.shown(row)).toEqual({ body: 'a-secret-body' })
  await yes(row)
  await house.asking.approvals.spend(row.hash, 'x1')
  expect(await house.asking.asks.byHash(row.hash)).toMatchObject({ sealed: null })
})
