import { hash } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { GENESIS, lineAfter } from '../../proxy/audit/chain.ts'
import type { Link } from '../../proxy/audit/chain.ts'
import { beside, expired, lineage, readSegment, segmentName } from '../../proxy/audit/segments.ts'

let folder = ''
let path = ''
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-segments-'))
  path = join(folder, 'audit.jsonl')
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const NOON = Date.UTC(2026, 10, 28, 12)
const genesis: Link = { proc: 'P1', seq: 0, hash: GENESIS }
const chained = (last: Link, count: number) => {
  const lines: string[] = []
  for (let n = 0; n < count; n++) {
    const event = last.seq === 0 ? 'process.started' : 'decision'
    const fields = last.seq === 0 ? ',"after":[],"torn":[]' : ''
    const line = lineAfter(last, new Date(NOON + n).toISOString(), event, fields)
    last = { proc: last.proc, seq: last.seq + 1, hash: hash('sha256', line) }
    lines.push(`${line}\n`)
  }
  return { text: lines.join(''), last }
}

test('what a file continues and ends with is read from its ends, packed or not, torn or not', async () => {
  const first = chained(genesis, 3)
  const second = chained(first.last, 2_000)
  fs.writeFileSync(path, second.text)
  fs.writeFileSync(`${path}.1.gz`, gzipSync(`${first.text}{"v":1,`))
  expect(await readSegment(path)).toMatchObject({
    before: [first.last],
    last: second.last,
    began: '2026-11-28T12:00:00.000Z',
    torn: Buffer.alloc(0),
  })
  expect(await readSegment(`${path}.1.gz`)).toMatchObject({
    before: [],
    last: first.last,
    torn: Buffer.from('{"v":1,'),
  })
})

test('what is no evidence is none', async () => {
  for (const text of [
    '',
    '{"v":1',
    'SQLite format 3\0',
    '{"v":2}\n',
    '[]\n',
    '\n\n',
    'x\n'.repeat(9),
  ]) {
    fs.writeFileSync(path, text)
    expect(await readSegment(path), text).toBe(null)
  }
  expect(await readSegment(folder)).toBe(null)
  fs.writeFileSync(path, gzipSync('hello\n'))
  expect(await readSegment(path)).toBe(null)
})

test('files are put in order by what they say; a copy of one makes no second way', async () => {
  const a = chained(genesis, 3)
  const b = chained(a.last, 3)
  const c = chained(b.last, 3)
  fs.writeFileSync(join(folder, 'audit-20261128.jsonl'), a.text)
  // Another journal in the same folder.
  fs.writeFileSync(join(folder, 'audit-b.jsonl'), b.text)
  fs.writeFileSync(join(folder, 'audit.jsonl.9'), b.text)
  fs.writeFileSync(join(folder, 'audit.jsonl.copy'), b.text)
  fs.writeFileSync(join(folder, 'audit.jsonl.lock'), '{"proc":"P1","pid":1}')
  fs.writeFileSync(join(folder, 'other.jsonl'), b.text)
  fs.writeFileSync(path, c.text)
  const others = beside(path)
  expect((await others.newest())?.last).toEqual(b.last)
  expect((await others.ending([a.last]))?.path).toBe(join(folder, 'audit-20261128.jsonl'))
  expect(await others.ending([c.last])).toBe(undefined)
  const newest = await readSegment(path)
  if (newest === null) throw new Error('no segment')
  const order: number[] = []
  for await (const { last } of lineage(newest, others.ending)) order.push(last.seq)
  expect(order).toEqual([9, 6, 3])
})

test('of packed files no more are unpacked than asked for, the newest first, and once', async () => {
  const files = [chained(genesis, 3), chained(genesis, 5), chained(genesis, 7)]
  for (const [n, { text }] of files.entries()) {
    const file = `${path}.${n}.gz`
    fs.writeFileSync(file, gzipSync(text))
    fs.utimesSync(file, n, n)
  }
  const seen = new Map()
  const found = await beside(path, { packed: 1, seen }).ending([files[1]?.last ?? genesis])
  expect(found).toBe(undefined)
  expect([...seen.values()].map(({ last }) => last.seq)).toEqual([7])
  // A file that cannot be unpacked any more and looks the same is not read again.
  const newest = `${path}.2.gz`
  const { length } = fs.readFileSync(newest)
  fs.writeFileSync(newest, Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(length - 2)]))
  fs.utimesSync(newest, 2, 2)
  const again = beside(path, { packed: 1, seen })
  expect((await again.ending([files[2]?.last ?? genesis]))?.path).toBe(newest)
})

test('names of closed segments sort in the order of closing, also where the clock goes back', () => {
  const names = [
    NOON,
    NOON,
    NOON - 86_400_000,
    NOON + 1,
    Date.UTC(2026, 11, 31, 23, 59, 59, 999),
  ].map((now) => {
    const name = segmentName(path, now)
    fs.writeFileSync(name, '')
    return name
  })
  expect(names).toEqual(names.toSorted())
  expect(new Set(names).size).toBe(names.length)
  expect(names[0]).toBe(`${path}.20261128T120000.000Z`)
})

test('expired are those that deputy closed before, and no file of anybody else', () => {
  for (const name of ['20260101T000000.000Z', '20260301T000000.000Z', '1', '20250101', 'old'])
    fs.writeFileSync(`${path}.${name}`, '')
  fs.writeFileSync(join(folder, 'other.jsonl.20200101T000000.000Z'), '')
  expect(expired(path, Date.UTC(2026, 1, 1))).toEqual([`${path}.20260101T000000.000Z`])
  expect(expired(path, Date.UTC(2025, 1, 1))).toEqual([])
})
