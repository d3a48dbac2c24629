// When grants were last used: gathered in passing, written together, at most once a minute for each.
import { LRUCache } from 'lru-cache'
import type { Clock, GrantUse, Log, Person, Store } from '../model.ts'

const EVERY_MS = 60_000
const GATHER_MS = 2_000
/** `max` would take the room of all at once: what is bounded by its size grows as it fills. */
const one = (): number => 1

export type Used = {
  /** Never throws, waits for nothing. */
  readonly note: (person: Person, agent: string, connection: string) => void
  /** Writes what is gathered. */
  readonly close: () => Promise<void>
}

/** A write that fails is logged, and tried again at the next use. */
export const createUsed = (deps: {
  readonly grants: Pick<Store['grants'], 'touch'>
  readonly clock: Clock
  readonly log: Log
}): Used => {
  const noted = new LRUCache<string, number>({ maxSize: 50_000, sizeCalculation: one })
  let gathered = new Map<string, GrantUse>()
  let timer: NodeJS.Timeout | null = null

  const write = async (): Promise<void> => {
    timer = null
    const uses = gathered
    gathered = new Map()
    if (uses.size === 0) return
    try {
      await deps.grants.touch([...uses.values()])
    } catch (error) {
      for (const key of uses.keys()) noted.delete(key)
      deps.log.warn(
        { err: error, grants: uses.size },
        'the last use of grants could not be written',
      )
    }
  }

  return {
    note: (person, agent, connection) => {
      const key = JSON.stringify([person.tenant, person.realm, person.id, agent, connection])
      const mono = deps.clock.mono()
      if (mono - (noted.get(key) ?? -Infinity) < EVERY_MS) return
      noted.set(key, mono)
      gathered.set(key, { person, agent, connection, at: deps.clock.now() })
      timer ??= setTimeout(() => void write(), GATHER_MS).unref()
    },
    close: () => {
      if (timer !== null) clearTimeout(timer)
      return write()
    },
  }
}
