// What leaves for a collector: each line once and in order, whatever the collector answers, and over restarts.
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createExport, type Export, type Send, type Sent } from '../../proxy/audit/export.ts'
import { evidenceOf } from './evidence_lines.ts'

let root = ''
let path = ''
let open: Export[] = []
beforeAll(() => {
  root = fs.mkdtempSync(join(tmpdir(), 'deputy-export-'))
})
afterAll(() => fs.rmSync(root, { recursive: true }))
beforeEach(() => {
  path = join(fs.mkdtempSync(join(root, 'case-')), 'evidence.jsonl')
})
afterEach(async () => {
  for (const each of open) await each.close(0)
  open = []
})

const ALL = evidenceOf(
  Array.from({ length: 1_500 }, (_, n) => ['2026-11-28T00:00:00.000Z', 'refused', { n }]),
)
const append = (from: number, to: number): void =>
  fs.appendFileSync(path, `${ALL.slice(from, to).join('\n')}\n`)
const quiet = () => undefined
let noted: unknown[] = []
const started = (send: Send, remove = false, mono = (): number => performance.now()): Export => {
  noted = []
  const each = createExport({
    path,
    cursor: `${path}.exported`,
    remove,
    send,
    note: (event, fields) => void noted.push([event, fields]),
    clock: { now: Date.now, mono },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  })
  open.push(each)
  each.start()
  return each
}
/** Answers in turn, the last one for ever; what it took, it keeps. */
const collector = (...answers: readonly Sent['kind'][]) => {
  const got: string[] = []
  let asked = 0
  const send: Send = async (records) => {
    await Promise.resolve()
    const kind = answers[Math.min(asked++, answers.length - 1)] ?? 'taken'
    const bodies = records.map(({ body }) => body)
    if (kind === 'taken') got.push(...bodies)
    return kind === 'later'
      ? { kind, why: 'down', afterMs: 1 }
      : kind === 'refused'
        ? { kind, why: 'no' }
        : kind === 'partly'
          ? { kind, rejected: 1, why: 'one' }
          : { kind }
  }
  return { got, send, asked: () => asked }
}

test('every line, in order, in batches; what comes later goes later', async () => {
  append(0, 1_200)
  const { got, send, asked } = collector('taken')
  const each = started(send)
  await expect.poll(() => got.length).toBe(1_200)
  expect(got).toEqual(ALL.slice(0, 1_200))
  expect(asked()).toBe(5)
  append(1_200, 1_210)
  await expect.poll(() => got.length).toBe(1_210)
  expect([each.behind(), each.problem(), each.counts().sent]).toEqual([0, null, 1_210])
})

test('what is written while the end of the file is read is sent before it stops', async () => {
  append(0, 1)
  const { got, send } = collector('taken')
  let looks = 0
  let closed: Promise<void> | undefined
  const each = started(send, false, () => {
    looks += 1
    if (looks === 3) {
      append(1, 4)
      closed = each.close(5_000)
    }
    return performance.now()
  })
  await expect.poll(() => looks).toBeGreaterThanOrEqual(3)
  await closed
  expect(got).toEqual(ALL.slice(0, 4))
})

test('an outage loses nothing, is told while it lasts, and heals', async () => {
  append(0, 5)
  const { got, send } = collector('later', 'later', 'later', 'taken')
  const each = started(send)
  const problems = new Set<string | null>()
  await expect
    .poll(
      () => {
        problems.add(each.problem())
        return got.length
      },
      { interval: 1 },
    )
    .toBe(5)
  expect(problems).toContain('down')
  expect(each.problem()).toBeNull()
  expect(each.counts()).toEqual({ sent: 5, failed: 3, rejected: 0 })
})

test('what was read and is not taken is lacking still: it is counted, and no retention removes its file', async () => {
  append(0, 5)
  const { got, send, asked } = collector('later', 'later', 'taken')
  let goOn = (): void => {}
  const told = new Promise<void>((resolve) => (goOn = resolve))
  const each = started(async (...given) => {
    if (asked() > 0) await told
    return send(...given)
  })
  await expect.poll(() => each.problem()).toBe('down')
  expect([each.behind(), each.waits(path)]).toEqual([fs.statSync(path).size, true])
  goOn()
  await expect.poll(() => got.length).toBe(5)
  await expect.poll(() => [each.behind(), each.waits(path)]).toEqual([0, false])
})

test('a send that throws is an outage', async () => {
  append(0, 5)
  let asked = 0
  const { got, send } = collector('taken')
  started((...given) => (asked++ === 0 ? Promise.reject(new Error('boom')) : send(...given)))
  await expect.poll(() => got.length).toBe(5)
})

test('a restart goes on where the last process was, and nothing is sent twice', async () => {
  append(0, 600)
  const first = collector('taken')
  const before = started(first.send)
  await expect.poll(() => first.got.length).toBe(600)
  await before.close(1_000)
  append(600, 700)
  const second = collector('taken')
  started(second.send)
  await expect.poll(() => second.got.length).toBe(100)
  expect(second.got).toEqual(ALL.slice(600, 700))
})

test('what is there when deputy stops is still sent, for as long as it may take', async () => {
  append(0, 700)
  const taking = collector('taken')
  await started(taking.send).close(5_000)
  expect(taking.got).toHaveLength(700)
  append(700, 710)
  const dead = collector('later')
  const began = performance.now()
  await started(dead.send).close(300)
  expect(performance.now() - began).toBeLessThan(5_000)
  const after = collector('taken')
  started(after.send)
  await expect.poll(() => after.got).toEqual(ALL.slice(700, 710))
})

test('a close that falls into a request that never ends is not kept by it', async () => {
  append(0, 5)
  const each = started(
    (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () =>
          resolve({ kind: 'later', why: 'over', afterMs: null }),
        )
      }),
  )
  await each.close(100)
})

test('one line that the collector will not have is named in the evidence, and the others arrive', async () => {
  append(0, 100)
  const got: string[] = []
  const poison = ALL[37] ?? ''
  const each = started(async (records) => {
    await Promise.resolve()
    const bodies = records.map(({ body }) => body)
    if (bodies.includes(poison)) return { kind: 'refused', why: 'bad request' }
    got.push(...bodies)
    return { kind: 'taken' }
  })
  await expect.poll(() => got.length).toBe(99)
  expect(got).toEqual(ALL.slice(0, 100).filter((line) => line !== poison))
  expect(each.counts()).toMatchObject({ sent: 99, rejected: 1 })
  expect(noted).toEqual([
    [
      'audit.rejected',
      { lines: { proc: 'P1', first: 38, last: 38 }, count: 1, why: 'bad request' },
    ],
  ])
})

test('a collector that will have nothing at all is an outage after three lines, not a reason to throw the rest away', async () => {
  append(0, 50)
  const { send } = collector('refused')
  const each = started(send)
  await expect.poll(() => each.problem()).toBe('no')
  expect(each.counts().rejected).toBe(3)
})

test('what was dropped of a request that was taken is named, and not sent again', async () => {
  append(0, 10)
  const { send, asked } = collector('partly', 'taken')
  const each = started(send)
  await expect.poll(() => each.counts()).toEqual({ sent: 9, failed: 0, rejected: 1 })
  append(10, 11)
  await expect.poll(asked).toBe(2)
  expect(noted).toEqual([
    ['audit.rejected', { lines: { proc: 'P1', first: 1, last: 10 }, count: 1, why: 'one' }],
  ])
})

test('its own notes about rejection are not noted again', async () => {
  fs.writeFileSync(
    path,
    `${evidenceOf([['2026-11-28T00:00:00.000Z', 'audit.rejected', {}]], 'P9')
      .slice(1)
      .join('\n')}\n`,
  )
  const { send } = collector('partly')
  const each = started(send)
  await expect.poll(() => each.counts().rejected).toBe(1)
  expect(noted).toEqual([])
})

test('files of a spool are removed once all of them was taken, the one that is written never', async () => {
  append(0, 5)
  fs.renameSync(path, `${path}.20261128T000000.000Z`)
  append(5, 8)
  const { got, send } = collector('later', 'taken')
  const removing = started(send, true)
  await expect.poll(() => got.length).toBe(8)
  await expect
    .poll(() => fs.readdirSync(join(path, '..')).toSorted())
    .toEqual(['evidence.jsonl', 'evidence.jsonl.exported'])
  await removing.close(0)
  const kept = collector('taken')
  fs.renameSync(path, `${path}.20261128T000001.000Z`)
  append(8, 9)
  const keeping = started(kept.send, false)
  await expect.poll(() => kept.got.length).toBeGreaterThan(0)
  await keeping.close(1_000)
  expect(fs.existsSync(`${path}.20261128T000001.000Z`)).toBe(true)
})

test('a cursor that cannot be read stops the start: nobody knows what was sent', () => {
  fs.mkdirSync(`${path}.exported`)
  expect(() => started(collector('taken').send)).toThrow('EISDIR')
})

test('a collector that asks for no patience is not asked without a pause', async () => {
  append(0, 5)
  let asked = 0
  started(() => {
    asked++
    return Promise.resolve({ kind: 'later', why: 'busy', afterMs: 0 })
  })
  await expect.poll(() => asked).toBeGreaterThan(0)
  await new Promise((resolve) => void setTimeout(resolve, 400))
  expect(asked).toBeLessThanOrEqual(3)
})

test('evidence that is gone before it was sent is named in the evidence', async () => {
  append(0, 5)
  const { got, send } = collector('taken')
  const before = started(send)
  await expect.poll(() => got.length).toBe(5)
  await before.close(1_000)
  fs.writeFileSync(path, `${ALL.slice(9, 12).join('\n')}\n`)
  started(send)
  await expect.poll(() => got.length).toBe(8)
  expect(noted).toEqual([['audit.unsent', { after: expect.objectContaining({ seq: 5 }) }]])
})
