import { describe, expect, test } from 'vitest'
import { createClock } from '../proxy/clock.ts'

const START = 1_800_000_000_000
/** A machine whose clocks are moved by hand. */
const machine = (readBoot?: () => number) => {
  const at = { wall: START, mono: 5_000, boot: 90_000 }
  const clock = createClock({
    wall: () => at.wall,
    mono: () => at.mono,
    boot: readBoot ?? (() => at.boot),
  })
  return {
    at,
    clock,
    /** Time passes, and deputy looks at the clock each second. */
    pass: (ms: number): void => {
      for (let left = ms; left > 0; left -= 1_000) {
        const step = Math.min(left, 1_000)
        at.wall += step
        at.mono += step
        at.boot += step
        clock.wrong()
      }
    },
  }
}

describe('a wall clock that is set back', () => {
  test('ends nothing later: what was over stays over, and a minute off is wrong', () => {
    const { at, clock, pass } = machine()
    pass(300_000)
    at.wall -= 120_000
    expect(clock.now()).toBe(START + 300_000)
    expect(clock.wrong()).toBe('behind')
    expect(clock.lead()).toBe(-120_000)
    pass(10_000)
    expect(clock.now()).toBe(START + 310_000)
  })
  test('is never believed, however long it stays, and is right again when it comes back', () => {
    const { at, clock, pass } = machine()
    at.wall = 0
    pass(3_600_000)
    expect([clock.wrong(), clock.now()]).toEqual(['behind', START + 3_600_000])
    at.wall = START + 3_600_000
    expect([clock.wrong(), clock.lead()]).toEqual([null, 0])
  })
  test('by little, again and again, is as far off as all of it together', () => {
    const { at, clock, pass } = machine()
    for (let n = 0; n < 6; n++) {
      at.wall -= 10_000
      pass(90_000)
    }
    expect([clock.wrong(), clock.now()]).toEqual([null, START + 540_000])
    at.wall -= 2_000
    expect(clock.wrong()).toBe('behind')
  })
})

describe('a wall clock that is set forward', () => {
  test('counts at once for what ends, and is wrong until it has stayed so for a minute', () => {
    const { at, clock, pass } = machine()
    at.wall += 600_000
    expect([clock.now(), clock.wrong()]).toEqual([START + 600_000, 'ahead'])
    pass(59_000)
    expect(clock.wrong()).toBe('ahead')
    pass(2_000)
    expect([clock.wrong(), Math.round(clock.lead())]).toEqual([null, 0])
    // From here on, back is back.
    at.wall -= 120_000
    expect([clock.wrong(), clock.now()]).toEqual(['behind', START + 661_000])
  })
  test('that goes on moving is not believed', () => {
    const { at, clock, pass } = machine()
    for (let n = 0; n < 20; n++) {
      at.wall += 70_000
      pass(30_000)
      expect(clock.wrong()).toBe('ahead')
    }
  })
  test('and comes back was wrong: what was believed before is believed again', () => {
    const { at, clock, pass } = machine()
    at.wall += 86_400_000
    pass(120_000)
    expect(clock.wrong()).toBe(null)
    at.wall -= 86_400_000
    expect([clock.wrong(), clock.now()]).toEqual([null, START + 120_000])
  })
})

test('a machine that slept has moved its wall clock rightly', () => {
  const { at, clock, pass } = machine()
  pass(10_000)
  at.wall += 8 * 3_600_000
  at.boot += 8 * 3_600_000
  expect([clock.wrong(), clock.now()]).toEqual([null, START + 10_000 + 8 * 3_600_000])
  // The sleep counts from now on.
  at.wall -= 120_000
  expect([clock.wrong(), clock.now()]).toEqual(['behind', START + 10_000 + 8 * 3_600_000])
})
test('a monotonic clock that is set back is found out by the time since the machine started', () => {
  const { at, clock, pass } = machine()
  pass(300_000)
  at.wall -= 120_000
  at.mono -= 120_000
  expect(clock.now()).toBe(START + 300_000)
  expect(clock.wrong()).toBe('behind')
})
test('where nobody knows when the machine started, a sleep is believed after a minute', () => {
  const { at, clock, pass } = machine(() => {
    throw new Error('no uptime here')
  })
  at.wall += 3_600_000
  expect(clock.wrong()).toBe('ahead')
  pass(61_000)
  expect(clock.wrong()).toBe(null)
})
