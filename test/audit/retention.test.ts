import { hash } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createRetention } from '../../proxy/audit/retention.ts'

const DAY = 86_400_000
const NOW = Date.UTC(2026, 10, 28)
let folder = ''
let path = ''
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'deputy-retention-'))
  path = join(folder, 'audit.jsonl')
})
afterEach(() => fs.rmSync(folder, { recursive: true }))

const line = (seq: number): string =>
  `{"v":1,"proc":"P1","seq":${seq},"prev":"x","time":"2026-01-01T00:00:00.000Z","event":"call"}`
const segment = (day: string, text = `${line(1)}\n${line(2)}\n`): string => {
  const name = `audit.jsonl.2026${day}T000000.000Z`
  fs.writeFileSync(join(folder, name), text)
  return name
}
const house = (
  retentionMs: number | undefined,
  append?: () => Promise<void>,
  waits?: (file: string) => boolean,
) => {
  const said: string[] = []
  const logged: string[] = []
  const log = (_fields: object, text: string): void => void logged.push(text)
  const expire = createRetention({
    files: [{ path }],
    retentionMs,
    waits,
    clock: { now: () => NOW },
    log: { debug: log, info: log, warn: log, error: log },
    append:
      append ??
      ((event, fields) => {
        // The record comes first: the file is still there.
        const { segment: of } = JSON.parse(`{${fields.slice(1)}}`) as { segment: { file: string } }
        said.push(`${event} ${of.file} ${fs.existsSync(join(folder, of.file))}`)
        return Promise.resolve()
      }),
  })
  return { expire, said, logged, left: () => fs.readdirSync(folder).sort() }
}

test('what is older than the retention goes, once the evidence says so; what is younger stays', async () => {
  fs.writeFileSync(path, `${line(9)}\n`)
  const [old, older, young] = [segment('1020'), segment('0901'), segment('1127')]
  const { expire, said, left } = house(30 * DAY)
  expire()
  await expect.poll(left).toEqual(['audit.jsonl', young])
  expect(said.toSorted()).toEqual([`segment.removed ${older} true`, `segment.removed ${old} true`])
})

test('the record names the last line that went', async () => {
  const name = segment('0901')
  const fields: string[] = []
  const { expire, left } = house(DAY, (...args: unknown[]) => {
    fields.push(String(args[1]))
    return Promise.resolve()
  })
  expire()
  await expect.poll(left).toEqual([])
  expect(JSON.parse(`{${fields[0]?.slice(1)}}`)).toEqual({
    segment: { file: name, proc: 'P1', seq: 2, hash: hash('sha256', line(2)) },
  })
})

test('without a retention nothing is ever removed', async () => {
  const name = segment('0101')
  const { expire, left } = house(undefined)
  expire()
  await new Promise(setImmediate)
  expect(left()).toEqual([name])
})

test.each<[string, string | undefined, (() => Promise<void>) | undefined]>([
  ['is no evidence', 'somebody’s notes\n', undefined],
  ['the evidence cannot be told of', undefined, () => Promise.reject(new Error('full'))],
])('what %s stays, and the log says that it is tried again', async (_name, text, append) => {
  const name = segment('0901', text)
  const { expire, logged, left } = house(DAY, append)
  expire()
  await expect
    .poll(() => logged)
    .toEqual(['old evidence could not be removed; tried again in an hour'])
  expect(left()).toEqual([name])
})

test('what somebody else does not have yet stays, and goes once they have it', async () => {
  const [old, older] = [segment('1020'), segment('0901')]
  let waiting = true
  const { expire, said, logged, left } = house(30 * DAY, undefined, (file) =>
    waiting ? file.endsWith(older) : false,
  )
  expire()
  await expect.poll(left).toEqual([older])
  expect(said).toEqual([`segment.removed ${old} true`])
  expect(logged).toEqual(['old evidence stays, because the collector does not have it yet'])
  waiting = false
  expire()
  await expect.poll(left).toEqual([])
})
