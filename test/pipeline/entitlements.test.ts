// What is known of a person, and how old it is: by each source.
import { describe, expect, test } from 'vitest'
import type { Entitlements, JsonObject, Principal } from '../../proxy/model.ts'
import { Problem } from '../../proxy/problem.ts'
import { createEntitlements, type PeopleSource } from '../../proxy/pipeline/entitlements.ts'

const ISSUED = 1_000_000
const who = (claims: JsonObject | null, issuedAt: number | null = ISSUED): Principal => ({
  person: { tenant: 'default', realm: 'corp', id: 'alice' },
  agent: 'triage',
  verified: true,
  claims,
  issuedAt,
  expiresAt: null,
  run: null,
})
const CLAIMS: PeopleSource = {
  kind: 'claims',
  groups: '/groups',
  roles: '/realm/roles',
  entitlements: '/rights',
}
const sourceOf = (source: PeopleSource, wall = ISSUED, mono = 0) =>
  createEntitlements({
    source,
    maxAge: { read: 60_000, write: 5_000, delete: 5_000, admin: 0 },
    clock: { now: () => wall, mono: () => mono },
  })
const known: Entitlements = {
  active: true,
  groups: ['staff'],
  roles: [],
  entitlements: [],
  auth: null,
  source: 'file',
  digest: 'sha256:x',
  asOf: null,
}

describe('claims', () => {
  const read = async (claims: JsonObject): Promise<Entitlements> =>
    (await sourceOf(CLAIMS)(who(claims), 'read')).entitlements

  test('are read where the configuration says: lists of strings, or one string', async () => {
    const facts = await read({ groups: ['a', 1, null, 'b'], realm: { roles: 'r' }, rights: 7 })
    expect(facts).toMatchObject({
      active: true,
      groups: ['a', 'b'],
      roles: ['r'],
      entitlements: [],
      auth: { acr: null, amr: [], at: null },
      source: 'claims',
      asOf: null,
    })
  })
  test('say how and when the person signed in, where they say it as OpenID Connect does', async () => {
    expect((await read({ acr: 'high', amr: ['pwd', 'otp'], auth_time: 9 })).auth).toEqual({
      acr: 'high',
      amr: ['pwd', 'otp'],
      at: 9_000,
    })
    expect((await read({ acr: 1, amr: {}, auth_time: '9' })).auth).toEqual({
      acr: null,
      amr: [],
      at: null,
    })
  })
  test('are one set of facts for one principal, whose digest does not tell the order', async () => {
    const ask = sourceOf(CLAIMS)
    const alice = who({ groups: ['a', 'b'] })
    const [one, again] = [await ask(alice, 'read'), await ask(alice, 'write')]
    expect(again.entitlements).toBe(one.entitlements)
    expect((await read({ groups: ['b', 'a'] })).digest).toBe(one.entitlements.digest)
    expect((await read({ groups: ['b'] })).digest).not.toBe(one.entitlements.digest)
    expect((await read({ groups: ['a'], rights: ['b'] })).digest).not.toBe(one.entitlements.digest)
  })
  test('age from iat on, each access to its own bound and not a moment more', async () => {
    const at = (ms: number) => sourceOf(CLAIMS, ISSUED + ms)
    const stale = expect.objectContaining({ code: 'entitlements_unavailable' }) as Error
    expect((await at(5_000)(who({}), 'write')).ageMs()).toBe(5_000)
    expect(() => at(5_001)(who({}), 'write')).toThrow(stale)
    expect(() => at(5_001)(who({}), 'delete')).toThrow(stale)
    expect((await at(60_000)(who({}), 'read')).ageMs()).toBe(60_000)
    expect(() => at(60_001)(who({}), 'read')).toThrow(stale)
    expect(() => at(1)(who({}), 'admin')).toThrow(stale)
  })
  test('of an issuer whose clock is ahead are new', async () => {
    expect((await sourceOf(CLAIMS, ISSUED - 2_000)(who({}), 'admin')).ageMs()).toBe(0)
  })
  test('that a tag does not carry, or does not date, are unavailable', () => {
    for (const principal of [who(null), who({}, null), who(null, null)])
      expect(() => sourceOf(CLAIMS)(principal, 'read')).toThrow(
        expect.objectContaining({
          code: 'entitlements_unavailable',
          message: 'the tag carries no claims to read entitlements from',
        }),
      )
  })
})

describe('a directory', () => {
  const asked = (ask: () => Entitlements | null | Promise<Entitlements | null>, mono = 0) =>
    Promise.resolve(sourceOf({ kind: 'directory', ask }, ISSUED, mono)(who(null, null), 'read'))

  test('answers at once or later; whom it does not know is inactive', async () => {
    expect((await asked(() => known)).entitlements).toBe(known)
    expect((await asked(() => Promise.resolve(known))).entitlements).toBe(known)
    for (const facts of [await asked(() => null), await asked(() => Promise.resolve(null))])
      expect(facts.entitlements).toMatchObject({ active: false, groups: [], source: 'none' })
  })
  test('says how old its facts are; what it knows for itself has no age', async () => {
    expect((await asked(() => ({ ...known, asOf: 1_000 }), 4_500)).ageMs()).toBe(3_500)
    expect((await asked(() => known, 4_500)).ageMs()).toBe(0)
  })
  test('is asked for what the access allows, or for now where policy wants it fresher; that counts as 0', async () => {
    const wanted: number[] = []
    let mono = 1_000
    const ask = createEntitlements({
      source: {
        kind: 'directory',
        ask: (_, maxAge) => {
          wanted.push(maxAge)
          const asOf = mono
          mono += 20
          return { ...known, asOf }
        },
      },
      maxAge: { read: 60_000, write: 0, delete: 0, admin: 0 },
      clock: { now: () => ISSUED, mono: () => mono },
    })
    expect((await ask(who(null, null), 'read')).ageMs()).toBe(20)
    expect((await ask(who(null, null), 'read', true)).ageMs()).toBe(0)
    expect((await ask(who(null, null), 'write')).ageMs()).toBe(0)
    expect(wanted).toEqual([60_000, 0, 0])
  })
  test('lets nobody in by facts that are older than the access allows, whatever it answers', async () => {
    await expect(async () =>
      asked(() => ({ ...known, asOf: 1_000 }), 61_001),
    ).rejects.toMatchObject({ code: 'entitlements_unavailable' })
    expect((await asked(() => ({ ...known, asOf: 1_000 }), 61_000)).ageMs()).toBe(60_000)
  })
  test('of whose facts the age is told, in s', async () => {
    const told: unknown[] = []
    const answers = [known, { ...known, asOf: 1_000 }]
    const ask = createEntitlements({
      source: { kind: 'directory', ask: () => answers.shift() ?? null },
      maxAge: { read: 60_000, write: 0, delete: 0, admin: 0 },
      clock: { now: () => ISSUED, mono: () => 4_500 },
      aged: (source, seconds) => void told.push([source, seconds]),
    })
    for (const _ of [1, 2, 3]) await ask(who(null, null), 'read')
    expect(told).toEqual([
      ['file', 0],
      ['file', 3.5],
      ['none', 0],
    ])
  })
  test('says itself why it cannot be asked, where it can', async () => {
    const problem = new Problem('tenant_busy', 'later')
    await expect(asked(() => Promise.reject(problem))).rejects.toBe(problem)
  })
  test('that fails, at once or later, is unavailable', async () => {
    const fail = (): never => {
      throw new Error('gone')
    }
    await expect(async () => asked(fail)).rejects.toMatchObject({
      code: 'entitlements_unavailable',
    })
    await expect(asked(() => Promise.reject(new Error('gone')))).rejects.toMatchObject({
      code: 'entitlements_unavailable',
    })
  })
})

test('without a source everybody is active and nothing more', async () => {
  const { entitlements, ageMs } = await sourceOf({ kind: 'none' })(who(null, null), 'admin')
  expect(entitlements).toMatchObject({ active: true, groups: [], roles: [], source: 'none' })
  expect(ageMs()).toBe(0)
})
