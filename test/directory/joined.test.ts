// Several sources as one.
import { expect, test } from 'vitest'
import { joined } from '../../proxy/directory/joined.ts'
import type { Directory } from '../../proxy/directory/source.ts'
import type { Entitlements } from '../../proxy/model.ts'

const alice = { tenant: 'default', realm: 'corp', id: 'alice' }
const of = (source: 'file' | 'http' | 'scim', more: Partial<Entitlements> = {}): Entitlements => ({
  active: true,
  groups: [],
  roles: [],
  entitlements: [],
  auth: null,
  source,
  digest: `sha256:${source}`,
  asOf: null,
  ...more,
})
const one = (ask: Directory['ask'], forgot: unknown[] = []): Directory => ({
  ask,
  unread: () => null,
  forget: (person) => void forgot.push(person),
  close: () => {},
})

test('one alone is itself', () => {
  const single = one(() => null)
  expect(joined([single])).toBe(single)
})

test('groups, roles and entitlements are united, and each part keeps its origin', async () => {
  const scim = of('scim', { groups: ['a', 'b'], roles: ['r'] })
  const http = of('http', { groups: ['b', 'c'], entitlements: ['e'], asOf: 7, manager: 'bob' })
  const all = joined([one(() => scim), one(() => Promise.resolve(http))])
  expect(await all.ask(alice, 0)).toMatchObject({
    active: true,
    groups: ['a', 'b', 'c'],
    roles: ['r'],
    entitlements: ['e'],
    manager: 'bob',
    source: 'scim+http',
    parts: [scim, http],
    asOf: 7,
  })
})

test('it is as old as its oldest part', async () => {
  const all = joined([one(() => of('scim', { asOf: 9 })), one(() => of('http', { asOf: 4 }))])
  expect((await all.ask(alice, 0))?.asOf).toBe(4)
})

test('who is inactive or unknown in one source is so in all; the order does not matter', async () => {
  const here = one(() => of('scim'))
  for (const other of [one(() => null), one(() => Promise.resolve(null))])
    for (const pair of [[here, other] as const, [other, here] as const])
      expect(await joined(pair).ask(alice, 0)).toBeNull()
  const off = one(() => of('http', { active: false }))
  for (const pair of [[here, off] as const, [off, here] as const])
    expect(await joined(pair).ask(alice, 0)).toMatchObject({ active: false })
})

test('one source that fails, at once or later, fails all', async () => {
  const gone = (): never => {
    throw new Error('gone')
  }
  for (const failing of [one(gone), one(() => Promise.reject(new Error('gone')))])
    for (const pair of [
      [one(() => of('scim')), failing] as const,
      [failing, one(() => null)] as const,
    ])
      await expect(Promise.resolve(joined(pair).ask(alice, 0))).rejects.toThrow('gone')
})

test('each is asked with the same age and told what to forget', async () => {
  const asked: number[] = []
  const forgot: unknown[] = []
  const ask: Directory['ask'] = (_, maxAge) => (asked.push(maxAge), null)
  const all = joined([one(ask, forgot), one(ask, forgot)])
  await all.ask(alice, 30)
  all.forget(alice)
  expect([asked, forgot]).toEqual([
    [30, 30],
    [alice, alice],
  ])
})

test('what one answered before it counts no more is not served when the other has answered', async () => {
  let groups = ['staff']
  const waiting: (() => void)[] = []
  const fast = one(() => of('scim', { groups }))
  const slow = one(() => new Promise((answer) => waiting.push(() => answer(of('http')))))
  for (const whom of [alice, null]) {
    groups = ['staff']
    const all = joined([fast, slow])
    const asked = all.ask(alice, 30_000)
    await expect.poll(() => waiting).toHaveLength(1)
    groups = []
    all.forget({ ...alice, id: 'bob' })
    all.forget(whom)
    waiting.shift()?.()
    await expect.poll(() => waiting).toHaveLength(1)
    waiting.shift()?.()
    expect((await asked)?.groups).toEqual([])
  }
})
