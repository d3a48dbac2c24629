// The consent flow against a real authorization server that demands PKCE, and a real database.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Person } from '../../proxy/model.ts'
import { ALICE, BOB, PROVIDER_SECRET, startConsent } from '../support/consent.ts'
import type { Consent } from '../support/consent.ts'
import { paced } from '../support/pace.ts'

const AGENT = 'agent:triage'
const SCOPES = ['openid', 'repo']
const idOf = (url: string): string => url.slice(url.lastIndexOf('/') + 1)
const never = new AbortController().signal

let house: Consent
let count = 0
/** A person of this test alone: the tests share one house. */
let alice: Person = ALICE
beforeAll(async () => {
  house = await startConsent()
})
afterAll(() => house.close())
beforeEach(() => {
  count += 1
  alice = { ...ALICE, id: `alice-${count}` }
  house.provider.requests.length = 0
  house.events.length = 0
})

const begin = async (person = alice, scopes = SCOPES, agent = AGENT, connection = 'acme') => {
  const begun = await house.flows.begin({ person, agent, connection }, scopes)
  const flow = await house.flows.find(idOf(begun.url))
  if (flow === null) throw new Error('the flow that was begun cannot be found')
  return { begun, flow }
}
const toProvider = async (person = alice, scopes = SCOPES, agent = AGENT) => {
  const { begun, flow } = await begin(person, scopes, agent)
  const { location, cookie } = await house.flows.leg(flow, house.redirectUri('acme'))
  return { begun, flow, location, cookie }
}
const back = async (location: URL, login = 'alice-acme'): Promise<URLSearchParams> =>
  new URL(await house.provider.consent(location, login)).searchParams
type Answer = Parameters<Consent['flows']['finish']>[0]
const finish = (params: URLSearchParams, cookie: string, change: Partial<Answer> = {}) =>
  house.flows.finish({
    connection: 'acme',
    params,
    cookie,
    person: alice,
    verified: true,
    redirectUri: house.redirectUri('acme'),
    ...change,
  })
const connect = async (person = alice, scopes = SCOPES, agent = AGENT, login = 'alice-acme') => {
  const { location, cookie, begun } = await toProvider(person, scopes, agent)
  const finished = await finish(await back(location, login), cookie, { person })
  return { finished, begun, location }
}
const held = (person: Person, agent = AGENT) => house.vault.look(person, 'acme', agent)
const tokenRequests = () => house.provider.requests.filter(({ path }) => path === '/token').length
const names = () => house.events.map(({ event }) => event)

describe('a consent', () => {
  test('stores what was earned for the person and agent of the row, and for nobody else', async () => {
    const { finished, begun } = await connect()
    expect(finished).toMatchObject({ kind: 'completed', account: 'alice-acme' })
    expect(await held(alice)).toMatchObject({
      kind: 'held',
      account: 'alice-acme',
      granted: expect.arrayContaining(SCOPES),
    })
    expect(await held(alice, 'agent:other')).toMatchObject({ granted: null })
    expect(await held({ ...alice, tenant: 'globex' })).toEqual({ kind: 'none' })
    expect(await held({ ...alice, realm: 'other' })).toEqual({ kind: 'none' })
    expect(await house.flows.find(idOf(begun.url))).toMatchObject({ status: 'completed' })
    expect(names()).toEqual(['consent.started', 'consent.at_provider', 'consent.completed'])
  })

  test('goes out with S256 PKCE, and fails at the provider when the challenge is another', async () => {
    const { location, cookie } = await toProvider()
    expect(location.searchParams.get('code_challenge_method')).toBe('S256')
    expect(location.searchParams.get('code_challenge')).toMatch(/^[A-Za-z0-9_-]{43}$/)
    location.searchParams.set('code_challenge', 'A'.repeat(43))
    const finished = await finish(await back(location), cookie)
    expect(finished).toMatchObject({ kind: 'provider_error', flow: { failure: 'provider_error' } })
    expect(await held(alice)).toEqual({ kind: 'none' })
  })

  test('is shared by the same person, agent, connection and scopes, and by nobody else', async () => {
    const one = (
      person = alice,
      agent = AGENT,
      connection = 'acme',
      scopes: readonly string[] = SCOPES,
    ) => house.flows.begin({ person, agent, connection }, scopes)
    const same = await Promise.all([one(), one(), one(alice, AGENT, 'acme', ['repo', 'openid'])])
    const others = await Promise.all([
      one({ ...alice, tenant: 'globex' }),
      one({ ...alice, realm: 'other' }),
      one(alice, 'agent:other'),
      one(alice, AGENT, 'second'),
      one(alice, AGENT, 'acme', ['openid']),
    ])
    expect(new Set([...same, await one()].map(({ url }) => url)).size).toBe(1)
    expect(new Set([...same, ...others].map(({ url }) => url)).size).toBe(6)
    expect(names()).toHaveLength(6)
    expect(same[0]?.authorizationId).toMatch(/^ac_[0-9a-f]{64}$/)
    expect(idOf(same[0]?.url ?? '')).toMatch(/^[A-Za-z0-9_-]{43}$/)
  })

  test('lets a workload act for as long as was asked at most', async () => {
    const standing = { workload: 'nightly', days: 7, operations: [] }
    const { url } = await house.flows.begin(
      { person: alice, agent: AGENT, connection: 'acme' },
      SCOPES,
      { standing },
    )
    const flow = await house.flows.find(idOf(url))
    if (flow === null) throw new Error('the flow that was begun cannot be found')
    expect(await house.flows.choose(flow, 8)).toBeNull()
    expect(await house.flows.find(idOf(url))).toMatchObject({ standing: { days: 7 } })
    expect(await house.flows.choose(flow, 7)).toMatchObject({ standing: { days: 7 } })
    expect(await house.flows.choose(flow, 3)).toMatchObject({ standing: { days: 3 } })
  })

  test('asks for all that the connection lists where the provider never widens a grant', async () => {
    const known = house.connections.get('acme')
    if (known === undefined) throw new Error('no connection')
    const provider = { ...known.provider, scopeWhole: true }
    house.connections.set('acme', { ...known, provider, scopes: ['openid', 'repo', 'mail'] })
    const { begun } = await begin(alice, ['openid'])
    house.connections.set('acme', known)
    expect(begun.scopes).toEqual(['mail', 'openid', 'repo'])
  })

  test('ends every other link of the same agent that asks for nothing more, begun by any replica, and no other', async () => {
    const { url } = await house
      .replica()
      .begin({ person: alice, agent: AGENT, connection: 'acme' }, ['openid'])
    const renewal = await house
      .replica()
      .begin({ person: alice, agent: AGENT, connection: 'acme' }, ['repo'], {
        reauthorization: true,
      })
    const more = await house.flows.begin({ person: alice, agent: AGENT, connection: 'acme' }, [
      'openid',
      'mail',
    ])
    const other = await house.flows.begin(
      { person: alice, agent: 'agent:other', connection: 'acme' },
      ['openid'],
    )
    const waiting = house.flows.status(
      `ac_${(await house.flows.find(idOf(url)))?.hash ?? ''}`,
      { person: alice, agent: AGENT },
      20_000,
      new AbortController().signal,
    )
    const began = performance.now()
    await connect()
    expect(await waiting).toMatchObject({ status: 'completed', missing: [] })
    expect(performance.now() - began).toBeLessThan(paced(4_000))
    expect(await house.flows.find(idOf(renewal.url))).toMatchObject({ status: 'completed' })
    for (const open of [more, other])
      expect(await house.flows.find(idOf(open.url))).toMatchObject({ status: 'pending' })
    expect(await held(alice, 'agent:other')).toMatchObject({ granted: null })
    expect(house.events.filter(({ fields }) => 'by_flow' in fields)).toHaveLength(2)
  })

  test('leaves a link alone whose person is at the provider for it', async () => {
    const busy = await toProvider(alice, ['openid'])
    await connect()
    expect(await house.flows.find(idOf(busy.begun.url))).toMatchObject({ status: 'pending' })
    expect(await finish(await back(busy.location), busy.cookie)).toMatchObject({
      kind: 'completed',
    })
  })

  test('asks again for what the person gave before, so that a second consent never shrinks the first', async () => {
    await connect(alice, ['openid', 'repo'])
    const { finished, location } = await connect(alice, ['openid', 'mail'])
    expect(location.searchParams.get('scope')?.split(' ').toSorted()).toEqual([
      'mail',
      'openid',
      'repo',
    ])
    expect(finished.kind).toBe('completed')
    expect(await held(alice)).toMatchObject({
      scopes: expect.arrayContaining(['mail', 'repo']),
      granted: expect.arrayContaining(['mail', 'repo']),
    })
  })

  test('that the provider grants in part is stored as granted and names what is missing', async () => {
    const { finished, begun } = await connect(alice, ['openid', 'repo', 'unknown-there'])
    expect(finished).toMatchObject({ kind: 'partial', flow: { missing: ['unknown-there'] } })
    expect(await house.flows.find(idOf(begun.url))).toMatchObject({
      status: 'completed',
      missing: ['unknown-there'],
    })
    const holding = await held(alice)
    expect(holding).toMatchObject({ granted: expect.not.arrayContaining(['unknown-there']) })
    expect(holding).toMatchObject({ scopes: expect.not.arrayContaining(['unknown-there']) })
  })

  test('with another account than the stored one stores nothing and revokes the new tokens', async () => {
    await connect()
    const before = await held(alice)
    const { finished } = await connect(alice, ['openid', 'mail'], AGENT, 'alice-private')
    expect(finished).toMatchObject({ kind: 'account_mismatch' })
    expect(await held(alice)).toEqual(before)
    expect(house.provider.requests.some(({ path }) => path === '/token/revocation')).toBe(true)
    expect(house.events.at(-1)).toMatchObject({
      event: 'consent.failed',
      fields: { reason: 'account_mismatch' },
    })
  })

  test('that leads beyond what the tenant may store stores nothing and revokes the new tokens; what is stored is renewed', async () => {
    const person = { ...alice, tenant: 'full' }
    const { location, cookie, flow } = await toProvider(person)
    house.bounds.tenants = { full: { people: 0 } }
    const again = begin(person, ['openid'])
    await expect(again).rejects.toMatchObject({ code: 'tenant_quota', extra: { bound: 'people' } })
    const leg = house.flows.leg(flow, house.redirectUri('acme'))
    await expect(leg).rejects.toMatchObject({ code: 'tenant_quota' })
    const finished = await finish(await back(location), cookie, { person })
    expect(finished).toMatchObject({ kind: 'tenant_quota', flow: { failure: 'tenant_quota' } })
    expect(await held(person)).toEqual({ kind: 'none' })
    expect(house.provider.requests.some(({ path }) => path === '/token/revocation')).toBe(true)
    house.bounds.tenants = { full: { people: 1, connections: 1 } }
    expect((await connect(person)).finished.kind).toBe('completed')
    expect((await connect(person, ['openid', 'mail'])).finished.kind).toBe('completed')
    house.bounds.tenants = undefined
  })

  test('of a second agent skips the provider when the scopes are held, and grants that agent alone', async () => {
    await connect()
    const { flow } = await begin(alice, SCOPES, 'agent:second')
    expect(await house.flows.plan(flow)).toEqual({ kind: 'grant' })
    house.provider.requests.length = 0
    expect(await house.flows.grantOnly(flow, true)).toBe(true)
    expect(house.provider.requests).toEqual([])
    expect(await held(alice, 'agent:second')).toMatchObject({ granted: [...SCOPES].toSorted() })
    expect(await held(alice, 'agent:third')).toMatchObject({ granted: null })
  })

  test('of a second agent goes to the provider when it wants more, or the grant must be renewed', async () => {
    await connect()
    const more = await begin(alice, ['openid', 'mail'], 'agent:second')
    expect((await house.flows.plan(more.flow)).kind).toBe('provider')
    expect(await house.flows.grantOnly(more.flow, true)).toBe(false)
    const renew = await house.flows.begin(
      { person: alice, agent: 'agent:second', connection: 'acme' },
      SCOPES,
      {
        reauthorization: true,
      },
    )
    const flow = await house.flows.find(idOf(renew.url))
    expect(flow === null ? null : (await house.flows.plan(flow)).kind).toBe('provider')
    expect(await held(alice, 'agent:second')).toMatchObject({ granted: null })
  })
})

describe('a provider that wants more than a yes', () => {
  const answered = async (error: Readonly<Record<string, string>>) => {
    const { location, cookie, begun } = await toProvider()
    const state = location.searchParams.get('state') ?? ''
    const finished = await finish(new URLSearchParams({ ...error, state }), cookie)
    return { finished, begun, failure: (await house.flows.find(idOf(begun.url)))?.failure }
  }

  test.for<[string, Readonly<Record<string, string>>, string]>([
    ['Google’s policy', { error: 'admin_policy_enforced' }, 'admin_required'],
    ['Google’s internal app', { error: 'org_internal' }, 'admin_required'],
    [
      'Microsoft’s admin consent',
      { error: 'access_denied', error_description: 'AADSTS90094: An administrator of Acme…' },
      'admin_required',
    ],
    [
      'Salesforce’s blocked app',
      { error: 'OAUTH_APP_BLOCKED', error_description: 'this app is blocked by admin' },
      'admin_required',
    ],
    [
      'Salesforce’s app that is not installed',
      { error: 'invalid_client', error_description: 'app must be installed into org' },
      'admin_required',
    ],
    ['a second factor', { error: 'interaction_required' }, 'sign_in_required'],
    [
      'a level that was not reached',
      { error: 'unmet_authentication_requirements' },
      'sign_in_required',
    ],
    ['a client of another kind', { error: 'unauthorized_client' }, 'client_refused'],
    ['a scope that it does not know', { error: 'invalid_scope' }, 'client_refused'],
    ['patience', { error: 'temporarily_unavailable' }, 'provider_error'],
    ['nothing, because the person said no', { error: 'access_denied' }, 'denied'],
  ])('has what it wants told: %s', async ([, error, wanted]) => {
    const { failure, finished } = await answered(error)
    expect(failure).toBe(wanted)
    expect(finished.kind).toBe(wanted === 'denied' ? 'denied' : 'provider_error')
    expect(house.events.at(-1)?.fields).toMatchObject(wanted === 'denied' ? {} : { reason: wanted })
    expect(JSON.stringify(house.events)).not.toContain('Acme…')
  })

  test('has the next link say that an administrator comes first, until somebody got through', async () => {
    await answered({ error: 'admin_policy_enforced' })
    expect(
      await house.flows.begin({ person: alice, agent: AGENT, connection: 'acme' }, SCOPES),
    ).toMatchObject({
      after: 'admin_required',
    })
    expect(
      await house.flows.begin({ person: alice, agent: AGENT, connection: 'second' }, SCOPES),
    ).toMatchObject({ after: null })
    expect(
      await house.flows.begin(
        { person: { ...alice, id: `${alice.id}x` }, agent: AGENT, connection: 'acme' },
        SCOPES,
      ),
    ).toMatchObject({ after: null })
    house.advance(1_000)
    await connect()
    expect(
      await house.flows.begin({ person: alice, agent: AGENT, connection: 'acme' }, [
        'openid',
        'mail',
      ]),
    ).toMatchObject({
      after: null,
    })
  })

  test('knows what it was made for; whoever shares it for something else does not change that', async () => {
    const agent = 'agent:occasion'
    const ask = (operation?: string) =>
      house.flows.begin(
        { person: alice, agent, connection: 'acme' },
        SCOPES,
        operation === undefined ? {} : { operation },
      )
    const begun = await ask('issues.create')
    for (const other of ['issues.list', undefined]) expect((await ask(other)).url).toBe(begun.url)
    expect(await house.replica().find(idOf(begun.url))).toMatchObject({
      operation: 'issues.create',
    })
  })

  test('gets its challenge with the authorization request, though the account is connected', async () => {
    await connect()
    const challenge = { acr_values: 'urn:mfa urn:hw', max_age: '300', claims: '{"id_token":{}}' }
    const plain = await house.flows.begin(
      { person: alice, agent: AGENT, connection: 'acme' },
      SCOPES,
      { reauthorization: true },
    )
    const options = { reauthorization: true, challenge }
    const begun = await house.flows.begin(
      { person: alice, agent: AGENT, connection: 'acme' },
      SCOPES,
      options,
    )
    expect(begun.url).not.toBe(plain.url)
    expect(
      (
        await house.flows.begin(
          { person: alice, agent: AGENT, connection: 'acme' },
          SCOPES,
          options,
        )
      ).url,
    ).toBe(begun.url)
    const flow = await house.flows.find(idOf(begun.url))
    if (flow === null) throw new Error('the flow is gone')
    expect((await house.flows.plan(flow)).kind).toBe('provider')
    const { location } = await house.flows.leg(flow, house.redirectUri('acme'))
    for (const [name, value] of Object.entries(challenge))
      expect(location.searchParams.get(name)).toBe(value)
  })
})

describe('the answer of the provider', () => {
  /** Every probe is followed by the true owner finishing: nothing was burnt. */
  const burnsNothing = async (
    kind: string,
    probe: (params: URLSearchParams, cookie: string) => ReturnType<typeof finish>,
  ): Promise<void> => {
    const { location, cookie } = await toProvider()
    const params = await back(location)
    expect((await probe(params, cookie)).kind).toBe(kind)
    expect(await held(alice)).toEqual({ kind: 'none' })
    expect(tokenRequests()).toBe(0)
    expect((await finish(params, cookie)).kind).toBe('completed')
  }
  const changed = (params: URLSearchParams, name: string, value: string): URLSearchParams => {
    const copy = new URLSearchParams(params)
    copy.set(name, value)
    return copy
  }

  test('with an unknown state is refused and burns nothing', () =>
    burnsNothing('unknown_state', (params, cookie) =>
      finish(changed(params, 'state', 'x'.repeat(43)), cookie),
    ))
  test('with a parameter twice is refused and burns nothing', () =>
    burnsNothing('unknown_state', (params, cookie) =>
      finish(new URLSearchParams(`${params.toString()}&code=other`), cookie),
    ))
  test('without the cookie of the browser that began is refused and burns nothing', () =>
    burnsNothing('wrong_cookie', (params, cookie) => finish(params, cookie, { cookie: null })))
  test('with the cookie of another leg is refused and burns nothing', () =>
    burnsNothing('wrong_cookie', async (params) => {
      const other = await toProvider(BOB)
      return finish(params, other.cookie)
    }))
  test('at the redirect address of another connection is refused and burns nothing', () =>
    burnsNothing('wrong_provider', (params, cookie) =>
      finish(params, cookie, { connection: 'second', redirectUri: house.redirectUri('second') }),
    ))
  test('for another person at the page is refused, said, and burns nothing', async () => {
    await burnsNothing('wrong_person', (params, cookie) => finish(params, cookie, { person: BOB }))
    expect(await held(BOB)).toEqual({ kind: 'none' })
    expect(names()).toContain('consent.user_mismatch')
  })
  test.each(['tenant', 'realm', 'id'] as const)(
    'for a person who differs only in %s is refused and burns nothing',
    (part) =>
      burnsNothing('wrong_person', (params, cookie) =>
        finish(params, cookie, { person: { ...alice, [part]: alice[part].toUpperCase() } }),
      ),
  )
  test('without iss is refused where the issuer always sends one, and burns nothing', async () => {
    const acme = house.connections.get('acme')
    if (acme === undefined) throw new Error('there is no acme')
    house.connections.set('acme', { ...acme, provider: { ...acme.provider, issRequired: true } })
    try {
      await burnsNothing('iss_mismatch', (params, cookie) => {
        const copy = new URLSearchParams(params)
        copy.delete('iss')
        return finish(copy, cookie)
      })
    } finally {
      house.connections.set('acme', acme)
    }
  })
  test('with an iss that differs by a slash is refused and burns nothing', () =>
    burnsNothing('iss_mismatch', (params, cookie) =>
      finish(changed(params, 'iss', `${house.provider.issuer}/`), cookie),
    ))

  test('is worth nothing after its leg has ended', async () => {
    const { location, cookie } = await toProvider()
    const params = await back(location)
    house.advance(600_001)
    expect((await finish(params, cookie)).kind).toBe('expired')
    expect(tokenRequests()).toBe(0)
  })

  test('counts once, also when it comes twice at the same moment', async () => {
    const { location, cookie } = await toProvider()
    const params = await back(location)
    const both = await Promise.all([finish(params, cookie), finish(params, cookie)])
    expect(both.map(({ kind }) => kind).toSorted()).toEqual(['completed', 'repeated'])
    expect(tokenRequests()).toBe(1)
    expect((await finish(params, cookie)).kind).toBe('repeated')
    expect(tokenRequests()).toBe(1)
  })

  test('of an earlier leg ends when a later one begins', async () => {
    const first = await toProvider()
    const second = await house.flows.leg(first.flow, house.redirectUri('acme'))
    expect((await finish(await back(first.location), first.cookie)).kind).toBe('unknown_state')
    expect((await finish(await back(second.location), second.cookie)).kind).toBe('completed')
  })

  test('that says no ends the flow as denied', async () => {
    const { location, cookie, begun } = await toProvider()
    const params = new URL(await house.provider.deny(location, 'alice-acme')).searchParams
    expect(await finish(params, cookie)).toMatchObject({ kind: 'denied' })
    expect(await house.flows.find(idOf(begun.url))).toMatchObject({
      status: 'failed',
      failure: 'denied',
    })
    expect(names()).toContain('consent.denied')
  })

  test('with a code that the provider refuses ends the flow and stores nothing', async () => {
    const { location, cookie } = await toProvider()
    const params = changed(await back(location), 'code', 'forged')
    expect((await finish(params, cookie)).kind).toBe('provider_error')
    expect(await held(alice)).toEqual({ kind: 'none' })
  })

  test('does not open with the verifier of another flow’s row', async () => {
    const mine = await toProvider()
    const other = await toProvider(BOB)
    const row = await house.store.flows.byHash(mine.flow.hash)
    await house.store.flows.leg(other.flow.hash, {
      stateHash: 'copied',
      cookieHash: row?.cookieHash ?? '',
      sealedLeg: row?.sealedLeg ?? '',
      legExpiresAt: row?.legExpiresAt ?? 0,
    })
    const sealed = (await house.store.flows.byHash(other.flow.hash))?.sealedLeg ?? ''
    const open = (flow: string) => house.sealer.openText('flow-leg', { flow }, sealed)
    await expect(open(other.flow.hash)).rejects.toThrow()
    expect(JSON.parse(await open(mine.flow.hash))).toHaveProperty('verifier')
  })
})

describe('status', () => {
  const status = (id: string, person = alice, agent = AGENT, wait = 0) =>
    house.flows.status(id, { person, agent }, wait, never)

  test('answers only the person and the agent that began', async () => {
    const { begun } = await begin()
    const id = begun.authorizationId
    expect((await status(id)).status).toBe('pending')
    for (const other of [
      status(id, BOB),
      status(id, { ...alice, tenant: 'globex' }),
      status(id, alice, 'agent:other'),
      status('ac_nonsense'),
      status(idOf(begun.url)),
      status(`ac_${'0'.repeat(64)}`),
    ])
      await expect(other).rejects.toMatchObject({ code: 'authorization_not_found' })
  })

  test('wakes as soon as the flow ends in this process', async () => {
    const { begun, flow } = await begin()
    const from = performance.now()
    const waiting = status(begun.authorizationId, alice, AGENT, 30_000)
    setTimeout(() => void house.flows.decline(flow, true), 50)
    expect(await waiting).toMatchObject({ status: 'failed', failure: 'denied' })
    expect(performance.now() - from).toBeLessThan(paced(900))
  })

  test('sees within a second what another process stored and told', async () => {
    const { begun, flow } = await begin()
    const from = performance.now()
    const waiting = status(begun.authorizationId, alice, AGENT, 30_000)
    await house.store.flows.finish(flow.hash, 'completed', null, 1)
    await house.store.publish('flow', flow.hash)
    expect(await waiting).toMatchObject({ status: 'completed' })
    expect(performance.now() - from).toBeLessThan(paced(900))
  })

  test('sees what another process stored although its notice was lost', async () => {
    const { begun, flow } = await begin()
    const waiting = status(begun.authorizationId, alice, AGENT, 30_000)
    await house.store.flows.finish(flow.hash, 'completed', null, 1)
    expect(await waiting).toMatchObject({ status: 'completed' })
  })

  test('ends when the wait is over or the caller leaves', async () => {
    const { begun } = await begin()
    const from = performance.now()
    expect((await status(begun.authorizationId, alice, AGENT, 100)).status).toBe('pending')
    const left = house.flows.status(
      begun.authorizationId,
      { person: alice, agent: AGENT },
      30_000,
      AbortSignal.timeout(50),
    )
    expect((await left).status).toBe('pending')
    expect(performance.now() - from).toBeLessThan(paced(900))
  })

  test('says completed for an authorization that needed nobody', async () => {
    const id = await house.flows.completed(
      { person: alice, agent: AGENT, connection: 'acme' },
      SCOPES,
    )
    expect(
      await house.flows.completed({ person: alice, agent: AGENT, connection: 'acme' }, SCOPES),
    ).toBe(id)
    expect(await status(id)).toMatchObject({ status: 'completed', missing: [] })
  })
})

test('a link ends after its time, and ended flows are swept', async () => {
  const { begun, flow } = await begin()
  house.advance(86_400_001)
  expect(await house.flows.find(idOf(begun.url))).toMatchObject({
    status: 'failed',
    failure: 'expired',
  })
  await expect(house.flows.leg(flow, house.redirectUri('acme'))).rejects.toMatchObject({
    code: 'authorization_not_found',
  })
  house.advance(86_400_001)
  expect(await house.flows.sweep()).toBeGreaterThan(0)
  expect(await house.flows.find(idOf(begun.url))).toBeNull()
})

test('no row, event or log line holds an id, state, code, cookie, verifier or token in clear', async () => {
  const { location, cookie, begun } = await toProvider()
  const params = await back(location)
  const finished = await finish(params, cookie)
  expect(finished.kind).toBe('completed')
  const holding = await held(alice)
  const opened = holding.kind === 'held' ? await house.vault.open(holding.credential) : null
  const secrets = {
    id: idOf(begun.url),
    state: location.searchParams.get('state') ?? '',
    code: params.get('code') ?? '',
    cookie,
    access: opened?.access.reveal() ?? '',
    refresh: opened?.refresh?.reveal() ?? '',
    client: PROVIDER_SECRET,
  }
  const text = [JSON.stringify(house.events), house.logged.join('\n'), await house.stored()].join(
    '',
  )
  expect(text).toContain(alice.id)
  for (const [name, value] of Object.entries(secrets)) {
    expect(value.length, name).toBeGreaterThan(20)
    expect(text.includes(value), name).toBe(false)
  }
})

describe('a person who said no', () => {
  const HOUR = 3_600_000
  const ask = (scopes = SCOPES) =>
    house.flows.ask({ person: alice, agent: AGENT, connection: 'acme' }, scopes)
  const decline = async (scopes = SCOPES) => {
    const { begun, flow } = await begin(alice, scopes)
    await house.flows.decline(flow, true)
    return begun
  }
  test('is not sent there again for an hour, and the agent is told so', async () => {
    const at = house.clock.now()
    const begun = await decline()
    const told = await ask()
    expect(told).toMatchObject({ authorizationId: begun.authorizationId })
    expect(told).not.toHaveProperty('url')
    const { declined } = told
    expect(declined?.at).toBeGreaterThanOrEqual(at)
    expect(declined?.until).toBe((declined?.at ?? 0) + HOUR)
    expect(await ask([...SCOPES, 'mail'])).toHaveProperty('declined.at', declined?.at)
    house.advance(HOUR)
    expect(await ask()).toHaveProperty('url')
  })
  test('may be asked for less, by another agent, and by themselves', async () => {
    await decline()
    expect(await ask(['openid'])).toHaveProperty('url')
    expect(
      await house.flows.ask({ person: alice, agent: 'agent:other', connection: 'acme' }, SCOPES),
    ).toHaveProperty('url')
    const { begun } = await begin()
    expect(await ask()).toMatchObject({ url: begun.url })
  })
  test('and then yes is asked as ever', async () => {
    await decline()
    house.advance(1)
    await connect()
    expect(await ask([...SCOPES, 'mail'])).toHaveProperty('url')
  })
})

describe('links', () => {
  test('of one question keep the way back that each was made with', async () => {
    const link = (nextUri: string | null) =>
      house.flows.begin({ person: alice, agent: AGENT, connection: 'acme' }, SCOPES, { nextUri })
    const [one, two] = await Promise.all([link('https://a.test/1'), link('https://a.test/2')])
    expect(one.url).not.toBe(two.url)
    for (const [begun, nextUri] of [
      [one, 'https://a.test/1'],
      [two, 'https://a.test/2'],
    ] as const)
      expect(await house.flows.find(idOf(begun.url))).toMatchObject({ nextUri })
    expect((await link('https://a.test/1')).url).toBe(one.url)
    expect([one.url, two.url]).toContain((await link(null)).url)
  })
  test('whose answer comes twice say how it went, to their person only', async () => {
    const { location, cookie } = await toProvider()
    const params = await back(location)
    const both = await Promise.all([finish(params, cookie), finish(params, cookie)])
    expect(both.map(({ kind }) => kind).toSorted()).toEqual(['completed', 'repeated'])
    expect(await finish(params, '')).toMatchObject({
      kind: 'repeated',
      flow: { status: 'completed' },
    })
    expect(await finish(params, cookie, { person: BOB })).toEqual({ kind: 'used' })
    expect(await finish(params, cookie, { connection: 'second' })).toEqual({
      kind: 'unknown_state',
    })
    expect(tokenRequests()).toBe(1)
  })
})
