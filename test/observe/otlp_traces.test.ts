import { describe, expect, test } from 'vitest'
import type { Fetch } from '../../proxy/net/dial.ts'
import { createTracing, type Tracing } from '../../proxy/observe/otlp_traces.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const clock = { now: () => Date.now(), mono: () => performance.now() }
/** A collector that answers so. */
const tracing = (
  answer: () => Promise<Response>,
  more: { readonly key?: number; readonly most?: number; readonly patience?: number } = {},
): Tracing & { readonly asked: () => number } => {
  let asked = 0
  const fetch: Fetch = () => {
    asked++
    return answer()
  }
  const target = { url: 'http://collector.test', headers: {}, fetch, now: clock.now }
  return {
    ...createTracing({ target, version: '1', key: 0, clock, log: silent, ...more }),
    asked: () => asked,
  }
}
const taken = (): Promise<Response> => Promise.resolve(new Response(null, { status: 200 }))
const never = (): Promise<Response> => new Promise(() => {})
const ended = { name: 'GET', attributes: {}, failed: false }
const traceId = (n: number): string => n.toString(16).padStart(32, '0')
const header = (trace: string, flags = '01'): string => `00-${trace}-00f067aa0ba902b7-${flags}`
/** Differ in their last bits, as random ones do. */
const spread = (n: number): string =>
  ((n * 2_654_435_761) >>> 0).toString(16).padStart(8, '0').padStart(32, 'a')

describe('the share', () => {
  const kept = (made: Tracing, headers: readonly (string | undefined)[], share: number): number =>
    headers.filter((one) => made.begin(one, share) !== null).length
  const many = Array.from({ length: 10_000 }, (_, n) => n)

  test.each([0.01, 0.5])('of %d is that of calls without a trace, and of traces', (share) => {
    const made = tracing(taken)
    const none = many.map(() => undefined)
    const traced = many.map((n) => header(spread(n)))
    for (const headers of [none, traced]) {
      expect(kept(made, headers, share) / many.length).toBeGreaterThan(share * 0.6)
      expect(kept(made, headers, share) / many.length).toBeLessThan(share * 1.4)
    }
  })
  test('is nobody’s but the configuration’s: no flag asks for more or less', () => {
    const made = tracing(taken)
    for (const flags of ['01', '00', 'ff']) {
      const headers = many.map((n) => header(spread(n), flags))
      expect(kept(made, headers, 0.1) / many.length).toBeLessThan(0.14)
      expect(kept(made, headers, 1)).toBe(many.length)
      expect(kept(made, headers, 0)).toBe(0)
    }
  })
  test('takes all calls of a trace or none, the same ones by the same key and others by another', () => {
    const by = (key: number) => {
      const made = tracing(taken, { key })
      return many.slice(0, 1_000).map((n) => made.begin(header(spread(n)), 0.5) !== null)
    }
    expect(by(7)).toEqual(by(7))
    expect(by(7)).not.toEqual(by(0x9e3779b9))
  })
  test('is not got by a trace id that is small', () => {
    const small = header(traceId(1))
    const lucky = many.filter(
      (n) => tracing(taken, { key: (n * 2_654_435_761) >>> 0 }).begin(small, 0.1) !== null,
    )
    expect(lucky.length / many.length).toBeLessThan(0.14)
  })
})

describe('spans', () => {
  test('that wait are bounded; the others are counted, and not one more is kept', async () => {
    const made = tracing(never, { most: 10 })
    for (let i = 0; i < 25; i++) made.begin(undefined, 1)?.end(ended)
    expect(made.counts()).toEqual({ exported: 0, failed: 0, dropped: 15 })
    await expect.poll(made.asked).toBeGreaterThan(0)
    // Those under way wait as well.
    made.begin(undefined, 1)?.end(ended)
    expect(made.counts().dropped).toBe(16)
  })
  test('that wait are 2,048 where nothing else is said', () => {
    const made = tracing(never)
    for (let i = 0; i < 2_060; i++) made.begin(undefined, 1)?.end(ended)
    expect(made.counts().dropped).toBe(12)
  })
  test('of a request that is not taken in time are counted, and there is room again', async () => {
    let down = true
    const made = tracing(
      () => (down ? Promise.resolve(new Response(null, { status: 503 })) : taken()),
      { most: 2, patience: 2_000 },
    )
    for (let i = 0; i < 2; i++) made.begin(undefined, 1)?.end(ended)
    await expect.poll(() => made.counts().failed).toBe(2)
    expect(made.asked()).toBeGreaterThan(1)
    down = false
    made.begin(undefined, 1)?.end(ended)
    await made.close(5_000)
    expect(made.counts()).toEqual({ exported: 1, failed: 2, dropped: 0 })
  })
  test('are sent at the end, and given up on when that takes too long', async () => {
    const heard = tracing(taken)
    for (let i = 0; i < 1_500; i++) heard.begin(undefined, 1)?.end(ended)
    await heard.close(5_000)
    expect(heard.counts().exported).toBe(1_500)
    const made = tracing(() => Promise.resolve(new Response(null, { status: 503 })))
    made.begin(undefined, 1)?.end(ended)
    const began = performance.now()
    await made.close(200)
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(made.counts()).toEqual({ exported: 0, failed: 1, dropped: 0 })
  })
  test('of a call that goes on for ever say no more than its first events', async () => {
    const bodies: Uint8Array[] = []
    const fetch: Fetch = (_, init) => {
      bodies.push(init?.body as Uint8Array)
      return taken()
    }
    const target = { url: 'http://collector.test', headers: {}, fetch, now: clock.now }
    const made = createTracing({ target, version: '1', key: 0, clock, log: silent })
    const timeline = made.begin(undefined, 1)
    for (let i = 0; i < 100_000; i++) timeline?.at(`event-${i}-`)
    timeline?.end(ended)
    await made.close(5_000)
    const text = Buffer.concat(bodies).toString('latin1')
    expect(text).toContain('event-63-')
    expect(text).not.toContain('event-64-')
  })
})

test('of what a collector says of a span that it did not take, the log holds a sentence and no book', async () => {
  const said = Buffer.from('x'.repeat(20_000))
  const length = (n: number): number[] => [(n & 127) | 128, ((n >> 7) & 127) | 128, n >> 14]
  // One rejected span (field 1), and why (field 2), within partial_success (field 1).
  const inner = [8, 1, 18, ...length(said.length), ...said]
  const told: object[] = []
  const target = {
    url: 'http://collector.test',
    headers: {},
    fetch: () =>
      Promise.resolve(new Response(Buffer.from([10, ...length(inner.length), ...inner]))),
    now: clock.now,
  }
  const log = { ...silent, warn: (fields: object) => void told.push(fields) }
  const made = createTracing({ target, version: '1', key: 0, clock, log })
  made.begin(undefined, 1)?.end(ended)
  await made.close(5_000)
  expect(told).toEqual([{ why: 'x'.repeat(512), spans: 1 }])
})
