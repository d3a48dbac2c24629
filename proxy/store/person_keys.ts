// The keys under which the evidence names people, each sealed under the ring; and the names of those who were erased.
import type { PersonKeyRow, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Raw } from './database.ts'
import { checked, personOf } from './rows.ts'

const rowOf = (raw: Raw): PersonKeyRow => ({
  id: String(raw['id']),
  person: {
    tenant: String(raw['tenant']),
    realm: String(raw['realm']),
    id: String(raw['user']),
  },
  sealed: String(raw['sealed']),
  usedAt: Number(raw['usedAt']),
})

export const createPersonKeys = (
  db: Database,
  { sql, rows, row }: Asking,
): Store['personKeys'] => ({
  find: async (person) => row(sql.personKey, personOf(person), rowOf),
  put: async ({ id, person, sealed, at }) => {
    const kept = checked({ ...personOf(person), id, sealed, at, usedAt: at })
    await db.query([sql.keepPersonKey, kept])
    return row(sql.personKey, personOf(person), rowOf)
  },
  used: async (id, at) => void (await db.query([sql.personKeyUsed, { id, at }])),
  drop: async (id) => void (await db.query([sql.dropPersonKey, { id }])),
  page: (after, most) => rows(sql.personKeys, { after, most }, rowOf),
  erasedAt: async (hash) => row(sql.erasedName, { hash }, (raw) => Number(raw['at'])),
  sweep: async (before) => {
    const keys = await db.query([sql.sweepPersonKeys, { before }])
    const names = await db.query([sql.sweepErasedNames, { before }])
    return keys.length + names.length
  },
})
