// Security events that wait at a transmitter (RFC 8936): fetched, taken, acknowledged with the next question.
import { setTimeout as pause } from 'node:timers/promises'
import type { FeedState } from './feed.ts'
import { EventRefused } from './signals.ts'
import type { Clock, Log } from '../model.ts'
import { messageOf } from '../problem.ts'
import { parseStrict } from '../wire/json.ts'

export type PollOptions = {
  /** null: it is not known yet. */
  readonly url: () => string | null
  /** Value of the Authorization header. */
  readonly authorization: (rejected: string | null) => Promise<string | null>
  readonly fetch: (input: string, init: RequestInit) => Promise<Response>
  /** Throws EventRefused for what is never taken; anything else: later. */
  readonly receive: (token: string) => Promise<void>
  /** Told of each that `receive` refused. */
  readonly refused: (error: EventRefused) => void
  readonly clock: Pick<Clock, 'mono'>
  readonly log: Log
  readonly state: FeedState
  /** Ms after which a question without an answer is given up. */
  readonly deadline?: number
}

const MOST = 100
const MOST_BYTES = 4 * 1024 ** 2
/** A transmitter that has nothing and answers at once is asked this often, ms. */
const EVERY_MS = 500
const DEADLINE_MS = 45_000
const LONGEST_PAUSE_MS = 30_000
/** Questions in a row that nobody answered: where nothing waits, some transmitters are silent for a while. */
const MOST_SILENT = 3

type SetErrors = Record<string, { readonly err: string; readonly description: string }>

export const bounded = async (answer: Response): Promise<string> => {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength
    if (size > MOST_BYTES) throw new Error('answers more than 4 MiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
const setsOf = (text: string): readonly (readonly [jti: string, token: string])[] => {
  const body: unknown = parseStrict(text)
  const sets = typeof body === 'object' && body !== null && 'sets' in body ? body.sets : null
  if (typeof sets !== 'object' || sets === null || Array.isArray(sets))
    throw new Error('answers without a member sets, an object')
  return Object.entries(sets).map(([jti, token]) => [jti, String(token)] as const)
}

/** Asks until it is closed; does nothing before `begin`. */
export const createPoll = (
  options: PollOptions,
): { readonly begin: () => void; readonly close: () => Promise<void> } => {
  const { fetch, receive, refused, clock, log, deadline = DEADLINE_MS } = options
  const ended = new AbortController()
  let ack: string[] = []
  let setErrs: SetErrors = {}
  let rejected: string | null = null
  let running: Promise<void> = Promise.resolve()

  const ask = async (): Promise<number> => {
    const url = options.url()
    if (url === null) return 0
    const authorization = await options.authorization(rejected)
    const answer = await fetch(url, {
      method: 'POST',
      redirect: 'error',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        'user-agent': 'deputy',
        ...(authorization === null ? {} : { authorization }),
      },
      body: JSON.stringify({ maxEvents: MOST, returnImmediately: false, ack, setErrs }),
      signal: AbortSignal.any([ended.signal, AbortSignal.timeout(deadline)]),
    })
    rejected = answer.status === 401 ? authorization : null
    const text = await bounded(answer)
    if (answer.status !== 200) throw new Error(`answers ${answer.status}`)
    const sets = setsOf(text)
    // Acknowledged with that question.
    ack = []
    setErrs = {}
    let later: unknown = null
    for (const [jti, token] of sets)
      try {
        await receive(token)
        ack.push(jti)
      } catch (error) {
        if (error instanceof EventRefused) {
          refused(error)
          setErrs[jti] = { err: error.fault, description: error.message }
        } else later = error
      }
    // What could not be taken now is not acknowledged, so it comes again.
    if (later !== null) throw new Error('some events could not be taken', { cause: later })
    return sets.length
  }
  const run = async (): Promise<void> => {
    let failures = 0
    let silent = 0
    let complaint = ''
    while (!ended.signal.aborted) {
      const began = clock.mono()
      let wait = 0
      try {
        const count = await ask()
        if (complaint !== '') log.info({ url: options.url() }, 'signals: events are polled again')
        complaint = ''
        failures = 0
        silent = 0
        options.state.works()
        wait = count > 0 ? 0 : EVERY_MS - (clock.mono() - began)
      } catch (error) {
        if (ended.signal.aborted) return
        const quiet = error instanceof Error && error.name === 'TimeoutError'
        if (messageOf(error) !== complaint)
          log.warn({ url: options.url(), err: error }, 'signals: events cannot be polled')
        complaint = messageOf(error)
        silent = quiet ? silent + 1 : 0
        if (!quiet || silent >= MOST_SILENT) options.state.fails(complaint)
        failures += 1
        wait = quiet ? EVERY_MS : Math.min(LONGEST_PAUSE_MS, 500 * 2 ** Math.min(10, failures))
      }
      if (wait > 0) await pause(wait, undefined, { signal: ended.signal }).catch(() => {}) // closed
    }
  }
  return {
    begin: () => {
      running = run()
    },
    close: async () => {
      ended.abort()
      await running
      options.state.end()
    },
  }
}
