// How each kind of directory is asked, against answers as its documentation shows them.
import { describe, expect, test } from 'vitest'
import type { Get } from '../../proxy/directory/page.ts'
import { askOf, nameable, type Kind } from '../../proxy/directory/presets.ts'
import { Unanswered, type Known } from '../../proxy/directory/source.ts'

const AT = 'https://dir.test'
/** Answers by path and query; what is not there is not there. */
const scripted = (answers: Readonly<Record<string, unknown>>) => {
  const asked: string[] = []
  const get: Get = (url, asking) => {
    asked.push([url.slice(AT.length), asking?.body].filter((part) => part !== undefined).join(' '))
    const json = answers[url.slice(AT.length)]
    const next = (json as { readonly link?: string } | undefined)?.link ?? null
    return Promise.resolve(
      json === undefined
        ? null
        : { json: next === null ? json : (json as { readonly list: unknown }).list, next },
    )
  }
  return { get, asked }
}
const ask = (
  kind: Kind,
  answers: Readonly<Record<string, unknown>>,
  id = 'u1',
): Promise<Known | null> => askOf(kind)({ id, tenant: 'default' }, scripted(answers).get)
const reasonOf = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => 'answered',
    (error: unknown) => (error instanceof Unanswered && error.alone ? error.reason : error),
  )

describe('Keycloak', () => {
  const kind = (by: 'id' | 'name' | 'email' = 'id'): Kind => ({
    preset: 'keycloak',
    url: AT,
    realm: 'corp',
    by,
  })
  const users = '/admin/realms/corp/users'
  const alice = { id: 'u1', username: 'alice', email: 'alice@corp.test', enabled: true }
  const page = (n: number): string =>
    `${users}/u1/groups?briefRepresentation=true&max=500&first=${n * 500}`
  const roles = `${users}/u1/role-mappings/realm/composite?briefRepresentation=true`
  const whole = {
    [`${users}/u1`]: alice,
    [page(0)]: [{ path: '/staff/backend' }, { path: '/a~/b' }],
    [roles]: [{ name: 'developer' }],
  }
  test('names groups by their path, with those above', async () => {
    expect(await ask(kind(), whole)).toEqual({
      active: true,
      groups: ['staff', 'staff/backend', 'a~/b'],
      roles: ['developer'],
      entitlements: [],
      manager: null,
    })
  })
  test('finds by name or address, to the letter', async () => {
    for (const [by, key, id] of [
      ['name', 'username', 'alice'],
      ['email', 'email', 'alice@corp.test'],
    ] as const) {
      const found = `${users}?${key}=${encodeURIComponent(id)}&exact=true&max=2&briefRepresentation=false`
      expect(await ask(kind(by), { ...whole, [found]: [alice] }, id)).toMatchObject({
        active: true,
      })
      expect(await ask(kind(by), { ...whole, [found]: [] }, id)).toBeNull()
      const many = ask(kind(by), { ...whole, [found]: [alice, alice] }, id)
      expect(await reasonOf(many)).toBe('malformed')
      const upper = { ...alice, username: 'Alice', email: 'Alice@corp.test' }
      expect(await reasonOf(ask(kind(by), { ...whole, [found]: [upper] }, id))).toBe('stranger')
    }
  })
  test('reads every page of groups', async () => {
    const many = Array.from({ length: 500 }, (_, i) => ({ path: `/g${i}` }))
    const known = await ask(kind(), { ...whole, [page(0)]: many, [page(1)]: [{ path: '/last' }] })
    expect(known?.groups).toHaveLength(501)
  })
  test('tells who is disabled, gone, or no person', async () => {
    const of = (user: object): Promise<Known | null> =>
      ask(kind(), { ...whole, [`${users}/u1`]: user })
    expect(await of({ ...alice, enabled: false })).toMatchObject({ active: false })
    expect(await ask(kind(), {})).toBeNull()
    expect(await of({ ...alice, username: 'service-account-x' })).toBeNull()
    expect(await of({ ...alice, serviceAccountClientId: 'x' })).toBeNull()
    expect(await of({ ...alice, attributes: { manager: ['boss'] } })).toMatchObject({
      manager: 'boss',
    })
    for (const wrong of [{ ...alice, enabled: 'true' }, { id: 'u1' }])
      expect(await reasonOf(of(wrong))).toBe('malformed')
    expect(await reasonOf(of({ ...alice, id: 'u2' }))).toBe('stranger')
  })
})

describe('Okta', () => {
  const kind: Kind = { preset: 'okta', url: AT, by: 'id' }
  const user = { id: 'u1', status: 'ACTIVE', profile: { login: 'a@x.test', managerId: 'm' } }
  const first = '/api/v1/users/u1/groups?limit=200'
  const whole = {
    '/api/v1/users/u1': user,
    [first]: {
      link: `${AT}/more`,
      list: [
        { id: 'g0', type: 'BUILT_IN', profile: { name: 'Everyone' } },
        { id: 'g1', type: 'OKTA_GROUP', profile: { name: 'staff' } },
      ],
    },
    '/more': [{ id: 'g2', type: 'APP_GROUP', profile: { name: 'admins' } }],
  }
  test('names its own groups, and those of applications by id alone', async () => {
    expect(await ask(kind, whole)).toEqual({
      active: true,
      groups: ['g0', 'Everyone', 'g1', 'staff', 'g2'],
      roles: [],
      entitlements: [],
      manager: 'm',
    })
  })
  test('only ACTIVE is active; a shortened name is another person', async () => {
    for (const status of ['STAGED', 'PROVISIONED', 'SUSPENDED', 'DEPROVISIONED', 'LOCKED_OUT'])
      expect(await ask(kind, { ...whole, '/api/v1/users/u1': { ...user, status } })).toMatchObject({
        active: false,
      })
    const byName: Kind = { ...kind, by: 'name' }
    const short = ask(byName, { ...whole, '/api/v1/users/a': user }, 'a')
    expect(await reasonOf(short)).toBe('stranger')
    const whom = { ...whole, '/api/v1/users/a%40x.test': user }
    expect(await ask(byName, whom, 'a@x.test')).toMatchObject({ active: true })
  })
})

describe('Entra ID', () => {
  const kind: Kind = { preset: 'entra', url: AT, by: 'id' }
  const path =
    '/v1.0/users/u1?$select=id,userPrincipalName,accountEnabled&$expand=manager($select=id)'
  const first = '/v1.0/users/u1/transitiveMemberOf?$select=id&$top=999'
  const of = (type: string, id: string) => ({ '@odata.type': `#microsoft.graph.${type}`, id })
  const whole = {
    [path]: { id: 'u1', userPrincipalName: 'a@x.test', accountEnabled: true, manager: { id: 'm' } },
    [first]: {
      '@odata.nextLink': `${AT}/v1.0/next`,
      value: [of('group', 'g1'), of('directoryRole', 'r1')],
    },
    '/v1.0/next': { value: [of('administrativeUnit', 'a1'), of('group', 'g2')] },
  }
  test('names groups by their ids, nested ones too, and nothing that is no group', async () => {
    expect(await ask(kind, whole)).toEqual({
      active: true,
      groups: ['g1', 'g2'],
      roles: ['r1'],
      entitlements: [],
      manager: 'm',
    })
  })
  test('a disabled or deleted account', async () => {
    const off = { id: 'u1', accountEnabled: false }
    expect(await ask(kind, { ...whole, [path]: off })).toMatchObject({ active: false })
    expect(await ask(kind, {})).toBeNull()
  })
})

describe('Google Workspace', () => {
  const kind: Kind = { preset: 'google', url: AT, by: 'id' }
  const base = '/admin/directory/v1'
  const of = (member: string): string =>
    `${base}/groups?userKey=${encodeURIComponent(member)}&maxResults=200`
  const user = { id: 'u1', primaryEmail: 'a@x.test', suspended: false, archived: false }
  const whole = {
    [`${base}/users/u1?projection=basic`]: {
      ...user,
      relations: [{ type: 'manager', value: 'boss@x.test' }],
    },
    [of('u1')]: { groups: [{ email: 'backend@x.test' }], nextPageToken: 't' },
    [`${of('u1')}&pageToken=t`]: { groups: [{ email: 'all@x.test' }] },
    [of('backend@x.test')]: { groups: [{ email: 'staff@x.test' }] },
    // A circle.
    [of('staff@x.test')]: { groups: [{ email: 'backend@x.test' }] },
    [of('all@x.test')]: {},
  }
  test('names groups by their address, and follows groups of groups to their end', async () => {
    expect(await ask(kind, whole)).toEqual({
      active: true,
      groups: ['backend@x.test', 'all@x.test', 'staff@x.test'],
      roles: [],
      entitlements: [],
      manager: 'boss@x.test',
    })
  })
  test('who is suspended or archived is not active', async () => {
    for (const off of [{ suspended: true }, { archived: true }])
      expect(
        await ask(kind, { ...whole, [`${base}/users/u1?projection=basic`]: { ...user, ...off } }),
      ).toMatchObject({ active: false })
  })
  test('nesting has an end', async () => {
    let n = 0
    const endless: Get = (url) =>
      Promise.resolve({
        next: null,
        json: url.includes('/users/')
          ? user
          : { groups: [{ email: `${n++}@x.test` }, { email: `${n++}@x.test` }] },
      })
    expect(await reasonOf(askOf(kind)({ id: 'u1', tenant: 'default' }, endless))).toBe('too_large')
  })
})

describe('a service of one’s own', () => {
  const kind: Extract<Kind, { preset: 'none' }> = {
    preset: 'none',
    url: `${AT}/{tenant}/people/{id}?q={id}`,
    method: 'GET',
    body: undefined,
    places: {
      id: '/who/id',
      active: '/active',
      groups: '/groups/*/name',
      roles: '/roles',
      entitlements: null,
      manager: '/boss',
      next: null,
    },
  }
  const at = '/default/people/u1?q=u1'
  const whole = { who: { id: 'u1' }, active: true, groups: [{ name: 'a' }], roles: 'r', boss: 'b' }
  const ofAnswer = (answer: unknown): Promise<Known | null> => ask(kind, { [at]: answer })
  test('is read by pointers', async () => {
    expect(await ofAnswer(whole)).toEqual({
      active: true,
      groups: ['a'],
      roles: ['r'],
      entitlements: [],
      manager: 'b',
    })
    expect(await ofAnswer(undefined)).toBeNull()
    expect(await ofAnswer({ who: { id: 'u1' }, active: true })).toMatchObject({ groups: [] })
  })
  test.each([
    { url: `${AT}/people?filter=name%20eq%20%22{id}%22` },
    { url: `${AT}/people?filter=name eq '{id}'` },
    { url: `${AT}/people`, method: 'POST' as const, body: { query: ['user(id: "{id}")'] } },
  ])('is not asked about an id that could leave the quotes that it is put in: %j', async (form) => {
    const asked: string[] = []
    const get: Get = (url) => (asked.push(url), Promise.resolve({ json: whole, next: null }))
    for (const mark of ['"', "'", '`'])
      expect(
        await askOf({ ...kind, ...form })({ id: `x${mark} or ${mark}`, tenant: 'default' }, get),
      ).toBeNull()
    expect(asked).toEqual([])
    expect(await askOf({ ...kind, ...form })({ id: 'u1', tenant: 'default' }, get)).toMatchObject({
      active: true,
    })
  })
  test('has pages, named in the answer or in a header', async () => {
    const paged = { ...kind, places: { ...kind.places, next: '/next' } }
    const two = { [at]: { ...whole, next: '/p2' }, '/p2': { ...whole, groups: [{ name: 'b' }] } }
    expect((await ask(paged, two))?.groups).toEqual(['a', 'b'])
    const linked = { [at]: { link: '/p2', list: whole }, '/p2': two['/p2'] }
    expect((await ask(kind, linked))?.groups).toEqual(['a', 'b'])
  })
  test.each([
    ['of another person', { ...whole, who: { id: 'u2' } }, 'stranger'],
    ['of nobody', { ...whole, who: {} }, 'stranger'],
    ['of a number', { ...whole, who: { id: 1 } }, 'stranger'],
    ['not said to be active', { ...whole, active: 'yes' }, 'malformed'],
    ['with a group of another type', { ...whole, groups: [{ name: 7 }] }, 'malformed'],
    ['with a group of no name', { ...whole, groups: [{ name: '' }] }, 'malformed'],
    ['with groups that are no list', { ...whole, groups: 'a' }, 'malformed'],
    [
      'with 50,000 groups',
      { ...whole, groups: Array.from({ length: 50_000 }, (_, i) => ({ name: `g${i}` })) },
      'too_large',
    ],
  ])('that answers %s says nothing', async (_name, answer, reason) => {
    expect(await reasonOf(ofAnswer(answer))).toBe(reason)
  })
  test('never gets an id that means more than itself', async () => {
    const asked = async (id: string, of = kind): Promise<readonly string[]> => {
      const { get, asked } = scripted({})
      await askOf(of)({ id, tenant: 'default' }, get)
      return asked
    }
    expect(await asked("a&b=c#'*(%2f)?x y")).toEqual([
      '/default/people/a%26b%3Dc%23%27%2A%28%252f%29%3Fx%20y?q=a%26b%3Dc%23%27%2A%28%252f%29%3Fx%20y',
    ])
    const post = { ...kind, url: `${AT}/q`, method: 'POST' as const, body: { f: ['id={id}'] } }
    expect(await asked('x","admin":"$&', post)).toEqual([
      `/q ${JSON.stringify({ f: ['id=x","admin":"$&'] })}`,
    ])
  })
  test('of a person who cannot be named is not asked', () => {
    for (const id of ['', '.', '..', '../x', 'a/b', 'a\\b', 'a\nb', '\ud800', 'x'.repeat(1_025)])
      expect(nameable(id), id).toBe(false)
    for (const id of ['alice', 'a@x.test', 'ünï', '%2e%2e', 'a;b', "o'brien"])
      expect(nameable(id), id).toBe(true)
  })
})
