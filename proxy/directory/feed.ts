// What is asked again and again so that nothing is missed: a failure is told once, is shown for as long as it lasts,
// and stops nobody.
import { setTimeout as pause } from 'node:timers/promises'
import type { Clock, Log } from '../model.ts'
import { messageOf } from '../problem.ts'

/** Of a closed set, for metrics. */
type FeedKind = 'admin_events' | 'poll' | 'stream'
const KINDS: readonly FeedKind[] = ['admin_events', 'poll', 'stream']

export type FeedState = {
  readonly works: () => void
  readonly fails: (problem: string) => void
  /** It is no more. */
  readonly end: () => void
}
/** Every feed of a process, for whoever looks at it. */
export type Feeds = {
  /** @param name what it is of, for people */
  readonly open: (kind: FeedKind, name: string) => FeedState
  readonly samples: () => readonly (readonly [labels: { readonly feed: string }, value: number])[]
  /** One sentence; '': there are none. */
  readonly detail: () => string
}

export const createFeeds = (clock: Pick<Clock, 'mono'>): Feeds => {
  type One = { kind: FeedKind; name: string; problem: string | null; worked: number | null }
  const all = new Set<One>()
  return {
    open: (kind, name) => {
      const one: One = { kind, name, problem: null, worked: null }
      all.add(one)
      return {
        works: () => {
          one.problem = null
          one.worked = clock.mono()
        },
        fails: (problem) => {
          one.problem = problem
        },
        end: () => void all.delete(one),
      }
    },
    samples: () =>
      KINDS.flatMap((feed) => {
        const own = [...all].filter(({ kind }) => kind === feed)
        const failing = own.filter(({ problem }) => problem !== null).length
        return own.length === 0 ? [] : [[{ feed }, failing] as const]
      }),
    detail: () =>
      [...all]
        .map(({ kind, name, problem, worked }) => {
          const ago =
            worked === null
              ? 'has not worked yet'
              : `worked ${Math.round((clock.mono() - worked) / 1_000)} s ago`
          return `${kind} of ${name} ${ago}${problem === null ? '' : `, fails: ${problem}`}`
        })
        .join('; '),
  }
}

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

/** Steps until it is closed; does nothing before `begin`. A step that rejects is tried again, later each time. */
export const createFeed = (options: {
  readonly kind: FeedKind
  readonly name: string
  readonly step: (ended: AbortSignal) => Promise<void>
  /** From one step to the next, ms. */
  readonly every: number
  readonly feeds: Pick<Feeds, 'open'>
  readonly log: Log
}): {
  readonly begin: () => void
  /** The next step is now. */
  readonly wake: () => void
  readonly close: () => Promise<void>
} => {
  const { kind, name, step, every, feeds, log } = options
  const ended = new AbortController()
  let woken = new AbortController()
  let again = false
  let running: Promise<void> = Promise.resolve()
  const run = async (): Promise<void> => {
    const state = feeds.open(kind, name)
    let failures = 0
    let complaint = ''
    while (!ended.signal.aborted) {
      woken = new AbortController()
      again = false
      let wait = every
      try {
        await step(ended.signal)
        if (complaint !== '') log.info({ feed: kind, of: name }, 'a feed works again')
        failures = 0
        complaint = ''
        state.works()
      } catch (error) {
        if (ended.signal.aborted) break
        const problem = messageOf(error)
        if (problem !== complaint)
          log.error({ feed: kind, of: name, err: error }, `a feed fails: ${problem}`)
        complaint = problem
        state.fails(problem)
        wait = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(10, failures))
        failures += 1
      }
      const signal = AbortSignal.any([ended.signal, woken.signal])
      if (!again) await pause(wait, undefined, { signal }).catch(() => {}) // woken or closed
    }
    state.end()
  }
  return {
    begin: () => {
      running = run()
    },
    wake: () => {
      again = true
      woken.abort()
    },
    close: async () => {
      ended.abort()
      await running
    },
  }
}
