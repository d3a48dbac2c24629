// Which files belong together.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chainsOf } from '../../proxy/audit/chains.ts'
import { decision, evidenceOf } from './evidence_lines.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'deputy-chains-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const lines = evidenceOf(
  [1, 2, 3, 4].map((n) => [
    `2026-11-28T00:00:0${n}.000Z`,
    'decision',
    decision({ exchange: `E${n}` }),
  ]),
)
const put = (path: string, of: readonly string[]): void =>
  writeFileSync(path, of.map((line) => `${line}\n`).join(''))
const names = async (paths: readonly string[]) =>
  (await chainsOf(paths)).map((chain) => chain.map(({ path, ended }) => [basename(path), ended]))

test('a file brings what it continues, oldest first; another journal is a chain of its own', async () => {
  put(join(folder, 'a.jsonl.1'), lines.slice(0, 3))
  put(join(folder, 'a.jsonl'), lines.slice(3))
  const other = join(folder, 'other')
  mkdirSync(other)
  put(join(other, 'z.jsonl'), evidenceOf([['2026-11-27T00:00:00.000Z', 'refused', {}]], 'P2'))
  const mine = [
    ['a.jsonl.1', '2026-11-28T00:00:02.000Z'],
    ['a.jsonl', '2026-11-28T00:00:04.000Z'],
  ]
  expect(await names([join(folder, 'a.jsonl')])).toEqual([mine])
  expect(await names([folder, other])).toEqual([mine, [['z.jsonl', '2026-11-27T00:00:00.000Z']]])
})

test('what is no evidence stands alone; a folder without any is refused, as is a path that is not there', async () => {
  const odd = join(folder, 'odd')
  mkdirSync(odd)
  writeFileSync(join(odd, 'note.txt'), 'hello\n')
  expect(await names([join(odd, 'note.txt')])).toEqual([[['note.txt', null]]])
  await expect(chainsOf([odd])).rejects.toThrow('holds no evidence')
  await expect(chainsOf([join(odd, 'none')])).rejects.toThrow('ENOENT')
})
