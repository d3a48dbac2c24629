import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { addKey, readRing, removeKeys } from '../../proxy/vault/ring_file.ts'
import { kidOf, newKeyRing } from '../../proxy/vault/seal.ts'
import { mount, NO_MOUNT } from '../support/mount.ts'
import { current, follow, newRing, ringAt } from './ring.ts'

describe('the ring file', () => {
  test('that everybody may read is refused', async () => {
    const path = newRing()
    chmodSync(path, 0o604)
    await expect(readRing(path)).rejects.toThrow(/can be read by everybody \(mode 604\)/)
  })
  test.skipIf(NO_MOUNT !== null)(
    `in a volume that is read-only here, as a Secret's, is read with the mode that it has there${NO_MOUNT === null ? '' : ` (SKIPPED: ${NO_MOUNT})`}`,
    async () => {
      const volume = mkdtempSync(join(tmpdir(), 'ring-volume-'))
      const unmount = mount('-t', 'tmpfs', '-o', 'size=1m', 'none', volume)
      try {
        const path = join(volume, 'keys.json')
        writeFileSync(path, newKeyRing(0, randomBytes), { mode: 0o444 })
        await expect(readRing(path)).rejects.toThrow(/can be read by everybody/)
        mount('-o', 'remount,ro', volume)
        expect((await readRing(path)).current.kid).toBe(current(path))
      } finally {
        unmount()
      }
    },
  )
  test('gets a new current key in one step, is as private as before, and its old keys still open', async () => {
    const path = newRing()
    const before = current(path)
    const sealed = await follow(path).sealText('p', {}, 'x')
    const added = addKey(path, Date.now())
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(current(path)).toBe(added)
    expect([...ringAt(path).seal.keys()]).toEqual([before, added])
    expect(await follow(path).openText('p', {}, sealed)).toBe('x')
    chmodSync(path, 0o640)
    addKey(path, Date.now())
    expect(statSync(path).mode & 0o777).toBe(0o640)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('is left alone while another rotation is under way, and says how to go on', () => {
    const path = newRing()
    const before = readFileSync(path, 'utf8')
    writeFileSync(`${path}.new`, '')
    expect(() => addKey(path, 0)).toThrow(/another rotation is under way/)
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  test('stays whole where the disk takes only a part of the new one', () => {
    const path = newRing()
    for (let n = 0; n < 8; n += 1) addKey(path, n)
    const before = readFileSync(path, 'utf8')
    expect(before.length).toBeGreaterThan(1_024)
    const script = `import { addKey } from ${JSON.stringify(new URL('../../proxy/vault/ring_file.ts', import.meta.url).href)}
try { addKey(${JSON.stringify(path)}, 99) } catch (error) { console.log('failed', error.code) }`
    const limited = ['-c', 'trap "" XFSZ; ulimit -f 1; exec "$@"', '-']
    const node = [process.execPath, '--input-type=module', '-e', script]
    const env = { PATH: process.env['PATH'] ?? '', NODE_DISABLE_COMPILE_CACHE: '1' }
    expect(execFileSync('bash', [...limited, ...node], { env }).toString()).toBe('failed EFBIG\n')
    expect(readFileSync(path, 'utf8')).toBe(before)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('that is no ring any more is not changed, and nothing of it is quoted', () => {
    const path = newRing()
    const torn = readFileSync(path, 'utf8').replace(/"k": ?"/, '"k":')
    writeFileSync(path, torn)
    expect(() => addKey(path, 0)).toThrow(
      /^key ring: not a JSON object; make one with `deputy keygen`$/,
    )
    expect(readFileSync(path, 'utf8')).toBe(torn)
  })

  test('never loses its current key', () => {
    const path = newRing()
    const before = readFileSync(path, 'utf8')
    expect(() => removeKeys(path, [current(path)])).toThrow(/current must be the kid of a seal key/)
    expect(readFileSync(path, 'utf8')).toBe(before)
    expect(existsSync(`${path}.new`)).toBe(false)
  })

  test('is read again when a key is unknown and before anything is sealed', async () => {
    const path = newRing()
    const [here, there] = [follow(path), follow(path)]
    const added = addKey(path, Date.now())
    const sealed = await here.sealText('p', {}, 'x')
    expect(kidOf(sealed)).toBe(added)
    expect(await there.openText('p', {}, sealed)).toBe('x')
  })

  test('that is broken or gone costs nothing: the last good one is used', async () => {
    const path = newRing()
    const sealer = follow(path)
    const sealed = await sealer.sealText('p', {}, 'x')
    for (const text of ['{', '']) {
      writeFileSync(path, text)
      expect(await sealer.openText('p', {}, await sealer.sealText('p', {}, 'y'))).toBe('y')
    }
    chmodSync(path, 0o644)
    expect(await sealer.openText('p', {}, sealed)).toBe('x')
  })
})
