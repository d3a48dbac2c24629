// One key for each person, whichever process makes it first.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Person, Store } from '../../proxy/model.ts'
import { kinds } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice' }

describe.each(await kinds())('keys of people: $name', ({ skip, place, ownClock }) => {
  describe.skipIf(skip)('each has one', () => {
    let stores: Store[]
    beforeEach(async () => {
      const at = await place()
      stores = [await at.open()]
      if (ownClock) stores.push(await at.open())
    })
    afterEach(async () => {
      for (const each of stores) await each.close()
    })

    test('of many that are made at once, all replicas get one', async () => {
      const made = await Promise.all(
        Array.from({ length: 20 }, async (_, i) =>
          stores[i % stores.length]?.personKeys.put({
            id: `k${i}`,
            person: alice,
            sealed: `s${i}`,
            at: i,
          }),
        ),
      )
      expect(new Set(made.map((row) => row?.id)).size).toBe(1)
      for (const each of stores) expect(await each.personKeys.find(alice)).toEqual(made[0])
    })

    test('the same id of another realm or tenant is somebody else, and hostile text is compared byte for byte', async () => {
      const [store] = stores
      if (store === undefined) throw new Error('no store')
      const people = [
        alice,
        { ...alice, realm: 'other' },
        { ...alice, tenant: 'other' },
        { ...alice, id: `'; DROP TABLE person_keys; --` },
        { ...alice, id: 'ALICE' },
        { ...alice, id: 'al\u0131ce\u202e"],["' },
      ]
      for (const [i, person] of people.entries())
        await store.personKeys.put({ id: `k${i}`, person, sealed: `s${i}`, at: 1 })
      for (const [i, person] of people.entries())
        expect(await store.personKeys.find(person)).toMatchObject({ id: `k${i}`, person })
      await expect(
        store.personKeys.put({ id: 'k9', person: { ...alice, id: 'a\ud800' }, sealed: 's', at: 1 }),
      ).rejects.toThrow('well-formed')
      const pages = [
        await store.personKeys.page('', 4),
        await store.personKeys.page('k3', 4),
        await store.personKeys.page('k5', 4),
      ]
      expect(pages.map((rows) => rows.map(({ id }) => id))).toEqual([
        ['k0', 'k1', 'k2', 'k3'],
        ['k4', 'k5'],
        [],
      ])
    })

    test('one that opens nothing is dropped, and another takes its place', async () => {
      const [store] = stores
      if (store === undefined) throw new Error('no store')
      const bob = { ...alice, id: 'bob' }
      await store.personKeys.put({ id: 'k1', person: alice, sealed: 's1', at: 1 })
      await store.personKeys.put({ id: 'k2', person: bob, sealed: 's2', at: 1 })
      await store.personKeys.drop('k1')
      await store.personKeys.drop('k1')
      expect(await store.personKeys.find(alice)).toBeNull()
      expect(await store.personKeys.find(bob)).toMatchObject({ id: 'k2' })
      await store.personKeys.put({ id: 'k3', person: alice, sealed: 's3', at: 2 })
      expect(await store.personKeys.find(alice)).toMatchObject({ id: 'k3', sealed: 's3' })
    })

    test('what nobody used for long is swept, and is sealed anew with everything else', async () => {
      const [store] = stores
      if (store === undefined) throw new Error('no store')
      const bob = { ...alice, id: 'bob' }
      await store.personKeys.put({ id: 'k1', person: alice, sealed: 's1', at: 10 })
      await store.personKeys.put({ id: 'k2', person: bob, sealed: 's2', at: 10 })
      await store.personKeys.used('k1', 50)
      await store.personKeys.used('k1', 40)
      expect(await store.personKeys.find(alice)).toMatchObject({ usedAt: 50 })
      await store.erase({ ...alice, id: 'gone' }, { name: 'hmac2:x', at: 10 })
      expect(await store.personKeys.sweep(50)).toBe(2)
      expect(await store.personKeys.find(bob)).toBeNull()
      expect(await store.personKeys.erasedAt('hmac2:x')).toBeNull()
      const [row] = await store.sealed.page(null, 10)
      expect(row).toMatchObject({ table: 'person_keys', id: 'k1', sealed: 's1' })
      if (row === undefined) throw new Error('no row')
      expect(await store.sealed.replace(row, 's1-new')).toBe(true)
      expect(await store.sealed.replace(row, 's1-late')).toBe(false)
      expect(await store.personKeys.find(alice)).toMatchObject({ sealed: 's1-new' })
    })
  })
})
