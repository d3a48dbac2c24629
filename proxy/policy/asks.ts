// What the tables of a policy want to know beside what each input says, so that it is gathered only where they ask. Pure.
import type { Asks } from '../model.ts'
import { historyAskOf } from './history_ask.ts'
import { isObject } from '../wire/json.ts'
import { isZone } from '../wire/zone.ts'

/** The input holds the time of each. */
const MOST_ZONES = 32

/** The time zones that rows name, each once, sorted. */
const zonesOf = (grants: unknown): readonly string[] => {
  const zones = new Set<string>()
  const values = (table: unknown): readonly unknown[] =>
    isObject(table) ? Object.values(table) : []
  for (const row of values(grants).flatMap(values)) {
    const windows = isObject(row) ? row['when'] : null
    for (const window of Array.isArray(windows) ? windows : [])
      if (isObject(window) && typeof window['zone'] === 'string') zones.add(window['zone'])
  }
  return [...zones].sort()
}

/**
 * @param grants the table, its rows whole
 * @throws Error where rows name more than 32 time zones, or one that there is not
 */
export const asksOf = (grants: unknown): Asks => {
  const zones = zonesOf(grants)
  if (zones.length > MOST_ZONES)
    throw new Error(
      `the rows of grants name ${zones.length} time zones, and may name ${MOST_ZONES} at most`,
    )
  const odd = zones.find((zone) => !isZone(zone))
  if (odd !== undefined)
    throw new Error(`a row of grants names the time zone ${odd}: there is none`)
  return { zones, history: historyAskOf(grants) }
}
