// Who in this process wants to hear of changes.
import type { Log } from '../model.ts'

export type Subscribers = {
  readonly subscribe: (topic: string, hear: (key: string) => void) => () => void
  readonly tell: (topic: string, key: string) => void
  /** Something may have been missed. */
  readonly tellAll: () => void
}

export const createSubscribers = (log?: Log): Subscribers => {
  const topics = new Map<string, Set<(key: string) => void>>()
  const tell = (topic: string, key: string): void => {
    for (const hear of topics.get(topic) ?? [])
      try {
        hear(key)
      } catch (error) {
        log?.error({ topic, err: error }, 'a change could not be taken in')
      }
  }
  return {
    subscribe: (topic, hear) => {
      const hearers = topics.get(topic) ?? new Set()
      topics.set(topic, hearers)
      hearers.add(hear)
      return () => void hearers.delete(hear)
    },
    tell,
    tellAll: () => {
      for (const topic of topics.keys()) tell(topic, '*')
    },
  }
}
