// What waits for the application's word: late, twice, after a revocation, with another account.
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { Person } from '../../proxy/model.ts'
import { ALICE, BOB, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'

let house: Consent
beforeAll(async () => {
  house = await startConsent()
})
afterAll(() => house.close())
beforeEach(async () => {
  for (const { credential } of await house.vault.list({})) await house.vault.revoke(credential)
  for (const person of [ALICE, BOB]) await house.flows.cancel(person, null)
  house.provider.requests.length = 0
  house.events.length = 0
})

const revocations = () =>
  house.provider.requests.filter(({ path }) => path === '/token/revocation').length
const link = async (agent = 'agent:triage') => {
  const { url } = await house.flows.begin({ person: ALICE, agent, connection: 'acme' }, [
    'openid',
    'repo',
  ])
  const flow = await house.flows.find(url.slice(url.lastIndexOf('/') + 1))
  if (flow === null) throw new Error('no flow')
  return flow
}
/** A leg at the provider whose callback is still to come. */
const leg = async (
  flow: Awaited<ReturnType<typeof link>>,
  account = 'alice-acme',
  person: Person | null = null,
) => {
  const redirectUri = house.redirectUri('acme')
  const { location, cookie } = await house.flows.leg(flow, redirectUri)
  const params = new URL(await house.provider.consent(location, account)).searchParams
  return () =>
    house.flows.finish({
      connection: 'acme',
      params,
      cookie,
      person,
      verified: person !== null,
      redirectUri,
    })
}
const awaiting = async (account?: string) => {
  const flow = await link()
  const finished = await (await leg(flow, account))()
  if (finished.kind !== 'awaiting') throw new Error(finished.kind)
  return { flow, flowId: finished.flowId }
}
const failures = () =>
  house.events.filter(({ event }) => event === 'consent.failed').map(({ fields }) => fields)

test('nobody confirms in time: the tokens are revoked at the provider and deleted, and the agent is told', async () => {
  const { flow, flowId } = await awaiting()
  expect((await house.flows.find(''))?.hash).toBe(undefined)
  house.advance(599_000)
  await house.flows.sweep()
  expect(revocations()).toBe(0)
  house.advance(62_000)
  await house.flows.sweep()
  expect(revocations()).toBe(2)
  expect(failures()).toMatchObject([{ reason: 'expired', revoked: 'revoked' }])
  expect((await house.store.flows.byHash(flow.hash))?.sealedLeg).toBe(null)
  expect(await house.flows.confirm(flowId, ALICE)).toMatchObject({ kind: 'refused' })
  await house.flows.sweep()
  expect(revocations()).toBe(2)
})

test('a confirmation that comes too late, before anybody swept, ends the same way', async () => {
  const { flowId } = await awaiting()
  house.advance(601_000)
  expect(await house.flows.confirm(flowId, ALICE)).toMatchObject({ kind: 'refused' })
  expect(revocations()).toBe(2)
  expect(await house.vault.list({})).toEqual([])
})

test('everything of the person is revoked while it waits: the held tokens go back', async () => {
  const { flowId } = await awaiting()
  expect(await house.flows.cancel(ALICE, 'agent:else')).toBe(0)
  expect(await house.flows.cancel(ALICE, null)).toBe(1)
  expect(revocations()).toBe(2)
  expect(await house.flows.confirm(flowId, ALICE)).toMatchObject({ kind: 'refused' })
  expect(await house.vault.list({})).toEqual([])
})

test.each([
  ['to be confirmed', null],
  ['by who signed in', ALICE],
])(
  'a link that is revoked while the provider is asked stores nothing: %s',
  async (_name, person) => {
    const flow = await link()
    const finish = await leg(flow, 'alice-acme', person)
    house.provider.before = async ({ path }) => {
      if (path === '/token') await house.flows.cancel(ALICE, null)
    }
    expect(await finish()).toEqual({ kind: 'used' })
    house.provider.before = () => {}
    expect(revocations()).toBe(2)
    expect(await house.vault.list({})).toEqual([])
  },
)

test('a link that is revoked while its tokens are being stored leaves nothing, and other agents keep the account', async () => {
  const { connect } = house.vault
  const storing = vi.spyOn(house.vault, 'connect').mockImplementation(async (earned) => {
    await house.flows.cancel(ALICE, 'agent:triage')
    return connect(earned)
  })
  try {
    const finish = await leg(await link(), 'alice-acme', ALICE)
    expect(await finish()).toEqual({ kind: 'used' })
    expect(revocations()).toBe(2)
    expect(failures().at(-1)).toMatchObject({ reason: 'ended_meanwhile', revoked: 'revoked' })
    expect(await house.vault.list({})).toEqual([])
    await (
      await leg(await link('agent:other'), 'alice-acme', ALICE)
    )()
    const both = await leg(await link(), 'alice-acme', ALICE)
    expect(await both()).toEqual({ kind: 'used' })
    expect(revocations()).toBe(2)
    expect(await house.vault.list({})).toMatchObject([{ agents: [{ agent: 'agent:other' }] }])
  } finally {
    storing.mockRestore()
  }
})

test('while it waits no second leg begins, and another account than the connected one is given back', async () => {
  const first = await awaiting('alice-private')
  await expect(house.flows.leg(first.flow, house.redirectUri('acme'))).rejects.toMatchObject({
    code: 'authorization_not_found',
  })
  const other = await link('agent:other')
  const finished = await (await leg(other, 'alice-acme'))()
  if (finished.kind !== 'awaiting') throw new Error(finished.kind)
  expect(await house.flows.confirm(first.flowId, ALICE)).toMatchObject({ kind: 'confirmed' })
  expect(await house.flows.confirm(finished.flowId, ALICE)).toMatchObject({ kind: 'refused' })
  expect(failures()).toMatchObject([{ reason: 'account_mismatch' }])
  expect(await house.vault.list({})).toMatchObject([{ account: 'alice-private' }])
})

test('a tenant that became full while it waited: nothing is stored, and what was earned is given back', async () => {
  const { flowId } = await awaiting()
  house.bounds.tenants = { [ALICE.tenant]: { connections: 0 } }
  const confirmed = await house.flows.confirm(flowId, ALICE)
  house.bounds.tenants = undefined
  expect(confirmed).toMatchObject({ kind: 'refused', problem: { code: 'tenant_quota' } })
  expect(failures()).toMatchObject([{ reason: 'tenant_quota' }])
  expect(revocations()).toBeGreaterThan(0)
  expect(await house.vault.list({})).toEqual([])
})

test('the same id in another tenant or realm is somebody else', async () => {
  for (const person of [
    { ...ALICE, tenant: 'other' },
    { ...ALICE, realm: 'other' },
    { ...ALICE, id: 'Alice' },
  ]) {
    const { flowId } = await awaiting()
    expect(await house.flows.confirm(flowId, person)).toEqual({ kind: 'mismatch' })
  }
  expect(revocations()).toBe(6)
  expect(await house.vault.list({})).toEqual([])
})

test('what is held opens for its own flow only, and what is beside the tokens cannot be changed', async () => {
  const { flow, flowId } = await awaiting()
  const row = await house.store.flows.byHash(flow.hash)
  const changed = (row?.held ?? '').replace('alice-acme', 'mallory')
  expect(changed).toContain('mallory')
  const { byConfirm } = house.store.flows
  Object.assign(house.store.flows, {
    byConfirm: async (hash: string) => ({ ...(await byConfirm(hash)), held: changed }),
  })
  await expect(house.flows.confirm(flowId, ALICE)).rejects.toThrow('belongs to somebody')
  Object.assign(house.store.flows, { byConfirm })
  expect(await house.vault.list({})).toEqual([])
})

test('what waits keeps whose client it belongs to', async () => {
  const { flowId } = await awaiting()
  expect(await house.flows.confirm(flowId, ALICE)).toMatchObject({ kind: 'confirmed' })
  expect(await house.vault.clients()).toEqual([
    { connection: 'acme', clientId: 'deputy', grants: 1 },
  ])
})

test('what waits is nothing that another provider under the same name is told or given', async () => {
  const acme = house.connections.get('acme')
  if (acme === undefined) throw new Error('no connection')
  const { flowId } = await awaiting()
  const before = await leg(await link('agent:other'))
  const requests = house.provider.requests.length
  house.connections.set('acme', { ...acme, provider: { ...acme.provider, id: 'another' } })
  try {
    expect(await house.flows.confirm(flowId, ALICE)).toMatchObject({ kind: 'refused' })
    expect(await before()).toMatchObject({ kind: 'provider_error' })
  } finally {
    house.connections.set('acme', acme)
  }
  expect(house.provider.requests).toHaveLength(requests)
  expect(await house.vault.list({})).toEqual([])
  expect(failures()).toMatchObject([
    { reason: 'expired', revoked: 'failed' },
    { reason: 'provider_changed' },
  ])
})
