// What a clock on the wall shows in a time zone, by the rules that Node ships (IANA, with daylight saving). Pure.

export const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const

export type LocalTime = {
  readonly weekday: (typeof DAYS)[number]
  readonly hour: number
  readonly minute: number
}

/** `Europe/Berlin`, `UTC`; not an offset such as `+01:00`, which knows no daylight saving. */
const NAME = /^[A-Za-z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/

const formatOf = (zone: string): Intl.DateTimeFormat =>
  new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })

/** Is there a time zone of this name? */
export const isZone = (name: string): boolean => {
  if (!NAME.test(name)) return false
  try {
    formatOf(name)
    return true
  } catch {
    return false
  }
}

/**
 * The clock of a zone: ms since the epoch → what it shows.
 * @throws RangeError for a name that is no zone (see isZone)
 */
export const clockOf = (zone: string): ((at: number) => LocalTime) => {
  const format = formatOf(zone)
  return (at) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]))
    const day = parts.get('weekday')?.toLowerCase()
    const weekday = DAYS.find((one) => one === day)
    if (weekday === undefined) throw new Error(`the time zone ${zone} names no day`)
    return { weekday, hour: Number(parts.get('hour')), minute: Number(parts.get('minute')) }
  }
}
