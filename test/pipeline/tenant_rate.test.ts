// How many calls a tenant's agents may make in a minute.
import { expect, test } from 'vitest'
import { createTenantRate } from '../../proxy/pipeline/tenant_rate.ts'
import { toProblem } from '../../proxy/problem.ts'

const rateOf = (bounds: { [tenant: string]: number | undefined }) => {
  const at = { now: 0 }
  const refused: string[] = []
  const rate = createTenantRate({
    most: (tenant) => bounds[tenant],
    mono: () => at.now,
    refused: (tenant) => void refused.push(tenant),
  })
  const calls = (tenant: string, count: number): number => {
    let passed = 0
    for (let i = 0; i < count; i++)
      try {
        rate(tenant)
        passed++
      } catch (error) {
        expect(toProblem(error).code).toBe('tenant_busy')
      }
    return passed
  }
  return { at, refused, rate, calls }
}

test('a minute’s calls pass at once, then as many as the time brings back; another tenant never waits', () => {
  const { at, refused, calls } = rateOf({ north: 60, south: 60 })
  expect([calls('north', 100), calls('south', 60), calls('free', 1_000)]).toEqual([60, 60, 1_000])
  expect(refused).toHaveLength(40)
  at.now += 2_000
  expect([calls('north', 5), calls('south', 1)]).toEqual([2, 1])
  at.now += 3_600_000
  expect(calls('north', 100)).toBe(60)
})

test('who is told to wait is told how long, and a bound that changes counts at once', () => {
  const bounds: { [tenant: string]: number | undefined } = { north: 2, none: 0 }
  const { calls, rate } = rateOf(bounds)
  expect(calls('north', 2)).toBe(2)
  const told = (tenant: string): unknown => {
    try {
      rate(tenant)
    } catch (error) {
      return toProblem(error).extra['retry_after']
    }
    return null
  }
  expect([told('north'), told('none')]).toEqual([30, 60])
  bounds['north'] = undefined
  expect(told('north')).toBeNull()
  bounds['north'] = 1
  expect(calls('north', 2)).toBe(1)
})
