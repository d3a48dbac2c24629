import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test, vi } from 'vitest'
import type { CredentialRow, GrantRow } from '../../proxy/model.ts'
import { openSqlite } from '../../proxy/store/sqlite.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { credential, owner } from './fixture.ts'

const folder = (): string => mkdtempSync(join(tmpdir(), 'sqlite-'))
const row: CredentialRow = {
  ...credential,
  sealed: 'sealed-text-to-be-wiped',
  clientId: null,
  refusedSince: null,
  refusedTimes: null,
  doubtfulSince: null,
}
const grant: GrantRow = { ...owner, agent: 'triage', scopes: [], at: 1 }
const moduleUrl = new URL('../../proxy/store/sqlite.ts', import.meta.url).href
const holder = (path: string): string =>
  `const { openSqlite } = await import(${JSON.stringify(moduleUrl)}); await openSqlite(${JSON.stringify(path)}); process.stdout.write('held'); setInterval(() => {}, 1000)`

describe('the SQLite file', () => {
  test('is readable by its owner only, also its log, also when it was open to others before', async () => {
    const path = join(folder(), 'deputy.db')
    writeFileSync(path, '')
    chmodSync(path, 0o666)
    const store = await openSqlite(path)
    await store.credentials.put(row, grant)
    for (const name of readdirSync(join(path, '..')))
      expect([name, statSync(join(path, '..', name)).mode & 0o777]).toEqual([name, 0o600])
    await store.close()
  })

  test('keeps what was stored over a restart', async () => {
    const path = join(folder(), 'deputy.db')
    const first = await openSqlite(path)
    await first.credentials.put(row, grant)
    await first.close()
    const second = await openSqlite(path)
    expect(await second.credentials.byId('c1')).toEqual(row)
    await second.close()
  })

  test('holds no trace of a removed secret once it is closed', async () => {
    const path = join(folder(), 'deputy.db')
    const store = await openSqlite(path)
    await store.credentials.put(row, grant)
    await store.credentials.remove('c1')
    await store.close()
    for (const name of readdirSync(join(path, '..')))
      expect(readFileSync(join(path, '..', name)).includes('sealed-text-to-be-wiped')).toBe(false)
  })

  test.skipIf(NO_MOUNT !== null)(
    `is not ready while its disk is full${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
    async () => {
      const dir = folder()
      const mounted = mount('-t', 'tmpfs', '-o', 'size=1m', 'none', dir)
      try {
        const store = await openSqlite(join(dir, 'deputy.db'))
        await store.check()
        const filler = openSync(join(dir, 'filler'), 'w')
        expect(() => {
          for (;;) writeSync(filler, Buffer.alloc(4_096))
        }).toThrow(/ENOSPC/)
        closeSync(filler)
        await vi.waitFor(() => expect(store.check()).rejects.toThrow(/cannot be written: .*full/), {
          timeout: 30_000,
          interval: 500,
        })
        rmSync(join(dir, 'filler'))
        await vi.waitFor(() => store.check(), { timeout: 30_000, interval: 500 })
        await store.close()
      } finally {
        mounted()
      }
    },
  )

  test('marks refreshes that a crash cut off as perhaps answered', async () => {
    const path = join(folder(), 'deputy.db')
    const first = await openSqlite(path)
    await first.credentials.put(row, grant)
    await first.credentials.lease('c1', 1, 'L1', { now: 1_000, until: 61_000 })
    await first.close()
    const warnings: object[] = []
    const log = {
      debug: () => {},
      info: () => {},
      error: () => {},
      warn: (fields: object) => void warnings.push(fields),
    }
    const second = await openSqlite(path, { log })
    expect(warnings).toEqual([{ path, refreshes: 1 }])
    expect(await second.credentials.byId('c1')).toMatchObject({ lease: null, unknownSince: 61_000 })
    expect(
      await second.credentials.lease('c1', 1, 'L2', { now: 2_000, until: 62_000 }),
    ).toMatchObject({
      lease: 'L2',
    })
    await second.close()
  })

  test('is refused while another process has it, and free as soon as that one is killed', async () => {
    const path = join(folder(), 'deputy.db')
    const child = spawn(process.execPath, ['--input-type=module', '-e', holder(path)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const gone = new Promise((resolve) => child.once('exit', resolve))
    try {
      await new Promise((resolve) => child.stdout.once('data', resolve))
      await expect(openSqlite(path)).rejects.toThrow(
        /deputy\.db is in use by another process\. Stop it/,
      )
    } finally {
      child.kill('SIGKILL')
      await gone
    }
    await (await openSqlite(path)).close()
  })

  test('is refused with a clear sentence when it is none of ours', async () => {
    const dir = folder()
    writeFileSync(
      join(dir, 'text.db'),
      'just a text that is long enough to be looked at. '.repeat(30),
    )
    await expect(openSqlite(join(dir, 'text.db'))).rejects.toThrow(/text\.db is not a database/)
    const foreign = new DatabaseSync(join(dir, 'foreign.db'))
    foreign.exec('CREATE TABLE t (a)')
    foreign.close()
    await expect(openSqlite(join(dir, 'foreign.db'))).rejects.toThrow(/database of another program/)
    await expect(openSqlite(join(dir, 'none', 'deputy.db'))).rejects.toThrow(
      /its folder does not exist/,
    )
    mkdirSync(join(dir, 'folder'))
    await expect(openSqlite(join(dir, 'folder'))).rejects.toThrow(/is a folder/)
  })

  test('is refused when a newer deputy wrote it, and left as it was', async () => {
    const path = join(folder(), 'deputy.db')
    await (await openSqlite(path)).close()
    const newer = new DatabaseSync(path)
    newer.exec('PRAGMA user_version = 99')
    newer.close()
    await expect(openSqlite(path)).rejects.toThrow(/newer deputy \(schema 99, this one knows \d+\)/)
    const after = new DatabaseSync(path)
    expect(after.prepare('PRAGMA user_version').get()).toEqual({ user_version: 99 })
    after.close()
  })

  test('is refused when it cannot be written', async () => {
    const dir = folder()
    const path = join(dir, 'deputy.db')
    await (await openSqlite(path)).close()
    chmodSync(path, 0o444)
    chmodSync(dir, 0o555)
    const script = `const { openSqlite } = await import(${JSON.stringify(moduleUrl)}); await openSqlite(${JSON.stringify(path)}).then(() => process.stdout.write('opened'), (error) => process.stdout.write(error.message))`
    const root = process.getuid?.() === 0
    if (root) chmodSync(dir, 0o755)
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      cwd: '/',
      ...(root ? { uid: 65_534, gid: 65_534 } : {}),
    })
    chmodSync(dir, 0o755)
    expect(stdout).toContain('cannot be written')
  })
})
