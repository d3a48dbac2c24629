import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type {
  AskRow,
  CredentialRow,
  FlowRow,
  GrantRow,
  NoticeRow,
  Person,
  SignInRow,
  StandingRow,
  Store,
} from '../../proxy/model.ts'
import { paced } from '../support/pace.ts'
import { kinds, type Place } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }
const credential = (change: Partial<CredentialRow> = {}): CredentialRow => ({
  id: 'c1',
  tenant: 'acme',
  realm: 'corp',
  user: 'alice',
  connection: 'github',
  provider: 'github',
  slot: 'default',
  accountId: '7',
  host: null,
  account: 'alice-gh',
  status: 'active',
  generation: 1,
  scopes: ['repo', 'read:org'],
  sealed: 'jwe-1',
  expiresAt: 5_000,
  storedAt: 1_000,
  lease: null,
  leaseUntil: null,
  unknownSince: null,
  coolUntil: null,
  coolError: null,
  clientId: null,
  refusedSince: null,
  refusedTimes: null,
  doubtfulSince: null,
  ...change,
})
const grant = (change: Partial<GrantRow> = {}): GrantRow => ({
  tenant: 'acme',
  realm: 'corp',
  user: 'alice',
  agent: 'triage',
  connection: 'github',
  scopes: ['repo'],
  at: 1_000,
  lastUsedAt: null,
  ...change,
})
const flow = (change: Partial<FlowRow> = {}): FlowRow => ({
  hash: 'f1',
  nonce: 'n1',
  tenant: 'acme',
  realm: 'corp',
  user: 'alice',
  agent: 'triage',
  connection: 'github',
  scopes: ['repo', 'read:org'],
  reauthorization: true,
  status: 'pending',
  failure: null,
  nextUri: null,
  createdAt: 1_000,
  expiresAt: 9_000,
  standing: null,
  stateHash: null,
  cookieHash: null,
  sealedLeg: null,
  legExpiresAt: null,
  confirmHash: null,
  held: null,
  confirmUntil: null,
  notifyAt: null,
  notices: 0,
  challenge: null,
  endedAt: null,
  spentHash: null,
  operation: 'issues.create',
  ...change,
})
const next = (generation: number) => ({
  sealed: `jwe-${generation}`,
  generation,
  scopes: ['repo'],
  expiresAt: null,
  storedAt: 2_000,
})

const every = await kinds()

describe.each(every)('the $name store', ({ place, skip, ownClock }) => {
  if (skip) return test.skip('is not here')
  let store: Store
  let at: Place
  beforeEach(async () => {
    at = await place()
    store = await at.open()
  })
  afterEach(() => store.close())

  test('gives back every field of what was put', async () => {
    const row = credential({ unknownSince: 5, coolUntil: 6, coolError: 'busy' })
    expect(await store.credentials.put(row, grant())).toBe(true)
    expect(await store.credentials.byId('c1')).toEqual(row)
    expect(await store.credentials.find(alice, 'github')).toEqual([row])
    expect(await store.grants.find(alice, 'triage', 'github')).toEqual(grant())
    await store.flows.insert(flow())
    expect(await store.flows.byHash('f1')).toEqual(flow())
    await store.check()
  })

  test('keeps people apart by tenant, realm and id, byte for byte', async () => {
    await store.credentials.put(credential(), grant())
    for (const person of [
      { ...alice, tenant: 'evil' },
      { ...alice, realm: 'other' },
      { ...alice, id: 'Alice' },
      { ...alice, id: 'alice ' },
    ]) {
      expect(await store.credentials.find(person, 'github')).toEqual([])
      expect(await store.grants.find(person, 'triage', 'github')).toBeNull()
    }
    const composed = { ...alice, id: 'zo\u00eb' }
    await store.grants.put(grant({ user: composed.id }))
    expect(await store.grants.find({ ...alice, id: 'zoe\u0308' }, 'triage', 'github')).toBeNull()
  })

  test('refuses a name that is not well-formed, instead of folding two names into one', async () => {
    await expect(store.grants.put(grant({ user: 'a\ud800' }))).rejects.toThrow('well-formed')
    await expect(store.credentials.find({ ...alice, id: 'a\udfff' }, 'github')).rejects.toThrow(
      'well-formed',
    )
  })

  test('replaces a credential in its place, and only by a higher generation', async () => {
    await store.credentials.put(credential({ generation: 2 }), grant())
    expect(
      await store.credentials.put(credential({ generation: 2, sealed: 'stale' }), grant()),
    ).toBe(false)
    expect(
      await store.credentials.put(
        credential({ generation: 3, sealed: 'new' }),
        grant({ agent: 'b' }),
      ),
    ).toBe(true)
    expect((await store.credentials.find(alice, 'github')).map((row) => row.sealed)).toEqual([
      'new',
    ])
    expect((await store.grants.list(alice)).map(({ agent }) => agent)).toEqual(['b', 'triage'])
  })

  test('lets the grants of an account fall when another account takes its place', async () => {
    await store.credentials.put(credential(), grant({ agent: 'other' }))
    expect(
      await store.credentials.put(credential({ id: 'c2', accountId: '8' }), grant(), true),
    ).toBe(false)
    expect(await store.credentials.byId('c1')).toMatchObject({ accountId: '7' })
    await store.credentials.put(credential({ id: 'c2', accountId: '8' }), grant())
    expect(await store.credentials.byId('c1')).toBeNull()
    expect((await store.grants.list(alice)).map(({ agent }) => agent)).toEqual(['triage'])
  })

  test('remembers when a grant was last used: never backwards, kept by a new yes, and for that grant alone', async () => {
    const used = async (agent = 'triage') =>
      (await store.grants.find(alice, agent, 'github'))?.lastUsedAt
    await store.credentials.put(credential(), grant())
    await store.grants.put(grant({ agent: 'other' }))
    const use = (agent: string, at: number) => ({ person: alice, agent, connection: 'github', at })
    await store.grants.touch([use('triage', 7_000), use('nobody', 9_000)])
    await store.grants.touch([use('triage', 6_000)])
    await store.grants.put(grant({ scopes: [], at: 8_000 }))
    expect(await used()).toBe(7_000)
    expect(await used('other')).toBeNull()
    expect(await store.grants.find(alice, 'nobody', 'github')).toBeNull()
    await store.grants.remove(alice, 'triage', 'github')
    await store.grants.put(grant())
    expect(await used()).toBeNull()
  })

  test('gives a lease to one taker, for one generation, until its time is over', async () => {
    const wait = () => pause(ownClock ? 150 : 0)
    await store.credentials.put(credential(), grant())
    expect(await store.credentials.lease('c1', 2, 'L0', { now: 1_000, until: 1_100 })).toBeNull()
    const leased = await store.credentials.lease('c1', 1, 'L1', { now: 1_000, until: 1_100 })
    expect(leased).toMatchObject({ lease: 'L1', unknownSince: null })
    expect(await store.credentials.lease('c1', 1, 'L2', { now: 1_050, until: 1_150 })).toBeNull()
    await wait()
    // the first holder never came back: its answer may be lost
    expect(
      await store.credentials.lease('c1', 1, 'L3', { now: 1_100, until: 1_200 }),
    ).toMatchObject({
      lease: 'L3',
      unknownSince: leased?.leaseUntil,
    })
    expect(await store.credentials.rotate('c1', 'L1', next(2))).toBe(false)
    expect(await store.credentials.rotate('c1', 'L3', next(2))).toBe(true)
    expect(await store.credentials.byId('c1')).toMatchObject({
      ...next(2),
      lease: null,
      unknownSince: null,
    })
    expect(await store.credentials.rotate('c1', 'L3', next(3))).toBe(false)
  })

  test('gives a lease to exactly one of many who ask at once', async () => {
    await store.credentials.put(credential(), grant())
    const all = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        store.credentials.lease('c1', 1, `L${n}`, { now: 1_000, until: 61_000 }),
      ),
    )
    expect(all.filter((row) => row !== null)).toHaveLength(1)
  })

  test('keeps one of two credentials that take the same place at once, with its grant', async () => {
    const ids = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']
    await Promise.all(
      ids.map((id) =>
        store.credentials.put(credential({ id, accountId: id }), grant({ agent: id })),
      ),
    )
    const [kept, ...more] = await store.credentials.find(alice, 'github')
    expect(more).toEqual([])
    expect((await store.grants.list(alice)).map(({ agent }) => agent)).toEqual([kept?.id])
  })

  test('releases a lease only for its holder, with what was learnt', async () => {
    await store.credentials.put(credential(), grant())
    await store.credentials.lease('c1', 1, 'L1', { now: 1_000, until: 2_000 })
    const set = {
      status: 'needs_reauth',
      unknownSince: null,
      coolUntil: 9,
      coolError: 'invalid_grant',
    } as const
    expect(await store.credentials.release('c1', 'L2', set)).toBe(false)
    expect(await store.credentials.release('c1', 'L1', set)).toBe(true)
    expect(await store.credentials.byId('c1')).toMatchObject({
      ...set,
      lease: null,
      leaseUntil: null,
    })
    expect(await store.credentials.lease('c1', 1, 'L3', { now: 5_000, until: 6_000 })).toBeNull()
  })

  test('removes a credential with its grants and moves the person’s epoch, and a late rotation is lost', async () => {
    await store.credentials.put(credential(), grant())
    await store.grants.put(grant({ connection: 'gitlab' }))
    await store.credentials.lease('c1', 1, 'L1', { now: 1_000, until: 2_000 })
    expect(await store.epochs.read(alice)).toBe(0)
    expect(await store.credentials.remove('c1')).toMatchObject({ id: 'c1', sealed: 'jwe-1' })
    expect(await store.credentials.remove('c1')).toBeNull()
    expect(await store.credentials.rotate('c1', 'L1', next(2))).toBe(false)
    expect((await store.grants.list(alice)).map(({ connection }) => connection)).toEqual(['gitlab'])
    expect(await store.epochs.read(alice)).toBe(1)
    expect(await store.epochs.move(alice)).toBe(2)
    expect(await store.epochs.read({ ...alice, realm: 'other' })).toBe(0)
  })

  test('what a tenant has stored is counted for it alone, also where another has the same names', async () => {
    const south = { ...alice, tenant: 'south' }
    const bob = { ...alice, id: 'bob' }
    await store.credentials.put(credential(), grant())
    await store.credentials.put(
      credential({ id: 'c2', connection: 'gitlab' }),
      grant({ connection: 'gitlab' }),
    )
    await store.grants.put(grant({ user: 'bob', connection: 'gitlab' }))
    await store.credentials.put(
      credential({ id: 'c3', tenant: 'south' }),
      grant({ tenant: 'south' }),
    )
    const acme = { people: 2, connections: 2 }
    expect(await store.stored(alice, 'github')).toEqual({ ...acme, known: true, connected: true })
    expect(await store.stored(bob, 'github')).toEqual({ ...acme, known: true, connected: false })
    expect(await store.stored({ ...alice, id: 'carol' }, 'github')).toEqual({
      ...acme,
      known: false,
      connected: false,
    })
    expect(await store.stored(south, 'github')).toEqual({
      people: 1,
      connections: 1,
      known: true,
      connected: true,
    })
  })

  test('an erased person is named nowhere, and what was revoked of them stays revoked', async () => {
    const named = { user: 'zoe-erased', accountId: 'zoe-there', account: 'zoe-there' }
    const zoe = { ...alice, id: 'zoe-erased' }
    await store.credentials.put(credential(), grant())
    await store.credentials.put(credential({ id: 'c2', ...named }), grant({ user: named.user }))
    await store.grants.put(grant({ user: named.user, connection: 'gitlab' }))
    await store.flows.insert(flow({ user: named.user }))
    await store.runs.insert({
      tokenHash: 't',
      id: 'r1',
      tenant: 'acme',
      realm: 'corp',
      user: named.user,
      agent: 'triage',
      connections: ['github'],
      operations: null,
      createdBy: 'backend',
      createdAt: 1,
      expiresAt: 2,
      revokedAt: null,
    })
    await store.credentials.remove('c2')
    const epoch = await store.epochs.read(zoe)
    expect(await at.dump()).toContain('zoe-erased')
    await store.erase(zoe)
    const left = await at.dump()
    expect(left).not.toContain('zoe')
    expect(left).toContain('alice')
    expect(epoch).toBe(1)
    expect(await store.epochs.read(zoe)).toBe(1)
    expect(await store.epochs.read(alice)).toBe(0)
  })

  test('epochs that an older deputy kept by name are kept without it', async () => {
    await store.close()
    for (const text of [
      'DROP INDEX flows_spent',
      'DROP INDEX credentials_client',
      'DROP INDEX grants_agent',
      'DROP INDEX grants_touched',
      'ALTER TABLE flows DROP COLUMN spent_hash',
      'ALTER TABLE flows DROP COLUMN ended_at',
      'ALTER TABLE flows DROP COLUMN operation',
      'ALTER TABLE flows DROP COLUMN standing',
      'DROP TABLE signals_taken',
      'DROP TABLE issuer_sessions',
      'DROP TABLE standings',
      'DROP TABLE notices',
      'DROP TABLE scim_resources',
      'DROP TABLE scim_members',
      'DROP TABLE person_epochs',
      'DROP TABLE pseudonyms',
      'DROP TABLE write_probe',
      'DROP TABLE disabled_agents',
      'DROP TABLE oauth_clients',
      'DROP TABLE limit_counts',
      'DROP TABLE call_history',
      'DROP TABLE asks',
      'DROP TABLE sign_ins',
      'DROP TABLE person_keys',
      'DROP TABLE erased_names',
      'ALTER TABLE credentials DROP COLUMN lease_holder',
      'CREATE TABLE person_epochs (tenant TEXT, realm TEXT, user_id TEXT, epoch BIGINT, PRIMARY KEY (tenant, realm, user_id))',
      `INSERT INTO person_epochs VALUES ('acme', 'corp', 'zoe-old', 4)`,
      ownClock ? 'UPDATE deputy_schema SET version = 7' : 'PRAGMA user_version = 8',
    ])
      await at.sql(text)
    store = await at.open()
    expect(await store.epochs.read({ ...alice, id: 'zoe-old' })).toBe(4)
    expect(await store.epochs.read(alice)).toBe(0)
    await store.erase({ ...alice, id: 'nobody' })
    expect(await at.dump()).not.toContain('zoe-old')
  })

  test('lists by any part of the owner', async () => {
    await store.credentials.put(credential(), grant())
    await store.credentials.put(credential({ id: 'c2', user: 'bob' }), grant({ user: 'bob' }))
    const ids = async (filter: Parameters<Store['credentials']['list']>[0]) =>
      (await store.credentials.list(filter)).map(({ id }) => id)
    expect(await ids({})).toEqual(['c1', 'c2'])
    expect(await ids({ user: 'bob' })).toEqual(['c2'])
    expect(await ids({ tenant: 'evil' })).toEqual([])
    expect(await ids({ realm: 'corp', connection: 'github' })).toEqual(['c1', 'c2'])
  })

  test('tells whose they are a page at a time, each person once', async () => {
    for (const [id, user, connection] of [
      ['c1', 'bob', 'github'],
      ['c2', 'alice', 'github'],
      ['c3', 'alice', 'jira'],
      ['c4', 'carol', 'jira'],
    ] as const)
      await store.credentials.put(credential({ id, user, connection }), grant({ user, connection }))
    const first = await store.credentials.owners(null, 2)
    expect(first).toEqual(['alice', 'bob'].map((id) => ({ ...alice, id })))
    const next = await store.credentials.owners(first[1] ?? null, 2)
    expect(next).toEqual([{ ...alice, id: 'carol' }])
    expect(await store.credentials.owners(next[0] ?? null, 2)).toEqual([])
  })

  test('uses up a state exactly once', async () => {
    await store.flows.insert(flow())
    const leg = { stateHash: 's1', cookieHash: 'k', sealedLeg: 'jwe', legExpiresAt: 3_000 }
    expect(await store.flows.leg('f1', leg)).toBe(true)
    expect(await store.flows.leg('f1', { ...leg, stateHash: 's2' })).toBe(true)
    expect(await store.flows.byState('s1')).toBeNull()
    expect(await store.flows.byState('s2')).toMatchObject({ hash: 'f1', sealedLeg: 'jwe' })
    const used = await Promise.all([
      store.flows.consume('f1', 's2'),
      store.flows.consume('f1', 's2'),
    ])
    expect(used.sort()).toEqual([false, true])
    expect(await store.flows.byState('s2')).toBeNull()
  })

  test('ends a flow once, wipes its leg, and starts no further one', async () => {
    await store.flows.insert(flow())
    await store.flows.leg('f1', {
      stateHash: 's',
      cookieHash: 'k',
      sealedLeg: 'jwe',
      legExpiresAt: 3_000,
    })
    expect(await store.flows.finish('f1', 'failed', 'denied', 5)).toBe(true)
    expect(await store.flows.finish('f1', 'completed', null, 6)).toBe(false)
    expect(await store.flows.byHash('f1')).toEqual(
      flow({ status: 'failed', failure: 'denied', endedAt: 5 }),
    )
    expect(
      await store.flows.leg('f1', {
        stateHash: 's3',
        cookieHash: 'k',
        sealedLeg: 'j',
        legExpiresAt: 1,
      }),
    ).toBe(false)
  })

  test('finds a pending flow by owner, agent and exactly its scopes, while it lives', async () => {
    await store.flows.insert(flow())
    const find = (scopes: readonly string[], now = 2_000, agent = 'triage') =>
      store.flows.pending({ person: alice, agent, connection: 'github', scopes }, now)
    expect(await find(['read:org', 'repo'])).toMatchObject({ hash: 'f1' })
    expect(await find(['repo'])).toBeNull()
    expect(await find(['read:org', 'repo'], 9_000)).toBeNull()
    expect(await find(['read:org', 'repo'], 2_000, 'other')).toBeNull()
    expect(await store.flows.sweep(9_000)).toBe(0)
    expect(await store.flows.sweep(9_001)).toBe(1)
  })

  test('tells of every change of a credential or grant, and of a revocation', async () => {
    const heard: string[] = []
    const end = store.subscribe('credential', (key) => void heard.push(key))
    store.subscribe('revoked', (key) => void heard.push(`revoked ${key}`))
    const credentialKey = JSON.stringify(['acme', 'corp', 'alice', 'github', 'c1'])
    const grantKey = JSON.stringify(['acme', 'corp', 'alice', 'github', null])
    const expectHeard = (...keys: string[]): void => {
      expect(heard.splice(0)).toEqual(keys)
    }
    await store.credentials.put(credential(), grant())
    expectHeard(credentialKey)
    await store.credentials.put(credential(), grant()) // refused
    expectHeard()
    await store.credentials.lease('c1', 1, 'L1', { now: 1_000, until: 61_000 })
    await store.credentials.rotate('c1', 'L1', next(2))
    expectHeard(credentialKey)
    await store.credentials.lease('c1', 2, 'L2', { now: 1_000, until: 61_000 })
    const set = { status: 'active', unknownSince: null, coolUntil: null, coolError: null } as const
    await store.credentials.release('c1', 'L2', set)
    expectHeard(credentialKey)
    await store.grants.put(grant({ agent: 'other' }))
    expectHeard(grantKey)
    await store.grants.remove(alice, 'other', 'github')
    const ended = JSON.stringify(['acme', 'corp', 'alice', 'github', null, 'other'])
    expectHeard(grantKey, `revoked ${ended}`)
    await store.grants.remove(alice, 'other', 'github')
    expectHeard()
    await store.credentials.remove('c1')
    expectHeard(credentialKey, `revoked ${credentialKey}`)
    store.subscribe('mine', (key) => void heard.push(key))
    await store.publish('mine', 'here')
    expectHeard('here')
    end()
    await store.grants.put(grant())
    expectHeard()
  })

  test('shows every sealed text once, and replaces only what is still as it was', async () => {
    for (const id of ['c1', 'c2', 'c3'])
      await store.credentials.put(
        credential({ id, user: id, sealed: `jwe-${id}` }),
        grant({ user: id }),
      )
    await store.flows.insert(flow())
    await store.flows.insert(flow({ hash: 'f2', sealedLeg: 'jwe-leg' }))
    const found = []
    for (let after = null; ; after = found.at(-1) ?? null) {
      const page = await store.sealed.page(after, 2)
      if (page.length === 0) break
      found.push(...page)
    }
    expect(found.map(({ sealed }) => sealed)).toEqual(['jwe-c1', 'jwe-c2', 'jwe-c3', 'jwe-leg'])
    const [one, two, , leg] = found
    if (!one || !two || !leg) throw new Error('missing')
    expect(await store.sealed.replace(one, 'new-c1')).toBe(true)
    expect(await store.sealed.replace(one, 'again')).toBe(false)
    expect(await store.sealed.replace({ ...two, generation: 9 }, 'again')).toBe(false)
    expect(await store.sealed.replace(leg, 'new-leg')).toBe(true)
    expect(await store.credentials.byId('c1')).toEqual(
      credential({ id: 'c1', user: 'c1', sealed: 'new-c1' }),
    )
    expect(await store.flows.byHash('f2')).toMatchObject({ sealedLeg: 'new-leg' })
  })

  test('tells which consents wait, the newest first, of one tenant or of all', async () => {
    const at = (n: number, change: Partial<FlowRow> = {}): FlowRow =>
      flow({ hash: `w${n}`, nonce: `w${n}`, createdAt: n, expiresAt: 100, ...change })
    for (const row of [at(1), at(2, { tenant: 'other' }), at(3), at(4, { expiresAt: 50 })])
      await store.flows.insert(row)
    await store.flows.insert(at(5, { status: 'failed' }))
    const hashes = async (tenant: string | null, most = 9): Promise<readonly string[]> =>
      (await store.flows.waiting(tenant, 50, most)).map(({ hash }) => hash)
    expect(await hashes(null)).toEqual(['w3', 'w2', 'w1'])
    expect(await hashes(alice.tenant)).toEqual(['w3', 'w1'])
    expect(await hashes('other')).toEqual(['w2'])
    expect(await hashes(null, 1)).toEqual(['w3'])
  })

  test('holds what a consent earned until it is claimed, once; while it holds no leg begins', async () => {
    const held = { confirmHash: 'x1', held: '{}', sealedLeg: 'jwe-held', confirmUntil: 5_000 }
    const begun = { stateHash: 's2', cookieHash: 'c', sealedLeg: 'jwe', legExpiresAt: 1 }
    await store.flows.insert(flow({ stateHash: 's1' }))
    expect(await store.flows.hold('f1', held)).toBe(true)
    expect(await store.flows.hold('f1', { ...held, confirmHash: 'x2' })).toBe(false)
    expect(await store.flows.leg('f1', begun)).toBe(false)
    expect(await store.flows.byState('s1')).toBe(null)
    expect(await store.flows.byConfirm('x1')).toEqual(flow(held))
    expect(await store.flows.overdue(4_999)).toEqual([])
    expect(await store.flows.overdue(5_000)).toEqual([flow(held)])
    expect(await store.flows.open(alice)).toHaveLength(1)
    expect(await store.flows.open({ ...alice, tenant: 'other' })).toEqual([])
    const claims = await Promise.all([1, 2].map(() => store.flows.claim('f1', 'x1')))
    expect(claims.filter((claimed) => claimed)).toHaveLength(1)
    expect(await store.flows.byHash('f1')).toEqual(flow({ ...held, confirmHash: null }))
    expect(await store.flows.finish('f1', 'completed', null, 7)).toBe(true)
    expect(await store.flows.byHash('f1')).toEqual(flow({ status: 'completed', endedAt: 7 }))
    expect(await store.flows.erase({ ...alice, id: 'Alice' })).toBe(0)
    expect(await store.flows.erase(alice)).toBe(1)
  })

  test('gives each link that is to be delivered to one caller at a time, and counts the attempts', async () => {
    await store.flows.insert(flow({ notifyAt: 2_000 }))
    await store.flows.insert(flow({ hash: 'f2', notifyAt: 2_500 }))
    await store.flows.insert(flow({ hash: 'f3' }))
    await store.flows.insert(flow({ hash: 'f4', notifyAt: 1, expiresAt: 1_500 }))
    expect(await store.flows.notices(1_999, 5_000, 9)).toEqual([])
    const both = await Promise.all([1, 2].map(() => store.flows.notices(2_500, 5_000, 9)))
    expect(both.flat().map(({ hash, notices }) => [hash, notices])).toHaveLength(2)
    expect(new Set(both.flat().map(({ hash }) => hash))).toEqual(new Set(['f1', 'f2']))
    await store.flows.notifyAt('f1', null)
    await store.flows.finish('f2', 'completed', null, 8)
    expect(await store.flows.notices(8_000, 8_500, 9)).toEqual([])
    await store.flows.insert(flow({ hash: 'f5', notifyAt: 1 }))
    expect(await store.flows.notices(2_000, 2_100, 0)).toEqual([])
    expect(await store.flows.notices(2_000, 2_100, 1)).toMatchObject([{ hash: 'f5', notices: 1 }])
    expect(await store.flows.notices(2_100, 2_200, 1)).toMatchObject([{ hash: 'f5', notices: 2 }])
  })

  test('counts the links of one person and agent, ended ones too, but none that needed nobody', async () => {
    for (const [hash, more] of [
      ['f1', { createdAt: 1_000 }],
      ['f2', { createdAt: 2_000, status: 'failed' }],
      ['f3', { createdAt: 3_000, connection: 'google' }],
      ['f4', { createdAt: 3_000, agent: 'other' }],
      ['f5', { createdAt: 3_000, tenant: 'other' }],
      ['f6', { createdAt: 3_000, status: 'completed', nonce: 'held:x' }],
    ] as const)
      await store.flows.insert(flow({ hash, ...more }))
    expect(await store.flows.begun(alice, 'triage', 1_000, 9)).toEqual([3_000, 2_000])
    expect(await store.flows.begun(alice, 'triage', 0, 2)).toEqual([3_000, 2_000])
  })

  test('keeps what workloads may do: found by workload, shortened only, told and ended once', async () => {
    const { standings } = store
    const row = (id: string, change: Partial<StandingRow> = {}): StandingRow => ({
      id,
      tenant: 'acme',
      realm: 'corp',
      user: 'alice',
      workload: 'nightly',
      agent: 'triage',
      connection: 'github',
      operations: ['issues.create'],
      createdAt: 1_000,
      expiresAt: 9_000,
      lastUsedAt: null,
      noticeAt: 5_000,
      ...change,
    })
    const by = { workload: 'nightly', agent: 'triage' }
    const people = (user: string | null, now = 2_000) => standings.people({ ...by, user }, now)
    await standings.put(row('s1'))
    await standings.put(row('s2', { connection: 'slack' }))
    expect(await people(null)).toEqual([alice])
    expect(await people(null, 9_000)).toEqual([])
    expect(await standings.people({ ...by, agent: 'other', user: null }, 2_000)).toEqual([])
    expect(await standings.people({ ...by, workload: 'other', user: null }, 2_000)).toEqual([])
    await standings.put(row('s3', { user: 'bob', expiresAt: 3_000 }))
    await standings.put(row('s4', { user: 'carol' }))
    expect(await people(null)).toHaveLength(2)
    expect(await people('bob')).toEqual([{ ...alice, id: 'bob' }])
    expect(await people('mallory')).toEqual([])
    expect((await standings.of(alice, by, 2_000)).map(({ id }) => id)).toEqual(['s1', 's2'])
    // The same again takes the place of the first.
    await standings.put(row('s5', { expiresAt: 8_000 }))
    expect(await standings.list({ id: 's1' })).toEqual([])
    expect(await standings.list({ user: 'alice', connection: 'github' })).toEqual([
      row('s5', { expiresAt: 8_000 }),
    ])
    expect(await standings.shorten('s5', 8_500, 8_000)).toBe(false)
    expect(await standings.shorten('s5', 7_000, 6_000)).toBe(true)
    expect(await standings.touch('s5', 2_500)).toBe(true)
    expect(await standings.touch('s5', 2_600)).toBe(false)
    const [now] = await standings.list({ id: 's5' })
    expect(now).toMatchObject({ expiresAt: 7_000, noticeAt: 6_000, lastUsedAt: 2_600 })
    const taken = await Promise.all([1, 2].map(() => standings.notices(6_500, 6_600, 10)))
    expect(
      taken
        .flat()
        .map(({ id }) => id)
        .toSorted(),
    ).toEqual(['s2', 's4', 's5'])
    await standings.noticeAt('s5', null)
    expect((await standings.notices(6_700, 6_800, 10)).map(({ id }) => id).toSorted()).toEqual([
      's2',
      's4',
    ])
    expect((await standings.sweep(3_000)).map(({ id }) => id)).toEqual(['s3'])
    expect((await standings.remove('s4'))?.user).toBe('carol')
    expect(await standings.remove('s4')).toBe(null)
    await store.erase(alice)
    expect(await standings.list({})).toEqual([])
  })
  test('keeps notices: once each, so many for a tenant, by one process at a time, until they are taken', async () => {
    const { notices } = store
    const row = (id: string, change: Partial<NoticeRow> = {}): NoticeRow => ({
      id,
      person: alice,
      body: '{"said":1}',
      createdAt: 1_000,
      expiresAt: 9_000,
      ...change,
    })
    expect(await notices.put(row('n1'), 2)).toBe(true)
    expect(await notices.put(row('n1'), 2)).toBe(true)
    expect(await notices.put(row('n2', { createdAt: 2_000 }), 2)).toBe(true)
    expect(await notices.put(row('n3'), 2)).toBe(false)
    const other = { ...alice, tenant: 'other' }
    expect(await notices.put(row('n4', { person: other, expiresAt: 4_000 }), 2)).toBe(true)
    expect(await notices.due(500, 600, 10)).toEqual([])
    const twice = await Promise.all([1, 2].map(() => notices.due(1_500, 60_000, 10)))
    expect(twice.flat().toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual([
      row('n1'),
      row('n4', { person: other, expiresAt: 4_000 }),
    ])
    await notices.taken('n1')
    await notices.later('n4', 3_000)
    expect((await notices.due(3_500, 4_000, 1)).map(({ id }) => id)).toEqual(['n2'])
    expect((await notices.due(3_500, 60_000, 9)).map(({ id }) => id)).toEqual(['n4'])
    // What was taken makes room, and does not come again.
    expect(await notices.put(row('n1'), 2)).toBe(true)
    expect(await notices.put(row('n5', { createdAt: 8_000 }), 2)).toBe(true)
    expect(await notices.due(7_000, 60_000, 9)).toEqual([row('n2', { createdAt: 2_000 })])
    expect(await notices.sweep(5_000)).toBe(1)
    await store.erase(alice)
    expect(await notices.due(8_500, 60_000, 9)).toEqual([])
    expect(await notices.sweep(60_000)).toBe(0)
  })
  test('keeps what people are asked: one open for each question, answered once, spent by one exchange', async () => {
    const { asks } = store
    const ask = (hash: string, change: Partial<AskRow> = {}): AskRow => ({
      hash,
      nonce: `n-${hash}`,
      kind: 'approval',
      tenant: 'acme',
      realm: 'corp',
      user: 'alice',
      agent: 'triage',
      connection: 'github',
      question: 'q1',
      digest: 'sha256:1',
      operations: ['issues.create'],
      needs: '[]',
      sealed: 'jwe',
      status: 'pending',
      given: '[]',
      exchange: null,
      epoch: 0,
      createdAt: 1_000,
      expiresAt: 9_000,
      endedAt: null,
      noticeAt: 1_000,
      notices: 0,
      ...change,
    })
    const first = await Promise.all(['a1', 'a2', 'a3'].map((hash) => asks.insert(ask(hash))))
    expect(first.filter(Boolean)).toHaveLength(1)
    const row = await asks.open('q1', '', 2_000)
    expect(row).toEqual(ask(row?.hash ?? ''))
    if (row === null) return
    expect(await asks.open('q1', '', 9_000)).toBe(null)
    expect(await asks.spend(row.hash, 'x', 2_000)).toBe(false)
    const given = { given: '[{"by":"bob"}]', status: 'given' as const, expiresAt: 5_000 }
    const said = await Promise.all([1, 2].map(() => asks.answer(row, given, 2_000)))
    expect(said.filter(Boolean)).toHaveLength(1)
    expect(await asks.spend(row.hash, 'x', 5_000)).toBe(false)
    const spent = await Promise.all(['x1', 'x2', 'x3'].map((x) => asks.spend(row.hash, x, 3_000)))
    expect(spent.filter(Boolean)).toHaveLength(1)
    const mine = ['x1', 'x2', 'x3'][spent.indexOf(true)] ?? ''
    expect(await asks.spend(row.hash, mine, 9_999)).toBe(true)
    expect(await asks.open('q1', mine, 3_000)).toMatchObject({ status: 'used', sealed: null })
    expect(await asks.open('q1', 'x9', 3_000)).toBe(null)
    // Its place is free: the same may be asked anew, and is declined.
    expect(await asks.insert(ask('b1'))).toBe(true)
    expect(await asks.end('b1', 'declined', 4_000)).toBe(true)
    expect(await asks.end('b1', 'cancelled', 4_000)).toBe(false)
    expect(await asks.declined('q1', 3_999)).toMatchObject({ hash: 'b1' })
    expect(await asks.declined('q1', 4_000)).toBe(null)
    await asks.insert(ask('c1', { question: 'q2', user: 'bob', expiresAt: 4_000 }))
    await asks.insert(ask('c2', { question: 'q3', connection: 'slack', createdAt: 2_000 }))
    const list = async (filter: object) => (await asks.list(filter, 3_000)).map(({ hash }) => hash)
    expect(await list({})).toEqual(['c2', 'c1'])
    expect(await list({ user: 'alice' })).toEqual(['c2'])
    expect(await list({ tenant: 'other' })).toEqual([])
    expect(await asks.begun(alice, 'triage', 1_500, 9)).toEqual([2_000])
    const told = await Promise.all([1, 2].map(() => asks.notices(3_000, 3_100, 10)))
    expect(
      told
        .flat()
        .map(({ hash }) => hash)
        .toSorted(),
    ).toEqual(['c1', 'c2'])
    await asks.noticeAt('c1', null)
    expect(await asks.notices(3_050, 3_200, 10)).toEqual([])
    expect((await asks.sweep(4_000, 1_500)).map(({ hash }) => hash)).toEqual(['c1'])
    expect(await asks.byHash('c1')).toBe(null)
    expect(await asks.byHash('c2')).toMatchObject({ status: 'pending' })
    // What came out of a copy may have been spent since.
    await store.copied.void(9_999)
    expect(await list({})).toEqual([])
  })

  test('keeps the newest sign-in of each kind, for one person and agent', async () => {
    const { signIns } = store
    const row = (change: Partial<SignInRow> = {}): SignInRow => ({
      tenant: 'acme',
      realm: 'corp',
      user: 'alice',
      agent: 'triage',
      acr: 'mfa',
      amr: ['otp'],
      at: 1_000,
      expiresAt: 5_000,
      epoch: 0,
      ...change,
    })
    await signIns.put(row({ at: 2_000 }))
    await signIns.put(row({ at: 1_000 }))
    await signIns.put(row({ acr: 'hw', at: 1_500 }))
    await signIns.put(row({ agent: 'other' }))
    expect(await signIns.of(alice, 'triage', 3_000)).toEqual([
      row({ at: 2_000 }),
      row({ acr: 'hw', at: 1_500 }),
    ])
    expect(await signIns.of({ ...alice, tenant: 'other' }, 'triage', 3_000)).toEqual([])
    expect(await signIns.of(alice, 'triage', 5_000)).toEqual([])
    await signIns.end(alice, 'triage')
    expect(await signIns.of(alice, 'triage', 3_000)).toEqual([])
    expect(await signIns.of(alice, 'other', 3_000)).toHaveLength(1)
    expect(await signIns.sweep(5_001)).toBe(1)
  })

  test('finds one of 10,000 workloads’ standings by its index', async () => {
    const { standings } = store
    for (let i = 0; i < 10_000; i += 500)
      await Promise.all(
        Array.from({ length: 500 }, (_, k) =>
          standings.put({
            id: `s${i + k}`,
            tenant: 'acme',
            realm: 'corp',
            user: `user-${i + k}`,
            workload: 'nightly',
            agent: 'triage',
            connection: 'github',
            operations: ['issues.create'],
            createdAt: 1_000,
            expiresAt: 9_000,
            lastUsedAt: null,
            noticeAt: null,
          }),
        ),
      )
    const by = { workload: 'nightly', agent: 'triage' }
    const began = performance.now()
    for (let i = 0; i < 100; i += 1) {
      expect(await standings.people({ ...by, user: `user-${i * 97}` }, 2_000)).toHaveLength(1)
      expect(await standings.people({ ...by, user: null }, 2_000)).toHaveLength(2)
    }
    // 200 questions that looked at every row would look at two million.
    const each = (performance.now() - began) / 200
    expect(each).toBeLessThan(paced(20))
  })
  test('keeps runs by the hash of their token, revokes each once, and finds them by any part', async () => {
    const run = {
      tokenHash: 'h1',
      id: 'r1',
      tenant: 'acme',
      realm: 'corp',
      user: 'alice',
      agent: 'triage',
      connections: ['github'],
      operations: ['issues.*'],
      createdBy: 'backend',
      createdAt: 1_000,
      expiresAt: 9_000,
      revokedAt: null,
    }
    const other = { ...run, tokenHash: 'h2', id: 'r2', operations: null, createdAt: 2_000 }
    await store.runs.insert(run)
    await store.runs.insert(other)
    await expect(store.runs.insert({ ...run, id: 'r3' })).rejects.toThrow()
    expect(await store.runs.byHash('h1')).toEqual(run)
    expect(await store.runs.byHash('r1')).toBe(null)
    expect(await store.runs.list({})).toEqual([other, run])
    expect(await store.runs.list({ user: 'alice', tenant: 'acme', id: 'r2' })).toEqual([other])
    expect(await store.runs.list({ realm: 'Corp' })).toEqual([])
    expect(await store.runs.revoke('r1', 3_000)).toBe(true)
    expect(await store.runs.revoke('r1', 4_000)).toBe(false)
    expect((await store.runs.byHash('h1'))?.revokedAt).toBe(3_000)
    expect(await store.runs.sweep(9_000)).toBe(0)
    expect(await store.runs.erase({ ...alice, realm: 'other' })).toBe(0)
    expect(await store.runs.erase(alice)).toBe(2)
  })

  test('remembers which sessions were ended, until they would have ended by themselves', async () => {
    expect(await store.sessions.ended('s1')).toBe(false)
    await store.sessions.end('s1', 5_000)
    await store.sessions.end('s1', 5_000)
    await store.sessions.end('s2', 6_000)
    expect([await store.sessions.ended('s1'), await store.sessions.ended('S1')]).toEqual([
      true,
      false,
    ])
    expect(await store.sessions.sweep(6_000)).toBe(1)
    expect([await store.sessions.ended('s1'), await store.sessions.ended('s2')]).toEqual([
      false,
      true,
    ])
  })

  test('keeps which agents are switched off, for everybody or for a tenant, and tells of each change', async () => {
    const heard: string[] = []
    const end = store.subscribe('agent', (key) => void heard.push(key))
    const off = { agent: 'triage', tenant: null, at: 1_000, by: 'owner' as const }
    expect(await store.agents.off()).toEqual([])
    expect(await store.agents.disable(off)).toBe(true)
    expect(await store.agents.disable({ ...off, at: 2_000 })).toBe(false)
    const ofAcme = { ...off, tenant: 'acme', by: 'operator' as const }
    expect(await store.agents.disable(ofAcme)).toBe(true)
    expect(await store.agents.off()).toEqual([off, ofAcme])
    expect(await store.agents.enable('Triage', null, 'operator')).toBe(false)
    // What an operator says takes the place of an owner's word, never the other way round.
    expect(await store.agents.disable({ ...off, at: 3_000, by: 'operator' })).toBe(true)
    expect(await store.agents.disable(off)).toBe(false)
    expect(await store.agents.off()).toEqual([{ ...off, by: 'operator' }, ofAcme])
    expect(await store.agents.enable('triage', null, 'owner')).toBe(false)
    expect(await store.agents.enable('triage', null, 'operator')).toBe(true)
    expect(await store.agents.off()).toEqual([ofAcme])
    await expect(store.agents.disable({ ...off, agent: '\ud800' })).rejects.toThrow('well-formed')
    await expect.poll(() => heard).toContain('{"agent":"triage","tenant":"acme","off":true}')
    await expect.poll(() => heard).toContain('{"agent":"triage","tenant":null,"off":false}')
    end()
  })

  test('lists what people of one tenant granted to an agent', async () => {
    const grant = { agent: 'triage', connection: 'github', scopes: ['repo'], at: 1 }
    const whose = [alice, { ...alice, tenant: 'other' }, { ...alice, id: 'bob' }]
    for (const { tenant, realm, id } of whose)
      await store.grants.put({ ...grant, tenant, realm, user: id })
    await store.grants.put({ ...grant, tenant: 'acme', realm: 'corp', user: 'carol', agent: 'x' })
    expect((await store.grants.to('triage', 'acme')).map(({ user }) => user)).toEqual([
      'alice',
      'bob',
    ])
    expect(await store.grants.to('triage', 'Acme')).toEqual([])
  })
})
