// How the tables ask their database.
import type { Database, Params, Raw } from './database.ts'
import { checked, first } from './rows.ts'
import { statements } from './statements.ts'

export type Asking = ReturnType<typeof createAsking>

export const createAsking = (db: Database) => {
  const sql = statements(db.now, db.dead)
  /** The caller's clock, where leases run by it. */
  const at = (now: number): Params => (db.now === ':now' ? { now } : {})
  const rows = async <T>(
    text: string,
    params: Params,
    of: (raw: Raw) => T,
  ): Promise<readonly T[]> => (await db.query([text, checked(params)])).map(of)
  const row = async <T>(text: string, params: Params, of: (raw: Raw) => T): Promise<T | null> =>
    first(await db.query([text, checked(params)]), of)
  const hit = async (text: string, params: Params): Promise<boolean> =>
    (await db.query([text, checked(params)])).length > 0
  let known: string | null = null
  const pseudonymKey = async (): Promise<string> =>
    (known ??= String((await db.query([sql.pseudonyms, {}]))[0]?.['key']))
  return { sql, at, rows, row, hit, pseudonymKey }
}
