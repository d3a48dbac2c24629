// Copies of the vault, by the real command: made under load, put back, and nobody who was revoked comes back.
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { newKeyRing } from '../../proxy/vault/seal.ts'
import { PEOPLE, prepareFolder, startChild } from '../support/deputy.ts'
import type { Child, Held } from '../support/deputy.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { seedStore } from '../support/copies.ts'
import { missingDump, startDumping } from '../support/dump.ts'
import { postgres } from '../support/postgres.ts'
import { lines, sendRaw } from '../support/raw.ts'
import type { RawAnswer } from '../support/raw.ts'
import { startUpstream } from '../support/upstream.ts'
import type { Upstream } from '../support/upstream.ts'

const CROWD = Array.from({ length: 8 }, (_, n) => `p${n}`)
const NAMES = ['alice', 'bob', 'carol', 'dave', 'erin', ...CROWD]
const people = [...PEOPLE, ...NAMES.map((id) => ({ id, groups: ['staff'] }))].filter(
  ({ id }, at, all) => all.findIndex((other) => other.id === id) === at,
)
let upstream: Upstream
const spent = new Map<string, number>()
beforeAll(async () => {
  upstream = await startUpstream()
  upstream.token = (form, res) => {
    // Rotates, and refuses what was spent.
    const [, name = '', n = ''] = (form.get('refresh_token') ?? form.get('token') ?? '').split('-')
    const good = (spent.get(name) ?? 1) === Number(n)
    if (good) {
      spent.set(name, Number(n) + 1)
      upstream.people.set(`at-${name}-${Number(n) + 1}`, name)
    }
    const next = {
      access_token: `at-${name}-${Number(n) + 1}`,
      refresh_token: `rt-${name}-${Number(n) + 1}`,
    }
    res.writeHead(good ? 200 : 400, { 'content-type': 'application/json' })
    res.end(
      JSON.stringify(
        good ? { ...next, token_type: 'Bearer', expires_in: 2 } : { error: 'invalid_grant' },
      ),
    )
  }
})
afterAll(() => upstream.close())
const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end()
})

const held = (person: string, expiresIn: number): Held => ({
  person,
  token: `at-${person}-1`,
  refresh: `rt-${person}-1`,
  expiresIn,
  agedMs: 3_600_000,
})
const HELD = [
  ...['alice', 'carol', 'dave', 'erin'].map((person) => held(person, 100_000)),
  ...['bob', ...CROWD].map((person) => held(person, 1)),
]
const folder = async (config: object = {}): Promise<string> => {
  spent.clear()
  for (const name of NAMES) upstream.people.set(`at-${name}-1`, name)
  const dir = await prepareFolder({
    upstream: upstream.origin,
    held: HELD,
    people,
    config: { ...config },
  })
  ends.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
const serve = async (dir: string): Promise<Child> => {
  const child = await startChild({ upstream: upstream.origin }, dir)
  ends.push(() => child.stop())
  return child
}
const call = (deputy: Pick<Child, 'agent'>, user: string): Promise<RawAnswer> =>
  sendRaw(
    deputy.agent,
    lines(
      'GET /api.acme.test/a HTTP/1.1',
      `Host: ${new URL(deputy.agent).host}`,
      `Deputy-User: ${user}`,
    ),
  )
const verdict = async (deputy: Pick<Child, 'agent'>, user: string): Promise<unknown> => {
  const answer = await call(deputy, user)
  return answer.status === 200 ? answer.json['login'] : answer.headers.get('deputy-answer')?.[0]
}
type Ran = { readonly code: number; readonly said: string }
const run = (dir: string, ...args: readonly string[]): Promise<Ran> =>
  new Promise((resolve) => {
    const command = fileURLToPath(new URL('../../bin/deputy.js', import.meta.url))
    const child = execFile(
      process.execPath,
      [command, ...args, '--config', join(dir, 'deputy.yaml')],
      { cwd: dir, env: { PATH: process.env['PATH'] ?? '' } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, said: stdout + stderr }),
    )
  })
const digest = (path: string): string =>
  createHash('sha256').update(readFileSync(path)).digest('hex')

test('a copy is made while others refresh, and put back without those who were revoked since', async () => {
  const dir = await folder()
  const first = await serve(dir)
  const loading = { goes: true }
  const wrong: unknown[] = []
  const load = CROWD.map(async (name) => {
    while (loading.goes) {
      const seen = await verdict(first, name)
      if (seen !== name) wrong.push([name, seen])
    }
  })
  expect(await verdict(first, 'bob')).toBe('bob')
  const before = upstream.refreshes.length
  const copy = join(dir, 'copy.db')
  const made = await run(dir, 'vault', 'backup', copy)
  expect(made).toMatchObject({ code: 0 })
  expect(made.said).toMatch(/copy\.db: 13 connections, whole, opened by the key ring/)
  await expect.poll(() => upstream.refreshes.length).toBeGreaterThan(before + CROWD.length)
  expect(statSync(copy).mode & 0o777).toBe(0o600)
  expect(readdirSync(dir).filter((name) => name.startsWith('copy.db'))).toEqual(['copy.db'])
  const bytes = digest(copy)
  const twice = await run(dir, 'vault', 'backup', copy)
  expect(twice.said).toMatch(/copy\.db exists and is not overwritten/)
  expect([twice.code, digest(copy)]).toEqual([1, bytes])

  // Any reader gets in beside us.
  const reader = new DatabaseSync(join(dir, 'deputy.db'), { readOnly: true })
  expect(reader.prepare('SELECT count(*) AS n FROM credentials').get()).toEqual({ n: 13 })
  reader.close()

  // Since the copy: alice is revoked, dave erased, erin's agent alone loses its grant, bob's token rotates.
  expect((await run(dir, 'connections', 'revoke', '--user', 'alice')).said).toContain('alice')
  expect((await run(dir, 'people', 'erase', 'dave')).said).toContain('erased')
  expect(
    (await run(dir, 'connections', 'revoke', '--user', 'erin', '--agent', 'laptop')).code,
  ).toBeLessThan(2)
  await expect
    .poll(async () => {
      await verdict(first, 'bob')
      return spent.get('bob')
    })
    .toBeGreaterThan(3)
  loading.goes = false
  await Promise.all(load)
  expect(wrong).toEqual([])
  const serving = await run(dir, 'vault', 'restore', copy)
  expect(serving.said).toMatch(/deputy serves from this vault: end it first/)
  expect(serving.code).toBe(1)
  expect(await first.stop()).toBe(0)

  const restored = await run(dir, 'vault', 'restore', copy)
  expect(restored.said).toMatch(/revoked again: 3 connections.*; erased again: 1 people/)
  expect(restored.said).toMatch(/what was there before: .*deputy\.db\.before-/)
  expect(restored.code).toBe(0)
  expect(digest(copy)).toBe(bytes)
  const second = await serve(dir)
  expect(second.evidence().some(({ event }) => event === 'vault.restored')).toBe(true)
  for (const gone of ['alice', 'dave', 'erin'])
    expect(await verdict(second, gone)).toBe('consent_required')
  // What it holds of bob is spent: he is asked again, and is nobody else.
  expect(await verdict(second, 'bob')).toBe('reauthorization_required')
  expect(await verdict(second, 'carol')).toBe('carol')
  expect(readFileSync(join(dir, 'deputy.db'), 'latin1')).not.toContain('dave')
})

test('a copy is made of a file that nobody serves from, also after its deputy was killed', async () => {
  const dir = await folder()
  const made = await run(dir, 'vault', 'backup', 'copy.db')
  expect(made).toMatchObject({ code: 0, said: expect.stringMatching(/13 connections/) })
  expect((await run(dir, 'vault', 'restore', 'copy.db')).said).toMatch(/no file holds the evidence/)
  const told = await run(dir, 'vault', 'restore', 'copy.db', '--without-evidence')
  expect(told.said).toMatch(/WITHOUT EVIDENCE: whoever was revoked/)
  expect(told.code).toBe(1)
  const child = await serve(dir)
  expect(await verdict(child, 'alice')).toBe('alice')
})

describe('a restore that cannot be leaves everything as it was', () => {
  /** A vault that was served, with a copy, and evidence that reaches back to it; made once. */
  let made: Promise<string> | null = null
  const make = async (): Promise<string> => {
    const dir = await folder()
    const child = await serve(dir)
    expect(await verdict(child, 'carol')).toBe('carol')
    expect((await run(dir, 'vault', 'backup', 'copy.db')).code).toBe(0)
    await run(dir, 'connections', 'revoke', '--user', 'alice')
    await child.stop()
    const kept = mkdtempSync(join(tmpdir(), 'vault-'))
    cpSync(dir, kept, { recursive: true })
    return kept
  }
  const ready = async (): Promise<string> => {
    const kept = await (made ??= make())
    const dir = mkdtempSync(join(tmpdir(), 'vault-'))
    cpSync(kept, dir, { recursive: true })
    ends.push(() => rmSync(dir, { recursive: true, force: true }))
    return dir
  }
  afterAll(async () => rmSync((await made) ?? '', { recursive: true, force: true }))
  const spoil: readonly (readonly [string, RegExp, (dir: string) => void])[] = [
    [
      'another key ring',
      /copy\.db is sealed under keys that vault\.keys lacks/,
      (dir) => writeFileSync(join(dir, 'keys.json'), newKeyRing(1, randomBytes)),
    ],
    [
      'a damaged copy',
      /copy\.db (?:is damaged|could not be copied|cannot be read)/,
      (dir) => {
        const bytes = readFileSync(join(dir, 'copy.db'))
        bytes.fill(0xa5, 4_096)
        writeFileSync(join(dir, 'copy.db'), bytes)
      },
    ],
    [
      'a text',
      /copy\.db is no SQLite database/,
      (dir) => writeFileSync(join(dir, 'copy.db'), 'no database '.repeat(500)),
    ],
    [
      'an empty file',
      /copy\.db cannot be read: it is empty/,
      (dir) => writeFileSync(join(dir, 'copy.db'), ''),
    ],
    ['no file', /copy\.db does not exist/, (dir) => rmSync(join(dir, 'copy.db'))],
    [
      'the database of another program',
      /copy\.db is no vault of deputy/,
      (dir) => {
        rmSync(join(dir, 'copy.db'))
        const other = new DatabaseSync(join(dir, 'copy.db'))
        other.exec('CREATE TABLE t (a)')
        other.close()
      },
    ],
    [
      'a newer schema',
      /copy\.db was written by a newer deputy \(schema 99/,
      (dir) => {
        const newer = new DatabaseSync(join(dir, 'copy.db'))
        newer.exec('PRAGMA user_version = 99')
        newer.close()
      },
    ],
    [
      'no evidence',
      /no file holds the evidence/,
      (dir) => renameSync(join(dir, 'audit.jsonl'), join(dir, 'elsewhere')),
    ],
    [
      'evidence that does not reach back',
      /lines before it are missing|the evidence begins at/,
      (dir) => {
        const path = join(dir, 'audit.jsonl')
        const all = readFileSync(path, 'utf8').split('\n')
        writeFileSync(
          path,
          all.slice(all.findIndex((line) => line.includes('"connection.revoked"'))).join('\n'),
        )
      },
    ],
    [
      'evidence with a hole',
      /lines before it are missing/,
      (dir) => {
        const path = join(dir, 'audit.jsonl')
        const all = readFileSync(path, 'utf8').split('\n')
        writeFileSync(path, all.filter((line) => !line.includes('"connection.revoked"')).join('\n'))
      },
    ],
    [
      'evidence of what this version does not know',
      /1 × agent\.disabled: this version cannot tell/,
      (dir) => {
        const path = join(dir, 'audit.jsonl')
        const all = readFileSync(path, 'utf8')
        writeFileSync(path, all.replace('"event":"connection.revoked"', '"event":"agent.disabled"'))
      },
    ],
  ]
  test.for(spoil)('%s', async ([, says, how]) => {
    const dir = await ready()
    how(dir)
    const vault = digest(join(dir, 'deputy.db'))
    const names = readdirSync(dir)
    const { code, said } = await run(dir, 'vault', 'restore', 'copy.db')
    expect(said).toMatch(says)
    expect(code).toBe(1)
    expect(digest(join(dir, 'deputy.db'))).toBe(vault)
    expect(readdirSync(dir)).toEqual(names)
  })

  test.skipIf(NO_MOUNT !== null)(
    `a full disk${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
    async () => {
      const dir = await ready()
      const small = join(dir, 'small')
      mkdirSync(small)
      ends.push(mount('-t', 'tmpfs', '-o', 'size=64k', 'none', small))
      for (const beside of [true, false]) {
        const child = beside ? await serve(dir) : null
        const { code, said } = await run(dir, 'vault', 'backup', join(small, 'copy.db'))
        expect(said).toMatch(/could not be copied to .*small\/copy\.db\.part: the disk is full/)
        expect([code, readdirSync(small)]).toEqual([1, []])
        await child?.stop()
      }
    },
  )
})

test('evidence in several files is read as one, in whichever order', async () => {
  const dir = await folder()
  const child = await serve(dir)
  await run(dir, 'vault', 'backup', 'copy.db')
  await run(dir, 'connections', 'revoke', '--user', 'alice')
  await run(dir, 'connections', 'revoke', '--user', 'carol')
  await child.stop()
  const path = join(dir, 'audit.jsonl')
  const all = readFileSync(path, 'utf8').split('\n')
  const cut = all.findIndex((line) => line.includes('"connection.revoked"')) + 1
  mkdirSync(join(dir, 'old'))
  writeFileSync(join(dir, 'old', 'first'), `${all.slice(0, cut).join('\n')}\n`)
  writeFileSync(path, all.slice(cut).join('\n'))
  expect((await run(dir, 'vault', 'restore', 'copy.db')).said).toMatch(
    /lines before it are missing/,
  )
  const { code, said } = await run(dir, 'vault', 'restore', 'copy.db', '--evidence', 'old/first')
  expect(said).toMatch(/revoked again: 2 connections/)
  expect(code).toBe(0)
})

const server = await postgres()
/** A database to copy. `copy` makes the copy, and the other one, new, that it is put into later. */
type Copying = { readonly from: string; readonly copy: () => Promise<() => Promise<string>> }
const beside = (url: string, name: string): string => {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}
const fromTemplate = async (): Promise<Copying> => {
  if ('absent' in server) throw new Error(server.absent)
  const from = await server.fresh()
  const name = new URL(from).pathname.slice(1)
  const copy = async () => {
    const text = `CREATE DATABASE ${name}_copy TEMPLATE ${name}`
    await server.sql(beside(from, 'postgres'), text)
    return async () => beside(from, `${name}_copy`)
  }
  return { from, copy }
}
const fromDump = async (): Promise<Copying> => {
  const dumping = await startDumping()
  ends.push(dumping.close)
  const from = await dumping.fresh()
  const file = join(await folder(), 'deputy-1.dump')
  const copy = async () => {
    await dumping.tool('pg_dump', '--format=custom', `--file=${file}`, from)
    return async () => {
      const into = await dumping.fresh()
      const how = ['--exit-on-error', '--no-owner', '--single-transaction', `--dbname=${into}`]
      await dumping.tool('pg_restore', ...how, file)
      return into
    }
  }
  return { from, copy }
}
const WAYS = [
  {
    way: 'a database from a template',
    begin: fromTemplate,
    live: false,
    missing: 'absent' in server ? server.absent : null,
  },
  { way: 'pg_dump and pg_restore', begin: fromDump, live: true, missing: missingDump },
]
for (const { way, begin, live, missing } of WAYS)
  test.skipIf(missing !== null)(
    `a copy of PostgreSQL by ${way} is replayed by the same command, and then serves${missing === null ? '' : ` (SKIPPED: ${missing})`}`,
    async () => {
      const dir = await folder()
      const { from, copy } = await begin()
      const config = JSON.parse(readFileSync(join(dir, 'deputy.yaml'), 'utf8')) as object
      const pointTo = (store: string): void =>
        writeFileSync(
          join(dir, 'deputy.yaml'),
          JSON.stringify({ ...config, vault: { store, keys: './keys.json' } }),
        )

      pointTo(from)
      // The evidence begins before anything is stored: what a copy knows of is not older.
      await (await serve(dir)).stop()
      await seedStore(from, join(dir, 'keys.json'), ['alice', 'carol'])
      const child = await serve(dir)
      expect(await verdict(child, 'alice')).toBe('alice')
      expect((await run(dir, 'vault', 'backup', 'copy.db')).said).toMatch(
        /vault\.store is PostgreSQL: back it up with pg_dump/,
      )
      const whileServing = live ? await copy() : null
      await child.stop()
      const restore = whileServing ?? (await copy())
      expect((await run(dir, 'connections', 'revoke', '--user', 'alice')).code).toBeLessThan(2)
      pointTo(await restore())
      const replayed = await run(dir, 'vault', 'replay')
      expect(replayed.said).toMatch(/revoked again: 1 connections/)
      expect(replayed.code).toBe(0)
      const again = await run(dir, 'vault', 'replay')
      expect(again.said).toMatch(/revoked again: 0 connections/)
      const second = await serve(dir)
      expect(await verdict(second, 'alice')).toBe('consent_required')
      expect(await verdict(second, 'carol')).toBe('carol')
    },
  )
