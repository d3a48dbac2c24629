// All that is kept of a person is given and erased: the schema itself says what there is.
import { DatabaseSync } from 'node:sqlite'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Person, Store } from '../../proxy/model.ts'
import { HELD } from '../../proxy/store/personal.ts'
import { pseudonym } from '../../proxy/store/pseudonym.ts'
import { kinds, type Place } from '../support/postgres.ts'

type Column = {
  readonly table: string
  readonly column: string
  readonly text: boolean
  readonly needed: boolean
}
const zoe: Person = { tenant: 'acme', realm: 'corp', id: 'zoe-erased' }
const PERSONAL = Object.entries(HELD).flatMap(([table, held]) =>
  held.holds === 'person' ? [{ table, ...held }] : [],
)
const FITS: Readonly<Record<string, string | number>> = {
  tenant: zoe.tenant,
  realm: zoe.realm,
  user_id: zoe.id,
  status: 'pending',
  kind: 'approval',
  outcome: 'stored',
  generation: 1,
  reauthorization: 1,
  given: '[]',
  scopes: '["repo"]',
  connections: '[]',
  operations: '[]',
  needs: '[]',
  amr: '[]',
}
const OWN: Readonly<Record<string, Readonly<Record<string, string | number>>>> = {
  credentials: { status: 'active', id: 'c-zoe' },
  refresh_journal: { credential: 'c-zoe' },
  scim_resources: {
    kind: 'User',
    id: 'scim-1',
    name: zoe.id,
    exact: zoe.id,
    body: '{"userName":"zoe-erased"}',
  },
  scim_members: { group_id: 'g-1', member_id: 'scim-1' },
}

const ask = async ({ where }: Place, text: string): Promise<readonly Record<string, unknown>[]> => {
  if (where.startsWith('sqlite:')) {
    const db = new DatabaseSync(where.slice('sqlite:'.length))
    try {
      return db.prepare(text).all()
    } finally {
      db.close()
    }
  }
  const client = new Client(where)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}
const columnsOf = async (at: Place): Promise<readonly Column[]> => {
  const rows = await ask(
    at,
    at.where.startsWith('sqlite:')
      ? `SELECT m.name AS "table", c.name AS "column", c.type = 'TEXT' AS text, c."notnull" AS needed FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`
      : `SELECT table_name AS "table", column_name AS "column", data_type = 'text' AS text, is_nullable = 'NO' AS needed FROM information_schema.columns WHERE table_schema = 'public'`,
  )
  return rows.map((row) => ({
    table: String(row['table']),
    column: String(row['column']),
    text: Boolean(row['text']),
    needed: Boolean(row['needed']),
  }))
}

describe.each(await kinds())('what is kept of people: $name', ({ skip, place }) => {
  describe.skipIf(skip)('of whom a table is', () => {
    let at: Place
    let store: Store
    beforeEach(async () => {
      at = await place()
      store = await at.open()
    })
    afterEach(() => store.close())

    /** A row of this person in every table that has any. */
    const fill = async (): Promise<void> => {
      await store.close()
      const key = String((await ask(at, 'SELECT key FROM pseudonyms'))[0]?.['key'])
      const columns = await columnsOf(at)
      const order = ['credentials', 'scim_resources']
      for (const { table } of PERSONAL.toSorted(
        (a, b) => order.indexOf(b.table) - order.indexOf(a.table),
      )) {
        const own: Readonly<Record<string, string | number>> = {
          ...FITS,
          person: pseudonym(key, zoe),
          ...OWN[table],
        }
        const given = columns.filter(
          (one) => one.table === table && (one.needed || one.column in own),
        )
        const names = given.map(({ column }) => column).join(', ')
        const values = given.map(({ column, text }) => own[column] ?? (text ? `zoe ${column}` : 7))
        const marks = given.map((_, i) => `$${i + 1}`).join(', ')
        await insert(table, names, marks, values)
      }
      store = await at.open()
    }
    const insert = async (
      table: string,
      names: string,
      marks: string,
      values: readonly (string | number)[],
    ): Promise<void> => {
      const text = values.reduce<string>(
        (sql, value, i) =>
          sql.replace(
            new RegExp(`\\$${i + 1}(?!\\d)`),
            typeof value === 'number' ? String(value) : `'${value}'`,
          ),
        marks,
      )
      await at.sql(`INSERT INTO ${table} (${names}) VALUES (${text})`)
    }

    test('every table and every column says so', async () => {
      await store.close()
      const columns = await columnsOf(at)
      store = await at.open()
      const tables = [...new Set(columns.map(({ table }) => table))]
      expect(tables.length).toBeGreaterThan(15)
      for (const table of tables) {
        const held = HELD[table]
        expect(
          held,
          `${table} is not in HELD of proxy/store/personal.ts: say whether it holds people, what of it they are given, and how it is erased`,
        ).toBeDefined()
        if (held?.holds !== 'person') continue
        expect([...held.told, ...held.untold].toSorted(), table).toEqual(
          columns
            .filter((one) => one.table === table)
            .map(({ column }) => column)
            .toSorted(),
        )
      }
    })

    test('a person is given all that is theirs, and no secret, and of it nothing is left', async () => {
      expect(await store.kept(zoe)).toEqual({})
      await fill()
      const kept = await store.kept(zoe)
      expect(Object.keys(kept).toSorted()).toEqual(PERSONAL.map(({ table }) => table).toSorted())
      for (const { table, untold } of PERSONAL)
        for (const name of untold) expect(JSON.stringify(kept[table])).not.toContain(`"${name}"`)
      expect(JSON.stringify(kept)).not.toMatch(/zoe (?:sealed|token_hash|nonce|held|key)/)
      expect(kept['credentials']).toMatchObject([
        { id: 'c-zoe', scopes: ['repo'], stored_at: '1970-01-01T00:00:00.007Z' },
      ])
      expect(kept['scim_resources']).toMatchObject([{ body: { userName: zoe.id } }])
      for (const other of [
        { ...zoe, realm: 'other' },
        { ...zoe, tenant: 'other' },
        { ...zoe, id: 'Zoe-erased' },
      ])
        expect(await store.kept(other)).toEqual({})

      const heard: string[] = []
      store.subscribe('person_key', (key) => void heard.push(key))
      await store.erase({ ...zoe, realm: 'other' })
      expect(Object.keys(await store.kept(zoe))).toHaveLength(PERSONAL.length)
      await store.credentials.remove('c-zoe')
      await store.erase(zoe, { name: 'hmac2:zz', at: 5 })
      expect(Object.keys(await store.kept(zoe))).toEqual(['person_epochs'])
      expect(await at.dump()).not.toContain('zoe')
      expect(heard).toContain(JSON.stringify([zoe.tenant, zoe.realm, zoe.id]))
      expect(await store.personKeys.erasedAt('hmac2:zz')).toBe(5)
      // What was cut off is done by whoever asks again.
      await store.erase(zoe, { name: null, at: 6 })
      expect(await store.personKeys.erasedAt('hmac2:zz')).toBe(5)
    })

    test('which attribute of SCIM is the person is said, and nobody else is taken for them', async () => {
      await store.close() // one process has the file
      await at.sql(
        `INSERT INTO scim_resources (tenant, realm, kind, id, name, exact, external_id, version, body, created_at, changed_at) VALUES ('acme', 'corp', 'User', 'zoe-erased', 'someone', 'someone', 'ext', 1, '{}', 1, 1)`,
      )
      store = await at.open()
      expect(await store.kept(zoe, 'userName')).toEqual({})
      expect(await store.kept({ ...zoe, id: 'ext' }, 'userName')).toEqual({})
      expect(Object.keys(await store.kept({ ...zoe, id: 'ext' }, 'externalId'))).toEqual([
        'scim_resources',
      ])
      expect(Object.keys(await store.kept(zoe, 'id'))).toEqual(['scim_resources'])
    })

    test('sessions of whoever is erased are over; those that they begin later, and those of others, are not', async () => {
      await store.erase(zoe, { sessionsUntil: 100 })
      expect(await store.sessions.ended('s1', 100, zoe)).toBe(true)
      expect(await store.sessions.ended('s1', 101, zoe)).toBe(false)
      expect(await store.sessions.ended('s1', 100, { ...zoe, realm: 'other' })).toBe(false)
      expect(await store.sessions.ended('s1', 100)).toBe(false)
      await store.erase(zoe, { sessionsUntil: 200 })
      expect(await store.sessions.ended('s1', 150, zoe)).toBe(true)
      expect(await store.sessions.sweep(201)).toBe(1)
      expect(await store.sessions.ended('s1', 150, zoe)).toBe(false)
    })

    test('a tenant tells everybody of it in order, and what is its own goes', async () => {
      const grant = { connection: 'github', agent: 'triage', scopes: [], at: 1, lastUsedAt: null }
      for (const [tenant, realm, user] of [
        ['acme', 'b', 'x'],
        ['acme', 'a', 'y'],
        ['acme', 'a', 'x'],
        ['else', 'a', 'x'],
      ] as const)
        await store.grants.put({ ...grant, tenant, realm, user })
      await store.personKeys.put({
        id: 'k1',
        person: { tenant: 'acme', realm: 'c', id: 'z' },
        sealed: 's',
        at: 1,
      })
      const of = (people: readonly Person[]) => people.map(({ realm, id }) => `${realm}/${id}`)
      expect(of(await store.tenants.people('acme', null, 2))).toEqual(['a/x', 'a/y'])
      expect(of(await store.tenants.people('acme', { realm: 'a', id: 'y' }, 9))).toEqual([
        'b/x',
        'c/z',
      ])
      await store.agents.disable({ agent: 'triage', tenant: 'acme', at: 1, by: 'operator' })
      await store.agents.disable({ agent: 'triage', tenant: null, at: 1, by: 'operator' })
      expect(await store.tenants.erase('acme')).toEqual({ scim: 0, agents: 1 })
      expect(await store.agents.off()).toMatchObject([{ tenant: null }])
    })
  })
})
