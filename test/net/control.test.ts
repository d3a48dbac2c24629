import { existsSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { answers, startControl } from '../../proxy/net/control.ts'

let dir = ''
let path = ''
const warned: unknown[] = []
const quiet = (): void => {}
const log = {
  debug: quiet,
  info: quiet,
  warn: (fields: unknown) => void warned.push(fields),
  error: quiet,
}
const others: Server[] = []
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'deputy-control-'))
  path = join(dir, 'deputy.sock')
  warned.length = 0
})
afterEach(async () => {
  for (const server of others.splice(0)) server.close()
  await rm(dir, { recursive: true })
})

test('is there for its user alone, and gone when it is ended', async () => {
  const end = await startControl(path, (_req, res) => res.end(), log)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(await answers(path)).toBe(true)
  await end()
  expect([existsSync(path), await answers(path), warned]).toEqual([false, false, []])
})

test('takes the place of a file that a crash left behind', async () => {
  writeFileSync(path, '')
  const end = await startControl(path, (_req, res) => res.end(), log)
  expect([await answers(path), warned]).toEqual([true, []])
  await end()
})

test('is left to whoever has it: that is logged, and the start goes on', async () => {
  const other = createServer().listen(path)
  others.push(other)
  await new Promise((resolve) => other.once('listening', resolve))
  const end = await startControl(path, (_req, res) => res.end(), log)
  expect(warned).toEqual([{ path, reason: `deputy.sock: ${path} is in use by another process` }])
  await end()
  expect(await answers(path)).toBe(true)
})

test('that cannot be made is logged', async () => {
  const end = await startControl(join(dir, 'none', 'deputy.sock'), (_req, res) => res.end(), log)
  expect(warned).toEqual([
    expect.objectContaining({ reason: expect.stringMatching(/^listen E/) as unknown }),
  ])
  await end()
})
