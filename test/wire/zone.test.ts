import { describe, expect, test } from 'vitest'
import { clockOf, isZone } from '../../proxy/wire/zone.ts'

test('an IANA name is a zone; an offset, which knows no daylight saving, and nonsense are none', () => {
  for (const name of ['Europe/Berlin', 'UTC', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5'])
    expect([name, isZone(name)]).toEqual([name, true])
  for (const name of ['Europe/Berlim', '', '+01:00', '-05', 'Berlin', ' UTC', 'UTC\n', '../etc'])
    expect([name, isZone(name)]).toEqual([name, false])
  expect(() => clockOf('Europe/Berlim')).toThrow(RangeError)
})

describe('a clock shows', () => {
  const at = (zone: string, when: string) => {
    const { weekday, hour, minute } = clockOf(zone)(Date.parse(when))
    return `${weekday} ${hour}:${minute}`
  }
  test('another day where it is another day, and midnight as 0', () => {
    expect(at('UTC', '2026-11-29T23:30:00Z')).toBe('sun 23:30')
    expect(at('Asia/Tokyo', '2026-11-29T23:30:00Z')).toBe('mon 8:30')
    expect(at('Asia/Kolkata', '2026-11-29T18:30:00Z')).toBe('mon 0:0')
  })
  test('each day of a week', () => {
    const days = Array.from({ length: 7 }, (_, i) => at('UTC', `2026-11-0${i + 1}T00:05:00Z`))
    expect(days).toEqual(
      ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'].map((day) => `${day} 0:5`),
    )
  })
  test('no hour from 2 to 3 when daylight saving begins, and that hour twice when it ends', () => {
    expect(at('Europe/Berlin', '2026-03-29T00:59:00Z')).toBe('sun 1:59')
    expect(at('Europe/Berlin', '2026-03-29T01:00:00Z')).toBe('sun 3:0')
    expect(at('Europe/Berlin', '2026-10-25T00:30:00Z')).toBe('sun 2:30')
    expect(at('Europe/Berlin', '2026-10-25T01:30:00Z')).toBe('sun 2:30')
    expect(at('Europe/Berlin', '2026-10-25T02:00:00Z')).toBe('sun 3:0')
  })
})
