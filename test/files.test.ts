import { spawnSync } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  changedSince,
  marksOf,
  namesIn,
  readPem,
  readText,
  statOf,
  stuck,
  onReadOnlyMount,
  openToAll,
  tryFolder,
  Unreadable,
} from '../proxy/files.ts'
import { mount, mountDead, NO_MOUNT } from './support/mount.ts'
import { paced } from './support/pace.ts'

let dir: string
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'deputy-files-'))))
afterEach(() => rmSync(dir, { recursive: true }))
const ms = async (work: Promise<unknown>): Promise<number> => {
  const begun = performance.now()
  await expect(work).rejects.toThrow(Unreadable)
  return performance.now() - begun
}

test('a file is read though this process was busy itself for longer than a disk may take', async () => {
  const path = join(dir, 'file')
  writeFileSync(path, 'text')
  const read = [readText(path), namesIn(dir)]
  for (const end = performance.now() + 2_200; performance.now() < end;);
  expect(await Promise.all(read)).toEqual(['text', ['file']])
})

test('a text in Latin-1 is refused, of which two names could become one; certificates may have such comments', async () => {
  const path = join(dir, 'file')
  writeFileSync(path, 'andr\u00e9', 'latin1')
  await expect(readText(path)).rejects.toThrow(`${path}: is not written in UTF-8`)
  expect(await readPem(path)).toBe('andr\u00e9')
  writeFileSync(path, 'andr\u00e9')
  expect(await readText(path)).toBe('andr\u00e9')
})

test('a file is read; what is none is refused without waiting for it', async () => {
  const path = join(dir, 'file')
  writeFileSync(path, 'text')
  expect(await readText(path)).toBe('text')
  expect(await namesIn(dir)).toEqual(['file'])
  await expect(readText(path, 3)).rejects.toThrow(/is larger than/)
  await expect(readText(join(dir, 'none'))).rejects.toThrow(/ENOENT/)
  await expect(readText(dir)).rejects.toThrow(`${dir}: is no file: a folder is there`)
  await expect(readText('/dev/zero')).rejects.toThrow('/dev/zero: is no file: a device is there')
  const pipe = join(dir, 'pipe')
  spawnSync('mkfifo', [pipe])
  await expect(readText(pipe)).rejects.toThrow(`${pipe}: is no file: a pipe is there`)
  const socket = join(dir, 'socket')
  const server = createServer().listen(socket)
  await new Promise((resolve) => server.once('listening', resolve))
  await expect(readText(socket)).rejects.toThrow()
  server.close()
  expect(stuck()).toBe(false)
})

test('a change is seen, that of a link too, and a file that comes and goes', async () => {
  const [a, b, link] = [join(dir, 'a'), join(dir, 'b'), join(dir, 'link')]
  writeFileSync(a, 'a')
  symlinkSync('a', link)
  const marks = await marksOf([link])
  expect(await marksOf([link])).toBe(marks)
  expect(await changedSince([link], Date.now() + 1_000)).toBe(false)
  expect(await changedSince([link], Date.now() - 60_000)).toBe(true)
  writeFileSync(b, 'a')
  rmSync(link)
  const gone = await marksOf([link])
  expect(gone).not.toBe(marks)
  expect(await changedSince([link], Date.now() + 1_000)).toBe(true)
  symlinkSync('b', link)
  expect([marks, gone]).not.toContain(await marksOf([link]))
})

test('a file that others may read is told by its mode, and by none on Windows', async ({
  onTestFinished,
}) => {
  const file = join(dir, 'open')
  writeFileSync(file, 'x')
  chmodSync(file, 0o644)
  expect(await openToAll(file)).toBe('644')
  chmodSync(file, 0o640)
  expect(await openToAll(file)).toBeNull()
  chmodSync(file, 0o666)
  const { platform } = process
  onTestFinished(() => void Object.defineProperty(process, 'platform', { value: platform }))
  Object.defineProperty(process, 'platform', { value: 'win32' })
  expect(await openToAll(file)).toBeNull()
})

test('a folder that can be written to is left as it was', async () => {
  await tryFolder(dir)
  expect(await namesIn(dir)).toEqual([])
  await expect(tryFolder(join(dir, 'none'))).rejects.toThrow(/ENOENT/)
  await expect(tryFolder('/proc')).rejects.toThrow()
})

test.skipIf(NO_MOUNT !== null)(
  `a volume that is read-only here is known by its mount, through links, and nothing else is${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
  async () => {
    // Its name has what `mountinfo` escapes.
    const volume = join(dir, 'a \\volume')
    mkdirSync(volume)
    const unmount = mount('-t', 'tmpfs', '-o', 'size=1m', 'none', volume)
    try {
      const file = join(volume, 'keys.json')
      const link = join(dir, 'link')
      writeFileSync(file, '{}')
      symlinkSync(file, link)
      expect(await onReadOnlyMount(file)).toBe(false)
      mount('-o', 'remount,ro', volume)
      expect(await onReadOnlyMount(file)).toBe(true)
      expect(await onReadOnlyMount(link)).toBe(true)
      expect(await onReadOnlyMount(dir)).toBe(false)
      await expect(onReadOnlyMount(join(volume, 'none'))).rejects.toThrow(/ENOENT/)
    } finally {
      unmount()
    }
  },
)

test.skipIf(NO_MOUNT !== null)(
  `a file system that does not answer is given up, takes one thread a folder and leaves one for others, and heals${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
  async () => {
    const fine = join(dir, 'fine')
    writeFileSync(fine, 'text')
    const dead = join(dir, 'dead')
    mkdirSync(dead)
    const revive = await mountDead(dead)
    try {
      const first = ms(statOf(join(dead, 'a', 'x')))
      expect(await readText(fine)).toBe('text')
      expect(await first).toBeGreaterThan(1_900)
      expect(stuck()).toBe(true)
      // Beside it nothing is tried again.
      for (const name of ['x', 'y'])
        expect(await ms(readText(join(dead, 'a', name)))).toBeLessThan(paced(900))
      await Promise.all(['b', 'c', 'd', 'e'].map((name) => ms(tryFolder(join(dead, name, 'x')))))
      // Names are looked up on the same threads.
      expect((await lookup('127.0.0.1')).address).toBe('127.0.0.1')
      expect((await lookup('localhost')).address).toMatch(/127\.0\.0\.1|::1/)
    } finally {
      await revive()
    }
    await expect.poll(stuck).toBe(false)
    expect(await readText(fine)).toBe('text')
    await expect(readText(join(dead, 'a', 'x'))).rejects.toThrow(/ENOENT/)
  },
)
