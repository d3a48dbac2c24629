// A stream of an MCP server ends with what let it in, and with the call that it is.
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Act } from '../../proxy/pipeline/classify.ts'
import { lifeOf } from '../../proxy/pipeline/stream_life.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())
const act = (id: string, kind: Act['kind'] = 'mcp') => ({ kind, operation: { id } }) as Act
const signal = new AbortController().signal

test.each([
  ['mcp.stream', 5_000, 5_000],
  ['mcp.subscriptions.listen', 5_000, 5_000],
  ['mcp.stream', null, 3_600_000],
  ['mcp.stream', 86_400_000, 3_600_000],
])('%s of a tag with %s ms left goes on for %i ms', (id, left, ms) => {
  const expiresAt = left === null ? null : 1_000_000 + left
  using life = lifeOf(signal, act(id), { expiresAt }, 1_000_000)
  vi.advanceTimersByTime(Math.max(0, ms - 1))
  expect(life.signal.aborted).toBe(false)
  vi.advanceTimersByTime(1)
  expect(life.signal.reason).toMatchObject({ code: 'unauthenticated' })
})

test('a call ends as it did, and what has ended by itself leaves no timer', () => {
  const call = lifeOf(signal, act('tools.read'), { expiresAt: 1 }, 1_000)
  expect([
    call.signal,
    lifeOf(signal, act('mcp.stream', 'rest'), { expiresAt: 1 }, 0).signal,
  ]).toEqual([signal, signal])
  const outside = new AbortController()
  {
    using life = lifeOf(outside.signal, act('mcp.stream'), { expiresAt: null }, 0)
    outside.abort(new Error('revoked'))
    expect(life.signal.reason).toEqual(new Error('revoked'))
    expect(vi.getTimerCount()).toBe(1)
  }
  expect(vi.getTimerCount()).toBe(0)
})
