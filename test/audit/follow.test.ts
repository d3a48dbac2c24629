// Lines as they come, across every way in which files are rotated: each once, in order, none lost.
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createFollower, type Follower, type Place } from '../../proxy/audit/follow.ts'
import { evidenceOf } from './evidence_lines.ts'

let root = ''
let path = ''
beforeAll(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'deputy-follow-'))
})
afterAll(() => fs.rmSync(root, { recursive: true }))
beforeEach(() => {
  path = join(fs.mkdtempSync(join(root, 'case-')), 'audit.jsonl')
})

const ALL = evidenceOf(
  Array.from({ length: 40 }, (_, n) => [
    `2026-11-28T00:00:${String(n).padStart(2, '0')}.000Z`,
    'refused',
    { n },
  ]),
)
const text = (from: number, to: number): string => `${ALL.slice(from, to).join('\n')}\n`
const append = (from: number, to: number): void => fs.appendFileSync(path, text(from, to))
let last: Place | null = null
/** Numbers of the lines that come now, some at a time. */
const read = async (follower: Follower, lines = 3): Promise<readonly number[]> => {
  const got: number[] = []
  for (;;) {
    const some = await follower.next({ lines, bytes: 1e6 })
    if (some.length === 0) return got
    got.push(...some.map(({ link }) => link.seq - 1))
    last = some.at(-1)?.place ?? last
  }
}
const span = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

test('what is there comes at once, what is added later then; half a line waits for its end', async () => {
  append(0, 5)
  const follower = createFollower(path, null)
  expect(await read(follower)).toEqual(span(0, 5))
  const half = text(5, 6).slice(0, 20)
  fs.appendFileSync(path, half)
  expect(await read(follower)).toEqual([])
  fs.appendFileSync(path, text(5, 6).slice(20))
  append(6, 8)
  expect(await read(follower)).toEqual([5, 6, 7])
})

test('a file that is not there yet is waited for', async () => {
  const follower = createFollower(path, null)
  expect(await read(follower)).toEqual([])
  append(0, 2)
  expect(await read(follower)).toEqual([0, 1])
})

const ROTATIONS: Readonly<Record<string, () => void>> = {
  moved: () => fs.renameSync(path, `${path}.1`),
  'moved and packed': () => {
    fs.writeFileSync(`${path}.1.gz`, gzipSync(fs.readFileSync(path)))
    fs.rmSync(path)
  },
  'copied and emptied': () => {
    fs.copyFileSync(path, `${path}.1`)
    fs.truncateSync(path)
  },
}
test.each(Object.keys(ROTATIONS))('a file that is %s is read to its end first', async (how) => {
  append(0, 5)
  const follower = createFollower(path, null)
  expect(await read(follower)).toEqual(span(0, 5))
  append(5, 9) // nobody read these yet
  ROTATIONS[how]?.()
  expect(await read(follower)).toEqual(span(5, 9))
  append(9, 12)
  expect(await read(follower)).toEqual(span(9, 12))
})

test.each(Object.keys(ROTATIONS))(
  'after a restart it goes on where it was, also where its file was %s since',
  async (how) => {
    append(0, 7)
    await createFollower(path, null)
      .next({ lines: 4, bytes: 1e6 })
      .then((some) => (last = some.at(-1)?.place ?? null))
    ROTATIONS[how]?.()
    append(7, 9)
    const again = createFollower(path, last)
    expect(await read(again)).toEqual(span(4, 9))
  },
)

test('several files were closed while nobody read', async () => {
  append(0, 3)
  const follower = createFollower(path, null)
  await read(follower)
  for (const [from, to, name] of [
    [3, 6, 'a'],
    [6, 9, 'b'],
  ] as const) {
    append(from, to)
    fs.renameSync(path, `${path}.${name}`)
  }
  append(9, 11)
  expect(await read(follower)).toEqual(span(3, 11))
  expect(follower.finished().map((name) => name.slice(path.length))).toEqual(['.a', '.b'])
  expect(follower.finished()).toEqual([])
})

test('where the line is not there any more, all is read: what comes twice can be told', async () => {
  append(0, 4)
  fs.renameSync(path, `${path}.1`)
  append(4, 6)
  const gone = { link: { proc: 'P1', seq: 99, hash: 'x' }, ino: 1, offset: 10 }
  expect(await read(createFollower(path, gone))).toEqual(span(0, 6))
})

test('a place whose file is another by now is not believed', async () => {
  append(0, 6)
  const follower = createFollower(path, null)
  await follower.next({ lines: 3, bytes: 1e6 }).then((some) => (last = some.at(-1)?.place ?? null))
  const odd = { ...(last as unknown as Place), offset: (last?.offset ?? 0) + 7 }
  expect(await read(createFollower(path, odd))).toEqual(span(3, 6))
})

test('says how much is left, and what is no line of evidence is passed over', async () => {
  append(0, 4)
  const follower = createFollower(path, null)
  expect(follower.behind()).toBe(Buffer.byteLength(text(0, 4)))
  await follower.next({ lines: 1, bytes: 1e6 })
  expect(follower.behind()).toBe(Buffer.byteLength(text(1, 4)))
  fs.appendFileSync(path, 'not evidence\n')
  append(4, 5)
  expect(await read(follower)).toEqual(span(1, 5))
  expect(follower.behind()).toBe(0)
})

test('a file that is packed, or removed, while it waits to be read stops nothing', async () => {
  append(0, 5)
  fs.renameSync(path, `${path}.1`)
  append(5, 9)
  fs.renameSync(path, `${path}.2`)
  append(9, 12)
  const lost: number[] = []
  const follower = createFollower(path, null, ({ seq }) => void lost.push(seq - 1))
  expect((await follower.next({ lines: 3, bytes: 1e6 })).map(({ link }) => link.seq - 1)).toEqual(
    span(0, 3),
  )
  fs.writeFileSync(`${path}.1.gz`, gzipSync(fs.readFileSync(`${path}.1`)))
  fs.rmSync(`${path}.1`)
  expect((await follower.next({ lines: 2, bytes: 1e6 })).map(({ link }) => link.seq - 1)).toEqual([
    3, 4,
  ])
  expect(lost).toEqual([])
  fs.rmSync(`${path}.2`)
  // What it held is gone, and that is told; what continues it is there.
  expect(await read(follower)).toEqual(span(9, 12))
  expect(lost).toEqual([4])
})

test('what was rotated while nobody read counts as waiting, and what was read does not', async () => {
  append(0, 5)
  const follower = createFollower(path, null)
  expect(await read(follower)).toEqual(span(0, 5))
  append(5, 9)
  fs.renameSync(path, `${path}.1`)
  append(9, 20)
  expect(follower.behind()).toBe(text(5, 20).length)
  fs.renameSync(path, `${path}.2`)
  append(20, 22)
  expect(follower.behind()).toBe(text(5, 22).length)
  expect([follower.waits(`${path}.1`), follower.waits(`${path}.2`)]).toEqual([true, true])
  expect(await read(follower)).toEqual(span(5, 22))
  expect(follower.behind()).toBe(0)
  expect([follower.waits(`${path}.1`), follower.waits(`${path}.2`)]).toEqual([false, false])
})

test('a packed file is unpacked once, however many times some of it is asked for', async () => {
  append(0, 30)
  fs.writeFileSync(`${path}.1.gz`, gzipSync(fs.readFileSync(path)))
  fs.writeFileSync(path, text(30, 32))
  const follower = createFollower(path, null)
  const first = await follower.next({ lines: 2, bytes: 1e6 })
  expect(first.map(({ link }) => link.seq - 1)).toEqual([0, 1])
  // Whoever began anew would find nothing.
  fs.writeFileSync(`${path}.1.gz`, gzipSync(''))
  expect(await read(follower, 2)).toEqual(span(2, 32))
})
