// A ring whose keys a program wraps: what stands in the file, who opens it, and what happens while the program fails.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { Log } from '../../proxy/model.ts'
import { createKms, type Kms } from '../../proxy/vault/kms.ts'
import { addKey, convertKeys, followRing, readRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKey, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import { checkShape, createRings, wrappedText } from '../../proxy/vault/wrapped.ts'
import { reversing } from '../support/kms.ts'

const folder = mkdtempSync(join(tmpdir(), 'deputy-wrapped-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const path = at('keys.json')
const kmsNow = (): Kms =>
  createKms({ program: reversing(folder), env: { PATH: '/usr/bin:/bin' }, deadline: 30_000 })
const asked = (): readonly string[] =>
  existsSync(at('asked')) ? readFileSync(at('asked'), 'utf8').trim().split('\n') : []

let plain = ''
let kms: Kms
beforeEach(async () => {
  for (const name of ['asked', 'down']) rmSync(at(name), { force: true })
  plain = newKeyRing(Date.now(), randomBytes)
  kms = kmsNow()
  writeFileSync(path, await wrappedText(plain, createRings(kms)), { mode: 0o600 })
  rmSync(at('asked'), { force: true })
})
const secretsOf = (text: string): readonly string[] =>
  (JSON.parse(text) as { keys: readonly { k?: string; d?: string }[] }).keys.map(
    ({ k, d }) => k ?? d ?? '',
  )

test('holds no key, and is the same ring', async () => {
  const file = readFileSync(path, 'utf8')
  expect(secretsOf(plain).every((key) => key.length === 43)).toBe(true)
  for (const key of secretsOf(plain))
    for (const form of ['base64', 'base64url', 'hex'] as const)
      expect(file).not.toContain(Buffer.from(key, 'base64url').toString(form))
  const sealer = createSealer(await readRing(path, createRings(kms)))
  const before = createSealer(parseKeyRing(plain))
  expect(await sealer.openText('p', {}, await before.sealText('p', {}, 'x'))).toBe('x')
  const { kid, signature } = sealer.sign('text')
  expect(before.verify('text', kid, signature)).toBe(true)
  expect(sealer.hmac('p', 'x')).toBe(before.hmac('p', 'x'))
})

test('asks for each key once, and for a new one alone', async () => {
  const rings = createRings(kms)
  await readRing(path, rings)
  expect(asked()).toEqual(Array(3).fill('deputy-kms 1 unwrap'))
  await readRing(path, rings)
  expect(asked()).toHaveLength(3)
  addKey(path, Date.now(), await rings.entry(newKey('seal', Date.now(), randomBytes)))
  // Wrapped, and tried at once; then read.
  expect((await readRing(path, rings)).seal.size).toBe(2)
  expect(asked().slice(3)).toEqual([
    'deputy-kms 1 wrap',
    'deputy-kms 1 unwrap',
    'deputy-kms 1 unwrap',
  ])
})

describe('is refused', () => {
  test('without the program that wrapped it', async () => {
    await expect(readRing(path)).rejects.toThrow(
      /vault\.keys: keys\.0: seal-\S+ is wrapped by a program: name it as vault\.kms; keys\.1: sign-/,
    )
  })
  test('where a key lies in the file as it is', async () => {
    writeFileSync(path, plain, { mode: 0o600 })
    await expect(readRing(path, createRings(kms))).rejects.toThrow(
      /keys\.0: seal-\S+ lies in the file as it is, though vault\.kms names a program: run `deputy keys wrap`/,
    )
    expect(asked()).toEqual([])
  })
  test('where a wrapped key has its secret beside it', async () => {
    const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: object[] }
    file.keys[0] = { ...file.keys[0], k: secretsOf(plain)[0] }
    writeFileSync(path, JSON.stringify(file))
    await expect(readRing(path, createRings(kms))).rejects.toThrow(/keys\.0: .* lies in the file/)
  })
  test('where the program gives another key, or a key was moved to another entry', async () => {
    const other: Kms = { ...kms, unwrap: async () => randomBytes(32) }
    await expect(readRing(path, createRings(other))).rejects.toThrow(
      /the program gave another key than the one that was wrapped as seal-/,
    )
    const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: Record<string, unknown>[] }
    const [first, , third] = file.keys
    file.keys[0] = { ...first, wrapped: third?.['wrapped'], check: third?.['check'] }
    writeFileSync(path, JSON.stringify(file))
    await expect(readRing(path, createRings(kms))).rejects.toThrow(/gave another key .* seal-/)
  })
  test('and a program that cannot give back what it took gets no key', async () => {
    const forgetful: Kms = { ...kms, unwrap: async () => randomBytes(32) }
    await expect(wrappedText(plain, createRings(forgetful))).rejects.toThrow(/gave another key/)
  })
  test('where the file as a whole is wrong, before anybody is asked', async () => {
    const file = JSON.parse(readFileSync(path, 'utf8')) as object
    expect(() => checkShape(JSON.stringify({ ...file, current: 'seal-none' }))).toThrow(
      /current must be the kid of a seal key/,
    )
    expect(() => checkShape(JSON.stringify(file))).not.toThrow()
  })
})

describe('the way to wrapped keys and back', () => {
  test('keeps every key, and replaces the file in one step', async () => {
    writeFileSync(path, plain, { mode: 0o600 })
    const changed = await convertKeys(path, kms, 'wrapped')
    expect(changed).toHaveLength(3)
    expect(readFileSync(path, 'utf8')).not.toContain(secretsOf(plain)[0])
    expect(await convertKeys(path, kms, 'wrapped')).toEqual([])
    expect(await convertKeys(path, kms, 'plain')).toHaveLength(3)
    expect(secretsOf(readFileSync(path, 'utf8')).toSorted()).toEqual(secretsOf(plain).toSorted())
    expect(parseKeyRing(readFileSync(path, 'utf8')).current.kid).toBe(
      parseKeyRing(plain).current.kid,
    )
  })
  test('changes nothing while the program fails', async () => {
    writeFileSync(path, plain, { mode: 0o600 })
    writeFileSync(at('down'), '')
    await expect(convertKeys(path, kms, 'wrapped')).rejects.toThrow(/the key store is down/)
    expect(readFileSync(path, 'utf8')).toBe(plain)
    expect(existsSync(`${path}.new`)).toBe(false)
  })
})

test('a running process keeps its ring while the program fails, asks once for all, and heals by itself', async () => {
  const rings = createRings(kms)
  const said: string[] = []
  const write = (fields: object, msg: string): void =>
    void said.push(`${msg} ${JSON.stringify(fields)}`)
  const log: Log = { debug: write, info: write, warn: write, error: write }
  const first = await readRing(path, rings)
  const followed = followRing({ path, first, log, rings })
  await followed.latest()
  const entry = await rings.entry(newKey('seal', Date.now(), randomBytes))
  const added = addKey(path, Date.now(), entry)
  writeFileSync(at('down'), '')
  rmSync(at('asked'))
  const many = await Promise.all(Array.from({ length: 20 }, () => followed.latest()))
  expect(new Set(many.map(({ current }) => current.kid))).toEqual(new Set([first.current.kid]))
  expect(asked()).toHaveLength(1)
  expect(said).toHaveLength(1)
  expect(said[0]).toMatch(/last good one is used .*the key store is down/)
  expect(followed.unread()).toMatch(/vault\.kms/)
  rmSync(at('down'))
  await expect.poll(async () => (await followed.latest()).current.kid).toBe(added)
  expect(followed.unread()).toBe(null)
})
