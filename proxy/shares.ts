// What all agents share is shared out: none can fill it alone, and whoever waits is served in turn, an agent at a time.
import { Problem } from './problem.ts'

/** Agents of two tenants may have one name, and share nothing. Neither part has control characters. */
export const shareOf = (tenant: string, agent: string): string => `${tenant}\n${agent}`

type Turns<T> = {
  readonly add: (agent: string, item: T) => void
  /** false: it was not there any more. */
  readonly remove: (agent: string, item: T) => boolean
  /** The next agent's oldest item; null: nobody waits who may be served now. */
  readonly next: (may?: (agent: string) => boolean) => { agent: string; item: T } | null
  readonly size: () => number
  readonly sizeOf: (agent: string) => number
}

/** A queue in which one agent's items wait behind each other, and agents take turns. */
export const createTurns = <T>(): Turns<T> => {
  // In the order of turns: an agent that was served stands last.
  const waiting = new Map<string, Set<T>>()
  let size = 0
  const remove = (agent: string, item: T): boolean => {
    const items = waiting.get(agent)
    if (items?.delete(item) !== true) return false
    size--
    if (items.size === 0) waiting.delete(agent)
    return true
  }
  return {
    add(agent, item) {
      const items = waiting.get(agent) ?? new Set()
      waiting.set(agent, items.add(item))
      size++
    },
    remove,
    next(may = () => true) {
      for (const [agent, items] of waiting) {
        if (!may(agent)) continue
        for (const item of items) {
          waiting.delete(agent)
          waiting.set(agent, items)
          remove(agent, item)
          return { agent, item }
        }
      }
      return null
    },
    size: () => size,
    sizeOf: (agent) => waiting.get(agent)?.size ?? 0,
  }
}

const usedUp = (what: string): Problem =>
  new Problem(
    'share_used_up',
    `this agent’s share of ${what} is used up, and nothing of it came free`,
    {
      extra: { retry_after: 1 },
    },
  )

export type Shares = {
  /**
   * Does the work in the agent's turn.
   * @throws Problem `share_used_up`: its share is taken by what does not end
   */
  readonly run: <T>(agent: string, work: () => Promise<T>) => Promise<T>
}

/**
 * @param options.what for the message
 * @param options.most works at once, of all agents
 * @param options.each works at once, of one agent
 * @param options.patience ms; when none of an agent's works ended for so long, nobody is let to wait behind them
 */
export const createShares = (options: {
  readonly what: string
  readonly most: number
  readonly each: number
  readonly patience: number
  readonly mono: () => number
}): Shares => {
  const { what, most, each, patience, mono } = options
  /** Works under way, and when one of them last began or ended. */
  const active = new Map<string, { count: number; moved: number }>()
  const turns = createTurns<() => void>()
  let all = 0
  const free = (agent: string): boolean => (active.get(agent)?.count ?? 0) < each
  const take = (agent: string): void => {
    all++
    active.set(agent, { count: (active.get(agent)?.count ?? 0) + 1, moved: mono() })
  }
  const leave = (agent: string): void => {
    all--
    const count = (active.get(agent)?.count ?? 1) - 1
    if (count === 0) active.delete(agent)
    else active.set(agent, { count, moved: mono() })
    const next = turns.next(free)
    if (next === null) return
    take(next.agent)
    next.item()
  }
  return {
    run: async (agent, work) => {
      if (all < most && free(agent)) take(agent)
      else {
        const mine = active.get(agent)
        if (mine !== undefined && mine.count >= each && mono() - mine.moved > patience)
          throw usedUp(what)
        await new Promise<void>((resolve) => turns.add(agent, resolve))
      }
      try {
        return await work()
      } finally {
        leave(agent)
      }
    },
  }
}

/** Places that are taken or refused, never waited for. */
export const createPlaces = (options: {
  readonly what: string
  readonly most: number
  readonly each: number
}): { readonly enter: (agent: string) => () => void } => {
  const taken = new Map<string, number>()
  let all = 0
  return {
    /** @throws Problem `share_used_up` @returns gives the place back */
    enter(agent) {
      const mine = taken.get(agent) ?? 0
      if (all >= options.most || mine >= options.each) throw usedUp(options.what)
      all++
      taken.set(agent, mine + 1)
      return () => {
        all--
        const others = (taken.get(agent) ?? 1) - 1
        if (others === 0) taken.delete(agent)
        else taken.set(agent, others)
      }
    },
  }
}
