// Which store `vault.store` names. PostgreSQL's client is loaded only where it is used.
import type { Log, Store } from '../model.ts'
import { openSqlite } from './sqlite.ts'

/**
 * @param at resolves a path of the configuration
 * @throws Error that says what is wrong with the database, and what to do
 */
export const openStore = async (
  name: string,
  at: (path: string) => string,
  log: Log,
): Promise<Store> =>
  name.startsWith('sqlite:')
    ? openSqlite(at(name.slice('sqlite:'.length)), { log })
    : (await import('./postgres.ts')).openPostgres(name, { log })
