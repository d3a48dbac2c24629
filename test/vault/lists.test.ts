// Pages of people and agents, on both stores: whole, in order, of the tenants that are asked for, and with a bounded cost.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GrantRow, Person, Store } from '../../proxy/model.ts'
import {
  createLists,
  MOST_COUNTED,
  PAGE,
  type GrantKey,
  type Lists,
  type Tenants,
} from '../../proxy/vault/lists.ts'
import { credential } from '../store/fixture.ts'
import { kinds, type Place } from '../support/postgres.ts'

describe.each(await kinds())('lists of the $name store', ({ place, skip }) => {
  if (skip) return test.skip('is not here')
  let store: Store
  let lists: Lists
  let at: Place
  beforeEach(async () => {
    at = await place()
    store = await at.open()
    lists = createLists(store)
  })
  afterEach(() => store.close())

  const connect = async (
    { tenant, realm, id: user }: Person,
    { connection = 'github', agent = 'triage', doubtful = false } = {},
  ): Promise<void> => {
    const owner = { tenant, realm, user, connection }
    const id = JSON.stringify(owner)
    const doubtfulSince = doubtful ? 1 : null
    await store.credentials.put(
      { ...credential, ...owner, id, doubtfulSince, clientId: null },
      { ...owner, agent, scopes: ['repo'], at: 1 },
    )
  }
  const person = (id: string, tenant = 'acme'): Person => ({ tenant, realm: 'corp', id })
  /** Every page of people, one after the other. */
  const everybody = async (
    tenants: Tenants,
    part = '',
  ): Promise<readonly (readonly string[])[]> => {
    const pages: string[][] = []
    for (let after: Person | null = null; ;) {
      const { rows, next } = await lists.people(tenants, { part, after })
      pages.push(rows.map((row) => row.person.id))
      if (next === null) return pages
      after = next
    }
  }

  test('people come once each and in order, whatever page and tenant they are on', async () => {
    const ids = Array.from({ length: PAGE + 20 }, (_, i) => `p${String(i).padStart(3, '0')}`)
    for (const id of ids) await connect(person(id))
    for (const id of ids.slice(0, 40)) await connect(person(`b-${id}`, 'beta'))
    await connect(person('x', 'other'))
    expect(await everybody(['acme'])).toEqual([ids.slice(0, PAGE), ids.slice(PAGE)])
    const two = await everybody(['beta', 'acme'])
    expect(two.map((page) => page.length)).toEqual([PAGE, PAGE, 10])
    expect(two.flat()).toEqual([...ids, ...ids.slice(0, 40).map((id) => `b-${id}`)])
    expect((await everybody(undefined)).flat()).toEqual([...two.flat(), 'x'])
    expect(await everybody([])).toEqual([[]])
  })

  test('what is looked for stands anywhere in the id, as it is written', async () => {
    for (const id of ['ada@acme', 'Ada', '100%', 'a_b', "o'neil", 'zo\u00eb'])
      await connect(person(id))
    for (const [part, found] of [
      ['da', ['Ada', 'ada@acme']],
      ['Ad', ['Ada']],
      ['%', ['100%']],
      ['_', ['a_b']],
      ["'", ["o'neil"]],
      ['\u00eb', ['zo\u00eb']],
      ['nobody', []],
    ] as const)
      expect([part, (await everybody(undefined, part)).flat()]).toEqual([part, found])
  })

  test('a search goes through thousands who are not meant, and calls go on meanwhile', async () => {
    await store.close() // somebody else writes to the file
    await at.sql(
      `INSERT INTO credentials (id, tenant, realm, user_id, connection, provider, slot, account_id, account, status, generation, scopes, sealed, stored_at) WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM n WHERE i < 14499) SELECT 'c' || i, 'acme', 'corp', 'p' || i, 'github', 'github', 'default', '7', 'a', 'active', 1, '[]', 'jwe', 1 FROM n`,
    )
    store = await at.open()
    lists = createLists(store)
    for (const id of ['p10000-me', 'p13000-me', 'p14499-me']) await connect(person(id))
    let turns = 0
    const count = setInterval(() => (turns += 1), 0)
    expect(await everybody(['acme'], '-me')).toEqual([['p10000-me', 'p13000-me', 'p14499-me']])
    expect(await everybody(undefined, '-me')).toEqual([['p10000-me', 'p13000-me', 'p14499-me']])
    clearInterval(count)
    expect(turns).toBeGreaterThan(0)
  })

  test('a page of connections is asked of the store as a page, and what is behind it is counted only so far', async () => {
    const ids = Array.from({ length: 12 }, (_, i) => `p${String(i).padStart(2, '0')}`)
    for (const id of ids) await connect(person(id, id < 'p04' ? 'acme' : 'beta'))
    await connect(person('p05', 'beta'), { connection: 'google' })
    const all = { tenants: null, realm: null, user: null, at: null, skip: 0, most: 3, count: 4 }
    const page = async (of: Partial<typeof all> | { readonly [name: string]: unknown }) => {
      const { rows, total } = await store.credentials.page({ ...all, ...of })
      return [rows.map(({ user, connection }) => `${user} ${connection}`).join(), total]
    }
    expect(await page({})).toEqual(['p00 github,p01 github,p02 github', 7])
    expect(await page({ skip: 4 })).toEqual(['p04 github,p05 github,p05 google', 11])
    expect(await page({ skip: 12 })).toEqual(['p11 github', 13])
    expect(await page({ skip: 99 })).toEqual(['', 13])
    expect(await page({ tenants: ['beta', 'acme'], skip: 3 })).toEqual([
      'p03 github,p04 github,p05 github',
      10,
    ])
    expect(await page({ tenants: ['acme'], skip: 3, most: 9 })).toEqual(['p03 github', 4])
    expect(await page({ tenants: [] })).toEqual(['', 0])
    expect(await page({ at: 'google' })).toEqual(['p05 google', 1])
    expect((await page({ at: 'github', count: 99 }))[1]).toBe(13)
    expect(await page({ user: 'p05', realm: 'corp' })).toEqual(['p05 github,p05 google', 2])
    expect(await page({ user: 'p05', realm: 'else' })).toEqual(['', 0])
  })

  test('a person has each connection and agent once, and what is doubtful needs a new consent', async () => {
    const ada = person('ada')
    await connect(ada, { agent: 'b' })
    await connect(ada, { agent: 'b', connection: 'google', doubtful: true })
    const { tenant, realm, id: user } = ada
    await store.grants.put({
      tenant,
      realm,
      user,
      connection: 'github',
      agent: 'a',
      scopes: [],
      at: 1,
    })
    expect((await lists.people(['acme'], { part: '', after: null })).rows).toEqual([
      {
        person: ada,
        connections: [
          { connection: 'github', status: 'active' },
          { connection: 'google', status: 'needs_reauth' },
        ],
        agents: ['a', 'b'],
      },
    ])
  })

  test('agents: those that people allow something and those that are known, by page and by tenant', async () => {
    const names = Array.from({ length: PAGE + 5 }, (_, i) => `agent-${String(i).padStart(3, '0')}`)
    for (const agent of names) await connect(person(`of-${agent}`), { agent })
    await connect(person('bob', 'beta'), { agent: 'of-beta' })
    const first = await lists.agents(['acme'], { known: ['agent-000', 'agent-0000'], after: '' })
    expect(first.rows).toEqual(['agent-000', 'agent-0000', ...names.slice(1, PAGE - 1)])
    const after = first.next ?? ''
    const second = await lists.agents(['acme'], { known: ['agent-000', 'zebra'], after })
    expect(second).toEqual({ rows: [...names.slice(PAGE - 1), 'zebra'], next: null })
    const all = await lists.agents(undefined, { known: [], after: 'agent-053' })
    expect(all.rows).toEqual(['agent-054', 'of-beta'])
    expect((await lists.agents([], { known: [], after: '' })).rows).toEqual([])
  })

  test('how far an agent reaches is counted by person, at every connection, in the tenants that are asked for', async () => {
    await connect(person('ada'))
    await connect(person('ada'), { connection: 'google' })
    await connect(person('bob'))
    await connect(person('bob', 'beta'), { connection: 'slack' })
    expect(await lists.reach(['acme'], 'triage')).toEqual({
      people: 2,
      connections: ['github', 'google'],
    })
    expect(await lists.reach(undefined, 'triage')).toEqual({
      people: 3,
      connections: ['github', 'google', 'slack'],
    })
    expect(await lists.reach(['acme'], 'none')).toEqual({ people: 0, connections: [] })
    expect(MOST_COUNTED).toBeLessThan(10_000)
    expect((await store.grants.reach('triage', null, 2)).people).toBe(2)
  })

  test('what people allow an agent comes once each, page by page', async () => {
    const ids = Array.from({ length: PAGE - 1 }, (_, i) => `p${String(i).padStart(3, '0')}`)
    for (const id of ids) await connect(person(id))
    await connect(person('zed'), { connection: 'github' })
    await connect(person('zed'), { connection: 'google' })
    await connect(person('ben', 'beta'))
    const told = ({ tenant, user, connection }: GrantRow) => `${tenant} ${user} ${connection}`
    const whole = [
      ...ids.map((id) => `acme ${id} github`),
      'acme zed github',
      'acme zed google',
      'beta ben github',
    ]
    for (const [tenants, expected] of [
      [undefined, whole],
      [['beta', 'acme'], whole],
      [['acme'], whole.slice(0, -1)],
      [['beta'], whole.slice(-1)],
    ] as const) {
      const seen: string[] = []
      for (let after: GrantKey | null = null; ;) {
        const { rows, next } = await lists.grants(tenants, 'triage', after)
        expect(rows.length).toBeLessThanOrEqual(PAGE)
        seen.push(...rows.map(told))
        if (next === null) break
        after = next
      }
      expect(seen).toEqual(expected)
    }
  })

  test('a store that fails is said to be the vault', async () => {
    await store.close()
    await expect(lists.people(undefined, { part: '', after: null })).rejects.toMatchObject({
      code: 'vault_unavailable',
    })
    store = await at.open()
  })
})
