import { describe, expect, test } from 'vitest'
import { limitedFor, retryAfterMs } from '../../proxy/wire/retry_after.ts'

const NOW = Date.UTC(2026, 10, 29, 12, 0, 0)
const DAY = 86_400_000

describe('Retry-After', () => {
  test.each([
    ['30', 30_000],
    [' 30 ', 30_000],
    ['0', 0],
    ['Sun, 29 Nov 2026 12:01:40 GMT', 100_000],
    ['Sunday, 29-Nov-26 12:01:40 GMT', 100_000],
    ['Sun Nov 29 12:01:40 2026', 100_000],
    ['Sun, 29 Nov 2026 11:00:00 GMT', 0],
    ['999999999', DAY],
    ['Sun, 29 Nov 2099 11:00:00 GMT', DAY],
  ])('%s is read', (value, ms) => expect(retryAfterMs(value, NOW, DAY)).toBe(ms))

  test.each([
    [null],
    [undefined],
    [''],
    ['soon'],
    ['-5'],
    ['1.5'],
    ['1e3'],
    ['5 minutes'],
    ['2026-11-29T12:01:40Z'],
    ['Sun, 99 Nov 2026 12:01:40 GMT'],
    ['Sun, 29 Nov 2026 12:01:40 CET'],
  ])('%s says nothing', (value) => expect(retryAfterMs(value, NOW, DAY)).toBeNull())
})

describe('too many calls', () => {
  const at = (seconds: number) => String(NOW / 1_000 + seconds)
  test.each<[string, number, Record<string, string>, number | 'unsaid' | null]>([
    ['429 with seconds', 429, { 'retry-after': '7' }, 7_000],
    ['429 with a date', 429, { 'retry-after': 'Sun, 29 Nov 2026 12:00:09 GMT' }, 9_000],
    ['429 alone', 429, {}, 'unsaid'],
    ['429 with nonsense', 429, { 'retry-after': 'soon' }, 'unsaid'],
    ['429 and a moment', 429, { 'x-ratelimit-reset': at(12) }, 12_000],
    ['429 and a moment that has passed', 429, { 'x-ratelimit-reset': at(-12) }, 0],
    ['429 and a while', 429, { 'ratelimit-reset': '12' }, 12_000],
    ['429 and parts of a second', 429, { 'x-rate-limit-reset': '0.5' }, 500],
    ['429 with both', 429, { 'retry-after': '3', 'ratelimit-reset': '12' }, 3_000],
    ['429 that asks for a year', 429, { 'x-ratelimit-reset': at(31_536_000) }, DAY],
    ['a 403 of too many', 403, { 'retry-after': '60' }, 60_000],
    [
      'a 403 with nothing left',
      403,
      { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': at(5) },
      5_000,
    ],
    [
      'a 403 with something left',
      403,
      { 'x-ratelimit-remaining': '12', 'x-ratelimit-reset': at(5) },
      null,
    ],
    ['a 403 that forbids', 403, {}, null],
    ['a 503, which may have begun', 503, { 'retry-after': '1' }, null],
    ['a 200 with nothing left', 200, { 'x-ratelimit-remaining': '0' }, null],
  ])('%s', (_, status, headers, ms) =>
    expect(limitedFor(status, (name) => headers[name] ?? null, NOW, DAY)).toBe(ms),
  )
})
