import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  copyDatabase,
  foldDatabase,
  newFile,
  removeDatabase,
  settleDatabase,
} from '../../proxy/store/copy.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'

let folder = ''
let [vault, copy] = ['', '']
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-copy-'))
  ;[vault, copy] = [join(folder, 'deputy.db'), join(folder, 'copy.db')]
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const session = async (path: string, hash: string): Promise<boolean> => {
  const store = await openSqlite(path)
  try {
    return await store.sessions.ended(hash)
  } finally {
    await store.close()
  }
}

describe('a copy', () => {
  test('is of one moment, whole, for this user alone, while the vault is written', async () => {
    const store = await openSqlite(vault)
    await store.sessions.end('before', 9)
    const copying = copyDatabase(vault, copy)
    await copying
    await store.sessions.end('after', 9)
    await store.close()
    expect(fs.statSync(copy).mode & 0o777).toBe(0o600)
    settleDatabase(copy, 'the copy')
    expect([await session(copy, 'before'), await session(copy, 'after')]).toEqual([true, false])
    expect([await session(vault, 'before'), await session(vault, 'after')]).toEqual([true, true])
  })

  test('never overwrites a file, and says where it cannot be', async () => {
    await (await openSqlite(vault)).close()
    fs.writeFileSync(copy, 'precious')
    await expect(copyDatabase(vault, copy)).rejects.toThrow(`${copy} exists and is not overwritten`)
    expect(fs.readFileSync(copy, 'utf8')).toBe('precious')
    await expect(copyDatabase(vault, join(folder, 'none', 'copy.db'))).rejects.toThrow(
      /cannot be written \(ENOENT\)/,
    )
  })

  const other = (sql: string): void => {
    const db = new DatabaseSync(vault)
    db.exec(sql)
    db.close()
  }
  test.each<[string, () => void | Promise<void>, string]>([
    ['nothing', () => undefined, 'does not exist, or is no file'],
    ['a folder', () => fs.mkdirSync(vault), 'does not exist, or is no file'],
    ['a text', () => fs.writeFileSync(vault, 'x'.repeat(5_000)), 'is no SQLite database'],
    ['an empty file', () => fs.writeFileSync(vault, ''), 'it is empty'],
    ['another program’s database', () => other('CREATE TABLE a (b)'), 'of another program'],
    [
      'a newer deputy’s',
      async () => {
        await (await openSqlite(vault)).close()
        other('PRAGMA user_version = 9999')
      },
      'was written by a newer deputy (schema 9999',
    ],
  ])('of %s is none, and leaves no file', async (_name, make, why) => {
    await make()
    await expect(copyDatabase(vault, copy)).rejects.toThrow(why)
    expect(fs.existsSync(copy)).toBe(false)
  })
})

test('a new file is this user’s alone', () => {
  newFile(copy)
  expect(fs.statSync(copy).mode & 0o777).toBe(0o600)
  expect(() => newFile(copy)).toThrow('is not overwritten')
})

test('what is removed leaves nothing beside it', async () => {
  await (await openSqlite(vault)).close()
  for (const end of ['-wal', '-shm', '-journal', '-lock']) fs.writeFileSync(`${vault}${end}`, '')
  removeDatabase(vault)
  expect(fs.readdirSync(folder)).toEqual([])
  removeDatabase(vault)
})

describe('a database that nobody has open', () => {
  test('that is damaged is no copy, and is named', async () => {
    const store = await openSqlite(vault)
    for (let n = 0; n < 2_000; n += 1) await store.sessions.end(`session-${n}`, 9)
    await store.close()
    foldDatabase(vault)
    const bytes = fs.readFileSync(vault)
    bytes.fill(0xff, 8_192, bytes.length - 4_096)
    fs.writeFileSync(vault, bytes)
    expect(() => settleDatabase(vault, 'backup.db')).toThrow(
      /^backup\.db is damaged: .*Use another copy\./,
    )
  })
  test('has its changes in one file once they are folded', async () => {
    const db = new DatabaseSync(vault)
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE a (b); INSERT INTO a VALUES (1)')
    const wal = fs.readFileSync(`${vault}-wal`)
    expect(wal.length).toBeGreaterThan(0)
    db.close()
    foldDatabase(vault)
    expect(fs.existsSync(`${vault}-wal`) ? fs.statSync(`${vault}-wal`).size : 0).toBe(0)
  })
  test('that is damaged or not there stays as it is', () => {
    foldDatabase(vault)
    expect(fs.existsSync(vault)).toBe(false)
    fs.writeFileSync(vault, 'x'.repeat(5_000))
    foldDatabase(vault)
    expect(fs.readFileSync(vault, 'utf8')).toBe('x'.repeat(5_000))
  })
})
