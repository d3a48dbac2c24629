import { expect, test, vi } from 'vitest'
import { createNow } from '../../proxy/wire/now.ts'

const START = Date.parse('2026-11-29T23:59:58Z')
const BERLIN = ['Europe/Berlin']

test('the time of UTC, and of the zones that are asked for', () => {
  let now = START
  const member = createNow({ now: () => now })
  const told = (zones: readonly string[]): unknown => JSON.parse(member(zones)[1])
  const utc = { unix_s: START / 1_000, weekday: 'sun', hour: 23 }
  expect(told([])).toEqual(utc)
  const berlin = { weekday: 'mon', hour: 0, minute: 59 }
  expect(told(BERLIN)).toEqual({ ...utc, zones: { 'Europe/Berlin': berlin } })
  // Another policy asks for others within the same second.
  expect(told(['UTC'])).toEqual({
    ...utc,
    zones: { UTC: { weekday: 'sun', hour: 23, minute: 59 } },
  })
  now += 2_000
  expect(told(BERLIN)).toMatchObject({
    hour: 0,
    zones: { 'Europe/Berlin': { hour: 1, minute: 0 } },
  })
  // A clock that is set back is believed.
  now = START - 3_600_000
  expect(told(BERLIN)).toMatchObject({ hour: 22, zones: { 'Europe/Berlin': { hour: 23 } } })
})

test('is prepared once a second, and other clocks are asked once a minute', () => {
  let now = START - 58_000
  const member = createNow({ now: () => now })
  const first = member(BERLIN)
  expect(member(BERLIN)).toBe(first)
  const asked = vi.spyOn(Intl.DateTimeFormat.prototype, 'formatToParts')
  try {
    for (let second = 1; second < 60; second++) {
      now += 1_000
      member(BERLIN)
    }
    expect(asked).not.toHaveBeenCalled()
    now += 1_000
    member(BERLIN)
    expect(asked).toHaveBeenCalledTimes(1)
  } finally {
    asked.mockRestore()
  }
})
