// The streams of events that deputy keeps at transmitters: looked at by every replica, mended by whichever comes first.
import { randomBytes } from 'node:crypto'
import { plainHttp } from '../config/address.ts'
import type { SignalConfig } from '../config/signals.ts'
import { createFeed } from '../directory/feed.ts'
import { createStream, type Stream, type StreamChange } from '../directory/signal_stream.ts'
import { createOwnToken, type OwnToken } from '../oauth/own_token.ts'
import type { Core } from './core.ts'
import type { Configured } from './scope.ts'

export type Streams = ReadonlyMap<SignalConfig, Stream>

const LOOK_MS = 60_000
type Ground = Pick<Core, 'fetch' | 'feeds'> & {
  readonly store: Pick<Core['store'], 'subscribe'>
  readonly evidence: Pick<Core['evidence'], 'event'>
}

/** What deputy shows at the transmitter. */
export const tokenAt = (
  { bearer, client_id: id, client_secret: secret, token, scope }: SignalConfig,
  deps: Parameters<typeof createOwnToken>[1],
): OwnToken => {
  if (bearer !== undefined)
    return createOwnToken({ kind: 'bearer', scheme: 'Bearer', token: bearer }, deps)
  if (id === undefined || secret === undefined || token === undefined)
    return createOwnToken({ kind: 'none' }, deps)
  const auth = 'client_secret_post'
  return createOwnToken({ kind: 'client', url: token, auth, id, secret, key: null, scope }, deps)
}

const keep = (
  row: SignalConfig,
  { clock, log, opened, begins }: Configured,
  { fetch, feeds, store, evidence }: Ground,
  publicUrl: string,
): Stream => {
  const { issuer, push, insecure } = row
  const told = (change: StreamChange, stream: string): void => {
    const { status } = change
    const reason = 'reason' in change ? change.reason : null
    if (status === 'made' || status === 'verified')
      log.info({ issuer, stream, status }, 'signals: a stream of events')
    else log.error({ issuer, stream, status, reason }, 'signals: a stream sends no events')
    const said = { issuer, stream, status, ...(reason === null ? {} : { reason }) }
    evidence
      .event('signal.stream', said)
      .catch((error: unknown) => log.error({ err: error }, 'evidence of a stream was not written'))
  }
  const stream = createStream({
    issuer,
    push: push ? `${publicUrl}/signals` : null,
    authorization: tokenAt(row, { fetch, clock }),
    fetch,
    randomState: () => randomBytes(16).toString('base64url'),
    allowed: (url) => {
      if (!insecure && (!URL.canParse(url) || plainHttp(url)))
        throw new Error(`${url} is no https address: nothing is sent there`)
    },
    told,
    clock,
  })
  const feed = createFeed({
    kind: 'stream',
    name: issuer,
    step: stream.look,
    every: LOOK_MS,
    feeds,
    log,
  })
  // Whichever replica the event came to.
  const end = store.subscribe('stream', (key) => {
    if (key === '*') return
    const [of, state] = JSON.parse(key) as [string, string | null]
    if (of !== issuer) return
    // What was said of the stream itself is looked at now.
    if (stream.heard(state) || state === null) feed.wake()
  })
  opened(end)
  opened(feed.close)
  begins(feed.begin)
  return stream
}

export const openStreams = (scope: Configured, core: Ground, publicUrl: string): Streams =>
  new Map(
    scope.config.signals
      .filter(({ manage }) => manage)
      .map((row) => [row, keep(row, scope, core, publicUrl)]),
  )
