// What a configuration names, opened for a look by a command; whoever serves from it is not disturbed.
import { createKept } from '../compose/kept.ts'
import { prepare, systemClock } from '../compose/snapshot.ts'
import type { Loaded } from '../config/load.ts'
import type { Log } from '../model.ts'

/** A command says what is wrong in its own words. */
export const QUIET: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/**
 * `kept.close()` ends what was opened.
 * @param bundles whether a bundle service is asked
 */
export const prepareAside = async (loaded: Loaded, bundles: 'once' | 'never' = 'once') => {
  const clock = systemClock()
  const kept = createKept()
  const prepared = await prepare(loaded, {
    clock,
    log: QUIET,
    keep: kept.next().keep,
    bundles,
    changed: {
      people: () => {},
      policy: () => {},
      policyRefused: () => {},
      seen: { answered: () => {}, failed: () => {} },
    },
  })
  return { clock, kept, prepared }
}
