// What identity providers tell by themselves: who may, what it does, and that every replica hears of it.
import { createHash } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { naming } from '../config/backend.ts'
import type { SignalConfig } from '../config/signals.ts'
import { createPoll, type PollOptions } from '../directory/signal_poll.ts'
import { EventRefused, meaningOf, type Meaning, type Naming } from '../directory/signals.ts'
import type { Person, Store } from '../model.ts'
import { createEventTokens, OLDEST_EVENT_MS, type EventSource } from '../oauth/event_token.ts'
import { SKEW_S } from '../oauth/signed_token.ts'
import type { CallRegistry } from '../pipeline/calls.ts'
import { Problem } from '../problem.ts'
import type { Core } from './core.ts'
import type { Invalidated } from './directories.ts'
import { keysOf } from './pipeline.ts'
import type { Configured, Scope } from './scope.ts'
import { openStreams, tokenAt, type Streams } from './signal_streams.ts'
import { whenAsked } from './web.ts'

type Source = EventSource & { readonly naming: Naming; readonly row: SignalConfig | null }
type Via = 'push' | 'poll' | 'logout'

/** Longer than the oldest that is taken: what was taken once is known for as long as it could come again. */
const REMEMBERED_MS = OLDEST_EVENT_MS + 86_400_000
const SWEEP_MS = 3_600_000
/** An event tells its time in seconds, by another clock than ours: what began so long after it may be meant as well. */
const CLOCKS_MS = SKEW_S * 1_000

const keySource = (issuer: string, jwksUri?: string, jwksFile: string | null = null) => ({
  issuer,
  jwksUri: jwksUri ?? null,
  jwksFile,
})

/** Those who may tell that somebody has signed out: whoever says who people are. */
const logouts = ({ config, at }: Pick<Configured, 'config' | 'at'>): readonly Source[] => {
  const { identity, connect } = config
  const own: readonly Source[] = identity.issuers.map((row) => ({
    kind: 'logout',
    keys: keySource(row.issuer, row.jwks_uri, row.jwks === undefined ? null : at(row.jwks)),
    audience: [row.audience],
    row: null,
    naming: {
      user: row.user,
      realm: row.realm ?? row.issuer,
      tenant: row.tenant ?? null,
      tenants: row.tenants ?? (row.tenant === undefined ? ['default'] : []),
    },
  }))
  const { sign_in: signIn } = connect
  if (signIn === undefined || signIn === 'local') return own
  const pages: Source = {
    kind: 'logout',
    keys: keySource(signIn.issuer),
    audience: [signIn.client_id],
    row: null,
    naming: {
      user: signIn.user,
      realm: signIn.realm ?? signIn.issuer,
      tenant: signIn.tenant ?? null,
      tenants: signIn.tenant === undefined ? ['default'] : naming(config).tenants,
    },
  }
  return [...own, pages]
}
const transmitters = (
  { config }: Pick<Configured, 'config'>,
  streams: Streams,
): readonly Source[] =>
  config.signals.map((row) => {
    const same = config.identity.issuers.find(({ issuer }) => issuer === row.issuer)
    const { realms, tenants } = naming(config)
    return {
      kind: 'event',
      keys: keySource(row.issuer, row.jwks_uri ?? same?.jwks_uri),
      // Of a stream that deputy keeps, the stream says it.
      get audience() {
        const known = streams.get(row)?.known() ?? null
        if (row.manage && known === null)
          throw new Problem('issuer_unavailable', 'the stream of events is not known yet')
        return [...(row.audience ?? []), ...(known?.audience ?? [])]
      },
      row,
      naming: {
        user: row.user ?? null,
        realm: row.realm ?? (same === undefined ? realms[0] : (same.realm ?? same.issuer)) ?? '',
        tenant: null,
        tenants: row.tenant === undefined ? (same?.tenants ?? tenants) : [row.tenant],
      },
    }
  })

/** Runs that began before the event; what began after it has a newer word. */
const endRuns = async (
  { runs, evidence, store }: Pick<Core, 'runs' | 'evidence' | 'store'>,
  person: Person,
  at: number,
  cause: string,
): Promise<void> => {
  await store.epochs.move(person)
  const { id, ...where } = person
  for (const { id: run, agent, createdAt, revokedAt } of await runs.list({ ...where, user: id }))
    if (revokedAt === null && createdAt <= at + CLOCKS_MS && (await runs.revoke(run)))
      await evidence.event('run.revoked', { run, user: person, agent: { id: agent }, cause })
}

/** Whoever came here by the session that is named. */
const withPerson = async (
  { issuerSessions }: Core,
  issuer: string,
  meaning: Meaning,
): Promise<Exclude<Meaning, { readonly kind: 'session' }>> => {
  if (meaning.kind !== 'session') return meaning
  const people = await issuerSessions.who(issuer, meaning.sid)
  if (people.length === 0)
    throw new EventRefused(
      'invalid_request',
      'it names no user but a session (sid), and nobody came here by that session',
    )
  return { ...meaning, kind: 'person', people }
}

const receiver = (scope: Configured, core: Core, streams: Streams) => {
  const { clock, log } = scope
  const { store, evidence, metrics, fetch } = core
  const verify = createEventTokens<Source>([...transmitters(scope, streams), ...logouts(scope)], {
    keysOf: keysOf(scope, fetch),
    clock,
  })
  /** Resolves once it has its effect here and is told to all. */
  return async (token: string, kind: 'event' | 'logout', via: Via): Promise<void> => {
    const { said, source } = await verify(token, kind)
    const meaning = await withPerson(core, said.issuer, meaningOf(said, source.naming))
    const text = JSON.stringify([kind, said.issuer, said.jti])
    const hash = createHash('sha256').update(text).digest('base64url')
    if (await store.signals.taken(hash)) return metrics.signals(via, 'again')
    const people = meaning.kind === 'person' ? meaning.people : []
    if (meaning.kind === 'person' && meaning.ends)
      for (const person of people) await endRuns(core, person, said.at, meaning.cause)
    const tell =
      meaning.kind === 'person'
        ? people.map(({ tenant, realm, id }) =>
            JSON.stringify([tenant, realm, id, meaning.cause, meaning.ends ? said.at : null]),
          )
        : []
    if (!(await store.signals.take({ hash, at: clock.now(), tell })))
      return metrics.signals(via, 'again')
    metrics.signals(via, 'taken')
    if (meaning.kind === 'stream')
      await store.publish('stream', JSON.stringify([said.issuer, meaning.state]))
    const cause = meaning.kind === 'other' ? 'other' : meaning.cause
    if (meaning.kind === 'stream' && meaning.status !== null && meaning.status !== 'enabled')
      log.warn({ issuer: said.issuer, status: meaning.status }, 'signals: a stream was stopped')
    const [user] = people
    await evidence.event('signal.received', {
      issuer: said.issuer,
      jti: said.jti,
      type: said.type,
      cause,
      via,
      at: new Date(said.at).toISOString(),
      ...(user === undefined ? {} : { user }),
    })
  }
}

const pollFor = (
  row: SignalConfig,
  { clock, log, opened, begins }: Configured,
  { fetch, feeds }: Core,
  how: Pick<PollOptions, 'url' | 'receive' | 'refused'>,
): void => {
  const { begin, close } = createPoll({
    ...how,
    authorization: tokenAt(row, { fetch, clock }),
    fetch,
    clock,
    log,
    state: feeds.open('poll', row.issuer),
  })
  opened(close)
  begins(begin)
}

/** Also begins what polls. null: nobody may tell anything. */
export const signalsApi = (
  scope: Configured,
  core: Core,
  publicUrl: string,
): RequestListener | null => {
  const { config, log } = scope
  const { evidence, newId, metrics } = core
  if (config.signals.length + logouts(scope).length === 0) return null
  const streams = openStreams(scope, core, publicUrl)
  const receive = receiver(scope, core, streams)
  const refused = (via: Via, error: EventRefused): void => {
    metrics.signals(via, 'refused')
    log.warn({ via, fault: error.fault, reason: error.message }, 'a signal was refused')
    evidence.refused(newId(), 'unauthenticated', null)
  }
  for (const row of config.signals)
    if (row.poll !== undefined || (row.manage && !row.push))
      pollFor(row, scope, core, {
        url: () => row.poll ?? streams.get(row)?.known()?.poll ?? null,
        receive: (token) => receive(token, 'event', 'poll'),
        refused: (error) => refused('poll', error),
      })
  return whenAsked(log, async () =>
    (await import('../api/signals.ts')).createSignalsApi({
      receive: (token, kind) => receive(token, kind, kind === 'event' ? 'push' : 'logout'),
      refused: (kind, error) => refused(kind === 'event' ? 'push' : 'logout', error),
      log,
    }),
  )
}

/** On every replica: what was known of whoever is named counts no more, and what they run is ended if the event says so. */
export const followSignals = (
  { clock, log, opened }: Pick<Scope, 'clock' | 'log' | 'opened'>,
  {
    store,
    calls,
  }: { readonly store: Pick<Store, 'subscribe' | 'signals'>; readonly calls: CallRegistry },
  invalidated: (of: Invalidated) => void,
): void => {
  const sweep = setInterval(() => {
    store.signals
      .sweep(clock.now() - REMEMBERED_MS)
      .catch((error: unknown) => log.error({ err: error }, 'old signals could not be swept'))
  }, SWEEP_MS).unref()
  opened(() => clearInterval(sweep))
  const end = store.subscribe('signal', (key) => {
    // Something may have been missed: nobody says what.
    if (key === '*') return invalidated({ person: null, source: 'signals', cause: 'missed' })
    const [tenant, realm, id, cause, ends] = JSON.parse(key) as [
      string,
      string,
      string,
      string,
      // An earlier deputy on the same store says only whether.
      number | boolean | null,
    ]
    const person = { tenant, realm, id }
    invalidated({ person, source: 'signals', cause })
    if (typeof ends === 'number' || ends === true)
      calls.abort(
        { person, ...(ends === true ? {} : { begunBy: ends + CLOCKS_MS }) },
        new Problem('policy_denied', 'the identity provider ended what this user has running'),
      )
  })
  opened(end)
}
