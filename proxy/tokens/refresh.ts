// Refreshes a credential once for all who need it: one promise in the process, one lease in the
// store. Failures are told apart by their kind, and no rotated token is lost.
import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { room } from '../memo.ts'
import type { Clock, Connection, Log, StoredCredential, Vault } from '../model.ts'
import { messageOf, Problem } from '../problem.ts'
import { createShares, type Shares } from '../shares.ts'
import type { TokenAnswer, TokenFailure } from '../oauth/token_answer.ts'
import type { OAuthClient } from '../oauth/client.ts'
import {
  coolDown,
  createCircuit,
  DOUBTFUL_MS,
  inProgress,
  reauthorize,
  refusals,
  unavailable,
} from './backoff.ts'
import { need } from '../oauth/request.ts'
import { createUnstored } from './pending.ts'
import type { Spool } from './spool.ts'

type RefreshDeps = {
  readonly vault: Pick<
    Vault,
    'open' | 'opened' | 'lease' | 'rotate' | 'revive' | 'known' | 'release' | 'doubt' | 'renewed'
  >
  readonly spool?: Spool
  readonly client: Pick<OAuthClient, 'refresh' | 'revoke'>
  readonly clock: Clock
  readonly log: Log
  /** Resolves after `ms`, or rejects when the signal is aborted. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>
  /** In [0, 1). */
  readonly random?: () => number
  /** Told of each refresh that failed, by provider and kind. */
  readonly onFailure?: (provider: string, kind: TokenFailure['kind']) => void
}
export type Fresh = { readonly credential: StoredCredential; readonly refreshed: boolean }
export type Refresher = {
  /**
   * A token that can be used now.
   * @param want.minGeneration the lowest generation that will do: one above that which just got a 401
   * @param want.agent for whom; absent: for deputy itself
   * @throws Problem reauthorization_required, refresh_in_progress, share_used_up, credential_unavailable, vault_unavailable
   */
  readonly fresh: (
    credential: string,
    connection: Connection,
    want?: { readonly minGeneration?: number; readonly agent?: string },
  ) => Promise<Fresh>
  /** A token that is remembered and good for a while; null: ask `fresh`. */
  readonly atHand: (credential: string) => StoredCredential | null
  /** After a revocation: gives back what was kept of the grant beside the vault. */
  readonly discard: (credential: string, connection: Connection | null) => Promise<void>
  /** Takes over what an earlier process left in the spool; before anything is refreshed. */
  readonly resume: (connections: ReadonlyMap<string, Connection>) => Promise<void>
  /** Stores what is not stored yet, then ends what is under way. Rejects when something is left after `ms`. */
  readonly drain: (ms?: number) => Promise<void>
}

/** Longer than every try of one refresh together. */
const LEASE_MS = 60_000
/** No further try begins later than this after the lease was taken: one takes at most 20 s, longer than callers wait. */
const LAST_TRY_MS = 35_000
const WAIT_MS = 8_000
const POLL_MS = 250
/** Refreshes at one provider. */
const AT_ONCE = { most: 32, each: 4, patience: 2_000 } as const

/** A credential that is left alone until `until`, ms since the epoch. */
type Rest = {
  readonly generation: number
  readonly until: number
  readonly error: string
  readonly doubtful: boolean
}
/** An answer that was lost does not end the grant: the old token may be sent again. */
const harmless = ({ provider: { lostResponse } }: Connection): boolean =>
  lostResponse === 'yes' || lostResponse === 'partly'
/**
 * This process stood still for so long that another may have the lease, so it sends nothing more.
 */
const LATE = {
  kind: 'not_sent',
  error: 'lease_lost',
  description: null,
  retryAfterMs: null,
} as const
/** An error of our own while asking; it is in the log. */
const NOT_ASKED = 'not_asked'
const NEITHER = { blamed: false, alone: false }
const DOUBTFUL = 'the provider refuses to renew the grant'
/** What a caller is asked: which token will not do any more, and whether the API itself refused it. */
type Asked = {
  readonly id: string
  readonly generation: number
  readonly refused: boolean
  readonly agent: string
}
type Leased = Extract<Awaited<ReturnType<Vault['lease']>>, { kind: 'leased' }>

export const createRefresher = (deps: RefreshDeps): Refresher => {
  const { vault, client, clock, log, random = Math.random } = deps
  const sleep =
    deps.sleep ?? ((ms, signal) => pause(ms, undefined, signal === undefined ? {} : { signal }))
  const flights = new Map<string, Promise<Fresh>>()
  const unstored = createUnstored({ vault, spool: deps.spool ?? null, client, clock, log, sleep })
  /** By provider. An agent whose refreshes do not end keeps nobody else's waiting. */
  const shares = new Map<string, Shares>()
  const sharesOf = (provider: string): Shares => {
    const known =
      shares.get(provider) ??
      createShares({ what: 'the refreshes at this provider', ...AT_ONCE, mono: clock.mono })
    shares.set(provider, known)
    return known
  }
  /** A reload makes new ones. */
  const circuits = new WeakMap<Connection, ReturnType<typeof createCircuit>>()
  const circuitOf = (connection: Connection) => {
    const circuit = circuits.get(connection) ?? createCircuit(clock.mono)
    circuits.set(connection, circuit)
    return circuit
  }
  /** Credentials that are cooling down; saves asking the store at every call. */
  const resting = new LRUCache<string, Rest>(room(10_000))
  const spreads = new LRUCache<string, number>(room(10_000))

  const jittered = (ms: number): number => Math.round(ms * (0.8 + 0.4 * random()))
  /**
   * Spreads refreshes, so that credentials stored at one moment are not all refreshed at one
   * moment.
   */
  const spread = (id: string): number => {
    const known = spreads.get(id) ?? 0.8 + 0.2 * random()
    spreads.set(id, known)
    return known
  }
  const lifeOf = ({ id, expiresAt, storedAt }: StoredCredential): 'fresh' | 'soft' | 'over' => {
    if (expiresAt === null) return 'fresh'
    const life = expiresAt - storedAt
    const left = expiresAt - clock.now()
    // expires_in counts whole seconds and servers round it, so the last second of a short life does
    // not count.
    const over = Math.min(5_000, Math.max(life * 0.05, Math.min(1_000, life * 0.2)))
    if (left <= over) return 'over'
    const soft = Math.min(300_000, Math.max(life * 0.1, over * 2)) * spread(id)
    return left < soft ? 'soft' : 'fresh'
  }
  const current = async (id: string): Promise<StoredCredential> => {
    const credential = await vault.open(id, { fresh: true })
    if (credential === null) throw reauthorize('the account is no longer connected')
    if (credential.status !== 'active') throw reauthorize('the provider withdrew the grant')
    return credential
  }

  const ask = async (
    connection: Connection,
    { id, refresh, access, scopes, host }: StoredCredential,
  ): Promise<TokenAnswer> => {
    const said = (kind: 'dead' | 'unknown', error: string) => ({
      kind,
      error,
      description: null,
      retryAfterMs: null,
    })
    if (refresh === null) return said('dead', 'no_refresh_token')
    try {
      const answer = await client.refresh(connection, refresh, { access, scopes })
      // Pinned at the consent: a token for another host is not one that this person agreed to.
      const moved = answer.kind === 'tokens' && host && (answer.tokens.host ?? host) !== host
      if (moved) return said('dead', 'host_changed')
      // The whole answer came and cannot be used; the token that it replaces is used up.
      return answer.kind === 'our_fault' && answer.error === 'unsupported_token_type'
        ? { ...answer, kind: 'unread' }
        : answer
    } catch (error) {
      log.error(
        {
          credential: id,
          connection: connection.name,
          reason: messageOf(error),
        },
        'refresh could not be asked for',
      )
      return said('unknown', NOT_ASKED)
    }
  }

  /** Sends the refresh token; again only where that does no harm: a replay may end the grant (RFC 9700 4.14.2). */
  const send = async (connection: Connection, { credential, unknownBefore, held }: Leased) => {
    const recoverable = harmless(connection)
    const began = clock.mono()
    let unknown = false
    for (let tries = 1; ; tries += 1) {
      const answer: TokenAnswer = held() ? await ask(connection, credential) : LATE
      const again =
        answer.kind === 'not_sent'
          ? tries < 3
          : answer.kind === 'unknown' && !unknown && (recoverable || !unknownBefore)
      unknown ||= answer.kind === 'unknown'
      if (!again || clock.mono() - began > LAST_TRY_MS) return { answer, unknown }
      await sleep(jittered(200 * 2 ** tries))
    }
  }

  /** What the store is told of a failure, and whether only the person can help. */
  const judged = async (
    failure: TokenFailure,
    connection: Connection,
    { credential, refused, unknownBefore }: Leased,
    asked: Asked,
  ) => {
    const { kind } = failure
    const { lostResponse } = connection.provider
    const spent = kind === 'unread' && !harmless(connection)
    if (kind === 'dead' || kind === 'step' || spent)
      return { dead: true, refused: null, coolDownMs: 0, blamed: false } as const
    const refusal = kind === 'refused' || kind === 'our_fault'
    const known = refusal ? circuitOf(connection).refuses(credential.id, failure) : NEITHER
    const counted = await refusals(failure, refused, { now: clock.now(), ...known }, (ms) =>
      vault.renewed(connection.name, credential.id, ms),
    )
    // While the access token is good, no person is asked for anything.
    const needed = asked.refused || lifeOf(credential) === 'over'
    const doubtful = credential.doubtful === true || (needed && counted?.lasting === true)
    const coolDownMs = doubtful
      ? Math.max(DOUBTFUL_MS, failure.retryAfterMs ?? 0)
      : coolDown(failure, lostResponse, unknownBefore, jittered)
    return {
      dead: false,
      blamed: known.blamed,
      refused: counted && { ...counted, doubtful },
      doubtful,
      coolDownMs,
    } as const
  }

  const failed = async (
    failure: TokenFailure,
    connection: Connection,
    leased: Leased,
    { unknown, asked }: { readonly unknown: boolean; readonly asked: Asked },
  ): Promise<Fresh> => {
    const { credential, lease } = leased
    const { id, generation } = credential
    const { kind, error, description } = failure
    const said = await judged(failure, connection, leased, asked)
    deps.onFailure?.(connection.provider.id, kind)
    const about = { credential: id, connection: connection.name, kind, error, description }
    if (said.blamed)
      log.error(
        about,
        'the provider refuses this client: check client_id, client_secret and client_auth',
      )
    // Why no request was sent is in the log already.
    else if (error !== NOT_ASKED) log.warn(about, 'refresh failed')
    const outcome = said.dead
      ? 'dead'
      : unknown
        ? 'unknown'
        : kind === 'not_sent'
          ? 'not_sent'
          : 'refused'
    // A step of an administrator or a stronger sign-in is told to whoever asks for the link.
    const told =
      failure.step === 'admin' || failure.step === 'sign_in' ? `${failure.step}_required` : error
    await vault.release(id, lease, {
      kind: outcome,
      error: told,
      coolDownMs: said.coolDownMs,
      ...(said.refused === null ? {} : { refused: said.refused }),
    })
    if (failure.claims !== undefined) {
      const now = await vault.open(id, { fresh: true })
      if (now?.status === 'needs_reauth')
        throw reauthorize('the provider wants another sign-in', { claims: failure.claims })
    }
    if (said.dead) {
      // Still active: the release was fenced off, so somebody else has the lease, or stored a newer token already.
      const now = await current(id)
      if (now.generation > generation) return { credential: now, refreshed: false }
      throw inProgress()
    }
    const { doubtful, coolDownMs } = said
    resting.set(id, { generation, until: clock.now() + coolDownMs, error, doubtful })
    if (doubtful) throw reauthorize(DOUBTFUL)
    throw unavailable(error, coolDownMs)
  }

  /** A refresh token is spent by the client that it was given to, and by no other: that may end the grant for good. */
  const ofThisClient = async ({ id, generation, refused }: Asked, connection: Connection) => {
    const { clientId, expiresAt, refresh, ...credential } = await current(id)
    const { provider = connection.provider.id } = credential
    if (provider !== connection.provider.id) {
      log.error(
        { credential: id, connection: connection.name, provider },
        'this grant is of another provider than its connection is at now: it waits until that one is configured again, or the person consents anew',
      )
      throw unavailable('the grant is of another provider', DOUBTFUL_MS)
    }
    if (clientId == null || refresh === null || clientId === connection.clientId) return
    if (credential.generation !== generation) return
    log.error(
      { credential: id, connection: connection.name, client_id: clientId },
      'this grant belongs to another client: it waits until that one is configured again, or the person consents anew',
    )
    if (!refused && expiresAt !== null && expiresAt > clock.now())
      throw unavailable('the grant belongs to another client', DOUBTFUL_MS)
    await vault.doubt(id, generation, 'active', 'other_client')
    throw reauthorize('the grant belongs to another client of this application')
  }
  const rested = ({ until, error, doubtful }: Omit<Rest, 'generation'>): Problem =>
    doubtful ? reauthorize(DOUBTFUL) : unavailable(error, until - clock.now())

  /** One look at the lease, one refresh if it is ours; null: somebody else has it. */
  const attempt = async (asked: Asked, connection: Connection): Promise<Fresh | null> => {
    const { id, generation } = asked
    // This comes before the lease: no request is sent, so nothing can be lost.
    need(connection, 'token')
    await ofThisClient(asked, connection)
    const leased = await vault.lease(id, generation, LEASE_MS, harmless(connection))
    if (leased.kind === 'busy') return null
    if (leased.kind === 'cooling') {
      const { until, error, doubtful } = leased
      resting.set(id, { generation, until, error, doubtful })
      throw rested({ until, error, doubtful })
    }
    if (leased.kind !== 'leased') {
      const credential = await current(id)
      if (leased.kind === 'gone') return null
      if (credential.generation < generation)
        log.error(
          { credential: id, stored: credential.generation, seen: generation },
          'the vault holds an older token than it did: was the database restored? Where refresh tokens rotate, people will be asked to consent again',
        )
      if (lifeOf(credential) !== 'over') return { credential, refreshed: false }
      return attempt({ ...asked, generation: credential.generation }, connection)
    }
    const { answer, unknown } = await send(connection, leased)
    if (answer.kind === 'tokens') {
      circuitOf(connection).works()
      return {
        credential: await unstored.store(connection, leased, answer.tokens),
        refreshed: true,
      }
    }
    return (
      (answer.kind === 'dead' ? await rival(leased, connection) : null) ??
      failed(answer, connection, leased, { unknown, asked })
    )
  }

  /** Before a grant is given up: a token of it that lost a race may be the one that lives. null: none, or dead as well. */
  const rival = async (leased: Leased, connection: Connection): Promise<Fresh | null> => {
    const { id } = leased.credential
    const refresh = await unstored.rival(id)
    if (refresh === null) return null
    const answer = await ask(connection, { ...leased.credential, refresh })
    const stored =
      answer.kind === 'tokens' ? await unstored.store(connection, leased, answer.tokens) : null
    if (answer.kind === 'tokens' || answer.kind === 'dead') await unstored.forgetRival(id)
    return stored === null ? null : { credential: stored, refreshed: true }
  }

  /** The attempt, unless the provider refuses this client: then one after the other. */
  const admitted = async (asked: Asked, connection: Connection): Promise<Fresh | null> => {
    const circuit = circuitOf(connection)
    const ms = circuit.enter()
    if (ms > 0) throw unavailable('this client was refused moments ago', ms)
    try {
      return await attempt(asked, connection)
    } finally {
      circuit.left()
    }
  }
  const fly = async (asked: Asked, connection: Connection): Promise<Fresh> => {
    const giveUp = clock.mono() + WAIT_MS
    for (;;) {
      const done = await sharesOf(connection.provider.id).run(asked.agent, () =>
        admitted(asked, connection),
      )
      if (done !== null) return done
      if (clock.mono() > giveUp) throw inProgress()
      await sleep(POLL_MS)
    }
  }
  const start = (asked: Asked, connection: Connection): Promise<Fresh> => {
    const { id, generation } = asked
    const running = flights.get(id)
    if (running !== undefined) return running
    const rest = resting.get(id)
    if (rest !== undefined && rest.generation === generation && rest.until > clock.now())
      return Promise.reject(rested(rest))
    const started = fly(asked, connection).finally(() => flights.delete(id))
    flights.set(id, started)
    return started
  }
  const patiently = async (flight: Promise<Fresh>): Promise<Fresh> => {
    const done = new AbortController()
    const late = sleep(WAIT_MS, done.signal).then(() => {
      throw inProgress()
    })
    return Promise.race([flight, late]).finally(() => done.abort())
  }

  return {
    atHand: (id) => {
      const known = unstored.get(id) === null ? vault.opened(id) : null
      return known?.status === 'active' && lifeOf(known) === 'fresh' ? known : null
    },

    fresh: async (id, connection, want = {}) => {
      const kept = unstored.get(id)
      const credential = kept ?? (await vault.open(id))
      if (credential === null) throw reauthorize('the account is no longer connected')
      if (credential.status !== 'active') throw reauthorize('the provider withdrew the grant')
      const life = lifeOf(credential)
      const { generation } = credential
      const refused = generation < (want.minGeneration ?? 0)
      const good = life !== 'over' && !refused
      const asked = { id, generation, refused, agent: want.agent ?? '' }
      if (kept !== null) {
        if (good) return { credential, refreshed: false }
        throw new Problem('vault_unavailable', 'a refreshed token cannot be stored now')
      }
      if (good && (life === 'fresh' || credential.refresh === null))
        return { credential, refreshed: false }
      if (good) {
        // Nobody waits while the old token is good; what fails here was logged where it failed.
        start(asked, connection).catch((error: unknown) =>
          log.debug({ credential: id, reason: messageOf(error) }, 'early refresh failed'),
        )
        return { credential, refreshed: false }
      }
      if (credential.refresh === null && life !== 'over')
        throw reauthorize('the provider refuses the token')
      return patiently(start(asked, connection))
    },

    resume: unstored.resume,
    discard: unstored.discard,

    drain: async (ms = 10_000) => {
      const end = clock.mono() + ms
      // First what the provider gave and nobody has stored: a process that ends slowly may be killed.
      await Promise.allSettled([unstored.drain(ms), ...flights.values()])
      await unstored.drain(Math.max(0, end - clock.mono()))
    },
  }
}
