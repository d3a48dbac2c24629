// What is revoked again and what is not, to the moment; on both stores.
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createNames } from '../../proxy/audit/names.ts'
import type { CredentialRow, Store } from '../../proxy/model.ts'
import { replayRevocations } from '../../proxy/compose/replay.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { kinds } from '../support/postgres.ts'

const row = (user: string, id: string): CredentialRow => ({
  tenant: 't',
  realm: 'r',
  user,
  connection: 'acme',
  id,
  provider: 'acme',
  slot: 'default',
  accountId: user,
  account: user,
  host: null,
  status: 'active',
  generation: 1,
  scopes: [],
  sealed: 'jwe',
  expiresAt: null,
  storedAt: 1_000,
  lease: null,
  leaseUntil: null,
  unknownSince: null,
  coolUntil: null,
  coolError: null,
})
const person = (id: string) => ({ tenant: 't', realm: 'r', id })
let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'replay-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))
const line = (at: number, event: string, fields: object = {}): object => ({
  time: new Date(at).toISOString(),
  event,
  ...fields,
})
const evidence = (...of: readonly (object | string)[]): string => {
  const path = join(folder, `audit-${of.length}.jsonl`)
  const text = of.map((each, at) =>
    typeof each === 'string'
      ? each
      : `${JSON.stringify({ v: 1, proc: 'P', seq: at + 1, prev: '', ...each })}\n`,
  )
  writeFileSync(path, text.join(''))
  return path
}

for (const kind of await kinds())
  describe.skipIf(kind.skip)(`a replay on ${kind.name}`, () => {
    const open = async (): Promise<Store> => {
      const store = await (await kind.place()).open()
      for (const [user, at] of [
        ['alice', 5_000],
        ['bob', 5_000],
        ['late', 9_000],
      ] as const)
        for (const agent of ['one', 'two']) {
          const of = row(user, `c-${user}`)
          const grant = { tenant: 't', realm: 'r', user, connection: 'acme', agent, scopes: [], at }
          if (agent === 'one') await store.credentials.put(of, grant)
          else await store.grants.put(grant)
        }
      return store
    }

    test('people whom the evidence hides are told by the keys in the copy; one that nobody has there is said', async () => {
      const store = await open()
      const sealer = createSealer(parseKeyRing(newKeyRing(0, randomBytes)))
      const of = { clock: { now: () => 1 }, newId: randomUUID, randomBytes }
      const names = createNames({ store, sealer, ...of })
      try {
        const { id } = await names.of(person('bob'))
        const stranger = `hmac2:${'A'.repeat(43)}`
        const erased = (name: string) => line(6_000, 'person.erased', { user: person(name) })
        const begin = line(500, 'process.started', { after: [] })
        const file = evidence(begin, erased(id), erased(stranger))
        const blind = await replayRevocations(store, [file], 10_000, { strict: true })
        expect(blind.complaints.join()).toContain(id)
        expect(await store.credentials.byId('c-bob')).not.toBeNull()
        // Alice and late have no key: the stranger could be one of them.
        const seen = await replayRevocations(store, [file], 10_000, { strict: true, sealer })
        expect(seen.complaints.join()).toContain(stranger)
        expect(seen.complaints.join()).not.toContain(id)
        for (const each of ['alice', 'late']) await names.of(person(each))
        // Now whoever has no key in the copy came after it.
        const none = line(6_000, 'person.erased', { user: person('hmac2:nobody'), rows: {} })
        const known = evidence(begin, erased(id), erased(stranger), none, none)
        const done = await replayRevocations(store, [known], 10_000, { strict: true, sealer })
        expect([done.code, done.complaints]).toEqual([0, []])
        expect(await store.credentials.byId('c-bob')).toBeNull()
        expect(await store.personKeys.find(person('bob'))).toBeNull()
        expect(await store.credentials.byId('c-alice')).not.toBeNull()
      } finally {
        names.close()
        await store.close()
      }
    })

    test('a key that the ring does not open keeps nobody else from being told', async () => {
      const store = await open()
      const sealer = createSealer(parseKeyRing(newKeyRing(0, randomBytes)))
      const of = { clock: { now: () => 1 }, newId: randomUUID, randomBytes }
      const names = createNames({ store, sealer, ...of })
      try {
        const [bob, alice] = [await names.of(person('bob')), await names.of(person('alice'))]
        const lost = await store.personKeys.find(person('alice'))
        let row = null
        do row = (await store.sealed.page(row, 1))[0] ?? null
        while (row !== null && row.id !== lost?.id)
        if (row === null) throw new Error('no row')
        expect(await store.sealed.replace(row, 'lost')).toBe(true)
        const begin = line(500, 'process.started', { after: [] })
        const both = [bob, alice].map(({ id }) =>
          line(6_000, 'person.erased', { user: person(id) }),
        )
        const done = await replayRevocations(store, [evidence(begin, ...both)], 10_000, { sealer })
        expect(done.complaints.join()).toContain(alice.id)
        expect(done.complaints.join()).not.toContain(bob.id)
        expect(await store.credentials.byId('c-bob')).toBeNull()
        expect(await store.credentials.byId('c-alice')).not.toBeNull()
      } finally {
        names.close()
        await store.close()
      }
    })

    test('ends what was revoked, not what was granted after', async () => {
      const store = await open()
      try {
        const file = evidence(
          line(500, 'process.started', { after: [] }),
          line(6_000, 'connection.disconnected', {
            user: person('alice'),
            agent: { id: 'one' },
            connection: 'acme',
            credential: 'c-alice',
            result: 'agent',
          }),
          line(6_000, 'connection.revoked', {
            user: person('late'),
            credential: 'c-earlier',
            result: 'revoked',
          }),
          line(6_000, 'operator.erased', { user: person('late') }),
          line(6_000, 'operator.erased', { user: person('bob') }),
        )
        const done = await replayRevocations(store, [file], 10_000)
        expect(done.complaints).toEqual([])
        expect(done.printed[1]).toBe(
          'revoked again: 1 connections, 1 grants of single agents, 0 runs, 0 standings; switched off again: 0 agents; erased again: 1 people',
        )
        expect((await store.grants.list(person('alice'))).map(({ agent }) => agent)).toEqual([
          'two',
        ])
        expect(await store.credentials.byId('c-alice')).not.toBeNull()
        expect(await store.credentials.byId('c-bob')).toBeNull()
        expect(await store.credentials.byId('c-late')).not.toBeNull()
        expect(await store.grants.list(person('late'))).toHaveLength(2)
        // Sessions that began before are over; those that begin now are not.
        expect(await store.sessions.ended('any', 10_000 + 3_600_000)).toBe(true)
        expect(await store.sessions.ended('any', 10_001 + 3_600_000)).toBe(false)
      } finally {
        await store.close()
      }
    })

    test('switches agents off again that were off at the end, and none that was on', async () => {
      const store = await open()
      try {
        const of = (id: string, operator?: string) => ({
          agent: { id },
          tenant: null,
          ...(operator === undefined ? {} : { operator }),
        })
        const file = evidence(
          line(500, 'process.started', { after: [] }),
          line(6_000, 'agent.disabled', of('one')),
          line(6_000, 'agent.disabled', of('two', 'me')),
          line(7_000, 'agent.enabled', of('one')),
        )
        const done = await replayRevocations(store, [file], 10_000)
        expect(done.complaints).toEqual([])
        expect(done.printed[1]).toContain('switched off again: 1 agents')
        expect(await store.agents.off()).toEqual([
          { agent: 'two', tenant: null, at: 6_000, by: 'operator' },
        ])
      } finally {
        await store.close()
      }
    })

    test('carries nothing out where it is told to be whole and is not', async () => {
      const store = await open()
      try {
        const erased = line(6_000, 'operator.erased', { user: person('bob') })
        for (const [text, says] of [
          [
            [
              line(20_000, 'process.started', { after: [] }),
              line(21_000, 'operator.erased', { user: person('bob') }),
            ],
            /the evidence begins at/,
          ],
          [
            [line(500, 'process.started'), erased, line(7_000, 'signal.suspended')],
            /1 × signal\.suspended/,
          ],
          [[line(500, 'process.started'), erased, 'no json\n'], /is no line of the evidence/],
          [[], /there is no line/],
        ] as const) {
          const done = await replayRevocations(store, [evidence(...text)], 10_000, { strict: true })
          expect(done.code).toBe(1)
          expect(done.complaints.join('\n')).toMatch(says)
          expect(await store.credentials.byId('c-bob')).not.toBeNull()
        }
      } finally {
        await store.close()
      }
    })
  })
