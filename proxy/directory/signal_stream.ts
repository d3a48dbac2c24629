// The stream of events that deputy keeps at a transmitter (SSF 1.0, 8.1): found or made, enabled, and verified.
import type { Clock } from '../model.ts'
import { messageOf } from '../problem.ts'
import { atPointer, parseStrict } from '../wire/json.ts'
import { bounded } from './signal_poll.ts'
import { EVENT_TYPES } from './signals.ts'

export type StreamChange =
  | { readonly status: 'made' | 'verified' }
  /** The transmitter sends nothing; deputy asks it to. */
  | { readonly status: 'paused' | 'disabled' | 'unknown'; readonly reason: string | null }
  /** The stream that deputy knew is not there. */
  | { readonly status: 'gone' }
type StreamOptions = {
  readonly issuer: string
  /** Where events are to be pushed; null: deputy polls them. */
  readonly push: string | null
  /** @param rejected what was just refused */
  readonly authorization: (rejected: string | null) => Promise<string | null>
  readonly fetch: (input: string, init: RequestInit) => Promise<Response>
  readonly randomState: () => string
  /** Throws for an address that is not to be called. */
  readonly allowed: (url: string) => void
  readonly told: (change: StreamChange, stream: string) => void
  readonly clock: Pick<Clock, 'mono'>
}
type Known = {
  readonly id: string
  readonly audience: readonly string[]
  readonly poll: string | null
  readonly delivered: readonly string[]
}
export type Stream = {
  /** Finds out how it is and mends it. Rejects with what is wrong. */
  readonly look: (ended: AbortSignal) => Promise<void>
  /** null: it is not known yet. */
  readonly known: () => Known | null
  /** A verification event came, here or at another replica. @returns deputy asked for it here */
  readonly heard: (state: string | null) => boolean
}

const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'
const TIMEOUT_MS = 10_000
/** From one verification to the next, ms. */
const VERIFY_MS = 600_000
/** So long others may have asked in its stead. */
const MOST_UNVERIFIED_MS = 3 * VERIFY_MS
/** An event that was asked for and has not come by then will not come. */
const WAIT_MS = 60_000

const textAt = (value: unknown, path: string): string | null => {
  const found = atPointer(value, path)
  return typeof found === 'string' && found !== '' && found.length <= 2_048 ? found : null
}
const textsAt = (value: unknown, path: string): readonly string[] => {
  const found = atPointer(value, path)
  return [found]
    .flat()
    .filter((each): each is string => typeof each === 'string' && each.length <= 2_048)
}
const read = async (answer: Response): Promise<unknown> => {
  const text = await bounded(answer)
  return text === '' ? null : parseStrict(text)
}
/** Host and path of the issuer have it between them (RFC 8615); some have it after both. */
const discoveries = (issuer: string): readonly string[] => {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  const name = '/.well-known/ssf-configuration'
  return [...new Set([`${origin}${name}${path}`, `${origin}${path}${name}`])]
}

type Answer = { readonly status: number; readonly json: unknown }

/** Asks the transmitter; once more with another token if that was refused. */
const createAsk =
  ({ authorization, fetch, allowed }: StreamOptions) =>
  async (
    ended: AbortSignal,
    url: string,
    { method = 'GET', body }: { readonly method?: string; readonly body?: object } = {},
  ): Promise<Answer> => {
    allowed(url)
    const send = (shown: string | null): Promise<Response> =>
      fetch(url, {
        method,
        redirect: 'error',
        headers: {
          accept: 'application/json',
          'user-agent': 'deputy',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(shown === null ? {} : { authorization: shown }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.any([ended, AbortSignal.timeout(TIMEOUT_MS)]),
      })
    const shown = await authorization(null)
    let answer = await send(shown)
    if (answer.status === 401 && shown !== null) {
      await answer.body?.cancel()
      answer = await send(await authorization(shown))
    }
    const json = await read(answer).catch((error: unknown) => {
      throw new Error(`${url} answers ${answer.status} and no JSON: ${messageOf(error)}`)
    })
    return { status: answer.status, json }
  }

const good = (url: string, { status, json }: Answer): unknown => {
  if (status >= 200 && status < 300) return json
  const said = textAt(json, '/error_description') ?? textAt(json, '/error') ?? ''
  throw new Error(`${url} answers ${status}${said === '' ? '' : `: ${said.slice(0, 200)}`}`)
}

export const createStream = (options: StreamOptions): Stream => {
  const { issuer, push, randomState, told, clock } = options
  const ask = createAsk(options)
  let metadata: unknown = null
  let known: Known | null = null
  let asked: { readonly state: string; readonly at: number } | null = null
  let verified: number | null = null
  const began = clock.mono()
  /** As it was when it was last looked at; null: it runs. */
  let stopped: string | null = null

  const endpoint = (name: string): string => {
    const url = textAt(metadata, `/${name}`)
    if (url === null) throw new Error(`its ssf-configuration names no ${name}`)
    return url
  }
  const discover = async (ended: AbortSignal): Promise<void> => {
    let last: Answer | null = null
    for (const url of discoveries(issuer)) {
      last = await ask(ended, url)
      if (last.status !== 200) continue
      if (textAt(last.json, '/issuer') !== issuer)
        throw new Error(`${url} is the ssf-configuration of another issuer`)
      metadata = last.json
      return
    }
    throw new Error(
      `${discoveries(issuer).join(' and ')} answer ${last?.status}: no transmitter says what it can do there`,
    )
  }
  const method = push === null ? POLL : PUSH
  /** null: it is another's. */
  const ours = (row: unknown): Known | null => {
    const id = textAt(row, '/stream_id')
    const url = textAt(row, '/delivery/endpoint_url')
    if (id === null || textAt(row, '/delivery/method') !== method) return null
    if (push !== null && url !== push) return null
    const iss = textAt(row, '/iss')
    if (iss !== null && iss !== issuer) throw new Error(`its stream ${id} is of another issuer`)
    const audience = textsAt(row, '/aud')
    if (audience.length === 0) throw new Error(`its stream ${id} has no aud`)
    if (push === null && url === null) throw new Error(`its stream ${id} says not where to poll`)
    return {
      id,
      audience,
      poll: push === null ? url : null,
      delivered: textsAt(row, '/events_delivered'),
    }
  }
  const make = async (ended: AbortSignal): Promise<Known> => {
    const at = endpoint('configuration_endpoint')
    const answer = await ask(ended, at, {
      method: 'POST',
      body: {
        delivery: { method, ...(push === null ? {} : { endpoint_url: push }) },
        events_requested: EVENT_TYPES,
        description: 'deputy',
      },
    })
    if (answer.status === 409)
      throw new Error(
        'the transmitter has a stream of this client already, with another delivery than deputy wants: remove it there, or give deputy a client of its own',
      )
    const made = ours(good(at, answer))
    if (made === null) throw new Error('the transmitter made another stream than was asked for')
    told({ status: 'made' }, made.id)
    return made
  }
  const find = async (ended: AbortSignal): Promise<Known> => {
    const at = endpoint('configuration_endpoint')
    const answer = await ask(ended, at)
    const listed = answer.status === 404 ? [] : [good(at, answer)].flat()
    const [first] = listed
      .map(ours)
      .filter((each) => each !== null)
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    if (known !== null && first?.id !== known.id) told({ status: 'gone' }, known.id)
    return first ?? make(ended)
  }
  const enable = async (ended: AbortSignal, stream_id: string): Promise<void> => {
    const at = endpoint('status_endpoint')
    const url = `${at}?stream_id=${encodeURIComponent(stream_id)}`
    const said = good(at, await ask(ended, url))
    const status = textAt(said, '/status')
    const before = stopped
    stopped = status === 'enabled' ? null : String(status)
    if (stopped === null) return
    const reason = textAt(said, '/reason')
    if (stopped !== before)
      told(
        { status: status === 'paused' || status === 'disabled' ? status : 'unknown', reason },
        stream_id,
      )
    const body = { stream_id, status: 'enabled', reason: 'deputy listens' }
    const then = good(at, await ask(ended, at, { method: 'POST', body }))
    if (textAt(then, '/status') !== 'enabled')
      throw new Error(`its stream ${stream_id} is ${String(status)} and cannot be enabled`)
  }
  const verify = async (ended: AbortSignal, stream_id: string): Promise<void> => {
    const now = clock.mono()
    const waited = asked === null ? 0 : now - asked.at
    if (asked !== null && waited < WAIT_MS) return
    if (asked === null && verified !== null && now - verified < VERIFY_MS) return
    const late = asked !== null
    const state = randomState()
    const at = endpoint('verification_endpoint')
    asked = { state, at: now }
    const answer = await ask(ended, at, { method: 'POST', body: { stream_id, state } })
    // Another replica has just asked: what it hears counts for all.
    if (answer.status === 429) asked = null
    else good(at, answer)
    if (answer.status === 429 && now - (verified ?? began) > MOST_UNVERIFIED_MS)
      throw new Error('it is asked too often for a verification event, and none has come')
    if (late) throw new Error('a verification event was asked for and none came within a minute')
  }
  return {
    look: async (ended) => {
      if (metadata === null) await discover(ended)
      try {
        known = await find(ended)
        await enable(ended, known.id)
        await verify(ended, known.id)
      } catch (error) {
        // Its endpoints may have moved.
        metadata = null
        throw error
      }
    },
    known: () => known,
    heard: (state) => {
      if (asked === null || state !== asked.state) return false
      asked = null
      verified = clock.mono()
      if (known !== null) told({ status: 'verified' }, known.id)
      return true
    },
  }
}
