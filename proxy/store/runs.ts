// Tokens of runs, by their hash.
import type { Store } from '../model.ts'
import type { Asking } from './asking.ts'
import type { Database } from './database.ts'
import { checked, filter, personOf, runOf } from './rows.ts'
import { NEVER } from './statements.ts'

export const createRuns = (db: Database, { sql, rows, row, hit }: Asking): Store['runs'] => ({
  insert: async (run) => {
    const connections = JSON.stringify(run.connections)
    const operations = run.operations === null ? null : JSON.stringify(run.operations)
    await db.query([sql.mint, checked({ ...run, connections, operations })])
  },
  byHash: (tokenHash) => row(sql.run, { tokenHash }, runOf),
  list: ({ id = null, tenant = null, realm = null, user = null, agent = null, most = NEVER }) => {
    const of = filter({ id, tenant, realm, user, agent })
    return rows(sql.runs(of), { ...of, most }, runOf)
  },
  revoke: (id, at) => hit(sql.revokeRun, { id, at }),
  sweep: async (before) => (await db.query([sql.sweepRuns, { before }])).length,
  erase: async (person) => (await db.query([sql.eraseRuns, personOf(person)])).length,
})
