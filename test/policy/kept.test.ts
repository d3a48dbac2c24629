import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createKeptBundle } from '../../proxy/policy/kept.ts'

let folder = ''
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'deputy-kept-')), 'bundles')
})
afterEach(() => rmSync(join(folder, '..'), { recursive: true }))
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8)

test('is whole, for its owner alone, and of its address alone', async () => {
  const kept = createKeptBundle(folder, 'https://a.test/b', 100)
  expect(await kept.read()).toBeNull()
  await kept.write(Buffer.from('one'))
  await kept.write(Buffer.from('two'))
  expect(String(await kept.read())).toBe('two')
  const [name = '', ...more] = readdirSync(folder)
  expect(more).toEqual([])
  expect([modeOf(folder), modeOf(join(folder, name))]).toEqual(['700', '600'])
  expect(await createKeptBundle(folder, 'https://a.test/c', 100).read()).toBeNull()
})

test('half a file that an end in the middle of writing left is in nobody’s way', async () => {
  const kept = createKeptBundle(folder, 'u', 100)
  await kept.write(Buffer.from('one'))
  const [name = ''] = readdirSync(folder)
  writeFileSync(join(folder, `${name}.next`), 'ha', { mode: 0o644 })
  expect(String(await kept.read())).toBe('one')
  await kept.write(Buffer.from('two'))
  expect(modeOf(join(folder, name))).toBe('600')
  expect(readdirSync(folder)).toEqual([name])
})

test('what cannot be read is no absence', async () => {
  const kept = createKeptBundle(folder, 'u', 2)
  await kept.write(Buffer.from('three'))
  await expect(kept.read()).rejects.toThrow(/is larger than/)
  const [name = ''] = readdirSync(folder)
  rmSync(join(folder, name))
  mkdirSync(join(folder, name))
  await expect(kept.read()).rejects.toThrow(/a folder/)
})
