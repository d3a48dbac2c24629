// A source that is asked over the network: who shares a question, what is kept of its answer, and when it is left alone.
import type { Clock, Entitlements, Log, Person, SourceName } from '../model.ts'
import { messageOf } from '../problem.ts'
import {
  factsDigest,
  keyOf,
  Unanswered,
  type Directory,
  type Known,
  type Unanswer,
} from './source.ts'

/** One question to the source; null: it knows nobody of this id. */
export type Question = (person: Person, signal: AbortSignal) => Promise<Known | null>

export type Seen = {
  readonly answered: (source: SourceName, seconds: number) => void
  readonly failed: (source: SourceName, reason: Unanswer) => void
}

/** Questions under way at one source; more wait for their turn. */
export const MOST_AT_ONCE = 64
/** Failures in a row until it is left alone, and for how long, doubled each time. */
const FAILURES = 5
const REST_MS = 500
const MOST_REST_MS = 8_000
/** A source that asks for longer is asked again all the same. */
const MOST_WANTED_MS = 30_000
const MOST_PEOPLE = 100_000
/** Of everything that is kept, roughly, in bytes. */
const MOST_WEIGHT = 128 * 1024 ** 2

type Asked = {
  readonly answer: Promise<Entitlements | null>
  /** When it left; null: not yet. */
  sentAt: number | null
  /** Somebody said meanwhile that what it will say counts no more. */
  void: boolean
}
type Place = { running: Asked; waiting: Asked | null }
type Kept = {
  readonly facts: Entitlements | null
  readonly asOf: number
  readonly weight: number
}

/** What one answered, by person, the longest unused going first. Strings that many share are kept once. */
const createCache = () => {
  const kept = new Map<string, Kept>()
  const names = new Map<string, string>()
  let weight = 0
  const shared = (list: readonly string[]): readonly string[] =>
    list.map((name) => {
      if (names.size > MOST_PEOPLE) names.clear()
      const known = names.get(name)
      if (known === undefined) names.set(name, name)
      return known ?? name
    })
  const drop = (key: string): void => {
    weight -= kept.get(key)?.weight ?? 0
    kept.delete(key)
  }
  return {
    get: (key: string): Kept | undefined => {
      const found = kept.get(key)
      if (found === undefined) return undefined
      kept.delete(key)
      kept.set(key, found)
      return found
    },
    put: (key: string, known: Entitlements | null, asOf: number): void => {
      drop(key)
      const lists = known === null ? [] : [...known.groups, ...known.roles, ...known.entitlements]
      const own = 400 + 2 * key.length + lists.reduce((sum, { length }) => sum + 16 + length, 0)
      const facts =
        known === null
          ? null
          : {
              ...known,
              groups: shared(known.groups),
              roles: shared(known.roles),
              entitlements: shared(known.entitlements),
            }
      kept.set(key, { facts, asOf, weight: own })
      weight += own
      for (const oldest of kept.keys()) {
        if (kept.size <= MOST_PEOPLE && weight <= MOST_WEIGHT) break
        drop(oldest)
      }
    },
    drop,
    clear: (): void => {
      kept.clear()
      names.clear()
      weight = 0
    },
  }
}

/** Places for questions under way: the first who came is the first who asks. */
const createTurns = (most: number) => {
  let running = 0
  const queue: (() => void)[] = []
  return {
    /** @returns false: no turn came within `ms` */
    take: (ms: number): Promise<boolean> => {
      if (running < most) {
        running += 1
        return Promise.resolve(true)
      }
      return new Promise((resolve) => {
        const turn = (): void => {
          clearTimeout(timer)
          resolve(true)
        }
        const timer = setTimeout(() => {
          queue.splice(queue.indexOf(turn), 1)
          resolve(false)
        }, ms)
        queue.push(turn)
      })
    },
    give: (): void => {
      const next = queue.shift()
      if (next === undefined) running -= 1
      else next()
    },
  }
}

/** Leaves a source alone that fails for everybody, and tries it with one question after a while. */
const createCircuit = (name: string, clock: Pick<Clock, 'mono'>, log: Log) => {
  let failures = 0
  /** About whom, up to two: one person whose answers fail does not stop the others. */
  const whom = new Set<string>()
  let rest = REST_MS
  let until = 0
  let open = false
  let probing = false
  return {
    /** Throws when it is left alone just now. */
    enter: (): void => {
      if (!open) return
      const left = until - clock.mono()
      if (left > 0 || probing)
        throw new Unanswered(
          'resting',
          `it failed ${failures} times in a row and is asked again in ${Math.max(1, Math.ceil(left / 1_000))} s`,
        )
      probing = true
    },
    succeeded: (): void => {
      if (open) log.info({ source: name }, 'what is asked about calls or people answers again')
      failures = 0
      whom.clear()
      rest = REST_MS
      open = probing = false
    },
    failed: (error: Unanswered, key: string): void => {
      failures += 1
      if (whom.size < 2) whom.add(key)
      probing = false
      const enough =
        failures >= FAILURES && (open || whom.size > 1 || error.reason === 'unreachable')
      if (!enough && error.rest === null) return
      const wanted = Math.min(error.rest ?? 0, MOST_WANTED_MS)
      until = clock.mono() + Math.max(rest, wanted)
      rest = Math.min(rest * 2, MOST_REST_MS)
      if (!open)
        log.error({ source: name, err: error }, 'what is asked about calls or people is left alone')
      open = true
    },
  }
}

export const asUnanswered = (error: unknown): Unanswered =>
  error instanceof Unanswered ? error : new Unanswered('failed', messageOf(error), { cause: error })

/**
 * Puts questions to one source: in turn, only while it is not left alone, and each answer counts for that.
 * @param timeoutMs for the turn
 * @returns the function; `whose`: key of whom is asked about. It rejects with Unanswered
 */
export const createInTurn = (
  name: string,
  timeoutMs: number,
  clock: Pick<Clock, 'mono'>,
  log: Log,
) => {
  const turns = createTurns(MOST_AT_ONCE)
  const circuit = createCircuit(name, clock, log)
  const counted = async <T>(whose: string, ask: () => Promise<T>): Promise<T> => {
    try {
      circuit.enter()
      const answer = await ask()
      circuit.succeeded()
      return answer
    } catch (thrown) {
      const error = asUnanswered(thrown)
      if (error.alone) circuit.succeeded()
      else if (error.reason !== 'resting') circuit.failed(error, whose)
      throw error
    }
  }
  return async <T>(whose: string, ask: () => Promise<T>): Promise<T> => {
    const came = clock.mono()
    const busy = () => new Unanswered('busy', `no turn within ${timeoutMs / 1_000} s`)
    if (!(await turns.take(timeoutMs))) throw busy()
    try {
      // A turn may come before a timer that is late.
      if (clock.mono() - came >= timeoutMs) throw busy()
      return await counted(whose, ask)
    } finally {
      turns.give()
    }
  }
}

/** A question that does not hear its signal is not waited for either. */
export const within = <T>(
  timeoutMs: number,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> =>
  new Promise((resolve, reject) => {
    const limit = new AbortController()
    const timer = setTimeout(() => {
      reject(new Unanswered('timeout', `no whole answer within ${timeoutMs / 1_000} s`))
      limit.abort()
    }, timeoutMs)
    ask(limit.signal)
      .then(resolve, reject)
      .finally(() => clearTimeout(timer))
  })

/**
 * Asks at most once at a time about one person, with one more question waiting: a call joins only a question that has
 * not left yet, or, where its facts may have an age, one that left no longer ago.
 * @param options.keepMs the oldest facts that any call may be judged by; 0: nothing is kept
 * @param options.timeoutMs for one question, all its pages included
 */
export const createAsked = (options: {
  readonly name: SourceName
  readonly question: Question
  readonly keepMs: number
  readonly timeoutMs: number
  readonly clock: Pick<Clock, 'mono'>
  readonly log: Log
  readonly seen: Seen
}): Directory => {
  const { name, question, keepMs, timeoutMs, clock, log, seen } = options
  const places = new Map<string, Place>()
  const cache = createCache()
  const inTurn = createInTurn(name, timeoutMs, clock, log)
  let closed = false

  /** What left before the call came is never enough for one that allows no age. */
  const enough = (asOf: number, maxAge: number): boolean =>
    maxAge > 0 && clock.mono() - asOf <= maxAge

  const said = (person: Person): Promise<Known | null> =>
    within(timeoutMs, (signal) => question(person, signal))
  const factsOf = (known: Known | null, asOf: number): Entitlements | null =>
    known === null
      ? null
      : { ...known, auth: known.auth ?? null, source: name, digest: factsDigest(known), asOf }

  /** One question, from its turn to its answer. */
  const run = (key: string, person: Person, mine: () => Asked): Promise<Entitlements | null> =>
    inTurn(key, async () => {
      if (closed) throw new Unanswered('failed', 'it is closed')
      const began = clock.mono()
      mine().sentAt = began
      const facts = factsOf(await said(person), began)
      seen.answered(name, (clock.mono() - began) / 1_000)
      if (mine().void) cache.drop(key)
      else if (keepMs > 0) cache.put(key, facts, began)
      return facts
    })
  const counted = (error: unknown): never => {
    const failure = asUnanswered(error)
    seen.failed(name, failure.reason)
    throw failure
  }
  const begin = (key: string, person: Person, after: Promise<unknown> | null): Asked => {
    const asked: Asked = {
      sentAt: null,
      void: false,
      answer: Promise.resolve(after)
        .catch(() => {}) // told to those who asked it
        .then(() => run(key, person, () => asked))
        .catch(counted),
    }
    const next = (): void => {
      const place = places.get(key)
      if (place?.running !== asked) return
      if (place.waiting === null) places.delete(key)
      else places.set(key, { running: place.waiting, waiting: null })
    }
    asked.answer.then(next, next)
    return asked
  }
  const questionFor = (key: string, person: Person, maxAge: number): Asked => {
    const place = places.get(key)
    if (place === undefined) {
      const running = begin(key, person, null)
      places.set(key, { running, waiting: null })
      return running
    }
    const { running } = place
    if (!running.void && (running.sentAt === null || enough(running.sentAt, maxAge))) return running
    return (place.waiting ??= begin(key, person, running.answer))
  }
  const ask: Directory['ask'] = (person, maxAge) => {
    const key = keyOf(person)
    const kept = cache.get(key)
    if (kept !== undefined && enough(kept.asOf, maxAge)) return kept.facts
    const asked = questionFor(key, person, maxAge)
    // Whoever waited for an answer that counts no more waits for the next one.
    return asked.answer.then((facts) => (asked.void ? ask(person, 0) : facts))
  }
  const forget = (person: Person | null): void => {
    if (person === null) {
      cache.clear()
      for (const { running } of places.values()) running.void = running.sentAt !== null
      return
    }
    const key = keyOf(person)
    cache.drop(key)
    const running = places.get(key)?.running
    if (running !== undefined && running.sentAt !== null) running.void = true
  }
  return {
    ask,
    unread: () => null,
    forget,
    close: () => {
      closed = true
      cache.clear()
    },
  }
}
