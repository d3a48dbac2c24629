// The time as policy sees it, `input.now`: prepared once a second, and what other clocks show once a minute. Pure.
import type { Clock, InputMember } from '../model.ts'
import { clockOf, DAYS } from './zone.ts'
import type { LocalTime } from './zone.ts'

type Zones = {
  readonly names: readonly string[]
  readonly clocks: readonly (readonly [string, (at: number) => LocalTime])[]
  readonly minute: number
  readonly text: string
}
const clocksOf = (names: readonly string[]): Zones['clocks'] =>
  names.map((name) => [name, clockOf(name)])

/** @returns the member for these zones; the same list again costs nothing within a second */
export const createNow = (
  clock: Pick<Clock, 'now'>,
): ((zones: readonly string[]) => InputMember) => {
  let second = -1
  let member: InputMember = ['now', '']
  let zones: Zones = { names: [], clocks: [], minute: -1, text: '' }

  const zonesText = (names: readonly string[], at: number): string => {
    if (names.length === 0) return ''
    const minute = Math.floor(at / 60)
    if (names === zones.names && minute === zones.minute) return zones.text
    const clocks = names === zones.names ? zones.clocks : clocksOf(names)
    const told = Object.fromEntries(clocks.map(([name, tell]) => [name, tell(at * 1_000)]))
    zones = { names, clocks, minute, text: `,"zones":${JSON.stringify(told)}` }
    return zones.text
  }
  let asked: readonly string[] = []
  return (names) => {
    const at = Math.floor(clock.now() / 1_000)
    if (at === second && names === asked) return member
    const date = new Date(at * 1_000)
    const text = zonesText(names, at)
    second = at
    asked = names
    member = [
      'now',
      `{"unix_s":${at},"weekday":"${DAYS[date.getUTCDay()] ?? ''}","hour":${date.getUTCHours()}${text}}`,
    ]
    return member
  }
}
