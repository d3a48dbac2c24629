// Signals that were taken: each counts once, on whichever replica it came in.
import type { Person, Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Work } from './database.ts'
import { checked, personOf } from './rows.ts'

export const createSignals = (db: Database, { sql, hit }: Asking): Store['signals'] => ({
  taken: (hash) => hit(sql.signalTaken, { hash }),
  take: ({ hash, at, tell: keys }) =>
    db.transact(function* (tell): Work<boolean> {
      if ((yield [sql.takeSignal, checked({ hash, at })]).length === 0) return false
      for (const key of keys) tell('signal', key)
      return true
    }),
  sweep: async (before) => (await db.query([sql.sweepSignals, { before }])).length,
})

export const createIssuerSessions = (db: Database, { sql }: Asking): Store['issuerSessions'] => ({
  remember: async ({ hash, person, at }) =>
    void (await db.query([sql.rememberSession, { ...personOf(person), hash, at }])),
  who: async (hash) =>
    (await db.query([sql.sessionOf, { hash }])).map(({ tenant, realm, id }): Person => ({
      tenant: String(tenant),
      realm: String(realm),
      id: String(id),
    })),
  sweep: async (before) => (await db.query([sql.sweepIssuerSessions, { before }])).length,
})
