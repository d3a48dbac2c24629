// The embedded store: one SQLite file, written by one process. Opening it is in migrations.ts.
import { statSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import type { Log, Store } from '../model.ts'
import { createSubscribers } from './events.ts'
import { openDatabase } from './migrations.ts'
import type { OpenFile } from './migrations.ts'
import { createTables } from './tables.ts'
import type { Database, Raw, Statement, Tell, Work } from './database.ts'

/**
 * Opens the file and takes it for this process. Throws an Error that names the file and what to do.
 */
export const openSqlite = async (
  path: string,
  options: { readonly log?: Log } = {},
): Promise<Store> =>
  createTables(createDatabase(openDatabase(path, options.log), path, options.log))

const inode = (path: string): bigint | undefined =>
  statSync(path, { bigint: true, throwIfNoEntry: false })?.ino

/** What every database begins with (SQLite file format 1.3). */
const MAGIC = 'SQLite format 3\0'
/**
 * A reader keeps the log of changes from being emptied, so it is tried this often and this long
 * (ms).
 */
const [EMPTY_TIMES, EMPTY_MS] = [20, 500]

const createDatabase = ({ db, beginning, close }: OpenFile, path: string, log?: Log): Database => {
  const ours = inode(path)
  /** What is written into a file that has no name any more is lost when this process ends. */
  const present = (): void => {
    if (inode(path) !== ours)
      throw new Error(
        `vault.store: ${path} was removed or replaced while deputy runs: nothing is written any more. Put the file back, or end deputy first when you restore a backup.`,
      )
  }
  const subscribers = createSubscribers(log)
  const prepared = new Map<string, StatementSync>()
  const all = ([sql, params]: Statement): readonly Raw[] => {
    const known = prepared.get(sql) ?? db.prepare(sql)
    prepared.set(sql, known)
    return known.all(params as Record<string, SQLInputValue>)
  }

  /** Never pauses between its statements, so no other caller gets in between. */
  const atomically = <T>(work: Work<T>): T => {
    present()
    db.exec('BEGIN IMMEDIATE')
    try {
      let step = work.next()
      while (step.done !== true) step = work.next(all(step.value))
      db.exec('COMMIT')
      return step.value
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }

  // `async` so that a failing statement is a rejection, as with a store over the network.
  return {
    now: ':now',
    holder: () => null,
    // Nobody else has the file, and what this process still asks for is known to it (`flights` of
    // tokens/refresh).
    dead: 'TRUE',
    serialise: () => [],
    query: async (statement) => {
      present()
      return all(statement)
    },
    transact: async (work) => {
      const told: (readonly [topic: string, key: string])[] = []
      const tell: Tell = (topic, key) => void told.push([topic, key])
      const result = atomically(work(tell))
      for (const [topic, key] of told) subscribers.tell(topic, key)
      return result
    },
    publish: async (topic, key) => subscribers.tell(topic, key),
    subscribe: subscribers.subscribe,
    intact: () => {
      present()
      if (beginning(MAGIC.length) !== MAGIC)
        throw new Error(
          `vault.store: ${path} is no SQLite database any more: something else wrote to it. End deputy and restore a backup.`,
        )
    },
    // Deleted rows are overwritten (secure_delete), in the log of changes too once that is empty.
    forget: async () => {
      db.exec('PRAGMA busy_timeout = 0')
      try {
        for (let times = 0; times < EMPTY_TIMES; times += 1) {
          if (db.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy'] === 0) return
          await pause(EMPTY_MS)
        }
      } finally {
        db.exec('PRAGMA busy_timeout = 2000')
      }
      throw new Error(
        `vault.store: somebody reads ${path} and keeps its -wal file from being emptied, in which what was erased still stands: end that reader and erase again.`,
      )
    },
    close: async () => close(),
  }
}
