// Copies of the embedded store's file: made while somebody writes it, whole, for this user alone.
import { closeSync, existsSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs'
import { backup, DatabaseSync } from 'node:sqlite'
import { messageOf } from '../problem.ts'
import { APPLICATION_ID, explain, SCHEMA } from './migrations.ts'

/** Every page in one step: the copy is of one moment, and no writer makes it begin again. */
const ALL_PAGES = 2_147_483_647
const BESIDE = ['-wal', '-shm', '-journal', '-lock']

/** Removes a database that nobody has open, and what SQLite keeps beside it. */
export const removeDatabase = (path: string): void => {
  for (const end of ['', ...BESIDE]) rmSync(`${path}${end}`, { force: true })
}

const number = (db: DatabaseSync, pragma: string): number =>
  Number(Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0])

const failure = (error: unknown): { readonly code: number; readonly text: string } => ({
  code: ((error as { errcode?: number }).errcode ?? 0) & 255,
  text: messageOf(error),
})

/** A new file of mode 0600. Throws an Error that says why there is none. */
export const newFile = (path: string): void => {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new Error(
      code === 'EEXIST'
        ? `${path} exists and is not overwritten: name another file.`
        : `${path} cannot be written (${code}): name a file in a folder that exists and may be written.`,
      { cause: error },
    )
  }
}

/**
 * Copies a vault to a new file while others read and write it; on the thread pool, so that calls go on meanwhile.
 * Throws an Error that names the file at fault; then nothing is left of the copy.
 */
export const copyDatabase = async (from: string, to: string): Promise<void> => {
  if (statSync(from, { throwIfNoEntry: false })?.isFile() !== true)
    throw new Error(`${from} does not exist, or is no file.`)
  const open = (): DatabaseSync => {
    let db: DatabaseSync | null = null
    try {
      db = new DatabaseSync(from, { readOnly: true, timeout: 2_000 })
      if (number(db, 'schema_version') === 0) throw new Error('it is empty')
    } catch (error) {
      db?.close()
      const { code, text } = failure(error)
      throw new Error(
        code === 26 ? `${from} is no SQLite database.` : `${from} cannot be read: ${text}.`,
        { cause: error },
      )
    }
    return db
  }
  const db = open()
  try {
    if (number(db, 'application_id') !== APPLICATION_ID)
      throw new Error(`${from} is no vault of deputy: it is a database of another program.`)
    const version = number(db, 'user_version')
    if (version > SCHEMA)
      throw new Error(
        `${from} was written by a newer deputy (schema ${version}, this one knows ${SCHEMA}): use that version.`,
      )
    newFile(to)
    try {
      await backup(db, to, { rate: ALL_PAGES })
    } catch (error) {
      removeDatabase(to)
      const { code, text } = failure(error)
      const why = code === 13 ? 'the disk is full' : text
      throw new Error(`${from} could not be copied to ${to}: ${why}.`, { cause: error })
    }
  } finally {
    db.close()
  }
}

/** Makes one file of a database that nobody has open, and proves it whole. Throws an Error that names `of`. */
export const settleDatabase = (path: string, of: string): void => {
  const db = new DatabaseSync(path, { timeout: 2_000 })
  try {
    db.exec('PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL')
    const found = db
      .prepare('PRAGMA integrity_check')
      .all()
      .map((row) => row['integrity_check'])
    if (found[0] !== 'ok') throw new Error(String(found[0]))
  } catch (error) {
    throw new Error(`${of} is damaged: ${failure(error).text}. Use another copy.`, { cause: error })
  } finally {
    db.close()
  }
  rmSync(`${path}-lock`, { force: true })
  const fd = openSync(path, 'r+')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Folds the log of changes into the file where that can be done; what is damaged stays as it is. */
export const foldDatabase = (path: string): void => {
  if (!existsSync(path)) return
  let db: DatabaseSync | null = null
  try {
    db = new DatabaseSync(path, { timeout: 2_000 })
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  } catch (error) {
    const { code } = failure(error)
    if (code !== 11 && code !== 26) throw explain(path, error)
  } finally {
    db?.close()
  }
}
