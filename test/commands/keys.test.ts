import { mkdtempSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { keygen } from '../../proxy/commands/keys.ts'
import { parseKeyRing } from '../../proxy/vault/seal.ts'

test('keygen writes a ring that loads, readable by its owner only, and never overwrites it', async () => {
  const out = join(mkdtempSync(join(tmpdir(), 'keys-')), 'etc', 'keys.json')
  const lines: string[] = []
  const print = (line: string) => void lines.push(line)
  expect(await keygen({ out, print })).toBe(0)
  expect(lines).toEqual([out])
  expect(statSync(out).mode & 0o777).toBe(0o600)
  const text = readFileSync(out, 'utf8')
  expect(parseKeyRing(text).seal.size).toBe(1)
  expect(await keygen({ out, print })).toBe(1)
  expect(lines.at(-1)).toContain('is not overwritten')
  expect(readFileSync(out, 'utf8')).toBe(text)
})
