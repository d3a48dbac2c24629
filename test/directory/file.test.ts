import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openFileDirectory } from '../../proxy/directory/file.ts'
import type { Directory } from '../../proxy/directory/source.ts'

const quiet = (): void => {}
let errors: string[]
const log = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: (_fields: object, msg: string) => void errors.push(msg),
}
const alice = { tenant: 'default', realm: 'corp', id: 'alice' }
const rows = (group: string): string =>
  JSON.stringify({ people: [{ id: 'alice', groups: [group] }] })

let dir: string
let path: string
let now: number
let changes: number
let open: Directory[]
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'deputy-people-'))
  path = join(dir, 'people.yaml')
  now = 0
  changes = 0
  errors = []
  open = []
})
afterEach(() => {
  for (const directory of open) directory.close()
  rmSync(dir, { recursive: true })
})
const begin = async (): Promise<Directory> => {
  const directory = await openFileDirectory({
    path,
    realm: 'corp',
    clock: { now: () => Date.now(), mono: () => now },
    log,
    onChange: () => changes++,
  })
  open.push(directory)
  return directory
}
const groups = async (directory: Directory): Promise<readonly string[]> =>
  (await directory.ask(alice, 0))?.groups ?? []
const failure = (directory: Directory): Promise<string> =>
  groups(directory).then(
    () => '',
    (error: Error) => error.message,
  )
const soon = (directory: Directory, wanted: string): Promise<void> =>
  expect.poll(() => groups(directory)).toEqual([wanted])

test('each of two changes at one moment counts, also where none changes the size', async () => {
  writeFileSync(path, rows('a'))
  const directory = await begin()
  expect(await groups(directory)).toEqual(['a'])
  writeFileSync(path, rows('b'))
  await soon(directory, 'b')
  for (const group of ['c', 'd', 'e']) writeFileSync(path, rows(group))
  await soon(directory, 'e')
  expect(changes).toBeGreaterThanOrEqual(2)
})

test('a volume that turns a link, and a file that is moved over it', async () => {
  for (const group of ['a', 'b']) {
    mkdirSync(join(dir, `..${group}`))
    writeFileSync(join(dir, `..${group}`, 'people.yaml'), rows(group))
  }
  symlinkSync('..a', join(dir, '..data'))
  symlinkSync('..data/people.yaml', path)
  const directory = await begin()
  symlinkSync('..b', join(dir, '..next'))
  renameSync(join(dir, '..next'), join(dir, '..data'))
  await soon(directory, 'b')
  writeFileSync(join(dir, 'new'), rows('c'))
  renameSync(join(dir, 'new'), path)
  await soon(directory, 'c')
})

test('without the file nobody is known, until it is back; the log says so once', async () => {
  writeFileSync(path, rows('a'))
  const directory = await begin()
  renameSync(path, join(dir, 'away'))
  await expect.poll(() => failure(directory)).toContain('cannot be read')
  await new Promise((done) => setTimeout(done, 800))
  expect(errors).toHaveLength(1)
  // The very same file: its content and its times say that nothing happened.
  renameSync(join(dir, 'away'), path)
  await soon(directory, 'a')
})

test('a file that is no list of people is reported once, and read again when it changes', async () => {
  writeFileSync(path, rows('a'))
  const directory = await begin()
  writeFileSync(path, 'people: [')
  await expect.poll(() => failure(directory)).toContain('cannot be read')
  await new Promise((done) => setTimeout(done, 800))
  expect(errors).toHaveLength(1)
  writeFileSync(path, rows('b'))
  await soon(directory, 'b')
})

test('what was written beside it changes nothing', async () => {
  writeFileSync(path, rows('a'))
  await begin()
  for (let i = 0; i < 8; i++) {
    writeFileSync(join(dir, 'audit.jsonl'), String(i), { flag: 'a' })
    await new Promise((done) => setTimeout(done, 100))
  }
  expect(changes).toBe(0)
})

test('facts from a file that could not be looked at for long are no facts', async () => {
  writeFileSync(path, rows('a'))
  const directory = await begin()
  now = 4_000
  expect(await groups(directory)).toEqual(['a'])
  directory.close()
  now = 60_000
  expect(() => directory.ask(alice, 0)).toThrow('cannot be read')
})
