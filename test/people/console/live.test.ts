// The stream of what happens: its bounds in streams, rows and bytes, and its ends.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createRecent } from '../../../proxy/audit/recent.ts'
import {
  createLive,
  MOST_OF_ONE,
  MOST_STREAMS,
  type Watcher,
} from '../../../proxy/people/console/live.ts'
import { USUAL } from '../../../proxy/people/console/told.ts'
import { decision, outcome } from '../../audit/evidence_lines.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const world = () => {
  const recent = createRecent()
  recent.keep()
  const live = createLive({ recent, placed: (html) => html })
  let n = 0
  const call = (effect = 'deny', path = '/x'): void => {
    const text = JSON.stringify(decision({ exchange: `E${++n}`, effect, path })).slice(1, -1)
    recent.written([{ at: Date.now(), event: 'decision', fields: `,${text}` }])
  }
  const end = (exchange: string): void => {
    const text = JSON.stringify(outcome(exchange)).slice(1, -1)
    recent.written([{ at: Date.now(), event: 'outcome', fields: `,${text}` }])
  }
  const watch = (more: Partial<Watcher> = {}) =>
    live.open({
      name: 'sso:ada',
      serves: null,
      effects: USUAL,
      since: recent.newest(),
      stands: () => Promise.resolve(true),
      key: 'key',
      ...more,
    })
  return { recent, live, call, end, watch }
}
/** What comes at once. */
const said = async (stream: ReadableStream<Uint8Array> | null, all: string[] = []) => {
  const reader = stream?.getReader()
  const pump = async (): Promise<void> => {
    for (;;) {
      const read = await reader?.read()
      if (read === undefined || read.done) return void all.push('END')
      all.push(new TextDecoder().decode(read.value))
    }
  }
  void pump().catch(() => void all.push('CUT'))
  await vi.advanceTimersByTimeAsync(0)
  return all
}

test('records that come together are one message, on one line each, and only what was asked for', async () => {
  const { call, watch } = world()
  const all = await said(watch({ effects: ['deny'] }))
  call('deny', '/one')
  call('allow', '/two')
  call('deny', '/three')
  await vi.advanceTimersByTimeAsync(500)
  expect(all).toHaveLength(2)
  expect(all[1]).toMatch(/^event: rows\ndata: [^\n]*\/one[^\n]*\/three[^\n]*\n\n$/)
  expect(all[1]).not.toContain('/two')
})

test('a call that ends later takes the place of its beginning, and nothing that was there is looked at again', async () => {
  const { recent, call, end, watch } = world()
  for (let i = 0; i < 20; i++) call('allow', `/old${i}`)
  const read = vi.spyOn(recent, 'after')
  const [all, south] = [
    await said(watch()),
    await said(watch({ serves: (tenant) => tenant === 'south' })),
  ]
  end('E3')
  call('deny', '/new')
  await vi.advanceTimersByTimeAsync(500)
  expect(all[1]).toMatch(/^event: rows\ndata: <tr id="r3"[^\n]*\/old2[^\n]*answered 201[^\n]*\/new/)
  expect(all[1]?.match(/<tr /g)).toHaveLength(2)
  expect(south).toHaveLength(1)
  for (const { value } of read.mock.results) expect((value as unknown[]).length).toBeLessThan(3)
})

test('of more than fifty at once the newest are shown, and how many are not', async () => {
  const { call, watch } = world()
  const all = await said(watch())
  for (let i = 0; i < 70; i++) call('deny', `/n${i}`)
  await vi.advanceTimersByTimeAsync(500)
  expect(all[1]).toMatch(/^event: skipped\ndata: 20\n\nevent: rows\n/)
  expect(all[1]?.match(/<tr /g)).toHaveLength(50)
  expect(all[1]).toContain('/n69')
  expect(all[1]).not.toContain('/n19<')
})

test(`one operator has ${MOST_OF_ONE} streams, all together ${MOST_STREAMS}; who leaves makes room`, async () => {
  const { live, watch } = world()
  const mine = Array.from({ length: MOST_OF_ONE }, () => watch())
  expect(mine).not.toContain(null)
  expect(watch()).toBe(null)
  await mine[0]?.cancel()
  expect(watch()).not.toBe(null)
  for (let i = 0; live.count() < MOST_STREAMS; i++) watch({ name: `sso:${i}` })
  expect(watch({ name: 'sso:last' })).toBe(null)
})

test('who does not read is dropped, and what waited for them is gone', async () => {
  const { live, call, watch } = world()
  const stream = watch()
  for (let i = 0; i < 100 && live.count() > 0; i++) {
    for (let n = 0; n < 50; n++) call('deny', `/${'long'.repeat(30)}`)
    await vi.advanceTimersByTimeAsync(500)
  }
  expect(live.count()).toBe(0)
  await expect(stream?.getReader().read()).rejects.toThrow('too slow')
})

test('it ends when the session does not stand any more, or nobody knows', async () => {
  for (const stands of [() => Promise.resolve(false), () => Promise.reject(new Error('down'))]) {
    const { live, watch } = world()
    const all = await said(watch({ stands }))
    await vi.advanceTimersByTimeAsync(15_000)
    expect(all.slice(-2)).toEqual(['event: end\ndata: \n\n', 'END'])
    expect(live.count()).toBe(0)
  }
})

test('while the session stands there is a sign of life, and nothing else', async () => {
  const { watch } = world()
  const all = await said(watch())
  await vi.advanceTimersByTimeAsync(30_000)
  expect(all.slice(1)).toEqual([': it goes on\n\n', ': it goes on\n\n'])
})

test('a sign-out ends the streams of that session; a drain ends all, and none begins', async () => {
  const { live, watch } = world()
  const [mine, other] = [await said(watch()), await said(watch({ key: 'other' }))]
  live.end('key')
  await vi.advanceTimersByTimeAsync(0)
  expect([mine.at(-1), other.includes('END')]).toEqual(['END', false])
  live.close()
  await vi.advanceTimersByTimeAsync(0)
  expect([other.at(-1), live.count(), watch()]).toEqual(['END', 0, null])
})
