// How the evidence names people under `hashed`: each by a key of their own, which goes with them.
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createNames, isHidden, nameOf, type Names } from '../../proxy/audit/names.ts'
import type { Person, Store } from '../../proxy/model.ts'
import { createSealer, newKeyRing, parseKeyRing, type Sealer } from '../../proxy/vault/seal.ts'
import { kinds } from '../support/postgres.ts'

const alice: Person = { tenant: 'acme', realm: 'corp', id: 'alice@example.com' }
const bob: Person = { ...alice, id: 'bob' }
const ringOf = (): Sealer => createSealer(parseKeyRing(newKeyRing(0, randomBytes)))

describe.each(await kinds())('names in the evidence: $name', ({ skip, place, ownClock }) => {
  describe.skipIf(skip)('of people', () => {
    const now = { ms: 1_000 }
    let stores: Store[]
    let sealer: Sealer
    let replicas: Names[]
    let made: number
    const open = (store: Pick<Store, 'personKeys' | 'subscribe'>, by = sealer): Names =>
      createNames({
        store,
        sealer: by,
        clock: { now: () => now.ms },
        newId: () => `k${made++}`,
        randomBytes,
      })
    const [first, second] = [() => stores[0] as Store, () => stores.at(-1) as Store]
    beforeEach(async () => {
      const at = await place()
      made = 0
      sealer = ringOf()
      stores = [await at.open()]
      if (ownClock) stores.push(await at.open())
      replicas = [open(first()), open(second())]
    })
    afterEach(async () => {
      for (const each of replicas) each.close()
      for (const each of stores) await each.close()
    })
    const [here, there] = [() => replicas[0] as Names, () => replicas[1] as Names]
    const rows = async (): Promise<number> => (await first().personKeys.page('', 100)).length

    test('all replicas give a person one name, however many ask at once; it is at hand afterwards', async () => {
      const all = await Promise.all(
        Array.from({ length: 40 }, async (_, i) => (i % 2 === 0 ? here() : there()).of(alice)),
      )
      const ids = new Set(all.map(({ id }) => id))
      expect([...ids]).toEqual([expect.stringMatching(/^hmac2:[\w-]{43}$/)])
      expect(await rows()).toBe(1)
      expect(here().of(alice)).not.toBeInstanceOf(Promise)
      const [row] = await first().personKeys.page('', 1)
      if (row === undefined) throw new Error('no row')
      expect((await nameOf(sealer, row)).id).toBe([...ids][0])
      // The row alone, moved to somebody else, opens nothing.
      await expect(nameOf(sealer, { ...row, person: bob })).rejects.toThrow('somebody')
    })

    test('nobody’s name tells another’s, and the same word is another under each key', async () => {
      const names = await Promise.all(
        [alice, bob, { ...alice, realm: 'x' }, { ...alice, tenant: 'x' }].map(async (one) =>
          here().of(one),
        ),
      )
      expect(new Set(names.map(({ id }) => id)).size).toBe(4)
      expect(new Set(names.map(({ mask }) => mask('segment', 'a@b'))).size).toBe(4)
      expect(names.every(({ id }) => isHidden(id))).toBe(true)
    })

    test('a stranger costs no row', async () => {
      for (let i = 0; i < 50; i++)
        expect(await here().known({ ...alice, id: `stranger-${i}` })).toBeNull()
      expect(await rows()).toBe(0)
      const { id } = await here().of(alice)
      expect(await there().known(alice)).toMatchObject({ id })
    })

    test('who is erased has no name any more, on any replica, and another one once they come back', async () => {
      const { id } = await here().of(alice)
      expect((await there().of(alice)).id).toBe(id)
      const other = await there().of(bob)
      await first().erase(alice, { name: id, at: 5 })
      await expect.poll(async () => await there().known(alice)).toBeNull()
      expect(await here().known(alice)).toBeNull()
      expect(await rows()).toBe(1)
      const back = await there().of(alice)
      expect(back.id).not.toBe(id)
      expect((await here().of(alice)).id).toBe(back.id)
      expect(await there().of(bob)).toMatchObject({ id: other.id })
      expect(await second().personKeys.erasedAt(id)).toBe(5)
    })

    test('what was being read while they were erased is not remembered', async () => {
      await here().of(alice)
      let go = (): void => {}
      const gate = new Promise<void>((resolve) => (go = resolve))
      let reads = 0
      const slow = open({
        subscribe: first().subscribe,
        personKeys: {
          ...first().personKeys,
          find: async (person) => {
            const row = await first().personKeys.find(person)
            if (reads++ === 0) await gate
            return row
          },
        },
      })
      replicas.push(slow)
      const before = slow.known(alice)
      await expect.poll(() => reads).toBe(1)
      await first().erase(alice)
      go()
      expect(await before).not.toBeNull()
      expect(await slow.known(alice)).toBeNull()
    })

    test('a store or a ring that does not give the key refuses the record, and heals', async () => {
      let away = true
      const find: Store['personKeys']['find'] = (person) =>
        away ? Promise.reject(new Error('gone')) : first().personKeys.find(person)
      const cut = open({
        subscribe: first().subscribe,
        personKeys: { ...first().personKeys, find },
      })
      replicas.push(cut)
      await expect(cut.of(alice)).rejects.toMatchObject({ code: 'audit_unavailable' })
      await expect(cut.known(alice)).rejects.toMatchObject({ code: 'audit_unavailable' })
      away = false
      expect((await cut.of(alice)).id).toMatch(/^hmac2:/)
      const other = open(first(), ringOf())
      replicas.push(other)
      await expect(other.of(alice)).rejects.toMatchObject({ code: 'audit_unavailable' })
    })

    test('a key that is in use is seen to be, at most once a day', async () => {
      await here().of(alice)
      now.ms += 3 * 86_400_000
      const late = open(first())
      replicas.push(late)
      await late.of(alice)
      expect(await first().personKeys.find(alice)).toMatchObject({ usedAt: now.ms })
    })
  })
})
