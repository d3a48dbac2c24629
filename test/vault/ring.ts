// Key rings in files of their own.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { followRing } from '../../proxy/vault/ring_file.ts'
import { createSealer, newKeyRing, parseKeyRing } from '../../proxy/vault/seal.ts'
import type { KeyRing, Sealer } from '../../proxy/vault/seal.ts'
import { QUIET } from '../support/log.ts'

export const newRing = (): string => {
  const path = join(mkdtempSync(join(tmpdir(), 'ring-')), 'keys.json')
  writeFileSync(path, newKeyRing(0, randomBytes), { mode: 0o600 })
  return path
}
export const ringAt = (path: string): KeyRing => parseKeyRing(readFileSync(path, 'utf8'))
export const current = (path: string): string => ringAt(path).current.kid
export const follow = (path: string): Sealer => {
  const first = ringAt(path)
  return createSealer(first, followRing({ path, first, log: QUIET }).latest)
}
