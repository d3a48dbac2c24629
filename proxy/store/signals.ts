// Signals that were taken: each counts once, on whichever replica it came in.
import type { Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database, Work } from './database.ts'
import { checked } from './rows.ts'

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
