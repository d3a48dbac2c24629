import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sumRepeats } from '../../proxy/observe/repeats.ts'

type Line = Parameters<ReturnType<typeof sumRepeats>['say']>[0]
let out: Line[]
let sums: ReturnType<typeof sumRepeats>
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  out = []
  sums = sumRepeats((line) => void out.push(line))
})
afterEach(() => {
  vi.useRealTimers()
})
const say = (fields: object = {}, msg = 'it failed', level: Line['level'] = 'warn'): void =>
  sums.say({ level, fields, msg })
const repeats = () =>
  out.map(({ fields }) => ('repeated' in fields ? Number(fields.repeated) : undefined))

test('the first of equal lines is told at once, the rest once a minute with how many', () => {
  for (let n = 0; n < 200; n += 1) say({ exchange: `e${n}` })
  expect(out).toEqual([{ level: 'warn', fields: { exchange: 'e0' }, msg: 'it failed' }])
  vi.advanceTimersByTime(59_000)
  expect(out).toHaveLength(1)
  vi.advanceTimersByTime(1_000)
  expect(out[1]).toEqual({
    level: 'warn',
    fields: { exchange: 'e199', repeated: 199 },
    msg: 'it failed',
  })
  say()
  say()
  vi.advanceTimersByTime(60_000)
  expect(repeats()).toEqual([undefined, 199, 2])
  // A quiet minute, and the next one is a first one again.
  vi.advanceTimersByTime(60_000)
  expect(out).toHaveLength(3)
  say()
  expect(repeats()).toEqual([undefined, 199, 2, undefined])
})

test('lines of another time are told by their own minute', () => {
  say({}, 'a')
  vi.advanceTimersByTime(30_000)
  say({}, 'b')
  say({}, 'a')
  say({}, 'b')
  vi.advanceTimersByTime(30_000)
  expect(out.map(({ msg }) => msg)).toEqual(['a', 'b', 'a'])
  vi.advanceTimersByTime(30_000)
  expect(out.map(({ msg }) => msg)).toEqual(['a', 'b', 'a', 'b'])
})

const coded = (code: string, cause?: unknown): Error =>
  Object.assign(new Error(`at ${Math.random()}`, { cause }), { code })

test.each<[string, Parameters<typeof say>]>([
  ['level', [{}, 'it failed', 'error']],
  ['message', [{}, 'something else failed']],
  ['connection', [{ connection: 'b' }]],
  ['provider', [{ provider: 'b' }]],
  ['client', [{ client_id: 'b' }]],
  ['kind', [{ kind: 'busy' }]],
  ['row', [{ row: 'grants.yaml: 2' }]],
  ['file', [{ file: '/a' }]],
  ['code of the error', [{ err: coded('ECONNRESET') }]],
  ['code of its cause', [{ err: coded('upstream_unreachable', coded('ECONNRESET')) }]],
  ['code of the error as the fields', [coded('ECONNRESET')]],
])('another %s is another line', (_, other) => {
  say()
  say({ err: coded('upstream_unreachable', coded('ECONNREFUSED')) })
  say(...other)
  say(...other)
  expect(out).toHaveLength(3)
})

test('another person, call, time or number is not', () => {
  say({ credential: 'c1', exchange: 'e1', err: coded('ETIMEDOUT') }, 'late by 12 s')
  say({ credential: 'c2', exchange: 'e2', err: coded('ETIMEDOUT') }, 'late by 7 s')
  expect(out).toHaveLength(1)
})

test('what was only counted is told at the end, once, an error as the fields included', () => {
  const error = coded('ECONNRESET')
  for (let n = 0; n < 3; n += 1) sums.say({ level: 'error', fields: error, msg: 'x' })
  sums.flush()
  sums.flush()
  vi.advanceTimersByTime(120_000)
  expect(out).toEqual([
    { level: 'error', fields: error, msg: 'x' },
    { level: 'error', fields: { err: error, repeated: 2 }, msg: 'x' },
  ])
})

test('only so many are remembered: the oldest is told before it is forgotten', () => {
  say({ file: 'first' })
  say({ file: 'first' })
  for (let n = 0; n < 256; n += 1) say({ file: String(n) })
  expect(out.filter(({ fields }) => 'repeated' in fields)).toEqual([
    { level: 'warn', fields: { file: 'first', repeated: 1 }, msg: 'it failed' },
  ])
  // Forgotten: a first one again.
  say({ file: 'first' })
  expect(out.at(-1)?.fields).toEqual({ file: 'first' })
})
