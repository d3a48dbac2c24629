// What a stronger sign-in must be, whose it is, and how long it counts.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { demandIn, lacks } from '../../proxy/consent/step_ups.ts'
import { ALICE, startConsent, type Consent } from '../support/consent.ts'

const demand = { acrValues: ['mfa', 'hw'], maxAgeS: 600 }
const NOW = 1_800_000_000_000

describe('a sign-in', () => {
  test.each([
    ['of one of the kinds, young enough', { acr: 'hw', at: NOW - 599_000 }, null],
    ['of this very moment, by a clock a little ahead', { acr: 'mfa', at: NOW + 5_000 }, null],
    ['of another kind', { acr: 'pwd', at: NOW }, 'acr'],
    ['of no kind', { acr: null, at: NOW }, 'acr'],
    ['too old', { acr: 'mfa', at: NOW - 601_000 }, 'auth_time'],
    ['of no time', { acr: 'mfa', at: null }, 'auth_time'],
    ['of the future', { acr: 'mfa', at: NOW + 120_000 }, 'auth_time'],
  ])('%s', (_name, signedIn, why) => {
    expect(lacks(demand, { amr: [], ...signedIn }, NOW)).toBe(why)
  })
})

describe('what decisions demand together', () => {
  const of = (...all: readonly object[]) =>
    demandIn(
      all.map((properties) => ({
        obligations: { mfa: { type: 'step-up', properties: properties as never } },
      })),
    )
  test('is one sign-in that meets all', () => {
    expect(of({ acr_values: ['mfa', 'hw'], max_auth_age_s: 600 })).toEqual(demand)
    expect(
      of(
        { acr_values: ['mfa', 'hw'], max_auth_age_s: 600 },
        { acr_values: ['hw', 'x'], max_auth_age_s: 60 },
      ),
    ).toEqual({ acrValues: ['hw'], maxAgeS: 60 })
  })
  test.each([
    [
      'no two of which one sign-in meets',
      [
        { acr_values: ['a'], max_auth_age_s: 1 },
        { acr_values: ['b'], max_auth_age_s: 1 },
      ],
    ],
    ['no kinds', [{ acr_values: [], max_auth_age_s: 1 }]],
    ['a kind that would be two in a request', [{ acr_values: ['a b'], max_auth_age_s: 1 }]],
    ['no age', [{ acr_values: ['a'] }]],
    ['nothing', []],
  ])('is nothing that one could make: %s', (_name, all) => {
    expect(of(...all)).toBe(null)
  })
})

describe('kept', () => {
  let house: Consent
  beforeEach(async () => {
    house = await startConsent()
  })
  afterEach(() => house.close())
  const who = { person: ALICE, agent: 'agent:triage', connection: 'acme' }
  const signIn = async (): Promise<string> => {
    const { stepUps, asks } = house.asking
    const begun = await stepUps.begin(who, demand, ['issues.create'])
    const row = await asks.byAuthorizationId(begun.authorizationId)
    if (row === null) throw new Error('there is no ask')
    expect(await stepUps.signedIn(row, { acr: 'mfa', amr: ['otp'], at: house.clock.now() })).toBe(
      null,
    )
    return begun.authorizationId
  }
  const met = (agent = who.agent, of = demand) => house.asking.stepUps.met(ALICE, agent, of)

  test('it counts for the agent whose call needed it, until it is too old', async () => {
    expect(await met()).toBe(null)
    const id = await signIn()
    expect(await met()).toMatchObject({ acr: 'mfa', amr: ['otp'] })
    expect(await met('agent:other')).toBe(null)
    expect(await met(who.agent, { acrValues: ['hw'], maxAgeS: 600 })).toBe(null)
    expect(await house.asking.asks.byAuthorizationId(id)).toMatchObject({ status: 'used' })
    house.advance(601_000)
    expect(await met()).toBe(null)
  })
  test('it counts for twelve hours at most, whatever policy would still take', async () => {
    await signIn()
    const day = { acrValues: ['mfa'], maxAgeS: 86_400 }
    house.advance(12 * 3_600_000 - 60_000)
    expect(await met(who.agent, day)).not.toBe(null)
    house.advance(120_000)
    expect(await met(who.agent, day)).toBe(null)
  })
  test('it is over when everything of its person is revoked, or a logout was told', async () => {
    await signIn()
    await house.store.epochs.move(ALICE)
    expect(await met()).toBe(null)
    await signIn()
    expect(await met()).not.toBe(null)
    await house.asking.stepUps.endAll(ALICE, null)
    expect(await met()).toBe(null)
  })
  test('one that does not do is told in the evidence, and leaves the link as it is', async () => {
    const { stepUps, asks } = house.asking
    const begun = await stepUps.begin(who, demand, ['issues.create'])
    const row = await asks.byAuthorizationId(begun.authorizationId)
    if (row === null) throw new Error('there is no ask')
    const now = house.clock.now()
    expect(await stepUps.signedIn(row, { acr: 'pwd', amr: [], at: now })).toBe('acr')
    expect(await met()).toBe(null)
    expect(await asks.byAuthorizationId(begun.authorizationId)).toMatchObject({ status: 'pending' })
    expect(house.events.at(-1)).toMatchObject({
      event: 'step_up.failed',
      fields: { reason: 'acr' },
    })
  })
  test('a no is not asked again for a while', async () => {
    const { stepUps, asks } = house.asking
    const begun = await stepUps.begin(who, demand, ['issues.create'])
    const row = await asks.byAuthorizationId(begun.authorizationId)
    if (row === null) throw new Error('there is no ask')
    await stepUps.decline(row)
    expect(await stepUps.begin(who, demand, ['issues.create'])).toHaveProperty('declined')
    house.advance(3_600_001)
    expect(await stepUps.begin(who, demand, ['issues.create'])).toHaveProperty('url')
  })
})
