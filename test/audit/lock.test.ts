import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FileLock } from '../../proxy/audit/lock.ts'
import { lockFile } from '../../proxy/audit/lock.ts'

const source = fileURLToPath(new URL('../../proxy/audit/lock.ts', import.meta.url))
const said: string[] = []
const note = (_: object, msg: string) => void said.push(msg)
const log = { debug: note, info: note, warn: note, error: note }
let folder = ''
let path = ''
let lock: FileLock | null = null
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-lock-'))
  path = join(folder, 'audit.jsonl')
  said.length = 0
})
afterEach(() => {
  lock?.release()
  lock = null
  fs.rmSync(folder, { recursive: true })
})

test('a moment without file descriptors is no theft, and a lock that is gone is taken again', () => {
  // The limit is met for longer than two beats.
  const program = join(folder, 'program.ts')
  fs.writeFileSync(
    program,
    `import { lockFile } from ${JSON.stringify(source)}
import { openSync, closeSync, existsSync, rmSync, readFileSync } from 'node:fs'
const said = []
const note = (_, msg) => said.push(msg)
const log = { debug: note, info: note, warn: note, error: note }
const lock = await lockFile(${JSON.stringify(path)}, 'P1', log)
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const many = []
let code
try { for (;;) many.push(openSync('/dev/null', 'r')) } catch (error) { code = error.code }
await wait(4500)
const during = lock.held()
for (const fd of many) closeSync(fd)
await wait(2100)
const after = lock.held()
rmSync(${JSON.stringify(`${path}.lock`)})
while (!existsSync(${JSON.stringify(`${path}.lock`)})) await wait(20)
console.log(JSON.stringify({ code, during, after, again: lock.held(), owner: JSON.parse(readFileSync(${JSON.stringify(`${path}.lock`)}, 'utf8')).proc, said }))
lock.release()`,
  )
  const { stdout, stderr } = spawnSync(
    'bash',
    ['-c', `ulimit -n 64; exec "$0" "$1"`, process.execPath, program],
    { encoding: 'utf8' },
  )
  expect(stderr).toBe('')
  expect(JSON.parse(stdout)).toEqual({
    code: 'EMFILE',
    during: true,
    after: true,
    again: true,
    owner: 'P1',
    said: [],
  })
})

test('a lock that somebody else took is not ours; once it is ours again, we write again', async () => {
  lock = await lockFile(path, 'P1', log)
  const mine = fs.readFileSync(`${path}.lock`)
  fs.writeFileSync(`${path}.lock`, '{"proc":"P9","pid":1}')
  await expect.poll(() => lock?.held()).toBe(false)
  fs.writeFileSync(`${path}.lock`, mine)
  await expect.poll(() => lock?.held()).toBe(true)
  expect(said).toEqual([
    'somebody took the lock away: nothing is written here until it is ours again',
    'the lock is ours again',
  ])
})
