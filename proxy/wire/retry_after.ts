// When to come again: what `Retry-After` says, and whether an answer means "too often" at all.

/** IMF-fixdate, and the two older forms that recipients must read (RFC 9110 5.6.7). */
const DATE =
  /^(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT|[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [\d ]\d \d\d:\d\d:\d\d \d{4})$/
/** What is larger is a moment (seconds since 1970), not a while. */
const MOMENT_S = 1_000_000_000

/**
 * `Retry-After` (RFC 9110 10.2.3): seconds, or a date.
 * @param now ms since the epoch
 * @param most ms; a longer wait is cut to it
 * @returns ms, 0 for what is past; null: it is absent, or says nothing that counts
 */
export const retryAfterMs = (
  value: string | null | undefined,
  now: number,
  most: number,
): number | null => {
  const said = value?.trim() ?? ''
  if (/^\d+$/.test(said)) return Math.min(Number(said) * 1_000, most)
  if (!DATE.test(said)) return null
  // The form of asctime names no zone, and means UTC.
  const at = Date.parse(said.endsWith('GMT') ? said : `${said} GMT`)
  return Number.isNaN(at) ? null : Math.min(Math.max(at - now, 0), most)
}

/** Names of headers that vendors tell the end of a window in: seconds from now, or the moment. */
const RESETS = ['ratelimit-reset', 'x-ratelimit-reset', 'x-rate-limit-reset'] as const
const REMAINING = [
  'ratelimit-remaining',
  'x-ratelimit-remaining',
  'x-rate-limit-remaining',
] as const

const resetMs = (value: string | null, now: number): number | null => {
  const seconds = /^\d{1,10}(?:\.\d{1,9})?$/.test(value ?? '') ? Number(value) : null
  if (seconds === null) return null
  return seconds < MOMENT_S ? seconds * 1_000 : Math.max(0, seconds * 1_000 - now)
}

/**
 * Does an answer say that nothing was done because of too many calls? 429, and the 403 of those that mean it (GitHub's
 * second limits): with `Retry-After`, or with nothing remaining.
 * @param header the value of a lower-case name; null: it is not there
 * @param now ms since the epoch
 * @param most ms
 * @returns ms to wait, `unsaid` where it names no time; null: it says no such thing
 */
export const limitedFor = (
  status: number,
  header: (name: string) => string | null,
  now: number,
  most: number,
): number | 'unsaid' | null => {
  if (status !== 429 && status !== 403) return null
  const after = retryAfterMs(header('retry-after'), now, most)
  const spent = REMAINING.some((name) => /^0+$/.test(header(name) ?? ''))
  if (status === 403 && after === null && !spent) return null
  if (after !== null) return after
  for (const name of RESETS) {
    const ms = resetMs(header(name), now)
    if (ms !== null) return Math.min(ms, most)
  }
  return 'unsaid'
}
