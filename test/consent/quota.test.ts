// How many links an agent may ask for in a person's name.
import { expect, test } from 'vitest'
import { createQuota, QUOTA_MS } from '../../proxy/consent/quota.ts'
import type { Store } from '../../proxy/model.ts'

const alice = { tenant: 'acme', realm: 'corp', id: 'alice' }
const NOW = 10_000_000

/** @param begun when links were made, the newest first */
const quotaOf = (begun: readonly number[]) => {
  const flows = {
    begun: (_person: object, _agent: string, since: number, most: number) =>
      Promise.resolve(begun.filter((at) => at > since).slice(0, most)),
  } as unknown as Store['flows']
  return createQuota({ flows }, { now: () => NOW, mono: () => 0 })
}
const made = (count: number, at: number): number[] => Array.from({ length: count }, () => at)

test('the thirtieth link is made, the one after it waits until the oldest no longer counts', async () => {
  const make = () => Promise.resolve('link')
  expect(await quotaOf(made(29, NOW - 1)).take(alice, 'triage', make)).toBe('link')
  await expect(quotaOf(made(30, NOW - 60_000)).take(alice, 'triage', make)).rejects.toMatchObject({
    code: 'rate_limited',
    extra: { retry_after: (QUOTA_MS - 60_000) / 1_000 },
  })
  expect(await quotaOf(made(30, NOW - QUOTA_MS)).take(alice, 'triage', make)).toBe('link')
})

test('links that are being made count at once, for that person and agent, until they are made or fail', async () => {
  const quota = quotaOf(made(29, NOW - 1))
  const { promise, reject } = Promise.withResolvers<string>()
  const first = quota.take(alice, 'triage', () => promise)
  const make = () => Promise.resolve('link')
  await expect(quota.take(alice, 'triage', make)).rejects.toMatchObject({ code: 'rate_limited' })
  expect(await quota.take(alice, 'other', make)).toBe('link')
  expect(await quota.take({ ...alice, id: 'bob' }, 'triage', make)).toBe('link')
  reject(new Error('the store is full'))
  await expect(first).rejects.toThrow('the store is full')
  expect(await quota.take(alice, 'triage', make)).toBe('link')
})
