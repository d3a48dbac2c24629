// When grants were last used: collected in memory and written together, at most once a minute for
// each.
import type { Clock, GrantUse, Log, Person, Store } from '../model.ts'

const EVERY_MS = 60_000
const GATHER_MS = 2_000

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
  /**
   * By the person as callers hold it, then by connection: whoever is forgotten there is written
   * once more.
   */
  const noted = new WeakMap<
    Person,
    Map<string, { readonly agent: string; readonly mono: number }>
  >()
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
      for (const { person, connection } of uses.values()) noted.get(person)?.delete(connection)
      deps.log.warn(
        { err: error, grants: uses.size },
        'the last use of grants could not be written',
      )
    }
  }

  return {
    note: (person, agent, connection) => {
      const mono = deps.clock.mono()
      let own = noted.get(person)
      if (own === undefined) noted.set(person, (own = new Map()))
      const last = own.get(connection)
      if (last !== undefined && last.agent === agent && mono - last.mono < EVERY_MS) return
      own.set(connection, { agent, mono })
      const key = JSON.stringify([person.tenant, person.realm, person.id, agent, connection])
      gathered.set(key, { person, agent, connection, at: deps.clock.now() })
      timer ??= setTimeout(() => void write(), GATHER_MS).unref()
    },
    close: () => {
      if (timer !== null) clearTimeout(timer)
      return write()
    },
  }
}
