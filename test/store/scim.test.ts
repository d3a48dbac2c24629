import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ScimChanged, ScimKind, Store } from '../../proxy/model.ts'
import { kinds, type Place } from '../support/postgres.ts'

const of = { tenant: 'acme', realm: 'corp' }

const every = await kinds()

describe.each(every)('the $name store', ({ place, skip }) => {
  if (skip) return test.skip('is not here')
  let at: Place
  let store: Store
  let told: string[]
  beforeEach(async () => {
    at = await place()
    store = await at.open()
    told = []
    store.subscribe('scim', (key) => void told.push(key))
  })
  afterEach(() => store.close())
  const write = (
    kind: ScimKind,
    fresh: string,
    name: string,
    members: readonly string[] | null = null,
    id: string | null = null,
  ): Promise<ScimChanged> =>
    store.scim.change(
      of,
      { kind, id, fresh, now: 1 },
      () => ({ name, externalId: null, body: '{}', members }),
      ({ moved }) => (moved === null ? ['all'] : moved.map((row) => row.name)),
    )

  test('names are taken whatever their case, in one realm and kind', async () => {
    await write('User', 'u1', 'Alice')
    await expect(write('User', 'u2', 'aLICE')).rejects.toThrow('already')
    await write('Group', 'g1', 'alice')
    expect(await store.scim.find(of, 'User', 'exact', 'alice')).toEqual([])
    expect(await store.scim.find(of, 'User', 'exact', 'Alice')).toMatchObject([
      { id: 'u1', version: 1 },
    ])
    expect(await store.scim.count({ ...of, tenant: 'other' }, 'User')).toBe(0)
    expect(await store.scim.get({ ...of, realm: 'other' }, 'User', 'u1')).toBeNull()
  })

  test('groups in circles end, everybody below is told, strangers are no members', async () => {
    await write('User', 'u1', 'alice')
    await write('Group', 'g1', 'team', ['u1', 'nobody'])
    await write('Group', 'g2', 'staff', ['g1'])
    await write('Group', '', 'team', ['u1', 'g2'], 'g1')
    const groups = await store.scim.groups(of, 'u1')
    expect(groups.map(({ name, direct }) => [name, direct])).toEqual([
      ['team', true],
      ['staff', false],
    ])
    expect((await store.scim.members(of, 'g1')).map(({ id }) => id)).toEqual(['g2', 'u1'])
    expect(new Set(told)).toEqual(new Set(['alice']))
    await store.scim.change(
      of,
      { kind: 'User', id: 'u1', fresh: '', now: 2 },
      () => null,
      () => ['gone'],
    )
    expect(told.at(-1)).toBe('gone')
    expect((await store.scim.members(of, 'g1')).map(({ id }) => id)).toEqual(['g2'])
  })

  test('changes at once come one after the other, and what throws changes nothing', async () => {
    const ids = Array.from({ length: 250 }, (_, i) => `u${i}`)
    for (const id of ids) await write('User', id, id)
    await write('Group', 'g1', 'crowd', [])
    await Promise.all(
      ids.slice(0, 8).map((id) =>
        store.scim.change(
          of,
          { kind: 'Group', id: 'g1', fresh: '', now: 1 },
          (before, members) => ({
            name: before?.name ?? '',
            externalId: null,
            body: '{}',
            members: [...members.map((one) => one.id), id],
          }),
          () => [],
        ),
      ),
    )
    expect(await store.scim.members(of, 'g1')).toHaveLength(8)
    await write('Group', '', 'crowd', ids, 'g1')
    expect(await store.scim.members(of, 'g1')).toHaveLength(250)
    const thrown = store.scim.change(
      of,
      { kind: 'Group', id: 'g1', fresh: '', now: 1 },
      () => {
        throw new Error('no')
      },
      () => ['told'],
    )
    await expect(thrown).rejects.toThrow('no')
    expect(told).not.toContain('told')
    expect(await store.scim.after(of, 'User', 'u98', 200)).toHaveLength(1)
  })
})
